/* SPDX-License-Identifier: MIT */

/*
 * What a number costs, beside the bare instruction it is made of and the textbook
 * ways to share a counter between processes.
 */

#include <errno.h>

#include "bench.h"
#include "seqnum-inline.h"
#include "seqnum.h"

#define GROUP "draw"
#define BARE  "bare lock xadd"
#define RUN   1000u

static int enter(struct worker *worker)
{
        struct seqnum_client *client;
        struct seqnum *seq;
        int r;

        r = seqnum_attach(&client, NULL, 0);
        if (r >= 0)
                r = seqnum_open(&seq, client, "bench");
        if (r >= 0)
                worker->own = seq;
        return r;
}

static int bare(struct worker *worker, unsigned batch)
{
        (void)worker;
        for (unsigned i = 0; i < batch; i++)
                (void)atomic_fetch_add(&arena->counter, 1);
        return (int)batch;
}

static int single(struct worker *worker, unsigned batch)
{
        struct seqnum *seq = worker->own;
        int r = 0;

        for (unsigned i = 0; i < batch && r == 0; i++)
                r = seqnum_next(seq, &worker->number);
        return r < 0 ? r : (int)batch;
}

static int inlined(struct worker *worker, unsigned batch)
{
        struct seqnum *seq = worker->own;
        int r = 0;

        for (unsigned i = 0; i < batch && r == 0; i++)
                r = seqnum_next_inline(seq, &worker->number);
        return r < 0 ? r : (int)batch;
}

static int enter_block(struct worker *worker)
{
        struct seqnum_block *block;
        int r;

        r = enter(worker);
        if (r >= 0)
                r = seqnum_block_open(&block, worker->own, 0);
        if (r >= 0)
                worker->own = block;
        return r;
}

static int blocks(struct worker *worker, unsigned batch)
{
        struct seqnum_block *block = worker->own;
        int r = 0;

        for (unsigned i = 0; i < batch && r == 0; i++)
                r = seqnum_block_next(block, &worker->number);
        return r < 0 ? r : (int)batch;
}

static int blocks_inlined(struct worker *worker, unsigned batch)
{
        struct seqnum_block *block = worker->own;
        int r = 0;

        for (unsigned i = 0; i < batch && r == 0; i++)
                r = seqnum_block_next_inline(block, &worker->number);
        return r < 0 ? r : (int)batch;
}

static int runs(struct worker *worker, unsigned batch)
{
        struct seqnum_run run;
        unsigned got = 0;
        int r = 0;

        for (; got < batch && r == 0; got += RUN)
                r = seqnum_next_run(worker->own, RUN, &run);
        return r < 0 ? r : (int)got;
}

static int semaphore(struct worker *worker, unsigned batch)
{
        (void)worker;
        for (unsigned i = 0; i < batch; i++) {
                while (sem_wait(&arena->lock) < 0)
                        ;
                arena->guarded++;
                sem_post(&arena->lock);
        }
        return (int)batch;
}

static int mutex(struct worker *worker, unsigned batch)
{
        (void)worker;
        for (unsigned i = 0; i < batch; i++) {
                if (pthread_mutex_lock(&arena->mutex) == EOWNERDEAD)
                        pthread_mutex_consistent(&arena->mutex);
                arena->owned++;
                pthread_mutex_unlock(&arena->mutex);
        }
        return (int)batch;
}

const struct subject draw_subjects[] = {
        {GROUP, BARE, NULL, 8, .latency = true, .work = bare},
        {GROUP, "seqnum_next", BARE, 8, .latency = true, .enter = enter, .work = single},
        {GROUP, "seqnum_next_inline", BARE, 8, .latency = true, .enter = enter, .work = inlined},
        {GROUP, "seqnum_block_next", BARE, 8, .enter = enter_block, .work = blocks},
        {GROUP, "seqnum_block_next_inline", BARE, 8, .latency = true, .enter = enter_block,
         .work = blocks_inlined},
        {GROUP, "seqnum_next_run of 1000", BARE, 8, .enter = enter, .work = runs},
        {GROUP, "sem_wait, ++, sem_post", BARE, 8, .latency = true, .work = semaphore},
        {GROUP, "robust mutex", BARE, 8, .work = mutex},
        {0},
};
