/* SPDX-License-Identifier: MIT */

/* A daemon killed at each event of what it does; see harness-trial.h. */

#include "harness-trial.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness-trace.h"

#define PATIENCE_USEC UINT64_C(20000000)
#define ALL_SCALE     10000 /* of scaled(1000): from here on each event */
#define COMPLETE      2     /* so many times in a row the daemon came to the end of it */
#define GOAL          6
#define REBOOT_SKIPS  1010 /* two windows of those in use here, and what the dead had */

/* --- the workers ------------------------------------------------------------------ */

__attribute__((format(printf, 2, 3), noreturn)) static void complain(struct worker *worker,
                                                                     const char *format, ...)
{
        va_list arguments;

        va_start(arguments, format);
        (void)vsnprintf(worker->complaint, sizeof(worker->complaint), format, arguments);
        va_end(arguments);
        _exit(1);
}

static void draw_order(const struct trial *trial, struct worker *worker, struct seqnum *seq)
{
        int64_t number;
        int r = seqnum_next(seq, &number);

        if (r < 0)
                complain(worker, "next: %s", seqnum_strerror(r));
        if (!record_add(trial->orders, number, 1))
                complain(worker, "DUPLICATE: %" PRId64, number);
}

/*
 * Only where segments get lost may a commit fail: with the daemon, before it had the
 * number stored. Then it was not committed, or nobody knows: the next one tells.
 */
static void commit_invoice(const struct trial *trial, struct worker *worker, struct seqnum *seq)
{
        int64_t number, unheard = atomic_load(&worker->committing);
        int r = seqnum_begin(seq, &number);

        if (r < 0)
                complain(worker, "begin: %s", seqnum_strerror(r));
        if (unheard && unheard < number)
                (void)record_add(trial->invoices, unheard, 1);
        atomic_store(&worker->committing, number);
        r = seqnum_commit(seq);
        if (trial->operation->loses_segments && (r == -ESTALE || r == -ENOTRECOVERABLE))
                return;
        if (r < 0)
                complain(worker, "commit of %" PRId64 ": %s", number, seqnum_strerror(r));
        if (!record_add(trial->invoices, number, 1))
                complain(worker, "DUPLICATE: invoice %" PRId64, number);
        atomic_store(&worker->committing, 0);
}

/*
 * Ids come in order, so that none can come twice; but for those who draw from a segment
 * that has been replaced, to whom a few may be left.
 */
static bool note_id(const struct trial *trial, int64_t id)
{
        int64_t last = atomic_load(&trial->shop->last_id);
        uint64_t n = atomic_fetch_add(&trial->shop->n_ids, 1);

        if (id <= last && !trial->operation->loses_segments)
                return false;
        if (n >= TRIAL_IDS_MAX)
                return false;
        trial->shop->ids[n] = id;
        atomic_store(&trial->shop->last_id, id);
        return true;
}

static void draw_id(const struct trial *trial, struct worker *worker, struct seqnum *seq)
{
        int64_t id;
        int r = seqnum_next(seq, &id);

        if (r < 0)
                complain(worker, "id: %s", seqnum_strerror(r));
        if (!note_id(trial, id))
                complain(worker, "DUPLICATE or out of order: id %" PRId64, id);
}

static struct seqnum *go_to_work(const struct trial *trial, struct worker *worker, const char *name)
{
        uint64_t deadline = now_usec() + patience_usec(PATIENCE_USEC);
        struct seqnum_client *client;
        struct seqnum *seq;
        int r;

        while ((r = seqnum_attach(&client, trial->instance->shm, 0)) < 0) {
                if ((r != -ENXIO && r != -EAGAIN) || now_usec() > deadline)
                        complain(worker, "attach: %s", seqnum_strerror(r));
                nap(1000);
        }
        (void)seqnum_set_timeout(client, patience_usec(PATIENCE_USEC));
        r = seqnum_open(&seq, client, name);
        if (r < 0)
                complain(worker, "open %s: %s", name, seqnum_strerror(r));
        return seq;
}

__attribute__((noreturn)) static void work(const struct trial *trial, size_t i)
{
        static const char *const names[TRIAL_WORKERS] = {"orders", "invoices", "ids"};
        static void (*const once[TRIAL_WORKERS])(const struct trial *trial, struct worker *worker,
                                                 struct seqnum *seq) = {draw_order, commit_invoice,
                                                                        draw_id};
        struct worker *worker = &trial->shop->workers[i];
        struct seqnum *seq = go_to_work(trial, worker, names[i]);

        for (;;) {
                while (atomic_load(&trial->shop->rest)) {
                        atomic_store(&worker->resting, true);
                        nap(100);
                }
                atomic_store(&worker->resting, false);
                once[i](trial, worker, seq);
                atomic_fetch_add(&worker->done, 1);
                nap(trial->operation->pause_usec);
        }
}

