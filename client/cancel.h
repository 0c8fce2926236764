/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Threads that are cancelled (pthread_cancel(3)): not in the middle of us.
 *
 * open(2), close(2), getrandom(2) and others are points of cancellation. A thread that
 * ended in one would leave the client's lock held, its turn taken, a file open, and
 * nobody to put that right. So whatever calls them is a scope in which cancellation
 * waits; it takes effect at the caller's next point of cancellation. Draws that find
 * their number at once come by none of this.
 */

#include <pthread.h>

static inline int cancel_defer(void)
{
        int before;

        (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
        return before;
}

static inline void cancel_restore(const int *before)
{
        (void)pthread_setcancelstate(*before, NULL);
}

/* A declaration: from here to the end of the block. */
#define CANCEL_DEFERRED                                                                            \
        const int cancel_state __attribute__((unused, cleanup(cancel_restore))) = cancel_defer()
