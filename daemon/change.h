/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * One change to one sequence that is being served: from the wish to the commit,
 * and from there to the segment.
 *
 * What alters, restarts or drops a sequence closes its window first, so that it
 * is known where it ended and nothing is drawn behind the change's back; then
 * the store is told; then clients are. If the store refuses, the window is
 * opened again and nothing has changed. A new generation goes into a slot of
 * its own, so no handle can mistake it for the old.
 *
 * With refills paused. Several changes may share a commit (apply.c), each to
 * another sequence.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "service.h"

/* The most ops that one change needs. */
#define CHANGE_OPS_MAX 2

#define CHANGE_MESSAGE_SIZE 512

enum change_type {
        CHANGE_NONE,    /* it is like that already */
        CHANGE_CREATE,  /* a new sequence */
        CHANGE_ALTER,   /* other parameters, going on behind the last number */
        CHANGE_TUNE,    /* another params.reserve alone: nothing moves */
        CHANGE_RESTART, /* the same parameters, going on at `origin` */
        CHANGE_DROP,
};

struct change {
        enum change_type type;
        const char *name;              /* create: until it is shown */
        struct sequence *sequence;     /* all but create; NULL once dropped */
        struct sequence_params params; /* all but drop */
        int64_t origin;                /* the new generation's value of index 0 */
        uint64_t position;             /* where it begins */
        struct store_op *op;           /* the first of its ops, with its outcome */
        const uid_t *by;               /* who asked for it; NULL: the configuration */
};

/*
 * Alter `sequence` to checked parameters: fills *change in, which is
 * CHANGE_NONE, CHANGE_TUNE or CHANGE_ALTER, and closes the window for the last.
 * 0, or -EINVAL with a sentence, and nothing is closed.
 */
int change_alter(struct service *service, struct sequence *sequence,
                 const struct sequence_params *params, struct change *change, char *message);

/* Restart at `value`; drop. As above. */
int change_restart(struct service *service, struct sequence *sequence, int64_t value,
                   struct change *change, char *message);
int change_drop(struct service *service, struct sequence *sequence, struct change *change,
                char *message);

/* A new sequence of checked parameters; `name` must last until the change is shown. */
void change_create(const char *name, const struct sequence_params *params, struct change *change);

/* Say in the log that the store has a new sequence; of the other changes change_show() does. */
void change_say_created(const struct change *change);

/* Write the change's ops to `ops`; returns how many, at most CHANGE_OPS_MAX. */
size_t change_ops(struct change *change, struct store_op *ops);

/*
 * The store has it: show it to the clients. 0, or a negative errno when the
 * segment has no room, which service_replace_segment() mends.
 */
int change_show(struct service *service, struct change *change);

/* The store refused: open what was closed. */
void change_undo(struct service *service, const struct change *change);
