/* SPDX-License-Identifier: MIT */

/*
 * The semaphores where their words are not known (client/token.h): by POSIX's calls,
 * with the same meaning. Built for here, whatever the C library of this machine.
 */

#include <time.h>

/* What it says is an hour ahead, as if the clock were set back just behind this call. */
static int stepped_clock(clockid_t clock, struct timespec *ret)
{
        int r = clock_gettime(clock, ret);

        if (clock == CLOCK_REALTIME)
                ret->tv_sec += 3600;
        return r;
}

#define SEMAPHORE_WORDS 0
#define clock_gettime   stepped_clock
#include "token.h"
#undef clock_gettime

#include "unit.h"

static int setup(void **state)
{
        static sem_t semaphore;

        *state = &semaphore;
        return sem_init(&semaphore, 1, 0);
}

static int teardown(void **state)
{
        return sem_destroy(*state);
}

static void test_tokens(void **state)
{
        assert_int_equal(semaphore_value(*state), 0);
        assert_true(semaphore_expect(*state));
        assert_false(semaphore_try(*state));
        semaphore_post(*state);
        semaphore_post(*state);
        assert_int_equal(semaphore_value(*state), 2);
        assert_false(semaphore_expect(*state));
        assert_true(semaphore_try(*state));
        semaphore_sleep(*state);
        semaphore_doze(*state, 1000);
        assert_int_equal(semaphore_value(*state), 1); /* who sleeps takes none */
        semaphore_post(*state);
        semaphore_drain(*state);
        assert_int_equal(semaphore_value(*state), 0);
}

/* A doze ends when its time is up, whatever becomes of the clock meanwhile. */
static void test_stepped_clock(void **state)
{
        uint64_t begin = unit_usec();

#ifndef __GLIBC__
        skip(); /* no call goes by another clock */
#endif
        alarm(20);
        semaphore_doze(*state, 50000);
        alarm(0);
        assert_true(unit_usec() - begin >= 50000);
        begin = unit_usec();
        semaphore_doze(*state, 999999); /* a second later for the nanoseconds */
        assert_true(unit_usec() - begin >= 999999);
        assert_int_equal(semaphore_value(*state), 0);
}

#define token_test(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                token_test(test_tokens),
                token_test(test_stepped_clock),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
