/* SPDX-License-Identifier: MIT */

/*
 * Moving windows under a client: after each move the draws give exactly the
 * numbers they must, those that waited included.
 */

#include "unit.h"

#include <pthread.h>

/* A draw that waits in a thread of its own. */
struct waiter {
        pthread_t thread;
        struct seqnum *seq;
        int result;
        int64_t value;
};

static void *wait_for_number(void *argument)
{
        struct waiter *waiter = argument;

        waiter->result = seqnum_next(waiter->seq, &waiter->value);
        return NULL;
}

/* Returns once the waiter has made its claim, if it is one that is to be made. */
static void waiter_start(struct waiter *waiter, struct unit *unit, struct sequence *sequence,
                         struct seqnum *seq)
{
        uint64_t before = unit_next(unit, sequence);

        *waiter = (struct waiter){.seq = seq, .result = 1, .value = -1};
        assert_int_equal(seqnum_set_timeout(unit->client, UNIT_PATIENCE_USEC), 0);
        assert_int_equal(pthread_create(&waiter->thread, NULL, wait_for_number, waiter), 0);
        unit_await(unit_next(unit, sequence) != before);
}

static void waiter_expect(struct waiter *waiter, int result, int64_t value)
{
        assert_int_equal(pthread_join(waiter->thread, NULL), 0);
        assert_int_equal(waiter->result, result);
        if (result == 0)
                assert_int_equal(waiter->value, value);
}

/* The numbers are the indices: a start of 0 keeps the tests legible. */
static struct sequence_params from_zero(int64_t max)
{
        struct sequence_params params = sequence_params_default();

        params.start = params.min = 0;
        params.max = max;
        return params;
}

static struct sequence *plain(struct unit *unit, struct seqnum **seq)
{
        struct sequence *sequence = unit_sequence(unit, "orders", from_zero(INT64_MAX));

        *seq = unit_open(unit, "orders");
        return sequence;
}

/* Whoever is refused gives its claim back: nothing is skipped by asking. */
static void assert_nothing_left(struct unit *unit, struct sequence *sequence, struct seqnum *seq)
{
        uint64_t before = unit_next(unit, sequence);

        assert_int_equal(seqnum_set_timeout(unit->client, 0), 0);
        unit_refused(seq, -ETIMEDOUT);
        if (!(before & CELL_FROZEN))
                assert_true(unit_next(unit, sequence) == before);
}

static void expect_range(struct seqnum *seq, int64_t from, int64_t to)
{
        for (int64_t value = from; value < to; value++)
                unit_expect(seq, value);
}

/* --- extend ------------------------------------------------------------ */

static void test_extend(void **state)
{
        struct unit *unit = *state;
        struct seqnum *seq;
        struct sequence *sequence = plain(unit, &seq);

        assert_nothing_left(unit, sequence, seq);
        assert_false(unit_grant(unit, sequence, 0, 10));
        expect_range(seq, 0, 10);
        assert_nothing_left(unit, sequence, seq);
        unit_grant(unit, sequence, 0, 11);
        expect_range(seq, 10, 11);
        assert_nothing_left(unit, sequence, seq);
        assert_true(window_look(&unit_window(unit, sequence)->ceiling) == 11);
        assert_true(sequence->ceiling == 11 && sequence->floor == 0);
        assert_true(count_read(&unit_window(unit, sequence)->refills) == 2);
}

static void test_waiting_claim(void **state)
{
        struct unit *unit = *state;
        struct seqnum *seq;
        struct sequence *sequence = plain(unit, &seq);
        struct waiter waiter;

        unit_grant(unit, sequence, 0, 3);
        expect_range(seq, 0, 3);
        waiter_start(&waiter, unit, sequence, seq);
        unit_grant(unit, sequence, 0, 5); /* its claim, as it stands */
        waiter_expect(&waiter, 0, 3);
        expect_range(seq, 4, 5);
}

