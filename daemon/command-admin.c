/* SPDX-License-Identifier: MIT */

/* Commands that change sequences; see command.h. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"

/* --- keys and values --------------------------------------------------------- */

/* The KEY VALUE pairs from argument 2 on, as strings. */
struct pairs {
        size_t n;
        const char *keys[RESP_ARGS_MAX / 2], *values[RESP_ARGS_MAX / 2];
        char *text;
};

static void pairs_clear(struct pairs *pairs)
{
        free(pairs->text);
}

static int pairs_read(struct pairs *pairs, const struct resp_request *request)
{
        size_t size = 1;
        char *to;

        for (size_t i = 2; i < request->n; i++)
                size += request->arguments[i].length + 1;
        to = pairs->text = malloc(size);
        if (!to)
                return -ENOMEM;
        for (size_t i = 2; i < request->n; i++) {
                (i % 2 == 0 ? pairs->keys : pairs->values)[(i - 2) / 2] = to;
                memcpy(to, request->arguments[i].data, request->arguments[i].length);
                to[request->arguments[i].length] = '\0';
                to += request->arguments[i].length + 1;
        }
        pairs->n = (request->n - 2) / 2;
        return 0;
}

/* False after having answered what is wrong. */
static bool read_params(struct session *session, const struct resp_request *request,
                        const struct sequence_params *base, struct sequence_params *ret)
{
        __attribute__((cleanup(pairs_clear))) struct pairs pairs = {0};
        char *message = NULL;
        int r;

        if (request->n % 2 != 0) {
                resp_error(&session->out, "ERR", "a key without a value: give KEY VALUE pairs");
                return false;
        }
        r = pairs_read(&pairs, request);
        if (r >= 0)
                r = config_sequence_parse(ret, base, session->service->config->reserve, pairs.keys,
                                          pairs.values, pairs.n, &message);
        if (r < 0)
                resp_error(&session->out, "ERR", "%s", message ? message : strerror(-r));
        free(message);
        return r >= 0;
}

/* --- creating: the answer comes when the store has it -------------------------- */

static void created(void *userdata, int error, const char *message)
{
        struct session *session = userdata;

        session->n_pending--;
        if (!session->closed) {
                if (error < 0)
                        resp_error(&session->out, command_code(error), "%s", message);
                else
                        resp_simple(&session->out, "OK");
                session->wake(session);
        }
        session->release(session);
}

static enum command_result pending(struct session *session, int r)
{
        if (r < 0) {
                resp_error(&session->out, "ERR", "out of memory");
                return COMMAND_DONE;
        }
        session->keep(session);
        session->n_pending++;
        return COMMAND_PENDING;
}

enum command_result command_create(struct session *session, const struct resp_request *request)
{
        struct sequence_params params;
        char name[NAME_BUFFER + 1];

        if (!read_params(session, request, NULL, &params))
                return COMMAND_DONE;
        return pending(session,
                       admin_create(session->service, command_text(request, 1, name, sizeof(name)),
                                    &params, session->user, created, session));
}

enum command_result command_open(struct session *session, const struct resp_request *request)
{
        char name[NAME_BUFFER + 1];

        return pending(session,
                       admin_open(session->service, command_text(request, 1, name, sizeof(name)),
                                  session->user, created, session));
}

/* --- changing -------------------------------------------------------------------- */

static enum command_result answer(struct session *session, int r, const char *message)
{
        if (r < 0)
                resp_error(&session->out, command_code(r), "%s", message);
        else
                resp_simple(&session->out, "OK");
        return COMMAND_DONE;
}

enum command_result command_alter(struct session *session, const struct resp_request *request)
{
        const struct sequence *sequence = command_sequence(session, request);
        char message[ADMIN_MESSAGE_SIZE] = "", name[NAME_BUFFER];
        struct sequence_params params;

        if (!sequence || !read_params(session, request, &sequence->params, &params))
                return COMMAND_DONE;
        (void)command_text(request, 1, name, sizeof(name));
        return answer(session, admin_alter(session->service, name, &params, session->user, message),
                      message);
}

enum command_result command_restart(struct session *session, const struct resp_request *request)
{
        char message[ADMIN_MESSAGE_SIZE] = "", name[NAME_BUFFER];
        int64_t value;

        if (request->n == 3 && !command_integer(session, request, 2, INT64_MIN, INT64_MAX, &value))
                return COMMAND_DONE;
        if (!command_sequence(session, request))
                return COMMAND_DONE;
        (void)command_text(request, 1, name, sizeof(name));
        return answer(session,
                      admin_restart(session->service, name, request->n == 3 ? &value : NULL,
                                    session->user, message),
                      message);
}

enum command_result command_drop(struct session *session, const struct resp_request *request)
{
        char message[ADMIN_MESSAGE_SIZE] = "", name[NAME_BUFFER];

        if (!command_sequence(session, request))
                return COMMAND_DONE;
        (void)command_text(request, 1, name, sizeof(name));
        return answer(session, admin_drop(session->service, name, session->user, message), message);
}
