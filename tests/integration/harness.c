/* SPDX-License-Identifier: MIT */

/* A private instance of the real daemon, for a test; see harness.h. */

#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define READY_USEC UINT64_C(20000000)
#define LOG_USEC   UINT64_C(10000000)

/* --- scale and time ------------------------------------------------------- */

bool sanitized(void)
{
        const char *sanitizer = getenv("SEQNUM_SANITIZER");

        return sanitizer && *sanitizer;
}

static double factor(const char *variable, double fallback)
{
        const char *text = getenv(variable);
        double value = text ? strtod(text, NULL) : 0;

        return value > 0 ? value : fallback;
}

uint64_t scaled(uint64_t amount)
{
        double result = (double)amount * factor("SEQNUM_TEST_SCALE", sanitized() ? 0.05 : 1);

        return result < 1 ? 1 : (uint64_t)result;
}

uint64_t patience_usec(uint64_t usec)
{
        return (uint64_t)((double)usec * factor("SEQNUM_TEST_PATIENCE", sanitized() ? 5 : 1));
}

uint64_t now_usec(void)
{
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* --- what a long test says ----------------------------------------------- */

#define PROGRESS_USEC UINT64_C(250000)

void progress(const char *format, ...)
{
        static uint64_t last;
        int fd = (int)factor("SEQNUM_TEST_PROGRESS", -1);
        va_list arguments;

        if (fd < 0 || now_usec() - last < PROGRESS_USEC)
                return;
        last = now_usec();
        (void)dprintf(fd, "\r\033[K  ");
        va_start(arguments, format);
        (void)vdprintf(fd, format, arguments);
        va_end(arguments);
}

void figures(const char *format, ...)
{
        va_list arguments;

        printf("figures: ");
        va_start(arguments, format);
        (void)vprintf(format, arguments);
        va_end(arguments);
        printf("\n");
        (void)fflush(stdout);
}

static struct instance *live; /* of the test that runs */
static pid_t owner;           /* the process that runs it, and not a child */

/*
 * What the daemon says has to be read now and then, whoever waits for it: a
 * datagram socket takes a few messages, then it blocks who sends.
 */
static void collect_notices(struct instance *instance)
{
        size_t used = strlen(instance->notices), room = sizeof(instance->notices) - used;
        ssize_t n;

        if (room < 1024) { /* old news */
                used = 0;
                room = sizeof(instance->notices);
        }
        while (room > 2 &&
               (n = recv(instance->notify, instance->notices + used, room - 2, 0)) > 0) {
                used += (size_t)n;
                instance->notices[used++] = '\n';
                instance->notices[used] = '\0';
                room = sizeof(instance->notices) - used;
        }
}

static void collect_all_notices(void)
{
        if (owner != getpid())
                return;
        for (struct instance *i = live; i; i = i->twin)
                collect_notices(i);
}

void nap(uint64_t usec)
{
        const struct timespec t = {
                .tv_sec = (time_t)(usec / 1000000),
                .tv_nsec = (long)(usec % 1000000) * 1000,
        };

        collect_all_notices();
        (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL);
}

/* xorshift64*, started anew in every process: children must not all do the same. */
uint64_t random_below(uint64_t limit)
{
        static uint64_t word;
        static pid_t seeded;

        if (seeded != getpid()) {
                seeded = getpid();
                word = (now_usec() ^ (uint64_t)seeded << 32) | 1;
        }
        word ^= word >> 12;
        word ^= word << 25;
        word ^= word >> 27;
        return (word * UINT64_C(0x2545f4914f6cdd1d) >> 16) % limit;
}

/* --- life of an instance -------------------------------------------------- */

const char *instance_object(const struct instance *instance)
{
        static char path[80];

        (void)snprintf(path, sizeof(path), "/dev/shm%s", instance->shm);
        return path;
}

void instance_unlink(const struct instance *instance)
{
        collect_all_notices();
        (void)shm_unlink(instance->shm);
}

/* The runner has lost patience: leave no segment behind. Children die with us. */
static void on_signal(int number)
{
        for (const struct instance *i = live; i; i = i->twin)
                (void)unlink(i->object);
        (void)signal(number, SIG_DFL);
        (void)raise(number);
}

static int make_notify_socket(const struct instance *instance)
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int fd;

        assert_true(strlen(instance->notify_path) < sizeof(address.sun_path));
        memcpy(address.sun_path, instance->notify_path, strlen(instance->notify_path) + 1);
        fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        assert_true(fd >= 0);
        assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
        return fd;
}

