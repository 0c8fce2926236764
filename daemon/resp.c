/* SPDX-License-Identifier: MIT */

/* RESP: requests out of bytes, answers into bytes; see resp.h. */

#include "resp.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STRING_OF(x) #x
#define STRING(x)    STRING_OF(x)

/* "*" or "$", a sign, the digits of a 64-bit number: no length line is longer. */
#define LENGTH_LINE_MAX 24

struct input {
        char *data;
        size_t size, at;
        const char *reason;
};

static int wrong(struct input *in, const char *reason)
{
        in->reason = reason;
        return -EPROTO;
}

/* --- arrays of bulk strings ----------------------------------------------- */

/*
 * A line "<digits>CRLF" at in->at. 1: its number in *ret, and in->at is behind it;
 * 0: not whole yet.
 */
static int length_line(struct input *in, int64_t *ret)
{
        size_t left = in->size - in->at;
        const char *line = in->data + in->at;
        const char *end = memchr(line, '\n', left < LENGTH_LINE_MAX ? left : LENGTH_LINE_MAX);
        bool negative = *line == '-';
        const char *c = line + negative;
        int64_t value = 0;

        if (!end)
                return left < LENGTH_LINE_MAX ? 0 : wrong(in, "invalid length");
        if (end - c < 2 || end[-1] != '\r')
                return wrong(in, "invalid length");
        for (; c < end - 1; c++) {
                if (*c < '0' || *c > '9' || value > INT32_MAX)
                        return wrong(in, "invalid length");
                value = value * 10 + (*c - '0');
        }
        in->at += (size_t)(end - line) + 1;
        *ret = negative ? -value : value;
        return 1;
}

/* "$<length>CRLF<bytes>CRLF". */
static int bulk(struct input *in, struct resp_argument *ret)
{
        int64_t length;
        int r;

        if (in->at == in->size)
                return 0;
        if (in->data[in->at] != '$')
                return wrong(in, "expected '$'");
        in->at++;
        if (in->at == in->size)
                return 0;
        r = length_line(in, &length);
        if (r <= 0)
                return r;
        if (length < 0)
                return wrong(in, "invalid bulk length");
        if (length > RESP_BULK_MAX)
                return wrong(in, "an argument may have at most " STRING(RESP_BULK_MAX) " bytes");
        if (in->size - in->at < (size_t)length + 2)
                return 0;
        *ret = (struct resp_argument){.data = in->data + in->at, .length = (size_t)length};
        in->at += (size_t)length + 2;
        if (memcmp(in->data + in->at - 2, "\r\n", 2) != 0)
                return wrong(in, "an argument is longer than its length says");
        return 1;
}

static int array(struct input *in, struct resp_request *ret)
{
        int64_t n;
        int r;

        in->at++;
        if (in->at == in->size)
                return 0;
        r = length_line(in, &n);
        if (r <= 0)
                return r;
        if (n > RESP_ARGS_MAX)
                return wrong(in, "a request may have at most " STRING(RESP_ARGS_MAX) " arguments");
        ret->n = 0;
        for (int64_t i = 0; i < n && r > 0; i++) {
                r = bulk(in, &ret->arguments[i]);
                ret->n++;
        }
        return r;
}

/* --- inline commands ---------------------------------------------------------- */

static bool blank(char c)
{
        return c == ' ' || c == '\t';
}

static int hex_digit(char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        if (c >= 'a' && c <= 'f')
                return c - 'a' + 10;
        if (c >= 'A' && c <= 'F')
                return c - 'A' + 10;
        return -1;
}

static char escaped(char c)
{
        static const char letters[] = "nrtba", values[] = "\n\r\t\b\a";
        const char *found = c ? strchr(letters, c) : NULL;

        return found ? values[found - letters] : c;
}

/* What follows a backslash in "..."; returns how many bytes of it were used. */
static size_t unescape(const char *c, const char *end, char *ret)
{
        if (end - c >= 3 && *c == 'x' && hex_digit(c[1]) >= 0 && hex_digit(c[2]) >= 0) {
                *ret = (char)(hex_digit(c[1]) * 16 + hex_digit(c[2]));
                return 3;
        }
        *ret = escaped(*c);
        return 1;
}

/*
 * One word from *from on, unquoted to *to, which is never ahead of it. False when
 * a quote is not closed, or is closed within a word.
 */
static bool word(char **from, const char *end, char **to)
{
        char quote = 0, *in = *from, *out = *to;

        for (; in < end && (quote || !blank(*in)); in++) {
                if (!quote && (*in == '"' || *in == '\'')) {
                        quote = *in;
                } else if (quote && *in == quote) {
                        if (in + 1 < end && !blank(in[1]))
                                return false;
                        quote = 0;
                } else if (quote == '"' && *in == '\\' && in + 1 < end) {
                        in += unescape(in + 1, end, out++);
                } else if (quote == '\'' && *in == '\\' && in + 1 < end && in[1] == '\'') {
                        *out++ = *++in;
                } else {
                        *out++ = *in;
                }
        }
        *from = in;
        *to = out;
        return !quote;
}

