/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Semaphores in shared memory, used by those who must survive their contents.
 *
 * The segment's sem_t are POSIX semaphores, made by sem_init(3) and fit to be
 * posted by sem_post(3), and so are those of a stream (pshm-stream.h). But whoever
 * may draw, or write the stream's object, may also scribble on them, and the C
 * library believes every byte: finding a mode in one that the kernel does not know,
 * glibc ends the process by abort(3). So neither the daemon nor the library nor
 * pshm calls it for a semaphore that others can write; they do the same on the same
 * words by themselves, and whatever is in them costs at most a needless or a late
 * wake-up.
 *
 * The words, of glibc on 64 bits (sysdeps/nptl/internaltypes.h, struct new_sem): the
 * lower half of the first is the value, and a futex; the upper half counts those
 * who sleep. We count no further than 1 and never down: a post then always wakes.
 * The layout's ABI tag says which C library that is; elsewhere POSIX's calls do.
 */

#include <limits.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdint.h>

#include "atomic.h"
#include "futex.h"

#ifdef SEMAPHORE_WORDS /* tests/unit/test-token.c */
#elif defined(__GLIBC__) && UINTPTR_MAX > UINT32_MAX && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define SEMAPHORE_WORDS 1
#else
#define SEMAPHORE_WORDS 0
#endif
#if !SEMAPHORE_WORDS
#include <time.h>
#endif

#if SEMAPHORE_WORDS

#define SEMAPHORE_VALUE_MASK UINT64_C(0xffffffff)
#define SEMAPHORE_SLEEPERS   (UINT64_C(1) << 32)

_Static_assert(sizeof(sem_t) >= sizeof(uint64_t), "a semaphore begins with a 64-bit word");

static inline _Atomic(uint64_t) *semaphore_word(sem_t *semaphore)
{
        return (_Atomic(uint64_t) *)(void *)semaphore;
}

static inline const _Atomic(uint32_t) *semaphore_futex(sem_t *semaphore)
{
        return (const _Atomic(uint32_t) *)(void *)semaphore;
}

/* How many tokens there are. */
static inline uint32_t semaphore_value(sem_t *semaphore)
{
        return (uint32_t)(token_look(semaphore_word(semaphore)) & SEMAPHORE_VALUE_MASK);
}

/* Wake one who sleeps, whoever believes that there is none. */
static inline void semaphore_nudge(sem_t *semaphore)
{
        futex_wake(semaphore_futex(semaphore), 1);
}

/* One more token, unless there is no end of them. */
static inline void semaphore_post(sem_t *semaphore)
{
        _Atomic(uint64_t) *word = semaphore_word(semaphore);
        uint64_t seen = token_look(word);

        do
                if ((seen & SEMAPHORE_VALUE_MASK) >= SEM_VALUE_MAX)
                        break;
        while (!token_change(word, &seen, seen + 1));
        if (seen >= SEMAPHORE_SLEEPERS)
                semaphore_nudge(semaphore);
}

/* A token, if there is one. */
static inline bool semaphore_try(sem_t *semaphore)
{
        _Atomic(uint64_t) *word = semaphore_word(semaphore);
        uint64_t seen = token_look(word);

        do
                if ((seen & SEMAPHORE_VALUE_MASK) == 0)
                        return false;
        while (!token_change(word, &seen, seen - 1));
        return true;
}

/* Take all there are. */
static inline void semaphore_drain(sem_t *semaphore)
{
        _Atomic(uint64_t) *word = semaphore_word(semaphore);
        uint64_t seen = token_look(word);

        while (!token_change(word, &seen, SEMAPHORE_SLEEPERS))
                ;
}

/* See to it that the next post wakes who sleeps. False: there is a token already. */
static inline bool semaphore_expect(sem_t *semaphore)
{
        _Atomic(uint64_t) *word = semaphore_word(semaphore);
        uint64_t seen = token_look(word);

        while (seen < SEMAPHORE_SLEEPERS && !token_change(word, &seen, seen | SEMAPHORE_SLEEPERS))
                ;
        return (seen & SEMAPHORE_VALUE_MASK) == 0;
}

/* After semaphore_expect(): sleep until a post, a signal or anything else. Takes no token. */
static inline void semaphore_sleep(sem_t *semaphore)
{
        futex_sleep(semaphore_futex(semaphore), 0);
}

/* The same for at most `usec`. */
static inline void semaphore_doze(sem_t *semaphore, uint64_t usec)
{
        futex_wait(semaphore_futex(semaphore), 0, usec);
}

#else

static inline uint32_t semaphore_value(sem_t *semaphore)
{
        int value = 0;

        return sem_getvalue(semaphore, &value) == 0 && value > 0 ? (uint32_t)value : 0;
}

static inline void semaphore_nudge(sem_t *semaphore)
{
        (void)semaphore;
}

static inline void semaphore_post(sem_t *semaphore)
{
        (void)sem_post(semaphore);
}

static inline bool semaphore_try(sem_t *semaphore)
{
        return sem_trywait(semaphore) == 0;
}

static inline void semaphore_drain(sem_t *semaphore)
{
        while (sem_trywait(semaphore) == 0)
                ;
}

static inline bool semaphore_expect(sem_t *semaphore)
{
        return semaphore_value(semaphore) == 0;
}

static inline void semaphore_sleep(sem_t *semaphore)
{
        if (sem_wait(semaphore) == 0)
                (void)sem_post(semaphore);
}

/* POSIX's own call goes by the clock that may be stepped; musl has no other. */
#ifdef __GLIBC__
#define SEMAPHORE_CLOCK                CLOCK_MONOTONIC
#define semaphore_until(semaphore, at) sem_clockwait(semaphore, SEMAPHORE_CLOCK, at)
#else
#define SEMAPHORE_CLOCK                CLOCK_REALTIME
#define semaphore_until(semaphore, at) sem_timedwait(semaphore, at)
#endif

static inline void semaphore_doze(sem_t *semaphore, uint64_t usec)
{
        struct timespec limit;

        (void)clock_gettime(SEMAPHORE_CLOCK, &limit);
        limit.tv_sec += (time_t)(usec / 1000000);
        limit.tv_nsec += (long)(usec % 1000000) * 1000;
        if (limit.tv_nsec >= 1000000000) {
                limit.tv_sec++;
                limit.tv_nsec -= 1000000000;
        }
        if (semaphore_until(semaphore, &limit) == 0)
                (void)sem_post(semaphore);
}

#endif
