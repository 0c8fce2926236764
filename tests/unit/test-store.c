/* SPDX-License-Identifier: MIT */

/*
 * The SQLite store: what every operation does, what survives, and what is
 * noticed. Its system calls for writing and syncing are replaced here, so that
 * they can be counted and be made to fail; children that die show what is left
 * without a clean close.
 *
 * The state directory's own rules are in test-statedir.c.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "store.h"

#define KILLS  30
#define MANY   100000
#define NOBODY 65534

/* --- failing system calls ---------------------------------------------- */

static struct {
        int sync_error;  /* what fdatasync() and fsync() fail with; 0: they work */
        int write_error; /* what pwrite() fails with, after `writes` more */
        int writes;
        unsigned syncs;  /* calls so far */
        unsigned fsyncs; /* of those, of fsync(), which SQLite leaves to us */
} disk;

static int sync_with(const char *function, int fd)
{
        int (*real)(int) = dlsym(RTLD_NEXT, function);

        disk.syncs++;
        if (disk.sync_error) {
                errno = disk.sync_error;
                return -1;
        }
        return real(fd);
}

int fdatasync(int fd)
{
        return sync_with("fdatasync", fd);
}

int fsync(int fd)
{
        disk.fsyncs++;
        return sync_with("fsync", fd);
}

ssize_t pwrite64(int fd, const void *buffer, size_t size, off64_t offset)
{
        ssize_t (*real)(int, const void *, size_t, off64_t) = dlsym(RTLD_NEXT, "pwrite64");

        if (disk.write_error && disk.writes-- <= 0) {
                errno = disk.write_error;
                return -1;
        }
        return real(fd, buffer, size, offset);
}

static void disk_works(void)
{
        disk.sync_error = disk.write_error = disk.writes = 0;
}

/* --- a directory and a store in it ------------------------------------- */

struct fixture {
        char base[64];
        char state[80]; /* the state directory, made by the store */
        struct store *store;
};

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *ftw)
{
        (void)status;
        (void)type;
        (void)ftw;
        return remove(path);
}

static int setup(void **state)
{
        const char *tmp = getenv("TMPDIR");
        struct fixture *f = calloc(1, sizeof(*f));

        *state = f;
        if (!f || snprintf(f->base, sizeof(f->base), "%s/seqnum-store.XXXXXX",
                           tmp ? tmp : "/tmp") >= (int)sizeof(f->base))
                return -1;
        if (!mkdtemp(f->base))
                return -1;
        (void)snprintf(f->state, sizeof(f->state), "%s/state", f->base);
        return 0;
}

/* Runs also when the test failed. */
static int teardown(void **state)
{
        struct fixture *f = *state;

        disk_works();
        store_close(f->store);
        (void)nftw(f->base, remove_one, 16, FTW_DEPTH | FTW_PHYS);
        free(f);
        return 0;
}

static void path_in(const struct fixture *f, const char *file, char *path)
{
        (void)snprintf(path, PATH_MAX, "%s/%s", f->state, file);
}

static void open_store(struct fixture *f)
{
        char *message = NULL;

        assert_null(f->store);
        if (store_open_sqlite(&f->store, f->state, &message) < 0)
                fail_msg("%s", message);
        assert_null(message);
}

static void reopen(struct fixture *f)
{
        f->store = store_close(f->store);
        open_store(f);
}

/* Opening fails with `error` and a sentence in which `word` occurs. */
static void expect_refused(struct fixture *f, int error, const char *word)
{
        struct store *const untouched = (struct store *)f;
        struct store *store = untouched;
        char *message = NULL;
        int r = store_open_sqlite(&store, f->state, &message);

        if (r != error || !message || !strstr(message, word))
                fail_msg("%d (%s), not %d with '%s'", r, message, error, word);
        assert_ptr_equal(store, untouched);
        free(message);
}

/* --- operations -------------------------------------------------------- */

static struct store_op op_create(const char *name)
{
        return (struct store_op){
                .type = STORE_CREATE,
                .name = name,
                .params = sequence_params_default(),
                .origin = 1,
        };
}

static struct store_op op_reserve(uint64_t id, uint64_t generation, uint64_t from, uint64_t count)
{
        return (struct store_op){
                .type = STORE_RESERVE,
                .id = id,
                .generation = generation,
                .from = from,
                .count = count,
        };
}

static struct store_op op_save(uint64_t id, uint64_t generation, uint64_t position)
{
        return (struct store_op){
                .type = STORE_SAVE,
                .id = id,
                .generation = generation,
                .position = position,
        };
}

static struct store_op op_of(enum store_op_type type, uint64_t id)
{
        return (struct store_op){
                .type = type,
                .id = id,
                .generation = 1,
                .count = 1,
                .origin = 1,
                .params = sequence_params_default(),
        };
}

static int commit_one(struct fixture *f, struct store_op op)
{
        return store_commit(f->store, &op, 1);
}

static void must(struct fixture *f, struct store_op op)
{
        int r = commit_one(f, op);

        if (r < 0)
                fail_msg("%d: %s", r, f->store->message);
}

/* It fails with `error`, and the store's sentence has `word` in it. */
static void must_fail(struct fixture *f, struct store_op op, int error, const char *word)
{
        int r = store_commit(f->store, &op, 1);

        if (r != error || op.error != error || !strstr(f->store->message, word))
                fail_msg("%d, %d (%s), not %d with '%s'", r, op.error, f->store->message, error,
                         word);
}

static uint64_t add(struct fixture *f, const char *name)
{
        struct store_op op = op_create(name);

        if (store_commit(f->store, &op, 1) < 0)
                fail_msg("%s", f->store->message);
        assert_int_equal(op.generation, 1);
        return op.id;
}

/* --- what is stored ---------------------------------------------------- */

struct found {
        struct store_sequence sequence;
        char name[SEQUENCE_NAME_MAX + 1];
};

struct contents {
        struct found rows[16];
        size_t n;
};

static int note(const struct store_sequence *sequence, void *userdata)
{
        struct contents *contents = userdata;
        struct found *found = &contents->rows[contents->n++];

        assert_true(contents->n <= 16);
        found->sequence = *sequence;
        (void)snprintf(found->name, sizeof(found->name), "%s", sequence->name);
        found->sequence.name = NULL;
        return 0;
}