static void test_low_mark(void **state)
{
        struct unit *unit = *state;
        struct seqnum *seq;
        struct sequence *sequence = plain(unit, &seq);
        sem_t *doorbell = &unit->segment->map.shared->doorbell;
        int rung = -1;

        assert_false(unit_grant(unit, sequence, 0, 100));
        assert_in_range(sequence->low, 1, 99);
        expect_range(seq, 0, (int64_t)sequence->low);
        assert_int_equal(sem_getvalue(doorbell, &rung), 0);
        assert_int_equal(rung, 0);
        expect_range(seq, (int64_t)sequence->low, (int64_t)sequence->low + 1);
        assert_int_equal(sem_getvalue(doorbell, &rung), 0);
        assert_int_equal(rung, 1);
        assert_true(bell_take(&unit->segment->map.wants[0]) == UINT64_C(1) << sequence->slot);
        assert_true(bell_take(&unit->segment->map.shared->summary[0]) == 1);
        expect_range(seq, (int64_t)sequence->low + 1, 100);
        assert_int_equal(sem_getvalue(doorbell, &rung), 0);
        assert_int_equal(rung, 1); /* once is enough */

        /* A run that crosses the mark, with the mark in its middle and at its end. */
        assert_int_equal(sem_trywait(doorbell), 0);
        unit_grant(unit, sequence, 0, 200);
        for (uint64_t at = 100; at <= sequence->low; at += 7) {
                struct seqnum_run run;

                assert_int_equal(sem_getvalue(doorbell, &rung), 0);
                assert_int_equal(rung, 0);
                assert_int_equal(seqnum_next_run(seq, 7, &run), 0);
        }
        assert_int_equal(sem_getvalue(doorbell, &rung), 0);
        assert_int_equal(rung, 1);
}

/* True tells the daemon that nobody will ring: the mark was passed meanwhile. */
static void test_passed_mark(void **state)
{
        struct unit *unit = *state;
        struct seqnum *seq;
        struct sequence *sequence = plain(unit, &seq);

        (void)cell_claim(&unit_cell(unit, sequence)->next, 50);
        assert_false(unit_grant(unit, sequence, 0, 50)); /* the next draw will ring */
        assert_true(unit_grant(unit, sequence, 0, 40));
        assert_false(unit_grant(unit, sequence, 0, 60));
        (void)cell_claim(&unit_cell(unit, sequence)->next, 200);
        assert_true(unit_grant(unit, sequence, 0, 100));
}

/* --- freeze and thaw --------------------------------------------------- */

static void test_freeze_and_thaw(void **state)
{
        struct unit *unit = *state;
        struct seqnum *seq;
        struct sequence *sequence = plain(unit, &seq);
        int64_t value = 0;

        unit_grant(unit, sequence, 0, 10);
        expect_range(seq, 0, 4);
        assert_true(window_freeze(unit->segment, sequence) == 4);
        assert_true(window_look(&unit_window(unit, sequence)->ceiling) == 4);
        assert_true(unit_next(unit, sequence) & CELL_FROZEN);
        for (int i = 0; i < 3; i++)
                assert_nothing_left(unit, sequence, seq);
        assert_true(window_freeze(unit->segment, sequence) == 4); /* void claims don't count */
        assert_int_equal(seqnum_peek(seq, &value), 0);
        assert_int_equal(value, 4);

        unit_save(unit, sequence);
        assert_nothing_left(unit, sequence, seq);
        unit_grant(unit, sequence, 4, 20);
        assert_false(sequence->frozen);
        assert_int_equal(see_u32(&unit_window(unit, sequence)->state), WINDOW_OPEN);
        expect_range(seq, 4, 20);
        assert_nothing_left(unit, sequence, seq);
}

