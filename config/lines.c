/* SPDX-License-Identifier: MIT */

/* Reading and splitting the lines of an ini file; see lines.h. */

#include "lines.h"

#include <errno.h>
#include <ini.h>
#include <string.h>

#define STRINGIFY_(x) #x
#define STRINGIFY(x)  STRINGIFY_(x)

static const char blanks[] = " \t";
static const char byte_order_mark[] = "\xef\xbb\xbf";

static void refuse_line(struct line *line, const char *fault)
{
        line->kind = LINE_FAULTY;
        line->fault = fault;
}

/* --- one line of the file ---------------------------------------------- */

/* What a terminal might obey, or C take for the end of a string. */
static bool has_control(const char *text, size_t length)
{
        for (size_t i = 0; i < length; i++)
                if (((unsigned char)text[i] < ' ' && text[i] != '\t') || text[i] == 0x7f)
                        return true;
        return false;
}

static int read_error(void)
{
        return errno > 0 ? -errno : -EIO;
}

/*
 * The bytes up to the next newline or the end of the file, without the
 * carriage return before it. Of a line that is too long, the beginning is
 * kept, to tell what it was meant to be.
 */
static int fill_text(struct line *line, FILE *file)
{
        size_t length = 0, kept;
        int c = getc_unlocked(file);

        if (c == EOF)
                return ferror(file) ? read_error() : 0;
        for (; c != EOF && c != '\n'; c = getc_unlocked(file)) {
                if (length < sizeof(line->text))
                        line->text[length] = (char)c;
                length++;
        }
        if (ferror(file))
                return read_error();
        if (length > 0 && length <= sizeof(line->text) && line->text[length - 1] == '\r')
                length--;
        kept = length <= LINE_LENGTH_MAX ? length : LINE_LENGTH_MAX;
        line->text[kept] = '\0';
        if (length > LINE_LENGTH_MAX)
                refuse_line(line, "the line is longer than " STRINGIFY(
                                          LINE_LENGTH_MAX) " bytes; shorten it");
        else if (has_control(line->text, length))
                refuse_line(line, "the line has a control character; an ini file is plain text");
        return 1;
}

/* --- [section] --------------------------------------------------------- */

/* `text` from a bracket on. A comment may follow the closing one. */
static void split_section(struct line *line, const char *text)
{
        const char *end = strchr(text, ']');
        const char *rest;
        char *name = line->split;
        size_t length;

        if (!end) {
                refuse_line(line, "the section has no closing bracket; use [NAME]");
                return;
        }
        rest = end + 1 + strspn(end + 1, blanks);
        if (*rest != '\0' && *rest != ';') {
                refuse_line(line, "there is more behind the section's closing bracket; "
                                  "put it on a line of its own, or behind a ';'");
                return;
        }
        text += 1 + strspn(text + 1, blanks);
        length = text < end ? (size_t)(end - text) : 0;
        while (length > 0 && strchr(blanks, text[length - 1]))
                length--;
        memcpy(name, text, length);
        name[length] = '\0';
        line->name = name;
        line->kind = LINE_SECTION;
}

/* --- KEY = VALUE ------------------------------------------------------- */

struct feed {
        struct line *line;
        const char *text; /* NULL when inih has it */
};

/* inih's reader: one line, and only if it fits whole into what inih offers. */
static char *feed_line(char *buffer, int size, void *stream)
{
        struct feed *feed = stream;
        size_t length;

        if (!feed->text)
                return NULL;
        length = strlen(feed->text);
        if (size < 0 || length >= (size_t)size) {
                refuse_line(feed->line,
                            "the line is longer than the ini library takes; shorten it");
                return NULL;
        }
        memcpy(buffer, feed->text, length + 1);
        feed->text = NULL;
        return buffer;
}

/* inih's handler: the strings live only until it returns. */
static int take_key(void *user, const char *section, const char *name, const char *value)
{
        struct line *line = ((struct feed *)user)->line;
        size_t length = strlen(name) + 1;

        (void)section;
        memcpy(line->split, name, length);
        memcpy(line->split + length, value, strlen(value) + 1);
        line->name = line->split;
        line->value = line->split + length;
        line->kind = LINE_KEY;
        return 1;
}

/* A '#' in the middle of a value may be meant; one behind a blank is not. */
static bool has_hash_comment(const char *value)
{
        return value[0] == '#' || strstr(value, " #") || strstr(value, "\t#");
}

static void split_key(struct line *line, const char *text)
{
        static const char not_key_value[] = "the line is neither a section nor a key; "
                                            "use [SECTION], KEY = VALUE, or a comment";
        struct feed feed = {.line = line, .text = text};
        int r = ini_parse_stream(feed_line, &feed, take_key, &feed);

        if (line->kind == LINE_FAULTY)
                return;
        /* inih takes "KEY: VALUE", too; one way to write a key is enough. */
        if (r != 0 || line->kind != LINE_KEY || *strpbrk(text, "=:") != '=')
                refuse_line(line, not_key_value);
        else if (line->name[0] == '\0')
                refuse_line(line, "there is no key before the '='; use KEY = VALUE");
        else if (has_hash_comment(line->value))
                refuse_line(line, "the value goes on with a '#'; a comment behind a value "
                                  "begins with ';'");
}

int line_read(struct line *line, FILE *file)
{
        const char *text = line->text;
        int r;

        /* Debian's inih has its limits in variables, set for 200 bytes. */
        ini_max_line = LINE_LENGTH_MAX + 3;
        ini_allow_bom = false;

        line->kind = LINE_BLANK;
        line->fault = line->name = line->value = NULL;
        line->number++;
        r = fill_text(line, file);
        if (r <= 0)
                return r;
        if (line->number == 1 && strncmp(text, byte_order_mark, strlen(byte_order_mark)) == 0)
                text += strlen(byte_order_mark);
        text += strspn(text, blanks);
        line->like_section = *text == '[';
        if (line->kind == LINE_FAULTY || *text == '\0' || *text == ';' || *text == '#')
                return 1;
        if (line->like_section)
                split_section(line, text);
        else
                split_key(line, text);
        return 1;
}
