/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * seqnum(1), the command: what its files share.
 *
 * One table of verbs (cli.c) drives dispatch, usage and the check of arguments;
 * a verb's function gets options and names that were already told apart and
 * returns the exit status. A new verb is a row in the table, a table of its
 * options and one function, in the file of its group:
 *
 *   cli.c           the table, global options
 *   cli-main.c      entry, usage, dispatch          (these three also of pshm(1))
 *   cli-args.c      options and names of one verb
 *   cli-facts.c     facts as text or JSON
 *   cli-report.c    errors of the library, exit statuses
 *   cli-format.c    numbers as text, fast
 *   cli-snapshot.c  what the segment tells of sequences, read once
 *   cli-draw.c      next, peek
 *   cli-hold.c      hold
 *   cli-show.c      list, info
 *   cli-explain.c   explain
 *   cli-admin.c     create, alter, restart, drop
 *   cli-status.c    status
 *   cli-metrics.c   metrics
 *   cli-bench.c     bench
 *
 * The command is no part of libseqnum. It links the library statically and
 * looks behind its handles, as a client of the same version may.
 */

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "params.h"
#include "seqnum.h"

struct stat;

struct mapping; /* attach.h */
struct view;    /* handle.h */

/* Exit statuses; those above 2 have their number and sense from sysexits(3). */
enum cli_exit {
        CLI_OK = 0,
        CLI_NO = 1,           /* an answer of no: no such sequence, at its end, change refused */
        CLI_USAGE = 2,        /* the command line is wrong; nothing was done */
        CLI_DATA = 65,        /* the segment is not one we can use */
        CLI_UNAVAILABLE = 69, /* the service is away */
        CLI_SYSTEM = 71,      /* out of memory, files, ... */
        CLI_OUTPUT = 74,      /* standard output did not take it all */
        CLI_TRY_AGAIN = 75,   /* no number in time; the turn was lost */
        CLI_NOT_PERMITTED = 77,

        /* of hold, as shells have them */
        CLI_NOT_EXECUTABLE = 126,
        CLI_NOT_FOUND = 127,
        CLI_SIGNAL = 128, /* and the signal's number */
};

/* Options before the verb. */
struct cli {
        const char *shm; /* valid, never NULL */
        uint64_t timeout_usec;
        bool sigpipe_ignored; /* when we were started; we ignore it always */
};

/* --- options and names (cli-args.c) ------------------------------------- */

/* Keys of options without a letter; all other keys are the letter itself. */
enum {
        CLI_KEY_JSON = 1,
        CLI_KEY_VERSION = 2,
};

/* One row of a table that ends with a row of zeroes. */
struct cli_option {
        int key;
        const char *name;     /* without the dashes */
        const char *argument; /* what to call it, NULL: takes none */
        const char *help;
};

#define CLI_OPTION_HELP                                                                            \
        {                                                                                          \
                'h', "help", NULL, "show this help"                                                \
        }
#define CLI_OPTION_JSON                                                                            \
        {                                                                                          \
                CLI_KEY_JSON, "json", NULL, "print JSON, for programs"                             \
        }

struct cli_args {
        const char *values[128]; /* by key; NULL: not given; "" if it takes no argument */
        char **names;            /* NULL-terminated */
        int n_names;
        int n_leading; /* of those, how many stood before "--"; all, if there was none */
};

/*
 * Tell options and names apart. `leading`: stop at the first name, so that a
 * verb's own options are left to the verb. 0, or -EINVAL after saying on
 * standard error what is wrong; `verb` is for that message, NULL for none.
 */
int cli_args_parse(struct cli_args *ret, const struct cli_option *options, const char *verb,
                   bool leading, int argc, char **argv);

void cli_options_print(const struct cli_option *options, FILE *out);

/* Decimal digits and nothing else, min..max. 0 or -EINVAL. */
int cli_parse_count(const char *text, uint64_t min, uint64_t max, uint64_t *ret);

/* A whole number of 64 bits, with a minus or without. 0 or -EINVAL. */
int cli_parse_integer(const char *text, int64_t *ret);

