/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * futex(2), which glibc does not wrap. Not the private kind: the word lies in
 * a shared object, and the waiter may have it mapped read-only (a wait only
 * reads it; kernel/futex/core.c, get_futex_key with FUTEX_READ).
 */

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/*
 * Sleep while *word is `seen`, for at most `usec`. Returns when woken, when the
 * word differs, when the time is up, or on a signal: the caller looks again.
 */
static inline void futex_wait(const _Atomic(uint32_t) *word, uint32_t seen, uint64_t usec)
{
        struct timespec limit = {
                .tv_sec = (time_t)(usec / 1000000),
                .tv_nsec = (long)(usec % 1000000) * 1000,
        };

        (void)syscall(SYS_futex, word, FUTEX_WAIT, seen, &limit, NULL, 0);
}

/* Wake everybody who sleeps on `word`. */
static inline void futex_wake_all(const _Atomic(uint32_t) *word)
{
        (void)syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}
