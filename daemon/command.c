/* SPDX-License-Identifier: MIT */

/* The table of commands, and what Redis' clients ask for besides; see command.h. */

#include "command.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "similar.h"

#define MANY RESP_ARGS_MAX

struct command {
        const char *name;
        size_t least, most; /* arguments, the name not counted */
        bool administers;
        command_function run;
        const char *arguments;
};

/* --- small commands -------------------------------------------------------- */

static enum command_result ok(struct session *session)
{
        resp_simple(&session->out, "OK");
        return COMMAND_DONE;
}

static enum command_result ping(struct session *session, const struct resp_request *request)
{
        if (request->n > 1)
                resp_bulk(&session->out, request->arguments[1].data, request->arguments[1].length);
        else
                resp_simple(&session->out, "PONG");
        return COMMAND_DONE;
}

static enum command_result quit(struct session *session, const struct resp_request *request)
{
        (void)request;
        (void)ok(session);
        return COMMAND_CLOSE;
}

/* There is one database, as there is one segment. */
static enum command_result select_database(struct session *session,
                                           const struct resp_request *request)
{
        int64_t database;

        if (!command_integer(session, request, 1, 0, 0, &database))
                return COMMAND_DONE;
        return ok(session);
}

static void put_hello(struct session *session)
{
        struct resp_writer *out = &session->out;

        resp_map(out, 7);
        resp_text(out, "server");
        resp_text(out, "seqnumd");
        resp_text(out, "version");
        resp_text(out, SEQNUM_VERSION);
        resp_text(out, "proto");
        resp_integer(out, out->protocol);
        resp_text(out, "id");
        resp_integer(out, (int64_t)session->id);
        resp_text(out, "mode");
        resp_text(out, "standalone");
        resp_text(out, "role");
        resp_text(out, "master");
        resp_text(out, "modules");
        resp_array(out, 0);
}

static enum command_result hello(struct session *session, const struct resp_request *request)
{
        int64_t protocol = session->out.protocol;

        for (size_t i = 2; i < request->n; i += 2) {
                if (!command_is(&request->arguments[i], "SETNAME") || i + 1 == request->n) {
                        resp_error(&session->out, "ERR",
                                   "HELLO takes a protocol and SETNAME; who you are is known");
                        return COMMAND_DONE;
                }
                (void)command_text(request, i + 1, session->name, sizeof(session->name));
        }
        if (request->n > 1 && !command_is(&request->arguments[1], "2") &&
            !command_is(&request->arguments[1], "3")) {
                resp_error(&session->out, "NOPROTO", "unsupported protocol version: use 2 or 3");
                return COMMAND_DONE;
        }
        if (request->n > 1)
                protocol = request->arguments[1].data[0] - '0';
        session->out.protocol = (unsigned)protocol;
        put_hello(session);
        return COMMAND_DONE;
}

static enum command_result client(struct session *session, const struct resp_request *request)
{
        const struct resp_argument *word = &request->arguments[1];

        if (command_is(word, "ID")) {
                resp_integer(&session->out, (int64_t)session->id);
                return COMMAND_DONE;
        }
        if (command_is(word, "GETNAME")) {
                if (*session->name)
                        resp_text(&session->out, session->name);
                else
                        resp_null(&session->out);
                return COMMAND_DONE;
        }
        if (command_is(word, "SETNAME") && request->n == 3) {
                (void)command_text(request, 2, session->name, sizeof(session->name));
                return ok(session);
        }
        if (command_is(word, "SETINFO") || command_is(word, "NO-EVICT") ||
            command_is(word, "NO-TOUCH"))
                return ok(session);
        resp_error(&session->out, "ERR", "CLIENT has ID, GETNAME, SETNAME and SETINFO here");
        return COMMAND_DONE;
}

/* redis-benchmark asks whether what it measures is durable: always, and nothing but that. */
static enum command_result config(struct session *session, const struct resp_request *request)
{
        static const char *const facts[][2] = {{"appendonly", "yes"}, {"save", ""}};

        if (command_is(&request->arguments[1], "GET")) {
                for (size_t i = 0; request->n == 3 && i < 2; i++)
                        if (command_is(&request->arguments[2], facts[i][0])) {
                                resp_map(&session->out, 1);
                                resp_text(&session->out, facts[i][0]);
                                resp_text(&session->out, facts[i][1]);
                                return COMMAND_DONE;
                        }
                resp_map(&session->out, 0);
        } else {
                resp_error(&session->out, "ERR",
                           "the configuration is a file: change it and reload seqnumd");
        }
        return COMMAND_DONE;
}