static struct instance *instance_new(void)
{
        static unsigned serial;
        struct instance *instance = calloc(1, sizeof(*instance));
        const char *parent = getenv("TMPDIR");

        assert_non_null(instance);
        (void)snprintf(instance->directory, sizeof(instance->directory), "%s/seqnum-test.XXXXXX",
                       parent && *parent ? parent : "/tmp");
        if (!mkdtemp(instance->directory))
                fail_msg("mkdtemp %s: %s", instance->directory, strerror(errno));
        (void)snprintf(instance->shm, sizeof(instance->shm), "/seqnumd-test-%d-%u", (int)getpid(),
                       serial++);
        (void)snprintf(instance->object, sizeof(instance->object), "%s", instance_object(instance));
        (void)snprintf(instance->state, sizeof(instance->state), "%s/state", instance->directory);
        (void)snprintf(instance->ini, sizeof(instance->ini), "%s/ini", instance->directory);
        (void)snprintf(instance->socket, sizeof(instance->socket), "%s/socket",
                       instance->directory);
        (void)snprintf(instance->log, sizeof(instance->log), "%s/log", instance->directory);
        (void)snprintf(instance->notify_path, sizeof(instance->notify_path), "%s/notify",
                       instance->directory);
        instance->notify = make_notify_socket(instance);
        return instance;
}

static void print_log(const struct instance *instance)
{
        char line[2100];
        FILE *file = fopen(instance->log, "re");

        if (!file)
                return;
        (void)fprintf(stderr, "--- log of the daemon of %s\n", instance->shm);
        while (fgets(line, sizeof(line), file))
                (void)fputs(line, stderr);
        (void)fclose(file);
        (void)fputs("---\n", stderr);
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *walk)
{
        (void)status;
        (void)type;
        (void)walk;
        return remove(path);
}

static void kill_and_reap(pid_t *pid)
{
        if (*pid <= 0)
                return;
        (void)kill(*pid, SIGKILL);
        (void)waitpid(*pid, NULL, 0);
        *pid = 0;
}

