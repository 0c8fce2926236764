/* SPDX-License-Identifier: MIT */

/*
 * Adoption: what a new daemon makes of what an old one left, case by case: for
 * a death after each step of each move, for cells that were scribbled upon, and
 * for a store that was restored from a backup.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "adopt.h"

#define ID         7
#define GENERATION 3
#define LIMIT      1000000
#define F          CELL_FROZEN
#define FAR        (WINDOW_OVERSHOOT_MAX + 1)

struct expected {
        enum adopt_action action;
        uint64_t position;
        bool store_behind, remark;
};

struct adopt_case {
        const char *what;
        uint64_t lo, hi; /* the store's */
        bool exact;
        uint64_t floor, ceiling, frozen, next; /* the window's */
        uint32_t state;
        struct expected expected;
};

static struct adopt_plan decide(const struct adopt_case *c, enum sequence_kind kind)
{
        const struct sequence_params params = {
                .kind = kind, .start = 1, .increment = 1, .min = 1, .max = LIMIT};
        const struct sequence sequence = {
                .id = ID,
                .generation = GENERATION,
                .params = params,
                .map = sequence_map_make(&params, 1),
                .lo = c->lo,
                .hi = c->hi,
                .exact = c->exact,
        };
        const struct adopt_view view = {
                .id = ID,
                .generation = GENERATION,
                .floor = c->floor,
                .ceiling = c->ceiling,
                .frozen = c->frozen,
                .next = c->next,
                .state = c->state,
        };

        return adopt_decide(&sequence, &view);
}

static void check(const struct adopt_case *c, enum sequence_kind kind)
{
        struct adopt_plan plan = decide(c, kind);

        if (plan.action != c->expected.action || plan.position != c->expected.position ||
            plan.store_behind != c->expected.store_behind ||
            (plan.remark != NULL) != c->expected.remark)
                fail_msg("%s: action %d at %llu%s, remark: %s", c->what, (int)plan.action,
                         (unsigned long long)plan.position, plan.store_behind ? ", behind" : "",
                         plan.remark ? plan.remark : "none");
        if (plan.action != ADOPT_FRESH) {
                /* A jump that was never published takes effect first where it is closed. */
                bool jumps = plan.action == ADOPT_FROZEN && !c->exact && c->lo > c->ceiling;

                assert_true(plan.floor == (jumps ? c->lo : c->floor));
                assert_true(plan.ceiling == c->ceiling);
        }
        /* Wherever it goes on: never below what is durable and was not closed exactly. */
        if (plan.action == ADOPT_FRESH)
                assert_true(plan.position >= c->hi);
}

static void check_all(const struct adopt_case *cases, size_t n, enum sequence_kind kind)
{
        for (size_t i = 0; i < n; i++)
                check(&cases[i], kind);
}

#define CHECK_KIND(cases, kind) check_all(cases, sizeof(cases) / sizeof((cases)[0]), kind)
#define CHECK(cases)            CHECK_KIND(cases, SEQUENCE_COUNTER)

#define OPEN   WINDOW_OPEN
#define FROZEN WINDOW_FROZEN

/* --- gapless -------------------------------------------------------------- */

