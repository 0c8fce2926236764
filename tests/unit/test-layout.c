/* SPDX-License-Identifier: MIT */

/*
 * The arithmetic of the layout: that no part of a segment lies over another,
 * whatever its capacity, and that hash and ABI tag are what they are said to be.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "layout.h"

struct part {
        uint64_t start, end;
};

static void assert_consecutive(const struct part *parts, size_t n, uint64_t size)
{
        uint64_t end = 0;

        for (size_t i = 0; i < n; i++) {
                assert_int_equal(parts[i].start % SEGMENT_PAGE, 0);
                assert_true(parts[i].start >= end);
                assert_true(parts[i].end > parts[i].start);
                end = parts[i].end;
        }
        assert_true(end <= size);
}

static void check_capacity(uint32_t max_sequences)
{
        struct segment_geometry g = segment_geometry(max_sequences);
        const struct part parts[] = {
                {0, sizeof(struct segment_header)},
                {g.buckets, g.buckets + g.n_buckets * sizeof(uint64_t)},
                {g.entries, g.entries + g.entries_size},
                {g.windows, g.windows + g.n_slots * sizeof(struct window)},
                {g.writable, g.writable + sizeof(struct segment_shared)},
                {g.wants, g.wants + g.n_slots / 8},
                {g.cells, g.cells + g.n_slots * sizeof(struct cell)},
        };

        assert_consecutive(parts, sizeof(parts) / sizeof(parts[0]), g.size);
        assert_int_equal(g.size % SEGMENT_PAGE, 0);

        assert_int_equal(g.n_slots % 64, 0);
        assert_true(g.n_slots >= 2 * max_sequences);
        assert_true(g.n_slots < 2 * max_sequences + 64);
        assert_int_equal(g.n_buckets & (g.n_buckets - 1), 0);
        assert_true(g.n_buckets >= max_sequences);

        /* All slots may have the longest name at once. */
        assert_true(g.entries_size / g.n_slots >= directory_entry_size(SEQUENCE_NAME_MAX));
}

static void test_geometry(void **state)
{
        static const uint32_t capacities[] = {
                1, 2, 31, 32, 33, 63, 64, 65, 1000, 4096, 65536, 65537, 1048575, 1048576,
        };

        (void)state;
        for (size_t i = 0; i < sizeof(capacities) / sizeof(capacities[0]); i++)
                check_capacity(capacities[i]);
        for (uint32_t max = 1; max < SEGMENT_SEQUENCES_MAX; max += 1 + max / 7)
                check_capacity(max);
}

static void test_largest(void **state)
{
        struct segment_geometry g = segment_geometry(SEGMENT_SEQUENCES_MAX);
        struct segment_shared *shared = NULL;

        (void)state;
        /* A bit of the summary for each word of the wants. */
        assert_true(sizeof(shared->summary) * 8 >= g.n_slots / 64);
        assert_true(g.n_buckets == SEGMENT_SEQUENCES_MAX);
        assert_true(g.n_slots == 2 * SEGMENT_SEQUENCES_MAX);
        /* Nothing was cut to 32 bits on the way. */
        assert_true(g.entries_size ==
                    (uint64_t)g.n_slots * directory_entry_size(SEQUENCE_NAME_MAX));
        assert_true(g.size > g.entries_size + (uint64_t)g.n_slots * 2 * SEGMENT_LINE);
}

static void test_entry_size(void **state)
{
        (void)state;
        for (size_t length = 1; length <= SEQUENCE_NAME_MAX; length++) {
                uint64_t size = directory_entry_size(length);

                assert_int_equal(size % 8, 0);
                assert_true(size >= offsetof(struct directory_entry, name) + length);
                assert_true(size < offsetof(struct directory_entry, name) + length + 8);
        }
        /* The smallest is what is checked before any field of an entry is read. */
        assert_true(directory_entry_size(1) >= sizeof(struct directory_entry));
}

static void test_hash(void **state)
{
        /* From the FNV reference's list of test vectors, 64 bits, FNV-1a. */
        (void)state;
        assert_true(directory_hash("", 0) == UINT64_C(0xcbf29ce484222325));
        assert_true(directory_hash("a", 1) == UINT64_C(0xaf63dc4c8601ec8c));
        assert_true(directory_hash("foobar", 6) == UINT64_C(0x85944171f73967e8));
        assert_true(directory_hash("foobarx", 6) == UINT64_C(0x85944171f73967e8));
        assert_true(directory_hash("\xff", 1) != directory_hash("\x7f", 1));
}

static void test_abi(void **state)
{
        char abi[SEGMENT_ABI_SIZE], again[SEGMENT_ABI_SIZE];
        char bits[16];

        (void)state;
        memset(abi, 'x', sizeof(abi));
        memset(again, 'y', sizeof(again));
        segment_abi(abi);
        segment_abi(again);
        assert_memory_equal(abi, again, sizeof(abi)); /* padding included */
        assert_int_equal(abi[SEGMENT_ABI_SIZE - 1], '\0');
        assert_non_null(strstr(abi, "-sem"));
        (void)snprintf(bits, sizeof(bits), "e%zu-", 8 * sizeof(void *));
        assert_non_null(strstr(abi, bits));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_geometry),   cmocka_unit_test(test_largest),
                cmocka_unit_test(test_entry_size), cmocka_unit_test(test_hash),
                cmocka_unit_test(test_abi),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
