/* SPDX-License-Identifier: MIT */

/*
 * Sequences that the segment has and the store does not, or has in an earlier
 * life: they were made, or altered, after the backup that somebody restored. The
 * store always has a change before the segment shows it, so there is no other
 * way to come by them; a sequence that the store dropped as the last daemon died
 * is told apart by its id, which the store remembers having given.
 *
 * All that the store lost is in the windows, which the daemon alone writes. So it
 * is put into the store again, with the position at which the window, closed for
 * good, was left; adoption then gives it a slot, and moves the clients there.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "adopt.h"
#include "atomic.h"
#include "directory.h"
#include "log.h"
#include "service.h"
#include "window.h"

/* So many are said one by one; then their number. */
#define NAMES_SAID 10

/* The ops of one sequence are DROP and CREATE, or REPLACE and SAVE. */
#define OPS_MAX 2

struct lost {
        char *name;
        uint32_t slot;
        struct sequence *altered; /* the store has it as it was before an alter; or NULL */
        struct sequence *former;  /* it has another one of that name; or NULL */
        struct sequence_params params;
        int64_t origin;
        uint64_t position;
        struct store_op *op; /* what makes it, with its outcome */
};

struct losses {
        struct service *service;
        struct lost *items;
        size_t n, room;
};

static void losses_clear(struct losses *losses)
{
        for (size_t i = 0; i < losses->n; i++)
                free(losses->items[i].name);
        free(losses->items);
}

static int losses_add(struct losses *losses, const struct lost *lost)
{
        size_t room = losses->room ? 2 * losses->room : 16;
        struct lost *items = losses->items;

        if (losses->n == losses->room) {
                items = reallocarray(items, room, sizeof(*items));
                if (!items)
                        return -ENOMEM;
                losses->items = items;
                losses->room = room;
        }
        items[losses->n++] = *lost;
        return 0;
}

/* --- finding them -------------------------------------------------------- */

/* Close the window, and tell where it ended. -EBADMSG: it holds what no daemon wrote. */
static int close_and_look(struct segment *segment, uint32_t slot, struct lost *lost)
{
        const struct window *window = &segment->windows[slot];
        struct cell *cell = &segment->map.cells[slot];
        struct sequence known = {
                .slot = slot,
                .id = window->id,
                .generation = window->generation,
                .params = adopt_params(window),
        };
        struct adopt_plan plan;
        struct adopt_view view;
        int64_t origin = window->origin; /* read once */
        char message[256];
        uint64_t next;

        if (sequence_params_check(&known.params, message, sizeof(message)) ||
            origin < known.params.min || origin > known.params.max)
                return -EBADMSG;
        known.map = sequence_map_make(&known.params, origin);
        next = cell_next(&cell->next);
        while (!(next & CELL_FROZEN) && !window_try_close(segment, slot, &next))
                ;
        view = adopt_look(window, cell, slot);
        plan = adopt_decide(&known, &view);
        if (plan.remark)
                return -EBADMSG;
        /* Claims that wait above the ceiling are not granted any more, but gapless commits count. */
        if (known.params.kind != SEQUENCE_GAPLESS && plan.position > plan.ceiling &&
            plan.action == ADOPT_FROZEN)
                plan.position = plan.ceiling;
        if (plan.action == ADOPT_FROZEN)
                window_adopt_frozen(segment, &known, plan.floor, plan.ceiling, plan.position);
        lost->params = known.params;
        lost->origin = origin;
        lost->position = plan.position;
        return 0;
}

static bool is_lost(const struct service *service, const struct window *window,
                    const struct sequence *sequence)
{
        if (sequence && window->id == sequence->id)
                return window->generation > sequence->generation;
        return window->id > service->store->last_id;
}

