/* SPDX-License-Identifier: MIT */

/*
 * The state directory: made, checked and locked; what others could write to is
 * refused. Not what is stored there: that is test-store.c.
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
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "statedir.h"

#define NOBODY 65534

struct fixture {
        char base[64];
        char state[80];
};

static int write_error; /* what pwrite() fails with; 0: it works */
static unsigned syncs;  /* calls of fsync() */

ssize_t pwrite(int fd, const void *buffer, size_t size, off_t offset)
{
        ssize_t (*real)(int, const void *, size_t, off_t) = dlsym(RTLD_NEXT, "pwrite");

        if (write_error) {
                errno = write_error;
                return -1;
        }
        return real(fd, buffer, size, offset);
}

int fsync(int fd)
{
        int (*real)(int) = dlsym(RTLD_NEXT, "fsync");

        syncs++;
        return real(fd);
}

static int setup(void **state)
{
        const char *tmp = getenv("TMPDIR");
        struct fixture *f = calloc(1, sizeof(*f));

        *state = f;
        if (!f || snprintf(f->base, sizeof(f->base), "%s/seqnum-state.XXXXXX",
                           tmp ? tmp : "/tmp") >= (int)sizeof(f->base))
                return -1;
        if (!mkdtemp(f->base))
                return -1;
        (void)snprintf(f->state, sizeof(f->state), "%s/state", f->base);
        return 0;
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *ftw)
{
        (void)status;
        (void)type;
        (void)ftw;
        return remove(path);
}

/* Runs also when the test failed. */
static int teardown(void **state)
{
        struct fixture *f = *state;

        write_error = 0;
        (void)nftw(f->base, remove_one, 16, FTW_DEPTH | FTW_PHYS);
        free(f);
        return 0;
}

static int lock(struct fixture *f)
{
        char *message = NULL;
        int fd = -1;

        if (statedir_lock(&fd, f->state, &message) < 0)
                fail_msg("%s", message);
        assert_null(message);
        assert_true(fd >= 0);
        return fd;
}

/* Not to be had, with `error` and a sentence in which `word` occurs. */
static void expect_refused(struct fixture *f, int error, const char *word)
{
        char *message = NULL;
        int fd = -4711;
        int r = statedir_lock(&fd, f->state, &message);

        if (r != error || !message || !strstr(message, word))
                fail_msg("%d (%s), not %d with '%s'", r, message, error, word);
        assert_int_equal(fd, -4711);
        free(message);
}

static mode_t mode_of(const char *path)
{
        struct stat status;

        assert_int_equal(stat(path, &status), 0);
        return status.st_mode & 07777;
}

static void make_file(const char *path, mode_t mode)
{
        int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

        assert_true(fd >= 0);
        assert_int_equal(fchmod(fd, mode), 0);
        close(fd);
}

static void test_made_if_missing(void **state)
{
        struct fixture *f = *state;
        char path[PATH_MAX];
        int fd;

        fd = lock(f);
        assert_int_equal(mode_of(f->state), 0700);
        (void)snprintf(path, sizeof(path), "%s/seqnumd.lock", f->state);
        assert_int_equal(mode_of(path), 0600);
        assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
        close(fd);
        fd = lock(f); /* free again, and as good when it was there */
        close(fd);
}

static void test_parent_missing(void **state)
{
        struct fixture *f = *state;

        (void)snprintf(f->state, sizeof(f->state), "%s/no/parent", f->base);
        expect_refused(f, -ENOTDIR, "make its parent");
        (void)snprintf(f->state, sizeof(f->state), "%s/no", f->base);
        assert_int_equal(access(f->state, F_OK), -1);
}

static void test_not_a_directory(void **state)
{
        struct fixture *f = *state;

        make_file(f->state, 0600);
        expect_refused(f, -ENOTDIR, "not a directory");
}

