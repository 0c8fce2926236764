/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What can be asked over the control socket: one table of commands, and the
 * functions behind it.
 *
 *   command.c        the table, dispatch, what Redis' clients ask for besides
 *   command-draw.c   numbers and transactions
 *   command-admin.c  create, open, alter, restart, drop
 *   command-info.c   looking, without taking
 *
 * A command sees its session and nothing of the connection: it writes its answer
 * to session->out, or says that it must be asked again, or that the answer will
 * come. Sessions belong to the loop's thread.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "admin.h"
#include "resp.h"
#include "serve.h"

/* Transactions that one connection may have open at a time, each on another sequence. */
#define SESSION_HOLDS_MAX 16

enum command_result {
        COMMAND_DONE,    /* the answer is written */
        COMMAND_AGAIN,   /* it must wait: run the same request again later */
        COMMAND_PENDING, /* the answer will be written by a callback, in the order of requests */
        COMMAND_CLOSE,   /* the answer is written, and the last one */
};

/* What a request that is run again has done so far. Zeroed for a new request. */
struct progress {
        bool impatient; /* time helps, also if no commit comes: try again soon */
        bool opening;   /* a template's sequence is being made */
        bool opened;    /* it is made, or open_error says why not */
        int open_error;
        struct seqnum_run run;            /* gapless: what is being committed */
        char message[ADMIN_MESSAGE_SIZE]; /* valid with `opened` */
};

/* For a new request. */
static inline void progress_clear(struct progress *progress)
{
        progress->impatient = progress->opening = progress->opened = false;
        progress->open_error = 0;
        progress->run = (struct seqnum_run){0};
}

struct session {
        struct service *service;
        struct resp_writer out;
        bool admin;
        uid_t user; /* for the log */
        uint64_t id;
        char name[64];            /* CLIENT SETNAME */
        struct serve_hold *holds; /* SESSION_HOLDS_MAX, NULL: never used */
        struct serve_hold draw;   /* of a draw on a gapless sequence */
        struct progress progress;
        size_t n_pending; /* answers to come */

        /* Called when an answer has come, or the request can go on. Must not run requests. */
        void (*wake)(struct session *session);
        /* A callback is due, so the session must outlive it; and is not any more. */
        void (*keep)(struct session *session);
        void (*release)(struct session *session);
        bool closed; /* nobody reads answers any more */
};

/*
 * Run a request of at least one argument. Nothing is answered before what is
 * pending: what could be answered at once must be run again when nothing is.
 */
enum command_result command_run(struct session *session, const struct resp_request *request);

/* May the request be begun while answers of the session's earlier ones are pending? */
bool command_overlaps(const struct resp_request *request);

/* Time is up for a request that had to wait: answers. */
void command_give_up(struct session *session, const struct resp_request *request);

/* The connection ends: roll back. */
void session_clear(struct session *session);

/* --- shared by the command's files ------------------------------------------- */

#define NAME_BUFFER (SEQUENCE_NAME_MAX + 1)

/* Argument `i` as a string; cut to fit, which only an invalid name needs. */
const char *command_text(const struct resp_request *request, size_t i, char *buffer, size_t size);

/* The word that begins an error answer, by which programs tell errors apart. */
const char *command_code(int error);

/* Argument `i` as a whole number. False after having answered that it is none. */
bool command_integer(struct session *session, const struct resp_request *request, size_t i,
                     int64_t low, int64_t high, int64_t *ret);

/*
 * The sequence that argument 1 names; NULL after having answered that there is
 * none.
 */
struct sequence *command_sequence(struct session *session, const struct resp_request *request);

bool command_is(const struct resp_argument *argument, const char *word);

typedef enum command_result (*command_function)(struct session *session,
                                                const struct resp_request *request);

enum command_result command_incr(struct session *, const struct resp_request *);
enum command_result command_incrby(struct session *, const struct resp_request *);
enum command_result command_next(struct session *, const struct resp_request *);
enum command_result command_begin(struct session *, const struct resp_request *);
enum command_result command_commit(struct session *, const struct resp_request *);
enum command_result command_rollback(struct session *, const struct resp_request *);

enum command_result command_create(struct session *, const struct resp_request *);
enum command_result command_open(struct session *, const struct resp_request *);
enum command_result command_alter(struct session *, const struct resp_request *);
enum command_result command_restart(struct session *, const struct resp_request *);
enum command_result command_drop(struct session *, const struct resp_request *);

enum command_result command_get(struct session *, const struct resp_request *);
enum command_result command_peek(struct session *, const struct resp_request *);
enum command_result command_exists(struct session *, const struct resp_request *);
enum command_result command_type(struct session *, const struct resp_request *);
enum command_result command_scan(struct session *, const struct resp_request *);
enum command_result command_dbsize(struct session *, const struct resp_request *);
enum command_result command_info(struct session *, const struct resp_request *);
enum command_result command_seq_info(struct session *, const struct resp_request *);
enum command_result command_explain(struct session *, const struct resp_request *);

/*
 * The sequence of argument 1, made by its template if need be. NULL with *result
 * set when the request must be run again, or is answered.
 */
struct sequence *command_sequence_or_open(struct session *session,
                                          const struct resp_request *request,
                                          enum command_result *result);
