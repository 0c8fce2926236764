/* SPDX-License-Identifier: MIT */

/*
 * Ids made of time, with a clock that the test owns (tests/preload/fake-clock.c):
 * unique and in the order of their draws on the whole host, however the clock is
 * stepped, whenever the daemon dies, and when the machine comes up in 1970. With
 * a clock that tells the time, they tell it too.
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"

#define DRAWERS      8
#define DRAWS_MAX    200000 /* of one process */
#define TIMEOUT_USEC UINT64_C(20000000)

#define MSEC   INT64_C(1000)
#define SECOND (1000 * MSEC)
#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)

#define YEAR_9999 (INT64_C(253402300799) * SECOND)

/* --- the clock ------------------------------------------------------------------- */

static _Atomic(int64_t) *offset; /* usec, of every process that the test starts */

/* The host's own clock. */
static int64_t true_usec(void)
{
        struct timespec t;

        (void)syscall(SYS_clock_gettime, CLOCK_REALTIME, &t);
        return (int64_t)t.tv_sec * SECOND + t.tv_nsec / 1000;
}

static void set_clock(int64_t usec)
{
        atomic_store(offset, usec - true_usec());
}

/* What everybody takes for the time. */
static int64_t told_usec(void)
{
        struct timespec t;

        (void)clock_gettime(CLOCK_REALTIME, &t);
        return (int64_t)t.tv_sec * SECOND + t.tv_nsec / 1000;
}

static void step_at_random(void)
{
        static const int64_t units[] = {MSEC, SECOND, MINUTE, HOUR};
        int64_t unit = units[random_below(sizeof(units) / sizeof(*units))];
        int64_t step = unit * (1 + (int64_t)random_below(5));

        atomic_fetch_add(offset, random_below(2) ? step : -step);
}

/* --- drawing, and what is to be true of it ----------------------------------------- */

struct draw {
        uint64_t begun, ended; /* nsec of CLOCK_MONOTONIC, just before and just after */
        int64_t id;
};

struct drawer {
        _Atomic(uint64_t) n_draws;
        struct draw draws[DRAWS_MAX];
        char complaint[256];
};

struct drawers {
        _Atomic(bool) stop;
        struct drawer drawers[DRAWERS];
};

