/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Every access to memory that another process writes, with its order.
 *
 * The protocol's proof is a statement about a handful of loads and stores;
 * they are all here, each with the partner it pairs with, and no other file
 * names a memory order. The words are those of C11 (N1570, 7.17.3).
 *
 * All are lock-free on the machines we serve (layout.h asserts it), which is
 * also what makes them address-free and so fit for shared memory (7.17.5p3
 * footnote).
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "seqnum-inline.h"

/* --- the cell: written by every client --------------------------------- */

/*
 * Claim `count` indices. One instruction (`lock xadd`) and the point at which
 * a draw takes its place in the order of all draws.
 *
 * Sequentially consistent: with cell_next() in the daemon after it moved the
 * low mark this forms the store-load pattern of Dekker: either the daemon sees
 * the claim that passed its new low mark, or the claimant sees the new mark.
 * On x86 the order is free, every locked instruction is a full barrier.
 * Acquire, as part of that, keeps the loads of the window behind the claim;
 * they pair with window_publish() below.
 */
static inline uint64_t cell_claim(_Atomic(uint64_t) *next, uint64_t count)
{
        return atomic_fetch_add_explicit(next, count, memory_order_seq_cst);
}

/*
 * Give a claim back that nobody was told about, if no later one was made. A release:
 * whoever sees `next` come down sees cell_will_give() before it.
 */
static inline bool cell_unclaim(_Atomic(uint64_t) *next, uint64_t claimed, uint64_t count)
{
        uint64_t expected = claimed + count;

        return atomic_compare_exchange_strong_explicit(next, &expected, claimed,
                                                       memory_order_release, memory_order_relaxed);
}

/*
 * A block's rest is given back between these two. The first is published by the
 * exchange; the second is a release, so that who sees it by cell_given() sees `next`
 * come down, if it did.
 */
static inline void cell_will_give(_Atomic(uint64_t) *giving, uint64_t count)
{
        atomic_fetch_add_explicit(giving, count, memory_order_relaxed);
}

static inline void cell_gave(_Atomic(uint64_t) *given, uint64_t count)
{
        atomic_fetch_add_explicit(given, count, memory_order_release);
}

/* Daemon: to be read before `next`; pairs with cell_gave(). */
static inline uint64_t cell_given(const _Atomic(uint64_t) *given)
{
        return atomic_load_explicit(given, memory_order_acquire);
}

/* Daemon: to be read behind `next`, which is what it pairs by with cell_will_give(). */
static inline uint64_t cell_giving(const _Atomic(uint64_t) *giving)
{
        return atomic_load_explicit(giving, memory_order_relaxed);
}

/* Look at the next index. The daemon's half of the pattern at cell_claim(). */
static inline uint64_t cell_next(const _Atomic(uint64_t) *next)
{
        return atomic_load_explicit(next, memory_order_seq_cst);
}

/*
 * Daemon, at a freeze: set `bit` if `next` is still what was seen; what is there is
 * put into *seen otherwise. Success takes its place in the one total order of claims
 * of this cell, so that every claim is either before it and counted or after it and
 * void. A release: who sees the bit sees where, as it was noted before.
 */
static inline bool cell_freeze(_Atomic(uint64_t) *next, uint64_t *seen, uint64_t bit)
{
        return atomic_compare_exchange_strong_explicit(next, seen, *seen | bit,
                                                       memory_order_seq_cst, memory_order_seq_cst);
}

/*
 * Daemon, at a thaw: only void claims (frozen bit) are overwritten; and in a
 * slot that nobody can reach yet. In the one total order of claims like all that
 * moves `next`, and thereby a release: a claimant that gets an index from it
 * sees the window as it was before.
 */
static inline void cell_thaw(_Atomic(uint64_t) *next, uint64_t index)
{
        atomic_store_explicit(next, index, memory_order_seq_cst);
}

/*
 * Daemon, at a jump, and a client that finds `next` below the floor, which no jump
 * leaves there: next = max(next, index), against running claims.
 */
