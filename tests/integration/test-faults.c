/* SPDX-License-Identifier: MIT */

/*
 * Every call that the daemon makes to its state directory fails in turn: it is
 * opened, written, synced, renamed, removed, locked, mapped and read through
 * tests/preload/faulty-disk.c, which lets the n-th call fail, once or with all
 * after it, with EIO, ENOSPC, EROFS or a short write, from the first start in an
 * empty directory to the clean stop. And a file system that is really full.
 *
 * Whatever fails: who asks is answered or waits no longer than he allowed; nothing
 * that was not confirmed is to be seen; a start that fails says so and the next
 * one works; a daemon that serves goes on when the fault is gone, without a
 * restart; and after a crash without the segment no number comes twice, none that
 * was committed is missing, and what was created is there.
 *
 * `make check` samples, SCALE=100 does all, which takes hours.
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../preload/faulty-disk.h"
#include "harness-disk.h"

#define RUNS         45
#define DRAWS        40
#define NUMBERS_MAX  4096
#define WAIT_USEC    150000             /* of a client */
#define RECOVER_USEC UINT64_C(60000000) /* SQLite tries for long to get a lock */

static const char ini[] = "[sequence orders]\n"
                          "reserve = 10\n"
                          "[sequence invoices]\n"
                          "kind = gapless\n"
                          "[sequence ticks]\n"
                          "kind = time\n";

static const struct {
        const char *name;
        int error;
} errors[] = {{"EIO", EIO}, {"ENOSPC", ENOSPC}, {"EROFS", EROFS}, {"short", FAULT_SHORT}};

#define N_ERRORS (sizeof(errors) / sizeof(errors[0]))

static struct faults *faults;

/* What a run is, and what its client was told. */
struct run {
        struct instance *instance;
        uint64_t first;
        size_t error;
        bool for_good, later, stopped, spare_locks;
        char story[120];

        int64_t order, tick;         /* the last that came */
        bool committed[NUMBERS_MAX]; /* confirmed */
        bool doubtful[NUMBERS_MAX];  /* not heard of */
        int64_t held;                /* by a transaction whose commit is not over */
        bool created, altered, refused, dropped;
        uint64_t numbers;
};

static uint64_t total_numbers, total_injected, total_refused, total_runs;

/* --- the disk ---------------------------------------------------------------------- */

static void arm(const struct run *run)
{
        atomic_store(&faults->calls, 0);
        atomic_store(&faults->injected, 0);
        atomic_store(&faults->error, errors[run->error].error);
        atomic_store(&faults->for_good, run->for_good);
        atomic_store(&faults->kinds, errors[run->error].error == EIO ? FAULT_ALL : FAULT_CHANGE);
        atomic_store(&faults->spared, run->spare_locks ? FAULT_LOCK : 0);
        atomic_store(&faults->first, run->first);
}

static void disarm(void)
{
        atomic_store(&faults->first, 0);
}

__attribute__((format(printf, 2, 3))) static void wrong(const struct run *run, const char *format,
                                                        ...)
{
        char text[512];
        va_list arguments;

        va_start(arguments, format);
        (void)vsnprintf(text, sizeof(text), format, arguments);
        va_end(arguments);
        fail_msg("%s (%s, the first was %s): %s", run->story,
                 atomic_load(&faults->injected) ? "it struck" : "not struck yet", faults->what,
                 text);
}

/* --- what a client does ------------------------------------------------------------- */

/* An answer of the control socket, which must come; "" if the daemon is not there. */
static const char *ask(const struct run *run, const char *command)
{
        const struct timeval patience = {.tv_sec = (time_t)(patience_usec(RECOVER_USEC) / 1000000)};
        static char line[512];
        int fd = instance_connect(run->instance);
        size_t n = 0;

        line[0] = '\0';
        if (fd < 0)
                return line;
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
        (void)dprintf(fd, "%s\r\n", command);
        while (n < sizeof(line) - 1 && read(fd, &line[n], 1) == 1 && line[n] != '\r')
                n++;
        line[n] = '\0';
        close(fd);
        if (n == 0)
                wrong(run, "no answer to %s", command);
        return line;
}

static bool told_ok(const struct run *run, const char *command)
{
        return strcmp(ask(run, command), "+OK") == 0;
}

static bool may_fail(int error)
{
        return error == -ETIMEDOUT || error == -EAGAIN;
}

