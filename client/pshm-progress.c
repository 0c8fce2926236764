/* SPDX-License-Identifier: MIT */

/*
 * How far a stream has come, on the terminal: bytes, time, rate and, where the end
 * is known, how much that is and how long the rest will take; as pv(1) shows it,
 * once a second. Nothing where standard error is no terminal, or not ours just now.
 */

#include <inttypes.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "pshm-stream.h"

static void print_time(uint64_t usec)
{
        uint64_t seconds = usec / USEC_PER_SEC;

        fprintf(stderr, "%" PRIu64 ":%02u:%02u", seconds / 3600, (unsigned)(seconds / 60 % 60),
                (unsigned)(seconds % 60));
}

/* In the background, writing would mix with what the foreground shows. */
static bool in_foreground(void)
{
        return tcgetpgrp(STDERR_FILENO) == getpgrp();
}

static void show(struct progress *progress, uint64_t now, uint64_t since_bytes, uint64_t since)
{
        uint64_t elapsed = now - progress->begin, usec = now > since ? now - since : 1;
        double rate = (double)(progress->bytes - since_bytes) * 1e6 / (double)usec;
        char text[PSHM_BYTES_SIZE];

        fprintf(stderr, "\r%9s ", pshm_bytes(progress->bytes, text));
        print_time(elapsed);
        fprintf(stderr, " [%9s/s]", pshm_bytes((uint64_t)rate, text));
        if (progress->total > 0 && progress->bytes <= progress->total) {
                fprintf(stderr, " %3.0f%%",
                        100.0 * (double)progress->bytes / (double)progress->total);
                if (progress->bytes > 0 && progress->bytes < progress->total) {
                        double left = (double)elapsed / (double)progress->bytes *
                                      (double)(progress->total - progress->bytes);

                        (void)fputs(" ETA ", stderr);
                        print_time((uint64_t)left);
                }
        }
        (void)fputs("\033[K", stderr);
}

struct progress progress_begin(bool quiet, uint64_t total)
{
        uint64_t now = clock_usec(CLOCK_MONOTONIC);
        struct progress progress = {
                .shown = !quiet && isatty(STDERR_FILENO),
                .total = total,
                .begin = now,
                .last_usec = now,
                .next = now + USEC_PER_SEC,
        };

        return progress;
}

void progress_look(struct progress *progress)
{
        uint64_t now;

        if (!progress->shown)
                return;
        now = clock_usec(CLOCK_MONOTONIC);
        if (now < progress->next)
                return;
        if (in_foreground())
                show(progress, now, progress->last_bytes, progress->last_usec);
        progress->last_bytes = progress->bytes;
        progress->last_usec = now;
        progress->next = now + USEC_PER_SEC;
}

void progress_add(struct progress *progress, uint64_t bytes)
{
        progress->bytes += bytes;
        progress_look(progress);
}

void progress_end(struct progress *progress)
{
        if (progress->shown && in_foreground()) {
                show(progress, clock_usec(CLOCK_MONOTONIC), 0, progress->begin);
                (void)fputc('\n', stderr);
        }
        progress->shown = false;
}
