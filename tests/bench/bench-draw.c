/* SPDX-License-Identifier: MIT */

/*
 * What a draw costs beside the bare instruction it is made of.
 *
 * One process measures, in turn and many times over, so that a noisy machine
 * disturbs all alike: `lock xadd` on a word of shared memory, a draw through
 * libseqnum.so, a run of 1000, and the textbook way (a process-shared
 * semaphore around an increment). Prints the median of each, its spread, and
 * its ratio to the bare instruction of the same run.
 *
 * Needs $SEQNUM_SHM, a running instance, and the name of a sequence.
 */

#include <errno.h>
#include <inttypes.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "seqnum.h"

#define ROUNDS 41
#define DRAWS  1000000u
#define RUN    1000u

struct arena {
        _Alignas(128) _Atomic(uint64_t) counter;
        _Alignas(128) sem_t lock;
        uint64_t guarded;
};

struct subject {
        const char *name;
        int (*work)(void);
        double ns[ROUNDS]; /* per number */
};

static struct arena *arena;
static struct seqnum *sequence;

static int bare(void)
{
        for (unsigned i = 0; i < DRAWS; i++)
                (void)atomic_fetch_add(&arena->counter, 1);
        return 0;
}

static int single(void)
{
        int64_t value;
        int r = 0;

        for (unsigned i = 0; i < DRAWS && r == 0; i++)
                r = seqnum_next(sequence, &value);
        return r;
}

static int runs(void)
{
        struct seqnum_run run;
        int r = 0;

        for (unsigned i = 0; i < DRAWS && r == 0; i += RUN)
                r = seqnum_next_run(sequence, RUN, &run);
        return r;
}

static int textbook(void)
{
        for (unsigned i = 0; i < DRAWS; i++) {
                sem_wait(&arena->lock);
                arena->guarded++;
                sem_post(&arena->lock);
        }
        return 0;
}

static struct subject subjects[] = {
        {.name = "bare lock xadd", .work = bare},
        {.name = "seqnum_next", .work = single},
        {.name = "seqnum_next_run of 1000", .work = runs},
        {.name = "sem_wait; ++; sem_post", .work = textbook},
};

#define N_SUBJECTS (sizeof(subjects) / sizeof(subjects[0]))

static double now_ns(void)
{
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int compare(const void *a, const void *b)
{
        double x = *(const double *)a, y = *(const double *)b;

        return (x > y) - (x < y);
}

static int measure(void)
{
        for (int warm = 1, round = 0; round < ROUNDS; round += !warm, warm = 0)
                for (size_t i = 0; i < N_SUBJECTS; i++) {
                        double begin = now_ns();
                        int r = subjects[i].work();

                        if (r < 0) {
                                (void)fprintf(stderr, "bench-draw: %s: %s\n", subjects[i].name,
                                              seqnum_strerror(r));
                                return r;
                        }
                        subjects[i].ns[round] = (now_ns() - begin) / DRAWS;
                }
        return 0;
}

static void report(void)
{
        double base = 0;

        printf("%-26s %10s %10s %10s %8s\n", "one process, ns a number", "median", "p10", "p90",
               "ratio");
        for (size_t i = 0; i < N_SUBJECTS; i++) {
                double *ns = subjects[i].ns;

                qsort(ns, ROUNDS, sizeof(*ns), compare);
                if (i == 0)
                        base = ns[ROUNDS / 2];
                printf("%-26s %10.3f %10.3f %10.3f %8.3f\n", subjects[i].name, ns[ROUNDS / 2],
                       ns[ROUNDS / 10], ns[ROUNDS * 9 / 10], ns[ROUNDS / 2] / base);
        }
}

static int open_sequence(const char *name)
{
        struct seqnum_client *client;
        int r;

        r = seqnum_attach(&client, NULL, 0);
        if (r >= 0)
                r = seqnum_open(&sequence, client, name);
        if (r < 0)
                (void)fprintf(stderr, "bench-draw: %s: %s\n", name, seqnum_strerror(r));
        return r;
}

int main(int argc, char **argv)
{
        if (argc != 2) {
                (void)fprintf(stderr, "usage: bench-draw SEQUENCE\n");
                return 2;
        }
        arena = mmap(NULL, sizeof(*arena), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
                     0);
        if (arena == MAP_FAILED || sem_init(&arena->lock, 1, 1) < 0) {
                perror("bench-draw");
                return 1;
        }
        if (open_sequence(argv[1]) < 0 || measure() < 0)
                return 1;
        report();
        return 0;
}
