/* SPDX-License-Identifier: MIT */

/*
 * Power cuts. The state directory is on a disk that can lose its power at any
 * request (harness-disk.h); processes draw at full speed, commit gapless numbers
 * and take ids made of time. At random moments the power goes: while serving,
 * while starting, while stopping, with the daemon killed just before, or after.
 * What the disk held is all that the next start has. No segment, no cache.
 *
 * Two forms. Either everything dies, and the same history goes on with what was
 * left, cut after cut, with one record of all numbers that anybody ever received.
 * Or the service goes on, and a second daemon is started beside it on what would
 * have been left. In both, what is received after the cut counts too, since
 * the disk answers nothing from the cut on: it cannot have been confirmed later.
 *
 * In some lives the disk also fails writes, and then works again: the kernel gives
 * up on such pages, and a later sync does not say so.
 */

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness-disk.h"

#define CUTS        10
#define WORLD_CUTS  200 /* then a new record: what a cut skips fills it */
#define DRAWERS     3
#define CLERKS      3
#define STAMPERS    2
#define WINDOW      1000
#define RUN_MAX     50
#define NUMBERS_MAX (1 << 20)
#define WAIT_USEC   UINT64_C(20000000)
#define N_COUNTERS  3

static const char *const counters[N_COUNTERS] = {"orders", "parts", "down"};
static const char sequences[] = "[sequence orders]\n"
                                "[sequence parts]\n"
                                "reserve = 1000\n"
                                "[sequence down]\n"
                                "increment = -1\n"
                                "start = -1\n"
                                "min = -9000000000\n"
                                "max = -1\n"
                                "reserve = 200\n"
                                "[sequence invoices]\n"
                                "kind = gapless\n"
                                "[sequence ticks]\n"
                                "kind = time\n";

/* --- who commits, and who takes ids ------------------------------------------------ */

struct ledger {
        _Atomic(uint32_t) committed[NUMBERS_MAX]; /* how often a number was */
        _Atomic(bool) doubtful[NUMBERS_MAX];      /* killed before we heard of its commit */
        _Atomic(int64_t) committing[CLERKS];
        _Atomic(uint64_t) n_committed;
        _Atomic(int64_t) ids[STAMPERS]; /* the last one taken */
        _Atomic(uint64_t) n_ids;
        _Atomic(int64_t) floor; /* all ids of former lives are at most this */
        char complaint[256];
};

struct world {
        struct instance *instance;
        struct disk *disk;
        struct instance *copy; /* the second daemon */
        struct crew *crew;     /* NULL: none yet */
        struct ledger *ledger;
        pid_t clerks[CLERKS], stampers[STAMPERS];
        bool at_work;
        bool writes_fail;       /* in some lives */
        bool failing;           /* and in this one */
        uint64_t skipped, lost; /* of the sequence with a fixed reserve, up to the last start */
        uint64_t cuts, looks, at_start, at_stop, failed_lives, numbers, committed, ids;
};

__attribute__((format(printf, 2, 3), noreturn)) static void complain(struct ledger *ledger,
                                                                     const char *format, ...)
{
        va_list arguments;

        va_start(arguments, format);
        (void)vsnprintf(ledger->complaint, sizeof(ledger->complaint), format, arguments);
        va_end(arguments);
        _exit(1);
}

static struct seqnum *attach_patiently(const struct instance *instance, struct ledger *ledger,
                                       const char *name)
{
        uint64_t deadline = now_usec() + patience_usec(WAIT_USEC);
        struct seqnum_client *client;
        struct seqnum *seq;
        int r;

        while ((r = seqnum_attach(&client, instance->shm, 0)) < 0) {
                if ((r != -ENXIO && r != -EAGAIN) || now_usec() > deadline)
                        complain(ledger, "attach: %s", seqnum_strerror(r));
                nap(1000);
        }
        (void)seqnum_set_timeout(client, patience_usec(WAIT_USEC));
        r = seqnum_open(&seq, client, name);
        if (r < 0)
                complain(ledger, "open %s: %s", name, seqnum_strerror(r));
        return seq;
}

