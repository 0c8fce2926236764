/* SPDX-License-Identifier: MIT */

/*
 * What the command says: errors with a hint on standard error, exit statuses,
 * and facts as text or JSON on standard output.
 */

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "directory.h"
#include "handle.h"
#include "similar.h"

/* --- errors -------------------------------------------------------------- */

static const struct {
        int error;
        enum cli_exit status;
        const char *hint;
} outcomes[] = {
        {ENOENT, CLI_NO, "'seqnum list' shows the names there are"},
        {EOVERFLOW, CLI_NO, "'seqnum info' shows its limits"},
        {ERANGE, CLI_NO, "ask for fewer at a time; 'seqnum info' shows its limits"},
        {EINVAL, CLI_USAGE, NULL},
        {EBADMSG, CLI_DATA, "'seqnum status' shows whose object it is"},
        {EPROTONOSUPPORT, CLI_DATA, "use the seqnum that came with that seqnumd"},
        {ENOEXEC, CLI_DATA, "use a seqnum built for the C library that seqnumd uses"},
        {ENXIO, CLI_UNAVAILABLE, "start seqnumd, or name its segment with -s or $SEQNUM_SHM"},
        {EAGAIN, CLI_UNAVAILABLE, NULL},
        {EOPNOTSUPP, CLI_NO, "'seqnum info' shows its kind"},
        {ESTALE, CLI_TRY_AGAIN, NULL},
        {EREMOTEIO, CLI_UNAVAILABLE, NULL},
        {ENOTRECOVERABLE, CLI_UNAVAILABLE, "'seqnum info' shows where it is now"},
        {ENOSPC, CLI_NO, "'seqnum status' shows how many"},
        {ETIMEDOUT, CLI_TRY_AGAIN, "'seqnum status' tells; -t waits longer"},
        {EACCES, CLI_NOT_PERMITTED, "'seqnum status' shows the group"},
        {EPERM, CLI_NOT_PERMITTED,
         "'seqnum status' shows the owner; if that is right, say so in $SEQNUM_OWNER"},
};

int cli_exit_status(int error)
{
        if (error == 0)
                return CLI_OK;
        for (size_t i = 0; i < sizeof(outcomes) / sizeof(outcomes[0]); i++)
                if (outcomes[i].error == -error)
                        return (int)outcomes[i].status;
        return CLI_SYSTEM;
}

const char *cli_hint(int error)
{
        for (size_t i = 0; i < sizeof(outcomes) / sizeof(outcomes[0]); i++)
                if (outcomes[i].error == -error)
                        return outcomes[i].hint;
        return NULL;
}

void cli_complain(const char *format, ...)
{
        va_list arguments;

        (void)fflush(stdout); /* where both go to one terminal, keep their order */
        (void)fputs("seqnum: ", stderr);
        va_start(arguments, format);
        /* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): it was, the line before */
        (void)vfprintf(stderr, format, arguments);
        va_end(arguments);
        (void)fputc('\n', stderr);
}

int cli_fail(const char *what, const char *object, int error)
{
        const char *hint = cli_hint(error);

        if (hint)
                cli_complain("%s %s: %s (%s)", what, object, seqnum_strerror(error), hint);
        else
                cli_complain("%s %s: %s", what, object, seqnum_strerror(error));
        return cli_exit_status(error);
}

int cli_attach(const struct cli *cli, unsigned flags, struct seqnum_client **ret)
{
        struct seqnum_client *client;
        int r;

        r = seqnum_attach(&client, cli->shm, flags);
        if (r < 0)
                return cli_fail("attaching to", cli->shm, r);
        seqnum_set_timeout(client, cli->timeout_usec);
        *ret = client;
        return 0;
}

/* Give up looking for what is meant after so many names: a complaint must not take long. */
#define NAMES_TRIED_MAX 100000

struct guess {
        struct similar similar;
        size_t tried;
};

static int guess_try(const struct mapping *mapping, const char *name, size_t length, uint32_t slot,
                     void *userdata)
{
        struct guess *guess = userdata;

        (void)mapping;
        (void)slot;
        if (sequence_name_valid(name, length))
                similar_try(&guess->similar, name, length);
        return ++guess->tried == NAMES_TRIED_MAX;
}

