/* SPDX-License-Identifier: MIT */

/* One change to one sequence; see change.h. */

#include "change.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "atomic.h"
#include "log.h"
#include "window.h"

static int refuse(char *message, const char *format, ...) __attribute__((format(printf, 2, 3)));

static int refuse(char *message, const char *format, ...)
{
        va_list args;

        va_start(args, format);
        (void)vsnprintf(message, CHANGE_MESSAGE_SIZE, format, args);
        va_end(args);
        return -EINVAL;
}

/* --- planning ------------------------------------------------------------ */

static bool reserve_alone_differs(const struct sequence_params *a, const struct sequence_params *b)
{
        struct sequence_params same = *b;

        same.reserve = a->reserve;
        return sequence_params_equal(a, &same);
}

/* Close the window; the index at which the sequence ends. It may have no slot at the moment. */
static uint64_t close_window(struct service *service, struct sequence *sequence)
{
        uint64_t end;

        if (!registry_at(&service->registry, sequence->slot))
                return sequence_durable(sequence);
        end = window_freeze(service->segment, sequence);
        service_say_doubted(service, sequence);
        if (!window_next(service->segment, sequence, &end))
                end = sequence->ceiling; /* nobody can have claimed so far above it */
        return end;
}

/*
 * The new generation has the last value as its index 0, used up already, so that
 * the next one is a step of the new increment away. -EINVAL when the new limits
 * leave it out; the window is then opened again.
 */
static int plan_generation(struct service *service, struct change *change, char *message)
{
        struct sequence *sequence = change->sequence;
        struct sequence_params *params = &change->params;
        uint64_t end = close_window(service, sequence);

        change->origin = end ? sequence_map_value(&sequence->map, end - 1) : sequence->map.origin;
        change->position = end ? 1 : 0;
        if (change->origin >= params->min && change->origin <= params->max) {
                if (params->start < params->min || params->start > params->max)
                        params->start = change->origin;
                return 0;
        }
        refill_want(&service->refill, sequence);
        return refuse(message,
                      "it has come to %" PRId64 ", outside min = %" PRId64 " and max = %" PRId64
                      "; it stays as it is",
                      change->origin, params->min, params->max);
}

int change_alter(struct service *service, struct sequence *sequence,
                 const struct sequence_params *params, struct change *change, char *message)
{
        *change = (struct change){.sequence = sequence, .params = *params};
        if (sequence_params_equal(params, &sequence->params))
                return 0;
        if (params->kind != sequence->params.kind)
                return refuse(message,
                              "it is of kind %s and cannot become one of kind %s; drop it and "
                              "create it anew",
                              sequence_kind_name(sequence->params.kind),
                              sequence_kind_name(params->kind));
        if (reserve_alone_differs(params, &sequence->params)) {
                change->type = CHANGE_TUNE;
                return 0;
        }
        if (params->kind == SEQUENCE_TIME)
                return refuse(message,
                              "epoch, node, node_bits and serial_bits give its ids their order "
                              "and cannot be changed; drop it and create it anew");
        change->type = CHANGE_ALTER;
        return plan_generation(service, change, message);
}

int change_restart(struct service *service, struct sequence *sequence, int64_t value,
                   struct change *change, char *message)
{
        *change = (struct change){
                .type = CHANGE_RESTART,
                .sequence = sequence,
                .params = sequence->params,
                .origin = value,
        };
        if (sequence->params.kind == SEQUENCE_TIME)
                return refuse(message, "ids of kind time go with the time and cannot be restarted");
        if (value < sequence->params.min || value > sequence->params.max)
                return refuse(message,
                              "%" PRId64 " is outside min = %" PRId64 " and max = %" PRId64, value,
                              sequence->params.min, sequence->params.max);
        (void)close_window(service, sequence);
        return 0;
}

int change_drop(struct service *service, struct sequence *sequence, struct change *change,
                char *message)
{
        (void)message;
        *change = (struct change){.type = CHANGE_DROP, .sequence = sequence};
        (void)close_window(service, sequence);
        return 0;
}

void change_create(const char *name, const struct sequence_params *params, struct change *change)
{
        *change = (struct change){
                .type = CHANGE_CREATE,
                .name = name,
                .params = *params,
                .origin = params->start,
        };
}

/* --- the commit ---------------------------------------------------------- */

size_t change_ops(struct change *change, struct store_op *ops)
{
        static const enum store_op_type types[] = {
                [CHANGE_CREATE] = STORE_CREATE, [CHANGE_ALTER] = STORE_REPLACE,
                [CHANGE_TUNE] = STORE_TUNE,     [CHANGE_RESTART] = STORE_REPLACE,
                [CHANGE_DROP] = STORE_DROP,
        };
        const struct sequence *sequence = change->sequence;

        if (change->type == CHANGE_NONE)
                return 0;
        change->op = &ops[0];
        ops[0] = (struct store_op){
                .type = types[change->type],
                .id = sequence ? sequence->id : 0,
                .name = change->name,
                .params = change->params,
                .origin = change->origin,
                .position = change->position,
        };
        if (!sequence || ops[0].type != STORE_REPLACE || change->position == 0)
                return 1;
        ops[1] = (struct store_op){
                .type = STORE_SAVE,
                .id = sequence->id,
                .generation = sequence->generation + 1,
                .position = change->position,
        };
        return 2;
}

