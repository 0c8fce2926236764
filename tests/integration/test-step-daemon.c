/* SPDX-License-Identifier: MIT */

/*
 * The daemon killed at each system call and before each store to the segment of
 * whatever it does (harness-trial.h): reserving, for counters and for ids of kind time;
 * saving what was committed without a gap; a clean stop; its start on a segment left
 * open, closed or on none at all; finishing a jump that was begun; an alter, a restart,
 * a drop; replacing the segment.
 *
 * Not here: a death of the machine, which loses what was not synced (test-power.c).
 */

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sqlite3.h>

#include "harness-trace.h"
#include "harness-trial.h"

#define APART      100 /* how far apart ranges lie that do not touch */
#define APART_SIZE 50
#define LEAP       1000 /* from one restart to the next */

static int64_t base;          /* where the next restart or creation begins */
static struct record *former; /* what was drawn from sequences that were dropped */

/* --- reserving and saving --------------------------------------------------------------- */

static bool enough_done(void *userdata)
{
        struct trial *trial = userdata;

        return trial_done(trial) >= trial->goal;
}

static void extends(struct instance *instance)
{
        trial_run(instance, &(const struct operation){
                                    .title = "extend",
                                    .ini = "[sequence orders]\nreserve = 4\n",
                                    .stride = 29,
                                    .pause_usec = 100,
                                    .done = enough_done,
                            });
}

static void extends_of_time(struct instance *instance)
{
        trial_run(instance, &(const struct operation){
                                    .title = "extend_time",
                                    .ini = "[sequence ids]\nkind = time\nreserve = 20\n",
                                    .stride = 29,
                                    .pause_usec = 3000,
                                    .done = enough_done,
                            });
}

static void saves(struct instance *instance)
{
        trial_run(instance, &(const struct operation){
                                    .title = "save",
                                    .ini = "[sequence invoices]\nkind = gapless\n",
                                    .stride = 97,
                                    .pause_usec = 100,
                                    .done = enough_done,
                            });
}

/* --- stop and start ---------------------------------------------------------------------- */

#define ALL_KINDS                                                                                  \
        "[sequence orders]\nreserve = 500\n"                                                       \
        "[sequence invoices]\nkind = gapless\n"                                                    \
        "[sequence ids]\nkind = time\n"

static void stop_it(struct trial *trial)
{
        assert_int_equal(kill(trial->instance->pid, SIGTERM), 0);
}

static bool never(void *userdata)
{
        (void)userdata;
        return false;
}

static void stops(struct instance *instance)
{
        trial_run(instance, &(const struct operation){
                                    .title = "stop",
                                    .ini = ALL_KINDS,
                                    .stride = 31,
                                    .pause_usec = 200,
                                    .trigger = stop_it,
                                    .done = never,
                            });
}

static bool is_ready(void *userdata)
{
        struct trial *trial = userdata;

        return instance_ready(trial->instance);
}

static void after_a_stop(struct trial *trial)
{
        instance_stop(trial->instance);
}

static void after_a_crash(struct trial *trial)
{
        instance_kill(trial->instance);
}

static void after_a_reboot(struct trial *trial)
{
        trial_kill_workers(trial);
        instance_kill(trial->instance);
        instance_unlink(trial->instance);
}

static void starts_after_a_stop(struct instance *instance)
{
        trial_run(instance, &(const struct operation){
                                    .title = "start_closed",
                                    .ini = ALL_KINDS,
                                    .stride = 97,
                                    .pause_usec = 200,
                                    .lead_up = after_a_stop,
                                    .done = is_ready,
                            });
}

static void starts_after_a_crash(struct instance *instance)
{
        trial_run(instance, &(const struct operation){
                                    .title = "start_open",
                                    .ini = ALL_KINDS,
                                    .stride = 97,
                                    .pause_usec = 200,
                                    .lead_up = after_a_crash,
                                    .done = is_ready,
                            });
}

/* Two reboots in a row: each skips what was reserved, one window. */
static void starts_after_a_reboot(struct instance *instance)
{
        trial_run(instance, &(const struct operation){
                                    .title = "start_anew",
                                    .ini = ALL_KINDS,
                                    .stride = 97,
                                    .pause_usec = 200,
                                    .skips = 510,
                                    .lead_up = after_a_reboot,
                                    .done = is_ready,
                            });
}

