/* SPDX-License-Identifier: MIT */

/*
 * The daemon killed at each system call and before each store to the segment of
 * whatever it does (harness-trace.h): its start on a segment left open, closed or on
 * none at all; reserving, for counters and for ids of kind time; saving what was
 * committed without a gap; a clean stop; an alter, a restart, a drop; replacing
 * the segment.
 *
 * Meanwhile one process draws from a counter, one commits on a gapless sequence,
 * one draws ids of kind time: what they do while the daemon is in the midst of
 * something, and dead, is part of it. After each death another daemon is started,
 * and all of them must come on at once; nothing may have been drawn twice, nothing
 * committed be gone, and no number skipped where the daemon alone died. Or the
 * death is taken for a reboot: the segment is gone and they are dead too; then
 * what was reserved may be skipped.
 *
 * At a scale below 10 a sample: each so-manieth event, from a random one on, and one
 * of the two kinds of death.
 */

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sqlite3.h>

#include "harness-trace.h"

#define PATIENCE_USEC UINT64_C(20000000)
#define ALL_SCALE     10000 /* of scaled(1000): from here on each event */
#define APART         100   /* how far apart ranges lie that do not touch */
#define APART_SIZE    50
#define LEAP          1000 /* from one restart to the next */
#define IDS_MAX       (1 << 22)
#define COMPLETE      2 /* so many times in a row the daemon came to the end of it */

enum { ORDERS = 1, INVOICES = 2, IDS = 4, WORKERS = 3 };

/* What the workers have, where it is seen after their death. */
struct worker {
        _Atomic(uint64_t) done;      /* draws or commits */
        _Atomic(int64_t) committing; /* 0: nothing */
        _Atomic(bool) resting;
        char complaint[256];
};

struct shop {
        _Atomic(bool) rest; /* nobody shall begin anything */
        _Atomic(int64_t) last_id;
        _Atomic(uint64_t) n_ids;
        int64_t ids[IDS_MAX];
        struct worker workers[WORKERS];
};

struct scene;

struct operation {
        const char *title;
        const char *ini;
        unsigned stride;
        unsigned pause_usec; /* of the workers, between two draws */
        unsigned skips;      /* a death may skip so many of the counter's numbers */
        bool loses_segments; /* while somebody lives who uses them */
        void (*lead_up)(struct scene *scene); /* before a start that is traced; else NULL */
        void (*trigger)(struct scene *scene); /* else: what the daemon is to do, may be NULL */
        bool (*done)(void *scene);
        void (*judge)(struct scene *scene); /* besides, may be NULL */
};

struct scene {
        struct instance *instance;
        const struct operation *operation;
        struct shop *shop;
        struct record *orders, *invoices, *former; /* all that was drawn; of sequences dropped */
        pid_t pids[WORKERS];
        pid_t asker;         /* asks the daemon for a change, 0: nobody */
        int64_t unheard;     /* number that a worker was committing when it was killed */
        uint64_t goal;       /* draws of all workers */
        uint64_t lost;       /* numbers of the counter that were skipped so far */
        int64_t last_number; /* that we drew from the counter */
        int64_t base;        /* of restarts and creations */
        ino_t inode;         /* of the segment as it was */
        uint64_t kills, reboots, calls, stores, longest_usec;
};

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

static void draw_order(const struct scene *scene, struct worker *worker, struct seqnum *seq)
{
        int64_t number;
        int r = seqnum_next(seq, &number);

        if (r < 0)
                complain(worker, "next: %s", seqnum_strerror(r));
        if (!record_add(scene->orders, number, 1))
                complain(worker, "DUPLICATE: %" PRId64, number);
}

/*
 * Only where segments get lost may a commit fail: with the daemon, before it had the
 * number stored. Then it was not committed, or nobody knows: the next one tells.
 */
