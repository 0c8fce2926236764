/* SPDX-License-Identifier: MIT */

/* Moving windows; see window.h for the argument and tests/model for its proof. */

#include "window.h"

#include "atomic.h"
#include "futex.h"

void window_wake(struct segment *segment, uint32_t slot)
{
        struct window *window = &segment->windows[slot];

        wake_bump(&window->wake);
        futex_wake_all(&window->wake);
}

/*
 * Claims count from the floor to the last index. `next` may lie outside without
 * anybody's ill will: draws go on past the end, and a claim that straddled a
 * jump may be given back.
 */
static uint64_t believable(const struct sequence *sequence, uint64_t next)
{
        if (next < sequence->floor)
                next = sequence->floor;
        return next > sequence->map.limit ? sequence->map.limit : next;
}

static bool marked(const struct segment *segment, uint32_t slot)
{
        return see_u64(&segment->map.cells[slot].mark) == cell_mark(slot);
}

/* How many indices of blocks may have been given back since `sure` was learnt. */
static uint64_t given_since(const struct segment *segment, const struct sequence *sequence)
{
        uint64_t giving = cell_giving(&segment->map.cells[sequence->slot].giving);

        return giving > sequence->sure_given ? giving - sequence->sure_given : 0;
}

static bool plausible(const struct segment *segment, const struct sequence *sequence, uint64_t next)
{
        if (next > sequence_durable(sequence) + WINDOW_OVERSHOOT_MAX)
                return false;
        if (next < sequence->drawn)
                return false;
        if (next < sequence->sure && sequence->sure - next > given_since(segment, sequence))
                return false;
        /* What was committed without a gap is not taken back. */
        return sequence->params.kind != SEQUENCE_GAPLESS || next >= sequence_durable(sequence);
}

/* The mark comes last: if it is there, `next` was read before anything was overwritten. */
bool window_believes(const struct segment *segment, const struct sequence *sequence, uint64_t next)
{
        return plausible(segment, sequence, next) && marked(segment, sequence->slot);
}

bool window_next(const struct segment *segment, const struct sequence *sequence, uint64_t *ret)
{
        uint64_t next = cell_next(&segment->map.cells[sequence->slot].next);

        if (sequence->frozen)
                next = sequence->frozen_at;
        if (sequence->frozen ? !plausible(segment, sequence, next)
                             : !window_believes(segment, sequence, next))
                return false;
        *ret = believable(sequence, next);
        return true;
}

void window_learn(const struct segment *segment, struct sequence *sequence)
{
        const struct cell *cell = &segment->map.cells[sequence->slot];
        uint64_t given = cell_given(&cell->given); /* before `next` */
        uint64_t next = cell_next(&cell->next), room;

        if (sequence->frozen || !window_believes(segment, sequence, next))
                return;
        /* By compare-and-swap `next` moves in one direction alone. */
        if (sequence->params.kind != SEQUENCE_COUNTER ||
            (next > sequence->looked && next - sequence->looked <= sequence->looked_room)) {
                sequence->sure = next;
                sequence->sure_given = given;
        }
        room = sequence->ceiling > next ? sequence->ceiling - next : 0;
        sequence->looked = next;
        sequence->looked_room = room < UINT32_MAX ? (uint32_t)room : UINT32_MAX;
}

bool window_intact(const struct segment *segment, const struct sequence *sequence)
{
        const struct window *window = &segment->windows[sequence->slot];

        return !sequence->spoilt && window->id == sequence->id &&
               window->generation == sequence->generation &&
               window->origin == sequence->map.origin &&
               window->increment == sequence->params.increment &&
               window_look(&window->ceiling) == sequence->ceiling &&
               window_look(&window->floor) == sequence->floor &&
               see_u32(&window->state) == (sequence->frozen ? WINDOW_FROZEN : WINDOW_OPEN) &&
               marked(segment, sequence->slot);
}

