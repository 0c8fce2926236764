/* SPDX-License-Identifier: MIT */

/*
 * Refilling, with a store made up for it that fails or jumps when told to: what
 * goes into one commit, what is published and when, and what a failure leaves.
 */

#include "unit.h"

#include <poll.h>
#include <pthread.h>

#include "clock.h"
#include "refill.h"

#define OPS_MAX 32

/* Its own lock, since commits are made by another thread. */
struct fake_store {
        struct store store;
        pthread_mutex_t lock;
        int error;                                 /* what the next commits fail with */
        uint64_t refused;                          /* id of the sequence for which it is refused */
        uint64_t gap;                              /* leave so much out at the next reservation */
        uint64_t hi[OPS_MAX + 1], lo[OPS_MAX + 1]; /* by id */
        unsigned commits, failures;
        size_t last_ops;
        uint64_t last_count;
        /* called within each commit, before it returns */
        void (*within)(void *userdata);
        void *userdata;
};

struct fixture {
        struct unit *unit;
        struct fake_store fake;
        sd_event *event;
        struct committer *committer;
        struct refill refill;
        unsigned distrusted;
        bool voids; /* to distrust makes the segment anew, for which all positions are saved */
};

static void reserve(struct fake_store *fake, struct store_op *op)
{
        uint64_t *lo = &fake->lo[op->id], *hi = &fake->hi[op->id];
        uint64_t from = op->from > *hi ? op->from : *hi;

        from += fake->gap;
        if (from > *hi)
                *lo = from;
        *hi = from + op->count;
        op->lo = *lo;
        op->hi = *hi;
        fake->last_count = op->count;
}

static int fake_commit(struct store *store, struct store_op *ops, size_t n_ops)
{
        struct fake_store *fake = (struct fake_store *)store;
        int r;

        pthread_mutex_lock(&fake->lock);
        r = fake->error;
        for (size_t i = 0; i < n_ops; i++) {
                ops[i].error = ops[i].id == fake->refused ? -ESTALE : 0;
                if (r == 0)
                        r = ops[i].error;
        }
        fake->commits++;
        fake->failures += r < 0;
        fake->last_ops = n_ops;
        if (r == 0) {
                for (size_t i = 0; i < n_ops; i++)
                        if (ops[i].type == STORE_RESERVE)
                                reserve(fake, &ops[i]);
                fake->gap = 0;
        }
        if (fake->within)
                fake->within(fake->userdata);
        pthread_mutex_unlock(&fake->lock);
        return r;
}

static const struct store_vtable fake_vtable = {.commit = fake_commit};

static void note_distrust(struct sequence *sequence, void *userdata)
{
        struct fixture *fixture = userdata;

        registry_detach(&fixture->unit->registry, sequence); /* as if there were no room */
        fixture->distrusted++;
        if (fixture->voids)
                refill_void_plans(&fixture->refill);
}

static int setup(void **state)
{
        struct fixture *fixture = calloc(1, sizeof(*fixture));
        int r;

        *state = fixture;
        if (!fixture || unit_setup((void **)&fixture->unit) < 0)
                return -1;
        fixture->fake.store.vtable = &fake_vtable;
        pthread_mutex_init(&fixture->fake.lock, NULL);
        r = sd_event_new(&fixture->event);
        if (r >= 0)
                r = committer_new(&fixture->committer, &fixture->fake.store);
        if (r >= 0)
                r = refill_init(&fixture->refill, fixture->event, &fixture->unit->registry,
                                fixture->committer);
        fixture->refill.segment = fixture->unit->segment;
        fixture->refill.distrust = note_distrust;
        fixture->refill.userdata = fixture;
        return r < 0 ? r : 0;
}

static int teardown(void **state)
{
        struct fixture *fixture = *state;

        committer_drain(fixture->committer); /* a failed test may leave one under way */
        refill_clear(&fixture->refill);
        committer_free(fixture->committer);
        sd_event_unref(fixture->event);
        pthread_mutex_destroy(&fixture->fake.lock);
        (void)unit_teardown((void **)&fixture->unit);
        free(fixture);
        return 0;
}

static void fail_with_error(struct fixture *fixture, int error)
{
        pthread_mutex_lock(&fixture->fake.lock);
        fixture->fake.error = error;
        pthread_mutex_unlock(&fixture->fake.lock);
}

static unsigned commits(struct fixture *fixture)
{
        unsigned n;

        pthread_mutex_lock(&fixture->fake.lock);
        n = fixture->fake.commits;
        pthread_mutex_unlock(&fixture->fake.lock);
        return n;
}

