/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Finding, checking and mapping a segment: what every reader does first.
 *
 * An object under our name proves nothing: it may have been planted, be half
 * built, or be of another version. mapping_new() believes no byte of it before
 * its owner, mode and size are checked, and says which of the named outcomes
 * (seqnum.h, seqnum_attach()) it met.
 *
 * A mapping is immutable once made and may be used by any thread. It does not
 * notice by itself that its object was replaced; mapping_current() asks.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "layout.h"
#include "object.h"

/* Of a segment's name, with its slash. */
#define SEGMENT_NAME_MAX OBJECT_NAME_MAX

struct mapping {
        struct mapping *older; /* of the same client; the owner's to use */
        int fd;
        dev_t device;
        ino_t inode;
        bool writable; /* the second region is mapped for writing */
        bool guarded;  /* see guard.h */
        struct segment_geometry geometry;
        union {
                void *base;
                const struct segment_header *header;
        };
        const _Atomic(uint64_t) *buckets;
        const struct window *windows;
        struct segment_shared *shared;
        _Atomic(uint64_t) *wants;
        struct cell *cells;
};

enum {
        MAPPING_WRITABLE = 1,
        MAPPING_GUARDED = 2, /* guard_install() was called */
};

/* 0, or a negative errno as seqnum_attach() lists them. */
int mapping_new(struct mapping **ret, const char *shm, unsigned flags);

/* NULL is fine; returns NULL. `older` is not followed. */
struct mapping *mapping_free(struct mapping *mapping);

/*
 * Does the name `shm` still lead to this object? 1 or 0; a negative errno where it cannot
 * be told, for want of a file descriptor, say.
 */
int mapping_named(const struct mapping *mapping, const char *shm);

/* The same for who waits: until the contrary is seen, it does. */
bool mapping_current(const struct mapping *mapping, const char *shm);

/* Was the object truncated, and zeros put in the place of a guarded mapping of it? */
bool mapping_lost(const struct mapping *mapping);

/* Does a daemon live that looks after this object? The kernel knows. */
bool mapping_attended(const struct mapping *mapping);

/* The same of whatever object is under the name `shm`; until the contrary is seen, one does. */
bool segment_attended(const char *shm);

/* Is `shm` a portable name of a shared memory object: "/" and no other slash? */
bool segment_name_valid(const char *shm);

/*
 * Is an object of this owner and mode under the name `shm` to be believed?
 * Returns 0, or -EPERM. See seqnum_attach() for the rule.
 */
int segment_owner_check(const struct stat *status, const char *shm);

/*
 * Is this the header of a whole segment of our version and ABI, `size` bytes
 * long? 0 and its geometry, or -EAGAIN, -EPROTONOSUPPORT, -ENOEXEC, -EBADMSG.
 */
int segment_header_check(const struct segment_header *header, uint64_t size,
                         struct segment_geometry *ret);