/* Draws waited when the window closed: granted once their claims are saved. */
static void test_grant_rest(void **state)
{
        struct unit *unit = *state;
        struct seqnum *seq;
        struct sequence *sequence = plain(unit, &seq);
        struct waiter waiter;

        unit_grant(unit, sequence, 0, 3);
        expect_range(seq, 0, 3);
        waiter_start(&waiter, unit, sequence, seq);
        assert_true(window_freeze(unit->segment, sequence) == 4);
        assert_true(window_look(&unit_window(unit, sequence)->ceiling) == 3);
        unit_nap();
        assert_int_equal(pthread_tryjoin_np(waiter.thread, NULL), EBUSY); /* 4 is not saved */
        unit_save(unit, sequence);
        waiter_expect(&waiter, 0, 3);
        assert_nothing_left(unit, sequence, seq);
        unit_grant(unit, sequence, 4, 6);
        expect_range(seq, 4, 6);
}

/* The position could not be saved; the thaw grants those who waited. */
static void test_thaw_grants_waiting(void **state)
{
        struct unit *unit = *state;
        struct seqnum *seq;
        struct sequence *sequence = plain(unit, &seq);
        struct waiter waiter;

        unit_grant(unit, sequence, 0, 3);
        expect_range(seq, 0, 3);
        waiter_start(&waiter, unit, sequence, seq);
        assert_true(window_freeze(unit->segment, sequence) == 4);
        unit_grant(unit, sequence, 0, 8);
        waiter_expect(&waiter, 0, 3);
        expect_range(seq, 4, 8);
}

/* A draw that comes while all is frozen claims nothing and waits for the thaw. */
static void test_draw_while_frozen(void **state)
{
        struct unit *unit = *state;
        struct seqnum *seq;
        struct sequence *sequence = plain(unit, &seq);
        struct waiter waiter;

        unit_grant(unit, sequence, 0, 3);
        (void)window_freeze(unit->segment, sequence);
        unit_save(unit, sequence);
        waiter_start(&waiter, unit, sequence, seq); /* its first claim is void */
        unit_grant(unit, sequence, 0, 8);
        waiter_expect(&waiter, 0, 0);
        expect_range(seq, 1, 8);
}

static void test_thaw_jumps(void **state)
{
        struct unit *unit = *state;
        struct seqnum *seq;
        struct sequence *sequence = plain(unit, &seq);

        unit_grant(unit, sequence, 0, 10);
        expect_range(seq, 0, 5);
        (void)window_freeze(unit->segment, sequence);
        unit_save(unit, sequence);
        unit_grant(unit, sequence, 100, 105);
        assert_true(sequence->floor == 100);
        expect_range(seq, 100, 105);
        assert_nothing_left(unit, sequence, seq);
}

/*
 * A draw waited above the ceiling when the window closed, and the range that
 * opens it again begins above the ceiling, too, be it where claims ended: what
 * lies between is not ours to grant.
 */
static void test_thaw_leaves_hole(void **state)
{
        struct unit *unit = *state;
        struct seqnum *seq;
        struct sequence *sequence = plain(unit, &seq);
        struct waiter waiter;

        unit_grant(unit, sequence, 0, 3);
        expect_range(seq, 0, 3);
        waiter_start(&waiter, unit, sequence, seq); /* claims 3 */
        assert_true(window_freeze(unit->segment, sequence) == 4);
        unit_grant(unit, sequence, 4, 8); /* 3 was given elsewhere */
        waiter_expect(&waiter, 0, 4);
        expect_range(seq, 5, 8);
        assert_nothing_left(unit, sequence, seq);
}

/* --- jump -------------------------------------------------------------- */

static void test_jump(void **state)
{
        struct unit *unit = *state;
        struct seqnum *seq;
        struct sequence *sequence = plain(unit, &seq);
        struct waiter waiter;

        unit_grant(unit, sequence, 0, 3);
        expect_range(seq, 0, 3);
        waiter_start(&waiter, unit, sequence, seq); /* claims 3, in the hole */
        unit_grant(unit, sequence, 100, 104);
        waiter_expect(&waiter, 0, 100);
        expect_range(seq, 101, 104);
        assert_nothing_left(unit, sequence, seq);
        unit_grant(unit, sequence, 104, 106); /* touches: no jump */
        assert_true(sequence->floor == 100);
        expect_range(seq, 104, 106);
}

