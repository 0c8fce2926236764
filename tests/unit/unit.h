/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What the tests of segments share: a segment of a name of its own, sequences
 * in it as the daemon places them, and a client attached to it, all in one
 * process. The daemon's functions are called by hand, so that a test decides
 * between which two steps a draw falls.
 *
 * No event loop, no store and no thread but those that a test starts itself.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "atomic.h"
#include "segment.h"
#include "seqnum.h"
#include "sequence.h"
#include "window.h"

#define UNIT_SEQUENCES 8

/* Long enough that only a test that hangs ever waits for so long. */
#define UNIT_PATIENCE_USEC UINT64_C(20000000)

static const uint8_t unit_instance[STORE_INSTANCE_ID_SIZE] = "unit test of it";

struct unit {
        char shm[64];
        struct segment *segment;
        struct registry registry;
        struct seqnum_client *client;
        uint64_t last_id;
};

/* A name that no other test and no other run of this one uses. */
static inline void unit_name(char *shm, size_t size)
{
        static unsigned count;

        (void)snprintf(shm, size, "/seqnumd-unit-%d-%u", (int)getpid(), count++);
}

static inline struct segment_setup unit_setup_of(const char *shm, uint32_t max_sequences)
{
        return (struct segment_setup){
                .shm = shm,
                .socket = "/nonexistent/seqnumd.sock",
                .instance_id = unit_instance,
                .max_sequences = max_sequences,
                .mode = 0660,
                .group = (gid_t)-1,
        };
}

static inline struct segment *unit_segment(const char *shm, uint32_t max_sequences)
{
        struct segment_setup setup = unit_setup_of(shm, max_sequences);
        struct segment *segment = NULL;
        char *message = NULL;
        int r = segment_create(&segment, &setup, &message);

        if (r >= 0)
                r = segment_publish(segment, &message);
        if (r < 0)
                fail_msg("segment: %s", message);
        return segment;
}

static inline int unit_setup(void **state)
{
        struct unit *unit = calloc(1, sizeof(*unit));

        *state = unit;
        if (!unit)
                return -1;
        unit_name(unit->shm, sizeof(unit->shm));
        unit->segment = unit_segment(unit->shm, UNIT_SEQUENCES);
        if (seqnum_attach(&unit->client, unit->shm, 0) < 0)
                return -1;
        return seqnum_set_timeout(unit->client, 0);
}

/* Runs also when the test failed. */
static inline int unit_teardown(void **state)
{
        struct unit *unit = *state;

        seqnum_detach(unit->client);
        segment_free(unit->segment);
        registry_clear(&unit->registry);
        (void)shm_unlink(unit->shm);
        free(unit);
        return 0;
}

#define unit_case(function) cmocka_unit_test_setup_teardown(function, unit_setup, unit_teardown)

/* Give a sequence a slot of the unit's segment that begins at `position`. */
static inline void unit_place(struct unit *unit, struct sequence *sequence, uint64_t position)
{
        const struct slot_setup setup = {
                .name = sequence->name,
                .id = sequence->id,
                .generation = sequence->generation,
                .params = sequence->params,
                .origin = sequence->map.origin,
                .position = position,
        };
        uint32_t slot;

        assert_int_equal(segment_add(unit->segment, &setup, &slot), 0);
        assert_int_equal(registry_move(&unit->registry, sequence, slot), 0);
        sequence->floor = sequence->ceiling = position;
        sequence->low = UINT64_MAX;
        sequence->frozen = false;
}

/* A new sequence, nothing of it reserved yet. */
static inline struct sequence *unit_sequence(struct unit *unit, const char *name,
                                             struct sequence_params params)
{
        const struct store_sequence stored = {
                .id = ++unit->last_id,
                .generation = 1,
                .name = name,
                .params = params,
                .origin = params.start,
                .exact = true,
        };
        struct sequence *sequence;

        assert_int_equal(registry_add(&unit->registry, &stored, &sequence), 0);
        unit_place(unit, sequence, 0);
        return sequence;
}

/* As when the store has just confirmed lo..hi. */
static inline bool unit_grant(struct unit *unit, struct sequence *sequence, uint64_t lo,
                              uint64_t hi)
{
        sequence->lo = lo;
        sequence->hi = hi;
        sequence->exact = false;
        return window_grant(unit->segment, sequence, lo, hi);
}

/* As when the store has just saved the position at which the window closed. */
static inline void unit_save(struct unit *unit, struct sequence *sequence)
{
        sequence->lo = sequence->hi = sequence->frozen_at;
        sequence->exact = true;
        window_grant_rest(unit->segment, sequence);
}

static inline struct window *unit_window(struct unit *unit, const struct sequence *sequence)
{
        return &unit->segment->windows[sequence->slot];
}

static inline struct cell *unit_cell(struct unit *unit, const struct sequence *sequence)
{
        return &unit->segment->map.cells[sequence->slot];
}

/* The next index, with the bit of a freeze. */
static inline uint64_t unit_next(struct unit *unit, const struct sequence *sequence)
{
        return cell_next(&unit_cell(unit, sequence)->next);
}

static inline struct seqnum *unit_open(struct unit *unit, const char *name)
{
        struct seqnum *seq = NULL;

        assert_int_equal(seqnum_open(&seq, unit->client, name), 0);
        return seq;
}

static inline void unit_expect(struct seqnum *seq, int64_t expected)
{
        int64_t value = INT64_MIN;

        assert_int_equal(seqnum_next(seq, &value), 0);
        assert_int_equal(value, expected);
}

static inline void unit_refused(struct seqnum *seq, int error)
{
        int64_t value = -4711;

        assert_int_equal(seqnum_next(seq, &value), error);
        assert_int_equal(value, -4711);
}

static inline uint64_t unit_usec(void)
{
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static inline void unit_nap(void)
{
        (void)nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
}

/* Until `condition`, which another thread brings about, or the test fails. */
#define unit_await(condition)                                                                      \
        do {                                                                                       \
                uint64_t end = unit_usec() + UNIT_PATIENCE_USEC;                                   \
                while (!(condition)) {                                                             \
                        assert_true(unit_usec() < end);                                            \
                        unit_nap();                                                                \
                }                                                                                  \
        } while (0)

/* The status of a child of fork(2), which must end by itself. */
static inline int unit_reap(pid_t child)
{
        int status = -1;

        assert_int_equal(waitpid(child, &status, 0), child);
        return status;
}
