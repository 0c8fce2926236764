/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * A store's file replaced by a new one, as a whole and for good.
 *
 * Why: when a write or a sync has failed, the kernel gives up on what it could
 * not write, and not only on that. A later sync of the same file then says that
 * all is well, even if everything was written once more, and yet it is gone after
 * a power cut: ext4 writes such blocks again, but does not note any more that they
 * belong to the file. So a file that failed once is never believed again. What it
 * is known to hold is put into another file, which has other blocks.
 *
 * How, so that at every moment a start finds either the old store with its log or
 * the new one, which says the same:
 *
 *      NAME.new        is being written; means nothing; then synced
 *      NAME-renewed    from here on it is the truth, the old file is not
 *                      the log goes, which is the old file's
 *      NAME            it has taken the old file's place
 *
 * What has come to -renewed does not go back: who fails later finishes later,
 * be it at the next start.
 */

#include <stddef.h>

/* An empty NAME.new that was not there before: its descriptor, or a negative errno. */
int renewal_begin(int *ret, const char *path, char *file, size_t size);

/* It is whole: make it last. 0 or a negative errno: -EAGAIN if NAME.new is not `fd`'s any more. */
int renewal_settle(int fd, const char *path);

/*
 * Lock all others out of the file that is to go, as SQLite locks. While *ret is
 * open nobody can open it and take what follows for its log. -EBUSY: somebody
 * has it open. 0 and -1 in *ret: there is none any more.
 */
int renewal_lock_out(int *ret, const char *path);

/*
 * NAME.new, settled, becomes the truth: renewal_finish() is to follow. If somebody has
 * removed or replaced it meanwhile it is written again out of `fd`, which is all that
 * is left of it. 0 or a negative errno; it can be tried again.
 */
int renewal_decide(int fd, const char *path);

/* Put in place what became the truth; 0 also if nothing did. Or a negative errno. */
int renewal_finish(const char *directory, const char *path);
