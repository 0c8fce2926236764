/* SPDX-License-Identifier: MIT */

/*
 * The library in one process with many threads: handles shared, opened and
 * closed while others draw; a read-only client; what attaching finds. The races
 * here are also for the thread sanitizer to see.
 */

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

#define THREADS 8
#define RUN_MAX 20

struct shared {
        struct seqnum_client *client;
        struct seqnum *seq;
        struct record *record;
        uint64_t draws;
        _Atomic(uint64_t) drawn;
        _Atomic(int) error; /* what a thread came to fail with */
        _Atomic(bool) duplicate, disorder;
        _Atomic(unsigned) working;
};

static void *draw_many(void *argument)
{
        struct shared *shared = argument;
        int64_t last = 0;

        for (uint64_t i = 0; i < shared->draws; i++) {
                struct seqnum_run run = {.count = 1};
                uint32_t count = i % 16 == 0 ? 1 + (uint32_t)(i / 16 % RUN_MAX) : 1;
                int r = count == 1 ? seqnum_next(shared->seq, &run.first)
                                   : seqnum_next_run(shared->seq, count, &run);

                if (r < 0) {
                        atomic_store(&shared->error, r);
                        break;
                }
                if (run.first <= last)
                        atomic_store(&shared->disorder, true);
                if (!record_add(shared->record, run.first, run.count))
                        atomic_store(&shared->duplicate, true);
                last = run.first + (int64_t)run.count - 1;
                atomic_fetch_add(&shared->drawn, run.count);
        }
        atomic_fetch_sub(&shared->working, 1);
        return NULL;
}

static void start_threads(struct shared *shared, pthread_t *threads)
{
        atomic_store(&shared->working, THREADS);
        for (size_t i = 0; i < THREADS; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, draw_many, shared), 0);
}

static void join_threads(struct shared *shared, const pthread_t *threads)
{
        uint64_t end;

        for (size_t i = 0; i < THREADS; i++)
                assert_int_equal(pthread_join(threads[i], NULL), 0);
        if (shared->error)
                fail_msg("a draw failed: %s", seqnum_strerror(shared->error));
        assert_false(shared->duplicate);
        assert_false(shared->disorder);
        end = (uint64_t)must_peek(shared->seq) - 1;
        assert_int_equal(end, shared->drawn); /* nothing was skipped */
        assert_int_equal(record_count(shared->record, end), shared->drawn);
        record_free(shared->record);
}

static void prepare(struct instance *instance, struct shared *shared, uint64_t draws)
{
        instance_configure(instance, "[sequence orders]\n[sequence other]\n");
        instance_start(instance);
        shared->client = instance_attach(instance);
        shared->seq = instance_open(shared->client, "orders");
        (void)seqnum_set_timeout(shared->client, patience_usec(20000000));
        shared->record = record_new(1, 1, 0);
        shared->draws = draws;
}

static void one_handle(struct instance *instance)
{
        struct shared shared = {0};
        pthread_t threads[THREADS];

        prepare(instance, &shared, scaled(500000));
        start_threads(&shared, threads);
        join_threads(&shared, threads);
        seqnum_detach(shared.client);
}

/* The handle moves to other slots and segments while the threads draw by it. */
static void handle_moves(struct instance *instance)
{
        struct shared shared = {0};
        pthread_t threads[THREADS];
        uint64_t max = UINT64_C(4000000000);
        unsigned moves = 0;

        prepare(instance, &shared, scaled(1000000));
        start_threads(&shared, threads);
        while (atomic_load(&shared.working) > 0 && moves < 200) {
                instance_configure(instance, "[sequence orders]\nmax = %lu\n[sequence other]\n",
                                   (unsigned long)max++);
                if (moves % 4 == 3)
                        instance_unlink(instance);
                instance_reload(instance);
                moves++;
        }
        join_threads(&shared, threads);
        print_message("  moved %u times\n", moves);
        assert_true(moves > 0);
        seqnum_detach(shared.client);
}

/* Others come and go on the same client. */
static void handles_come_and_go(struct instance *instance)
{
        struct shared shared = {0};
        struct seqnum_client *client;
        pthread_t threads[THREADS];
        struct seqnum *seq;
        int64_t expected = 0;

        prepare(instance, &shared, scaled(200000));
        start_threads(&shared, threads);
        do {
                seq = instance_open(shared.client, "other");
                assert_int_equal(must_next(seq), ++expected);
                seqnum_close(seq);
                client = instance_attach(instance);
                assert_int_equal(must_next(instance_open(client, "other")), ++expected);
                seqnum_detach(client);
        } while (atomic_load(&shared.working) > 0);
        join_threads(&shared, threads);
        seqnum_detach(shared.client);
}

/* --- threads that are cancelled --------------------------------------------------- */

struct victim {
        struct seqnum_client *client;
        struct seqnum *orders, *invoices;
        const char *shm;
        int (*call)(struct victim *victim);
        int result; /* of the call, if it returned */
        bool returned;
};

static int call_open(struct victim *victim)
{
        struct seqnum *seq;

        return seqnum_open(&seq, victim->client, "other");
}

static int call_open_of_template(struct victim *victim)
{
        struct seqnum *seq;

        return seqnum_open(&seq, victim->client, "made/now");
}

static int call_attach(struct victim *victim)
{
        struct seqnum_client *client;
        int r = seqnum_attach(&client, victim->shm, 0);

        if (r == 0)
                seqnum_detach(client);
        return r;
}

static int call_next(struct victim *victim)
{
        struct seqnum_run run;

        return seqnum_next_run(victim->orders, 1000000, &run);
}

