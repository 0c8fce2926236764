/* SPDX-License-Identifier: MIT */

/*
 * Applying a configuration, at the start and at a reload.
 *
 * Compares the file with what is served and gathers all differences into one
 * commit: new sequences are created, changed ones altered, the rest is said in
 * the log. Only when the store has confirmed all of it does anything show in
 * the segment; when it refuses, nothing has changed.
 *
 * Altering a sequence freezes its window, so that it is known which value was
 * the last; the new generation goes on from there, in a slot of its own.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "atomic.h"
#include "log.h"
#include "service.h"
#include "window.h"

/* So many names of a kind are said one by one; then their number. */
#define NAMES_SAID 10

struct change {
        const struct config_sequence *wanted;
        struct sequence *sequence; /* altered or tuned; NULL: created */
        struct store_op *op;       /* in `ops`, of the kind that says what to do */
        uint64_t position;         /* altered: where the new generation begins */
};

struct changes {
        struct change *items;
        size_t n;
        struct store_op *ops;
        size_t n_ops;
};

/* --- comparing --------------------------------------------------------- */

/* `wanted` as it applies to a sequence that exists: with the start it had. */
static struct sequence_params params_for(const struct sequence *sequence,
                                         const struct config_sequence *wanted)
{
        struct sequence_params params = wanted->params;

        params.start = sequence->params.start;
        return params;
}

static bool reserve_alone_differs(const struct sequence_params *a, const struct sequence_params *b)
{
        struct sequence_params same = *b;

        same.reserve = a->reserve;
        return a->reserve != b->reserve && sequence_params_equal(a, &same);
}

static void say_start(const struct sequence *sequence, const struct config_sequence *wanted)
{
        if (wanted->given_start && wanted->params.start != sequence->params.start)
                log_about(LOG_NOTICE, sequence->name,
                          "start = %" PRId64 " is not applied again: the sequence exists, it "
                          "started at %" PRId64,
                          wanted->params.start, sequence->params.start);
}

/*
 * Close the window to learn the last value and find where the new generation
 * begins: with that value as its index 0, used up already, so that the next
 * one is a step of the new increment away. False when the new limits leave it
 * out; the window is then opened again.
 */
static bool plan_alter(struct service *service, struct change *change,
                       struct sequence_params *params, int64_t *origin)
{
        struct sequence *sequence = change->sequence;
        uint64_t end = window_freeze(service->segment, sequence);

        if (!window_next(service->segment, sequence, &end))
                end = sequence->ceiling; /* nobody can have claimed so far above it */
        *origin = end ? sequence_map_value(&sequence->map, end - 1) : sequence->origin;
        change->position = end ? 1 : 0;
        if (*origin >= params->min && *origin <= params->max) {
                if (params->start < params->min || params->start > params->max)
                        params->start = *origin;
                return true;
        }
        log_about(LOG_ERR, sequence->name,
                  "cannot be altered: it has come to %" PRId64 ", outside min = %" PRId64
                  " and max = %" PRId64 "; it stays as it is",
                  *origin, params->min, params->max);
        refill_want(&service->refill, sequence);
        return false;
}

static struct store_op *add_op(struct changes *changes, struct store_op op)
{
        changes->ops[changes->n_ops] = op;
        return &changes->ops[changes->n_ops++];
}

static void compare_existing(struct service *service, struct changes *changes,
                             struct sequence *sequence, const struct config_sequence *wanted)
{
        struct change *change = &changes->items[changes->n];
        struct sequence_params params = params_for(sequence, wanted);
        struct store_op op = {
                .id = sequence->id,
                .generation = sequence->generation,
        };

