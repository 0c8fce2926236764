/* SPDX-License-Identifier: MIT */

/*
 * Gapless sequences: take the turn, use the number up, wait until the store has it.
 *
 * Nobody claims here. `next` is the number that is next to be committed, and it
 * moves by one compare-and-swap from the number that begin saw to the one behind
 * it; the turn (turn.h) only keeps others from beginning with the same number.
 * The window's ceiling follows: below it is what the store has.
 *
 * Why no number is committed twice: only one swap from v succeeds in a slot, the
 * daemon sets `next` back in none, and a slot that takes another's place begins
 * where the store ends. A commit that returned lies below a ceiling that the
 * store had confirmed, so no later slot begins below it. Why there is no gap:
 * `next` moves by commits alone, and what a lost slot had beyond the store is
 * told to be lost to those who committed it. tests/model checks both.
 *
 * What is used up and not confirmed when its slot is lost (the daemon died and so
 * did the segment) is judged by where the slot begins that came after it: beyond
 * the number, and the store had it; at or below it, and it had not.
 */

#include <errno.h>

#include "atomic.h"
#include "clock.h"
#include "draw.h"
#include "gapless.h"
#include "turn.h"

/* A call at work on a transaction. */
struct call {
        struct seqnum *seq;
        struct transaction *transaction;
        uint64_t deadline; /* CLOCK_MONOTONIC, usec; 0: nothing had to be waited for yet */
        bool waited;       /* counted among those that had to wait */
};

static struct call call_begin(struct seqnum *seq)
{
        return (struct call){
                .seq = seq,
                .transaction = &seq->transaction,
        };
}

/* Most calls wait for nothing, and would look at the clock in vain. */
static uint64_t deadline_of(struct call *call)
{
        if (call->deadline == 0)
                call->deadline = draw_deadline(call->seq);
        return call->deadline;
}

static int leave(struct transaction *transaction, enum transaction_phase phase, int result)
{
        publish_u32(&transaction->phase, phase);
        return result;
}

static int sleep_a_slice(struct call *call, const struct view *view, uint32_t wake)
{
        return view_sleep(call->seq, view, wake, WAIT_SLICE_USEC, deadline_of(call), &call->waited);
}

/* Does no daemon look after the slot now, nor will one later? */
static bool left_behind(const struct call *call, const struct view *view, bool attended)
{
        return view_retired(view) ||
               (!attended && !mapping_current(view->mapping, call->seq->client->shm));
}

/* --- who we are --------------------------------------------------------- */

static void be_nobody(struct transaction *transaction)
{
        if (transaction->file)
                turn_id_drop(transaction->file->fd, transaction->owner);
        transaction->file = NULL;
}

/* Have an id that lives in the view's segment. Costs nothing when we have. */
static int be_somebody(struct call *call, const struct view *view)
{
        struct transaction *transaction = call->transaction;
        const struct turn_file *file;
        uint64_t owner;
        int r;

        if (transaction->file && transaction->file->mapping == view->mapping)
                return 0;
        r = client_turn_file(call->seq->client, view->mapping, &file);
        if (r >= 0)
                r = turn_id_take(file->fd, &owner);
        if (r < 0)
                return r;
        be_nobody(transaction);
        transaction->file = file;
        transaction->owner = owner;
        return 0;
}

static void release(const struct transaction *transaction)
{
        (void)turn_release(view_cell(transaction->view), transaction->owner);
}

void transaction_clear(struct transaction *transaction)
{
        if (see_u32(&transaction->phase) == TRANSACTION_HELD)
                release(transaction);
        be_nobody(transaction);
}

/* --- begin --------------------------------------------------------------- */

/* Can `count` numbers be had here at all? Says why not; -EBADMSG: it cannot be told. */
static int suitable(const struct call *call, const struct view *view, uint64_t count)
{
        uint64_t next;
        int r = view_drawable(call->seq, view);

        if (r < 0)
                return r;
        if (view->map.kind != SEQUENCE_GAPLESS)
                return -EOPNOTSUPP;
        next = cell_next(&view_cell(view)->next);
        if (!view_plausible(view, next))
                return -EBADMSG;
        if (next & CELL_FROZEN)
                return 0;
        return next >= view->map.limit || count > view->map.limit - next ? view_past(view) : 0;
}