static struct contents load(struct fixture *f)
{
        struct contents contents = {0};

        assert_int_equal(store_load(f->store, note, &contents), 0);
        return contents;
}

static struct store_sequence load_only(struct fixture *f)
{
        struct contents contents = load(f);

        assert_int_equal(contents.n, 1);
        return contents.rows[0].sequence;
}

static bool same_row(const struct found *a, const struct found *b)
{
        const struct store_sequence *p = &a->sequence, *q = &b->sequence;

        return strcmp(a->name, b->name) == 0 && p->id == q->id && p->generation == q->generation &&
               sequence_params_equal(&p->params, &q->params) &&
               p->params.start == q->params.start && p->params.reserve == q->params.reserve &&
               p->origin == q->origin && p->lo == q->lo && p->hi == q->hi && p->exact == q->exact;
}

static bool same_contents(const struct contents *a, const struct contents *b)
{
        if (a->n != b->n)
                return false;
        for (size_t i = 0; i < a->n; i++)
                if (!same_row(&a->rows[i], &b->rows[i]))
                        return false;
        return true;
}

static void expect_range(struct fixture *f, uint64_t lo, uint64_t hi, bool exact)
{
        struct store_sequence q = load_only(f);

        assert_int_equal(q.lo, lo);
        assert_int_equal(q.hi, hi);
        assert_int_equal(q.exact, exact);
}

/* --- semantics --------------------------------------------------------- */

static void test_created_once(void **state)
{
        struct fixture *f = *state;
        uint8_t id[STORE_INSTANCE_ID_SIZE], zero[STORE_INSTANCE_ID_SIZE] = {0};
        char path[PATH_MAX];
        struct stat status;

        open_store(f);
        assert_true(f->store->created);
        assert_int_equal(load(f).n, 0);
        memcpy(id, f->store->instance_id, sizeof(id));
        assert_memory_not_equal(id, zero, sizeof(id));
        reopen(f);
        assert_false(f->store->created);
        assert_memory_equal(f->store->instance_id, id, sizeof(id));
        path_in(f, "seqnumd.db", path);
        assert_int_equal(stat(path, &status), 0);
        assert_int_equal(status.st_mode & 07777, 0600);
        f->store = store_close(f->store);
        (void)snprintf(f->state, sizeof(f->state), "%s/other", f->base);
        open_store(f);
        assert_true(f->store->created);
        assert_memory_not_equal(f->store->instance_id, id, sizeof(id));
        assert_null(store_close(NULL));
}

static void test_create(void **state)
{
        struct fixture *f = *state;
        struct store_op op = op_create("a/b");
        struct contents contents;

        open_store(f);
        op.params.reserve = 64;
        assert_int_equal(store_commit(f->store, &op, 1), 0);
        assert_int_equal(op.id, 1);
        assert_int_equal(op.generation, 1);
        assert_int_equal(add(f, "second"), 2);
        contents = load(f);
        assert_int_equal(contents.n, 2);
        assert_string_equal(contents.rows[0].name, "a/b");
        assert_string_equal(contents.rows[1].name, "second");
        assert_int_equal(contents.rows[0].sequence.id, 1);
        assert_int_equal(contents.rows[0].sequence.generation, 1);
        assert_int_equal(contents.rows[0].sequence.origin, 1);
        assert_int_equal(contents.rows[0].sequence.lo, 0);
        assert_int_equal(contents.rows[0].sequence.hi, 0);
        assert_true(contents.rows[0].sequence.exact);
        assert_int_equal(contents.rows[0].sequence.params.reserve, 64);
        assert_true(sequence_params_equal(&contents.rows[0].sequence.params, &op.params));
}

static void test_create_refused(void **state)
{
        struct fixture *f = *state;
        struct store_op op = op_create("orders"), ops[2];
        struct contents before, after;

        open_store(f);
        add(f, "orders");
        before = load(f);
        must_fail(f, op, -EEXIST, "orders");
        must_fail(f, op_create("or ders"), -EINVAL, "or ders");
        must_fail(f, op_create(""), -EINVAL, "name");
        op = op_create("zero");
        op.params.increment = 0;
        must_fail(f, op, -EINVAL, "zero");
        op = op_create("away");
        op.origin = 0;
        must_fail(f, op, -EINVAL, "origin");
        ops[0] = op_create("new");
        ops[1] = op_create("orders");
        assert_int_equal(store_commit(f->store, ops, 2), -EEXIST);
        after = load(f);
        assert_true(same_contents(&before, &after));
        assert_int_equal(add(f, "next"), 2); /* a failed one uses no id up */
}

static void test_ids_are_not_reused(void **state)
{
        struct fixture *f = *state;
        uint64_t id;

        open_store(f);
        add(f, "one");
        id = add(f, "two");
        must(f, op_of(STORE_DROP, id));
        assert_int_equal(load(f).n, 1);
        assert_int_equal(add(f, "two"), 3);
        must(f, op_of(STORE_DROP, 3));
        must(f, op_of(STORE_DROP, 1));
        reopen(f);
        assert_int_equal(load(f).n, 0);
        assert_int_equal(add(f, "two"), 4);
}

static void test_replace(void **state)
{
        struct fixture *f = *state;
        struct store_sequence q;
        struct store_op op;
        uint64_t id;

        open_store(f);
        id = add(f, "orders");
        must(f, op_reserve(id, 1, 0, 100));
        op = op_of(STORE_REPLACE, id);
        op.params.increment = -3;
        op.params.min = -1000;
        op.params.reserve = 7;
        op.origin = -5;
        assert_int_equal(store_commit(f->store, &op, 1), 0);
        assert_int_equal(op.generation, 2);
        q = load_only(f);
        assert_int_equal(q.id, id);
        assert_int_equal(q.generation, 2);
        assert_int_equal(q.origin, -5);
        assert_int_equal(q.params.increment, -3);
        assert_int_equal(q.params.reserve, 7);
        expect_range(f, 0, 0, true);
        op.origin = -1001;
        must_fail(f, op, -EINVAL, "orders");
        assert_int_equal(load_only(f).generation, 2);
}

