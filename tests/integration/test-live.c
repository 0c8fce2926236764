/* SPDX-License-Identifier: MIT */

/*
 * Sequences created, altered, restarted and dropped while programs hold handles
 * to them: every handle sees it at its next draw, in this process and in
 * others; and names that a template lets come into being, once, whoever asks.
 */

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "harness.h"

static void ask_ok(const struct instance *instance, const char *command)
{
        const char *answer = instance_ask(instance, "%s", command);

        if (strcmp(answer, "+OK") != 0)
                fail_msg("%s: %s", command, answer);
}

/* The answer is an error in which `text` occurs. */
static void ask_refused(const struct instance *instance, const char *command, const char *text)
{
        const char *answer = instance_ask(instance, "%s", command);

        if (answer[0] != '-' || !strstr(answer, text))
                fail_msg("%s: %s, not an error with '%s'", command, answer, text);
}

static void expect(struct seqnum *seq, int error)
{
        int64_t number = -4711;

        assert_int_equal(seqnum_next(seq, &number), error);
        assert_int_equal(number, -4711);
}

/* --- another process with a handle ---------------------------------------- */

struct peer {
        _Atomic(bool) ready;
        _Atomic(uint32_t) asked, answered;
        _Atomic(int) error;
        _Atomic(int64_t) number;
};

static void peer_main(const struct instance *instance, struct peer *peer, const char *name)
{
        struct seqnum_client *client;
        struct seqnum *seq;
        uint32_t done = 0;
        int64_t number = 0;

        if (seqnum_attach(&client, instance->shm, 0) < 0 || seqnum_open(&seq, client, name) < 0)
                _exit(1);
        atomic_store(&peer->ready, true);
        for (;;) {
                if (atomic_load(&peer->asked) == done) {
                        nap(500);
                        continue;
                }
                atomic_store(&peer->error, seqnum_next(seq, &number));
                atomic_store(&peer->number, number);
                atomic_store(&peer->answered, ++done);
        }
}

/* It has opened the sequence when this returns: whatever happens next happens to its handle. */
static struct peer *peer_start(struct instance *instance, const char *name)
{
        uint64_t end = now_usec() + patience_usec(20000000);
        struct peer *peer = shared_memory(sizeof(*peer));

        if (instance_fork(instance) == 0)
                peer_main(instance, peer, name);
        while (!atomic_load(&peer->ready)) {
                assert_true(now_usec() < end);
                nap(200);
        }
        return peer;
}

/* Its next draw: the number, or a negative errno. */
static int64_t peer_next(struct peer *peer)
{
        uint64_t end = now_usec() + patience_usec(20000000);
        uint32_t asked = atomic_fetch_add(&peer->asked, 1) + 1;

        while (atomic_load(&peer->answered) != asked) {
                assert_true(now_usec() < end);
                nap(200);
        }
        return atomic_load(&peer->error) < 0 ? atomic_load(&peer->error)
                                             : atomic_load(&peer->number);
}

/* --- changes ----------------------------------------------------------------- */

static void restarts(struct instance *instance)
{
        struct seqnum_client *client;
        struct seqnum *seq;
        struct peer *peer;

        instance_configure(instance, "[sequence orders]\nmax = 100000\n");
        instance_start(instance);
        client = instance_attach(instance);
        seq = instance_open(client, "orders");
        peer = peer_start(instance, "orders");
        for (int64_t i = 1; i <= 40; i += 2) {
                assert_int_equal(must_next(seq), i);
                assert_int_equal(peer_next(peer), i + 1);
        }
        ask_ok(instance, "SEQ.RESTART orders 5"); /* back */
        assert_int_equal(must_next(seq), 5);
        assert_int_equal(peer_next(peer), 6);
        ask_ok(instance, "SEQ.RESTART orders 9000"); /* forth */
        assert_int_equal(peer_next(peer), 9000);
        assert_int_equal(must_next(seq), 9001);
        ask_ok(instance, "SEQ.RESTART orders"); /* to the start */
        assert_int_equal(must_next(seq), 1);
        assert_int_equal(peer_next(peer), 2);
        ask_refused(instance, "SEQ.RESTART orders 100001", "max = 100000");
        ask_refused(instance, "SEQ.RESTART nobody 1", "no such sequence");
        assert_int_equal(must_next(seq), 3);

        /* It is as durable as a draw. */
        ask_ok(instance, "SEQ.RESTART orders 777");
        instance_kill(instance);
        instance_unlink(instance);
        instance_start(instance);
        assert_int_equal(must_next(seq), 777);
        assert_int_equal(peer_next(peer), 778);
        seqnum_detach(client);
}