/* The last range was not used up: what is left of it is skipped. */
static void test_jump_early(void **state)
{
        struct unit *unit = *state;
        struct seqnum *seq;
        struct sequence *sequence = plain(unit, &seq);

        unit_grant(unit, sequence, 0, 50);
        expect_range(seq, 0, 3);
        unit_grant(unit, sequence, 100, 104);
        expect_range(seq, 100, 104);
        assert_nothing_left(unit, sequence, seq);
}

/* Claims already lie beyond where the new range begins. */
static void test_jump_behind_claims(void **state)
{
        struct unit *unit = *state;
        struct seqnum *seq;
        struct sequence *sequence = plain(unit, &seq);

        (void)cell_claim(&unit_cell(unit, sequence)->next, 102);
        unit_grant(unit, sequence, 100, 104);
        expect_range(seq, 102, 104);
        assert_nothing_left(unit, sequence, seq);
}

/* --- retire and hand over ---------------------------------------------- */

static void test_retire(void **state)
{
        struct unit *unit = *state;
        struct seqnum *seq;
        struct sequence *sequence = plain(unit, &seq);
        struct waiter waiter;
        int64_t value;

        unit_grant(unit, sequence, 0, 3);
        expect_range(seq, 0, 3);
        waiter_start(&waiter, unit, sequence, seq);
        segment_remove(unit->segment, "orders", sequence->slot);
        window_retire(unit->segment, sequence->slot);
        waiter_expect(&waiter, -ENOENT, 0);
        unit_refused(seq, -ENOENT);
        assert_int_equal(seqnum_peek(seq, &value), -ENOENT);
}

/* Numbers reserved but not drawn are gone with the window. */
static void test_retire_unused(void **state)
{
        struct unit *unit = *state;
        struct seqnum *seq;
        struct sequence *sequence = plain(unit, &seq);

        unit_grant(unit, sequence, 0, 10);
        segment_remove(unit->segment, "orders", sequence->slot);
        window_retire(unit->segment, sequence->slot);
        unit_refused(seq, -ENOENT);
}

/* Retired, but still under its name: whatever follows is waited for. */
static void test_retire_named(void **state)
{
        struct unit *unit = *state;
        struct seqnum *seq;
        struct sequence *sequence = plain(unit, &seq);

        window_retire(unit->segment, sequence->slot);
        unit_refused(seq, -ETIMEDOUT);
        unit_place(unit, sequence, 70);
        unit_grant(unit, sequence, 0, 72);
        expect_range(seq, 70, 72);
}

static void test_hand_over(void **state)
{
        struct unit *unit = *state;
        struct seqnum *seq;
        struct sequence *sequence = plain(unit, &seq);
        uint32_t old = sequence->slot;
        struct waiter waiter;

        unit_grant(unit, sequence, 0, 10);
        expect_range(seq, 0, 4);
        (void)window_freeze(unit->segment, sequence);
        unit_save(unit, sequence);
        waiter_start(&waiter, unit, sequence, seq);
        unit_place(unit, sequence, 4);
        segment_remove(unit->segment, "orders", old);
        window_hand_over(unit->segment, old);
        unit_await(unit_next(unit, sequence) == 5); /* it claimed in the new slot */
        unit_grant(unit, sequence, 4, 8);
        waiter_expect(&waiter, 0, 4);
        expect_range(seq, 5, 8);
        assert_nothing_left(unit, sequence, seq);
}

/* A claim granted in the old slot is good, though its owner looks only now. */
static void test_granted_before_hand_over(void **state)
{
        struct unit *unit = *state;
        struct seqnum *seq;
        struct sequence *sequence = plain(unit, &seq);
        uint32_t old = sequence->slot;
        struct waiter waiter;

        unit_grant(unit, sequence, 0, 3);
        expect_range(seq, 0, 3);
        waiter_start(&waiter, unit, sequence, seq);
        assert_true(window_freeze(unit->segment, sequence) == 4);
        unit_save(unit, sequence);
        unit_place(unit, sequence, 4);
        segment_remove(unit->segment, "orders", old);
        window_hand_over(unit->segment, old);
        waiter_expect(&waiter, 0, 3);
        unit_grant(unit, sequence, 4, 6);
        expect_range(seq, 4, 6);
}

