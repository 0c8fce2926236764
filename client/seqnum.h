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
 * means nothing. The library never logs, never exits, and handles no
 * signal but by SEQNUM_SIGBUS.
 *
 * Threads. Every function may be called by any thread at any time, with the
 * usual exception: a handle must not be in use by another thread while it is
 * closed or detached. Handles may be shared; a draw takes no lock, except to
 * look its name up again. None is a point of cancellation: a thread that is cancelled
 * in one ends after it; cancellation of the asynchronous type is not allowed for.
 *
 * Waiting. A draw waits only when the numbers reserved are used up (the daemon
 * is away, or its disk is slow), and never longer than seqnum_set_timeout()
 * allows. Waiting is a futex wait; a signal handler may run meanwhile and the
 * draw goes on.
 *
 * Fork. A client and its handles belong to the process that made them. In a
 * child of fork(2) every function on them is refused with -ECHILD, except
 * seqnum_close() and seqnum_detach(), which free the child's copy; the child
 * attaches anew. (A child made by raw clone(2), vfork(2) or _Fork(3) is not noticed;
 * it must not use them before it calls execve(2).) A signal handler that may interrupt
 * one of these functions must not fork: only a draw that waits notices, and is refused
 * in the child.
 *
 * A replaced segment (the daemon was reinstalled, /dev/shm was emptied) is
 * noticed when the old one has no more numbers, and the handle moves to the
 * new one by itself. Old mappings are kept until seqnum_detach().
 *
 * A damaged segment. Whoever may draw can also do harm, and is trusted not to.
 * What is scribbled on is replaced by the daemon as soon as it sees it, and the
 * handle moves on. But who touches memory of an object that somebody has just
 * truncated is sent SIGBUS by the kernel, which ends the process: the daemon gives
 * the object its size again, and who does not draw until then, some milliseconds,
 * notices nothing. While no daemon runs nobody mends it. The same goes for pages
 * punched out of it while /dev/shm is full.
 * Signal handlers are the program's to install. One that wishes the library to do so
 * attaches with SEQNUM_SIGBUS: then draws wait for the segment that takes the lost
 * one's place, and what is not about a segment is handed on to the handler there was
 * before. The handler stays for the life of the process, and so does libseqnum.so,
 * which dlclose(3) does not unload; a program that installs a handler of its own later
 * hands on what it does not know. With the flag -EMFILE may also
 * mean that 256 mappings are guarded already.
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
struct seqnum_block;  /* one thread's stock of its numbers */

/* Consecutive numbers: first, first + increment, ... , `count` of them. */
struct seqnum_run {
        int64_t first;
        int64_t increment;
        uint32_t count;
};

/* An id of kind time, taken apart. */
struct seqnum_time {
        int64_t unix_msec; /* milliseconds since 1970-01-01 00:00 UTC */
        uint32_t node;     /* of the host, as configured */
        uint32_t serial;   /* within the millisecond */
};

/* Flags of seqnum_attach(). */
#define SEQNUM_RDONLY 1u /* look, don't draw: needs read permission only */
#define SEQNUM_SIGBUS 2u /* handle SIGBUS, so that a truncated object does not end us */

/* What waits are bound by until seqnum_set_timeout() says otherwise: 5 s. */
#define SEQNUM_TIMEOUT_DEFAULT UINT64_C(5000000)

