/* SPDX-License-Identifier: MIT */

/* Commands that draw, and transactions bound to the connection; see command.h. */

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"

/* --- names that a template lets come into being ------------------------------ */

static void opened(void *userdata, int error, const char *message)
{
        struct session *session = userdata;

        session->progress.opening = false;
        session->progress.opened = true;
        session->progress.open_error = error;
        (void)snprintf(session->progress.message, sizeof(session->progress.message), "%s", message);
        session->wake(session);
        session->release(session);
}

struct sequence *command_sequence_or_open(struct session *session,
                                          const struct resp_request *request,
                                          enum command_result *result)
{
        struct service *service = session->service;
        struct progress *progress = &session->progress;
        struct sequence *sequence;
        char name[NAME_BUFFER];

        *result = COMMAND_AGAIN;
        if (progress->opening)
                return NULL;
        *result = COMMAND_DONE;
        if (progress->opened && progress->open_error < 0) {
                resp_error(&session->out, command_code(progress->open_error), "%s",
                           progress->message);
                return NULL;
        }
        sequence = registry_find_bytes(&service->registry, request->arguments[1].data,
                                       request->arguments[1].length);
        if (sequence)
                return sequence;
        (void)command_text(request, 1, name, sizeof(name));
        if (progress->opened || !sequence_name_valid(name, request->arguments[1].length) ||
            !admin_template(service, name))
                return command_sequence(session, request);
        if (admin_open(service, name, session->user, opened, session) < 0) {
                resp_error(&session->out, "ERR", "out of memory");
                return NULL;
        }
        session->keep(session);
        progress->opening = true;
        *result = COMMAND_AGAIN;
        return NULL;
}

/* --- drawing -------------------------------------------------------------------- */

static const char cannot_be_told[] =
        "the sequence was moved more than once while a commit waited: whether the number was "
        "used up cannot be told; SEQ.PEEK shows where it is now";

/* What became of an attempt, but for success and "not yet", as an answer. */
static enum command_result refuse(struct session *session, const struct sequence *sequence, int r)
{
        switch (r) {
        case -EOVERFLOW:
                resp_error(&session->out, "ERR", "sequence '%s' has come to its end",
                           sequence->name);
                break;
        case -ERANGE:
                resp_error(&session->out, "ERR",
                           "sequence '%s' has not so many numbers in a round or millisecond",
                           sequence->name);
                break;
        case -EBUSY:
                resp_error(&session->out, "ERR",
                           "this connection is in a transaction on '%s' already", sequence->name);
                break;
        case -EOPNOTSUPP:
                resp_error(&session->out, "ERR", "sequence '%s' is of kind %s, not gapless",
                           sequence->name, sequence_kind_name(sequence->params.kind));
                break;
        case -ENOTRECOVERABLE:
                resp_error(&session->out, "ERR", "%s", cannot_be_told);
                break;
        default:
                resp_error(&session->out, "ERR", "sequence '%s': %s", sequence->name, strerror(-r));
                break;
        }
        return COMMAND_DONE;
}

static struct serve_hold *hold_of(struct session *session, const char *name)
{
        for (size_t i = 0; session->holds && i < SESSION_HOLDS_MAX; i++)
                if (session->holds[i].state != HOLD_NONE &&
                    strcmp(session->holds[i].name, name) == 0)
                        return &session->holds[i];
        return NULL;
}

/* Begin and commit; what was done stays done when the request is run again. */
static int draw_gapless(struct session *session, struct sequence *sequence, uint32_t count,
                        struct seqnum_run *ret)
{
        struct serve_hold *hold = &session->draw;
        int64_t number;
        int r = 0;

        if (hold_of(session, sequence->name))
                return -EBUSY;
        if (hold->state == HOLD_NONE) {
                session->progress.impatient = true;
                r = serve_begin(session->service, sequence, hold, &number);
        }
        if (r < 0)
                return r;
        if (session->progress.impatient) /* just begun; an alter may change the mapping */
                session->progress.run = (struct seqnum_run){
                        .first = number,
                        .increment = sequence->map.increment,
                        .count = count,
                };
        session->progress.impatient = false;
        *ret = session->progress.run;
        r = serve_commit(session->service, hold, count);
        if (r == -EOVERFLOW)
                (void)serve_rollback(session->service, hold);
        return r == -ESTALE ? -EAGAIN : r; /* it was altered meanwhile: begin anew */
}

/* 1: drawn; 0 with *result what to return. */
static int draw(struct session *session, const struct resp_request *request, uint32_t count,
                struct seqnum_run *ret, enum command_result *result)
{
        struct sequence *sequence = command_sequence_or_open(session, request, result);
        int r;

