/* SPDX-License-Identifier: MIT */

/*
 * seqnum(1): the command's entry, its table of verbs and its usage. What the
 * verbs do is in the file of their group; see cli.h.
 */

#include "cli.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "attach.h"

static const struct cli_verb verbs[] = {
        {"next", "NAME", "draw numbers and print them", 1, 1, cli_next_options, cli_next},
        {"peek", "NAME", "print what the next draw would get", 1, 1, cli_peek_options, cli_peek},
        {"list", "", "list the sequences", 0, 0, cli_list_options, cli_list},
        {"info", "NAME", "show all that is known of a sequence", 1, 1, cli_info_options, cli_info},
        {"status", "", "show the state of the service", 0, 0, cli_status_options, cli_status},
};

static const struct cli_option global_options[] = {
        {'s', "shm", "SEGMENT", "the instance, by its segment ($SEQNUM_SHM, else /seqnumd)"},
        {'t', "timeout", "SECONDS", "how long a draw may wait; fractions are fine (5)"},
        {CLI_KEY_VERSION, "version", NULL, "show the version"},
        CLI_OPTION_HELP,
        {0},
};

static const size_t n_verbs = sizeof(verbs) / sizeof(verbs[0]);

/* --- usage ----------------------------------------------------------------- */

static void print_usage(FILE *out)
{
        fputs("Usage: seqnum [-s SEGMENT] [-t SECONDS] VERB ...\n\n"
              "Draw unique, ordered numbers from seqnumd(8).\n\nVerbs:\n",
              out);
        for (size_t i = 0; i < n_verbs; i++) {
                char left[32];

                (void)snprintf(left, sizeof(left), "%s %s", verbs[i].name, verbs[i].arguments);
                fprintf(out, "  %-24s %s\n", left, verbs[i].help);
        }
        fputs("\nOptions:\n", out);
        cli_options_print(global_options, out);
        fputs("\n'seqnum VERB --help' shows a verb's options; seqnum(1) tells the rest.\n", out);
}

static int print_verb_usage(const struct cli_verb *verb)
{
        printf("Usage: seqnum [-s SEGMENT] [-t SECONDS] %s%s%s [OPTION ...]\n\n%s: %s\n\n"
               "Options:\n",
               verb->name, *verb->arguments ? " " : "", verb->arguments, verb->name, verb->help);
        cli_options_print(verb->options, stdout);
        return CLI_OK;
}

/* --- did you mean ----------------------------------------------------------- */

enum {
        WORD_MAX = 16, /* longer than any verb */
};

static size_t least(size_t a, size_t b)
{
        return a < b ? a : b;
}

/* Letters to insert, delete or replace to get from `a` to `b`; both short. */
static size_t edit_distance(const char *a, const char *b)
{
        size_t row[WORD_MAX + 1];
        size_t length = strlen(b);

        for (size_t j = 0; j <= length; j++)
                row[j] = j;
        for (size_t i = 1; a[i - 1]; i++) {
                size_t diagonal = row[0];

                row[0] = i;
                for (size_t j = 1; j <= length; j++) {
                        size_t replaced = diagonal + (a[i - 1] != b[j - 1]);

                        diagonal = row[j];
                        row[j] = least(replaced, least(row[j], row[j - 1]) + 1);
                }
        }
        return row[length];
}

/* A verb that `word` may have been meant for; NULL: none is close. */
static const char *closest_verb(const char *word)
{
        size_t length = strlen(word), distance, best = 3;
        const char *found = NULL;

        if (length == 0 || length > WORD_MAX)
                return NULL;
        for (size_t i = 0; i < n_verbs; i++) {
                if (length > 1 && strncmp(verbs[i].name, word, length) == 0)
                        return verbs[i].name;
                distance = edit_distance(word, verbs[i].name);
                if (distance < best && distance < strlen(verbs[i].name) - 1) {
                        best = distance;
                        found = verbs[i].name;
                }
        }
        return found;
}

/* --- dispatch ----------------------------------------------------------------- */

static const struct cli_verb *verb_of(const char *word)
{
        const char *closest;

        for (size_t i = 0; i < n_verbs; i++)
                if (strcmp(verbs[i].name, word) == 0)
                        return &verbs[i];
        closest = closest_verb(word);
        if (closest)
                cli_complain("unknown verb '%s': did you mean '%s'?", word, closest);
        else
                cli_complain("unknown verb '%s': see 'seqnum --help'", word);
        return NULL;
}

static int run_verb(const struct cli *cli, int argc, char **argv)
{
        const struct cli_verb *verb = verb_of(argv[0]);
        struct cli_args args;

        if (!verb || cli_args_parse(&args, verb->options, verb->name, false, argc, argv) < 0)
                return CLI_USAGE;
        if (args.values['h'])
                return print_verb_usage(verb);
        if (args.n_names < verb->min_names) {
                cli_complain("%s: %s is missing: see 'seqnum %s --help'", verb->name,
                             verb->arguments, verb->name);
                return CLI_USAGE;
        }
        if (args.n_names > verb->max_names) {
                cli_complain("%s: '%s' is one argument too many: see 'seqnum %s --help'",
                             verb->name, args.names[verb->max_names], verb->name);
                return CLI_USAGE;
        }
        return verb->run(cli, &args);
}

/* The instance and the wait, checked at the door. */
static int global_settings(struct cli *ret, const struct cli_args *args)
{
        const char *shm = args->values['s'], *seconds = args->values['t'];

        ret->timeout_usec = SEQNUM_TIMEOUT_DEFAULT;
        if (seconds && cli_parse_seconds(seconds, &ret->timeout_usec) < 0) {
                cli_complain("-t '%s' is no time: give seconds from 0 to 1000000000, "
                             "with at most six decimals, such as 0.5",
                             seconds);
                return CLI_USAGE;
        }
        if (!shm)
                shm = secure_getenv("SEQNUM_SHM");
        if (!shm || (!*shm && !args->values['s']))
                shm = "/seqnumd";
        if (!segment_name_valid(shm)) {
                cli_complain("'%s' is no name of a segment: give a slash and up to %d characters "
                             "without another slash, such as /seqnumd",
                             shm, SEGMENT_NAME_MAX - 1);
                return CLI_USAGE;
        }
        ret->shm = shm;
        return 0;
}

static int run(int argc, char **argv)
{
        struct cli_args args;
        struct cli cli;
        int r;

        if (cli_args_parse(&args, global_options, NULL, true, argc, argv) < 0)
                return CLI_USAGE;
        if (args.values['h']) {
                print_usage(stdout);
                return CLI_OK;
        }
        if (args.values[CLI_KEY_VERSION]) {
                puts("seqnum " SEQNUM_VERSION);
                return CLI_OK;
        }
        if (args.n_names == 0) {
                print_usage(stderr);
                return CLI_USAGE;
        }
        r = global_settings(&cli, &args);
        return r != 0 ? r : run_verb(&cli, args.n_names, args.names);
}

/*
 * Were standard output closed, the segment would be opened in its place, and
 * numbers be written into it. Each closed one gets a file that fails instead.
 */
static bool standard_files_ready(void)
{
        for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
                if (fcntl(fd, F_GETFD) < 0 &&
                    open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
                        return false;
        return true;
}

int main(int argc, char **argv)
{
        if (!standard_files_ready())
                return CLI_SYSTEM;
        (void)signal(SIGPIPE, SIG_IGN); /* a reader gone is an error of writing */
        return cli_output_done(run(argc, argv));
}