/* Move on to what the name leads to now, or sleep. */
static int move_on(struct call *call, const struct view **view)
{
        const struct view *stale = *view;
        uint32_t wake = wake_look(&stale->window->wake);
        int r = view_renew(call->seq, view);

        return r < 0 || *view != stale ? r : sleep_a_slice(call, stale, wake);
}

/* With the turn just taken: 1, the number is ours; 0: the slot is not served any more. */
static int hold(struct call *call, const struct view *view, uint64_t count)
{
        struct transaction *transaction = call->transaction;
        uint64_t next = view_next_index(view);

        transaction->view = view;
        transaction->index = next;
        transaction->count = count;
        /* While the turn was waited for others have committed. */
        if (!view_retired(view) && next < view->map.limit && count <= view->map.limit - next)
                return 1;
        release(transaction);
        return view_retired(view) ? 0 : -EOVERFLOW;
}

/* Somebody wrote into the cell: the daemon is to look at it. */
static int await_slot(struct call *call, const struct view **view)
{
        uint32_t wake = wake_look(&(*view)->window->wake);

        view_ring(*view);
        return left_behind(call, *view, mapping_attended((*view)->mapping))
                       ? move_on(call, view)
                       : sleep_a_slice(call, *view, wake);
}

static bool take(const struct call *call, const struct view *view, struct turn_watch *watch)
{
        struct cell *cell = view_cell(view);
        uint64_t owner = call->transaction->owner;

        return turn_try(cell, owner) || turn_look(cell, view->mapping->fd, view->window->hold_limit,
                                                  watch, clock_usec(CLOCK_MONOTONIC), owner);
}

static int wait_for_turn(struct call *call, const struct view **view)
{
        uint64_t deadline = deadline_of(call), now = clock_usec(CLOCK_MONOTONIC);
        uint64_t left = deadline > now ? deadline - now : 0;
        struct cell *cell = view_cell(*view);

        if (left == 0)
                return -ETIMEDOUT;
        if (!call->waited) {
                call->waited = true;
                count_up(&cell->waits);
        }
        turn_wait(cell, left < TURN_SLICE_USEC ? left : TURN_SLICE_USEC);
        if (handle_forked(call->seq))
                return -ECHILD;
        return left_behind(call, *view, mapping_attended((*view)->mapping)) ? move_on(call, view)
                                                                            : 0;
}

/* Take the turn and see what the number is. 0 or a negative errno, holding nothing. */
static int begin(struct call *call, const struct view **view, uint64_t count)
{
        struct turn_watch watch = {0};
        int r = 0;

        while (r == 0) {
                const struct view *here = *view;

                if (!here->mapping)
                        return -ECHILD;
                if (view_retired(here)) {
                        r = move_on(call, view);
                        continue;
                }
                r = suitable(call, here, count);
                if (r == -EBADMSG) {
                        r = await_slot(call, view);
                        continue;
                }
                if (r >= 0)
                        r = be_somebody(call, here);
                if (r >= 0)
                        r = take(call, here, &watch) ? hold(call, here, count)
                                                     : wait_for_turn(call, view);
        }
        return r < 0 ? r : 0;
}

/* --- commit: using the number up ------------------------------------------ */

/*
 * The slot is not served any more, and the number was held in it. If it is still
 * the next one in the slot that took its place, and nobody has the turn there, we
 * hold it there. 0: look again.
 */