/* --- the segment ------------------------------------------------------- */

static void test_segment_replaced(void **state)
{
        struct unit *unit = *state;
        struct seqnum *seq;
        struct sequence *sequence = plain(unit, &seq);
        struct segment *old = unit->segment;
        struct waiter waiter;

        unit_grant(unit, sequence, 0, 3);
        expect_range(seq, 0, 3);
        waiter_start(&waiter, unit, sequence, seq);
        (void)shm_unlink(unit->shm);
        (void)window_freeze(old, sequence);
        window_hand_over(old, sequence->slot);
        segment_retire(old); /* no other yet: waited for */
        unit_nap();
        unit->segment = unit_segment(unit->shm, UNIT_SEQUENCES);
        segment_free(old);
        registry_clear_slots(&unit->registry);
        unit_place(unit, sequence, 3);
        unit_grant(unit, sequence, 3, 6);
        waiter_expect(&waiter, 0, 3);
        expect_range(seq, 4, 6);
}

/* The daemon is gone: what is reserved can be drawn, and then nothing is skipped. */
static void test_unattended(void **state)
{
        struct unit *unit = *state;
        struct segment_setup setup_of = unit_setup_of(unit->shm, UNIT_SEQUENCES);
        struct seqnum *seq;
        struct sequence *sequence = plain(unit, &seq);
        struct waiter waiter;
        char *message = NULL;

        unit_grant(unit, sequence, 0, 5);
        expect_range(seq, 0, 2);
        unit->segment = segment_free(unit->segment);
        expect_range(seq, 2, 5);
        for (int i = 0; i < 100; i++)
                unit_refused(seq, -ETIMEDOUT);
        assert_int_equal(segment_take_over(&unit->segment, &setup_of, &message), 0);
        assert_true(unit_next(unit, sequence) == 5);
        waiter_start(&waiter, unit, sequence, seq);
        unit_grant(unit, sequence, 0, 7);
        waiter_expect(&waiter, 0, 5);
        expect_range(seq, 6, 7);
}

/* --- bounds ------------------------------------------------------------ */

static void test_limit(void **state)
{
        struct unit *unit = *state;
        struct sequence *sequence = unit_sequence(unit, "few", from_zero(4));
        struct seqnum *seq = unit_open(unit, "few");
        struct seqnum_run run;
        int64_t value;

        assert_false(unit_grant(unit, sequence, 0, 100)); /* five there are */
        assert_true(sequence->ceiling == 5 && sequence->low == UINT64_MAX);
        expect_range(seq, 0, 3);
        assert_int_equal(seqnum_next_run(seq, 3, &run), -EOVERFLOW);
        assert_int_equal(seqnum_next_run(seq, 2, &run), 0); /* a smaller one fits */
        assert_true(run.first == 3 && run.count == 2);
        for (int i = 0; i < 3; i++)
                unit_refused(seq, -EOVERFLOW);
        assert_int_equal(seqnum_peek(seq, &value), -EOVERFLOW);

        /* Freezing and thawing does not bring it back. */
        assert_true(window_freeze(unit->segment, sequence) == 5);
        unit_save(unit, sequence);
        unit_grant(unit, sequence, 5, 5);
        unit_refused(seq, -EOVERFLOW);
}

static void test_timeout(void **state)
{
        struct unit *unit = *state;
        struct seqnum *seq;
        struct sequence *sequence = plain(unit, &seq);
        uint64_t began, took;

        (void)sequence;
        assert_int_equal(seqnum_set_timeout(unit->client, 120000), 0);
        began = unit_usec();
        unit_refused(seq, -ETIMEDOUT);
        took = unit_usec() - began;
        assert_in_range(took, 120000, 5000000);
        assert_true(count_read(&unit_cell(unit, sequence)->waits) == 1);
}

