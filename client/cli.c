/* SPDX-License-Identifier: MIT */

/*
 * seqnum(1): the command's entry, its table of verbs and its usage. What the
 * verbs do is in the file of their group; see cli.h.
 */

#include "cli.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "attach.h"
#include "similar.h"

#define NAME_HELP "  NAME        a sequence, by its name\n"
#define KEYS_HELP                                                                                  \
        "  KEY=VALUE   as in seqnumd.ini(5): kind, start, increment, min, max, cycle, reserve,\n"  \
        "              hold_limit, epoch, node, node_bits, serial_bits\n"

static const struct cli_verb verbs[] = {
        {"next", "NAME", "draw numbers and print them", 1, 1, cli_next_options, cli_next, NAME_HELP,
         "  seqnum next -f 'INV-%06d' invoices\n"},
        {"peek", "NAME", "print what the next draw would get", 1, 1, cli_peek_options, cli_peek,
         NAME_HELP, "  seqnum peek orders\n"},
        {"hold", "NAME -- COMMAND [ARGUMENT ...]", "hold a number while a command runs", 2, INT_MAX,
         cli_hold_options, cli_hold,
         "  NAME        a gapless sequence, by its name\n"
         "  COMMAND     gets the number in $SEQNUM; it is used up if COMMAND exits with 0,\n"
         "              and given back otherwise\n",
         "  seqnum hold invoices -- sh -c 'print-invoice --number \"$SEQNUM\"'\n"},
        {"list", "", "list the sequences", 0, 0, cli_list_options, cli_list, "",
         "  seqnum list --long\n"},
        {"info", "NAME", "show all that is known of a sequence", 1, 1, cli_info_options, cli_info,
         NAME_HELP, "  seqnum info orders\n"},
        {"explain", "NAME ID", "take an id of kind time apart", 2, 2, cli_explain_options,
         cli_explain,
         "  NAME        a sequence of kind time, by its name\n"
         "  ID          a number drawn from it\n",
         "  seqnum explain events 911891132433051665\n"},
        {"create", "NAME [KEY=VALUE ...]", "make a sequence", 1, CLI_KEYS_MAX + 1,
         cli_admin_options, cli_create,
         "  NAME        of the new sequence: 1 to 255 letters, digits and . _ : / -\n" KEYS_HELP,
         "  seqnum create invoices kind=gapless start=1000\n"},
        {"alter", "NAME KEY=VALUE ...", "change a sequence, which goes on where it is", 2,
         CLI_KEYS_MAX + 1, cli_admin_options, cli_alter, NAME_HELP KEYS_HELP,
         "  seqnum alter orders max=999999 cycle=yes\n"},
        {"restart", "NAME [VALUE]", "let a sequence go on at its start, or at a value", 1, 2,
         cli_admin_options, cli_restart,
         NAME_HELP "  VALUE       the next number; its start, if there is none\n",
         "  seqnum restart orders 5000\n"},
        {"drop", "NAME ...", "remove sequences for good", 1, INT_MAX, cli_admin_options, cli_drop,
         NAME_HELP, "  seqnum drop orders-2025 orders-2024\n"},
        {"status", "", "show the state of the service", 0, 0, cli_status_options, cli_status, "",
         "  until seqnum status > /dev/null 2>&1; do sleep 0.1; done\n"},
        {"metrics", "", "print figures for Prometheus", 0, 0, cli_metrics_options, cli_metrics, "",
         "  seqnum metrics > /var/lib/node_exporter/seqnum.prom\n"},
        {"bench", "[NAME]", "measure how fast draws are; uses numbers up", 0, 1, cli_bench_options,
         cli_bench, "  NAME        the sequence to draw from; none: the bare instruction alone\n",
         "  seqnum create scratch && seqnum bench scratch -p 2 && seqnum drop scratch\n"},
};

static const struct cli_option global_options[] = {
        {'s', "shm", "SEGMENT", "the instance, by its segment ($SEQNUM_SHM, else /seqnumd)"},
        {'t', "timeout", "SECONDS", "how long to wait for a number or an answer, at most (5)"},
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
                char left[48];

                (void)snprintf(left, sizeof(left), "%s %s", verbs[i].name, verbs[i].arguments);
                fprintf(out, "  %-36s %s\n", left, verbs[i].help);
        }
        fputs("\nOptions:\n", out);
        cli_options_print(global_options, out);
        fputs("\n'seqnum VERB --help' shows a verb's options; seqnum(1) tells the rest.\n", out);
}

static int print_verb_usage(const struct cli_verb *verb)
{
        bool command = verb->run == cli_hold; /* options behind it would be its own */

        printf("Usage: seqnum [-s SEGMENT] [-t SECONDS] %s%s%s%s%s\n\n%s: %s\n", verb->name,
               command ? " [OPTION ...]" : "", *verb->arguments ? " " : "", verb->arguments,
               command ? "" : " [OPTION ...]", verb->name, verb->help);
        if (*verb->details)
                printf("\nArguments:\n%s", verb->details);
        puts("\nOptions:");
        cli_options_print(verb->options, stdout);
        printf("\nExample:\n%s", verb->example);
        return CLI_OK;
}

/* --- did you mean ----------------------------------------------------------- */

/* A verb that `word` may have been meant for, cut short or misspelt; NULL: none is close. */
static const char *closest_verb(const char *word)
{
        size_t length = strlen(word);
        struct similar similar = similar_to(word, length);

        for (size_t i = 0; i < n_verbs; i++) {
                if (length > 1 && strncmp(verbs[i].name, word, length) == 0)
                        return verbs[i].name;
                similar_try(&similar, verbs[i].name, strlen(verbs[i].name));
        }
        return similar.found;
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

static int run(int argc, char **argv, bool sigpipe_ignored)
{
        struct cli cli = {.sigpipe_ignored = sigpipe_ignored};
        struct cli_args args;
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
        bool sigpipe_ignored;

        if (!standard_files_ready())
                return CLI_SYSTEM;
        /* A reader gone is an error of writing. */
        sigpipe_ignored = signal(SIGPIPE, SIG_IGN) == SIG_IGN;
        return cli_output_done(run(argc, argv, sigpipe_ignored));
}