        if (!sequence)
                return 0;
        if (sequence->params.kind == SEQUENCE_GAPLESS) {
                r = draw_gapless(session, sequence, count, ret);
        } else {
                session->progress.impatient = sequence->params.kind == SEQUENCE_TIME;
                r = serve_draw(session->service, sequence, count, ret);
        }
        if (r >= 0)
                return 1;
        *result = r == -EAGAIN ? COMMAND_AGAIN : refuse(session, sequence, r);
        return 0;
}

enum command_result command_incr(struct session *session, const struct resp_request *request)
{
        enum command_result result;
        struct seqnum_run run;

        if (draw(session, request, 1, &run, &result) == 0)
                return result;
        resp_integer(&session->out, run.first);
        return COMMAND_DONE;
}

enum command_result command_incrby(struct session *session, const struct resp_request *request)
{
        enum command_result result;
        struct seqnum_run run;
        int64_t count;

        if (!command_integer(session, request, 2, 1, UINT32_MAX, &count))
                return COMMAND_DONE;
        if (draw(session, request, (uint32_t)count, &run, &result) == 0)
                return result;
        /* In uint64_t, where it is defined to wrap: the last is within int64_t again. */
        resp_integer(&session->out, (int64_t)((uint64_t)run.first +
                                              ((uint64_t)run.count - 1) * (uint64_t)run.increment));
        return COMMAND_DONE;
}

enum command_result command_next(struct session *session, const struct resp_request *request)
{
        enum command_result result;
        struct seqnum_run run;
        int64_t count = 1;

        if (request->n == 3 && !command_integer(session, request, 2, 1, UINT32_MAX, &count))
                return COMMAND_DONE;
        if (draw(session, request, (uint32_t)count, &run, &result) == 0)
                return result;
        if (request->n == 2) {
                resp_integer(&session->out, run.first);
                return COMMAND_DONE;
        }
        resp_array(&session->out, 3);
        resp_integer(&session->out, run.first);
        resp_integer(&session->out, run.increment);
        resp_integer(&session->out, run.count);
        return COMMAND_DONE;
}

/* --- transactions ------------------------------------------------------------------ */

/* A hold that is in no transaction; NULL after having answered that there is none left. */
static struct serve_hold *free_hold(struct session *session)
{
        if (!session->holds)
                session->holds = calloc(SESSION_HOLDS_MAX, sizeof(*session->holds));
        for (size_t i = 0; session->holds && i < SESSION_HOLDS_MAX; i++)
                if (session->holds[i].state == HOLD_NONE)
                        return &session->holds[i];
        resp_error(&session->out, "ERR",
                   "this connection has %d transactions open; commit or roll back first",
                   SESSION_HOLDS_MAX);
        return NULL;
}

enum command_result command_begin(struct session *session, const struct resp_request *request)
{
        enum command_result result;
        struct sequence *sequence = command_sequence_or_open(session, request, &result);
        struct serve_hold *hold;
        int64_t number;
        int r;

        if (!sequence)
                return result;
        if (hold_of(session, sequence->name))
                return refuse(session, sequence, -EBUSY);
        hold = free_hold(session);
        if (!hold)
                return COMMAND_DONE;
        session->progress.impatient = true;
        r = serve_begin(session->service, sequence, hold, &number);
        if (r == -EAGAIN)
                return COMMAND_AGAIN;
        if (r < 0)
                return refuse(session, sequence, r);
        resp_integer(&session->out, number);
        return COMMAND_DONE;
}

/* The hold of the sequence named; NULL after having answered that there is none. */
static struct serve_hold *held(struct session *session, const struct resp_request *request)
{
        char name[NAME_BUFFER];
        struct serve_hold *hold = hold_of(session, command_text(request, 1, name, sizeof(name)));

        if (!hold)
                resp_error(&session->out, "ERR",
                           "this connection is in no transaction on '%s'; SEQ.BEGIN begins one",
                           name);
        return hold;
}

enum command_result command_commit(struct session *session, const struct resp_request *request)
{
        struct serve_hold *hold = held(session, request);
        int r;

        if (!hold)
                return COMMAND_DONE;
        r = serve_commit(session->service, hold, 1);
        if (r == -EAGAIN)
                return COMMAND_AGAIN;
        if (r >= 0)
                resp_simple(&session->out, "OK");
        else if (r == -ESTALE)
                resp_error(&session->out, "STALE",
                           "the turn was lost, or the sequence was changed: not committed");
        else if (r == -ENOTRECOVERABLE)
                resp_error(&session->out, "ERR", "%s", cannot_be_told);
        else
                resp_error(&session->out, "ERR", "%s", strerror(-r));
        return COMMAND_DONE;
}

enum command_result command_rollback(struct session *session, const struct resp_request *request)
{
        struct serve_hold *hold = held(session, request);

        if (!hold)
                return COMMAND_DONE;
        if (serve_rollback(session->service, hold) < 0)
                resp_error(&session->out, "ERR", "it is being committed: too late");
        else
                resp_simple(&session->out, "OK");
        return COMMAND_DONE;
}
