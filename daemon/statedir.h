/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The state directory: ours alone while we live.
 *
 * Whoever can write there can make numbers repeat, so it must belong to the
 * service's user (or root) and be writable by nobody else. Two daemons on one
 * state directory would do so too, so it is locked.
 */

#include <stdbool.h>
#include <sys/stat.h>

/*
 * Make the directory if it is missing (its parent must exist), check it, and
 * lock it. 0 and an fd that holds the lock in *ret, or a negative errno and a
 * sentence in *message; -EBUSY names the process that has it, -ENOTDIR: there
 * cannot be such a directory.
 */
int statedir_lock(int *ret, const char *directory, char **message);

/*
 * Is `path` a regular file that only its owner, who is us or root, can write, and
 * so can we? 0; -ENOENT without a sentence; -EPERM, -EACCES and others with one.
 */
int statedir_check_file(const char *path, char **message);

/* -EACCES with a sentence if `path` is there, another's, and we may not write to it; else 0. */
int statedir_check_access(const char *path, char **message);

/* Of one and the same file? */
static inline bool statedir_same(const struct stat *a, const struct stat *b)
{
        return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Make what happened to the directory's entries durable. 0 or a negative errno. */
int statedir_sync(const char *directory);

/*
 * The same for the directory's own entry, in its parent: a directory just made may
 * be gone after a power cut, and what is in it. A parent that we may not read was
 * not written by us either: 0.
 */
int statedir_sync_parent(const char *directory);

/* Set *message to a sentence and return `error`. */
int fail_with(int error, char **message, const char *format, ...)
        __attribute__((format(printf, 3, 4)));
