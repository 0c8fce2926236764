/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The segment: what daemon and clients share, byte by byte.
 *
 * One POSIX shared-memory object in two page-aligned regions. The daemon
 * writes the first; clients map it read-only. Clients write the second.
 * Offsets are relative to the beginning of the object, so that it may lie at a
 * different address in every process; types are of fixed width.
 *
 *   offset 0      struct segment_header
 *   buckets       _Atomic(uint64_t)[n_buckets]: heads of the directory's
 *                 hash chains, offsets of entries, 0: empty
 *   entries       struct directory_entry, variable length, appended
 *   windows       struct window[n_slots]
 *   ------------- page boundary: below read-only to clients, from here writable
 *   shared        struct segment_shared: doorbell semaphore, summary of wants
 *   wants         _Atomic(uint64_t)[n_slots / 64]: bitmap of slots
 *   cells         struct cell[n_slots]
 *
 * The object is sized once and is sparse: pages come into being as the daemon
 * reserves them (fallocate, so that a full tmpfs is an error and not a SIGBUS).
 * It never shrinks and nothing in it moves, so a mapping is good for life.
 *
 * A slot is a window and the cell of the same number. A slot serves one
 * generation of one sequence and is never used again in the same segment: a
 * handle that still points at it finds it retired, whatever became of the
 * name. A segment that runs out of slots is replaced by a fresh one.
 *
 * Publishing: everything in a header is written before its magic, everything
 * in an entry (and the window and cell it leads to) before the link to it.
 *
 * Trust: clients believe the first region once its owner was checked; the
 * daemon believes nothing here but what it wrote itself and keeps its own copy.
 */

#include <semaphore.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "params.h"

/* Grows with every change of what follows. */
#define SEGMENT_LAYOUT_VERSION UINT32_C(4)

/* "seqnumd" and a NUL, read as a little-endian word. Stays for ever. */
#define SEGMENT_MAGIC UINT64_C(0x00646d756e716573)

/*
 * Word size, byte order and C library: sem_t has the same size but another
 * meaning in another C library. Text, so that a refusal can show both.
 */
#define SEGMENT_ABI_SIZE 32

/* In `next`: no claim made from here on is valid until a thaw. */
#define CELL_FROZEN (UINT64_C(1) << 63)

/* In `floor`: no index of this window will ever be valid again. */
#define WINDOW_CLOSED UINT64_MAX

/*
 * The largest believable distance of `next` above the ceiling: every thread
 * that can exist (PID_MAX_LIMIT, 2^22) waiting with the largest claim (2^33).
 */
#define WINDOW_OVERSHOOT_MAX (UINT64_C(1) << 55)

#define SEGMENT_LINE 128 /* two cache lines: the adjacent-line prefetcher pairs them */
#define SEGMENT_PAGE 4096

/* The limit of max_sequences; slots are twice as many, so that alters have room. */
#define SEGMENT_SEQUENCES_MAX (UINT32_C(1) << 20)

enum segment_state {
        SEGMENT_SERVING = 1, /* a daemon looks after it, died doing so, or left it open */
        SEGMENT_STOPPED = 2, /* cleanly stopped; the windows are frozen */
        SEGMENT_RETIRED = 3, /* replaced by another object: attach anew by name */
};

enum window_state {
        WINDOW_PENDING = 0, /* not made yet: no name leads to it */
        WINDOW_OPEN = 1,
        WINDOW_FROZEN = 2,  /* a clean stop: wait for the thaw */
        WINDOW_RETIRED = 3, /* for good: look the name up again */
};

/*
 * Magic, layout_version and abi keep place and meaning in every version to
 * come; the rest may change with the version.
 */
struct segment_header {
        _Atomic(uint64_t) magic; /* last to be written; 0 while starting */
        uint32_t layout_version;
        uint32_t header_size;
        char abi[SEGMENT_ABI_SIZE]; /* NUL-padded */

        uint8_t instance_id[16]; /* of the store this belongs to */
        uint64_t segment_id;     /* segments of an instance are numbered as they are made */
        char boot_id[40];        /* /proc/sys/kernel/random/boot_id */
        uint64_t size;           /* of the whole object */
        uint64_t writable;       /* where the second region begins */
        uint64_t buckets, entries, windows, wants, cells; /* offsets */
        uint64_t entries_size;                            /* bytes there are for entries */
        uint32_t n_buckets;                               /* a power of two */
        uint32_t n_slots;                                 /* a multiple of 64 */
        uint32_t max_sequences;

        _Atomic(uint32_t) state;       /* enum segment_state */
        _Atomic(uint32_t) daemon_pid;  /* for people; who lives is asked of the lock */
        _Atomic(uint32_t) n_sequences; /* being served */
        _Atomic(uint32_t) slots_used;
        _Atomic(uint64_t) entries_used; /* bytes */
        _Atomic(uint64_t) heartbeat;    /* CLOCK_BOOTTIME, usec, of the last sign of life */
        _Atomic(uint64_t) started;      /* CLOCK_REALTIME, usec, when the daemon took it over */
        _Atomic(uint32_t) n_templates;  /* names not in the directory may still come into being */
        _Atomic(uint32_t) n_clients;    /* connected to the control socket */
        _Atomic(uint64_t) commits;      /* transactions of the store, by this daemon */
        _Atomic(uint64_t) failures;     /* of those, not well */
        char socket[108];               /* control socket, NUL-terminated; "": none */
};

