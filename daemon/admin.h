/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Changing sequences while they are served: create, alter, restart, drop; for
 * a reload and for the control socket alike.
 *
 * Creating is asynchronous, so that thousands share a commit; what changes a
 * sequence that is being drawn from closes its window, commits and waits for
 * it. The order on disk and in the segment is always: the store confirms, then
 * clients see it. All functions belong to the loop's thread.
 */

#include <stdbool.h>
#include <stdint.h>

#include "service.h"

#define ADMIN_MESSAGE_SIZE 512

/*
 * What became of a creation: 0, -EEXIST, -ENOENT, -ENOSPC (max_sequences is
 * reached), -ENOMEM, or the store's; with a sentence for whoever asked.
 */
typedef void (*admin_done)(void *userdata, int error, const char *message);

/*
 * Create a sequence of checked parameters, for the user `by`. done() is called once
 * the store has it, or with what failed: always later, never from within, and in the
 * order of these calls. Clients can find it when the event loop runs again, which is
 * when an answer should leave. `name` and `params` are copied. -ENOMEM: done() will
 * not be called.
 *
 * done() may be called from within admin_alter() and the like, which first finish
 * what is under way: it must call nothing of this file.
 */
int admin_create(struct service *service, const char *name, const struct sequence_params *params,
                 uid_t by, admin_done done, void *userdata);

/*
 * Make sure that `name` is there, if need be by the template that it matches.
 * Whoever asks while it is being made shares the answer. As admin_create(), but
 * that an existing name is no error; -ENOENT: no template matches.
 */
int admin_open(struct service *service, const char *name, uid_t by, admin_done done,
               void *userdata);

/* Is a sequence of that name on its way into the store? */
bool admin_creating(const struct service *service, const char *name);

/*
 * The parameters for `name` by the template that fits best (the longest), NULL
 * when none does.
 */
const struct sequence_params *admin_template(const struct service *service, const char *name);

/*
 * Alter: new parameters, going on after the last number. Restart: `value` is the
 * next number. Drop: the name is gone. Each returns when the store has it and
 * every client will see it at its next draw; or a negative errno with a sentence
 * in `message`, with nothing changed:
 *   -ENOENT   no such sequence
 *   -EINVAL   it cannot be changed so; the sentence says why
 *   or the store's
 */
int admin_alter(struct service *service, const char *name, const struct sequence_params *params,
                uid_t by, char message[static ADMIN_MESSAGE_SIZE]);
int admin_restart(struct service *service, const char *name, const int64_t *value, uid_t by,
                  char message[static ADMIN_MESSAGE_SIZE]); /* value NULL: its start */
int admin_drop(struct service *service, const char *name, uid_t by,
               char message[static ADMIN_MESSAGE_SIZE]);
