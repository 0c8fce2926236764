/* SPDX-License-Identifier: MIT */

/*
 * The store at a power cut: what it confirms, and what it reads back to a
 * daemon that is about to believe it, must be in what was synced.
 *
 * The calls that sync are replaced here. Each also copies the file to another
 * directory, "the platter", which so holds at any time what had reached the
 * disk for certain, and nothing that had not. That a disk may hold more is the
 * killed process' case, which is in test-store.c.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store.h"

#define COMMITS 1200 /* enough for the log to be begun anew several times */

enum sync_outcome { SYNC_WORKS, SYNC_DIES, SYNC_FAILS };

static struct {
        char platter[80]; /* "": no copies are made */
        unsigned syncs;
        enum sync_outcome next; /* what the next one does */
} disk;

struct fixture {
        char base[64], state[72], view[72];
        struct store *store;
};

/* --- the platter --------------------------------------------------------- */

/* Only returns: it may run in a child, where no assertion can fail a test. */
static void copy_file(const char *from, const char *directory)
{
        char to[PATH_MAX], buffer[16384];
        int in, out;
        ssize_t n;

        (void)snprintf(to, sizeof(to), "%s/%s", directory, strrchr(from, '/') + 1);
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

static void copy_synced(int fd)
{
        char link[32], path[PATH_MAX];
        struct stat status;
        ssize_t length;

        if (!disk.platter[0] || fstat(fd, &status) < 0 || !S_ISREG(status.st_mode))
                return;
        (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        length = readlink(link, path, sizeof(path) - 1);
        if (length < 0)
                abort();
        path[length] = '\0';
        copy_file(path, disk.platter);
}

static int sync_with(long number, int fd)
{
        if (disk.next == SYNC_DIES)
                (void)raise(SIGKILL);
        if (disk.next == SYNC_FAILS) {
                disk.next = SYNC_WORKS;
                errno = EIO;
                return -1;
        }
        disk.syncs++;
        if (syscall(number, fd) < 0)
                return -1;
        copy_synced(fd);
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

        *hi = sequence->hi;
        return 0;
}

static uint64_t load_hi(struct store *store)
{
        uint64_t hi = UINT64_MAX;

        assert_int_equal(store_load(store, note_hi, &hi), 0);
        return hi;
}

static int reserve(struct store *store, uint64_t count)
{
        struct store_op op = {.type = STORE_RESERVE, .id = 1, .generation = 1, .count = count};

        return store_commit(store, &op, 1);
}

/* What a start finds if the power goes now. */
static uint64_t hi_after_power_cut(struct fixture *f)
{
        char file[PATH_MAX], platter[sizeof(disk.platter)];
        struct store *store;
        uint64_t hi;

        memcpy(platter, disk.platter, sizeof(platter));
        disk.platter[0] = '\0';
        (void)nftw(f->view, remove_one, 16, FTW_DEPTH | FTW_PHYS);
        assert_int_equal(mkdir(f->view, 0700), 0);
        (void)snprintf(file, sizeof(file), "%s/seqnumd.db", platter);
        copy_file(file, f->view);
        (void)snprintf(file, sizeof(file), "%s/seqnumd.db-wal", platter);
        if (access(file, F_OK) == 0)
                copy_file(file, f->view);
        store = open_at(f->view);
        hi = load_hi(store);
        store_close(store);
        memcpy(disk.platter, platter, sizeof(platter));
        return hi;
}

/* One sequence, everything on the platter, the store closed. */
static int setup(void **state)
{
        const char *tmp = getenv("TMPDIR");
        struct fixture *f = calloc(1, sizeof(*f));
        struct store_op op = {
                .type = STORE_CREATE,
                .name = "orders",
                .params = sequence_params_default(),
                .origin = 1,
        };
        char file[PATH_MAX];

        *state = f;
        if (!f || snprintf(f->base, sizeof(f->base), "%s/seqnum-power.XXXXXX",
                           tmp ? tmp : "/tmp") >= (int)sizeof(f->base))
                return -1;
        if (!mkdtemp(f->base))
                return -1;
        (void)snprintf(f->state, sizeof(f->state), "%s/state", f->base);
        (void)snprintf(f->view, sizeof(f->view), "%s/view", f->base);
        f->store = open_at(f->state);
        if (store_commit(f->store, &op, 1) < 0)
                return -1;
        f->store = store_close(f->store);
        (void)snprintf(disk.platter, sizeof(disk.platter), "%s/platter", f->base);
        (void)snprintf(file, sizeof(file), "%s/seqnumd.db", f->state);
        if (mkdir(disk.platter, 0700) < 0)
                return -1;
        copy_file(file, disk.platter);
        return 0;
}

/* Runs also when the test failed. */
static int teardown(void **state)
{
        struct fixture *f = *state;

        disk.platter[0] = '\0';
        disk.next = SYNC_WORKS;
        store_close(f->store);
        (void)nftw(f->base, remove_one, 16, FTW_DEPTH | FTW_PHYS);
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
                unsigned before = disk.syncs;

                assert_int_equal(reserve(f->store, 7), 0);
                hi += 7;
                assert_true(disk.syncs > before);
                if (disk.syncs - before > 1)
                        checkpoints++;
                if (disk.syncs - before > 1 || i % 50 == 0)
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
        disk.next = how;
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
        disk.next = SYNC_FAILS;
        assert_int_equal(store_open_sqlite(&store, f->state, &message), -EIO);
        assert_non_null(strstr(message, f->state));
        assert_null(store);
        free(message);
        f->store = open_at(f->state);
        assert_int_equal(hi_after_power_cut(f), load_hi(f->store));
}

#define case_of(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                case_of(test_confirmed),
                case_of(test_killed_before_the_sync),
                case_of(test_killed_after_a_failed_sync),
                case_of(test_disk_fails_at_the_start),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
