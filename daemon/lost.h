/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Memory that is taken away: SIGBUS.
 *
 * Whoever may draw may also truncate the segment's object, or punch a hole where
 * a full tmpfs then has no page to put. To touch such a page raises SIGBUS, which
 * would end the daemon. (The object cannot be sealed against it: a tmpfs seals
 * only what memfd_create(2) made, and that cannot be given a name.)
 *
 * So there is a handler: it puts a page of zeros where one is missing, private to
 * us, and notes that the region has lost something. What was being done goes on
 * with zeros, which all who read the segment have to survive anyway; then the loop
 * is told, by a descriptor, and has the segment replaced (inspect.c). A SIGBUS
 * anywhere else is what it was before: the end.
 */

#include <stdbool.h>
#include <stddef.h>

/* Install the handler, once. An eventfd, readable after a loss; or a negative errno. */
int lost_watch(void);

/* Memory at `base` is the file of `fd`, whole pages of it. False: no room to note it. */
bool lost_register(void *base, size_t size, int fd);
void lost_unregister(const void *base);

/* Has the region lost something since it was registered, or forgiven? */
bool lost_happened(const void *base);
void lost_forgive(const void *base);
