/* SPDX-License-Identifier: MIT */

/*
 * The committing thread: what it takes together, whom it blames, in which order
 * it reports. Its store is one made up here, which notes every transaction and
 * holds it up until told; one test at the end uses the real one.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <ftw.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "committer.h"

#define MANY           10000
#define MOST_COMMITS   64
#define PATIENCE_MSEC  20000
#define REAL_SEQUENCES 100000

/* --- a store that waits ------------------------------------------------ */

/* What the made-up store does with an op, by its id. */
enum {
        FINE = 1,
        EXISTS, /* to blame */
        UNKNOWN,
        STALE,
        INVALID,
        OVER,
        BROKEN_DISK, /* not to blame */
        FULL_DISK,
        DAMAGED,
};

static const int errors[] = {
        [FINE] = 0,           [EXISTS] = -EEXIST,    [UNKNOWN] = -ENOENT,
        [STALE] = -ESTALE,    [INVALID] = -EINVAL,   [OVER] = -EOVERFLOW,
        [BROKEN_DISK] = -EIO, [FULL_DISK] = -ENOSPC, [DAMAGED] = -EBADMSG,
};

struct fake {
        struct store store;
        pthread_mutex_t lock;
        pthread_cond_t changed;
        bool held;        /* a commit waits until it is not */
        bool silent;      /* says no sentence when it fails */
        unsigned n_begun; /* commits, also those being held */
        size_t sizes[MOST_COMMITS];
        uint64_t confirmed; /* ops in commits that succeeded */
        bool signals_blocked;
};

static void fake_enter(struct fake *fake, size_t n_ops)
{
        pthread_mutex_lock(&fake->lock);
        if (fake->n_begun < MOST_COMMITS)
                fake->sizes[fake->n_begun] = n_ops;
        fake->n_begun++;
        pthread_cond_broadcast(&fake->changed);
        while (fake->held)
                pthread_cond_wait(&fake->changed, &fake->lock);
        pthread_mutex_unlock(&fake->lock);
}

static int fake_commit(struct store *store, struct store_op *ops, size_t n_ops)
{
        struct fake *fake = (struct fake *)store;
        sigset_t blocked;

        fake_enter(fake, n_ops);
        pthread_sigmask(SIG_SETMASK, NULL, &blocked);
        fake->signals_blocked = sigismember(&blocked, SIGTERM) && sigismember(&blocked, SIGHUP);
        free(store->message);
        store->message = NULL;
        for (size_t i = 0; i < n_ops; i++) {
                ops[i].error = errors[ops[i].id];
                if (ops[i].error == 0)
                        continue;
                if (!fake->silent && asprintf(&store->message, "op %d is bad", (int)ops[i].id) < 0)
                        abort();
                return ops[i].error;
        }
        for (size_t i = 0; i < n_ops; i++)
                ops[i].hi = ops[i].from + ops[i].count;
        fake->confirmed += n_ops;
        return 0;
}

static void fake_close(struct store *store)
{
        free(store->message);
        store->message = NULL;
}

static int fake_load(struct store *store,
                     int (*each)(const struct store_sequence *sequence, void *userdata),
                     void *userdata)
{
        (void)store;
        (void)each;
        (void)userdata;
        return 0;
}

static const struct store_vtable fake_vtable = {
        .load = fake_load,
        .commit = fake_commit,
        .close = fake_close,
};

static void hold(struct fake *fake, bool held)
{
        pthread_mutex_lock(&fake->lock);
        fake->held = held;
        pthread_cond_broadcast(&fake->changed);
        pthread_mutex_unlock(&fake->lock);
}

/* Until the store has begun `n` commits. */
static void await_begun(struct fake *fake, unsigned n)
{
        pthread_mutex_lock(&fake->lock);
        while (fake->n_begun < n)
                pthread_cond_wait(&fake->changed, &fake->lock);
        pthread_mutex_unlock(&fake->lock);
}

