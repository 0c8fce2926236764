/* SPDX-License-Identifier: MIT */

/*
 * Ids ordered by time: a draw moves the cell's one packed word (milliseconds and
 * serial) to the clock, or one further where the clock has not moved on or was
 * stepped back, by compare-and-swap.
 *
 * Nothing is claimed above the ceiling, so a draw that gives up leaves nothing
 * behind. The ceiling was looked at before the swap; a freeze and a thaw may have
 * come between the two, and the ceiling after them be a lower one. So what was
 * claimed is judged once more, as a counter's claim is.
 */

#include <errno.h>

#include "atomic.h"
#include "clock.h"
#include "draw.h"
#include "timeid.h"

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define MSEC_USEC UINT64_C(1000)

/* A draw that could not be done at first sight. */
struct call {
        struct seqnum *seq;
        const struct view *view;
        uint64_t count;
        uint64_t deadline;
        uint64_t paced_at;    /* the value of `next` that was seen to lead */
        uint64_t paced_since; /* CLOCK_MONOTONIC, usec, when it first was; 0: none was */
        bool waited;          /* counted among those that had to wait */
};

uint64_t time_now_index(const struct view *view)
{
        const struct sequence_params params = {
                .kind = SEQUENCE_TIME,
                .node_bits = view->map.node_bits,
                .serial_bits = view->map.serial_bits,
                .epoch = view->window->epoch,
        };

        return sequence_time_index(&params, clock_usec(CLOCK_REALTIME) / 1000);
}

static void ring_if_low(const struct view *view, uint64_t from, uint64_t end)
{
        uint64_t low = window_look_low(&view->window->low);

        if (from <= low && low < end)
                view_ring(view);
}

static int sleep_for(struct call *call, uint32_t wake, uint64_t usec)
{
        return view_sleep(call->seq, call->view, wake, usec, call->deadline, &call->waited);
}

/* Does no daemon look after the slot now, nor will one later? */
static bool left_behind(const struct call *call)
{
        const struct mapping *mapping = call->view->mapping;

        return view_retired(call->view) ||
               (!mapping_attended(mapping) && !mapping_current(mapping, call->seq->client->shm));
}

/* Call the daemon, or move on if it has, and wait. 0: look again. */
static int wait_for_daemon(struct call *call, uint32_t wake)
{
        const struct view *stale = call->view;
        int r;

        if (left_behind(call)) {
                r = view_renew(call->seq, &call->view);
                if (r < 0 || call->view != stale)
                        return r;
        }
        view_ring(stale);
        return sleep_for(call, wake, WAIT_SLICE_USEC);
}

/* The claim is made: granted at once, but for a freeze in between. 1: granted; 0: draw again. */
static int settle_claim(struct call *call, uint64_t index)
{
        const struct view *view = call->view;
        int r = 0;

        while (r == 0) {
                uint32_t wake = wake_look(&view->window->wake);

                switch (view_judge(view, index, call->count)) {
                case GRANTED:
                        return 1;
                case VOID:
                        return 0;
                case PAST:
                        return view_past(view);
                case WAITING:
                        if (left_behind(call))
                                return 0;
                        view_ring(view);
                        r = sleep_for(call, wake, WAIT_SLICE_USEC);
                        break;
                }
        }
        return r;
}

/*
 * `next` leads. 1: it has for a millisecond and may be moved; 0: slept, look again. By
 * the clock, not by having slept: a signal, a wake-up or the caller's little time may
 * end a sleep at once.
 */
static int pace(struct call *call, uint64_t next, uint32_t wake)
{
        uint64_t now = clock_usec(CLOCK_MONOTONIC);

        if (call->paced_since == 0 || call->paced_at != next) {
                call->paced_at = next;
                call->paced_since = now;
        }
        if (now - call->paced_since >= MSEC_USEC)
                return 1;
        return sleep_for(call, wake, call->paced_since + MSEC_USEC - now);
}

/* One attempt. 1: granted, at *ret_index; 0: look again; or a negative errno. */
static int attempt(struct call *call, uint64_t *ret_index)
{
        const struct view *view = call->view;
        uint32_t wake = wake_look(&view->window->wake); /* before looking: see wake_bump() */
        struct cell *cell = view_cell(view);
        uint64_t next = cell_next(&cell->next);
        /* Ceiling first: whoever sees a new ceiling sees its floor. */
        uint64_t ceiling = window_look(&view->window->ceiling);
        uint64_t floor = window_look(&view->window->floor);
        struct time_claim claim;
        int r;

        if ((next & CELL_FROZEN) || view_retired(view))
                return wait_for_daemon(call, wake);
        claim = time_decide(&view->map, next, floor, ceiling, time_now_index(view), call->count);
        switch (claim.verdict) {
        case TIME_TOO_MANY:
                return -ERANGE;
        case TIME_PAST:
                if (view_plausible(view, next))
                        return view_past(view);
                return wait_for_daemon(call, wake);
        case TIME_CEILING:
                return wait_for_daemon(call, wake);
        case TIME_LEADS:
                r = pace(call, next, wake);
                if (r <= 0)
                        return r;
                break;
        case TIME_CLAIM:
                break;
        }
        if (!cell_advance(&cell->next, &next, claim.index + call->count))
                return 0;
        ring_if_low(view, next, claim.index + call->count);
        *ret_index = claim.index;
        return settle_claim(call, claim.index);
}

