/* SPDX-License-Identifier: MIT */

/*
 * Deaths on pshm's streams, at random moments: whoever is left notices, says so,
 * exits with a status that is not 0, and leaves nothing in /dev/shm. What a receiver
 * takes for the end is the end. What two dead ones leave is no obstacle.
 */

#include "harness-pshm.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* How long a death may go unnoticed, here, where others want the processors too. */
#define NOTICE_USEC UINT64_C(1000000)

static const char *const rings[] = {"", "-b 1", "-b 1 -s 1K", "-c", "-s 100 -b 3"};

/* Some ring, with an option more. */
static const char *some_ring(const char *option)
{
        static char options[64];

        (void)snprintf(options, sizeof(options), "%s %s",
                       rings[random_below(sizeof(rings) / sizeof(rings[0]))], option);
        return options;
}

/* Wait until it has ended, for as long as a death may go unnoticed. How long it took. */
static uint64_t await_notice(const struct side *side)
{
        uint64_t begin = now_usec(), end = begin + patience_usec(NOTICE_USEC);

        while (!side_ended(side)) {
                if (now_usec() > end)
                        fail_msg("pshm %s does not notice; it said: %s", side->verb,
                                 side_said(side));
                nap(200);
        }
        return now_usec() - begin;
}

/* The name is free: a stream goes through it as if nothing had been. */
static void must_work(struct instance *instance)
{
        int in[2], out[2], null = open_path("/dev/null", O_RDWR);
        struct side send, recv;
        char got[8] = "";

        assert_int_equal(pipe2(in, O_CLOEXEC), 0);
        assert_int_equal(pipe2(out, O_CLOEXEC), 0);
        assert_int_equal(write(in[1], "well", 4), 4);
        close(in[1]);
        send = side_start(instance, "send", "", in[0], null);
        recv = side_start(instance, "recv", "", null, out[1]);
        close(in[0]);
        close(out[1]);
        side_must_end(&recv, 0, "");
        side_must_end(&send, 0, "");
        assert_int_equal(read(out[0], got, sizeof(got)), 4);
        assert_string_equal(got, "well");
        assert_false(stream_exists(instance));
        close(out[0]);
        close(null);
}

struct tally {
        unsigned before, during, after; /* the other came; while both were there; it was over */
        uint64_t longest;               /* until it was noticed */
};

static void tell(const char *what, const struct tally *tally)
{
        figures("%s=%u before=%u after=%u noticed_within_ms=%.1f", what,
                tally->before + tally->during + tally->after, tally->before, tally->after,
                (double)tally->longest / 1000);
}

/*
 * One of an endless stream is killed, mostly when the two have met: then the other must
 * say that it died. Else it may also say that nobody came, or that he had given up.
 */
static void kill_one(struct instance *instance, bool kill_sender, bool idle, struct tally *tally)
{
        int zero = open_path("/dev/zero", O_RDWR), null = open_path("/dev/null", O_RDWR), in[2];
        struct side send, recv, *victim = kill_sender ? &send : &recv;
        struct side *other = kill_sender ? &recv : &send;
        bool meet = random_below(4) > 0;
        const char *wait = meet ? "-w 10" : "-w 0.1";
        uint64_t took;
        int status;

        assert_int_equal(pipe2(in, O_CLOEXEC), 0);
        send = side_start(instance, "send", some_ring(wait), idle ? in[0] : zero, null);
        recv = side_start(instance, "recv", wait, null, null);
        if (meet)
                stream_await_receiver(instance);
        nap(random_below(5000));
        side_kill(victim);
        took = await_notice(other);
        status = side_end(other);
        if (meet) {
                tally->longest = took > tally->longest ? took : tally->longest;
                tally->during++;
                assert_int_equal(status, 69);
                if (!strstr(side_said(other), "died before the end"))
                        fail_msg("it said: %s", side_said(other));
        } else {
                tally->before++;
                assert_true(status == 69 || status == 75);
        }
        assert_false(stream_exists(instance));
        close(in[0]);
        close(in[1]);
        close(zero);
        close(null);
}

static void sender_killed(struct instance *instance)
{
        uint64_t n = scaled(100);
        struct tally tally = {0};

        for (uint64_t i = 0; i < n; i++) {
                kill_one(instance, true, i % 2, &tally);
                if (i % 10 == 0)
                        must_work(instance);
                progress("%" PRIu64 " of %" PRIu64 " senders killed", i, n);
        }
        tell("senders_killed", &tally);
}

static void receiver_killed(struct instance *instance)
{
        uint64_t n = scaled(100);
        struct tally tally = {0};

        for (uint64_t i = 0; i < n; i++) {
                kill_one(instance, false, i % 2, &tally);
                if (i % 10 == 0)
                        must_work(instance);
                progress("%" PRIu64 " of %" PRIu64 " receivers killed", i, n);
        }
        tell("receivers_killed", &tally);
}