static unsigned count_begun(struct fake *fake)
{
        unsigned n;

        pthread_mutex_lock(&fake->lock);
        n = fake->n_begun;
        pthread_mutex_unlock(&fake->lock);
        return n;
}

/* --- jobs -------------------------------------------------------------- */

struct fixture {
        struct fake fake;
        struct committer *committer;
        unsigned n_done;
        unsigned order[64]; /* numbers of the jobs, as they were reported */
        unsigned left;      /* jobs that done() is still to submit */
};

struct job {
        struct commit_job job;
        struct fixture *fixture;
        struct store_op ops[3];
        unsigned number;
        bool reported;
        int error;
};

static void job_done(struct commit_job *commit, int error)
{
        struct job *job = commit->userdata;
        struct fixture *f = job->fixture;

        assert_false(job->reported);
        job->reported = true;
        job->error = error;
        if (f->n_done < 64)
                f->order[f->n_done] = job->number;
        f->n_done++;
}

static void job_init(struct job *job, struct fixture *f, unsigned number, uint64_t what)
{
        *job = (struct job){.fixture = f, .number = number};
        job->ops[0] = (struct store_op){
                .type = STORE_RESERVE,
                .id = what,
                .from = number,
                .count = 5,
        };
        job->job = (struct commit_job){
                .ops = job->ops,
                .n_ops = 1,
                .done = job_done,
                .userdata = job,
        };
        memset(job->job.message, 'x', sizeof(job->job.message));
}

static void submit(struct fixture *f, struct job *job, unsigned number, uint64_t what)
{
        job_init(job, f, number, what);
        committer_submit(f->committer, &job->job);
}

static bool readable(struct fixture *f, int timeout_msec)
{
        struct pollfd poller = {.fd = committer_fd(f->committer), .events = POLLIN};

        return poll(&poller, 1, timeout_msec) == 1;
}

/* As the loop does: wait, dispatch, until `n` jobs were reported. */
static void loop_until(struct fixture *f, unsigned n)
{
        while (f->n_done < n) {
                assert_true(readable(f, PATIENCE_MSEC));
                committer_dispatch(f->committer);
        }
}

/* Hold the worker up in a commit of `job` alone, so that what follows gathers. */
static void occupy(struct fixture *f, struct job *job)
{
        hold(&f->fake, true);
        submit(f, job, 0, FINE);
        await_begun(&f->fake, 1);
}

static int setup(void **state)
{
        struct fixture *f = calloc(1, sizeof(*f));

        *state = f;
        if (!f)
                return -1;
        f->fake.store.vtable = &fake_vtable;
        pthread_mutex_init(&f->fake.lock, NULL);
        pthread_cond_init(&f->fake.changed, NULL);
        return committer_new(&f->committer, &f->fake.store);
}

/* Runs also when the test failed. */
static int teardown(void **state)
{
        struct fixture *f = *state;

        hold(&f->fake, false);
        committer_free(f->committer);
        store_close(&f->fake.store);
        pthread_cond_destroy(&f->fake.changed);
        pthread_mutex_destroy(&f->fake.lock);
        free(f);
        return 0;
}

static void expect_counters(struct fixture *f, uint64_t commits, uint64_t jobs, uint64_t failed)
{
        struct commit_counters counters = committer_counters(f->committer);

        assert_int_equal(counters.commits, commits);
        assert_int_equal(counters.jobs, jobs);
        assert_int_equal(counters.failed, failed);
}

/* --- one job ----------------------------------------------------------- */

static void test_one(void **state)
{
        struct fixture *f = *state;
        struct job job;

        assert_false(readable(f, 0));
        expect_counters(f, 0, 0, 0);
        occupy(f, &job);
        assert_false(readable(f, 20));
        committer_dispatch(f->committer); /* nothing is finished */
        assert_int_equal(f->n_done, 0);
        hold(&f->fake, false);
        assert_true(readable(f, PATIENCE_MSEC));
        assert_false(job.reported); /* not before it is dispatched */
        committer_dispatch(f->committer);
        assert_true(job.reported);
        assert_int_equal(job.error, 0);
        assert_string_equal(job.job.message, "");
        assert_int_equal(job.ops[0].hi, 5);
        assert_false(readable(f, 0));
        committer_dispatch(f->committer);
        assert_int_equal(f->n_done, 1);
        expect_counters(f, 1, 1, 0);
        assert_true(f->fake.signals_blocked);
}

