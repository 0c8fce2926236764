/* SPDX-License-Identifier: MIT */

/*
 * The daemon is away: draws go on for as long as the window lasts, then wait,
 * then time out after the caller's limit, not before; and those that timed out
 * have taken nothing when the next daemon comes.
 *
 * "Not before" is exact. "Not much after" is generous: how late a process gets
 * to run is the machine's affair.
 */

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <unistd.h>

#include "harness.h"

#define LATE_USEC UINT64_C(2000000)
#define WINDOW    1000

struct client {
        struct seqnum_client *client;
        struct seqnum *seq;
};

static struct client client_new(const struct instance *instance, uint64_t timeout_usec)
{
        struct client client = {.client = instance_attach(instance)};

        client.seq = instance_open(client.client, "orders");
        assert_int_equal(seqnum_set_timeout(client.client, timeout_usec), 0);
        return client;
}

static void start(struct instance *instance)
{
        instance_configure(instance, "[sequence orders]\nreserve = %d\n", WINDOW);
        instance_start(instance);
}

/* Draw all that is reserved, without any waiting; returns how many are gone. */
static int64_t drain(const struct instance *instance, struct client client)
{
        int64_t ceiling = instance_info(instance, "orders", "ceiling");
        int64_t drawn = instance_info(instance, "orders", "index");

        assert_int_equal(seqnum_set_timeout(client.client, 0), 0);
        while (drawn < ceiling)
                assert_int_equal(must_next(client.seq), ++drawn);
        return drawn;
}

/* --- drain, wait, time out --------------------------------------------------- */

static void window_lasts(struct instance *instance)
{
        struct client client;
        int64_t drawn, value = -1;
        uint64_t began;

        start(instance);
        client = client_new(instance, SEQNUM_TIMEOUT_DEFAULT);
        assert_int_equal(must_next(client.seq), 1);
        instance_kill(instance);
        drawn = drain(instance, client);
        assert_in_range(drawn, WINDOW / 2, 2 * WINDOW);
        began = now_usec();
        assert_int_equal(seqnum_next(client.seq, &value), -ETIMEDOUT);
        assert_in_range(now_usec() - began, 0, patience_usec(LATE_USEC));
        assert_int_equal(value, -1);
        instance_start(instance);
        assert_int_equal(seqnum_set_timeout(client.client, SEQNUM_TIMEOUT_DEFAULT), 0);
        assert_int_equal(must_next(client.seq), drawn + 1);
        seqnum_detach(client.client);
}

static void time_out(struct client client, uint64_t limit, uint32_t count)
{
        struct seqnum_run run = {.first = -1, .count = 7};
        int64_t value = -1;
        uint64_t began, took;
        int r;

        assert_int_equal(seqnum_set_timeout(client.client, limit), 0);
        began = now_usec();
        r = count == 1 ? seqnum_next(client.seq, &value) : seqnum_next_run(client.seq, count, &run);
        took = now_usec() - began;
        assert_int_equal(r, -ETIMEDOUT);
        assert_int_equal(value, -1);
        assert_int_equal(run.first, -1);
        assert_int_equal(run.count, 7);
        if (took < limit || took > limit + patience_usec(LATE_USEC))
                fail_msg("timed out after %" PRIu64 " us instead of %" PRIu64, took, limit);
}

static void limit_is_kept(struct instance *instance)
{
        static const uint64_t limits[] = {0, 1, 1000, 49999, 50000, 100000, 500000, 1234567};
        struct client client;
        int64_t drawn;

        start(instance);
        client = client_new(instance, SEQNUM_TIMEOUT_DEFAULT);
        assert_int_equal(must_next(client.seq), 1);
        instance_kill(instance);
        drawn = drain(instance, client);
        for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
                time_out(client, limits[i], 1);
                time_out(client, limits[i], 100);
        }
        instance_start(instance);
        assert_int_equal(must_peek(client.seq), drawn + 1);
        seqnum_detach(client.client);
}

