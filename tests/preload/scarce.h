/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What a test says to tests/preload/scarce.c: in which process the n-th request for
 * memory, a file descriptor, room in shared memory or a thread is refused. A page that
 * both have mapped, by the path in SEQNUM_SCARCE.
 */

#include <stdatomic.h>
#include <stdint.h>

enum scarce {
        SCARCE_MEMORY,  /* malloc(3) and its like, mmap(2): ENOMEM */
        SCARCE_FILES,   /* whatever makes a descriptor: EMFILE */
        SCARCE_SPACE,   /* fallocate(2), ftruncate(2): ENOSPC */
        SCARCE_THREADS, /* pthread_create(3): EAGAIN */
        SCARCE_N,
};

struct scarce_page {
        _Atomic(int32_t) pid;            /* of whom they are refused; 0: of nobody */
        _Atomic(int32_t) for_ever;       /* that one and all later ones */
        _Atomic(int64_t) left[SCARCE_N]; /* so many succeed before one is refused; -1: all */
        _Atomic(int64_t) refused[SCARCE_N];
};
