/* SPDX-License-Identifier: MIT */
#include "draw.h"
#include <errno.h>
int time_draw(struct seqnum *seq, const struct view **view, uint64_t count, uint64_t *ret_index)
{
        (void)seq;
        (void)view;
        (void)count;
        (void)ret_index;
        return -EOPNOTSUPP;
}