static void test_gapless(void **state)
{
        static const struct adopt_case cases[] = {
                {"nothing committed", 0, 0, true, 0, 0, 0, 0, OPEN, {ADOPT_KEEP, 0, 0, 0}},
                {"committed", 4, 4, true, 0, 4, 0, 7, OPEN, {ADOPT_KEEP, 7, 0, 0}},
                {"saved", 7, 7, true, 0, 4, 0, 7, OPEN, {ADOPT_KEEP, 7, 0, 0}},
                {"saved, then more", 7, 7, true, 0, 4, 0, 9, OPEN, {ADOPT_KEEP, 9, 0, 0}},
                {"published", 7, 7, true, 0, 7, 0, 7, OPEN, {ADOPT_KEEP, 7, 0, 0}},
                {"the freeze's bit alone",
                 4,
                 4,
                 true,
                 0,
                 4,
                 0,
                 CELL_FROZEN + 7,
                 OPEN,
                 {ADOPT_FROZEN, 7, 0, 0}},
                {"frozen", 4, 4, true, 0, 4, 7, CELL_FROZEN + 7, FROZEN, {ADOPT_FROZEN, 7, 0, 0}},
                {"frozen and saved",
                 7,
                 7,
                 true,
                 0,
                 7,
                 7,
                 CELL_FROZEN + 7,
                 FROZEN,
                 {ADOPT_FROZEN, 7, 0, 0}},
                {"open again, not said", 7, 7, true, 0, 7, 7, 7, FROZEN, {ADOPT_KEEP, 7, 0, 0}},
                {"a store from a backup", 3, 3, true, 0, 7, 0, 8, OPEN, {ADOPT_KEEP, 8, 1, 0}},
                {"next below what is committed",
                 7,
                 7,
                 true,
                 0,
                 7,
                 0,
                 6,
                 OPEN,
                 {ADOPT_FRESH, 7, 0, 1}},
                {"next below the store", 9, 9, true, 0, 7, 0, 8, OPEN, {ADOPT_FRESH, 9, 0, 1}},
                {"next far above",
                 7,
                 7,
                 true,
                 0,
                 7,
                 0,
                 8 + WINDOW_OVERSHOOT_MAX,
                 OPEN,
                 {ADOPT_FRESH, 7, 0, 1}},
                {"next past the end", 7, 7, true, 0, 7, 0, LIMIT + 1, OPEN, {ADOPT_FRESH, 7, 0, 1}},
        };

        (void)state;
        CHECK_KIND(cases, SEQUENCE_GAPLESS);
}

/* --- a death after each step ------------------------------------------- */

static void test_extend(void **state)
{
        static const struct adopt_case cases[] = {
                {"nothing reserved yet", 0, 0, true, 0, 0, 0, 0, OPEN, {ADOPT_KEEP, 0, 0, 0}},
                {"draws wait", 0, 0, true, 0, 0, 0, 3, OPEN, {ADOPT_KEEP, 3, 0, 0}},
                {"between moves", 0, 100, false, 0, 100, 0, 40, OPEN, {ADOPT_KEEP, 40, 0, 0}},
                {"committed", 0, 200, false, 0, 100, 0, 130, OPEN, {ADOPT_KEEP, 130, 0, 0}},
                {"published", 0, 200, false, 0, 200, 0, 130, OPEN, {ADOPT_KEEP, 130, 0, 0}},
                {"the very first committed", 0, 50, false, 0, 0, 0, 1, OPEN, {ADOPT_KEEP, 1, 0, 0}},
                {"at the end",
                 0,
                 LIMIT,
                 false,
                 0,
                 LIMIT,
                 0,
                 LIMIT + 9,
                 OPEN,
                 {ADOPT_KEEP, LIMIT + 9, 0, 0}},
        };

        (void)state;
        CHECK(cases);
}

static void test_jump(void **state)
{
        static const struct adopt_case cases[] = {
                {"committed", 500, 600, false, 0, 100, 0, 105, OPEN, {ADOPT_KEEP, 105, 0, 0}},
                {"next raised", 500, 600, false, 0, 100, 0, 502, OPEN, {ADOPT_KEEP, 502, 0, 0}},
                {"floor raised", 500, 600, false, 500, 100, 0, 502, OPEN, {ADOPT_KEEP, 502, 0, 0}},
                {"done", 500, 600, false, 500, 600, 0, 502, OPEN, {ADOPT_KEEP, 502, 0, 0}},
        };

        (void)state;
        CHECK(cases);
}

