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

/* The one way of stating that min, max and the like do not apply to ids made of time. */
static void complete_time(struct sequence_params *params)
{
        params->start = params->min = 0;
        params->increment = 1;
        params->max = INT64_MAX;
        params->cycle = false;
}

void sequence_params_complete(struct sequence_params *params, bool given_start, bool given_min,
                              bool given_max)
{
        bool descending = params->increment < 0;

        if (params->kind != SEQUENCE_GAPLESS)
                params->hold_limit = 0;
        else
                params->reserve = 0;
        if (params->kind == SEQUENCE_TIME) {
                complete_time(params);
                return;
        }
        params->node_bits = params->serial_bits = 0;
        params->node = 0;
        params->epoch = 0;
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

static const char *check_time(const struct sequence_params *params, char *buffer, size_t size)
{
        struct sequence_params plain = *params;
        int bits = params->node_bits + params->serial_bits;

        complete_time(&plain);
        plain.hold_limit = 0;
        if (!sequence_params_equal(&plain, params))
                (void)snprintf(buffer, size,
                               "kind time has no start, increment, min, max, cycle or hold_limit; "
                               "leave them out");
        else if (params->node_bits > SEQUENCE_NODE_BITS_MAX)
                (void)snprintf(buffer, size, "node_bits %u is too large; it must be at most %d",
                               params->node_bits, SEQUENCE_NODE_BITS_MAX);
        else if (params->serial_bits < 1 || params->serial_bits > SEQUENCE_SERIAL_BITS_MAX)
                (void)snprintf(buffer, size, "serial_bits %u is out of range; it must be 1 to %d",
                               params->serial_bits, SEQUENCE_SERIAL_BITS_MAX);
        else if (bits > 63 - SEQUENCE_TIME_BITS_MIN)
                (void)snprintf(buffer, size,
                               "node_bits %u and serial_bits %u leave too few of 63 bits for the "
                               "time; together they must be at most %d",
                               params->node_bits, params->serial_bits, 63 - SEQUENCE_TIME_BITS_MIN);
        else if (params->node >> params->node_bits)
                (void)snprintf(buffer, size,
                               "node %u does not fit in node_bits %u; it must be at most %u",
                               params->node, params->node_bits, (1U << params->node_bits) - 1);
        else if (params->epoch < 0 || params->epoch > SEQUENCE_EPOCH_MAX)
                (void)snprintf(buffer, size, "epoch is out of range; it must lie in 1970 to 2100");
        else if (params->reserve > SEQUENCE_TIME_RESERVE_MAX)
                (void)snprintf(buffer, size,
                               "reserve %" PRIu64 " is too large; for kind time it is in "
                               "milliseconds and must be at most %" PRIu64,
                               params->reserve, SEQUENCE_TIME_RESERVE_MAX);
        else
                return NULL;
        return buffer;
}

/* Is something stated that has no meaning for a kind that counts? NULL: no. */
static const char *check_foreign(const struct sequence_params *params, char *buffer, size_t size)
{
        if (params->node_bits || params->serial_bits || params->node || params->epoch)
                (void)snprintf(buffer, size,
                               "epoch, node, node_bits and serial_bits are for kind time; leave "
                               "them out");
        else if (params->hold_limit && params->kind != SEQUENCE_GAPLESS)
                (void)snprintf(buffer, size, "hold_limit is for kind gapless; leave it out");
        else if (params->hold_limit > SEQUENCE_HOLD_LIMIT_MAX)
                (void)snprintf(buffer, size,
                               "hold_limit %" PRIu32 " is too large; it must be at most %" PRIu32
                               " seconds",
                               params->hold_limit, SEQUENCE_HOLD_LIMIT_MAX);
        else if (params->reserve && params->kind == SEQUENCE_GAPLESS)
                (void)snprintf(buffer, size,
                               "reserve has no meaning for kind gapless, which reserves nothing; "
                               "leave it out");
        else
                return NULL;
        return buffer;
}

const char *sequence_params_check(const struct sequence_params *params, char *buffer, size_t size)
{
        if (params->kind == SEQUENCE_TIME)
                return check_time(params, buffer, size);
        if (!kind_known(params->kind))
                (void)snprintf(buffer, size,
                               "kind %d is unknown; it must be counter, gapless or time",
                               (int)params->kind);
        else if (check_foreign(params, buffer, size))
                return buffer;
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
               a->reserve == b->reserve && a->hold_limit == b->hold_limit &&
               a->node_bits == b->node_bits && a->serial_bits == b->serial_bits &&
               a->node == b->node && a->epoch == b->epoch;
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

/* How many indices ids of these widths have. */
static uint64_t time_limit(const struct sequence_params *params)
{
        uint64_t limit = UINT64_C(1) << (63 - params->node_bits);

        return limit < SEQUENCE_INDEX_LIMIT ? limit : SEQUENCE_INDEX_LIMIT;
}

struct sequence_map sequence_map_make(const struct sequence_params *params, int64_t origin)
{
        struct sequence_map map = {
                .kind = params->kind,
                .node_bits = params->node_bits,
                .serial_bits = params->serial_bits,
                .node = params->node,
                .origin = origin,
                .increment = params->increment,
        };

        if (params->kind == SEQUENCE_TIME) {
                map.limit = map.first = time_limit(params);
                return map;
        }
        map.first = count_from(params, origin);
        map.limit = map.first;
        if (params->cycle) {
                map.limit = SEQUENCE_INDEX_LIMIT;
                map.restart = params->increment < 0 ? params->max : params->min;
                map.period = count_from(params, map.restart);
        }
        return map;
}

/* The node comes between the index's two parts. */
int64_t sequence_map_value(const struct sequence_map *map, uint64_t index)
{
        uint64_t base = (uint64_t)map->origin;

        if (map->kind == SEQUENCE_TIME)
                return sequence_time_value(map, index);
        if (index >= map->first && map->period > 0) {
                base = (uint64_t)map->restart;
                index = (index - map->first) % map->period;
        }
        return (int64_t)(base + index * (uint64_t)map->increment);
}

uint64_t sequence_map_straight(const struct sequence_map *map, uint64_t index, uint64_t count)
{
        uint64_t left;

        if (map->kind == SEQUENCE_TIME) {
                left = UINT64_C(1) << map->serial_bits;
                left -= index & (left - 1);
                return count < left ? count : left;
        }
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
               c == '.' || c == '_' || c == ':' || c == '/' || c == '-';
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

/* --- kind time ---------------------------------------------------------- */

uint64_t sequence_time_index(const struct sequence_params *params, uint64_t ms)
{
        uint64_t epoch = (uint64_t)params->epoch, limit = time_limit(params);

        if (ms < epoch)
                return 0;
        ms -= epoch;
        return ms > limit >> params->serial_bits ? limit : ms << params->serial_bits;
}

void sequence_time_explain(const struct sequence_params *params, int64_t id, int64_t *ret_ms,
                           uint32_t *ret_node, uint32_t *ret_serial)
{
        uint64_t bits = (uint64_t)id;

        *ret_serial = (uint32_t)(bits & ((UINT64_C(1) << params->serial_bits) - 1));
        bits >>= params->serial_bits;
        *ret_node = (uint32_t)(bits & ((UINT64_C(1) << params->node_bits) - 1));
        bits >>= params->node_bits;
        *ret_ms = (int64_t)(bits + (uint64_t)params->epoch);
}