static void test_nothing(void **state)
{
        struct fixture *f = *state;

        committer_drain(f->committer);
        committer_dispatch(f->committer);
        assert_int_equal(f->n_done, 0);
        assert_int_equal(count_begun(&f->fake), 0);
        assert_null(committer_free(NULL));
}

/* --- together ---------------------------------------------------------- */

static void test_group_commit(void **state)
{
        struct fixture *f = *state;
        struct job first, jobs[20];

        occupy(f, &first);
        for (unsigned i = 0; i < 20; i++) {
                job_init(&jobs[i], f, i + 1, FINE);
                jobs[i].job.n_ops = i % 4; /* also none */
                for (unsigned j = 0; j < 3; j++)
                        jobs[i].ops[j] = (struct store_op){.id = FINE,
                                                           .from = 100 * i,
                                                           .count = j,
                                                           .error = -4711};
                committer_submit(f->committer, &jobs[i].job);
        }
        hold(&f->fake, false);
        loop_until(f, 21);
        assert_int_equal(f->fake.n_begun, 2);
        assert_int_equal(f->fake.sizes[0], 1);
        assert_int_equal(f->fake.sizes[1], 5 * (0 + 1 + 2 + 3));
        expect_counters(f, 2, 21, 0);
        for (unsigned i = 0; i < 20; i++) {
                assert_int_equal(f->order[i + 1], i + 1);
                assert_int_equal(jobs[i].error, 0);
                assert_string_equal(jobs[i].job.message, "");
                for (unsigned j = 0; j < 3; j++) { /* each got back its own */
                        assert_int_equal(jobs[i].ops[j].hi, j < i % 4 ? 100 * i + j : 0);
                        assert_int_equal(jobs[i].ops[j].error, j < i % 4 ? 0 : -4711);
                }
        }
}

static void test_one_to_blame(void **state)
{
        struct fixture *f = *state;

        for (uint64_t what = EXISTS; what <= OVER; what++) {
                unsigned begun = count_begun(&f->fake), done = f->n_done;
                struct job jobs[6];
                char sentence[32];

                hold(&f->fake, true);
                submit(f, &jobs[0], 0, FINE);
                await_begun(&f->fake, begun + 1);
                for (unsigned i = 1; i < 6; i++)
                        submit(f, &jobs[i], i, i == 3 ? what : FINE);
                hold(&f->fake, false);
                loop_until(f, done + 6);
                assert_int_equal(count_begun(&f->fake) - begun, 1 + 1 + 5);
                (void)snprintf(sentence, sizeof(sentence), "op %d is bad", (int)what);
                for (unsigned i = 0; i < 6; i++) {
                        assert_int_equal(f->order[done + i], i);
                        assert_int_equal(jobs[i].error, i == 3 ? errors[what] : 0);
                        assert_string_equal(jobs[i].job.message, i == 3 ? sentence : "");
                        assert_int_equal(jobs[i].ops[0].hi, i == 3 ? 0 : i + 5);
                }
        }
        expect_counters(f, 5 * 7, 5 * 6, 5);
        assert_int_equal(f->fake.confirmed, 5 * 5);
}

