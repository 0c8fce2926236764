/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The committer: a thread that makes commits, so that the event loop never
 * waits for a disk.
 *
 * Group commit: while one commit is under way jobs gather, and the next commit
 * takes them all, in one transaction. If that fails because of one job (a name
 * that exists, say) the jobs are committed one by one, and that one fails
 * alone; if it fails because of the disk, all fail.
 *
 * Once a committer has a store nobody else may use it. All functions are to be
 * called from one thread, the loop's.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store.h"

#define COMMIT_MESSAGE_SIZE 256

struct committer;

/* The caller's memory, to be left alone until done() was called. */
struct commit_job {
        struct store_op *ops;
        size_t n_ops;
        void (*done)(struct commit_job *job, int error); /* may free the job */
        void *userdata;

        char message[COMMIT_MESSAGE_SIZE]; /* why it failed; "" when it did not */
        int error;                         /* the committer's own */
        struct commit_job *next;           /* the committer's own */
};

struct commit_counters {
        uint64_t commits; /* transactions begun */
        uint64_t jobs;    /* finished, well or not */
        uint64_t failed;  /* of those, not well */
};

int committer_new(struct committer **ret, struct store *store);

/* Finishes what was submitted, without calling done(); ends the thread. NULL is fine. */
struct committer *committer_free(struct committer *committer);

/* An eventfd, readable when jobs are finished: then call committer_dispatch(). */
int committer_fd(const struct committer *committer);

void committer_submit(struct committer *committer, struct commit_job *job);

/* Call done() of every finished job, in the order in which they were submitted. */
void committer_dispatch(struct committer *committer);

/* Wait until all that was submitted so far is finished, and dispatch it. */
void committer_drain(struct committer *committer);

/* For how long the worker has been at the jobs it has in hand; 0: it has none. */
uint64_t committer_busy_usec(struct committer *committer);

/*
 * False after a commit that failed at the disk, until one succeeds: what it
 * would have done may turn up in the store after all, should we die now.
 */
bool committer_sound(struct committer *committer);

/* Is an op to blame for the error, rather than the disk? Then nothing was written. */
bool committer_blames_op(int error);

struct commit_counters committer_counters(struct committer *committer);
