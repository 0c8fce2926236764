/* SPDX-License-Identifier: MIT */

/*
 * The draw protocol, stepped through at random: clients that claim and judge, a
 * daemon that moves the window and may die between any two of its functions,
 * one that adopts what it left, reboots, and a store that jumps or fails. After
 * each step: no number was handed out twice, none that was not durable.
 *
 * The window's moves and adoption are the daemon's own; what decides on them
 * (service.c, refill.c, takeover.c, apply.c) is told here again in short, as is
 * the client's judgement, so that it can be cut between its two loads. All in
 * one thread and from fixed seeds: a failure comes back.
 *
 * tests/model does this exhaustively for a handful of steps, with every move cut
 * in all its pieces; here are many steps, on the code that is shipped, and only
 * some moves are cut short, by hand.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "adopt.h"
#include "atomic.h"
#include "window.h"

#define CLIENTS 6
#define SLOTS   256
#define VALUES  (UINT64_C(1) << 22)
#define SEEDS   50
#define STEPS   60000

/* A generation's values are base + index, so that they can be told apart. */
struct durable {
        uint64_t generation, base, lo, hi;
        bool exact;
};

enum phase { IDLE, CLAIMED, CEILING_READ };

struct drawer {
        enum phase phase;
        uint32_t slot;
        uint64_t index, count, ceiling;
};

struct counts {
        uint64_t granted, voided, deaths, adopted, fresh, frozen, jumps, alters, reboots, cut;
};

struct world {
        uint64_t seed;
        struct durable store;

        /* shared memory; slots are used up until a reboot */
        struct window windows[SLOTS];
        struct cell cells[SLOTS];
        uint64_t bases[SLOTS];
        uint32_t slot, slots_used; /* `slot`: where the name leads */

        /* the daemon's memory */
        bool alive;
        struct segment segment;
        struct sequence sequence;

        struct drawer drawers[CLIENTS];
        struct counts counts;
        uint8_t taken[VALUES];
};

static uint64_t roll(struct world *world, uint64_t n)
{
        world->seed ^= world->seed << 13;
        world->seed ^= world->seed >> 7;
        world->seed ^= world->seed << 17;
        return (world->seed >> 20) % n;
}

static void take(struct world *world, uint64_t value, uint64_t count)
{
        for (; count > 0; count--, value++) {
                assert_true(value < VALUES);
                assert_int_equal(world->taken[value], 0); /* else: handed out twice */
                world->taken[value] = 1;
        }
}

/* --- the store --------------------------------------------------------- */

static bool commit_fails(struct world *world)
{
        return roll(world, 12) == 0;
}

/* What a jump leaves out counts as taken: it may have been given elsewhere. */
static bool store_reserve(struct world *world, uint64_t count)
{
        struct durable *store = &world->store;

        if (commit_fails(world))
                return false;
        if (roll(world, 10) == 0) {
                uint64_t gap = 1 + roll(world, 30);

                take(world, store->base + store->hi, gap);
                store->lo = store->hi = store->hi + gap;
                world->counts.jumps++;
        }
        store->hi += count;
        store->exact = false;
        return true;
}

static bool store_save(struct world *world, uint64_t position)
{
        if (commit_fails(world))
                return false;
        assert_true(position >= world->store.lo);
        world->store.lo = world->store.hi = position;
        world->store.exact = true;
        return true;
}

/* --- the daemon -------------------------------------------------------- */

/* Does the daemon die here? */
static bool dies(struct world *world)
{
        if (roll(world, 12) != 0)
                return false;
        world->alive = false;
        world->counts.deaths++;
        return true;
}

static void place(struct world *world, uint64_t position)
{
        struct sequence *sequence = &world->sequence;
        uint32_t slot = world->slots_used++;

        world->windows[slot] = (struct window){
                .id = 1,
                .generation = sequence->generation,
                .floor = position,
                .ceiling = position,
                .low = UINT64_MAX,
                .state = WINDOW_OPEN,
        };
        world->cells[slot] = (struct cell){.next = position, .mark = cell_mark(slot)};
        world->bases[slot] = world->store.base;
        world->slot = sequence->slot = slot;
        sequence->floor = sequence->ceiling = position;
        sequence->low = UINT64_MAX;
        sequence->frozen = false;
        sequence->looked = sequence->sure = position;
        sequence->looked_room = 0;
}

/* The daemon's memory, as the store fills it. */
static void load(struct world *world)
{
        const struct sequence_params params = sequence_params_default();

        world->sequence = (struct sequence){.id = 1, .slot = UINT32_MAX};
        sequence_redefine(&world->sequence, &params, 1, world->store.generation, world->store.hi);
        world->sequence.lo = world->store.lo;
        world->sequence.exact = world->store.exact;
        world->alive = true;
}

static void grant(struct world *world)
{
        world->sequence.lo = world->store.lo;
        world->sequence.hi = world->store.hi;
        world->sequence.exact = false;
        (void)window_grant(&world->segment, &world->sequence, world->store.lo, world->store.hi);
}

