/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Adoption: what a new daemon makes of a window that an old one left.
 *
 * The old one may have died between any two steps of an extend, a jump, a
 * freeze or a thaw, and any client may have scribbled on the cell. The decision
 * is a pure function of what the store and the window say, so that every case
 * can be tested without a daemon.
 */

#include <stdbool.h>
#include <stdint.h>

#include "layout.h"
#include "sequence.h"

enum adopt_action {
        ADOPT_FRESH,  /* don't use the slot: a new one begins at `position` */
        ADOPT_KEEP,   /* it is open: floor, ceiling stand, then grant lo..hi if hi > ceiling */
        ADOPT_FROZEN, /* it is closed at `position`; claims go on there after a thaw */
};

struct adopt_plan {
        enum adopt_action action;
        uint64_t position;
        uint64_t floor, ceiling;
        bool store_behind;  /* the segment knows a higher position than the store */
        const char *remark; /* what was found, for the log; NULL: nothing odd */
};

/* A window and its cell, each word read once. */
struct adopt_view {
        uint64_t id, generation;
        uint64_t floor, ceiling, frozen, next;
        uint32_t state;
        bool overwritten; /* the cell's mark is gone */
};

struct adopt_view adopt_look(const struct window *window, const struct cell *cell, uint32_t slot);

struct adopt_plan adopt_decide(const struct sequence *sequence, const struct adopt_view *view);

/* What the window's constants say. Not checked. */
struct sequence_params adopt_params(const struct window *window);

/*
 * The window is of the sequence's last generation: was that ended by an alter, so that
 * the present one begins right behind the index at which the window was closed? Then
 * nobody else will ever have what was claimed in it.
 */
bool adopt_continued(const struct sequence *sequence, const struct window *window,
                     const struct adopt_view *view);
