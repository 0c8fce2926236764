/* SPDX-License-Identifier: MIT */

/*
 * The doorbell's thread: a post becomes a readable file descriptor, many posts
 * become one, and whatever is in the semaphore, the thread can be ended.
 */

#include "unit.h"

#include <poll.h>

#include "doorbell.h"
#include "token.h"

struct bell {
        struct segment_shared *shared;
        struct doorbell *doorbell;
};

static int setup(void **state)
{
        static struct bell bell;

        bell = (struct bell){0};
        *state = &bell;
        bell.shared = mmap(NULL, sizeof(*bell.shared), PROT_READ | PROT_WRITE,
                           MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (bell.shared == MAP_FAILED || sem_init(&bell.shared->doorbell, 1, 0) < 0)
                return -1;
        return doorbell_new(&bell.doorbell, bell.shared);
}

static int teardown(void **state)
{
        struct bell *bell = *state;

        doorbell_free(bell->doorbell);
        return munmap(bell->shared, sizeof(*bell->shared));
}

static bool readable(const struct bell *bell, int timeout_msec)
{
        struct pollfd fd = {.fd = doorbell_fd(bell->doorbell), .events = POLLIN};

        return poll(&fd, 1, timeout_msec) == 1 && (fd.revents & POLLIN);
}

static int posts(const struct bell *bell)
{
        int value = -1;

        assert_int_equal(sem_getvalue(&bell->shared->doorbell, &value), 0);
        return value;
}

static void test_silent(void **state)
{
        assert_false(readable(*state, 30));
}

static void test_ring(void **state)
{
        struct bell *bell = *state;

        for (int i = 0; i < 100; i++) {
                assert_int_equal(sem_post(&bell->shared->doorbell), 0);
                assert_true(readable(bell, 10000));
                assert_int_equal(posts(bell), 0); /* taken before it is told */
                doorbell_answer(bell->doorbell);
        }
        assert_false(readable(bell, 30));
        doorbell_answer(bell->doorbell); /* with nothing to answer: does not wait */
}

static void test_coalesce(void **state)
{
        struct bell *bell = *state;
        unsigned answers = 0;

        for (int i = 0; i < 5000; i++)
                assert_int_equal(sem_post(&bell->shared->doorbell), 0);
        while (readable(bell, 50)) {
                answers++;
                doorbell_answer(bell->doorbell);
        }
        assert_in_range(answers, 1, 4999);
        assert_int_equal(posts(bell), 0);
}

/* More posts than any number of callers make: dropped, not worked through. */
static void test_flood(void **state)
{
        struct bell *bell = *state;

        bell->doorbell = doorbell_free(bell->doorbell);
        assert_int_equal(sem_init(&bell->shared->doorbell, 1, 2000000000), 0);
        assert_int_equal(doorbell_new(&bell->doorbell, bell->shared), 0);
        assert_true(readable(bell, 10000));
        unit_await(posts(bell) == 0);
        assert_false(doorbell_answer(bell->doorbell)); /* so that it can be said */
        assert_true(doorbell_answer(bell->doorbell));

        assert_int_equal(sem_post(&bell->shared->doorbell), 0); /* and works as before */
        unit_await(readable(bell, 0));
}

static void assert_ends_promptly(struct bell *bell)
{
        uint64_t began = unit_usec();

        bell->doorbell = doorbell_free(bell->doorbell);
        assert_true(unit_usec() - began < 2000000);
}

static void test_ends(void **state)
{
        struct bell *bell = *state;

        assert_null(doorbell_free(NULL));
        assert_ends_promptly(bell); /* perhaps before it ever slept */
        for (int i = 0; i < 20; i++) {
                assert_int_equal(doorbell_new(&bell->doorbell, bell->shared), 0);
                if (i % 2)
                        unit_nap();
                assert_ends_promptly(bell);
        }
}

/* Written by clients, hence any bytes at all, at any time. */
static void test_garbage(void **state)
{
        static const unsigned char fillings[] = {0x00, 0x01, 0x7f, 0x80, 0xfe, 0xff};
        struct bell *bell = *state;

        for (size_t i = 0; i < sizeof(fillings); i++) {
                unit_nap(); /* it sleeps on the semaphore */
                memset(&bell->shared->doorbell, fillings[i], sizeof(sem_t));
                unit_nap();
                assert_ends_promptly(bell);

                /* It begins with what is there. */
                assert_int_equal(doorbell_new(&bell->doorbell, bell->shared), 0);
                unit_nap();
                assert_ends_promptly(bell);

                assert_int_equal(sem_init(&bell->shared->doorbell, 1, 0), 0);
                assert_int_equal(doorbell_new(&bell->doorbell, bell->shared), 0);
        }
}

/*
 * glibc's sem_wait(3) and sem_post(3) end the process by abort(3) when a semaphore
 * has a mode that the kernel does not know; found by tests/fuzz/fuzz-attach.c.
 */
static void test_mode_of_nobody(void **state)
{
        struct bell *bell = *state;
        uint32_t words[sizeof(sem_t) / sizeof(uint32_t)] = {0};

        for (int i = 0; i < 20; i++) {
                bell->doorbell = doorbell_free(bell->doorbell);
                memset(&words[2], 0x5a + i, sizeof(words) - 2 * sizeof(words[0]));
                memcpy(&bell->shared->doorbell, words, sizeof(words));
                assert_int_equal(doorbell_new(&bell->doorbell, bell->shared), 0);
                unit_nap(); /* it sleeps */
                semaphore_post(&bell->shared->doorbell);
                unit_await(readable(bell, 0));
                assert_true(doorbell_answer(bell->doorbell));
        }
}

/* Somebody wrote that nobody sleeps: a post alone would not wake it, a second look does. */
static void test_nudge(void **state)
{
        struct bell *bell = *state;

        unit_nap();
        memset(&bell->shared->doorbell, 0, sizeof(sem_t));
        semaphore_post(&bell->shared->doorbell);
        unit_nap();
        unit_await((semaphore_nudge(&bell->shared->doorbell), readable(bell, 0)));
}

#define bell_test(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                bell_test(test_silent),         bell_test(test_ring),  bell_test(test_coalesce),
                bell_test(test_flood),          bell_test(test_ends),  bell_test(test_garbage),
                bell_test(test_mode_of_nobody), bell_test(test_nudge),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