/* A fresh slot, without knowing where the old one ended. */
static void distrust(struct world *world)
{
        window_retire(&world->segment, world->sequence.slot);
        if (!dies(world))
                place(world, sequence_durable(&world->sequence));
}

static void refill(struct world *world)
{
        struct sequence *sequence = &world->sequence;
        uint64_t next, end;

        /* Nobody scribbles here, so nothing that clients do may look as if. */
        assert_true(window_next(&world->segment, sequence, &next));
        window_learn(&world->segment, sequence);
        if (sequence->frozen && sequence->hi > next && !sequence->exact) {
                grant(world);
                return;
        }
        end = next + 1 + roll(world, 40);
        if (end <= sequence->hi && !sequence->frozen) {
                grant(world);
                return;
        }
        if (end <= sequence->hi)
                end = sequence->hi + 1;
        if (store_reserve(world, end - sequence->hi) && !dies(world))
                grant(world);
}

/*
 * A freeze, thaw or jump of which only the first steps were done: after them
 * the cell says one thing and the window still another.
 */
static void cut_short(struct world *world)
{
        struct sequence *sequence = &world->sequence;
        struct window *window = &world->windows[sequence->slot];
        _Atomic(uint64_t) *next = &world->cells[sequence->slot].next;
        uint64_t lo = world->store.lo;

        if (!sequence->frozen) {
                if (roll(world, 2) && store_reserve(world, 1 + roll(world, 9))) {
                        lo = world->store.lo;
                        if (lo > sequence->ceiling)
                                (void)cell_raise(next, lo);
                        if (lo > sequence->ceiling && roll(world, 2))
                                window_publish(&window->floor, lo);
                } else {
                        uint64_t seen = cell_next(next);

                        (void)window_try_close(&world->segment, sequence->slot, &seen);
                }
        } else if ((sequence->hi > sequence->frozen_at && !sequence->exact) ||
                   store_reserve(world, sequence->frozen_at + 9 - sequence->hi)) {
                lo = world->store.lo;
                cell_thaw(next, lo > sequence->frozen_at ? lo : sequence->frozen_at);
                if (lo > sequence->ceiling && roll(world, 2))
                        window_publish(&window->floor, lo);
        }
        world->alive = false;
        world->counts.cut++;
}

/* False: it died, or the position could not be saved. */
static bool freeze(struct world *world)
{
        struct sequence *sequence = &world->sequence;
        uint64_t position = window_freeze(&world->segment, sequence);

        world->counts.frozen++;
        if (dies(world))
                return false;
        if (sequence->exact && sequence->hi == position)
                return true;
        if (!window_next(&world->segment, sequence, &position) || position < sequence->lo ||
            !store_save(world, position) || dies(world))
                return false;
        sequence->lo = sequence->hi = position;
        sequence->exact = true;
        window_grant_rest(&world->segment, sequence);
        return true;
}

/* On to another slot at a known position, as when a segment is replaced. */
static void replace(struct world *world)
{
        uint32_t old = world->sequence.slot;

        (void)freeze(world);
        if (!world->alive || dies(world))
                return;
        place(world, sequence_durable(&world->sequence));
        if (!dies(world))
                window_hand_over(&world->segment, old);
}

/* A new generation, which goes on behind the last value of the old. */
static void alter(struct world *world)
{
        const struct sequence_params params = sequence_params_default();
        struct sequence *sequence = &world->sequence;
        uint32_t old = sequence->slot;
        uint64_t end, position;

        (void)window_freeze(&world->segment, sequence);
        end = sequence->ceiling;
        position = end ? 1 : 0;
        if (dies(world) || commit_fails(world))
                return;
        world->store = (struct durable){
                .generation = sequence->generation + 1,
                .base = end ? world->store.base + end - 1 : world->store.base,
                .lo = position,
                .hi = position,
                .exact = true,
        };
        world->counts.alters++;
        if (dies(world))
                return;
        sequence_redefine(sequence, &params, 1, world->store.generation, position);
        place(world, position);
        if (!dies(world))
                window_hand_over(&world->segment, old);
}

static void adopt(struct world *world)
{
        struct sequence *sequence = &world->sequence;
        struct adopt_plan plan;
        struct adopt_view view;

        load(world);
        view = adopt_look(&world->windows[world->slot], &world->cells[world->slot], world->slot);
        plan = adopt_decide(sequence, &view);
        assert_false(plan.store_behind);
        if (plan.action == ADOPT_FRESH) {
                world->counts.fresh++;
                window_retire(&world->segment, world->slot);
                if (dies(world))
                        return;
                place(world, plan.position);
        } else {
                sequence->slot = world->slot;
                if (plan.action == ADOPT_FROZEN)
                        window_adopt_frozen(&world->segment, sequence, plan.floor, plan.ceiling,
                                            plan.position);
                else
                        window_adopt_open(&world->segment, sequence, plan.floor, plan.ceiling);
                if (dies(world))
                        return;
                if (sequence->frozen && sequence->exact && sequence->hi == plan.position)
                        window_grant_rest(&world->segment, sequence);
                if (dies(world))
                        return;
                if (!sequence->exact && sequence->hi > sequence->ceiling)
                        grant(world);
                world->counts.adopted++;
        }
        for (uint32_t slot = 0; slot < world->slots_used; slot++) /* orphans */
                if (slot != world->slot && see_u32(&world->windows[slot].state) != WINDOW_RETIRED)
                        window_retire(&world->segment, slot);
}

