/* SPDX-License-Identifier: MIT */

/* The two sides of a stream; see harness-pshm.h. */

#include "harness-pshm.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define ARGUMENTS_MAX 16

/* Where its word is, in the object: client/pshm-stream.h. */
#define RECEIVER_OFFSET (128 + 32)

static void error_path(const struct side *side, char path[static 256])
{
        (void)snprintf(path, 256, "%s/said.%u", side->instance->directory, side->number);
}

/* In the child. */
static void run(const struct side *side, const char *options, int in, int out)
{
        const char *build = getenv("SEQNUM_BUILD");
        char program[4096], path[256], words[256], name[] = "pshm";
        char *arguments[ARGUMENTS_MAX] = {name, (char *)side->verb}, *word, *rest = words;
        int n = 2, err;

        error_path(side, path);
        err = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (err < 0 || dup2(in, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0 ||
            dup2(err, STDERR_FILENO) < 0)
                _exit(99);
        (void)snprintf(program, sizeof(program), "%s/pshm", build ? build : "build");
        (void)snprintf(words, sizeof(words), "%s", options);
        while (n < ARGUMENTS_MAX - 2 && (word = strsep(&rest, " ")))
                if (*word)
                        arguments[n++] = word;
        arguments[n] = (char *)side->instance->shm;
        (void)signal(SIGPIPE, SIG_DFL);
        (void)execv(program, arguments);
        _exit(98);
}

struct side side_start(struct instance *instance, const char *verb, const char *options, int in,
                       int out)
{
        static unsigned number;
        struct side side = {.instance = instance, .verb = verb, .number = number++ % 8};

        side.pid = instance_fork(instance);
        if (side.pid == 0)
                run(&side, options, in, out);
        return side;
}

bool side_ended(const struct side *side)
{
        siginfo_t info = {0};

        assert_int_equal(waitid(P_PID, (id_t)side->pid, &info, WEXITED | WNOHANG | WNOWAIT), 0);
        return info.si_pid == side->pid;
}

static int reap(struct side *side)
{
        int status = -1;

        assert_int_equal(waitpid(side->pid, &status, 0), side->pid);
        for (size_t i = 0; i < CHILDREN_MAX; i++)
                if (side->instance->children[i] == side->pid)
                        side->instance->children[i] = 0;
        side->pid = 0;
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int side_end(struct side *side)
{
        uint64_t end = now_usec() + patience_usec(10000000);

        while (!side_ended(side)) {
                if (now_usec() > end)
                        fail_msg("pshm %s hangs; it said: %s", side->verb, side_said(side));
                nap(500);
        }
        return reap(side);
}

void side_kill(struct side *side)
{
        assert_int_equal(kill(side->pid, SIGKILL), 0);
        (void)reap(side);
}

const char *side_said(const struct side *side)
{
        static char text[4096];
        char path[256];
        ssize_t n;
        int fd;

        error_path(side, path);
        fd = open_path(path, O_RDONLY);
        n = read(fd, text, sizeof(text) - 1);
        close(fd);
        text[n > 0 ? n : 0] = '\0';
        return text;
}

void side_must_end(struct side *side, int status, const char *text)
{
        int ended = side_end(side);
        const char *said = side_said(side);

        if (ended != status || !strstr(said, text) || (status == 0 && *said))
                fail_msg("pshm %s ended with %d, not %d with '%s': %s", side->verb, ended, status,
                         text, said);
}

static void object_path(const struct instance *instance, char path[static 128])
{
        (void)snprintf(path, 128, "/dev/shm%s", instance->shm);
}

bool stream_exists(const struct instance *instance)
{
        char path[128];

        object_path(instance, path);
        return access(path, F_OK) == 0;
}

void stream_await(const struct instance *instance)
{
        uint64_t end = now_usec() + patience_usec(10000000);

        while (!stream_exists(instance)) {
                if (now_usec() > end)
                        fail_msg("there is no %s", instance->shm);
                nap(500);
        }
}

bool stream_has_receiver(const struct instance *instance)
{
        uint32_t word = 0;
        char path[128];
        int fd;

        object_path(instance, path);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return false;
        if (pread(fd, &word, sizeof(word), RECEIVER_OFFSET) != sizeof(word))
                word = 0;
        close(fd);
        return word != 0;
}

void stream_await_receiver(const struct instance *instance)
{
        uint64_t end = now_usec() + patience_usec(10000000);

        while (!stream_has_receiver(instance)) {
                if (now_usec() > end)
                        fail_msg("nobody receives %s", instance->shm);
                nap(500);
        }
}

int open_path(const char *path, int flags)
{
        int fd = open(path, flags | O_CLOEXEC);

        if (fd < 0)
                fail_msg("%s: %s", path, strerror(errno));
        return fd;
}

int open_file(const struct instance *instance, const char *name)
{
        char path[256];
        int fd;

        (void)snprintf(path, sizeof(path), "%s/%s", instance->directory, name);
        fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        return fd;
}

/* splitmix64 */
void fill_random(char *bytes, size_t length, uint64_t seed)
{
        for (size_t i = 0; i < length; i += sizeof(uint64_t)) {
                uint64_t x = seed += UINT64_C(0x9e3779b97f4a7c15);

                x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
                x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
                x ^= x >> 31;
                memcpy(bytes + i, &x, length - i < sizeof(x) ? length - i : sizeof(x));
        }
}

bool file_is(int fd, const char *bytes, size_t length)
{
        char buffer[65536];
        struct stat status;

        if (fstat(fd, &status) < 0 || status.st_size != (off_t)length)
                return false;
        for (size_t at = 0; at < length;) {
                ssize_t n = pread(fd, buffer, sizeof(buffer), (off_t)at);

                if (n <= 0 || memcmp(buffer, bytes + at, (size_t)n) != 0)
                        return false;
                at += (size_t)n;
        }
        return true;
}
