/* SPDX-License-Identifier: MIT */

/*
 * A fork with handles open: the child is refused on them, in every function
 * that draws or looks, may free its copy, and attaches anew; the parent goes on.
 */

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

/* In the child: 0, or the number of the check that failed. */
static int refused(struct seqnum_client *client, struct seqnum *seq)
{
        struct seqnum_run run = {.first = -1, .count = 9};
        struct seqnum *other = NULL;
        int64_t value = -1;

        if (seqnum_next(seq, &value) != -ECHILD)
                return 1;
        if (seqnum_next_run(seq, 5, &run) != -ECHILD)
                return 2;
        if (seqnum_peek(seq, &value) != -ECHILD)
                return 3;
        if (seqnum_open(&other, client, "orders") != -ECHILD)
                return 4;
        if (seqnum_set_timeout(client, 1) != -ECHILD)
                return 5;
        return value == -1 && run.first == -1 && run.count == 9 && !other ? 0 : 6;
}

static int anew(const struct instance *instance, int64_t expected)
{
        struct seqnum_client *client;
        struct seqnum *seq;
        int64_t value;

        if (seqnum_attach(&client, instance->shm, 0) < 0)
                return 11;
        if (seqnum_open(&seq, client, "orders") < 0)
                return 12;
        if (seqnum_next(seq, &value) < 0)
                return 13;
        seqnum_detach(client);
        return value == expected ? 0 : 14;
}

static void start(struct instance *instance, struct seqnum_client **client, struct seqnum **seq)
{
        instance_configure(instance, "[sequence orders]\n[sequence round]\nmax = 5\ncycle = yes\n");
        instance_start(instance);
        *client = instance_attach(instance);
        *seq = instance_open(*client, "orders");
}

static void child_is_refused(struct instance *instance)
{
        struct seqnum_client *client;
        struct seqnum *seq, *round;
        pid_t pid;

        start(instance, &client, &seq);
        round = instance_open(client, "round");
        assert_int_equal(must_next(seq), 1);
        assert_int_equal(must_next(round), 1);
        pid = instance_fork(instance);
        if (pid == 0) {
                int r = refused(client, seq);

                if (r == 0)
                        r = refused(client, round);
                seqnum_close(round);
                seqnum_detach(client);
                _exit(r);
        }
        assert_int_equal(instance_join(instance, pid, 20), 0);
        assert_int_equal(must_next(seq), 2); /* the child has taken nothing */
        assert_int_equal(must_next(round), 2);
        seqnum_detach(client);
}

static void child_attaches_anew(struct instance *instance)
{
        struct seqnum_client *client;
        struct seqnum *seq;
        pid_t pid;

        start(instance, &client, &seq);
        assert_int_equal(must_next(seq), 1);
        for (int64_t expected = 2; expected < 10; expected += 2) {
                pid = instance_fork(instance);
                if (pid == 0) { /* half of them without freeing their copy first */
                        if (expected % 4 == 0)
                                seqnum_detach(client);
                        _exit(anew(instance, expected));
                }
                assert_int_equal(instance_join(instance, pid, 20), 0);
                assert_int_equal(must_next(seq), expected + 1);
        }
        seqnum_detach(client);
}

/* A child of the child, and a child of the parent after it: all are told apart. */
static void grandchild(struct instance *instance)
{
        struct seqnum_client *client;
        struct seqnum *seq;
        pid_t pid;

        start(instance, &client, &seq);
        assert_int_equal(must_next(seq), 1);
        pid = instance_fork(instance);
        if (pid == 0) {
                struct seqnum_client *own = instance_attach(instance);
                struct seqnum *mine = instance_open(own, "orders");
                int64_t value = 0;
                int r;

                pid = instance_fork(instance);
                if (pid == 0) {
                        r = refused(client, seq);
                        if (r == 0)
                                r = refused(own, mine);
                        _exit(r == 0 ? anew(instance, 2) : r);
                }
                r = instance_join(instance, pid, 20);
                _exit(r != 0 ? r : seqnum_next(mine, &value) == 0 && value == 3 ? 0 : 20);
        }
        assert_int_equal(instance_join(instance, pid, 20), 0);
        assert_int_equal(must_next(seq), 4);
        seqnum_detach(client);
}

