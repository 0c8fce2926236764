/* SPDX-License-Identifier: MIT */

/*
 * The verb that measures how fast draws are on this machine: what a number costs
 * the process that draws it, with 1, 2, 4, ... processes drawing at once, beside
 * the bare atomic instruction in as many processes of the same run. Their ratio is
 * what to compare between machines.
 *
 * Each process is a client of its own. What it draws is used up.
 */

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdalign.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "atomic.h"
#include "cli.h"
#include "handle.h"

#define PROCESSES_MAX 256
#define SECONDS_MAX   60
#define STEPS_MAX     16 /* 1, 2, 4, ... 256 and one more */

/* Draws between two looks at the clock, where a draw takes nanoseconds. */
#define BATCH 512

const struct cli_option cli_bench_options[] = {
        {'p', "processes", "PROCESSES", "up to so many at once, 1 to 256 (the CPUs there are)"},
        {'d', "duration", "SECONDS", "of each measurement, up to 60 (0.5)"},
        {'n', "count", "COUNT", "draw runs of COUNT numbers (1)"},
        CLI_OPTION_JSON,
        CLI_OPTION_HELP,
        {0},
};

/* --- what is shared with the processes --------------------------------------- */

struct seat {
        alignas(128) uint64_t numbers;
        uint64_t nsec;
        int error;
};

struct arena {
        alignas(128) _Atomic(uint64_t) counter; /* of the bare instruction */
        alignas(128) _Atomic(uint64_t) ready;
        _Atomic(uint32_t) go;
        struct seat seats[PROCESSES_MAX];
};

struct bench {
        const struct cli *cli;
        const char *name; /* NULL: the bare instruction alone */
        uint64_t processes, count, usec;
        enum sequence_kind kind;
        struct arena *arena;
};

/* Of so many processes: averages of what a number costs each. */
struct result {
        uint64_t processes;
        double bare_ns, draw_ns;
        uint64_t numbers;
        double seconds;
};

/* --- one process ---------------------------------------------------------------- */