static struct sequence *sequence_new(struct fixture *fixture, const char *name, uint64_t reserve_at)
{
        struct sequence_params params = sequence_params_default();

        params.start = params.min = 0;
        params.reserve = reserve_at;
        return unit_sequence(fixture->unit, name, params);
}

static bool is_committing(struct fixture *fixture)
{
        registry_each (&fixture->unit->registry, sequence)
                if (sequence->reserving)
                        return true;
        return false;
}

/* Answer the doorbell and let all commits that follow from it finish. */
static void answer(struct fixture *fixture)
{
        struct segment_shared *shared = fixture->unit->segment->map.shared;

        while (sem_trywait(&shared->doorbell) == 0)
                ;
        refill_answer(&fixture->refill);
        while (is_committing(fixture))
                committer_drain(fixture->committer);
}

/* Draw when nothing is reserved: rings, and gives its claim back. */
static void ask(struct seqnum *seq)
{
        unit_refused(seq, -ETIMEDOUT);
}

/* --- the usual --------------------------------------------------------- */

static void test_first(void **state)
{
        struct fixture *fixture = *state;
        struct sequence *sequence = sequence_new(fixture, "orders", 0);
        struct seqnum *seq = unit_open(fixture->unit, "orders");

        answer(fixture); /* nobody asked */
        assert_int_equal(commits(fixture), 0);
        ask(seq);
        answer(fixture);
        assert_int_equal(commits(fixture), 1);
        assert_true(sequence->hi == 32 && sequence->ceiling == 32);
        assert_false(sequence->reserving || sequence->wanted || sequence->exact);
        for (int64_t i = 0; i < 32; i++)
                unit_expect(seq, i);
        answer(fixture); /* the low mark rang on the way */
        assert_int_equal(commits(fixture), 2);
        assert_true(sequence->ceiling > 32);
        unit_expect(seq, 32);
}

static void test_one_commit(void **state)
{
        struct fixture *fixture = *state;
        static const char *const names[] = {"a", "b", "c"};
        struct sequence *sequences[3];
        struct seqnum *seqs[3];

        for (size_t i = 0; i < 3; i++) {
                sequences[i] = sequence_new(fixture, names[i], 10 * (i + 1));
                seqs[i] = unit_open(fixture->unit, names[i]);
        }
        ask(seqs[0]);
        ask(seqs[2]);
        ask(seqs[2]);
        answer(fixture);
        assert_int_equal(commits(fixture), 1);
        assert_int_equal(fixture->fake.last_ops, 2);
        assert_true(sequences[0]->ceiling == 10 && sequences[2]->ceiling == 30);
        assert_true(sequences[1]->ceiling == 0); /* did not ask */
}

static void test_fixed_reserve(void **state)
{
        struct fixture *fixture = *state;
        struct sequence *sequence = sequence_new(fixture, "one", 1);
        struct seqnum *seq = unit_open(fixture->unit, "one");

        ask(seq);
        for (int64_t i = 0; i < 50; i++) {
                answer(fixture);
                assert_in_range(sequence->ceiling, (uint64_t)i + 1, (uint64_t)i + 2);
                unit_expect(seq, i);
        }
}

static void test_size_grows(void **state)
{
        struct fixture *fixture = *state;
        struct sequence *sequence = sequence_new(fixture, "orders", 0);
        struct seqnum *seq = unit_open(fixture->unit, "orders");
        uint64_t first;

        ask(seq);
        answer(fixture);
        first = sequence->size;
        for (int i = 0; i < 3; i++) { /* used up at once, again and again */
                uint64_t before = sequence->size;
                int64_t value;

                while (seqnum_next(seq, &value) == 0)
                        ;
                answer(fixture);
                assert_true(sequence->size > before);
        }
        assert_true(sequence->size >= 64 * first);
        assert_true(sequence->ceiling >= unit_next(fixture->unit, sequence) + sequence->size);
}

static void test_large_run(void **state)
{
        struct fixture *fixture = *state;
        struct sequence *sequence = sequence_new(fixture, "orders", 0);

        (void)cell_claim(&unit_cell(fixture->unit, sequence)->next, 100000); /* somebody waits */
        refill_want(&fixture->refill, sequence);
        answer(fixture);
        assert_true(sequence->ceiling >= 100000);
}

