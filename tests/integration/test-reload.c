/* SPDX-License-Identifier: MIT */

/*
 * SIGHUP: sequences added and altered under clients that hold handles, files
 * that are not good, keys that are not applied again, and so many alterations
 * that the segment runs out of slots and is replaced by itself.
 */

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "harness.h"

struct client {
        struct seqnum_client *client;
        struct seqnum *seq;
};

static struct client client_new(const struct instance *instance, const char *name)
{
        struct client client = {.client = instance_attach(instance)};

        client.seq = instance_open(client.client, name);
        return client;
}

static void says(const struct instance *instance, const char *text)
{
        if (!instance_says(instance, text))
                fail_msg("the log does not say: %s", text);
}

/* --- what a reload does -------------------------------------------------------- */

static void adds(struct instance *instance)
{
        struct client client;
        struct seqnum *more;

        instance_configure(instance, "[sequence orders]\n");
        instance_start(instance);
        client = client_new(instance, "orders");
        assert_int_equal(must_next(client.seq), 1);
        assert_int_equal(seqnum_open(&more, client.client, "more"), -ENOENT);
        instance_configure(instance, "[sequence orders]\n[sequence more]\nstart = 7\n");
        instance_reload(instance);
        more = instance_open(client.client, "more");
        assert_int_equal(must_next(more), 7);
        assert_int_equal(must_next(client.seq), 2);
        says(instance, "more: created");
        seqnum_detach(client.client);
}

/* The next value is a step of the new increment away from the last. */
static void alters(struct instance *instance)
{
        struct client client;
        struct seqnum_run run;

        instance_configure(instance, "[sequence orders]\n");
        instance_start(instance);
        client = client_new(instance, "orders");
        for (int64_t i = 1; i <= 10; i++)
                assert_int_equal(must_next(client.seq), i);
        instance_configure(instance, "[sequence orders]\nincrement = 5\n");
        instance_reload(instance);
        says(instance, "orders: altered");
        assert_int_equal(must_peek(client.seq), 15);
        assert_int_equal(must_next(client.seq), 15);
        assert_int_equal(seqnum_next_run(client.seq, 3, &run), 0);
        assert_int_equal(run.first, 20);
        assert_int_equal(run.increment, 5);
        instance_configure(instance, "[sequence orders]\nincrement = -1\nmin = 27\nmax = 100\n");
        instance_reload(instance);
        assert_int_equal(must_next(client.seq), 29);
        assert_int_equal(must_next(client.seq), 28);
        instance_kill(instance);
        instance_unlink(instance);
        instance_start(instance); /* the new parameters are the store's */
        assert_in_range(must_peek(client.seq), 27, 28);
        seqnum_detach(client.client);
}

/* Twice in a row without a draw, and before the first: nothing is skipped nor repeated. */
static void alters_unused(struct instance *instance)
{
        struct client client;

        instance_configure(instance, "[sequence orders]\nstart = 5\n");
        instance_start(instance);
        instance_configure(instance, "[sequence orders]\nstart = 5\nincrement = 2\n");
        instance_reload(instance);
        client = client_new(instance, "orders");
        assert_int_equal(must_next(client.seq), 5);
        instance_configure(instance, "[sequence orders]\nstart = 5\nincrement = 3\n");
        instance_reload(instance);
        instance_configure(instance, "[sequence orders]\nstart = 5\nincrement = 10\n");
        instance_reload(instance);
        assert_int_equal(must_next(client.seq), 15);
        seqnum_detach(client.client);
}

/* An end that moves away opens the sequence again, and one that comes near closes it. */
static void moves_the_end(struct instance *instance)
{
        struct client client;
        int64_t value;

        instance_configure(instance, "[sequence orders]\nmax = 3\n");
        instance_start(instance);
        client = client_new(instance, "orders");
        for (int64_t i = 1; i <= 3; i++)
                assert_int_equal(must_next(client.seq), i);
        assert_int_equal(seqnum_next(client.seq, &value), -EOVERFLOW);
        instance_configure(instance, "[sequence orders]\nmax = 5\n");
        instance_reload(instance);
        assert_int_equal(must_next(client.seq), 4);
        instance_configure(instance, "[sequence orders]\nmax = 4\n");
        instance_reload(instance);
        assert_int_equal(seqnum_next(client.seq, &value), -EOVERFLOW);
        instance_configure(instance, "[sequence orders]\nmax = 3\n");
        instance_reload(instance);
        says(instance, "orders: cannot be altered");
        assert_int_equal(seqnum_next(client.seq, &value), -EOVERFLOW);
        seqnum_detach(client.client);
}