/* A run that the rest of the window is too small for leaves the rest to smaller ones. */
static void rest_of_a_window(struct instance *instance)
{
        struct client client;
        int64_t ceiling;

        start(instance);
        client = client_new(instance, SEQNUM_TIMEOUT_DEFAULT);
        assert_int_equal(must_next(client.seq), 1);
        instance_kill(instance);
        ceiling = instance_info(instance, "orders", "ceiling");
        time_out(client, 1000, (uint32_t)ceiling);
        assert_int_equal(drain(instance, client), ceiling);
        instance_start(instance);
        seqnum_detach(client.client);
}

/* Stopped, not killed: the daemon is there but does not answer. */
static void daemon_hangs(struct instance *instance)
{
        struct client client;
        int64_t drawn;

        start(instance);
        client = client_new(instance, SEQNUM_TIMEOUT_DEFAULT);
        assert_int_equal(must_next(client.seq), 1);
        assert_int_equal(kill(instance->pid, SIGSTOP), 0);
        drawn = drain(instance, client);
        time_out(client, 100000, 1);
        time_out(client, 100000, 100);
        assert_int_equal(kill(instance->pid, SIGCONT), 0);
        assert_int_equal(seqnum_set_timeout(client.client, SEQNUM_TIMEOUT_DEFAULT), 0);
        assert_int_equal(must_next(client.seq), drawn + 1);
        seqnum_detach(client.client);
}

/* --- many -------------------------------------------------------------------- */

struct tally {
        _Atomic(uint64_t) timed_out;
        _Atomic(uint64_t) other;
};

/* Times out again and again, for times that are shorter and longer than a look around. */
static void time_out_often(const struct instance *instance, struct tally *tally, unsigned n)
{
        struct seqnum_client *client;
        struct seqnum_run run;
        struct seqnum *seq;
        int r;

        if (seqnum_attach(&client, instance->shm, 0) < 0 || seqnum_open(&seq, client, "orders") < 0)
                _exit(1);
        for (unsigned i = 0; i < n; i++) {
                (void)seqnum_set_timeout(client, random_below(i % 4 == 0 ? 120000 : 5000));
                r = seqnum_next_run(seq, 1 + (uint32_t)random_below(20), &run);
                atomic_fetch_add(r == -ETIMEDOUT ? &tally->timed_out : &tally->other, 1);
        }
        _exit(0);
}

/*
 * Callers that give up and try again while the daemon is away. Each gives its
 * claim back, which can fail only when others claimed at the same moment and
 * gave up in another order: so a few may be skipped, and not one for each try.
 */
static void nothing_is_lost(struct instance *instance)
{
        enum { PROCESSES = 8, TRIES = 100 };
        struct tally *tally = shared_memory(sizeof(*tally));
        pid_t pids[PROCESSES];
        struct client client;
        int64_t drawn, skipped;

        start(instance);
        client = client_new(instance, SEQNUM_TIMEOUT_DEFAULT);
        assert_int_equal(must_next(client.seq), 1);
        instance_kill(instance);
        drawn = drain(instance, client);
        for (unsigned i = 0; i < PROCESSES; i++) {
                pids[i] = instance_fork(instance);
                if (pids[i] == 0)
                        time_out_often(instance, tally, TRIES);
        }
        for (unsigned i = 0; i < PROCESSES; i++)
                assert_int_equal(instance_join(instance, pids[i], 60), 0);
        assert_int_equal(tally->timed_out, PROCESSES * TRIES);
        assert_int_equal(tally->other, 0);
        instance_start(instance);
        assert_int_equal(seqnum_set_timeout(client.client, SEQNUM_TIMEOUT_DEFAULT), 0);
        skipped = must_next(client.seq) - (drawn + 1);
        print_message("  %d draws timed out, %" PRId64 " numbers skipped\n", PROCESSES * TRIES,
                      skipped);
        assert_in_range(skipped, 0, PROCESSES * 20);
        seqnum_detach(client.client);
}

/* --- waiting for the next daemon ---------------------------------------------- */

