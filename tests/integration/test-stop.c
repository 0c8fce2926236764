/* SPDX-License-Identifier: MIT */

/*
 * Clean stops, with programs drawing as fast as they can all the while: not one
 * number is skipped, none drawn twice, no draw fails; also when the segment is
 * removed between stop and start, as a reboot does.
 */

#include <errno.h>
#include <inttypes.h>

#include "harness.h"

#define CYCLES  20
#define DRAWERS 4
#define BOTH_SEQUENCES                                                                             \
        "[sequence orders]\n"                                                                      \
        "[sequence down]\n"                                                                        \
        "increment = -2\n"                                                                         \
        "max = 10\n"

static struct crew *start_drawing(struct instance *instance)
{
        const struct crew_order order = {
                .n_drawers = DRAWERS,
                .sequences = {{"orders", record_new(1, 1, 0)}, {"down", record_new(10, -2, 0)}},
                .rate = 1000000,
                .run_every = 16,
                .run_max = 100,
        };

        instance_start(instance);
        return crew_start(instance, &order);
}

static void check_no_gap(const struct instance *instance, const struct crew *crew)
{
        for (size_t i = 0; i < 2; i++) {
                assert_true(crew_end(crew, i) > 0);
                assert_int_equal(crew_skipped(instance, crew, i), 0);
                figures("sequence=%zu numbers=%" PRIu64 " skipped=0", i, crew_end(crew, i));
        }
}

/* Never fewer: a stop is over soon, in sanitizer builds, too. */
static uint64_t cycles(void)
{
        uint64_t n = scaled(CYCLES);

        return n < CYCLES ? CYCLES : n;
}

static void stop_and_start(struct instance *instance)
{
        struct crew *crew;

        instance_configure(instance, BOTH_SEQUENCES);
        crew = start_drawing(instance);
        for (uint64_t i = 0; i < cycles(); i++) {
                crew_await_progress(crew);
                nap(random_below(50000));
                instance_stop(instance);
                nap(random_below(100000));
                instance_start(instance);
        }
        crew_await_progress(crew);
        crew_stop(crew);
        check_no_gap(instance, crew);
}

static void stop_remove_and_start(struct instance *instance)
{
        struct crew *crew;

        instance_configure(instance, BOTH_SEQUENCES);
        crew = start_drawing(instance);
        for (uint64_t i = 0; i < cycles(); i++) {
                crew_await_progress(crew);
                nap(random_below(50000));
                instance_stop(instance);
                instance_unlink(instance);
                nap(random_below(100000));
                instance_start(instance);
        }
        crew_await_progress(crew);
        crew_stop(crew);
        check_no_gap(instance, crew);
}

/* Nobody is there to carry the position over but the store. */
static void exact_position(struct instance *instance)
{
        struct seqnum_client *client;
        struct seqnum *seq;

        instance_configure(instance, "[sequence orders]\n");
        for (int64_t expected = 1; expected <= 40; expected += 2) {
                instance_start(instance);
                client = instance_attach(instance);
                seq = instance_open(client, "orders");
                assert_int_equal(must_next(seq), expected);
                assert_int_equal(must_next(seq), expected + 1);
                seqnum_detach(client);
                instance_stop(instance);
                instance_unlink(instance);
        }
}

/* Stopped, frozen: a draw waits its time and says so, and takes nothing. */
static void frozen(struct instance *instance)
{
        struct seqnum_client *client;
        struct seqnum_run run;
        int64_t value = -1;
        struct seqnum *seq;

        instance_configure(instance, "[sequence orders]\nreserve = 1000\n");
        instance_start(instance);
        client = instance_attach(instance);
        seq = instance_open(client, "orders");
        assert_int_equal(must_next(seq), 1);
        instance_stop(instance);
        assert_int_equal(must_peek(seq), 2);
        (void)seqnum_set_timeout(client, 0);
        for (unsigned i = 0; i < 100; i++) {
                assert_int_equal(seqnum_next(seq, &value), -ETIMEDOUT);
                assert_int_equal(seqnum_next_run(seq, 10, &run), -ETIMEDOUT);
        }
        assert_int_equal(value, -1);
        assert_int_equal(must_peek(seq), 2);
        instance_start(instance);
        (void)seqnum_set_timeout(client, SEQNUM_TIMEOUT_DEFAULT);
        assert_int_equal(must_next(seq), 2);
        seqnum_detach(client);
}

/* on_stop = serve: the window stays open while nobody looks after it. */
static void serve(struct instance *instance)
{
        struct seqnum_client *client;
        struct seqnum *seq;
        int64_t last = 0;

        instance_configure(instance, "on_stop = serve\n[sequence orders]\nreserve = 100000\n");
        instance_start(instance);
        client = instance_attach(instance);
        seq = instance_open(client, "orders");
        assert_int_equal(must_next(seq), 1);
        for (last = 1; last < 50000; last++) {
                if (last % 10000 == 1)
                        instance_stop(instance);
                (void)seqnum_set_timeout(client, instance->pid ? SEQNUM_TIMEOUT_DEFAULT : 0);
                assert_int_equal(must_next(seq), last + 1);
                if (last % 10000 == 5000)
                        instance_start(instance);
        }
        instance_stop(instance);
        instance_unlink(instance); /* now a reboot: skips a window at most */
        instance_start(instance);
        (void)seqnum_set_timeout(client, SEQNUM_TIMEOUT_DEFAULT);
        assert_in_range(instance_peek(instance, "orders"), last + 1, last + 100001);
        seqnum_detach(client);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                instance_test(stop_and_start), instance_test(stop_remove_and_start),
                instance_test(exact_position), instance_test(frozen),
                instance_test(serve),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