static void test_freeze(void **state)
{
        static const struct adopt_case cases[] = {
                {"bit set", 0, 100, false, 0, 100, 0, F | 40, OPEN, {ADOPT_FROZEN, 40, 0, 0}},
                {"bit set, void claims since",
                 0,
                 100,
                 false,
                 0,
                 100,
                 0,
                 F | 43,
                 OPEN,
                 {ADOPT_FROZEN, 43, 0, 0}},
                {"bit set, draws had waited",
                 0,
                 100,
                 false,
                 0,
                 100,
                 0,
                 F | 104,
                 OPEN,
                 {ADOPT_FROZEN, 104, 0, 0}},
                {"bit set, an old freeze noted",
                 0,
                 100,
                 false,
                 0,
                 100,
                 17,
                 F | 40,
                 OPEN,
                 {ADOPT_FROZEN, 40, 0, 0}},
                {"index noted", 0, 100, false, 0, 100, 40, F | 43, OPEN, {ADOPT_FROZEN, 43, 0, 0}},
                {"state noted",
                 0,
                 100,
                 false,
                 0,
                 100,
                 40,
                 F | 43,
                 FROZEN,
                 {ADOPT_FROZEN, 40, 0, 0}},
                {"ceiling lowered",
                 0,
                 100,
                 false,
                 0,
                 40,
                 40,
                 F | 43,
                 FROZEN,
                 {ADOPT_FROZEN, 40, 0, 0}},
                {"nothing reserved yet, draws had waited",
                 0,
                 0,
                 true,
                 0,
                 0,
                 6,
                 F | 7,
                 FROZEN,
                 {ADOPT_FROZEN, 6, 0, 0}},
                {"saved", 40, 40, true, 0, 40, 40, F | 43, FROZEN, {ADOPT_FROZEN, 40, 0, 0}},
                {"saved above the ceiling",
                 104,
                 104,
                 true,
                 0,
                 100,
                 104,
                 F | 200,
                 FROZEN,
                 {ADOPT_FROZEN, 104, 0, 0}},
                {"the rest granted",
                 104,
                 104,
                 true,
                 0,
                 104,
                 104,
                 F | 200,
                 FROZEN,
                 {ADOPT_FROZEN, 104, 0, 0}},
                {"draws had gone past the end",
                 0,
                 LIMIT,
                 false,
                 0,
                 LIMIT,
                 0,
                 F | (LIMIT + 5),
                 OPEN,
                 {ADOPT_FROZEN, LIMIT, 0, 0}},
        };

        (void)state;
        CHECK(cases);
}

static void test_thaw(void **state)
{
        static const struct adopt_case cases[] = {
                {"committed", 40, 140, false, 0, 40, 40, F | 43, FROZEN, {ADOPT_FROZEN, 40, 0, 0}},
                {"next lowered", 40, 140, false, 0, 40, 40, 40, FROZEN, {ADOPT_KEEP, 40, 0, 0}},
                {"and claimed", 40, 140, false, 0, 40, 40, 44, FROZEN, {ADOPT_KEEP, 44, 0, 0}},
                {"ceiling raised", 40, 140, false, 0, 140, 40, 44, FROZEN, {ADOPT_KEEP, 44, 0, 0}},
                {"done", 40, 140, false, 0, 140, 40, 44, OPEN, {ADOPT_KEEP, 44, 0, 0}},
                {"a jump: committed",
                 500,
                 600,
                 false,
                 0,
                 40,
                 40,
                 F | 43,
                 FROZEN,
                 {ADOPT_FROZEN, 500, 0, 0}},
                {"a jump below the claims: committed",
                 500,
                 600,
                 false,
                 0,
                 400,
                 510,
                 F | 511,
                 FROZEN,
                 {ADOPT_FROZEN, 510, 0, 0}},
                {"a jump: next set",
                 500,
                 600,
                 false,
                 0,
                 40,
                 40,
                 500,
                 FROZEN,
                 {ADOPT_KEEP, 500, 0, 0}},
                {"a jump: floor raised",
                 500,
                 600,
                 false,
                 500,
                 40,
                 40,
                 501,
                 FROZEN,
                 {ADOPT_KEEP, 501, 0, 0}},
                {"a jump: ceiling raised",
                 500,
                 600,
                 false,
                 500,
                 600,
                 40,
                 501,
                 FROZEN,
                 {ADOPT_KEEP, 501, 0, 0}},
                {"not saved, reserved ahead",
                 0,
                 100,
                 false,
                 0,
                 40,
                 40,
                 F | 43,
                 FROZEN,
                 {ADOPT_FROZEN, 40, 0, 0}},
        };

        (void)state;
        CHECK(cases);
}