static inline uint64_t cell_raise(_Atomic(uint64_t) *next, uint64_t index)
{
        uint64_t seen = atomic_load_explicit(next, memory_order_relaxed);

        while (seen < index &&
               !atomic_compare_exchange_weak_explicit(next, &seen, index, memory_order_seq_cst,
                                                      memory_order_relaxed))
                ;
        return seen < index ? index : seen;
}

/*
 * Kinds gapless and time: move `next` from what was seen, only if it is still
 * that; what is there is put into *seen otherwise. In the one total order of all
 * that moves `next`, as cell_claim() is, and for the same reasons: a freeze's bit
 * is either before it, and it fails, or after it, and the freeze has counted it.
 */
static inline bool cell_advance(_Atomic(uint64_t) *next, uint64_t *seen, uint64_t to)
{
        return atomic_compare_exchange_strong_explicit(next, seen, to, memory_order_seq_cst,
                                                       memory_order_seq_cst);
}

/* --- the turn of a gapless sequence ------------------------------------- */

/*
 * Who has the turn. Taking it acquires what its last owner released by giving
 * it up; of two who find the same dead owner the exchange lets one win.
 */
static inline uint64_t owner_look(const _Atomic(uint64_t) *owner)
{
        return atomic_load_explicit(owner, memory_order_acquire);
}

static inline bool owner_change(_Atomic(uint64_t) *owner, uint64_t from, uint64_t to)
{
        return atomic_compare_exchange_strong_explicit(owner, &from, to, memory_order_acq_rel,
                                                       memory_order_acquire);
}

/*
 * The word of a semaphore (token.h). Who takes a token acquires what those
 * who posted released; both also pair with sem_post(3) and sem_wait(3), whose
 * orders are the same.
 */
static inline uint64_t token_look(const _Atomic(uint64_t) *word)
{
        return atomic_load_explicit(word, memory_order_acquire);
}

static inline bool token_change(_Atomic(uint64_t) *word, uint64_t *seen, uint64_t to)
{
        return atomic_compare_exchange_weak_explicit(word, seen, to, memory_order_acq_rel,
                                                     memory_order_acquire);
}

/*
 * Of a handle's transaction, in the process's own memory: begin a call in phase
 * `from`. Acquire: pairs with the publish_u32() by which the last call ended.
 */
static inline bool phase_change(_Atomic(uint32_t) *phase, uint32_t from, uint32_t to)
{
        return atomic_compare_exchange_strong_explicit(phase, &from, to, memory_order_acquire,
                                                       memory_order_relaxed);
}

/* --- the window: written by the daemon alone --------------------------- */

/*
 * Publish a word of the window. Release: whoever sees the new word sees
 * everything the daemon wrote before: a ceiling brings its floor along, a
 * floor the raised `next`. Pairs with window_look() in the library.
 */
static inline void window_publish(_Atomic(uint64_t) *word, uint64_t value)
{
        atomic_store_explicit(word, value, memory_order_release);
}

/*
 * Publish the low mark. Sequentially consistent, then cell_next(): the
 * daemon's half of the pattern at cell_claim().
 */
static inline void window_publish_low(_Atomic(uint64_t) *word, uint64_t value)
{
        atomic_store_explicit(word, value, memory_order_seq_cst);
}

/*
 * Read a word of the window. Acquire: pairs with window_publish(), and keeps
 * the reads in the order of the program, which for a draw is ceiling first,
 * then floor. Whoever sees a new ceiling therefore sees its floor.
 */
static inline uint64_t window_look(const _Atomic(uint64_t) *word)
{
        return atomic_load_explicit(word, memory_order_acquire);
}

/*
 * The low mark, read after the claim: the client's half of the pattern at
 * cell_claim(). A plain load on x86.
 */
static inline uint64_t window_look_low(const _Atomic(uint64_t) *word)
{
        return atomic_load_explicit(word, memory_order_seq_cst);
}

