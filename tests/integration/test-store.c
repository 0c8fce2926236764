/* SPDX-License-Identifier: MIT */

/*
 * A store that is damaged, gone, or from the future, and one that is older than
 * what a living segment knows: the daemon says so and does not start, or goes on
 * above. What it must never do is begin at 1 again in silence.
 */

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"

#define DRAWN INT64_C(100)

/* An instance that has drawn DRAWN numbers, not running; with or without its segment. */
static void prepare(struct instance *instance, bool keep_segment)
{
        struct seqnum_client *client;
        struct seqnum *seq;

        instance_configure(instance, "[sequence orders]\n");
        instance_start(instance);
        client = instance_attach(instance);
        seq = instance_open(client, "orders");
        for (int64_t i = 1; i <= DRAWN; i++)
                assert_int_equal(must_next(seq), i);
        seqnum_detach(client);
        if (keep_segment)
                instance_kill(instance);
        else
                instance_stop(instance);
        if (!keep_segment)
                instance_unlink(instance);
        instance_forget_log(instance);
}

/* It does not start, and says why: by the path and these words. */
static void refused(struct instance *instance, int status, const char *words)
{
        assert_int_equal(instance_outcome(instance), status);
        if (!instance_says(instance, instance->state) || !instance_says(instance, words))
                fail_msg("the log does not say '%s' of %s", words, instance->state);
}

static const char *database(const struct instance *instance)
{
        static char path[256];

        (void)snprintf(path, sizeof(path), "%s/seqnumd.db", instance->state);
        assert_int_equal(access(path, F_OK), 0);
        return path;
}

/* --- damaged ------------------------------------------------------------------ */

static void overwritten(struct instance *instance)
{
        prepare(instance, false);
        shell("head -c 20000 /dev/urandom >'%s'", database(instance));
        refused(instance, 65, "not a database");
        instance_forget_log(instance);
        refused(instance, 65, "not a database"); /* it has not been made anew meanwhile */
}

static void damaged_inside(struct instance *instance)
{
        prepare(instance, false);
        shell("head -c 8192 /dev/urandom | dd of='%s' bs=4096 seek=1 conv=notrunc status=none",
              database(instance));
        refused(instance, 65, "damaged");
}

static void cut_short(struct instance *instance)
{
        prepare(instance, false);
        shell("truncate -s 5000 '%s'", database(instance));
        refused(instance, 65, "malformed");
}

static void emptied(struct instance *instance)
{
        prepare(instance, false);
        shell("rm -f '%s'-*; truncate -s 0 '%s'", database(instance), database(instance));
        refused(instance, 65, "empty");
}

/* --- from the future, gone, from the past ---------------------------------------- */

static void newer(struct instance *instance)
{
        prepare(instance, false);
        /* user_version, where the header of an SQLite file has it: 9999, big-endian */
        shell("printf '\\000\\000\\047\\017' | dd of='%s' bs=1 seek=60 conv=notrunc status=none",
              database(instance));
        refused(instance, 65, "9999");
}

/* The segment knows that there were numbers: the store that made it is gone. */
static void gone_under_a_segment(struct instance *instance)
{
        struct stat before, after;

        prepare(instance, true);
        assert_int_equal(stat(instance_object(instance), &before), 0);
        shell("rm -rf '%s'", instance->state);
        assert_int_equal(instance_outcome(instance), 78);
        assert_true(instance_says(instance, "belongs to another state directory"));
        assert_int_equal(stat(instance_object(instance), &after), 0);
        assert_int_equal(before.st_ino, after.st_ino);
        assert_int_equal(instance_outcome(instance), 78); /* and no other time either */
        assert_int_equal(instance_peek(instance, "orders"), DRAWN + 1);
}

static void back_up(const struct instance *instance)
{
        shell("cp -r '%s' '%s/backup'", instance->state, instance->directory);
}

static void restore(const struct instance *instance)
{
        shell("rm -rf '%s' && cp -r '%s/backup' '%s'", instance->state, instance->directory,
              instance->state);
}

/* Restored from a backup, while the segment still knows better. */
static void older_than_the_segment(struct instance *instance)
{
        struct seqnum_client *client;
        struct seqnum *seq;

        prepare(instance, false);
        back_up(instance);
        instance_start(instance);
        client = instance_attach(instance);
        seq = instance_open(client, "orders");
        for (int64_t i = DRAWN + 1; i <= 50 * DRAWN; i++)
                assert_int_equal(must_next(seq), i);
        instance_kill(instance);
        restore(instance);
        instance_start(instance);
        assert_true(instance_says(instance, "older than segment"));
        for (int64_t i = 0, last = 50 * DRAWN; i < 10 * DRAWN; i++) {
                int64_t value = must_next(seq);

                assert_true(value > last);
                last = value;
        }
        seqnum_detach(client);
}

static void ask_ok(const struct instance *instance, const char *command)
{
        assert_string_equal(instance_ask(instance, "%s", command), "+OK");
}