/* Those who have a sequence to work on. */
static bool employed(const struct trial *trial, size_t i)
{
        static const char *const sections[TRIAL_WORKERS] = {"[sequence orders]",
                                                            "[sequence invoices]",
                                                            "[sequence ids]"};

        return strstr(trial->operation->ini, sections[i]) != NULL;
}

static void check_workers(const struct trial *trial)
{
        for (size_t i = 0; i < TRIAL_WORKERS; i++)
                if (trial->shop->workers[i].complaint[0])
                        fail_msg("%s, kill %" PRIu64 ": %s", trial->operation->title, trial->kills,
                                 trial->shop->workers[i].complaint);
}

static void start_workers(struct trial *trial)
{
        for (size_t i = 0; i < TRIAL_WORKERS; i++) {
                if (!employed(trial, i) || trial->pids[i])
                        continue;
                trial->pids[i] = instance_fork(trial->instance);
                if (trial->pids[i] == 0)
                        work(trial, i);
        }
}

/* What they had drawn, and had no time to note, is lost. */
void trial_kill_workers(struct trial *trial)
{
        for (size_t i = 0; i < TRIAL_WORKERS; i++) {
                if (!trial->pids[i])
                        continue;
                (void)kill(trial->pids[i], SIGKILL);
                instance_reap(trial->instance, trial->pids[i]);
                trial->pids[i] = 0;
        }
        trial->unheard = atomic_exchange(&trial->shop->workers[1].committing, 0);
        check_workers(trial);
}

uint64_t trial_done(const struct trial *trial)
{
        uint64_t n = 0;

        for (size_t i = 0; i < TRIAL_WORKERS; i++)
                n += atomic_load(&trial->shop->workers[i].done);
        return n;
}

/* Nobody is stuck: each begins and ends something. */
static void await_progress(struct trial *trial)
{
        uint64_t since = now_usec(), before[TRIAL_WORKERS];

        for (size_t i = 0; i < TRIAL_WORKERS; i++)
                before[i] = atomic_load(&trial->shop->workers[i].done);
        atomic_store(&trial->shop->rest, false);
        for (size_t i = 0; i < TRIAL_WORKERS; i++) {
                while (trial->pids[i] &&
                       atomic_load(&trial->shop->workers[i].done) < before[i] + 2) {
                        check_workers(trial);
                        if (now_usec() - since > patience_usec(PATIENCE_USEC))
                                fail_msg("worker %zu has come to a halt", i);
                        nap(200);
                }
        }
        if (now_usec() - since > trial->longest_usec)
                trial->longest_usec = now_usec() - since;
}

static void let_rest(struct trial *trial)
{
        uint64_t deadline = now_usec() + patience_usec(PATIENCE_USEC);

        atomic_store(&trial->shop->rest, true);
        for (size_t i = 0; i < TRIAL_WORKERS; i++) {
                while (trial->pids[i] && !atomic_load(&trial->shop->workers[i].resting)) {
                        check_workers(trial);
                        assert_true(now_usec() < deadline);
                        nap(100);
                }
        }
}

/* --- after a death ------------------------------------------------------------------ */

/* The next number is new, and what lies below it was drawn, but for so many more. */
static void judge_orders(struct trial *trial, struct seqnum_client *client, uint64_t skips)
{
        int64_t number = must_next(instance_open(client, "orders"));
        uint64_t end = record_index(trial->orders, number) + 1, lost;

        if (!record_add(trial->orders, number, 1))
                fail_msg("DUPLICATE: %" PRId64, number);
        lost = end - record_count(trial->orders, end);
        if (lost > trial->lost + skips)
                fail_msg("%s, kill %" PRIu64 ": skipped %" PRIu64 " numbers before %" PRId64,
                         trial->operation->title, trial->kills, lost - trial->lost, number);
        trial->lost = lost;
        trial->last_number = number;
}

/* What comes next was not committed, and all below it was. */
static void judge_invoices(struct trial *trial, struct seqnum_client *client)
{
        struct seqnum *seq = instance_open(client, "invoices");
        int64_t number = 0;
        int r = seqnum_begin(seq, &number);

        if (r < 0)
                fail_msg("begin: %s", seqnum_strerror(r));
        if (trial->unheard && trial->unheard < number)
                (void)record_add(trial->invoices, trial->unheard, 1);
        if (record_count(trial->invoices, (uint64_t)number - 1) != (uint64_t)number - 1)
                fail_msg("%s, kill %" PRIu64 ": a gap before %" PRId64, trial->operation->title,
                         trial->kills, number);
        trial->unheard = 0;
        r = seqnum_commit(seq);
        if (r < 0)
                fail_msg("commit: %s", seqnum_strerror(r));
        if (!record_add(trial->invoices, number, 1))
                fail_msg("DUPLICATE: invoice %" PRId64, number);
}

