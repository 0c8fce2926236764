/* SPDX-License-Identifier: MIT */

/*
 * The verb that takes an id of kind time apart, by the widths and the epoch that
 * the sequence has now. Arithmetic alone: that the id was ever drawn is not
 * known, and not asked.
 */

#include <errno.h>
#include <inttypes.h>

#include "cli.h"
#include "clock.h"

const struct cli_option cli_explain_options[] = {
        CLI_OPTION_JSON,
        CLI_OPTION_HELP,
        {0},
};

/* "1 d 02:03:04.567 ago", or "in 0.003 s". */
static void distance_text(int64_t age_msec, char *text, size_t size)
{
        uint64_t msec = age_msec < 0 ? 0 - (uint64_t)age_msec : (uint64_t)age_msec;
        uint64_t seconds = msec / 1000, days = seconds / 86400;
        const char *before = age_msec < 0 ? "in " : "", *behind = age_msec < 0 ? "" : " ago";

        if (seconds < 60)
                (void)snprintf(text, size, "%s%" PRIu64 ".%03" PRIu64 " s%s", before, seconds,
                               msec % 1000, behind);
        else
                (void)snprintf(text, size,
                               "%s%" PRIu64 " d %02" PRIu64 ":%02" PRIu64 ":%02" PRIu64
                               ".%03" PRIu64 "%s",
                               before, days, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60,
                               msec % 1000, behind);
}

static int print_parts(const char *name, int64_t id, const struct seqnum_time *parts, bool json)
{
        struct facts facts __attribute__((cleanup(facts_free))) = facts_new();
        int64_t age = (int64_t)(clock_usec(CLOCK_REALTIME) / 1000) - parts->unix_msec;
        char text[64], time[CLI_TIME_SIZE];

        facts_string(&facts, "sequence", name);
        facts_integer(&facts, "id", id);
        facts_string(&facts, "time", cli_time_text(parts->unix_msec, false, time));
        facts_string(&facts, "local_time", cli_time_text(parts->unix_msec, true, time));
        facts_integer(&facts, "unix_msec", parts->unix_msec);
        facts_unsigned(&facts, "node", parts->node);
        facts_unsigned(&facts, "serial", parts->serial);
        distance_text(age, text, sizeof(text));
        facts_string(&facts, "from_now", text);
        facts_real(&facts, "age_seconds", (double)age / 1000);
        return facts_print(&facts, json);
}

int cli_explain(const struct cli *cli, const struct cli_args *args)
{
        const char *name = args->names[0];
        struct seqnum_client *client;
        struct seqnum_time parts;
        struct seqnum *seq;
        int64_t id;
        int r;

        if (cli_parse_integer(args->names[1], &id) < 0 || id < 0) {
                cli_complain("'%s' is no id: give a whole number from 0 to %" PRId64,
                             args->names[1], INT64_MAX);
                return CLI_USAGE;
        }
        r = cli_open(cli, SEQNUM_RDONLY, name, &client, &seq);
        if (r != 0)
                return r;
        r = seqnum_explain(seq, id, &parts);
        if (r == -EOPNOTSUPP) {
                cli_complain("explaining an id of %s: it is of kind %s, whose numbers have no "
                             "parts: only those of kind time do",
                             name, sequence_kind_name(snapshot_take(seq).kind));
                r = CLI_NO;
        } else if (r < 0) {
                r = cli_fail("explaining an id of", name, r);
        } else {
                r = print_parts(name, id, &parts, args->values[CLI_KEY_JSON] != NULL);
        }
        seqnum_detach(client);
        return r;
}
