/* SPDX-License-Identifier: MIT */

/*
 * Drawing, as a program does it: values of all shapes of sequence, runs, looks,
 * refusals, and threads that draw while the window is moved under them.
 */

#include "unit.h"

#include <pthread.h>
#include <sys/resource.h>

#include "directory.h"
#include "handle.h"

#define THREADS 3
#define DRAWS   4000

static struct sequence_params shape(int64_t start, int64_t increment, int64_t min, int64_t max,
                                    bool cycle)
{
        return (struct sequence_params){
                .kind = SEQUENCE_COUNTER,
                .start = start,
                .increment = increment,
                .min = min,
                .max = max,
                .cycle = cycle,
        };
}

static struct seqnum *granted(struct unit *unit, const char *name, struct sequence_params params,
                              uint64_t hi)
{
        unit_grant(unit, unit_sequence(unit, name, params), 0, hi);
        return unit_open(unit, name);
}

static void expect_peek(struct seqnum *seq, int64_t expected)
{
        int64_t value = INT64_MIN;

        assert_int_equal(seqnum_peek(seq, &value), 0);
        assert_int_equal(value, expected);
}

static void expect_run(struct seqnum *seq, uint32_t count, int64_t first, int64_t increment)
{
        struct seqnum_run run = {0};

        assert_int_equal(seqnum_next_run(seq, count, &run), 0);
        assert_int_equal(run.first, first);
        assert_int_equal(run.increment, increment);
        assert_int_equal(run.count, count);
}

static void refuse_run(struct seqnum *seq, uint32_t count, int error)
{
        struct seqnum_run run = {.first = -4711, .count = 7};

        assert_int_equal(seqnum_next_run(seq, count, &run), error);
        assert_true(run.first == -4711 && run.count == 7);
}

/* --- a head of two views ------------------------------------------------- */

/*
 * While another thread gives the handle a new view, a draw may claim in the old
 * one's cell with the new one's lens in hand. It is settled in the view that it was
 * claimed in; nothing is judged by the wrong window, and nothing skipped.
 */
static void test_old_cell_new_lens(void **state)
{
        struct seqnum *seq = granted(*state, "moved", shape(1, 1, 1, 1000, false), 100);
        struct window old_window = {.ceiling = 50, .low = UINT64_MAX, .state = WINDOW_OPEN};
        struct cell old_cell = {.next = 40};
        struct view old = *handle_view(seq);
        int64_t value = 0;

        unit_expect(seq, 1);
        old.cell = &old_cell;
        old.window = &old_window;
        old.lens.next = (uint64_t *)&old_cell.next;
        old.lens.window = (const uint64_t *)&old_window;
        seq->views->older = &old;

        seq->head.next = old.lens.next;
        assert_int_equal(seqnum_next_inline(seq, &value), 0);
        assert_int_equal(value, 41); /* index 40 there */
        assert_true(cell_next(&old_cell.next) == 41);
        assert_int_equal(seqnum_next(seq, &value), 0);
        assert_int_equal(value, 42);

        seq->head.next = (uint64_t *)&void_cell.next; /* or it led nowhere before */
        unit_expect(seq, 2);
        assert_int_equal(seqnum_next_inline(seq, &value), 0);
        assert_int_equal(value, 3);
        seq->views->older = NULL;
}

/* --- values ------------------------------------------------------------ */

static void test_increment(void **state)
{
        struct seqnum *seq = granted(*state, "fives", shape(10, 5, 1, 1000, false), 100);

        for (int64_t i = 0; i < 20; i++) {
                expect_peek(seq, 10 + 5 * i);
                unit_expect(seq, 10 + 5 * i);
        }
        expect_run(seq, 3, 110, 5);
        unit_expect(seq, 125);
}

static void test_descending(void **state)
{
        struct seqnum *seq = granted(*state, "down", shape(-1, -3, INT64_MIN, -1, false), 100);

        unit_expect(seq, -1);
        unit_expect(seq, -4);
        expect_run(seq, 10, -7, -3);
        expect_peek(seq, -37);
}