/* --- a fork by a signal handler, while a draw waits ------------------------------- */

/* How far it is, in memory that is shared. */
enum { ATTACHED = 1, DRAIN, WAITING, FORKED };
static _Atomic(int) *phase;

static volatile pid_t forked = -1; /* by the handler; 0 in its child */

static void fork_once(int number)
{
        (void)number;
        forked = fork();
        if (forked != 0)
                atomic_store(phase, FORKED);
}

/* Draw without waiting until nothing is left; then once more, and wait. */
__attribute__((noreturn)) static void draw_interrupted(const struct instance *instance,
                                                       const char *name)
{
        struct seqnum_client *client;
        struct seqnum *seq;
        int64_t value;
        int r, status = -1;

        if (seqnum_attach(&client, instance->shm, 0) < 0 || seqnum_open(&seq, client, name) < 0 ||
            seqnum_next(seq, &value) < 0 || signal(SIGALRM, fork_once) == SIG_ERR)
                _exit(100);
        atomic_store(phase, ATTACHED);
        while (atomic_load(phase) != DRAIN)
                nap(1000);
        (void)seqnum_set_timeout(client, 0);
        for (r = 0; r == 0;)
                r = seqnum_next(seq, &value);
        (void)seqnum_set_timeout(client, patience_usec(20000000));
        atomic_store(phase, WAITING);
        (void)ualarm(100000, 0);
        r = seqnum_next(seq, &value);
        if (forked == 0)
                _exit(r == -ECHILD ? 0 : 1);
        if (r < 0 || forked < 0 || waitpid(forked, &status, 0) != forked)
                _exit(101);
        /* Nor has the child given back what the parent got. */
        _exit(status != 0 ? 102 : seqnum_next(seq, &value) == 0 ? 0 : 103);
}

static void interrupt_draw(struct instance *instance, const char *name, bool hangs)
{
        uint64_t end;
        pid_t pid;

        phase = shared_memory(sizeof(*phase));
        pid = instance_fork(instance);
        if (pid == 0)
                draw_interrupted(instance, name);
        while (atomic_load(phase) != ATTACHED)
                nap(1000);
        if (hangs)
                assert_int_equal(kill(instance->pid, SIGSTOP), 0);
        else
                instance_stop(instance);
        atomic_store(phase, DRAIN);
        end = now_usec() + patience_usec(10000000);
        while (atomic_load(phase) != FORKED && now_usec() < end)
                nap(1000);
        if (hangs)
                assert_int_equal(kill(instance->pid, SIGCONT), 0);
        else
                instance_start(instance);
        assert_int_equal(instance_join(instance, pid, 20), 0);
}

/* The claim, and the turn, are the parent's: of two who return from a draw one gets a number. */
static void forked_by_a_handler(struct instance *instance)
{
        instance_configure(instance, "[sequence orders]\nreserve = 10\n[sequence round]\nmax = 99\n"
                                     "cycle = yes\nreserve = 10\n"
                                     "[sequence invoices]\nkind = gapless\n"
                                     "[sequence events]\nkind = time\n");
        instance_start(instance);
        interrupt_draw(instance, "orders", true);
        interrupt_draw(instance, "round", true);
        interrupt_draw(instance, "invoices", true);
        interrupt_draw(instance, "orders", false);
        interrupt_draw(instance, "invoices", false);
        interrupt_draw(instance, "events", false);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                instance_test(child_is_refused),
                instance_test(child_attaches_anew),
                instance_test(grandchild),
                instance_test(forked_by_a_handler),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
