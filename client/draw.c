/* SPDX-License-Identifier: MIT */

/*
 * Drawing: claim an index, judge the claim.
 *
 * The claim is one fetch_add on the cell; the judgement compares what it
 * returned with the window, ceiling first, then floor. Below the ceiling and
 * not below the floor the claim is granted, and that is the whole fast path:
 * a few loads and one locked instruction. All else is the slow path, which waits,
 * claims again or looks the name up again until the claim is granted, refused
 * for good, or out of time.
 *
 * Why nothing is handed out twice: a granted index was returned by fetch_add
 * to one claimant only (the daemon sets `next` only where all claims it
 * overwrites are void, a client lowers it only over its own ungranted claim,
 * the last made), and it lies below a ceiling that was durable before it was
 * published, so that no later daemon begins below it. tests/model checks it.
 */

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "atomic.h"
#include "clock.h"
#include "draw.h"
#include "futex.h"
#include "token.h"

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* A claim on its way to a verdict. */
struct draw {
        struct seqnum *seq;
        const struct view *view;
        uint64_t wanted;   /* consecutive numbers the caller asked for */
        uint64_t index;    /* claimed: index .. index + count - 1 */
        uint64_t count;    /* `wanted`, or more to get past a wrap */
        bool claimed;      /* in view's cell, not void */
        bool waited;       /* this draw was counted among those that had to wait */
        uint64_t deadline; /* CLOCK_MONOTONIC, usec */
};

/* --- helpers ----------------------------------------------------------- */

