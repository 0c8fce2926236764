/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Refilling windows: from a ring of the doorbell to a higher ceiling.
 *
 * All sequences that asked since the last look go into one commit; while it is
 * under way others gather for the next. Those of which nobody will wait soon
 * gather for REFILL_GATHER_USEC even if no commit is under way, so that thousands
 * of sequences drawn from now and then cost a commit each such interval, and not
 * each of them one. What the store did not confirm is not
 * published: when a commit fails the windows stay as they are, those who wait
 * time out cleanly, and the commit is tried again, for as long as it takes.
 */

#include <stdbool.h>
#include <stdint.h>

#include <systemd/sd-event.h>

#include "committer.h"
#include "segment.h"
#include "sequence.h"

#define REFILL_GATHER_USEC UINT64_C(20000)

struct refill {
        sd_event *event;
        struct registry *registry;
        struct committer *committer;
        struct segment *segment; /* set anew when the segment is replaced */

        /* Called for a sequence whose cell holds what nobody could have claimed. */
        void (*distrust)(struct sequence *sequence, void *userdata);
        void *userdata;

        struct sequence **wanting; /* those with `wanted` set */
        size_t n_wanting, size_wanting;
        bool urgent;             /* of those one cannot be left to gather */
        sd_event_source *gather; /* until when they do */
        bool gathering;          /* it runs */
        uint64_t commit_usec;    /* how long commits take, those of late above all */
        sd_event_source *retry;
        bool retrying;          /* the last commit failed, the timer runs */
        bool paused;            /* no new commits: windows are about to be closed */
        uint64_t failing_since; /* CLOCK_MONOTONIC usec, 0: all is well */
        uint64_t complained;    /* when that was last said */
        uint64_t failures;
        uint64_t distrusted; /* how often */
        uint64_t voided;     /* how often plans were */
};

int refill_init(struct refill *refill, sd_event *event, struct registry *registry,
                struct committer *committer);
void refill_clear(struct refill *refill);

/*
 * Finish the commits under way and begin no other, so that no window is opened
 * behind the back of whoever closes them; and go on again.
 */
void refill_pause(struct refill *refill);
void refill_resume(struct refill *refill);

/* The store's positions were changed: what is being planned by them is planned anew. */
void refill_void_plans(struct refill *refill);

/* Somebody rang: note who wants, and start a commit for them. */
void refill_answer(struct refill *refill);

/* Note that a sequence wants more; refill_run() starts the commit. */
void refill_want(struct refill *refill, struct sequence *sequence);
void refill_run(struct refill *refill);

/* The sequence is about to be freed. With refills paused. */
void refill_forget(struct refill *refill, const struct sequence *sequence);
