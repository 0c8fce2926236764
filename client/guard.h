/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Mappings whose memory somebody may take away, and the handler of SIGBUS that stands
 * in for it: for clients that asked for it with SEQNUM_SIGBUS.
 *
 * Whoever may draw can truncate the object; the kernel then sends SIGBUS to whoever
 * touches what is gone (mmap(2)). The handler puts private zeros in the place of the
 * whole mapping and marks it retired, so that draws look for another segment: under
 * a ceiling of zero nothing is granted meanwhile.
 *
 * The handler belongs to the process. It is installed once, when first asked for, and
 * hands on to the one before whatever is not about a guarded mapping.
 */

#include <stdbool.h>
#include <stddef.h>

/* Install the handler, if it is not yet. 0 or a negative errno. */
int guard_install(void);

/* Guard the mapping of a segment, `size` bytes at `base`. -EMFILE: too many are. */
int guard_add(void *base, size_t size);

/* No longer; before it is unmapped. What was not guarded is ignored. */
void guard_remove(const void *base);
