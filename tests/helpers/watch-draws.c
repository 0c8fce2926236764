/* SPDX-License-Identifier: MIT */

/*
 * watch-draws SEQUENCE: draw, and draw again, until SIGTERM; then say in one line
 * what it was like: how many numbers, how many were skipped between two of them
 * (nobody else draws), how many draws failed, and the longest one in microseconds.
 */

#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <time.h>

#include "seqnum.h"

static volatile sig_atomic_t stopped;

static void on_term(int number)
{
        (void)number;
        stopped = 1;
}

static uint64_t now_usec(void)
{
        struct timespec t;

        (void)clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

struct report {
        uint64_t draws, failed, longest;
        int64_t first, last, skipped, backwards;
};

static void draw(struct seqnum *sequence, struct report *report)
{
        uint64_t begun = now_usec(), took;
        int64_t number = 0;
        int r = seqnum_next(sequence, &number);

        took = now_usec() - begun;
        if (took > report->longest)
                report->longest = took;
        if (r < 0) {
                report->failed++;
                (void)fprintf(stderr, "watch-draws: %s\n", seqnum_strerror(r));
                return;
        }
        if (report->draws++ == 0)
                report->first = number;
        else if (number <= report->last)
                report->backwards++;
        else
                report->skipped += number - report->last - 1;
        report->last = number;
}

int main(int argc, char **argv)
{
        const struct timespec pause = {.tv_nsec = 50000};
        struct report report = {0};
        struct seqnum_client *client;
        struct seqnum *sequence;
        int r;

        if (argc != 2) {
                (void)fprintf(stderr, "usage: watch-draws SEQUENCE\n");
                return 2;
        }
        (void)signal(SIGTERM, on_term);
        r = seqnum_attach(&client, NULL, 0);
        if (r >= 0)
                r = seqnum_open(&sequence, client, argv[1]);
        if (r < 0) {
                (void)fprintf(stderr, "watch-draws: %s: %s\n", argv[1], seqnum_strerror(r));
                return 1;
        }
        while (!stopped) {
                draw(sequence, &report);
                (void)nanosleep(&pause, NULL);
        }
        printf("draws=%" PRIu64 " failed=%" PRIu64 " skipped=%" PRId64 " backwards=%" PRId64
               " longest_usec=%" PRIu64 " first=%" PRId64 " last=%" PRId64 "\n",
               report.draws, report.failed, report.skipped, report.backwards, report.longest,
               report.first, report.last);
        seqnum_detach(client);
        return 0;
}
