/* SPDX-License-Identifier: MIT */

/*
 * Death at any moment, of the daemon and of those who draw, while the machine
 * stays up: no number is drawn twice, each process' numbers ascend, and no more
 * is skipped than the killed were drawing. The segment survives here; what
 * happens without it is test-reboot.c.
 */

#include <inttypes.h>
#include <signal.h>

#include "harness.h"

#define RESTARTS 100
#define KILLS    500
#define NUMBERS  UINT64_C(50000000)
#define DRAWERS  8
#define RUN_MAX  1000

static void kill_some_drawers(struct crew *crew, uint64_t *kills)
{
        for (unsigned i = 0; i < KILLS / RESTARTS; i++) {
                size_t victim = random_below(DRAWERS);

                nap(random_below(3000));
                crew_kill(crew, victim);
                crew_replace(crew, victim);
                ++*kills;
        }
}

/* Kill the daemon, and the next one too, before it has said that it is ready. */
static void crash(struct instance *instance)
{
        instance_kill(instance);
        nap(random_below(5000));
        instance_launch(instance);
        nap(random_below(20000));
        instance_kill(instance);
        instance_start(instance);
}

static void check_result(const struct instance *instance, const struct crew *crew, size_t sequence,
                         uint64_t tolerated)
{
        uint64_t skipped = crew_skipped(instance, crew, sequence);
        uint64_t lost = crew_lost(crew, sequence);

        print_message("  sequence %zu: %" PRIu64 " drawn up to, %" PRIu64 " skipped, %" PRIu64
                      " were being drawn by the killed\n",
                      sequence, crew_end(crew, sequence), skipped, lost);
        if (skipped > lost + tolerated)
                fail_msg("sequence %zu: %" PRIu64 " numbers skipped", sequence, skipped);
}

static struct crew *kill_and_draw(struct instance *instance, const struct crew_order *order)
{
        uint64_t restarts = 0, kills = 0;
        struct crew *crew;

        instance_start(instance);
        crew = crew_start(instance, order);
        while (restarts < scaled(RESTARTS) || kills < scaled(KILLS) ||
               crew_drawn(crew) < scaled(NUMBERS)) {
                kill_some_drawers(crew, &kills);
                crash(instance);
                crew_check(crew);
                restarts++;
                progress("%" PRIu64 " numbers, %" PRIu64 " daemons and %" PRIu64 " drawers killed",
                         crew_drawn(crew), 2 * restarts, kills);
        }
        crew_await_progress(crew);
        crew_stop(crew);
        figures("numbers=%" PRIu64 " daemons_killed=%" PRIu64 " daemons_killed_starting=%" PRIu64
                " drawers_killed=%" PRIu64 " duplicates=0",
                crew_drawn(crew), restarts, restarts, kills);
        return crew;
}

static void one_sequence(struct instance *instance)
{
        const struct crew_order order = {
                .n_drawers = DRAWERS,
                .sequences = {{"orders", record_new(1, 1, 0)}},
                .rate = 1000000,
                .run_every = 64,
                .run_max = RUN_MAX,
        };
        const struct crew *crew;

        instance_configure(instance, "[sequence orders]\n");
        crew = kill_and_draw(instance, &order);
        check_result(instance, crew, 0, 0);
}

/*
 * One that reserves so little that draws wait all the time, a descending one,
 * and a cycling one that comes to its wrap soon (where a run may skip).
 */
static void several_sequences(struct instance *instance)
{
        const struct crew_order order = {
                .n_drawers = DRAWERS,
                .sequences =
                        {
                                {"up", record_new(1, 1, 0)},
                                {"down", record_new(-5, -3, 0)},
                                {"round", record_new(1999900000, 1, 2000000000)},
                        },
                .rate = 1000000,
                .run_every = 64,
                .run_max = RUN_MAX,
        };
        const struct crew *crew;

        instance_configure(instance, "[sequence up]\n"
                                     "[sequence down]\n"
                                     "start = -5\n"
                                     "increment = -3\n"
                                     "[sequence round]\n"
                                     "start = 1999900000\n"
                                     "max = 2000000000\n"
                                     "cycle = yes\n");
        crew = kill_and_draw(instance, &order);
        check_result(instance, crew, 0, 0);
        check_result(instance, crew, 1, 0);
        assert_true(crew_end(crew, 2) > 100001);
        check_result(instance, crew, 2, UINT64_C(3) * RUN_MAX);
}

/* A window that holds less than a moment's numbers: somebody waits all the time. */
static void small_window(struct instance *instance)
{
        const struct crew_order order = {
                .n_drawers = DRAWERS,
                .sequences = {{"orders", record_new(1, 1, 0)}},
                .rate = 1000000,
                .run_every = 4,
                .run_max = RUN_MAX,
        };
        struct crew *crew;

        instance_configure(instance, "[sequence orders]\nreserve = 500\n");
        instance_start(instance);
        crew = crew_start(instance, &order);
        for (uint64_t i = 0, kills = 0; i < scaled(RESTARTS); i++) {
                kill_some_drawers(crew, &kills);
                crash(instance);
                crew_check(crew);
        }
        crew_await_progress(crew);
        crew_stop(crew);
        check_result(instance, crew, 0, 0);
}

/* Killed in the middle of a clean stop: that skips nothing either. */
static void interrupted_stop(struct instance *instance)
{
        const struct crew_order order = {
                .n_drawers = DRAWERS,
                .sequences = {{"orders", record_new(1, 1, 0)}},
                .rate = 1000000,
                .run_every = 64,
                .run_max = RUN_MAX,
        };
        uint64_t stops = scaled(RESTARTS);
        struct crew *crew;

        instance_configure(instance, "[sequence orders]\n");
        instance_start(instance);
        crew = crew_start(instance, &order);
        for (uint64_t i = 0; i < stops; i++) {
                nap(random_below(20000));
                assert_int_equal(kill(instance->pid, SIGTERM), 0);
                nap(random_below(3000));
                instance_kill(instance);
                instance_start(instance);
                crew_check(crew);
        }
        crew_await_progress(crew);
        crew_stop(crew);
        check_result(instance, crew, 0, 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                instance_test(one_sequence),
                instance_test(several_sequences),
                instance_test(small_window),
                instance_test(interrupted_stop),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
