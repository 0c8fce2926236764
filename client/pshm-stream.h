/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * A stream of any length through one shared memory object: the layout, and who
 * may do what, when.
 *
 *   offset 0      struct stream_header, with the two semaphores
 *   descriptors   struct stream_block[n_blocks]
 *   data          n_blocks times `stride` bytes
 *
 * The sender takes `empty`, reads its input right into the next block, says in the
 * block's descriptor how many bytes there are, and posts `filled`; the receiver
 * takes `filled`, writes the block right to its output, and posts `empty`. A block
 * of no bytes is the end. `empty` begins at n_blocks, so both run at once; with one
 * block this is, step by step, the textbook's transfer with two semaphores: writer
 * first, then in turns, never both. The sender stays until all blocks are empty
 * again: its success means that the receiver has written everything.
 *
 * Life. The sender makes the object without a name, complete, holds its lock on
 * it, and only then gives it the name: whoever finds a stream whose sender's byte
 * is not locked knows that it is dead. A receiver takes the receiver's byte, then
 * says so in its word: a word without the lock is a receiver that died. The kernel
 * drops both locks by whatever death. Whoever waits, for a semaphore or for input,
 * looks at the other's word and lock every few milliseconds (stream_peer()).
 *
 * The end. Each side says in its word how it ended, then goes. Both remove the
 * name, so that nothing is left whichever of them dies; who removes a name holds
 * the third byte of that object and has checked that the name still leads to it,
 * so that nobody removes the next stream in the place of the last one. rm and
 * create -f keep to that as well, but for a lock that is held for too long: anybody
 * who may read the object can hold one. What two killed leave behind, the next
 * sender replaces and the next receiver removes.
 *
 * Trust. Nothing in the object is believed unchecked: the geometry is worked out
 * again and compared, counts are checked against the block, blocks carry their
 * place in the stream, the end carries its length, and with STREAM_CHECKSUM each
 * block a hash that continues the one before (XXH3, 64 bits).
 */

#include <semaphore.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "layout.h"
#include "pshm.h"

#define STREAM_VERSION UINT32_C(1)

/* "pshmstrm", read as a little-endian word. */
#define STREAM_MAGIC UINT64_C(0x6d7274736d687370)

#define STREAM_BLOCKS_MAX     (UINT64_C(1) << 20)
#define STREAM_BLOCK_SIZE_MAX (UINT64_C(1) << 30)

/* Measured: large enough to make a semaphore cheap, all of them in a shared cache. */
#define STREAM_BLOCKS_DEFAULT     UINT64_C(8)
#define STREAM_BLOCK_SIZE_DEFAULT (UINT64_C(1) << 20)

/* How long either side waits for the other to come. */
#define STREAM_WAIT_DEFAULT UINT64_C(60000000)

/* Flags. */
#define STREAM_CHECKSUM UINT32_C(1)

/* Bytes that carry locks (lock.h), far beyond the end of any object. */
#define STREAM_LOCK_SENDER   (INT64_C(1) << 62)
#define STREAM_LOCK_RECEIVER ((INT64_C(1) << 62) + 1)
#define STREAM_LOCK_NAME     ((INT64_C(1) << 62) + 2)

/* Of a side, in its word. What is not known counts as given up. */
enum stream_state {
        STREAM_ABSENT = 0,
        STREAM_RUNNING = 1,
        STREAM_DONE = 2, /* all of it, well */
        STREAM_INPUT_FAILED = 3,
        STREAM_OUTPUT_FAILED = 4,
        STREAM_INTERRUPTED = 5, /* by a signal */
        STREAM_DAMAGED = 6,     /* it found that what it got is not what was sent */
        STREAM_ALONE = 7,       /* the other did not come in time */
        STREAM_REFUSED = 8,     /* it wants a checksum, and there is none */
};

struct stream_header {
        uint64_t magic;
        uint32_t version;
        uint32_t header_size;
        char abi[SEGMENT_ABI_SIZE]; /* of sem_t, as layout.h has it */
        uint64_t size;              /* of the whole object */
        uint64_t block_size;
        uint32_t n_blocks;
        uint32_t flags;

        alignas(SEGMENT_LINE) sem_t empty; /* pshared; posted by the receiver */
        _Atomic(uint32_t) receiver;        /* enum stream_state */

        alignas(SEGMENT_LINE) sem_t filled; /* pshared; posted by the sender */
        _Atomic(uint32_t) sender;           /* enum stream_state */
};

/* The place of a block that was never filled: all zeroes would be the end of an empty stream. */
#define STREAM_NOWHERE UINT64_MAX

struct stream_block {
        alignas(64) _Atomic(uint64_t) place; /* which block of the stream, from 0 */
        _Atomic(uint64_t) count;             /* bytes; 0: the end */
        _Atomic(uint64_t) hash;              /* with STREAM_CHECKSUM */
        _Atomic(uint64_t) before;            /* bytes of all blocks before */
};

_Static_assert(sizeof(struct stream_block) == 64, "a descriptor is one line");
_Static_assert(sizeof(struct stream_header) <= SEGMENT_PAGE, "the header is in the first page");

struct stream_geometry {
        uint64_t n_blocks, block_size; /* as asked for */
        uint64_t stride, data, size;
};

/* Both in range, 1..STREAM_BLOCKS_MAX and 1..STREAM_BLOCK_SIZE_MAX. */
struct stream_geometry stream_geometry(uint64_t n_blocks, uint64_t block_size);

