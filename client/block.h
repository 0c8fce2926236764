/* SPDX-License-Identifier: MIT */
#pragma once

/* Blocks, as handles see them; see block.c. */

#include "seqnum.h"

/*
 * Give back what is left, where it can be; take the block off its handle, free it.
 * With the client's lock held, or when nobody else can use the handle any more.
 */
void block_free(struct seqnum_block *block);