/* Appended, linked at the head of its chain, never moved or reused. */
struct directory_entry {
        _Atomic(uint64_t) link; /* offset of the next in the chain, 0: none */
        uint64_t hash;
        uint32_t slot;
        uint16_t name_length;
        char name[]; /* not NUL-terminated; padded to 8 bytes */
};

struct window {
        /* read at every draw */
        alignas(SEGMENT_LINE) _Atomic(uint64_t) ceiling; /* claims below are durable */
        _Atomic(uint64_t) floor;                         /* claims below are void */
        _Atomic(uint64_t) low;   /* whoever draws this index rings the doorbell */
        _Atomic(uint32_t) wake;  /* futex: bumped whenever something above changed */
        _Atomic(uint32_t) state; /* enum window_state */

        /* constant once the slot is published */
        uint64_t id, generation; /* as in the store */
        int64_t origin;          /* value of index 0 */
        int64_t start, increment, min, max;
        uint8_t kind; /* enum sequence_kind */
        uint8_t cycle;
        uint8_t node_bits, serial_bits; /* time */
        uint16_t node;                  /* time */
        uint16_t padding;
        uint32_t hold_limit; /* gapless: seconds */
        uint32_t padding2;
        int64_t epoch; /* time: ms of CLOCK_REALTIME */

        /* for people and for the next daemon */
        _Atomic(uint64_t) frozen; /* index at which the last freeze closed the window */
        _Atomic(uint64_t) refills;
};

struct cell {
        alignas(SEGMENT_LINE) _Atomic(uint64_t) next; /* index the next claim gets */
        _Atomic(uint64_t) waits;                      /* how often a draw had to wait, for people */

        /* gapless: the turn, see turn.h */
        sem_t turn;              /* pshared; posted while the turn is free */
        _Atomic(uint64_t) owner; /* who has it: a transaction's id, 0: nobody */
        _Atomic(uint64_t) turns; /* how often it was taken */

        /* Written once, by the daemon: a cell without it was overwritten, or its page lost. */
        _Atomic(uint64_t) mark; /* cell_mark() */

        /*
         * Of blocks: how many indices of granted claims somebody set out to give back,
         * and is done with giving back, or could not. So the daemon can tell `next`
         * coming down honestly from `next` set back.
         */
        _Atomic(uint64_t) giving, given;
};

struct segment_shared {
        sem_t doorbell;                                /* pshared; counts calls, held by nobody */
        alignas(SEGMENT_LINE) _Atomic(uint64_t) rings; /* for people */
        /* bit i of word j: look at wants[64 * j + i] */
        alignas(SEGMENT_LINE) _Atomic(uint64_t) summary[2 * SEGMENT_SEQUENCES_MAX / 64 / 64];
};

/*
 * Bytes of the object that carry a lock (F_OFD_SETLK), not data; they lie far
 * beyond the end. The daemon holds its own for as long as it lives; whoever may
 * hold the turn of a gapless sequence holds the byte numbered by its id, which
 * is in 2^61 .. 2^62 - 1.
 */
#define SEGMENT_LOCK_DAEMON (INT64_C(1) << 62)
#define SEGMENT_LOCK_OWNERS (INT64_C(1) << 61)

_Static_assert(sizeof(struct window) == SEGMENT_LINE, "a window is one pair of lines");
_Static_assert(sizeof(struct cell) == SEGMENT_LINE, "a cell is one pair of lines");
_Static_assert(offsetof(struct window, ceiling) == 0 && offsetof(struct window, floor) == 8 &&
                       offsetof(struct window, low) == 16 && offsetof(struct window, wake) == 24,
               "what a draw reads is in one line");
_Static_assert(offsetof(struct segment_header, magic) == 0 &&
                       offsetof(struct segment_header, layout_version) == 8 &&
                       offsetof(struct segment_header, header_size) == 12 &&
                       offsetof(struct segment_header, abi) == 16,
               "these stay for ever");
_Static_assert(sizeof(struct segment_header) <= SEGMENT_PAGE, "the header is in the first page");
_Static_assert(sizeof(_Atomic(uint64_t)) == 8 && sizeof(_Atomic(uint32_t)) == 4,
               "atomics are plain words");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && ATOMIC_INT_LOCK_FREE == 2,
               "a lock inside a process is no lock between processes");
_Static_assert(sizeof(struct directory_entry) == 24, "entries are packed");

/* Where everything lies, worked out from the capacity alone. */
struct segment_geometry {
        uint64_t buckets, entries, windows, writable, wants, cells, size;
        uint64_t entries_size;
        uint32_t n_buckets, n_slots;
};

/* `max_sequences` in 1..SEGMENT_SEQUENCES_MAX. */
struct segment_geometry segment_geometry(uint32_t max_sequences);

/* The ABI of the code this is compiled into, e.g. "glibc-le64-sem32". */
void segment_abi(char abi[static SEGMENT_ABI_SIZE]);

/* FNV-1a, 64 bits, of a sequence's name. */
uint64_t directory_hash(const char *name, size_t length);

/* The mark of the cell in `slot`. */
static inline uint64_t cell_mark(uint32_t slot)
{
        return UINT64_C(0x6b72616d6d757165) ^ ((uint64_t)slot << 32);
}

/* Bytes an entry takes for a name of `length` bytes. */
static inline uint64_t directory_entry_size(size_t length)
{
        return (offsetof(struct directory_entry, name) + length + 7) & ~UINT64_C(7);
}

/* A pointer into a segment mapped at `base`. The caller checked the offset. */
static inline void *segment_at(void *base, uint64_t offset)
{
        return (char *)base + offset;
}
