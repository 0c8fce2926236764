/* SPDX-License-Identifier: MIT */

/*
 * The record: one bit for each number of a sequence, in memory that all drawers
 * share, so that the second to get a number finds out at once. Memory is used
 * only where numbers were drawn.
 */

#include "harness.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

struct record {
        int64_t first;
        int64_t increment;
        uint64_t period;
        _Atomic(uint64_t) *words;
};

struct record *record_new(int64_t first, int64_t increment, uint64_t period)
{
        struct record *record = calloc(1, sizeof(*record));

        assert_non_null(record);
        record->first = first;
        record->increment = increment;
        record->period = period;
        record->words = shared_memory(RECORD_SIZE / 8);
        return record;
}

struct record *record_free(struct record *record)
{
        if (!record)
                return NULL;
        (void)munmap(record->words, RECORD_SIZE / 8);
        free(record);
        return NULL;
}

uint64_t record_index(const struct record *record, int64_t value)
{
        __int128 distance = (__int128)value - record->first;
        __int128 index = distance / record->increment;

        if (index * record->increment != distance)
                return RECORD_SIZE;
        if (index < 0 && record->period > 0)
                index += record->period;
        return index < 0 || index > (__int128)RECORD_SIZE ? RECORD_SIZE : (uint64_t)index;
}

bool record_add(struct record *record, int64_t value, uint64_t count)
{
        uint64_t index = record_index(record, value);
        uint64_t end = index + count;

        if (end > RECORD_SIZE)
                return false;
        while (index < end) {
                uint64_t bit = index % 64;
                uint64_t n = end - index < 64 - bit ? end - index : 64 - bit;
                uint64_t mask = (n == 64 ? UINT64_MAX : (UINT64_C(1) << n) - 1) << bit;

                if (atomic_fetch_or_explicit(&record->words[index / 64], mask,
                                             memory_order_relaxed) &
                    mask)
                        return false;
                index += n;
        }
        return true;
}

uint64_t record_count(const struct record *record, uint64_t end)
{
        uint64_t count = 0;

        assert_true(end <= RECORD_SIZE);
        for (uint64_t i = 0; i < end; i += 64) {
                uint64_t word = atomic_load_explicit(&record->words[i / 64], memory_order_relaxed);

                if (end - i < 64)
                        word &= (UINT64_C(1) << (end - i)) - 1;
                count += (uint64_t)__builtin_popcountll(word);
        }
        return count;
}
