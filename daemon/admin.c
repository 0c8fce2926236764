/* SPDX-License-Identifier: MIT */

/* Changing sequences while they are served; see admin.h. */

#define HASH_NONFATAL_OOM 1

#include "admin.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "change.h"
#include "log.h"

_Static_assert(ADMIN_MESSAGE_SIZE == CHANGE_MESSAGE_SIZE, "one sentence for both");

/* --- creating ------------------------------------------------------------ */

/* Somebody who wants to know what became of it. */
struct asker {
        struct asker *next;
        admin_done done;
        void *userdata;
};

/*
 * One creation on its way through the committer. What cannot be created goes
 * the same way, without ops, so that answers come in the order of the questions.
 */
struct creation {
        UT_hash_handle by_name; /* while it may come into being */
        struct commit_job job;
        struct service *service;
        struct change change;
        struct store_op ops[CHANGE_OPS_MAX];
        uid_t by;
        struct asker first, *last;
        bool settled; /* there is nothing to store: `outcome` is the answer */
        int outcome;
        char message[ADMIN_MESSAGE_SIZE];
        char name[];
};

static struct creation *creation_find(const struct service *service, const char *name)
{
        struct creation *creation;

        HASH_FIND(by_name, service->creations, name, strlen(name), creation);
        return creation;
}

bool admin_creating(const struct service *service, const char *name)
{
        return creation_find(service, name) != NULL;
}

static int creation_new(struct creation **ret, struct service *service, const char *name, uid_t by,
                        admin_done done, void *userdata)
{
        size_t length = strlen(name);
        struct creation *creation = calloc(1, sizeof(*creation) + length + 1);

        if (!creation)
                return -ENOMEM;
        memcpy(creation->name, name, length + 1);
        creation->service = service;
        creation->by = by;
        creation->first = (struct asker){.done = done, .userdata = userdata};
        creation->last = &creation->first;
        *ret = creation;
        return 0;
}

static void creation_free(struct creation *creation)
{
        struct asker *next;

        for (struct asker *asker = creation->first.next; asker; asker = next) {
                next = asker->next;
                free(asker);
        }
        free(creation);
}

static int creation_join(struct creation *creation, admin_done done, void *userdata)
{
        struct asker *asker = calloc(1, sizeof(*asker));

        if (!asker)
                return -ENOMEM;
        *asker = (struct asker){.done = done, .userdata = userdata};
        creation->last->next = asker;
        creation->last = asker;
        return 0;
}

/* It goes no further, and its asker learns why in its turn. */
static void creation_refuse(struct creation *creation, int error, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

static void creation_refuse(struct creation *creation, int error, const char *format, ...)
{
        va_list args;

        va_start(args, format);
        (void)vsnprintf(creation->message, sizeof(creation->message), format, args);
        va_end(args);
        creation->settled = true;
        creation->outcome = error;
}

static void creation_show(struct creation *creation)
{
        struct service *service = creation->service;

        change_say_created(&creation->change);
        if (change_show(service, &creation->change) < 0)
                (void)service_replace_segment(service, "it ran out of room");
}

static void creation_done(struct commit_job *job, int error)
{
        struct creation *creation = job->userdata;
        struct service *service = creation->service;
        const char *message = creation->message;
        bool to_show = !creation->settled && error >= 0;

        if (creation->settled) {
                error = creation->outcome;
        } else {
                /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): it loses track in uthash */
                HASH_DELETE(by_name, service->creations, creation);
                service->n_creations--;
                if (error < 0)
                        message = job->message;
        }
        /* First, since showing it may tell others that come behind; answers leave later. */
        for (struct asker *asker = &creation->first; asker; asker = asker->next)
                asker->done(asker->userdata, error, error < 0 ? message : "");
        if (to_show)
                creation_show(creation);
        creation_free(creation);
}

static void creation_submit(struct creation *creation)
{
        struct service *service = creation->service;

        if (!creation->settled) {
                HASH_ADD_KEYPTR(by_name, service->creations, creation->name, strlen(creation->name),
                                creation);
                if (!creation->by_name.tbl) /* how uthash says that memory ran out */
                        creation_refuse(creation, -ENOMEM, "out of memory");
                else
                        service->n_creations++;
        }
        if (!creation->settled)
                creation->job.n_ops = change_ops(&creation->change, creation->ops);
        creation->job.ops = creation->ops;
        creation->job.done = creation_done;
        creation->job.userdata = creation;
        committer_submit(service->committer, &creation->job);
}

