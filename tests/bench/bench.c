/* SPDX-License-Identifier: MIT */

/*
 * The driver of `make bench`: goes round all cases (a subject, with so many
 * processes, placed one way or the other) and prints one line a sample:
 *
 *   group  subject  processes  placement  than  round  ns     separated by tabs
 *
 * after lines of #, group and subject, in the order in which to show them.
 *
 * Every round takes one sample of each case, beginning at another one, so that a
 * disturbance that lasts hits no case more than others. It draws no conclusions;
 * report.sh does. Needs the environment that run.sh makes.
 *
 *   bench [-r ROUNDS] [-g GROUPS] [-l FILE]    GROUPS: e.g. "draw,command"
 *
 * With -l the distribution of latencies goes to that file: subject, ns, and the
 * fraction of draws that took longer.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"
#include "seqnum.h"

#define SLICE_MS  20u
#define CASES_MAX 256
#define ATTEMPTS  4 /* at a sample that nothing disturbs */

static const struct subject *const tables[] = {
        draw_subjects,   uuid_subjects,    time_subjects,
        attach_subjects, command_subjects, server_subjects,
};

struct bench_case {
        const struct subject *subject;
        unsigned processes;
        enum placement placement;
        bool failed;
};

struct distribution {
        const struct subject *subject;
        struct histogram histogram;
};

static struct bench_case cases[CASES_MAX];
static size_t n_cases;
static struct distribution distributions[32];
static size_t n_distributions;

const char *bench_setting(const char *name)
{
        const char *value = getenv(name);

        if (value)
                return value;
        (void)fprintf(stderr, "bench: $%s is not set: run tests/bench/run.sh\n", name);
        exit(1);
}

