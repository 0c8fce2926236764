/* SPDX-License-Identifier: MIT */

/*
 * Draws by the daemon itself; see serve.h.
 *
 * What a compare-and-swap claims below the ceiling is granted: the ceiling was
 * durable before it was published, and only this thread ever lowers it. So,
 * unlike a client, the daemon never has a claim that waits, and a connection
 * that ends takes none with it.
 */

#include "serve.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "atomic.h"
#include "clock.h"
#include "timeid.h"
#include "turn.h"
#include "window.h"

static struct cell *cell_of(const struct service *service, const struct sequence *sequence)
{
        return &service->segment->map.cells[sequence->slot];
}

static bool placed(const struct service *service, const struct sequence *sequence)
{
        return registry_at(&service->registry, sequence->slot) == sequence;
}

static int want_more(struct service *service, struct sequence *sequence)
{
        refill_want(&service->refill, sequence);
        refill_run(&service->refill);
        return -EAGAIN;
}

/* It was granted, so it is never given back. */
static void granted(struct sequence *sequence, uint64_t end)
{
        if (end > sequence->drawn)
                sequence->drawn = end;
}

/* The cell cannot be believed: a fresh slot, which has nothing reserved yet. */
static int distrust(struct service *service, struct sequence *sequence)
{
        service_distrust(sequence, service);
        return want_more(service, sequence);
}

static void want_if_low(struct service *service, struct sequence *sequence, uint64_t index,
                        uint64_t end)
{
        if (index <= sequence->low && sequence->low < end) {
                refill_want(&service->refill, sequence);
                refill_run(&service->refill);
        }
}

static void run_of(const struct sequence *sequence, uint64_t index, uint32_t count,
                   struct seqnum_run *ret)
{
        *ret = (struct seqnum_run){
                .first = sequence_map_value(&sequence->map, index),
                .increment = sequence->map.increment,
                .count = count,
        };
}

/* --- counters ------------------------------------------------------------ */

/* A run must not straddle the wrap of a cycling sequence: it begins behind it. */
static uint64_t begin_run(const struct sequence *sequence, uint64_t next, uint32_t count)
{
        uint64_t straight = sequence_map_straight(&sequence->map, next, count);

        return straight < count ? next + straight : next;
}

static int draw_counter(struct service *service, struct sequence *sequence, uint32_t count,
                        struct seqnum_run *ret)
{
        struct cell *cell = cell_of(service, sequence);
        uint64_t limit = sequence->map.limit, next = cell_next(&cell->next), index;

        if (sequence->map.period && count > sequence->map.period)
                return -ERANGE;
        do {
                if (sequence->frozen)
                        next = sequence->frozen_at;
                else if (!window_believes(service->segment, sequence, next))
                        return distrust(service, sequence);
                index = next < sequence->floor ? sequence->floor : next;
                if (index < limit)
                        index = begin_run(sequence, index, count);
                if (index >= limit || count > limit - index)
                        return -EOVERFLOW;
                if (sequence->frozen || index + count > sequence->ceiling) {
                        sequence->demand = index + count;
                        return want_more(service, sequence);
                }
        } while (!cell_advance(&cell->next, &next, index + count));
        granted(sequence, index + count);
        want_if_low(service, sequence, next, index + count);
        run_of(sequence, index, count, ret);
        return 0;
}

/* --- kind time ------------------------------------------------------------ */

/*
 * To enter a millisecond ahead of the clock takes one. Whoever has waited for that
 * asks again; that it was this long since `next` was first seen is noted where a
 * counter notes its last refill.
 */
static bool paced(struct sequence *sequence, uint64_t next)
{
        uint64_t now = clock_usec(CLOCK_MONOTONIC);

        if (sequence->refilled_next != next) {
                sequence->refilled_next = next;
                sequence->refilled_usec = now;
        }
        return now - sequence->refilled_usec >= USEC_PER_SEC / 1000;
}

static uint64_t now_index(const struct sequence *sequence)
{
        return sequence_time_index(&sequence->params, clock_usec(CLOCK_REALTIME) / 1000);
}

static int draw_time(struct service *service, struct sequence *sequence, uint32_t count,
                     struct seqnum_run *ret)
{
        struct cell *cell = cell_of(service, sequence);
        uint64_t now = now_index(sequence);
        uint64_t next = cell_next(&cell->next);
        struct time_claim claim;

