/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What a test and the programs on its faulty disk (faulty-disk.c) have in common:
 * a file, named by $SEQNUM_FAULTS, that all of them map.
 */

#include <stdatomic.h>
#include <stdint.h>

#define FAULT_SHORT 0 /* as an error: write half, and say so. Calls that don't write: EIO */

enum fault_kind {
        FAULT_WRITE = 1 << 0, /* write, pwrite, ftruncate, fallocate */
        FAULT_SYNC = 1 << 1,  /* fsync, fdatasync */
        FAULT_OPEN = 1 << 2,  /* open, mkdir */
        FAULT_NAMES = 1 << 3, /* rename, unlink */
        FAULT_LOCK = 1 << 4,  /* fcntl that locks or asks for a lock */
        FAULT_MAP = 1 << 5,   /* mmap */
        FAULT_READ = 1 << 6,  /* read, pread */
        FAULT_CHANGE = 0x3f,  /* all but reading */
        FAULT_ALL = 0x7f,
};

struct faults {
        char directory[256];        /* below which, and itself */
        _Atomic(uint32_t) kinds;    /* of calls that are counted */
        _Atomic(uint64_t) calls;    /* so many were made */
        _Atomic(uint64_t) first;    /* the one that fails, counted from 1; 0: none */
        _Atomic(uint32_t) for_good; /* and all after it */
        _Atomic(uint32_t) spared;   /* kinds of which none fails */
        _Atomic(int32_t) error;     /* errno or FAULT_SHORT */
        _Atomic(uint64_t) injected;
        char what[64]; /* the first that failed */
};