static int draw(struct run *run, struct seqnum *seq, int64_t *last)
{
        int64_t number;
        int r = seqnum_next(seq, &number);

        if (r < 0)
                return r;
        if (number <= *last)
                wrong(run, "DUPLICATE: %" PRId64 " after %" PRId64, number, *last);
        *last = number;
        run->numbers++;
        return 0;
}

/* A commit that was not over goes on; else another one begins. */
static int commit(struct run *run, struct seqnum *seq)
{
        int64_t number = run->held;
        int r = number ? 0 : seqnum_begin(seq, &number);

        if (r < 0)
                return r;
        if (number < 1 || number >= NUMBERS_MAX || run->committed[number])
                wrong(run, "DUPLICATE: %" PRId64 " was committed", number);
        r = seqnum_commit(seq);
        run->held = r < 0 ? number : 0;
        run->committed[number] = r == 0;
        run->doubtful[number] = r < 0;
        run->numbers += r == 0;
        return r;
}

static void check_error(const struct run *run, const char *what, int r)
{
        if (r < 0 && !may_fail(r))
                wrong(run, "%s: %s", what, seqnum_strerror(r));
}

struct seqs {
        struct seqnum_client *client;
        struct seqnum *orders, *invoices, *ticks;
};

static struct seqs open_all(const struct run *run)
{
        struct seqs seqs = {.client = instance_attach(run->instance)};

        (void)seqnum_set_timeout(seqs.client, patience_usec(WAIT_USEC));
        seqs.orders = instance_open(seqs.client, "orders");
        seqs.invoices = instance_open(seqs.client, "invoices");
        seqs.ticks = instance_open(seqs.client, "ticks");
        return seqs;
}

/* Some of each; the first failure of a kind is enough. */
static void draw_some(struct run *run, const struct seqs *seqs)
{
        int r = 0;

        for (int i = 0; i < DRAWS && r == 0; i++)
                r = draw(run, seqs->orders, &run->order);
        check_error(run, "orders", r);
        r = commit(run, seqs->invoices);
        if (r == 0)
                r = commit(run, seqs->invoices);
        check_error(run, "invoices", r);
        check_error(run, "ticks", draw(run, seqs->ticks, &run->tick));
}

/* What was refused is not to be seen. */
static void administer(struct run *run, const struct seqs *seqs)
{
        struct seqnum *seq;

        run->created = told_ok(run, "SEQ.CREATE extra");
        run->refused = !run->created;
        if (run->created)
                run->altered = told_ok(run, "SEQ.ALTER extra increment 2");
        else if (seqnum_open(&seq, seqs->client, "extra") == 0)
                wrong(run, "the creation was refused, and yet it can be opened");
        run->dropped = told_ok(run, "SEQ.CREATE gone") && told_ok(run, "SEQ.DROP gone");
        if (run->dropped && seqnum_open(&seq, seqs->client, "gone") == 0)
                wrong(run, "it was dropped, and yet it can be opened");
}

/* The fault is gone: everything works again, soon. */
static void recover(struct run *run, const struct seqs *seqs)
{
        uint64_t deadline = now_usec() + patience_usec(RECOVER_USEC);
        static unsigned serial;
        int orders, invoices, ticks;
        char command[64];

        do {
                orders = draw(run, seqs->orders, &run->order);
                invoices = commit(run, seqs->invoices);
                ticks = draw(run, seqs->ticks, &run->tick);
                check_error(run, "orders", orders);
                check_error(run, "invoices", invoices);
                check_error(run, "ticks", ticks);
                if (now_usec() > deadline)
                        wrong(run, "the fault is gone, but it does not recover");
        } while (orders < 0 || invoices < 0 || ticks < 0);
        if (waitpid(run->instance->pid, NULL, WNOHANG) != 0)
                wrong(run, "the daemon is gone");
        (void)snprintf(command, sizeof(command), "SEQ.CREATE late/%u", serial++);
        while (!told_ok(run, command))
                if (now_usec() > deadline)
                        wrong(run, "the fault is gone, but %s fails", command);
}

/* --- a life of the daemon -------------------------------------------------------------- */

