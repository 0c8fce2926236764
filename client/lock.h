/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Locks on single bytes of an object by which the kernel tells who lives.
 *
 * Open-file-description locks (fcntl(2), F_OFD_SETLK): held through a descriptor
 * and its copies, and gone the moment the last of them is closed, by whatever
 * death, in whichever PID namespace. The bytes need not exist; they lie far beyond
 * the end. Nothing here waits.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>

static inline struct flock lock_of_byte(int64_t byte, short type)
{
        return (struct flock){
                .l_type = type,
                .l_whence = SEEK_SET,
                .l_start = byte,
                .l_len = 1,
        };
}

/* 0, also if it is held through `fd` already; -EAGAIN: somebody else has it; another errno. */
static inline int lock_take(int fd, int64_t byte)
{
        struct flock lock = lock_of_byte(byte, F_WRLCK);

        if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
                return 0;
        return errno == EACCES ? -EAGAIN : -errno;
}

static inline void lock_drop(int fd, int64_t byte)
{
        struct flock lock = lock_of_byte(byte, F_UNLCK);

        (void)fcntl(fd, F_OFD_SETLK, &lock);
}

/*
 * 1: taken by somebody else; 0: not; or a negative errno. `fd` may be read-only, as
 * that of who could lock the byte for reading: such a lock does not count.
 */
static inline int lock_query(int fd, int64_t byte)
{
        struct flock lock = lock_of_byte(byte, F_RDLCK);

        if (fcntl(fd, F_OFD_GETLK, &lock) < 0)
                return -errno;
        return lock.l_type != F_UNLCK;
}
