/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The harness of the integration tests: a private instance of the real daemon,
 * processes that draw from it by the shipped library, and a record of every
 * number they got. It sees the service as a user does: through seqnum.h, the
 * commands, the log and signals. It includes nothing of what it tests.
 *
 * An instance has a directory, a segment name and a daemon of its own, so that
 * copies of a test can run side by side. Everything that a test starts dies
 * with it, also when it is killed; a failed assertion leaves nothing behind but
 * the daemon's log in the output.
 *
 * SEQNUM_BUILD leads to the programs, TMPDIR to where the directories are made.
 * SEQNUM_TEST_SCALE multiplies amounts (default 1; 0.05 in sanitizer builds,
 * which say so in SEQNUM_SANITIZER), SEQNUM_TEST_PATIENCE bounds of time.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <cmocka.h>

#include "seqnum.h"

#define CHILDREN_MAX       64
#define CREW_MAX           16
#define CREW_SEQUENCES_MAX 4

struct crew;
struct record;

struct instance {
        char directory[128];
        char shm[64];
        char state[192];
        char ini[192];
        char socket[192];
        char log[192];
        char notify_path[192];
        char object[80];    /* what the signal handler removes */
        pid_t pid;          /* of the daemon, 0: none */
        int notify;         /* datagram socket to which it says that it is ready */
        char notices[4096]; /* what it said there */
        int listener;       /* passed to the daemon as systemd would, 0: none */
        bool halted;        /* who is to become the daemon stops (SIGSTOP) just before */
        struct crew *crew;
        pid_t children[CHILDREN_MAX];
        struct instance *twin; /* freed with this one */
        bool passed;
};

/* --- tests ---------------------------------------------------------------- */

/* A CMUnitTest whose function is given an instance, not yet configured nor started. */
struct instance_case {
        void (*function)(struct instance *instance);
};

#define instance_test(function)                                                                    \
        {                                                                                          \
#function, instance_run, instance_setup, instance_teardown,                        \
                        &(struct instance_case)                                                    \
                {                                                                                  \
                        function                                                                   \
                }                                                                                  \
        }

int instance_setup(void **state);
void instance_run(void **state);
int instance_teardown(void **state);

/* An amount made smaller (or larger) by SEQNUM_TEST_SCALE; never below 1. */
uint64_t scaled(uint64_t amount);

/* A bound of time, longer where everything takes longer. */
uint64_t patience_usec(uint64_t usec);

bool sanitized(void);

/*
 * Say how far a long test has come: one line that the next one overwrites, on the
 * descriptor in $SEQNUM_TEST_PROGRESS (`make torture` gives it the terminal). At
 * most four times a second; nothing where nobody looks.
 */