/* False: it did not start, and said why. */
static bool start(struct run *run)
{
        struct instance *instance = run->instance;
        uint64_t deadline = now_usec() + patience_usec(RECOVER_USEC);
        int status;

        instance_launch(instance);
        while (!strstr(instance->notices, "READY=1")) {
                if (waitpid(instance->pid, &status, WNOHANG) == instance->pid) {
                        instance->pid = 0;
                        if (!WIFEXITED(status) || WEXITSTATUS(status) == 0)
                                wrong(run, "the start ended with %#x", (unsigned)status);
                        if (WEXITSTATUS(status) == 65)
                                wrong(run, "a fault was taken for damage");
                        if (!instance_says(instance, instance->state))
                                wrong(run, "the start failed and the log does not say at what");
                        return false;
                }
                if (now_usec() > deadline)
                        wrong(run, "the start takes for ever");
                nap(300);
        }
        return true;
}

static void stop(struct run *run)
{
        uint64_t deadline = now_usec() + patience_usec(RECOVER_USEC);
        pid_t pid = run->instance->pid;
        int status;

        (void)kill(pid, SIGTERM);
        while (waitpid(pid, &status, WNOHANG) != pid) {
                if (now_usec() > deadline)
                        wrong(run, "it does not stop");
                nap(300);
        }
        run->instance->pid = 0;
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
                wrong(run, "it stopped with %#x", (unsigned)status);
}

/* The truth, after a crash or a stop, without the segment. */
static void check_truth(struct run *run)
{
        int64_t next, number;
        struct seqnum *seq;
        struct seqs seqs;

        instance_unlink(run->instance);
        if (!start(run))
                wrong(run, "it does not start any more");
        seqs = open_all(run);
        next = instance_peek(run->instance, "invoices");
        for (number = 1; number < NUMBERS_MAX; number++) {
                if (run->committed[number] && number >= next)
                        wrong(run, "%" PRId64 " was committed, %" PRId64 " is next", number, next);
                if (number < next && !run->committed[number] && !run->doubtful[number])
                        wrong(run, "a gap: %" PRId64 ", %" PRId64 " is next", number, next);
        }
        for (int i = 0; i < 20; i++)
                assert_int_equal(draw(run, seqs.orders, &run->order), 0);
        assert_int_equal(draw(run, seqs.ticks, &run->tick), 0);
        assert_int_equal(commit(run, seqs.invoices), 0);
        if (run->created && seqnum_open(&seq, seqs.client, "extra") < 0)
                wrong(run, "what was created is gone");
        if (run->altered && instance_info(run->instance, "extra", "increment") != 2)
                wrong(run, "what was altered is as it was");
        if (run->dropped && seqnum_open(&seq, seqs.client, "gone") == 0)
                wrong(run, "what was dropped is back");
        seqnum_detach(seqs.client);
        run->held = 0;
}

/* Draw, and end in the middle, for the next one to find. */
static void draw_and_die(struct run *run)
{
        struct seqs seqs = open_all(run);

        draw_some(run, &seqs);
        seqnum_detach(seqs.client);
        run->held = 0;
        instance_kill(run->instance);
}

static void live_before(struct run *run)
{
        assert_true(start(run));
        draw_and_die(run);
}

static void begin_anew(struct run *run)
{
        char command[512];

        if (run->instance->pid)
                instance_kill(run->instance);
        instance_unlink(run->instance);
        instance_forget_log(run->instance);
        disarm();
        (void)snprintf(command, sizeof(command), "rm -rf '%s'/*", run->instance->state);
        assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): the test's own words */
}

static void live(struct run *run)
{
        struct seqs seqs;

        arm(run);
        if (!start(run)) {
                total_refused++;
                disarm();
                if (!start(run))
                        wrong(run, "the fault is gone, but it does not start");
        }
        seqs = open_all(run);
        draw_some(run, &seqs);
        administer(run, &seqs);
        if (run->stopped) {
                stop(run);
                disarm();
        } else {
                disarm();
                recover(run, &seqs);
                instance_kill(run->instance);
        }
        seqnum_detach(seqs.client);
        run->held = 0;
}