static int words(struct input *in, char *line, const char *end, struct resp_request *ret)
{
        char *to = line, *start;

        ret->n = 0;
        for (;;) {
                while (line < end && blank(*line))
                        line++;
                if (line == end)
                        return 1;
                if (ret->n == RESP_ARGS_MAX)
                        return wrong(in, "a request may have at most " STRING(
                                                 RESP_ARGS_MAX) " arguments");
                start = to;
                if (!word(&line, end, &to))
                        return wrong(in, "unbalanced quotes in request");
                ret->arguments[ret->n++] = (struct resp_argument){
                        .data = start,
                        .length = (size_t)(to - start),
                };
        }
}

static int inline_command(struct input *in, struct resp_request *ret)
{
        size_t left = in->size < RESP_INLINE_MAX + 2 ? in->size : RESP_INLINE_MAX + 2;
        char *end = memchr(in->data, '\n', left);
        size_t length;

        if (!end)
                return left < RESP_INLINE_MAX + 2
                               ? 0
                               : wrong(in,
                                       "a line may have at most " STRING(RESP_INLINE_MAX) " bytes");
        in->at = (size_t)(end - in->data) + 1;
        length = in->at - 1;
        if (length > 0 && in->data[length - 1] == '\r')
                length--;
        return words(in, in->data, in->data + length, ret);
}

int resp_parse(char *data, size_t size, struct resp_request *ret, size_t *used, const char **reason)
{
        struct input in = {.data = data, .size = size};
        int r;

        if (size == 0)
                return 0;
        r = data[0] == '*' ? array(&in, ret) : inline_command(&in, ret);
        if (r == 0 && size >= RESP_REQUEST_MAX)
                r = wrong(&in, "a request may have at most " STRING(RESP_REQUEST_MAX) " bytes");
        if (r > 0)
                *used = in.at;
        if (r < 0)
                *reason = in.reason;
        return r;
}

/* --- answers ---------------------------------------------------------------------- */

void resp_writer_clear(struct resp_writer *writer)
{
        free(writer->data);
        writer->data = NULL;
        writer->size = writer->room = 0;
        writer->failed = false;
}

void resp_writer_consume(struct resp_writer *writer, size_t n)
{
        writer->size -= n;
        if (writer->size > 0)
                memmove(writer->data, writer->data + n, writer->size);
}

static bool make_room(struct resp_writer *writer, size_t n)
{
        size_t room = writer->room ? writer->room : 256;
        char *data;

        while (room - writer->size < n)
                room *= 2;
        if (room == writer->room)
                return true;
        data = realloc(writer->data, room);
        if (!data) {
                writer->failed = true;
                return false;
        }
        writer->data = data;
        writer->room = room;
        return true;
}

static void put(struct resp_writer *writer, const char *data, size_t n)
{
        if (writer->failed || !make_room(writer, n))
                return;
        memcpy(writer->data + writer->size, data, n);
        writer->size += n;
}

/* "<type><number>CRLF" */
static void put_number(struct resp_writer *writer, char type, int64_t value)
{
        char text[32], *end = text + sizeof(text), *at = end;
        uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;

        *--at = '\n';
        *--at = '\r';
        do
                *--at = (char)('0' + rest % 10);
        while ((rest /= 10) > 0);
        if (value < 0)
                *--at = '-';
        *--at = type;
        put(writer, at, (size_t)(end - at));
}

void resp_simple(struct resp_writer *writer, const char *text)
{
        put(writer, "+", 1);
        put(writer, text, strlen(text));
        put(writer, "\r\n", 2);
}

void resp_error(struct resp_writer *writer, const char *code, const char *format, ...)
{
        char text[1024];
        va_list args;

        va_start(args, format);
        (void)vsnprintf(text, sizeof(text), format, args);
        va_end(args);
        /* An error is one line, whatever it quotes. */
        for (char *c = text; *c; c++)
                if (*c == '\r' || *c == '\n')
                        *c = ' ';
        put(writer, "-", 1);
        put(writer, code, strlen(code));
        put(writer, " ", 1);
        put(writer, text, strlen(text));
        put(writer, "\r\n", 2);
}

void resp_integer(struct resp_writer *writer, int64_t value)
{
        put_number(writer, ':', value);
}

void resp_bulk(struct resp_writer *writer, const char *data, size_t length)
{
        put_number(writer, '$', (int64_t)length);
        put(writer, data, length);
        put(writer, "\r\n", 2);
}

void resp_text(struct resp_writer *writer, const char *text)
{
        resp_bulk(writer, text, strlen(text));
}

void resp_null(struct resp_writer *writer)
{
        if (writer->protocol == 3)
                put(writer, "_\r\n", 3);
        else
                put(writer, "$-1\r\n", 5);
}

void resp_array(struct resp_writer *writer, size_t n)
{
        put_number(writer, '*', (int64_t)n);
}

void resp_map(struct resp_writer *writer, size_t n)
{
        if (writer->protocol == 3)
                put_number(writer, '%', (int64_t)n);
        else
                put_number(writer, '*', (int64_t)(2 * n));
}