/*
 * One of a stream with an end is killed, perhaps just then. A receiver that says it is
 * well has all of it, and so has one whose sender says so.
 */
static void kill_near_the_end(struct instance *instance, int in, const char *bytes, size_t length,
                              struct tally *tally)
{
        int out = open_file(instance, "out");
        bool meet = random_below(8) > 0;
        const char *wait = meet ? "-w 10" : "-w 0.1";
        struct side send, recv, *victim, *other;
        int status;

        assert_int_equal(lseek(in, 0, SEEK_SET), 0);
        send = side_start(instance, "send", some_ring(wait), in, out);
        recv = side_start(instance, "recv", wait, in, out);
        victim = random_below(2) ? &send : &recv;
        other = victim == &send ? &recv : &send;
        while (meet && !stream_has_receiver(instance) && !side_ended(&recv))
                nap(50);
        nap(random_below(meet ? 2000 : 12000));
        if (side_ended(victim)) {
                status = side_end(victim);
                tally->after++;
                assert_true(status == 0 || status == 75); /* the other did not come in time */
        } else {
                side_kill(victim);
                tally->during++;
        }
        (void)await_notice(other);
        status = side_end(other);
        if (status == 0)
                assert_true(file_is(out, bytes, length));
        else
                assert_true(status == 69 || status == 75);
        assert_false(stream_exists(instance));
        close(out);
}

static void no_silent_truncation(struct instance *instance)
{
        size_t length = 300000;
        int in = open_file(instance, "in");
        char *bytes = malloc(length);
        struct tally tally = {0};
        uint64_t n = scaled(100);

        assert_non_null(bytes);
        fill_random(bytes, length, 4);
        assert_int_equal(write(in, bytes, length), length);
        for (uint64_t i = 0; i < n; i++) {
                kill_near_the_end(instance, in, bytes, length, &tally);
                progress("%" PRIu64 " of %" PRIu64 " killed near the end", i, n);
        }
        tell("killed_near_the_end", &tally);
        free(bytes);
        close(in);
}

/* Both at once, so that nobody is left to clean up. */
static void both_killed(struct instance *instance)
{
        int zero = open_path("/dev/zero", O_RDWR), null = open_path("/dev/null", O_RDWR);
        uint64_t n = scaled(40);
        unsigned left = 0;

        for (uint64_t i = 0; i < n; i++) {
                struct side send = side_start(instance, "send", some_ring(""), zero, null);
                struct side recv = side_start(instance, "recv", "", null, null);

                stream_await_receiver(instance);
                nap(random_below(3000));
                (void)kill(send.pid, SIGSTOP); /* neither sees the other go */
                side_kill(&recv);
                side_kill(&send);
                left += stream_exists(instance);
                if (i % 2) { /* a receiver alone removes it, and waits for another */
                        recv = side_start(instance, "recv", "-w 0.05", null, null);
                        side_must_end(&recv, 75, "no sender came");
                        assert_false(stream_exists(instance));
                }
                must_work(instance);
                progress("%" PRIu64 " of %" PRIu64 " pairs killed", i, n);
        }
        figures("pairs_killed=%" PRIu64 " objects_left=%u", n, left);
        assert_true(left > 0);
        close(zero);
        close(null);
}

/* Nobody had come to receive: the first to come is told, once. */
static void sender_killed_alone(struct instance *instance)
{
        int null = open_path("/dev/null", O_RDWR);
        struct side send, recv;

        for (int i = 0; i < 4; i++) {
                send = side_start(instance, "send", "", null, null);
                stream_await(instance);
                side_kill(&send);
                assert_true(stream_exists(instance));
                if (i % 2) {
                        must_work(instance);
                        continue;
                }
                recv = side_start(instance, "recv", "-w 5", null, null);
                side_must_end(&recv, 69, "died before anything was received");
                assert_false(stream_exists(instance));
                recv = side_start(instance, "recv", "-w 0.05", null, null);
                side_must_end(&recv, 75, "no sender came");
        }
        close(null);
}

/* Many senders at once find a dead stream: one of them replaces it, the others are refused. */
static void one_replaces_it(struct instance *instance)
{
        int null = open_path("/dev/null", O_RDWR), idle[2];
        struct side sides[6], recv;

        assert_int_equal(pipe2(idle, O_CLOEXEC), 0);
        for (uint64_t i = 0; i < scaled(10); i++) {
                unsigned alive = 0, refused = 0;

                sides[0] = side_start(instance, "send", "", null, null);
                stream_await(instance);
                side_kill(&sides[0]);
                for (int j = 0; j < 6; j++)
                        sides[j] = side_start(instance, "send", "-b 2 -s 4K", idle[0], null);
                for (uint64_t end = now_usec() + patience_usec(5000000); refused < 5; nap(500)) {
                        refused = 0;
                        for (int j = 0; j < 6; j++)
                                refused += side_ended(&sides[j]);
                        assert_true(now_usec() < end);
                }
                for (int j = 0; j < 6; j++) {
                        if (!side_ended(&sides[j])) {
                                alive++;
                                recv = side_start(instance, "recv", "", null, null);
                                stream_await_receiver(instance);
                                (void)kill(sides[j].pid, SIGTERM);
                                assert_int_equal(side_end(&sides[j]), 128 + SIGTERM);
                                side_must_end(&recv, 69, "the sender gave up: it was interrupted");
                        } else {
                                side_must_end(&sides[j], 1, "another sender has it");
                        }
                }
                assert_int_equal(alive, 1);
                assert_false(stream_exists(instance));
        }
        close(idle[0]);
        close(idle[1]);
        close(null);
}