static void alters(struct instance *instance)
{
        struct seqnum_client *client;
        struct seqnum *seq;
        struct peer *peer;

        instance_configure(instance, "[sequence orders]\n");
        instance_start(instance);
        client = instance_attach(instance);
        seq = instance_open(client, "orders");
        peer = peer_start(instance, "orders");
        assert_int_equal(must_next(seq), 1);
        assert_int_equal(peer_next(peer), 2);
        ask_ok(instance, "SEQ.ALTER orders increment 10 max 40");
        assert_int_equal(must_next(seq), 12);
        assert_int_equal(peer_next(peer), 22);
        ask_ok(instance, "SEQ.ALTER orders increment -1");
        assert_int_equal(peer_next(peer), 21);
        assert_int_equal(must_next(seq), 20);
        ask_ok(instance, "SEQ.ALTER orders increment 20");
        assert_int_equal(must_next(seq), 40);
        expect(seq, -EOVERFLOW);
        assert_int_equal(peer_next(peer), -EOVERFLOW);
        ask_ok(instance, "SEQ.ALTER orders max 60"); /* its end is not for good */
        assert_int_equal(peer_next(peer), 60);
        ask_ok(instance, "SEQ.ALTER orders cycle yes min 5 start 5");
        assert_int_equal(must_next(seq), 5);
        ask_refused(instance, "SEQ.ALTER orders max 4", "min 5");
        ask_refused(instance, "SEQ.ALTER orders min 30 start 40", "outside");
        ask_refused(instance, "SEQ.ALTER orders kind gapless", "kind");
        ask_refused(instance, "SEQ.ALTER orders incremnt 2", "increment");
        assert_int_equal(must_next(seq), 25);
        seqnum_detach(client);
}

/* A name dropped is gone for every handle; made anew, it begins anew for them all. */
static void drops(struct instance *instance)
{
        struct seqnum_client *client;
        struct seqnum *seq, *none;
        struct peer *peer;

        instance_configure(instance, "[sequence other]\n");
        instance_start(instance);
        client = instance_attach(instance);
        ask_ok(instance, "SEQ.CREATE orders start 100");
        ask_refused(instance, "SEQ.CREATE orders", "exists");
        seq = instance_open(client, "orders");
        peer = peer_start(instance, "orders");
        assert_int_equal(must_next(seq), 100);
        assert_int_equal(peer_next(peer), 101);
        ask_ok(instance, "SEQ.DROP orders");
        expect(seq, -ENOENT);
        assert_int_equal(peer_next(peer), -ENOENT);
        assert_int_equal(seqnum_open(&none, client, "orders"), -ENOENT);
        ask_refused(instance, "SEQ.DROP orders", "no such sequence");
        instance_kill(instance);
        instance_start(instance);
        expect(seq, -ENOENT);

        ask_ok(instance, "SEQ.CREATE orders start 7");
        assert_int_equal(must_next(seq), 7);
        assert_int_equal(peer_next(peer), 8);
        ask_ok(instance, "SEQ.DROP orders");
        ask_ok(instance, "SEQ.CREATE orders kind gapless");
        assert_int_equal(must_next(seq), 1);
        assert_int_equal(peer_next(peer), 2);
        ask_ok(instance, "SEQ.DROP orders");
        ask_ok(instance, "SEQ.CREATE orders kind time");
        assert_true(must_next(seq) < peer_next(peer));
        ask_ok(instance, "SEQ.DROP orders");
        ask_ok(instance, "SEQ.CREATE orders start 50");
        assert_int_equal(must_next(seq), 50);
        assert_int_equal(peer_next(peer), 51);
        seqnum_detach(client);
}

/* Under load: no number of one life of the sequence is seen twice, none is of another. */
static void drops_under_load(struct instance *instance)
{
        const uint64_t rounds = scaled(40);
        struct seqnum_client *client;
        struct seqnum *seq;
        struct peer *peer;
        char command[128];

        instance_configure(instance, "%s", "");
        instance_start(instance);
        ask_ok(instance, "SEQ.CREATE orders");
        client = instance_attach(instance);
        seq = instance_open(client, "orders");
        peer = peer_start(instance, "orders");
        for (uint64_t round = 1; round <= rounds; round++) {
                int64_t base = (int64_t)round * 1000000, number, last = base - 1;

                ask_ok(instance, "SEQ.DROP orders");
                (void)snprintf(command, sizeof(command), "SEQ.CREATE orders start %" PRId64, base);
                ask_ok(instance, command);
                for (int i = 0; i < 200; i++) {
                        number = i % 10 == 9 ? peer_next(peer) : must_next(seq);
                        assert_int_equal(number, last + 1);
                        last = number;
                }
        }
        seqnum_detach(client);
}

