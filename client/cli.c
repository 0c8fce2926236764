/* SPDX-License-Identifier: MIT */

/*
 * seqnum(1): its table of verbs, and its options before the verb. What the verbs
 * do is in the file of their group; see cli.h.
 */

#include "cli.h"

#include <limits.h>
#include <stdlib.h>

#include "attach.h"

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
         "  cd /var/lib/prometheus/node-exporter &&\n"
         "          seqnum metrics > seqnum.prom.new && mv seqnum.prom.new seqnum.prom\n"},
        {"bench", "[NAME]", "measure how fast draws are; uses numbers up", 0, 1, cli_bench_options,
         cli_bench, "  NAME        the sequence to draw from; none: the bare instruction alone\n",
         "  seqnum create scratch && seqnum bench scratch -p 2 && seqnum drop scratch\n"},
        CLI_VERB_HELP("seqnum", "next"),
        {0},
};

static const struct cli_option global_options[] = {
        {'s', "shm", "SEGMENT", "the instance, by its segment ($SEQNUM_SHM, else /seqnumd)"},
        {'t', "timeout", "SECONDS", "how long to wait for a number or an answer, at most (5)"},
        {CLI_KEY_VERSION, "version", NULL, "show the version"},
        CLI_OPTION_HELP,
        {0},
};

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

const struct cli_program cli_program = {
        .name = "seqnum",
        .synopsis = "[-s SEGMENT] [-t SECONDS] ",
        .purpose = "Draw unique, ordered numbers from seqnumd(8).",
        .verbs = verbs,
        .options = global_options,
        .settings = global_settings,
};
