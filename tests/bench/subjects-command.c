/* SPDX-License-Identifier: MIT */

/*
 * What a number costs a shell script: one command each, started and waited for,
 * beside the least command that can be. The time is from start to end.
 */

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define GROUP "command"
#define BARE  "an empty dynamic program"

extern char **environ;

struct command {
        char program[PATH_MAX];
        const char *arguments[16];
        posix_spawn_file_actions_t actions;
};

/* Does the shell find it? */
static bool found(const char *program)
{
        const char *path = getenv("PATH");
        char file[PATH_MAX];

        while (path && *path) {
                int length = (int)strcspn(path, ":");

                (void)snprintf(file, sizeof(file), "%.*s/%s", length, path, program);
                if (access(file, X_OK) == 0)
                        return true;
                path += length + (path[length] == ':');
        }
        return false;
}

static bool there_uuidgen(void)
{
        return found("uuidgen");
}

static bool there_redis(void)
{
        return getenv("BENCH_REDIS") && found("redis-cli");
}

static bool there_postgres(void)
{
        return getenv("BENCH_POSTGRES") && found("psql");
}

static bool there_sqlite(void)
{
        return found("sqlite3");
}

static bool there_flock(void)
{
        return found("flock");
}

/* What it prints is not to be seen. */
static int command_new(struct worker *worker, const char *directory, const char *program,
                       const char *const *arguments)
{
        struct command *command = calloc(1, sizeof(*command));

        if (!command)
                return -ENOMEM;
        (void)snprintf(command->program, sizeof(command->program), "%s%s", directory, program);
        command->arguments[0] = command->program;
        for (size_t i = 0; arguments[i] && i < 14; i++)
                command->arguments[i + 1] = arguments[i];
        posix_spawn_file_actions_init(&command->actions);
        posix_spawn_file_actions_addopen(&command->actions, STDOUT_FILENO, "/dev/null", O_WRONLY,
                                         0);
        worker->own = command;
        return 0;
}

#define ARGUMENTS(...) ((const char *const[]){__VA_ARGS__, NULL})

static const char *build_directory(void)
{
        static char directory[PATH_MAX];

        (void)snprintf(directory, sizeof(directory), "%s/", bench_setting("BENCH_BUILD"));
        return directory;
}

/* A file of this run's own. */
static const char *file_of(const char *name)
{
        static char path[PATH_MAX];

        (void)snprintf(path, sizeof(path), "%s/%s", bench_setting("BENCH_DIR"), name);
        return path;
}

static int enter_empty(struct worker *worker)
{
        return command_new(worker, build_directory(), "tests/bench/empty", ARGUMENTS(NULL));
}

static int enter_seqnum(struct worker *worker)
{
        return command_new(worker, build_directory(), "seqnum", ARGUMENTS("next", "bench"));
}

static int enter_uuidgen(struct worker *worker)
{
        return command_new(worker, "", "uuidgen", ARGUMENTS(NULL));
}

static int enter_redis(struct worker *worker)
{
        return command_new(worker, "", "redis-cli",
                           ARGUMENTS("-s", bench_setting("BENCH_REDIS"), "INCR", "bench"));
}

static int enter_postgres(struct worker *worker)
{
        return command_new(worker, "", "psql",
                           ARGUMENTS("-X", "-q", "-h", bench_setting("BENCH_POSTGRES"), "-U",
                                     "bench", "-c", "select nextval('bench')", "postgres"));
}

static int enter_sqlite(struct worker *worker)
{
        return command_new(worker, "", "sqlite3",
                           ARGUMENTS(file_of("command.sqlite"),
                                     "pragma synchronous = full;"
                                     "create table if not exists bench (n integer);"
                                     "insert into bench select 0 where not exists"
                                     " (select 1 from bench);"
                                     "update bench set n = n + 1 returning n"));
}

/* As scripts do it; not durable. */
static int enter_flock(struct worker *worker)
{
        return command_new(worker, "", "flock",
                           ARGUMENTS(file_of("command.lock"), "sh", "-c",
                                     "read -r n < \"$0\" || n=0; echo $((n + 1)) > \"$0\"",
                                     file_of("command.lock")));
}

static int work(struct worker *worker, unsigned batch)
{
        struct command *command = worker->own;
        int status, r;
        pid_t pid;

        for (unsigned i = 0; i < batch; i++) {
                r = posix_spawnp(&pid, command->program, &command->actions, NULL,
                                 (char *const *)command->arguments, environ);
                if (r != 0)
                        return -r;
                if (waitpid(pid, &status, 0) < 0)
                        return -errno;
                if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
                        return -ECANCELED;
        }
        return (int)batch;
}

#define COMMAND(label, than, ...)                                                                  \
        {                                                                                          \
                GROUP, label, than, 1, .both_ways = true, .work = work, .batch = 1, __VA_ARGS__    \
        }

const struct subject command_subjects[] = {
        COMMAND(BARE, NULL, .enter = enter_empty),
        COMMAND("seqnum next", BARE, .enter = enter_seqnum),
        COMMAND("uuidgen", BARE, .there = there_uuidgen, .enter = enter_uuidgen),
        COMMAND("flock and a file (sh)", BARE, .there = there_flock, .enter = enter_flock),
        COMMAND("sqlite3", BARE, .there = there_sqlite, .enter = enter_sqlite),
        COMMAND("redis-cli INCR", BARE, .there = there_redis, .enter = enter_redis),
        COMMAND("psql -c nextval", BARE, .there = there_postgres, .enter = enter_postgres),
        {0},
};
