/* SPDX-License-Identifier: MIT */

/* One sample: processes that draw side by side for a slice of time; see bench.h. */

#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

#define BATCH     4096u
#define SOON_NSEC 300000u /* from "all are ready" to the common begin */

struct arena *arena;

struct sample {
        const struct subject *subject;
        unsigned processes, cpus; /* CPUs that they can use */
        enum placement placement;
        uint64_t nsec; /* how long */
        bool latency;
};

/* --- time ------------------------------------------------------------------- */

uint64_t now_nsec(void)
{
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void sleep_until(uint64_t nsec)
{
        const struct timespec t = {
                .tv_sec = (time_t)(nsec / 1000000000),
                .tv_nsec = (long)(nsec % 1000000000),
        };

        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
                ;
}

/* The cheapest clock there is: what is timed takes a few nanoseconds. */
static inline uint64_t ticks(void)
{
#ifdef __x86_64__
        return __builtin_ia32_rdtsc();
#else
        return now_nsec();
#endif
}

/* --- histograms ------------------------------------------------------------- */

static unsigned bucket_of(uint64_t value)
{
        unsigned power;

        if (value < 16)
                return (unsigned)value;
        power = 63 - (unsigned)__builtin_clzll(value);
        return (power - 3) * 16 + (unsigned)((value >> (power - 4)) & 15);
}

double histogram_ticks(unsigned bucket)
{
        if (bucket < 16)
                return bucket;
        return (double)(16 + bucket % 16) * (double)(UINT64_C(1) << (bucket / 16 - 1));
}

static void histogram_add(struct histogram *to, const struct histogram *from)
{
        for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
                to->counts[i] += from->counts[i];
        to->ns_per_tick = from->ns_per_tick;
}

/* --- where they run --------------------------------------------------------- */

/* The n-th of the CPUs that we may use; all of them for -1. */
static cpu_set_t cpu_choose(int n)
{
        static cpu_set_t allowed;
        static bool known;
        cpu_set_t chosen;

        if (!known) {
                (void)sched_getaffinity(0, sizeof(allowed), &allowed);
                known = true;
        }
        if (n < 0)
                return allowed;
        n %= CPU_COUNT(&allowed);
        CPU_ZERO(&chosen);
        for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++)
                if (CPU_ISSET(cpu, &allowed) && n-- == 0)
                        CPU_SET(cpu, &chosen);
        return chosen;
}

static unsigned cpus_there(void)
{
        cpu_set_t all = cpu_choose(-1);

        return (unsigned)CPU_COUNT(&all);
}

/* Every thread of a server. */
static void place_server(const char *pid, int cpu)
{
        cpu_set_t set = cpu_choose(cpu);
        const struct dirent *entry;
        char path[64];
        DIR *tasks;

        (void)snprintf(path, sizeof(path), "/proc/%s/task", pid);
        tasks = opendir(path);
        while (tasks && (entry = readdir(tasks)))
                if (entry->d_name[0] != '.')
                        (void)sched_setaffinity(atoi(entry->d_name), sizeof(set), &set);
        if (tasks)
                closedir(tasks);
}

/* With a server, everybody shares its CPU. */
static void place_worker(const struct sample *sample, unsigned seat)
{
        bool pinned = sample->placement == PINNED;
        cpu_set_t set = cpu_choose(!pinned ? -1 : sample->subject->server ? 0 : (int)seat);

        (void)sched_setaffinity(0, sizeof(set), &set);
}

/* --- a worker ---------------------------------------------------------------- */

static int draw_for_throughput(const struct sample *sample, struct worker *worker,
                               struct seat *seat, uint64_t end)
{
        unsigned batch = sample->subject->batch ? sample->subject->batch : BATCH;
        int r;

        do {
                r = sample->subject->work(worker, batch);
                seat->numbers += r > 0 ? (uint64_t)r : 0;
        } while (r >= 0 && now_nsec() < end);
        return r;
}

static int draw_for_latency(const struct sample *sample, struct worker *worker, struct seat *seat,
                            uint64_t end)
{
        uint64_t begin_nsec = now_nsec(), begin = ticks(), last = begin, now;
        int r = 0;

        do {
                for (unsigned i = 0; i < 64 && r >= 0; i++) {
                        r = sample->subject->work(worker, 1);
                        now = ticks();
                        seat->histogram.counts[bucket_of(now - last)]++;
                        last = now;
                        seat->numbers++;
                }
                last = ticks();
        } while (r >= 0 && now_nsec() < end);
        seat->histogram.ns_per_tick = (double)(now_nsec() - begin_nsec) / (double)(ticks() - begin);
        return r;
}

/* How long this process has waited for a CPU, by the kernel's account. */
static uint64_t delay_nsec(void)
{
        unsigned long long delay = 0;
        FILE *file = fopen("/proc/self/schedstat", "re");

        if (file) {
                if (fscanf(file, "%*u %llu", &delay) != 1)
                        delay = 0;
                (void)fclose(file);
        }
        return delay;
}