static void test_writable_by_others(void **state)
{
        static const mode_t bad[] = {0770, 0720, 0702, 01777, 0777}, good[] = {0755, 0750, 0700};
        struct fixture *f = *state;
        char path[PATH_MAX];

        assert_int_equal(mkdir(f->state, 0700), 0);
        (void)snprintf(path, sizeof(path), "%s/seqnumd.lock", f->state);
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                assert_int_equal(chmod(f->state, bad[i]), 0);
                expect_refused(f, -EPERM, "chmod go-w");
                assert_int_equal(mode_of(f->state), bad[i]);
                assert_int_equal(access(path, F_OK), -1);
        }
        for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
                assert_int_equal(chmod(f->state, good[i]), 0);
                close(lock(f));
        }
}

static void test_owned_by_another(void **state)
{
        struct fixture *f = *state;

        if (geteuid() != 0) {
                print_message("not root: cannot give a directory away\n");
                skip();
        }
        assert_int_equal(mkdir(f->state, 0700), 0);
        assert_int_equal(chown(f->state, NOBODY, (gid_t)-1), 0);
        expect_refused(f, -EPERM, "user 65534");
}

/* Run `check` in a child, which must exit with 0: it may change what cannot be changed back. */
static void in_child(struct fixture *f, int (*check)(struct fixture *f))
{
        int status;
        pid_t child;

        if (geteuid() != 0) {
                print_message("not root: cannot become another user, nor mount\n");
                skip();
        }
        assert_int_equal(chmod(f->base, 0755), 0);
        child = fork();
        assert_true(child >= 0);
        if (child == 0)
                _exit(check(f));
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
}

/* In a child: is the directory refused with this error, in all these words? */
static bool refused_in_words(struct fixture *f, int error, const char *const words[])
{
        char *message = NULL;
        int fd, r = statedir_lock(&fd, f->state, &message);

        for (size_t i = 0; words[i]; i++)
                if (r != error || !message || !strstr(message, words[i])) {
                        print_error("%d (%s), not %d with '%s'\n", r, message, error, words[i]);
                        return false;
                }
        free(message);
        return true;
}

static bool become_nobody(void)
{
        return setresgid(NOBODY, NOBODY, NOBODY) == 0 && setresuid(NOBODY, NOBODY, NOBODY) == 0;
}

static int check_of_root(struct fixture *f)
{
        const char *const words[] = {f->state, "Permission denied", "belongs to user 0",
                                     "chown 65534", NULL};

        return become_nobody() && refused_in_words(f, -EACCES, words) ? 0 : 1;
}

/* To a service that is not root: root's directory would do, were it not for its mode. */
static void test_owned_by_root(void **state)
{
        struct fixture *f = *state;

        assert_int_equal(mkdir(f->state, 0755), 0);
        in_child(f, check_of_root);
}

/* The whole directory was given to the service, but for what is in it. */
static void test_lock_of_root(void **state)
{
        struct fixture *f = *state;
        char path[PATH_MAX];

        assert_int_equal(mkdir(f->state, 0700), 0);
        (void)snprintf(path, sizeof(path), "%s/seqnumd.lock", f->state);
        make_file(path, 0600);
        if (geteuid() == 0)
                assert_int_equal(chown(f->state, NOBODY, NOBODY), 0);
        in_child(f, check_of_root);
}

static int check_parent_of_root(struct fixture *f)
{
        const char *const words[] = {f->state, "Permission denied", "install -d -o 65534 -m 700",
                                     "InaccessiblePaths=", NULL};

        return become_nobody() && refused_in_words(f, -EACCES, words) ? 0 : 1;
}

/* Its parent is there; to make it is what does not help. */
static void test_may_not_be_made(void **state)
{
        in_child(*state, check_parent_of_root);
}

static bool mount_read_only(const char *path)
{
        return unshare(CLONE_NEWNS) == 0 && mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
               mount(path, path, NULL, MS_BIND, NULL) == 0 &&
               mount("", path, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) == 0;
}

static int check_read_only(struct fixture *f)
{
        const char *const words[] = {f->state, "Read-only file system", "ReadWritePaths=", f->base,
                                     NULL};

        if (!mount_read_only(f->base)) {
                print_message("cannot mount: %s\n", strerror(errno));
                return 0;
        }
        return refused_in_words(f, -EROFS, words) ? 0 : 1;
}