/*
 * Attach to the instance whose segment is named `shm` ("/seqnumd"), NULL for
 * $SEQNUM_SHM or else "/seqnumd". `flags`: those above. Does not wait.
 *
 * What can be found under the name, each an error of its own:
 *   -ENXIO            absent: no such object, no daemon has made it yet
 *   -EAGAIN           starting: there, but not whole yet, try again
 *   -EPROTONOSUPPORT  other version: laid out by another version of seqnumd
 *   -ENOEXEC          foreign ABI: made for another C library or word size
 *   -EBADMSG          corrupt: not a segment, or damaged
 *   -EACCES           not permitted: not in the group that may draw
 *   -EPERM            wrong owner: planted by somebody who is not the service; or wrong
 *                     mode: everybody may write it
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
 * Look `name` up: 1 to 255 bytes of [A-Za-z0-9._:/-]. The handle stays valid
 * when the daemon restarts, when the sequence is altered and when the segment
 * is replaced. A sequence that a template of the configuration allows for comes
 * into being here, durably; for that the daemon is asked over its socket, and
 * waited for as long as a draw would be.
 *   -ENOENT  there is no such sequence
 *   -ETIMEDOUT  a template may allow for it, but the daemon did not answer
 *   -EACCES  a template may allow for it, but the daemon may not be asked by us
 *   -ENOSPC  a template allows for it, but there are max_sequences already
 *   -EREMOTEIO  a template allows for it, but the daemon could not make it
 *   -EPROTO, -EMSGSIZE  a template may allow for it, but what listens at the daemon's
 *            socket does not answer as seqnumd does
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
 *
 * Of a gapless sequence: seqnum_begin() and seqnum_commit() in one, with their
 * errors but for -EAGAIN and -ESTALE, which are waited out. After -ETIMEDOUT or
 * -ENOTRECOVERABLE the number may be used up and is told to nobody: who must not
 * lose it begins and commits himself. (With a timeout of 0 nothing is used up, nor
 * drawn: the disk is always waited for.)
 *
 * Of kind time: an id that is larger than every one drawn before, made of the
 * time, the node and a serial. An id's time is at most 4 ms ahead of the clock,
 * unless the clock was stepped back; to enter a millisecond further ahead takes
 * a millisecond (-ETIMEDOUT where the timeout is shorter).
 *
 *   -ETIMEDOUT   nothing reserved and the daemon did not answer in time; at
 *                most this one number is skipped
 *   -EOVERFLOW   the sequence has come to its end, for good unless its limits
 *                are altered, or a block (below) gives back what it has of it
 *   -ENOENT      the sequence was dropped
 *   -EACCES      the client was attached with SEQNUM_RDONLY
 *   -ECHILD      the handle belongs to the parent of this process
 *   and, when the name had to be looked up again, seqnum_open()'s errors but
 *   for -ENXIO and -EAGAIN, and -EBADMSG while a daemon lives, which are waited out
 */
int seqnum_next(struct seqnum *seq, int64_t *ret);

/*
 * Draw `count` consecutive numbers, 1 or more, at the cost of one.
 * Errors as seqnum_next(), and:
 *   -EINVAL     count is 0
 *   -ERANGE     a cycling sequence does not have so many numbers in a round
 *   -EOVERFLOW  fewer than `count` numbers are left; a smaller run may fit
 *   -ETIMEDOUT  at most these `count` numbers are skipped
 * A run never straddles the wrap of a cycling sequence: one that would is drawn
 * anew, and less than three times `count` numbers about the wrap are skipped.
 * Ids of kind time in a run are of one millisecond: -ERANGE if it has fewer.
 * A run of a gapless sequence is committed as a whole.
 */
int seqnum_next_run(struct seqnum *seq, uint32_t count, struct seqnum_run *ret);

/*
 * Blocks: a stock of numbers that one thread hands out to itself, each for a fraction
 * of what a draw costs, whatever others do; least where it is inlined, by
 * seqnum-inline.h. Of kind counter only.
 *
 * Numbers of a block are unique and ascend like all others, but they are claimed
 * when the block is filled: a number may be lower than one that another process
 * drew before. What is left when the process dies is skipped; when the block is
 * closed it is given back, unless others have drawn since. When the sequence is
 * dropped or restarted, what is left is not issued any more; when it is altered, it
 * is, and the next fill follows the new parameters. A child of fork(2) has no part in
 * it: its copy is empty, and refused with -ECHILD.
 *
 * open: `size` numbers are claimed at a time, fewer where fewer are left; 0: a size
 * that adapts to how fast they are used. Takes nothing yet. A block belongs to one
 * thread at a time; a handle may have many. Closing the handle or the client closes
 * its blocks.
 *   -EOPNOTSUPP  the sequence is gapless, or of kind time
 *   -EACCES      the client was attached with SEQNUM_RDONLY
 *   -ECHILD      the handle belongs to the parent of this process
 *   -ENOMEM      as usual
 *   and, when the name had to be looked up again, seqnum_open()'s errors
 *
 * next: errors as seqnum_next(), where -ETIMEDOUT may skip as many as are claimed at
 * a time, and -EOPNOTSUPP when the name has come to be that of a sequence of another
 * kind.
 *
 * close: NULL is fine. Always returns NULL.
 *
 * seqnum-inline.h has seqnum_next() and seqnum_block_next() to be inlined.
 */