static int measure(const struct sample *sample, struct worker *worker, struct seat *seat)
{
        uint64_t begin = atomic_load(&arena->begin), end = begin + sample->nsec;
        int r;

        seat->delayed = delay_nsec();
        sleep_until(begin);
        /* Who has a CPU to itself begins when it wakes; who waits for one has begun. */
        if (sample->processes <= sample->cpus)
                begin = now_nsec();
        r = sample->latency ? draw_for_latency(sample, worker, seat, end)
                            : draw_for_throughput(sample, worker, seat, end);
        seat->nsec = now_nsec() - begin;
        seat->delayed = delay_nsec() - seat->delayed;
        return r < 0 ? r : 0;
}

static void be_worker(const struct sample *sample, unsigned n)
{
        const struct subject *subject = sample->subject;
        struct worker worker = {.seat = n};
        struct seat *seat = &arena->seats[n];

        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        place_worker(sample, n);
        seat->error = subject->enter ? subject->enter(&worker) : 0;
        if (seat->error >= 0) { /* warm: pages, caches, the daemon's idea of the rate */
                int r = subject->work(&worker, 1);

                seat->error = r < 0 ? r : 0;
        }
        atomic_fetch_add(&arena->ready, 1);
        while (atomic_load(&arena->begin) == 0)
                sleep_until(now_nsec() + 100000);
        if (seat->error >= 0)
                seat->error = measure(sample, &worker, seat);
        if (subject->leave)
                subject->leave(&worker);
        _exit(0);
}

/* --- all of them -------------------------------------------------------------- */

static int join(pid_t pid, const struct seat *seat)
{
        int status;

        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return -errno;
        return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? seat->error : -ECANCELED;
}

/* How many could be started. */
static unsigned start(const struct sample *sample, pid_t *pids)
{
        unsigned n;

        atomic_store(&arena->ready, 0);
        atomic_store(&arena->begin, 0);
        memset(arena->seats, 0, sizeof(arena->seats));
        for (n = 0; n < sample->processes; n++) {
                pids[n] = fork();
                if (pids[n] < 0)
                        break;
                if (pids[n] == 0)
                        be_worker(sample, n);
        }
        for (unsigned i = 0; i < 100000 && atomic_load(&arena->ready) < n; i++)
                sleep_until(now_nsec() + 100000);
        return n;
}

static double figure(const struct sample *sample)
{
        unsigned cpus = sample->processes < sample->cpus ? sample->processes : sample->cpus;
        double rate = 0; /* numbers a nanosecond */

        for (unsigned i = 0; i < sample->processes; i++)
                rate += (double)arena->seats[i].numbers / (double)arena->seats[i].nsec;
        return (double)cpus / rate;
}

/* Each worker has a CPU to itself, and yet one had to wait for it: more than 3 of 100. */
static bool disturbed(const struct sample *sample)
{
        bool alone = sample->processes <= sample->cpus && !sample->subject->server &&
                     !sample->subject->both_ways;

        for (unsigned i = 0; alone && i < sample->processes; i++)
                if (arena->seats[i].delayed * 32 > arena->seats[i].nsec)
                        return true;
        return false;
}

int team_sample(const struct subject *subject, unsigned processes, enum placement placement,
                unsigned slice_ms, struct histogram *latency, double *ret_ns)
{
        struct sample sample = {
                .subject = subject,
                .processes = processes,
                .placement = placement,
                .latency = latency != NULL,
                .cpus = subject->server && placement == PINNED ? 1 : cpus_there(),
        };
        const char *server = subject->server ? getenv(subject->server) : NULL;
        pid_t pids[PROCESSES_MAX];
        unsigned n;
        int r = 0;

        /* Those who share a CPU get their turns of it. */
        sample.nsec = (uint64_t)slice_ms * 1000000 *
                      (processes > sample.cpus ? processes / sample.cpus : 1);
        if (server)
                place_server(server, placement == PINNED ? 0 : -1);
        n = start(&sample, pids);
        atomic_store(&arena->begin, now_nsec() + SOON_NSEC);
        for (unsigned i = 0; i < n; i++) {
                int error = join(pids[i], &arena->seats[i]);

                r = r < 0 ? r : error;
        }
        if (n < processes)
                return -EAGAIN;
        if (r < 0)
                return r;
        *ret_ns = figure(&sample);
        for (unsigned i = 0; latency && i < processes; i++)
                histogram_add(latency, &arena->seats[i].histogram);
        return disturbed(&sample) ? 1 : 0;
}

static int mutex_make(pthread_mutex_t *mutex)
{
        pthread_mutexattr_t attributes;
        int r;

        pthread_mutexattr_init(&attributes);
        pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
        pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
        r = pthread_mutex_init(mutex, &attributes);
        pthread_mutexattr_destroy(&attributes);
        return r;
}

void arena_make(void)
{
        arena = mmap(NULL, sizeof(*arena), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
                     0);
        if (arena == MAP_FAILED || sem_init(&arena->lock, 1, 1) < 0 || mutex_make(&arena->mutex)) {
                perror("bench: making room for workers");
                exit(1);
        }
}
