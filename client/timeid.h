/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Where the next id of kind time is claimed: the pure part, with no clock and no
 * shared memory of its own, for the library and for the daemon.
 */

#include <stdint.h>

#include "params.h"

/*
 * To enter a millisecond that is further ahead of the clock takes a millisecond.
 * So a burst may borrow this much, and no more; and after the clock was stepped
 * back, ids go on at the pace of time.
 */
#define TIME_LEAD_MSEC 4

enum time_verdict {
        TIME_CLAIM,    /* claim at `index` */
        TIME_CEILING,  /* nothing durable there yet: more must be reserved */
        TIME_LEADS,    /* wait a millisecond; if `next` is still the same, claim then */
        TIME_TOO_MANY, /* a millisecond has not so many */
        TIME_PAST,     /* past the last index there is */
};

struct time_claim {
        enum time_verdict verdict;
        uint64_t index;
};

/*
 * Claim `count` ids when `next` is the lowest index not given out (without the
 * frozen bit), `now` what sequence_time_index() says of the clock.
 */
struct time_claim time_decide(const struct sequence_map *map, uint64_t next, uint64_t floor,
                              uint64_t ceiling, uint64_t now, uint64_t count);