static void instance_free(struct instance *instance)
{
        if (instance->twin) {
                instance->twin->passed = instance->passed;
                instance_free(instance->twin);
        }
        crew_free(instance);
        for (size_t i = 0; i < CHILDREN_MAX; i++)
                kill_and_reap(&instance->children[i]);
        kill_and_reap(&instance->pid);
        if (!instance->passed)
                print_log(instance);
        instance_unlink(instance);
        (void)nftw(instance->directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
        close(instance->notify);
        free(instance);
}

struct instance *instance_twin(struct instance *instance)
{
        assert_null(instance->twin);
        instance->twin = instance_new();
        return instance->twin;
}

/* --- a test ---------------------------------------------------------------- */

struct running {
        const struct instance_case *test;
        struct instance *instance;
};

int instance_setup(void **state)
{
        static struct running running;

        running = (struct running){.test = *state, .instance = instance_new()};
        live = running.instance;
        owner = getpid();
        (void)signal(SIGTERM, on_signal);
        (void)signal(SIGINT, on_signal);
        *state = &running;
        return 0;
}

void instance_run(void **state)
{
        struct running *running = *state;

        running->test->function(running->instance);
        running->instance->passed = true; /* a failed assertion does not get here */
}

int instance_teardown(void **state)
{
        struct running *running = *state;

        live = NULL;
        instance_free(running->instance);
        return 0;
}

/* --- configuration --------------------------------------------------------- */

void instance_configure(struct instance *instance, const char *format, ...)
{
        FILE *file = fopen(instance->ini, "we");
        va_list arguments;

        assert_non_null(file);
        (void)fprintf(file,
                      "[service]\n"
                      "shm = %s\n"
                      "state = %s\n"
                      "socket = %s\n"
                      "group =\n",
                      instance->shm, instance->state, instance->socket);
        va_start(arguments, format);
        (void)vfprintf(file, format, arguments);
        va_end(arguments);
        assert_int_equal(fclose(file), 0);
}

/* --- start and stop -------------------------------------------------------- */

static const char *program(const char *name)
{
        static char path[4096];
        const char *build = getenv("SEQNUM_BUILD");

        (void)snprintf(path, sizeof(path), "%s/%s", build && *build ? build : "build", name);
        return path;
}

static void die_with(pid_t parent)
{
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
                _exit(125);
        (void)signal(SIGTERM, SIG_DFL);
        (void)signal(SIGINT, SIG_DFL);
}

/* sd_listen_fds(3) */
static void pass_listener(int fd)
{
        char pid[16];

        (void)snprintf(pid, sizeof(pid), "%d", (int)getpid());
        if (dup2(fd, 3) < 0)
                _exit(126);
        (void)setenv("LISTEN_PID", pid, 1);
        (void)setenv("LISTEN_FDS", "1", 1);
}

static void become_daemon(const struct instance *instance, pid_t parent)
{
        int log = open(instance->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

        die_with(parent);
        if (log < 0 || dup2(log, STDOUT_FILENO) < 0 || dup2(log, STDERR_FILENO) < 0)
                _exit(126);
        (void)setenv("NOTIFY_SOCKET", instance->notify_path, 1);
        (void)unsetenv("JOURNAL_STREAM");
        (void)unsetenv("WATCHDOG_USEC");
        (void)unsetenv("WATCHDOG_PID");
        if (instance->listener)
                pass_listener(instance->listener);
        if (instance->halted)
                (void)raise(SIGSTOP);
        execl(program("seqnumd"), "seqnumd", "-c", instance->ini, NULL);
        (void)fprintf(stderr, "%s: %s\n", program("seqnumd"), strerror(errno));
        _exit(127);
}

static void forget_notices(struct instance *instance)
{
        collect_notices(instance);
        instance->notices[0] = '\0';
}

void instance_launch(struct instance *instance)
{
        pid_t parent = getpid();

        assert_int_equal(instance->pid, 0);
        forget_notices(instance);
        instance->pid = fork();
        assert_true(instance->pid >= 0);
        if (instance->pid == 0)
                become_daemon(instance, parent);
}

/* Is `line` one of the lines of `text`? */
static bool has_line(const char *text, const char *line)
{
        size_t length = strlen(line);
        const char *at = text;

        while ((at = strstr(at, line))) {
                if ((at == text || at[-1] == '\n') && (at[length] == '\n' || at[length] == '\0'))
                        return true;
                at++;
        }
        return false;
}

static void await_notice(struct instance *instance, const char *line)
{
        uint64_t deadline = now_usec() + patience_usec(READY_USEC);
        int status;

        while (now_usec() < deadline) {
                collect_notices(instance);
                if (has_line(instance->notices, line))
                        return;
                if (waitpid(instance->pid, &status, WNOHANG) == instance->pid) {
                        instance->pid = 0;
                        fail_msg("the daemon ended (wait status %#x) before it said %s",
                                 (unsigned)status, line);
                }
                nap(500);
        }
        fail_msg("the daemon did not say %s in time", line);
}

void instance_await_ready(struct instance *instance)
{
        await_notice(instance, "READY=1");
}

bool instance_ready(struct instance *instance)
{
        collect_notices(instance);
        return has_line(instance->notices, "READY=1");
}

void instance_start(struct instance *instance)
{
        instance_launch(instance);
        instance_await_ready(instance);
}

void instance_slow_down(const struct instance *instance, const char *usec)
{
        char path[256];
        int fd;

        (void)snprintf(path, sizeof(path), "%s/slow-disk", instance->directory);
        fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, usec, strlen(usec)), strlen(usec));
        close(fd);
}

void instance_start_on_slow_disk(struct instance *instance)
{
        char path[256], text[512];

        (void)snprintf(path, sizeof(path), "%s/slow-disk", instance->directory);
        (void)setenv("SEQNUM_SLOW_DISK", path, 1);
        (void)snprintf(text, sizeof(text), "%s/tests/preload/slow-disk.so",
                       getenv("SEQNUM_BUILD") ? getenv("SEQNUM_BUILD") : "build");
        (void)setenv("LD_PRELOAD", text, 1);
        /* The sanitizer's runtime need not come first then. */
        (void)snprintf(text, sizeof(text), "verify_asan_link_order=0%s%s",
                       getenv("ASAN_OPTIONS") ? ":" : "",
                       getenv("ASAN_OPTIONS") ? getenv("ASAN_OPTIONS") : "");
        (void)setenv("ASAN_OPTIONS", text, 1);
        instance_start(instance);
        (void)unsetenv("LD_PRELOAD");
        (void)unsetenv("SEQNUM_SLOW_DISK");
}