static void test_reserve(void **state)
{
        struct fixture *f = *state;
        struct store_op op;
        uint64_t id;

        open_store(f);
        id = add(f, "orders");
        op = op_reserve(id, 1, 0, 100);
        assert_int_equal(store_commit(f->store, &op, 1), 0);
        assert_int_equal(op.lo, 0);
        assert_int_equal(op.hi, 100);
        expect_range(f, 0, 100, false);
        must(f, op_reserve(id, 1, 100, 50)); /* touches */
        expect_range(f, 0, 150, false);
        must(f, op_reserve(id, 1, 20, 50)); /* below hi: as if it touched */
        expect_range(f, 0, 200, false);
        op = op_reserve(id, 1, 300, 10); /* a hole */
        assert_int_equal(store_commit(f->store, &op, 1), 0);
        assert_int_equal(op.lo, 300);
        assert_int_equal(op.hi, 310);
        expect_range(f, 300, 310, false);
        must_fail(f, op_reserve(id, 1, 0, 0), -EINVAL, "orders");
        expect_range(f, 300, 310, false);
}

static void test_reserve_to_the_limit(void **state)
{
        const uint64_t limit = SEQUENCE_INDEX_LIMIT;
        struct fixture *f = *state;
        uint64_t id;

        open_store(f);
        id = add(f, "orders");
        must_fail(f, op_reserve(id, 1, 0, limit + 1), -EOVERFLOW, "orders");
        must_fail(f, op_reserve(id, 1, 0, UINT64_MAX), -EOVERFLOW, "orders");
        must_fail(f, op_reserve(id, 1, limit, 1), -EOVERFLOW, "orders");
        must_fail(f, op_reserve(id, 1, UINT64_MAX, 1), -EOVERFLOW, "orders");
        must_fail(f, op_reserve(id, 1, UINT64_MAX, UINT64_MAX), -EOVERFLOW, "orders");
        expect_range(f, 0, 0, true);
        must(f, op_reserve(id, 1, limit - 2, 1));
        expect_range(f, limit - 2, limit - 1, false);
        must_fail(f, op_reserve(id, 1, 0, 2), -EOVERFLOW, "orders");
        must(f, op_reserve(id, 1, 0, 1));
        expect_range(f, limit - 2, limit, false);
        must_fail(f, op_reserve(id, 1, 0, 1), -EOVERFLOW, "orders");
        must(f, op_save(id, 1, limit));
        reopen(f);
        expect_range(f, limit, limit, true);
}

static void test_save(void **state)
{
        struct fixture *f = *state;
        uint64_t id;

        open_store(f);
        id = add(f, "orders");
        must(f, op_reserve(id, 1, 100, 100));
        must_fail(f, op_save(id, 1, 99), -EINVAL, "orders");
        must_fail(f, op_save(id, 1, SEQUENCE_INDEX_LIMIT + 1), -EINVAL, "orders");
        expect_range(f, 100, 200, false);
        must(f, op_save(id, 1, 150)); /* lower than hi */
        expect_range(f, 150, 150, true);
        must_fail(f, op_save(id, 1, 149), -EINVAL, "149");
        must(f, op_save(id, 1, 150));
        must(f, op_save(id, 1, 175)); /* above hi: reserves what lies between */
        expect_range(f, 175, 175, true);
        must(f, op_reserve(id, 1, 0, 5));
        expect_range(f, 175, 180, false);
}

static void test_tune(void **state)
{
        struct fixture *f = *state;
        struct store_op op;
        struct contents before, after;
        uint64_t id;

        open_store(f);
        id = add(f, "orders");
        must(f, op_reserve(id, 1, 5, 10));
        before = load(f);
        op = op_of(STORE_TUNE, id);
        op.params.reserve = 4711;
        op.params.increment = 99; /* not its business */
        op.origin = 88;
        must(f, op);
        after = load(f);
        before.rows[0].sequence.params.reserve = 4711;
        assert_true(same_contents(&before, &after));
}

static void test_stale_generation(void **state)
{
        struct fixture *f = *state;
        uint64_t id;

        open_store(f);
        id = add(f, "orders");
        must_fail(f, op_reserve(id, 2, 0, 1), -ESTALE, "orders");
        must_fail(f, op_save(id, 0, 1), -ESTALE, "orders");
        must(f, op_of(STORE_REPLACE, id));
        must_fail(f, op_reserve(id, 1, 0, 1), -ESTALE, "orders");
        must_fail(f, op_save(id, 1, 1), -ESTALE, "orders");
        expect_range(f, 0, 0, true);
        must(f, op_reserve(id, 2, 0, 1));
}

static void test_unknown(void **state)
{
        static const enum store_op_type types[] = {
                STORE_REPLACE, STORE_DROP, STORE_RESERVE, STORE_SAVE, STORE_TUNE,
        };
        struct fixture *f = *state;

        open_store(f);
        add(f, "orders");
        for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
                must_fail(f, op_of(types[i], 4711), -ENOENT, "4711");
                must_fail(f, op_of(types[i], 0), -ENOENT, "id 0");
                must_fail(f, op_of(types[i], UINT64_MAX), -ENOENT, "id");
        }
        must_fail(f, op_of((enum store_op_type)99, 1), -EINVAL, "operation");
        assert_int_equal(load(f).n, 1);
        assert_int_equal(store_commit(f->store, NULL, 0), 0);
}

/* Steps of one commit see what the earlier ones did. */
static void test_steps_in_order(void **state)
{
        struct fixture *f = *state;
        struct store_op ops[5];

        open_store(f);
        add(f, "orders");
        ops[0] = op_reserve(1, 1, 0, 10);
        ops[1] = op_of(STORE_REPLACE, 1);
        ops[2] = op_save(1, 2, 1);
        ops[3] = op_reserve(1, 2, 0, 3);
        ops[4] = op_create("more");
        assert_int_equal(store_commit(f->store, ops, 5), 0);
        assert_int_equal(ops[0].hi, 10);
        assert_int_equal(ops[3].lo, 1);
        assert_int_equal(ops[3].hi, 4);
        assert_int_equal(ops[4].id, 2);
        must(f, op_of(STORE_DROP, 2));
        expect_range(f, 1, 4, false);
}

