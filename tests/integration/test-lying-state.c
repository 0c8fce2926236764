/* SPDX-License-Identifier: MIT */

/*
 * State that lies: a store, a segment, a clock that say what is not so. Whatever
 * they say, no number comes twice as long as one of them knows better; what
 * cannot be believed is said, and what to do.
 *
 * Here, for all kinds of sequences at once:
 *      a store older than the segment (a backup), after a kill and after a stop
 *      a store replaced, or its log removed, under the living daemon
 *      a store half written: cut off or scribbled on, with the segment alive
 *      a log cut off or scribbled on, with the segment alive
 *      a replacement of the store that was interrupted
 *      a segment from another boot
 *      two instances whose stores were swapped
 *      files in the state directory that are something else
 *      a clock in 1970
 * Elsewhere:
 *      a store damaged, empty, newer, gone, readable to others: test-store.c
 *      names made or altered after the backup: test-store.c
 *      a segment of another state directory, planted objects: test-name.c
 *      a segment under a former name: test-renamed.sh
 *      a clock that steps under ids of kind time: test-time.c
 *      any bytes in the segment: unit/test-adopt.c, unit/test-segment.c
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"

#define N_KINDS 3
#define FEW     50

static const char *const names[N_KINDS] = {"orders", "invoices", "ticks"};
static const char ini[] = "[sequence orders]\n"
                          "reserve = 20\n"
                          "[sequence invoices]\n"
                          "kind = gapless\n"
                          "[sequence ticks]\n"
                          "kind = time\n";

/* --- what was drawn ------------------------------------------------------------------ */

struct drawn {
        int64_t last[N_KINDS];
        uint64_t count;
};

/* All kinds; each number must be above all that came before, and gapless without a gap. */
static void draw(const struct instance *instance, struct drawn *drawn, int count)
{
        struct seqnum_client *client = instance_attach(instance);

        (void)seqnum_set_timeout(client, patience_usec(20000000));
        for (size_t kind = 0; kind < N_KINDS; kind++) {
                struct seqnum *seq = instance_open(client, names[kind]);

                for (int i = 0; i < count; i++) {
                        int64_t number = must_next(seq);

                        if (number <= drawn->last[kind])
                                fail_msg("DUPLICATE: %s: %" PRId64 " after %" PRId64, names[kind],
                                         number, drawn->last[kind]);
                        if (kind == 1)
                                assert_int_equal(number, drawn->last[kind] + 1);
                        drawn->last[kind] = number;
                        drawn->count++;
                }
        }
        seqnum_detach(client);
}

static void expect_next(const struct instance *instance, const char *name, int64_t number)
{
        struct seqnum_client *client = instance_attach(instance);

        assert_true(must_next(instance_open(client, name)) == number);
        seqnum_detach(client);
}

static void reboot(struct instance *instance)
{
        if (instance->pid)
                instance_kill(instance);
        instance_unlink(instance);
        instance_start(instance);
}

/* It goes on above, and does so also when the store alone is left to tell. */
static void above_from_now_on(struct instance *instance, struct drawn *drawn)
{
        draw(instance, drawn, FEW);
        reboot(instance);
        draw(instance, drawn, FEW);
}

static void begin(struct instance *instance, struct drawn *drawn)
{
        memset(drawn, 0, sizeof(*drawn));
        instance_configure(instance, "%s", ini);
        instance_start(instance);
        draw(instance, drawn, FEW);
}

static void end(struct instance *instance, bool killed)
{
        if (killed)
                instance_kill(instance);
        else
                instance_stop(instance);
}

static void back_up(const struct instance *instance)
{
        shell("rm -rf '%s/backup' && cp -r '%s' '%s/backup'", instance->directory, instance->state,
              instance->directory);
}

static void restore(const struct instance *instance)
{
        shell("rm -rf '%s' && cp -r '%s/backup' '%s'", instance->state, instance->directory,
              instance->state);
}

/* --- a backup --------------------------------------------------------------------------- */

static void backup_under_a_living_segment(struct instance *instance)
{
        struct drawn drawn;

        begin(instance, &drawn);
        for (int round = 0; round < 4; round++) {
                end(instance, round & 1);
                back_up(instance);
                instance_start(instance);
                draw(instance, &drawn, 3 * FEW);
                end(instance, round & 2);
                restore(instance);
                instance_forget_log(instance);
                instance_start(instance);
                assert_true(instance_says(instance, "older than segment"));
                above_from_now_on(instance, &drawn);
        }
        figures("restores=4 numbers=%" PRIu64 " duplicates=0", drawn.count);
}