static int follow_held(struct call *call, uint32_t wake)
{
        struct transaction *transaction = call->transaction;
        const struct view *old = transaction->view, *view = old;
        struct turn_watch watch = {0};
        int r = view_renew(call->seq, &view);

        if (r < 0)
                return r;
        if (view == old)
                return sleep_a_slice(call, old, wake);
        if (view->window->id != old->window->id ||
            view->window->generation != old->window->generation)
                return -ESTALE;
        release(transaction);
        r = be_somebody(call, view);
        if (r < 0)
                return r;
        if (!take(call, view, &watch))
                return -ESTALE;
        transaction->view = view;
        return view_next_index(view) == transaction->index ? 0 : -ESTALE;
}

/*
 * Try to use the number up. 1: it is. 0: look again. Not while there is no daemon
 * to confirm it: then it is better held, and given back if the time is up.
 */
static int try_advance(struct call *call)
{
        const struct transaction *transaction = call->transaction;
        const struct view *view = transaction->view;
        uint32_t wake = wake_look(&view->window->wake); /* before looking: see wake_bump() */
        struct cell *cell = view_cell(view);
        uint64_t seen = transaction->index;
        bool attended;

        if (owner_look(&cell->owner) != transaction->owner)
                return -ESTALE;
        attended = mapping_attended(view->mapping);
        if (left_behind(call, view, attended))
                return follow_held(call, wake);
        if (attended) {
                if (cell_advance(&cell->next, &seen, seen + transaction->count))
                        return 1;
                if (seen != (transaction->index | CELL_FROZEN))
                        return -ESTALE;
        }
        view_ring(view);
        return sleep_a_slice(call, view, wake);
}

/* Use the number up and pass the turn on. 0 or a negative errno, still holding the number. */
static int advance(struct call *call)
{
        int r = 0;

        while (r == 0)
                r = try_advance(call);
        if (r < 0)
                return r;
        release(call->transaction);
        view_ring(call->transaction->view);
        return 0;
}

/* --- commit: until the store has it ---------------------------------------- */

static bool confirmed(const struct transaction *transaction)
{
        return window_look(&transaction->view->window->ceiling) >=
               transaction->index + transaction->count;
}

/*
 * Did the store have the number, by where the slot begins that came after ours?
 * Only of the very next segment can it be said that nobody else can have
 * committed the number in between. 1: it had; -ESTALE: it had not.
 */
static int judge(const struct transaction *transaction, const struct view *view)
{
        const struct window *old = transaction->view->window, *new = view->window;
        uint64_t segment_id = transaction->view->mapping->header->segment_id;
        uint64_t floor = window_look(&new->floor);

        if (new->id != old->id)
                return -ESTALE;
        if (new->generation != old->generation || floor == WINDOW_CLOSED)
                return -ENOTRECOVERABLE;
        if (floor <= transaction->index)
                return -ESTALE;
        return view->mapping->header->segment_id == segment_id + 1 ? 1 : -ENOTRECOVERABLE;
}

static int follow_advanced(struct call *call, uint32_t wake)
{
        const struct transaction *transaction = call->transaction;
        const struct view *view = transaction->view;
        int r;

        /* What retired the slot may first have raised the ceiling. */
        if (confirmed(transaction))
                return 1;
        r = view_renew(call->seq, &view);
        if (r < 0)
                return r;
        if (view == transaction->view)
                return sleep_a_slice(call, view, wake);
        return judge(transaction, view);
}

static int try_confirm(struct call *call)
{
        const struct view *view = call->transaction->view;
        uint32_t wake = wake_look(&view->window->wake); /* before looking: see wake_bump() */

        if (confirmed(call->transaction))
                return 1;
        if (left_behind(call, view, mapping_attended(view->mapping)))
                return follow_advanced(call, wake);
        view_ring(view);
        return sleep_a_slice(call, view, wake);
}

/* Wait until the store has what was used up. 0 or a negative errno. */
static int confirm(struct call *call)
{
        int r = 0;

        while (r == 0)
                r = try_confirm(call);
        return r < 0 ? r : 0;
}

/* --- transactions ----------------------------------------------------------- */