        say_start(sequence, wanted);
        if (sequence_params_equal(&params, &sequence->params))
                return;
        *change = (struct change){.wanted = wanted, .sequence = sequence};
        if (reserve_alone_differs(&params, &sequence->params)) {
                op.type = STORE_TUNE;
        } else {
                op.type = STORE_REPLACE;
                if (!registry_at(&service->registry, sequence->slot) ||
                    !plan_alter(service, change, &params, &op.origin))
                        return;
        }
        op.params = params;
        change->op = add_op(changes, op);
        if (op.type == STORE_REPLACE && change->position > 0)
                (void)add_op(changes, (struct store_op){
                                              .type = STORE_SAVE,
                                              .id = sequence->id,
                                              .generation = sequence->generation + 1,
                                              .position = change->position,
                                      });
        changes->n++;
}

static void compare(struct service *service, struct changes *changes, const struct config *config)
{
        for (size_t i = 0; i < config->n_sequences; i++) {
                const struct config_sequence *wanted = &config->sequences[i];
                struct sequence *sequence = registry_find(&service->registry, wanted->name);

                if (sequence) {
                        compare_existing(service, changes, sequence, wanted);
                        continue;
                }
                changes->items[changes->n++] = (struct change){
                        .wanted = wanted,
                        .op = add_op(changes,
                                     (struct store_op){
                                             .type = STORE_CREATE,
                                             .name = wanted->name,
                                             .params = wanted->params,
                                             .origin = wanted->params.start,
                                     }),
                };
        }
}

/* --- after the commit -------------------------------------------------- */

static int created(struct service *service, const struct change *change)
{
        const struct store_sequence stored = {
                .id = change->op->id,
                .generation = change->op->generation,
                .name = change->wanted->name,
                .params = change->op->params,
                .origin = change->op->origin,
                .exact = true,
        };
        struct sequence *sequence;
        int r;

        r = registry_add(&service->registry, &stored, &sequence);
        if (r >= 0)
                r = service_place(service, service->segment, sequence, 0);
        if (r >= 0)
                log_about(LOG_INFO, sequence->name, "created, from %" PRId64 " by %" PRId64,
                          sequence->params.start, sequence->params.increment);
        return r;
}

static int altered(struct service *service, const struct change *change)
{
        struct sequence *sequence = change->sequence;
        uint32_t slot = sequence->slot;
        uint64_t end;
        int r;

        /* The new generation begins behind the claims that wait: they are theirs now. */
        if (window_next(service->segment, sequence, &end))
                window_grant_rest(service->segment, sequence);
        sequence_redefine(sequence, &change->op->params, change->op->origin, change->op->generation,
                          change->position);
        registry_detach(&service->registry, sequence);
        r = service_place(service, service->segment, sequence, change->position);
        if (r < 0)
                return r;
        segment_remove(service->segment, sequence->name, slot);
        window_hand_over(service->segment, slot);
        log_about(LOG_NOTICE, sequence->name, "altered, going on after %" PRId64,
                  change->op->origin);
        return 0;
}

static int show(struct service *service, const struct changes *changes)
{
        int r = 0;

        for (size_t i = 0; i < changes->n; i++) {
                const struct change *change = &changes->items[i];
                int s = 0;

                if (!change->sequence)
                        s = created(service, change);
                else if (change->op->type == STORE_REPLACE)
                        s = altered(service, change);
                else
                        change->sequence->params.reserve = change->op->params.reserve;
                if (s < 0)
                        r = s;
        }
        publish_u32(&service->segment->header->n_sequences, service->registry.n_sequences);
        return r;
}

/* The commit failed: what was frozen to be altered is opened again. */
static void undo(struct service *service, const struct changes *changes)
{
        for (size_t i = 0; i < changes->n; i++)
                if (changes->items[i].op->type == STORE_REPLACE)
                        refill_want(&service->refill, changes->items[i].sequence);
}

static int commit(struct service *service, const struct changes *changes)
{
        char message[COMMIT_MESSAGE_SIZE];
        int r;

        r = service_commit(service, changes->ops, changes->n_ops, message);
        if (r < 0) {
                log_error("cannot store the changes of the configuration: %s; nothing was changed",
                          message);
                undo(service, changes);
                return r;
        }
        r = show(service, changes);
        if (r < 0) /* out of slots, or of memory at the moment: a fresh segment has room */
                r = service_replace_segment(service, "the changes did not fit");
        return r;
}

