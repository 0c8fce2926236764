/* SPDX-License-Identifier: MIT */

/*
 * A disk that takes its time, for programs that a test did not write: preloaded
 * (ld.so(8), LD_PRELOAD), every fsync(2) and fdatasync(2) first waits so many
 * microseconds as are written, in decimal, in the file that SEQNUM_SLOW_DISK
 * names; "stuck" there: until it is not. Without such a file they do not wait.
 */

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void pause_usec(long usec)
{
        const struct timespec t = {.tv_sec = usec / 1000000, .tv_nsec = usec % 1000000 * 1000};

        (void)nanosleep(&t, NULL);
}

/* What the file says; "" if there is none. */
static void look(char *text, size_t size)
{
        const char *path = getenv("SEQNUM_SLOW_DISK");
        int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        ssize_t n = fd < 0 ? 0 : read(fd, text, size - 1);

        text[n > 0 ? n : 0] = '\0';
        if (fd >= 0)
                close(fd);
}

static void wait_for_disk(void)
{
        char text[32];

        look(text, sizeof(text));
        while (strncmp(text, "stuck", 5) == 0) {
                pause_usec(10000);
                look(text, sizeof(text));
        }
        if (*text)
                pause_usec(strtol(text, NULL, 10));
}

int fsync(int fd)
{
        wait_for_disk();
        return (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
        wait_for_disk();
        return (int)syscall(SYS_fdatasync, fd);
}
