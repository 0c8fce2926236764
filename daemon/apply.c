/* SPDX-License-Identifier: MIT */

/*
 * Applying a configuration, at the start and at a reload.
 *
 * Compares the file with what is served and gathers all differences into one
 * commit: new sequences are created, changed ones altered, the rest is said in
 * the log. Only when the store has confirmed all of it does anything show in
 * the segment; when it refuses, nothing has changed.
 *
 * A sequence gone from the file keeps its state and its service: to drop it
 * takes a word of its own.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "atomic.h"
#include "change.h"
#include "control.h"
#include "listen.h"
#include "log.h"
#include "service.h"

struct changes {
        struct change *items;
        size_t n, room;
        struct store_op *ops;
        size_t n_ops;
        int n_refused;
};

/* Most files ask for nothing new: room is made as changes are found. */
static int changes_add(struct changes *changes, const struct change *change)
{
        size_t room = changes->room ? 2 * changes->room : 64;
        struct change *items;

        if (changes->n == changes->room) {
                items = reallocarray(changes->items, room, sizeof(*items));
                if (!items)
                        return -ENOMEM;
                changes->items = items;
                changes->room = room;
        }
        changes->items[changes->n++] = *change;
        return 0;
}

static int changes_ops(struct changes *changes)
{
        changes->ops = calloc(CHANGE_OPS_MAX * changes->n + 1, sizeof(*changes->ops));
        if (!changes->ops)
                return -ENOMEM;
        for (size_t i = 0; i < changes->n; i++)
                changes->n_ops += change_ops(&changes->items[i], &changes->ops[changes->n_ops]);
        return 0;
}

static void changes_undo(struct service *service, const struct changes *changes)
{
        for (size_t i = 0; i < changes->n; i++)
                change_undo(service, &changes->items[i]);
}

/* --- comparing --------------------------------------------------------- */

/* `wanted` as it applies to a sequence that exists: with the start it had. */
static struct sequence_params params_for(const struct sequence *sequence,
                                         const struct config_sequence *wanted)
{
        struct sequence_params params = wanted->params;

        params.start = sequence->params.start;
        return params;
}

/* A restart without a number goes to the start that the store has, so the number is named. */
static void say_start(const struct service *service, const struct sequence *sequence,
                      const struct config_sequence *wanted)
{
        if (wanted->given_start && wanted->params.start != sequence->params.start)
                log_about(LOG_NOTICE, sequence->name,
                          "start = %" PRId64 " is not applied to a sequence that exists (its start "
                          "is %" PRId64 "); to go on there: `seqnum -s %s restart %s %" PRId64
                          "` (numbers from there on may repeat)",
                          wanted->params.start, sequence->params.start, service->config->shm,
                          sequence->name, wanted->params.start);
}

/* One that cannot be changed as asked (false) stays as it is; the others are changed. */
static bool compare_existing(struct service *service, struct change *change,
                             struct sequence *sequence, const struct config_sequence *wanted)
{
        struct sequence_params params = params_for(sequence, wanted);
        char message[CHANGE_MESSAGE_SIZE];

        say_start(service, sequence, wanted);
        if (change_alter(service, sequence, &params, change, message) >= 0)
                return true;
        log_about(LOG_ERR, sequence->name, "cannot be altered: %s", message);
        change->type = CHANGE_NONE;
        return false;
}

static int compare(struct service *service, struct changes *changes, const struct config *config)
{
        int r = 0;

        for (size_t i = 0; i < config->n_sequences && r >= 0; i++) {
                const struct config_sequence *wanted = &config->sequences[i];
                struct sequence *sequence = registry_find(&service->registry, wanted->name);
                struct change change;

                if (sequence)
                        changes->n_refused += !compare_existing(service, &change, sequence, wanted);
                else
                        change_create(wanted->name, &wanted->params, &change);
                if (change.type == CHANGE_NONE)
                        continue;
                r = changes_add(changes, &change);
                if (r < 0)
                        change_undo(service, &change);
        }
        return r < 0 ? r : changes_ops(changes);
}

