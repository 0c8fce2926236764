/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The service: one instance from its start to its stop.
 *
 * Ties the parts together and runs the event loop. All state of the daemon
 * hangs off struct service and belongs to the loop's thread; the committer's
 * thread sees only the store and the jobs handed to it, the doorbell's thread
 * only the semaphore.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <systemd/sd-event.h>

#include "committer.h"
#include "config.h"
#include "doorbell.h"
#include "manager.h"
#include "refill.h"
#include "segment.h"
#include "sequence.h"
#include "store.h"

struct service {
        sd_event *event;
        struct config *config;
        gid_t group; /* that may draw */
        struct store *store;
        struct committer *committer;
        struct registry registry;
        struct refill refill;
        struct segment *segment;
        uint64_t segment_id; /* of the one that the store knows as in use */
        struct doorbell *doorbell;
        int turns_fd; /* locks the ids with which the daemon takes turns, -1: none yet */
        uint64_t turns_segment_id;
        struct control *control;    /* NULL: no control socket */
        struct creation *creations; /* on their way into the store, by name; admin.c */
        uint32_t n_creations;
        sd_event_source *bell, *commits, *name, *again, *losses, *inspection;
        struct manager_fds passed; /* what is not in use yet */
        uint32_t n_said;           /* sequences, as the manager was told */
        uint64_t said_usec;        /* when, CLOCK_MONOTONIC */
        bool serving;              /* the segment is published, the loop may run */
        uint64_t again_usec;       /* how long service_try_again() has waited last, 0: not yet */
        bool unlisted;             /* the store has sequences that there was no memory for */
        bool unsettled;            /* something could not be done, was said, and is tried again */
        uint64_t inspect_after;    /* CLOCK_MONOTONIC: the segment is not looked over before */
        bool replacing;            /* the segment is being made anew */
        bool damaged;              /* it was found damaged, and could not be replaced yet */
};

/*
 * Start: store, segment, sequences, in that order; published and ready when it
 * returns 0. Takes the configuration over. On failure a negative errno, after
 * having logged why.
 */
int service_new(struct service **ret, struct config *config);

/* Run until SIGTERM or SIGINT. */
int service_run(struct service *service);

/*
 * Stop: close the windows, save the exact positions (or leave the windows
 * open, on_stop = serve), free everything. NULL is fine.
 */
struct service *service_free(struct service *service);

/* --- shared by the service's files ------------------------------------- */

/*
 * Commit and wait for it; 0 or a negative errno and the reason in `message`
 * (COMMIT_MESSAGE_SIZE bytes). Everything submitted before is finished first.
 */
int service_commit(struct service *service, struct store_op *ops, size_t n_ops, char *message);

/* Give a sequence a slot of the segment, beginning at `position`. */
int service_place(struct service *service, struct segment *segment, struct sequence *sequence,
                  uint64_t position);

/*
 * segment_publish(), after the store knows that this is the segment in use from
 * now on; says in the log what went wrong.
 */
int service_publish(struct service *service, struct segment *segment);

/* Tell clients, by the segment, whether names may come into being. */
void service_note_templates(const struct service *service, struct segment *segment);

/* The id of config->group, without one the daemon's own; says in the log why there is none. */
int service_find_group(const struct config *config, gid_t *ret);

/* What the segment must look like, by configuration and store. */
struct segment_setup service_segment_setup(const struct service *service);

/* --- takeover.c: getting a segment, and another one --------------------- */

/* A segment with all sequences in it: the last daemon's or a fresh one. */
int service_get_segment(struct service *service);

/*
 * Move everything to a fresh segment and send the clients there: the old one
 * lost its name, is full, or has another capacity. On failure the old one goes
 * on and the attempt is repeated.
 */
int service_replace_segment(struct service *service, const char *reason);

/* Give those a slot that have none, until one cannot get it. 0 or a negative errno. */
int service_place_rest(struct service *service);

/* After window_freeze(): say it if that had to leave the cell out of account. */
void service_say_doubted(const struct service *service, struct sequence *sequence);

/* Give a sequence a fresh slot: its cell holds what nobody could have claimed. */
void service_distrust(struct sequence *sequence, void *userdata);

/* --- watch.c: looking after the segment ----------------------------------- */

/* Listen to the segment's doorbell and watch over its name. 0 or a negative errno. */
int service_watch_segment(struct service *service);

/* The segment is about to go. */
void service_unwatch_segment(struct service *service);

/* At the start, so that later it takes no memory: 0 or a negative errno. */
int service_expect_again(struct service *service);

/*
 * Something has failed that is to be done all the same: put the segment's name in
 * place, listen to its doorbell, serve what the store has and give each sequence
 * a slot. Look after it in a while, and until it is done.
 */
void service_try_again(struct service *service);

/* --- inspect.c: is it what we made of it? -------------------------------- */

/* Compare the segment with our own copy, now or soon, and mend or replace it. */
void service_inspect(struct service *service);

/* The same, once the loop is free. */
void service_inspect_later(struct service *service);

/* Survive pages that are taken away, and be told of them. 0 or a negative errno. */
int service_watch_losses(struct service *service);

/* --- recover.c: what the store lost -------------------------------------- */

/*
 * Put into the store, and among the sequences, what the segment just taken over
 * knows and the store does not: that one was restored from a backup. 0, or a
 * negative errno with the windows in question closed, for the next attempt.
 */
int service_recover(struct service *service);

/* --- apply.c: what the configuration asks for --------------------------- */

/*
 * Create and alter sequences as the configuration says, in one commit. How many
 * stay as they are, since they cannot be altered so, or a negative errno with
 * nothing changed; says in the log what it does and why it does not. What was applied
 * is taken out of `config` (its sequences, and its templates if it is not the service's
 * own).
 */
int service_apply(struct service *service, struct config *config);

/* --- freeze.c: all windows closed ----------------------------------------- */

/*
 * With refills paused: close all windows and save where. How many the store refused, or
 * the errno of the commit.
 */
int service_freeze_all(struct service *service);
