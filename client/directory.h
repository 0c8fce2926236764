/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Reading the segment's directory: from a name to its slot, and all names.
 *
 * Lock-free against the daemon's changes: an entry is complete before a link
 * leads to it and is never moved or reused. Every offset is checked before it
 * is followed and every walk is bounded, so that a damaged directory is
 * -EBADMSG and neither a crash nor a loop.
 */

#include <stddef.h>
#include <stdint.h>

#include "attach.h"

/* The slot of `name`; -ENOENT, -EBADMSG. */
int directory_find(const struct mapping *mapping, const char *name, size_t length, uint32_t *ret);

/*
 * Call `each` for every entry ever made whose slot is not retired, in the
 * order they were made; stop at the first that returns non-zero and return
 * that. The name is not NUL-terminated. 0, or -EBADMSG.
 */
int directory_each(const struct mapping *mapping,
                   int (*each)(const struct mapping *mapping, const char *name, size_t length,
                               uint32_t slot, void *userdata),
                   void *userdata);
