/* SPDX-License-Identifier: MIT */

/* Opening a shared memory object; see object.h. */

#include "object.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

bool object_name_valid(const char *name)
{
        size_t length = strlen(name);

        return length >= 2 && length <= OBJECT_NAME_MAX && name[0] == '/' &&
               !strchr(name + 1, '/') && strcmp(name, "/.") != 0 && strcmp(name, "/..") != 0;
}

static int open_by_name(const char *name, bool writable)
{
        int fd;

        if (!object_name_valid(name))
                return -EINVAL;
        /* O_NONBLOCK: opening a pipe planted there would wait for its other end. */
        fd = shm_open(name, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK, 0);
        if (fd >= 0)
                return fd;
        switch (errno) {
        case ELOOP:  /* a symbolic link */
        case EISDIR: /* a directory; glibc says EINVAL */
        case EINVAL:
        case ENXIO: /* a socket */
                return -EMEDIUMTYPE;
        default:
                return -errno;
        }
}

int object_open(const char *name, bool writable, struct stat *ret)
{
        struct stat status;
        int fd, r = 0;

        fd = open_by_name(name, writable);
        if (fd < 0)
                return fd;
        if (fstat(fd, &status) < 0)
                r = -errno;
        else if (!S_ISREG(status.st_mode))
                r = -EMEDIUMTYPE;
        if (r < 0) {
                close(fd);
                return r;
        }
        *ret = status;
        return fd;
}