/* Another daemon, or none, looked before. */
static void know_nothing(struct sequence *sequence)
{
        sequence->looked = sequence->sure = sequence->sure_given = sequence->drawn = 0;
        sequence->looked_room = 0;
}

/*
 * Where a draw rings for more: when half of what lies ahead is used up. Never
 * once the ceiling is the sequence's end. Ids made of time need not have been
 * drawn to be behind: what lies ahead is reckoned from the ceiling down.
 */
static uint64_t low_mark(const struct sequence *sequence, uint64_t next, uint64_t hi)
{
        if (hi >= sequence->map.limit)
                return UINT64_MAX;
        if (sequence->params.kind == SEQUENCE_TIME)
                return hi > sequence->size / 2 ? hi - sequence->size / 2 : 0;
        return next < hi ? hi - (hi - next + 1) / 2 : hi;
}

/*
 * The last steps of every move that opens a window: low mark, then ceiling, so
 * that whoever is granted by the new ceiling sees the new mark.
 */
static void publish_ceiling(struct segment *segment, struct sequence *sequence, uint64_t next,
                            uint64_t hi)
{
        struct window *window = &segment->windows[sequence->slot];

        sequence->low = low_mark(sequence, next, hi);
        sequence->ceiling = hi;
        window_publish_low(&window->low, sequence->low);
        window_publish(&window->ceiling, hi);
}

static void extend(struct segment *segment, struct sequence *sequence, uint64_t hi)
{
        uint64_t next = cell_raise(&segment->map.cells[sequence->slot].next, sequence->floor);

        publish_ceiling(segment, sequence, next, hi);
}

static void jump(struct segment *segment, struct sequence *sequence, uint64_t lo, uint64_t hi)
{
        uint64_t next = cell_raise(&segment->map.cells[sequence->slot].next, lo);

        sequence->floor = lo;
        window_publish(&segment->windows[sequence->slot].floor, lo);
        publish_ceiling(segment, sequence, next, hi);
}

/*
 * Claims from before the freeze may wait between the ceiling and where claims
 * ended. They are good only if the new range touches the ceiling: what lies
 * between two ranges is not ours.
 */
static void thaw(struct segment *segment, struct sequence *sequence, uint64_t lo, uint64_t hi)
{
        struct window *window = &segment->windows[sequence->slot];
        uint64_t next = sequence->frozen_at > lo ? sequence->frozen_at : lo;

        cell_thaw(&segment->map.cells[sequence->slot].next, next);
        if (lo > sequence->ceiling) {
                sequence->floor = lo;
                window_publish(&window->floor, lo);
        }
        publish_ceiling(segment, sequence, next, hi);
        publish_u32(&window->state, WINDOW_OPEN);
        sequence->frozen = false;
}

bool window_grant(struct segment *segment, struct sequence *sequence, uint64_t lo, uint64_t hi)
{
        struct window *window = &segment->windows[sequence->slot];

        if (hi > sequence->map.limit)
                hi = sequence->map.limit;
        if (sequence->frozen)
                thaw(segment, sequence, lo, hi);
        else if (lo <= sequence->ceiling)
                extend(segment, sequence, hi);
        else
                jump(segment, sequence, lo, hi);
        count_up(&window->refills);
        window_wake(segment, sequence->slot);
        /* The daemon's half of the pattern at cell_claim(): mark first, then look. */
        return sequence->low != UINT64_MAX &&
               cell_next(&segment->map.cells[sequence->slot].next) > sequence->low;
}

static void note_closed(struct window *window, uint64_t index)
{
        window_publish(&window->frozen, index);
        publish_u32(&window->state, WINDOW_FROZEN);
}

static void lower_ceiling(struct window *window, struct sequence *sequence, uint64_t index)
{
        if (index >= sequence->ceiling)
                return;
        sequence->ceiling = index;
        window_publish(&window->ceiling, index);
}

