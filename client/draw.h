/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What draws of all kinds share: judging a claim, calling the daemon, waiting.
 *
 *   draw.c     counters: the fast path, the slow path, runs; seqnum_next()
 *   gapless.c  transactions; a draw is begin and commit
 *   time.c     ids ordered by time
 *
 * A draw of one kind that finds its name leading to a sequence of another kind
 * (dropped and made anew) returns -ERESTART; seqnum_next() then begins again.
 */

#include <stdbool.h>
#include <stdint.h>

#include "handle.h"

/*
 * The longest sleep before a waiter looks around: is the daemon alive, was the
 * segment replaced? Also how soon a call that got lost is made again.
 */
#define WAIT_SLICE_USEC UINT64_C(50000)

enum verdict {
        GRANTED,
        WAITING, /* above the ceiling: becomes valid when the ceiling rises */
        VOID,    /* draw again */
        PAST,    /* past the last index there is */
};

/* Ceiling first, then floor; `index` as the cell had it, frozen bit and all. */
enum verdict view_judge(const struct view *view, uint64_t index, uint64_t count);

/* The cell that the view's sequence lives in, whatever view->cell says. The client is writable. */
struct cell *view_cell(const struct view *view);

/* Must the name be looked up again before anything can be drawn? */
bool view_retired(const struct view *view);

/*
 * Can claims have carried the next index to where it is? If not, somebody wrote it
 * there: nothing is decided by it, until the daemon has seen it and given the
 * sequence another slot.
 */
bool view_plausible(const struct view *view, uint64_t next);

/*
 * -EOVERFLOW. Where the daemon has not come to the end yet it is called, to see
 * whether `next` is right.
 */
int view_past(const struct view *view);

/*
 * Ask the daemon for more: mark the slot, then post the doorbell, unless a post is
 * pending. That one may be lost: whoever waits must view_sleep(), which sees to it.
 */
void view_ring(const struct view *view);

/* Can this handle draw from this view? 0; -ECHILD, -EACCES. */
int view_drawable(const struct seqnum *seq, const struct view *view);

/* CLOCK_MONOTONIC usec at which a wait that begins now must end. */
uint64_t draw_deadline(const struct seqnum *seq);

/*
 * Sleep until the window's wake word is no longer `wake`, for at most `most`
 * usec or what is left of the time. 0; -ETIMEDOUT when none is left; -ECHILD in
 * the child of a signal handler that forked meanwhile. The first sleep of a draw,
 * by *waited, is counted in the cell. With `most` of WAIT_SLICE_USEC it is the
 * daemon that is waited for: it is called again if it has done nothing.
 */
int view_sleep(const struct seqnum *seq, const struct view *view, uint32_t wake, uint64_t most,
               uint64_t deadline, bool *waited);

/*
 * Move on to what the name leads to now. 0 with *view the handle's newest view,
 * which is the same as before when there is nothing new yet.
 */
int view_renew(struct seqnum *seq, const struct view **view);

/*
 * Draw `count` numbers, *view being the handle's newest as far as known; in the
 * end *view and *ret_index lead to them. 0; -ERESTART; seqnum_next_run()'s errors.
 */
int gapless_draw(struct seqnum *seq, const struct view **view, uint64_t count, uint64_t *ret_index);
int time_draw(struct seqnum *seq, const struct view **view, uint64_t count, uint64_t *ret_index);

/*
 * One id of kind time, if all is plainly in order: -ERESTART if not, or if the handle
 * leads to something else.
 */
int time_next(struct seqnum *seq, int64_t *ret);

/*
 * The index that the next draw would get: view_next_index(), but of kind time not
 * before what the clock says, however long nobody has drawn.
 */
uint64_t view_coming_index(const struct view *view);

/* What the clock says, of kind time. */
uint64_t time_now_index(const struct view *view);

/* Of a counter alone; else -ERESTART. */
int counter_run(struct seqnum *seq, const struct view **view, uint32_t count, uint64_t *ret_index);