static void commit_one(struct ledger *ledger, size_t clerk, struct seqnum *seq)
{
        int64_t number;
        int r = seqnum_begin(seq, &number);

        if (r < 0)
                complain(ledger, "begin: %s", seqnum_strerror(r));
        if (number < 1 || number >= NUMBERS_MAX)
                complain(ledger, "%" PRId64 " is none of the numbers", number);
        atomic_store(&ledger->committing[clerk], number);
        do
                r = seqnum_commit(seq);
        while (r == -EAGAIN || r == -ETIMEDOUT);
        if (r < 0)
                complain(ledger, "commit of %" PRId64 ": %s", number, seqnum_strerror(r));
        if (atomic_fetch_add(&ledger->committed[number], 1) != 0)
                complain(ledger, "DUPLICATE: %" PRId64 " was committed before", number);
        atomic_store(&ledger->committing[clerk], 0);
        atomic_fetch_add(&ledger->n_committed, 1);
}

__attribute__((noreturn)) static void clerk_main(const struct world *world, size_t clerk)
{
        struct seqnum *seq = attach_patiently(world->instance, world->ledger, "invoices");

        for (;;)
                commit_one(world->ledger, clerk, seq);
}

/* Ids ascend, also from one life to the next: so none comes twice. */
__attribute__((noreturn)) static void stamper_main(const struct world *world, size_t stamper)
{
        struct ledger *ledger = world->ledger;
        struct seqnum *seq = attach_patiently(world->instance, ledger, "ticks");
        int64_t id, last = atomic_load(&ledger->floor);
        int r;

        for (;;) {
                r = seqnum_next(seq, &id);
                if (r < 0)
                        complain(ledger, "ticks: %s", seqnum_strerror(r));
                if (id <= last)
                        complain(ledger, "ticks: %" PRId64 " after %" PRId64, id, last);
                last = id;
                atomic_store(&ledger->ids[stamper], id);
                atomic_fetch_add(&ledger->n_ids, 1);
        }
}

static int64_t last_id(const struct ledger *ledger)
{
        int64_t last = atomic_load(&ledger->floor);

        for (size_t i = 0; i < STAMPERS; i++)
                if (atomic_load(&ledger->ids[i]) > last)
                        last = atomic_load(&ledger->ids[i]);
        return last;
}

/* --- all of them ------------------------------------------------------------------- */

static void world_check(const struct world *world)
{
        if (world->ledger->complaint[0])
                fail_msg("%s", world->ledger->complaint);
        if (world->crew)
                crew_check(world->crew);
}

static void start_crew(struct world *world)
{
        const struct crew_order order = {
                .n_drawers = DRAWERS,
                .sequences = {{counters[0], record_new(1, 1, 0)},
                              {counters[1], record_new(1, 1, 0)},
                              {counters[2], record_new(-1, -1, 0)}},
                .rate = 3000000,
                .run_every = 16,
                .run_max = RUN_MAX,
        };

        world->crew = crew_start(world->instance, &order);
}

static void send_to_work(struct world *world)
{
        if (world->crew)
                for (size_t i = 0; i < DRAWERS; i++)
                        crew_replace(world->crew, i);
        else
                start_crew(world);
        for (size_t i = 0; i < CLERKS; i++) {
                world->clerks[i] = instance_fork(world->instance);
                if (world->clerks[i] == 0)
                        clerk_main(world, i);
        }
        for (size_t i = 0; i < STAMPERS; i++) {
                world->stampers[i] = instance_fork(world->instance);
                if (world->stampers[i] == 0)
                        stamper_main(world, i);
        }
        world->at_work = true;
}

static void bury(struct world *world, pid_t pid)
{
        (void)kill(pid, SIGKILL);
        instance_reap(world->instance, pid);
}