/* What follows the freeze's bit: it is known where claims ended. */
static void close_at(struct window *window, struct sequence *sequence, uint64_t index)
{
        sequence->frozen = true;
        sequence->frozen_at = index;
        note_closed(window, index);
        lower_ceiling(window, sequence, index);
}

bool window_try_close(struct segment *segment, uint32_t slot, uint64_t *seen)
{
        if (*seen & CELL_FROZEN)
                return false;
        note_closed(&segment->windows[slot], *seen);
        return cell_freeze(&segment->map.cells[slot].next, seen, CELL_FROZEN);
}

/*
 * Each time that somebody claims in between, the ceiling comes down to there: they
 * wait then, and do not claim again, so it ends.
 */
uint64_t window_freeze(struct segment *segment, struct sequence *sequence)
{
        struct window *window = &segment->windows[sequence->slot];
        uint64_t index;

        if (sequence->frozen)
                return sequence->frozen_at;
        index = cell_next(&segment->map.cells[sequence->slot].next);
        while (!window_try_close(segment, sequence->slot, &index) && !(index & CELL_FROZEN))
                lower_ceiling(window, sequence, believable(sequence, index));
        /* Frozen by somebody else, or scribbled upon: claims are anybody's guess. */
        if ((index & CELL_FROZEN) || !window_believes(segment, sequence, index)) {
                index = sequence_durable(sequence);
                sequence->doubted = sequence->spoilt = true;
        }
        index = believable(sequence, index < sequence->lo ? sequence->lo : index);
        close_at(window, sequence, index);
        return index;
}

void window_adopt_open(struct segment *segment, struct sequence *sequence, uint64_t floor,
                       uint64_t ceiling)
{
        struct window *window = &segment->windows[sequence->slot];

        know_nothing(sequence);
        sequence->frozen = false;
        sequence->floor = floor;
        publish_ceiling(segment, sequence, cell_next(&segment->map.cells[sequence->slot].next),
                        ceiling);
        /* A thaw may have ended before it said so; a later freeze relies on it. */
        publish_u32(&window->state, WINDOW_OPEN);
}

void window_adopt_frozen(struct segment *segment, struct sequence *sequence, uint64_t floor,
                         uint64_t ceiling, uint64_t position)
{
        know_nothing(sequence);
        sequence->floor = floor;
        sequence->ceiling = ceiling;
        window_publish(&segment->windows[sequence->slot].floor, floor);
        close_at(&segment->windows[sequence->slot], sequence, position);
}

void window_confirm(struct segment *segment, struct sequence *sequence, uint64_t position)
{
        struct window *window = &segment->windows[sequence->slot];

        sequence->ceiling = position;
        window_publish(&window->ceiling, position);
        if (sequence->frozen) {
                cell_thaw(&segment->map.cells[sequence->slot].next, sequence->frozen_at);
                publish_u32(&window->state, WINDOW_OPEN);
                sequence->frozen = false;
        }
        count_up(&window->refills);
        window_wake(segment, sequence->slot);
}

void window_grant_rest(struct segment *segment, struct sequence *sequence)
{
        if (!sequence->frozen || sequence->frozen_at <= sequence->ceiling)
                return;
        sequence->ceiling = sequence->frozen_at;
        window_publish(&segment->windows[sequence->slot].ceiling, sequence->ceiling);
        window_wake(segment, sequence->slot);
}

void window_grant_all(struct segment *segment, uint32_t slot, uint64_t end)
{
        window_publish(&segment->windows[slot].ceiling, end);
}

void window_hand_over(struct segment *segment, uint32_t slot)
{
        publish_u32(&segment->windows[slot].state, WINDOW_RETIRED);
        window_wake(segment, slot);
}

void window_retire(struct segment *segment, uint32_t slot)
{
        window_publish(&segment->windows[slot].floor, WINDOW_CLOSED);
        publish_u32(&segment->windows[slot].state, WINDOW_RETIRED);
        window_wake(segment, slot);
}
