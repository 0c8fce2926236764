/* SPDX-License-Identifier: MIT */

/*
 * The ends of a sequence: -EOVERFLOW past the last number and never a value
 * beyond, for both signs, at the ends of int64_t, where the increment does not
 * divide the range, and when many draw the last numbers at once; a cycle that
 * goes round. What a draw returns is also what peek said before it.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "harness.h"

#define RACERS 8

static void expect_next(struct seqnum *seq, int64_t value)
{
        assert_int_equal(must_peek(seq), value);
        assert_int_equal(must_next(seq), value);
}

static void expect_end(struct seqnum *seq)
{
        struct seqnum_run run = {.first = -77, .count = 77};
        int64_t value = -77;

        assert_int_equal(seqnum_peek(seq, &value), -EOVERFLOW);
        assert_int_equal(seqnum_next(seq, &value), -EOVERFLOW);
        assert_int_equal(seqnum_next_run(seq, 1, &run), -EOVERFLOW);
        assert_int_equal(seqnum_next_run(seq, UINT32_MAX, &run), -EOVERFLOW);
        assert_int_equal(value, -77);
        assert_int_equal(run.first, -77);
        assert_int_equal(run.count, 77);
}

/* --- one after the other ------------------------------------------------------ */

struct short_sequence {
        const char *name;
        const char *keys;
        size_t n;
        int64_t values[4]; /* all there are */
};

static const struct short_sequence short_sequences[] = {
        {"up", "max = 3\n", 3, {1, 2, 3}},
        {"down", "increment = -1\nmin = -3\n", 3, {-1, -2, -3}},
        {"uneven", "increment = 3\nmax = 11\n", 4, {1, 4, 7, 10}},
        {"even", "increment = 3\nmax = 10\n", 4, {1, 4, 7, 10}},
        {"down-uneven", "increment = -5\nmin = -7\nmax = 7\nstart = 6\n", 3, {6, 1, -4}},
        {"last", "max = 9\nstart = 9\n", 1, {9}},
        {"top", "start = 9223372036854775805\n", 3, {INT64_MAX - 2, INT64_MAX - 1, INT64_MAX}},
        {"bottom",
         "increment = -1\nstart = -9223372036854775806\n",
         3,
         {INT64_MIN + 2, INT64_MIN + 1, INT64_MIN}},
        {"strides",
         "increment = 9223372036854775807\nmin = -9223372036854775808\n",
         3,
         {INT64_MIN, -1, INT64_MAX - 1}},
        {"strides-down",
         "increment = -9223372036854775808\nmax = 9223372036854775807\n",
         2,
         {INT64_MAX, -1}},
};

#define N_SHORT (sizeof(short_sequences) / sizeof(short_sequences[0]))

static void configure_short(struct instance *instance)
{
        char sections[4096] = "";
        size_t at = 0;

        for (size_t i = 0; i < N_SHORT; i++)
                at += (size_t)snprintf(sections + at, sizeof(sections) - at, "[sequence %s]\n%s",
                                       short_sequences[i].name, short_sequences[i].keys);
        instance_configure(instance, "%s", sections);
}

static void all_ended(const struct instance *instance)
{
        struct seqnum_client *client = instance_attach(instance);

        for (size_t i = 0; i < N_SHORT; i++)
                expect_end(instance_open(client, short_sequences[i].name));
        seqnum_detach(client);
}

static void ends(struct instance *instance)
{
        struct seqnum_client *client;

        configure_short(instance);
        instance_start(instance);
        client = instance_attach(instance);
        for (size_t i = 0; i < N_SHORT; i++) {
                const struct short_sequence *s = &short_sequences[i];
                struct seqnum *seq = instance_open(client, s->name);

                for (size_t j = 0; j < s->n; j++)
                        expect_next(seq, s->values[j]);
                expect_end(seq);
        }
        seqnum_detach(client);
        all_ended(instance);
}

/* For good: whatever becomes of daemon and segment. */
static void stays_at_its_end(struct instance *instance)
{
        ends(instance);
        instance_kill(instance);
        all_ended(instance);
        instance_start(instance);
        all_ended(instance);
        instance_stop(instance);
        instance_start(instance);
        all_ended(instance);
        instance_stop(instance);
        instance_unlink(instance);
        instance_start(instance);
        all_ended(instance);
        instance_kill(instance);
        instance_unlink(instance);
        instance_start(instance);
        all_ended(instance);
}

