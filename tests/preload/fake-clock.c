/* SPDX-License-Identifier: MIT */

/*
 * A CLOCK_REALTIME that a test owns, for programs it did not write: preloaded
 * (ld.so(8), LD_PRELOAD), it adds an offset to what clock_gettime(2) says. The
 * offset is 8 bytes in the file that SEQNUM_FAKE_CLOCK names, microseconds of
 * either sign, looked at in every call: whoever writes there steps the clock of
 * every process that has this loaded, at once.
 *
 * Other clocks are left alone: waits are bound by CLOCK_MONOTONIC.
 */

#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define USEC_PER_SEC 1000000

static const _Atomic(int64_t) *offset;

__attribute__((constructor)) static void map_offset(void)
{
        const char *path = getenv("SEQNUM_FAKE_CLOCK");
        int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        void *memory = mmap(NULL, sizeof(*offset), PROT_READ, MAP_SHARED, fd, 0);

        if (memory == MAP_FAILED) {
                (void)fprintf(stderr, "fake-clock: cannot map $SEQNUM_FAKE_CLOCK, %s\n",
                              path ? path : "not set");
                _exit(127);
        }
        close(fd);
        offset = memory;
}

int clock_gettime(clockid_t clock, struct timespec *t)
{
        int64_t usec;

        if (syscall(SYS_clock_gettime, clock, t) < 0)
                return -1;
        if (clock != CLOCK_REALTIME || !offset)
                return 0;
        usec = t->tv_nsec / 1000 + atomic_load(offset);
        t->tv_sec += usec / USEC_PER_SEC;
        usec %= USEC_PER_SEC;
        if (usec < 0) {
                usec += USEC_PER_SEC;
                t->tv_sec--;
        }
        t->tv_nsec = usec * 1000 + t->tv_nsec % 1000;
        return 0;
}
