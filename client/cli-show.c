/* SPDX-License-Identifier: MIT */

/*
 * The verbs that show sequences: list and info.
 *
 * What they show is read word by word from memory that others are changing,
 * so figures of a busy sequence belong to almost, not exactly, one moment.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "atomic.h"
#include "cli.h"
#include "directory.h"
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

/* --- what is known of one sequence --------------------------------------- */

/* Of one window and cell, read once. */
struct snapshot {
        const char *name;
        const struct view *view;
        uint64_t next, ceiling, low, floor; /* indices */
        uint64_t ahead;                     /* reserved and not drawn */
        enum window_state state;
};

static uint64_t at_most(uint64_t value, uint64_t limit)
{
        return value < limit ? value : limit;
}

static struct snapshot snapshot_take(struct seqnum *seq)
{
        const struct view *view = see_pointer(&seq->view);
        struct snapshot s = {.name = seq->name, .view = view};

        s.state = see_u32(&view->window->state);
        s.ceiling = at_most(window_look(&view->window->ceiling), view->map.limit);
        s.floor = window_look(&view->window->floor);
        s.low = window_look_low(&view->window->low);
        /* Claims that wait, or that went past the end, are not numbers drawn. */
        s.next = at_most(view_next_index(view), view->map.limit);
        s.ahead = s.ceiling > s.next ? s.ceiling - s.next : 0;
        return s;
}

static const char *state_word(enum window_state state)
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
        }
        return "unknown";
}

static bool at_end(const struct snapshot *s)
{
        return s->next >= s->view->map.limit;
}

static struct facts snapshot_facts(const struct snapshot *s)
{
        const struct window *window = s->view->window;
        struct facts facts = facts_new();

        facts_string(&facts, "sequence", s->name);
        facts_string(&facts, "kind", sequence_kind_name((enum sequence_kind)window->kind));
        facts_integer(&facts, "start", window->start);
        facts_integer(&facts, "increment", window->increment);
        facts_integer(&facts, "min", window->min);
        facts_integer(&facts, "max", window->max);
        facts_bool(&facts, "cycle", window->cycle != 0);
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
        facts_unsigned(&facts, "refills", count_read(&window->refills));
        facts_unsigned(&facts, "waits", count_read(&s->view->mapping->cells[s->view->slot].waits));
        facts_unsigned(&facts, "slot", s->view->slot);
        facts_unsigned(&facts, "id", window->id);
        facts_unsigned(&facts, "generation", window->generation);
        return facts;
}

int cli_info(const struct cli *cli, const struct cli_args *args)
{
        struct facts facts __attribute__((cleanup(facts_free))) = {0};
        struct seqnum_client *client;
        struct snapshot snapshot;
        struct seqnum *seq;
        int r;

        r = cli_open(cli, SEQNUM_RDONLY, args->names[0], &client, &seq);
        if (r != 0)
                return r;
        snapshot = snapshot_take(seq);
        facts = snapshot_facts(&snapshot);
        r = facts_print(&facts, args->values[CLI_KEY_JSON] != NULL);
        seqnum_detach(client);
        return r;
}

/* --- all names ------------------------------------------------------------ */

struct names {
        char **items; /* owned, NUL-terminated */
        size_t n_items, size;
};

static void names_free(struct names *names)
{
        for (size_t i = 0; i < names->n_items; i++)
                free(names->items[i]);
        free(names->items);
}

static int names_add(const struct mapping *mapping, const char *name, size_t length, uint32_t slot,
                     void *userdata)
{
        struct names *names = userdata;

        (void)mapping;
        (void)slot;
        if (!sequence_name_valid(name, length))
                return -EBADMSG;
        if (names->n_items == names->size) {
                size_t size = names->size ? 2 * names->size : 64;
                char **items = reallocarray(names->items, size, sizeof(*items));

                if (!items)
                        return -ENOMEM;
                names->items = items;
                names->size = size;
        }
        names->items[names->n_items] = strndup(name, length);
        if (!names->items[names->n_items])
                return -ENOMEM;
        names->n_items++;
        return 0;
}

static int by_name(const void *a, const void *b)
{
        return strcmp(*(char *const *)a, *(char *const *)b);
}

