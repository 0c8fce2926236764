/* SPDX-License-Identifier: MIT */

/* What the daemon says on standard error, and that it does not flood. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>

#include "log.h"

static char said[1 << 16];

/* Run `speak` with standard error in a file; what it said, in `said`. How many lines. */
static size_t listen(void (*speak)(void))
{
        FILE *file = tmpfile();
        int before = dup(STDERR_FILENO);
        size_t n, lines = 0;

        assert_non_null(file);
        assert_true(before >= 0);
        assert_true(dup2(fileno(file), STDERR_FILENO) >= 0);
        speak();
        assert_true(dup2(before, STDERR_FILENO) >= 0);
        close(before);
        rewind(file);
        n = fread(said, 1, sizeof(said) - 1, file);
        said[n] = '\0';
        (void)fclose(file);
        for (const char *c = said; *c; c++)
                lines += *c == '\n';
        return lines;
}

static void speak_plainly(void)
{
        log_error("the disk is %s", "full");
        log_about(LOG_INFO, "orders", "it is %d", 7);
        log_event(EVENT_SERVING, LOG_INFO, NULL, "serving");
}

static void test_lines(void **state)
{
        (void)state;
        assert_int_equal(listen(speak_plainly), 3);
        assert_string_equal(said, "seqnumd: the disk is full\n"
                                  "seqnumd: orders: it is 7\n"
                                  "seqnumd: serving\n");
}

static void drop_many(void)
{
        for (int i = 0; i < 1000; i++)
                log_event(EVENT_SEQUENCE_DROPPED, LOG_NOTICE, "orders", "dropped");
}

static void drop_once(void)
{
        log_event(EVENT_SEQUENCE_DROPPED, LOG_NOTICE, "orders", "dropped");
}

static void speak_of_another(void)
{
        log_event(EVENT_RELOADED, LOG_NOTICE, NULL, "reloaded");
        log_error("an error that is no event");
}

/* One kind of event does not drown the others, nor is it left out without a word. */
static void test_flood(void **state)
{
        size_t lines = listen(drop_many);

        (void)state;
        assert_in_range(lines, 20, 40); /* 20, and a few if this took seconds */
        assert_int_equal(listen(speak_of_another), 2);
        do
                usleep(100000);
        while (listen(drop_once) == 0);
        assert_non_null(strstr(said, "messages like the next were left out\n"));
        assert_non_null(strstr(said, "orders: dropped\n"));
        assert_true(strtoul(said + strlen("seqnumd: "), NULL, 10) > 900);
}

static void speak_at_length(void)
{
        char text[10000];

        memset(text, 'x', sizeof(text) - 1);
        text[sizeof(text) - 1] = '\0';
        log_error("%s", text);
}

static void test_length(void **state)
{
        (void)state;
        assert_int_equal(listen(speak_at_length), 1);
        assert_in_range(strlen(said), 1000, 4000);
}

/* --- in the journal ------------------------------------------------------- */

/* In place of libsystemd's: the fields, one a line, in `said`. */
int sd_journal_sendv(const struct iovec *fields, int n)
{
        said[0] = '\0';
        for (int i = 0; i < n; i++) {
                strncat(said, fields[i].iov_base, fields[i].iov_len);
                strcat(said, "\n");
        }
        return 0;
}

static void test_fields(void **state)
{
        const uid_t user = 4711;
        struct stat status;
        char stream[64];

        (void)state;
        assert_int_equal(fstat(STDERR_FILENO, &status), 0);
        (void)snprintf(stream, sizeof(stream), "%ju:%ju", (uintmax_t)status.st_dev,
                       (uintmax_t)status.st_ino);
        assert_int_equal(setenv("JOURNAL_STREAM", stream, 1), 0);
        log_open();
        log_instance("/seqnumd.of-mine");
        log_event_by(&user, EVENT_SEQUENCE_MADE, LOG_INFO, "orders", "made");
        assert_string_equal(said, "MESSAGE=orders: made\n"
                                  "PRIORITY=6\n"
                                  "MESSAGE_ID=e1182e2ece9940639baa3705bf2f5aff\n"
                                  "SEQNUM_SEQUENCE=orders\n"
                                  "SEQNUM_INSTANCE=/seqnumd.of-mine\n"
                                  "SEQNUM_USER=4711\n");
        log_event_by(NULL, EVENT_SEQUENCE_MADE, LOG_INFO, NULL, "made");
        assert_null(strstr(said, "SEQNUM_USER"));
        assert_null(strstr(said, "SEQNUM_SEQUENCE"));
        assert_int_equal(unsetenv("JOURNAL_STREAM"), 0);
        log_open();
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_lines),
                cmocka_unit_test(test_flood),
                cmocka_unit_test(test_length),
                cmocka_unit_test(test_fields),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