/* How many calls there were from start to stop. */
static uint64_t run_once(struct run *run)
{
        uint64_t calls;

        (void)snprintf(run->story, sizeof(run->story), "call %" PRIu64 " %s %s, %s, %s", run->first,
                       run->for_good ? "and all after it fail with" : "fails with",
                       errors[run->error].name, run->later ? "after a crash" : "first start",
                       run->stopped ? "then stopped" : "then gone");
        faults->what[0] = '\0';
        begin_anew(run);
        if (run->later)
                live_before(run);
        live(run);
        calls = atomic_load(&faults->calls);
        check_truth(run);
        total_numbers += run->numbers;
        total_injected += atomic_load(&faults->injected);
        total_runs++;
        return calls;
}

/* --- the tests ---------------------------------------------------------------------------- */

/* The state directory in memory, where that is permitted: thousands of runs sync a lot. */
static void mount_memory(const struct instance *instance)
{
        assert_int_equal(mkdir(instance->state, 0700), 0);
        if (disk_wanting() == NULL)
                assert_int_equal(mount("seqnum-test", instance->state, "tmpfs", 0, "mode=0700"), 0);
}

static void set_up(struct instance *instance)
{
        mount_memory(instance);
        (void)snprintf(faults->directory, sizeof(faults->directory), "%s", instance->state);
        instance_configure(instance, "%s", ini);
}

static uint64_t count_calls(struct instance *instance, bool later)
{
        struct run run = {.instance = instance, .first = 1 << 30, .later = later, .stopped = true};
        uint64_t calls = run_once(&run);

        assert_in_range(calls, 100, 10000);
        return calls;
}

/* One of the cases: which call, which error, how long. */
static struct run run_of(uint64_t number, uint64_t first)
{
        uint64_t call = number / (2 * N_ERRORS);
        struct run run = {
                .for_good = number % 2,
                .error = number / 2 % N_ERRORS,
                .later = call >= first,
                .stopped = random_below(2),
        };

        if (run.later)
                call -= first;
        run.first = call + 1;
        return run;
}

/*
 * Few runs take some of the cases all over, in an order without rhyme; enough of
 * them take all. Locks that are never to be had take SQLite up to ten seconds
 * each time, for which few runs have no time.
 */
static void every_call_fails(struct instance *instance)
{
        uint64_t runs = scaled(RUNS), at = random_below(1 << 20), cases;
        uint64_t first, later;

        set_up(instance);
        first = count_calls(instance, false);
        later = count_calls(instance, true);
        cases = (first + later) * N_ERRORS * 2;
        if (runs > cases)
                runs = cases;
        for (uint64_t i = 0; i < runs; i++) {
                struct run run = run_of(at++ * 7919 % cases, first);

                run.instance = instance;
                run.spare_locks = run.for_good && runs < cases;
                (void)run_once(&run);
                progress("%" PRIu64 " of %" PRIu64 " runs: %s", i + 1, runs, run.story);
        }
        figures("cases=%" PRIu64 " runs=%" PRIu64 " faults=%" PRIu64 " starts_refused=%" PRIu64
                " numbers=%" PRIu64 " duplicates=0",
                cases, total_runs, total_injected, total_refused, total_numbers);
}

/* Start with the n-th call of a kind failing. False: there are not so many. */
static bool start_with_fault(struct run *run, enum fault_kind kind, uint64_t n, bool for_good)
{
        struct seqs seqs;

        atomic_store(&faults->injected, 0);
        atomic_store(&faults->calls, 0);
        atomic_store(&faults->spared, 0);
        atomic_store(&faults->kinds, kind);
        atomic_store(&faults->error, EIO);
        atomic_store(&faults->for_good, for_good);
        atomic_store(&faults->first, n);
        if (!start(run)) {
                total_refused++;
                return true;
        }
        disarm();
        seqs = open_all(run);
        recover(run, &seqs);
        seqnum_detach(seqs.client);
        run->held = 0;
        instance_kill(run->instance); /* with a log left for the next one */
        return atomic_load(&faults->injected) > 0;
}

/* Each call of a kind that a start makes fails, once and with all after it. */
static void fail_in_turn(struct instance *instance, enum fault_kind kind, const char *story)
{
        struct run run = {.instance = instance};
        uint64_t n = 1;

        (void)snprintf(run.story, sizeof(run.story), "%s", story);
        set_up(instance);
        begin_anew(&run);
        live_before(&run);
        total_refused = 0;
        while (start_with_fault(&run, kind, n, false) && start_with_fault(&run, kind, n, true))
                n++;
        disarm();
        assert_true(n > 10);
        assert_true(total_refused > 5);
        check_truth(&run);
        figures("%s in turn: calls=%" PRIu64 " starts_refused=%" PRIu64, story, n, total_refused);
}