static int call_next_gapless(struct victim *victim)
{
        int64_t number;

        return seqnum_next(victim->invoices, &number);
}

static void *be_cancelled(void *argument)
{
        struct victim *victim = argument;

        (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
        (void)pthread_cancel(pthread_self());
        (void)pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
        victim->result = victim->call(victim);
        victim->returned = true;
        pthread_testcancel();
        return NULL;
}

/* Did the call return, and its thread end only then? */
static bool outlives_cancellation(struct victim *victim, int (*call)(struct victim *), int expected)
{
        pthread_t thread;
        void *ended_by = NULL;

        victim->call = call;
        victim->returned = false;
        return pthread_create(&thread, NULL, be_cancelled, victim) == 0 &&
               pthread_join(thread, &ended_by) == 0 && ended_by == PTHREAD_CANCELED &&
               victim->returned && victim->result == expected;
}

/* In a child, which may come to hang. */
__attribute__((noreturn)) static void cancel_all(struct victim *victim)
{
        static const struct {
                int (*call)(struct victim *);
                int expected;
        } calls[] = {
                {call_open, 0},          {call_open_of_template, -ETIMEDOUT}, {call_attach, 0},
                {call_next, -ETIMEDOUT}, {call_next_gapless, -ETIMEDOUT},
        };
        pid_t pid;

        for (int round = 0; round < 2; round++)
                for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
                        if (!outlives_cancellation(victim, calls[i].call, calls[i].expected))
                                _exit(1 + (int)i);
        pid = fork();
        if (pid == 0)
                _exit(0);
        _exit(pid < 0 || waitpid(pid, NULL, 0) != pid ? 100 : 0);
}

/* While the daemon is away, so that they look around with the lock held. */
static void cancelled_threads_hold_no_lock(struct instance *instance)
{
        struct victim victim = {.shm = instance->shm};
        pid_t pid;

        instance_configure(instance, "[sequence orders]\nreserve = 100\n[sequence other]\n"
                                     "[sequence invoices]\nkind = gapless\n[sequence made/*]\n");
        instance_start(instance);
        instance_kill(instance);
        pid = instance_fork(instance);
        if (pid == 0) {
                victim.client = instance_attach(instance);
                victim.orders = instance_open(victim.client, "orders");
                victim.invoices = instance_open(victim.client, "invoices");
                (void)seqnum_set_timeout(victim.client, 100000);
                cancel_all(&victim);
        }
        assert_int_equal(instance_join(instance, pid, 20), 0);
}

/* --- the rest of the interface --------------------------------------------------- */

static void read_only(struct instance *instance)
{
        struct seqnum_client *client, *drawing;
        struct seqnum_run run = {.first = -1};
        int64_t value = -1;
        struct seqnum *seq;

        instance_configure(instance, "[sequence orders]\n");
        instance_start(instance);
        drawing = instance_attach(instance);
        assert_int_equal(must_next(instance_open(drawing, "orders")), 1);
        assert_int_equal(seqnum_attach(&client, instance->shm, SEQNUM_RDONLY), 0);
        seq = instance_open(client, "orders");
        assert_int_equal(must_peek(seq), 2);
        assert_int_equal(seqnum_next(seq, &value), -EACCES);
        assert_int_equal(seqnum_next_run(seq, 3, &run), -EACCES);
        assert_int_equal(value, -1);
        assert_int_equal(run.first, -1);
        assert_int_equal(must_peek(seq), 2);
        instance_unlink(instance); /* it follows to another segment, too */
        assert_int_equal(must_next(instance_open(drawing, "orders")), 2);
        instance_stop(instance);
        assert_int_equal(must_peek(seq), 3);
        seqnum_detach(client);
        seqnum_detach(drawing);
}

static void refusals(struct instance *instance)
{
        struct seqnum_client *client = NULL;
        struct seqnum *seq = NULL;
        char name[300];

        assert_int_equal(seqnum_attach(&client, instance->shm, 0), -ENXIO);
        assert_int_equal(seqnum_attach(&client, "no-slash", 0), -EINVAL);
        assert_int_equal(seqnum_attach(&client, "/a/b", 0), -EINVAL);
        assert_int_equal(seqnum_attach(&client, instance->shm, 0x80), -EINVAL);
        assert_null(client);
        instance_configure(instance, "[sequence orders]\n");
        instance_start(instance);
        client = instance_attach(instance);
        memset(name, 'a', sizeof(name) - 1);
        name[sizeof(name) - 1] = '\0';
        assert_int_equal(seqnum_open(&seq, client, name), -EINVAL);
        name[255] = '\0';
        assert_int_equal(seqnum_open(&seq, client, name), -ENOENT);
        assert_int_equal(seqnum_open(&seq, client, ""), -EINVAL);
        assert_int_equal(seqnum_open(&seq, client, "or ders"), -EINVAL);
        assert_int_equal(seqnum_open(&seq, client, "order"), -ENOENT);
        assert_null(seq);
        assert_null(seqnum_close(NULL));
        assert_null(seqnum_detach(NULL));
        assert_null(seqnum_detach(client));
        assert_non_null(seqnum_strerror(-ETIMEDOUT));
        assert_string_equal(seqnum_strerror(-EOVERFLOW), seqnum_strerror(EOVERFLOW));
        assert_non_null(seqnum_strerror(-123456));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                instance_test(one_handle),          instance_test(handle_moves),
                instance_test(handles_come_and_go), instance_test(cancelled_threads_hold_no_lock),
                instance_test(read_only),           instance_test(refusals),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
