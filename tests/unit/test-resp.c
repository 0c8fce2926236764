/* SPDX-License-Identifier: MIT */

/* RESP: requests out of bytes however they arrive, and answers into bytes. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "resp.h"

/* --- parsing ------------------------------------------------------------------- */

struct parsed {
        int r;
        size_t used;
        const char *reason;
        struct resp_request request;
        char *data; /* the arguments point into it; of just the size, for the sanitizer */
};

static void parse(struct parsed *parsed, const void *bytes, size_t size)
{
        free(parsed->data);
        parsed->data = malloc(size ? size : 1);
        assert_non_null(parsed->data);
        memcpy(parsed->data, bytes, size);
        parsed->reason = NULL;
        parsed->r =
                resp_parse(parsed->data, size, &parsed->request, &parsed->used, &parsed->reason);
}

static void check_request(const struct parsed *parsed, size_t used, size_t n,
                          const char *const *words)
{
        assert_int_equal(parsed->r, 1);
        assert_int_equal(parsed->used, used);
        assert_int_equal(parsed->request.n, n);
        for (size_t i = 0; i < n; i++) {
                assert_int_equal(parsed->request.arguments[i].length, strlen(words[i]));
                assert_memory_equal(parsed->request.arguments[i].data, words[i], strlen(words[i]));
        }
}

/* The text is one request of these words, and whatever is less of it is none yet. */
static void expect_words(const char *text, size_t n, const char *const *words)
{
        struct parsed parsed = {0};
        size_t size = strlen(text);
        char *more = malloc(size + 8);

        assert_non_null(more);
        for (size_t part = 0; part < size; part++) {
                parse(&parsed, text, part);
                assert_int_equal(parsed.r, 0);
        }
        parse(&parsed, text, size);
        check_request(&parsed, size, n, words);
        /* What follows is the next one's. */
        memcpy(more, text, size);
        memcpy(more + size, "*1\r\n$9\r\n", 8);
        parse(&parsed, more, size + 8);
        check_request(&parsed, size, n, words);
        free(more);
        free(parsed.data);
}

#define WORDS(...)                                                                                 \
        sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *), (const char *const[])         \
        {                                                                                          \
                __VA_ARGS__                                                                        \
        }

/* The bytes are refused, with a reason in which `text` occurs. */
static void expect_refused_bytes(const void *bytes, size_t size, const char *text)
{
        struct parsed parsed = {0};

        parse(&parsed, bytes, size);
        assert_int_equal(parsed.r, -EPROTO);
        assert_non_null(parsed.reason);
        if (!strstr(parsed.reason, text))
                fail_msg("'%s' does not say '%s'", parsed.reason, text);
        free(parsed.data);
}

static void expect_refused(const char *bytes, const char *text)
{
        expect_refused_bytes(bytes, strlen(bytes), text);
}

static void test_arrays(void **state)
{
        (void)state;
        expect_words("*1\r\n$4\r\nPING\r\n", WORDS("PING"));
        expect_words("*3\r\n$6\r\nINCRBY\r\n$6\r\norders\r\n$2\r\n10\r\n",
                     WORDS("INCRBY", "orders", "10"));
        expect_words("*2\r\n$0\r\n\r\n$2\r\n\r\n\r\n", WORDS("", "\r\n"));
        expect_words("*0\r\n", 0, NULL); /* nothing asked, nothing answered, as Redis has it */
        expect_words("*-1\r\n", 0, NULL);
}

static void test_bytes_are_bytes(void **state)
{
        static const char text[] = "*1\r\n$5\r\na\0\xff\n\r\r\n";
        struct parsed parsed = {0};

        (void)state;
        parse(&parsed, text, sizeof(text) - 1);
        assert_int_equal(parsed.r, 1);
        assert_int_equal(parsed.request.arguments[0].length, 5);
        assert_memory_equal(parsed.request.arguments[0].data, "a\0\xff\n\r", 5);
        free(parsed.data);
}

static void test_bad_arrays(void **state)
{
        (void)state;
        expect_refused("*x\r\n", "invalid length");
        expect_refused("*\r\n", "invalid length");
        expect_refused("*-\r\n", "invalid length");
        expect_refused("*1\n", "invalid length");
        expect_refused("* 1\r\n", "invalid length");
        expect_refused("*+1\r\n", "invalid length");
        expect_refused("*18446744073709551617\r\n", "invalid length");
        expect_refused("*99999999999999999999999999999999999999999", "invalid length");
        expect_refused("*1\r\n:1\r\n", "expected '$'");
        expect_refused("*1\r\n*1\r\n", "expected '$'");
        expect_refused("*1\r\n$-1\r\n", "invalid bulk length");
        expect_refused("*1\r\n$1\r\nabc", "longer than its length");
        expect_refused("*1\r\n$4\r\nPING\n\r", "longer than its length");
}

static void test_inline(void **state)
{
        (void)state;
        expect_words("PING\r\n", WORDS("PING"));
        expect_words("PING\n", WORDS("PING"));
        expect_words("  INCRBY\torders   10  \r\n", WORDS("INCRBY", "orders", "10"));
        expect_words("\r\n", 0, NULL);
        expect_words(" \t \r\n", 0, NULL);
        expect_words("a\rb\r\n", WORDS("a\rb"));
}

