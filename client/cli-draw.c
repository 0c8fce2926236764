/* SPDX-License-Identifier: MIT */

/*
 * The verbs that draw, or look at what a draw would get.
 *
 * All that can be refused is refused before the draw, since a number drawn is
 * used up; and numbers are printed only after the whole run was drawn.
 */

#include <errno.h>
#include <string.h>

#include "cli.h"

const struct cli_option cli_next_options[] = {
        {'n', "count", "COUNT", "draw COUNT consecutive numbers, 1 to 4294967295"},
        {'f', "format", "FORMAT", "print each as printf would; one %d, such as 'INV-%06d'"},
        CLI_OPTION_JSON,
        CLI_OPTION_HELP,
        {0},
};

const struct cli_option cli_peek_options[] = {
        CLI_OPTION_JSON,
        CLI_OPTION_HELP,
        {0},
};

static int run_print_json(const char *name, const struct seqnum_run *run)
{
        struct facts facts __attribute__((cleanup(facts_free))) = facts_new();

        facts_string(&facts, "sequence", name);
        facts_integer(&facts, "first", run->first);
        facts_integer(&facts, "increment", run->increment);
        facts_unsigned(&facts, "count", run->count);
        return facts_print(&facts, true);
}

/* Options of `next`, checked. 0, or the exit status after saying why. */
static int next_arguments(const struct cli_args *args, uint64_t *count,
                          struct number_format *format)
{
        const char *given = args->values['f'], *reason;
        size_t column;
        int r;

        if (args->values['n'] && cli_parse_count(args->values['n'], 1, UINT32_MAX, count) < 0) {
                cli_complain("-n '%s' is no count: give a whole number from 1 to 4294967295",
                             args->values['n']);
                return CLI_USAGE;
        }
        if (given && args->values[CLI_KEY_JSON]) {
                cli_complain("-f and --json exclude each other: give one of them");
                return CLI_USAGE;
        }
        r = number_format_parse(format, given, &column, &reason);
        if (r == -ENOMEM)
                return cli_fail("reading", "the format", r);
        if (r < 0) {
                cli_complain("format '%s', column %zu: %s", given, column, reason);
                return CLI_USAGE;
        }
        return 0;
}

/*
 * Of a gapless sequence, what is used up and not confirmed may be what was to be drawn
 * here, whoever has the turn by now. Without time nothing is used up.
 */
static int fail_to_draw(const struct cli *cli, const char *name, struct seqnum *seq, uint64_t count,
                        int error)
{
        struct snapshot s = snapshot_take(seq);

        if (error != -ETIMEDOUT || cli->timeout_usec == 0 || s.kind != SEQUENCE_GAPLESS ||
            s.used <= s.ceiling)
                return cli_fail_draw("drawing from", name, seq, count, error);
        cli_complain("drawing from %s: the time is up, and seqnumd has not confirmed what was used "
                     "up last: a number may be used up and told to nobody ('seqnum info %s' shows "
                     "where it is now; -t waits longer)",
                     name, name);
        return cli_exit_status(error);
}

int cli_next(const struct cli *cli, const struct cli_args *args)
{
        struct number_format format __attribute__((cleanup(number_format_free))) = {0};
        const char *name = args->names[0];
        struct seqnum_client *client = NULL;
        struct seqnum_run run;
        struct seqnum *seq = NULL;
        uint64_t count = 1;
        int r;

        r = next_arguments(args, &count, &format);
        if (r != 0)
                return r;
        r = cli_open(cli, 0, name, &client, &seq);
        if (r != 0)
                return r;
        r = seqnum_next_run(seq, (uint32_t)count, &run);
        if (r < 0)
                r = fail_to_draw(cli, name, seq, count, r);
        seqnum_detach(client);
        if (r != 0)
                return r;
        if (args->values[CLI_KEY_JSON])
                return run_print_json(name, &run);
        r = number_run_print(&format, &run);
        if (r < 0) {
                cli_complain("printing from %s: %s; the run of %u from %lld on is used up", name,
                             strerror(-r), run.count, (long long)run.first);
                return CLI_OUTPUT;
        }
        return CLI_OK;
}

int cli_peek(const struct cli *cli, const struct cli_args *args)
{
        struct facts facts __attribute__((cleanup(facts_free))) = {0};
        const char *name = args->names[0];
        struct seqnum_client *client;
        struct seqnum *seq;
        int64_t value;
        int r;

        r = cli_open(cli, SEQNUM_RDONLY, name, &client, &seq);
        if (r != 0)
                return r;
        r = seqnum_peek(seq, &value);
        if (r < 0)
                r = cli_fail_draw("peeking at", name, seq, 1, r);
        seqnum_detach(client);
        if (r != 0)
                return r;
        if (!args->values[CLI_KEY_JSON]) {
                printf("%lld\n", (long long)value);
                return CLI_OK;
        }
        facts = facts_new();
        facts_string(&facts, "sequence", name);
        facts_integer(&facts, "next", value);
        return facts_print(&facts, true);
}
