/* SPDX-License-Identifier: MIT */

/*
 * The store at a power cut: what it confirms, and what it reads back to a
 * daemon that is about to believe it, must be in what was synced.
 *
 * The calls that sync are replaced here. Each also copies the file to another
 * directory, "the platter", which so holds at any time what had reached the
 * disk for certain, and nothing that had not: a file's contents as of its own
 * last sync, and names as of the last sync of the directory. A file whose sync
 * failed is cursed: later syncs of it say that they worked and do nothing, which
 * is the worst that kernels were seen to do (test-power.c). That a disk may hold
 * more is the killed process' case, which is in test-store.c.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store.h"

#define COMMITS 1200 /* enough for the log to be begun anew several times */

#define NAMES_MAX  8
#define CURSED_MAX 8

enum sync_outcome { SYNC_WORKS, SYNC_DIES, SYNC_FAILS, SYNC_KEEPS_FAILING };

/* Which file it is: inodes are used again, times of birth are not. */
struct key {
        uint64_t inode;
        int64_t sec;
        uint32_t nsec;
};

struct name {
        char text[32];
        struct key key;
};

/* Shared with children: what they did to the disk outlives them. */
static struct disk {
        char platter[80]; /* "": no copies are made */
        char state[72];   /* the directory whose names are noted */
        unsigned syncs, parents, failed;
        enum sync_outcome next; /* what the next one does */
        char victim[32];        /* if it is of a file so named; "": of any file */
        struct name names[NAMES_MAX];
        size_t n_names;
        struct key cursed[CURSED_MAX];
        size_t n_cursed;
} * disk;

struct fixture {
        char base[64], state[72], view[72];
        struct store *store;
};

/* --- the platter --------------------------------------------------------- */

/* Only returns: it may run in a child, where no assertion can fail a test. */
static void copy_file(const char *from, const char *to)
{
        char buffer[16384];
        int in, out;
        ssize_t n;

        in = open(from, O_RDONLY | O_CLOEXEC);
        out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (in < 0 || out < 0)
                abort();
        while ((n = read(in, buffer, sizeof(buffer))) > 0)
                if (write(out, buffer, (size_t)n) != n)
                        abort();
        (void)close(in);
        (void)close(out);
}

static struct key key_of(int directory, const char *name)
{
        struct statx status;

        if (statx(directory, name, AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &status) < 0)
                abort();
        return (struct key){status.stx_ino, status.stx_btime.tv_sec, status.stx_btime.tv_nsec};
}

static bool same_key(const struct key *a, const struct key *b)
{
        return a->inode == b->inode && a->sec == b->sec && a->nsec == b->nsec;
}

/* Where a file's synced contents are. */
static void place_of(char *ret, size_t size, const struct key *key)
{
        (void)snprintf(ret, size, "%s/%" PRIu64 "-%" PRId64 ".%" PRIu32, disk->platter, key->inode,
                       key->sec, key->nsec);
}

static void note_names(int directory)
{
        DIR *listing = opendir(disk->state);
        struct dirent *entry;

        if (!listing)
                abort();
        disk->n_names = 0;
        while ((entry = readdir(listing))) {
                struct name *name = &disk->names[disk->n_names];

                if (entry->d_type != DT_REG)
                        continue;
                if (++disk->n_names > NAMES_MAX)
                        abort();
                (void)snprintf(name->text, sizeof(name->text), "%.31s", entry->d_name);
                name->key = key_of(directory, entry->d_name);
        }
        (void)closedir(listing);
}

