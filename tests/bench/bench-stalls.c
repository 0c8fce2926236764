/* SPDX-License-Identifier: MIT */

/*
 * Does drawing at full speed ever stall? Some processes draw singles from a
 * sequence that nobody has drawn from before, for some seconds, while the daemon
 * reserves on the real disk; before and after they do the bare `lock xadd`, on
 * one word of shared memory, in the very same loop. Every eighth operation is
 * timed by itself.
 *
 * Printed: the latencies of both, the ratio of their 99.9th percentiles; how many
 * draws waited for a reservation after a second of warm-up, by the daemon's own
 * count; how long it took from cold to full speed; and the processor time that
 * the daemon used. Not a test: it asserts nothing. For people to standard error,
 * samples as `make bench` has them to standard output, with REMARK in their names;
 * and what no sample can say as facts, one a line, into the file that
 * $BENCH_FACTS names.
 *
 * usage: bench-stalls SEQUENCE DAEMON_PID [PROCESSES [SECONDS [REMARK]]]
 * needs $SEQNUM_SHM and $SEQNUM_BUILD.
 */

#include <dirent.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#ifdef __x86_64__
#include <x86intrin.h>
#endif

#include "seqnum.h"

#define PROCESSES_MAX 64
#define TIMED_EVERY   8
#define WARM_UP_SEC   1
#define BARE_SEC      3
#define RAMP_MSEC     1000

/* Latencies in ticks: 64 steps from one power of two to the next. */
#define STEP_BITS 6
#define STEPS     (1u << STEP_BITS)
#define BUCKETS   (64u * STEPS)

struct histogram {
        uint64_t n, buckets[BUCKETS];
};

struct process {
        struct histogram bare, draws;
        uint64_t drawn, bare_done;
        uint32_t ramp[RAMP_MSEC]; /* numbers drawn in each of the first milliseconds */
        int error;
};

struct arena {
        _Alignas(128) _Atomic(uint64_t) counter;
        _Alignas(128) _Atomic(unsigned) ready; /* processes, over all phases */
        struct process processes[PROCESSES_MAX];
};

static struct arena *arena;
static unsigned n_processes = 2;
static double ticks_per_ns;

/* --- time ------------------------------------------------------------------ */

