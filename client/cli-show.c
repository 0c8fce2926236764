/* SPDX-License-Identifier: MIT */

/* The verbs that show sequences: list and info. */

#include <inttypes.h>
#include <string.h>

#include "cli.h"
#include "handle.h"

const struct cli_option cli_list_options[] = {
        {'l', "long", NULL, "a table: kind, next value, numbers reserved ahead, ..."},
        CLI_OPTION_JSON,
        CLI_OPTION_HELP,
        {0},
};

const struct cli_option cli_info_options[] = {
        CLI_OPTION_JSON,
        CLI_OPTION_HELP,
        {0},
};

/* --- words ------------------------------------------------------------------ */

static const char *state_word(unsigned state)
{
        switch (state) {
        case WINDOW_PENDING:
                return "pending";
        case WINDOW_OPEN:
                return "open";
        case WINDOW_FROZEN:
                return "frozen";
        case WINDOW_RETIRED:
                return "retired";
        default:
                return "unknown";
        }
}

/* --- facts ------------------------------------------------------------------ */

static bool at_end(const struct snapshot *s)
{
        return s->left == 0;
}

/* Of numbers that count. */
static void add_numbers(struct facts *facts, const struct window *window)
{
        facts_integer(facts, "start", window->start);
        facts_integer(facts, "increment", window->increment);
        facts_integer(facts, "min", window->min);
        facts_integer(facts, "max", window->max);
        facts_bool(facts, "cycle", window->cycle != 0);
}

static void add_turn(struct facts *facts, const struct snapshot *s)
{
        facts_unsigned(facts, "hold_limit", s->view->window->hold_limit);
        facts_bool(facts, "turn_held", s->turn_held);
        if (s->turn_held)
                facts_bool(facts, "holder_alive", s->holder_alive);
        else
                facts_none(facts, "holder_alive");
        facts_unsigned(facts, "turns", s->turns);
}

/* The last id that was drawn, or skipped. */
static void add_last_id(struct facts *facts, const struct snapshot *s)
{
        struct sequence_params params = {
                .node_bits = s->view->map.node_bits,
                .serial_bits = s->view->map.serial_bits,
                .epoch = s->view->window->epoch,
        };
        uint32_t node, serial;
        char text[CLI_TIME_SIZE];
        int64_t id, msec;

        if (s->used == 0) {
                facts_none(facts, "last_id");
                facts_none(facts, "last_time");
                return;
        }
        id = sequence_map_value(&s->view->map, s->used - 1);
        sequence_time_explain(&params, id, &msec, &node, &serial);
        facts_integer(facts, "last_id", id);
        facts_string(facts, "last_time", cli_time_text(msec, false, text));
}

static void add_time(struct facts *facts, const struct snapshot *s)
{
        const struct window *window = s->view->window;
        char text[CLI_TIME_SIZE];

        facts_integer(facts, "epoch", window->epoch);
        facts_string(facts, "epoch_time", cli_time_text(window->epoch, false, text));
        facts_unsigned(facts, "node", window->node);
        facts_unsigned(facts, "node_bits", window->node_bits);
        facts_unsigned(facts, "serial_bits", window->serial_bits);
        add_last_id(facts, s);
}

static struct facts snapshot_facts(const struct snapshot *s)
{
        const struct window *window = s->view->window;
        struct facts facts = facts_new();

        facts_string(&facts, "sequence", s->name);
        facts_string(&facts, "kind", sequence_kind_name(s->kind));
        if (s->kind == SEQUENCE_TIME)
                add_time(&facts, s);
        else
                add_numbers(&facts, window);
        if (at_end(s))
                facts_none(&facts, "next");
        else
                facts_integer(&facts, "next", sequence_map_value(&s->view->map, s->next));
        facts_unsigned(&facts, "index", s->next);
        facts_unsigned(&facts, "ceiling", s->ceiling);
        facts_unsigned(&facts, "reserved_ahead", s->ahead);
        facts_unsigned(&facts, "low_mark", s->low);
        facts_unsigned(&facts, "floor", s->floor);
        facts_string(&facts, "state", state_word(s->state));
        if (s->kind == SEQUENCE_GAPLESS)
                add_turn(&facts, s);
        facts_unsigned(&facts, "refills", s->refills);
        facts_unsigned(&facts, "waits", s->waits);
        facts_unsigned(&facts, "slot", s->view->slot);
        facts_unsigned(&facts, "id", window->id);
        facts_unsigned(&facts, "generation", window->generation);
        return facts;
}

