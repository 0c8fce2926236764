/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Clients and handles: what libseqnum keeps behind seqnum.h's two pointers.
 *
 * A handle leads to a view: an immutable record of one slot of one mapping and
 * of the constants that turn its indices into values. A draw works on one view
 * alone, so that it can never claim in one window and judge by another, whatever
 * other threads do to the handle meanwhile. What the fast path needs of a view is
 * its lens, of which seqnum-inline.h tells the layout, for good; so it does of the
 * head of a handle. When a
 * slot is retired or the segment replaced, a new view takes the place of the
 * old by one release store; old views and mappings are kept until the handle
 * is closed and the client detached, since a draw may still be using them.
 *
 * Views that must not draw (read-only clients, the child of a fork), and those of
 * sequences that are not drawn by claiming (gapless, time), lead to a private
 * cell whose every claim is void, and views whose values take more than
 * a multiplication (cycling sequences) to a fast window that grants nothing.
 * The fast path thus needs no check of its own: such a draw finds itself in the
 * slow path, which knows how, or says why not.
 */

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "atomic.h"
#include "attach.h"
#include "gapless.h"
#include "layout.h"
#include "params.h"
#include "seqnum-inline.h"
#include "seqnum.h"

struct view {
        struct seqnum_lens lens; /* of `cell`, and of the window to judge by at first sight */
        struct cell *cell;       /* where a draw claims */
        struct sequence_map map;
        const struct window *window;   /* by what it judges in the end */
        const struct mapping *mapping; /* NULL: of a forked child, refused */
        uint32_t slot;
        struct view *older; /* of the same handle */
};

/*
 * A segment's object opened once more, for the ids of handles that are in
 * transactions there (turn.h). A forked child closes its copy at once, or the
 * parent would live on in it.
 */
struct turn_file {
        struct turn_file *older; /* of the same client */
        const struct mapping *mapping;
        int fd;
};

struct seqnum {
        struct seqnum_head head; /* leads to a view's lens, never NULL */
        struct seqnum_client *client;
        struct view *views; /* newest first, freed with the handle */
        struct seqnum_block *blocks;
        struct transaction transaction;
        struct seqnum *next, *previous;
        size_t name_length;
        char name[SEQUENCE_NAME_MAX + 1];
};

struct seqnum_client {
        pthread_mutex_t lock; /* mappings, turn files, handles and their lists of views */
        _Atomic(uint64_t) timeout_usec;
        struct mapping *mappings; /* newest first, never NULL but while made */
        struct turn_file *turn_files;
        struct seqnum *handles;
        struct seqnum_client *next, *previous; /* of all in the process */
        bool writable;
        bool guarded; /* see guard.h */
        bool forked;  /* this is a child's copy */
        char shm[SEGMENT_NAME_MAX + 1];
};

/* A thread's stock of numbers, claimed at once; see block.c. */
struct seqnum_block {
        struct seqnum_stock stock;
        struct seqnum *seq;
        const struct view *view; /* in which the stock was claimed; NULL: none yet */
        uint32_t size;           /* how many to claim next */
        bool adaptive;
        uint64_t refilled; /* CLOCK_MONOTONIC, usec */
        struct seqnum_block *next, *previous;
};

_Static_assert(offsetof(struct view, lens) == 0 && offsetof(struct seqnum, head) == 0 &&
                       offsetof(struct seqnum_block, stock) == 0,
               "what inlined draws rely on comes first");
_Static_assert(sizeof(struct seqnum_head) == 16 && sizeof(struct seqnum_lens) == 32 &&
                       offsetof(struct seqnum_lens, window) == 8 &&
                       sizeof(struct seqnum_stock) == 40 &&
                       offsetof(struct seqnum_stock, floor) == 16,
               "programs were compiled with version 1");
_Static_assert(offsetof(struct window, ceiling) == 0 && offsetof(struct window, floor) == 8 &&
                       offsetof(struct window, low) == 16,
               "so they find ceiling, floor and low mark");

/* Where views that must not be claimed in lead to: every claim here is void. */
extern struct cell void_cell __attribute__((visibility("hidden")));

/* What the handle leads to at the moment. */
static inline const struct view *handle_view(const struct seqnum *seq)
{
        return (const struct view *)(const void *)head_lens(&seq->head);
}

/*
 * Is this the child of a fork? Asked also after a wait, by a call that began before the
 * fork: a signal handler may have forked meanwhile, and what the call claimed or holds
 * is the parent's. The child takes nothing, and gives nothing back.
 */
static inline bool handle_forked(const struct seqnum *seq)
{
        return !handle_view(seq)->mapping;
}

/*
 * The handle's view whose claims are made at `next`, be it no longer the newest;
 * the newest where there is none.
 */
const struct view *handle_view_of(struct seqnum *seq, const uint64_t *next);

/*
 * Give the handle a view of what its name leads to now, in place of `stale`.
 *   0         there is a view that is not `stale`, perhaps another thread's
 *   -EAGAIN   not yet: the name still leads to the retired slot
 *   -ENOENT   the sequence is gone
 *   -ENXIO    there is no segment at the moment
 *   -ECHILD   the client is a forked child's copy
 *   or another of seqnum_attach()'s errors
 */
int handle_renew(struct seqnum *seq, const struct view *stale);

/*
 * The client's turn file of that mapping, made when it is first asked for. 0, or
 * a negative errno as open(2) has them.
 */
int client_turn_file(struct seqnum_client *client, const struct mapping *mapping,
                     const struct turn_file **ret);

/*
 * The index the next claim would get and be granted, if nobody else claimed
 * meanwhile; in a frozen window, the one a thaw will start from. At or above
 * the limit when the sequence is at its end.
 */
uint64_t view_next_index(const struct view *view);