int seqnum_block_open(struct seqnum_block **ret, struct seqnum *seq, uint32_t size);
int seqnum_block_next(struct seqnum_block *block, int64_t *ret);
struct seqnum_block *seqnum_block_close(struct seqnum_block *block);

/*
 * What the next draw would get, if nobody else drew meanwhile. Never waits and
 * takes nothing. Errors as seqnum_next(), but for -ETIMEDOUT and want of
 * permission to draw; and -EAGAIN or -ENXIO where the sequence is just being
 * moved.
 */
int seqnum_peek(struct seqnum *seq, int64_t *ret);

/*
 * Transactions on a gapless sequence: a number is used up only by a commit, and
 * numbers are committed without a gap. One handle has the turn at a time, on
 * the whole host; the others wait for it. A handle has at most one transaction;
 * threads that want one each open a handle each.
 *
 * begin: take the turn; *ret is the number that a commit will use up. Until then
 * nobody else gets it. When the process dies the turn ends, and the next in line
 * gets the same number, within 50 ms. With hold_limit = N in the configuration a
 * living holder loses the turn to whoever has waited N seconds for it.
 *   -EBUSY       this handle is in a transaction already
 *   -EOPNOTSUPP  the sequence is not gapless
 *   -ETIMEDOUT   others had the turn for too long
 *   -ENOLCK, -EMFILE, -ENFILE  want of what shows others that we live
 *   and the errors of seqnum_next()
 *
 * commit: use the number up. Returns when the store has it: it is then not
 * issued again, whatever fails. Commits that wait together share one sync.
 * After these the transaction is over:
 *   -ESTALE      the turn was lost (hold_limit; the sequence was altered,
 *                restarted or made anew, or its segment replaced meanwhile) and
 *                the number may be somebody else's: not committed
 *   -ENOENT      the sequence was dropped, and the number with it
 *   -ENOTRECOVERABLE  the number was used up, but before that was confirmed
 *                the segment was lost twice over, or the sequence altered or
 *                restarted as the daemon died: whether it stays used up
 *                cannot be told
 * After these, and every other error, it is not, and commit may be called again:
 *   -EAGAIN      the daemon was away, or the sequence about to be changed, for
 *                as long as may be waited: the number is not used up, and still
 *                held. It may be rolled back
 *   -ETIMEDOUT   the number is used up, but not confirmed by the store yet: only
 *                if the machine lost its power now (or the segment were removed
 *                while no daemon runs) would it be issued again. The turn has
 *                passed on, it cannot be rolled back
 * And of the call, which changes nothing:
 *   -EINVAL      this handle is in no transaction
 *   -EBUSY       another thread is at work on the handle's transaction
 *   -ECHILD      the handle belongs to the parent of this process
 *
 * rollback: give the number back; the next in line gets it.
 *   -EINVAL      this handle is in no transaction
 *   -EBUSY       its commit waits for the store: too late; or another thread is
 *                at work on the transaction
 *   -ECHILD      the handle belongs to the parent of this process
 *
 * seqnum_close() and seqnum_detach() roll back what is held; a number that waits
 * for the store stays used up. A child of fork(2) has no part in its parent's
 * transactions.
 */
int seqnum_begin(struct seqnum *seq, int64_t *ret);
int seqnum_commit(struct seqnum *seq);
int seqnum_rollback(struct seqnum *seq);

/*
 * Take an id of kind time apart, by the widths and epoch the sequence has now.
 *   -EOPNOTSUPP  the sequence is not of kind time
 *   -EINVAL      a negative number is no id
 *   and the errors of seqnum_peek()
 */
int seqnum_explain(struct seqnum *seq, int64_t id, struct seqnum_time *ret);

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