static void test_limit(void **state)
{
        struct fixture *fixture = *state;
        struct sequence_params params = sequence_params_default();
        struct sequence *sequence;
        struct seqnum *seq;

        params.max = 40;
        sequence = unit_sequence(fixture->unit, "few", params);
        seq = unit_open(fixture->unit, "few");
        ask(seq);
        for (int64_t i = 1; i <= 40; i++) {
                answer(fixture);
                unit_expect(seq, i);
        }
        assert_true(sequence->ceiling == 40 && sequence->hi == 40);
        assert_int_equal(commits(fixture), 2);
        unit_refused(seq, -EOVERFLOW);
        refill_want(&fixture->refill, sequence);
        answer(fixture);
        assert_int_equal(commits(fixture), 2); /* nothing left to reserve */
}

static void test_thaw_at_end(void **state)
{
        struct fixture *fixture = *state;
        struct sequence_params params = sequence_params_default();
        struct sequence *sequence;
        struct seqnum *seq;

        params.max = 5;
        sequence = unit_sequence(fixture->unit, "few", params);
        seq = unit_open(fixture->unit, "few");
        unit_grant(fixture->unit, sequence, 0, 5);
        for (int64_t i = 1; i <= 5; i++)
                unit_expect(seq, i);
        assert_true(window_freeze(fixture->unit->segment, sequence) == 5);
        unit_save(fixture->unit, sequence);
        refill_want(&fixture->refill, sequence);
        answer(fixture);
        assert_false(sequence->frozen);
        assert_int_equal(commits(fixture), 0);
        unit_refused(seq, -EOVERFLOW);
}

/* --- frozen ------------------------------------------------------------ */

static void test_thaw(void **state)
{
        struct fixture *fixture = *state;
        struct sequence *sequence = sequence_new(fixture, "orders", 10);
        struct seqnum *seq = unit_open(fixture->unit, "orders");

        ask(seq);
        answer(fixture);
        unit_expect(seq, 0);
        (void)window_freeze(fixture->unit->segment, sequence);
        ask(seq);
        answer(fixture); /* not saved: what is reserved is still there, no commit */
        assert_int_equal(commits(fixture), 1);
        unit_expect(seq, 1);

        (void)window_freeze(fixture->unit->segment, sequence);
        unit_save(fixture->unit, sequence);
        fixture->fake.lo[sequence->id] = fixture->fake.hi[sequence->id] = sequence->hi;
        ask(seq);
        answer(fixture); /* saved: all must be reserved anew */
        assert_int_equal(commits(fixture), 2);
        assert_true(sequence->ceiling == 12 && !sequence->exact);
        unit_expect(seq, 2);
}

static void test_pause(void **state)
{
        struct fixture *fixture = *state;
        struct sequence *sequence = sequence_new(fixture, "orders", 10);
        struct seqnum *seq = unit_open(fixture->unit, "orders");

        ask(seq);
        refill_answer(&fixture->refill);
        refill_pause(&fixture->refill); /* finishes what is under way */
        assert_true(sequence->ceiling == 10 && !sequence->reserving);
        for (int64_t i = 0; i < 10; i++)
                unit_expect(seq, i);
        ask(seq);
        answer(fixture);
        assert_int_equal(commits(fixture), 1);
        refill_resume(&fixture->refill);
        committer_drain(fixture->committer);
        assert_true(sequence->ceiling >= 20);
        unit_expect(seq, 10);
}

/* --- jumps, failures --------------------------------------------------- */

static void test_jump(void **state)
{
        struct fixture *fixture = *state;
        struct sequence *sequence = sequence_new(fixture, "orders", 10);
        struct seqnum *seq = unit_open(fixture->unit, "orders");

        ask(seq);
        answer(fixture);
        for (int64_t i = 0; i < 10; i++)
                unit_expect(seq, i);
        fixture->fake.gap = 1000;
        answer(fixture);
        assert_true(sequence->floor == 1010 && sequence->lo == 1010);
        unit_expect(seq, 1010);
}

struct published {
        const struct window *window;
        uint64_t ceiling;
};

static void look_within(void *userdata)
{
        struct published *published = userdata;

        published->ceiling = window_look(&published->window->ceiling);
}

static void test_commit_first(void **state)
{
        struct fixture *fixture = *state;
        struct sequence *sequence = sequence_new(fixture, "orders", 10);
        struct seqnum *seq = unit_open(fixture->unit, "orders");
        struct published published = {
                .window = unit_window(fixture->unit, sequence),
                .ceiling = 4711,
        };

        fixture->fake.within = look_within;
        fixture->fake.userdata = &published;
        ask(seq);
        answer(fixture);
        assert_true(published.ceiling == 0); /* as it was while the commit was made */
        assert_true(sequence->ceiling == 10);
        for (int64_t i = 0; i < 8; i++)
                unit_expect(seq, i);
        answer(fixture);
        assert_true(published.ceiling == 10);
        assert_true(window_look(&published.window->ceiling) > 10);
}

