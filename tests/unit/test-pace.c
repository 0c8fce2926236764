/* SPDX-License-Identifier: MIT */

/*
 * How much to reserve: sizes follow the rate, grow fast, shrink slowly, and
 * stay within their bounds whatever is put in.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "pace.h"

#define SECOND UINT64_C(1000000)

static uint64_t size_of(uint64_t size, uint64_t elapsed, uint64_t consumed, bool exhausted)
{
        const struct pace_sample sample = {
                .size = size,
                .elapsed_usec = elapsed,
                .consumed = consumed,
                .exhausted = exhausted,
        };

        return pace_size(&sample);
}

static void test_first(void **state)
{
        (void)state;
        assert_true(size_of(0, 0, 0, false) == PACE_SIZE_MIN);
        assert_true(size_of(0, SECOND, 1000000, true) == PACE_SIZE_MIN);
        assert_true(size_of(0, UINT64_MAX, UINT64_MAX, true) == PACE_SIZE_MIN);
}

static void test_follows_rate(void **state)
{
        (void)state;
        /* About what a second takes, where that is within reach of the last size. */
        assert_true(size_of(1000, SECOND, 1000, false) == 1000);
        assert_true(size_of(1000, SECOND / 2, 1000, false) == 2000);
        assert_true(size_of(1000, SECOND / 10, 1200, false) == 12000);
        assert_true(size_of(1000, 2 * SECOND, 1800, false) == 900);
}

static void test_grows_fast(void **state)
{
        uint64_t size = PACE_SIZE_MIN;
        int steps = 0;

        (void)state;
        /* Never by more than 16 at once, however fast it seems to go. */
        assert_true(size_of(100, 1, 100, false) == 1600);
        assert_true(size_of(100, 1, 100, true) == 1600);
        /* Who had to wait drew less than he would have. */
        assert_true(size_of(100, SECOND / 2, 50, true) == 200);
        assert_true(size_of(100, 2 * SECOND, 100, true) == 200);
        /* But not when that took so long that it says nothing. */
        assert_true(size_of(100, 20 * SECOND, 100, true) == 100);
        /* What is known of the rate is enough: no window of many seconds. */
        assert_true(size_of(100000, SECOND / 2, 100000, true) == 200000);

        /* A hundred million a second are reached within a handful of refills. */
        for (; size < 100000000; steps++)
                size = size_of(size, SECOND * size / 100000000, size, false);
        assert_true(steps <= 7);
}

static void test_shrinks_slowly(void **state)
{
        uint64_t size = 1000000;
        int steps = 0;

        (void)state;
        assert_true(size_of(1000, SECOND, 0, false) == 750);
        assert_true(size_of(1000, 3600 * SECOND, 1, false) == 750);
        for (; size > PACE_SIZE_MIN; steps++) {
                uint64_t less = size_of(size, SECOND, 0, false);

                assert_true(less < size);
                assert_true(less >= size - size / 4);
                size = less;
        }
        assert_true(steps > 30);
        assert_true(size_of(size, SECOND, 0, false) == PACE_SIZE_MIN);
}

static void test_bounds(void **state)
{
        static const uint64_t sizes[] = {
                1, PACE_SIZE_MIN - 1, PACE_SIZE_MIN, 1000, PACE_SIZE_MAX - 1, PACE_SIZE_MAX,
        };
        static const uint64_t amounts[] = {
                0, 1, 1000, SECOND, PACE_SIZE_MAX, UINT64_C(1) << 62, UINT64_MAX,
        };
        const size_t n_amounts = sizeof(amounts) / sizeof(amounts[0]);

        (void)state;
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]) * n_amounts * n_amounts; i++) {
                uint64_t size = sizes[i / n_amounts / n_amounts];
                uint64_t elapsed = amounts[i / n_amounts % n_amounts];
                uint64_t consumed = amounts[i % n_amounts];

                for (int exhausted = 0; exhausted < 2; exhausted++) {
                        uint64_t r = size_of(size, elapsed, consumed, exhausted);

                        assert_in_range(r, PACE_SIZE_MIN, PACE_SIZE_MAX);
                        assert_true(r <= 16 * size || r == PACE_SIZE_MIN);
                        assert_true(r >= size - size / 4);
                }
        }
}

static uint64_t size_with(uint64_t commit_usec)
{
        const struct pace_sample sample = {
                .size = 1000000,
                .elapsed_usec = SECOND,
                .consumed = 1000000,
                .commit_usec = commit_usec,
        };

        return pace_size(&sample);
}

/* Half a window is left when more is asked for: that must outlast the commit. */
static void test_slow_disk(void **state)
{
        (void)state;
        assert_true(size_with(0) == 1000000);
        assert_true(size_with(50000) == 1200000);
        assert_true(size_with(SECOND) == 5000000);
        for (uint64_t commit = 100; commit < 3 * SECOND; commit *= 3)
                assert_true(size_with(commit) / 2 > commit * 3 / 2);
        /* Without end it does not grow. */
        assert_true(size_with(UINT64_MAX) == 16000000);
}

static void test_no_time_passed(void **state)
{
        (void)state;
        /* Two refills within a microsecond: as fast as can be, not a division by 0. */
        assert_true(size_of(1000, 0, 10, false) == 16000);
        assert_true(size_of(1000, 0, 0, false) == 750);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_first),      cmocka_unit_test(test_follows_rate),
                cmocka_unit_test(test_grows_fast), cmocka_unit_test(test_shrinks_slowly),
                cmocka_unit_test(test_bounds),     cmocka_unit_test(test_no_time_passed),
                cmocka_unit_test(test_slow_disk),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