/* --- the log ------------------------------------------------------------- */

#define WHO_SIZE 32

/* " by user 0"; nothing of the configuration. */
static const char *who(const struct change *change, char text[static WHO_SIZE])
{
        text[0] = '\0';
        if (change->by)
                (void)snprintf(text, WHO_SIZE, " by user %u", (unsigned)*change->by);
        return text;
}

void change_say_created(const struct change *change)
{
        char text[WHO_SIZE];

        log_event_by(change->by, EVENT_SEQUENCE_MADE, LOG_INFO, change->name,
                     "created%s, %s from %" PRId64 " by %" PRId64, who(change, text),
                     sequence_kind_name(change->params.kind), change->params.start,
                     change->params.increment);
}

static void say_changed(const struct change *change)
{
        const char *name = change->sequence->name;
        char text[WHO_SIZE], reserve[32] = "auto";

        (void)who(change, text);
        if (change->params.reserve)
                (void)snprintf(reserve, sizeof(reserve), "%" PRIu64, change->params.reserve);
        if (change->type == CHANGE_TUNE)
                log_event_by(change->by, EVENT_SEQUENCE_CHANGED, LOG_NOTICE, name,
                             "altered%s, reserve = %s", text, reserve);
        else if (change->type == CHANGE_ALTER)
                log_event_by(change->by, EVENT_SEQUENCE_CHANGED, LOG_NOTICE, name,
                             "altered%s, going on %s %" PRId64, text,
                             change->position ? "after" : "at", change->origin);
        else
                log_event_by(change->by, EVENT_SEQUENCE_CHANGED, LOG_NOTICE, name,
                             "restarted at %" PRId64 "%s", change->origin, text);
}

/* --- after the commit ---------------------------------------------------- */

static int show_created(struct service *service, struct change *change)
{
        const struct store_sequence stored = {
                .id = change->op->id,
                .generation = change->op->generation,
                .name = change->name,
                .params = change->params,
                .origin = change->origin,
                .lo = change->position,
                .hi = change->position,
                .exact = true,
        };
        int r;

        r = registry_add(&service->registry, &stored, &change->sequence);
        if (r < 0) {
                log_about(LOG_CRIT, change->name,
                          "is stored, but there is no memory to serve it at the moment");
                service->unlisted = true;
                service_try_again(service);
                return 0; /* a fresh segment would not help */
        }
        return service_place(service, service->segment, change->sequence, change->position);
}

/*
 * The old generation's slot is left to the new one. Claims that wait in it: at an
 * alter the new generation begins behind them, so they are granted; at a restart
 * it may be anywhere, so they are void and drawn anew.
 */
static int show_generation(struct service *service, struct change *change)
{
        struct sequence *sequence = change->sequence;
        bool placed = registry_at(&service->registry, sequence->slot) == sequence;
        uint32_t slot = sequence->slot;
        uint64_t end;
        int r;

        if (placed && change->type == CHANGE_ALTER && window_next(service->segment, sequence, &end))
                window_grant_rest(service->segment, sequence);
        sequence_redefine(sequence, &change->params, change->origin, change->op->generation,
                          change->position);
        registry_detach(&service->registry, sequence);
        r = service_place(service, service->segment, sequence, change->position);
        if (r < 0 || !placed)
                return r;
        segment_remove(service->segment, sequence->name, slot);
        if (change->type == CHANGE_ALTER)
                window_hand_over(service->segment, slot);
        else
                window_retire(service->segment, slot);
        return 0;
}

static void show_dropped(struct service *service, struct change *change)
{
        struct sequence *sequence = change->sequence;
        uint32_t slot = sequence->slot;
        char text[WHO_SIZE];

        if (registry_at(&service->registry, slot) == sequence) {
                segment_remove(service->segment, sequence->name, slot);
                window_retire(service->segment, slot);
        }
        log_event_by(change->by, EVENT_SEQUENCE_DROPPED, LOG_NOTICE, sequence->name, "dropped%s",
                     who(change, text));
        refill_forget(&service->refill, sequence);
        change->sequence = registry_remove(&service->registry, sequence);
}

int change_show(struct service *service, struct change *change)
{
        int r = 0;

        switch (change->type) {
        case CHANGE_NONE:
                break;
        case CHANGE_CREATE:
                r = show_created(service, change);
                break;
        case CHANGE_TUNE:
                change->sequence->params.reserve = change->params.reserve;
                say_changed(change);
                break;
        case CHANGE_ALTER:
        case CHANGE_RESTART:
                r = show_generation(service, change);
                say_changed(change);
                break;
        case CHANGE_DROP:
                show_dropped(service, change);
                break;
        }
        publish_u32(&service->segment->header->n_sequences, service->registry.n_sequences);
        return r;
}

void change_undo(struct service *service, const struct change *change)
{
        if (change->sequence)
                refill_want(&service->refill, change->sequence);
}
