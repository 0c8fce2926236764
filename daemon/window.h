/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Moving windows: the only code that writes a floor or a ceiling.
 *
 * Why no number is handed out twice, as far as the daemon is concerned:
 *
 *   - A ceiling is published only after the store confirmed it (the caller's
 *     duty: every function here that raises one takes a range it confirmed).
 *   - `next` is lowered only by a thaw, over claims that are void because the
 *     freeze's bit was in them.
 *   - A freeze notes where claims end before it ends them, by compare-and-swap, so
 *     that a daemon that comes after one that died in it need not guess: claims made
 *     since then have carried `next` on.
 *   - A freeze lowers the ceiling to where claims ended before the caller saves
 *     that index as the exact position, so that nothing above it is granted
 *     that a later daemon, which begins there, would grant again.
 *   - A gapless sequence reserves nothing: its ceiling follows what was committed
 *     and saved, and `next` moves by commits alone, by compare-and-swap, so that
 *     it is exact whatever dies.
 *   - A jump raises `next` and the floor before the ceiling, so that whoever
 *     sees the new ceiling sees the new floor, and no claim between the ranges
 *     is granted.
 *
 * Each function notes in struct sequence what it published, bumps the wake
 * word and wakes those who wait. tests/model is this file in Promela.
 */

#include <stdbool.h>
#include <stdint.h>

#include "segment.h"
#include "sequence.h"

/*
 * Open the window up to `hi` with a range lo..hi that the store confirmed:
 * extends, jumps or thaws, whichever the range and the window's state ask for.
 * True when the window is already drawn down past its new low mark.
 */
bool window_grant(struct segment *segment, struct sequence *sequence, uint64_t lo, uint64_t hi);

/*
 * Close the window; returns the index at which claims ended, which may lie
 * above the ceiling if draws were waiting. Idempotent.
 */
uint64_t window_freeze(struct segment *segment, struct sequence *sequence);

/*
 * The freeze's first steps, of a slot that nobody serves yet: note *seen as the index
 * at which claims end, then end them there. False: `next` has moved, or claims had
 * ended before; *seen is what it is now.
 */
bool window_try_close(struct segment *segment, uint32_t slot, uint64_t *seen);

/*
 * Take over an open window with the floor and ceiling found in it, or a closed
 * one at `position`, finishing the freeze if the last daemon did not.
 */
void window_adopt_open(struct segment *segment, struct sequence *sequence, uint64_t floor,
                       uint64_t ceiling);
void window_adopt_frozen(struct segment *segment, struct sequence *sequence, uint64_t floor,
                         uint64_t ceiling, uint64_t position);

/*
 * Of a gapless sequence: the store has saved `position`, so all commits below it
 * are confirmed. A frozen window, which must be saved where it was closed, is
 * open again.
 */
void window_confirm(struct segment *segment, struct sequence *sequence, uint64_t position);

/*
 * After the store saved the frozen index: grant the claims made before the
 * freeze that lay above the ceiling, so that a clean stop skips nothing.
 */
void window_grant_rest(struct segment *segment, struct sequence *sequence);

/* The same for a slot that an earlier daemon closed, and nobody serves: up to `end`. */
void window_grant_all(struct segment *segment, uint32_t slot, uint64_t end);

/*
 * The frozen slot is not used any more, another takes its place: send its
 * clients to look the name up again. Claims already granted stay good.
 */
void window_hand_over(struct segment *segment, uint32_t slot);

/* End the window for good: also claims not yet judged are void. */
void window_retire(struct segment *segment, uint32_t slot);

/* Wake everybody who waits at the window. */
void window_wake(struct segment *segment, uint32_t slot);

/*
 * The next index, brought between the floor and the sequence's end. False when the
 * cell cannot be believed: it is further above what is durable than claims can have
 * carried it, below what is surely drawn, or overwritten.
 */
bool window_next(const struct segment *segment, const struct sequence *sequence, uint64_t *ret);

/* Can `next`, just read from the sequence's cell, be believed? */
bool window_believes(const struct segment *segment, const struct sequence *sequence, uint64_t next);

/* Look at the next index, and learn from it what it cannot fall below: see `sure`. */
void window_learn(const struct segment *segment, struct sequence *sequence);

/*
 * Does the window say what we wrote into it, is its cell not overwritten, and was it
 * never closed without knowing where claims ended?
 */
bool window_intact(const struct segment *segment, const struct sequence *sequence);