/* --- info ------------------------------------------------------------------- */

int cli_show(const struct cli *cli, const char *name, bool json)
{
        struct facts facts __attribute__((cleanup(facts_free))) = {0};
        struct seqnum_client *client;
        struct snapshot snapshot;
        struct seqnum *seq;
        int r;

        r = cli_open(cli, SEQNUM_RDONLY, name, &client, &seq);
        if (r != 0)
                return r;
        snapshot = snapshot_take(seq);
        facts = snapshot_facts(&snapshot);
        r = facts_print(&facts, json);
        seqnum_detach(client);
        return r;
}

int cli_info(const struct cli *cli, const struct cli_args *args)
{
        return cli_show(cli, args->names[0], args->values[CLI_KEY_JSON] != NULL);
}

/* --- list ------------------------------------------------------------------- */

static int table_begin(size_t n, size_t width, void *userdata)
{
        size_t *name_width = userdata;

        (void)n;
        *name_width = width > strlen("NAME") ? width : strlen("NAME");
        printf("%-*s %-8s %20s %12s %8s %8s %s\n", (int)*name_width, "NAME", "KIND", "NEXT",
               "RESERVED", "REFILLS", "WAITS", "STATE");
        return CLI_OK;
}

/* A turn that is held is more to know than that the window is open. */
static const char *state_of(const struct snapshot *s)
{
        if (s->state == WINDOW_OPEN && s->turn_held)
                return s->holder_alive ? "held" : "held by a dead process";
        return state_word(s->state);
}

static int table_row(const struct snapshot *s, void *userdata)
{
        const size_t *name_width = userdata;
        char next[24] = "(end)";

        if (!at_end(s))
                (void)snprintf(next, sizeof(next), "%" PRId64,
                               sequence_map_value(&s->view->map, s->next));
        printf("%-*s %-8s %20s %12" PRIu64 " %8" PRIu64 " %8" PRIu64 " %s\n", (int)*name_width,
               s->name, sequence_kind_name(s->kind), next, s->ahead, s->refills, s->waits,
               state_of(s));
        return CLI_OK;
}

static int json_row(const struct snapshot *s, void *userdata)
{
        struct facts facts __attribute__((cleanup(facts_free))) = snapshot_facts(s);
        bool *first = userdata;

        (void)fputs(*first ? "\n" : ",\n", stdout);
        *first = false;
        return facts_print(&facts, true);
}

static int print_table(struct seqnum_client *client)
{
        size_t name_width;
        const struct snapshot_visitor visitor = {table_begin, table_row, &name_width};

        return snapshot_all(client, &visitor);
}

static int print_json(struct seqnum_client *client)
{
        bool first = true;
        const struct snapshot_visitor visitor = {NULL, json_row, &first};
        int r;

        (void)putchar('[');
        r = snapshot_all(client, &visitor);
        if (r == CLI_OK)
                puts("]");
        return r;
}

int cli_list(const struct cli *cli, const struct cli_args *args)
{
        struct seqnum_client *client;
        int r;

        r = cli_attach(cli, SEQNUM_RDONLY, &client);
        if (r != 0)
                return r;
        if (args->values[CLI_KEY_JSON])
                r = print_json(client);
        else if (args->values['l'])
                r = print_table(client);
        else
                r = snapshot_names(client);
        seqnum_detach(client);
        return r;
}