static __attribute__((noinline, cold)) int draw_with_patience(struct seqnum *seq,
                                                              const struct view **view,
                                                              uint64_t count, uint64_t *ret_index)
{
        struct call call = {
                .seq = seq,
                .view = *view,
                .count = count,
                .deadline = draw_deadline(seq),
        };
        uint64_t index = 0;
        int r = 0;

        while (r == 0) {
                r = view_drawable(seq, call.view);
                if (r >= 0 && call.view->map.kind != SEQUENCE_TIME)
                        r = -ERESTART;
                if (r >= 0)
                        r = attempt(&call, &index);
        }
        if (r < 0)
                return r;
        *view = call.view;
        *ret_index = index;
        return 0;
}

/* --- the fast path ----------------------------------------------------- */

/* Swaps that others were faster with, before it is done with patience. */
#define ATTEMPTS 8

/*
 * The index of a single id as time_decide() has it, where that is TIME_CLAIM and
 * there is no doubt; UINT64_MAX, also for a frozen `next`, where there is.
 */
static inline uint64_t decide_plainly(const struct view *view, uint64_t next, uint64_t ms)
{
        const struct window *window = view->window;
        unsigned serial_bits = view->map.serial_bits;
        uint64_t ceiling = window_look(&window->ceiling); /* before floor */
        uint64_t floor = window_look(&window->floor);
        uint64_t index = ms << serial_bits;

        index = index > next ? index : next;
        index = index > floor ? index : floor;
        if (index >= ceiling || index >> serial_bits > ms + TIME_LEAD_MSEC)
                return UINT64_MAX;
        return index;
}

/* Milliseconds since the sequence's epoch; UINT64_MAX: before it, or past its last. */
static inline uint64_t now_msec(const struct view *view)
{
        uint64_t ms, epoch = (uint64_t)view->window->epoch;
        struct timespec t;

        clock_gettime(CLOCK_REALTIME, &t);
        ms = (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
        return ms >= epoch && ms - epoch < view->map.limit >> view->map.serial_bits ? ms - epoch
                                                                                    : UINT64_MAX;
}

/*
 * What most draws need: the clock, one swap, one more look. A swap that fails is
 * tried again by the same clock: the id will be larger than all before it all the
 * same. A claim that was not granted is left as a hole, which ids made of time have
 * anyway.
 */
static inline bool draw_plainly(const struct view *view, uint64_t *ret_index)
{
        struct cell *cell = view_cell(view);
        uint64_t ms = now_msec(view), next = cell_next(&cell->next), index;

        if (unlikely(ms == UINT64_MAX))
                return false;
        for (unsigned i = 0; i < ATTEMPTS; i++) {
                index = decide_plainly(view, next, ms);
                if (unlikely(index == UINT64_MAX))
                        return false;
                if (unlikely(!cell_advance(&cell->next, &next, index + 1)))
                        continue;
                ring_if_low(view, next, index + 1);
                *ret_index = index;
                return likely(view_judge(view, index, 1) == GRANTED);
        }
        return false;
}

int time_next(struct seqnum *seq, int64_t *ret)
{
        const struct view *view = handle_view(seq);
        uint64_t index;

        if (view->map.kind != SEQUENCE_TIME || view_drawable(seq, view) < 0 ||
            !draw_plainly(view, &index))
                return -ERESTART;
        *ret = sequence_time_value(&view->map, index);
        return 0;
}

int time_draw(struct seqnum *seq, const struct view **view, uint64_t count, uint64_t *ret_index)
{
        int r = view_drawable(seq, *view);

        if (r < 0)
                return r;
        if (count == 1 && draw_plainly(*view, ret_index))
                return 0;
        return draw_with_patience(seq, view, count, ret_index);
}

int seqnum_explain(struct seqnum *seq, int64_t id, struct seqnum_time *ret)
{
        const struct view *view = handle_view(seq);
        int r;

        if (!view->mapping)
                return -ECHILD;
        if (view_retired(view)) {
                r = handle_renew(seq, view);
                if (r < 0)
                        return r;
                view = handle_view(seq);
        }
        if (view->map.kind != SEQUENCE_TIME)
                return -EOPNOTSUPP;
        if (id < 0)
                return -EINVAL;
        /* The widths as they were checked when the view was made. */
        sequence_time_explain(
                &(struct sequence_params){
                        .node_bits = view->map.node_bits,
                        .serial_bits = view->map.serial_bits,
                        .epoch = view->window->epoch,
                },
                id, &ret->unix_msec, &ret->node, &ret->serial);
        return 0;
}
