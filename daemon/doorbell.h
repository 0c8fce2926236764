/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The doorbell: a thread that sleeps on the segment's semaphore and turns its
 * posts into a file descriptor that an event loop can wait for.
 *
 * It decides nothing and reads nothing but the semaphore, so that a client that
 * scribbles on it can wake us needlessly or not at all, and nothing worse.
 */

#include <stdbool.h>

#include "layout.h"

struct doorbell;

/* Listen on `shared`, which must stay mapped until doorbell_free(). */
int doorbell_new(struct doorbell **ret, struct segment_shared *shared);

/* Stops the thread. NULL is fine. */
struct doorbell *doorbell_free(struct doorbell *doorbell);

/* An eventfd, readable after somebody rang; doorbell_answer() clears it. */
int doorbell_fd(const struct doorbell *doorbell);

/* False: it was posted more often, since the last answer, than any callers would. */
bool doorbell_answer(struct doorbell *doorbell);