static void test_extremes(void **state)
{
        struct seqnum *seq = granted(*state, "wide",
                                     shape(INT64_MIN, INT64_MAX, INT64_MIN, INT64_MAX, false), 9);

        unit_expect(seq, INT64_MIN);
        unit_expect(seq, -1);
        unit_expect(seq, INT64_MAX - 1);
        unit_refused(seq, -EOVERFLOW);
}

static void test_cycle(void **state)
{
        struct seqnum *seq = granted(*state, "round", shape(8, 1, 1, 10, true), 1000);

        expect_peek(seq, 8);
        for (int64_t i = 7; i < 100; i++)
                unit_expect(seq, 1 + i % 10);
        expect_peek(seq, 1);
        unit_expect(seq, 1);

        expect_run(seq, 9, 2, 1); /* up to the very end of the round */
        unit_expect(seq, 1);
        expect_run(seq, 10, 1, 1); /* does not straddle: what was left is skipped */
        refuse_run(seq, 11, -ERANGE);
        unit_expect(seq, 1); /* and that took nothing */
}

static void test_cycle_descending(void **state)
{
        struct seqnum *seq = granted(*state, "round", shape(2, -2, 1, 9, true), 1000);

        unit_expect(seq, 2); /* 0 is below min */
        for (int round = 0; round < 3; round++)
                for (int64_t value = 9; value >= 1; value -= 2)
                        unit_expect(seq, value);
}

static void test_runs(void **state)
{
        struct unit *unit = *state;
        struct sequence *sequence = unit_sequence(unit, "runs", shape(0, 1, 0, 99999, false));
        struct seqnum *seq = unit_open(unit, "runs");

        unit_grant(unit, sequence, 0, 100);
        refuse_run(seq, 0, -EINVAL);
        expect_run(seq, 1, 0, 1);
        expect_run(seq, 99, 1, 1);
        refuse_run(seq, 1, -ETIMEDOUT);
        unit_grant(unit, sequence, 0, 110);
        refuse_run(seq, 11, -ETIMEDOUT); /* ten would have fitted */
        expect_run(seq, 10, 100, 1);
        refuse_run(seq, UINT32_MAX, -EOVERFLOW);
        assert_true(unit_next(unit, sequence) == 110);
}

/* --- refusals ---------------------------------------------------------- */

static void test_open(void **state)
{
        static const char *const bad[] = {"", "a b", "a;b", "\xc3\xa4", "a\n", "*"};
        struct unit *unit = *state;
        char name[SEQUENCE_NAME_MAX + 2];
        struct seqnum *seq = NULL;

        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                assert_int_equal(seqnum_open(&seq, unit->client, bad[i]), -EINVAL);
        assert_int_equal(seqnum_open(&seq, unit->client, "nobody"), -ENOENT);
        memset(name, 'n', sizeof(name));
        name[sizeof(name) - 1] = '\0';
        assert_int_equal(seqnum_open(&seq, unit->client, name), -EINVAL);
        assert_null(seq);
        name[SEQUENCE_NAME_MAX] = '\0';
        (void)unit_sequence(unit, name, sequence_params_default());
        assert_int_equal(seqnum_open(&seq, unit->client, name), 0);
        assert_null(seqnum_close(seq));
        assert_null(seqnum_close(NULL));
}

static void test_read_only(void **state)
{
        struct unit *unit = *state;
        struct seqnum *writer = granted(unit, "orders", shape(5, 1, 1, 99, false), 50);
        struct seqnum_client *client = NULL;
        struct seqnum *reader = NULL;

        assert_int_equal(seqnum_attach(&client, unit->shm, SEQNUM_RDONLY), 0);
        assert_int_equal(seqnum_open(&reader, client, "orders"), 0);
        for (int i = 0; i < 5; i++) {
                unit_refused(reader, -EACCES);
                refuse_run(reader, 3, -EACCES);
        }
        expect_peek(reader, 5);
        unit_expect(writer, 5);
        expect_peek(reader, 6);
        seqnum_detach(client); /* closes the handle */
}