/* Nor does a stopped daemon make it wait for numbers that will never be. */
static void at_its_end_while_stopped(struct instance *instance)
{
        ends(instance);
        instance_stop(instance);
        all_ended(instance);
}

/* A clean stop in the middle of each, with its segment gone. */
static void interrupted(struct instance *instance)
{
        struct seqnum_client *client;
        struct seqnum *seqs[N_SHORT];
        int64_t value;

        configure_short(instance);
        instance_start(instance);
        client = instance_attach(instance);
        for (size_t i = 0; i < N_SHORT; i++)
                seqs[i] = instance_open(client, short_sequences[i].name);
        for (size_t j = 0; j < 4; j++) {
                for (size_t i = 0; i < N_SHORT; i++) {
                        if (j < short_sequences[i].n)
                                expect_next(seqs[i], short_sequences[i].values[j]);
                        else
                                assert_int_equal(seqnum_next(seqs[i], &value), -EOVERFLOW);
                }
                instance_stop(instance);
                instance_unlink(instance);
                instance_start(instance);
        }
        seqnum_detach(client);
        all_ended(instance);
}

/* --- runs --------------------------------------------------------------------- */

static void expect_run(struct seqnum *seq, uint32_t count, int64_t first, int64_t increment)
{
        struct seqnum_run run;
        int r = seqnum_next_run(seq, count, &run);

        if (r < 0)
                fail_msg("a run of %" PRIu32 ": %s", count, seqnum_strerror(r));
        assert_int_equal(run.first, first);
        assert_int_equal(run.increment, increment);
        assert_int_equal(run.count, count);
}

static void runs(struct instance *instance)
{
        struct seqnum_client *client;
        struct seqnum_run run;
        struct seqnum *seq;

        instance_configure(instance, "[sequence up]\nmax = 1000000\n"
                                     "[sequence down]\nincrement = -7\nstart = 70\nmin = -70\n"
                                     "max = 70\n");
        instance_start(instance);
        client = instance_attach(instance);
        seq = instance_open(client, "up");
        assert_int_equal(seqnum_next_run(seq, 0, &run), -EINVAL);
        expect_run(seq, 1, 1, 1);
        expect_run(seq, 999989, 2, 1);
        assert_int_equal(seqnum_next_run(seq, 11, &run), -EOVERFLOW);
        assert_int_equal(seqnum_next_run(seq, UINT32_MAX, &run), -EOVERFLOW);
        expect_run(seq, 4, 999991, 1); /* a smaller one fits */
        assert_int_equal(seqnum_next_run(seq, 7, &run), -EOVERFLOW);
        expect_run(seq, 6, 999995, 1);
        expect_end(seq);

        seq = instance_open(client, "down"); /* 70, 63, ... -70: 21 numbers */
        expect_run(seq, 20, 70, -7);
        assert_int_equal(seqnum_next_run(seq, 2, &run), -EOVERFLOW);
        expect_run(seq, 1, -70, -7);
        expect_end(seq);
        seqnum_detach(client);
}

/* --- many at once --------------------------------------------------------------- */

struct race {
        const char *name;
        struct record *record;
        uint32_t run_max; /* 1: singles only */
        _Atomic(uint64_t) drawn;
        _Atomic(int) trouble;
};

/* Draw until the end, and some more. */
static void racer(const struct instance *instance, struct race *race)
{
        struct seqnum_client *client;
        struct seqnum_run run;
        struct seqnum *seq;
        unsigned ended = 0;
        int r;

        if (seqnum_attach(&client, instance->shm, 0) < 0 ||
            seqnum_open(&seq, client, race->name) < 0)
                _exit(1);
        while (ended < 100) {
                run.count = 1;
                r = race->run_max == 1
                            ? seqnum_next(seq, &run.first)
                            : seqnum_next_run(seq, 1 + (uint32_t)random_below(race->run_max), &run);
                if (r == -EOVERFLOW) {
                        ended++;
                        continue;
                }
                if (r < 0) {
                        atomic_store(&race->trouble, r);
                        _exit(2);
                }
                if (!record_add(race->record, run.first, run.count))
                        _exit(3);
                atomic_fetch_add(&race->drawn, run.count);
        }
        _exit(0);
}

