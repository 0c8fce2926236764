/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The store: what survives a power cut.
 *
 * One small interface, so that another implementation can take SQLite's place
 * (ranges reserved from a cluster, say). Two properties of it carry the
 * promise that no number is handed out twice:
 *
 *   - store_commit() is all or nothing, and when it returns 0 everything in it
 *     is on stable storage. When it fails nothing of it may be published, and
 *     yet all of it may turn up if the process or the machine dies before
 *     another commit succeeds (a log was written, then could not be synced). So
 *     what it would have ended may go on only after a commit that succeeded.
 *   - A range granted to a sequence in one of its generations is granted once.
 *
 * An implementation may grant a range that does not touch the last one; the
 * caller then jumps. SQLite's always touches.
 *
 * Not thread-safe: one thread at a time uses a store.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "params.h"

#define STORE_INSTANCE_ID_SIZE 16

struct store;

/* One sequence as the store knows it. */
struct store_sequence {
        uint64_t id;         /* unique for the life of the store, never reused, > 0 */
        uint64_t generation; /* grows whenever the meaning of an index changes, > 0 */
        const char *name;
        struct sequence_params params;
        int64_t origin; /* value of index 0 in this generation */
        uint64_t lo;    /* reserved without a hole: indices lo <= i < hi; below lo all */
        uint64_t hi;    /* is used up or lost, and nothing at or above hi was ever given */
        bool exact;     /* saved by a freeze: lo == hi, the next index to draw */
};

enum store_op_type {
        STORE_CREATE,  /* a new sequence at `position`; gives it its id, generation 1 */
        STORE_REPLACE, /* new parameters, origin and generation + 1; range is reset to 0,0 */
        STORE_DROP,    /* forget it; its id is not used again */
        STORE_RESERVE, /* grant `count` more indices: hi grows; lo too if they don't touch */
        STORE_SAVE,    /* record the exact position: lo = hi = `position`, not below lo; above */
                       /* hi it reserves up to there, or fails if that is not to be had */
        STORE_TUNE,    /* new params.reserve, nothing else */
        STORE_SEGMENT, /* the segment in use from now on is the one with this `id` */
};

/* One step of a commit. Outputs are valid only if the commit returned 0. */
struct store_op {
        enum store_op_type type;
        uint64_t id;                   /* in: all but CREATE; out: CREATE */
        uint64_t generation;           /* in: RESERVE, SAVE; out: CREATE, REPLACE */
        const char *name;              /* in: CREATE; else for the caller */
        struct sequence_params params; /* in: CREATE, REPLACE, TUNE */
        int64_t origin;                /* in: CREATE, REPLACE */
        uint64_t from;     /* in: RESERVE: nothing below is wanted; beyond hi: leaves a hole */
        uint64_t count;    /* in: RESERVE: > 0 */
        uint64_t position; /* in: CREATE, SAVE */
        uint64_t lo, hi;   /* out: RESERVE: as stored now; hi >= max(old hi, from) + count */
        int error;         /* out, also on failure: 0, or why this one is to blame */
};

/* What an implementation provides. All return 0 or a negative errno. */
struct store_vtable {
        /*
         * Call `each` for every sequence, in order of id; stop at the first
         * that returns non-zero and return that.
         */
        int (*load)(struct store *store,
                    int (*each)(const struct store_sequence *sequence, void *userdata),
                    void *userdata);
        int (*commit)(struct store *store, struct store_op *ops, size_t n_ops);
        void (*close)(struct store *store);
};

/* The part every implementation begins with. */
struct store {
        const struct store_vtable *vtable;
        uint8_t instance_id[STORE_INSTANCE_ID_SIZE]; /* random, made with the store */
        uint64_t segment_id; /* of the segment in use when it was opened; 0: none yet */
        uint64_t last_id;    /* the largest id that a sequence ever got */
        bool created;        /* this open made it: it knows nothing yet */
        char *message;       /* a sentence on the last failure, for the log; may be NULL */
};

/*
 * Open or create the SQLite store in `directory`.
 *
 * 0, or a negative errno with *ret untouched and a sentence for the operator
 * in *message (malloc'd, the caller frees it; left NULL only when out of memory):
 *   -EBUSY            another process has this state directory, its PID is in the sentence;
 *                     or still reads what a daemon that died left in the log
 *   -EBADMSG          the store is corrupt: never started over
 *   -EPROTONOSUPPORT  written by a newer version
 *   -EACCES, -ENOENT, -ENOSPC, -EROFS, -EIO ...  as the system said
 */
int store_open_sqlite(struct store **ret, const char *directory, char **message);

static inline int store_load(struct store *store,
                             int (*each)(const struct store_sequence *sequence, void *userdata),
                             void *userdata)
{
        return store->vtable->load(store, each, userdata);
}

static inline int store_commit(struct store *store, struct store_op *ops, size_t n_ops)
{
        return store->vtable->commit(store, ops, n_ops);
}

/* NULL is fine; always returns NULL. */
struct store *store_close(struct store *store);
