/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The segment, from its owner's side: making one, taking one over, its
 * directory and slots.
 *
 * What is in a slot, and when it may change, is window.h's. Nothing here
 * believes what a client could have written; what the daemon needs to know
 * about its own segment it keeps in struct segment.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "attach.h"
#include "layout.h"

/* What a segment is made from, or must match to be taken over. */
struct segment_setup {
        const char *shm;
        const char *socket;
        const uint8_t *instance_id; /* 16 bytes, the store's */
        uint64_t segment_id;        /* of the one made; or the store's last, a later one is fine */
        uint32_t max_sequences;
        mode_t mode;
        gid_t group; /* (gid_t)-1: leave it */
};

struct segment {
        struct mapping map; /* both regions mapped for writing; the fd holds the daemon's lock */
        bool linked;        /* it has its name */
        struct segment_header *header;
        struct window *windows;
        uint64_t id;    /* as in the header */
        bool published; /* complete: the header's magic is written */
        uint32_t slots_used;
        uint64_t entries_used; /* bytes */
        uint64_t allocated[3]; /* bytes backed by pages: entries, windows, cells */
        char shm[SEGMENT_NAME_MAX + 1];
};

/* What a new slot starts with: constants, and one index at which it begins. */
struct slot_setup {
        const char *name;
        uint64_t id, generation;
        struct sequence_params params;
        int64_t origin;
        uint64_t position; /* floor, ceiling and next: nothing reserved yet */
};

/*
 * Make a new segment, which has no name yet: nobody can meet it half made, and
 * nothing is left of it should we die. 0, or a negative errno and a sentence
 * in *message.
 */
int segment_create(struct segment **ret, const struct segment_setup *setup, char **message);

/*
 * It is whole, and served from now on: give it its name (one taken over has it
 * already). 0, or a negative errno and a sentence:
 *   -EEXIST  there is an object of that name
 */
int segment_publish(struct segment *segment, char **message);

/*
 * Take over the segment that a daemon before us left. 0 when it is ours and
 * whole; or
 *   -ENXIO     there is none (or one left half made, now removed)
 *   -ESTALE    there was one that cannot be used (other version or ABI, another
 *              boot's, not the last one in use, damaged): its name was removed; *message says why
 *   -EBUSY     a living daemon looks after it; *message says which process
 *   -EPERM     somebody else's object
 *   -EEXIST    no segment at all, if we are root (else our own object is taken
 *              for a damaged one); or another state directory's
 *   or the errno of a system call; *message says what to do.
 */
int segment_take_over(struct segment **ret, const struct segment_setup *setup, char **message);

/*
 * The same for one whose name is gone, through a descriptor that was kept. Takes
 * `fd` over, on failure too. It serves until its sequences have moved to another.
 */
int segment_take_back(struct segment **ret, const struct segment_setup *setup, int fd,
                      char **message);

/* Set group and mode as in `setup`; 0 or a negative errno and a sentence. */
int segment_permit(struct segment *segment, const struct segment_setup *setup, char **message);

/* Unmap and close, which ends our lock; the object stays. NULL is fine. */
struct segment *segment_free(struct segment *segment);

/* Does the segment's name still lead to it? */
bool segment_named(const struct segment *segment);

/* Is the object smaller than it was made, or are pages of it lost? */
bool segment_shrunk(const struct segment *segment);

/* Does the header say what we wrote? */
bool segment_whole(const struct segment *segment);

/*
 * Give the object its size again and map it anew. What was lost is zeros then, for
 * clients too: windows over it must be closed before. 0 or a negative errno.
 */
int segment_mend(struct segment *segment);

/*
 * Make a slot and publish it under its name, in front of any older entry of
 * that name. 0 and its number in *ret; -ENOSPC when slots or entries are used
 * up (the segment must be replaced); -ENOMEM when the memory for it is not to
 * be had (tmpfs full).
 */
int segment_add(struct segment *segment, const struct slot_setup *setup, uint32_t *ret);

/* Take the entry that leads to `slot` out of the directory. */
void segment_remove(struct segment *segment, const char *name, uint32_t slot);

/* Say that the daemon has stopped cleanly and will be back. */
void segment_stop(struct segment *segment);

/* Retire the whole segment: its clients attach anew by name. */
void segment_retire(struct segment *segment);

void segment_heartbeat(struct segment *segment);