int seqnum_begin(struct seqnum *seq, int64_t *ret)
{
        const struct view *view = handle_view(seq);
        struct call call = call_begin(seq);
        int r = view_drawable(seq, view);

        if (r < 0)
                return r;
        if (!phase_change(&call.transaction->phase, TRANSACTION_NONE, TRANSACTION_IN_CALL))
                return -EBUSY;
        r = begin(&call, &view, 1);
        if (r < 0)
                return leave(call.transaction, TRANSACTION_NONE, r);
        *ret = sequence_map_value(&view->map, call.transaction->index);
        return leave(call.transaction, TRANSACTION_HELD, 0);
}

/* Is it known, and for good, that the transaction did not succeed? */
static bool is_final(int error)
{
        return error == -ESTALE || error == -ENOENT || error == -ENOTRECOVERABLE;
}

static int commit_advanced(struct call *call)
{
        int r = confirm(call);

        return leave(call->transaction,
                     r == 0 || is_final(r) ? TRANSACTION_NONE : TRANSACTION_ADVANCED, r);
}

static int commit_held(struct call *call)
{
        int r = advance(call);

        if (r == 0)
                return commit_advanced(call);
        if (is_final(r)) {
                release(call->transaction);
                return leave(call->transaction, TRANSACTION_NONE, r);
        }
        return leave(call->transaction, TRANSACTION_HELD, r == -ETIMEDOUT ? -EAGAIN : r);
}

/* What it means that a transaction is not in a phase in which it can end. */
static int misplaced(const struct transaction *transaction)
{
        return see_u32(&transaction->phase) == TRANSACTION_NONE ? -EINVAL : -EBUSY;
}

int seqnum_commit(struct seqnum *seq)
{
        struct call call = call_begin(seq);
        struct transaction *transaction = call.transaction;

        if (handle_forked(seq))
                return -ECHILD;
        if (phase_change(&transaction->phase, TRANSACTION_HELD, TRANSACTION_IN_CALL))
                return commit_held(&call);
        if (phase_change(&transaction->phase, TRANSACTION_ADVANCED, TRANSACTION_IN_CALL))
                return commit_advanced(&call);
        return misplaced(transaction);
}

int seqnum_rollback(struct seqnum *seq)
{
        struct transaction *transaction = &seq->transaction;

        if (handle_forked(seq))
                return -ECHILD;
        if (!phase_change(&transaction->phase, TRANSACTION_HELD, TRANSACTION_IN_CALL))
                return misplaced(transaction);
        release(transaction);
        return leave(transaction, TRANSACTION_NONE, 0);
}

/* --- draws -------------------------------------------------------------------- */

/* Is it too late to use a number up, whose confirmation is still to be waited for? */
static bool time_is_up(struct call *call)
{
        uint64_t deadline = deadline_of(call); /* before the clock: it may begin now */

        return clock_usec(CLOCK_MONOTONIC) >= deadline;
}

/* What was not committed, for certain, is begun anew: the caller knows no number yet. */
static int draw(struct call *call, const struct view **view, uint64_t count)
{
        for (;;) {
                int r = begin(call, view, count);

                if (r < 0)
                        return r;
                r = time_is_up(call) ? -ETIMEDOUT : advance(call);
                if (r >= 0)
                        r = confirm(call);
                else if (r != -ECHILD) /* forked in a wait: the turn is the parent's */
                        release(call->transaction);
                if (r != -ESTALE)
                        return r;
                if (time_is_up(call))
                        return -ETIMEDOUT;
                *view = handle_view(call->seq);
        }
}

int gapless_draw(struct seqnum *seq, const struct view **view, uint64_t count, uint64_t *ret_index)
{
        struct call call = call_begin(seq);
        struct transaction *transaction = call.transaction;
        int r = view_drawable(seq, *view);

        if (r < 0)
                return r;
        if (!phase_change(&transaction->phase, TRANSACTION_NONE, TRANSACTION_IN_CALL))
                return -EBUSY;
        r = draw(&call, view, count);
        if (r >= 0) {
                *view = transaction->view;
                *ret_index = transaction->index;
        }
        return leave(transaction, TRANSACTION_NONE, r == -EOPNOTSUPP ? -ERESTART : r);
}
