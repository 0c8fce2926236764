/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * An ini file as a series of lines, each whole or refused.
 *
 * inih is given the KEY = VALUE lines, one at a time. It is not given the
 * rest, because of what it does in silence: it cuts section names at 50 bytes
 * (ours have up to 264), breaks lines longer than its buffer in two, keeps
 * only the first error, does not report sections without keys, and does not
 * tell its handler the number of the line.
 *
 * What sections and keys mean is not known here, see config.c.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* The longest line, without its end. */
#define LINE_LENGTH_MAX 4095

enum line_kind {
        LINE_BLANK,   /* nothing, or a comment */
        LINE_SECTION, /* `name` is what is between the brackets */
        LINE_KEY,     /* `name` and `value`, without blanks around and comments behind */
        LINE_FAULTY,  /* `fault` says why, and what would be right */
};

struct line {
        enum line_kind kind;
        unsigned number;   /* counted from 1 */
        bool like_section; /* begins as a section does, even if faulty */
        const char *fault;
        const char *name, *value;       /* in `split`, until the next line is read */
        char text[LINE_LENGTH_MAX + 1]; /* the line; a carriage return may have been last */
        char split[LINE_LENGTH_MAX + 2];
};

/*
 * Read the next line into *line, which is all zero before the first. 1 when
 * there was one, 0 at the end of the file, negative errno on failure.
 */
int line_read(struct line *line, FILE *file);
