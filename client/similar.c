/* SPDX-License-Identifier: MIT */

/* What a misspelt word may have been meant for; see similar.h. */

#include "similar.h"

#define SLIPS_MAX 2

static size_t least(size_t a, size_t b)
{
        return a < b ? a : b;
}

/*
 * Levenshtein's distance, row by row; as soon as it is sure to exceed `most`,
 * something larger than `most`.
 */
static size_t edit_distance(const char *a, size_t a_length, const char *b, size_t b_length,
                            size_t most)
{
        size_t row[SIMILAR_LENGTH_MAX + 1], corner, best;

        for (size_t j = 0; j <= b_length; j++)
                row[j] = j;
        for (size_t i = 1; i <= a_length; i++) {
                corner = row[0];
                row[0] = best = i;
                for (size_t j = 1; j <= b_length; j++) {
                        size_t replaced = corner + (a[i - 1] != b[j - 1]);

                        corner = row[j];
                        row[j] = least(replaced, least(row[j], row[j - 1]) + 1);
                        best = least(best, row[j]);
                }
                if (best > most)
                        return best;
        }
        return row[b_length];
}

struct similar similar_to(const char *word, size_t length)
{
        return (struct similar){.word = word, .length = length, .distance = SLIPS_MAX + 1};
}

void similar_try(struct similar *similar, const char *candidate, size_t length)
{
        size_t shorter = least(length, similar->length);
        size_t longer = length + similar->length - shorter;
        size_t distance;

        if (longer > SIMILAR_LENGTH_MAX || longer - shorter >= similar->distance)
                return;
        distance = edit_distance(similar->word, similar->length, candidate, length,
                                 similar->distance - 1);
        if (distance >= similar->distance || distance >= shorter)
                return;
        similar->distance = distance;
        similar->found = candidate;
        similar->found_length = length;
}
