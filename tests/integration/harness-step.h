/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Clients killed after each single instruction.
 *
 * A victim attaches, and is then stepped through a call of the shipped library,
 * instruction by instruction (ptrace(2); a system call is one), and killed after
 * k of them: for each k from the call's entry until its return, each time a new
 * victim. All of it is stepped, what the call does in libc and in the vdso too;
 * but for calls that reach others by system calls alone, and only those count.
 * After each death another process, the test, must get its number at once.
 *
 * At a scale below 10 a sample: each so-manieth instruction, from a random one on.
 * Programs built with a sanitizer are not what is shipped: there it makes no sense.
 */

#include <stdint.h>

#include "harness.h"

#define STEP_PATIENCE_USEC UINT64_C(5000000) /* nobody waits longer for what a dead one left */
#define STEP_NOT_GIVEN     INT64_MIN

/* What a victim has, where it is seen after its death. */
struct victim {
        int64_t number; /* STEP_NOT_GIVEN, or what the library gave */
        int outcome;    /* of what it was stepped through, 1: it has not come to the end */
        struct seqnum_client *client;
        struct seqnum *seq;
        char name[64]; /* what the scenario wants it to be */
};

struct scene;

struct scenario {
        const char *title;
        const char *ini;
        const char *name;                      /* opened by the victim and by us; "": none */
        unsigned stride;                       /* at a small scale one instruction in so many */
        bool by_calls;                         /* system calls instead, before and after each */
        void (*set)(struct scene *scene);      /* before each victim, may be NULL */
        int (*prepare)(struct victim *victim); /* the victim, before it is stepped, may be NULL */
        int (*act)(struct victim *victim);     /* what it is stepped through; 0: as it should be */
        void (*judge)(struct scene *scene);    /* after each death */
        void (*conclude)(struct scene *scene); /* at the end, may be NULL */
};

struct scene {
        struct instance *instance;
        const struct scenario *scenario;
        struct victim *victim;
        struct seqnum_client *client; /* ours */
        struct seqnum *seq;
        struct record *record; /* of all that anybody got */
        int64_t expected;      /* what comes next if the victim has used nothing up */
        uint64_t steps;        /* of the longest that lived */
        uint64_t kills;        /* the present one included */
        uint64_t lost;         /* numbers that died with a victim */
        uint64_t longest_usec; /* that anybody waited for after a death */
};

/* The whole of it: a daemon, victim after victim, and the figures. */
void step_through(struct instance *instance, const struct scenario *scenario);

/* What began at `since`, after a victim's death, is over: was it soon enough? */
void step_note_wait(struct scene *scene, uint64_t since);

/* For main(): 0, or 77 and the reason why not. */
int step_supported(void);
