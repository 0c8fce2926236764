/* SPDX-License-Identifier: MIT */

/* Adoption of a window left by an earlier daemon; see adopt.h. */

#include "adopt.h"

#include "atomic.h"

static uint64_t max_u64(uint64_t a, uint64_t b)
{
        return a > b ? a : b;
}

struct adopt_view adopt_look(const struct window *window, const struct cell *cell, uint32_t slot)
{
        return (struct adopt_view){
                .id = window->id,
                .generation = window->generation,
                .floor = window_look(&window->floor),
                .ceiling = window_look(&window->ceiling),
                .frozen = window_look(&window->frozen),
                .next = cell_next(&cell->next),
                .state = see_u32(&window->state),
                .overwritten = see_u64(&cell->mark) != cell_mark(slot), /* after `next` */
        };
}

struct sequence_params adopt_params(const struct window *window)
{
        return (struct sequence_params){
                .kind = window->kind,
                .cycle = window->cycle != 0,
                .node_bits = window->node_bits,
                .serial_bits = window->serial_bits,
                .node = window->node,
                .hold_limit = window->hold_limit,
                .start = window->start,
                .increment = window->increment,
                .min = window->min,
                .max = window->max,
                .epoch = window->epoch,
        };
}

static struct adopt_plan fresh(uint64_t position, const char *remark)
{
        return (struct adopt_plan){
                .action = ADOPT_FRESH,
                .position = position,
                .remark = remark,
        };
}

/*
 * The window was closed by a freeze. Where, is best known to the store, if the
 * daemon lived to save it; else to the window, where it was noted before. (That it
 * was not, and void claims have carried `next` on from there, takes somebody else
 * who set the bit, or a daemon of before it was done so.)
 * Of two answers the higher wins: a store restored from a backup is behind.
 */
static struct adopt_plan decide_frozen(const struct sequence *sequence,
                                       const struct adopt_view *view)
{
        uint64_t durable = max_u64(sequence->hi, view->ceiling);
        uint64_t claimed = view->next & ~CELL_FROZEN;
        bool noted = view->state == WINDOW_FROZEN;
        uint64_t position = noted ? view->frozen : claimed;
        uint64_t floor = view->floor;

        if (sequence->exact && sequence->hi > position)
                position = sequence->hi;
        if (position > durable + WINDOW_OVERSHOOT_MAX)
                return fresh(durable, "its frozen position cannot be believed");
        /* A jump that was committed and not published: claims below it are void. */
        if (!sequence->exact && sequence->lo > view->ceiling)
                floor = sequence->lo;
        position = max_u64(position, floor);
        if (position > sequence->map.limit)
                position = sequence->map.limit;
        return (struct adopt_plan){
                .action = ADOPT_FROZEN,
                .position = position,
                .floor = floor,
                .ceiling = view->ceiling,
                .store_behind = view->ceiling > sequence->hi,
        };
}

/*
 * `next` moves by commits alone, so it is exact: frozen or not, it is where the
 * next daemon goes on. The ceiling may lie below what the store has, if the last
 * daemon died between the two.
 */
static struct adopt_plan decide_gapless(const struct sequence *sequence,
                                        const struct adopt_view *view)
{
        uint64_t durable = max_u64(sequence->hi, view->ceiling);
        uint64_t next = view->next & ~CELL_FROZEN;

        if (next < durable || next > durable + WINDOW_OVERSHOOT_MAX || next > sequence->map.limit)
                return fresh(durable, "its next index cannot be believed");
        return (struct adopt_plan){
                .action = view->next & CELL_FROZEN ? ADOPT_FROZEN : ADOPT_KEEP,
                .position = next,
                .floor = view->floor,
                .ceiling = view->ceiling,
                .store_behind = view->ceiling > sequence->hi,
        };
}

static struct adopt_plan decide_open(const struct sequence *sequence, const struct adopt_view *view)
{
        uint64_t durable = max_u64(sequence->hi, view->ceiling);

        if (sequence->exact && sequence->hi > view->ceiling)
                return fresh(durable, "the store has moved on since");
        if (view->next > durable + WINDOW_OVERSHOOT_MAX)
                return fresh(durable, "its next index cannot be believed");
        return (struct adopt_plan){
                .action = ADOPT_KEEP,
                .position = max_u64(view->next, view->floor),
                .floor = view->floor,
                .ceiling = view->ceiling,
                .store_behind = view->ceiling > sequence->hi,
        };
}

struct adopt_plan adopt_decide(const struct sequence *sequence, const struct adopt_view *view)
{
        uint64_t limit = sequence->map.limit;

        bool same = view->id == sequence->id && view->generation == sequence->generation;
        bool retired = view->floor == WINDOW_CLOSED || view->state == WINDOW_RETIRED;

        if (view->id == sequence->id && view->generation > sequence->generation && !retired)
                return fresh(sequence->hi, "it was altered after the store was: is that a backup? "
                                           "numbers since then may come again");
        if (!same)
                return fresh(sequence->hi, view->id ? NULL : "its window was overwritten");
        if (retired)
                return fresh(view->ceiling > limit ? sequence->hi
                                                   : max_u64(sequence->hi, view->ceiling),
                             NULL);
        if (view->floor > limit || view->ceiling > limit)
                return fresh(sequence->hi, "its limits cannot be believed");
        if (view->overwritten)
                return fresh(max_u64(sequence->hi, view->ceiling), "its cell was overwritten");
        if (sequence->params.kind == SEQUENCE_GAPLESS)
                return decide_gapless(sequence, view);
        if (view->next & CELL_FROZEN)
                return decide_frozen(sequence, view);
        return decide_open(sequence, view);
}

bool adopt_continued(const struct sequence *sequence, const struct window *window,
                     const struct adopt_view *view)
{
        struct sequence_params params = adopt_params(window);
        struct sequence_map map;
        char message[256];

        if (view->id != sequence->id || view->generation + 1 != sequence->generation)
                return false;
        if (!(view->next & CELL_FROZEN) || view->state != WINDOW_FROZEN || view->frozen == 0)
                return false;
        if (sequence_params_check(&params, message, sizeof(message)) ||
            window->origin < params.min || window->origin > params.max)
                return false;
        map = sequence_map_make(&params, window->origin);
        return view->ceiling <= view->frozen && view->frozen <= map.limit &&
               sequence_map_value(&map, view->frozen - 1) == sequence->map.origin;
}
