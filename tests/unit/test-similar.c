/* SPDX-License-Identifier: MIT */

/* What a misspelt word may have been meant for, and what is like nothing. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "similar.h"

static const char *const words[] = {"start", "min", "max", "a", "restart", "orders/2026"};

/* What `word` is taken for among the words, NULL for nothing. */
static const char *meant(const char *word)
{
        struct similar similar = similar_to(word, strlen(word));

        for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
                similar_try(&similar, words[i], strlen(words[i]));
        if (similar.found)
                assert_int_equal(similar.found_length, strlen(similar.found));
        return similar.found;
}

static void a_slip_or_two_are_forgiven(void **state)
{
        static const char *const cases[][2] = {
                {"start", "start"},
                {"strat", "start"},
                {"stat", "start"},
                {"starts", "start"},
                {"mx", "max"},
                {"mni", "min"},
                {"restat", "restart"},
                {"restrat", "restart"},
                {"orders-2026", "orders/2026"},
                {"order/226", "orders/2026"},
        };

        (void)state;
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
                assert_string_equal(meant(cases[i][0]), cases[i][1]);
}

static void what_is_all_slips_is_like_nothing(void **state)
{
        static const char *const cases[] = {"", "b", "xy", "xyzzy", "orders", "begin"};

        (void)state;
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
                assert_null(meant(cases[i]));
}

static void the_closest_wins_and_the_first_of_equals(void **state)
{
        struct similar similar = similar_to("card", 4);

        (void)state;
        similar_try(&similar, "cordon", 4); /* its first four letters alone */
        assert_string_equal(similar.found, "cordon");
        similar_try(&similar, "care", 4);
        assert_string_equal(similar.found, "cordon");
        similar_try(&similar, "card", 4);
        assert_string_equal(similar.found, "card");
        assert_int_equal(similar.distance, 0);
}

/* Nothing beyond the given lengths is read: the buffers end there. */
static void long_words_stay_within_bounds(void **state)
{
        const size_t length = SIMILAR_LENGTH_MAX;
        char *word = malloc(length + 1), *other = malloc(length + 1);
        struct similar similar;

        (void)state;
        assert_non_null(word);
        assert_non_null(other);
        memset(word, 'x', length + 1);
        memset(other, 'x', length + 1);
        other[length / 2] = 'y';
        similar = similar_to(word, length);
        similar_try(&similar, other, length);
        assert_ptr_equal(similar.found, other);
        assert_int_equal(similar.distance, 1);
        similar = similar_to(word, length + 1);
        similar_try(&similar, other, length);
        assert_null(similar.found);
        free(word);
        free(other);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_slip_or_two_are_forgiven),
                cmocka_unit_test(what_is_all_slips_is_like_nothing),
                cmocka_unit_test(the_closest_wins_and_the_first_of_equals),
                cmocka_unit_test(long_words_stay_within_bounds),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