static void test_failure(void **state)
{
        struct fixture *fixture = *state;
        struct sequence *sequence = sequence_new(fixture, "orders", 10);
        struct seqnum *seq = unit_open(fixture->unit, "orders");

        ask(seq);
        answer(fixture);
        for (int64_t i = 0; i < 10; i++)
                unit_expect(seq, i);
        fail_with_error(fixture, -ENOSPC);
        answer(fixture);
        assert_int_equal(fixture->fake.failures, 1);
        assert_true(sequence->ceiling == 10 && sequence->hi == 10);
        assert_true(window_look(&unit_window(fixture->unit, sequence)->ceiling) == 10);
        ask(seq);
        answer(fixture); /* not at once again, however often they ring */
        assert_int_equal(commits(fixture), 2);

        fail_with_error(fixture, 0);
        for (int i = 0; i < 100 && sequence->ceiling == 10; i++) {
                assert_true(sd_event_run(fixture->event, 100000) >= 0);
                committer_drain(fixture->committer);
        }
        assert_true(sequence->ceiling == 20);
        assert_int_equal(fixture->refill.failing_since, 0);
        unit_expect(seq, 10);
}

/*
 * Found by review: a sequence that the store refuses (its row was damaged, say)
 * failed the commit for all that were in it, again and again, for ever.
 */
static void test_one_refused(void **state)
{
        struct fixture *fixture = *state;
        struct sequence *damaged = sequence_new(fixture, "damaged", 10);
        struct sequence *orders = sequence_new(fixture, "orders", 10);
        struct seqnum *broken = unit_open(fixture->unit, "damaged");
        struct seqnum *seq = unit_open(fixture->unit, "orders");

        fixture->fake.refused = damaged->id;
        ask(broken);
        ask(seq);
        answer(fixture);
        assert_true(orders->ceiling == 10 && damaged->ceiling == 0);
        assert_int_equal(commits(fixture), 2);
        unit_expect(seq, 0);
        ask(broken);
        answer(fixture); /* not again for a while */
        assert_int_equal(commits(fixture), 2);
        assert_true(committer_sound(fixture->committer));

        fixture->fake.refused = 0;
        damaged->barred = 0; /* the while is over */
        ask(broken);
        answer(fixture);
        assert_true(damaged->ceiling == 10);
        unit_expect(broken, 0);
}

static void ignore_done(struct commit_job *job, int error)
{
        (void)error;
        (void)job;
}

/* Any commit that fails at the disk, to alter or to save, say. */
static void fail_some_commit(struct fixture *fixture)
{
        struct store_op op = {.type = STORE_TUNE, .id = 1};
        struct commit_job job = {.ops = &op, .n_ops = 1, .done = ignore_done};

        fail_with_error(fixture, -EIO);
        committer_submit(fixture->committer, &job);
        committer_drain(fixture->committer);
        assert_int_equal(job.error, -EIO);
}

/*
 * A commit that failed may turn up after all if we die: perhaps it was to end
 * this very window. What was closed for it is opened only after one succeeded,
 * also when nothing is left to reserve.
 */
static void test_failed_may_turn_up(void **state)
{
        struct fixture *fixture = *state;
        struct sequence_params params = sequence_params_default();
        struct sequence *sequence;
        struct seqnum *seq;

        params.max = 40;
        sequence = unit_sequence(fixture->unit, "few", params);
        seq = unit_open(fixture->unit, "few");
        unit_grant(fixture->unit, sequence, 0, 40);
        unit_expect(seq, 1);
        (void)window_freeze(fixture->unit->segment, sequence);
        fail_some_commit(fixture);

        ask(seq);
        answer(fixture);
        assert_true(sequence->frozen && sequence->ceiling == 1);
        ask(seq);
        fail_with_error(fixture, 0);
        for (int i = 0; i < 100 && sequence->frozen; i++) {
                assert_true(sd_event_run(fixture->event, 100000) >= 0);
                committer_drain(fixture->committer);
        }
        assert_true(!sequence->frozen && sequence->ceiling == 40);
        assert_true(fixture->fake.last_ops == 1 && fixture->fake.failures == 2);
        unit_expect(seq, 2);
}

/* --- what cannot be ---------------------------------------------------- */

/* After a distrust it waits for a moment before it looks again. */
static void nap_over(struct fixture *fixture)
{
        unit_await((sd_event_run(fixture->event, 1000), !fixture->refill.retrying));
}