static void test_all_or_nothing(void **state)
{
        struct fixture *f = *state;
        struct contents before, after;

        open_store(f);
        add(f, "a");
        add(f, "b");
        add(f, "c");
        must(f, op_reserve(3, 1, 0, 8));
        before = load(f);
        for (size_t bad = 0; bad < 6; bad++) {
                struct store_op ops[6] = {
                        op_create("new"), op_of(STORE_REPLACE, 1), op_of(STORE_DROP, 2),
                        op_save(3, 1, 4), op_of(STORE_TUNE, 3),    op_reserve(3, 1, 0, 9),
                };

                ops[bad] = op_of(STORE_DROP, 4711);
                for (size_t i = 0; i < 6; i++)
                        ops[i].error = -4711;
                assert_int_equal(store_commit(f->store, ops, 6), -ENOENT);
                for (size_t i = 0; i < 6; i++)
                        assert_int_equal(ops[i].error, i == bad ? -ENOENT : 0);
                after = load(f);
                assert_true(same_contents(&before, &after));
                reopen(f);
                after = load(f);
                assert_true(same_contents(&before, &after));
        }
        assert_int_equal(add(f, "new"), 4);
}

static void test_edges_persist(void **state)
{
        struct fixture *f = *state;
        char name[SEQUENCE_NAME_MAX + 2];
        struct store_op up, down;
        struct contents before, after;

        memset(name, 'n', sizeof(name));
        name[sizeof(name) - 1] = '\0';
        open_store(f);
        must_fail(f, op_create(name), -EINVAL, "name");
        name[SEQUENCE_NAME_MAX] = '\0';
        up = op_create(name);
        up.params = (struct sequence_params){
                .kind = SEQUENCE_COUNTER,
                .start = INT64_MAX,
                .increment = INT64_MAX,
                .min = INT64_MIN,
                .max = INT64_MAX,
                .cycle = true,
                .reserve = SEQUENCE_RESERVE_MAX,
        };
        up.origin = INT64_MIN;
        down = up;
        down.name = "d";
        down.params.start = INT64_MIN;
        down.params.increment = INT64_MIN;
        down.origin = INT64_MAX;
        must(f, up);
        must(f, down);
        before = load(f);
        assert_string_equal(before.rows[0].name, name);
        assert_true(sequence_params_equal(&before.rows[0].sequence.params, &up.params));
        assert_int_equal(before.rows[1].sequence.origin, INT64_MAX);
        assert_int_equal(before.rows[1].sequence.params.increment, INT64_MIN);
        reopen(f);
        after = load(f);
        assert_int_equal(after.n, 2);
        assert_true(same_contents(&before, &after));
}

static int stop_at_second(const struct store_sequence *sequence, void *userdata)
{
        (*(unsigned *)userdata)++;
        return sequence->id == 2 ? -ECANCELED : 0;
}

static void test_load_stops(void **state)
{
        struct fixture *f = *state;
        unsigned calls = 0;

        open_store(f);
        add(f, "z");
        add(f, "y");
        add(f, "x");
        assert_int_equal(store_load(f->store, stop_at_second, &calls), -ECANCELED);
        assert_int_equal(calls, 2);
        must(f, op_reserve(1, 1, 0, 1)); /* no reader is left in the way */
        for (size_t i = 0; i < 3; i++)
                assert_int_equal(load(f).rows[i].sequence.id, i + 1);
}

static void test_many_in_one_commit(void **state)
{
        struct fixture *f = *state;
        struct store_op *ops = calloc(MANY, sizeof(*ops));
        char(*names)[16] = calloc(MANY, sizeof(*names));
        time_t begin = time(NULL);
        unsigned calls = 0;

        assert_non_null(ops);
        assert_non_null(names);
        open_store(f);
        for (unsigned i = 0; i < MANY; i++) {
                (void)snprintf(names[i], sizeof(names[i]), "s%u", i);
                ops[i] = op_create(names[i]);
        }
        assert_int_equal(store_commit(f->store, ops, MANY), 0);
        assert_int_equal(ops[MANY - 1].id, MANY);
        reopen(f); /* checks all of it */
        assert_int_equal(store_load(f->store, stop_at_second, &calls), -ECANCELED);
        assert_int_equal(add(f, "one-more"), MANY + 1);
        assert_true(time(NULL) - begin < 60);
        free(ops);
        free(names);
}

/* --- what is found at the start ---------------------------------------- */

static void write_file(const char *path, const void *bytes, size_t size)
{
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, bytes, size), (ssize_t)size);
        assert_int_equal(close(fd), 0);
}

static uint8_t *read_file(const char *path, size_t *size)
{
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        struct stat status;
        uint8_t *bytes;

        assert_true(fd >= 0);
        assert_int_equal(fstat(fd, &status), 0);
        *size = (size_t)status.st_size;
        bytes = malloc(*size + 1);
        assert_non_null(bytes);
        assert_int_equal(read(fd, bytes, *size), status.st_size);
        close(fd);
        return bytes;
}

/* Change the closed store behind its back. */
static void meddle(struct fixture *f, const char *sql)
{
        char path[PATH_MAX], *message = NULL;
        sqlite3 *db;

        path_in(f, "seqnumd.db", path);
        assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
        if (sqlite3_exec(db, sql, NULL, NULL, &message) != SQLITE_OK)
                fail_msg("%s: %s", sql, message);
        assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void make_some(struct fixture *f)
{
        open_store(f);
        add(f, "orders");
        add(f, "tickets");
        must(f, op_reserve(1, 1, 0, 1000));
        must(f, op_save(2, 1, 77));
        f->store = store_close(f->store);
}

/* Open and load: 0, or the first failure, with its sentence to be freed. */
static int try(struct fixture *f, struct contents *contents, char **message)
{
        int r = store_open_sqlite(&f->store, f->state, message);

        *contents = (struct contents){0};
        if (r < 0)
                return r;
        r = store_load(f->store, note, contents);
        if (r < 0)
                *message = strdup(f->store->message);
        f->store = store_close(f->store);
        return r;
}

/* No column can be changed without it being noticed, and the sequence named. */
static void test_every_column(void **state)
{
        static const char *const changes[] = {
                "id = 9 WHERE id = 1; UPDATE sqlite_sequence SET seq = 9; --",
                "generation = generation + 1",
                "name = 'orderz'",
                "name = 'orders' || char(0) || 'x'",
                "name = 'orders' || char(0)",
                "kind = 2",
                "kind = kind + 4294967296",
                "start = 2",
                "increment = 2",
                "increment = -1",
                "min = 0",
                "min = -4611686018427387904",
                "max = max - 1",
                "cycle = 1",
                "cycle = 4294967296",
                "reserve = 3",
                "origin = 2",
                "lo = 1",
                "hi = hi - 1",
                "hi = hi + 1",
                "hi = hi | 4294967296",
                "hi = -1",
                "exact = 1",
                "exact = 4294967296",
                "checksum = checksum + 1",
        };
        char sql[160], *message;
        struct fixture *f = *state;
        struct contents contents;

        make_some(f);
        for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
                meddle(f, "CREATE TABLE kept AS SELECT * FROM sequence WHERE id = 1");
                (void)snprintf(sql, sizeof(sql), "UPDATE sequence SET %s WHERE id = 1", changes[i]);
                meddle(f, sql);
                message = NULL;
                if (try(f, &contents, &message) != -EBADMSG)
                        fail_msg("not noticed: %s", changes[i]);
                assert_non_null(strstr(message, "sequence order"));
                free(message);
                meddle(f, "DELETE FROM sequence WHERE id IN (1, 9); "
                          "INSERT INTO sequence SELECT * FROM kept; DROP TABLE kept");
                message = NULL;
                assert_int_equal(try(f, &contents, &message), 0);
        }
}

