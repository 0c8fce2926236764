/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The turn of a gapless sequence: who may use up its next number.
 *
 * One at a time has the turn, on the whole host, between begin and commit or
 * rollback. A cell has two words for it:
 *
 *   owner  the truth: the id of whoever has the turn, 0 when it is free. It
 *          changes by compare-and-swap alone, so that of two who want it one
 *          gets it.
 *   turn   a semaphore, the queue: whoever waits sleeps on it, whoever gives
 *          the turn up posts it. A token entitles to nothing but a look, so
 *          none that is lost or posted once too often does harm: those who
 *          wait look by themselves every TURN_SLICE_USEC.
 *
 * An id is a random number that says nothing about its owner but one thing:
 * the kernel holds a lock on the segment's byte of that number for as long as
 * the owner's file description is open (layout.h, SEGMENT_LOCK_OWNERS), that
 * is until its process has ended, in whatever PID namespace. Who finds the turn
 * with an owner whose byte is not locked takes it over. Nothing is to be
 * repaired then: a commit is one step (cell_advance()). For the same reason it
 * is not a catastrophe when a living owner is overthrown, as a hold_limit
 * does: its commit fails, and no number is committed twice.
 *
 * These functions know cells, ids and file descriptors alone: the library uses
 * them for its handles, the daemon for the connections that it draws for.
 */

#include <stdbool.h>
#include <stdint.h>

#include "layout.h"

/*
 * The longest sleep of a waiter before it looks at the owner: how late a death
 * may be noticed.
 */
#define TURN_SLICE_USEC UINT64_C(20000)

/*
 * Open the segment's object once more, for ids to be taken with. The locks of
 * one description do not conflict with each other and are shared by all who
 * inherited it: whether an owner lives must be asked by another one (that of
 * the mapping, `segment_fd`), and a forked child must close its copy.
 * The file descriptor, close-on-exec; or a negative errno.
 */
int turn_open(int segment_fd);

/* Become somebody: a new id, alive until it is dropped or `turns_fd` closed. 0 or a negative errno. */
int turn_id_take(int turns_fd, uint64_t *ret);

/* Who has the turn by that id has it no longer than until the next waiter looks. */
void turn_id_drop(int turns_fd, uint64_t id);

/*
 * Does the owner live? Asked by a description that ids are not taken with. No
 * for what is no id; yes when the kernel does not answer.
 */
bool turn_owner_alive(int segment_fd, uint64_t owner);

/* Take the turn if it is free, and a token if there is one. */
bool turn_try(struct cell *cell, uint64_t id);

/* Take the turn from `seen`, the owner when last looked, 0: nobody. */
bool turn_take_over(struct cell *cell, uint64_t seen, uint64_t id);

/* Sleep until somebody gives the turn up, for at most `usec`. Takes no turn: look, and try. */
void turn_wait(struct cell *cell, uint64_t usec);

/* Give the turn up. False: it was taken over before. */
bool turn_release(struct cell *cell, uint64_t id);

/*
 * For how long the same owner has had the same turn, as far as the one who
 * waits has seen. Zeroed: nothing seen yet.
 */
struct turn_watch {
        uint64_t owner, turns, since;
};

/*
 * Look at the turn, at `now` (CLOCK_MONOTONIC, usec), and take it if it may be
 * taken: it is free, its owner is dead, or has had it for `hold_limit` seconds
 * under our eyes (0: no limit).
 */
bool turn_look(struct cell *cell, int segment_fd, uint32_t hold_limit, struct turn_watch *watch,
               uint64_t now, uint64_t id);