static void draw_one(const struct instance *instance, _Atomic(int64_t) *ret)
{
        struct seqnum_client *client;
        struct seqnum *seq;
        int64_t value;

        if (seqnum_attach(&client, instance->shm, 0) < 0 ||
            seqnum_open(&seq, client, "orders") < 0 ||
            seqnum_set_timeout(client, patience_usec(20000000)) < 0 || seqnum_next(seq, &value) < 0)
                _exit(1);
        atomic_store(ret, value);
        _exit(0);
}

static void waits_for_the_next(struct instance *instance)
{
        enum { PROCESSES = 4 };
        _Atomic(int64_t) *values = shared_memory(PROCESSES * sizeof(*values));
        struct record *record = record_new(1, 1, 0);
        pid_t pids[PROCESSES];
        struct client client;
        int64_t drawn;

        start(instance);
        client = client_new(instance, SEQNUM_TIMEOUT_DEFAULT);
        assert_int_equal(must_next(client.seq), 1);
        instance_kill(instance);
        drawn = drain(instance, client);
        for (unsigned i = 0; i < PROCESSES; i++) {
                pids[i] = instance_fork(instance);
                if (pids[i] == 0)
                        draw_one(instance, &values[i]);
        }
        nap(300000); /* they are waiting */
        for (unsigned i = 0; i < PROCESSES; i++)
                assert_int_equal(values[i], 0);
        instance_start(instance);
        for (unsigned i = 0; i < PROCESSES; i++) {
                assert_int_equal(instance_join(instance, pids[i], 20), 0);
                assert_in_range(values[i], drawn + 1, drawn + PROCESSES);
                assert_true(record_add(record, values[i], 1));
        }
        assert_int_equal(must_peek(client.seq), drawn + PROCESSES + 1);
        record_free(record);
        seqnum_detach(client.client);
}

/* --- no descriptor left -------------------------------------------------------- */

static const char *const kinds[] = {"orders", "invoices", "events"};

/* Each kind has been drawn from before the descriptors run out. */
__attribute__((noreturn)) static void draw_without_descriptors(const struct instance *instance,
                                                               const char *name,
                                                               _Atomic(bool) *ready)
{
        const struct rlimit none = {0};
        struct seqnum_client *client;
        struct seqnum *seq;
        int64_t first, second;
        int r;

        if (seqnum_attach(&client, instance->shm, 0) < 0 || seqnum_open(&seq, client, name) < 0 ||
            seqnum_set_timeout(client, patience_usec(20000000)) < 0 ||
            seqnum_next(seq, &first) < 0 || setrlimit(RLIMIT_NOFILE, &none) < 0)
                _exit(100);
        atomic_store(ready, true);
        while (atomic_load(ready))
                nap(1000);
        r = seqnum_next(seq, &second);
        _exit(r < 0 ? -r : second > first ? 0 : 101);
}

/* A process that can open no file waits for the next daemon like all others. */
static void full_of_descriptors(struct instance *instance)
{
        enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };
        _Atomic(bool) *ready = shared_memory(KINDS * sizeof(*ready));
        pid_t pids[KINDS];

        instance_configure(instance, "[sequence orders]\n[sequence invoices]\nkind = gapless\n"
                                     "[sequence events]\nkind = time\n");
        instance_start(instance);
        for (unsigned i = 0; i < KINDS; i++) {
                pids[i] = instance_fork(instance);
                if (pids[i] == 0)
                        draw_without_descriptors(instance, kinds[i], &ready[i]);
                while (!atomic_load(&ready[i]))
                        nap(1000);
        }
        instance_stop(instance);
        for (unsigned i = 0; i < KINDS; i++)
                atomic_store(&ready[i], false);
        nap(300000); /* they are waiting */
        instance_start(instance);
        for (unsigned i = 0; i < KINDS; i++)
                assert_int_equal(instance_join(instance, pids[i], 20), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                instance_test(window_lasts),        instance_test(limit_is_kept),
                instance_test(rest_of_a_window),    instance_test(daemon_hangs),
                instance_test(nothing_is_lost),     instance_test(waits_for_the_next),
                instance_test(full_of_descriptors),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