void instance_kill(struct instance *instance)
{
        assert_true(instance->pid > 0);
        kill_and_reap(&instance->pid);
}

/* Wait status of a process that must end by itself. */
static int await_end(pid_t *pid, uint64_t usec, const char *what)
{
        uint64_t deadline = now_usec() + patience_usec(usec);
        int status;

        while (waitpid(*pid, &status, WNOHANG) != *pid) {
                if (now_usec() > deadline)
                        fail_msg("%s, process %d, does not end", what, (int)*pid);
                nap(500);
        }
        *pid = 0;
        return status;
}

void instance_stop(struct instance *instance)
{
        int status;

        assert_true(instance->pid > 0);
        assert_int_equal(kill(instance->pid, SIGTERM), 0);
        status = await_end(&instance->pid, READY_USEC, "the daemon");
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
                fail_msg("the daemon stopped with wait status %#x", (unsigned)status);
}

void instance_reload(struct instance *instance)
{
        forget_notices(instance);
        assert_int_equal(kill(instance->pid, SIGHUP), 0);
        await_notice(instance, "RELOADING=1");
        await_notice(instance, "READY=1");
}

int instance_outcome(struct instance *instance)
{
        int status;

        instance_launch(instance);
        status = await_end(&instance->pid, READY_USEC, "the daemon");
        if (!WIFEXITED(status))
                fail_msg("the daemon ended with wait status %#x", (unsigned)status);
        return WEXITSTATUS(status);
}

/* --- the log --------------------------------------------------------------- */

bool instance_says(const struct instance *instance, const char *text)
{
        static char log[1 << 20];
        FILE *file = fopen(instance->log, "re");
        size_t length;

        if (!file)
                return false;
        length = fread(log, 1, sizeof(log) - 1, file);
        (void)fclose(file);
        log[length] = '\0';
        return strstr(log, text) != NULL;
}

bool instance_will_say(const struct instance *instance, const char *text)
{
        uint64_t deadline = now_usec() + patience_usec(LOG_USEC);

        while (!instance_says(instance, text)) {
                if (now_usec() > deadline)
                        return false;
                nap(5000);
        }
        return true;
}

void instance_forget_log(const struct instance *instance)
{
        if (truncate(instance->log, 0) < 0)
                assert_int_equal(errno, ENOENT);
}

/* --- the command ----------------------------------------------------------- */

void shell(const char *format, ...)
{
        char command[2048];
        va_list arguments;

        va_start(arguments, format);
        (void)vsnprintf(command, sizeof(command), format, arguments);
        va_end(arguments);
        assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): the test's own words */
}

int instance_command(const struct instance *instance, char *output, size_t size,
                     const char *arguments)
{
        char command[8192];
        size_t length;
        FILE *pipe;
        int status;

        (void)snprintf(command, sizeof(command), "exec '%s' -s %s %s 2>&1", program("seqnum"),
                       instance->shm, arguments);
        pipe = popen(command, "re"); /* NOLINT(cert-env33-c): the test's own words */
        assert_non_null(pipe);
        length = fread(output, 1, size - 1, pipe);
        output[length] = '\0';
        status = pclose(pipe);
        assert_true(WIFEXITED(status));
        return WEXITSTATUS(status);
}

/* --- the control socket ------------------------------------------------------ */

int instance_connect(const struct instance *instance)
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), error;

        assert_true(strlen(instance->socket) < sizeof(address.sun_path));
        memcpy(address.sun_path, instance->socket, strlen(instance->socket) + 1);
        if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
                return fd;
        error = errno;
        if (fd >= 0)
                close(fd);
        return -error;
}

int instance_plug_in(const struct instance *instance)
{
        int fd = instance_connect(instance);

        if (fd < 0)
                fail_msg("connect: %s", strerror(-fd));
        return fd;
}