static void test_distrust(void **state)
{
        struct fixture *fixture = *state;
        struct sequence *sequence = sequence_new(fixture, "orders", 10);

        unit_grant(fixture->unit, sequence, 100, 200);
        cell_thaw(&unit_cell(fixture->unit, sequence)->next, CELL_FROZEN - 1);
        refill_want(&fixture->refill, sequence);
        answer(fixture);
        assert_int_equal(fixture->distrusted, 1);
        assert_int_equal(commits(fixture), 0);
}

/* A hole punched over the cells; a window that says what we did not write. */
static void test_distrust_wiped(void **state)
{
        struct fixture *fixture = *state;
        struct sequence *sequence = sequence_new(fixture, "orders", 10);

        unit_grant(fixture->unit, sequence, 0, 200);
        memset(unit_cell(fixture->unit, sequence), 0, sizeof(struct cell));
        refill_want(&fixture->refill, sequence);
        answer(fixture);
        assert_int_equal(fixture->distrusted, 1);

        nap_over(fixture);
        sequence = sequence_new(fixture, "invoices", 10);
        unit_grant(fixture->unit, sequence, 0, 200);
        window_publish(&unit_window(fixture->unit, sequence)->ceiling, 300);
        sequence->demand = 201; /* it cannot be left to gather */
        refill_want(&fixture->refill, sequence);
        answer(fixture);
        assert_int_equal(fixture->distrusted, 2);
        assert_int_equal(commits(fixture), 0);
}

/* What was planned before the positions changed is not committed. */
static void test_distrust_voids_plans(void **state)
{
        struct fixture *fixture = *state;
        struct sequence *orders = sequence_new(fixture, "orders", 10);
        struct sequence *damaged = sequence_new(fixture, "damaged", 10);

        fixture->voids = true;
        unit_grant(fixture->unit, damaged, 0, 200);
        memset(unit_cell(fixture->unit, damaged), 0, sizeof(struct cell));
        orders->demand = 1;
        refill_want(&fixture->refill, orders);
        refill_want(&fixture->refill, damaged);
        answer(fixture);
        assert_int_equal(fixture->distrusted, 1);
        assert_int_equal(commits(fixture), 0);
        assert_false(orders->reserving);

        nap_over(fixture);
        answer(fixture);
        assert_int_equal(commits(fixture), 1);
        assert_true(orders->ceiling == 10);
}

/* Any client may mark anything in the bitmaps. */
static void test_marks_of_nobody(void **state)
{
        struct fixture *fixture = *state;
        struct mapping *map = &fixture->unit->segment->map;
        struct sequence *sequence = sequence_new(fixture, "orders", 10);

        for (size_t i = 0; i < sizeof(map->shared->summary) / 8; i++)
                (void)bell_mark(&map->shared->summary[i], UINT64_MAX);
        for (uint32_t i = 0; i < map->geometry.n_slots / 64; i++)
                (void)bell_mark(&map->wants[i], UINT64_MAX);
        answer(fixture);
        assert_int_equal(commits(fixture), 1);
        assert_int_equal(fixture->fake.last_ops, 1);
        assert_true(sequence->ceiling == 10);
}

/* A store from a backup catches up with what the segment has given out. */
static void test_store_behind(void **state)
{
        struct fixture *fixture = *state;
        struct sequence *sequence = sequence_new(fixture, "orders", 10);
        struct seqnum *seq = unit_open(fixture->unit, "orders");

        unit_grant(fixture->unit, sequence, 0, 500);
        for (int64_t i = 0; i < 20; i++)
                unit_expect(seq, i);
        sequence->lo = 0;
        sequence->hi = fixture->fake.hi[sequence->id] = 15;
        refill_want(&fixture->refill, sequence);
        answer(fixture);
        assert_true(fixture->fake.hi[sequence->id] >= 500);
        assert_true(window_look(&unit_window(fixture->unit, sequence)->ceiling) >= 500);
        for (int64_t i = 20; i < 500; i++)
                unit_expect(seq, i);
}

/* --- gapless --------------------------------------------------------------- */

static struct sequence *gapless_new(struct fixture *fixture)
{
        struct sequence_params params = {.kind = SEQUENCE_GAPLESS, .increment = 1};

        sequence_params_complete(&params, false, false, false);
        return unit_sequence(fixture->unit, "invoices", params);
}

/* As a client that has the turn commits; it would then ring and wait. */
static void commit(struct fixture *fixture, struct sequence *sequence, uint64_t count)
{
        struct cell *cell = unit_cell(fixture->unit, sequence);
        uint64_t next = cell_next(&cell->next);

        assert_true(cell_advance(&cell->next, &next, next + count));
        refill_want(&fixture->refill, sequence);
}