/* Somebody set `next` back over numbers that are surely drawn, or wiped the cell's page. */
static void test_next_went_back(void **state)
{
        struct unit *unit = *state;
        struct seqnum *seq;
        struct sequence *sequence = plain(unit, &seq);
        uint64_t next = 0;

        unit_grant(unit, sequence, 0, 100);
        window_learn(unit->segment, sequence);
        expect_range(seq, 0, 40);
        assert_true(cell_unclaim(&unit_cell(unit, sequence)->next, 35, 5)); /* honestly or not */
        assert_true(window_next(unit->segment, sequence, &next) && next == 35);
        cell_thaw(&unit_cell(unit, sequence)->next, 40);
        window_learn(unit->segment, sequence); /* below the ceiling of the last look: drawn */
        assert_true(sequence->sure == 40);
        cell_thaw(&unit_cell(unit, sequence)->next, 39);
        assert_false(window_next(unit->segment, sequence, &next));
        window_learn(unit->segment, sequence);
        assert_true(sequence->sure == 40);

        /* Closing it so begins anew above all that anybody can have. */
        assert_true(window_freeze(unit->segment, sequence) == 100);
        assert_true(sequence->doubted);
        unit_save(unit, sequence);
        unit_grant(unit, sequence, 100, 200);
        unit_expect(seq, 100);
}

/* A page of zeros, which is what a hole punched into the object leaves. */
static void test_cell_wiped(void **state)
{
        struct unit *unit = *state;
        struct seqnum *seq;
        struct sequence *sequence = plain(unit, &seq);
        uint64_t next = 0;

        unit_grant(unit, sequence, 0, 100);
        assert_true(window_intact(unit->segment, sequence));
        memset(unit_cell(unit, sequence), 0, sizeof(struct cell));
        assert_false(window_next(unit->segment, sequence, &next));
        assert_false(window_intact(unit->segment, sequence));
        assert_true(window_freeze(unit->segment, sequence) == 100);
        assert_true(sequence->doubted);
}

/* Claims that waited and are given back are nothing to be alarmed about. */
static void test_given_back(void **state)
{
        struct unit *unit = *state;
        struct seqnum *seq;
        struct sequence *sequence = plain(unit, &seq);
        _Atomic(uint64_t) *cell = &unit_cell(unit, sequence)->next;
        uint64_t next = 0;

        unit_grant(unit, sequence, 0, 10);
        expect_range(seq, 0, 8);
        window_learn(unit->segment, sequence);
        (void)cell_claim(cell, 50); /* above the ceiling */
        window_learn(unit->segment, sequence);
        unit_grant(unit, sequence, 0, 100); /* over it, but it has looked before */
        window_learn(unit->segment, sequence);
        assert_true(cell_unclaim(cell, 8, 50));
        assert_true(window_next(unit->segment, sequence, &next) && next == 8);
        assert_true(sequence->sure <= 8);
}

/* The rest of a block was granted, and comes back all the same. */
static void test_block_given_back(void **state)
{
        struct unit *unit = *state;
        struct seqnum *seq;
        struct sequence *sequence = plain(unit, &seq);
        struct cell *cell = unit_cell(unit, sequence);
        struct seqnum_block *block;
        uint64_t next = 0;
        int64_t value;

        unit_grant(unit, sequence, 0, 100);
        assert_int_equal(seqnum_block_open(&block, seq, 40), 0);
        window_learn(unit->segment, sequence);
        assert_int_equal(seqnum_block_next(block, &value), 0);
        window_learn(unit->segment, sequence);
        assert_true(sequence->sure == 40);
        seqnum_block_close(block);
        assert_true(window_next(unit->segment, sequence, &next) && next == 1);

        /* What comes down further than that was set back. */
        cell_thaw(&cell->next, 0);
        assert_false(window_next(unit->segment, sequence, &next));
        cell_thaw(&cell->next, 1);

        /* And what was given back before is no excuse later. */
        expect_range(seq, 1, 41);
        window_learn(unit->segment, sequence);
        assert_true(sequence->sure == 41);
        cell_thaw(&cell->next, 2);
        assert_false(window_next(unit->segment, sequence, &next));

        /* Nor is what was begun, but that may be so for ever: whoever began it may be dead. */
        cell_thaw(&cell->next, 41);
        cell_will_give(&cell->giving, 5);
        expect_range(seq, 41, 50);
        window_learn(unit->segment, sequence);
        cell_thaw(&cell->next, 45);
        assert_true(window_next(unit->segment, sequence, &next) && next == 45);
        cell_thaw(&cell->next, 44);
        assert_false(window_next(unit->segment, sequence, &next));
}