static uint64_t now_nsec(void)
{
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static int draw_batch(const struct bench *bench, struct seqnum *seq, unsigned n)
{
        struct seqnum_run run;
        int64_t value;
        int r = 0;

        for (unsigned i = 0; i < n && r == 0; i++)
                r = bench->count == 1 ? seqnum_next(seq, &value)
                                      : seqnum_next_run(seq, (uint32_t)bench->count, &run);
        return r;
}

static int bare_batch(const struct bench *bench, unsigned n)
{
        for (unsigned i = 0; i < n; i++)
                (void)cell_claim(&bench->arena->counter, bench->count);
        return 0;
}

/* Without a handle, the bare instruction. */
static void measure(const struct bench *bench, struct seqnum *seq, struct seat *seat)
{
        unsigned n = !seq || bench->kind == SEQUENCE_COUNTER ? BATCH : 1;
        uint64_t begin = now_nsec(), end = begin + bench->usec * 1000, now, draws = 0;
        int r;

        do {
                r = seq ? draw_batch(bench, seq, n) : bare_batch(bench, n);
                draws += r == 0 ? n : 0;
                now = now_nsec();
        } while (r == 0 && now < end);
        seat->numbers = draws * bench->count;
        seat->nsec = now - begin;
        seat->error = r;
}

static void nap(void)
{
        const struct timespec t = {.tv_nsec = 200000};

        (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL);
}

/* In the child: attach, wait until all are there, measure. */
static void work(const struct bench *bench, bool drawing, struct seat *seat)
{
        struct seqnum_client *client = NULL;
        struct seqnum *seq = NULL;
        int r = 0;

        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (drawing)
                r = seqnum_attach(&client, bench->cli->shm, 0);
        if (drawing && r == 0) {
                seqnum_set_timeout(client, bench->cli->timeout_usec);
                r = seqnum_open(&seq, client, bench->name);
        }
        seat->error = r;
        count_up(&bench->arena->ready);
        while (r == 0 && !see_u32(&bench->arena->go))
                nap();
        if (r == 0)
                measure(bench, seq, seat);
        seqnum_detach(client);
}

/* --- all of them ------------------------------------------------------------------ */

/* One that was killed will never be ready. */
static bool some_killed(const pid_t *pids, uint64_t n)
{
        for (uint64_t i = 0; i < n; i++) {
                siginfo_t info = {0};

                if (waitid(P_PID, (id_t)pids[i], &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
                    info.si_pid != 0 && info.si_code != CLD_EXITED)
                        return true;
        }
        return false;
}

/* Start so many and wait until each is ready. How many there are. */
static uint64_t start(const struct bench *bench, bool drawing, uint64_t processes, pid_t *pids)
{
        uint64_t n;

        for (n = 0; n < processes; n++) {
                pids[n] = fork();
                if (pids[n] < 0)
                        break;
                if (pids[n] == 0) {
                        work(bench, drawing, &bench->arena->seats[n]);
                        _exit(0);
                }
        }
        while (count_read(&bench->arena->ready) < n && !some_killed(pids, n))
                nap();
        return n;
}

/* Until it ends. 0, or what stopped it from measuring. */
static int finish(pid_t pid, const struct seat *seat)
{
        int status;

        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return -errno;
        return WIFEXITED(status) ? seat->error : -ECANCELED;
}

/* 0, or the exit status after saying why. The results are in the seats. */
static int run_processes(const struct bench *bench, bool drawing, uint64_t processes)
{
        struct arena *arena = bench->arena;
        pid_t pids[PROCESSES_MAX];
        uint64_t n;
        int r = 0, error;

        memset(arena->seats, 0, sizeof(arena->seats));
        count_set(&arena->ready, 0);
        publish_u32(&arena->go, 0);
        n = start(bench, drawing, processes, pids);
        if (n < processes)
                r = -EAGAIN; /* fork(2): too many processes, or no memory for another */
        publish_u32(&arena->go, 1);
        for (uint64_t i = 0; i < n; i++) {
                error = finish(pids[i], &arena->seats[i]);
                if (r == 0)
                        r = error;
        }
        if (r == 0)
                return 0;
        if (drawing && n == processes && r != -ECANCELED)
                return cli_fail("drawing from", bench->name, r);
        cli_complain("measuring with %" PRIu64 " processes: %s", processes,
                     r == -ECANCELED ? "one of them was killed" : strerror(-r));
        return CLI_SYSTEM;
}

/* What a number cost, in the average of the processes. */
static double cost(const struct bench *bench, uint64_t processes, struct result *result)
{
        double ns = 0;

        result->numbers = 0;
        for (uint64_t i = 0; i < processes; i++) {
                const struct seat *seat = &bench->arena->seats[i];

                ns += (double)seat->nsec / (double)seat->numbers;
                result->numbers += seat->numbers;
                if (result->seconds < (double)seat->nsec / 1e9)
                        result->seconds = (double)seat->nsec / 1e9;
        }
        return ns / (double)processes;
}

static int measure_both(const struct bench *bench, uint64_t processes, struct result *ret)
{
        int r;

        *ret = (struct result){.processes = processes};
        r = run_processes(bench, false, processes);
        if (r != 0)
                return r;
        ret->bare_ns = cost(bench, processes, ret);
        if (!bench->name)
                return 0;
        ret->seconds = 0;
        r = run_processes(bench, true, processes);
        if (r != 0)
                return r;
        ret->draw_ns = cost(bench, processes, ret);
        return 0;
}

/* --- results ------------------------------------------------------------------------ */

static void print_result(const struct bench *bench, const struct result *result)
{
        if (result->processes == 1)
                printf("%9s %12s %12s %8s %16s\n", "PROCESSES", "BARE ns", "DRAW ns", "RATIO",
                       "NUMBERS/s");
        printf("%9" PRIu64 " %12.3f ", result->processes, result->bare_ns);
        if (bench->name)
                printf("%12.3f %8.3f ", result->draw_ns, result->draw_ns / result->bare_ns);
        else
                printf("%12s %8s ", "-", "-");
        printf("%16.0f\n", (double)result->numbers / result->seconds);
        (void)fflush(stdout);
}

static json_t *result_json(const struct bench *bench, const struct result *result)
{
        struct facts facts = facts_new();

        facts_unsigned(&facts, "processes", result->processes);
        facts_real(&facts, "bare_ns", result->bare_ns);
        if (bench->name) {
                facts_real(&facts, "draw_ns", result->draw_ns);
                facts_real(&facts, "ratio", result->draw_ns / result->bare_ns);
        }
        facts_unsigned(&facts, "numbers", result->numbers);
        facts_real(&facts, "numbers_per_second", (double)result->numbers / result->seconds);
        return facts.object;
}

static int print_results_json(const struct bench *bench, const struct result *results, size_t n)
{
        struct facts facts __attribute__((cleanup(facts_free))) = facts_new();
        json_t *list = json_array();

        facts_string(&facts, "sequence", bench->name);
        facts_unsigned(&facts, "count", bench->count);
        facts_real(&facts, "seconds", (double)bench->usec / 1e6);
        for (size_t i = 0; i < n; i++)
                if (json_array_append_new(list, result_json(bench, &results[i])) < 0)
                        facts.incomplete = true;
        if (json_object_set_new(facts.object, "measurements", list) < 0)
                facts.incomplete = true;
        return facts_print(&facts, true);
}

/* 1, 2, 4, ... and the last. */
static uint64_t next_step(const struct bench *bench, uint64_t processes)
{
        if (processes < bench->processes && processes * 2 > bench->processes)
                return bench->processes;
        return processes * 2;
}

static int run_steps(const struct bench *bench, bool json)
{
        struct result results[STEPS_MAX];
        size_t n = 0;
        int r;

        for (uint64_t p = 1; p <= bench->processes && n < STEPS_MAX; p = next_step(bench, p)) {
                r = measure_both(bench, p, &results[n]);
                if (r != 0)
                        return r;
                if (!json)
                        print_result(bench, &results[n]);
                n++;
        }
        return json ? print_results_json(bench, results, n) : CLI_OK;
}

/* --- the verb ------------------------------------------------------------------------ */

/* 0, or the exit status after saying what is wrong. */
static int bench_arguments(struct bench *bench, const struct cli_args *args)
{
        const char *processes = args->values['p'], *seconds = args->values['d'];
        const char *count = args->values['n'];
        long cpus = sysconf(_SC_NPROCESSORS_ONLN);

        bench->processes = cpus < 1 ? 1 : cpus > PROCESSES_MAX ? PROCESSES_MAX : (uint64_t)cpus;
        bench->usec = 500000;
        bench->count = 1;
        if (processes && cli_parse_count(processes, 1, PROCESSES_MAX, &bench->processes) < 0) {
                cli_complain("-p '%s' is no number of processes: give 1 to %d", processes,
                             PROCESSES_MAX);
                return CLI_USAGE;
        }
        if (seconds && (cli_parse_seconds(seconds, &bench->usec) < 0 || bench->usec < 1000 ||
                        bench->usec > SECONDS_MAX * UINT64_C(1000000))) {
                cli_complain("-d '%s' is no time: give seconds from 0.001 to %d", seconds,
                             SECONDS_MAX);
                return CLI_USAGE;
        }
        if (count && cli_parse_count(count, 1, UINT32_MAX, &bench->count) < 0) {
                cli_complain("-n '%s' is no count: give a whole number from 1 to 4294967295",
                             count);
                return CLI_USAGE;
        }
        return 0;
}

/* Is the sequence there, and of which kind? Before anything is measured. */
static int bench_look(struct bench *bench)
{
        struct seqnum_client *client;
        struct seqnum *seq;
        int r;

        r = cli_open(bench->cli, 0, bench->name, &client, &seq);
        if (r != 0)
                return r;
        bench->kind = snapshot_take(seq).kind;
        seqnum_detach(client);
        cli_complain("bench draws from %s as fast as it can: all those numbers are used up",
                     bench->name);
        return 0;
}

int cli_bench(const struct cli *cli, const struct cli_args *args)
{
        struct bench bench = {.cli = cli, .name = args->names[0]};
        int r;

        r = bench_arguments(&bench, args);
        if (r == 0 && bench.name)
                r = bench_look(&bench);
        if (r != 0)
                return r;
        (void)signal(SIGCHLD, SIG_DFL); /* ignored, it would let the outcomes get lost */
        bench.arena = mmap(NULL, sizeof(*bench.arena), PROT_READ | PROT_WRITE,
                           MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (bench.arena == MAP_FAILED)
                return cli_fail("making room for", "processes", -errno);
        r = run_steps(&bench, args->values[CLI_KEY_JSON] != NULL);
        munmap(bench.arena, sizeof(*bench.arena));
        return r;
}
