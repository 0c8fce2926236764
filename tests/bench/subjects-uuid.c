/* SPDX-License-Identifier: MIT */

/*
 * Peer: libuuid's time-based UUIDs with uuidd running, which hands each thread a
 * block of them. Unique, but neither in order across processes nor synced.
 */

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>

#include "bench.h"

#define LIBRARY "libuuid.so.1"

static bool there(void)
{
        return getenv("BENCH_UUIDD") && dlopen(LIBRARY, RTLD_NOW);
}

static int enter(struct worker *worker)
{
        void *library = dlopen(LIBRARY, RTLD_NOW);

        worker->own = library ? dlsym(library, "uuid_generate_time_safe") : NULL;
        return worker->own ? 0 : -ENOSYS;
}

/* It says -1 where it had to do without uuidd and the clock's file. */
static int work(struct worker *worker, unsigned batch)
{
        int (*generate)(unsigned char *);
        unsigned char uuid[16];

        *(void **)&generate = worker->own;
        for (unsigned i = 0; i < batch; i++)
                if (generate(uuid) != 0)
                        return -EIO;
        return (int)batch;
}

const struct subject uuid_subjects[] = {
        {"draw", "libuuid with uuidd", "bare lock xadd", 8, .latency = true, .there = there,
         .enter = enter, .work = work},
        {0},
};