static void test_gone(void **state)
{
        static const struct adopt_case cases[] = {
                {"retired: floor closed",
                 0,
                 100,
                 false,
                 WINDOW_CLOSED,
                 100,
                 0,
                 40,
                 OPEN,
                 {ADOPT_FRESH, 100, 0, 0}},
                {"retired: done",
                 0,
                 100,
                 false,
                 WINDOW_CLOSED,
                 100,
                 0,
                 40,
                 WINDOW_RETIRED,
                 {ADOPT_FRESH, 100, 0, 0}},
                {"handed over",
                 40,
                 40,
                 true,
                 0,
                 40,
                 40,
                 F | 40,
                 WINDOW_RETIRED,
                 {ADOPT_FRESH, 40, 0, 0}},
        };

        (void)state;
        CHECK(cases);
}

/* --- what cannot be ---------------------------------------------------- */

static void test_implausible(void **state)
{
        static const struct adopt_case cases[] = {
                {"next below the floor: a claim given back",
                 50,
                 100,
                 false,
                 50,
                 100,
                 0,
                 49,
                 OPEN,
                 {ADOPT_KEEP, 50, 0, 0}},
                {"next at the floor", 50, 100, false, 50, 100, 0, 50, OPEN, {ADOPT_KEEP, 50, 0, 0}},
                {"next as far as can be",
                 0,
                 100,
                 false,
                 0,
                 100,
                 0,
                 99 + FAR,
                 OPEN,
                 {ADOPT_KEEP, 99 + FAR, 0, 0}},
                {"next beyond",
                 0,
                 100,
                 false,
                 0,
                 100,
                 0,
                 100 + FAR,
                 OPEN,
                 {ADOPT_FRESH, 100, 0, 1}},
                {"next beyond, but reserved",
                 0,
                 200,
                 false,
                 0,
                 100,
                 0,
                 199 + FAR,
                 OPEN,
                 {ADOPT_KEEP, 199 + FAR, 0, 0}},
                {"next wild", 0, 200, false, 0, 100, 0, F - 1, OPEN, {ADOPT_FRESH, 200, 0, 1}},
                {"frozen below the floor",
                 50,
                 100,
                 false,
                 50,
                 100,
                 49,
                 F | 60,
                 FROZEN,
                 {ADOPT_FROZEN, 50, 0, 0}},
                {"frozen beyond",
                 0,
                 100,
                 false,
                 0,
                 100,
                 100 + FAR,
                 F | 60,
                 FROZEN,
                 {ADOPT_FRESH, 100, 0, 1}},
                {"not noted and beyond",
                 0,
                 100,
                 false,
                 0,
                 100,
                 0,
                 UINT64_MAX,
                 OPEN,
                 {ADOPT_FRESH, 100, 0, 1}},
                {"not noted and below",
                 50,
                 100,
                 false,
                 50,
                 100,
                 0,
                 F,
                 OPEN,
                 {ADOPT_FROZEN, 50, 0, 0}},
                {"floor past the end",
                 0,
                 100,
                 false,
                 LIMIT + 1,
                 100,
                 0,
                 LIMIT + 1,
                 OPEN,
                 {ADOPT_FRESH, 100, 0, 1}},
                {"ceiling past the end",
                 0,
                 100,
                 false,
                 0,
                 LIMIT + 1,
                 0,
                 5,
                 OPEN,
                 {ADOPT_FRESH, 100, 0, 1}},
                {"saved, yet open", 100, 100, true, 0, 60, 0, 40, OPEN, {ADOPT_FRESH, 100, 0, 1}},
        };

        (void)state;
        CHECK(cases);
}