static void test_next_is_believed(void **state)
{
        struct unit *unit = *state;
        struct seqnum *seq;
        struct sequence *sequence = plain(unit, &seq);
        uint64_t next = 0;

        unit_grant(unit, sequence, 1000, 2000);
        assert_true(window_next(unit->segment, sequence, &next) && next == 1000);
        (void)cell_claim(&unit_cell(unit, sequence)->next, 5000);
        assert_true(window_next(unit->segment, sequence, &next) && next == 6000);
        cell_thaw(&unit_cell(unit, sequence)->next, 999); /* a claim before a jump, given back */
        assert_true(window_next(unit->segment, sequence, &next) && next == 1000);
        cell_thaw(&unit_cell(unit, sequence)->next, 2000 + WINDOW_OVERSHOOT_MAX);
        assert_true(window_next(unit->segment, sequence, &next));
        cell_thaw(&unit_cell(unit, sequence)->next, 2001 + WINDOW_OVERSHOOT_MAX);
        assert_false(window_next(unit->segment, sequence, &next));
        cell_thaw(&unit_cell(unit, sequence)->next, 1500 | CELL_FROZEN); /* nobody froze it */
        assert_false(window_next(unit->segment, sequence, &next));
        cell_thaw(&unit_cell(unit, sequence)->next, UINT64_MAX);
        assert_false(window_next(unit->segment, sequence, &next));

        cell_thaw(&unit_cell(unit, sequence)->next, 1500);
        assert_true(window_freeze(unit->segment, sequence) == 1500);
        cell_thaw(&unit_cell(unit, sequence)->next, 3); /* ours to know while frozen */
        assert_true(window_next(unit->segment, sequence, &next) && next == 1500);
}

/* --- adopting ---------------------------------------------------------- */

/* Whatever is said to have been given back: what the daemon drew itself was not. */
static void test_own_draws_are_not_given_back(void **state)
{
        struct unit *unit = *state;
        struct seqnum *seq;
        struct sequence *sequence = plain(unit, &seq);
        struct cell *cell = unit_cell(unit, sequence);
        uint64_t next = 0;

        unit_grant(unit, sequence, 0, 100);
        expect_range(seq, 0, 40);
        sequence->drawn = 38;
        window_learn(unit->segment, sequence);
        cell_will_give(&cell->giving, UINT64_MAX / 2);
        cell_thaw(&cell->next, 38);
        assert_true(window_next(unit->segment, sequence, &next) && next == 38);
        cell_thaw(&cell->next, 37);
        assert_false(window_next(unit->segment, sequence, &next));
        assert_true(window_freeze(unit->segment, sequence) == 100);
        assert_true(sequence->doubted);
}

static void test_adopt_open(void **state)
{
        struct unit *unit = *state;
        struct seqnum *seq;
        struct sequence *sequence = plain(unit, &seq);

        unit_grant(unit, sequence, 0, 10);
        expect_range(seq, 0, 9);
        publish_u32(&unit_window(unit, sequence)->state, WINDOW_FROZEN); /* a thaw cut short */
        sequence->floor = sequence->ceiling = 0;
        window_adopt_open(unit->segment, sequence, 0, 10);
        assert_int_equal(see_u32(&unit_window(unit, sequence)->state), WINDOW_OPEN);
        assert_true(sequence->ceiling == 10);
        expect_range(seq, 9, 10);
        assert_nothing_left(unit, sequence, seq);
}