static void test_damaged_constants(void **state)
{
        struct unit *unit = *state;
        struct sequence *sequence = unit_sequence(unit, "odd", sequence_params_default());
        struct window *window = unit_window(unit, sequence), good = *window;
        struct seqnum *seq = NULL;

        window->increment = 0;
        assert_int_equal(seqnum_open(&seq, unit->client, "odd"), -EBADMSG);
        window->increment = good.increment;
        window->kind = 99;
        assert_int_equal(seqnum_open(&seq, unit->client, "odd"), -EBADMSG);
        window->kind = good.kind;
        window->origin = 0; /* below min */
        assert_int_equal(seqnum_open(&seq, unit->client, "odd"), -EBADMSG);
        assert_null(seq);
}

/* With no descriptor to be had. */
static int draw_without_files(struct seqnum *seq)
{
        struct rlimit limit, none;
        int64_t value;
        int r;

        assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
        none = (struct rlimit){.rlim_max = limit.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
        r = seqnum_next(seq, &value);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
        return r;
}

/* A daemon that lives will mend it: waited for also by who cannot look whether one does. */
static void test_damaged_directory(void **state)
{
        struct unit *unit = *state;
        const struct segment_geometry *g = &unit->segment->map.geometry;
        _Atomic(uint64_t) *buckets = segment_at(unit->segment->map.base, g->buckets);
        struct sequence *sequence = unit_sequence(unit, "orders", sequence_params_default());
        struct seqnum *seq = unit_open(unit, "orders");

        publish_u32(&unit_window(unit, sequence)->state, WINDOW_RETIRED);
        publish_u64(&buckets[directory_hash("orders", 6) & (g->n_buckets - 1)], 1);
        assert_int_equal(seqnum_set_timeout(unit->client, 20000), 0);
        unit_refused(seq, -ETIMEDOUT);
        assert_int_equal(draw_without_files(seq), -ETIMEDOUT);
        unit->segment = segment_free(unit->segment);
        unit_refused(seq, -EBADMSG);
}

static void test_fork(void **state)
{
        struct unit *unit = *state;
        struct seqnum *seq = granted(unit, "orders", shape(0, 1, 0, 99, false), 50);
        pid_t child;

        unit_expect(seq, 0);
        child = fork();
        assert_true(child >= 0);
        if (child == 0) {
                struct seqnum_client *client;
                struct seqnum *other;
                struct seqnum_run run;
                int64_t value;

                if (seqnum_next(seq, &value) != -ECHILD || seqnum_peek(seq, &value) != -ECHILD ||
                    seqnum_next_run(seq, 2, &run) != -ECHILD ||
                    seqnum_open(&other, unit->client, "orders") != -ECHILD ||
                    seqnum_set_timeout(unit->client, 1) != -ECHILD)
                        _exit(1);
                seqnum_close(seq);
                seqnum_detach(unit->client);
                if (seqnum_attach(&client, unit->shm, 0) < 0 ||
                    seqnum_open(&other, client, "orders") < 0 || seqnum_next(other, &value) < 0 ||
                    value != 1)
                        _exit(2);
                seqnum_detach(client);
                _exit(0);
        }
        assert_int_equal(unit_reap(child), 0);
        unit_expect(seq, 2); /* the child's refused draws took nothing */
}

static void test_strerror(void **state)
{
        (void)state;
        assert_string_equal(seqnum_strerror(-ENOENT), "no such sequence");
        assert_string_equal(seqnum_strerror(ENOENT), "no such sequence");
        assert_non_null(seqnum_strerror(INT32_MIN + 1));
        assert_string_not_equal(seqnum_strerror(-ENXIO), seqnum_strerror(-EAGAIN));
}

/* --- threads ----------------------------------------------------------- */

struct drawer {
        pthread_t thread;
        struct seqnum *seq;
        uint32_t count;
        int error;
        int64_t values[DRAWS];
        _Atomic(uint64_t) *done;
};

static void *draw_many(void *argument)
{
        struct drawer *drawer = argument;

        for (int i = 0; i < DRAWS && drawer->error == 0; i++) {
                struct seqnum_run run;

                if (drawer->count == 1) {
                        drawer->error = seqnum_next(drawer->seq, &drawer->values[i]);
                } else {
                        drawer->error = seqnum_next_run(drawer->seq, drawer->count, &run);
                        drawer->values[i] = run.first;
                }
        }
        count_up(drawer->done);
        return NULL;
}

/* One move of the window, as the daemon might make it at this moment. */
static void move(struct unit *unit, struct sequence *sequence, unsigned n)
{
        uint64_t next;
        uint32_t old = sequence->slot;

        switch (n % 5) {
        case 0:
                (void)window_freeze(unit->segment, sequence);
                unit_save(unit, sequence);
                break;
        case 1: /* to the next slot, after a freeze */
                if (!sequence->frozen || n % 15 != 1)
                        break;
                unit_place(unit, sequence, sequence->frozen_at);
                segment_remove(unit->segment, sequence->name, old);
                window_hand_over(unit->segment, old);
                break;
        case 2:
                unit_grant(unit, sequence, sequence->hi + 5, sequence->hi + 50);
                break;
        default:
                assert_true(window_next(unit->segment, sequence, &next));
                if (next + 20 > sequence->hi)
                        unit_grant(unit, sequence, sequence->lo, next + 20);
        }
}

static void check_values(const struct drawer *drawers, uint8_t *taken, size_t n_taken)
{
        for (size_t t = 0; t < THREADS; t++) {
                assert_int_equal(drawers[t].error, 0);
                for (int i = 0; i < DRAWS; i++) {
                        int64_t value = drawers[t].values[i];

                        assert_true(i == 0 || value > drawers[t].values[i - 1]);
                        for (uint32_t j = 0; j < drawers[t].count; j++, value++) {
                                assert_true(value >= 0 && (size_t)value < n_taken);
                                assert_int_equal(taken[value], 0);
                                taken[value] = 1;
                        }
                }
        }
}

static void test_threads(void **state)
{
        static struct drawer drawers[THREADS];
        static uint8_t taken[1 << 24];
        struct unit *unit = *state;
        struct sequence *sequence = unit_sequence(unit, "orders", shape(0, 1, 0, INT64_MAX, false));
        _Atomic(uint64_t) done = 0;

        assert_int_equal(seqnum_set_timeout(unit->client, UNIT_PATIENCE_USEC), 0);
        for (uint32_t t = 0; t < THREADS; t++) {
                drawers[t].seq = unit_open(unit, "orders");
                drawers[t].count = t == 0 ? 3 : 1;
                drawers[t].done = &done;
                assert_int_equal(pthread_create(&drawers[t].thread, NULL, draw_many, &drawers[t]),
                                 0);
        }
        for (unsigned n = 0; count_read(&done) < THREADS; n++)
                move(unit, sequence, unit->segment->slots_used < 60 ? n : 3);
        for (uint32_t t = 0; t < THREADS; t++)
                assert_int_equal(pthread_join(drawers[t].thread, NULL), 0);
        check_values(drawers, taken, sizeof(taken));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                unit_case(test_old_cell_new_lens),
                unit_case(test_increment),
                unit_case(test_descending),
                unit_case(test_extremes),
                unit_case(test_cycle),
                unit_case(test_cycle_descending),
                unit_case(test_runs),
                unit_case(test_open),
                unit_case(test_read_only),
                unit_case(test_damaged_constants),
                unit_case(test_damaged_directory),
                unit_case(test_fork),
                cmocka_unit_test(test_strerror),
                unit_case(test_threads),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