int cli_no_sequence(const struct mapping *mapping, const char *name)
{
        struct guess guess = {.similar = similar_to(name, strlen(name))};

        (void)directory_each(mapping, guess_try, &guess);
        if (guess.similar.found)
                cli_complain("no such sequence '%s': did you mean '%.*s'?", name,
                             (int)guess.similar.found_length, guess.similar.found);
        else
                cli_complain("no such sequence '%s' (%s)", name, cli_hint(-ENOENT));
        return CLI_NO;
}

int cli_check_name(const char *name)
{
        if (sequence_name_valid(name, strlen(name)))
                return 0;
        cli_complain("'%s' is no name of a sequence: give 1 to %d characters of "
                     "letters, digits and . _ : / -",
                     name, SEQUENCE_NAME_MAX);
        return CLI_USAGE;
}

int cli_open(const struct cli *cli, unsigned flags, const char *name,
             struct seqnum_client **ret_client, struct seqnum **ret)
{
        struct seqnum_client *client = NULL;
        int r;

        r = cli_check_name(name);
        if (r == 0)
                r = cli_attach(cli, flags, &client);
        if (r != 0 || !client)
                return r;
        r = seqnum_open(ret, client, name);
        if (r == 0) {
                *ret_client = client;
                return 0;
        }
        r = r == -ENOENT ? cli_no_sequence(client->mappings, name) : cli_fail("opening", name, r);
        seqnum_detach(client);
        return r;
}

int cli_output_done(int status)
{
        if (status == CLI_OUTPUT)
                return status; /* said already */
        if (fflush(stdout) == 0 && !ferror(stdout) && close(STDOUT_FILENO) == 0)
                return status;
        cli_complain("writing standard output: %s", strerror(errno));
        return CLI_OUTPUT;
}

/* --- facts --------------------------------------------------------------- */

struct facts facts_new(void)
{
        struct facts facts = {.object = json_object()};

        facts.incomplete = !facts.object;
        return facts;
}

void facts_free(struct facts *facts)
{
        json_decref(facts->object);
        facts->object = NULL;
}

static void facts_add(struct facts *facts, const char *key, json_t *value)
{
        if (json_object_set_new(facts->object, key, value) < 0)
                facts->incomplete = true;
}

void facts_string(struct facts *facts, const char *key, const char *value)
{
        facts_add(facts, key, value ? json_string(value) : json_null());
}

void facts_integer(struct facts *facts, const char *key, int64_t value)
{
        facts_add(facts, key, json_integer(value));
}

void facts_unsigned(struct facts *facts, const char *key, uint64_t value)
{
        facts_add(facts, key, value > INT64_MAX ? json_null() : json_integer((json_int_t)value));
}

void facts_real(struct facts *facts, const char *key, double value)
{
        facts_add(facts, key, json_real(value));
}

void facts_bool(struct facts *facts, const char *key, bool value)
{
        facts_add(facts, key, json_boolean(value));
}

void facts_none(struct facts *facts, const char *key)
{
        facts_add(facts, key, json_null());
}

/* "reserved_ahead" is "reserved ahead:" to people. */
static void print_key(const char *key, int width)
{
        int printed = 0;

        for (; *key; key++, printed++)
                (void)putchar(*key == '_' ? ' ' : *key);
        printf(":%*s", width - printed + 1, "");
}

static void print_value(const json_t *value)
{
        switch (json_typeof(value)) {
        case JSON_STRING:
                puts(json_string_value(value));
                break;
        case JSON_INTEGER:
                printf("%" JSON_INTEGER_FORMAT "\n", json_integer_value(value));
                break;
        case JSON_REAL:
                printf("%.3f\n", json_real_value(value));
                break;
        case JSON_TRUE:
        case JSON_FALSE:
                puts(json_is_true(value) ? "yes" : "no");
                break;
        default:
                puts("none");
        }
}

static void print_text(json_t *object)
{
        const char *key;
        json_t *value;
        int width = 0;

        json_object_foreach(object, key, value) width =
                (int)strlen(key) > width ? (int)strlen(key) : width;
        json_object_foreach(object, key, value)
        {
                print_key(key, width);
                print_value(value);
        }
}

int facts_print(const struct facts *facts, bool json)
{
        if (facts->incomplete)
                return cli_fail("gathering", "facts", -ENOMEM);
        if (!json)
                print_text(facts->object);
        else if (json_dumpf(facts->object, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) == 0)
                (void)putchar('\n');
        else if (!ferror(stdout))
                return cli_fail("printing", "JSON", -ENOMEM);
        return CLI_OK;
}