/* --- the commit --------------------------------------------------------- */

/* So many new sequences are said one by one; then their number. */
#define NAMES_SAID 10

/* The store has it all, so from here on there is no way back. */
static void show(struct service *service, struct changes *changes)
{
        size_t n_created = 0;
        int r = 0, s;

        for (size_t i = 0; i < changes->n; i++) {
                if (changes->items[i].type == CHANGE_CREATE && n_created++ < NAMES_SAID)
                        change_say_created(&changes->items[i]);
                s = change_show(service, &changes->items[i]);
                if (s < 0)
                        r = s;
        }
        if (n_created > NAMES_SAID)
                log_info("created %zu more", n_created - NAMES_SAID);
        if (r < 0) /* out of slots, or of memory at the moment: a fresh segment has room */
                (void)service_replace_segment(service, "the changes did not fit");
}

static int commit(struct service *service, struct changes *changes)
{
        char message[COMMIT_MESSAGE_SIZE];
        int r;

        r = service_commit(service, changes->ops, changes->n_ops, message);
        if (r >= 0) {
                show(service, changes);
                return 0;
        }
        log_error("cannot store the changes of the configuration: %s; nothing was changed",
                  message);
        changes_undo(service, changes);
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

static void take_templates(struct service *service, struct config *config)
{
        struct config_sequence *templates = service->config->templates;
        size_t n_templates = service->config->n_templates;

        service->config->templates = config->templates;
        service->config->n_templates = config->n_templates;
        config->templates = templates;
        config->n_templates = n_templates;
        service_note_templates(service, service->segment);
}

static void take_group(struct service *service, struct config *config, gid_t group)
{
        char *name = service->config->group;

        service->config->group = config->group;
        config->group = name;
        service->group = group;
        control_permit(service->control, group);
}

/* The keys of [service] that can change while serving; the others are named. */
static void take_keys(struct service *service, struct config *config, gid_t group)
{
        if (config == service->config)
                return;
        say_fixed("shm", service->config->shm, config->shm);
        say_fixed("state", service->config->state, config->state);
        if (control_passed(service->control))
                listen_compare(config->socket, service->config->socket);
        else
                say_fixed("socket", service->config->socket, config->socket);
        if (config->max_sequences != service->config->max_sequences)
                log_warning("max_sequences = %" PRIu32 " takes a restart; it stays %" PRIu32,
                            config->max_sequences, service->config->max_sequences);
        service->config->on_stop = config->on_stop;
        service->config->reserve = config->reserve;
        service->config->mode = config->mode;
        service->config->max_clients = config->max_clients;
        take_group(service, config, group);
        take_templates(service, config);
}

/* They were made by a template or a command, or their section is gone from the file. */
static void say_unlisted(const struct service *service, const struct config *config)
{
        size_t n = service->registry.n_sequences;

        if (n > config->n_sequences)
                log_info("%zu sequences have no section in %s: they keep their state and their "
                         "service",
                         n - config->n_sequences, config->path);
}

static int apply_sequences(struct service *service, const struct config *config)
{
        struct changes changes = {0};
        int r;

        refill_pause(&service->refill); /* and no creation is on its way from here on */
        r = check_capacity(service, config);
        if (r >= 0)
                r = compare(service, &changes, config);
        if (r >= 0)
                r = commit(service, &changes);
        else
                changes_undo(service, &changes);
        free(changes.items);
        free(changes.ops);
        refill_resume(&service->refill);
        return r < 0 ? r : changes.n_refused;
}

int service_apply(struct service *service, struct config *config)
{
        gid_t group;
        int r;

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
        say_unlisted(service, config);
        config_forget_sequences(config);
        take_keys(service, config, group);
        /* A segment that was made because the changes did not fit has the rights of before. */
        (void)permit(service, config, group);
        return r;
}