/* --- the rest ---------------------------------------------------------- */

static int check_capacity(const struct service *service, const struct config *config)
{
        uint64_t n = service->registry.n_sequences;

        for (size_t i = 0; i < config->n_sequences; i++)
                n += registry_find(&service->registry, config->sequences[i].name) == NULL;
        if (n <= service->config->max_sequences)
                return 0;
        log_error("%s: with these sections there would be %" PRIu64 " sequences, but max_sequences "
                  "= %" PRIu32 "; raise it and restart",
                  config->path, n, service->config->max_sequences);
        return -ENOKEY;
}

static void say_fixed(const char *key, const char *now, const char *wanted)
{
        if (strcmp(now, wanted) != 0)
                log_warning("%s = %s takes a restart; it stays %s", key, wanted, now);
}

/* Give the segment the mode of `config` and this group. */
static int permit(struct service *service, const struct config *config, gid_t group)
{
        struct segment_setup setup = service_segment_setup(service);
        char *message = NULL;
        int r;

        setup.mode = config->mode;
        setup.group = group;
        r = segment_permit(service->segment, &setup, &message);
        if (r < 0)
                log_error("%s", message ? message : strerror(-r));
        free(message);
        return r;
}

/* The keys of [service] that can change while serving; the others are named. */
static void take_keys(struct service *service, const struct config *config, gid_t group)
{
        if (config == service->config)
                return;
        say_fixed("shm", service->config->shm, config->shm);
        say_fixed("state", service->config->state, config->state);
        say_fixed("socket", service->config->socket, config->socket);
        if (config->max_sequences != service->config->max_sequences)
                log_warning("max_sequences = %" PRIu32 " takes a restart; it stays %" PRIu32,
                            config->max_sequences, service->config->max_sequences);
        service->config->on_stop = config->on_stop;
        service->config->reserve = config->reserve;
        service->config->mode = config->mode;
        service->group = group;
}

/* A sequence gone from the file keeps its state and its service. */
static void say_unlisted(const struct service *service, const struct config *config)
{
        size_t n_unlisted = 0;

        for (size_t i = 0; i < config->n_sequences; i++) {
                struct sequence *sequence =
                        registry_find(&service->registry, config->sequences[i].name);

                if (sequence)
                        sequence->listed = true;
        }
        registry_each (&service->registry, sequence) {
                if (!sequence->listed && n_unlisted++ < NAMES_SAID)
                        log_about(LOG_NOTICE, sequence->name,
                                  "is not in %s; it keeps its state and its service", config->path);
                sequence->listed = false;
        }
        if (n_unlisted > NAMES_SAID)
                log_notice("so do %zu more", n_unlisted - NAMES_SAID);
}

static int apply_sequences(struct service *service, const struct config *config)
{
        struct changes changes = {
                .items = calloc(config->n_sequences + 1, sizeof(*changes.items)),
                .ops = calloc(2 * config->n_sequences + 1, sizeof(*changes.ops)),
        };
        int r = -ENOMEM;

        refill_pause(&service->refill);
        if (changes.items && changes.ops) {
                compare(service, &changes, config);
                r = commit(service, &changes);
        }
        free(changes.items);
        free(changes.ops);
        refill_resume(&service->refill);
        return r;
}

int service_apply(struct service *service, const struct config *config)
{
        gid_t group;
        int r;

        r = check_capacity(service, config);
        if (r >= 0)
                r = service_find_group(config, &group);
        if (r >= 0)
                r = permit(service, config, group);
        if (r < 0)
                return r;
        r = apply_sequences(service, config);
        if (r < 0) {
                (void)permit(service, service->config, service->group);
                return r;
        }
        take_keys(service, config, group);
        say_unlisted(service, config);
        return 0;
}