/* As below ProtectSystem=strict. */
static void test_read_only(void **state)
{
        struct fixture *f = *state;

        in_child(f, check_read_only);
        assert_int_equal(mkdir(f->state, 0700), 0);
        in_child(f, check_read_only);
}

static void test_lock_is_a_link(void **state)
{
        struct fixture *f = *state;
        char path[PATH_MAX], target[PATH_MAX];

        assert_int_equal(mkdir(f->state, 0700), 0);
        (void)snprintf(path, sizeof(path), "%s/seqnumd.lock", f->state);
        (void)snprintf(target, sizeof(target), "%s/precious", f->base);
        make_file(target, 0600);
        assert_int_equal(symlink(target, path), 0);
        expect_refused(f, -ELOOP, path);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(mkdir(path, 0700), 0);
        expect_refused(f, -EISDIR, path);
}

/* --- the lock ---------------------------------------------------------- */

/* A child that holds the lock until it is killed. */
static pid_t hold(struct fixture *f)
{
        char byte;
        int ready[2];
        pid_t child;

        assert_int_equal(pipe(ready), 0);
        child = fork();
        assert_true(child >= 0);
        if (child == 0) {
                char *message = NULL;
                int fd;

                if (statedir_lock(&fd, f->state, &message) < 0)
                        _exit(1);
                (void)!write(ready[1], "", 1);
                for (;;)
                        pause();
        }
        close(ready[1]);
        assert_int_equal(read(ready[0], &byte, 1), 1);
        close(ready[0]);
        return child;
}

static void test_held(void **state)
{
        struct fixture *f = *state;

        for (unsigned i = 0; i < 3; i++) {
                pid_t child = hold(f);
                char word[64];

                (void)snprintf(word, sizeof(word), "process %d ", (int)child);
                expect_refused(f, -EBUSY, word);
                expect_refused(f, -EBUSY, word); /* asking does not take it away */
                expect_refused(f, -EBUSY, f->state);
                assert_int_equal(kill(child, SIGKILL), 0);
                assert_int_equal(waitpid(child, NULL, 0), child);
        }
        close(lock(f)); /* dead: free at once */
}

/* Within one process too: closing another fd of the file does not free it. */
static void test_held_by_oneself(void **state)
{
        struct fixture *f = *state;
        char path[PATH_MAX], word[64];
        int fd = lock(f);

        (void)snprintf(path, sizeof(path), "%s/seqnumd.lock", f->state);
        close(open(path, O_RDONLY | O_CLOEXEC));
        (void)snprintf(word, sizeof(word), "process %d ", (int)getpid());
        expect_refused(f, -EBUSY, word);
        close(fd);
}

/* The number of a holder before, longer than ours, leaves no digits behind. */
static void test_number_is_written_anew(void **state)
{
        struct fixture *f = *state;
        char path[PATH_MAX], text[64] = "", expected[64];
        int fd, file;

        assert_int_equal(mkdir(f->state, 0700), 0);
        (void)snprintf(path, sizeof(path), "%s/seqnumd.lock", f->state);
        file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        assert_int_equal(write(file, "99999999999999\nrest\n", 20), 20);
        fd = lock(f);
        assert_true(pread(file, text, sizeof(text) - 1, 0) > 0);
        (void)snprintf(expected, sizeof(expected), "%d\n", (int)getpid());
        assert_string_equal(text, expected);
        close(file);
        close(fd);
}

/* A full disk is no reason not to start. */
static void test_full_disk(void **state)
{
        struct fixture *f = *state;
        int fd;

        write_error = ENOSPC;
        fd = lock(f);
        write_error = 0;
        expect_refused(f, -EBUSY, f->state);
        close(fd);
}

/* --- files in it ------------------------------------------------------- */

static void test_check_file(void **state)
{
        static const struct {
                mode_t mode;
                int error;
        } cases[] = {
                {0600, 0}, {0644, 0}, {0400, 0}, {0620, -EPERM}, {0602, -EPERM}, {0666, -EPERM},
        };
        struct fixture *f = *state;
        char *message = NULL;

        assert_int_equal(statedir_check_file(f->state, &message), -ENOENT);
        assert_null(message);
        make_file(f->state, 0600);
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                assert_int_equal(chmod(f->state, cases[i].mode), 0);
                assert_int_equal(statedir_check_file(f->state, &message), cases[i].error);
                assert_int_equal(message != NULL, cases[i].error < 0);
                if (message)
                        assert_non_null(strstr(message, f->state));
                free(message);
                message = NULL;
        }
}