static int look(const struct mapping *map, const char *name, size_t length, uint32_t slot,
                void *userdata)
{
        struct losses *losses = userdata;
        const struct window *window = &map->windows[slot];
        struct lost lost = {.slot = slot};
        struct sequence *sequence;
        uint32_t leads_to;
        int r;

        if (directory_find(map, name, length, &leads_to) < 0 || leads_to != slot)
                return 0; /* an entry that was taken out, or is behind a newer one */
        if (!sequence_name_valid(name, length))
                return 0;
        lost.name = strndup(name, length);
        if (!lost.name)
                return -ENOMEM;
        sequence = registry_find(&losses->service->registry, lost.name);
        if (!is_lost(losses->service, window, sequence)) {
                free(lost.name);
                return 0;
        }
        if (sequence && sequence->id == window->id)
                lost.altered = sequence;
        else
                lost.former = sequence;
        r = close_and_look(losses->service->segment, slot, &lost);
        if (r >= 0)
                r = losses_add(losses, &lost);
        if (r == -EBADMSG)
                log_event(EVENT_STORE_BEHIND, LOG_CRIT, lost.name,
                          "the store does not know it as segment %s has it (restored from a "
                          "backup?), and its window is damaged: its numbers may come again",
                          losses->service->segment->shm);
        if (r < 0)
                free(lost.name);
        return r == -EBADMSG ? 0 : r;
}

/* --- storing them -------------------------------------------------------- */

static size_t lost_ops(struct lost *lost, struct store_op *ops)
{
        const struct store_op make = {
                .type = lost->altered ? STORE_REPLACE : STORE_CREATE,
                .id = lost->altered ? lost->altered->id : 0,
                .name = lost->name,
                .params = lost->params,
                .origin = lost->origin,
                .position = lost->position,
        };
        size_t n = 0;

        if (lost->former)
                ops[n++] = (struct store_op){.type = STORE_DROP, .id = lost->former->id};
        lost->op = &ops[n];
        ops[n++] = make;
        if (lost->altered)
                ops[n++] = (struct store_op){
                        .type = STORE_SAVE,
                        .id = lost->altered->id,
                        .generation = lost->altered->generation + 1,
                        .position = lost->position,
                };
        return n;
}

static void say(const struct service *service, const struct lost *lost)
{
        log_event(EVENT_STORE_BEHIND, LOG_CRIT, lost->name,
                  "the store does not know it%s (restored from a backup?), but segment %s does: it "
                  "is stored again, going on at index %" PRIu64,
                  lost->altered ? " as it was altered" : "", service->segment->shm, lost->position);
}

/* As the store has it now. */
static int take_in(struct service *service, struct lost *lost)
{
        const struct store_sequence stored = {
                .id = lost->op->id,
                .generation = lost->op->generation,
                .name = lost->name,
                .params = lost->params,
                .origin = lost->origin,
                .lo = lost->position,
                .hi = lost->position,
                .exact = true,
        };
        struct sequence *made;

        if (lost->altered) {
                sequence_redefine(lost->altered, &lost->params, lost->origin, lost->op->generation,
                                  lost->position);
                return 0;
        }
        if (lost->former)
                lost->former = registry_remove(&service->registry, lost->former);
        return registry_add(&service->registry, &stored, &made);
}

static int store_again(struct service *service, struct losses *losses)
{
        struct store_op *ops = calloc(OPS_MAX * losses->n, sizeof(*ops));
        char message[COMMIT_MESSAGE_SIZE];
        size_t n_ops = 0;
        int r;

        if (!ops)
                return -ENOMEM;
        for (size_t i = 0; i < losses->n; i++)
                n_ops += lost_ops(&losses->items[i], &ops[n_ops]);
        r = service_commit(service, ops, n_ops, message);
        if (r < 0)
                log_event(EVENT_STORE_UNUSABLE, LOG_ERR, NULL,
                          "cannot store what segment %s alone knows: %s", service->segment->shm,
                          message);
        for (size_t i = 0; i < losses->n && r >= 0; i++) {
                if (i < NAMES_SAID)
                        say(service, &losses->items[i]);
                window_retire(service->segment, losses->items[i].slot);
                r = take_in(service, &losses->items[i]);
        }
        if (r >= 0 && losses->n > NAMES_SAID)
                log_event(EVENT_STORE_BEHIND, LOG_CRIT, NULL,
                          "%zu more sequences that the store did not know are stored again",
                          losses->n - NAMES_SAID);
        free(ops);
        return r;
}

int service_recover(struct service *service)
{
        struct losses losses = {.service = service};
        int r;

        r = directory_each(&service->segment->map, look, &losses);
        if (r == -EBADMSG)
                r = 0; /* adoption will say so */
        if (r >= 0 && losses.n > 0)
                r = store_again(service, &losses);
        losses_clear(&losses);
        return r;
}