/* Is the group among those asked for? */
static bool wanted(const char *groups, const char *group)
{
        size_t length = strlen(group);

        for (const char *p = groups; p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
                if (strncmp(p, group, length) == 0 && (p[length] == 0 || p[length] == ','))
                        return true;
        return !groups;
}

static void case_add(const struct subject *subject, unsigned processes, enum placement placement)
{
        if (n_cases == CASES_MAX) {
                (void)fprintf(stderr, "bench: more than %d cases\n", CASES_MAX);
                exit(1);
        }
        cases[n_cases++] = (struct bench_case){
                .subject = subject,
                .processes = processes,
                .placement = placement,
        };
}

static void subject_add(const struct subject *subject)
{
        if (subject->there && !subject->there()) {
                (void)fprintf(stderr, "bench: %s: not on this host, left out\n", subject->name);
                return;
        }
        for (unsigned p = 1; p <= subject->up_to && p <= PROCESSES_MAX; p *= 2) {
                case_add(subject, p, PINNED);
                if (subject->server || subject->both_ways)
                        case_add(subject, p, SCHEDULER);
        }
        if (subject->latency && n_distributions < sizeof(distributions) / sizeof(*distributions))
                distributions[n_distributions++].subject = subject;
}

/* Those whose ratio is taken lie side by side in time: by group, placement, processes. */
static int compare_cases(const void *a, const void *b)
{
        const struct bench_case *x = a, *y = b;

        if (strcmp(x->subject->group, y->subject->group) != 0)
                return strcmp(x->subject->group, y->subject->group);
        if (x->placement != y->placement)
                return x->placement < y->placement ? -1 : 1;
        if (x->processes != y->processes)
                return x->processes < y->processes ? -1 : 1;
        return x->subject < y->subject ? -1 : 1;
}

static void print_sample(const struct bench_case *c, unsigned round, double ns)
{
        const struct subject *s = c->subject;

        printf("%s\t%s\t%u\t%s\t%s\t%u\t%.4f\n", s->group, s->name, c->processes,
               c->placement == PINNED ? "pinned" : "scheduler", s->than ? s->than : "", round, ns);
        (void)fflush(stdout);
}

/* What fails is said once and left out from then on. */
static void take_sample(struct bench_case *c, unsigned round)
{
        unsigned slice = c->subject->slice_ms ? c->subject->slice_ms : SLICE_MS;
        double ns;
        int r = 1;

        if (c->failed)
                return;
        for (unsigned i = 0; i < ATTEMPTS && r == 1; i++)
                r = team_sample(c->subject, c->processes, c->placement, slice, NULL, &ns);
        if (r < 0) {
                (void)fprintf(stderr, "bench: %s, %u processes: %s\n", c->subject->name,
                              c->processes, seqnum_strerror(r));
                c->failed = true;
        } else if (round > 0) { /* the first round warms */
                print_sample(c, round, ns);
        }
}

/* Two processes where nothing else is shared, one where there is a server. */
static void take_latency(struct distribution *d)
{
        double ns;
        int r;

        r = team_sample(d->subject, d->subject->up_to > 1 && !d->subject->server ? 2 : 1, PINNED,
                        SLICE_MS, &d->histogram, &ns);
        if (r < 0)
                (void)fprintf(stderr, "bench: latency of %s: %s\n", d->subject->name,
                              seqnum_strerror(r));
}

static void print_latency(FILE *file, const struct distribution *d)
{
        const struct histogram *h = &d->histogram;
        uint64_t all = 0, left;

        for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
                all += h->counts[i];
        left = all;
        for (unsigned i = 0; i < HISTOGRAM_BUCKETS && left > 0; i++) {
                if (h->counts[i] == 0)
                        continue;
                left -= h->counts[i];
                (void)fprintf(file, "%s\t%.2f\t%.9f\n", d->subject->name,
                              histogram_ticks(i + 1) * h->ns_per_tick, (double)left / (double)all);
        }
}

static int print_latencies(const char *path)
{
        FILE *file = fopen(path, "w");

        if (!file) {
                perror(path);
                return -1;
        }
        for (size_t i = 0; i < n_distributions; i++)
                print_latency(file, &distributions[i]);
        return fclose(file);
}

static void go_round(unsigned rounds, const char *latencies)
{
        for (unsigned round = 0; round <= rounds; round++) {
                for (size_t i = 0; i < n_cases; i++)
                        take_sample(&cases[(i + round * 7) % n_cases], round);
                for (size_t i = 0; latencies && round > 0 && i < n_distributions; i++)
                        take_latency(&distributions[i]);
                if (isatty(STDERR_FILENO))
                        (void)fprintf(stderr, "\rround %u of %u%s", round, rounds,
                                      round == rounds ? "\n" : "");
        }
}

int main(int argc, char **argv)
{
        const char *groups = NULL, *latencies = NULL;
        unsigned rounds = 21;
        int option;

        while ((option = getopt(argc, argv, "r:g:l:")) >= 0)
                switch (option) {
                case 'r':
                        rounds = (unsigned)strtoul(optarg, NULL, 10);
                        break;
                case 'g':
                        groups = optarg;
                        break;
                case 'l':
                        latencies = optarg;
                        break;
                default:
                        return 2;
                }
        if (optind < argc || rounds < 1 || rounds > 10000) {
                (void)fprintf(stderr, "usage: bench [-r ROUNDS] [-g GROUPS] [-l FILE]\n");
                return 2;
        }
        arena_make();
        for (size_t i = 0; i < sizeof(tables) / sizeof(*tables); i++)
                for (const struct subject *s = tables[i]; s->name; s++)
                        if (wanted(groups, s->group))
                                subject_add(s);
        for (size_t i = 0; i < n_cases; i++) /* the order in which to show them */
                printf("#\t%s\t%s\n", cases[i].subject->group, cases[i].subject->name);
        if (n_cases == 0) {
                (void)fprintf(stderr, "bench: nothing to measure\n");
                return 1;
        }
        qsort(cases, n_cases, sizeof(cases[0]), compare_cases);
        go_round(rounds, latencies);
        return latencies && print_latencies(latencies) < 0;
}