/* Seconds, with up to six decimals, in microseconds. 0 or -EINVAL. */
int cli_parse_seconds(const char *text, uint64_t *ret);

/* Of create and alter; there are fewer, but the daemon is to say which. */
#define CLI_KEYS_MAX 24

/* --- verbs --------------------------------------------------------------- */

struct cli_verb {
        const char *name;
        const char
                *arguments; /* for usage; behind a "--" there is a command with its own options */
        const char *help;   /* one line */
        int min_names, max_names;
        const struct cli_option *options;
        int (*run)(const struct cli *cli, const struct cli_args *args); /* the exit status */
        const char *details; /* arguments, a line each; may be "" */
        const char *example; /* command lines */
};

/* The verb that both commands have (cli-main.c): usage, of all or of one verb. */
#define CLI_VERB_HELP(command, of_verb)                                                            \
        {                                                                                          \
                "help", "[VERB]", "show this, or a verb's options", 0, 1, cli_help_options,        \
                        cli_help, "  VERB        one of those that '" command " help' shows\n",    \
                        "  " command " help " of_verb "\n"                                         \
        }

extern const struct cli_option cli_help_options[];

int cli_help(const struct cli *cli, const struct cli_args *args);

/* What makes one command of cli-main.c and its tables: each defines its own. */
struct cli_program {
        const char *name;
        const char *synopsis; /* of the options before the verb, with a blank behind it; or "" */
        const char *purpose;
        const struct cli_verb *verbs;     /* up to a row of zeroes */
        const struct cli_option *options; /* before the verb */
        /* Checks those; 0, or the exit status after saying why. NULL: there are none. */
        int (*settings)(struct cli *ret, const struct cli_args *args);
};

extern const struct cli_program cli_program;

extern const struct cli_option cli_next_options[], cli_peek_options[], cli_hold_options[],
        cli_list_options[], cli_info_options[], cli_explain_options[], cli_admin_options[],
        cli_status_options[], cli_metrics_options[], cli_bench_options[];

int cli_next(const struct cli *cli, const struct cli_args *args);
int cli_peek(const struct cli *cli, const struct cli_args *args);
int cli_hold(const struct cli *cli, const struct cli_args *args);
int cli_list(const struct cli *cli, const struct cli_args *args);
int cli_info(const struct cli *cli, const struct cli_args *args);
int cli_explain(const struct cli *cli, const struct cli_args *args);
int cli_create(const struct cli *cli, const struct cli_args *args);
int cli_alter(const struct cli *cli, const struct cli_args *args);
int cli_restart(const struct cli *cli, const struct cli_args *args);
int cli_drop(const struct cli *cli, const struct cli_args *args);
int cli_status(const struct cli *cli, const struct cli_args *args);
int cli_metrics(const struct cli *cli, const struct cli_args *args);
int cli_bench(const struct cli *cli, const struct cli_args *args);

/* --- sequences, looked at (cli-snapshot.c) -------------------------------- */

/* Of one window and cell, read once. */
struct snapshot {
        const char *name;
        const struct view *view; /* as long as the handle is open */
        uint64_t used;           /* up to which index; of kind time `next` goes on with the clock */
        uint64_t next, ceiling, low, floor; /* indices */
        uint64_t ahead;                     /* reserved and not drawn */
        uint64_t left;                      /* until the end */
        uint64_t refills, waits, turns;
        unsigned state; /* enum window_state */
        enum sequence_kind kind;
        bool turn_held, holder_alive; /* gapless */
};

struct snapshot snapshot_take(struct seqnum *seq);

/*
 * Take a snapshot of every sequence, sorted by name, and give it to `each`; the
 * last of them is NULL. begin() is told before how many there are at most, and
 * the longest name's length. Stops at the first exit status that is not 0 and
 * returns it. Asks for nothing to be made, and waits for nothing.
 */
struct snapshot_visitor {
        int (*begin)(size_t n, size_t width, void *userdata); /* NULL: not asked for */
        int (*each)(const struct snapshot *snapshot, void *userdata);
        void *userdata;
};
int snapshot_all(struct seqnum_client *client, const struct snapshot_visitor *visitor);

