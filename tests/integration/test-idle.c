/* SPDX-License-Identifier: MIT */

/*
 * The daemon at rest: no thread of it wakes up, and it is small. Counted as the
 * kernel counts, by context switches of all its threads.
 */

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"

#define REST_USEC    UINT64_C(3000000)
#define RSS_MAX_KB   8192
#define SWITCHES_MAX 2
#define N_SEQUENCES  10

/* The number behind a key of /proc/PID/status or /proc/PID/task/TID/status. */
static uint64_t status_of(const char *path, const char *key)
{
        FILE *file = fopen(path, "re");
        char line[256];
        uint64_t value = UINT64_MAX;

        if (!file)
                fail_msg("%s cannot be opened", path);
        while (fgets(line, sizeof(line), file))
                if (strncmp(line, key, strlen(key)) == 0)
                        value = strtoull(line + strlen(key), NULL, 10);
        (void)fclose(file);
        if (value == UINT64_MAX)
                fail_msg("%s has no %s", path, key);
        return value;
}

static uint64_t context_switches(pid_t pid, unsigned *n_threads)
{
        char directory[64], path[352];
        struct dirent *entry;
        uint64_t sum = 0;
        DIR *tasks;

        (void)snprintf(directory, sizeof(directory), "/proc/%d/task", (int)pid);
        tasks = opendir(directory);
        assert_non_null(tasks);
        *n_threads = 0;
        while ((entry = readdir(tasks))) {
                if (entry->d_name[0] == '.')
                        continue;
                (void)snprintf(path, sizeof(path), "%s/%s/status", directory, entry->d_name);
                sum += status_of(path, "voluntary_ctxt_switches:");
                sum += status_of(path, "nonvoluntary_ctxt_switches:");
                ++*n_threads;
        }
        closedir(tasks);
        return sum;
}

static void start(struct instance *instance)
{
        char sections[1024] = "";
        size_t at = 0;

        for (unsigned i = 0; i < N_SEQUENCES; i++)
                at += (size_t)snprintf(sections + at, sizeof(sections) - at, "[sequence s%u]\n", i);
        instance_configure(instance, "%s", sections);
        instance_start(instance);
}

/* Some numbers from each, so that windows are open and have been refilled. */
static void draw_some(const struct instance *instance)
{
        struct seqnum_client *client = instance_attach(instance);
        char name[16];

        for (unsigned i = 0; i < N_SEQUENCES; i++) {
                struct seqnum *seq;

                (void)snprintf(name, sizeof(name), "s%u", i);
                seq = instance_open(client, name);
                for (int64_t j = 1; j <= 1000; j++)
                        assert_int_equal(must_next(seq), j);
        }
        seqnum_detach(client);
}

static void rests(struct instance *instance)
{
        uint64_t before, switches;
        unsigned n_threads;

        start(instance);
        draw_some(instance);
        nap(1000000); /* let it finish what the draws have caused */
        before = context_switches(instance->pid, &n_threads);
        nap(REST_USEC);
        switches = context_switches(instance->pid, &n_threads) - before;
        print_message("  %" PRIu64 " context switches of %u threads in 3 s\n", switches, n_threads);
        if (sanitized()) /* whose runtime has threads of its own */
                skip();
        assert_in_range(switches, 0, SWITCHES_MAX);
}

static void is_small(struct instance *instance)
{
        uint64_t rss;
        char path[64];

        if (sanitized())
                skip();
        start(instance);
        draw_some(instance);
        (void)snprintf(path, sizeof(path), "/proc/%d/status", (int)instance->pid);
        rss = status_of(path, "VmRSS:");
        print_message("  %" PRIu64 " kB resident\n", rss);
        assert_in_range(rss, 1, RSS_MAX_KB - 1);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                instance_test(rests),
                instance_test(is_small),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