/*
 * Is this the header of a stream in an object of `size` bytes, that we can use? 0
 * and its geometry; -EBADMSG: no; -EPROTONOSUPPORT: of another version; -ENOEXEC:
 * of another C library.
 */
int stream_header_check(const struct stream_header *header, uint64_t size,
                        struct stream_geometry *ret);

/* A stream, from one of its sides. */
struct stream {
        char path[PSHM_PATH_SIZE];
        const char *name; /* within path, with its slash */
        int fd;
        dev_t device;
        ino_t inode;
        struct stream_geometry geometry;
        struct stream_header *header; /* NULL: not open */
        struct stream_block *blocks;
        char *data;
        uint32_t flags;

        _Atomic(uint32_t) *state, *peer_state; /* ours and the other's, in the header */
        int64_t peer_lock;
        uint64_t give_up; /* CLOCK_MONOTONIC, usec: the other must have come by then */
};

struct stream_setup {
        uint64_t n_blocks, block_size;
        uint32_t flags;
        mode_t mode;
        uint64_t wait_usec; /* for a receiver */
};

/*
 * Make one, as its sender, under a name that nobody has, or a dead stream. Not yet
 * visible to others before stream_publish(), so that the caller may guard it.
 *
 * 0 or a negative errno; of publishing: -EBUSY: it has a sender; -EEXIST: the name
 * is that of something else. stream_close() is due in any case.
 */
int stream_create(struct stream *ret, const char *name, const struct stream_setup *setup);
int stream_publish(struct stream *stream);

/* Of a stream that ended before we came. */
struct stream_end {
        uint32_t state; /* the sender's */
        int removal;    /* of its name: 0; or of stream_remove(), such as -EPERM: another user's */
};

/*
 * Become the receiver of what is there now. 0 with ours to close; or
 *   -EAGAIN      nothing is there yet, or what is has ended: try again later
 *   -EBUSY       it has another receiver
 *   -EOWNERDEAD  its sender died before anybody received; *ret_end says what became of it
 *   -ECANCELED   its sender gave up before; *ret_end says why
 *   -EBADMSG, -EPROTONOSUPPORT, -ENOEXEC, -EMEDIUMTYPE: no stream, or none for us
 *   another errno, of the system
 */
int stream_attach(struct stream *ret, const char *name, struct stream_end *ret_end);

/*
 * How is the other side? 0: well, or not there yet; 1: done; -ETIMEDOUT: it did not
 * come in time; -ECANCELED: it gave up; -EOWNERDEAD: it died.
 */
int stream_peer(const struct stream *stream);

/*
 * Take one of the semaphores; meanwhile call `idle` every few milliseconds, which may
 * say no. 0; or what stream_peer() says, when there is nothing left to take; or idle().
 * Taken and posted as token.h has it: what somebody wrote into one aborts nobody.
 */
int stream_take(const struct stream *stream, sem_t *semaphore, int (*idle)(void *), void *userdata);

/* 0, or -EBADMSG: posted more often than there are blocks, not by us. */
int stream_post(const struct stream *stream, sem_t *semaphore);

/*
 * Remove the name if it leads to this object. 0: it does no longer; -EAGAIN: somebody
 * else is about it; or another errno. Does not touch the object, and is
 * async-signal-safe, as stream_leave() is.
 */
int stream_remove(const struct stream *stream);

/*
 * Remove what has the name now, whatever it is; if it is a stream, in turn with those
 * who remove it for one, unless they take too long and `force` is set. 0: it is
 * removed, by us; -ENOENT; -EMEDIUMTYPE: a directory; -EBUSY: somebody holds the lock on
 * a stream's name, for long; or another errno.
 */
int stream_unlink(const char *name, bool force);

/* Leave: remove the name, and say how. */
void stream_leave(const struct stream *stream, enum stream_state state);

void stream_close(struct stream *stream);

/* The block at `place` of the stream, and its descriptor. */
static inline char *stream_data(const struct stream *stream, uint64_t place)
{
        return stream->data + place % stream->geometry.n_blocks * stream->geometry.stride;
}

static inline struct stream_block *stream_block(const struct stream *stream, uint64_t place)
{
        return &stream->blocks[place % stream->geometry.n_blocks];
}

/* Hash of a block that comes behind one of hash `before`. */
uint64_t stream_hash(uint64_t before, const char *bytes, size_t length);

/* --- what both sides say (pshm-stream-report.c) ----------------------------- */

/* Say what became of the other side, `error` of stream_peer(); the exit status. */
int stream_complain(const struct stream *stream, const char *other, int error);

/* Why the other gave up, in words. */
const char *stream_state_text(uint32_t state);

/* --- signals (pshm-guard.c) ------------------------------------------------- */

/*
 * From now on a signal that ends the process leaves the stream first; and one that
 * was cut short by somebody ends it with words. One stream at a time.
 */
void stream_guard(const struct stream *stream); /* NULL: none yet, but for the words */
void stream_unguard(void);

/* --- progress (pshm-progress.c) --------------------------------------------- */

struct progress {
        bool shown;
        uint64_t total; /* 0: not known */
        uint64_t bytes, begin;
        uint64_t next;                  /* when to show it again */
        uint64_t last_bytes, last_usec; /* when it was shown */
};

/* On a terminal and unless `quiet`. */
struct progress progress_begin(bool quiet, uint64_t total);
void progress_add(struct progress *progress, uint64_t bytes);
void progress_look(struct progress *progress); /* show it, if it is time to */
void progress_end(struct progress *progress);  /* before anything else is said */
