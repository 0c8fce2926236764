/* SPDX-License-Identifier: MIT */

/*
 * The verbs that change sequences: create, alter, restart, drop. Only the daemon
 * can; it is asked over its control socket, whose path is in the segment, and it
 * alone knows which keys and values are right and who may ask. What it answers is
 * shown as it stands.
 */

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "ask.h"
#include "cli.h"
#include "directory.h"
#include "handle.h"

const struct cli_option cli_admin_options[] = {
        CLI_OPTION_JSON,
        CLI_OPTION_HELP,
        {0},
};

/* --- asking ----------------------------------------------------------------- */

/* One request about one sequence. */
struct order {
        const struct cli *cli;
        struct seqnum_client *client;
        const char *doing; /* "creating" */
        const char *name;
        bool of_existing; /* else the name is to be new */
        const char *words[ASK_WORDS_MAX];
        size_t n_words;
};

/* Nobody answered, or not as it should be. The exit status after saying so. */
static int complain_of_silence(const struct order *order, const char *path, int error)
{
        const char *name = order->name, *doing = order->doing;

        switch (-error) {
        case ENOENT:
        case ECONNREFUSED:
                cli_complain("%s %s: nobody listens at %s: is seqnumd running? "
                             "('seqnum status' tells)",
                             doing, name, path);
                return CLI_UNAVAILABLE;
        case ECONNRESET:
        case ETIMEDOUT:
                cli_complain("%s %s: no answer from %s; whether it was done is not known: "
                             "'seqnum info %s' tells",
                             doing, name, path, name);
                return CLI_UNAVAILABLE;
        case EACCES:
                cli_complain("%s %s: %s may not be opened: ask root, or to be in its group", doing,
                             name, path);
                return CLI_NOT_PERMITTED;
        case E2BIG:
                cli_complain("%s %s: that is too much for one request", doing, name);
                return CLI_USAGE;
        case EPROTO:
        case EMSGSIZE:
                cli_complain("%s %s: what listens at %s does not answer as seqnumd does", doing,
                             name, path);
                return CLI_DATA;
        default:
                cli_complain("%s %s: asking %s: %s", doing, name, path, strerror(-error));
                return CLI_SYSTEM;
        }
}

/* The daemon refused. The exit status after saying why. */
static int complain_of_refusal(const struct order *order, const struct ask_answer *answer)
{
        const struct mapping *mapping = order->client->mappings;
        int status = CLI_NO;
        uint32_t slot;

        if (ask_full(answer)) {
                cli_complain("%s %s: %s (try again, or raise max_clients in the configuration and "
                             "reload)",
                             order->doing, order->name, ask_sentence(answer));
                return CLI_TRY_AGAIN;
        }
        if (ask_code(answer, "NOPERM"))
                status = CLI_NOT_PERMITTED;
        else if (ask_code(answer, "TRYAGAIN"))
                status = CLI_TRY_AGAIN;
        /* We can look at all names, and so say which one was meant. */
        if (status == CLI_NO && order->of_existing &&
            directory_find(mapping, order->name, strlen(order->name), &slot) == -ENOENT)
                return cli_no_sequence(mapping, order->name);
        cli_complain("%s %s: %s", order->doing, order->name, ask_sentence(answer));
        return status;
}

/* 0, or the exit status after saying why. */
static int order_give(const struct order *order)
{
        const struct segment_header *header = order->client->mappings->header;
        char path[sizeof(header->socket) + 1] = "";
        struct ask_answer *answer;
        int r;

        memcpy(path, header->socket, sizeof(header->socket));
        if (!*path) {
                cli_complain("%s %s: the service of %s has no control socket: "
                             "its configuration must name one",
                             order->doing, order->name, order->cli->shm);
                return CLI_UNAVAILABLE;
        }
        if (order->cli->timeout_usec == 0) {
                cli_complain("%s %s: nothing was asked: -t 0 leaves no time for an answer",
                             order->doing, order->name);
                return CLI_UNAVAILABLE;
        }
        r = ask(&answer, path, order->words, order->n_words, order->cli->timeout_usec);
        if (r < 0)
                return complain_of_silence(order, path, r);
        r = ask_sentence(answer) ? complain_of_refusal(order, answer) : CLI_OK;
        ask_free(answer);
        return r;
}

