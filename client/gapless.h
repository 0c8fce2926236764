/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The transaction that a handle may be in, on a gapless sequence; see gapless.c.
 *
 * Its phase guards all the rest: whoever moves it to IN_CALL from the phase that
 * his call begins in has the transaction to himself until he publishes the phase
 * it ended in. Nobody waits for another's call to end; two calls at once are an
 * error of the program that gets -EBUSY.
 */

#include <stdint.h>

struct seqnum;
struct turn_file;
struct view;

enum transaction_phase {
        TRANSACTION_NONE = 0,
        TRANSACTION_IN_CALL = 1,
        TRANSACTION_HELD = 2,     /* the turn is ours, unless somebody took it over */
        TRANSACTION_ADVANCED = 3, /* the number is used up, the store's word is awaited */
};

struct transaction {
        _Atomic(uint32_t) phase; /* enum transaction_phase */
        const struct view *view; /* where the turn is, or was, ours */
        uint64_t index, count;   /* what a commit uses up */

        /* who we are in cells of one mapping; kept from one transaction to the next */
        uint64_t owner;
        const struct turn_file *file; /* NULL: nobody yet */
};

/* The handle is closed: roll back what it holds, be nobody. Not in a forked child. */
void transaction_clear(struct transaction *transaction);