static void test_gapless(void **state)
{
        struct fixture *fixture = *state;
        struct sequence *sequence = gapless_new(fixture);
        struct window *window = unit_window(fixture->unit, sequence);

        refill_want(&fixture->refill, sequence);
        answer(fixture);
        assert_int_equal(commits(fixture), 0); /* nothing to save */
        commit(fixture, sequence, 1);
        assert_int_equal(window_look(&window->ceiling), 0);
        answer(fixture);
        assert_int_equal(commits(fixture), 1);
        assert_int_equal(window_look(&window->ceiling), 1);
        assert_true(sequence->hi == 1 && sequence->lo == 1 && sequence->exact);
        for (int i = 0; i < 5; i++)
                commit(fixture, sequence, 1);
        answer(fixture);
        assert_int_equal(commits(fixture), 2); /* one for all five */
        assert_int_equal(window_look(&window->ceiling), 6);
}

static void commit_within(void *userdata)
{
        struct fixture *fixture = userdata;
        struct sequence *sequence = registry_find(&fixture->unit->registry, "invoices");
        struct cell *cell = unit_cell(fixture->unit, sequence);
        uint64_t next = cell_next(&cell->next);

        if (next < 3)
                (void)cell_advance(&cell->next, &next, next + 1);
}

/* What is committed while a save is under way is in the next. */
static void test_gapless_meanwhile(void **state)
{
        struct fixture *fixture = *state;
        struct sequence *sequence = gapless_new(fixture);

        fixture->fake.within = commit_within;
        fixture->fake.userdata = fixture;
        commit(fixture, sequence, 1);
        answer(fixture);
        assert_int_equal(commits(fixture), 3);
        assert_int_equal(window_look(&unit_window(fixture->unit, sequence)->ceiling), 3);
}

static void test_gapless_failure(void **state)
{
        struct fixture *fixture = *state;
        struct sequence *sequence = gapless_new(fixture);
        struct window *window = unit_window(fixture->unit, sequence);

        fail_with_error(fixture, -EIO);
        commit(fixture, sequence, 1);
        answer(fixture);
        assert_int_equal(window_look(&window->ceiling), 0);
        assert_true(sequence->wanted); /* it will be tried again */
        assert_int_equal(sequence->hi, 0);
}

static void test_gapless_thaw(void **state)
{
        struct fixture *fixture = *state;
        struct sequence *sequence = gapless_new(fixture);
        struct cell *cell = unit_cell(fixture->unit, sequence);
        uint64_t next = 2;

        commit(fixture, sequence, 2);
        assert_int_equal(window_freeze(fixture->unit->segment, sequence), 2);
        assert_false(cell_advance(&cell->next, &next, 3));
        assert_true(next == (CELL_FROZEN | 2));
        assert_int_equal(sequence->ceiling, 0);
        answer(fixture); /* not saved where it was closed: that first */
        assert_int_equal(commits(fixture), 1);
        assert_int_equal(cell_next(&cell->next), 2);
        assert_int_equal(see_u32(&unit_window(fixture->unit, sequence)->state), WINDOW_OPEN);
        assert_true(sequence->ceiling == 2 && !sequence->frozen);

        (void)window_freeze(fixture->unit->segment, sequence);
        refill_want(&fixture->refill, sequence);
        answer(fixture); /* saved already: open again without */
        assert_int_equal(commits(fixture), 1);
        assert_int_equal(cell_next(&cell->next), 2);
}

/* A next index below what was committed, and one far above, is nobody's commit. */
static void test_gapless_distrust(void **state)
{
        struct fixture *fixture = *state;
        struct sequence *sequence = gapless_new(fixture);
        struct cell *cell = unit_cell(fixture->unit, sequence);
        uint32_t slot;

        commit(fixture, sequence, 5);
        answer(fixture);
        slot = sequence->slot;
        cell_thaw(&cell->next, 4);
        refill_want(&fixture->refill, sequence);
        answer(fixture);
        assert_int_equal(fixture->distrusted, 1);
        nap_over(fixture);
        assert_int_equal(registry_move(&fixture->unit->registry, sequence, slot), 0);
        cell_thaw(&cell->next, 6 + WINDOW_OVERSHOOT_MAX);
        refill_want(&fixture->refill, sequence);
        answer(fixture);
        assert_int_equal(fixture->distrusted, 2);
        assert_int_equal(commits(fixture), 1);
}

/* --- kind time --------------------------------------------------------------- */

#define SERIAL_BITS 12