/* --- what is ordered ---------------------------------------------------------- */

/* Put the words together. 0, or the exit status after saying why. */
static int order_begin(struct order *order, const struct cli *cli, const char *doing,
                       const char *command, const char *name)
{
        *order = (struct order){
                .cli = cli,
                .doing = doing,
                .name = name,
                .of_existing = strcmp(command, "SEQ.CREATE") != 0,
                .words = {command, name},
                .n_words = 2,
        };
        return cli_check_name(name);
}

/* KEY=VALUE as two words. `texts` are written to. */
static int order_add_keys(struct order *order, char **texts, int n)
{
        for (int i = 0; i < n; i++) {
                char *equals = strchr(texts[i], '=');

                if (!equals || equals == texts[i]) {
                        cli_complain("%s %s: '%s' is no KEY=VALUE, such as start=1000",
                                     order->doing, order->name, texts[i]);
                        return CLI_USAGE;
                }
                *equals = '\0';
                order->words[order->n_words++] = texts[i];
                order->words[order->n_words++] = equals + 1;
        }
        return 0;
}

/* Attach, ask, and show what came of it. */
static int order_carry_out(struct order *order, bool json)
{
        int r;

        r = cli_attach(order->cli, SEQNUM_RDONLY, &order->client);
        if (r != 0)
                return r;
        r = order_give(order);
        seqnum_detach(order->client);
        return r == CLI_OK && json ? cli_show(order->cli, order->name, true) : r;
}

static int set_keys(const struct cli *cli, const struct cli_args *args, const char *doing,
                    const char *command)
{
        struct order order;
        int r;

        _Static_assert(2 + 2 * CLI_KEYS_MAX <= ASK_WORDS_MAX, "all keys fit");
        r = order_begin(&order, cli, doing, command, args->names[0]);
        if (r == 0)
                r = order_add_keys(&order, args->names + 1, args->n_names - 1);
        return r != 0 ? r : order_carry_out(&order, args->values[CLI_KEY_JSON] != NULL);
}

int cli_create(const struct cli *cli, const struct cli_args *args)
{
        return set_keys(cli, args, "creating", "SEQ.CREATE");
}

int cli_alter(const struct cli *cli, const struct cli_args *args)
{
        return set_keys(cli, args, "altering", "SEQ.ALTER");
}

int cli_restart(const struct cli *cli, const struct cli_args *args)
{
        struct order order;
        int64_t value;
        int r;

        r = order_begin(&order, cli, "restarting", "SEQ.RESTART", args->names[0]);
        if (r != 0)
                return r;
        if (args->n_names > 1) {
                if (cli_parse_integer(args->names[1], &value) < 0) {
                        cli_complain("restarting %s: '%s' is no whole number of 64 bits",
                                     order.name, args->names[1]);
                        return CLI_USAGE;
                }
                order.words[order.n_words++] = args->names[1];
        }
        return order_carry_out(&order, args->values[CLI_KEY_JSON] != NULL);
}

/* --- drop --------------------------------------------------------------------- */

static int print_drop(const char *name, int status, bool first)
{
        struct facts facts __attribute__((cleanup(facts_free))) = facts_new();

        facts_string(&facts, "sequence", name);
        facts_bool(&facts, "dropped", status == CLI_OK);
        (void)fputs(first ? "[\n" : ",\n", stdout);
        return facts_print(&facts, true);
}

/* Each by itself: those that can be dropped are. The first failure is the exit status. */
int cli_drop(const struct cli *cli, const struct cli_args *args)
{
        bool json = args->values[CLI_KEY_JSON] != NULL;
        int status = CLI_OK, r;
        struct order order;

        for (int i = 0; i < args->n_names; i++) {
                r = cli_check_name(args->names[i]);
                if (r != 0)
                        return r;
        }
        for (int i = 0; i < args->n_names; i++) {
                r = order_begin(&order, cli, "dropping", "SEQ.DROP", args->names[i]);
                if (r == 0)
                        r = order_carry_out(&order, false);
                if (json && print_drop(args->names[i], r, i == 0) != CLI_OK)
                        return CLI_SYSTEM;
                if (status == CLI_OK)
                        status = r;
        }
        if (json)
                puts("]");
        return status;
}