static struct race *run_race(struct instance *instance, const char *name, struct record *record,
                             uint32_t run_max)
{
        struct race *race = shared_memory(sizeof(*race));
        pid_t pids[RACERS];

        race->name = name;
        race->record = record;
        race->run_max = run_max;
        for (unsigned i = 0; i < RACERS; i++) {
                pids[i] = instance_fork(instance);
                if (pids[i] == 0)
                        racer(instance, race);
        }
        for (unsigned i = 0; i < RACERS; i++) {
                int status = instance_join(instance, pids[i], 60);

                if (status != 0)
                        fail_msg("racer %u on %s: exit status %d (3: a duplicate), error %d", i,
                                 name, status, race->trouble);
        }
        return race;
}

static void exact_race(struct instance *instance, const char *name, int64_t increment,
                       uint64_t size)
{
        struct record *record = record_new(increment, increment, 0);
        struct race *race = run_race(instance, name, record, 1);

        assert_int_equal(race->drawn, size);
        assert_int_equal(record_count(record, size), size);
        record_free(record);
}

/* Singles only: exactly the numbers there are. */
static void race_of_singles(struct instance *instance)
{
        static const uint64_t sizes[] = {2, 5, 32, 33, 1000, 200000};
        char up[32], down[32];

        instance_configure(instance, "%s", "");
        instance_start(instance);
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
                (void)snprintf(up, sizeof(up), "up-%" PRIu64, sizes[i]);
                (void)snprintf(down, sizeof(down), "down-%" PRIu64, sizes[i]);
                instance_configure(instance,
                                   "[sequence %s]\nmax = %" PRIu64 "\n"
                                   "[sequence %s]\nincrement = -3\nstart = -3\nmin = -%" PRIu64
                                   "\n",
                                   up, sizes[i], down, sizes[i] * 3 + 2);
                instance_reload(instance);
                exact_race(instance, up, 1, sizes[i]);
                exact_race(instance, down, -3, sizes[i]);
        }
}

/* Runs: never one beyond, and what does not fit is left to smaller ones, if to anybody. */
static void race_of_runs(struct instance *instance)
{
        enum { SIZE = 300000, LONGEST = 50 };
        struct record *record;
        struct race *race;

        instance_configure(instance, "[sequence runs]\nmax = %d\n", SIZE);
        instance_start(instance);
        record = record_new(1, 1, 0);
        race = run_race(instance, "runs", record, LONGEST);
        print_message("  %" PRIu64 " of %d drawn\n", (uint64_t)race->drawn, SIZE);
        assert_in_range(race->drawn, SIZE - RACERS * LONGEST, SIZE);
        assert_int_equal(record_count(record, SIZE), race->drawn);
        record_free(record);
        assert_in_range(instance_info(instance, "runs", "index"), SIZE - RACERS * LONGEST, SIZE);
}

/* What cannot be had is refused and not claimed: nobody meets it, and nothing is skipped. */
static void draw_in_vain(struct instance *instance, const char *name, uint32_t count, int error,
                         int64_t next)
{
        struct seqnum_client *client = instance_attach(instance);
        struct seqnum *seq = instance_open(client, name);
        uint64_t draws = scaled(300000);
        pid_t pid = instance_fork(instance);

        if (pid == 0) {
                struct seqnum_run run;

                if (seqnum_attach(&client, instance->shm, 0) < 0 ||
                    seqnum_open(&seq, client, name) < 0)
                        _exit(1);
                for (uint64_t i = 0; i < draws; i++)
                        if (seqnum_next_run(seq, count, &run) != error)
                                _exit(2);
                _exit(0);
        }
        for (uint64_t i = 0; i < draws; i++)
                assert_int_equal(must_peek(seq), next);
        assert_int_equal(instance_join(instance, pid, 60), 0);
        expect_next(seq, next);
        seqnum_detach(client);
}

