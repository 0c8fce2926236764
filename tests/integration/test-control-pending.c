/* SPDX-License-Identifier: MIT */

/*
 * The control socket while answers are pending, which takes a disk that is slow:
 * what was asked behind them is neither lost, nor given up before it was tried,
 * nor read twice, and a stream that cannot be read on costs no time.
 */

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"

#define ANSWER_MSEC 20000              /* for an answer that must come; patience on top */
#define GIVEN_UP    UINT64_C(5500000)  /* usec; a request that waited for 5 s is given up */
#define BURN_NSEC   INT64_C(300000000) /* of processor, to compare with the daemon's */

/* --- a connection ------------------------------------------------------------------- */

static void tell(int fd, const char *text)
{
        assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* The next line of the answers must be this one. "(end)": no more come. */
static void expect(int fd, const char *answer)
{
        struct pollfd input = {.fd = fd, .events = POLLIN};
        int msec = (int)(patience_usec(ANSWER_MSEC * UINT64_C(1000)) / 1000);
        char line[1024];
        size_t n = 0;

        do {
                if (poll(&input, 1, msec) <= 0)
                        fail_msg("no answer, where '%s' should be", answer);
                if (n == sizeof(line) - 1 || read(fd, &line[n], 1) != 1) {
                        n = (size_t)snprintf(line, sizeof(line), "(end)\r\n");
                        break;
                }
        } while (line[n++] != '\n');
        line[n - 2] = '\0';
        if (strncmp(line, answer, strlen(answer)) != 0)
                fail_msg("'%s', not '%s'", line, answer);
}

static void start(struct instance *instance)
{
        instance_configure(instance, "[sequence orders]\n[sequence xx]\n[sequence t/*]\n");
        instance_start_on_slow_disk(instance);
        instance_slow_down(instance, "stuck");
}

/* --- requests behind an answer to come ------------------------------------------------ */

/* Time counts from when a request could run: before that it is not given up, whatever it is. */
static void behind_a_slow_answer(struct instance *instance)
{
        int ping, draw, quit, wrong, other;

        start(instance);
        ping = instance_plug_in(instance);
        draw = instance_plug_in(instance);
        quit = instance_plug_in(instance);
        wrong = instance_plug_in(instance);
        other = instance_plug_in(instance);
        tell(ping, "SEQ.OPEN t/one\r\n");
        tell(draw, "SEQ.CREATE draw\r\nINCR orders\r\n");
        tell(quit, "SEQ.CREATE quit\r\nQUIT\r\n");
        tell(wrong, "SEQ.CREATE wrong\r\nSEQ.CREATE x kind nonsense\r\n");
        nap(100000);
        /* What somebody else has sent is nobody's argument, also when he is gone. */
        tell(other, "*2\r\n$4\r\nECHO\r\n$6\r\nsecret\r\n");
        expect(other, "$6");
        expect(other, "secret");
        tell(ping, "*1\r\n$4\r\nPING\r\n");
        nap(100000);
        close(other);
        /* This one holds up the daemon's loop, which so sees nobody's time pass. */
        other = instance_plug_in(instance);
        tell(other, "SEQ.ALTER xx increment 2\r\n");
        nap(GIVEN_UP);
        instance_slow_down(instance, "");
        expect(other, "+OK");
        expect(ping, "+OK");
        expect(ping, "+PONG");
        expect(draw, "+OK");
        expect(draw, ":1");
        expect(quit, "+OK");
        expect(quit, "+OK");
        expect(quit, "(end)");
        expect(wrong, "+OK");
        expect(wrong, "-ERR kind = nonsense");
        close(ping);
        close(draw);
        close(quit);
        close(wrong);
        close(other);
}

/* Whatever is wrong with a creation is said in its turn, not ahead of the answers to come. */
static void answers_keep_their_order(struct instance *instance)
{
        int fd;

        start(instance);
        fd = instance_plug_in(instance);
        tell(fd, "SEQ.CREATE a\r\nSEQ.CREATE\r\nSEQ.CREATE b\r\nSEQ.CREATE 'c d'\r\n"
                 "SEQ.CREATE e kind nonsense\r\nSEQ.CREATE f start\r\nSEQ.CREATE g\r\nPING\r\n");
        nap(100000);
        instance_slow_down(instance, "");
        expect(fd, "+OK");
        expect(fd, "-ERR wrong number of arguments for 'SEQ.CREATE'");
        expect(fd, "+OK");
        expect(fd, "-ERR 'c d' is no name of a sequence");
        expect(fd, "-ERR kind = nonsense");
        expect(fd, "-ERR a key without a value");
        expect(fd, "+OK");
        expect(fd, "+PONG");
        close(fd);
}

/* --- bytes that are no request -------------------------------------------------------- */

/* Unquoted in place, the second line reads "SEQ.DROP xx": it must not be read again. */
static void is_not_read_twice(struct instance *instance)
{
        int fd;

        start(instance);
        fd = instance_plug_in(instance);
        tell(fd, "SEQ.CREATE y\r\n\"SEQ.DROP x\r\nPING\r\n");
        nap(200000);
        instance_slow_down(instance, "");
        expect(fd, "+OK");
        expect(fd, "-ERR Protocol error: unbalanced quotes in request");
        expect(fd, "(end)");
        close(fd);
        fd = instance_plug_in(instance);
        tell(fd, "INCR xx\r\n");
        expect(fd, ":1");
        close(fd);
}

static int64_t used_nsec(clockid_t clock)
{
        struct timespec t;

        assert_int_equal(clock_gettime(clock, &t), 0);
        return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

/* Use so much processor; how much the daemon used meanwhile. */
static int64_t used_beside(const struct instance *instance)
{
        int64_t before, end = used_nsec(CLOCK_PROCESS_CPUTIME_ID) + BURN_NSEC;
        clockid_t clock;

        assert_int_equal(clock_getcpuclockid(instance->pid, &clock), 0);
        before = used_nsec(clock);
        while (used_nsec(CLOCK_PROCESS_CPUTIME_ID) < end)
                continue;
        return used_nsec(clock) - before;
}

/* More bytes than there is room for, behind some that cannot be read: nobody looks at them. */
static void costs_no_time(struct instance *instance)
{
        static char bytes[400000];
        int fd;

        start(instance);
        fd = instance_plug_in(instance);
        tell(fd, "SEQ.CREATE y\r\n*x\r\n");
        memset(bytes, 'y', sizeof(bytes));
        for (int i = 0; i < 10; i++) { /* as many as it takes */
                (void)!send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL | MSG_DONTWAIT);
                nap(20000);
        }
        assert_in_range(used_beside(instance), 0, BURN_NSEC / 3);
        instance_slow_down(instance, "");
        expect(fd, "+OK");
        expect(fd, "-ERR Protocol error: invalid length");
        expect(fd, "(end)");
        close(fd);
}

/* --- a reload beside creations ---------------------------------------------------------- */

/* What is on its way into the store counts as much as what is there. */
static void a_reload_counts_creations(struct instance *instance)
{
        static const char keys[] = "max_sequences = 3\n";
        int fd;

        instance_configure(instance, "%s[sequence orders]\n", keys);
        instance_start_on_slow_disk(instance);
        instance_slow_down(instance, "stuck");
        fd = instance_plug_in(instance);
        tell(fd, "SEQ.CREATE a\r\nSEQ.CREATE b\r\n");
        nap(100000);
        instance_configure(instance, "%s[sequence orders]\n[sequence c]\n[sequence d]\n", keys);
        assert_int_equal(kill(instance->pid, SIGHUP), 0);
        nap(100000);
        instance_slow_down(instance, "");
        expect(fd, "+OK");
        expect(fd, "+OK");
        assert_true(
                instance_will_say(instance, "there would be 5 sequences, but max_sequences = 3"));
        tell(fd, "EXISTS a b c d\r\n");
        expect(fd, ":2");
        close(fd);
        /* And so they can all be served again. */
        instance_stop(instance);
        instance_configure(instance, "%s[sequence orders]\n", keys);
        instance_start(instance);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                instance_test(behind_a_slow_answer),      instance_test(answers_keep_their_order),
                instance_test(is_not_read_twice),         instance_test(costs_no_time),
                instance_test(a_reload_counts_creations),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