/* The segment knows of numbers that the store does not: it must win. */
static void test_backup(void **state)
{
        static const struct adopt_case cases[] = {
                {"open", 0, 50, false, 0, 100, 0, 70, OPEN, {ADOPT_KEEP, 70, 1, 0}},
                {"open, exact", 30, 30, true, 0, 100, 0, 70, OPEN, {ADOPT_KEEP, 70, 1, 0}},
                {"new then", 0, 0, true, 0, 100, 0, 70, OPEN, {ADOPT_KEEP, 70, 1, 0}},
                {"far behind, draws wait",
                 0,
                 1,
                 false,
                 0,
                 100,
                 0,
                 170,
                 OPEN,
                 {ADOPT_KEEP, 170, 1, 0}},
                {"beyond what can be",
                 0,
                 50,
                 false,
                 0,
                 100,
                 0,
                 100 + FAR,
                 OPEN,
                 {ADOPT_FRESH, 100, 0, 1}},
                {"frozen", 30, 30, true, 0, 70, 70, F | 71, FROZEN, {ADOPT_FROZEN, 70, 1, 0}},
                {"frozen, the rest not granted",
                 30,
                 30,
                 true,
                 0,
                 70,
                 75,
                 F | 79,
                 FROZEN,
                 {ADOPT_FROZEN, 75, 1, 0}},
                {"bit set", 0, 50, false, 0, 100, 0, F | 70, OPEN, {ADOPT_FROZEN, 70, 1, 0}},
                {"frozen, ranges reserved then",
                 0,
                 50,
                 false,
                 0,
                 70,
                 70,
                 F | 71,
                 FROZEN,
                 {ADOPT_FROZEN, 70, 1, 0}},
        };

        (void)state;
        CHECK(cases);
}

static void test_other_sequence(void **state)
{
        const struct sequence_params params = sequence_params_default();
        const struct sequence sequence = {
                .id = ID,
                .generation = GENERATION,
                .map = sequence_map_make(&params, 1),
                .hi = 100,
        };
        struct adopt_view view = {
                .id = ID,
                .generation = GENERATION,
                .ceiling = 60,
                .next = 40,
                .state = OPEN,
        };
        struct adopt_plan plan;

        (void)state;
        assert_int_equal(adopt_decide(&sequence, &view).action, ADOPT_KEEP);
        view.generation--; /* altered, the slot not yet exchanged */
        plan = adopt_decide(&sequence, &view);
        assert_int_equal(plan.action, ADOPT_FRESH);
        assert_true(plan.position == 100);
        view.generation++;
        view.id++;
        plan = adopt_decide(&sequence, &view);
        assert_int_equal(plan.action, ADOPT_FRESH);
        assert_true(plan.position == 100);
}

/* Whatever is there: a plan is never out of bounds. */
static void test_any_bytes(void **state)
{
        static const uint64_t words[] = {
                0,          1,     40,        100,       101,
                LIMIT - 1,  LIMIT, LIMIT + 1, FAR,       UINT64_C(1) << 62,
                F - 1,      F,     F | 40,    F | LIMIT, UINT64_MAX - 1,
                UINT64_MAX,
        };
        const size_t n = sizeof(words) / sizeof(words[0]);

        (void)state;
        for (size_t i = 0; i < n * n * n * n * 10; i++) {
                const struct adopt_case c = {
                        .hi = 100,
                        .lo = i % 2 ? 100 : 50,
                        .exact = i % 2,
                        .state = (uint32_t)(i / 2 % 5),
                        .floor = words[i / 10 % n],
                        .ceiling = words[i / 10 / n % n],
                        .frozen = words[i / 10 / n / n % n],
                        .next = words[i / 10 / n / n / n],
                };
                struct adopt_plan plan = decide(&c, SEQUENCE_COUNTER);

                if (plan.action == ADOPT_FRESH) {
                        assert_true(plan.position >= 100 && plan.position <= LIMIT);
                        continue;
                }
                assert_true(plan.floor <= LIMIT && plan.ceiling <= LIMIT);
                assert_true(plan.position >= plan.floor);
                assert_true(plan.action == ADOPT_KEEP || plan.position <= LIMIT);
                assert_true(plan.action == ADOPT_KEEP || !c.exact || plan.position >= c.hi);
                assert_int_equal(plan.action == ADOPT_FROZEN, (c.next & F) != 0);
        }
}