        do {
                if (sequence->frozen)
                        return want_more(service, sequence);
                if (!window_believes(service->segment, sequence, next))
                        return distrust(service, sequence);
                claim = time_decide(&sequence->map, next, sequence->floor, sequence->ceiling, now,
                                    count);
                if (claim.verdict == TIME_TOO_MANY)
                        return -ERANGE;
                if (claim.verdict == TIME_PAST)
                        return -EOVERFLOW;
                if (claim.verdict == TIME_CEILING)
                        return want_more(service, sequence);
                if (claim.verdict == TIME_LEADS && !paced(sequence, next))
                        return -EAGAIN;
        } while (!cell_advance(&cell->next, &next, claim.index + count));
        granted(sequence, claim.index + count);
        want_if_low(service, sequence, next, claim.index + count);
        run_of(sequence, claim.index, count, ret);
        return 0;
}

/* --- all kinds ------------------------------------------------------------ */

int serve_draw(struct service *service, struct sequence *sequence, uint32_t count,
               struct seqnum_run *ret)
{
        if (!placed(service, sequence))
                return -EAGAIN;
        switch (sequence->params.kind) {
        case SEQUENCE_COUNTER:
                return draw_counter(service, sequence, count, ret);
        case SEQUENCE_TIME:
                return draw_time(service, sequence, count, ret);
        default:
                return -EOPNOTSUPP;
        }
}

/* Where the sequence stands: the index that the next claim would get. */
static bool position(const struct service *service, const struct sequence *sequence, uint64_t *ret)
{
        return placed(service, sequence) && window_next(service->segment, sequence, ret);
}

int serve_peek(const struct service *service, const struct sequence *sequence, int64_t *ret)
{
        uint64_t next, now = sequence->params.kind == SEQUENCE_TIME ? now_index(sequence) : 0;

        if (!position(service, sequence, &next))
                next = sequence_durable(sequence);
        if (next < now)
                next = now;
        if (next >= sequence->map.limit)
                return -EOVERFLOW;
        *ret = sequence_map_value(&sequence->map, next);
        return 0;
}

/* Claims above the ceiling wait, and are not drawn yet. */
int serve_last(const struct service *service, const struct sequence *sequence, int64_t *ret)
{
        uint64_t next;

        if (!position(service, sequence, &next) || next > sequence->ceiling)
                next = sequence->ceiling;
        if (next == 0)
                return -ENODATA;
        *ret = sequence_map_value(&sequence->map, next - 1);
        return 0;
}

/* --- gapless: whose turn it is --------------------------------------------- */

static bool in_segment(const struct service *service, const struct serve_hold *hold)
{
        return hold->segment_id == service->segment->id;
}

/*
 * Our ids are locked by a description of their own: the locks of one and the same
 * description do not conflict, and the daemon asks by the segment's.
 */
static int open_turns(struct service *service)
{
        uint64_t segment_id = service->segment->id;
        int fd;

        if (service->turns_fd >= 0 && service->turns_segment_id == segment_id)
                return 0;
        fd = turn_open(service->segment->map.fd);
        if (fd < 0)
                return fd;
        if (service->turns_fd >= 0)
                close(service->turns_fd);
        service->turns_fd = fd;
        service->turns_segment_id = segment_id;
        return 0;
}

static int take_id(struct service *service, struct serve_hold *hold)
{
        uint64_t owner;
        int r;

        if (hold->owner && in_segment(service, hold))
                return 0;
        r = open_turns(service);
        if (r >= 0)
                r = turn_id_take(service->turns_fd, &owner);
        if (r < 0)
                return r;
        hold->owner = owner;
        hold->segment_id = service->segment->id;
        hold->watch = (struct turn_watch){0};
        return 0;
}

static bool take_turn(const struct service *service, const struct sequence *sequence,
                      struct serve_hold *hold)
{
        struct cell *cell = cell_of(service, sequence);

        if (hold->watched != sequence->slot) {
                hold->watched = sequence->slot;
                hold->watch = (struct turn_watch){0};
        }
        return turn_try(cell, hold->owner) ||
               turn_look(cell, service->segment->map.fd, sequence->params.hold_limit, &hold->watch,
                         clock_usec(CLOCK_MONOTONIC), hold->owner);
}

