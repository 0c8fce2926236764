/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Draws by the daemon itself, for those who come by the control socket.
 *
 * The same protocol on the same cells as everybody's, with one difference: the
 * loop must not wait. So nothing is claimed that is not granted at once (a
 * compare-and-swap below the ceiling instead of a fetch_add), and what would
 * have to wait is -EAGAIN, to be tried again from the beginning when a window
 * may have moved. All functions belong to the loop's thread.
 */

#include <stdbool.h>
#include <stdint.h>

#include "seqnum.h" /* struct seqnum_run */
#include "service.h"
#include "turn.h"

/* Draw `count` numbers of a counter or of kind time.
 *   -EAGAIN      not now: ask again when the store has committed something, or
 *                (kind time) in a millisecond
 *   -EOVERFLOW   at its end, or fewer are left
 *   -ERANGE      more than a round, or a millisecond, has
 *   -EOPNOTSUPP  it is gapless: serve_begin(), serve_commit()
 */
int serve_draw(struct service *service, struct sequence *sequence, uint32_t count,
               struct seqnum_run *ret);

/* The number that a draw would get (peek), and the last that was drawn. 0; -EOVERFLOW; -ENODATA. */
int serve_peek(const struct service *service, const struct sequence *sequence, int64_t *ret);
int serve_last(const struct service *service, const struct sequence *sequence, int64_t *ret);

/* A transaction on a gapless sequence, of a connection. Zeroed: none, and nothing to clear. */
struct serve_hold {
        enum { HOLD_NONE, HOLD_HELD, HOLD_COMMITTED } state; /* COMMITTED: not yet durable */
        uint64_t owner;          /* our id in the cell, 0: we have none */
        uint64_t segment_id;     /* in which that is locked */
        uint64_t id, generation; /* of the sequence */
        uint64_t index;          /* the number's */
        uint32_t slot;
        uint32_t count;          /* committed: so many from `index` on */
        struct turn_watch watch; /* of the turn in the slot `watched` of that segment */
        uint32_t watched;
        uint16_t placements; /* the sequence's, when it was committed */
        char name[SEQUENCE_NAME_MAX + 1];
};

/*
 * Take the turn, if it is free or its owner is dead. 0 with the number in *ret;
 * -EAGAIN: ask again in a few milliseconds; -EBUSY: the hold is in use already;
 * -EOVERFLOW; -EOPNOTSUPP: not gapless; or what giving us an id failed with.
 */
int serve_begin(struct service *service, struct sequence *sequence, struct serve_hold *hold,
                int64_t *ret);

/*
 * Use `count` numbers up, from the one held. 0: the store has them, the hold is
 * none; -EAGAIN: ask again when the store has committed something; -ESTALE: the
 * turn was lost, or the sequence was changed, and the hold is none;
 * -ENOTRECOVERABLE: it was moved so often meanwhile that it cannot be told whether
 * the number was used up, and the hold is none; -EINVAL: nothing is held; -EOVERFLOW:
 * there are not so many, it is still held.
 */
int serve_commit(struct service *service, struct serve_hold *hold, uint32_t count);

/* Give the number back, if one is held. 0; -EINVAL; -EBUSY: it is being committed. */
int serve_rollback(struct service *service, struct serve_hold *hold);

/* The connection ends: roll back, and drop our id. */
void serve_hold_clear(struct service *service, struct serve_hold *hold);

/* The segment is another one: let go of the former one's object, and of the ids in it. */
void serve_forget_turns(struct service *service);
