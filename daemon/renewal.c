/* SPDX-License-Identifier: MIT */

/* A store's file replaced by a new one; see renewal.h. */

#include "renewal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "statedir.h"

/* Where SQLite has its locks in a file (sqlite.org/fileformat.html#the_lock_byte_page). */
#define LOCK_BYTES_START  0x40000000
#define LOCK_BYTES_LENGTH 512

#define NAME_MAX_MORE 16 /* what a name becomes longer by */

static void with_suffix(char *ret, size_t size, const char *path, const char *suffix)
{
        (void)snprintf(ret, size, "%s%s", path, suffix);
}

static int remove_if_there(const char *path, const char *suffix)
{
        char file[PATH_MAX + NAME_MAX_MORE];

        with_suffix(file, sizeof(file), path, suffix);
        return unlink(file) < 0 && errno != ENOENT ? -errno : 0;
}

int renewal_begin(int *ret, const char *path, char *file, size_t size)
{
        int fd, r;

        r = remove_if_there(path, ".new");
        if (r < 0)
                return r;
        with_suffix(file, size, path, ".new");
        fd = open(file, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return -errno;
        *ret = fd;
        return 0;
}

static bool is_fresh(int fd, const char *path)
{
        char file[PATH_MAX + NAME_MAX_MORE];
        struct stat ours, named;

        with_suffix(file, sizeof(file), path, ".new");
        return fstat(fd, &ours) == 0 && lstat(file, &named) == 0 && statedir_same(&ours, &named);
}

int renewal_settle(int fd, const char *path)
{
        if (fchmod(fd, 0600) < 0 || fsync(fd) < 0)
                return -errno;
        return is_fresh(fd, path) ? 0 : -EAGAIN;
}

int renewal_lock_out(int *ret, const char *path)
{
        struct flock lock = {
                .l_type = F_WRLCK,
                .l_whence = SEEK_SET,
                .l_start = LOCK_BYTES_START,
                .l_len = LOCK_BYTES_LENGTH,
        };
        int fd = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC), r;

        *ret = -1;
        if (fd < 0)
                return errno == ENOENT ? 0 : -errno;
        if (fcntl(fd, F_OFD_SETLK, &lock) < 0) {
                r = errno == EACCES || errno == EAGAIN ? -EBUSY : -errno;
                close(fd);
                return r;
        }
        *ret = fd;
        return 0;
}

static int copy_bytes(int to, int from)
{
        char buffer[16384];
        off_t offset = 0;
        ssize_t n;

        while ((n = pread(from, buffer, sizeof(buffer), offset)) > 0) {
                if (pwrite(to, buffer, (size_t)n, offset) != n)
                        return errno ? -errno : -EIO;
                offset += n;
        }
        return n < 0 ? -errno : 0;
}

static int write_again(int fd, const char *path)
{
        char file[PATH_MAX + NAME_MAX_MORE];
        int again = -1, r;

        r = renewal_begin(&again, path, file, sizeof(file));
        if (r < 0)
                return r;
        errno = 0;
        r = copy_bytes(again, fd);
        if (r >= 0)
                r = renewal_settle(again, path);
        close(again);
        return r;
}

int renewal_decide(int fd, const char *path)
{
        char fresh[PATH_MAX + NAME_MAX_MORE], renewed[PATH_MAX + NAME_MAX_MORE];
        int r = is_fresh(fd, path) ? 0 : write_again(fd, path);

        if (r < 0)
                return r;
        with_suffix(fresh, sizeof(fresh), path, ".new");
        with_suffix(renewed, sizeof(renewed), path, "-renewed");
        return rename(fresh, renewed) < 0 ? -errno : 0;
}

/* The log must be gone for certain before the new file can be taken for its own. */
int renewal_finish(const char *directory, const char *path)
{
        char renewed[PATH_MAX + NAME_MAX_MORE];
        int r;

        with_suffix(renewed, sizeof(renewed), path, "-renewed");
        if (access(renewed, F_OK) < 0)
                return errno == ENOENT ? 0 : -errno;
        r = statedir_sync(directory);
        if (r >= 0)
                r = remove_if_there(path, "-wal");
        if (r >= 0)
                r = remove_if_there(path, "-shm");
        if (r >= 0)
                r = statedir_sync(directory);
        if (r >= 0 && rename(renewed, path) < 0)
                r = -errno;
        return r < 0 ? r : statedir_sync(directory);
}