static uint64_t now_index(const struct sequence *sequence)
{
        struct timespec t;

        clock_gettime(CLOCK_REALTIME, &t);
        return sequence_time_index(&sequence->params,
                                   (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000);
}

static struct sequence *time_new(struct fixture *fixture, uint64_t reserve_ms)
{
        struct sequence_params params = {
                .kind = SEQUENCE_TIME,
                .node_bits = 10,
                .serial_bits = SERIAL_BITS,
                .reserve = reserve_ms,
                .epoch = SEQUENCE_EPOCH,
        };

        sequence_params_complete(&params, false, false, false);
        return unit_sequence(fixture->unit, "ids", params);
}

/* What is reserved reaches ahead of the clock, wherever `next` is. */
static void test_time(void **state)
{
        struct fixture *fixture = *state;
        struct sequence *sequence = time_new(fixture, 600000);
        uint64_t ahead = UINT64_C(600000) << SERIAL_BITS, before = now_index(sequence), ceiling;

        refill_want(&fixture->refill, sequence);
        answer(fixture);
        assert_int_equal(commits(fixture), 1);
        ceiling = sequence->ceiling;
        assert_true(ceiling >= before + ahead && ceiling <= now_index(sequence) + ahead);
        assert_true(sequence->low == ceiling - ahead / 2);
        refill_want(&fixture->refill, sequence);
        answer(fixture); /* enough is ahead */
        assert_int_equal(commits(fixture), 1);

        /* Ids run ahead of a clock that was stepped back: then ahead of those. */
        cell_thaw(&unit_cell(fixture->unit, sequence)->next, ceiling - 1);
        refill_want(&fixture->refill, sequence);
        answer(fixture);
        assert_int_equal(commits(fixture), 2);
        assert_true(sequence->ceiling == ceiling - 1 + ahead);
}

static void test_time_thaw(void **state)
{
        struct fixture *fixture = *state;
        struct sequence *sequence = time_new(fixture, 1000);
        uint64_t next = now_index(sequence) + 77;

        refill_want(&fixture->refill, sequence);
        answer(fixture);
        cell_thaw(&unit_cell(fixture->unit, sequence)->next, next);
        assert_true(window_freeze(fixture->unit->segment, sequence) == next);
        unit_save(fixture->unit, sequence);
        refill_want(&fixture->refill, sequence);
        answer(fixture);
        assert_true(unit_next(fixture->unit, sequence) == next);
        assert_true(sequence->ceiling > next && !sequence->frozen);
}

/* --- who can wait for others ---------------------------------------------- */

/* Drawn past its low mark, and last refilled so long ago. */
static void draw_past_low(struct fixture *fixture, struct sequence *sequence, uint64_t usec)
{
        sequence->refilled_usec = unit_usec() - usec;
        sequence->refilled_next = unit_next(fixture->unit, sequence);
        (void)cell_claim(&unit_cell(fixture->unit, sequence)->next,
                         sequence->low + 1 - sequence->refilled_next);
        refill_want(&fixture->refill, sequence);
}

static struct sequence *filled(struct fixture *fixture, const char *name, uint64_t reserve_at)
{
        struct sequence *sequence = sequence_new(fixture, name, reserve_at);

        ask(unit_open(fixture->unit, name));
        answer(fixture);
        assert_true(sequence->ceiling == (reserve_at ? reserve_at : 32));
        return sequence;
}

static void await_commits(struct fixture *fixture, unsigned n)
{
        for (int i = 0; i < 100 && commits(fixture) < n; i++) {
                assert_true(sd_event_run(fixture->event, 100000) >= 0);
                committer_drain(fixture->committer);
        }
        assert_int_equal(commits(fixture), n);
}

static void test_gathered(void **state)
{
        struct fixture *fixture = *state;
        struct sequence *a = filled(fixture, "a", 100), *b = filled(fixture, "b", 1000);

        draw_past_low(fixture, a, 10 * USEC_PER_SEC);
        answer(fixture);
        draw_past_low(fixture, b, 1000 * USEC_PER_SEC);
        answer(fixture);
        answer(fixture);
        assert_int_equal(commits(fixture), 2); /* nobody is in a hurry */
        await_commits(fixture, 3);
        assert_int_equal(fixture->fake.last_ops, 2);
        assert_true(a->ceiling > 100 && b->ceiling > 1000);
        /* The next time takes as long. */
        draw_past_low(fixture, a, 10 * USEC_PER_SEC);
        answer(fixture);
        assert_int_equal(commits(fixture), 3);
        await_commits(fixture, 4);
}

static void test_not_gathered(void **state)
{
        struct fixture *fixture = *state;
        struct sequence *slow = filled(fixture, "slow", 100), *fast = filled(fixture, "fast", 100),
                        *large = filled(fixture, "large", 1000000);

        /* One that would run out first takes the others along. */
        draw_past_low(fixture, slow, 10 * USEC_PER_SEC);
        answer(fixture);
        assert_int_equal(commits(fixture), 3);
        draw_past_low(fixture, fast, 1000);
        answer(fixture);
        assert_int_equal(commits(fixture), 4);
        assert_int_equal(fixture->fake.last_ops, 2);
        /* So does one that will outlast a commit whatever happens, but not much more. */
        draw_past_low(fixture, slow, 10 * USEC_PER_SEC);
        draw_past_low(fixture, large, 1000 * USEC_PER_SEC);
        answer(fixture);
        assert_int_equal(commits(fixture), 5);
        assert_int_equal(fixture->fake.last_ops, 2);
        /* And one that somebody waits for, who is not known to have drawn fast. */
        draw_past_low(fixture, slow, 10 * USEC_PER_SEC);
        (void)cell_claim(&unit_cell(fixture->unit, fast)->next, 1000);
        fast->refilled_usec = unit_usec() - 10 * USEC_PER_SEC;
        refill_want(&fixture->refill, fast);
        answer(fixture);
        assert_int_equal(commits(fixture), 6);
        assert_int_equal(fixture->fake.last_ops, 2);
}

/* A disk that takes long makes windows longer. */
static void test_slow_commits(void **state)
{
        struct fixture *fixture = *state;
        struct sequence *sequence = filled(fixture, "orders", 0), *other;

        assert_true(fixture->refill.commit_usec < USEC_PER_SEC);
        fixture->refill.commit_usec = 16 * USEC_PER_SEC;
        sequence->size = 1000;
        draw_past_low(fixture, sequence, 1000);
        answer(fixture);
        assert_true(sequence->size == 16000);
        /* It is not forgotten at once. */
        assert_in_range(fixture->refill.commit_usec, 15 * USEC_PER_SEC, 15 * USEC_PER_SEC);
        other = filled(fixture, "other", 10);
        assert_true(other->ceiling == 10);
        assert_in_range(fixture->refill.commit_usec, 14 * USEC_PER_SEC, 15 * USEC_PER_SEC);
}

#define refill_test(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

/*
 * Closed without knowing where claims ended: somebody may wait with the very index at
 * which the window would go on. It is not opened again.
 */
static void test_spoilt(void **state)
{
        struct fixture *fixture = *state;
        struct sequence *sequence = sequence_new(fixture, "orders", 10);
        struct seqnum *seq = unit_open(fixture->unit, "orders");
        struct window *window = unit_window(fixture->unit, sequence);
        struct cell *cell = unit_cell(fixture->unit, sequence);
        uint64_t waiting;

        ask(seq);
        answer(fixture);
        window_learn(fixture->unit->segment, sequence);
        for (int64_t i = 0; i < 10; i++)
                unit_expect(seq, i);
        window_learn(fixture->unit->segment, sequence);
        waiting = cell_claim(&cell->next, 1);
        assert_true(waiting == sequence->ceiling);
        cell_thaw(&cell->next, 3); /* scribbled upon */
        assert_true(window_freeze(fixture->unit->segment, sequence) == waiting);
        refill_want(&fixture->refill, sequence);
        answer(fixture);
        assert_true(window_look(&window->ceiling) <= waiting); /* or two would have it */
        assert_int_equal(fixture->distrusted, 1);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                refill_test(test_first),
                refill_test(test_one_commit),
                refill_test(test_fixed_reserve),
                refill_test(test_size_grows),
                refill_test(test_large_run),
                refill_test(test_limit),
                refill_test(test_spoilt),
                refill_test(test_thaw_at_end),
                refill_test(test_thaw),
                refill_test(test_pause),
                refill_test(test_jump),
                refill_test(test_commit_first),
                refill_test(test_failure),
                refill_test(test_one_refused),
                refill_test(test_distrust),
                refill_test(test_distrust_wiped),
                refill_test(test_distrust_voids_plans),
                refill_test(test_marks_of_nobody),
                refill_test(test_store_behind),
                refill_test(test_failed_may_turn_up),
                refill_test(test_gapless),
                refill_test(test_gapless_meanwhile),
                refill_test(test_gapless_failure),
                refill_test(test_gapless_thaw),
                refill_test(test_gapless_distrust),
                refill_test(test_time),
                refill_test(test_time_thaw),
                refill_test(test_gathered),
                refill_test(test_not_gathered),
                refill_test(test_slow_commits),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
