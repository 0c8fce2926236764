/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What a misspelt word may have been meant for: "did you mean".
 *
 * Candidates are tried one after the other, from a table or a directory; the
 * closest is kept. A word is close that is at most two slips of the finger away
 * (letters inserted, left out or replaced), and not all of it by slips. Pure.
 */

#include <stddef.h>

/* Words longer than this are like no other. */
#define SIMILAR_LENGTH_MAX 255

struct similar {
        const char *word;
        size_t length;
        size_t distance;   /* of the closest so far */
        const char *found; /* NULL: none is close; the candidate, not a copy */
        size_t found_length;
};

struct similar similar_to(const char *word, size_t length);

/* Neither needs to be NUL-terminated. Of two equally close the first stays. */
void similar_try(struct similar *similar, const char *candidate, size_t length);
