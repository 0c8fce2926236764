/* SPDX-License-Identifier: MIT */

/* The state directory; see statedir.h. */

#include "statedir.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOCK_FILE "seqnumd.lock"

int fail_with(int error, char **message, const char *format, ...)
{
        va_list args;

        va_start(args, format);
        if (vasprintf(message, format, args) < 0)
                *message = NULL;
        va_end(args);
        return error;
}

static int check_owner(const struct stat *status, const char *path, char **message)
{
        if (status->st_uid != geteuid() && status->st_uid != 0)
                return fail_with(-EPERM, message,
                                 "%s belongs to user %u, not to the service's user %u: chown it",
                                 path, (unsigned)status->st_uid, (unsigned)geteuid());
        if (status->st_mode & (S_IWGRP | S_IWOTH))
                return fail_with(-EPERM, message,
                                 "%s may be written by others (mode %04o): chmod go-w %s", path,
                                 (unsigned)(status->st_mode & 07777), path);
        return 0;
}

/* Root's own would do, were it not that root alone may write to it: a backup put back, say. */
static int check_access(const struct stat *status, const char *path, char **message)
{
        if (status->st_uid == geteuid() || access(path, R_OK | W_OK) == 0 || errno != EACCES)
                return 0;
        return fail_with(-EACCES, message,
                         "cannot open %s for writing: %m; it belongs to user %u, the service runs "
                         "as user %u: chown %u %s",
                         path, (unsigned)status->st_uid, (unsigned)geteuid(), (unsigned)geteuid(),
                         path);
}

int statedir_check_access(const char *path, char **message)
{
        struct stat status;

        return stat(path, &status) < 0 ? 0 : check_access(&status, path, message);
}

int statedir_check_file(const char *path, char **message)
{
        struct stat status;
        int r;

        if (lstat(path, &status) < 0)
                return errno == ENOENT ? -ENOENT
                                       : fail_with(-errno, message, "cannot stat %s: %m", path);
        if (!S_ISREG(status.st_mode))
                return fail_with(-EPERM, message, "%s is not a regular file: remove it", path);
        r = check_owner(&status, path, message);
        return r < 0 ? r : check_access(&status, path, message);
}

int statedir_sync_parent(const char *directory)
{
        char *copy = strdup(directory);
        int r;

        if (!copy)
                return -ENOMEM;
        r = statedir_sync(dirname(copy));
        free(copy);
        return r == -EACCES ? 0 : r;
}

/*
 * What keeps the directory from being made is its parent, if that is missing; else,
 * mostly, the sandbox that the service manager put around us.
 */
static int cannot_make(const char *directory, char **message)
{
        const int error = errno;

        switch (error) {
        case ENOENT:
        case ENOTDIR: /* there is something, but nothing to make it in */
                return fail_with(-ENOTDIR, message,
                                 "cannot make the state directory %s: %s; make its parent, or set "
                                 "state = to a directory that can be made",
                                 directory, strerror(error));
        case EACCES:
        case EPERM:
                return fail_with(
                        -error, message,
                        "cannot make the state directory %s: %s; make it for the service's "
                        "user, `install -d -o %u -m 700 %s`, or, if it is there, let the "
                        "unit not hide it (InaccessiblePaths=, ProtectHome=)",
                        directory, strerror(error), (unsigned)geteuid(), directory);
        case EROFS:
                return fail_with(
                        -error, message,
                        "cannot make the state directory %s: %s; make it for the service's "
                        "user, `install -d -o %u -m 700 %s`, and let the unit write there "
                        "(systemctl edit): ReadWritePaths=%s",
                        directory, strerror(error), (unsigned)geteuid(), directory, directory);
        default:
                return fail_with(-error, message, "cannot make the state directory %s: %s",
                                 directory, strerror(error));
        }
}

static int check_directory(const char *directory, char **message)
{
        struct stat status;
        int r;

        if (mkdir(directory, 0700) < 0 && errno != EEXIST)
                return cannot_make(directory, message);
        if (stat(directory, &status) < 0)
                return fail_with(errno == ENOENT ? -ENOTDIR : -errno, message,
                                 "cannot stat the state directory %s: %m", directory);
        if (!S_ISDIR(status.st_mode))
                return fail_with(-ENOTDIR, message, "state = %s is not a directory", directory);
        r = check_owner(&status, directory, message);
        return r < 0 ? r : check_access(&status, directory, message);
}

static int cannot_open(const char *path, const char *directory, char **message)
{
        const int error = errno;
        int r = error == EACCES ? statedir_check_access(path, message) : 0;

        if (r < 0)
                return r;
        if (error == EROFS)
                return fail_with(-error, message,
                                 "cannot open %s: %s; if its disk is not, the unit must let the "
                                 "service write there (systemctl edit): ReadWritePaths=%s",
                                 path, strerror(error), directory);
        return fail_with(-error, message, "cannot open %s: %s", path, strerror(error));
}

/* Who wrote their number into the lock's file; 0 if nobody can be made out. */
static intmax_t read_holder(int fd)
{
        char text[32] = "";

        if (pread(fd, text, sizeof(text) - 1, 0) <= 0)
                return 0;
        return strtoimax(text, NULL, 10);
}

static int write_holder(int fd)
{
        char text[32];
        int length = snprintf(text, sizeof(text), "%jd\n", (intmax_t)getpid());

        if (ftruncate(fd, 0) < 0 || pwrite(fd, text, (size_t)length, 0) != length)
                return -errno;
        return 0;
}

int statedir_lock(int *ret, const char *directory, char **message)
{
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        char path[PATH_MAX];
        int fd, r;

        r = check_directory(directory, message);
        if (r < 0)
                return r;
        (void)snprintf(path, sizeof(path), "%s/" LOCK_FILE, directory);
        fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return cannot_open(path, directory, message);
        if (fcntl(fd, F_OFD_SETLK, &lock) < 0) {
                r = errno == EACCES || errno == EAGAIN
                            ? fail_with(-EBUSY, message,
                                        "state directory %s is in use by process %jd (seqnumd)",
                                        directory, read_holder(fd))
                            : fail_with(-errno, message, "cannot lock %s: %m", path);
                close(fd);
                return r;
        }
        /* Only the refusal of a second daemon reads it: a full disk is no reason not to start. */
        (void)write_holder(fd);
        *ret = fd;
        return 0;
}

int statedir_sync(const char *directory)
{
        int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int r;

        if (fd < 0)
                return -errno;
        r = fsync(fd) < 0 ? -errno : 0;
        close(fd);
        return r;
}