static void bad_file(struct instance *instance)
{
        struct client client;
        struct seqnum *seq;

        instance_configure(instance, "[sequence orders]\n");
        instance_start(instance);
        client = client_new(instance, "orders");
        assert_int_equal(must_next(client.seq), 1);
        instance_configure(instance, "colour = red\n"
                                     "[sequence orders]\nincrement = 100\n"
                                     "[sequence good]\n"
                                     "[sequence zero]\nincrement = 0\n"
                                     "[sequence upside-down]\nmin = 5\nmax = 2\n");
        instance_reload(instance);
        says(instance, "ini:6: colour"); /* every error, with its line */
        says(instance, "increment");
        says(instance, "upside-down");
        says(instance, "nothing was changed");
        assert_false(instance_says(instance, "reloaded"));
        assert_int_equal(must_next(client.seq), 2);
        assert_int_equal(seqnum_open(&seq, client.client, "good"), -ENOENT);
        instance_configure(instance, "[sequence orders]\nincrement = 100\n");
        instance_reload(instance);
        says(instance, "reloaded");
        assert_int_equal(must_next(client.seq), 102);
        seqnum_detach(client.client);
}

static void start_is_not_applied_again(struct instance *instance)
{
        struct client client;

        instance_configure(instance, "[sequence orders]\nstart = 10\n");
        instance_start(instance);
        client = client_new(instance, "orders");
        assert_int_equal(must_next(client.seq), 10);
        instance_configure(instance, "[sequence orders]\nstart = 1000\n");
        instance_reload(instance);
        says(instance, "start = 1000 is not applied");
        assert_int_equal(must_next(client.seq), 11);
        instance_stop(instance);
        instance_forget_log(instance);
        instance_start(instance);
        says(instance, "start = 1000 is not applied");
        assert_int_equal(must_next(client.seq), 12);
        seqnum_detach(client.client);
}

/* What the log says would begin there does: a restart without a number goes to the old start. */
static void what_would_apply_a_start(struct instance *instance)
{
        char text[256], output[1024];

        instance_configure(instance, "[sequence orders]\nstart = 5\nmin = -100\n");
        instance_start(instance);
        instance_configure(instance, "[sequence orders]\nstart = -42\nmin = -100\n");
        instance_reload(instance);
        says(instance, "its start is 5");
        (void)snprintf(text, sizeof(text), "`seqnum -s %s restart orders -42`", instance->shm);
        says(instance, text);
        if (instance_command(instance, output, sizeof(output), "restart orders -42") != 0)
                fail_msg("%s", output);
        assert_int_equal(instance_peek(instance, "orders"), -42);
        assert_int_equal(instance_command(instance, output, sizeof(output), "restart orders"), 0);
        assert_int_equal(instance_peek(instance, "orders"), 5);
}

static void gone_from_the_file(struct instance *instance)
{
        struct client client;

        instance_configure(instance, "[sequence orders]\n[sequence items]\n");
        instance_start(instance);
        client = client_new(instance, "orders");
        assert_int_equal(must_next(client.seq), 1);
        instance_configure(instance, "[sequence items]\n");
        instance_reload(instance);
        says(instance, "1 sequences have no section");
        assert_int_equal(must_next(client.seq), 2);
        instance_stop(instance);
        instance_unlink(instance);
        instance_start(instance);
        assert_int_equal(must_next(client.seq), 3);
        assert_int_equal(instance_peek(instance, "orders"), 4);
        seqnum_detach(client.client);
}