static void kill_all(struct world *world)
{
        struct ledger *ledger = world->ledger;

        if (!world->at_work)
                return;
        world->at_work = false;
        for (size_t i = 0; i < DRAWERS; i++)
                crew_kill(world->crew, i);
        for (size_t i = 0; i < STAMPERS; i++)
                bury(world, world->stampers[i]);
        for (size_t i = 0; i < CLERKS; i++) {
                int64_t number;

                bury(world, world->clerks[i]);
                number = atomic_exchange(&ledger->committing[i], 0);
                if (number > 0)
                        atomic_store(&ledger->doubtful[number], true);
        }
        world_check(world);
        atomic_store(&ledger->floor, last_id(ledger));
}

/* --- what must be there after a cut -------------------------------------------------- */

static const struct record *record_of(size_t i)
{
        static struct record *records[N_COUNTERS];

        if (!records[i]) /* for the mapping of values to indices alone */
                records[i] = i == 2 ? record_new(-1, -1, 0) : record_new(1, 1, 0);
        return records[i];
}

static void check_counters(const struct instance *instance, const uint64_t *ends)
{
        for (size_t i = 0; i < N_COUNTERS; i++) {
                uint64_t next = record_index(record_of(i), instance_peek(instance, counters[i]));

                if (next < ends[i])
                        fail_msg("%s: index %" PRIu64 " was drawn before the cut, %" PRIu64
                                 " would be next",
                                 counters[i], ends[i] - 1, next);
        }
}

/* Numbers below `next` were committed once each, or may have been; none above was. */
static void check_ledger(const struct ledger *ledger, int64_t next)
{
        for (int64_t i = 1; i < NUMBERS_MAX; i++) {
                uint32_t n = atomic_load(&ledger->committed[i]);

                if (n > 1 || (n == 1 && i >= next))
                        fail_msg("%" PRId64 " was committed %" PRIu32 " times, %" PRId64
                                 " comes next",
                                 i, n, next);
                if (n == 0 && i < next && !atomic_load(&ledger->doubtful[i]))
                        fail_msg("a gap: nobody committed %" PRId64, i);
        }
}

/* A cut skips at most one window, and what the killed were drawing. */
static void check_skipped(struct world *world)
{
        uint64_t skipped = crew_skipped(world->instance, world->crew, 1);
        uint64_t lost = crew_lost(world->crew, 1);

        if (!world->failing && skipped - world->skipped > WINDOW + lost - world->lost)
                fail_msg("a cut skipped %" PRIu64 " numbers", skipped - world->skipped);
        world->skipped = skipped;
        world->lost = lost;
}

static void check_start(struct world *world)
{
        uint64_t ends[N_COUNTERS] = {0};

        for (size_t i = 0; i < N_COUNTERS && world->crew; i++)
                ends[i] = crew_end(world->crew, i);
        check_counters(world->instance, ends);
        check_ledger(world->ledger, instance_peek(world->instance, "invoices"));
        if (world->crew)
                check_skipped(world);
        world->failing = false;
}

/* --- a cut beside which the service goes on ------------------------------------------- */

struct knowledge {
        uint64_t ends[N_COUNTERS];
        int64_t committing[CLERKS];
        int64_t committed; /* the highest */
        int64_t id;
};

/* With the disk silent: whoever is not known now to commit cannot have been confirmed. */
static struct knowledge gather(const struct world *world)
{
        struct knowledge known = {.id = last_id(world->ledger)};

        for (size_t i = 0; i < N_COUNTERS; i++)
                known.ends[i] = crew_end(world->crew, i);
        for (size_t i = 0; i < CLERKS; i++)
                known.committing[i] = atomic_load(&world->ledger->committing[i]);
        for (int64_t i = 1; i < NUMBERS_MAX; i++)
                if (atomic_load(&world->ledger->committed[i]))
                        known.committed = i;
        return known;
}

static bool in_flight(const struct knowledge *known, const struct ledger *ledger, int64_t number)
{
        for (size_t i = 0; i < CLERKS; i++)
                if (known->committing[i] == number)
                        return true;
        return atomic_load(&ledger->doubtful[number]);
}