static void test_quotes(void **state)
{
        (void)state;
        expect_words("GET \"a b\"\r\n", WORDS("GET", "a b"));
        expect_words("GET 'a b' ''\r\n", WORDS("GET", "a b", ""));
        expect_words("\"\\n\\r\\t\\b\\a\\\\\\\"\\q\"\r\n", WORDS("\n\r\t\b\a\\\"q"));
        expect_words("\"\\x41\\x7a\\xg\"\r\n", WORDS("Azxg"));
        expect_words("'it\\'s' '\\n' '\"'\r\n", WORDS("it's", "\\n", "\""));
        expect_words("\"'\"\r\n", WORDS("'"));
        expect_refused("GET \"a\r\n", "unbalanced quotes");
        expect_refused("GET 'a\r\n", "unbalanced quotes");
        expect_refused("GET \"a\\\"\r\n", "unbalanced quotes");
        expect_refused("GET \"a\"b\r\n", "unbalanced quotes");
}

/* --- limits: the largest that is allowed, and one more ---------------------------- */

static char *repeat(char c, size_t n)
{
        char *text = malloc(n + 1);

        assert_non_null(text);
        memset(text, c, n);
        text[n] = '\0';
        return text;
}

static void test_longest_argument(void **state)
{
        static char text[RESP_BULK_MAX + 64];
        char *argument = repeat('a', RESP_BULK_MAX);

        (void)state;
        (void)snprintf(text, sizeof(text), "*1\r\n$%d\r\n%s\r\n", RESP_BULK_MAX, argument);
        expect_words(text, WORDS(argument));
        /* One more is refused by its length, before a byte of it has come. */
        (void)snprintf(text, sizeof(text), "*1\r\n$%d\r\n", RESP_BULK_MAX + 1);
        expect_refused(text, "at most 4096 bytes");
        expect_refused("*1\r\n$2147483648\r\n", "at most 4096 bytes");
        free(argument);
}

static void test_most_arguments(void **state)
{
        static char array[16 + 16 * (RESP_ARGS_MAX + 1)], line[4 + 2 * (RESP_ARGS_MAX + 1)];
        struct parsed parsed = {0};
        size_t at;

        (void)state;
        at = (size_t)snprintf(array, sizeof(array), "*%d\r\n", RESP_ARGS_MAX);
        for (size_t i = 0; i < RESP_ARGS_MAX; i++) {
                at += (size_t)snprintf(array + at, sizeof(array) - at, "$1\r\na\r\n");
                memcpy(line + 2 * i, "a ", 2);
        }
        parse(&parsed, array, at);
        assert_int_equal(parsed.r, 1);
        assert_int_equal(parsed.request.n, RESP_ARGS_MAX);
        memcpy(line + 2 * RESP_ARGS_MAX, "\r\n", 2);
        parse(&parsed, line, 2 * RESP_ARGS_MAX + 2);
        assert_int_equal(parsed.r, 1);
        assert_int_equal(parsed.request.n, RESP_ARGS_MAX);
        free(parsed.data);

        memcpy(line + 2 * RESP_ARGS_MAX, "a\r\n", 4);
        expect_refused(line, "at most 256 arguments");
        (void)snprintf(array, sizeof(array), "*%d\r\n", RESP_ARGS_MAX + 1);
        expect_refused(array, "at most 256 arguments");
}

static void test_longest_line(void **state)
{
        char *line = repeat('a', RESP_INLINE_MAX + 2);
        struct parsed parsed = {0};

        (void)state;
        parse(&parsed, line, RESP_INLINE_MAX + 1);
        assert_int_equal(parsed.r, 0); /* the end of the line may come yet */
        expect_refused(line, "at most 4096 bytes");
        memcpy(line + RESP_INLINE_MAX, "\r\n", 2);
        parse(&parsed, line, RESP_INLINE_MAX + 2);
        assert_int_equal(parsed.r, 1);
        assert_int_equal(parsed.request.arguments[0].length, RESP_INLINE_MAX);
        free(parsed.data);
        free(line);
}

/* Each argument is within bounds, all of them together are not. */
static void test_largest_request(void **state)
{
        static char text[2 * RESP_REQUEST_MAX];
        char *argument = repeat('a', RESP_BULK_MAX);
        struct parsed parsed = {0};
        size_t at = (size_t)snprintf(text, sizeof(text), "*%d\r\n", RESP_ARGS_MAX);

        (void)state;
        while (at < RESP_REQUEST_MAX)
                at += (size_t)snprintf(text + at, sizeof(text) - at, "$%d\r\n%s\r\n", RESP_BULK_MAX,
                                       argument);
        parse(&parsed, text, RESP_REQUEST_MAX - 1);
        assert_int_equal(parsed.r, 0);
        free(parsed.data);
        expect_refused_bytes(text, RESP_REQUEST_MAX, "at most 65536 bytes");
        free(argument);
}

