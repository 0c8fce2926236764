/* SPDX-License-Identifier: MIT */

/*
 * A command's entry: its usage and its verbs' as its tables tell them, dispatch,
 * errors and the end of its output. What is special to one command, its tables
 * and its options before the verb, it says in its cli_program.
 */

#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "similar.h"

/* --- errors and output ------------------------------------------------------- */

void cli_complain(const char *format, ...)
{
        va_list arguments;

        (void)fflush(stdout); /* where both go to one terminal, keep their order */
        fprintf(stderr, "%s: ", cli_program.name);
        va_start(arguments, format);
        /* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): it was, the line before */
        (void)vfprintf(stderr, format, arguments);
        va_end(arguments);
        (void)fputc('\n', stderr);
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

/* --- usage ----------------------------------------------------------------- */

static void print_usage(FILE *out)
{
        fprintf(out, "Usage: %s %sVERB ...\n\n%s\n\nVerbs:\n", cli_program.name,
                cli_program.synopsis, cli_program.purpose);
        for (const struct cli_verb *verb = cli_program.verbs; verb->name; verb++) {
                char left[48];

                (void)snprintf(left, sizeof(left), "%s %s", verb->name, verb->arguments);
                fprintf(out, "  %-36s %s\n", left, verb->help);
        }
        fputs("\nOptions:\n", out);
        cli_options_print(cli_program.options, out);
        fprintf(out, "\n'%s VERB --help' shows a verb's options; %s(1) tells the rest.\n",
                cli_program.name, cli_program.name);
}

static int print_verb_usage(const struct cli_verb *verb)
{
        bool command = strstr(verb->arguments, "-- ") != NULL;

        printf("Usage: %s %s%s%s%s%s%s\n\n%s: %s\n", cli_program.name, cli_program.synopsis,
               verb->name, command ? " [OPTION ...]" : "", *verb->arguments ? " " : "",
               verb->arguments, command ? "" : " [OPTION ...]", verb->name, verb->help);
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

        for (const struct cli_verb *verb = cli_program.verbs; verb->name; verb++) {
                if (length > 1 && strncmp(verb->name, word, length) == 0)
                        return verb->name;
                similar_try(&similar, verb->name, strlen(verb->name));
        }
        return similar.found;
}

/* --- dispatch ----------------------------------------------------------------- */

static const struct cli_verb *verb_of(const char *word)
{
        const char *closest;

        for (const struct cli_verb *verb = cli_program.verbs; verb->name; verb++)
                if (strcmp(verb->name, word) == 0)
                        return verb;
        closest = closest_verb(word);
        if (closest)
                cli_complain("unknown verb '%s': did you mean '%s'?", word, closest);
        else
                cli_complain("unknown verb '%s': see '%s --help'", word, cli_program.name);
        return NULL;
}

const struct cli_option cli_help_options[] = {
        CLI_OPTION_HELP,
        {0},
};

int cli_help(const struct cli *cli, const struct cli_args *args)
{
        const struct cli_verb *verb;

        (void)cli;
        if (args->n_names == 0) {
                print_usage(stdout);
                return CLI_OK;
        }
        verb = verb_of(args->names[0]);
        return verb ? print_verb_usage(verb) : CLI_USAGE;
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
                cli_complain("%s: %s is missing: see '%s %s --help'", verb->name, verb->arguments,
                             cli_program.name, verb->name);
                return CLI_USAGE;
        }
        if (args.n_names > verb->max_names) {
                cli_complain("%s: '%s' is one argument too many: see '%s %s --help'", verb->name,
                             args.names[verb->max_names], cli_program.name, verb->name);
                return CLI_USAGE;
        }
        return verb->run(cli, &args);
}

static int run(int argc, char **argv, bool sigpipe_ignored)
{
        struct cli cli = {.sigpipe_ignored = sigpipe_ignored};
        struct cli_args args;
        int r = 0;

        if (cli_args_parse(&args, cli_program.options, NULL, true, argc, argv) < 0)
                return CLI_USAGE;
        if (args.values['h']) {
                print_usage(stdout);
                return CLI_OK;
        }
        if (args.values[CLI_KEY_VERSION]) {
                printf("%s " SEQNUM_VERSION "\n", cli_program.name);
                return CLI_OK;
        }
        if (args.n_names == 0) {
                print_usage(stderr);
                return CLI_USAGE;
        }
        if (cli_program.settings)
                r = cli_program.settings(&cli, &args);
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