/* All processes are gone, and so is the shared memory. */
static void reboot(struct world *world)
{
        world->counts.reboots++;
        memset(world->drawers, 0, sizeof(world->drawers));
        world->slots_used = 0;
        load(world);
        place(world, world->sequence.hi);
}

static void daemon_step(struct world *world)
{
        if (world->slots_used + 2 > SLOTS || roll(world, 150) == 0) {
                reboot(world);
                return;
        }
        if (!world->alive) {
                adopt(world);
                return;
        }
        switch (roll(world, 24)) {
        case 0:
                (void)freeze(world);
                break;
        case 1: /* a clean stop, perhaps for a reboot */
                (void)freeze(world);
                world->alive = false;
                if (roll(world, 2))
                        reboot(world);
                break;
        case 2:
                replace(world);
                break;
        case 3:
                alter(world);
                break;
        case 4:
                distrust(world);
                break;
        case 5:
                (void)dies(world);
                break;
        case 6:
                cut_short(world);
                break;
        default:
                refill(world);
        }
}

/* --- clients ----------------------------------------------------------- */

static void judge(struct world *world, struct drawer *drawer)
{
        struct window *window = &world->windows[drawer->slot];
        uint64_t value = world->bases[drawer->slot] + drawer->index;

        if ((drawer->index & CELL_FROZEN) || drawer->index < window_look(&window->floor)) {
                drawer->phase = IDLE;
                world->counts.voided++;
        } else if (drawer->index + drawer->count <= drawer->ceiling) {
                take(world, value, drawer->count);
                assert_true(value + drawer->count <= world->store.base + world->store.hi);
                drawer->phase = IDLE;
                world->counts.granted += drawer->count;
        } else {
                drawer->phase = CLAIMED; /* waits, looks again */
        }
}

/* Whoever waits may lose patience, or find that it waits in vain. */
static void give_up(struct world *world, struct drawer *drawer)
{
        if (see_u32(&world->windows[drawer->slot].state) == WINDOW_RETIRED) {
                drawer->ceiling = window_look(&world->windows[drawer->slot].ceiling);
                judge(world, drawer);
        } else if (roll(world, 6) == 0) {
                (void)cell_unclaim(&world->cells[drawer->slot].next, drawer->index, drawer->count);
        } else {
                return;
        }
        drawer->phase = IDLE;
}

static void client_step(struct world *world)
{
        struct drawer *drawer = &world->drawers[roll(world, CLIENTS)];

        switch (drawer->phase) {
        case IDLE:
                drawer->slot = world->slot;
                drawer->count = roll(world, 4) ? 1 : 1 + roll(world, 6);
                drawer->index = cell_claim(&world->cells[drawer->slot].next, drawer->count);
                drawer->phase = CLAIMED;
                break;
        case CLAIMED:
                drawer->ceiling = window_look(&world->windows[drawer->slot].ceiling);
                drawer->phase = CEILING_READ;
                break;
        case CEILING_READ:
                judge(world, drawer);
                if (drawer->phase == CLAIMED)
                        give_up(world, drawer);
                break;
        }
        if (roll(world, 500) == 0) /* killed; another begins in its place */
                drawer->phase = IDLE;
}

/* --- all together ------------------------------------------------------ */

static bool room_left(const struct world *world)
{
        return world->store.base + world->store.hi + 1000 < VALUES;
}

static struct counts run(struct world *world, uint64_t seed)
{
        *world = (struct world){.seed = seed, .store = {.generation = 1, .exact = true}};
        world->segment = (struct segment){
                .windows = world->windows,
                .map = {.windows = world->windows, .cells = world->cells},
        };
        load(world);
        place(world, 0);
        for (uint64_t step = 0; step < STEPS && room_left(world); step++) {
                if (roll(world, 16) == 0)
                        daemon_step(world);
                else
                        client_step(world);
        }
        return world->counts;
}

static int setup(void **state)
{
        *state = aligned_alloc(SEGMENT_LINE, sizeof(struct world));
        return *state ? 0 : -1;
}

static int teardown(void **state)
{
        free(*state);
        return 0;
}

static void test_protocol(void **state)
{
        for (uint64_t seed = 1; seed <= SEEDS; seed++) {
                struct counts counts = run(*state, seed * UINT64_C(0x9e3779b97f4a7c15));

                /* All that can happen did, many times. */
                assert_true(counts.granted > STEPS / 10 && counts.voided > 1000);
                assert_true(counts.deaths > 100 && counts.adopted > 100 && counts.fresh > 3);
                assert_true(counts.frozen > 100 && counts.jumps > 50);
                assert_true(counts.alters > 50 && counts.reboots > 20 && counts.cut > 20);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_protocol, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
