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

/* The same without an end. No variable of it has an address: a thread may be cancelled in it. */
static inline void futex_sleep(const _Atomic(uint32_t) *word, uint32_t seen)
{
        (void)syscall(SYS_futex, word, FUTEX_WAIT, seen, NULL, NULL, 0);
}

/* Wake up to `most` of those who sleep on `word`. */
static inline void futex_wake(const _Atomic(uint32_t) *word, int most)
{
        (void)syscall(SYS_futex, word, FUTEX_WAKE, most, NULL, NULL, 0);
}

/* Wake everybody who sleeps on `word`. */
static inline void futex_wake_all(const _Atomic(uint32_t) *word)
{
        futex_wake(word, INT_MAX);
}