/* What cannot be read is not damaged. */
static void failing_reads_are_no_damage(struct instance *instance)
{
        fail_in_turn(instance, FAULT_READ, "reads");
}

/* What could not be opened for writing is not served from for ever after. */
static void failing_opens_pass(struct instance *instance)
{
        fail_in_turn(instance, FAULT_OPEN, "opens");
}

/* --- really full ---------------------------------------------------------------------------- */

static struct disk *disk;

/* Write until nothing more can be written. */
static void fill(const struct instance *instance)
{
        static const char zeros[4096];
        char path[256];
        int fd;

        (void)snprintf(path, sizeof(path), "%s/ballast", instance->state);
        fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        for (size_t size = sizeof(zeros); size > 0; size /= 2)
                while (write(fd, zeros, size) == (ssize_t)size)
                        ;
        assert_int_equal(errno, ENOSPC);
        close(fd);
}

static void relieve(const struct instance *instance)
{
        char path[256];

        (void)snprintf(path, sizeof(path), "%s/ballast", instance->state);
        assert_int_equal(unlink(path), 0);
}

/* A small ext4 without a byte to spare: before a start, while serving, at a stop. */
static void a_full_file_system(struct instance *instance)
{
        struct run run = {.instance = instance, .story = "full"};
        struct seqs seqs;

        if (disk_wanting()) {
                print_message("  skipped: %s\n", disk_wanting());
                skip();
        }
        disk = disk_new(instance);
        disk_mount(disk, instance->state, "");
        instance_configure(instance, "%s", ini);
        fill(instance);
        assert_int_equal(instance_outcome(instance), 74);
        assert_true(instance_says(instance, "No space left"));
        relieve(instance);
        for (uint64_t i = 0; i < 1 + scaled(5); i++) {
                if (!start(&run))
                        wrong(&run, "there is room again, but it does not start");
                seqs = open_all(&run);
                draw_some(&run, &seqs);
                fill(instance);
                draw_some(&run, &seqs);
                draw_some(&run, &seqs);
                if (i % 3 == 0) {
                        stop(&run); /* it says what it could not save, and stops */
                        relieve(instance);
                } else {
                        relieve(instance);
                        recover(&run, &seqs);
                        instance_kill(instance);
                }
                seqnum_detach(seqs.client);
                run.held = 0;
                check_truth(&run);
                stop(&run);
                progress("%" PRIu64 " times full", i);
        }
}

static int teardown(void **state)
{
        disk = disk_free(disk);
        if (faults->directory[0])
                (void)umount2(faults->directory, MNT_DETACH);
        faults->directory[0] = '\0';
        return instance_teardown(state);
}

#define fault_test(function)                                                                       \
        {                                                                                          \
#function, instance_run, instance_setup, teardown, &(struct instance_case)         \
                {                                                                                  \
                        function                                                                   \
                }                                                                                  \
        }

/* For the daemons started from here on. The file has no name: they inherit it. */
static int share_faults(void)
{
        const char *build = getenv("SEQNUM_BUILD"), *asan = getenv("ASAN_OPTIONS");
        int fd = memfd_create("faults", 0);
        char text[4096];

        if (fd < 0 || ftruncate(fd, sizeof(*faults)) < 0)
                return -1;
        faults = mmap(NULL, sizeof(*faults), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (faults == MAP_FAILED)
                return -1;
        (void)snprintf(text, sizeof(text), "/proc/self/fd/%d", fd);
        (void)setenv("SEQNUM_FAULTS", text, 1);
        (void)snprintf(text, sizeof(text), "%s/tests/preload/faulty-disk.so",
                       build && *build ? build : "build");
        (void)setenv("LD_PRELOAD", text, 1);
        (void)snprintf(text, sizeof(text), "%s:verify_asan_link_order=0", asan ? asan : "");
        (void)setenv("ASAN_OPTIONS", text, 1);
        return 0;
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                fault_test(every_call_fails),
                fault_test(failing_reads_are_no_damage),
                fault_test(failing_opens_pass),
                fault_test(a_full_file_system),
        };

        if (share_faults() < 0) {
                perror("memfd_create");
                return 1;
        }
        return cmocka_run_group_tests(tests, NULL, NULL);
}