/* Keys that only a restart applies are said, and no harm is done. */
static void takes_a_restart(struct instance *instance)
{
        struct client client;

        instance_configure(instance, "max_sequences = 10\n[sequence orders]\n");
        instance_start(instance);
        client = client_new(instance, "orders");
        assert_int_equal(must_next(client.seq), 1);
        instance_configure(instance, "max_sequences = 500\n[sequence orders]\n");
        instance_reload(instance);
        says(instance, "max_sequences = 500 takes a restart");
        assert_int_equal(must_next(client.seq), 2);
        instance_stop(instance);
        instance_start(instance); /* a larger segment: clients move */
        assert_int_equal(must_next(client.seq), 3);
        instance_configure(instance, "max_sequences = 1\n[sequence orders]\n[sequence more]\n");
        instance_reload(instance);
        says(instance, "one too many");
        assert_int_equal(must_next(client.seq), 4);
        seqnum_detach(client.client);
}

/* Without serving: how much of what there is in the file. */
static void check_config(struct instance *instance)
{
        instance_configure(instance, "[sequence orders]\n");
        shell("test \"$(\"${SEQNUM_BUILD:-build}\"/seqnumd -c '%s' --check-config)\" = '%s: good, "
              "1 sequence'",
              instance->ini, instance->ini);
        instance_configure(instance, "[sequence a]\n[sequence b]\n[sequence inv/*]\n");
        shell("test \"$(\"${SEQNUM_BUILD:-build}\"/seqnumd -c '%s' --check-config)\" = "
              "'%s: good, 2 sequences, 1 template'",
              instance->ini, instance->ini);
}

static void names_of_instances(struct instance *instance)
{
        instance_configure(instance, "[sequence orders]\n");
        shell("for name in a A-Z_0.9; do \"${SEQNUM_BUILD:-build}\"/seqnumd -i $name -c '%s' "
              "--check-config >/dev/null || exit 1; done",
              instance->ini);
        shell("err=$(\"${SEQNUM_BUILD:-build}\"/seqnumd -i .a --check-config 2>&1); test $? = 64 "
              "&& "
              "case $err in *'the first no dot'*) ;; *) echo \"$err\"; exit 1;; esac");
}

/* What only the running service can tell is not right: as loud as a bad file. */
static void does_not_fit(struct instance *instance)
{
        char text[256];

        instance_configure(instance, "max_sequences = 2\n[sequence orders]\n");
        instance_start(instance);
        (void)snprintf(text, sizeof(text),
                       "%s does not fit the running service; nothing was changed", instance->ini);
        instance_configure(instance, "max_sequences = 2\n[sequence a]\n[sequence b]\n");
        instance_reload(instance);
        says(instance, text);
        instance_forget_log(instance);
        instance_configure(instance, "[sequence orders]\nincrement = 5\n");
        shell("sed -i 's/^group =.*/group = no-such-group/' '%s'", instance->ini);
        instance_reload(instance);
        says(instance, "there is no such group");
        says(instance, text);
        assert_false(instance_says(instance, "reloaded"));
        assert_int_equal(instance_info(instance, "orders", "increment"), 1);
}

/* Nor is a reload as if nothing were amiss that leaves a sequence as it was. */
static void not_as_asked(struct instance *instance)
{
        instance_configure(instance, "[sequence orders]\n[sequence items]\n");
        instance_start(instance);
        assert_int_equal(strncmp(instance_ask(instance, "INCRBY orders 10"), ":10", 3), 0);
        instance_configure(instance, "[sequence orders]\nmax = 5\n"
                                     "[sequence items]\nkind = gapless\n"
                                     "[sequence more]\n");
        instance_reload(instance);
        says(instance, "orders: cannot be altered");
        says(instance, "items: cannot be altered");
        says(instance, "more: created");
        says(instance, "but for 2 sequences, which stay as they are");
        instance_configure(instance, "[sequence orders]\n[sequence items]\n");
        instance_forget_log(instance);
        instance_reload(instance);
        says(instance, "reloaded");
        assert_false(instance_says(instance, "but for"));
}

/* The mode of the object follows the file. */
static void mode(struct instance *instance)
{
        struct stat status;

        instance_configure(instance, "mode = 0600\n[sequence orders]\n");
        instance_start(instance);
        assert_int_equal(stat(instance_object(instance), &status), 0);
        assert_int_equal(status.st_mode & 07777, 0600);
        instance_configure(instance, "mode = 0664\n[sequence orders]\n");
        instance_reload(instance);
        assert_int_equal(stat(instance_object(instance), &status), 0);
        assert_int_equal(status.st_mode & 07777, 0664);
}

/* --- many alterations ------------------------------------------------------------ */

