/* SPDX-License-Identifier: MIT */

/*
 * Memory, file descriptors, room and threads that run out when a test says so, for
 * programs that it did not write: preloaded (ld.so(8), LD_PRELOAD). See scarce.h.
 *
 * What the C library asks of itself (fopen(3), say) is not refused. Not for programs
 * with a sanitizer, which has malloc(3) to itself.
 */

#include "scarce.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* glibc's own, by the names that it exports beside the usual ones. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *old, size_t size);

static struct scarce_page *page;

static __attribute__((constructor)) void map_page(void)
{
        const char *path = getenv("SEQNUM_SCARCE");
        long fd = path ? syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0) : -1;
        void *memory;

        if (fd < 0)
                return;
        memory = (void *)syscall(SYS_mmap, NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED,
                                 fd, 0);
        if (memory != MAP_FAILED)
                page = memory;
        (void)syscall(SYS_close, fd);
}

static bool refused(enum scarce what)
{
        int64_t left;

        if (!page || atomic_load(&page->left[what]) < 0 || atomic_load(&page->pid) != getpid())
                return false;
        left = atomic_fetch_sub(&page->left[what], 1);
        if (left > 0)
                return false;
        atomic_store(&page->left[what], atomic_load(&page->for_ever) ? 0 : -1);
        if (left < 0)
                return false; /* another thread was refused */
        atomic_fetch_add(&page->refused[what], 1);
        return true;
}

static bool refuse(enum scarce what, int error)
{
        if (!refused(what))
                return false;
        errno = error;
        return true;
}

/* --- memory --------------------------------------------------------------- */

void *malloc(size_t size)
{
        return refuse(SCARCE_MEMORY, ENOMEM) ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
        return refuse(SCARCE_MEMORY, ENOMEM) ? NULL : __libc_calloc(n, size);
}

void *realloc(void *old, size_t size)
{
        return refuse(SCARCE_MEMORY, ENOMEM) ? NULL : __libc_realloc(old, size);
}

void *reallocarray(void *old, size_t n, size_t size)
{
        size_t all;

        if (__builtin_mul_overflow(n, size, &all)) {
                errno = ENOMEM;
                return NULL;
        }
        return realloc(old, all);
}

void *mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset)
{
        return refuse(SCARCE_MEMORY, ENOMEM)
                       ? MAP_FAILED
                       : (void *)syscall(SYS_mmap, address, size, protection, flags, fd, offset);
}

/* --- file descriptors ----------------------------------------------------- */

static int open_at(int directory, const char *path, int flags, mode_t mode)
{
        return refuse(SCARCE_FILES, EMFILE)
                       ? -1
                       : (int)syscall(SYS_openat, directory, path, flags, mode);
}

#define MODE_OF(flags, mode)                                                                       \
        do {                                                                                       \
                va_list arguments;                                                                 \
                                                                                                   \
                va_start(arguments, flags);                                                        \
                mode = (flags) & (O_CREAT | O_TMPFILE) ? va_arg(arguments, mode_t) : 0;            \
                va_end(arguments);                                                                 \
        } while (0)

int open(const char *path, int flags, ...)
{
        mode_t mode;

        MODE_OF(flags, mode);
        return open_at(AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
        mode_t mode;

        MODE_OF(flags, mode);
        return open_at(AT_FDCWD, path, flags, mode);
}

int openat(int directory, const char *path, int flags, ...)
{
        mode_t mode;

        MODE_OF(flags, mode);
        return open_at(directory, path, flags, mode);
}

/* The caller that was not meant, by the name it asks for. */
#define NEXT(name) ((__typeof__(&(name)))dlsym(RTLD_NEXT, #name))

int shm_open(const char *name, int flags, mode_t mode)
{
        return refuse(SCARCE_FILES, EMFILE) ? -1 : NEXT(shm_open)(name, flags, mode);
}

int accept4(int fd, struct sockaddr *address, socklen_t *size, int flags)
{
        return refuse(SCARCE_FILES, EMFILE) ? -1
                                            : (int)syscall(SYS_accept4, fd, address, size, flags);
}

int socket(int domain, int type, int protocol)
{
        return refuse(SCARCE_FILES, EMFILE) ? -1 : (int)syscall(SYS_socket, domain, type, protocol);
}

int eventfd(unsigned count, int flags)
{
        return refuse(SCARCE_FILES, EMFILE) ? -1 : (int)syscall(SYS_eventfd2, count, flags);
}

int inotify_init1(int flags)
{
        return refuse(SCARCE_FILES, EMFILE) ? -1 : (int)syscall(SYS_inotify_init1, flags);
}

int timerfd_create(int clock, int flags)
{
        return refuse(SCARCE_FILES, EMFILE) ? -1 : (int)syscall(SYS_timerfd_create, clock, flags);
}

int epoll_create1(int flags)
{
        return refuse(SCARCE_FILES, EMFILE) ? -1 : (int)syscall(SYS_epoll_create1, flags);
}

/* --- room, threads ---------------------------------------------------------- */

int fallocate(int fd, int mode, off_t offset, off_t length)
{
        return refuse(SCARCE_SPACE, ENOSPC) ? -1
                                            : (int)syscall(SYS_fallocate, fd, mode, offset, length);
}

int ftruncate(int fd, off_t length)
{
        return refuse(SCARCE_SPACE, ENOSPC) ? -1 : (int)syscall(SYS_ftruncate, fd, length);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *),
                   void *argument)
{
        return refused(SCARCE_THREADS) ? EAGAIN
                                       : NEXT(pthread_create)(thread, attributes, start, argument);
}