/* True and more than true are the same to a reader of the column, not to us. */
static void test_exact_beyond_one(void **state)
{
        struct fixture *f = *state;
        struct contents contents;
        char *message = NULL;

        make_some(f);
        meddle(f, "UPDATE sequence SET exact = 3 WHERE id = 2");
        assert_int_equal(try(f, &contents, &message), -EBADMSG);
        assert_non_null(strstr(message, "tickets"));
        free(message);
}

/* A damaged row is not written over by a change either. */
static void test_damaged_row_is_not_changed(void **state)
{
        struct fixture *f = *state;

        make_some(f);
        meddle(f, "UPDATE sequence SET hi = 900 WHERE id = 1");
        open_store(f);
        must_fail(f, op_reserve(1, 1, 0, 10), -EBADMSG, "orders");
        must_fail(f, op_of(STORE_REPLACE, 1), -EBADMSG, "orders");
        must_fail(f, op_of(STORE_DROP, 1), -EBADMSG, "orders");
        must(f, op_reserve(2, 1, 0, 10));
}

/* What a store of format 1 had is there, and format 2's kinds can be added. */
static void test_upgrade(void **state)
{
        struct fixture *f = *state;
        struct store_op op = op_create("invoices");

        make_some(f);
        meddle(f, "ALTER TABLE sequence DROP COLUMN hold_limit;"
                  "ALTER TABLE sequence DROP COLUMN epoch;"
                  "ALTER TABLE sequence DROP COLUMN node;"
                  "ALTER TABLE sequence DROP COLUMN node_bits;"
                  "ALTER TABLE sequence DROP COLUMN serial_bits;"
                  "PRAGMA user_version = 1");
        open_store(f);
        assert_int_equal(load(f).n, 2);
        must(f, op_reserve(1, 1, 0, 10));
        op.params.kind = SEQUENCE_GAPLESS;
        op.params.hold_limit = 30;
        must(f, op);
        reopen(f);
        assert_int_equal(load(f).n, 3);
}

/* Every parameter of every kind is kept, and none of them can be flipped unnoticed. */
static void test_kinds(void **state)
{
        static const char *const columns[] = {"hold_limit", "epoch", "node", "node_bits",
                                              "serial_bits"};
        struct fixture *f = *state;
        struct store_op op = op_create("ids");
        struct store_sequence stored;
        struct contents contents;
        char sql[128], *message;

        op.params = (struct sequence_params){
                .kind = SEQUENCE_TIME,
                .node_bits = 9,
                .serial_bits = 11,
                .node = 300,
                .epoch = SEQUENCE_EPOCH + 1,
                .reserve = 2000,
        };
        sequence_params_complete(&op.params, false, false, false);
        op.origin = 0;
        op.position = 12345;
        open_store(f);
        must(f, op);
        reopen(f);
        stored = load_only(f);
        assert_true(sequence_params_equal(&stored.params, &op.params));
        assert_true(stored.lo == 12345 && stored.hi == 12345 && stored.exact);
        f->store = store_close(f->store);
        for (size_t i = 0; i < sizeof(columns) / sizeof(columns[0]); i++) {
                (void)snprintf(sql, sizeof(sql), "UPDATE sequence SET %s = %s + 1", columns[i],
                               columns[i]);
                meddle(f, sql);
                assert_int_equal(try(f, &contents, &message), -EBADMSG);
                free(message);
                f->store = store_close(f->store);
                (void)snprintf(sql, sizeof(sql), "UPDATE sequence SET %s = %s - 1", columns[i],
                               columns[i]);
                meddle(f, sql);
        }
        open_store(f);
        (void)load_only(f);
}

static void test_structure(void **state)
{
        static const struct {
                const char *sql;
                int error;
                const char *word;
        } cases[] = {
                {"PRAGMA user_version = 3", -EPROTONOSUPPORT, "newer version"},
                {"PRAGMA user_version = 2147483647", -EPROTONOSUPPORT, "2147483647"},
                {"PRAGMA user_version = 0", -EBADMSG, "version"},
                {"PRAGMA user_version = -1", -EBADMSG, "version"},
                {"PRAGMA application_id = 0", -EBADMSG, "not a store"},
                {"UPDATE sqlite_sequence SET seq = 1", -EBADMSG, "last id"},
                {"UPDATE sqlite_sequence SET seq = 'three'", -EBADMSG, "last id"},
                {"DELETE FROM sqlite_sequence", -EBADMSG, "last id"},
                {"DROP TABLE sequence", -EBADMSG, "sequence"},
                {"DROP TABLE meta", -EBADMSG, "instance"},
                {"DELETE FROM meta", -EBADMSG, "instance"},
                {"UPDATE meta SET value = x'00'", -EBADMSG, "instance"},
                {"DROP TABLE meta; DROP TABLE sequence", -EBADMSG, ""},
                {"ALTER TABLE sequence DROP COLUMN exact", -EBADMSG, "exact"},
        };
        struct fixture *f = *state;
        char path[PATH_MAX];
        uint8_t *whole;
        size_t size;

        make_some(f);
        path_in(f, "seqnumd.db", path);
        whole = read_file(path, &size);
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                meddle(f, cases[i].sql);
                expect_refused(f, cases[i].error, cases[i].word);
                write_file(path, whole, size);
        }
        free(whole);
        open_store(f);
        assert_int_equal(load(f).n, 2);
}