static void path_of(int fd, char *path, size_t size)
{
        char link[32];
        ssize_t length;

        (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        length = readlink(link, path, size - 1);
        if (length < 0)
                abort();
        path[length] = '\0';
}

static void note_synced(int fd)
{
        char path[PATH_MAX], place[PATH_MAX];
        struct stat status;
        struct key key;

        if (!disk->platter[0] || fstat(fd, &status) < 0)
                return;
        path_of(fd, path, sizeof(path));
        if (S_ISDIR(status.st_mode)) {
                if (strcmp(path, disk->state) == 0)
                        note_names(fd);
                else
                        disk->parents++;
                return;
        }
        key = key_of(fd, "");
        for (size_t i = 0; i < disk->n_cursed; i++)
                if (same_key(&disk->cursed[i], &key))
                        return;
        place_of(place, sizeof(place), &key);
        copy_file(path, place);
}

/* Is it this one that does not work? */
static bool is_victim(int fd)
{
        char path[PATH_MAX];

        if (disk->next == SYNC_WORKS)
                return false;
        path_of(fd, path, sizeof(path));
        return !disk->victim[0] || strcmp(strrchr(path, '/') + 1, disk->victim) == 0;
}

static int fail_sync(int fd)
{
        enum sync_outcome how = disk->next;

        if (how != SYNC_KEEPS_FAILING)
                disk->next = SYNC_WORKS;
        if (how == SYNC_DIES)
                (void)raise(SIGKILL);
        if (how == SYNC_FAILS && disk->n_cursed < CURSED_MAX)
                disk->cursed[disk->n_cursed++] = key_of(fd, "");
        disk->failed++;
        errno = EIO;
        return -1;
}

static int sync_with(long number, int fd)
{
        if (is_victim(fd))
                return fail_sync(fd);
        disk->syncs++;
        if (syscall(number, fd) < 0)
                return -1;
        note_synced(fd);
        return 0;
}

int fdatasync(int fd)
{
        return sync_with(SYS_fdatasync, fd);
}

int fsync(int fd)
{
        return sync_with(SYS_fsync, fd);
}

/* --- stores --------------------------------------------------------------- */

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *ftw)
{
        (void)status;
        (void)type;
        (void)ftw;
        return remove(path);
}

static struct store *open_at(const char *directory)
{
        struct store *store = NULL;
        char *message = NULL;

        if (store_open_sqlite(&store, directory, &message) < 0)
                fail_msg("%s", message);
        return store;
}

static int note_hi(const struct store_sequence *sequence, void *userdata)
{
        uint64_t *hi = userdata;

        if (sequence->id == 1)
                *hi = sequence->hi;
        return 0;
}

static uint64_t load_hi(struct store *store)
{
        uint64_t hi = UINT64_MAX;

        assert_int_equal(store_load(store, note_hi, &hi), 0);
        return hi;
}

static int reserve_of(struct store *store, uint64_t id, uint64_t count)
{
        struct store_op op = {.type = STORE_RESERVE, .id = id, .generation = 1, .count = count};

        return store_commit(store, &op, 1);
}

static int reserve(struct store *store, uint64_t count)
{
        return reserve_of(store, 1, count);
}

/* What was synced, as a start finds it. */
static void lay_out(struct fixture *f)
{
        (void)nftw(f->view, remove_one, 16, FTW_DEPTH | FTW_PHYS);
        assert_int_equal(mkdir(f->view, 0700), 0);
        for (size_t i = 0; i < disk->n_names; i++) {
                char file[PATH_MAX], place[PATH_MAX];

                (void)snprintf(file, sizeof(file), "%s/%s", f->view, disk->names[i].text);
                place_of(place, sizeof(place), &disk->names[i].key);
                copy_file(access(place, F_OK) == 0 ? place : "/dev/null", file);
        }
}

/* What a start finds if the power goes now. */
static uint64_t hi_after_power_cut(struct fixture *f)
{
        char platter[sizeof(disk->platter)];
        enum sync_outcome next = disk->next;
        struct store *store;
        uint64_t hi;

        lay_out(f);
        disk->next = SYNC_WORKS;
        memcpy(platter, disk->platter, sizeof(platter));
        disk->platter[0] = '\0';
        store = open_at(f->view);
        assert_false(store->created);
        hi = load_hi(store);
        store_close(store);
        memcpy(disk->platter, platter, sizeof(platter));
        disk->next = next;
        return hi;
}