/* Can it be created? Says in the creation why not. */
static void creation_check(struct creation *creation, const struct sequence_params *params)
{
        struct service *service = creation->service;
        uint64_t n = (uint64_t)service->registry.n_sequences + service->n_creations;
        char buffer[256];
        const char *fault;

        if (!sequence_name_valid(creation->name, strlen(creation->name))) {
                creation_refuse(creation, -EINVAL,
                                "'%.64s' is no name of a sequence; use 1 to %d of A-Z a-z 0-9 . _ "
                                ": / -",
                                creation->name, SEQUENCE_NAME_MAX);
                return;
        }
        fault = sequence_params_check(params, buffer, sizeof(buffer));
        if (fault)
                creation_refuse(creation, -EINVAL, "%s", fault);
        else if (registry_find(&service->registry, creation->name) ||
                 admin_creating(service, creation->name))
                creation_refuse(creation, -EEXIST, "sequence %s exists already", creation->name);
        else if (n >= service->config->max_sequences)
                creation_refuse(creation, -ENOSPC,
                                "there are %" PRIu64 " sequences, which is max_sequences; raise it "
                                "in the configuration and restart seqnumd",
                                n);
        else
                change_create(creation->name, params, &creation->change);
        creation->change.by = &creation->by;
}

int admin_create(struct service *service, const char *name, const struct sequence_params *params,
                 uid_t by, admin_done done, void *userdata)
{
        struct creation *creation;
        int r;

        r = creation_new(&creation, service, name, by, done, userdata);
        if (r < 0)
                return r;
        creation_check(creation, params);
        creation_submit(creation);
        return 0;
}

/* --- templates ----------------------------------------------------------- */

const struct sequence_params *admin_template(const struct service *service, const char *name)
{
        const struct config *config = service->config;
        const struct config_sequence *best = NULL;
        size_t best_length = 0, length;

        for (size_t i = 0; i < config->n_templates; i++) {
                length = strlen(config->templates[i].name);
                if (strncmp(name, config->templates[i].name, length) != 0 || !name[length])
                        continue; /* the prefix alone is not what the * stands for */
                if (best && length < best_length)
                        continue;
                best = &config->templates[i];
                best_length = length;
        }
        return best ? &best->params : NULL;
}

int admin_open(struct service *service, const char *name, uid_t by, admin_done done, void *userdata)
{
        const struct sequence_params *params = admin_template(service, name);
        struct creation *creation = creation_find(service, name);
        int r;

        if (creation)
                return creation_join(creation, done, userdata);
        if (!registry_find(&service->registry, name) && params)
                return admin_create(service, name, params, by, done, userdata);
        r = creation_new(&creation, service, name, by, done, userdata);
        if (r < 0)
                return r;
        creation->settled = true;
        if (!registry_find(&service->registry, name))
                creation_refuse(creation, -ENOENT, "no such sequence '%s'", name);
        creation_submit(creation);
        return 0;
}

/* --- changing what is there ---------------------------------------------- */

/* Commit what was planned, and show it. */
static int carry_out(struct service *service, struct change *change, const uid_t *by, char *message)
{
        struct store_op ops[CHANGE_OPS_MAX];
        size_t n = change_ops(change, ops);
        char reason[COMMIT_MESSAGE_SIZE];
        int r;

        if (n == 0)
                return 0;
        change->by = by;
        r = service_commit(service, ops, n, reason);
        if (r < 0) {
                (void)snprintf(message, ADMIN_MESSAGE_SIZE,
                               "it could not be stored, nothing was changed: %s", reason);
                change_undo(service, change);
                return r;
        }
        if (change_show(service, change) < 0)
                (void)service_replace_segment(service, "it ran out of room");
        return 0;
}

static int no_such(const char *name, char *message)
{
        (void)snprintf(message, ADMIN_MESSAGE_SIZE, "no such sequence '%s'", name);
        return -ENOENT;
}

int admin_alter(struct service *service, const char *name, const struct sequence_params *params,
                uid_t by, char message[static ADMIN_MESSAGE_SIZE])
{
        struct sequence *sequence;
        struct change change;
        int r;

        refill_pause(&service->refill); /* also finishes creations */
        sequence = registry_find(&service->registry, name);
        r = sequence ? change_alter(service, sequence, params, &change, message)
                     : no_such(name, message);
        if (r >= 0)
                r = carry_out(service, &change, &by, message);
        refill_resume(&service->refill);
        return r;
}

int admin_restart(struct service *service, const char *name, const int64_t *value, uid_t by,
                  char message[static ADMIN_MESSAGE_SIZE])
{
        struct sequence *sequence;
        struct change change;
        int r;

        refill_pause(&service->refill);
        sequence = registry_find(&service->registry, name);
        r = sequence ? change_restart(service, sequence, value ? *value : sequence->params.start,
                                      &change, message)
                     : no_such(name, message);
        if (r >= 0)
                r = carry_out(service, &change, &by, message);
        refill_resume(&service->refill);
        return r;
}

int admin_drop(struct service *service, const char *name, uid_t by,
               char message[static ADMIN_MESSAGE_SIZE])
{
        struct sequence *sequence;
        struct change change;
        int r;

        refill_pause(&service->refill);
        sequence = registry_find(&service->registry, name);
        r = sequence ? change_drop(service, sequence, &change, message) : no_such(name, message);
        if (r >= 0)
                r = carry_out(service, &change, &by, message);
        refill_resume(&service->refill);
        return r;
}