#define DRAWERS 4
#define RUN_MAX 50

static struct crew *draw_from(struct instance *instance, const char *name, const char *other)
{
        const struct crew_order order = {
                .n_drawers = DRAWERS,
                .sequences = {{name, record_new(1, 1, 0)}, {other, record_new(1, 1, 0)}},
                .rate = 300000,
                .run_every = 16,
                .run_max = RUN_MAX,
        };

        return crew_start(instance, &order);
}

static void check_skipped(const struct instance *instance, const struct crew *crew, size_t sequence,
                          uint64_t tolerated)
{
        uint64_t skipped = crew_skipped(instance, crew, sequence);

        print_message("  sequence %zu: %" PRIu64 " drawn, %" PRIu64 " skipped\n", sequence,
                      crew_end(crew, sequence), skipped);
        if (skipped > tolerated)
                fail_msg("sequence %zu: %" PRIu64 " numbers skipped", sequence, skipped);
}

/*
 * Each alteration takes a slot; two sequences have at least 64. The value of
 * `max` changes and not the increment, so that the record still counts.
 *
 * The new generation begins behind the claims that waited in the old window, and
 * those are granted: nothing is skipped.
 */
static void out_of_slots(struct instance *instance)
{
        static const mode_t modes[] = {0660, 0664};
        uint64_t alterations = scaled(150) < 80 ? 80 : scaled(150);
        struct stat before, after;
        struct crew *crew;

        instance_configure(instance, "max_sequences = 2\n[sequence orders]\n[sequence items]\n");
        instance_start(instance);
        assert_int_equal(stat(instance_object(instance), &before), 0);
        crew = draw_from(instance, "orders", "items");
        for (uint64_t i = 0; i < alterations; i++) {
                instance_configure(instance,
                                   "max_sequences = 2\nmode = %04o\n"
                                   "[sequence orders]\nmax = %" PRIu64 "\n"
                                   "[sequence items]\n",
                                   modes[i % 2], UINT64_C(4000000000) + i);
                instance_reload(instance);
                /* Also of the segment that was made in this very reload. */
                assert_int_equal(stat(instance_object(instance), &after), 0);
                assert_int_equal(after.st_mode & 07777, modes[i % 2]);
                crew_check(crew);
                if (i % 16 == 0)
                        crew_await_progress(crew);
        }
        crew_await_progress(crew);
        crew_stop(crew);
        assert_int_equal(stat(instance_object(instance), &after), 0);
        assert_int_not_equal(before.st_ino, after.st_ino);
        says(instance, "made segment");
        check_skipped(instance, crew, 0, 0);
        check_skipped(instance, crew, 1, 0);
}

/* The same, and the daemon is killed in the middle of it. */
static void killed_while_altering(struct instance *instance)
{
        uint64_t n = scaled(60);
        struct crew *crew;

        instance_configure(instance, "max_sequences = 2\n[sequence orders]\n[sequence items]\n");
        instance_start(instance);
        crew = draw_from(instance, "orders", "items");
        for (uint64_t i = 0; i < n; i++) {
                instance_configure(instance,
                                   "max_sequences = 2\n"
                                   "[sequence orders]\nmax = %" PRIu64 "\n"
                                   "[sequence items]\nmax = %" PRIu64 "\n",
                                   UINT64_C(4000000000) + i, UINT64_C(5000000000) + i);
                assert_int_equal(kill(instance->pid, SIGHUP), 0);
                nap(random_below(4000));
                instance_kill(instance);
                instance_start(instance);
                crew_check(crew);
        }
        crew_await_progress(crew);
        crew_stop(crew);
        for (size_t i = 0; i < 2; i++)
                check_skipped(instance, crew, i, n * DRAWERS * RUN_MAX);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                instance_test(adds),
                instance_test(alters),
                instance_test(alters_unused),
                instance_test(moves_the_end),
                instance_test(bad_file),
                instance_test(start_is_not_applied_again),
                instance_test(what_would_apply_a_start),
                instance_test(gone_from_the_file),
                instance_test(takes_a_restart),
                instance_test(check_config),
                instance_test(names_of_instances),
                instance_test(does_not_fit),
                instance_test(not_as_asked),
                instance_test(mode),
                instance_test(out_of_slots),
                instance_test(killed_while_altering),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