static void check_copy(const struct world *world, const struct knowledge *known)
{
        struct seqnum_client *client = instance_attach(world->copy);
        struct seqnum *invoices = instance_open(client, "invoices");
        int64_t number = must_next(invoices);

        check_counters(world->copy, known->ends);
        if (number <= known->committed)
                fail_msg("%" PRId64 " was committed before the cut, and again", number);
        for (int64_t i = known->committed + 1; i < number; i++)
                if (!in_flight(known, world->ledger, i))
                        fail_msg("a gap: nobody committed %" PRId64, i);
        number = must_next(instance_open(client, "ticks"));
        if (number <= known->id)
                fail_msg("ticks: %" PRId64 " after %" PRId64, number, known->id);
        for (size_t i = 0; i < N_COUNTERS; i++) {
                struct seqnum *seq = instance_open(client, counters[i]);

                for (uint64_t n = 0, index, least = known->ends[i]; n < 300; n++) {
                        index = record_index(record_of(i), must_next(seq));
                        if (index < least)
                                fail_msg("%s: index %" PRIu64 " after the cut", counters[i], index);
                        least = index + 1;
                }
        }
        seqnum_detach(client);
}

static void look_beside(struct world *world)
{
        struct knowledge known;

        disk_arm(world->disk, random_below(12));
        disk_await_cut(world->disk, 30000);
        nap(random_below(2000));
        known = gather(world);
        disk_go_on(world->disk);
        disk_mount_image(world->disk, world->copy->state);
        instance_forget_log(world->copy);
        instance_start(world->copy);
        check_copy(world, &known);
        instance_kill(world->copy);
        instance_unlink(world->copy);
        disk_unmount_image(world->disk);
        world->looks++;
}

/* --- a life, from one cut to the next -------------------------------------------------- */

static bool is_ready(const struct instance *instance)
{
        return strstr(instance->notices, "READY=1") != NULL;
}

/* False: the power went before it was ready. */
static bool start(struct world *world)
{
        struct instance *instance = world->instance;
        uint64_t deadline = now_usec() + patience_usec(WAIT_USEC);

        instance_forget_log(instance);
        instance_launch(instance);
        while (!is_ready(instance)) {
                if (disk_is_cut(world->disk))
                        return false;
                if (waitpid(instance->pid, NULL, WNOHANG) == instance->pid) {
                        instance->pid = 0;
                        fail_msg("the daemon does not start with what the cut left");
                }
                assert_true(now_usec() < deadline);
                nap(500);
        }
        return true;
}

/* What is in flight when the lights go out still arrives, in one order or another. */
static void power_off(struct world *world)
{
        struct instance *instance = world->instance;
        bool daemon_first = random_below(2);

        nap(random_below(3000));
        if (daemon_first && instance->pid)
                (void)kill(instance->pid, SIGKILL);
        kill_all(world);
        if (instance->pid)
                (void)kill(instance->pid, SIGKILL);
        disk_die(world->disk); /* or its death would have to wait for the disk */
        if (instance->pid)
                instance_kill(instance);
        disk_unmount(world->disk);
        disk_restore(world->disk);
        instance_unlink(instance);
        world->cuts++;
}

/* Serve for a while, until the cut. */
static void serve(struct world *world)
{
        uint64_t dice = random_below(8);

        send_to_work(world);
        nap(10000 + random_below(60000));
        crew_await_progress(world->crew);
        if (world->writes_fail && random_below(2) == 0) {
                disk_fail(world->disk, 1 + random_below(20), 1 + (uint32_t)random_below(3));
                world->failing = true;
                world->failed_lives++;
                nap(20000 + random_below(40000));
        } else {
                look_beside(world);
        }
        disk_arm(world->disk, random_below(24));
        if (dice == 0) {
                (void)kill(world->instance->pid, SIGTERM);
                world->at_stop++;
        } else if (dice < 3) {
                nap(random_below(2000));
                (void)kill(world->instance->pid, SIGKILL);
        }
        disk_await_cut(world->disk, dice < 3 ? 10000 : 40000);
}