const char *instance_ask(const struct instance *instance, const char *format, ...)
{
        static char line[1024];
        int fd = instance_connect(instance);
        char request[1024];
        va_list arguments;
        size_t n = 0;

        if (fd < 0)
                fail_msg("cannot connect to %s: %s", instance->socket, strerror(-fd));
        va_start(arguments, format);
        (void)vsnprintf(request, sizeof(request) - 2, format, arguments);
        va_end(arguments);
        (void)strcat(request, "\r\n");
        (void)send(fd, request, strlen(request), MSG_NOSIGNAL); /* it may be turned away */
        while (n < sizeof(line) - 1 && read(fd, &line[n], 1) == 1 && line[n] != '\r')
                n++;
        line[n] = '\0';
        close(fd);
        return line;
}

int64_t instance_info(const struct instance *instance, const char *sequence, const char *member)
{
        char output[4096], key[80], arguments[400];
        const char *at;
        int64_t value;
        int status;
        char *end;

        (void)snprintf(arguments, sizeof(arguments), "info --json '%s'", sequence);
        (void)snprintf(key, sizeof(key), "\"%s\": ", member);
        status = instance_command(instance, output, sizeof(output), arguments);
        if (status != 0)
                fail_msg("info %s: status %d: %s", sequence, status, output);
        at = strstr(output, key);
        if (!at) {
                fail_msg("info %s has no %s: %s", sequence, member, output);
                return -1;
        }
        at += strlen(key);
        value = strtoll(at, &end, 10);
        if (end == at)
                fail_msg("info %s: %s is no number: %s", sequence, member, output);
        return value;
}

/* --- clients --------------------------------------------------------------- */

struct seqnum_client *instance_attach(const struct instance *instance)
{
        struct seqnum_client *client = NULL;
        int r = seqnum_attach(&client, instance->shm, 0);

        if (r < 0)
                fail_msg("attach %s: %s", instance->shm, seqnum_strerror(r));
        return client;
}

struct seqnum *instance_open(struct seqnum_client *client, const char *name)
{
        struct seqnum *seq = NULL;
        int r = seqnum_open(&seq, client, name);

        if (r < 0)
                fail_msg("open %s: %s", name, seqnum_strerror(r));
        return seq;
}

int64_t must_next(struct seqnum *seq)
{
        int64_t value = 0;
        int r = seqnum_next(seq, &value);

        if (r < 0)
                fail_msg("next: %s", seqnum_strerror(r));
        return value;
}

int64_t must_peek(struct seqnum *seq)
{
        int64_t value = 0;
        int r = seqnum_peek(seq, &value);

        if (r < 0)
                fail_msg("peek: %s", seqnum_strerror(r));
        return value;
}

int64_t instance_peek(const struct instance *instance, const char *name)
{
        struct seqnum_client *client = instance_attach(instance);
        int64_t value = must_peek(instance_open(client, name));

        seqnum_detach(client);
        return value;
}

/* --- children -------------------------------------------------------------- */

void *shared_memory(size_t size)
{
        void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

        assert_ptr_not_equal(memory, MAP_FAILED);
        return memory;
}

pid_t instance_fork(struct instance *instance)
{
        pid_t pid, parent = getpid();
        size_t slot = 0;

        while (slot < CHILDREN_MAX && instance->children[slot])
                slot++;
        assert_true(slot < CHILDREN_MAX);
        (void)fflush(stdout);
        (void)fflush(stderr);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                die_with(parent);
                return 0;
        }
        instance->children[slot] = pid;
        return pid;
}

void instance_reap(struct instance *instance, pid_t pid)
{
        for (size_t i = 0; i < CHILDREN_MAX; i++) {
                if (instance->children[i] != pid)
                        continue;
                (void)waitpid(pid, NULL, 0);
                instance->children[i] = 0;
        }
}

int instance_join(struct instance *instance, pid_t pid, unsigned seconds)
{
        int status;

        for (size_t i = 0; i < CHILDREN_MAX; i++) {
                if (instance->children[i] != pid)
                        continue;
                status = await_end(&instance->children[i], UINT64_C(1000000) * seconds, "a child");
                if (!WIFEXITED(status))
                        fail_msg("a child ended with wait status %#x", (unsigned)status);
                return WEXITSTATUS(status);
        }
        fail_msg("process %d is no child of this test", (int)pid);
        return -1;
}
