/* SPDX-License-Identifier: MIT */

/*
 * A disk whose n-th call fails, for programs that a test did not write: preloaded
 * (ld.so(8), LD_PRELOAD), it counts what is asked of files below one directory,
 * and lets one call fail, or one and all after it, as the file that SEQNUM_FAULTS
 * names tells it to (faulty-disk.h). Others it leaves alone.
 *
 * A call that fails does nothing, but for a short write, which writes half.
 */

#include "faulty-disk.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct faults *faults;

__attribute__((constructor)) static void map_faults(void)
{
        const char *path = getenv("SEQNUM_FAULTS");
        long fd = path ? syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC) : -1;
        void *memory;

        if (fd < 0)
                return;
        memory = (void *)syscall(SYS_mmap, NULL, sizeof(*faults), PROT_READ | PROT_WRITE,
                                 MAP_SHARED, fd, 0);
        (void)syscall(SYS_close, fd);
        if (memory != MAP_FAILED)
                faults = memory;
}

static bool is_below(const char *path)
{
        size_t length = strlen(faults->directory);

        return length > 0 && strncmp(path, faults->directory, length) == 0 &&
               (path[length] == '/' || path[length] == '\0');
}

/* 0: go on; else the errno to fail with, FAULT_SHORT never among them. */
static int meet_path(enum fault_kind kind, const char *call, const char *path)
{
        uint64_t n, first;
        int error;

        if (!faults || !(atomic_load(&faults->kinds) & kind) || !is_below(path))
                return 0;
        n = atomic_fetch_add(&faults->calls, 1) + 1;
        first = atomic_load(&faults->first);
        if (atomic_load(&faults->spared) & kind)
                return 0;
        if (first == 0 || n < first || (n > first && !atomic_load(&faults->for_good)))
                return 0;
        if (atomic_fetch_add(&faults->injected, 1) == 0)
                (void)snprintf(faults->what, sizeof(faults->what), "%s %s", call,
                               strrchr(path, '/') + 1);
        error = atomic_load(&faults->error);
        return error == FAULT_SHORT ? EIO : error;
}