/* Whatever comes: an answer within the bytes given, and arguments within them. */
static void test_random_bytes(void **state)
{
        static const char letters[] = "*$-0123456789\r\n\r\n\"'\\x a";
        char bytes[96];
        struct parsed parsed = {0};
        size_t outcomes[3] = {0};
        uint64_t word = 88172645463325252U;

        (void)state;
        for (int round = 0; round < 200000; round++) {
                size_t size = 1 + (size_t)(word % sizeof(bytes));

                for (size_t i = 0; i < size; i++) {
                        word ^= word << 13;
                        word ^= word >> 7;
                        word ^= word << 17;
                        bytes[i] = word >> 60 ? letters[(word >> 20) % (sizeof(letters) - 1)]
                                              : (char)(word >> 33);
                }
                if (round % 2)
                        bytes[0] = '*';
                parse(&parsed, bytes, size);
                assert_in_range(parsed.r + EPROTO, 0, EPROTO + 1);
                outcomes[parsed.r < 0 ? 2 : parsed.r]++;
                if (parsed.r < 0)
                        assert_non_null(parsed.reason);
                if (parsed.r <= 0)
                        continue;
                assert_in_range(parsed.used, 1, size);
                assert_in_range(parsed.request.n, 0, RESP_ARGS_MAX);
                for (size_t i = 0; i < parsed.request.n; i++) {
                        const struct resp_argument *a = &parsed.request.arguments[i];

                        assert_true(a->data >= parsed.data);
                        assert_true(a->data + a->length <= parsed.data + parsed.used);
                }
        }
        for (size_t i = 0; i < 3; i++)
                assert_true(outcomes[i] > 1000);
        free(parsed.data);
}

/* --- answers ------------------------------------------------------------------------- */

static void expect_written(struct resp_writer *writer, const char *text)
{
        assert_false(writer->failed);
        assert_int_equal(writer->size, strlen(text));
        assert_memory_equal(writer->data, text, strlen(text));
        resp_writer_clear(writer);
}

static void test_answers(void **state)
{
        struct resp_writer writer = {.protocol = 2};

        (void)state;
        resp_simple(&writer, "OK");
        resp_integer(&writer, INT64_MIN);
        resp_integer(&writer, INT64_MAX);
        resp_bulk(&writer, "a\0b", 3);
        assert_int_equal(writer.size, 5 + 23 + 22 + 9);
        assert_memory_equal(writer.data + 50, "$3\r\na\0b\r\n", 9);
        resp_writer_clear(&writer);
        resp_text(&writer, "");
        resp_array(&writer, 2);
        resp_integer(&writer, -1);
        resp_integer(&writer, 0);
        expect_written(&writer, "$0\r\n\r\n*2\r\n:-1\r\n:0\r\n");
}

static void test_versions(void **state)
{
        struct resp_writer writer = {.protocol = 2};

        (void)state;
        resp_null(&writer);
        resp_map(&writer, 3);
        expect_written(&writer, "$-1\r\n*6\r\n");
        writer.protocol = 3;
        resp_null(&writer);
        resp_map(&writer, 3);
        expect_written(&writer, "_\r\n%3\r\n");
}

/* Whatever an error quotes, it is one line: it cannot be taken for another answer. */
static void test_errors_are_one_line(void **state)
{
        struct resp_writer writer = {.protocol = 2};
        char *longest = repeat('x', 5000);

        (void)state;
        resp_error(&writer, "ERR", "no '%s'", "a\r\n+OK\r\n");
        expect_written(&writer, "-ERR no 'a  +OK  '\r\n");
        resp_error(&writer, "ERR", "%s", longest);
        assert_in_range(writer.size, 100, 1100);
        assert_memory_equal(writer.data + writer.size - 2, "\r\n", 2);
        resp_writer_clear(&writer);
        free(longest);
}

static void test_sent_in_parts(void **state)
{
        struct resp_writer writer = {.protocol = 2};
        char expected[32], *at;
        size_t n;

        (void)state;
        for (int64_t i = 0; i < 2000; i++)
                resp_integer(&writer, i);
        for (int64_t i = 0; i < 2000; i++) {
                n = (size_t)snprintf(expected, sizeof(expected), ":%d\r\n", (int)i);
                at = writer.data;
                assert_true(writer.size >= n);
                assert_memory_equal(at, expected, n);
                resp_writer_consume(&writer, n - 1);
                resp_writer_consume(&writer, 1);
        }
        assert_int_equal(writer.size, 0);
        resp_writer_clear(&writer);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_arrays),
                cmocka_unit_test(test_bytes_are_bytes),
                cmocka_unit_test(test_bad_arrays),
                cmocka_unit_test(test_inline),
                cmocka_unit_test(test_quotes),
                cmocka_unit_test(test_longest_argument),
                cmocka_unit_test(test_most_arguments),
                cmocka_unit_test(test_longest_line),
                cmocka_unit_test(test_largest_request),
                cmocka_unit_test(test_random_bytes),
                cmocka_unit_test(test_answers),
                cmocka_unit_test(test_versions),
                cmocka_unit_test(test_errors_are_one_line),
                cmocka_unit_test(test_sent_in_parts),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