static void test_foreign(void **state)
{
        static const char garbage[] = "this is certainly no database, long as it may be";
        struct fixture *f = *state;
        char path[PATH_MAX], wal[PATH_MAX];
        struct stat status;

        make_some(f);
        path_in(f, "seqnumd.db", path);
        path_in(f, "seqnumd.db-wal", wal);
        write_file(path, garbage, sizeof(garbage));
        expect_refused(f, -EBADMSG, path);
        write_file(path, "", 0);
        expect_refused(f, -EBADMSG, "empty");
        assert_int_equal(stat(path, &status), 0);
        assert_int_equal(status.st_size, 0);
        assert_int_equal(unlink(path), 0);
        meddle(f, "CREATE TABLE sequence (id INTEGER)");
        expect_refused(f, -EBADMSG, "not a store");
        assert_int_equal(unlink(path), 0);
        write_file(wal, garbage, sizeof(garbage));
        expect_refused(f, -EBADMSG, "log");
        assert_int_equal(access(path, F_OK), -1);
}

/* Cut off anywhere: refused, or else nothing is missing. */
static void test_truncated(void **state)
{
        struct fixture *f = *state;
        struct contents whole, contents;
        char path[PATH_MAX], *message = NULL;
        uint8_t *bytes;
        size_t size;

        make_some(f);
        assert_int_equal(try(f, &whole, &message), 0);
        path_in(f, "seqnumd.db", path);
        bytes = read_file(path, &size);
        assert_true(size > 8192);
        for (size_t cut = 1; cut <= size; cut += cut < 200 ? 1 : 61) {
                write_file(path, bytes, size - cut);
                message = NULL;
                if (try(f, &contents, &message) != -EBADMSG)
                        fail_msg("%zu bytes of %zu: %s", size - cut, size, message);
                free(message);
        }
        write_file(path, bytes, size);
        free(bytes);
        message = NULL;
        assert_int_equal(try(f, &contents, &message), 0);
        assert_true(same_contents(&whole, &contents));
}

/* A new sequence gets no id that was given before. */
static void expect_new_id(struct fixture *f)
{
        struct store_op op = op_create("new");

        open_store(f);
        if (store_commit(f->store, &op, 1) == 0)
                assert_true(op.id > 2);
        f->store = store_close(f->store);
}

/* Any byte changed: refused, or else what is loaded is what was stored. */
static void test_flipped_bytes(void **state)
{
        struct fixture *f = *state;
        struct contents whole, contents;
        char path[PATH_MAX], *message = NULL;
        unsigned refused = 0;
        uint8_t *bytes;
        size_t size;

        make_some(f);
        assert_int_equal(try(f, &whole, &message), 0);
        path_in(f, "seqnumd.db", path);
        bytes = read_file(path, &size);
        for (size_t i = 0; i < size; i += i + 1 < size && bytes[i + 1] ? 1 : 13) {
                bytes[i] ^= (uint8_t)(1U << (i % 8));
                write_file(path, bytes, size);
                bytes[i] ^= (uint8_t)(1U << (i % 8));
                message = NULL;
                if (try(f, &contents, &message) < 0) {
                        assert_non_null(message);
                        refused++;
                } else if (!same_contents(&whole, &contents)) {
                        fail_msg("byte %zu of %zu", i, size);
                } else {
                        expect_new_id(f);
                }
                free(message);
        }
        assert_true(refused > 100);
        free(bytes);
}

/* Names are in the rows, and once more in an index, which has no checksum. */
static void test_index_and_rows_differ(void **state)
{
        struct fixture *f = *state;
        char path[PATH_MAX];
        uint8_t *bytes, *name;
        unsigned n = 0;
        size_t size;

        make_some(f);
        path_in(f, "seqnumd.db", path);
        bytes = read_file(path, &size);
        for (name = bytes; (name = memmem(name, size - (size_t)(name - bytes), "tickets", 7));
             name++) {
                struct contents contents;
                char *message = NULL;

                name[6] = 'z';
                write_file(path, bytes, size);
                name[6] = 's';
                assert_int_equal(try(f, &contents, &message), -EBADMSG);
                free(message);
                n++;
        }
        assert_int_equal(n, 2);
        free(bytes);
}

static void test_left_over_beginning(void **state)
{
        struct fixture *f = *state;
        char fresh[PATH_MAX], journal[PATH_MAX];

        assert_int_equal(mkdir(f->state, 0700), 0);
        path_in(f, "seqnumd.db.new", fresh);
        path_in(f, "seqnumd.db.new-journal", journal);
        write_file(fresh, "half", 4);
        write_file(journal, "a journal of something else", 27);
        open_store(f);
        assert_true(f->store->created);
        assert_int_equal(access(fresh, F_OK), -1);
        assert_int_equal(access(journal, F_OK), -1);
        add(f, "orders");
        reopen(f);
        assert_int_equal(load(f).n, 1);
}

/* As SQLite does for whoever reads it. */
static int read_lock(const char *path)
{
        struct flock lock = {
                .l_type = F_RDLCK,
                .l_whence = SEEK_SET,
                .l_start = 0x40000002,
                .l_len = 510,
        };
        int fd = open(path, O_RDONLY | O_CLOEXEC);

        assert_true(fd >= 0);
        assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
        return fd;
}

/* While the copy waits for a backup to end somebody takes it for litter. */
static void copy_taken_away(struct fixture *f, bool replaced)
{
        char path[PATH_MAX], fresh[PATH_MAX], wal[PATH_MAX];
        uint64_t id;
        int backup;

        path_in(f, "seqnumd.db", path);
        path_in(f, "seqnumd.db.new", fresh);
        path_in(f, "seqnumd.db-wal", wal);
        open_store(f);
        id = add(f, "orders");
        must(f, op_reserve(id, 1, 0, 1000));
        backup = read_lock(path);
        assert_int_equal(unlink(wal), 0);
        assert_int_equal(commit_one(f, op_reserve(id, 1, 1000, 10)), -EBUSY);
        assert_int_equal(unlink(fresh), 0);
        if (replaced)
                write_file(fresh, "something else", 14);
        assert_int_equal(commit_one(f, op_reserve(id, 1, 1000, 10)), -EBUSY);
        close(backup);
        must(f, op_reserve(id, 1, 1000, 10));
        expect_range(f, 0, 1010, false);
        assert_int_equal(access(fresh, F_OK), -1);
        reopen(f);
        expect_range(f, 0, 1010, false);
        f->store = store_close(f->store);
}

