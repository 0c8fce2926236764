/* SPDX-License-Identifier: MIT */

/*
 * SEQNUM_SIGBUS: the object is truncated under clients that draw, with and without a
 * daemon. None of them is ended, none gets a number twice, and each goes on drawing;
 * and whatever else SIGBUS may mean in a program is handed on.
 *
 * It is truncated between pages: of a page cut in two the kernel zeroes the rest, and
 * an index set back to 0 is what no client can tell from one that nobody drew yet.
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

#define PAGE 4096

/* It may be cut to nothing, and be met so by the next cut before the daemon has mended it. */
static void cut(const struct instance *instance)
{
        int fd = open(instance_object(instance), O_RDWR | O_CLOEXEC);
        struct stat status;
        uint64_t pages;

        assert_true(fd >= 0);
        assert_int_equal(fstat(fd, &status), 0);
        pages = (uint64_t)status.st_size / PAGE;
        assert_int_equal(ftruncate(fd, (off_t)(pages ? random_below(pages) * PAGE : 0)), 0);
        close(fd);
}

static void clients_live_on(struct instance *instance)
{
        const struct crew_order order = {
                .n_drawers = 4,
                .sequences = {{"up", record_new(1, 1, 0)}, {"down", record_new(-1, -1, 0)}},
                .rate = 200000,
                .run_every = 16,
                .run_max = 100,
                .flags = SEQNUM_SIGBUS,
        };
        uint64_t rounds = scaled(30), killed = 0;
        struct crew *crew;

        instance_configure(
                instance,
                "[sequence up]\n"
                "[sequence down]\nincrement = -1\nmin = -9000000000000000000\nstart = -1\n");
        instance_start(instance);
        crew = crew_start(instance, &order);
        for (uint64_t round = 0; round < rounds; round++) {
                bool kill = random_below(3) == 0;

                crew_await_progress(crew);
                if (kill)
                        instance_kill(instance);
                cut(instance);
                nap(random_below(20000));
                if (kill) {
                        killed++;
                        instance_start(instance);
                }
                crew_await_progress(crew);
                crew_check(crew);
                progress("%" PRIu64 " of %" PRIu64 " rounds", round + 1, rounds);
        }
        crew_stop(crew);
        figures("truncations=%" PRIu64 " daemon_killed=%" PRIu64 " numbers=%" PRIu64
                " duplicates=0",
                rounds, killed, crew_drawn(crew));
}

/* --- others' SIGBUS --------------------------------------------------------- */

static sigjmp_buf escape;
static void *expected;

static void on_sigbus(int number, siginfo_t *info, void *context)
{
        (void)number;
        (void)context;
        siglongjmp(escape, info->si_addr == expected ? 1 : 2);
}

/* What a program that maps files of its own meets when one is truncated. */
static int touch_beyond_the_end(void)
{
        int fd = memfd_create("truncated", MFD_CLOEXEC), way;

        if (fd < 0 || ftruncate(fd, PAGE) < 0)
                return 10;
        expected = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
        if (expected == MAP_FAILED || ftruncate(fd, 0) < 0)
                return 11;
        way = sigsetjmp(escape, 1);
        if (way == 0)
                return 12 + *(volatile char *)expected;
        return way == 1 ? 0 : 13;
}

static void what_is_others_is_handed_on(struct instance *instance)
{
        const struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO};
        struct seqnum_client *client;
        pid_t pid;

        instance_configure(instance, "[sequence up]\n");
        instance_start(instance);
        pid = instance_fork(instance);
        if (pid == 0) {
                if (sigaction(SIGBUS, &action, NULL) < 0 ||
                    seqnum_attach(&client, instance->shm, SEQNUM_SIGBUS) < 0)
                        _exit(9);
                _exit(touch_beyond_the_end());
        }
        assert_int_equal(instance_join(instance, pid, 20), 0);
}

/* Where there was no handler SIGBUS ends the process as ever, sent or met. */
static void none_is_none(struct instance *instance)
{
        instance_configure(instance, "[sequence up]\n");
        instance_start(instance);
        for (int sent = 0; sent < 2; sent++) {
                /* One process more, to tell by what it ended. */
                pid_t pid = instance_fork(instance);

                if (pid == 0) {
                        struct seqnum_client *client;
                        int status = 0;

                        pid = fork();
                        if (pid > 0)
                                _exit(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status)
                                              ? WTERMSIG(status)
                                              : 0);
                        (void)signal(SIGBUS, SIG_DFL);
                        if (pid < 0 || seqnum_attach(&client, instance->shm, SEQNUM_SIGBUS) < 0)
                                _exit(9);
                        if (sent)
                                (void)raise(SIGBUS);
                        _exit(touch_beyond_the_end());
                }
                assert_int_equal(instance_join(instance, pid, 20), SIGBUS);
        }
}

/* A reader is guarded as well, and so is who attaches anew. */
static void readers_too(struct instance *instance)
{
        struct seqnum_client *client;
        struct seqnum *seq;
        int64_t value = 0;
        int r;

        instance_configure(instance, "[sequence up]\n");
        instance_start(instance);
        assert_int_equal(seqnum_attach(&client, instance->shm, SEQNUM_RDONLY | SEQNUM_SIGBUS), 0);
        seq = instance_open(client, "up");
        for (uint64_t i = 0; i < scaled(20); i++) {
                cut(instance);
                do
                        r = seqnum_peek(seq, &value);
                while (r == -EAGAIN || r == -ENXIO);
                assert_int_equal(r, 0);
                assert_int_equal(value, 1);
        }
        seqnum_detach(client);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                instance_test(clients_live_on),
                instance_test(what_is_others_is_handed_on),
                instance_test(none_is_none),
                instance_test(readers_too),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