/* --- templates ----------------------------------------------------------------- */

#define OPENERS 50

struct gate {
        _Atomic(uint32_t) waiting;
        _Atomic(bool) open;
        _Atomic(int64_t) numbers[OPENERS];
};

static void open_at_once(const struct instance *instance, struct gate *gate, size_t i)
{
        struct seqnum_client *client;
        struct seqnum *seq;
        int64_t number;

        if (seqnum_attach(&client, instance->shm, 0) < 0)
                _exit(1);
        (void)seqnum_set_timeout(client, patience_usec(20000000));
        atomic_fetch_add(&gate->waiting, 1);
        while (!atomic_load(&gate->open))
                nap(100);
        if (seqnum_open(&seq, client, "invoice/acme") < 0)
                _exit(2);
        if (seqnum_next(seq, &number) < 0)
                _exit(3);
        atomic_store(&gate->numbers[i], number);
        _exit(0);
}

static void templates_make_one(struct instance *instance)
{
        struct gate *gate = shared_memory(sizeof(*gate));
        bool seen[OPENERS + 1] = {false};
        pid_t pids[OPENERS];

        instance_configure(instance, "[sequence invoice/*]\nincrement = 1\n");
        instance_start(instance);
        for (size_t i = 0; i < OPENERS; i++) {
                pids[i] = instance_fork(instance);
                if (pids[i] == 0)
                        open_at_once(instance, gate, i);
        }
        while (atomic_load(&gate->waiting) < OPENERS)
                nap(1000);
        atomic_store(&gate->open, true);
        for (size_t i = 0; i < OPENERS; i++)
                assert_int_equal(instance_join(instance, pids[i], 60), 0);
        for (size_t i = 0; i < OPENERS; i++) {
                int64_t number = atomic_load(&gate->numbers[i]);

                assert_in_range(number, 1, OPENERS);
                assert_false(seen[number]);
                seen[number] = true;
        }
        assert_int_equal(instance_peek(instance, "invoice/acme"), OPENERS + 1);
}

static void templates_are_durable(struct instance *instance)
{
        struct seqnum_client *client;
        struct seqnum *seq, *none;

        instance_configure(instance, "[sequence invoice/*]\nstart = 1000\n"
                                     "[sequence invoice/x*]\nstart = 5\n");
        instance_start(instance);
        client = instance_attach(instance);
        seq = instance_open(client, "invoice/acme");
        instance_kill(instance); /* right after it came into being */
        instance_unlink(instance);
        instance_start(instance);
        assert_int_equal(must_next(seq), 1000);
        assert_int_equal(must_next(instance_open(client, "invoice/xerxes")), 5); /* the longest */
        assert_int_equal(seqnum_open(&none, client, "invoice/"), -ENOENT);
        assert_int_equal(seqnum_open(&none, client, "invoices"), -ENOENT);

        /* Without a daemon nothing comes into being, and what is there is served. */
        (void)seqnum_set_timeout(client, 200000);
        instance_kill(instance);
        assert_int_equal(seqnum_open(&none, client, "invoice/new"), -ETIMEDOUT);
        assert_int_equal(must_next(instance_open(client, "invoice/acme")), 1001);

        /* A template taken out of the file lets nothing more come into being. */
        instance_start(instance);
        instance_configure(instance, "%s", "");
        instance_reload(instance);
        assert_int_equal(seqnum_open(&none, client, "invoice/new"), -ENOENT);
        assert_int_equal(must_next(seq), 1002);
        seqnum_detach(client);
}

/* --- the edges of 64 bits --------------------------------------------------------- */

static void edges(struct instance *instance)
{
        struct seqnum_client *client;
        struct seqnum *seq;

        instance_configure(
                instance, "[sequence up]\nmin = -9223372036854775808\nstart = 9223372036854775800\n"
                          "increment = 3\n"
                          "[sequence down]\nmin = -9223372036854775808\nmax = "
                          "9223372036854775807\nincrement = -4611686018427387905\n"
                          "[sequence round]\nmin = -9223372036854775808\nmax = "
                          "9223372036854775807\nstart = 9223372036854775805\ncycle = yes\n"
                          "increment = 2\n");
        instance_start(instance);
        client = instance_attach(instance);
        seq = instance_open(client, "up");
        assert_true(must_next(seq) == INT64_MAX - 7);
        assert_true(must_next(seq) == INT64_MAX - 4);
        assert_true(must_next(seq) == INT64_MAX - 1);
        expect(seq, -EOVERFLOW); /* one more would be past the largest there is */
        seq = instance_open(client, "down");
        assert_true(must_next(seq) == INT64_MAX);
        assert_true(must_next(seq) == INT64_C(4611686018427387902));
        assert_true(must_next(seq) == -3);
        assert_true(must_next(seq) == -INT64_C(4611686018427387908));
        expect(seq, -EOVERFLOW);
        seq = instance_open(client, "round");
        assert_true(must_next(seq) == INT64_MAX - 2);
        assert_true(must_next(seq) == INT64_MAX);
        assert_true(must_next(seq) == INT64_MIN);
        assert_true(must_next(seq) == INT64_MIN + 2);
        instance_stop(instance);
        instance_start(instance);
        assert_true(must_next(seq) == INT64_MIN + 4);
        seqnum_detach(client);
}

