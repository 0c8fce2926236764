/* SPDX-License-Identifier: MIT */

/*
 * Blocks: a thread's stock of numbers, claimed at once and handed out one by one
 * without a word to anybody else.
 *
 * A block is a run that was drawn like any other, so that its numbers are unique and
 * durable before the first is handed out. What a block adds is what becomes of them
 * later:
 *
 *   - the sequence is dropped or restarted: its window is closed, which is looked at
 *     for each number, and what is left is dropped. A restarted sequence may come by
 *     these numbers once more;
 *   - it is altered: the new life begins behind all that was claimed, so what is left
 *     is nobody else's and goes on being handed out;
 *   - fork: the child's copy is emptied before the child runs (handle.c);
 *   - the block is closed: what is left is given back by compare-and-swap, if nobody
 *     has claimed since. Not in a frozen window, of which `next` has a bit that the
 *     swap does not expect; what is left was granted and is ours whatever freezes and
 *     thaws it has seen (tests/model, end_keeping);
 *   - the process dies: what is left is skipped.
 *
 * A block belongs to one thread at a time and takes no lock, except to be opened and
 * closed.
 */

#include "block.h"

#include <errno.h>
#include <stdlib.h>

#include "atomic.h"
#include "clock.h"
#include "draw.h"
#include "handle.h"

/*
 * Adapting: so many that a block lasts for some microseconds, in which the claim
 * and the look at the clock are lost from view; and a sequence hardly used is drawn
 * from in small blocks, so that little is skipped and order is nearly kept.
 */
#define ADAPTIVE_MIN 8
#define ADAPTIVE_MAX 4096
#define GROW_USEC    100
#define SHRINK_USEC  10000

static uint64_t left(const struct seqnum_block *block)
{
        return block->stock.end - block->stock.index;
}

static void give_back(struct seqnum_block *block)
{
        struct cell *cell;

        if (left(block) == 0 || block->stock.index < window_look(&block->view->window->floor))
                return;
        cell = view_cell(block->view);
        cell_will_give(&cell->giving, left(block));
        (void)cell_unclaim(&cell->next, block->stock.index, left(block));
        cell_gave(&cell->given, left(block));
        block->stock.end = block->stock.index;
}

void block_free(struct seqnum_block *block)
{
        give_back(block);
        if (block->previous)
                block->previous->next = block->next;
        else
                block->seq->blocks = block->next;
        if (block->next)
                block->next->previous = block->previous;
        free(block);
}

/*
 * Can numbers be drawn so at all? Says why not. Of another kind the handle's view may be
 * and yet the sequence not, which was dropped since and made anew.
 */
static int usable(struct seqnum *seq, const struct view **view)
{
        int r = view_drawable(seq, *view);

        if (r >= 0 && (*view)->map.kind != SEQUENCE_COUNTER && view_retired(*view))
                r = view_renew(seq, view);
        if (r < 0)
                return r;
        return (*view)->map.kind == SEQUENCE_COUNTER ? 0 : -EOPNOTSUPP;
}

int seqnum_block_open(struct seqnum_block **ret, struct seqnum *seq, uint32_t size)
{
        const struct view *view = handle_view(seq);
        struct seqnum_block *block;
        int r;

        r = usable(seq, &view);
        if (r < 0)
                return r;
        block = calloc(1, sizeof(*block));
        if (!block)
                return -ENOMEM;
        block->seq = seq;
        block->adaptive = size == 0;
        block->size = size > 0 ? size : ADAPTIVE_MIN;

        pthread_mutex_lock(&seq->client->lock);
        block->next = seq->blocks;
        if (seq->blocks)
                seq->blocks->previous = block;
        seq->blocks = block;
        pthread_mutex_unlock(&seq->client->lock);
        *ret = block;
        return 0;
}

struct seqnum_block *seqnum_block_close(struct seqnum_block *block)
{
        struct seqnum_client *client;

        if (!block)
                return NULL;
        client = block->seq->client;
        pthread_mutex_lock(&client->lock);
        block_free(block);
        pthread_mutex_unlock(&client->lock);
        return NULL;
}

static void adapt(struct seqnum_block *block)
{
        uint64_t now = clock_usec(CLOCK_MONOTONIC), lasted = now - block->refilled;

        block->refilled = now;
        if (lasted < GROW_USEC && block->size < ADAPTIVE_MAX)
                block->size *= 2;
        else if (lasted > SHRINK_USEC && block->size > ADAPTIVE_MIN)
                block->size /= 2;
}

/* While no daemon is there to raise the ceiling, what lies below it is all there is. */
static uint32_t at_hand(const struct view *view, uint32_t count)
{
        uint64_t next = cell_next(&view->cell->next);
        uint64_t ceiling = window_look(&view->window->ceiling);

        if (next >= ceiling || count <= ceiling - next || mapping_attended(view->mapping))
                return count;
        return (uint32_t)(ceiling - next);
}

/* As many as there are, where there are fewer than a block: at its end, or in a round. */
static int claim(struct seqnum_block *block, const struct view **view, uint64_t *ret_index,
                 uint32_t *ret_count)
{
        uint32_t count = at_hand(*view, block->size);
        int r;

        for (;;) {
                r = counter_run(block->seq, view, count, ret_index);
                if ((r != -EOVERFLOW && r != -ERANGE) || count == 1)
                        break;
                count /= 2;
        }
        *ret_count = count;
        return r == -ERESTART ? -EOPNOTSUPP : r;
}

static void stock_up(struct seqnum_block *block, const struct view *view, uint64_t index,
                     uint32_t count)
{
        uint64_t first = (uint64_t)sequence_map_value(&view->map, index);
        uint64_t increment = (uint64_t)view->map.increment;

        block->view = view;
        block->stock = (struct seqnum_stock){
                .index = index,
                .end = index + count,
                .floor = (const uint64_t *)&view->window->floor,
                .origin = first - index * increment, /* in a cycle, that of this round */
                .increment = increment,
        };
}

__attribute__((cold)) int seqnum_inline_refill(struct seqnum_block *block, int64_t *ret)
{
        const struct view *view = handle_view(block->seq);
        uint32_t count;
        uint64_t index;
        int r;

        block->stock.end = block->stock.index; /* void, if there were any left */
        r = usable(block->seq, &view);
        if (r < 0)
                return r;
        if (block->adaptive)
                adapt(block);
        r = claim(block, &view, &index, &count);
        if (r < 0)
                return r;
        *ret = sequence_map_value(&view->map, index);
        stock_up(block, view, index, count);
        block->stock.index++;
        return 0;
}

int seqnum_block_next(struct seqnum_block *block, int64_t *ret)
{
        return seqnum_block_next_inline(block, ret);
}
