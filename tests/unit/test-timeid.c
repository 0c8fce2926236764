/* SPDX-License-Identifier: MIT */

/* Where the next id of kind time is claimed, whatever the clock and the others did. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "timeid.h"

#define SERIAL_BITS 4
#define PER_MSEC    (UINT64_C(1) << SERIAL_BITS)
#define FAR         UINT64_MAX /* a ceiling that is in nobody's way */

static const struct sequence_params params = {
        .kind = SEQUENCE_TIME,
        .node_bits = 3,
        .serial_bits = SERIAL_BITS,
        .node = 5,
        .epoch = SEQUENCE_EPOCH,
};

static struct sequence_map make_map(void)
{
        struct sequence_params complete = params;

        sequence_params_complete(&complete, false, false, false);
        return sequence_map_make(&complete, complete.start);
}

static uint64_t at(uint64_t ms, uint64_t serial)
{
        return ms << SERIAL_BITS | serial;
}

static void expect(enum time_verdict verdict, uint64_t index, struct time_claim claim)
{
        assert_int_equal(claim.verdict, verdict);
        if (verdict == TIME_CLAIM)
                assert_int_equal(claim.index, index);
}

static void test_clock_leads(void **state)
{
        const struct sequence_map map = make_map();

        (void)state;
        /* Nothing drawn yet; drawn before; drawn in this millisecond. */
        expect(TIME_CLAIM, at(1000, 0), time_decide(&map, 0, 0, FAR, at(1000, 0), 1));
        expect(TIME_CLAIM, at(1000, 0), time_decide(&map, at(7, 3), 0, FAR, at(1000, 0), 1));
        expect(TIME_CLAIM, at(1000, 3), time_decide(&map, at(1000, 3), 0, FAR, at(1000, 0), 1));
}

static void test_clock_behind(void **state)
{
        const struct sequence_map map = make_map();

        (void)state;
        /* Stepped back, by hours: on with the millisecond that was reached, then one by one. */
        expect(TIME_CLAIM, at(90000, 3), time_decide(&map, at(90000, 3), 0, FAR, at(7, 0), 1));
        expect(TIME_LEADS, 0, time_decide(&map, at(90001, 0), 0, FAR, at(7, 0), 1));
        expect(TIME_CLAIM, at(90001, 1), time_decide(&map, at(90001, 1), 0, FAR, at(7, 0), 1));
        /* Before the epoch. */
        expect(TIME_CLAIM, at(3, 1), time_decide(&map, at(3, 1), 0, FAR, 0, 1));
}

/* A burst borrows so many milliseconds from the future, and not one more. */
static void test_lead(void **state)
{
        const struct sequence_map map = make_map();
        const uint64_t now = at(1000, 0);

        (void)state;
        for (uint64_t ahead = 1; ahead <= TIME_LEAD_MSEC; ahead++)
                expect(TIME_CLAIM, at(1000 + ahead, 0),
                       time_decide(&map, at(1000 + ahead, 0), 0, FAR, now, 1));
        expect(TIME_LEADS, 0, time_decide(&map, at(1000 + TIME_LEAD_MSEC + 1, 0), 0, FAR, now, 1));
        /* One that somebody has entered is there for all. */
        expect(TIME_CLAIM, at(1000 + TIME_LEAD_MSEC + 1, 1),
               time_decide(&map, at(1000 + TIME_LEAD_MSEC + 1, 1), 0, FAR, now, 1));
}

static void test_floor(void **state)
{
        const struct sequence_map map = make_map();

        (void)state;
        expect(TIME_CLAIM, at(1001, 2), time_decide(&map, 0, at(1001, 2), FAR, at(1000, 0), 1));
        expect(TIME_CLAIM, at(1002, 0), time_decide(&map, 0, at(1001, 2), FAR, at(1002, 0), 1));
        /* The daemon's word does not make a millisecond that is too far ahead an entered one. */
        expect(TIME_LEADS, 0, time_decide(&map, at(3, 0), at(2000, 0), FAR, at(1000, 0), 1));
        /* One beyond all indices, closed or damaged, leads nowhere: found by fuzz-attach. */
        for (uint64_t count = 1; count <= PER_MSEC; count++)
                for (uint64_t back = 1; back <= 2 * PER_MSEC; back++)
                        expect(TIME_PAST, 0, time_decide(&map, 0, -back, FAR, at(1000, 0), count));
}