static const char *mount_options(void)
{
        static const char *const options[] = {"data=ordered", "data=writeback", "data=journal",
                                              "nodelalloc"};

        return options[random_below(sizeof(options) / sizeof(options[0]))];
}

static void live(struct world *world)
{
        bool at_start = !world->crew || random_below(8) == 0;

        disk_mount(world->disk, world->instance->state, mount_options());
        if (at_start && random_below(4) > 0)
                disk_arm(world->disk, 1 + random_below(world->crew ? 40 : 120));
        if (!start(world)) {
                world->at_start++;
        } else {
                disk_disarm(world->disk);
                check_start(world);
                if (!disk_is_cut(world->disk))
                        serve(world);
        }
        power_off(world);
        world_check(world);
}

/* The last word on a history: start once more, and go on without a cut. */
static void conclude(struct world *world)
{
        disk_mount(world->disk, world->instance->state, "");
        instance_start(world->instance);
        check_start(world);
        send_to_work(world);
        crew_await_progress(world->crew);
        instance_stop(world->instance);
        kill_all(world);
        world->numbers += crew_drawn(world->crew);
        world->committed += atomic_load(&world->ledger->n_committed);
        world->ids += atomic_load(&world->ledger->n_ids);
        disk_unmount(world->disk);
        instance_unlink(world->instance);
        crew_free(world->instance);
        world->crew = NULL;
        world->skipped = world->lost = 0;
        memset(world->ledger, 0, sizeof(*world->ledger));
}

static struct world world;

static void prepare(struct instance *instance)
{
        world = (struct world){.instance = instance, .disk = disk_new(instance)};
        world.ledger = shared_memory(sizeof(*world.ledger));
        world.copy = instance_twin(instance);
        instance_configure(instance, "%s", sequences);
        instance_configure(world.copy, "%s", sequences);
}

static void cut_again_and_again(uint64_t cuts)
{
        struct disk_counters disk;

        while (world.cuts < cuts) {
                uint64_t end = world.cuts + WORLD_CUTS < cuts ? world.cuts + WORLD_CUTS : cuts;

                disk_format(world.disk);
                while (world.cuts < end) {
                        live(&world);
                        progress("%" PRIu64 " of %" PRIu64 " cuts", world.cuts, cuts);
                }
                conclude(&world);
        }
        disk = disk_counters(world.disk);
        figures("cuts=%" PRIu64 " at_start=%" PRIu64 " at_stop=%" PRIu64 " beside=%" PRIu64
                " lives_with_failing_writes=%" PRIu64 " sectors_lost=%" PRIu64 " flushes=%" PRIu64
                " numbers=%" PRIu64 " committed=%" PRIu64 " ids=%" PRIu64 " duplicates=0",
                world.cuts, world.at_start, world.at_stop, world.looks, world.failed_lives,
                disk.sectors_lost, disk.flushes, world.numbers, world.committed, world.ids);
}

static void cuts_lose_nothing(struct instance *instance)
{
        prepare(instance);
        cut_again_and_again(scaled(CUTS));
}

/* What the kernel gave up on is not on the disk, though a later sync says so. */
static void cuts_after_failed_writes_lose_nothing(struct instance *instance)
{
        prepare(instance);
        world.writes_fail = true;
        cut_again_and_again(scaled(CUTS));
}

/* --- the tests, with the disk gone before the instance --------------------------------- */

static int teardown(void **state)
{
        world.disk = disk_free(world.disk);
        return instance_teardown(state);
}

#define power_test(function)                                                                       \
        {                                                                                          \
#function, instance_run, instance_setup, teardown, &(struct instance_case)         \
                {                                                                                  \
                        function                                                                   \
                }                                                                                  \
        }

int main(void)
{
        const struct CMUnitTest tests[] = {
                power_test(cuts_lose_nothing),
                power_test(cuts_after_failed_writes_lose_nothing),
        };
        const char *wanting = disk_wanting();

        if (wanting) {
                printf("%s\n", wanting);
                return 77;
        }
        return cmocka_run_group_tests(tests, NULL, NULL);
}