/* As somebody does who does not stop the service first, or has read half of how to. */
static void store_replaced_while_in_use(struct instance *instance)
{
        static const char *const mistakes[] = {
                "rm -f state/seqnumd.db-wal state/seqnumd.db-shm",
                "rm -f state/seqnumd.db*",
                "mv state/seqnumd.db old.db",
                "cp backup/seqnumd.db copy && mv copy state/seqnumd.db",
                "cp backup/seqnumd.db copy && mv copy state/seqnumd.db && rm -f state/seqnumd.db-*",
                "mv state away && cp -r backup state",
        };
        struct drawn drawn;

        begin(instance, &drawn);
        instance_stop(instance);
        back_up(instance);
        instance_start(instance);
        for (size_t i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++) {
                draw(instance, &drawn, FEW);
                instance_forget_log(instance);
                shell("cd '%s' && %s", instance->directory, mistakes[i]);
                draw(instance, &drawn, FEW);
                assert_true(instance_will_say(instance, "removed or replaced while in use"));
                above_from_now_on(instance, &drawn);
        }
}

static void write_to_store(const struct instance *instance, const char *sql)
{
        char path[256];
        sqlite3 *db;

        (void)snprintf(path, sizeof(path), "%s/seqnumd.db", instance->state);
        assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
        assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
        assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

/* Somebody has deleted a sequence from the living store; the others are saved exactly. */
static void one_refused_at_a_stop(struct instance *instance)
{
        struct drawn drawn;

        begin(instance, &drawn);
        instance_forget_log(instance);
        write_to_store(instance, "DELETE FROM sequence WHERE name = 'ticks'");
        instance_stop(instance);
        assert_true(instance_says(instance, "the store refuses its exact position"));
        instance_unlink(instance);
        instance_start(instance);
        expect_next(instance, "orders", drawn.last[0] + 1);
}

/* And nobody is granted what the store has refused. */
static void refused_is_not_granted(struct instance *instance)
{
        static const char *const both[] = {"orders", "invoices"};
        pid_t pids[2];

        instance_configure(instance, "%s", ini);
        instance_start(instance);
        write_to_store(instance, "DELETE FROM sequence WHERE name IN ('orders', 'invoices')");
        for (size_t i = 0; i < 2; i++) {
                pids[i] = instance_fork(instance);
                if (pids[i] == 0) {
                        (void)must_next(instance_open(instance_attach(instance), both[i]));
                        _exit(0);
                }
        }
        nap(300000); /* both wait */
        instance_stop(instance);
        nap(300000);
        for (size_t i = 0; i < 2; i++) {
                assert_int_equal(waitpid(pids[i], NULL, WNOHANG), 0);
                (void)kill(pids[i], SIGKILL);
                instance_reap(instance, pids[i]);
        }
}

/* --- half of it, or garbage --------------------------------------------------------------- */

static uint64_t size_of(const char *path)
{
        struct stat status;

        return stat(path, &status) < 0 ? 0 : (uint64_t)status.st_size;
}

/* Cut the file off, or scribble over some of it. */
static void spoil(const char *path)
{
        uint64_t size = size_of(path), at = size ? random_below(size) : 0;
        char garbage[64];
        int fd;

        if (random_below(2)) {
                assert_int_equal(truncate(path, (off_t)at), 0);
                return;
        }
        for (size_t i = 0; i < sizeof(garbage); i++)
                garbage[i] = (char)random_below(256);
        fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        assert_int_equal(pwrite(fd, garbage, sizeof(garbage), (off_t)at), sizeof(garbage));
        close(fd);
}

/* Its exit status, with what is wrong in the log; or -1: it serves. */
static int try_start(struct instance *instance)
{
        uint64_t deadline = now_usec() + patience_usec(20000000);
        int status;

        instance_launch(instance);
        while (!strstr(instance->notices, "READY=1")) {
                assert_true(now_usec() < deadline);
                nap(500);
                if (waitpid(instance->pid, &status, WNOHANG) != instance->pid)
                        continue;
                instance->pid = 0;
                assert_true(WIFEXITED(status));
                assert_true(instance_says(instance, instance->state));
                return WEXITSTATUS(status);
        }
        return -1;
}

/*
 * `file` of the store is spoiled while the segment knows better. Either that is
 * noticed and nothing is started, until the file is put back, or it goes on above.
 */
static void spoiled(struct instance *instance, const char *file)
{
        uint64_t refused = 0, rounds = scaled(12);
        struct drawn drawn;
        char path[256];

        begin(instance, &drawn);
        (void)snprintf(path, sizeof(path), "%s/%s", instance->state, file);
        for (uint64_t i = 0; i < rounds; i++) {
                int status;

                draw(instance, &drawn, FEW);
                instance_kill(instance);
                back_up(instance);
                instance_forget_log(instance);
                spoil(path);
                status = try_start(instance);
                if (status >= 0) {
                        assert_int_equal(status, 65);
                        refused++;
                        restore(instance);
                        instance_start(instance);
                }
                draw(instance, &drawn, FEW);
                progress("%s spoiled %" PRIu64 " of %" PRIu64 " times", file, i, rounds);
        }
        above_from_now_on(instance, &drawn);
        figures("file=%s spoiled=%" PRIu64 " refused=%" PRIu64 " numbers=%" PRIu64 " duplicates=0",
                file, rounds, refused, drawn.count);
}

static void store_spoiled(struct instance *instance)
{
        spoiled(instance, "seqnumd.db");
}

static void log_spoiled(struct instance *instance)
{
        spoiled(instance, "seqnumd.db-wal");
}

/* --- a replacement of the store that was interrupted ---------------------------------------- */

/* The new one is the truth: of the old one and its log, whatever they say, nothing is taken. */
static void replacement_interrupted(struct instance *instance)
{
        struct drawn drawn, before;

        begin(instance, &drawn);
        instance_stop(instance);
        back_up(instance);
        before = drawn;
        instance_start(instance);
        draw(instance, &drawn, FEW);
        instance_stop(instance);
        instance_unlink(instance);
        shell("cd '%s' && mv seqnumd.db seqnumd.db-renewed && cp ../backup/seqnumd.db . && "
              "head -c 9000 /dev/urandom >seqnumd.db-wal",
              instance->state);
        instance_start(instance);
        assert_int_equal(instance_peek(instance, "orders"), drawn.last[0] + 1);
        assert_int_equal(instance_peek(instance, "invoices"), drawn.last[1] + 1);
        assert_true(drawn.last[0] > before.last[0]);
        above_from_now_on(instance, &drawn);
        instance_stop(instance);
        shell("cd '%s' && [ ! -e seqnumd.db-renewed ] && mv seqnumd.db seqnumd.db-renewed",
              instance->state);
        instance_unlink(instance);
        instance_start(instance);
        above_from_now_on(instance, &drawn);
        instance_stop(instance);
        shell("cd '%s' && head -c 9000 /dev/urandom >seqnumd.db.new", instance->state);
        instance_start(instance);
        above_from_now_on(instance, &drawn);
}

/* --- segments that are not of here and now --------------------------------------------------- */

/* Where the boot's id stands in the object, it then says another one. */
static void forge_boot(const struct instance *instance)
{
        char boot[40] = "", *memory, *found;
        int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
        uint64_t size = size_of(instance_object(instance));

        assert_true(fd >= 0);
        assert_int_equal(read(fd, boot, 36), 36);
        close(fd);
        fd = open(instance_object(instance), O_RDWR | O_CLOEXEC);
        assert_true(fd >= 0);
        memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        assert_ptr_not_equal(memory, MAP_FAILED);
        close(fd);
        found = memmem(memory, 4096, boot, 36);
        assert_non_null(found);
        memcpy(found, "ffffffff-ffff", 13);
        (void)munmap(memory, size);
}

static void segment_from_another_boot(struct instance *instance)
{
        struct drawn drawn;

        begin(instance, &drawn);
        for (int killed = 0; killed < 2; killed++) {
                end(instance, killed);
                forge_boot(instance);
                instance_forget_log(instance);
                instance_start(instance);
                assert_true(instance_says(instance, "before the last reboot"));
                if (!killed) /* all was saved */
                        assert_int_equal(instance_peek(instance, "orders"), drawn.last[0] + 1);
                above_from_now_on(instance, &drawn);
        }
}

/* Each finds a segment that is the other's: neither starts, nor does harm. */
static void stores_swapped(struct instance *instance)
{
        struct instance *twin = instance_twin(instance);
        struct drawn drawn[2];

        begin(instance, &drawn[0]);
        begin(twin, &drawn[1]);
        draw(twin, &drawn[1], 3 * FEW);
        for (int round = 0; round < 2; round++) {
                if (round == 1) {
                        assert_int_equal(instance_outcome(instance), 78);
                        assert_true(instance_says(instance, "belongs to another state directory"));
                        assert_int_equal(instance_outcome(twin), 78);
                        assert_true(instance_says(twin, "belongs to another state directory"));
                } else {
                        instance_kill(instance);
                        instance_kill(twin);
                }
                shell("mv '%s' '%s.x' && mv '%s' '%s' && mv '%s.x' '%s'", instance->state,
                      instance->state, twin->state, instance->state, instance->state, twin->state);
        }
        instance_start(instance);
        instance_start(twin);
        above_from_now_on(instance, &drawn[0]);
        above_from_now_on(twin, &drawn[1]);
}

/* --- files that are something else ------------------------------------------------------------ */

static void other_things_in_the_way(struct instance *instance)
{
        static const struct {
                const char *make;
                int status;
        } cases[] = {
                {"mkdir seqnumd.db", 77},
                {"mkfifo seqnumd.db", 77},
                {"ln -s /dev/null seqnumd.db", 77},
                {"ln -s kept seqnumd.db", 77},
                {"cp kept seqnumd.db && chmod 0620 seqnumd.db", 77},
                {"cp kept seqnumd.db && chown 12345 seqnumd.db", 77},
                {"rm -f seqnumd.lock && mkdir seqnumd.lock && cp kept seqnumd.db", 0},
                {"rm -f seqnumd.lock && ln -s kept seqnumd.lock && cp kept seqnumd.db", 0},
        };
        struct drawn drawn;

        if (geteuid() != 0) {
                print_message("  skipped: only root may give files away\n");
                skip();
        }
        begin(instance, &drawn);
        instance_stop(instance);
        shell("cd '%s' && mv seqnumd.db kept", instance->state);
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                int status;

                shell("cd '%s' && %s", instance->state, cases[i].make);
                instance_forget_log(instance);
                status = instance_outcome(instance);
                if (status == 0 || (cases[i].status && status != cases[i].status))
                        fail_msg("%s: status %d", cases[i].make, status);
                assert_true(instance_says(instance, instance->state));
                shell("cd '%s' && rm -rf seqnumd.db seqnumd.lock", instance->state);
        }
        shell("cd '%s' && mv kept seqnumd.db", instance->state);
        instance_unlink(instance);
        instance_start(instance);
        assert_int_equal(instance_peek(instance, "orders"), drawn.last[0] + 1);
        above_from_now_on(instance, &drawn);
}