/* --- who did it ------------------------------------------------------------------ */

/* In the log: `before`, the user, `behind`. */
static void done_by(const struct instance *instance, const char *command, const char *before,
                    const char *behind)
{
        char output[512], text[256];

        if (instance_command(instance, output, sizeof(output), command) != 0)
                fail_msg("%s: %s", command, output);
        (void)snprintf(text, sizeof(text), "%s by user %u%s\n", before, (unsigned)geteuid(),
                       behind);
        if (!instance_will_say(instance, text))
                fail_msg("%s: the log does not say '%s'", command, text);
}

static void who_did_it(struct instance *instance)
{
        instance_configure(instance, "[sequence orders]\n[sequence t/*]\n");
        instance_start(instance);
        assert_false(instance_says(instance, "by user"));
        done_by(instance, "create more start=7", "more: created", ", counter from 7 by 1");
        done_by(instance, "alter more increment=2", "more: altered", ", going on at 7");
        done_by(instance, "alter more reserve=5", "more: altered", ", reserve = 5");
        done_by(instance, "alter more reserve=auto", "more: altered", ", reserve = auto");
        done_by(instance, "restart more 50", "more: restarted at 50", "");
        done_by(instance, "drop more", "more: dropped", "");
        done_by(instance, "next t/one", "t/one: created", ", counter from 1 by 1");
        instance_forget_log(instance);
        instance_configure(instance, "[sequence orders]\nincrement = 2\n[sequence t/*]\n");
        instance_reload(instance);
        assert_true(instance_says(instance, "orders: altered, going on at 1\n"));
        assert_false(instance_says(instance, "by user"));
}

/* Whoever makes thousands does not fill the journal. */
static void many_are_not_all_said(struct instance *instance)
{
        instance_configure(instance, "[sequence t/*]\n");
        instance_start(instance);
        for (unsigned i = 0; i < 200; i++)
                assert_string_equal(instance_ask(instance, "INCR t/%u", i), ":1");
        shell("n=$(grep -c created '%s') && test \"$n\" -ge 20 && test \"$n\" -lt 150",
              instance->log);
}

/* --- a manager that does not read ---------------------------------------------------- */

/* As many messages as its socket takes. */
static void fill_up(const struct instance *instance)
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        assert_true(fd >= 0);
        (void)snprintf(address.sun_path, sizeof(address.sun_path), "%.100s", instance->notify_path);
        while (sendto(fd, "STATUS=", 7, 0, (struct sockaddr *)&address, sizeof(address)) == 7)
                ;
        assert_int_equal(errno, EAGAIN);
        close(fd);
}

/* A PID 1 that has crashed freezes; that must not stop those who draw. */
static void deaf_manager(struct instance *instance)
{
        struct seqnum_client *client;
        int notify = instance->notify;
        struct seqnum *seq;

        instance_configure(instance, "[sequence orders]\nreserve = 10\n");
        instance_start(instance);
        client = instance_attach(instance);
        seq = instance_open(client, "orders");
        instance->notify = -1; /* nobody reads from here on */
        fill_up(instance);
        for (int i = 1; i <= 5; i++) {
                instance_unlink(instance); /* it is made anew, and the manager to keep it */
                assert_int_equal(must_next(seq), i);
                nap(100000);
                assert_string_equal(instance_ask(instance, "PING"), "+PONG");
        }
        assert_true(instance_says(instance, "does not take messages any more"));
        assert_int_equal(kill(instance->pid, SIGHUP), 0);
        nap(100000);
        assert_string_equal(instance_ask(instance, "PING"), "+PONG");
        instance_stop(instance);
        instance->notify = notify;
        seqnum_detach(client);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                instance_test(deaf_manager),
                instance_test(restarts),
                instance_test(alters),
                instance_test(drops),
                instance_test(drops_under_load),
                instance_test(templates_make_one),
                instance_test(templates_are_durable),
                instance_test(who_did_it),
                instance_test(many_are_not_all_said),
                instance_test(edges),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
