/* SPDX-License-Identifier: MIT */

/* Where the next id of kind time is claimed; see timeid.h. */

#include "timeid.h"

static uint64_t max_u64(uint64_t a, uint64_t b)
{
        return a > b ? a : b;
}

/* Would the claim be the first of a millisecond that lies too far ahead of the clock? */
static bool leads(const struct sequence_map *map, uint64_t next, uint64_t index, uint64_t now)
{
        uint64_t ms = index >> map->serial_bits;

        if (next > 0 && (next - 1) >> map->serial_bits == ms)
                return false; /* somebody has entered it already */
        return ms > (now >> map->serial_bits) + TIME_LEAD_MSEC;
}

struct time_claim time_decide(const struct sequence_map *map, uint64_t next, uint64_t floor,
                              uint64_t ceiling, uint64_t now, uint64_t count)
{
        uint64_t index = max_u64(max_u64(next, floor), now);
        uint64_t straight;

        if (count > UINT64_C(1) << map->serial_bits)
                return (struct time_claim){.verdict = TIME_TOO_MANY};
        if (index >= map->limit) /* a floor that lies there leads nowhere, wherever it wraps to */
                return (struct time_claim){.verdict = TIME_PAST};
        straight = sequence_map_straight(map, index, count);
        if (straight < count) /* the rest of this millisecond is too short */
                index += straight;
        if (index >= map->limit || count > map->limit - index)
                return (struct time_claim){.verdict = TIME_PAST};
        if (index + count > ceiling)
                return (struct time_claim){.verdict = TIME_CEILING, .index = index};
        return (struct time_claim){
                .verdict = leads(map, next, index, now) ? TIME_LEADS : TIME_CLAIM,
                .index = index,
        };
}
