/* SPDX-License-Identifier: MIT */

/*
 * The command line, taken apart by a table of options. getopt_long(3) does the
 * work; the messages are ours, so that all of the command's errors read alike.
 */

#include <errno.h>
#include <getopt.h>
#include <string.h>

#include "cli.h"

enum {
        OPTIONS_MAX = 16,
};

/* The table in getopt's two forms. */
struct getopt_tables {
        char letters[2 * OPTIONS_MAX + 3];
        struct option names[OPTIONS_MAX + 1];
};

static bool key_is_letter(int key)
{
        return key > ' ';
}

static void getopt_tables_make(struct getopt_tables *tables, const struct cli_option *options,
                               bool leading)
{
        char *letter = tables->letters;
        struct option *name = tables->names;

        if (leading)
                *letter++ = '+';
        *letter++ = ':'; /* a missing argument is told from an unknown option */
        for (int i = 0; i < OPTIONS_MAX && options[i].key; i++) {
                int has_argument = options[i].argument ? required_argument : no_argument;

                *name++ = (struct option){options[i].name, has_argument, NULL, options[i].key};
                if (!key_is_letter(options[i].key))
                        continue;
                *letter++ = (char)options[i].key;
                if (options[i].argument)
                        *letter++ = ':';
        }
}

static const struct cli_option *option_of(const struct cli_option *options, int key)
{
        for (; options->key; options++)
                if (options->key == key)
                        return options;
        return NULL;
}

/* What getopt stumbled over: `what` is '?' or ':', the word the one it read last. */
static void complain_of_option(const struct cli_option *options, const char *verb, int what,
                               const char *word)
{
        const struct cli_option *option = option_of(options, optopt);
        const char *space = verb ? " " : "";

        verb = verb ? verb : "";
        if (what == ':' && option)
                cli_complain("--%s needs %s: see 'seqnum%s%s --help'", option->name,
                             option->argument, space, verb);
        else if (option)
                cli_complain("--%s takes no argument: see 'seqnum%s%s --help'", option->name, space,
                             verb);
        else if (optopt)
                cli_complain("unknown option '-%c': see 'seqnum%s%s --help'", optopt, space, verb);
        else
                cli_complain("unknown option '%s': see 'seqnum%s%s --help'", word, space, verb);
}

int cli_args_parse(struct cli_args *ret, const struct cli_option *options, const char *verb,
                   bool leading, int argc, char **argv)
{
        struct getopt_tables tables = {0};
        int key;

        *ret = (struct cli_args){0};
        getopt_tables_make(&tables, options, leading);
        opterr = 0;
        optind = 0; /* GNU: begin anew */
        while ((key = getopt_long(argc, argv, tables.letters, tables.names, NULL)) != -1) {
                if (key == '?' || key == ':') {
                        complain_of_option(options, verb, key, argv[optind - 1]);
                        return -EINVAL;
                }
                ret->values[key] = optarg ? optarg : "";
        }
        ret->names = argv + optind;
        ret->n_names = argc - optind;
        return 0;
}

void cli_options_print(const struct cli_option *options, FILE *out)
{
        for (; options->key; options++) {
                char left[48];

                (void)snprintf(left, sizeof(left), "%c%c%c --%s%s%s",
                               key_is_letter(options->key) ? '-' : ' ',
                               key_is_letter(options->key) ? options->key : ' ',
                               key_is_letter(options->key) ? ',' : ' ', options->name,
                               options->argument ? "=" : "",
                               options->argument ? options->argument : "");
                fprintf(out, "  %-24s %s\n", left, options->help);
        }
}

int cli_parse_count(const char *text, uint64_t min, uint64_t max, uint64_t *ret)
{
        uint64_t value = 0;

        if (!*text)
                return -EINVAL;
        for (; *text; text++) {
                if (*text < '0' || *text > '9' || __builtin_mul_overflow(value, 10, &value) ||
                    __builtin_add_overflow(value, (uint64_t)(*text - '0'), &value))
                        return -EINVAL;
        }
        if (value < min || value > max)
                return -EINVAL;
        *ret = value;
        return 0;
}

int cli_parse_seconds(const char *text, uint64_t *ret)
{
        static const uint64_t seconds_max = 1000000000; /* more than 30 years */
        uint64_t usec = 0, unit = 1000000;
        const char *digits = text;

        for (; *text >= '0' && *text <= '9'; text++) {
                usec = usec * 10 + (uint64_t)(*text - '0') * 1000000;
                if (usec > seconds_max * 1000000)
                        return -EINVAL;
        }
        if (*text == '.') {
                for (text++, digits++; *text >= '0' && *text <= '9' && unit > 1; text++) {
                        unit /= 10;
                        usec += (uint64_t)(*text - '0') * unit;
                }
        }
        if (*text || text == digits || usec > seconds_max * 1000000)
                return -EINVAL;
        *ret = usec;
        return 0;
}