/* --- signals ------------------------------------------------------------------------ */

static void signals_clean_up(struct instance *instance)
{
        static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
        int zero = open_path("/dev/zero", O_RDWR), null = open_path("/dev/null", O_RDWR), idle[2];

        assert_int_equal(pipe2(idle, O_CLOEXEC), 0);
        for (unsigned i = 0; i < 16; i++) {
                int in = i & 4 ? idle[0] : zero, signal_number = signals[i % 4];
                struct side send = side_start(instance, "send", some_ring(""), in, null);
                struct side recv = side_start(instance, "recv", "", null, null);
                struct side *victim = i & 8 ? &send : &recv, *other = i & 8 ? &recv : &send;

                stream_await_receiver(instance);
                nap(5000 + random_below(5000));
                assert_int_equal(kill(victim->pid, signal_number), 0);
                (void)await_notice(other);
                assert_int_equal(side_end(victim), 128 + signal_number);
                side_must_end(other, 69, "gave up: it was interrupted");
                assert_false(stream_exists(instance));
        }
        for (unsigned i = 0; i < 4; i++) { /* with nobody there yet */
                struct side send = side_start(instance, "send", "", zero, null);

                stream_await(instance);
                nap(random_below(3000));
                assert_int_equal(kill(send.pid, signals[i]), 0);
                assert_int_equal(side_end(&send), 128 + signals[i]);
                assert_false(stream_exists(instance));
        }
        must_work(instance);
        close(idle[0]);
        close(idle[1]);
        close(zero);
        close(null);
}

/* Stopped is not dead: nobody gives up on it. */
static void stopped_is_not_dead(struct instance *instance)
{
        int null = open_path("/dev/null", O_RDWR), in[2];
        struct side send, recv;

        assert_int_equal(pipe2(in, O_CLOEXEC), 0);
        send = side_start(instance, "send", "-b 1", in[0], null);
        recv = side_start(instance, "recv", "", null, null);
        stream_await_receiver(instance);
        assert_int_equal(kill(send.pid, SIGSTOP), 0);
        nap(200000);
        assert_false(side_ended(&recv));
        assert_int_equal(kill(send.pid, SIGCONT), 0);
        assert_int_equal(kill(recv.pid, SIGSTOP), 0);
        assert_int_equal(write(in[1], "x", 1), 1);
        close(in[1]);
        nap(200000);
        assert_false(side_ended(&send));
        assert_int_equal(kill(recv.pid, SIGCONT), 0);
        side_must_end(&send, 0, "");
        side_must_end(&recv, 0, "");
        close(in[0]);
        close(null);
}

/* Where the name's lock is: client/pshm-stream.h. */
#define LOCK_NAME ((INT64_C(1) << 62) + 2)

/* Who is about to remove the name has its lock, and dies: the other, just leaving, does it. */
static void killed_while_removing(struct instance *instance)
{
        int null = open_path("/dev/null", O_RDWR), in[2];
        char path[128];

        (void)snprintf(path, sizeof(path), "/dev/shm%s", instance->shm);
        for (int i = 0; i < 2; i++) {
                struct flock lock = {.l_type = F_WRLCK, .l_start = LOCK_NAME, .l_len = 1};
                struct side send, recv;
                int remover;

                assert_int_equal(pipe2(in, O_CLOEXEC), 0);
                send = side_start(instance, "send", "", in[0], null);
                recv = side_start(instance, "recv", "", null, null);
                stream_await_receiver(instance);
                remover = open_path(path, O_RDWR | O_CLOEXEC);
                assert_int_equal(fcntl(remover, F_OFD_SETLK, &lock), 0);
                side_kill(i ? &send : &recv);
                nap(30000); /* it is noticed within 10 ms */
                assert_true(stream_exists(instance));
                close(remover);
                assert_int_equal(side_end(i ? &recv : &send), 69);
                assert_false(stream_exists(instance));
                close(in[0]);
                close(in[1]);
        }
        close(null);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                instance_test(sender_killed),         instance_test(receiver_killed),
                instance_test(no_silent_truncation),  instance_test(both_killed),
                instance_test(sender_killed_alone),   instance_test(one_replaces_it),
                instance_test(signals_clean_up),      instance_test(stopped_is_not_dead),
                instance_test(killed_while_removing),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
