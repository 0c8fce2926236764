/* SPDX-License-Identifier: MIT */

/* How much to reserve; see pace.h. */

#include "pace.h"

#define SECOND_USEC UINT64_C(1000000)
#define RECENT_USEC (10 * SECOND_USEC)
#define GROWTH      16                 /* at most so much larger from one refill to the next */
#define COMMIT_USEC (60 * SECOND_USEC) /* for no longer a commit is provided */

/* How many are drawn while a window should last. */
static uint64_t wanted(const struct pace_sample *sample)
{
        uint64_t elapsed_usec = sample->elapsed_usec ? sample->elapsed_usec : 1;
        uint64_t consumed = sample->consumed < PACE_SIZE_MAX ? sample->consumed : PACE_SIZE_MAX;
        uint64_t commit = sample->commit_usec < COMMIT_USEC ? sample->commit_usec : COMMIT_USEC;

        return consumed * (SECOND_USEC + 4 * commit) / elapsed_usec; /* at most 2^32 * 2^28 */
}

uint64_t pace_size(const struct pace_sample *sample)
{
        uint64_t target = wanted(sample);
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
