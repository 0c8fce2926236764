/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * A disk that can lose its power, with an ext4 file system on it: for tests that
 * want to see what a power cut leaves of what a program wrote.
 *
 * It is a block device of the kernel's (loop), over a file of a file system of
 * our own (FUSE), served by a child process from memory. So every write and every
 * flush of the kernel passes through our hands, and nothing else does: what sits
 * in the page cache, in ext4 or in its journal that was not written out, we never
 * get. The disk has a volatile write cache, as disks have: what was written since
 * the last flush may be lost, wholly or in part, in any order, torn between any
 * two sectors. What a cut leaves is decided between two requests, at an instant.
 *
 * A cut goes like this. Armed, the disk falls silent at some request: the image
 * is made of what would be left, and from then on nothing is answered. Whoever
 * waits for the disk waits; so whatever anybody received from the service, also
 * some time after the cut, was confirmed by a disk that had it before the cut.
 * Then the disk either goes on as if nothing had been (and the image can be looked
 * at beside it), or it dies: every request fails, the processes are killed, and
 * it comes back with the image as all that it holds.
 *
 * Needs root, and a kernel with loop, FUSE and ext4; the mounts are in a mount
 * namespace of the test's, and go with it.
 */

#include "harness.h"

#define DISK_SIZE (UINT64_C(24) << 20)

struct disk;

/* Why there can be none here, or NULL. Makes the process' mount namespace its own. */
const char *disk_wanting(void);

/* With an empty file system. The server is a child of the instance, and dies with it. */
struct disk *disk_new(struct instance *instance);

/* Unmounts what is mounted and ends the server. Also with a test failed half-way. */
struct disk *disk_free(struct disk *disk);

/* A new, empty file system. Nothing may be mounted. */
void disk_format(struct disk *disk);

/* `options`: of ext4. Fails the test when the file system does not take it. */
void disk_mount(struct disk *disk, const char *where, const char *options);
void disk_unmount(struct disk *disk);

/* Be cut after so many more writes and flushes (0: right away, without any). */
void disk_arm(struct disk *disk, uint64_t requests);

/* Don't, after all. It may have been by then. */
void disk_disarm(struct disk *disk);

/* Has it been cut, and holds its breath? */
bool disk_is_cut(const struct disk *disk);

/* Wait for the cut; if none comes in that time, cut right away. */
void disk_await_cut(struct disk *disk, uint64_t usec);

/* Forget that there was a cut. */
void disk_go_on(struct disk *disk);

/* Fail whatever is asked for from now on. */
void disk_die(struct disk *disk);

/* The power is back: it holds the image, and nothing else. Nothing may be mounted. */
void disk_restore(struct disk *disk);

/* Mount what the last cut left, beside the disk; until the next cut at the latest. */
void disk_mount_image(struct disk *disk, const char *where);
void disk_unmount_image(struct disk *disk);

/*
 * After so many more writes and flushes, fail `count` of them with EIO. The kernel
 * then has given up on what it wanted to write, and will not try again.
 */
void disk_fail(struct disk *disk, uint64_t requests, uint32_t count);

struct disk_counters {
        uint64_t writes, flushes, failed;
        uint64_t cuts;         /* images made */
        uint64_t cuts_unclean; /* of them, with something unflushed to be lost */
        uint64_t sectors_lost; /* of what was written, in all cuts */
};

struct disk_counters disk_counters(const struct disk *disk);
