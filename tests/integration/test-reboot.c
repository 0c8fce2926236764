/* SPDX-License-Identifier: MIT */

/*
 * Reboots, as far as a program can tell them from the real thing: the daemon
 * is killed, those who draw are killed, the segment is gone. What a power cut
 * does to the disk is not shown here; the store's own tests see to that.
 *
 * No number twice, and with a fixed `reserve` each reboot skips no more than
 * one window and what the killed were drawing.
 */

#include <inttypes.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "harness.h"

#define REBOOTS 50
#define DRAWERS 8
#define RUN_MAX 100
#define WINDOW  1000

static void kill_all(struct crew *crew)
{
        for (size_t i = 0; i < DRAWERS; i++)
                crew_kill(crew, i);
}

static void replace_all(struct crew *crew)
{
        for (size_t i = 0; i < DRAWERS; i++)
                crew_replace(crew, i);
}

/* All die in one order or the other, and at times the daemon some time before. */
static void reboot(struct instance *instance, struct crew *crew)
{
        bool daemon_first = random_below(2);

        if (daemon_first)
                instance_kill(instance);
        if (random_below(2))
                nap(random_below(5000));
        kill_all(crew);
        if (!daemon_first)
                instance_kill(instance);
        instance_unlink(instance);
        instance_start(instance);
}

static void check_gap(uint64_t gap, uint64_t lost, uint64_t window)
{
        if (gap > window + lost)
                fail_msg("a reboot skipped %" PRIu64 " numbers, of which %" PRIu64
                         " were being drawn by the killed",
                         gap, lost);
}

/* `window`: the most that one reboot may skip. */
static void many_reboots(struct instance *instance, uint64_t window)
{
        const struct crew_order order = {
                .n_drawers = DRAWERS,
                .sequences = {{"orders", record_new(1, 1, 0)}},
                .rate = 500000,
                .run_every = 16,
                .run_max = RUN_MAX,
        };
        uint64_t skipped, lost, skipped_before = 0, lost_before = 0, reboots = scaled(REBOOTS);
        struct crew *crew;

        instance_start(instance);
        crew = crew_start(instance, &order);
        for (uint64_t i = 0; i < reboots; i++) {
                nap(20000 + random_below(100000));
                crew_await_progress(crew);
                reboot(instance, crew);
                skipped = crew_skipped(instance, crew, 0);
                lost = crew_lost(crew, 0);
                check_gap(skipped - skipped_before, lost - lost_before, window);
                skipped_before = skipped;
                lost_before = lost;
                replace_all(crew);
        }
        crew_await_progress(crew);
        crew_stop(crew);
        figures("reboots=%" PRIu64 " numbers=%" PRIu64 " skipped=%" PRIu64
                " drawn_by_the_killed=%" PRIu64 " duplicates=0",
                reboots, crew_drawn(crew), crew_skipped(instance, crew, 0), crew_lost(crew, 0));
}

static void fixed_reserve(struct instance *instance)
{
        instance_configure(instance, "[sequence orders]\nreserve = %d\n", WINDOW);
        many_reboots(instance, WINDOW);
}

static void adaptive_reserve(struct instance *instance)
{
        instance_configure(instance, "[sequence orders]\n");
        many_reboots(instance, RECORD_SIZE);
}

/*
 * The segment is lost with its daemon but those who draw live on: with numbers
 * of the old one in hand, and no daemon to tell them that there is a new one.
 */
static void drawers_survive(struct instance *instance)
{
        const struct crew_order order = {
                .n_drawers = DRAWERS,
                .sequences = {{"orders", record_new(1, 1, 0)}},
                .rate = 500000,
                .run_every = 16,
                .run_max = RUN_MAX,
        };
        uint64_t losses = scaled(REBOOTS);
        struct crew *crew;

        instance_configure(instance, "[sequence orders]\nreserve = %d\n", WINDOW);
        instance_start(instance);
        crew = crew_start(instance, &order);
        for (uint64_t i = 0; i < losses; i++) {
                nap(random_below(50000));
                instance_kill(instance);
                instance_unlink(instance);
                nap(random_below(10000));
                instance_start(instance);
                crew_await_progress(crew);
        }
        crew_stop(crew);
        figures("segments_lost=%" PRIu64 " numbers=%" PRIu64 " skipped=%" PRIu64 " duplicates=0",
                losses, crew_drawn(crew), crew_skipped(instance, crew, 0));
        /* A window begins behind what waits for it, and that was lost with the old object. */
        assert_in_range(crew_skipped(instance, crew, 0), 0, losses * (WINDOW + DRAWERS * RUN_MAX));
}

/* --- amid administration --------------------------------------------------------- */

/* Creates, which uses up slots, so that the segment is made anew all the time. Until killed. */
static void administer(const struct instance *instance)
{
        static const char requests[] = "SEQ.CREATE more\r\nSEQ.DROP more\r\n";
        char answers[4096];
        int fd = -1;

        for (;;) {
                while (fd < 0) {
                        fd = instance_connect(instance);
                        nap(500);
                }
                if (send(fd, requests, sizeof(requests) - 1, MSG_NOSIGNAL) <= 0 ||
                    recv(fd, answers, sizeof(answers), 0) <= 0) {
                        close(fd);
                        fd = -1;
                }
        }
}

/*
 * What is reserved, created and moved is committed together and told one after the
 * other: a move must not take back what is about to be opened.
 */
static void amid_administration(struct instance *instance)
{
        const struct crew_order order = {
                .n_drawers = DRAWERS,
                .sequences = {{"orders", record_new(1, 1, 0)}},
                .rate = 20000,
                .run_every = 16,
                .run_max = RUN_MAX,
        };
        uint64_t reboots = scaled(REBOOTS);
        struct crew *crew;
        pid_t pid;

        instance_configure(instance,
                           "max_sequences = 8\n"
                           "[sequence orders]\nreserve = %d\n",
                           WINDOW);
        instance_start(instance);
        crew = crew_start(instance, &order);
        for (uint64_t i = 0; i < reboots; i++) {
                pid = instance_fork(instance);
                if (pid == 0)
                        administer(instance);
                nap(random_below(20000));
                crew_await_progress(crew);
                instance_forget_log(instance);
                assert_true(instance_will_say(instance, "it ran out of room"));
                nap(random_below(2000));
                (void)kill(pid, SIGKILL);
                instance_reap(instance, pid);
                reboot(instance, crew);
                replace_all(crew);
                progress("%" PRIu64 " of %" PRIu64 " reboots", i + 1, reboots);
        }
        crew_await_progress(crew);
        crew_stop(crew);
        figures("reboots=%" PRIu64 " numbers=%" PRIu64 " duplicates=0", reboots, crew_drawn(crew));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                instance_test(fixed_reserve),
                instance_test(adaptive_reserve),
                instance_test(drawers_survive),
                instance_test(amid_administration),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
