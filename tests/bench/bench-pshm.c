/* SPDX-License-Identifier: MIT */

/*
 * How fast a stream is: 4 GiB through `pshm send | recv`, by default and with one
 * block, beside the same through a pipe of 1 MiB between two cats and beside memcpy(3)
 * in one thread, all in one run, of the same cold memory. Every stream reads a file in
 * memory and is written to /dev/null; the ratio is to memcpy of all of it, and
 * the other way shows what a copy could be at best. Ratios mean something, gigabytes a second depend on
 * the host. Rounds are interleaved, medians are told.
 *
 * $PSHM_BENCH_MIB: another amount.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MIB      ((size_t)1 << 20)
#define ROUNDS   5
#define PIPE     MIB
#define SLOW_MIB 64 /* of what takes a system call for each KiB */

static char pshm[4096], name[64];
static int source, null;
static size_t amount; /* bytes */

__attribute__((noreturn)) static void fail(const char *what)
{
        (void)fprintf(stderr, "bench-pshm: %s: %s\n", what, strerror(errno));
        exit(1);
}

static double now(void)
{
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* --- the parties ---------------------------------------------------------------- */

static pid_t start(const char *const arguments[], int in, int out, const int *pipe_ends)
{
        pid_t pid = fork();

        if (pid < 0)
                fail("fork");
        if (pid > 0)
                return pid;
        if (dup2(in, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0)
                _exit(99);
        if (pipe_ends) {
                (void)close(pipe_ends[0]);
                (void)close(pipe_ends[1]);
        }
        (void)execvp(arguments[0], (char *const *)arguments);
        _exit(98);
}

static void finish(pid_t pid)
{
        int status;

        if (waitpid(pid, &status, 0) != pid || status != 0) {
                (void)fprintf(stderr, "bench-pshm: a process ended with %#x\n", (unsigned)status);
                exit(1);
        }
}

static void through_pshm(const char *blocks, const char *size, bool checksum)
{
        const char *const send[] = {pshm, "send", "-b", blocks,
                                    "-s", size,   name, checksum ? "-c" : NULL,
                                    NULL};
        const char *const recv[] = {pshm, "recv", name, NULL};
        pid_t sender = start(send, source, null, NULL);
        pid_t receiver = start(recv, null, null, NULL);

        finish(sender);
        finish(receiver);
}

static void by_default(void)
{
        through_pshm("8", "1M", false);
}

static void with_checksum(void)
{
        through_pshm("8", "1M", true);
}

static void textbook(void)
{
        through_pshm("1", "1M", false);
}

static void textbook_small(void)
{
        through_pshm("1", "1K", false);
}

static void through_pipe(void)
{
        const char *const cat[] = {"cat", NULL};
        int ends[2];
        pid_t first, second;

        if (pipe(ends) < 0 || fcntl(ends[0], F_SETPIPE_SZ, (int)PIPE) < 0)
                fail("a pipe of 1 MiB");
        first = start(cat, source, ends[1], ends);
        second = start(cat, ends[0], null, ends);
        (void)close(ends[0]);
        (void)close(ends[1]);
        finish(first);
        finish(second);
}

/* From cold memory to memory as large, which is there already; without a copy in between. */
static char *from, *to;

static void make_memory(void)
{
        from = mmap(NULL, amount, PROT_READ, MAP_SHARED | MAP_POPULATE, source, 0);
        to = mmap(NULL, amount, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE,
                  -1, 0);
        if (from == MAP_FAILED || to == MAP_FAILED)
                fail("mapping");
}

static void by_memcpy(void)
{
        memcpy(to, from, amount);
        __asm__ volatile("" : : "r"(to) : "memory");
}

/* As the sender does: from cold memory to the 8 MiB of a ring. */
static void by_memcpy_to_ring(void)
{
        for (size_t at = 0; at < amount; at += MIB) {
                memcpy(to + at % (8 * MIB), from + at, MIB);
                __asm__ volatile("" : : "r"(to) : "memory");
        }
}

/* --- the race -------------------------------------------------------------------- */

static struct contest {
        const char *what;
        void (*run)(void);
        size_t mib;           /* 0: all */
        double rates[ROUNDS]; /* GB/s */
} contests[] = {
        {"memcpy, 1 MiB at a time to a ring", by_memcpy_to_ring, 0, {0}},
        {"memcpy, all of it", by_memcpy, 0, {0}},
        {"cat | cat, pipe of 1 MiB", through_pipe, 0, {0}},
        {"pshm, by default (8 x 1 MiB)", by_default, 0, {0}},
        {"pshm -c, with a checksum", with_checksum, 0, {0}},
        {"pshm -b 1 (1 MiB)", textbook, 0, {0}},
        {"pshm -b 1 -s 1K, as textbooks", textbook_small, SLOW_MIB, {0}},
};

#define N_CONTESTS (sizeof(contests) / sizeof(contests[0]))

static void make_source(size_t mib)
{
        static char block[MIB];

        source = memfd_create("bench-pshm", MFD_CLOEXEC);
        if (source < 0)
                fail("memfd_create");
        for (size_t i = 0; i < sizeof(block); i++)
                block[i] = (char)(i * 2654435761U >> 13);
        for (size_t i = 0; i < mib; i++)
                if (write(source, block, sizeof(block)) != (ssize_t)sizeof(block))
                        fail("writing 4 GiB into memory");
}

static void run(struct contest *contest, unsigned round, int small)
{
        size_t bytes = contest->mib ? contest->mib * MIB : amount;
        int all = source;
        double begin;

        if (contest->mib)
                source = small;
        if (lseek(source, 0, SEEK_SET) < 0)
                fail("lseek");
        begin = now();
        contest->run();
        contest->rates[round] = (double)bytes / 1e9 / (now() - begin);
        source = all;
}

static int ascending(const void *a, const void *b)
{
        return *(const double *)a < *(const double *)b ? -1
                                                       : *(const double *)a > *(const double *)b;
}

static void report(void)
{
        double copy, pipe_rate;

        for (size_t i = 0; i < N_CONTESTS; i++)
                qsort(contests[i].rates, ROUNDS, sizeof(double), ascending);
        copy = contests[1].rates[ROUNDS / 2];
        pipe_rate = contests[2].rates[ROUNDS / 2];
        printf("%-34s %7s %15s %10s %10s\n", "", "GB/s", "(min .. max)", "to pipe", "to memcpy");
        for (size_t i = 0; i < N_CONTESTS; i++) {
                double median = contests[i].rates[ROUNDS / 2];

                printf("%-34s %7.2f %6.2f .. %5.2f %10.2f %10.2f\n", contests[i].what, median,
                       contests[i].rates[0], contests[i].rates[ROUNDS - 1], median / pipe_rate,
                       median / copy);
        }
}

int main(void)
{
        const char *build = getenv("SEQNUM_BUILD"), *text = getenv("PSHM_BENCH_MIB");
        size_t mib = text ? strtoul(text, NULL, 10) : 4096;
        int all, small;

        if (mib < SLOW_MIB)
                mib = SLOW_MIB;
        amount = mib * MIB;
        (void)snprintf(pshm, sizeof(pshm), "%s/pshm", build ? build : "build");
        (void)snprintf(name, sizeof(name), "pshm-bench.%d", (int)getpid());
        null = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (null < 0)
                fail("/dev/null");
        make_source(SLOW_MIB);
        small = source;
        make_source(mib);
        all = source;
        make_memory();
        for (unsigned round = 0; round < ROUNDS; round++)
                for (size_t i = 0; i < N_CONTESTS; i++)
                        run(&contests[i], round, small);
        source = all;
        printf("%zu MiB of cold memory, to /dev/null; medians of %d interleaved rounds\n\n", mib,
               ROUNDS);
        report();
        return 0;
}