static void runs_in_vain(struct instance *instance)
{
        struct seqnum_client *client;

        instance_configure(instance, "[sequence end]\nmax = 1000\n"
                                     "[sequence round]\nmax = 10\ncycle = yes\n");
        instance_start(instance);
        client = instance_attach(instance);
        expect_run(instance_open(client, "end"), 990, 1, 1);
        seqnum_detach(client);
        draw_in_vain(instance, "end", 11, -EOVERFLOW, 991);
        draw_in_vain(instance, "round", 11, -ERANGE, 1);
}

/* --- cycles --------------------------------------------------------------------- */

#define CYCLES                                                                                     \
        "[sequence round]\nstart = 8\nmin = 1\nmax = 10\ncycle = yes\n"                            \
        "[sequence down]\nincrement = -3\nmin = -10\nmax = 0\nstart = -7\ncycle = yes\n"           \
        "[sequence uneven]\nincrement = 4\nmax = 10\nstart = 2\ncycle = yes\n"                     \
        "[sequence edge]\nincrement = 9223372036854775807\nmin = -9223372036854775808\n"           \
        "start = -1\ncycle = yes\n"

static void expect_values(struct seqnum_client *client, const char *name, const int64_t *values,
                          size_t n)
{
        struct seqnum *seq = instance_open(client, name);

        for (size_t i = 0; i < n; i++)
                expect_next(seq, values[i]);
        seqnum_close(seq);
}

static void cycle(struct instance *instance)
{
        static const int64_t round[] = {8, 9, 10, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1, 2};
        static const int64_t down[] = {-7, -10, 0, -3, -6, -9, 0, -3, -6, -9, 0};
        static const int64_t uneven[] = {2, 6, 10, 1, 5, 9, 1, 5, 9, 1};
        static const int64_t edge[] = {-1, INT64_MAX - 1, INT64_MIN, -1, INT64_MAX - 1, INT64_MIN};
        struct seqnum_client *client;

        instance_configure(instance, CYCLES);
        instance_start(instance);
        client = instance_attach(instance);
        expect_values(client, "round", round, 15);
        expect_values(client, "down", down, 11);
        expect_values(client, "uneven", uneven, 10);
        expect_values(client, "edge", edge, 6);
        instance_stop(instance);
        instance_unlink(instance);
        instance_start(instance);
        expect_values(client, "round", round + 5, 10); /* 3, as after 2 */
        expect_values(client, "edge", edge, 6);
        seqnum_detach(client);
}

/* No run straddles the wrap, and less than three times its length is skipped there. */
static void runs_in_a_cycle(struct instance *instance)
{
        struct seqnum_client *client;
        struct seqnum_run run;
        struct seqnum *seq;
        int64_t index, before;

        instance_configure(instance, CYCLES);
        instance_start(instance);
        client = instance_attach(instance);
        seq = instance_open(client, "round");
        expect_run(seq, 3, 8, 1);
        expect_run(seq, 10, 1, 1); /* a whole round */
        assert_int_equal(seqnum_next_run(seq, 11, &run), -ERANGE);
        assert_int_equal(seqnum_next_run(seq, UINT32_MAX, &run), -ERANGE);
        expect_run(seq, 9, 1, 1);
        before = instance_info(instance, "round", "index");
        for (unsigned i = 0; i < 2000; i++) {
                uint32_t count = 1 + (uint32_t)random_below(10);

                assert_int_equal(seqnum_next_run(seq, count, &run), 0);
                assert_int_equal(run.count, count);
                assert_in_range(run.first, 1, 11 - (int64_t)count);
                if (i % 100 == 99) {
                        index = instance_info(instance, "round", "index");
                        assert_in_range(index - before, 100, 100 * 4 * 10);
                        before = index;
                }
        }
        seq = instance_open(client, "down");
        expect_run(seq, 2, -7, -3);
        expect_run(seq, 4, 0, -3);
        assert_int_equal(seqnum_next_run(seq, 5, &run), -ERANGE);
        seqnum_detach(client);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                instance_test(ends),
                instance_test(stays_at_its_end),
                instance_test(at_its_end_while_stopped),
                instance_test(interrupted),
                instance_test(runs),
                instance_test(race_of_singles),
                instance_test(race_of_runs),
                instance_test(runs_in_vain),
                instance_test(cycle),
                instance_test(runs_in_a_cycle),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