/* What an alter left that was stored, and not shown: its windows were taken for lost. */
static void test_continued(void **state)
{
        const struct sequence_params params = {
                .kind = SEQUENCE_COUNTER, .start = 1, .increment = 1, .min = 1, .max = LIMIT};
        const struct window window = {.kind = SEQUENCE_COUNTER,
                                      .start = 1,
                                      .increment = 1,
                                      .min = 1,
                                      .max = LIMIT,
                                      .origin = 1};
        const struct adopt_view closed = {
                .id = ID,
                .generation = GENERATION - 1,
                .ceiling = 40,
                .frozen = 43,
                .next = F | 45,
                .state = FROZEN,
        };
        struct sequence sequence = {.id = ID,
                                    .generation = GENERATION,
                                    .params = params,
                                    .map = {.origin = 43}};
        struct window other = window;
        struct adopt_view view = closed;

        (void)state;
        assert_true(adopt_continued(&sequence, &window, &view));
        view.next = 45;
        assert_false(adopt_continued(&sequence, &window, &view)); /* not closed */
        view = closed;
        view.state = OPEN;
        assert_false(adopt_continued(&sequence, &window, &view)); /* by somebody else */
        view = closed;
        view.state = WINDOW_RETIRED;
        assert_false(adopt_continued(&sequence, &window, &view));
        view = closed;
        view.frozen = 0;
        assert_false(adopt_continued(&sequence, &window, &view)); /* before the first draw */
        view = closed;
        view.generation = GENERATION;
        assert_false(adopt_continued(&sequence, &window, &view));
        view = closed;
        view.ceiling = 44;
        assert_false(adopt_continued(&sequence, &window, &view)); /* no freeze leaves that */
        view = closed;
        view.frozen = LIMIT + 1;
        assert_false(adopt_continued(&sequence, &window, &view));
        view = closed;
        view.id = ID + 1;
        assert_false(adopt_continued(&sequence, &window, &view));
        sequence.map.origin = 100;
        assert_false(adopt_continued(&sequence, &window, &closed)); /* it was restarted */
        sequence.map.origin = 43;
        other.increment = 0;
        assert_false(adopt_continued(&sequence, &other, &closed)); /* what no daemon writes */
}

/* The cell was overwritten, or its page wiped: above all that was reserved, with a remark. */
static void test_overwritten(void **state)
{
        const struct sequence_params params = {
                .kind = SEQUENCE_COUNTER, .start = 1, .increment = 1, .min = 1, .max = LIMIT};
        const struct sequence sequence = {
                .id = ID,
                .generation = GENERATION,
                .params = params,
                .map = sequence_map_make(&params, 1),
                .hi = 100,
        };
        struct adopt_view view = {
                .id = ID,
                .generation = GENERATION,
                .ceiling = 120,
                .state = OPEN,
                .overwritten = true,
        };
        struct adopt_plan plan = adopt_decide(&sequence, &view);

        (void)state;
        assert_true(plan.action == ADOPT_FRESH && plan.position == 120 && plan.remark);
        view = (struct adopt_view){.overwritten = true};
        plan = adopt_decide(&sequence, &view);
        assert_true(plan.action == ADOPT_FRESH && plan.position == 100 && plan.remark);
}

static void test_look(void **state)
{
        const struct window window = {
                .floor = 1,
                .ceiling = 2,
                .low = 3,
                .frozen = 4,
                .state = FROZEN,
                .id = 5,
                .generation = 6,
        };
        const struct cell cell = {.next = F | 8, .mark = cell_mark(7)};
        struct adopt_view view = adopt_look(&window, &cell, 7);

        (void)state;
        assert_true(view.floor == 1 && view.ceiling == 2 && view.frozen == 4);
        assert_true(view.id == 5 && view.generation == 6);
        assert_true(view.next == (F | 8) && view.state == FROZEN);
        assert_false(view.overwritten);
        assert_true(adopt_look(&window, &cell, 8).overwritten);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_gapless),        cmocka_unit_test(test_extend),
                cmocka_unit_test(test_jump),           cmocka_unit_test(test_freeze),
                cmocka_unit_test(test_thaw),           cmocka_unit_test(test_gone),
                cmocka_unit_test(test_implausible),    cmocka_unit_test(test_backup),
                cmocka_unit_test(test_other_sequence), cmocka_unit_test(test_any_bytes),
                cmocka_unit_test(test_continued),      cmocka_unit_test(test_look),
                cmocka_unit_test(test_overwritten),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