/*
 * What was made, altered and made anew after the backup: the segment alone knows
 * of it, and it goes on as the segment has it.
 */
static void behind_the_segments_names(struct instance *instance, bool killed)
{
        static const char *const names[] = {"late/one", "orders", "again", "ticks", "bills"};
        struct seqnum_client *client;
        struct seqnum *seqs[5];
        int64_t last[5], kept;

        instance_configure(instance, "[sequence late/*]\n");
        instance_start(instance);
        ask_ok(instance, "SEQ.CREATE orders");
        ask_ok(instance, "SEQ.CREATE again");
        ask_ok(instance, "SEQ.CREATE gone");
        client = instance_attach(instance);
        kept = must_next(instance_open(client, "orders"));
        instance_stop(instance);
        back_up(instance);
        instance_start(instance);
        ask_ok(instance, "SEQ.ALTER orders increment 10 max 5000");
        ask_ok(instance, "SEQ.DROP again");
        ask_ok(instance, "SEQ.DROP gone");
        ask_ok(instance, "SEQ.CREATE again kind gapless start 1000 increment -1 min 5 max 1000");
        ask_ok(instance, "SEQ.CREATE ticks kind time node 3");
        ask_ok(instance, "SEQ.CREATE bills kind gapless");
        for (size_t i = 0; i < 5; i++) {
                seqs[i] = instance_open(client, names[i]);
                for (int n = 0; n < 100; n++)
                        last[i] = must_next(seqs[i]);
        }
        assert_int_equal(last[1], kept + 1000);
        if (killed)
                instance_kill(instance);
        else
                instance_stop(instance);
        restore(instance);
        instance_start(instance);
        assert_true(instance_says(instance, "late/one: the store does not know it"));
        for (int round = 0; round < 2; round++) {
                for (size_t i = 0; i < 5; i++) {
                        int64_t number = must_next(seqs[i]);

                        if (i == 2) /* it descends, without a gap */
                                assert_int_equal(number, last[i] - 1);
                        else if (i == 4)
                                assert_int_equal(number, last[i] + 1);
                        else if (i == 1)
                                assert_true(number > last[i] && (number - kept) % 10 == 0);
                        else
                                assert_true(number > last[i]);
                        last[i] = number;
                }
                /* And the store knows it from now on. */
                instance_stop(instance);
                instance_unlink(instance);
                instance_start(instance);
        }
        assert_string_equal(instance_ask(instance, "SEQ.CREATE late/one"),
                            "-EXISTS sequence late/one exists already");
        assert_string_equal(instance_ask(instance, "SEQ.ALTER orders max 6000"), "+OK");
        assert_true(must_next(seqs[1]) > last[1]);
        seqnum_detach(client);
}

static void behind_names_of_a_killed_daemon(struct instance *instance)
{
        behind_the_segments_names(instance, true);
}

static void behind_names_of_a_stopped_daemon(struct instance *instance)
{
        behind_the_segments_names(instance, false);
}

/* Files of the state directory that others may write, or that are no files. */
static void not_private(struct instance *instance)
{
        prepare(instance, false);
        assert_int_equal(chmod(instance->state, 0777), 0);
        refused(instance, 77, "may be written by others");
        assert_int_equal(chmod(instance->state, 0700), 0);
        assert_int_equal(chmod(database(instance), 0666), 0);
        refused(instance, 77, "may be written by others");
        assert_int_equal(chmod(database(instance), 0600), 0);
        instance_start(instance);
        assert_int_equal(instance_peek(instance, "orders"), DRAWN + 1);
}

/* A configuration that cannot work, which is no use trying again: 78, not 71. */
static void no_such_directory(struct instance *instance)
{
        char state[sizeof(instance->state)];

        (void)snprintf(state, sizeof(state), "%s", instance->state);
        (void)snprintf(instance->state, sizeof(instance->state), "%s", instance->ini);
        instance_configure(instance, "[sequence orders]\n");
        refused(instance, 78, "is not a directory");
        (void)snprintf(instance->state, sizeof(instance->state), "%.150s/state", instance->ini);
        instance_configure(instance, "[sequence orders]\n");
        refused(instance, 78, "make its parent");
        (void)snprintf(instance->state, sizeof(instance->state), "%s/no/state",
                       instance->directory);
        instance_configure(instance, "[sequence orders]\n");
        refused(instance, 78, "make its parent");
        (void)snprintf(instance->state, sizeof(instance->state), "%s", state);
        instance_configure(instance, "[sequence orders]\n");
        instance_start(instance);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                instance_test(overwritten),
                instance_test(damaged_inside),
                instance_test(cut_short),
                instance_test(emptied),
                instance_test(newer),
                instance_test(gone_under_a_segment),
                instance_test(older_than_the_segment),
                instance_test(behind_names_of_a_killed_daemon),
                instance_test(behind_names_of_a_stopped_daemon),
                instance_test(not_private),
                instance_test(no_such_directory),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
