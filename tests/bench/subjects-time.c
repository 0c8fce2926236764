/* SPDX-License-Identifier: MIT */

/* Ids of kind time, beside the least that they are made of: one look at the clock, one swap. */

#include <time.h>

#include "bench.h"
#include "seqnum.h"

#define GROUP "time ids"
#define BARE  "clock and compare-and-swap"

static int bare(struct worker *worker, unsigned batch)
{
        struct timespec t;

        (void)worker;
        for (unsigned i = 0; i < batch; i++) {
                uint64_t seen = atomic_load(&arena->counter);

                clock_gettime(CLOCK_REALTIME, &t);
                (void)atomic_compare_exchange_strong(&arena->counter, &seen,
                                                     seen + (uint64_t)(t.tv_nsec & 1) + 1);
        }
        return (int)batch;
}

static int enter(struct worker *worker)
{
        struct seqnum_client *client;
        struct seqnum *seq;
        int r;

        r = seqnum_attach(&client, NULL, 0);
        if (r >= 0)
                r = seqnum_open(&seq, client, "bench-time");
        if (r >= 0)
                worker->own = seq;
        return r;
}

static int single(struct worker *worker, unsigned batch)
{
        struct seqnum *seq = worker->own;
        int r = 0;

        for (unsigned i = 0; i < batch && r == 0; i++)
                r = seqnum_next(seq, &worker->number);
        return r < 0 ? r : (int)batch;
}

const struct subject time_subjects[] = {
        {GROUP, BARE, NULL, 8, .work = bare, .batch = 64},
        {GROUP, "seqnum_next of kind time", BARE, 8, .enter = enter, .work = single, .batch = 64},
        {0},
};