static void test_the_disk_to_blame(void **state)
{
        struct fixture *f = *state;

        for (uint64_t what = BROKEN_DISK; what <= DAMAGED; what++) {
                unsigned begun = count_begun(&f->fake), done = f->n_done;
                struct job jobs[6];
                char sentence[32];

                hold(&f->fake, true);
                submit(f, &jobs[0], 0, FINE);
                await_begun(&f->fake, begun + 1);
                for (unsigned i = 1; i < 6; i++)
                        submit(f, &jobs[i], i, i == 3 ? what : FINE);
                hold(&f->fake, false);
                loop_until(f, done + 6);
                assert_int_equal(count_begun(&f->fake) - begun, 2);
                (void)snprintf(sentence, sizeof(sentence), "op %d is bad", (int)what);
                for (unsigned i = 1; i < 6; i++) {
                        assert_int_equal(f->order[done + i], i);
                        assert_int_equal(jobs[i].error, errors[what]);
                        assert_string_equal(jobs[i].job.message, sentence);
                }
                assert_int_equal(jobs[0].error, 0);
        }
        expect_counters(f, 3 * 2, 3 * 6, 3 * 5);
        assert_int_equal(f->fake.confirmed, 3);
}

static void commit_now(struct fixture *f, uint64_t what)
{
        struct job job;

        submit(f, &job, 1, what);
        committer_drain(f->committer);
        assert_int_equal(job.error, errors[what]);
}

/* What failed at the disk is settled by a commit that succeeds, and by nothing else. */
static void test_sound(void **state)
{
        struct fixture *f = *state;

        assert_true(committer_sound(f->committer));
        for (uint64_t what = EXISTS; what <= OVER; what++) {
                commit_now(f, what);
                assert_true(committer_sound(f->committer));
        }
        for (uint64_t what = BROKEN_DISK; what <= DAMAGED; what++) {
                commit_now(f, what);
                assert_false(committer_sound(f->committer));
                commit_now(f, EXISTS); /* stopped before it wrote anything */
                assert_false(committer_sound(f->committer));
                commit_now(f, FINE);
                assert_true(committer_sound(f->committer));
        }
}

/* The same of jobs committed one by one, as one of them is to blame. */
static void test_sound_one_by_one(void **state)
{
        static const struct {
                uint64_t what[3];
                bool sound;
        } cases[] = {
                {{EXISTS, BROKEN_DISK, EXISTS}, false},
                {{EXISTS, BROKEN_DISK, FINE}, true},
                {{EXISTS, FINE, BROKEN_DISK}, false},
                {{FINE, EXISTS, STALE}, true},
        };
        struct fixture *f = *state;

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                unsigned begun = count_begun(&f->fake);
                struct job first, jobs[3];

                hold(&f->fake, true);
                submit(f, &first, 0, FINE);
                await_begun(&f->fake, begun + 1);
                for (unsigned j = 0; j < 3; j++)
                        submit(f, &jobs[j], j, cases[i].what[j]);
                hold(&f->fake, false);
                committer_drain(f->committer);
                assert_int_equal(count_begun(&f->fake) - begun, 5);
                assert_int_equal(committer_sound(f->committer), cases[i].sound);
        }
}

/* The store has no words, or more than there is room for. */
static void test_messages(void **state)
{
        struct fixture *f = *state;
        struct job job;

        f->fake.silent = true;
        submit(f, &job, 1, BROKEN_DISK);
        committer_drain(f->committer);
        assert_string_equal(job.job.message, strerror(EIO));
        f->fake.store.message = malloc(3 * COMMIT_MESSAGE_SIZE);
        assert_non_null(f->fake.store.message);
        memset(f->fake.store.message, 'm', 3 * COMMIT_MESSAGE_SIZE);
        f->fake.store.message[3 * COMMIT_MESSAGE_SIZE - 1] = '\0';
        submit(f, &job, 2, FINE); /* an old sentence is not one of this job */
        committer_drain(f->committer);
        assert_string_equal(job.job.message, "");
        assert_int_equal(f->n_done, 2);
}

/* --- done() ------------------------------------------------------------ */