static uint64_t now_ns(void)
{
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static inline uint64_t ticks(void)
{
#ifdef __x86_64__
        unsigned processor;

        return __rdtscp(&processor);
#else
        return now_ns();
#endif
}

static void calibrate(void)
{
        uint64_t begin = now_ns(), from = ticks(), end;

        do
                end = now_ns();
        while (end - begin < 100000000);
        ticks_per_ns = (double)(ticks() - from) / (double)(end - begin);
}

/* --- latencies --------------------------------------------------------------- */

static unsigned bucket_of(uint64_t value)
{
        unsigned top = value < STEPS ? 0 : 63 - (unsigned)__builtin_clzll(value) - STEP_BITS;

        return top * STEPS + (unsigned)(value >> top);
}

static double bucket_value(unsigned bucket)
{
        unsigned top = bucket < 2 * STEPS ? 0 : bucket / STEPS - 1;

        return (double)((uint64_t)(bucket - top * STEPS) << top);
}

static void note(struct histogram *histogram, uint64_t value)
{
        histogram->n++;
        histogram->buckets[bucket_of(value)]++;
}

static double quantile_ns(const struct histogram *histogram, double q)
{
        uint64_t rank = (uint64_t)((double)histogram->n * q), seen = 0;

        for (unsigned i = 0; i < BUCKETS; i++) {
                seen += histogram->buckets[i];
                if (seen > rank)
                        return bucket_value(i) / ticks_per_ns;
        }
        return 0;
}

static void add(struct histogram *sum, const struct histogram *part)
{
        sum->n += part->n;
        for (unsigned i = 0; i < BUCKETS; i++)
                sum->buckets[i] += part->buckets[i];
}

/* --- the work ------------------------------------------------------------------ */

/* All processes begin a phase together. */
static void meet(unsigned phase)
{
        (void)atomic_fetch_add(&arena->ready, 1);
        while (atomic_load(&arena->ready) < phase * n_processes)
                (void)usleep(100);
}

static void do_bare(struct process *process, double seconds)
{
        uint64_t begin = ticks(), length = (uint64_t)(seconds * 1e9 * ticks_per_ns), before, after;

        do {
                for (int i = 1; i < TIMED_EVERY; i++)
                        (void)atomic_fetch_add(&arena->counter, 1);
                before = ticks();
                (void)atomic_fetch_add(&arena->counter, 1);
                after = ticks();
                note(&process->bare, after - before);
                process->bare_done += TIMED_EVERY;
        } while (after - begin < length);
}

static int do_draws(struct process *process, struct seqnum *seq, double seconds)
{
        uint64_t begin = ticks(), length = (uint64_t)(seconds * 1e9 * ticks_per_ns), before, after;
        uint64_t ticks_per_msec = (uint64_t)(1e6 * ticks_per_ns);
        uint64_t warm = (uint64_t)(WARM_UP_SEC * 1e9 * ticks_per_ns);
        int64_t value;
        int r = 0;

        do {
                for (int i = 1; i < TIMED_EVERY && r == 0; i++)
                        r = seqnum_next(seq, &value);
                before = ticks();
                if (r == 0)
                        r = seqnum_next(seq, &value);
                after = ticks();
                if (after - begin < RAMP_MSEC * ticks_per_msec)
                        process->ramp[(after - begin) / ticks_per_msec] += TIMED_EVERY;
                if (after - begin > warm)
                        note(&process->draws, after - before);
                process->drawn += TIMED_EVERY;
        } while (r == 0 && after - begin < length);
        return r;
}

static int run_process(struct process *process, const char *name, double seconds)
{
        struct seqnum_client *client;
        struct seqnum *seq;
        int r;

        r = seqnum_attach(&client, NULL, 0);
        if (r >= 0)
                r = seqnum_open(&seq, client, name);
        if (r < 0)
                return r;
        meet(1);
        do_bare(process, BARE_SEC);
        meet(2);
        r = do_draws(process, seq, seconds);
        meet(3);
        do_bare(process, BARE_SEC);
        return r;
}

static pid_t start_process(unsigned i, const char *name, double seconds)
{
        pid_t pid = fork();

        if (pid != 0)
                return pid;
        arena->processes[i].error = run_process(&arena->processes[i], name, seconds);
        _exit(arena->processes[i].error < 0);
}

/* --- what the service says -------------------------------------------------------- */

static int64_t info(const char *name, const char *member)
{
        const char *build = getenv("SEQNUM_BUILD");
        char command[512], line[256], pattern[64];
        int64_t value = -1;
        FILE *in;

        (void)snprintf(command, sizeof(command), "%s/seqnum info --json %s",
                       build ? build : "build", name);
        (void)snprintf(pattern, sizeof(pattern), "\"%s\":", member);
        in = popen(command, "re"); /* NOLINT(cert-env33-c): our own build */
        while (in && fgets(line, sizeof(line), in)) {
                const char *found = strstr(line, pattern);

                if (found)
                        value = strtoll(found + strlen(pattern), NULL, 10);
        }
        if (in)
                (void)pclose(in);
        return value;
}

/* Nanoseconds of processor time of all threads of a process. */
static uint64_t processor_ns(const char *pid)
{
        char path[512], text[64];
        uint64_t sum = 0;
        DIR *tasks;

        (void)snprintf(path, sizeof(path), "/proc/%s/task", pid);
        tasks = opendir(path);
        for (const struct dirent *task; tasks && (task = readdir(tasks));) {
                FILE *file;

                (void)snprintf(path, sizeof(path), "/proc/%s/task/%s/schedstat", pid, task->d_name);
                file = fopen(path, "re");
                if (!file)
                        continue;
                if (fgets(text, sizeof(text), file))
                        sum += strtoull(text, NULL, 10);
                (void)fclose(file);
        }
        if (tasks)
                (void)closedir(tasks);
        return sum;
}

/* --- report ------------------------------------------------------------------------- */

static void print_latencies(const char *what, const struct histogram *h, double rate)
{
        (void)fprintf(stderr, "%-14s %9.1f %8.1f %8.1f %8.1f %8.1f %9.1f %11.1f\n", what,
                      rate / 1e6, quantile_ns(h, 0.5), quantile_ns(h, 0.9), quantile_ns(h, 0.99),
                      quantile_ns(h, 0.999), quantile_ns(h, 0.9999), quantile_ns(h, 1 - 1e-12));
}

/* The 99.9th percentiles, as samples. */
static void print_samples(const struct histogram *bare, const struct histogram *draws,
                          const char *remark)
{
        char names[2][128];

        (void)snprintf(names[0], sizeof(names[0]), "99.9 %% of bare xadd, %u at once%s",
                       n_processes, remark);
        (void)snprintf(names[1], sizeof(names[1]), "99.9 %% of seqnum_next, %u at once%s",
                       n_processes, remark);
        printf("#\tstalls\t%s\n#\tstalls\t%s\n", names[0], names[1]);
        printf("stalls\t%s\t1\tscheduler\t\t1\t%.2f\n", names[0], quantile_ns(bare, 0.999));
        printf("stalls\t%s\t1\tscheduler\t%s\t1\t%.2f\n", names[1], names[0],
               quantile_ns(draws, 0.999));
}

/* The first millisecond from which on ten in a row come to 80 % of the later rate. */
static int ramp_msec(void)
{
        uint64_t numbers[RAMP_MSEC] = {0}, later = 0;

        for (unsigned i = 0; i < n_processes; i++)
                for (int t = 0; t < RAMP_MSEC; t++)
                        numbers[t] += arena->processes[i].ramp[t];
        for (int t = RAMP_MSEC / 2; t < RAMP_MSEC; t++)
                later += numbers[t];
        later /= RAMP_MSEC / 2;
        for (int t = 0; t + 10 <= RAMP_MSEC; t++) {
                uint64_t ten = 0;

                for (int i = 0; i < 10; i++)
                        ten += numbers[t + i];
                if (ten * 10 >= later * 80)
                        return t;
        }
        return RAMP_MSEC;
}

static void report_latencies(double seconds, const char *remark)
{
        static struct histogram bare, draws;
        uint64_t drawn = 0, bare_done = 0;

        for (unsigned i = 0; i < n_processes; i++) {
                add(&bare, &arena->processes[i].bare);
                add(&draws, &arena->processes[i].draws);
                drawn += arena->processes[i].drawn;
                bare_done += arena->processes[i].bare_done;
        }
        (void)fprintf(stderr, "%-14s %9s %8s %8s %8s %8s %9s %11s\n", "ns", "M/s", "p50", "p90",
                      "p99", "p99.9", "p99.99", "max");
        print_latencies("bare xadd", &bare, (double)bare_done / (2 * BARE_SEC));
        print_latencies("seqnum_next", &draws, (double)drawn / seconds);
        (void)fprintf(stderr, "p99.9, ratio to bare: %.2f\n",
                      quantile_ns(&draws, 0.999) / quantile_ns(&bare, 0.999));
        print_samples(&bare, &draws, remark);
}

/* What the daemon had done, and what had waited for it, at some moment. */
struct account {
        int64_t waits, refills;
        uint64_t processor_ns, now_ns;
};

static struct account account_take(const char *name, const char *daemon)
{
        return (struct account){
                .waits = info(name, "waits"),
                .refills = info(name, "refills"),
                .processor_ns = processor_ns(daemon),
                .now_ns = now_ns(),
        };
}

static void report_account(const struct account *warm, const struct account *end)
{
        double seconds = (double)(end->now_ns - warm->now_ns) / 1e9;
        double share = (double)(end->processor_ns - warm->processor_ns) / seconds / 1e7;
        const char *path = getenv("BENCH_FACTS");
        FILE *facts = path ? fopen(path, "ae") : NULL;

        (void)fprintf(stderr, "from cold to full speed: %d ms\n", ramp_msec());
        (void)fprintf(stderr,
                      "draws that waited: %" PRId64 " in the first second, %" PRId64
                      " in the %.1f seconds after it, of %" PRId64 " refills\n",
                      warm->waits, end->waits - warm->waits, seconds, end->refills - warm->refills);
        (void)fprintf(stderr, "processor time of the daemon: %.3f %% of one processor\n", share);
        if (!facts)
                return;
        (void)fprintf(facts, "stalls_%u_waits %" PRId64 "\n", n_processes,
                      end->waits - warm->waits);
        (void)fprintf(facts, "stalls_%u_ramp_ms %d\n", n_processes, ramp_msec());
        (void)fprintf(facts, "stalls_%u_daemon_percent %.3f\n", n_processes, share);
        (void)fclose(facts);
}

static int join_all(const pid_t *pids, const char *name)
{
        int status, failed = 0;

        for (unsigned i = 0; i < n_processes; i++) {
                (void)waitpid(pids[i], &status, 0);
                if (status == 0)
                        continue;
                failed = 1;
                (void)fprintf(stderr, "bench-stalls: %s: %s\n", name,
                              seqnum_strerror(arena->processes[i].error));
        }
        return failed;
}

static int measure(const char *name, const char *daemon, double seconds, const char *remark)
{
        struct account warm, end;
        pid_t pids[PROCESSES_MAX];
        int failed;

        for (unsigned i = 0; i < n_processes; i++)
                pids[i] = start_process(i, name, seconds);
        while (atomic_load(&arena->ready) < 2 * n_processes)
                (void)usleep(1000);
        (void)usleep(WARM_UP_SEC * 1000000);
        warm = account_take(name, daemon);
        (void)usleep((useconds_t)((seconds - WARM_UP_SEC) * 1e6) - 100000);
        end = account_take(name, daemon);
        failed = join_all(pids, name);
        report_latencies(seconds, remark);
        report_account(&warm, &end);
        return failed;
}

int main(int argc, char **argv)
{
        double seconds = 30;

        if (argc > 3)
                n_processes = (unsigned)strtoul(argv[3], NULL, 10);
        if (argc > 4)
                seconds = strtod(argv[4], NULL);
        if (argc < 3 || argc > 6 || n_processes < 1 || n_processes > PROCESSES_MAX || seconds < 2) {
                (void)fprintf(
                        stderr,
                        "usage: bench-stalls SEQUENCE DAEMON_PID [PROCESSES [SECONDS [REMARK]]]\n");
                return 2;
        }
        arena = mmap(NULL, sizeof(*arena), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
                     0);
        if (arena == MAP_FAILED) {
                perror("bench-stalls");
                return 1;
        }
        calibrate();
        return measure(argv[1], argv[2], seconds, argc > 5 ? argv[5] : "");
}
