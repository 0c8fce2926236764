/* SPDX-License-Identifier: MIT */

/*
 * Parameters of a sequence and the mapping from index to value; see params.h.
 *
 * All arithmetic on values is done in uint64_t, where it wraps and is defined:
 * max - min of a sequence over all 64 bits does not fit in int64_t, nor does
 * -INT64_MIN. A wrapped sum is the right one whenever the true sum is within
 * min..max, which the counting of indices guarantees.
 */

#include "params.h"

#include <inttypes.h>
#include <stdio.h>

struct sequence_params sequence_params_default(void)
{
        struct sequence_params params = {.kind = SEQUENCE_COUNTER, .increment = 1};

        sequence_params_complete(&params, false, false, false);
        return params;
}

void sequence_params_complete(struct sequence_params *params, bool given_start, bool given_min,
                              bool given_max)
{
        bool descending = params->increment < 0;

        if (!given_min)
                params->min = descending ? INT64_MIN : 1;
        if (!given_max)
                params->max = descending ? -1 : INT64_MAX;
        if (!given_start)
                params->start = descending ? params->max : params->min;
}

/* How far apart: `high` may be up to 2^64 - 1 above `low`. */
static uint64_t distance(int64_t low, int64_t high)
{
        return (uint64_t)high - (uint64_t)low;
}

static uint64_t step_size(int64_t increment)
{
        return increment < 0 ? 0 - (uint64_t)increment : (uint64_t)increment;
}

static bool kind_known(enum sequence_kind kind)
{
        return kind == SEQUENCE_COUNTER || kind == SEQUENCE_GAPLESS || kind == SEQUENCE_TIME;
}

/*
 * An increment larger than the range would leave a sequence of one number, or
 * a cycle that repeats one number forever. PostgreSQL lets that pass; we call
 * it the mistake that it is, as Oracle and SQL Server do.
 */
static bool step_too_large(const struct sequence_params *params)
{
        return step_size(params->increment) > distance(params->min, params->max);
}

const char *sequence_params_check(const struct sequence_params *params, char *buffer, size_t size)
{
        if (!kind_known(params->kind))
                (void)snprintf(buffer, size,
                               "kind %d is unknown; it must be counter, gapless or time",
                               (int)params->kind);
        else if (params->increment == 0)
                (void)snprintf(buffer, size, "increment is 0; it must be above or below 0");
        else if (params->min >= params->max)
                (void)snprintf(buffer, size,
                               "min %" PRId64 " is not below max %" PRId64
                               "; min must be less than max",
                               params->min, params->max);
        else if (params->start < params->min)
                (void)snprintf(buffer, size,
                               "start %" PRId64 " is below min %" PRId64
                               "; start must be within min and max",
                               params->start, params->min);
        else if (params->start > params->max)
                (void)snprintf(buffer, size,
                               "start %" PRId64 " is above max %" PRId64
                               "; start must be within min and max",
                               params->start, params->max);
        else if (step_too_large(params))
                (void)snprintf(buffer, size,
                               "increment %" PRId64 " steps over the whole range %" PRId64
                               " to %" PRId64 "; its size must be at most max - min, %" PRIu64,
                               params->increment, params->min, params->max,
                               distance(params->min, params->max));
        else if (params->reserve > SEQUENCE_RESERVE_MAX)
                (void)snprintf(buffer, size,
                               "reserve %" PRIu64 " is too large; it must be at most %" PRIu64
                               ", or 0 to adapt to the rate",
                               params->reserve, SEQUENCE_RESERVE_MAX);
        else
                return NULL;
        return buffer;
}

bool sequence_params_equal(const struct sequence_params *a, const struct sequence_params *b)
{
        return a->kind == b->kind && a->start == b->start && a->increment == b->increment &&
               a->min == b->min && a->max == b->max && a->cycle == b->cycle &&
               a->reserve == b->reserve;
}

/* --- the mapping ------------------------------------------------------- */

/* How many values, capped, from `from` on in steps of the increment. */
static uint64_t count_from(const struct sequence_params *params, int64_t from)
{
        uint64_t room =
                params->increment < 0 ? distance(params->min, from) : distance(from, params->max);
        uint64_t steps = room / step_size(params->increment);

        /* steps + 1 values; over all 64 bits that is 2^64, hence the cap before the sum. */
        return steps >= SEQUENCE_INDEX_LIMIT ? SEQUENCE_INDEX_LIMIT : steps + 1;
}

struct sequence_map sequence_map_make(const struct sequence_params *params, int64_t origin)
{
        struct sequence_map map = {.origin = origin, .increment = params->increment};

        map.first = count_from(params, origin);
        map.limit = map.first;
        if (params->cycle) {
                map.limit = SEQUENCE_INDEX_LIMIT;
                map.restart = params->increment < 0 ? params->max : params->min;
                map.period = count_from(params, map.restart);
        }
        return map;
}

int64_t sequence_map_value(const struct sequence_map *map, uint64_t index)
{
        uint64_t base = (uint64_t)map->origin;

        if (index >= map->first && map->period > 0) {
                base = (uint64_t)map->restart;
                index = (index - map->first) % map->period;
        }
        return (int64_t)(base + index * (uint64_t)map->increment);
}

uint64_t sequence_map_straight(const struct sequence_map *map, uint64_t index, uint64_t count)
{
        uint64_t left;

        if (map->period == 0)
                return count;
        if (index < map->first)
                left = map->first - index;
        else
                left = map->period - (index - map->first) % map->period;
        return count < left ? count : left;
}

/* --- names ------------------------------------------------------------- */

/* Not isalnum(): what a name is must not depend on the caller's locale. */
static bool name_byte(char c)
{
        return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
               c == '.' || c == '_' || c == '/' || c == '-';
}

bool sequence_name_valid(const char *name, size_t length)
{
        if (length < 1 || length > SEQUENCE_NAME_MAX)
                return false;
        for (size_t i = 0; i < length; i++)
                if (!name_byte(name[i]))
                        return false;
        return true;
}

const char *sequence_kind_name(enum sequence_kind kind)
{
        switch (kind) {
        case SEQUENCE_COUNTER:
                return "counter";
        case SEQUENCE_GAPLESS:
                return "gapless";
        case SEQUENCE_TIME:
                return "time";
        default:
                return "unknown";
        }
}
