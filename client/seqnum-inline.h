/* SPDX-License-Identifier: MIT */
#ifndef SEQNUM_INLINE_H
#define SEQNUM_INLINE_H

/*
 * The draw of seqnum_next() and seqnum_block_next(), to be compiled into the caller:
 * saves the call into the library, which is a good part of what a draw costs.
 *
 *      #include <seqnum-inline.h>
 *      seqnum_next_inline(orders, &number);
 *
 * Same promises, errors and rules as the functions of seqnum.h; handles, and
 * programs with and without it, mix freely. For C11 and C++, with gcc or clang.
 *
 * What it relies on. A handle begins with a struct seqnum_head, a block with a
 * struct seqnum_stock. Their layout, and what may be done with what they point
 * to, is version 1 for good: it is the version of the symbols seqnum_inline_settle
 * and seqnum_inline_refill, SEQNUM_INLINE_1, without which a program that was
 * compiled with this header does not start. A library whose segments are laid out
 * in another way goes on to serve such programs: it lets `next` lead to a word
 * whose every claim is void, and all draws then go by seqnum_inline_settle(). The
 * library itself does so for handles that may not draw (read-only clients, forked
 * children) or not in this way (other kinds, cycling sequences).
 *
 * The memory orders are those of client/atomic.h, spelt for C++ too; each says
 * below which accessor there it stands for.
 */

#include <stdint.h>

#include "seqnum.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Of one window on one sequence; immutable, lives as long as the handle. */
struct seqnum_lens {
        uint64_t *next;             /* the cell: where to claim */
        const uint64_t *window;     /* ceiling, floor, low mark */
        uint64_t origin, increment; /* value of index i: origin + i * increment, mod 2^64 */
};

/* What a handle begins with. Changed by the library alone, the lens first. */
struct seqnum_head {
        uint64_t *next; /* the lens's, to save a step on the way to it */
        const struct seqnum_lens *lens;
};

/* What a block begins with. One thread's own. */
struct seqnum_stock {
        uint64_t index, end;        /* the numbers left: indices index .. end - 1 */
        const uint64_t *floor;      /* of the window: indices below are void */
        uint64_t origin, increment; /* as in struct seqnum_lens */
};

#if defined(__GNUC__)
#pragma GCC visibility push(default)
#endif

/*
 * What is not decided at first sight: `index` was claimed at `next`. For the
 * functions below alone.
 */
int seqnum_inline_settle(struct seqnum *seq, uint64_t *next, uint64_t index, int64_t *ret);
int seqnum_inline_refill(struct seqnum_block *block, int64_t *ret);

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif

/*
 * seqnum_next(). Compiled for x86-64 (gcc -O2) it is
 *
 *      mov  (%rdi),%r8             head->next
 *      mov  $1,%edx
 *      mov  8(%rdi),%r9            head->lens
 *      mov  8(%r9),%rcx            lens->window     loaded before the claim: behind a
 *      mov  16(%r9),%r10           lens->origin     locked instruction every load waits
 *      mov  24(%r9),%rax           lens->increment  for it
 *      lock xadd %rdx,(%r8)        the claim: its place in the order of all draws
 *      mov  (%rcx),%r11            ceiling          the judgement: its branches are
 *      cmp  %r11,%rdx; jae slow                     predicted, so that nobody waits for
 *      mov  8(%rcx),%r11           floor            it, and the next draw's claim is
 *      cmp  %r11,%rdx; jb  slow                     under way before it is done
 *      mov  16(%rcx),%rcx          low mark
 *      cmp  %rcx,%rdx; je  slow
 *      cmp  (%r9),%r8; jne slow    lens->next
 *      imul %rdx,%rax
 *      add  %r10,%rax              the value
 *      mov  %rax,(%rsi)
 *
 * Between one claim and the next lies one load, of `next`, and that is what a draw
 * costs beside the bare instruction. By way of the lens it would be two, one after
 * the other: that is why the head has it. What was claimed and the window by which it
 * is judged must belong together, hence the last comparison: while another thread
 * gives the handle a new lens, the head may be of two.
 */
static inline int seqnum_next_inline(struct seqnum *seq, int64_t *ret)
{
        const struct seqnum_head *head = (const struct seqnum_head *)(const void *)seq;
        /* head_next(), head_lens(): pair with head_publish() */
        uint64_t *next = __atomic_load_n(&head->next, __ATOMIC_ACQUIRE);
        const struct seqnum_lens *lens = __atomic_load_n(&head->lens, __ATOMIC_ACQUIRE);
        const uint64_t *window = lens->window;
        uint64_t origin = lens->origin, increment = lens->increment;
        /* cell_claim() */
        uint64_t index = __atomic_fetch_add(next, 1, __ATOMIC_SEQ_CST);

        /*
         * window_look(), ceiling before floor, and window_look_low(). Whoever draws the
         * low mark must ring: settle() does.
         */
        if (__builtin_expect(index >= __atomic_load_n(&window[0], __ATOMIC_ACQUIRE), 0) ||
            __builtin_expect(index < __atomic_load_n(&window[1], __ATOMIC_ACQUIRE), 0) ||
            __builtin_expect(index == __atomic_load_n(&window[2], __ATOMIC_SEQ_CST), 0) ||
            __builtin_expect(next != lens->next, 0))
                return seqnum_inline_settle(seq, next, index, ret);
        *ret = (int64_t)(origin + index * increment);
        return 0;
}

/*
 * seqnum_block_next(). The numbers are ours already; what is looked at is whether
 * the sequence was dropped or restarted since: then its window is closed, and what is
 * left of the block is not issued any more. In a forked child there is
 * nothing left.
 */
static inline int seqnum_block_next_inline(struct seqnum_block *block, int64_t *ret)
{
        struct seqnum_stock *stock = (struct seqnum_stock *)(void *)block;
        uint64_t index = stock->index;

        /* window_look() */
        if (__builtin_expect(index >= stock->end ||
                                     index < __atomic_load_n(stock->floor, __ATOMIC_ACQUIRE),
                             0))
                return seqnum_inline_refill(block, ret);
        stock->index = index + 1;
        *ret = (int64_t)(stock->origin + index * stock->increment);
        return 0;
}

#ifdef __cplusplus
}
#endif

#endif
