/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * How much to reserve: enough that a window lasts about a second at the rate
 * at which numbers are drawn just now, and longer on a disk that takes long: it
 * is half used up when more is asked for, and the other half must outlast the
 * commit with ease. Grows fast, so that a burst waits for
 * few commits; shrinks slowly, so that a pause costs none; stays in the tens
 * for a sequence hardly used, since a power cut may skip what is reserved.
 */

#include <stdbool.h>
#include <stdint.h>

#define PACE_SIZE_MIN UINT64_C(32)
#define PACE_SIZE_MAX (UINT64_C(1) << 32)

struct pace_sample {
        uint64_t size;         /* what was kept ahead so far; 0: first time */
        uint64_t elapsed_usec; /* since the last refill */
        uint64_t consumed;     /* indices claimed since */
        uint64_t commit_usec;  /* how long a commit may take, as far as seen */
        bool exhausted;        /* the window ran out: somebody waits */
};

/* Indices to keep ahead from now on: PACE_SIZE_MIN..PACE_SIZE_MAX. */
uint64_t pace_size(const struct pace_sample *sample);