static void done_and_again(struct commit_job *commit, int error)
{
        struct job *job = commit->userdata, *next;
        struct fixture *f = job->fixture;

        assert_int_equal(error, 0);
        f->n_done++;
        if (f->left > 0) {
                f->left--;
                next = malloc(sizeof(*next));
                assert_non_null(next);
                job_init(next, f, f->n_done, FINE);
                next->job.done = done_and_again;
                committer_submit(f->committer, &next->job);
        }
        free(job);
}

static void test_done_submits_and_frees(void **state)
{
        struct fixture *f = *state;

        f->left = 500;
        for (unsigned i = 0; i < 3; i++) {
                struct job *job = malloc(sizeof(*job));

                assert_non_null(job);
                job_init(job, f, i, FINE);
                job->job.done = done_and_again;
                committer_submit(f->committer, &job->job);
        }
        loop_until(f, 503);
        assert_int_equal(f->left, 0);
        assert_int_equal(f->fake.confirmed, 503);
        assert_false(readable(f, 0));
}

static void test_many(void **state)
{
        struct fixture *f = *state;
        struct job *jobs = calloc(MANY, sizeof(*jobs));
        struct commit_counters counters;

        assert_non_null(jobs);
        for (unsigned i = 0; i < MANY; i++) {
                submit(f, &jobs[i], i, i % 1000 == 999 ? EXISTS : FINE);
                if (i % 100 == 0)
                        committer_dispatch(f->committer);
        }
        loop_until(f, MANY);
        for (unsigned i = 0; i < MANY; i++)
                assert_int_equal(jobs[i].error, i % 1000 == 999 ? -EEXIST : 0);
        counters = committer_counters(f->committer);
        assert_int_equal(counters.jobs, MANY);
        assert_int_equal(counters.failed, MANY / 1000);
        assert_int_equal(counters.commits, f->fake.n_begun);
        assert_int_equal(f->fake.confirmed, MANY - MANY / 1000);
        free(jobs);
}

/* --- the end ----------------------------------------------------------- */

static void test_drain(void **state)
{
        struct fixture *f = *state;
        struct job jobs[50];

        for (unsigned round = 1; round <= 20; round++) {
                for (unsigned i = 0; i < 50; i++)
                        submit(f, &jobs[i], i, FINE);
                committer_drain(f->committer);
                for (unsigned i = 0; i < 50; i++)
                        assert_true(jobs[i].reported);
                assert_int_equal(f->n_done, 50 * round);
                assert_false(readable(f, 0));
        }
}

/* Who drains in done() knows of all that was committed, also of what came with it. */
static void drain_and_look(struct commit_job *commit, int error)
{
        struct job *job = commit->userdata;

        job_done(commit, error);
        committer_drain(job->fixture->committer);
        assert_int_equal(job->fixture->n_done, job->fixture->left);
}

static void test_drain_within(void **state)
{
        struct fixture *f = *state;
        struct job first, jobs[10];

        occupy(f, &first);
        for (unsigned i = 0; i < 10; i++) {
                job_init(&jobs[i], f, i + 1, FINE);
                if (i == 3)
                        jobs[i].job.done = drain_and_look;
                committer_submit(f->committer, &jobs[i].job);
        }
        f->left = 11;
        hold(&f->fake, false);
        loop_until(f, 11);
        for (unsigned i = 0; i <= 10; i++)
                assert_int_equal(f->order[i], i);
        assert_int_equal(f->fake.n_begun, 2);
}

static void *release_later(void *argument)
{
        struct fake *fake = argument;

        (void)usleep(30000);
        hold(fake, false);
        return NULL;
}

/* Freeing waits for the commit under way, and makes one more of what waits. */
static void test_free_finishes(void **state)
{
        struct fixture *f = *state;
        struct job first, jobs[10];
        pthread_t thread;

        occupy(f, &first);
        for (unsigned i = 0; i < 10; i++)
                submit(f, &jobs[i], i, FINE);
        assert_int_equal(pthread_create(&thread, NULL, release_later, &f->fake), 0);
        f->committer = committer_free(f->committer);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_null(f->committer);
        assert_int_equal(f->fake.confirmed, 11);
        assert_int_equal(f->n_done, 0);
        assert_int_equal(jobs[9].ops[0].hi, 9 + 5);
}