static int setup_base(struct fixture *f)
{
        const char *tmp = getenv("TMPDIR");

        disk = mmap(NULL, sizeof(*disk), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (!f || disk == MAP_FAILED)
                return -1;
        if (snprintf(f->base, sizeof(f->base), "%s/seqnum-power.XXXXXX", tmp ? tmp : "/tmp") >=
                    (int)sizeof(f->base) ||
            !mkdtemp(f->base))
                return -1;
        (void)snprintf(f->state, sizeof(f->state), "%s/state", f->base);
        (void)snprintf(f->view, sizeof(f->view), "%s/view", f->base);
        (void)snprintf(disk->state, sizeof(disk->state), "%s", f->state);
        (void)snprintf(disk->platter, sizeof(disk->platter), "%s/platter", f->base);
        return mkdir(disk->platter, 0700);
}

static int setup_empty(void **state)
{
        struct fixture *f = calloc(1, sizeof(*f));

        *state = f;
        return setup_base(f);
}

static struct store_op creation(const char *name)
{
        return (struct store_op){
                .type = STORE_CREATE,
                .name = name,
                .params = sequence_params_default(),
                .origin = 1,
        };
}

static int make_orders(struct store *store)
{
        struct store_op op = creation("orders");

        return store_commit(store, &op, 1);
}

/* One sequence, everything on the platter, the store closed. */
static int setup(void **state)
{
        struct fixture *f;

        if (setup_empty(state) < 0)
                return -1;
        f = *state;
        f->store = open_at(f->state);
        if (make_orders(f->store) < 0)
                return -1;
        f->store = store_close(f->store);
        return 0;
}

/* Runs also when the test failed. */
static int teardown(void **state)
{
        struct fixture *f = *state;

        disk->platter[0] = '\0';
        disk->next = SYNC_WORKS;
        store_close(f->store);
        (void)nftw(f->base, remove_one, 16, FTW_DEPTH | FTW_PHYS);
        (void)munmap(disk, sizeof(*disk));
        free(f);
        return 0;
}

/* --- tests ---------------------------------------------------------------- */

/* Also in the commits that copy the log back and begin it anew. */
static void test_confirmed(void **state)
{
        struct fixture *f = *state;
        unsigned checkpoints = 0;
        uint64_t hi = 0;

        f->store = open_at(f->state);
        for (unsigned i = 0; i < COMMITS; i++) {
                unsigned before = disk->syncs;

                assert_int_equal(reserve(f->store, 7), 0);
                hi += 7;
                assert_true(disk->syncs > before);
                if (disk->syncs - before > 1)
                        checkpoints++;
                if (disk->syncs - before > 1 || i % 50 == 0)
                        assert_int_equal(hi_after_power_cut(f), hi);
        }
        assert_true(checkpoints > 2);
}

/* Confirms 20 and dies in, or right after, a commit that is not synced. */
static void die_unsynced(struct fixture *f, enum sync_outcome how)
{
        char *message = NULL;

        if (store_open_sqlite(&f->store, f->state, &message) < 0)
                _exit(1);
        if (reserve(f->store, 10) < 0 || reserve(f->store, 10) < 0)
                _exit(2);
        disk->next = how;
        if (reserve(f->store, 1000) != -EIO)
                _exit(3);
        (void)raise(SIGKILL);
}

/*
 * The next daemon may find that commit or not; but what it finds it publishes,
 * so it must be there after a power cut too.
 */
static void read_is_durable(struct fixture *f, enum sync_outcome how)
{
        pid_t child = fork();
        uint64_t hi;
        int status;

        assert_true(child >= 0);
        if (child == 0)
                die_unsynced(f, how);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        assert_int_equal(hi_after_power_cut(f), 20); /* nobody was told of more */
        f->store = open_at(f->state);
        hi = load_hi(f->store);
        assert_true(hi == 20 || hi == 1020);
        assert_int_equal(hi_after_power_cut(f), hi);
}

static void test_killed_before_the_sync(void **state)
{
        read_is_durable(*state, SYNC_DIES);
}

static void test_killed_after_a_failed_sync(void **state)
{
        read_is_durable(*state, SYNC_FAILS);
}

/* And when it cannot be made so, nothing is read at all. */
static void test_disk_fails_at_the_start(void **state)
{
        struct fixture *f = *state;
        struct store *store = NULL;
        char *message = NULL;
        pid_t child = fork();

        assert_true(child >= 0);
        if (child == 0)
                die_unsynced(f, SYNC_DIES);
        assert_int_equal(waitpid(child, NULL, 0), child);
        disk->next = SYNC_FAILS;
        assert_int_equal(store_open_sqlite(&store, f->state, &message), -EIO);
        assert_non_null(strstr(message, f->state));
        assert_null(store);
        free(message);
        f->store = open_at(f->state);
        assert_int_equal(hi_after_power_cut(f), load_hi(f->store));
}

/* --- after a failure ------------------------------------------------------ */

/* Many commits from `hi` on, each of which is there after a cut. */
static void go_on_surely(struct fixture *f, uint64_t hi)
{
        for (unsigned i = 0; i < COMMITS / 3; i++) {
                assert_int_equal(reserve(f->store, 7), 0);
                hi += 7;
                if (i < 5 || i % 50 == 0)
                        assert_int_equal(hi_after_power_cut(f), hi);
        }
        f->store = store_close(f->store);
        assert_int_equal(hi_after_power_cut(f), hi);
}

/* A sync that failed and a commit that works: by another file, or it means nothing. */
static void test_log_that_failed_is_not_believed(void **state)
{
        struct fixture *f = *state;

        f->store = open_at(f->state);
        assert_int_equal(reserve(f->store, 10), 0);
        disk->next = SYNC_FAILS;
        assert_int_equal(reserve(f->store, 1000), -EIO);
        assert_int_equal(hi_after_power_cut(f), 10);
        go_on_surely(f, 10);
}

/* Enough for `orders` to be in another page of the file than the last ones. */
#define OTHERS 200

static void make_others(struct store *store)
{
        static char names[OTHERS][32];
        static struct store_op ops[OTHERS];

        for (unsigned i = 0; i < OTHERS; i++) {
                (void)snprintf(names[i], sizeof(names[i]), "other/%u", i);
                ops[i] = creation(names[i]);
        }
        assert_int_equal(store_commit(store, ops, OTHERS), 0);
}

/*
 * The same of the file itself, to which the log is copied back after a commit. Then
 * the log is begun anew, with other pages, and the file alone has this one.
 */
static void test_file_that_failed_is_not_believed(void **state)
{
        struct fixture *f = *state;
        uint64_t hi = 0;

        f->store = open_at(f->state);
        make_others(f->store);
        (void)snprintf(disk->victim, sizeof(disk->victim), "seqnumd.db");
        disk->next = SYNC_FAILS;
        while (disk->next == SYNC_FAILS) {
                assert_int_equal(reserve(f->store, 7), 0); /* it is in the log */
                hi += 7;
                assert_true(hi < 7 * COMMITS);
        }
        for (unsigned i = 0; i < COMMITS / 3; i++)
                assert_int_equal(reserve_of(f->store, OTHERS, 1), 0);
        assert_int_equal(hi_after_power_cut(f), hi);
        go_on_surely(f, hi);
}

/* Fail every sync of what is so named. */
static void break_syncs(const char *victim)
{
        (void)snprintf(disk->victim, sizeof(disk->victim), "%s", victim);
        disk->next = SYNC_KEEPS_FAILING;
        disk->failed = 0;
}

/* They work again, and failed before. */
static void mend_syncs(void)
{
        assert_true(disk->failed > 0);
        disk->next = SYNC_WORKS;
        disk->victim[0] = '\0';
}

/* The file that is to replace it fails too, or putting it in place, or its log. */
static void test_replacing_fails(void **state)
{
        static const char *const victims[] = {"seqnumd.db.new", "state", "seqnumd.db-wal"};
        struct fixture *f = *state;
        uint64_t hi = 0;

        f->store = open_at(f->state);
        for (size_t i = 0; i < 3 * sizeof(victims) / sizeof(victims[0]); i++) {
                disk->next = SYNC_FAILS;
                assert_int_equal(reserve(f->store, 1000), -EIO);
                break_syncs(victims[i / 3]);
                for (size_t n = 0; n <= i % 3; n++) {
                        assert_int_equal(reserve(f->store, 1000), -EIO);
                        assert_int_equal(hi_after_power_cut(f), hi);
                }
                mend_syncs();
                assert_int_equal(reserve(f->store, 7), 0);
                hi += 7;
                assert_int_equal(hi_after_power_cut(f), hi);
        }
        go_on_surely(f, hi);
}

/* The directory's own name and the store's last, or there is none: SQLite does not tell. */
static void test_names_are_synced(void **state)
{
        struct fixture *f = *state;
        struct store *store = NULL;

        for (int i = 0; i < 4; i++) {
                char *message = NULL;

                break_syncs(i < 2 ? strrchr(f->base, '/') + 1 : "state");
                assert_int_equal(store_open_sqlite(&store, f->state, &message), -EIO);
                assert_non_null(strstr(message, f->state));
                free(message);
                mend_syncs();
        }
        f->store = open_at(f->state);
        assert_true(disk->parents > 0);
        assert_int_equal(make_orders(f->store), 0);
        go_on_surely(f, 0);
}

#define case_of(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                case_of(test_confirmed),
                case_of(test_killed_before_the_sync),
                case_of(test_killed_after_a_failed_sync),
                case_of(test_disk_fails_at_the_start),
                case_of(test_log_that_failed_is_not_believed),
                case_of(test_file_that_failed_is_not_believed),
                case_of(test_replacing_fails),
                cmocka_unit_test_setup_teardown(test_names_are_synced, setup_empty, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