/*
 * The wake word: the daemon bumps it after all that waiters wait for (release),
 * then wakes; a waiter reads it before it looks (acquire) and sleeps only while
 * it is still the same. A change between look and sleep thus ends the sleep.
 */
static inline void wake_bump(_Atomic(uint32_t) *word)
{
        atomic_fetch_add_explicit(word, 1, memory_order_release);
}

static inline uint32_t wake_look(const _Atomic(uint32_t) *word)
{
        return atomic_load_explicit(word, memory_order_acquire);
}

/* --- states, offsets and pointers: published last ---------------------- */

/*
 * Publish something complete: a header's magic, a state, a chain's link, a
 * handle's view. Release, the last store; pairs with the see_*() below.
 */
static inline void publish_u32(_Atomic(uint32_t) *word, uint32_t value)
{
        atomic_store_explicit(word, value, memory_order_release);
}

static inline void publish_u64(_Atomic(uint64_t) *word, uint64_t value)
{
        atomic_store_explicit(word, value, memory_order_release);
}

static inline uint32_t see_u32(const _Atomic(uint32_t) *word)
{
        return atomic_load_explicit(word, memory_order_acquire);
}

static inline uint64_t see_u64(const _Atomic(uint64_t) *word)
{
        return atomic_load_explicit(word, memory_order_acquire);
}

/*
 * What a handle leads to: two words in the process's own memory, which public headers
 * spell without _Atomic, for C++. The lens is published first: whoever sees the new
 * `next` sees its lens. Who sees the old one with the new lens notices by the lens's
 * own `next`. Release, pairs with head_lens() and with the same loads in
 * seqnum_next_inline() (seqnum-inline.h), which also has cell_claim(), window_look()
 * and window_look_low() once more, for programs to be compiled with.
 */
static inline void head_publish(struct seqnum_head *head, const struct seqnum_lens *lens)
{
        __atomic_store_n(&head->lens, lens, __ATOMIC_RELEASE);
        __atomic_store_n(&head->next, lens->next, __ATOMIC_RELEASE);
}

static inline const uint64_t *head_next(const struct seqnum_head *head)
{
        return __atomic_load_n(&head->next, __ATOMIC_ACQUIRE);
}

static inline const struct seqnum_lens *head_lens(const struct seqnum_head *head)
{
        return __atomic_load_n(&head->lens, __ATOMIC_ACQUIRE);
}

/* --- the doorbell's bitmap --------------------------------------------- */

/*
 * A client marks its slot in the bitmap, then the bitmap's word in the summary,
 * then looks at the semaphore's value, and posts it unless a post is there already;
 * the daemon takes a post, then the summary, then the words.
 *
 * Acquire-release on both sides: a mark set before the summary bit that the
 * daemon took is seen by the daemon. And no ring is lost to the client's look,
 * which is a plain load: all that marks or takes are exchanges
 * of the same word, so either the daemon's next one comes after the mark and takes
 * it; or before, and then the mark acquires what the daemon released, its taking
 * of the post with it, and the look, which comes after, sees that the post is gone.
 * No fence is needed for that, neither here nor there (tests/model/bell.pml).
 */
static inline uint64_t bell_mark(_Atomic(uint64_t) *word, uint64_t bits)
{
        return atomic_fetch_or_explicit(word, bits, memory_order_acq_rel);
}

static inline uint64_t bell_take(_Atomic(uint64_t) *word)
{
        return atomic_exchange_explicit(word, 0, memory_order_acq_rel);
}

/* --- figures for people ------------------------------------------------ */

/* Relaxed: nothing is decided by a counter or a heartbeat. */
static inline void count_up(_Atomic(uint64_t) *word)
{
        atomic_fetch_add_explicit(word, 1, memory_order_relaxed);
}

static inline uint64_t count_read(const _Atomic(uint64_t) *word)
{
        return atomic_load_explicit(word, memory_order_relaxed);
}

static inline void count_set(_Atomic(uint64_t) *word, uint64_t value)
{
        atomic_store_explicit(word, value, memory_order_relaxed);
}