/* --- with the real store ----------------------------------------------- */

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *ftw)
{
        (void)status;
        (void)type;
        (void)ftw;
        return remove(path);
}

static int count_one(const struct store_sequence *sequence, void *userdata)
{
        (void)sequence;
        (*(unsigned *)userdata)++;
        return 0;
}

struct real {
        char base[64];
        struct store *store;
        struct committer *committer;
        struct fixture sink;
};

static int setup_real(void **state)
{
        const char *tmp = getenv("TMPDIR");
        struct real *real = calloc(1, sizeof(*real));
        char *message = NULL;

        *state = real;
        if (!real || snprintf(real->base, sizeof(real->base), "%s/seqnum-commit.XXXXXX",
                              tmp ? tmp : "/tmp") >= (int)sizeof(real->base))
                return -1;
        if (!mkdtemp(real->base) || store_open_sqlite(&real->store, real->base, &message) < 0)
                return -1;
        return committer_new(&real->committer, real->store);
}

static int teardown_real(void **state)
{
        struct real *real = *state;

        committer_free(real->committer);
        store_close(real->store);
        (void)nftw(real->base, remove_one, 16, FTW_DEPTH | FTW_PHYS);
        free(real);
        return 0;
}

static void test_real_store(void **state)
{
        struct real *real = *state;
        struct store_op *ops = calloc(REAL_SEQUENCES, sizeof(*ops));
        char(*names)[16] = calloc(REAL_SEQUENCES, sizeof(*names));
        struct job jobs[4], last;
        unsigned n = 0;

        assert_non_null(ops);
        assert_non_null(names);
        for (unsigned i = 0; i < REAL_SEQUENCES; i++) {
                (void)snprintf(names[i], sizeof(names[i]), "s%u", i);
                ops[i] = (struct store_op){
                        .type = STORE_CREATE,
                        .name = i == REAL_SEQUENCES / 2 ? "s1" : names[i], /* exists */
                        .params = sequence_params_default(),
                        .origin = 1,
                };
        }
        for (unsigned i = 0; i < 4; i++) {
                job_init(&jobs[i], &real->sink, i, FINE);
                jobs[i].job.ops = ops + i * (REAL_SEQUENCES / 4);
                jobs[i].job.n_ops = REAL_SEQUENCES / 4;
                committer_submit(real->committer, &jobs[i].job);
        }
        committer_drain(real->committer);
        for (unsigned i = 0; i < 4; i++)
                assert_int_equal(jobs[i].error, i == 2 ? -EEXIST : 0);
        assert_string_equal(jobs[2].job.message, "sequence s1 exists already");
        job_init(&last, &real->sink, 5, FINE);
        last.ops[0] =
                (struct store_op){.type = STORE_RESERVE, .id = 1, .generation = 1, .count = 7};
        committer_submit(real->committer, &last.job);
        committer_drain(real->committer);
        assert_int_equal(last.error, 0);
        assert_int_equal(last.ops[0].hi, 7);
        real->committer = committer_free(real->committer);
        assert_int_equal(store_load(real->store, count_one, &n), 0);
        assert_int_equal(n, REAL_SEQUENCES / 4 * 3);
        free(ops);
        free(names);
}

#define case_of(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                case_of(test_one),
                case_of(test_nothing),
                case_of(test_group_commit),
                case_of(test_one_to_blame),
                case_of(test_the_disk_to_blame),
                case_of(test_sound),
                case_of(test_sound_one_by_one),
                case_of(test_messages),
                case_of(test_done_submits_and_frees),
                case_of(test_many),
                case_of(test_drain),
                case_of(test_drain_within),
                case_of(test_free_finishes),
                cmocka_unit_test_setup_teardown(test_real_store, setup_real, teardown_real),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
