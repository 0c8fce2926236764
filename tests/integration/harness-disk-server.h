/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Between the test's side of a disk that can lose its power (harness-disk.c) and
 * its server (harness-disk-server.c), a child process: what they share, and the
 * commands, a byte each on a socket, each answered by itself when it was done.
 */

#include <stdatomic.h>
#include <stdint.h>

enum disk_state { DISK_RUNS, DISK_IS_CUT, DISK_IS_DEAD };

/* Shared with the server. */
struct board {
        _Atomic(uint32_t) state;
        _Atomic(uint64_t) cut_after; /* so many requests, 0: not armed */
        _Atomic(uint64_t) fail_after, fail_count;
        _Atomic(uint64_t) writes, flushes, failed, cuts, cuts_unclean, sectors_lost;
};

enum command { CUT_NOW = 'c', GO_ON = 'g', DIE = 'd', RESTORE = 'r' };

/* What the child is given. */
struct disk_server {
        struct board *board;
        int fuse, control;
        unsigned char *platter, *image, *cache; /* DISK_SIZE each */
};

/* Serve until the file is unmounted or the test is gone. */
__attribute__((noreturn)) void disk_serve(const struct disk_server *start);