void progress(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* What a run came to, "name=value ...": `make torture` prints it behind the test. */
void figures(const char *format, ...) __attribute__((format(printf, 1, 2)));

uint64_t now_usec(void); /* CLOCK_MONOTONIC */
void nap(uint64_t usec);
uint64_t random_below(uint64_t limit);

/* --- the daemon ----------------------------------------------------------- */

/* A second instance, freed with the first. Paths may be changed before it is configured. */
struct instance *instance_twin(struct instance *instance);

/*
 * Write the ini file: a [service] section with the instance's names and paths,
 * then the text, which may begin with more keys of [service].
 */
void instance_configure(struct instance *instance, const char *format, ...)
        __attribute__((format(printf, 2, 3)));

void instance_start(struct instance *instance);  /* and wait until it says that it is ready */
void instance_launch(struct instance *instance); /* and don't wait */
void instance_await_ready(struct instance *instance);
bool instance_ready(struct instance *instance); /* has it said so? */
/* With a disk, tests/preload/slow-disk.c, whose syncs take as many microseconds as it is told. */
void instance_start_on_slow_disk(struct instance *instance);
void instance_slow_down(const struct instance *instance, const char *usec); /* "": no more */

void instance_kill(struct instance *instance);         /* SIGKILL */
void instance_stop(struct instance *instance);         /* SIGTERM; it must exit with 0 */
void instance_reload(struct instance *instance);       /* SIGHUP, until it is ready again */
int instance_outcome(struct instance *instance);       /* start; it must exit: with this status */
void instance_unlink(const struct instance *instance); /* remove the segment's name */

/* Path of the segment's object, until the next call. */
const char *instance_object(const struct instance *instance);

/* What the log says, or has come to say within ten seconds. */
bool instance_says(const struct instance *instance, const char *text);
bool instance_will_say(const struct instance *instance, const char *text);
void instance_forget_log(const struct instance *instance);

/* Run a command of the shell, which must succeed. */
void shell(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Run `seqnum ARGUMENTS`; its exit status and all that it prints. */
int instance_command(const struct instance *instance, char *output, size_t size,
                     const char *arguments);

/* A connection to the control socket, or a negative errno. */
int instance_connect(const struct instance *instance);
int instance_plug_in(const struct instance *instance); /* which must succeed */

/*
 * Send one inline command to the control socket; the first line of the answer,
 * without its end, until the next call.
 */
const char *instance_ask(const struct instance *instance, const char *format, ...)
        __attribute__((format(printf, 2, 3)));

/* A member of `seqnum info --json NAME`; the member must be a number. */
int64_t instance_info(const struct instance *instance, const char *sequence, const char *member);

/* --- clients in this process ---------------------------------------------- */

/* Attach and open, which must succeed. */
struct seqnum_client *instance_attach(const struct instance *instance);
struct seqnum *instance_open(struct seqnum_client *client, const char *name);

int64_t must_next(struct seqnum *seq);
int64_t must_peek(struct seqnum *seq);
int64_t instance_peek(const struct instance *instance, const char *name);

/* --- child processes ------------------------------------------------------- */

/*
 * fork(2), and the child dies with the test. In the child use no assertion:
 * say what is wrong by exit status.
 */
pid_t instance_fork(struct instance *instance);

/* Exit status of a child, which must exit within so many seconds. */
int instance_join(struct instance *instance, pid_t pid, unsigned seconds);

/* Wait for a child that was killed. */
void instance_reap(struct instance *instance, pid_t pid);

/* Zeroed memory shared with all children forked later. */
void *shared_memory(size_t size);

/* --- the record: one bit for each number there can be ---------------------- */

#define RECORD_SIZE (UINT64_C(1) << 31)

/*
 * For a sequence of these parameters. `period`: how many values a cycle has,
 * 0: no cycle; then less than one period may be recorded.
 */
struct record *record_new(int64_t first, int64_t increment, uint64_t period);
struct record *record_free(struct record *record);

/* The index of a value; RECORD_SIZE: it is none that can be recorded. */
uint64_t record_index(const struct record *record, int64_t value);

/* Note `count` values from `value` on. False when one of them was noted before. */
bool record_add(struct record *record, int64_t value, uint64_t count);

/* How many of the indices below `end` were noted. */
uint64_t record_count(const struct record *record, uint64_t end);

/* --- the crew: processes that draw until told to stop ---------------------- */

struct crew_sequence {
        const char *name;
        struct record *record; /* becomes the crew's */
};

struct crew_order {
        size_t n_drawers;
        struct crew_sequence sequences[CREW_SEQUENCES_MAX]; /* up to a NULL name */
        uint64_t rate;                                      /* numbers a second that each aims at */
        uint32_t run_every; /* one draw in so many is a run, 0: none */
        uint32_t run_max;
        unsigned flags; /* to attach with */
};

/*
 * Fork the drawers. Each draws singles and runs of random length from random
 * sequences, checks that its numbers ascend and that nobody had them before.
 * The crew is the instance's, and freed with it.
 */
struct crew *crew_start(struct instance *instance, const struct crew_order *order);

/* Free the instance's crew, if it has one: SIGKILL, nothing is checked. */
void crew_free(struct instance *instance);

/* SIGKILL a drawer; what it was drawing at that moment counts as lost. */
void crew_kill(struct crew *crew, size_t drawer);
void crew_replace(struct crew *crew, size_t drawer);

/* No drawer has failed so far. */
void crew_check(struct crew *crew);

/* Every drawer begins and ends a draw, within 20 seconds. */
void crew_await_progress(struct crew *crew);

/* Ask the drawers to end between two draws; all must do so, and none have failed. */
void crew_stop(struct crew *crew);

uint64_t crew_drawn(const struct crew *crew); /* numbers, by the living and the dead */
uint64_t crew_end(const struct crew *crew, size_t sequence);  /* highest index drawn, plus 1 */
uint64_t crew_lost(const struct crew *crew, size_t sequence); /* what the killed may have taken */

/*
 * With the crew stopped or killed: numbers of a sequence that nobody got, up to
 * what a draw would get next.
 */
uint64_t crew_skipped(const struct instance *instance, const struct crew *crew, size_t sequence);