/* The names alone, sorted, to standard output. */
int snapshot_names(struct seqnum_client *client);

/* Print what is known of `name`, as info does; the exit status. */
int cli_show(const struct cli *cli, const char *name, bool json);

/* --- errors and output (cli-report.c, cli-main.c) ------------------------ */

/* The one place where an error of the library becomes an exit status. */
int cli_exit_status(int error);

/* What the user can do about an error of the library; NULL: nothing in particular. */
const char *cli_hint(int error);

/* The command's name, "...", and a newline on standard error. */
void cli_complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Say that `what` failed on `object` with the library's `error`; its exit status. */
int cli_fail(const char *what, const char *object, int error);

/* The same of attaching, with what can be seen of the object. */
int cli_fail_attach(const char *shm, int error);

/* Where glibc keeps shared memory objects: to look there needs no permission to open. */
int cli_object_stat(const char *shm, struct stat *ret);

/* Of an object that is not believed: is it the mode, and not the owner? */
bool cli_object_wrong_mode(const struct stat *status);

/* The same of a draw of `count` numbers, with what the segment tells of the sequence. */
int cli_fail_draw(const char *what, const char *name, struct seqnum *seq, uint64_t count,
                  int error);

/*
 * Say that there is no sequence `name`, and which one may have been meant; the
 * exit status.
 */
int cli_no_sequence(const struct mapping *mapping, const char *name);

/* 0, or CLI_USAGE after saying that `name` is none. */
int cli_check_name(const char *name);

/*
 * Attach; attach and open `name`. 0, or the exit status after saying why. With
 * SEQNUM_RDONLY no template makes the sequence.
 */
int cli_attach(const struct cli *cli, unsigned flags, struct seqnum_client **ret);
int cli_open(const struct cli *cli, unsigned flags, const char *name,
             struct seqnum_client **ret_client, struct seqnum **ret);

/* Bring all output out. `status`, or CLI_OUTPUT after saying what was lost. */
int cli_output_done(int status);

/* --- facts (cli-facts.c) --------------------------------------------------- */

/*
 * Facts in an order, each a key and a value: printed as aligned "key: value"
 * lines or as JSON, so that the two never differ in what they tell.
 */
struct facts {
        json_t *object;
        bool incomplete; /* out of memory */
};

struct facts facts_new(void);
void facts_free(struct facts *facts);
void facts_string(struct facts *facts, const char *key, const char *value); /* NULL: none */
void facts_integer(struct facts *facts, const char *key, int64_t value);
void facts_unsigned(struct facts *facts, const char *key, uint64_t value); /* > INT64_MAX: none */
void facts_real(struct facts *facts, const char *key, double value);
void facts_bool(struct facts *facts, const char *key, bool value);
void facts_none(struct facts *facts, const char *key);

/* Print all; the exit status. */
int facts_print(const struct facts *facts, bool json);

/* "2026-11-23T20:27:42.123Z" of milliseconds since 1970; `local`: "...+01:00". */
#define CLI_TIME_SIZE 48
const char *cli_time_text(int64_t unix_msec, bool local, char text[static CLI_TIME_SIZE]);

/* --- numbers as text (cli-format.c) -------------------------------------- */

#define NUMBER_WIDTH_MAX 255

struct number_format {
        char *prefix, *suffix; /* owned */
        size_t prefix_length, suffix_length;
        bool zero, minus, plus, space, grouped;
        unsigned width;
};

/*
 * Read a printf-like FORMAT with one %d in it, NULL for "%d". 0; -ENOMEM; or
 * -EINVAL with the column (from 1, in bytes) and what is wrong there.
 */
int number_format_parse(struct number_format *ret, const char *format, size_t *ret_column,
                        const char **ret_reason);
void number_format_free(struct number_format *format);

/* Print all numbers of the run. 0; -ENOMEM, or the errno of writing, negative. */
int number_run_print(const struct number_format *format, const struct seqnum_run *run);