static enum command_result about_commands(struct session *session,
                                          const struct resp_request *request);

/* --- the table ---------------------------------------------------------------- */

static const struct command commands[] = {
        {"INCR", 1, 1, false, command_incr, "NAME"},
        {"INCRBY", 2, 2, false, command_incrby, "NAME COUNT"},
        {"GET", 1, 1, false, command_get, "NAME"},
        {"EXISTS", 1, MANY, false, command_exists, "NAME ..."},
        {"SCAN", 1, 5, false, command_scan, "CURSOR [MATCH PATTERN] [COUNT N]"},
        {"DBSIZE", 0, 0, false, command_dbsize, ""},
        {"TYPE", 1, 1, false, command_type, "NAME"},
        {"INFO", 0, MANY, false, command_info, "[SECTION ...]"},
        {"PING", 0, 1, false, ping, "[MESSAGE]"},
        {"ECHO", 1, 1, false, ping, "MESSAGE"},
        {"HELLO", 0, 5, false, hello, "[2|3 [SETNAME NAME]]"},
        {"QUIT", 0, 0, false, quit, ""},
        {"SELECT", 1, 1, false, select_database, "0"},
        {"CLIENT", 1, MANY, false, client, "ID|GETNAME|SETNAME|SETINFO"},
        {"COMMAND", 0, MANY, false, about_commands, "[COUNT|DOCS|...]"},
        {"CONFIG", 1, MANY, false, config, "GET PATTERN"},
        {"SEQ.NEXT", 1, 2, false, command_next, "NAME [COUNT]"},
        {"SEQ.PEEK", 1, 1, false, command_peek, "NAME"},
        {"SEQ.INFO", 1, 1, false, command_seq_info, "NAME"},
        {"SEQ.EXPLAIN", 2, 2, false, command_explain, "NAME ID"},
        {"SEQ.OPEN", 1, 1, false, command_open, "NAME"},
        {"SEQ.BEGIN", 1, 1, false, command_begin, "NAME"},
        {"SEQ.COMMIT", 1, 1, false, command_commit, "NAME"},
        {"SEQ.ROLLBACK", 1, 1, false, command_rollback, "NAME"},
        {"SEQ.CREATE", 1, MANY, true, command_create, "NAME [KEY VALUE ...]"},
        {"SEQ.ALTER", 3, MANY, true, command_alter, "NAME KEY VALUE ..."},
        {"SEQ.RESTART", 1, 2, true, command_restart, "NAME [VALUE]"},
        {"SEQ.DROP", 1, 1, true, command_drop, "NAME"},
};

#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

/* Clients that ask for more than the number can do without an answer. */
static enum command_result about_commands(struct session *session,
                                          const struct resp_request *request)
{
        if (request->n > 1 && command_is(&request->arguments[1], "COUNT"))
                resp_integer(&session->out, (int64_t)N_COMMANDS);
        else
                resp_array(&session->out, 0);
        return COMMAND_DONE;
}

static const struct command *find(const struct resp_argument *name)
{
        for (size_t i = 0; i < N_COMMANDS; i++)
                if (command_is(name, commands[i].name))
                        return &commands[i];
        return NULL;
}

/* Of Redis, not of ours, and yet like one of ours: who asks for them makes no slip. */
static const char *const others[] = {
        "DECR",  "DECRBY", "DEL",  "GETEX", "HEXISTS", "HGET",  "HINCRBY",
        "HMGET", "HSCAN",  "HSET", "LSET",  "MGET",    "MSET",  "SCARD",
        "SET",   "SSCAN",  "TIME", "WAIT",  "XINFO",   "ZSCAN", "ZINCRBY",
};

static bool is_of_redis(const char *word)
{
        for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
                if (strcmp(word, others[i]) == 0)
                        return true;
        return false;
}

static void unknown(struct session *session, const struct resp_request *request)
{
        struct similar similar;
        char word[32];

        (void)command_text(request, 0, word, sizeof(word));
        for (char *c = word; *c; c++)
                if (*c >= 'a' && *c <= 'z')
                        *c = (char)(*c - 'a' + 'A');
        similar = similar_to(word, strlen(word));
        for (size_t i = 0; i < N_COMMANDS && !is_of_redis(word); i++)
                similar_try(&similar, commands[i].name, strlen(commands[i].name));
        if (similar.found)
                resp_error(&session->out, "ERR", "unknown command '%s': did you mean %s?", word,
                           similar.found);
        else
                resp_error(&session->out, "ERR",
                           "unknown command '%s'; seqnumd(8) has those there are", word);
}

