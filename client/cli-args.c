/* SPDX-License-Identifier: MIT */

/*
 * The command line, taken apart by a table of options. getopt_long(3) does the
 * work of reading options, word by word; names are told apart here, so that a
 * negative number is one. The messages are ours, so that all of the command's
 * errors read alike.
 */

#include <errno.h>
#include <getopt.h>
#include <string.h>

#include "cli.h"
#include "similar.h"

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

static void getopt_tables_make(struct getopt_tables *tables, const struct cli_option *options)
{
        char *letter = tables->letters;
        struct option *name = tables->names;

        *letter++ = '+'; /* words stay where they are */
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

/* "--jsno=x": the option that was meant, NULL for none. */
static const char *option_meant(const struct cli_option *options, const char *word)
{
        size_t dashes = strspn(word, "-");
        struct similar similar = similar_to(word + dashes, strcspn(word + dashes, "="));

        for (; dashes == 2 && options->key; options++)
                similar_try(&similar, options->name, strlen(options->name));
        return similar.found;
}

/* One of those before the verb: `word`, or the letter that getopt read last. NULL for none. */
static const struct cli_option *global_option(const char *word)
{
        const struct cli_option *option = cli_program.options;
        size_t length = strcspn(word, "=");

        if (optopt)
                return option_of(option, optopt);
        for (; option->key; option++)
                if (strlen(option->name) + 2 == length && strncmp(word, "--", 2) == 0 &&
                    strncmp(word + 2, option->name, length - 2) == 0)
                        return option;
        return NULL;
}

/* An option behind the verb that belongs before it. */
static void complain_of_place(const struct cli_option *option, const char *verb)
{
        const char *argument = option->argument ? option->argument : "", *between;
        char shown[32];

        if (optopt)
                (void)snprintf(shown, sizeof(shown), "-%c", optopt);
        else
                (void)snprintf(shown, sizeof(shown), "--%s", option->name);
        between = !*argument ? "" : optopt ? " " : "=";
        cli_complain("%s stands before the verb: %s %s%s%s %s ...", shown, cli_program.name, shown,
                     between, argument, verb);
}

/*
 * "-h=3" is -h, which takes no argument, and then what getopt takes for an option of
 * that sign. The former; NULL: there is none. A word is left once all of it is read.
 */
static const struct cli_option *option_before_sign(const struct cli_option *options, char **argv)
{
        for (int i = optind - 1; i <= optind && argv[i]; i++) {
                const char *sign = strchr(argv[i], '=');
                const struct cli_option *option =
                        sign && sign > argv[i] ? option_of(options, sign[-1]) : NULL;

                if (option && !option->argument && argv[i][1] != '-' &&
                    (i == optind || sign[1] == '\0'))
                        return option;
        }
        return NULL;
}

/* What getopt stumbled over: `what` is '?' or ':'. */
static void complain_of_option(const struct cli_option *options, const char *verb, int what,
                               char **argv)
{
        const char *word = argv[optind - 1]; /* the one it read last */
        const struct cli_option *option =
                optopt == '=' ? option_before_sign(options, argv) : option_of(options, optopt);
        const char *meant = option_meant(options, word);
        const struct cli_option *global = verb && !option ? global_option(word) : NULL;
        const char *space = verb ? " " : "", *name = cli_program.name;

        if (global) {
                complain_of_place(global, verb);
                return;
        }
        verb = verb ? verb : "";
        if (what == ':' && option)
                cli_complain("--%s needs %s: see '%s%s%s --help'", option->name, option->argument,
                             name, space, verb);
        else if (option)
                cli_complain("--%s takes no argument: see '%s%s%s --help'", option->name, name,
                             space, verb);
        else if (optopt)
                cli_complain("unknown option '-%c': see '%s%s%s --help'", optopt, name, space,
                             verb);
        else if (meant)
                cli_complain("unknown option '%s': did you mean '--%s'?", word, meant);
        else
                cli_complain("unknown option '%s': see '%s%s%s --help'", word, name, space, verb);
}

/* Is `word` a name? Also a negative number, which no option looks like. */
static bool word_is_name(const char *word)
{
        if (word[0] != '-' || word[1] == '\0')
                return true;
        return word[1 + strspn(word + 1, "0123456789")] == '\0';
}

/* Read one option, or what getopt takes for the end of them. Its key, 0 for the end, -EINVAL. */
static int read_option(struct cli_args *args, const struct cli_option *options, const char *verb,
                       const struct getopt_tables *tables, int argc, char **argv)
{
        int key = getopt_long(argc, argv, tables->letters, tables->names, NULL);

        if (key == -1)
                return 0;
        if (key == '?' || key == ':') {
                complain_of_option(options, verb, key, argv);
                return -EINVAL;
        }
        args->values[key] = optarg ? optarg : "";
        return key;
}

int cli_args_parse(struct cli_args *ret, const struct cli_option *options, const char *verb,
                   bool leading, int argc, char **argv)
{
        struct getopt_tables tables = {0};
        int n = 0, key = 1, before = 0;

        *ret = (struct cli_args){0};
        getopt_tables_make(&tables, options);
        opterr = 0;
        optind = 0; /* GNU: begin anew, which sets it to 1 */
        (void)getopt_long(1, argv, tables.letters, tables.names, NULL);
        while (key > 0) {
                /* Between two words: names are put together at the front. */
                while (optind != before && optind < argc && word_is_name(argv[optind])) {
                        if (leading)
                                break;
                        argv[1 + n++] = argv[optind++];
                }
                before = optind;
                key = read_option(ret, options, verb, &tables, argc, argv);
        }
        if (key < 0)
                return key;
        ret->n_leading = n; /* the rest is behind "--" */
        while (optind < argc)
                argv[1 + n++] = argv[optind++];
        argv[1 + n] = NULL; /* a command among them is executed */
        ret->names = argv + 1;
        ret->n_names = n;
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

int cli_parse_integer(const char *text, int64_t *ret)
{
        bool negative = text[0] == '-';
        uint64_t magnitude;

        if (cli_parse_count(text + negative, 0, (uint64_t)INT64_MAX + negative, &magnitude) < 0)
                return -EINVAL;
        *ret = (int64_t)(negative ? 0 - magnitude : magnitude);
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