static void judge_ids(struct trial *trial, struct seqnum_client *client)
{
        int64_t id = must_next(instance_open(client, "ids"));

        if (!note_id(trial, id))
                fail_msg("DUPLICATE or out of order: id %" PRId64, id);
}

static int compare_ids(const void *a, const void *b)
{
        int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

        return (x > y) - (x < y);
}

static void judge_all_ids(const struct trial *trial)
{
        uint64_t n = atomic_load(&trial->shop->n_ids);

        qsort(trial->shop->ids, n, sizeof(int64_t), compare_ids);
        for (uint64_t i = 1; i < n; i++)
                if (trial->shop->ids[i] == trial->shop->ids[i - 1])
                        fail_msg("DUPLICATE: id %" PRId64, trial->shop->ids[i]);
}

static void judge(struct trial *trial, bool reboot)
{
        const struct operation *operation = trial->operation;
        struct seqnum_client *client;

        await_progress(trial);
        let_rest(trial);
        client = instance_attach(trial->instance);
        (void)seqnum_set_timeout(client, patience_usec(PATIENCE_USEC));
        if (employed(trial, 0))
                judge_orders(trial, client, operation->skips + (reboot ? REBOOT_SKIPS : 0));
        if (employed(trial, 1))
                judge_invoices(trial, client);
        if (employed(trial, 2))
                judge_ids(trial, client);
        seqnum_detach(client);
        if (operation->judge)
                operation->judge(trial);
}

/* --- one death after the other -------------------------------------------------------- */

ino_t trial_inode(const struct instance *instance)
{
        struct stat status;

        return stat(instance_object(instance), &status) < 0 ? 0 : status.st_ino;
}

static void bury_asker(struct trial *trial)
{
        if (!trial->asker)
                return;
        (void)kill(trial->asker, SIGKILL);
        instance_reap(trial->instance, trial->asker);
        trial->asker = 0;
}

/* Killed just before its event number `limit`, or when it was through: true. */
static bool die(struct trial *trial, uint64_t limit, bool reboot)
{
        const struct operation *operation = trial->operation;
        struct instance *instance = trial->instance;
        struct trace trace;
        bool through;

        trial->kills++;
        trial->reboots += reboot;
        trial->inode = trial_inode(instance);
        trial->goal = trial_done(trial) + GOAL;
        if (operation->lead_up) {
                operation->lead_up(trial);
                atomic_store(&trial->shop->rest, false);
                trace_launch(&trace, instance);
        } else {
                trace_attach(&trace, instance);
                atomic_store(&trial->shop->rest, false);
                if (operation->trigger)
                        operation->trigger(trial);
        }
        through = trace_run(&trace, limit, operation->done, trial);
        if (trace.ended && !(WIFEXITED(trace.status) && WEXITSTATUS(trace.status) == 0))
                fail_msg("the daemon ended with wait status %#x", (unsigned)trace.status);
        trace_kill(&trace);
        if (trace.calls > trial->calls)
                trial->calls = trace.calls;
        if (trace.stores > trial->stores)
                trial->stores = trace.stores;
        bury_asker(trial);
        if (reboot) {
                trial_kill_workers(trial);
                instance_unlink(instance);
        }
        instance_start(instance);
        start_workers(trial);
        judge(trial, reboot);
        return through;
}

void trial_run(struct instance *instance, const struct operation *operation)
{
        bool all = scaled(1000) >= ALL_SCALE;
        unsigned stride = all ? 1 : operation->stride, complete = 0;
        struct trial trial = {
                .instance = instance,
                .operation = operation,
                .shop = shared_memory(sizeof(struct shop)),
                .orders = record_new(1, 1, 0),
                .invoices = record_new(1, 1, 0),
        };

        instance_configure(instance, "%s", operation->ini);
        instance_start(instance);
        start_workers(&trial);
        await_progress(&trial);
        let_rest(&trial);
        for (uint64_t n = 1 + random_below(stride); complete < COMPLETE; n += stride) {
                bool reboot = !all && random_below(2);

                complete = die(&trial, n, reboot) ? complete + 1 : 0;
                if (all)
                        (void)die(&trial, n, true);
                progress("%s: killed before event %" PRIu64, operation->title, n);
        }
        figures("operation=%s calls_stops=%" PRIu64 " stores=%" PRIu64 " every=%u kills=%" PRIu64
                " reboots=%" PRIu64 " numbers_skipped=%" PRIu64 " longest_usec=%" PRIu64
                " duplicates=0",
                operation->title, trial.calls, trial.stores, stride, trial.kills, trial.reboots,
                trial.lost, trial.longest_usec);
        trial_kill_workers(&trial);
        judge_all_ids(&trial);
        record_free(trial.orders);
        record_free(trial.invoices);
}