/*
 * Names and values are strings from here on, and a NUL byte would end them: the
 * first argument that has one, or 0. PING and ECHO send back any byte.
 */
static size_t with_nul(const struct command *command, const struct resp_request *request)
{
        for (size_t i = 1; i < request->n && command->run != ping; i++)
                if (memchr(request->arguments[i].data, 0, request->arguments[i].length))
                        return i;
        return 0;
}

static enum command_result dispatch(struct session *session, const struct resp_request *request)
{
        const struct command *command = find(&request->arguments[0]);
        size_t i;

        if (!command) {
                unknown(session, request);
                return COMMAND_DONE;
        }
        if (request->n - 1 < command->least || request->n - 1 > command->most) {
                resp_error(&session->out, "ERR", "wrong number of arguments for '%s': it takes %s",
                           command->name, *command->arguments ? command->arguments : "none");
                return COMMAND_DONE;
        }
        if (command->administers && !session->admin) {
                resp_error(&session->out, "NOPERM",
                           "%s is for root and the user of the service alone", command->name);
                return COMMAND_DONE;
        }
        i = with_nul(command, request);
        if (i > 0) {
                resp_error(&session->out, "ERR",
                           "argument %zu of '%s' has a NUL byte in it; names and values have none",
                           i, command->name);
                return COMMAND_DONE;
        }
        return command->run(session, request);
}

enum command_result command_run(struct session *session, const struct resp_request *request)
{
        const size_t before = session->out.size;
        bool answers_pend = session->n_pending > 0;
        enum command_result result = dispatch(session, request);

        if (!answers_pend || result != COMMAND_DONE)
                return result;
        session->out.size = before; /* said again when it is its turn */
        return COMMAND_AGAIN;
}

bool command_overlaps(const struct resp_request *request)
{
        return command_is(&request->arguments[0], "SEQ.CREATE");
}

void command_give_up(struct session *session, const struct resp_request *request)
{
        char name[NAME_BUFFER];

        /* Those that wait by themselves name a sequence. */
        resp_error(&session->out, "TRYAGAIN",
                   "'%s' had to wait for too long: others have the turn, or the disk is slow or "
                   "full",
                   command_text(request, request->n > 1 ? 1 : 0, name, sizeof(name)));
        serve_hold_clear(session->service, &session->draw);
}

void session_clear(struct session *session)
{
        for (size_t i = 0; session->holds && i < SESSION_HOLDS_MAX; i++)
                serve_hold_clear(session->service, &session->holds[i]);
        serve_hold_clear(session->service, &session->draw);
        free(session->holds);
        session->holds = NULL;
        resp_writer_clear(&session->out);
}

/* --- arguments ------------------------------------------------------------------ */

bool command_is(const struct resp_argument *argument, const char *word)
{
        return argument->length == strlen(word) &&
               strncasecmp(argument->data, word, argument->length) == 0;
}

const char *command_text(const struct resp_request *request, size_t i, char *buffer, size_t size)
{
        const struct resp_argument *argument = &request->arguments[i];
        size_t length = argument->length < size - 1 ? argument->length : size - 1;

        memcpy(buffer, argument->data, length);
        buffer[length] = '\0';
        return buffer;
}

bool command_integer(struct session *session, const struct resp_request *request, size_t i,
                     int64_t low, int64_t high, int64_t *ret)
{
        char text[32], *end;
        long long value;

        (void)command_text(request, i, text, sizeof(text));
        errno = 0;
        value = strtoll(text, &end, 10);
        if (request->arguments[i].length < sizeof(text) - 1 && *text && !*end && errno == 0 &&
            strchr("-0123456789", *text) && value >= low && value <= high) {
                *ret = value;
                return true;
        }
        resp_error(&session->out, "ERR",
                   "'%s' is not an integer or out of range: use %" PRId64 " to %" PRId64, text, low,
                   high);
        return false;
}

const char *command_code(int error)
{
        switch (error) {
        case -ENOENT:
                return "NOTFOUND";
        case -EEXIST:
                return "EXISTS";
        default:
                return "ERR";
        }
}

struct sequence *command_sequence(struct session *session, const struct resp_request *request)
{
        char name[NAME_BUFFER];
        struct sequence *sequence = NULL;

        (void)command_text(request, 1, name, sizeof(name));
        if (sequence_name_valid(name, request->arguments[1].length))
                sequence = registry_find(&session->service->registry, name);
        if (!sequence)
                resp_error(&session->out, "NOTFOUND", "no such sequence '%s'; SEQ.CREATE makes one",
                           name);
        return sequence;
}
