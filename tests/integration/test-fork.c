/* SPDX-License-Identifier: MIT */

/*
 * A fork with handles open: the child is refused on them, in every function
 * that draws or looks, may free its copy, and attaches anew; the parent goes on.
 */

#include <errno.h>
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

int main(void)
{
        const struct CMUnitTest tests[] = {
                instance_test(child_is_refused),
                instance_test(child_attaches_anew),
                instance_test(grandchild),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