static void test_adopt_frozen(void **state)
{
        struct unit *unit = *state;
        struct seqnum *seq;
        struct sequence *sequence = plain(unit, &seq);
        uint64_t next;

        unit_grant(unit, sequence, 0, 10);
        expect_range(seq, 0, 4);
        next = 4;
        /* The last daemon set the bit and died. */
        assert_true(cell_freeze(&unit_cell(unit, sequence)->next, &next, CELL_FROZEN));
        window_adopt_frozen(unit->segment, sequence, 0, 10, 4);
        assert_int_equal(see_u32(&unit_window(unit, sequence)->state), WINDOW_FROZEN);
        assert_true(window_look(&unit_window(unit, sequence)->ceiling) == 4);
        assert_true(window_look(&unit_window(unit, sequence)->frozen) == 4);
        assert_true(sequence->frozen && sequence->frozen_at == 4 && sequence->ceiling == 4);
        assert_nothing_left(unit, sequence, seq);
        unit_grant(unit, sequence, 0, 10);
        expect_range(seq, 4, 10);
}

/*
 * Found by review: a claim given back late carries `next` to below where a jump
 * landed, and the draws to come climbed to there one void claim after the other.
 */
static void test_back_below_a_jump(void **state)
{
        const uint64_t far = UINT64_C(1) << 40;
        struct unit *unit = *state;
        struct seqnum *seq;
        struct sequence *sequence = plain(unit, &seq);

        unit_grant(unit, sequence, 0, 10);
        unit_expect(seq, 0);
        unit_grant(unit, sequence, far, far + 10);
        unit_expect(seq, (int64_t)far);
        cell_thaw(&unit_cell(unit, sequence)->next, 5);
        unit_expect(seq, (int64_t)far);
        assert_true(unit_next(unit, sequence) == far + 1);
}

static uint64_t cpu_usec(void)
{
        struct timespec t;

        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
        return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/*
 * Found by review: a daemon that died between the two steps by which it retires a
 * window left all who drew from it claiming, as fast as they could, until another came.
 */
static void test_half_retired(void **state)
{
        struct unit *unit = *state;
        struct seqnum *seq;
        struct sequence *sequence = plain(unit, &seq);
        uint64_t before;

        unit_grant(unit, sequence, 0, 10);
        unit_expect(seq, 0);
        window_publish(&unit_window(unit, sequence)->floor, WINDOW_CLOSED);
        assert_int_equal(seqnum_set_timeout(unit->client, 300000), 0);
        before = cpu_usec();
        unit_refused(seq, -ETIMEDOUT);
        assert_true(cpu_usec() - before < 150000);
        assert_true(unit_next(unit, sequence) < 20);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                unit_case(test_extend),
                unit_case(test_waiting_claim),
                unit_case(test_low_mark),
                unit_case(test_passed_mark),
                unit_case(test_freeze_and_thaw),
                unit_case(test_grant_rest),
                unit_case(test_thaw_grants_waiting),
                unit_case(test_draw_while_frozen),
                unit_case(test_thaw_jumps),
                unit_case(test_thaw_leaves_hole),
                unit_case(test_jump),
                unit_case(test_jump_early),
                unit_case(test_jump_behind_claims),
                unit_case(test_retire),
                unit_case(test_retire_unused),
                unit_case(test_retire_named),
                unit_case(test_hand_over),
                unit_case(test_granted_before_hand_over),
                unit_case(test_segment_replaced),
                unit_case(test_unattended),
                unit_case(test_limit),
                unit_case(test_timeout),
                unit_case(test_next_is_believed),
                unit_case(test_next_went_back),
                unit_case(test_cell_wiped),
                unit_case(test_given_back),
                unit_case(test_block_given_back),
                unit_case(test_own_draws_are_not_given_back),
                unit_case(test_adopt_open),
                unit_case(test_adopt_frozen),
                unit_case(test_back_below_a_jump),
                unit_case(test_half_retired),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