/* --- the clock ---------------------------------------------------------------------------------- */

/* The daemon's clock alone is wrong, by so many seconds. */
static void set_daemons_clock(int fd, int64_t seconds)
{
        const int64_t usec = seconds * 1000000;

        assert_int_equal(pwrite(fd, &usec, sizeof(usec), 0), sizeof(usec));
}

static void clock_in_1970(struct instance *instance)
{
        const char *build = getenv("SEQNUM_BUILD"), *asan = getenv("ASAN_OPTIONS");
        int fd = memfd_create("clock", 0);
        struct drawn drawn;
        char text[4096];

        (void)snprintf(text, sizeof(text), "/proc/self/fd/%d", fd);
        (void)setenv("SEQNUM_FAKE_CLOCK", text, 1);
        (void)snprintf(text, sizeof(text), "%s/tests/preload/fake-clock.so",
                       build && *build ? build : "build");
        (void)setenv("LD_PRELOAD", text, 1);
        (void)snprintf(text, sizeof(text), "%s:verify_asan_link_order=0", asan ? asan : "");
        (void)setenv("ASAN_OPTIONS", text, 1);
        set_daemons_clock(fd, 0);
        begin(instance, &drawn);
        for (int round = 0; round < 4; round++) {
                end(instance, round & 1);
                if (round & 2)
                        instance_unlink(instance);
                set_daemons_clock(fd, round & 1 ? 0 : -(int64_t)time(NULL));
                instance_start(instance);
                above_from_now_on(instance, &drawn);
        }
        (void)unsetenv("LD_PRELOAD");
        close(fd);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                instance_test(backup_under_a_living_segment),
                instance_test(store_replaced_while_in_use),
                instance_test(one_refused_at_a_stop),
                instance_test(refused_is_not_granted),
                instance_test(store_spoiled),
                instance_test(log_spoiled),
                instance_test(replacement_interrupted),
                instance_test(segment_from_another_boot),
                instance_test(stores_swapped),
                instance_test(other_things_in_the_way),
                instance_test(clock_in_1970),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