static int check_files_of_root(struct fixture *f)
{
        static const mode_t modes[] = {0600, 0644};
        char *message = NULL;

        if (!become_nobody())
                return 1;
        for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
                char path[PATH_MAX];

                (void)snprintf(path, sizeof(path), "%s/%o", f->base, (unsigned)modes[i]);
                if (statedir_check_file(path, &message) != -EACCES || !message ||
                    !strstr(message, "belongs to user 0") || !strstr(message, "chown 65534")) {
                        print_error("%s: %s\n", path, message);
                        return 1;
                }
                free(message);
                message = NULL;
        }
        return 0;
}

/* A backup that root puts in place is root's. */
static void test_check_file_of_root(void **state)
{
        struct fixture *f = *state;
        char path[PATH_MAX];

        (void)snprintf(path, sizeof(path), "%s/600", f->base);
        make_file(path, 0600);
        (void)snprintf(path, sizeof(path), "%s/644", f->base);
        make_file(path, 0644);
        in_child(f, check_files_of_root);
}

static void test_check_other_kinds(void **state)
{
        struct fixture *f = *state;
        char path[PATH_MAX], *message = NULL;

        assert_int_equal(statedir_check_file(f->base, &message), -EPERM);
        free(message);
        make_file(f->state, 0600);
        (void)snprintf(path, sizeof(path), "%s/link", f->base);
        assert_int_equal(symlink(f->state, path), 0);
        assert_int_equal(statedir_check_file(path, &message), -EPERM);
        assert_non_null(strstr(message, "not a regular file"));
        free(message);
        (void)snprintf(path, sizeof(path), "%s/state/below", f->base);
        message = NULL;
        assert_int_equal(statedir_check_file(path, &message), -ENOTDIR);
        assert_non_null(strstr(message, path));
        free(message);
        (void)snprintf(path, sizeof(path), "%s/fifo", f->base);
        assert_int_equal(mkfifo(path, 0600), 0);
        assert_int_equal(statedir_check_file(path, &message), -EPERM);
        free(message);
        if (geteuid() == 0) {
                assert_int_equal(chown(f->state, NOBODY, (gid_t)-1), 0);
                assert_int_equal(statedir_check_file(f->state, &message), -EPERM);
                assert_non_null(strstr(message, "chown"));
                free(message);
        }
}

static void test_sync(void **state)
{
        struct fixture *f = *state;
        unsigned before = syncs;

        assert_int_equal(statedir_sync(f->state), -ENOENT);
        make_file(f->state, 0600);
        assert_int_equal(statedir_sync(f->state), -ENOTDIR);
        assert_int_equal(syncs, before);
        assert_int_equal(statedir_sync(f->base), 0);
        assert_int_equal(syncs, before + 1);
}

static void test_fail_with(void **state)
{
        char *message = NULL;

        (void)state;
        errno = ENOSPC;
        assert_int_equal(fail_with(-EDOM, &message, "%s: %m", "it"), -EDOM);
        assert_string_equal(message, "it: No space left on device");
        free(message);
}

#define case_of(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                case_of(test_made_if_missing),    case_of(test_parent_missing),
                case_of(test_not_a_directory),    case_of(test_writable_by_others),
                case_of(test_owned_by_another),   case_of(test_owned_by_root),
                case_of(test_lock_is_a_link),     case_of(test_held),
                case_of(test_held_by_oneself),    case_of(test_number_is_written_anew),
                case_of(test_full_disk),          case_of(test_check_file),
                case_of(test_check_other_kinds),  case_of(test_sync),
                case_of(test_fail_with),          case_of(test_lock_of_root),
                case_of(test_may_not_be_made),    case_of(test_read_only),
                case_of(test_check_file_of_root),
        };

        (void)umask(0); /* what is made is ours alone all the same */
        return cmocka_run_group_tests(tests, NULL, NULL);
}
