/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What a sequence is made of, and how an index becomes a value.
 *
 * A sequence is an unsigned index that only ever grows, and a mapping from the
 * index to a signed 64-bit value. Everything that hands out or protects
 * numbers works on indices alone; sign, step and cycle of a sequence live here
 * and nowhere else. Used by the configuration (to refuse contradictions), the
 * daemon (to know where a sequence ends) and the library (to turn the claimed
 * index into the number the caller gets).
 *
 * Nothing here touches shared memory; everything is pure and thread-safe.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * No sequence has more than 2^62 indices in one life: the top bit of an index
 * marks a frozen window, and the bit below leaves room for claims that
 * overshoot the end. At one draw a nanosecond this is 146 years.
 */
#define SEQUENCE_INDEX_LIMIT (UINT64_C(1) << 62)

/* The longest name, without a terminating NUL. */
#define SEQUENCE_NAME_MAX 255

/*
 * An id of kind time is ms | node | serial, 63 bits. Its index is ms | serial:
 * what lies between two ids of one node. At least 40 bits of ms are 34 years.
 */
#define SEQUENCE_NODE_BITS_MAX   16
#define SEQUENCE_SERIAL_BITS_MAX 22
#define SEQUENCE_TIME_BITS_MIN   40
#define SEQUENCE_NODE_BITS       10 /* the defaults; with them ids last 69 years */
#define SEQUENCE_SERIAL_BITS     12
#define SEQUENCE_EPOCH           INT64_C(1577836800000) /* 2020-01-01 00:00 UTC */
#define SEQUENCE_EPOCH_MAX       INT64_C(4102444800000) /* 2100-01-01 00:00 UTC */

/* The longest hold_limit, seconds: a week. */
#define SEQUENCE_HOLD_LIMIT_MAX UINT32_C(604800)

/* The longest reservation of kind time, ms: an hour. */
#define SEQUENCE_TIME_RESERVE_MAX UINT64_C(3600000)

/* The largest fixed reservation: a power cut skips at most so many numbers. */
#define SEQUENCE_RESERVE_MAX (UINT64_C(1) << 32)

enum sequence_kind {
        SEQUENCE_COUNTER = 1,
        SEQUENCE_GAPLESS = 2,
        SEQUENCE_TIME = 3,
};

/*
 * As an operator or programmer states them: those of numbers that count have
 * SQL's meaning. What does not apply to a kind has the value that
 * sequence_params_complete() gives it.
 */
struct sequence_params {
        enum sequence_kind kind;
        bool cycle;          /* past the last value, go on from the other end */
        uint8_t node_bits;   /* time: width of the node, 0..SEQUENCE_NODE_BITS_MAX */
        uint8_t serial_bits; /* time: width of the serial, 1..SEQUENCE_SERIAL_BITS_MAX */
        uint16_t node;       /* time: this host's number, below 2^node_bits */
        uint32_t hold_limit; /* gapless: seconds that a living holder may keep the turn, 0: any */
        int64_t start;       /* value of the first draw, within min..max */
        int64_t increment;   /* any sign, never 0 */
        int64_t min, max;    /* inclusive, min < max */
        uint64_t reserve;    /* indices (time: milliseconds) to reserve at a time, 0: adapt */
        int64_t epoch;       /* time: instant of millisecond 0, in ms of CLOCK_REALTIME */
};

/*
 * The mapping, worked out once from the parameters and the value of index 0
 * (the origin: `start` for a new sequence; for one whose parameters were
 * altered the last value before, index 0 being used up then).
 */
struct sequence_map {
        enum sequence_kind kind;
        uint8_t node_bits, serial_bits; /* time */
        uint16_t node;                  /* time */
        int64_t origin;
        int64_t increment;
        uint64_t limit;  /* number of indices there are, <= SEQUENCE_INDEX_LIMIT */
        uint64_t first;  /* cycling: indices before the first wrap; else == limit */
        uint64_t period; /* cycling: indices in each later round; else 0 */
        int64_t restart; /* cycling: value at the beginning of each later round */
};

/* Parameters nobody stated: an ascending counter from 1, as in SQL. */
struct sequence_params sequence_params_default(void);

/*
 * SQL's defaults for the values not given, which depend on the sign of the
 * increment: 1..INT64_MAX from min when ascending, INT64_MIN..-1 from max when
 * descending. `given_*` say which of start, min and max were stated. What does
 * not apply to params->kind is set to what stands for that.
 */
void sequence_params_complete(struct sequence_params *params, bool given_start, bool given_min,
                              bool given_max);

/*
 * NULL when the parameters can be served; otherwise a sentence that says what
 * contradicts what and what would be right, in `buffer`.
 */
const char *sequence_params_check(const struct sequence_params *params, char *buffer, size_t size);

bool sequence_params_equal(const struct sequence_params *a, const struct sequence_params *b);

/* The mapping of checked parameters, with `origin` within min..max. */
struct sequence_map sequence_map_make(const struct sequence_params *params, int64_t origin);

/* The value of an index below map->limit. */
int64_t sequence_map_value(const struct sequence_map *map, uint64_t index);

/*
 * How many of the `count` indices from `index` on (all below the limit) come
 * before the sequence wraps: a run must not straddle the wrap. `count` itself
 * for a sequence that does not cycle. Of kind time: before the next millisecond.
 */
uint64_t sequence_map_straight(const struct sequence_map *map, uint64_t index, uint64_t count);

/*
 * Is `name` a sequence name: 1 to 255 bytes of [A-Za-z0-9._:/-]? `length`
 * excludes any NUL.
 */
bool sequence_name_valid(const char *name, size_t length);

const char *sequence_kind_name(enum sequence_kind kind);

/* --- kind time ---------------------------------------------------------- */

/* sequence_map_value() of kind time. */
static inline int64_t sequence_time_value(const struct sequence_map *map, uint64_t index)
{
        uint64_t ms = index >> map->serial_bits;
        uint64_t serial = index - (ms << map->serial_bits);

        return (int64_t)((((ms << map->node_bits) | map->node) << map->serial_bits) | serial);
}

/* The index at which the millisecond begins that is `ms` (CLOCK_REALTIME); 0 before the epoch. */
uint64_t sequence_time_index(const struct sequence_params *params, uint64_t ms);

/* An id taken apart; `ms` is of CLOCK_REALTIME. `id` must not be negative. */
void sequence_time_explain(const struct sequence_params *params, int64_t id, int64_t *ret_ms,
                           uint32_t *ret_node, uint32_t *ret_serial);
