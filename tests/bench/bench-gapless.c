/* SPDX-License-Identifier: MIT */

/*
 * What a gapless commit costs beside a bare SQLite commit on the same disk.
 *
 * In turn, several rounds: one process that updates one row of a database of its
 * own, in the same journal mode and as durable (WAL, synchronous = FULL); one
 * process that draws from a gapless sequence; sixteen that do. Then, without any
 * disk, begin and rollback of one process that nobody competes with.
 *
 * For people to standard error, samples as `make bench` has them to standard output.
 *
 * usage: bench-gapless SEQUENCE DIRECTORY [ROUNDS [SECONDS]]
 * needs $SEQNUM_SHM. DIRECTORY: on the disk that has the daemon's state.
 */

#include <inttypes.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "seqnum.h"

#define ROUNDS_MAX 99
#define CREW       16
#define ROLLBACKS  200000

struct subject {
        const char *name;
        unsigned n_processes;
        uint64_t (*work)(void); /* until the time is up: how many commits */
        double rates[ROUNDS_MAX];
};

static struct {
        _Atomic(uint64_t) commits;
        _Atomic(int) failed;
} * shared;

static const char *name;
static char database[4096];
static uint64_t end_ns;

static uint64_t now_ns(void)
{
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static int compare(const void *a, const void *b)
{
        double x = *(const double *)a, y = *(const double *)b;

        return (x > y) - (x < y);
}

/* --- the subjects ------------------------------------------------------------ */

static struct seqnum *open_sequence(void)
{
        struct seqnum_client *client;
        struct seqnum *seq;
        int r;

        r = seqnum_attach(&client, NULL, 0);
        if (r >= 0)
                r = seqnum_open(&seq, client, name);
        if (r < 0) {
                (void)fprintf(stderr, "bench-gapless: %s: %s\n", name, seqnum_strerror(r));
                atomic_store(&shared->failed, 1);
                return NULL;
        }
        return seq;
}

static uint64_t gapless(void)
{
        struct seqnum *seq = open_sequence();
        uint64_t n = 0;
        int64_t value;

        for (; seq && now_ns() < end_ns; n++)
                if (seqnum_begin(seq, &value) < 0 || seqnum_commit(seq) < 0)
                        atomic_store(&shared->failed, 1);
        return n;
}

static sqlite3 *open_database(void)
{
        sqlite3 *db;

        if (sqlite3_open(database, &db) == SQLITE_OK &&
            sqlite3_exec(db,
                         "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
                         "CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, n INTEGER);"
                         "INSERT OR IGNORE INTO t VALUES (1, 0);",
                         NULL, NULL, NULL) == SQLITE_OK)
                return db;
        (void)fprintf(stderr, "bench-gapless: %s: %s\n", database, sqlite3_errmsg(db));
        atomic_store(&shared->failed, 1);
        (void)sqlite3_close(db);
        return NULL;
}

static uint64_t sqlite(void)
{
        sqlite3 *db = open_database();
        sqlite3_stmt *statement = NULL;
        uint64_t n = 0;

        if (!db || sqlite3_prepare_v2(db, "UPDATE t SET n = n + 1 WHERE id = 1", -1, &statement,
                                      NULL) != SQLITE_OK)
                return 0;
        for (; now_ns() < end_ns; n++) {
                if (sqlite3_step(statement) != SQLITE_DONE)
                        atomic_store(&shared->failed, 1);
                (void)sqlite3_reset(statement);
        }
        (void)sqlite3_finalize(statement);
        (void)sqlite3_close(db);
        return n;
}

static struct subject subjects[] = {
        {.name = "SQLite commit", .n_processes = 1, .work = sqlite},
        {.name = "gapless commit", .n_processes = 1, .work = gapless},
        {.name = "gapless commit, 16 processes", .n_processes = CREW, .work = gapless},
};

#define N_SUBJECTS (sizeof(subjects) / sizeof(subjects[0]))

/* --- measuring ------------------------------------------------------------------ */

static double rate(const struct subject *subject, double seconds)
{
        uint64_t begin = now_ns();

        end_ns = begin + (uint64_t)(seconds * 1e9);
        atomic_store(&shared->commits, 0);
        for (unsigned i = 0; i < subject->n_processes; i++)
                if (fork() == 0) {
                        (void)atomic_fetch_add(&shared->commits, subject->work());
                        _exit(0);
                }
        while (wait(NULL) > 0)
                ;
        return (double)atomic_load(&shared->commits) * 1e9 / (double)(now_ns() - begin);
}

static double rollback_ns(struct seqnum *seq)
{
        uint64_t begin = now_ns();
        int64_t value;

        for (int i = 0; i < ROLLBACKS; i++)
                if (seqnum_begin(seq, &value) < 0 || seqnum_rollback(seq) < 0)
                        atomic_store(&shared->failed, 1);
        return (double)(now_ns() - begin) / ROLLBACKS;
}

static void print_sample(const char *subject, const char *than, size_t round, double ns)
{
        printf("gapless\t%s\t1\tscheduler\t%s\t%zu\t%.1f\n", subject, than, round + 1, ns);
}

static void report(size_t rounds)
{
        double base = 0;

        (void)fprintf(stderr, "%-30s %10s %10s %10s %8s\n", "commits a second", "median", "least",
                      "most", "ratio");
        for (size_t i = 0; i < N_SUBJECTS; i++) {
                double *rates = subjects[i].rates;

                printf("#\tgapless\t%s\n", subjects[i].name);
                for (size_t round = 0; round < rounds; round++)
                        print_sample(subjects[i].name, i > 0 ? subjects[0].name : "", round,
                                     1e9 / rates[round]);
                qsort(rates, rounds, sizeof(*rates), compare);
                if (i == 0)
                        base = rates[rounds / 2];
                (void)fprintf(stderr, "%-30s %10.0f %10.0f %10.0f %8.2f\n", subjects[i].name,
                              rates[rounds / 2], rates[0], rates[rounds - 1],
                              rates[rounds / 2] / base);
        }
}

static void report_rollbacks(size_t rounds)
{
        struct seqnum *seq = open_sequence();
        double ns[ROUNDS_MAX];

        if (!seq)
                return;
        printf("#\tgapless\tbegin and rollback\n");
        for (size_t i = 0; i < rounds; i++) {
                ns[i] = rollback_ns(seq);
                print_sample("begin and rollback", "", i, ns[i]);
        }
        qsort(ns, rounds, sizeof(*ns), compare);
        (void)fprintf(stderr, "begin and rollback, nobody else there: %.1f ns (%.1f to %.1f)\n",
                      ns[rounds / 2], ns[0], ns[rounds - 1]);
}

int main(int argc, char **argv)
{
        size_t rounds = argc > 3 ? strtoul(argv[3], NULL, 10) : 7;
        double seconds = argc > 4 ? strtod(argv[4], NULL) : 1;

        if (argc < 3 || argc > 5 || rounds < 1 || rounds > ROUNDS_MAX || seconds <= 0) {
                (void)fprintf(stderr,
                              "usage: bench-gapless SEQUENCE DIRECTORY [ROUNDS [SECONDS]]\n");
                return 2;
        }
        name = argv[1];
        (void)snprintf(database, sizeof(database), "%s/bare.db", argv[2]);
        shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
                      0);
        if (shared == MAP_FAILED) {
                perror("bench-gapless");
                return 1;
        }
        for (size_t round = 0; round < rounds && !atomic_load(&shared->failed); round++)
                for (size_t i = 0; i < N_SUBJECTS; i++)
                        subjects[i].rates[round] = rate(&subjects[i], seconds);
        report(rounds);
        report_rollbacks(rounds);
        return atomic_load(&shared->failed);
}