static void test_copy_removed(void **state)
{
        copy_taken_away(*state, false);
}

static void test_copy_replaced(void **state)
{
        copy_taken_away(*state, true);
}

static void test_file_of_others(void **state)
{
        struct fixture *f = *state;
        char path[PATH_MAX], target[PATH_MAX];

        make_some(f);
        path_in(f, "seqnumd.db", path);
        path_in(f, "elsewhere", target);
        assert_int_equal(chmod(path, 0620), 0);
        expect_refused(f, -EPERM, "chmod go-w");
        assert_int_equal(chmod(path, 0602), 0);
        expect_refused(f, -EPERM, path);
        assert_int_equal(chmod(path, 0644), 0);
        open_store(f);
        f->store = store_close(f->store);
        assert_int_equal(rename(path, target), 0);
        assert_int_equal(symlink(target, path), 0);
        expect_refused(f, -EPERM, "not a regular file");
        assert_int_equal(unlink(path), 0);
        assert_int_equal(mkdir(path, 0700), 0);
        expect_refused(f, -EPERM, "not a regular file");
        assert_int_equal(rmdir(path), 0);
        assert_int_equal(rename(target, path), 0);
        if (geteuid() == 0) {
                assert_int_equal(chown(path, NOBODY, (gid_t)-1), 0);
                expect_refused(f, -EPERM, "65534");
        }
}

static void test_bad_directory(void **state)
{
        struct fixture *f = *state;
        char path[PATH_MAX + 10], *message = NULL;
        struct store *store = NULL;

        memset(path, 'x', sizeof(path));
        path[0] = '/';
        path[sizeof(path) - 1] = '\0';
        assert_int_equal(store_open_sqlite(&store, path, &message), -ENAMETOOLONG);
        assert_non_null(strstr(message, "too long"));
        free(message);
        (void)snprintf(f->state, sizeof(f->state), "%s/no/parent", f->base);
        expect_refused(f, -ENOTDIR, f->state);
}

static void test_second_process(void **state)
{
        struct fixture *f = *state;
        int ready[2];
        char byte, pid[32];
        pid_t child;

        assert_int_equal(pipe(ready), 0);
        child = fork();
        assert_true(child >= 0);
        if (child == 0) {
                char *message = NULL;

                if (store_open_sqlite(&f->store, f->state, &message) < 0)
                        _exit(1);
                (void)!write(ready[1], "", 1);
                for (;;)
                        pause();
        }
        close(ready[1]);
        assert_int_equal(read(ready[0], &byte, 1), 1);
        close(ready[0]);
        (void)snprintf(pid, sizeof(pid), "process %d ", (int)child);
        expect_refused(f, -EBUSY, pid);
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(waitpid(child, NULL, 0), child);
        open_store(f);
        assert_false(f->store->created);
}

/* --- durability -------------------------------------------------------- */

/* Commits until it is killed, and says so after each. */
static void commit_for_ever(struct fixture *f, int out)
{
        char *message = NULL;

        if (store_open_sqlite(&f->store, f->state, &message) < 0)
                _exit(1);
        for (;;) {
                struct store_op op = op_reserve(1, 1, 0, 3);

                if (store_commit(f->store, &op, 1) < 0)
                        _exit(2);
                if (write(out, &op.hi, sizeof(op.hi)) != sizeof(op.hi))
                        _exit(3);
        }
}

/* Returns the last that a child confirmed before it was killed. */
static uint64_t kill_amid_commits(struct fixture *f, unsigned patience)
{
        uint64_t hi = 0, last = 0;
        int out[2], status;
        pid_t child;

        assert_int_equal(pipe(out), 0);
        child = fork();
        assert_true(child >= 0);
        if (child == 0) {
                close(out[0]);
                commit_for_ever(f, out[1]);
        }
        close(out[1]);
        for (unsigned i = 0; i < patience && read(out[0], &hi, sizeof(hi)) == sizeof(hi); i++)
                last = hi;
        (void)nanosleep(&(struct timespec){.tv_nsec = (long)patience * 37000}, NULL);
        (void)kill(child, SIGKILL);
        while (read(out[0], &hi, sizeof(hi)) == sizeof(hi))
                last = hi;
        close(out[0]);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        return last;
}

static void test_killed_amid_commits(void **state)
{
        struct fixture *f = *state;

        open_store(f);
        add(f, "orders");
        f->store = store_close(f->store);
        for (unsigned i = 0; i < KILLS; i++) {
                uint64_t confirmed = kill_amid_commits(f, 1 + i * 3);
                struct store_sequence q;

                open_store(f);
                q = load_only(f);
                assert_true(confirmed > 0);
                assert_true(q.hi == confirmed || q.hi == confirmed + 3); /* said or not */
                assert_int_equal(q.hi % 3, 0);
                f->store = store_close(f->store);
        }
}

static void test_every_commit_syncs(void **state)
{
        struct fixture *f = *state;
        unsigned before = disk.fsyncs;

        open_store(f);
        assert_true(disk.fsyncs - before >= 2); /* the file whole, then its name */
        add(f, "orders");
        for (unsigned i = 0; i < 600; i++) { /* the log is begun anew in between */
                before = disk.syncs;
                must(f, op_reserve(1, 1, 0, 1));
                assert_true(disk.syncs > before);
        }
}

/* --- faults ------------------------------------------------------------ */

static const struct fault {
        int sync_error, write_error, writes, expected;
        const char *word;
} faults[] = {
        {.sync_error = EIO, .expected = -EIO, .word = "disk I/O error"},
        {.sync_error = ENOSPC, .expected = -ENOSPC, .word = "seqnumd.db"},
        {.sync_error = EDQUOT, .expected = -ENOSPC, .word = "seqnumd.db"},
        {.write_error = EIO, .expected = -EIO, .word = "disk I/O error"},
        {.write_error = EIO, .writes = 1, .expected = -EIO, .word = "disk I/O error"},
        {.write_error = ENOSPC, .expected = -ENOSPC, .word = "seqnumd.db"},
        {.write_error = ENOSPC, .writes = 1, .expected = -ENOSPC, .word = "seqnumd.db"},
};