/* A sequence being altered may have two slots for a moment; it is one name. */
static void names_sort(struct names *names)
{
        size_t kept = 0;

        if (names->n_items == 0)
                return;
        qsort(names->items, names->n_items, sizeof(*names->items), by_name);
        for (size_t i = 1; i < names->n_items; i++) {
                if (strcmp(names->items[kept], names->items[i]) == 0)
                        free(names->items[i]);
                else
                        names->items[++kept] = names->items[i];
        }
        names->n_items = kept + 1;
}

static int names_of(struct seqnum_client *client, struct names *ret)
{
        int r;

        r = directory_each(client->mappings, names_add, ret);
        if (r == 0)
                names_sort(ret);
        return r;
}

/* --- list ------------------------------------------------------------------ */

/* How a list is printed: what comes first, each sequence, what comes last. */
struct list_style {
        void (*begin)(const struct names *names);
        int (*row)(const struct snapshot *snapshot, bool first, int name_width);
        void (*end)(void);
};

static int name_width(const struct names *names)
{
        size_t width = strlen("NAME");

        for (size_t i = 0; i < names->n_items; i++)
                if (strlen(names->items[i]) > width)
                        width = strlen(names->items[i]);
        return (int)width;
}

static void table_begin(const struct names *names)
{
        printf("%-*s %-8s %20s %12s %8s %8s %s\n", name_width(names), "NAME", "KIND", "NEXT",
               "RESERVED", "REFILLS", "WAITS", "STATE");
}

static int table_row(const struct snapshot *s, bool first, int width)
{
        const struct window *window = s->view->window;
        char next[24] = "(end)";

        (void)first;
        if (!at_end(s))
                (void)snprintf(next, sizeof(next), "%" PRId64,
                               sequence_map_value(&s->view->map, s->next));
        printf("%-*s %-8s %20s %12" PRIu64 " %8" PRIu64 " %8" PRIu64 " %s\n", width, s->name,
               sequence_kind_name((enum sequence_kind)window->kind), next, s->ahead,
               count_read(&window->refills),
               count_read(&s->view->mapping->cells[s->view->slot].waits), state_word(s->state));
        return CLI_OK;
}

static void table_end(void)
{
}

static void json_begin(const struct names *names)
{
        (void)names;
        (void)putchar('[');
}

static int json_row(const struct snapshot *s, bool first, int width)
{
        struct facts facts __attribute__((cleanup(facts_free))) = snapshot_facts(s);

        (void)width;
        (void)fputs(first ? "\n" : ",\n", stdout);
        return facts_print(&facts, true);
}

static void json_end(void)
{
        puts("]");
}

static const struct list_style table_style = {table_begin, table_row, table_end};
static const struct list_style json_style = {json_begin, json_row, json_end};

/* Print each name's sequence; those dropped since the names were read are left out. */
static int list_print(struct seqnum_client *client, const struct names *names,
                      const struct list_style *style)
{
        int width = name_width(names);
        struct snapshot snapshot;
        struct seqnum *seq;
        bool first = true;
        int r;

        style->begin(names);
        for (size_t i = 0; i < names->n_items && !ferror(stdout); i++) {
                r = seqnum_open(&seq, client, names->items[i]);
                if (r == -ENOENT)
                        continue;
                if (r < 0)
                        return cli_fail("opening", names->items[i], r);
                snapshot = snapshot_take(seq);
                r = style->row(&snapshot, first, width);
                seqnum_close(seq);
                if (r != CLI_OK)
                        return r;
                first = false;
        }
        style->end();
        return CLI_OK;
}

int cli_list(const struct cli *cli, const struct cli_args *args)
{
        struct names names __attribute__((cleanup(names_free))) = {0};
        struct seqnum_client *client;
        int r;

        r = cli_attach(cli, SEQNUM_RDONLY, &client);
        if (r != 0)
                return r;
        r = names_of(client, &names);
        if (r < 0)
                r = cli_fail("listing", cli->shm, r);
        else if (args->values[CLI_KEY_JSON])
                r = list_print(client, &names, &json_style);
        else if (args->values['l'])
                r = list_print(client, &names, &table_style);
        else
                for (size_t i = 0; i < names.n_items; i++)
                        puts(names.items[i]);
        seqnum_detach(client);
        return r;
}