/* Finer than now_usec(): many draws begin and end within a microsecond. */
static uint64_t now_nsec(void)
{
        struct timespec t;

        (void)clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

__attribute__((noreturn)) static void draw_until_told(const struct instance *instance,
                                                      struct drawers *all, struct drawer *self)
{
        struct seqnum_client *client = NULL;
        struct seqnum *seq = NULL;
        uint64_t n = 0;
        int r = seqnum_attach(&client, instance->shm, 0);

        if (r >= 0)
                r = seqnum_set_timeout(client, patience_usec(TIMEOUT_USEC));
        if (r >= 0)
                r = seqnum_open(&seq, client, "events");
        while (r >= 0 && n < DRAWS_MAX && !atomic_load(&all->stop)) {
                struct draw *draw = &self->draws[n];

                draw->begun = now_nsec();
                r = seqnum_next(seq, &draw->id);
                draw->ended = now_nsec();
                if (r >= 0)
                        atomic_store(&self->n_draws, ++n);
                if (random_below(8) == 0)
                        nap(random_below(400));
        }
        if (r < 0)
                (void)snprintf(self->complaint, sizeof(self->complaint), "after %" PRIu64 ": %s", n,
                               seqnum_strerror(r));
        _exit(r < 0);
}

static int by_id(const void *a, const void *b)
{
        const struct draw *left = a, *right = b;

        return (left->id > right->id) - (left->id < right->id);
}

/*
 * Whoever began after another had ended has the larger id. That is, going from
 * the largest id down: no draw began after one of a larger id had ended.
 */
static void check_order(struct draw *draws, size_t n)
{
        uint64_t earliest_end = UINT64_MAX;

        qsort(draws, n, sizeof(*draws), by_id);
        for (size_t i = n; i > 0; i--) {
                const struct draw *draw = &draws[i - 1];

                if (i < n && draw->id == draws[i].id)
                        fail_msg("DUPLICATE: %" PRId64, draw->id);
                if (draw->begun > earliest_end)
                        fail_msg("%" PRId64 " was drawn after a larger one was", draw->id);
                if (draw->ended < earliest_end)
                        earliest_end = draw->ended;
        }
}

/* All draws of all drawers: each one's ascend, and all together are in order. */
static size_t check_drawers(const struct drawers *all)
{
        struct draw *draws = calloc((size_t)DRAWERS * DRAWS_MAX, sizeof(*draws));
        size_t total = 0;

        assert_non_null(draws);
        for (size_t i = 0; i < DRAWERS; i++) {
                const struct drawer *drawer = &all->drawers[i];
                size_t n = atomic_load(&drawer->n_draws);

                if (drawer->complaint[0])
                        fail_msg("drawer %zu: %s", i, drawer->complaint);
                for (size_t k = 1; k < n; k++)
                        if (drawer->draws[k].id <= drawer->draws[k - 1].id)
                                fail_msg("drawer %zu got %" PRId64 " after %" PRId64, i,
                                         drawer->draws[k].id, drawer->draws[k - 1].id);
                memcpy(&draws[total], drawer->draws, n * sizeof(*draws));
                total += n;
        }
        check_order(draws, total);
        free(draws);
        return total;
}

static void start_drawers(struct instance *instance, struct drawers *all, pid_t *pids)
{
        for (size_t i = 0; i < DRAWERS; i++) {
                pids[i] = instance_fork(instance);
                if (pids[i] == 0)
                        draw_until_told(instance, all, &all->drawers[i]);
        }
}

static void stop_drawers(struct instance *instance, struct drawers *all, const pid_t *pids)
{
        atomic_store(&all->stop, true);
        for (size_t i = 0; i < DRAWERS; i++)
                if (instance_join(instance, pids[i], 60) != 0)
                        fail_msg("drawer %zu: %s", i, all->drawers[i].complaint);
}

static void start_with_events(struct instance *instance, const char *keys)
{
        set_clock(true_usec());
        instance_configure(instance, "[sequence events]\nkind = time\n%s", keys);
        instance_start(instance);
}

/* --- a clock that is stepped ---------------------------------------------------------- */

static void steps(struct instance *instance)
{
        struct drawers *all = shared_memory(sizeof(*all));
        const uint64_t n_steps = 20 + scaled(400);
        uint64_t kills = 0, reboots = 0;
        pid_t pids[DRAWERS];

        start_with_events(instance, "");
        start_drawers(instance, all, pids);
        for (uint64_t i = 1; i <= n_steps; i++) {
                nap(2000 + random_below(8000));
                step_at_random();
                if (i % 20 == 0) {
                        instance_kill(instance);
                        kills++;
                        step_at_random();
                        if (i % 80 == 0) { /* a reboot, but for those who draw */
                                instance_unlink(instance);
                                reboots++;
                        }
                        instance_start(instance);
                }
        }
        stop_drawers(instance, all, pids);
        figures("ids=%zu clock_stepped=%" PRIu64 " daemons_killed=%" PRIu64
                " segments_removed=%" PRIu64 " duplicates=0",
                check_drawers(all), n_steps + kills, kills, reboots);
}

/* --- a machine that comes up with a wrong clock ------------------------------------------ */

static void reboots_into_the_past(struct instance *instance)
{
        static const int64_t clocks[] = {0, 946684800 * SECOND /* 2000 */, 90 * MINUTE};
        struct seqnum_client *client;
        struct seqnum *seq;
        int64_t last = 0;

        start_with_events(instance, "");
        for (size_t i = 0; i < sizeof(clocks) / sizeof(*clocks); i++) {
                client = instance_attach(instance);
                seq = instance_open(client, "events");
                for (int n = 0; n < 1000; n++) {
                        int64_t id = must_next(seq);

                        assert_true(id > last);
                        last = id;
                }
                seqnum_detach(client);
                if (i % 2)
                        instance_stop(instance);
                else
                        instance_kill(instance);
                instance_unlink(instance);
                set_clock(clocks[i]);
                instance_start(instance);
        }
        assert_true(instance_peek(instance, "events") > last);
        /* Once the clock is right again, so are the ids, within what was reserved. */
        set_clock(true_usec());
        client = instance_attach(instance);
        seq = instance_open(client, "events");
        assert_true(must_next(seq) > last);
        seqnum_detach(client);
}

/* The first daemon of a new host may start before the clock was set. */
static void begins_before_the_epoch(struct instance *instance)
{
        struct seqnum_client *client;
        struct seqnum *seq;
        struct seqnum_time told;
        int64_t first, second;

        start_with_events(instance, "");
        instance_stop(instance);
        instance_unlink(instance);
        set_clock(0);
        instance_configure(instance, "[sequence events]\nkind = time\n"
                                     "[sequence early]\nkind = time\nepoch = 2020-01-01\n");
        instance_start(instance);
        client = instance_attach(instance);
        seq = instance_open(client, "early");
        first = must_next(seq);
        second = must_next(seq);
        assert_true(first >= 0 && second > first);
        set_clock(true_usec());
        first = must_next(seq);
        assert_true(first > second);
        assert_int_equal(seqnum_explain(seq, first, &told), 0);
        assert_true(told.unix_msec > told_usec() / MSEC - (int64_t)patience_usec(60000));
        assert_true(told.unix_msec <= told_usec() / MSEC + 5);
        seqnum_detach(client);
}

/* A clock so far ahead that no id can say it: refused, and nothing is lost by it. */
static void survives_the_far_future(struct instance *instance)
{
        struct seqnum_client *client;
        struct seqnum *seq;
        int64_t before, after = -1;

        start_with_events(instance, "epoch = 2020-01-01\nnode_bits = 1\nserial_bits = 22\n");
        client = instance_attach(instance);
        seq = instance_open(client, "events");
        before = must_next(seq);
        set_clock(YEAR_9999);
        assert_int_equal(seqnum_next(seq, &after), -EOVERFLOW);
        assert_int_equal(after, -1);
        set_clock(true_usec());
        after = must_next(seq);
        assert_true(after > before);

        /* Not even by a daemon that starts by that clock, is asked, and dies with its machine. */
        instance_stop(instance);
        set_clock(YEAR_9999);
        instance_start(instance);
        assert_int_equal(seqnum_next(seq, &before), -EOVERFLOW);
        seqnum_detach(client);
        instance_kill(instance);
        instance_unlink(instance);
        set_clock(true_usec());
        instance_start(instance);
        client = instance_attach(instance);
        before = after;
        after = must_next(instance_open(client, "events"));
        assert_true(after > before);
        /* The crash may have skipped what was reserved, ten seconds. */
        assert_true((after >> 23) - (before >> 23) < (int64_t)patience_usec(40000));
        seqnum_detach(client);
}

/* --- a clock that tells the time ------------------------------------------------------------ */

/* Drawn one at a time, an id says when, within 5 ms. */
static void ids_tell_the_time(struct instance *instance)
{
        struct seqnum_client *client;
        struct seqnum *seq;
        struct seqnum_time told = {0};
        int64_t worst = 0;

        start_with_events(instance, "node = 7\n");
        client = instance_attach(instance);
        seq = instance_open(client, "events");
        for (uint64_t i = 0; i < 100 + scaled(2000); i++) {
                int64_t begun = told_usec() / MSEC, ended, error, id = must_next(seq);

                ended = told_usec() / MSEC;
                assert_int_equal(seqnum_explain(seq, id, &told), 0);
                assert_int_equal(told.node, 7);
                error = told.unix_msec < begun   ? begun - told.unix_msec
                        : told.unix_msec > ended ? told.unix_msec - ended
                                                 : 0;
                if (error > worst)
                        worst = error;
                nap(random_below(500));
        }
        print_message("  %" PRId64 " ms off at worst\n", worst);
        assert_in_range(worst, 0, 5);
        seqnum_detach(client);
}

/* After a time without draws, which the clock has gone on for. */
static void looks_follow_the_clock(struct instance *instance)
{
        struct seqnum_client *client;
        struct seqnum *seq;
        struct seqnum_time told = {0};
        int64_t last, now, id;

        start_with_events(instance, "");
        client = instance_attach(instance);
        seq = instance_open(client, "events");
        last = must_next(seq);
        assert_int_equal(kill(instance->pid, SIGSTOP), 0); /* what is reserved stays */
        assert_true(instance_info(instance, "events", "reserved_ahead") > 0);
        set_clock(true_usec() + MINUTE);
        now = told_usec() / MSEC;
        assert_int_equal(seqnum_explain(seq, must_peek(seq), &told), 0);
        assert_in_range(told.unix_msec - now, 0, patience_usec(5000000) / 1000);
        assert_int_equal(seqnum_explain(seq, instance_info(instance, "events", "next"), &told), 0);
        assert_in_range(told.unix_msec - now, 0, patience_usec(5000000) / 1000);
        assert_int_equal(instance_info(instance, "events", "reserved_ahead"), 0);
        assert_int_equal(instance_info(instance, "events", "last_id"), last);
        assert_int_equal(kill(instance->pid, SIGCONT), 0);
        now = told_usec() / MSEC;
        id = strtoll(instance_ask(instance, "SEQ.PEEK events") + 1, NULL, 10);
        assert_int_equal(seqnum_explain(seq, id, &told), 0);
        assert_in_range(told.unix_msec - now, 0, patience_usec(5000000) / 1000);
        assert_true(must_next(seq) > last);
        seqnum_detach(client);
}

/*
 * More ids than a millisecond has: they borrow from the next few, then keep
 * pace with the clock. Seen by eight processes at once, and in order.
 */
static void bursts_borrow_little(struct instance *instance)
{
        struct drawers *all = shared_memory(sizeof(*all));
        struct seqnum_client *client;
        struct seqnum *seq;
        struct seqnum_time told = {0};
        int64_t lead = INT64_MIN, real_minus_mono;
        pid_t pids[DRAWERS];

        start_with_events(instance, "serial_bits = 3\n"); /* 8 a millisecond */
        client = instance_attach(instance);
        seq = instance_open(client, "events");
        real_minus_mono = told_usec() - (int64_t)(now_nsec() / 1000);
        start_drawers(instance, all, pids);
        nap(200000 + scaled(800000));
        stop_drawers(instance, all, pids);
        for (size_t i = 0; i < DRAWERS; i++) {
                for (size_t k = 0; k < atomic_load(&all->drawers[i].n_draws); k++) {
                        const struct draw *draw = &all->drawers[i].draws[k];
                        int64_t ended = (int64_t)(draw->ended / 1000) + real_minus_mono;

                        assert_int_equal(seqnum_explain(seq, draw->id, &told), 0);
                        if (told.unix_msec - ended / MSEC > lead)
                                lead = told.unix_msec - ended / MSEC;
                }
        }
        print_message("  %zu ids, at most %" PRId64 " ms ahead of the clock\n", check_drawers(all),
                      lead);
        assert_true(lead <= 5);
        seqnum_detach(client);
}

/*
 * Draw milliseconds, each as a run of all that it has, faster than they pass; how far
 * the last one drawn was ahead of the clock, in milliseconds.
 */
static int64_t race_ahead(struct seqnum *seq)
{
        uint64_t end = now_usec() + 200000 + scaled(300000);
        uint64_t give_up = end + patience_usec(TIMEOUT_USEC); /* without any: who hardly runs */
        int64_t lead = INT64_MIN;

        while (now_usec() < end || (lead == INT64_MIN && now_usec() < give_up)) {
                struct seqnum_time told = {0};
                struct seqnum_run run;
                int r = seqnum_next_run(seq, 8, &run);

                if (r == -ETIMEDOUT)
                        continue;
                assert_int_equal(r, 0);
                assert_int_equal(seqnum_explain(seq, run.first, &told), 0);
                if (told.unix_msec - told_usec() / MSEC > lead)
                        lead = told.unix_msec - told_usec() / MSEC;
        }
        return lead;
}

static void on_alarm(int number)
{
        (void)number;
}

/* The millisecond that entering one takes is waited for, whatever ends the sleep early. */
static void short_sleeps_borrow_no_more(struct instance *instance)
{
        static const uint64_t timeouts[] = {0, 20, 150, 999, 1500};
        const struct itimerval often = {.it_interval.tv_usec = 100, .it_value.tv_usec = 100};
        const struct itimerval never = {.it_value.tv_usec = 0};
        struct seqnum_client *client;
        struct seqnum *seq;

        start_with_events(instance, "serial_bits = 3\n");
        client = instance_attach(instance);
        seq = instance_open(client, "events");
        for (size_t i = 0; i < sizeof(timeouts) / sizeof(timeouts[0]); i++) {
                assert_int_equal(seqnum_set_timeout(client, timeouts[i]), 0);
                assert_in_range(race_ahead(seq) + 1000, 0, 1005);
        }
        assert_int_equal(seqnum_set_timeout(client, patience_usec(TIMEOUT_USEC)), 0);
        (void)signal(SIGALRM, on_alarm);
        assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
        assert_in_range(race_ahead(seq) + 1000, 0, 1005);
        assert_int_equal(setitimer(ITIMER_REAL, &never, NULL), 0);
        (void)signal(SIGALRM, SIG_DFL);
        seqnum_detach(client);
}

/* --- the test, with the clock preloaded ------------------------------------------------------- */

/*
 * Begin anew with the fake clock in this process and all that it starts. The
 * offset is in a file without a name, which they inherit.
 */
static int run_with_clock(char **argv)
{
        const char *build = getenv("SEQNUM_BUILD"), *asan = getenv("ASAN_OPTIONS");
        int fd = memfd_create("clock", 0);
        char path[64], text[4096];

        if (fd < 0 || ftruncate(fd, sizeof(*offset)) < 0) {
                perror("memfd_create");
                return 1;
        }
        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        (void)setenv("SEQNUM_FAKE_CLOCK", path, 1);
        (void)snprintf(text, sizeof(text), "%s/tests/preload/fake-clock.so",
                       build && *build ? build : "build");
        (void)setenv("LD_PRELOAD", text, 1);
        /* AddressSanitizer wants to be the first library there is; before this one it need not. */
        (void)snprintf(text, sizeof(text), "%s:verify_asan_link_order=0", asan ? asan : "");
        (void)setenv("ASAN_OPTIONS", text, 1);
        (void)execv("/proc/self/exe", argv);
        perror("/proc/self/exe");
        return 1;
}

static int map_clock(const char *path)
{
        int fd = open(path, O_RDWR | O_CLOEXEC);
        void *memory = mmap(NULL, sizeof(*offset), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

        if (memory == MAP_FAILED) {
                perror(path);
                return -1;
        }
        close(fd);
        offset = memory;
        return 0;
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                instance_test(steps),
                instance_test(reboots_into_the_past),
                instance_test(begins_before_the_epoch),
                instance_test(survives_the_far_future),
                instance_test(ids_tell_the_time),
                instance_test(looks_follow_the_clock),
                instance_test(bursts_borrow_little),
                instance_test(short_sleeps_borrow_no_more),
        };
        const char *path = getenv("SEQNUM_FAKE_CLOCK");

        (void)argc;
        if (!path)
                return run_with_clock(argv);
        if (map_clock(path) < 0)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
