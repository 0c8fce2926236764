/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The sequences being served: the daemon's own copy of everything it decided.
 *
 * What the segment says about a window is never read back; what the store
 * confirmed is never forgotten. A struct sequence belongs to the thread of the
 * event loop alone.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uthash.h>

#include "params.h"
#include "store.h"

struct sequence {
        UT_hash_handle by_name;
        const char *name; /* in the same allocation */
        uint64_t id, generation;
        struct sequence_params params;
        struct sequence_map map; /* also the origin */

        /* the store's last word: range reserved, or the exact position */
        uint64_t lo, hi;
        bool exact : 1;

        /* what we published in the window */
        bool frozen : 1;
        bool doubted : 1;               /* closed, and its cell told what cannot be: to be said */
        bool wanted : 1, reserving : 1; /* see below; here they cost no memory */
        bool spoilt : 1;     /* closed so once: who waits there may have what comes next */
        uint16_t placements; /* how often it was given a slot, modulo 2^16 */
        uint32_t slot;
        uint64_t floor, ceiling, low;
        uint64_t frozen_at; /* index at which claims ended, valid while frozen */

        /*
         * What `next` cannot honestly fall below: `sure`. It does fall when claims are
         * given back, the last one first; but one that was made after the daemon had
         * looked, and lies below the ceiling that it had published before, was granted
         * at first sight and is never given back, and so no claim before it can be.
         * But for the rests of blocks, which the cell counts: `sure_given` were given
         * back for certain when `sure` was learnt, and what came to be since then may
         * have lowered `next` by as much; not below `drawn`, though, where the last of
         * the daemon's own draws ended.
         */
        uint64_t looked; /* `next` when last looked at; `looked_room` was below the ceiling then */
        uint64_t sure, sure_given, drawn;
        uint32_t looked_room;

        uint32_t barred; /* seconds of CLOCK_MONOTONIC until which nothing is asked of the store */

        /* reservation; `wanted`: in the list of those that want more, `reserving`: a commit is
         * under way */
        uint64_t size;          /* indices to keep ahead at the present rate */
        uint64_t demand;        /* somebody who has claimed nothing waits for this ceiling */
        uint64_t refilled_usec; /* CLOCK_MONOTONIC of the last refill, 0: never */
        uint64_t refilled_next; /* `next` as it was then */
};

struct registry {
        struct sequence *by_name; /* head of uthash */
        struct sequence **by_slot;
        size_t n_slots;
        uint32_t n_sequences;
};

/* No index from here on was ever given out, as far as store and window know. */
static inline uint64_t sequence_durable(const struct sequence *sequence)
{
        return sequence->hi > sequence->ceiling ? sequence->hi : sequence->ceiling;
}

/*
 * Take a sequence in, as the store has it. It has no slot yet. 0, -ENOMEM, or
 * -EEXIST.
 */
int registry_add(struct registry *registry, const struct store_sequence *stored,
                 struct sequence **ret);

/* NULL when there is none. */
struct sequence *registry_find(const struct registry *registry, const char *name);

/* The same for a name that ends without a NUL, and may hold any byte. */
struct sequence *registry_find_bytes(const struct registry *registry, const char *name,
                                     size_t length);

/* The sequence that `slot` serves now; NULL for a retired slot or none. */
struct sequence *registry_at(const struct registry *registry, uint32_t slot);

/* From now on `slot` serves the sequence, and its former slot none. 0 or -ENOMEM. */
int registry_move(struct registry *registry, struct sequence *sequence, uint32_t slot);

/* Forget the sequence and free it: it was dropped. Returns NULL. */
struct sequence *registry_remove(struct registry *registry, struct sequence *sequence);

/* Make room for one slot more, so that registry_move() to it cannot fail. 0 or -ENOMEM. */
int registry_expect(struct registry *registry, uint32_t slot);

/* No slot serves the sequence any more. */
void registry_detach(struct registry *registry, struct sequence *sequence);

/* No slot serves anything: the segment is about to be replaced. */
void registry_clear_slots(struct registry *registry);

void registry_clear(struct registry *registry);

/* New parameters and generation, as the store has confirmed them. */
void sequence_redefine(struct sequence *sequence, const struct sequence_params *params,
                       int64_t origin, uint64_t generation, uint64_t position);

/* What was reserved was skipped, not drawn: nothing is known of the rate any more. */
void sequence_forget_pace(struct sequence *sequence);

/* Of kind time: how many indices are kept reserved ahead of the clock. */
uint64_t sequence_time_ahead(const struct sequence_params *params);

/* NOLINTBEGIN(bugprone-macro-parentheses): `sequence` is the name it declares */
#define registry_each(registry, sequence)                                                          \
        for (struct sequence *sequence = (registry)->by_name; sequence;                            \
             sequence = sequence->by_name.next)
/* NOLINTEND(bugprone-macro-parentheses) */