static void test_runs(void **state)
{
        const struct sequence_map map = make_map();
        const uint64_t now = at(1000, 0);

        (void)state;
        expect(TIME_CLAIM, at(1000, 0), time_decide(&map, 0, 0, FAR, now, PER_MSEC));
        expect(TIME_TOO_MANY, 0, time_decide(&map, 0, 0, FAR, now, PER_MSEC + 1));
        expect(TIME_TOO_MANY, 0, time_decide(&map, 0, 0, FAR, now, UINT32_MAX));
        /* Of one millisecond: what is too long for the rest of this one is the next one's. */
        expect(TIME_CLAIM, at(1000, 12), time_decide(&map, at(1000, 12), 0, FAR, now, 4));
        expect(TIME_CLAIM, at(1001, 0), time_decide(&map, at(1000, 12), 0, FAR, now, 5));
        expect(TIME_LEADS, 0, time_decide(&map, at(1004, 12), 0, FAR, now, 5));
}

static void test_ceiling(void **state)
{
        const struct sequence_map map = make_map();
        const uint64_t now = at(1000, 0);

        (void)state;
        expect(TIME_CLAIM, now, time_decide(&map, 0, 0, now + 1, now, 1));
        expect(TIME_CEILING, 0, time_decide(&map, 0, 0, now, now, 1));
        expect(TIME_CLAIM, now, time_decide(&map, 0, 0, now + 7, now, 7));
        expect(TIME_CEILING, 0, time_decide(&map, 0, 0, now + 6, now, 7));
        expect(TIME_CEILING, 0, time_decide(&map, 0, 0, 0, now, 1)); /* a closed window */
        /* Want of numbers is told before want of time: the daemon is to be called. */
        expect(TIME_CEILING, 0, time_decide(&map, at(2000, 0), 0, at(2000, 0), now, 1));
}

static void test_end(void **state)
{
        const struct sequence_map map = make_map();
        const uint64_t last = map.limit - 1;

        (void)state;
        expect(TIME_CLAIM, last, time_decide(&map, last, 0, FAR, last, 1));
        expect(TIME_PAST, 0, time_decide(&map, map.limit, 0, FAR, 0, 1));
        expect(TIME_PAST, 0, time_decide(&map, last, 0, FAR, last, 2));
        expect(TIME_PAST, 0, time_decide(&map, 0, UINT64_MAX, FAR, 0, 1)); /* retired */
        /* A clock beyond the end; when it is put right, all is well. */
        expect(TIME_PAST, 0, time_decide(&map, 0, 0, FAR, UINT64_MAX, 1));
        expect(TIME_CLAIM, 32, time_decide(&map, 0, 0, FAR, 32, 1));
}

/* Ids of growing indices grow, keep the node, and tell their millisecond. */
static void test_ids(void **state)
{
        const struct sequence_map map = make_map();
        int64_t before = -1;

        (void)state;
        for (uint64_t index = at(1000, 0); index < at(1003, 0); index++) {
                int64_t id = sequence_map_value(&map, index), ms;
                uint32_t node, serial;

                assert_true(id > before);
                before = id;
                sequence_time_explain(&params, id, &ms, &node, &serial);
                assert_int_equal(ms, SEQUENCE_EPOCH + (int64_t)(index >> SERIAL_BITS));
                assert_int_equal(node, params.node);
                assert_int_equal(serial, index % PER_MSEC);
        }
        /* 63 bits: the last is not negative. */
        assert_true(sequence_map_value(&map, map.limit - 1) > before);
}

static void test_index_of_clock(void **state)
{
        (void)state;
        assert_int_equal(sequence_time_index(&params, SEQUENCE_EPOCH), 0);
        assert_int_equal(sequence_time_index(&params, SEQUENCE_EPOCH - 1), 0);
        assert_int_equal(sequence_time_index(&params, 0), 0); /* 1970 */
        assert_int_equal(sequence_time_index(&params, SEQUENCE_EPOCH + 5), at(5, 0));
        /* However far the clock is: past the end, not round it. */
        assert_true(sequence_time_index(&params, UINT64_MAX) >= make_map().limit);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_clock_leads),
                cmocka_unit_test(test_clock_behind),
                cmocka_unit_test(test_lead),
                cmocka_unit_test(test_floor),
                cmocka_unit_test(test_runs),
                cmocka_unit_test(test_ceiling),
                cmocka_unit_test(test_end),
                cmocka_unit_test(test_ids),
                cmocka_unit_test(test_index_of_clock),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