/* The checksum of a row of the store: FNV-1a over its numbers, eight bytes each, and its name. */
static void fnv(sqlite3_context *context, int n, sqlite3_value **values)
{
        uint64_t hash = UINT64_C(0xcbf29ce484222325);

        for (int i = 0; i < n; i++) {
                bool is_text = sqlite3_value_type(values[i]) == SQLITE_TEXT;
                int64_t number = sqlite3_value_int64(values[i]);
                const void *bytes = is_text ? (const void *)sqlite3_value_text(values[i]) : &number;
                size_t size = is_text ? strlen(bytes) : sizeof(number);

                for (size_t j = 0; j < size; j++)
                        hash = (hash ^ ((const unsigned char *)bytes)[j]) * UINT64_C(0x100000001b3);
        }
        sqlite3_result_int64(context, (int64_t)hash);
}

/* Reach into the store of a daemon that is dead. */
__attribute__((format(printf, 2, 3))) static void store_says(const struct instance *instance,
                                                             const char *format, ...)
{
        char path[256], sql[512], *message = NULL;
        va_list arguments;
        sqlite3 *db;

        va_start(arguments, format);
        (void)vsnprintf(sql, sizeof(sql), format, arguments);
        va_end(arguments);
        (void)snprintf(path, sizeof(path), "%s/seqnumd.db", instance->state);
        assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
        assert_int_equal(sqlite3_create_function(db, "fnv", -1, SQLITE_UTF8, NULL, fnv, NULL, NULL),
                         SQLITE_OK);
        if (sqlite3_exec(db, sql, NULL, NULL, &message) != SQLITE_OK)
                fail_msg("%s: %s", sql, message);
        assert_int_equal(sqlite3_changes(db), 1);
        assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

/*
 * A store that grants ranges with holes between them, as one that shares them with other
 * hosts would: the last daemon had a range apart granted, and died before it showed it.
 */
static void grant_apart(const struct trial *trial)
{
        store_says(trial->instance,
                   "UPDATE sequence SET lo = hi + %d, hi = hi + %d, exact = 0, checksum = "
                   "fnv(id, generation, kind, start, increment, min, max, cycle, reserve, origin, "
                   "hi + %d, hi + %d, 0, name)",
                   APART, APART + APART_SIZE, APART, APART + APART_SIZE);
}

static void after_a_jump(struct trial *trial)
{
        instance_kill(trial->instance);
        grant_apart(trial);
}

/* The same, while the window is closed. */
static void after_a_closed_jump(struct trial *trial)
{
        instance_stop(trial->instance);
        grant_apart(trial);
}

static void jumps(struct instance *instance)
{
        trial_run(instance, &(const struct operation){
                                    .title = "jump",
                                    .ini = "[sequence orders]\nreserve = 50\n",
                                    .stride = 97,
                                    .pause_usec = 200,

                                    .skips = APART + APART_SIZE,
                                    .lead_up = after_a_jump,
                                    .done = is_ready,
                            });
}

static void closed_jumps(struct instance *instance)
{
        trial_run(instance, &(const struct operation){
                                    .title = "jump_closed",
                                    .ini = "[sequence orders]\nreserve = 50\n",
                                    .stride = 97,
                                    .pause_usec = 200,

                                    .skips = APART + APART_SIZE,
                                    .lead_up = after_a_closed_jump,
                                    .done = is_ready,
                            });
}

/* --- changes ------------------------------------------------------------------------------- */

/* Have somebody ask for it over the socket who does not mind being left without an answer. */
__attribute__((format(printf, 2, 3))) static void ask(struct trial *trial, const char *format, ...)
{
        char request[256], answer[64];
        va_list arguments;
        int fd, length;

        va_start(arguments, format);
        length = vsnprintf(request, sizeof(request), format, arguments);
        va_end(arguments);
        trial->asker = instance_fork(trial->instance);
        if (trial->asker > 0)
                return;
        fd = instance_connect(trial->instance);
        if (fd < 0 || write(fd, request, (size_t)length) != length)
                _exit(1);
        _exit(read(fd, answer, sizeof(answer)) > 0 && answer[0] != '-' ? 0 : 1);
}

static bool answered(void *userdata)
{
        struct trial *trial = userdata;
        siginfo_t info = {0};

        return waitid(P_PID, (id_t)trial->asker, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
               info.si_pid == trial->asker;
}

static void alter(struct trial *trial)
{
        ask(trial, "SEQ.ALTER orders max %" PRIu64 "\r\n", UINT64_C(1000000000000) + trial->kills);
}

static void alters(struct instance *instance)
{
        trial_run(instance, &(const struct operation){
                                    .title = "alter",
                                    .ini = ALL_KINDS,
                                    .stride = 29,
                                    .pause_usec = 200,
                                    .trigger = alter,
                                    .done = answered,
                            });
}

/* Further on than anybody comes meanwhile. */
static void restart(struct trial *trial)
{
        base = trial->last_number + LEAP;
        ask(trial, "SEQ.RESTART orders %" PRId64 "\r\n", base);
}

static void restarts(struct instance *instance)
{
        trial_run(instance, &(const struct operation){
                                    .title = "restart",
                                    .ini = ALL_KINDS,
                                    .stride = 29,
                                    .pause_usec = 500,
                                    .skips = LEAP,
                                    .trigger = restart,
                                    .done = answered,
                            });
}

/* Dropped and made anew elsewhere; or not, or not yet. */
static void drop(struct trial *trial)
{
        ask(trial, "SEQ.DROP passing\r\nSEQ.CREATE passing start %" PRId64 "\r\n", base);
}

static void judge_drop(struct trial *trial)
{
        struct seqnum_client *client = instance_attach(trial->instance);
        struct seqnum *seq;
        int64_t number;
        int r;

        base += LEAP;
        r = seqnum_open(&seq, client, "passing");
        if (r == -ENOENT) {
                const char *answer =
                        instance_ask(trial->instance, "SEQ.CREATE passing start %" PRId64, base);

                assert_string_equal(answer, "+OK");
                r = seqnum_open(&seq, client, "passing");
                base += LEAP;
        }
        if (r < 0)
                fail_msg("open: %s", seqnum_strerror(r));
        number = must_next(seq);
        if (!record_add(former, number, 1))
                fail_msg("DUPLICATE: %" PRId64 " of a sequence dropped", number);
        seqnum_detach(client);
}

static void drops(struct instance *instance)
{
        former = record_new(1, 1, 0);
        base = 1;
        trial_run(instance, &(const struct operation){
                                    .title = "drop",
                                    .ini = "[sequence orders]\n",
                                    .stride = 29,
                                    .pause_usec = 500,
                                    .trigger = drop,
                                    .done = answered,
                                    .judge = judge_drop,
                            });
        former = record_free(former);
}

/*
 * A daemon that died between the commit of a drop and taking the name out of the
 * segment: draws waited for what the name would come to lead to, and ran out of time.
 */
static void drop_cut_short(struct instance *instance)
{
        struct seqnum_client *client;
        struct seqnum *seq, *other;
        int64_t number;

        instance_configure(instance, "[sequence orders]\n");
        instance_start(instance);
        assert_string_equal(instance_ask(instance, "SEQ.CREATE passing"), "+OK");
        client = instance_attach(instance);
        seq = instance_open(client, "passing");
        assert_int_equal(must_next(seq), 1);
        instance_kill(instance);
        store_says(instance, "DELETE FROM sequence WHERE name = 'passing'");
        instance_start(instance);
        assert_int_equal(seqnum_next(seq, &number), -ENOENT);
        assert_int_equal(seqnum_open(&other, client, "passing"), -ENOENT);
        assert_string_equal(instance_ask(instance, "SEQ.CREATE passing start 100"), "+OK");
        assert_int_equal(must_next(seq), 100);
        seqnum_detach(client);
}

static void take_name(struct trial *trial)
{
        instance_unlink(trial->instance);
}

static bool named_again(void *userdata)
{
        struct trial *trial = userdata;
        ino_t inode = trial_inode(trial->instance);

        return inode != 0 && inode != trial->inode;
}

/*
 * Who dies while the name is gone leaves clients that draw on from what was reserved,
 * while others draw behind it: what those do not draw is skipped in the end.
 */
static void replacements(struct instance *instance)
{
        trial_run(instance, &(const struct operation){
                                    .title = "replace",
                                    .ini = "[sequence orders]\nreserve = 20\n"
                                           "[sequence invoices]\nkind = gapless\n"
                                           "[sequence ids]\nkind = time\n",
                                    .stride = 31,
                                    .pause_usec = 500,
                                    .skips = 40,
                                    .loses_segments = true,
                                    .trigger = take_name,
                                    .done = named_again,
                            });
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                instance_test(extends),
                instance_test(extends_of_time),
                instance_test(saves),
                instance_test(stops),
                instance_test(starts_after_a_stop),
                instance_test(starts_after_a_crash),
                instance_test(starts_after_a_reboot),
                instance_test(jumps),
                instance_test(closed_jumps),
                instance_test(alters),
                instance_test(restarts),
                instance_test(drops),
                instance_test(drop_cut_short),
                instance_test(replacements),
        };
        int r = trace_supported();

        return r ? r : cmocka_run_group_tests(tests, NULL, NULL);
}
