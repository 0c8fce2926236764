/* SPDX-License-Identifier: MIT */

/* Memory that is taken away from a client; see guard.h. */

#include "guard.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>

#include "atomic.h"
#include "layout.h"

/* Clients of a process, and former mappings of theirs. */
#define GUARDED_MAX 256

enum {
        FREE,
        CLAIMED, /* about to be filled in */
        GUARDED,
};

/* Without a lock: the handler may come at any time, and a fork, too. */
static struct {
        _Atomic(uint32_t) state;
        void *base;
        size_t size;
} guarded[GUARDED_MAX];

static struct sigaction before;

/* mmap(2) is a system call and nothing else. */
static bool replace(void *base, size_t size)
{
        struct segment_header *header = base;

        if (mmap(base, size, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) == MAP_FAILED)
                return false;
        publish_u32(&header->state, SEGMENT_RETIRED);
        return true;
}

static bool stand_in(uintptr_t address)
{
        for (size_t i = 0; i < GUARDED_MAX; i++) {
                uintptr_t base;

                if (see_u32(&guarded[i].state) != GUARDED)
                        continue;
                base = (uintptr_t)guarded[i].base;
                if (address >= base && address - base < guarded[i].size)
                        return replace(guarded[i].base, guarded[i].size);
        }
        return false;
}

/* What is not ours: to whoever was there before, or to its end. */
static void hand_on(int number, siginfo_t *info, void *context)
{
        if (before.sa_flags & SA_SIGINFO) {
                before.sa_sigaction(number, info, context);
        } else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) {
                before.sa_handler(number);
        } else if (before.sa_handler == SIG_DFL || info->si_code > 0) {
                (void)signal(number, SIG_DFL);
                if (info->si_code <= 0) /* sent by somebody: a fault comes again by itself */
                        (void)raise(number);
        }
}

static void on_sigbus(int number, siginfo_t *info, void *context)
{
        int error = errno;

        if (info->si_code != BUS_ADRERR || !stand_in((uintptr_t)info->si_addr))
                hand_on(number, info, context);
        errno = error;
}

static int install_error;

static void install(void)
{
        const struct sigaction action = {
                .sa_sigaction = on_sigbus,
                .sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK | SA_RESTART,
        };

        if (sigaction(SIGBUS, NULL, &before) < 0 || sigaction(SIGBUS, &action, NULL) < 0)
                install_error = -errno;
}

int guard_install(void)
{
        static pthread_once_t once = PTHREAD_ONCE_INIT;

        pthread_once(&once, install);
        return install_error;
}

int guard_add(void *base, size_t size)
{
        for (size_t i = 0; i < GUARDED_MAX; i++) {
                if (!phase_change(&guarded[i].state, FREE, CLAIMED))
                        continue;
                guarded[i].base = base;
                guarded[i].size = size;
                publish_u32(&guarded[i].state, GUARDED);
                return 0;
        }
        return -EMFILE;
}

void guard_remove(const void *base)
{
        for (size_t i = 0; i < GUARDED_MAX; i++)
                if (see_u32(&guarded[i].state) == GUARDED && guarded[i].base == base)
                        publish_u32(&guarded[i].state, FREE);
}
