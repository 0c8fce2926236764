/* SPDX-License-Identifier: MIT */

/*
 * The control socket while answers are pending, which takes a disk that is slow:
 * what was asked behind them is not given up before it was tried.
 */

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "harness.h"

#define ANSWER_MSEC 20000             /* for an answer that must come; patience on top */
#define GIVEN_UP    UINT64_C(5500000) /* usec; a request that waited for 5 s is given up */

/* --- a disk that takes its time ------------------------------------------------------- */

/* What each sync waits for from now on: microseconds, "stuck", or "" for nothing. */
static void slow_disk(const struct instance *instance, const char *usec)
{
        char path[256];
        int fd;

        (void)snprintf(path, sizeof(path), "%s/slow-disk", instance->directory);
        fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, usec, strlen(usec)), strlen(usec));
        close(fd);
}

static void slow_start(struct instance *instance)
{
        char path[256], text[512];

        (void)snprintf(path, sizeof(path), "%s/slow-disk", instance->directory);
        (void)setenv("SEQNUM_SLOW_DISK", path, 1);
        (void)snprintf(text, sizeof(text), "%s/tests/preload/slow-disk.so",
                       getenv("SEQNUM_BUILD") ? getenv("SEQNUM_BUILD") : "build");
        (void)setenv("LD_PRELOAD", text, 1);
        /* The sanitizer's runtime need not come first then. */
        (void)snprintf(text, sizeof(text), "verify_asan_link_order=0%s%s",
                       getenv("ASAN_OPTIONS") ? ":" : "",
                       getenv("ASAN_OPTIONS") ? getenv("ASAN_OPTIONS") : "");
        (void)setenv("ASAN_OPTIONS", text, 1);
        instance_start(instance);
        (void)unsetenv("LD_PRELOAD");
        (void)unsetenv("SEQNUM_SLOW_DISK");
}

/* --- a connection ------------------------------------------------------------------- */

static int plug_in(const struct instance *instance)
{
        int fd = instance_connect(instance);

        if (fd < 0)
                fail_msg("connect: %s", strerror(-fd));
        return fd;
}

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
        slow_start(instance);
        slow_disk(instance, "stuck");
}

/* --- requests behind an answer to come ------------------------------------------------ */

/* Time counts from when a request could run: before that it is not given up, whatever it is. */
static void behind_a_slow_answer(struct instance *instance)
{
        int ping, draw, quit, wrong, other;

        start(instance);
        ping = plug_in(instance);
        draw = plug_in(instance);
        quit = plug_in(instance);
        wrong = plug_in(instance);
        other = plug_in(instance);
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
        other = plug_in(instance);
        tell(other, "SEQ.ALTER xx increment 2\r\n");
        nap(GIVEN_UP);
        slow_disk(instance, "");
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

int main(void)
{
        const struct CMUnitTest tests[] = {
                instance_test(behind_a_slow_answer),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