#define N_FAULTS (sizeof(faults) / sizeof(faults[0]))

static void break_disk(const struct fault *fault)
{
        disk.sync_error = fault->sync_error;
        disk.write_error = fault->write_error;
        disk.writes = fault->writes;
}

/* A reservation and a new sequence fail, and the store is as it was. */
static void fail_commit(struct fixture *f, const struct fault *fault)
{
        struct store_op ops[2] = {op_reserve(1, 1, 0, 10), op_create("new")};
        struct contents before = load(f), after;
        int r;

        break_disk(fault);
        r = store_commit(f->store, ops, 2);
        disk_works();
        if (r != fault->expected || !strstr(f->store->message, fault->word))
                fail_msg("%d (%s), not %d with '%s'", r, f->store->message, fault->expected,
                         fault->word);
        after = load(f);
        assert_true(same_contents(&before, &after));
}

static void test_fault(void **state)
{
        struct fixture *f = *state;
        uint64_t hi = 0;

        open_store(f);
        add(f, "orders");
        for (size_t i = 0; i < N_FAULTS; i++) {
                struct contents before = load(f), after;

                fail_commit(f, &faults[i]);
                reopen(f); /* not retried: nothing of it is there */
                after = load(f);
                assert_true(same_contents(&before, &after));

                fail_commit(f, &faults[i]);
                must(f, op_reserve(1, 1, 0, 10)); /* retried */
                hi += 10;
                expect_range(f, 0, hi, false);
                reopen(f);
                expect_range(f, 0, hi, false);
        }
        assert_int_equal(add(f, "new"), 2);
}

/* What a child does between a commit that failed and its death. */
enum after { NOTHING, BLAMED, TUNED, RESERVED, N_AFTER };

static int go_on(struct fixture *f, enum after after)
{
        struct contents contents = load(f);
        struct store_op op = op_of(STORE_TUNE, 1);

        if (after == NOTHING)
                return 0;
        if (after == BLAMED)
                return commit_one(f, op_of(STORE_DROP, 4711)) == -ENOENT ? 0 : -EINVAL;
        if (after == RESERVED)
                return commit_one(f, op_reserve(1, 1, 0, 1));
        op.params = contents.rows[0].sequence.params; /* changes nothing */
        return commit_one(f, op);
}

static void fail_and_die(struct fixture *f, const struct fault *fault, enum after after)
{
        struct store_op ops[2] = {op_reserve(1, 1, 0, 10), op_create("new")};
        char *message = NULL;

        if (store_open_sqlite(&f->store, f->state, &message) < 0)
                _exit(1);
        if (commit_one(f, op_reserve(1, 1, 0, 1)) < 0) /* so that the log has been begun */
                _exit(2);
        break_disk(fault);
        if (store_commit(f->store, ops, 2) != fault->expected)
                _exit(3);
        disk_works();
        _exit(go_on(f, after) < 0 ? 4 : 0);
}

/*
 * A failed commit and then a death without a close. The failure may have come
 * after the log had it all: then the next start finds all of it, or nothing.
 * Never anything if a commit was confirmed after it, even one that changed
 * nothing; one that was stopped for what it asked settles nothing.
 */
static void test_fault_and_death(void **state)
{
        struct fixture *f = *state;
        uint64_t hi = 0;

        open_store(f);
        add(f, "orders");
        f->store = store_close(f->store);
        for (size_t i = 0; i < N_AFTER * N_FAULTS; i++) {
                enum after after = i % N_AFTER;
                struct contents contents;
                pid_t child = fork();
                int status;

                assert_true(child >= 0);
                if (child == 0)
                        fail_and_die(f, &faults[i / N_AFTER], after);
                assert_int_equal(waitpid(child, &status, 0), child);
                assert_int_equal(status, 0);
                open_store(f);
                contents = load(f);
                hi += after == RESERVED ? 2 : 1;
                if (after <= BLAMED && contents.n == 2) {
                        hi += 10;
                        must(f, op_of(STORE_DROP, contents.rows[1].sequence.id));
                        print_message("fault %zu: found after the death\n", i / N_AFTER);
                }
                expect_range(f, 0, hi, false);
                f->store = store_close(f->store);
        }
}

/* Without a disk no store is made, and none is left half made. */
static void test_fault_while_making(void **state)
{
        struct fixture *f = *state;
        char path[PATH_MAX];

        path_in(f, "seqnumd.db", path);
        for (size_t i = 0; i < N_FAULTS; i++) {
                break_disk(&faults[i]);
                expect_refused(f, faults[i].expected, "seqnumd.db");
                disk_works();
                assert_int_equal(access(path, F_OK), -1);
        }
        open_store(f);
        assert_true(f->store->created);
        add(f, "orders");
}

#define case_of(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                case_of(test_created_once),
                case_of(test_create),
                case_of(test_create_refused),
                case_of(test_ids_are_not_reused),
                case_of(test_replace),
                case_of(test_reserve),
                case_of(test_reserve_to_the_limit),
                case_of(test_save),
                case_of(test_tune),
                case_of(test_stale_generation),
                case_of(test_unknown),
                case_of(test_steps_in_order),
                case_of(test_all_or_nothing),
                case_of(test_edges_persist),
                case_of(test_load_stops),
                case_of(test_many_in_one_commit),
                case_of(test_every_column),
                case_of(test_exact_beyond_one),
                case_of(test_damaged_row_is_not_changed),
                case_of(test_upgrade),
                case_of(test_kinds),
                case_of(test_structure),
                case_of(test_foreign),
                case_of(test_truncated),
                case_of(test_flipped_bytes),
                case_of(test_index_and_rows_differ),
                case_of(test_left_over_beginning),
                case_of(test_copy_removed),
                case_of(test_copy_replaced),
                case_of(test_file_of_others),
                case_of(test_bad_directory),
                case_of(test_second_process),
                case_of(test_killed_amid_commits),
                case_of(test_every_commit_syncs),
                case_of(test_fault),
                case_of(test_fault_and_death),
                case_of(test_fault_while_making),
        };

        (void)umask(0); /* nothing here relies on the caller's */
        return cmocka_run_group_tests(tests, NULL, NULL);
}