static uint64_t add_saturating(uint64_t a, uint64_t b)
{
        return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static void post(struct segment_shared *shared)
{
        count_up(&shared->rings);
        semaphore_post(&shared->doorbell);
}

void view_ring(const struct view *view)
{
        struct segment_shared *shared = view->mapping->shared;
        uint32_t word = view->slot / 64;

        bell_mark(&view->mapping->wants[word], UINT64_C(1) << (view->slot % 64));
        bell_mark(&shared->summary[word / 64], UINT64_C(1) << (word % 64));
        /* A post not yet taken: whoever takes it will see our marks, see bell_mark(). */
        if (semaphore_value(&shared->doorbell) > 0)
                return;
        post(shared);
}

bool view_plausible(const struct view *view, uint64_t next)
{
        return (next & ~CELL_FROZEN) <= window_look(&view->window->ceiling) + WINDOW_OVERSHOOT_MAX;
}

int view_past(const struct view *view)
{
        if (window_look(&view->window->ceiling) < view->map.limit)
                view_ring(view);
        return -EOVERFLOW;
}

enum verdict view_judge(const struct view *view, uint64_t index, uint64_t count)
{
        /* Ceiling first: whoever sees a new ceiling sees its floor. */
        uint64_t ceiling = window_look(&view->window->ceiling);
        uint64_t floor = window_look(&view->window->floor);

        if ((index & CELL_FROZEN) || index < floor)
                return VOID;
        if (index + count <= ceiling)
                return GRANTED;
        if (index + count > view->map.limit && view_plausible(view, index))
                return PAST;
        return WAITING;
}

struct cell *view_cell(const struct view *view)
{
        return &view->mapping->cells[view->slot];
}

bool view_retired(const struct view *view)
{
        return see_u32(&view->window->state) == WINDOW_RETIRED ||
               /* whoever retires it closes it first, and may die between the two */
               window_look(&view->window->floor) == WINDOW_CLOSED ||
               see_u32(&view->mapping->header->state) == SEGMENT_RETIRED;
}

int view_drawable(const struct seqnum *seq, const struct view *view)
{
        if (!view->mapping)
                return -ECHILD;
        return seq->client->writable ? 0 : -EACCES;
}

uint64_t draw_deadline(const struct seqnum *seq)
{
        return add_saturating(clock_usec(CLOCK_MONOTONIC), count_read(&seq->client->timeout_usec));
}

static void await_wake(const struct view *view, uint32_t wake, uint64_t usec, bool slice)
{
        futex_wait(&view->window->wake, wake, usec);
        /*
         * A slice has passed and nothing was done. A post may be pending of which
         * nobody knows: it is counted first, then the daemon is woken, and who
         * posted may have been killed in between. So post, whatever is pending. And
         * somebody may have scribbled that nobody sleeps there: wake it regardless.
         */
        if (slice && wake_look(&view->window->wake) == wake) {
                post(view->mapping->shared);
                semaphore_nudge(&view->mapping->shared->doorbell);
        }
}

int view_sleep(const struct seqnum *seq, const struct view *view, uint32_t wake, uint64_t most,
               uint64_t deadline, bool *waited)
{
        uint64_t now = clock_usec(CLOCK_MONOTONIC);
        uint64_t left = deadline > now ? deadline - now : 0;

        if (left > 0 && !*waited) {
                *waited = true;
                count_up(&view_cell(view)->waits);
        }
        if (left > 0)
                await_wake(view, wake, left < most ? left : most, most == WAIT_SLICE_USEC);
        if (handle_forked(seq)) /* by a signal handler */
                return -ECHILD;
        return left > 0 ? 0 : -ETIMEDOUT;
}

int view_renew(struct seqnum *seq, const struct view **view)
{
        int r = handle_renew(seq, *view);

        if (r == -EAGAIN || r == -ENXIO)
                return 0;
        if (r < 0)
                return r;
        *view = handle_view(seq);
        return 0;
}

/* --- the slow path ----------------------------------------------------- */

/*
 * A claim given back late may have carried `next` back to below where a jump of
 * the window landed. All claims down there are void: not to make them one by one,
 * do as the daemon does at a jump.
 */
static void skip_void(const struct draw *draw)
{
        uint64_t floor = window_look(&draw->view->window->floor);

        if (floor != WINDOW_CLOSED)
                (void)cell_raise(&draw->view->cell->next, floor);
}

static void claim(struct draw *draw)
{
        draw->index = cell_claim(&draw->view->cell->next, draw->count);
        draw->claimed = true;
}

/*
 * Give back a claim that was not granted, so that its numbers are not skipped.
 * Possible only while nobody claimed later; else the claim stands as it was.
 * Never a void one: it was made in a freeze, and `next` may have come to the
 * same value in another freeze since (tests/model, GIVE_BACK_VOID).
 */
static void unclaim(struct draw *draw)
{
        if (draw->claimed && !(draw->index & CELL_FROZEN) &&
            cell_unclaim(&draw->view->cell->next, draw->index, draw->count))
                draw->claimed = false;
}

static bool granted(const struct draw *draw)
{
        return draw->claimed && view_judge(draw->view, draw->index, draw->count) == GRANTED;
}

/*
 * Is it of use to claim now? Not while the window is frozen: the claim would
 * be void. And not above the ceiling while no daemon is there to raise it:
 * callers that time out and try again, for as long as the daemon is away,
 * would skip a number each time.
 */
static bool worth_claiming(const struct draw *draw, bool attended)
{
        uint64_t next = cell_next(&draw->view->cell->next);
        uint64_t end = add_saturating(next, draw->count);

        if ((next & CELL_FROZEN) || !view_plausible(draw->view, next))
                return false;
        return attended || end <= window_look(&draw->view->window->ceiling) ||
               end > draw->view->map.limit;
}

/*
 * Is the window frozen with so few indices left that no claim could be granted
 * after the thaw? Then there is nothing to wait for.
 */
static bool at_its_end(const struct draw *draw)
{
        uint64_t next = cell_next(&draw->view->cell->next);

        /* Claims past the end that cannot be given back would add up. */
        if (!(next & CELL_FROZEN) && add_saturating(next, draw->count) > draw->view->map.limit &&
            view_plausible(draw->view, next))
                return true;
        return see_u32(&draw->view->window->state) == WINDOW_FROZEN &&
               view_next_index(draw->view) + draw->count > draw->view->map.limit;
}

/* Move on to what the name leads to now. 0 also when there is nothing new yet. */
static int renew(struct draw *draw)
{
        const struct view *stale = draw->view;
        int r = view_renew(draw->seq, &draw->view);

        if (r < 0 || draw->view == stale)
                return r;
        draw->claimed = false;
        return draw->view->map.kind == SEQUENCE_COUNTER ? 0 : -ERESTART;
}

static int sleep_a_slice(struct draw *draw, uint32_t wake)
{
        return view_sleep(draw->seq, draw->view, wake, WAIT_SLICE_USEC, draw->deadline,
                          &draw->waited);
}

/*
 * One look at how things stand. 1: granted. 0: slept or moved, look again.
 * Otherwise a negative errno, with the claim abandoned.
 */
static int step(struct draw *draw)
{
        const struct view *view = draw->view;
        uint32_t wake = wake_look(&view->window->wake); /* before looking: see wake_bump() */
        enum verdict verdict = draw->claimed ? view_judge(view, draw->index, draw->count) : VOID;
        bool attended;

        if (verdict == GRANTED)
                return 1;
        if (verdict == PAST)
                return view_past(view);
        if (verdict == VOID)
                draw->claimed = false;
        if (view_retired(view)) {
                int r;

                /* What retired it may first have raised the ceiling over the claim. */
                if (granted(draw))
                        return 1;
                r = renew(draw);
                if (r < 0 || draw->view != view)
                        return r;
                return sleep_a_slice(draw, wake);
        }

        attended = mapping_attended(view->mapping);
        if (!attended) {
                int r = mapping_current(view->mapping, draw->seq->client->shm) ? 0 : renew(draw);

                if (r < 0 || draw->view != view)
                        return r;
                unclaim(draw);
        }
        if (!draw->claimed && at_its_end(draw))
                return view_past(view);
        if (!draw->claimed && worth_claiming(draw, attended)) {
                skip_void(draw);
                claim(draw);
                return clock_usec(CLOCK_MONOTONIC) > draw->deadline ? -ETIMEDOUT : 0;
        }
        view_ring(view);
        return sleep_a_slice(draw, wake);
}

/* Can this handle draw so many at all? Says why not. */
static int drawable(const struct seqnum *seq, const struct view *view, uint64_t count)
{
        int r = view_drawable(seq, view);

        if (r < 0)
                return r;
        if (view->map.kind != SEQUENCE_COUNTER)
                return -ERESTART;
        return view->map.period && count > view->map.period ? -ERANGE : 0;
}

/*
 * Take a claim to its end: granted, or abandoned with a negative errno. What
 * is abandoned was not granted at a last look: the ceiling may have risen over
 * it meanwhile, and then it is ours, and nobody else would draw it.
 */
static int wait_for_grant(struct draw *draw)
{
        int r = granted(draw);

        while (r == 0 && !handle_forked(draw->seq))
                r = step(draw);
        if (r <= 0 && granted(draw))
                r = 1;
        if (handle_forked(draw->seq))
                return -ECHILD;
        if (r > 0)
                return 0;
        unclaim(draw);
        return r;
}

/*
 * Where in the granted claim the wanted run lies. A run must not straddle the
 * wrap of a cycling sequence: then claim so many that the part before the wrap
 * or the part behind it is long enough, whichever way they fall. False: not
 * in this claim.
 */
static bool find_run(const struct draw *draw, uint64_t *ret)
{
        const struct sequence_map *map = &draw->view->map;
        uint64_t straight = sequence_map_straight(map, draw->index, draw->wanted);

        if (straight < draw->wanted && draw->count - straight < draw->wanted)
                return false;
        *ret = straight < draw->wanted ? draw->index + straight : draw->index;
        return true;
}

static void ring_if_low(const struct draw *draw)
{
        uint64_t low = window_look_low(&draw->view->window->low);

        if (draw->index <= low && low < draw->index + draw->count)
                view_ring(draw->view);
}

/*
 * What the fast path could not decide. On success draw->view and *ret_index
 * lead to the numbers.
 */
static int settle(struct draw *draw, uint64_t *ret_index)
{
        int r;

        draw->deadline = draw_deadline(draw->seq);
        for (;;) {
                r = drawable(draw->seq, draw->view, draw->wanted);
                if (r >= 0)
                        r = wait_for_grant(draw);
                else
                        unclaim(draw);
                if (r < 0)
                        return r;
                ring_if_low(draw);
                if (find_run(draw, ret_index))
                        return 0;
                draw->count = 2 * draw->wanted - 1;
                claim(draw);
        }
}

/* A counter's numbers, `index` claimed or void. */
static int counter_draw(struct seqnum *seq, const struct view **view, uint64_t index,
                        uint64_t count, uint64_t *ret_index)
{
        struct draw draw = {
                .seq = seq,
                .view = *view,
                .wanted = count,
                .index = index,
                .count = count,
                .claimed = true,
        };
        int r = settle(&draw, ret_index);

        *view = draw.view;
        return r;
}

/* Whatever kind the name leads to, now and after it was dropped and made anew. */
static __attribute__((noinline, cold)) int draw_slowly(struct seqnum *seq, const struct view **view,
                                                       uint64_t index, uint64_t count,
                                                       uint64_t *ret_index)
{
        int r;

        do {
                switch ((*view)->map.kind) {
                case SEQUENCE_GAPLESS:
                        r = gapless_draw(seq, view, count, ret_index);
                        break;
                case SEQUENCE_TIME:
                        r = time_draw(seq, view, count, ret_index);
                        break;
                default:
                        r = counter_draw(seq, view, index, count, ret_index);
                        break;
                }
                index = CELL_FROZEN; /* nothing claimed in another view: as good as void */
                if (r == -ERESTART)
                        *view = handle_view(seq);
        } while (r == -ERESTART);
        return r;
}

static __attribute__((noinline, cold)) int next_slowly(struct seqnum *seq, const struct view *view,
                                                       uint64_t index, int64_t *ret)
{
        int r = draw_slowly(seq, &view, index, 1, &index);

        if (r < 0)
                return r;
        *ret = sequence_map_value(&view->map, index);
        return 0;
}

/*
 * The claim was made at `next`, which another thread may have replaced since: it is
 * settled in the view that it was made in, which the handle keeps. Where there is none
 * (the head was that of a fork's child), it was void.
 */
__attribute__((cold)) int seqnum_inline_settle(struct seqnum *seq, uint64_t *next, uint64_t index,
                                               int64_t *ret)
{
        const struct view *view = handle_view_of(seq, next);

        return next_slowly(seq, view, view->lens.next == next ? index : CELL_FROZEN, ret);
}

static __attribute__((noinline, cold)) int next_run_slowly(struct seqnum *seq,
                                                           const struct view *view, uint64_t index,
                                                           uint32_t count, struct seqnum_run *ret)
{
        int r = draw_slowly(seq, &view, index, count, &index);

        if (r < 0)
                return r;
        *ret = (struct seqnum_run){
                .first = sequence_map_value(&view->map, index),
                .increment = view->map.increment,
                .count = count,
        };
        return 0;
}

/* --- the fast path ----------------------------------------------------- */

/*
 * Is a claim granted at first sight? Not when it crosses the low mark: then
 * somebody must ring, and the slow path does.
 */
static inline bool fast_granted(const struct window *window, uint64_t index, uint64_t count)
{
        uint64_t ceiling = window_look(&window->ceiling); /* before floor */
        uint64_t floor = window_look(&window->floor);
        uint64_t low = window_look_low(&window->low);

        if (unlikely(index >= ceiling || (count > 1 && count > ceiling - index)))
                return false;
        if (unlikely(index < floor))
                return false;
        return likely(low - index >= count);
}

/* Where nothing is to be claimed: kind time at once, all others with patience. */
static __attribute__((noinline)) int next_unclaimed(struct seqnum *seq, int64_t *ret)
{
        int r = time_next(seq, ret);

        return r == -ERESTART ? next_slowly(seq, handle_view(seq), CELL_FROZEN, ret) : r;
}

/*
 * The draw is in the header, for programs to inline; there its assembly is explained,
 * too. Here other kinds are spared the void claim.
 */
int seqnum_next(struct seqnum *seq, int64_t *ret)
{
        if (unlikely(head_next(&seq->head) == (const uint64_t *)&void_cell.next))
                return next_unclaimed(seq, ret);
        return seqnum_next_inline(seq, ret);
}

/* Are there so many in a row from `next` on, before the end, and in a round of a cycle? */
static inline bool fits(const struct view *view, uint64_t next, uint64_t count)
{
        const struct sequence_map *map = &view->map;

        return next < map->limit && count <= map->limit - next &&
               (!map->period || count <= map->period);
}

/*
 * Claim a run at first sight. 1: granted. 0: to be settled, with what was claimed or
 * something void in *ret_index.
 */
static inline int claim_run(const struct view *view, uint64_t count, uint64_t *ret_index)
{
        /*
         * Void claims would add up: 2^31 of the longest runs carry `next` past its top bit.
         * And others meet a claim made in vain, and may claim behind it.
         */
        *ret_index = cell_next(&view->cell->next);
        if (unlikely(!fits(view, *ret_index, count))) {
                *ret_index |= CELL_FROZEN; /* nothing claimed: as good as void */
                return 0;
        }
        *ret_index = cell_claim(&view->cell->next, count);
        return fast_granted((const struct window *)view->lens.window, *ret_index, count);
}

int seqnum_next_run(struct seqnum *seq, uint32_t count, struct seqnum_run *ret)
{
        const struct view *view = handle_view(seq);
        uint64_t index;

        if (unlikely(count == 0))
                return -EINVAL;
        if (unlikely(!claim_run(view, count, &index)))
                return next_run_slowly(seq, view, index, count, ret);
        *ret = (struct seqnum_run){
                .first = sequence_map_value(&view->map, index),
                .increment = view->map.increment,
                .count = count,
        };
        return 0;
}

int counter_run(struct seqnum *seq, const struct view **view, uint32_t count, uint64_t *ret_index)
{
        uint64_t index;

        if (claim_run(*view, count, &index)) {
                *ret_index = index;
                return 0;
        }
        return counter_draw(seq, view, index, count, ret_index);
}

/* --- looking without taking -------------------------------------------- */

uint64_t view_next_index(const struct view *view)
{
        const struct cell *cell = view_cell(view);
        uint64_t floor = window_look(&view->window->floor);
        uint64_t next = cell_next(&cell->next);

        if (next & CELL_FROZEN)
                next = see_u32(&view->window->state) == WINDOW_FROZEN
                               ? window_look(&view->window->frozen)
                               : next & ~CELL_FROZEN;
        return next < floor ? floor : next;
}

uint64_t view_coming_index(const struct view *view)
{
        uint64_t next = view_next_index(view), now;

        if (view->map.kind != SEQUENCE_TIME)
                return next;
        now = time_now_index(view);
        return next < now ? now : next;
}

int seqnum_peek(struct seqnum *seq, int64_t *ret)
{
        const struct view *view = handle_view(seq);
        uint64_t index;
        int r;

        if (!view->mapping)
                return -ECHILD;
        if (view_retired(view)) {
                r = handle_renew(seq, view);
                if (r < 0)
                        return r;
                view = handle_view(seq);
        }
        index = view_coming_index(view);
        if (index >= view->map.limit) /* closed behind our back, it seems to be at its end */
                return view_retired(view) ? -EAGAIN : -EOVERFLOW;
        *ret = sequence_map_value(&view->map, index);
        return 0;
}
