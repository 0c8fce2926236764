/* SPDX-License-Identifier: MIT */

/* How much to reserve; see pace.h. */

#include "pace.h"

#define SECOND_USEC UINT64_C(1000000)
#define RECENT_USEC (10 * SECOND_USEC)
#define GROWTH      16 /* at most so much larger from one refill to the next */

static uint64_t per_second(uint64_t consumed, uint64_t elapsed_usec)
{
        if (elapsed_usec == 0)
                elapsed_usec = 1;
        if (consumed > PACE_SIZE_MAX)
                consumed = PACE_SIZE_MAX;
        return consumed * SECOND_USEC / elapsed_usec; /* at most 2^32 * 10^6 */
}

uint64_t pace_size(const struct pace_sample *sample)
{
        uint64_t target = per_second(sample->consumed, sample->elapsed_usec);
        uint64_t most = sample->size * GROWTH;
        uint64_t least = sample->size - sample->size / 4;

        if (sample->size == 0)
                return PACE_SIZE_MIN;
        /*
         * Who waited could not draw, so the rate seen is too low: don't shrink, and
         * grow if it was not an age ago. A slow disk is got the better of so.
         */
        if (sample->exhausted)
                least = sample->elapsed_usec < RECENT_USEC ? 2 * sample->size : sample->size;
        if (target > most)
                target = most;
        if (target < least)
                target = least;
        if (target < PACE_SIZE_MIN)
                return PACE_SIZE_MIN;
        return target > PACE_SIZE_MAX ? PACE_SIZE_MAX : target;
}
