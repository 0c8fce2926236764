/* SPDX-License-Identifier: MIT */
#ifndef SEQNUM_H
#define SEQNUM_H

/*
 * libseqnum: draw unique, ordered numbers from seqnumd(8) at memory speed.
 *
 *      struct seqnum_client *client;
 *      struct seqnum *orders;
 *      int64_t number;
 *
 *      seqnum_attach(&client, NULL, 0);
 *      seqnum_open(&orders, client, "orders");
 *      seqnum_next(orders, &number);
 *
 * A draw is one atomic instruction on memory shared with every other process
 * that draws, and with the daemon, which keeps numbers reserved ahead of
 * demand. No number is returned twice, whichever process dies and whenever.
 *
 * Errors. Every function that can fail returns 0 or a negative errno and then
 * leaves *ret as it was; seqnum_strerror() says it in words. The global errno
 * means nothing. The library never logs, never exits and handles no signal.
 *
 * Threads. Every function may be called by any thread at any time, with the
 * usual exception: a handle must not be in use by another thread while it is
 * closed or detached. Handles may be shared; a draw takes no lock, except to
 * look its name up again.
 *
 * Waiting. A draw waits only when the numbers reserved are used up (the daemon
 * is away, or its disk is slow), and never longer than seqnum_set_timeout()
 * allows. Waiting is a futex wait; a signal handler may run meanwhile and the
 * draw goes on.
 *
 * Fork. A client and its handles belong to the process that made them. In a
 * child of fork(2) every function on them is refused with -ECHILD, except
 * seqnum_close() and seqnum_detach(), which free the child's copy; the child
 * attaches anew. (A child made by raw clone(2) or vfork(2) is not noticed; it
 * must not use them before it calls execve(2).)
 *
 * A replaced segment (the daemon was reinstalled, /dev/shm was emptied) is
 * noticed when the old one has no more numbers, and the handle moves to the
 * new one by itself. Old mappings are kept until seqnum_detach().
 *
 * Links with libc alone.
 */

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#pragma GCC visibility push(default)
#endif

struct seqnum_client; /* a mapping of one instance's segment */
struct seqnum;        /* one sequence in it */

/* Consecutive numbers: first, first + increment, ... , `count` of them. */
struct seqnum_run {
        int64_t first;
        int64_t increment;
        uint32_t count;
};

/* Flags of seqnum_attach(). */
#define SEQNUM_RDONLY 1u /* look, don't draw: needs read permission only */

/* What waits are bound by until seqnum_set_timeout() says otherwise: 5 s. */
#define SEQNUM_TIMEOUT_DEFAULT UINT64_C(5000000)

/*
 * Attach to the instance whose segment is named `shm` ("/seqnumd"), NULL for
 * $SEQNUM_SHM or else "/seqnumd". `flags`: 0 or SEQNUM_RDONLY. Does not wait.
 *
 * What can be found under the name, each an error of its own:
 *   -ENXIO            absent: no such object, no daemon has made it yet
 *   -EAGAIN           starting: there, but not whole yet, try again
 *   -EPROTONOSUPPORT  other version: laid out by another version of seqnumd
 *   -ENOEXEC          foreign ABI: made for another C library or word size
 *   -EBADMSG          corrupt: not a segment, or damaged
 *   -EACCES           not permitted: not in the group that may draw
 *   -EPERM            wrong owner: planted by somebody who is not the service
 *   -EINVAL           `shm` is no name of an object, or unknown flags
 *   -ENOMEM, -EMFILE, -ENFILE  as usual
 *
 * The owner of the object must be root, the caller's own effective user, the
 * owner of the directory /var/lib/NAME (the service's state directory; NAME
 * without its slash), or the numeric user id in $SEQNUM_OWNER. Environment
 * variables are ignored in set-user-ID programs (secure_getenv(3)).
 */
int seqnum_attach(struct seqnum_client **ret, const char *shm, unsigned flags);

/*
 * Close every handle of the client, unmap, free. NULL is fine. Always returns
 * NULL, for `client = seqnum_detach(client)`.
 */
struct seqnum_client *seqnum_detach(struct seqnum_client *client);

/*
 * Look `name` up: 1 to 255 bytes of [A-Za-z0-9._/-]. The handle stays valid
 * when the daemon restarts, when the sequence is altered and when the segment
 * is replaced.
 *   -ENOENT  there is no such sequence
 *   -EINVAL  not a name
 *   -ECHILD  the client belongs to the parent of this process
 *   -EBADMSG the segment's directory, or the sequence, is damaged
 *   -ENOMEM  as usual
 *   and, when the segment had to be attached anew, seqnum_attach()'s errors
 */
int seqnum_open(struct seqnum **ret, struct seqnum_client *client, const char *name);

/* NULL is fine. Always returns NULL. */
struct seqnum *seqnum_close(struct seqnum *seq);

/*
 * Draw one number. Safe against every other draw in every process and thread
 * of the host: a draw that begins after another returned gets a later number.
 *   -ETIMEDOUT   nothing reserved and the daemon did not answer in time; at
 *                most this one number is skipped
 *   -EOVERFLOW   the sequence has come to its end, for good unless its limits
 *                are altered
 *   -ENOENT      the sequence was dropped
 *   -EACCES      the client was attached with SEQNUM_RDONLY
 *   -ECHILD      the handle belongs to the parent of this process
 *   and, when the name had to be looked up again, seqnum_open()'s errors but
 *   for -ENXIO and -EAGAIN, which are waited out
 */
int seqnum_next(struct seqnum *seq, int64_t *ret);

/*
 * Draw `count` consecutive numbers, 1 or more, at the cost of one.
 * Errors as seqnum_next(), and:
 *   -EINVAL     count is 0
 *   -ERANGE     a cycling sequence does not have so many numbers in a round
 *   -EOVERFLOW  fewer than `count` numbers are left; a smaller run may fit
 * A run never straddles the wrap of a cycling sequence: one that would is drawn
 * anew, and less than three times `count` numbers about the wrap are skipped.
 */
int seqnum_next_run(struct seqnum *seq, uint32_t count, struct seqnum_run *ret);

/*
 * What the next draw would get, if nobody else drew meanwhile. Never waits and
 * takes nothing. Errors as seqnum_next(), but for -ETIMEDOUT and want of
 * permission to draw; and -EAGAIN or -ENXIO where the sequence is just being
 * moved.
 */
int seqnum_peek(struct seqnum *seq, int64_t *ret);

/*
 * Bound every wait of this client's draws from now on, in microseconds of
 * CLOCK_MONOTONIC. 0: never wait. UINT64_MAX: as good as for ever.
 */
int seqnum_set_timeout(struct seqnum_client *client, uint64_t timeout_usec);

/*
 * A sentence for an error of this library, given as it returns them (negative)
 * or positive. Constant text, never NULL, not translated.
 */
const char *seqnum_strerror(int error);

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif

#ifdef __cplusplus
}
#endif

#endif