int serve_begin(struct service *service, struct sequence *sequence, struct serve_hold *hold,
                int64_t *ret)
{
        uint64_t next;
        int r;

        if (hold->state != HOLD_NONE)
                return -EBUSY;
        if (sequence->params.kind != SEQUENCE_GAPLESS)
                return -EOPNOTSUPP;
        if (!position(service, sequence, &next))
                return want_more(service, sequence);
        if (next >= sequence->map.limit)
                return -EOVERFLOW;
        r = take_id(service, hold);
        if (r < 0)
                return r;
        if (!take_turn(service, sequence, hold))
                return -EAGAIN;
        if (!position(service, sequence, &next) || next >= sequence->map.limit) {
                (void)turn_release(cell_of(service, sequence), hold->owner);
                return -EAGAIN;
        }
        hold->state = HOLD_HELD;
        hold->id = sequence->id;
        hold->generation = sequence->generation;
        hold->index = next;
        hold->slot = sequence->slot;
        (void)snprintf(hold->name, sizeof(hold->name), "%s", sequence->name);
        *ret = sequence_map_value(&sequence->map, next);
        return 0;
}

/* --- gapless: the outcome --------------------------------------------------- */

/* The sequence of the hold, in the slot it was in; NULL: it has moved or changed. */
static struct sequence *held_sequence(const struct service *service, const struct serve_hold *hold)
{
        struct sequence *sequence = registry_at(&service->registry, hold->slot);

        if (!in_segment(service, hold) || !sequence || sequence->id != hold->id ||
            sequence->generation != hold->generation)
                return NULL;
        return sequence;
}

static int end(struct serve_hold *hold, int result)
{
        hold->state = HOLD_NONE;
        return result;
}

/*
 * What was advanced goes with the sequence, wherever that went. In another slot somebody
 * else may have committed the same number since: it was ours if that slot begins above.
 * Of a second slot where it begins does not tell whose it was.
 */
static int confirm(struct service *service, struct serve_hold *hold)
{
        struct sequence *sequence = registry_find(&service->registry, hold->name);
        uint64_t next, done = hold->index + hold->count;

        if (!sequence || sequence->id != hold->id)
                return end(hold, -ESTALE);
        if (sequence->generation != hold->generation)
                return end(hold, 0);
        if (placed(service, sequence) &&
            (!in_segment(service, hold) || sequence->slot != hold->slot)) {
                if (sequence->floor < done)
                        return end(hold, -ESTALE);
                return end(hold, sequence->placements == (uint16_t)(hold->placements + 1)
                                         ? 0
                                         : -ENOTRECOVERABLE);
        }
        if (sequence->ceiling >= done)
                return end(hold, 0);
        if (position(service, sequence, &next) && next < done)
                return end(hold, -ESTALE); /* the segment was lost, and the number with it */
        return want_more(service, sequence);
}

static int advance(struct service *service, struct sequence *sequence, struct serve_hold *hold,
                   uint32_t count)
{
        struct cell *cell = cell_of(service, sequence);
        uint64_t next = hold->index;

        if (owner_look(&cell->owner) != hold->owner)
                return end(hold, -ESTALE);
        if (count > sequence->map.limit - hold->index)
                return -EOVERFLOW;
        if (sequence->frozen)
                return want_more(service, sequence);
        if (!cell_advance(&cell->next, &next, hold->index + count)) {
                (void)turn_release(cell, hold->owner);
                return end(hold, -ESTALE);
        }
        (void)turn_release(cell, hold->owner);
        hold->state = HOLD_COMMITTED;
        hold->count = count;
        hold->placements = sequence->placements;
        return 0;
}

int serve_commit(struct service *service, struct serve_hold *hold, uint32_t count)
{
        struct sequence *sequence;
        int r;

        if (hold->state == HOLD_NONE)
                return -EINVAL;
        if (hold->state == HOLD_HELD) {
                sequence = held_sequence(service, hold);
                r = sequence ? advance(service, sequence, hold, count) : end(hold, -ESTALE);
                if (r < 0)
                        return r;
        }
        return confirm(service, hold);
}

int serve_rollback(struct service *service, struct serve_hold *hold)
{
        const struct sequence *sequence;

        if (hold->state == HOLD_NONE)
                return -EINVAL;
        if (hold->state == HOLD_COMMITTED)
                return -EBUSY;
        sequence = held_sequence(service, hold);
        if (sequence)
                (void)turn_release(cell_of(service, sequence), hold->owner);
        return end(hold, 0);
}

void serve_hold_clear(struct service *service, struct serve_hold *hold)
{
        (void)serve_rollback(service, hold);
        if (hold->owner && hold->segment_id == service->turns_segment_id)
                turn_id_drop(service->turns_fd, hold->owner);
        *hold = (struct serve_hold){0};
}

void serve_forget_turns(struct service *service)
{
        if (service->turns_fd >= 0)
                close(service->turns_fd);
        service->turns_fd = -1;
        service->turns_segment_id = 0;
}