static int meet(enum fault_kind kind, const char *call, int fd)
{
        char link[32], path[PATH_MAX];
        long length;

        if (!faults)
                return 0;
        (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        length = syscall(SYS_readlink, link, path, sizeof(path) - 1);
        if (length < 0)
                return 0;
        path[length] = '\0';
        return meet_path(kind, call, path);
}

static int fail_with(int error)
{
        errno = error;
        return -1;
}

/* --- names ------------------------------------------------------------------- */

static int open_file(const char *path, int flags, mode_t mode)
{
        int error = meet_path(FAULT_OPEN, "open", path);

        if (error)
                return fail_with(error);
        return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

static bool wants_mode(int flags)
{
        return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE;
}

#define OPEN(name)                                                                                 \
        int name(const char *path, int flags, ...)                                                 \
        {                                                                                          \
                mode_t mode = 0;                                                                   \
                va_list arguments;                                                                 \
                                                                                                   \
                va_start(arguments, flags);                                                        \
                if (wants_mode(flags))                                                             \
                        mode = va_arg(arguments, mode_t);                                          \
                va_end(arguments);                                                                 \
                return open_file(path, flags, mode);                                               \
        }

OPEN(open)
OPEN(open64)

/* What _FORTIFY_SOURCE makes of it. */
int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);

int __open_2(const char *path, int flags)
{
        return open_file(path, flags, 0);
}

int __open64_2(const char *path, int flags)
{
        return open_file(path, flags, 0);
}

int mkdir(const char *path, mode_t mode)
{
        int error = meet_path(FAULT_OPEN, "mkdir", path);

        return error ? fail_with(error) : (int)syscall(SYS_mkdir, path, mode);
}

int unlink(const char *path)
{
        int error = meet_path(FAULT_NAMES, "unlink", path);

        return error ? fail_with(error) : (int)syscall(SYS_unlink, path);
}

int rename(const char *from, const char *to)
{
        int error = meet_path(FAULT_NAMES, "rename", from);

        return error ? fail_with(error) : (int)syscall(SYS_rename, from, to);
}

/* --- contents ---------------------------------------------------------------- */

/* How much of it to write; 0: none, errno is set. */
static size_t writable(const char *call, int fd, size_t size)
{
        int error = meet(FAULT_WRITE, call, fd);

        if (!error)
                return size;
        if (atomic_load(&faults->error) == FAULT_SHORT && size > 1)
                return size / 2;
        errno = error;
        return 0;
}

ssize_t write(int fd, const void *data, size_t size)
{
        size_t most = size ? writable("write", fd, size) : 0;

        return size && !most ? -1 : syscall(SYS_write, fd, data, most);
}

#define PWRITE(name)                                                                               \
        ssize_t name(int fd, const void *data, size_t size, off_t offset)                          \
        {                                                                                          \
                size_t most = size ? writable("pwrite", fd, size) : 0;                             \
                                                                                                   \
                return size && !most ? -1 : syscall(SYS_pwrite64, fd, data, most, offset);         \
        }

PWRITE(pwrite)
PWRITE(pwrite64)

#define FTRUNCATE(name)                                                                            \
        int name(int fd, off_t size)                                                               \
        {                                                                                          \
                int error = meet(FAULT_WRITE, "ftruncate", fd);                                    \
                                                                                                   \
                return error ? fail_with(error) : (int)syscall(SYS_ftruncate, fd, size);           \
        }

FTRUNCATE(ftruncate)
FTRUNCATE(ftruncate64)

ssize_t read(int fd, void *data, size_t size)
{
        int error = meet(FAULT_READ, "read", fd);

        return error ? fail_with(error) : syscall(SYS_read, fd, data, size);
}

#define PREAD(name)                                                                                \
        ssize_t name(int fd, void *data, size_t size, off_t offset)                                \
        {                                                                                          \
                int error = meet(FAULT_READ, "pread", fd);                                         \
                                                                                                   \
                return error ? fail_with(error) : syscall(SYS_pread64, fd, data, size, offset);    \
        }

PREAD(pread)
PREAD(pread64)

int fsync(int fd)
{
        int error = meet(FAULT_SYNC, "fsync", fd);

        return error ? fail_with(error) : (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
        int error = meet(FAULT_SYNC, "fdatasync", fd);

        return error ? fail_with(error) : (int)syscall(SYS_fdatasync, fd);
}

/* --- locks and maps ------------------------------------------------------------ */

static bool is_lock(int command)
{
        return command == F_SETLK || command == F_SETLKW || command == F_GETLK ||
               command == F_OFD_SETLK || command == F_OFD_SETLKW || command == F_OFD_GETLK;
}

/* Giving a lock back does not fail, as with the kernel. */
static int meet_lock(int fd, int command, const void *argument)
{
        if (!is_lock(command) || ((const struct flock *)argument)->l_type == F_UNLCK)
                return 0;
        return meet(FAULT_LOCK, "lock", fd);
}

#define FCNTL(name)                                                                                \
        int name(int fd, int command, ...)                                                         \
        {                                                                                          \
                va_list arguments;                                                                 \
                void *argument;                                                                    \
                int error;                                                                         \
                                                                                                   \
                va_start(arguments, command);                                                      \
                argument = va_arg(arguments, void *);                                              \
                va_end(arguments);                                                                 \
                error = meet_lock(fd, command, argument);                                          \
                return error ? fail_with(error) : (int)syscall(SYS_fcntl, fd, command, argument);  \
        }

FCNTL(fcntl)
FCNTL(fcntl64)

#define MMAP(name)                                                                                 \
        void *name(void *address, size_t size, int protection, int flags, int fd, off_t offset)    \
        {                                                                                          \
                int error = fd >= 0 ? meet(FAULT_MAP, "mmap", fd) : 0;                             \
                                                                                                   \
                if (!error)                                                                        \
                        return (void *)syscall(SYS_mmap, address, size, protection, flags, fd,     \
                                               offset);                                            \
                errno = error;                                                                     \
                return MAP_FAILED;                                                                 \
        }

MMAP(mmap)
MMAP(mmap64)
