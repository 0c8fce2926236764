/* SPDX-License-Identifier: MIT */

/*
 * Numbers as text: a printf-like format with exactly one %d, and a run of
 * numbers printed by it, fast. Not printf(3) itself: a format from the command
 * line is data, and a million lines should take the time of writing them.
 */

#include <errno.h>
#include <inttypes.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

/* Written at a time. */
#define CHUNK_SIZE 65536

/* Digits of INT64_MIN with a separator of up to 4 bytes after each; and a sign. */
#define DIGITS_MAX 128

/* --- reading a format ---------------------------------------------------- */

/* A format on its way. */
struct format_reader {
        const char *format, *at;
        struct number_format *number;
        char *text; /* literal text goes here: the prefix, then the suffix */
        size_t *length;
        bool converted; /* the %d was seen */
};

static void literal(struct format_reader *reader, char c)
{
        reader->text[(*reader->length)++] = c;
}

static bool read_flag(struct number_format *number, char c)
{
        switch (c) {
        case '0':
                return number->zero = true;
        case '-':
                return number->minus = true;
        case '+':
                return number->plus = true;
        case ' ':
                return number->space = true;
        case '\'':
                return number->grouped = true;
        default:
                return false;
        }
}

/* After the '%'. NULL, or what is wrong at reader->at. */
static const char *read_conversion(struct format_reader *reader)
{
        struct number_format *number = reader->number;

        if (*reader->at == '%') {
                literal(reader, *reader->at++);
                return NULL;
        }
        if (reader->converted)
                return "there is one %d already; for a percent sign write %%";
        while (read_flag(number, *reader->at))
                reader->at++;
        for (; *reader->at >= '0' && *reader->at <= '9'; reader->at++) {
                number->width = number->width * 10 + (unsigned)(*reader->at - '0');
                if (number->width > NUMBER_WIDTH_MAX)
                        return "the width must be at most 255";
        }
        if (*reader->at != 'd')
                return "here must be d, after flags of 0 - + space ' and a width; "
                       "for a percent sign write %%";
        reader->at++;
        reader->converted = true;
        reader->text = number->suffix;
        reader->length = &number->suffix_length;
        return NULL;
}

/* After the '\'. */
static const char *read_escape(struct format_reader *reader)
{
        switch (*reader->at) {
        case 'n':
                literal(reader, '\n');
                break;
        case 't':
                literal(reader, '\t');
                break;
        case '\\':
                literal(reader, '\\');
                break;
        default:
                return "here must be n, t or a second backslash";
        }
        reader->at++;
        return NULL;
}

static const char *read_format(struct format_reader *reader)
{
        const char *reason = NULL;

        while (*reader->at && !reason) {
                char c = *reader->at++;

                if (c == '%')
                        reason = read_conversion(reader);
                else if (c == '\\')
                        reason = read_escape(reader);
                else
                        literal(reader, c);
        }
        if (!reason && !reader->converted)
                reason = "there is no %d for the number";
        return reason;
}

int number_format_parse(struct number_format *ret, const char *format, size_t *ret_column,
                        const char **ret_reason)
{
        struct number_format number = {0};
        struct format_reader reader = {.number = &number, .length = &number.prefix_length};
        const char *reason;

        reader.format = reader.at = format ? format : "%d";
        number.prefix = malloc(strlen(reader.format) + 2);
        number.suffix = malloc(strlen(reader.format) + 2);
        reader.text = number.prefix;
        reason = number.prefix && number.suffix ? read_format(&reader) : NULL;
        if (reason || !number.prefix || !number.suffix) {
                number_format_free(&number);
                *ret_column = (size_t)(reader.at - reader.format) + 1;
                *ret_reason = reason;
                return reason ? -EINVAL : -ENOMEM;
        }
        if (number.suffix_length == 0 || number.suffix[number.suffix_length - 1] != '\n')
                number.suffix[number.suffix_length++] = '\n';
        *ret = number;
        return 0;
}

void number_format_free(struct number_format *format)
{
        free(format->prefix);
        free(format->suffix);
        *format = (struct number_format){0};
}

/* --- printing ------------------------------------------------------------ */

/* The digits of `value`, ending at `end`; where they begin. */
static char *put_digits(char *end, uint64_t value)
{
        static const char pairs[] = "0001020304050607080910111213141516171819"
                                    "2021222324252627282930313233343536373839"
                                    "4041424344454647484950515253545556575859"
                                    "6061626364656667686970717273747576777879"
                                    "8081828384858687888990919293949596979899";

        while (value >= 100) {
                end -= 2;
                memcpy(end, pairs + 2 * (value % 100), 2);
                value /= 100;
        }
        if (value >= 10) {
                end -= 2;
                memcpy(end, pairs + 2 * value, 2);
        } else {
                *--end = (char)('0' + value);
        }
        return end;
}

static char *put(char *at, const void *text, size_t length)
{
        memcpy(at, text, length);
        return at + length;
}

static char *fill(char *at, char c, size_t length)
{
        memset(at, c, length);
        return at + length;
}

/* One number by `format`; where it ends. The caller made room. */
static char *put_number(char *at, const struct number_format *format, int64_t value)
{
        uint64_t magnitude = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
        char buffer[DIGITS_MAX], *digits, sign;
        size_t n_digits, n_sign, n_padding;

        if (format->grouped) {
                digits = buffer;
                n_digits = (size_t)snprintf(buffer, sizeof(buffer), "%'" PRIu64, magnitude);
        } else {
                digits = put_digits(buffer + sizeof(buffer), magnitude);
                n_digits = (size_t)(buffer + sizeof(buffer) - digits);
        }
        sign = value < 0 ? '-' : format->plus ? '+' : format->space ? ' ' : '\0';
        n_sign = sign != '\0';
        n_padding = format->width > n_digits + n_sign ? format->width - n_digits - n_sign : 0;

        at = put(at, format->prefix, format->prefix_length);
        if (!format->minus && !format->zero)
                at = fill(at, ' ', n_padding);
        at = put(at, &sign, n_sign);
        if (!format->minus && format->zero)
                at = fill(at, '0', n_padding);
        at = put(at, digits, n_digits);
        if (format->minus)
                at = fill(at, ' ', n_padding);
        return put(at, format->suffix, format->suffix_length);
}

int number_run_print(const struct number_format *format, const struct seqnum_run *run)
{
        size_t longest =
                format->prefix_length + format->suffix_length + DIGITS_MAX + NUMBER_WIDTH_MAX;
        char *chunk = malloc(CHUNK_SIZE + longest), *at = chunk;
        int r = chunk ? 0 : -ENOMEM;

        if (format->grouped)
                (void)setlocale(LC_NUMERIC, "");
        for (uint32_t i = 0; r == 0 && i < run->count; i++) {
                /* Unsigned: the product may wrap where the sum does not. */
                uint64_t value = (uint64_t)run->first + (uint64_t)run->increment * i;

                at = put_number(at, format, (int64_t)value);
                if (at - chunk < CHUNK_SIZE && i + 1 < run->count)
                        continue;
                if (fwrite(chunk, 1, (size_t)(at - chunk), stdout) != (size_t)(at - chunk))
                        r = -errno;
                at = chunk;
        }
        if (r == 0 && fflush(stdout) != 0)
                r = -errno;
        free(chunk);
        return r;
}