static void commit_invoice(const struct scene *scene, struct worker *worker, struct seqnum *seq)
{
        int64_t number, unheard = atomic_load(&worker->committing);
        int r = seqnum_begin(seq, &number);

        if (r < 0)
                complain(worker, "begin: %s", seqnum_strerror(r));
        if (unheard && unheard < number)
                (void)record_add(scene->invoices, unheard, 1);
        atomic_store(&worker->committing, number);
        r = seqnum_commit(seq);
        if (scene->operation->loses_segments && (r == -ESTALE || r == -ENOTRECOVERABLE))
                return;
        if (r < 0)
                complain(worker, "commit of %" PRId64 ": %s", number, seqnum_strerror(r));
        if (!record_add(scene->invoices, number, 1))
                complain(worker, "DUPLICATE: invoice %" PRId64, number);
        atomic_store(&worker->committing, 0);
}

/*
 * Ids come in order, so that none can come twice; but for those who draw from a segment
 * that has been replaced, to whom a few may be left.
 */
static bool note_id(const struct scene *scene, int64_t id)
{
        int64_t last = atomic_load(&scene->shop->last_id);
        uint64_t n = atomic_fetch_add(&scene->shop->n_ids, 1);

        if (id <= last && !scene->operation->loses_segments)
                return false;
        if (n >= IDS_MAX)
                return false;
        scene->shop->ids[n] = id;
        atomic_store(&scene->shop->last_id, id);
        return true;
}

static void draw_id(const struct scene *scene, struct worker *worker, struct seqnum *seq)
{
        int64_t id;
        int r = seqnum_next(seq, &id);

        if (r < 0)
                complain(worker, "id: %s", seqnum_strerror(r));
        if (!note_id(scene, id))
                complain(worker, "DUPLICATE or out of order: id %" PRId64, id);
}

static struct seqnum *go_to_work(const struct scene *scene, struct worker *worker, const char *name)
{
        uint64_t deadline = now_usec() + patience_usec(PATIENCE_USEC);
        struct seqnum_client *client;
        struct seqnum *seq;
        int r;

