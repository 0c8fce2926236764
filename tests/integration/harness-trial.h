/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What a daemon does, killed at each event of it (harness-trace.h), while others draw.
 *
 * One process draws from a counter, `orders`, one commits on a gapless sequence,
 * `invoices`, one draws ids of kind time, `ids`; each if the configuration has a
 * section for it. What they do while the daemon is in the midst of something, and
 * dead, is part of it. After each death another daemon is started, and all of them must
 * come on at once; nothing may have been drawn twice, nothing committed be gone, and no
 * number skipped where the daemon alone died. Or the death is taken for a reboot: the
 * segment is gone and they are dead too; then what was reserved may be skipped.
 *
 * At a scale below 10 a sample: each so-manieth event, from a random one on, and one
 * of the two kinds of death.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "harness.h"

#define TRIAL_WORKERS 3
#define TRIAL_IDS_MAX (1 << 22)

/* What a worker has, where it is seen after its death. */
struct worker {
        _Atomic(uint64_t) done;      /* draws or commits */
        _Atomic(int64_t) committing; /* 0: nothing */
        _Atomic(bool) resting;
        char complaint[256];
};

struct shop {
        _Atomic(bool) rest; /* nobody shall begin anything */
        _Atomic(int64_t) last_id;
        _Atomic(uint64_t) n_ids;
        int64_t ids[TRIAL_IDS_MAX];
        struct worker workers[TRIAL_WORKERS];
};

struct trial;

struct operation {
        const char *title;
        const char *ini;
        unsigned stride;     /* at a small scale one event in so many */
        unsigned pause_usec; /* of the workers, between two draws */
        unsigned skips;      /* a daemon's death may skip so many of the counter's numbers */
        bool loses_segments; /* while somebody lives who uses them */
        void (*lead_up)(struct trial *trial); /* to a start, which is traced; NULL: it runs */
        void (*trigger)(struct trial *trial); /* what the running daemon is to do, may be NULL */
        bool (*done)(void *trial);            /* has it been done? Asked now and then */
        void (*judge)(struct trial *trial);   /* after each death, may be NULL */
};

struct trial {
        struct instance *instance;
        const struct operation *operation;
        struct shop *shop;
        struct record *orders, *invoices; /* all that was drawn */
        pid_t pids[TRIAL_WORKERS];
        pid_t asker;         /* asks the daemon for a change, 0: nobody */
        int64_t unheard;     /* number that a worker was committing when it was killed */
        uint64_t goal;       /* of draws of all workers, which is soon reached */
        uint64_t lost;       /* numbers of the counter that were skipped so far */
        int64_t last_number; /* that we drew from the counter */
        ino_t inode;         /* of the segment as it was */
        uint64_t kills, reboots, calls, stores, longest_usec;
};

/* The whole of it: death after death, and the figures. */
void trial_run(struct instance *instance, const struct operation *operation);

/* For lead_up(). */
void trial_kill_workers(struct trial *trial);

/* For done(): draws of all workers; what the segment's name leads to, 0: nothing. */
uint64_t trial_done(const struct trial *trial);
ino_t trial_inode(const struct instance *instance);
