/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The frame of `make bench`: what a subject is, and how one sample is taken.
 *
 * A subject is one way to get numbers: ours, the bare instruction, a peer's. The
 * driver (bench.c) goes round all subjects many times, each with 1, 2, 4 and 8
 * processes, so that whatever disturbs the machine disturbs all alike, and
 * writes one line a sample; report.sh makes medians and ratios of them. A
 * subject is added by an entry in one of the tables at the end of this file.
 *
 * One sample (team.c): processes are forked and placed on CPUs, prepare
 * themselves, begin at the same instant and draw for a slice of time. What is
 * stated is the time a number costs a CPU: CPUs in use times the time, by the
 * numbers that all of them got.
 */

#include <pthread.h>
#include <semaphore.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROCESSES_MAX 8

/*
 * Where processes run. Waking a process on another CPU costs more than most of
 * what is measured here, so a client and its server are shown both ways.
 */
enum placement {
        PINNED,    /* the processes each to a CPU, round robin; a server to the first */
        SCHEDULER, /* wherever the scheduler puts them, and the server too */
};

/* What a worker is given; `own` and `number` are its to use. */
struct worker {
        unsigned seat; /* 0.. */
        void *own;
        int64_t number;
};

struct subject {
        const char *group, *name;
        const char *than;    /* ratios are to this one of the group, NULL: none */
        unsigned up_to;      /* processes: 1, 2, 4, 8 up to this */
        bool latency;        /* its distribution is measured too; a batch is then 1 */
        const char *server;  /* environment variable with the pid of one; measured both ways */
        bool both_ways;      /* so are others that wake or start processes */
        unsigned slice_ms;   /* 0: the usual */
        bool (*there)(void); /* can it be measured on this host? NULL: always */
        int (*enter)(
                struct worker *); /* before the clock runs; 0 or a negative errno; may be NULL */
        int (*work)(struct worker *, unsigned batch); /* numbers got, or a negative errno */
        void (*leave)(struct worker *);               /* behind the clock; may be NULL */
        unsigned batch; /* what one call of work() should get; 0: the usual */
};

/* Log-linear: 16 buckets for each power of two ticks. */
#define HISTOGRAM_BUCKETS (64 * 16)

struct histogram {
        uint64_t counts[HISTOGRAM_BUCKETS];
        double ns_per_tick;
};

/* Memory shared by all workers: what the bare subjects work on, and the results. */
struct arena {
        alignas(128) _Atomic(uint64_t) counter;
        alignas(128) sem_t lock;
        uint64_t guarded;
        alignas(128) pthread_mutex_t mutex; /* robust */
        uint64_t owned;

        alignas(128) _Atomic(uint32_t) ready;
        _Atomic(uint64_t) begin; /* CLOCK_MONOTONIC, ns; 0: not yet */
        struct seat {
                alignas(128) uint64_t numbers, nsec;
                uint64_t delayed; /* of nsec, waiting for a CPU */
                int error;
                struct histogram histogram;
        } seats[PROCESSES_MAX];
};

extern struct arena *arena;

void arena_make(void); /* or exit */

uint64_t now_nsec(void); /* CLOCK_MONOTONIC */

/*
 * Take one sample. 0 and nanoseconds a number; 1, where something else on the machine
 * took the CPU; or a negative errno. With `latency` each draw is timed alone, and added
 * to that histogram.
 */
int team_sample(const struct subject *subject, unsigned processes, enum placement placement,
                unsigned slice_ms, struct histogram *latency, double *ret_ns);

/* The lower bound of a bucket, ticks. */
double histogram_ticks(unsigned bucket);

/* A member of the environment that run.sh sets; exits where it is needed and missing. */
const char *bench_setting(const char *name);

/* Each ends with an entry without a name. */
extern const struct subject draw_subjects[];
extern const struct subject uuid_subjects[];
extern const struct subject time_subjects[];
extern const struct subject attach_subjects[];
extern const struct subject command_subjects[];
extern const struct subject server_subjects[];