        while ((r = seqnum_attach(&client, scene->instance->shm, 0)) < 0) {
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

__attribute__((noreturn)) static void work(const struct scene *scene, size_t i)
{
        static const char *const names[WORKERS] = {"orders", "invoices", "ids"};
        static void (*const once[WORKERS])(const struct scene *scene, struct worker *worker,
                                           struct seqnum *seq) = {draw_order, commit_invoice,
                                                                  draw_id};
        struct worker *worker = &scene->shop->workers[i];
        struct seqnum *seq = go_to_work(scene, worker, names[i]);

        for (;;) {
                while (atomic_load(&scene->shop->rest)) {
                        atomic_store(&worker->resting, true);
                        nap(100);
                }
                atomic_store(&worker->resting, false);
                once[i](scene, worker, seq);
                atomic_fetch_add(&worker->done, 1);
                nap(scene->operation->pause_usec);
        }
}

/* Those who have a sequence to work on. */
static bool employed(const struct scene *scene, size_t i)
{
        static const char *const sections[WORKERS] = {"[sequence orders]", "[sequence invoices]",
                                                      "[sequence ids]"};

        return strstr(scene->operation->ini, sections[i]) != NULL;
}

static void check_workers(const struct scene *scene)
{
        for (size_t i = 0; i < WORKERS; i++)
                if (scene->shop->workers[i].complaint[0])
                        fail_msg("%s, kill %" PRIu64 ": %s", scene->operation->title, scene->kills,
                                 scene->shop->workers[i].complaint);
}

static void start_workers(struct scene *scene)
{
        for (size_t i = 0; i < WORKERS; i++) {
                if (!employed(scene, i) || scene->pids[i])
                        continue;
                scene->pids[i] = instance_fork(scene->instance);
                if (scene->pids[i] == 0)
                        work(scene, i);
        }
}

/* What they had drawn, and had no time to note, is lost. */
static void kill_workers(struct scene *scene)
{
        for (size_t i = 0; i < WORKERS; i++) {
                if (!scene->pids[i])
                        continue;
                (void)kill(scene->pids[i], SIGKILL);
                instance_reap(scene->instance, scene->pids[i]);
                scene->pids[i] = 0;
        }
        scene->unheard = atomic_exchange(&scene->shop->workers[1].committing, 0);
        check_workers(scene);
}

static uint64_t all_done(const struct scene *scene)
{
        uint64_t n = 0;

        for (size_t i = 0; i < WORKERS; i++)
                n += atomic_load(&scene->shop->workers[i].done);
        return n;
}

/* Nobody is stuck: each begins and ends something. */
static void await_progress(struct scene *scene)
{
        uint64_t since = now_usec(), before[WORKERS];

        for (size_t i = 0; i < WORKERS; i++)
                before[i] = atomic_load(&scene->shop->workers[i].done);
        atomic_store(&scene->shop->rest, false);
        for (size_t i = 0; i < WORKERS; i++) {
                while (scene->pids[i] &&
                       atomic_load(&scene->shop->workers[i].done) < before[i] + 2) {
                        check_workers(scene);
                        if (now_usec() - since > patience_usec(PATIENCE_USEC))
                                fail_msg("worker %zu has come to a halt", i);
                        nap(200);
                }
        }
        if (now_usec() - since > scene->longest_usec)
                scene->longest_usec = now_usec() - since;
}

static void let_rest(struct scene *scene)
{
        uint64_t deadline = now_usec() + patience_usec(PATIENCE_USEC);

        atomic_store(&scene->shop->rest, true);
        for (size_t i = 0; i < WORKERS; i++) {
                while (scene->pids[i] && !atomic_load(&scene->shop->workers[i].resting)) {
                        check_workers(scene);
                        assert_true(now_usec() < deadline);
                        nap(100);
                }
        }
}

/* --- after a death ------------------------------------------------------------------ */

/* The next number is new, and what lies below it was drawn, but for so many more. */
static void judge_orders(struct scene *scene, struct seqnum_client *client, uint64_t skips)
{
        int64_t number = must_next(instance_open(client, "orders"));
        uint64_t end = record_index(scene->orders, number) + 1, lost;

        if (!record_add(scene->orders, number, 1))
                fail_msg("DUPLICATE: %" PRId64, number);
        lost = end - record_count(scene->orders, end);
        if (lost > scene->lost + skips)
                fail_msg("%s, kill %" PRIu64 ": skipped %" PRIu64 " numbers before %" PRId64,
                         scene->operation->title, scene->kills, lost - scene->lost, number);
        scene->lost = lost;
        scene->last_number = number;
}

/* What comes next was not committed, and all below it was. */
static void judge_invoices(struct scene *scene, struct seqnum_client *client)
{
        struct seqnum *seq = instance_open(client, "invoices");
        int64_t number = 0;
        int r = seqnum_begin(seq, &number);

        if (r < 0)
                fail_msg("begin: %s", seqnum_strerror(r));
        if (scene->unheard && scene->unheard < number)
                (void)record_add(scene->invoices, scene->unheard, 1);
        if (record_count(scene->invoices, (uint64_t)number - 1) != (uint64_t)number - 1)
                fail_msg("%s, kill %" PRIu64 ": a gap before %" PRId64, scene->operation->title,
                         scene->kills, number);
        scene->unheard = 0;
        r = seqnum_commit(seq);
        if (r < 0)
                fail_msg("commit: %s", seqnum_strerror(r));
        if (!record_add(scene->invoices, number, 1))
                fail_msg("DUPLICATE: invoice %" PRId64, number);
}

static void judge_ids(struct scene *scene, struct seqnum_client *client)
{
        int64_t id = must_next(instance_open(client, "ids"));

        if (!note_id(scene, id))
                fail_msg("DUPLICATE or out of order: id %" PRId64, id);
}

static int compare_ids(const void *a, const void *b)
{
        int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

        return (x > y) - (x < y);
}

static void judge_all_ids(const struct scene *scene)
{
        uint64_t n = atomic_load(&scene->shop->n_ids);

        qsort(scene->shop->ids, n, sizeof(int64_t), compare_ids);
        for (uint64_t i = 1; i < n; i++)
                if (scene->shop->ids[i] == scene->shop->ids[i - 1])
                        fail_msg("DUPLICATE: id %" PRId64, scene->shop->ids[i]);
}

static void judge(struct scene *scene, bool reboot)
{
        const struct operation *operation = scene->operation;
        struct seqnum_client *client;

        await_progress(scene);
        let_rest(scene);
        client = instance_attach(scene->instance);
        (void)seqnum_set_timeout(client, patience_usec(PATIENCE_USEC));
        if (employed(scene, 0))
                judge_orders(scene, client, reboot ? UINT32_MAX : operation->skips);
        if (employed(scene, 1))
                judge_invoices(scene, client);
        if (employed(scene, 2))
                judge_ids(scene, client);
        seqnum_detach(client);
        if (operation->judge)
                operation->judge(scene);
}

/* --- one death after the other -------------------------------------------------------- */

static ino_t inode_of(const struct instance *instance)
{
        struct stat status;

        return stat(instance_object(instance), &status) < 0 ? 0 : status.st_ino;
}

static void bury_asker(struct scene *scene)
{
        if (!scene->asker)
                return;
        (void)kill(scene->asker, SIGKILL);
        instance_reap(scene->instance, scene->asker);
        scene->asker = 0;
}

/* Killed just before its event number `limit`, or when it was through: true. */
static bool die(struct scene *scene, uint64_t limit, bool reboot)
{
        const struct operation *operation = scene->operation;
        struct instance *instance = scene->instance;
        struct trace trace;
        bool through;

        scene->kills++;
        scene->reboots += reboot;
        scene->inode = inode_of(instance);
        scene->goal = all_done(scene) + 6;
        if (operation->lead_up) {
                operation->lead_up(scene);
                atomic_store(&scene->shop->rest, false);
                trace_launch(&trace, instance);
        } else {
                trace_attach(&trace, instance);
                atomic_store(&scene->shop->rest, false);
                if (operation->trigger)
                        operation->trigger(scene);
        }
        through = trace_run(&trace, limit, operation->done, scene);
        if (trace.ended && !(WIFEXITED(trace.status) && WEXITSTATUS(trace.status) == 0))
                fail_msg("the daemon ended with wait status %#x", (unsigned)trace.status);
        trace_kill(&trace);
        if (trace.calls > scene->calls)
                scene->calls = trace.calls;
        if (trace.stores > scene->stores)
                scene->stores = trace.stores;
        bury_asker(scene);
        if (reboot) {
                kill_workers(scene);
                instance_unlink(instance);
        }
        instance_start(instance);
        start_workers(scene);
        judge(scene, reboot);
        return through;
}

static void play(struct instance *instance, const struct operation *operation)
{
        bool all = scaled(1000) >= ALL_SCALE;
        unsigned stride = all ? 1 : operation->stride, complete = 0;
        struct scene scene = {
                .instance = instance,
                .operation = operation,
                .shop = shared_memory(sizeof(struct shop)),
                .orders = record_new(1, 1, 0),
                .invoices = record_new(1, 1, 0),
                .former = record_new(1, 1, 0),
                .base = 1,
        };

        instance_configure(instance, "%s", operation->ini);
        instance_start(instance);
        start_workers(&scene);
        await_progress(&scene);
        let_rest(&scene);
        for (uint64_t n = 1 + random_below(stride); complete < COMPLETE; n += stride) {
                bool reboot = !all && random_below(2);

                complete = die(&scene, n, reboot) ? complete + 1 : 0;
                if (all)
                        (void)die(&scene, n, true);
                progress("%s: killed before event %" PRIu64, operation->title, n);
        }
        figures("operation=%s calls_stops=%" PRIu64 " stores=%" PRIu64 " every=%u kills=%" PRIu64
                " reboots=%" PRIu64 " numbers_skipped=%" PRIu64 " longest_usec=%" PRIu64
                " duplicates=0",
                operation->title, scene.calls, scene.stores, stride, scene.kills, scene.reboots,
                scene.lost, scene.longest_usec);
        kill_workers(&scene);
        judge_all_ids(&scene);
        record_free(scene.orders);
        record_free(scene.invoices);
        record_free(scene.former);
}

/* --- reserving and saving --------------------------------------------------------------- */

static bool enough_done(void *userdata)
{
        struct scene *scene = userdata;

        return all_done(scene) >= scene->goal;
}

static void extends(struct instance *instance)
{
        play(instance, &(const struct operation){
                               .title = "extend",
                               .ini = "[sequence orders]\nreserve = 4\n",
                               .stride = 29,
                               .pause_usec = 100,
                               .done = enough_done,
                       });
}

static void extends_of_time(struct instance *instance)
{
        play(instance, &(const struct operation){
                               .title = "extend_time",
                               .ini = "[sequence ids]\nkind = time\nreserve = 20\n",
                               .stride = 29,
                               .pause_usec = 3000,
                               .done = enough_done,
                       });
}

static void saves(struct instance *instance)
{
        play(instance, &(const struct operation){
                               .title = "save",
                               .ini = "[sequence invoices]\nkind = gapless\n",
                               .stride = 61,
                               .pause_usec = 100,
                               .done = enough_done,
                       });
}

/* --- stop and start ---------------------------------------------------------------------- */

#define ALL_KINDS                                                                                  \
        "[sequence orders]\nreserve = 500\n"                                                       \
        "[sequence invoices]\nkind = gapless\n"                                                    \
        "[sequence ids]\nkind = time\n"

static void stop_it(struct scene *scene)
{
        assert_int_equal(kill(scene->instance->pid, SIGTERM), 0);
}

static bool never(void *userdata)
{
        (void)userdata;
        return false;
}

static void stops(struct instance *instance)
{
        play(instance, &(const struct operation){
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
        struct scene *scene = userdata;

        return instance_ready(scene->instance);
}

static void after_a_stop(struct scene *scene)
{
        instance_stop(scene->instance);
}

static void after_a_crash(struct scene *scene)
{
        instance_kill(scene->instance);
}

static void after_a_reboot(struct scene *scene)
{
        kill_workers(scene);
        instance_kill(scene->instance);
        instance_unlink(scene->instance);
}

static void starts_after_a_stop(struct instance *instance)
{
        play(instance, &(const struct operation){
                               .title = "start_closed",
                               .ini = ALL_KINDS,
                               .stride = 61,
                               .pause_usec = 200,
                               .lead_up = after_a_stop,
                               .done = is_ready,
                       });
}

static void starts_after_a_crash(struct instance *instance)
{
        play(instance, &(const struct operation){
                               .title = "start_open",
                               .ini = ALL_KINDS,
                               .stride = 61,
                               .pause_usec = 200,
                               .lead_up = after_a_crash,
                               .done = is_ready,
                       });
}

/* Without those who draw: what was reserved is skipped, and no matter. */
static void starts_after_a_reboot(struct instance *instance)
{
        play(instance, &(const struct operation){
                               .title = "start_anew",
                               .ini = ALL_KINDS,
                               .stride = 61,
                               .pause_usec = 200,
                               .skips = UINT32_MAX,
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
static void store_says(const struct instance *instance, const char *format, ...)
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
static void grant_apart(const struct scene *scene)
{
        store_says(scene->instance,
                   "UPDATE sequence SET lo = hi + %d, hi = hi + %d, exact = 0, checksum = "
                   "fnv(id, generation, kind, start, increment, min, max, cycle, reserve, origin, "
                   "hi + %d, hi + %d, 0, name)",
                   APART, APART + APART_SIZE, APART, APART + APART_SIZE);
}

static void after_a_jump(struct scene *scene)
{
        instance_kill(scene->instance);
        grant_apart(scene);
}

/* The same, while the window is closed. */
static void after_a_closed_jump(struct scene *scene)
{
        instance_stop(scene->instance);
        grant_apart(scene);
}

static void jumps(struct instance *instance)
{
        play(instance, &(const struct operation){
                               .title = "jump",
                               .ini = "[sequence orders]\nreserve = 50\n",
                               .stride = 61,
                               .pause_usec = 200,

                               .skips = APART + APART_SIZE,
                               .lead_up = after_a_jump,
                               .done = is_ready,
                       });
}

static void closed_jumps(struct instance *instance)
{
        play(instance, &(const struct operation){
                               .title = "jump_closed",
                               .ini = "[sequence orders]\nreserve = 50\n",
                               .stride = 61,
                               .pause_usec = 200,

                               .skips = APART + APART_SIZE,
                               .lead_up = after_a_closed_jump,
                               .done = is_ready,
                       });
}

/* --- changes ------------------------------------------------------------------------------- */

/* Have somebody ask for it over the socket who does not mind being left without an answer. */
__attribute__((format(printf, 2, 3))) static void ask(struct scene *scene, const char *format, ...)
{
        char request[256], answer[64];
        va_list arguments;
        int fd, length;

        va_start(arguments, format);
        length = vsnprintf(request, sizeof(request), format, arguments);
        va_end(arguments);
        scene->asker = instance_fork(scene->instance);
        if (scene->asker > 0)
                return;
        fd = instance_connect(scene->instance);
        if (fd < 0 || write(fd, request, (size_t)length) != length)
                _exit(1);
        _exit(read(fd, answer, sizeof(answer)) > 0 && answer[0] != '-' ? 0 : 1);
}

static bool answered(void *userdata)
{
        struct scene *scene = userdata;
        siginfo_t info = {0};

        return waitid(P_PID, (id_t)scene->asker, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
               info.si_pid == scene->asker;
}

static void alter(struct scene *scene)
{
        ask(scene, "SEQ.ALTER orders max %" PRIu64 "\r\n", UINT64_C(1000000000000) + scene->kills);
}

static void alters(struct instance *instance)
{
        play(instance, &(const struct operation){
                               .title = "alter",
                               .ini = ALL_KINDS,
                               .stride = 29,
                               .pause_usec = 200,
                               .skips = 1,
                               .trigger = alter,
                               .done = answered,
                       });
}

/* Further on than anybody comes meanwhile. */
static void restart(struct scene *scene)
{
        scene->base = scene->last_number + LEAP;
        ask(scene, "SEQ.RESTART orders %" PRId64 "\r\n", scene->base);
}

static void restarts(struct instance *instance)
{
        play(instance, &(const struct operation){
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
static void drop(struct scene *scene)
{
        ask(scene, "SEQ.DROP passing\r\nSEQ.CREATE passing start %" PRId64 "\r\n", scene->base);
}

static void judge_drop(struct scene *scene)
{
        struct seqnum_client *client = instance_attach(scene->instance);
        struct seqnum *seq;
        int64_t number;
        int r;

        scene->base += LEAP;
        r = seqnum_open(&seq, client, "passing");
        if (r == -ENOENT) {
                const char *answer = instance_ask(scene->instance,
                                                  "SEQ.CREATE passing start %" PRId64, scene->base);

                assert_string_equal(answer, "+OK");
                r = seqnum_open(&seq, client, "passing");
                scene->base += LEAP;
        }
        if (r < 0)
                fail_msg("open: %s", seqnum_strerror(r));
        number = must_next(seq);
        if (!record_add(scene->former, number, 1))
                fail_msg("DUPLICATE: %" PRId64 " of a sequence dropped", number);
        seqnum_detach(client);
}

static void drops(struct instance *instance)
{
        play(instance, &(const struct operation){
                               .title = "drop",
                               .ini = "[sequence orders]\n",
                               .stride = 29,
                               .pause_usec = 500,
                               .trigger = drop,
                               .done = answered,
                               .judge = judge_drop,
                       });
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

static void take_name(struct scene *scene)
{
        instance_unlink(scene->instance);
}

static bool named_again(void *userdata)
{
        struct scene *scene = userdata;
        ino_t inode = inode_of(scene->instance);

        return inode != 0 && inode != scene->inode;
}

/*
 * Who dies while the name is gone leaves clients that draw on from what was reserved,
 * while others draw behind it: what those do not draw is skipped in the end.
 */
static void replacements(struct instance *instance)
{
        play(instance, &(const struct operation){
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
