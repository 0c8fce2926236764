/* SPDX-License-Identifier: MIT */

/* Memory that is taken away; see lost.h. */

#include "lost.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "atomic.h"

#define PAGE ((uintptr_t)4096)

/* Segments mapped at a time: the one in use, one kept, one about to take its place. */
#define REGIONS_MAX 16

/* Written by the loop's thread; the handler, in any thread, sees a region by its base. */
static struct region {
        _Atomic(uint64_t) base; /* 0: none; published last */
        size_t size;
        int fd;
        _Atomic(uint32_t) lost;
} regions[REGIONS_MAX];

static int event_fd = -1;

static struct region *region_of(uintptr_t address)
{
        for (size_t i = 0; i < REGIONS_MAX; i++) {
                uint64_t base = see_u64(&regions[i].base);

                if (base && address >= base && address - base < regions[i].size)
                        return &regions[i];
        }
        return NULL;
}

/*
 * Where pages are missing: from the end of the file on, if that is before the
 * address; else there was no room for this one. fstat(2) and mmap(2) are system
 * calls and nothing else.
 */
static bool fill(const struct region *region, uintptr_t address)
{
        uintptr_t base = (uintptr_t)see_u64(&region->base), from = address & ~(PAGE - 1);
        size_t length = PAGE;
        struct stat status;

        if (fstat(region->fd, &status) == 0 && (uintptr_t)status.st_size <= from - base) {
                from = base + (((uintptr_t)status.st_size + PAGE - 1) & ~(PAGE - 1));
                length = region->size - (from - base);
        }
        /* NOLINTNEXTLINE(performance-no-int-to-ptr): an address is what we were told */
        return mmap((void *)from, length, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED;
}

static void on_sigbus(int signal_number, siginfo_t *info, void *context)
{
        static const uint64_t one = 1;
        struct region *region = region_of((uintptr_t)info->si_addr);
        int error = errno;

        (void)context;
        if (region && info->si_code == BUS_ADRERR && fill(region, (uintptr_t)info->si_addr)) {
                publish_u32(&region->lost, 1);
                (void)!write(event_fd, &one, sizeof(one));
        } else {
                (void)signal(signal_number, SIG_DFL); /* it comes again at once, and ends us */
        }
        errno = error;
}

int lost_watch(void)
{
        const struct sigaction action = {
                .sa_sigaction = on_sigbus,
                .sa_flags = SA_SIGINFO | SA_NODEFER,
        };

        if (event_fd >= 0)
                return event_fd;
        event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (event_fd < 0)
                return -errno;
        return sigaction(SIGBUS, &action, NULL) < 0 ? -errno : event_fd;
}

bool lost_register(void *base, size_t size, int fd)
{
        for (size_t i = 0; i < REGIONS_MAX; i++) {
                if (see_u64(&regions[i].base))
                        continue;
                regions[i].size = size;
                regions[i].fd = fd;
                publish_u32(&regions[i].lost, 0);
                publish_u64(&regions[i].base, (uint64_t)(uintptr_t)base);
                return true;
        }
        return false;
}

void lost_unregister(const void *base)
{
        struct region *region = region_of((uintptr_t)base);

        if (region)
                publish_u64(&region->base, 0);
}

bool lost_happened(const void *base)
{
        const struct region *region = region_of((uintptr_t)base);

        return region && see_u32(&region->lost);
}

void lost_forgive(const void *base)
{
        struct region *region = region_of((uintptr_t)base);

        if (region)
                publish_u32(&region->lost, 0);
}
