/* SPDX-License-Identifier: MIT */

/*
 * When memory, file descriptors, room and threads run out: each request for them
 * is refused in turn, in the daemon and in the library, while it is asked for
 * something (tests/preload/scarce.c). Whoever asked may be told so; the daemon lives on,
 * everybody else is served, and what was confirmed is served in the end, without a
 * restart.
 */

#include "harness.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../preload/scarce.h"

#define PATIENCE_USEC UINT64_C(20000000)

static struct scarce_page *page;

static void refuse(pid_t pid, enum scarce what, int64_t after, bool for_ever)
{
        atomic_store(&page->pid, pid);
        atomic_store(&page->for_ever, for_ever);
        atomic_store(&page->refused[what], 0);
        atomic_store(&page->left[what], after);
}

/* How often it was refused. */
static int64_t relent(enum scarce what)
{
        atomic_store(&page->left[what], -1);
        atomic_store(&page->for_ever, 0);
        return atomic_load(&page->refused[what]);
}

/* The first line of the answer; "" when there is none, which somebody without memory may do. */
static const char *ask(const struct instance *instance, const char *format, ...)
        __attribute__((format(printf, 2, 3)));

static const char *ask(const struct instance *instance, const char *format, ...)
{
        static char text[1024];
        int fd = instance_connect(instance), size;
        struct pollfd input = {.fd = fd, .events = POLLIN};
        va_list arguments;
        ssize_t n = 0;

        if (fd < 0)
                return "";
        va_start(arguments, format);
        size = vsnprintf(text, sizeof(text) - 2, format, arguments);
        va_end(arguments);
        memcpy(text + size, "\r\n", 2);
        if (send(fd, text, (size_t)size + 2, MSG_NOSIGNAL) > 0 && poll(&input, 1, 15000) > 0)
                n = recv(fd, text, sizeof(text) - 1, 0);
        text[n > 0 ? n : 0] = '\0';
        text[strcspn(text, "\r\n")] = '\0';
        close(fd);
        return text;
}

/* It comes to answer like this. */
static void await_answer(const struct instance *instance, const char *question, char type)
{
        uint64_t end = now_usec() + patience_usec(PATIENCE_USEC);
        const char *answer;

        while ((answer = ask(instance, "%s", question))[0] != type) {
                if (now_usec() > end)
                        fail_msg("%s: still %s", question, answer);
                nap(20000);
        }
}

/* --- what is asked of a daemon ------------------------------------------------ */

static void create(struct instance *instance, unsigned n)
{
        char text[64];
        bool made = strcmp(ask(instance, "SEQ.CREATE made/%u", n), "+OK") == 0;

        atomic_store(&page->pid, 0);
        if (!made)
                return;
        (void)snprintf(text, sizeof(text), "INCR made/%u", n);
        await_answer(instance, text, ':');
}

static void alter(struct instance *instance, unsigned n)
{
        (void)ask(instance, "SEQ.ALTER altered increment %u", n + 1);
        (void)ask(instance, "SEQ.RESTART altered %u", n + 1);
        atomic_store(&page->pid, 0);
        await_answer(instance, "INCR altered", ':');
}

static void drop(struct instance *instance, unsigned n)
{
        char text[64];

        (void)ask(instance, "SEQ.DROP made/%u", n);
        atomic_store(&page->pid, 0);
        (void)snprintf(text, sizeof(text), "EXISTS made/%u", n);
        await_answer(instance, text, ':');
}

static void look(struct instance *instance, unsigned n)
{
        (void)n;
        (void)ask(instance, "SCAN 0");
        (void)ask(instance, "SEQ.INFO orders");
        (void)ask(instance, "INFO");
        (void)ask(instance, "SEQ.BEGIN invoices");
        (void)ask(instance, "INCRBY orders 1000000");
}

static void reload(struct instance *instance, unsigned n)
{
        (void)n;
        (void)kill(instance->pid, SIGHUP);
        nap(3000);
        (void)ask(instance, "PING");
}

static void template(struct instance *instance, unsigned n)
{
        struct seqnum_client *client = instance_attach(instance);
        uint64_t end = now_usec() + patience_usec(PATIENCE_USEC);
        struct seqnum *seq = NULL;
        char name[64];
        int r;

        (void)snprintf(name, sizeof(name), "template/%u", n);
        (void)seqnum_open(&seq, client, name);
        atomic_store(&page->pid, 0);
        while ((r = seqnum_open(&seq, client, name)) < 0) {
                if (now_usec() > end)
                        fail_msg("open %s: %s", name, seqnum_strerror(r));
                nap(20000);
        }
        (void)must_next(seq);
        seqnum_detach(client);
}

/* A fresh segment, which is heard. */
static void replace(struct instance *instance, unsigned n)
{
        uint64_t end = now_usec() + patience_usec(PATIENCE_USEC);
        struct seqnum_client *client;
        struct seqnum *small;
        int r;

        (void)n;
        instance_unlink(instance);
        while ((r = seqnum_attach(&client, instance->shm, 0)) < 0) {
                if (now_usec() > end)
                        fail_msg("no fresh segment: %s", seqnum_strerror(r));
                nap(1000);
        }
        assert_int_equal(seqnum_set_timeout(client, patience_usec(PATIENCE_USEC)), 0);
        small = instance_open(client, "small");
        for (int i = 0; i < 20; i++)
                (void)must_next(small);
        seqnum_detach(client);
}

static void draw(struct instance *instance, unsigned n)
{
        (void)instance;
        (void)n;
}

/* --- refused in turn ------------------------------------------------------------ */

static void start(struct instance *instance, const char *more)
{
        instance_configure(instance,
                           "%s"
                           "[sequence orders]\n[sequence altered]\n"
                           "[sequence small]\nreserve = 3\n"
                           "[sequence invoices]\nkind = gapless\n"
                           "[sequence template/*]\n",
                           more);
        instance_start(instance);
}

static void alive(const struct instance *instance)
{
        int status;

        if (waitpid(instance->pid, &status, WNOHANG) != 0)
                fail_msg("the daemon is gone, wait status %#x", (unsigned)status);
}

static unsigned total;

/*
 * The first, the second ... until there are no more to be refused. In `make check`
 * some of them, others in each run.
 */
static void in_turn(struct instance *instance, enum scarce what, const char *name,
                    void (*scenario)(struct instance *instance, unsigned n))
{
        struct seqnum_client *client = instance_attach(instance);
        struct seqnum *small = instance_open(client, "small");
        unsigned step = scaled(10) >= 100 ? 1 : what == SCARCE_MEMORY ? 23 : 8;
        unsigned n = 0, times = 0;
        int64_t last = -1, value;

        assert_int_equal(seqnum_set_timeout(client, patience_usec(PATIENCE_USEC)), 0);
        do {
                progress("%s: refused the %u. time", name, n);
                refuse(instance->pid, what, n, false);
                scenario(instance, n);
                alive(instance);
                for (int i = 0; i < 8; i++) {
                        if (seqnum_next(small, &value) < 0) {
                                alive(instance);
                                fail_msg("nothing was drawn");
                        }
                        assert_true(value > last);
                        last = value;
                }
                n += n ? step : 1 + (unsigned)random_below(step);
                times++;
        } while (relent(what) > 0);
        total += times - 1;
        print_message("  %s: %u times\n", name, times - 1);
        await_answer(instance, "PING", '+');
        await_answer(instance, "INCR orders", ':');
        seqnum_detach(client);
}

static void memory_of_the_daemon(struct instance *instance)
{
        start(instance, "");
        in_turn(instance, SCARCE_MEMORY, "memory: draw", draw);
        in_turn(instance, SCARCE_MEMORY, "memory: look", look);
        in_turn(instance, SCARCE_MEMORY, "memory: create", create);
        in_turn(instance, SCARCE_MEMORY, "memory: alter", alter);
        in_turn(instance, SCARCE_MEMORY, "memory: drop", drop);
        in_turn(instance, SCARCE_MEMORY, "memory: template", template);
        in_turn(instance, SCARCE_MEMORY, "memory: reload", reload);
        in_turn(instance, SCARCE_MEMORY, "memory: replace", replace);
        instance_stop(instance);
        instance_start(instance);
        (void)instance_peek(instance, "orders");
        figures("refused=%u", total);
}

static void descriptors_of_the_daemon(struct instance *instance)
{
        start(instance, "");
        in_turn(instance, SCARCE_FILES, "descriptors: look", look);
        in_turn(instance, SCARCE_FILES, "descriptors: create", create);
        in_turn(instance, SCARCE_FILES, "descriptors: alter", alter);
        in_turn(instance, SCARCE_FILES, "descriptors: reload", reload);
        in_turn(instance, SCARCE_FILES, "descriptors: replace", replace);
        in_turn(instance, SCARCE_THREADS, "threads: replace", replace);
        in_turn(instance, SCARCE_SPACE, "room: create", create);
        in_turn(instance, SCARCE_SPACE, "room: replace", replace);
        instance_stop(instance);
}

/* --- refused for long -------------------------------------------------------------- */

/* All but `altered` are served, also when they need more than there was. */
static void others_are_served(struct instance *instance, struct seqnum_client *client)
{
        struct seqnum *small = instance_open(client, "small");
        struct seqnum *invoices = instance_open(client, "invoices");
        int64_t last = 0;

        for (int i = 0; i < 20; i++) {
                int64_t value = must_next(small);

                assert_true(value > last);
                last = value;
        }
        (void)must_next(invoices);
        assert_int_equal(ask(instance, "INCRBY orders 5000000")[0], ':');
        seqnum_close(small);
        seqnum_close(invoices);
}

/*
 * Found by review: a sequence altered when the slots were used up and /dev/shm was full
 * had none until a restart, and took the slots of all behind it along.
 */
static void no_room_for_a_slot(struct instance *instance)
{
        struct seqnum_client *client;
        unsigned n = 0;
        int64_t before;

        start(instance, "max_sequences = 32\n");
        client = instance_attach(instance);
        before = must_next(instance_open(client, "altered"));
        refuse(instance->pid, SCARCE_SPACE, 0, true);
        while (strcmp(ask(instance, "SEQ.ALTER altered increment %u", n % 7 + 1), "+OK") == 0 &&
               !instance_says(instance, "/dev/shm") && n++ < 200)
                ;
        for (int i = 0; i < 4; i++) {
                others_are_served(instance, client);
                nap(500000);
        }
        alive(instance);
        assert_true(atomic_load(&page->refused[SCARCE_SPACE]) > 0);
        (void)relent(SCARCE_SPACE);
        await_answer(instance, "INCR altered", ':');
        assert_true(must_next(instance_open(client, "altered")) > before);
        others_are_served(instance, client);
        seqnum_detach(client);
        instance_stop(instance);
}

/* --- limits of a process -------------------------------------------------------------- */

/*
 * The store may not grow any more, and the kernel would kill for the attempt
 * (SIGXFSZ), as by LimitFSIZE= or a quota: an error like a full disk.
 */
static void size_of_files(struct instance *instance)
{
        const struct rlimit none = {4096, RLIM_INFINITY}, all = {RLIM_INFINITY, RLIM_INFINITY};
        struct seqnum_client *client;
        struct seqnum *small;
        int64_t last, value = 0;
        int r = 0;

        start(instance, "");
        client = instance_attach(instance);
        small = instance_open(client, "small");
        last = must_next(small);
        assert_int_equal(prlimit(instance->pid, RLIMIT_FSIZE, &none, NULL), 0);
        assert_int_equal(seqnum_set_timeout(client, 200000), 0);
        for (int i = 0; i < 100 && r == 0; i++) {
                r = seqnum_next(small, &value);
                if (r == 0) {
                        assert_true(value > last);
                        last = value;
                }
        }
        assert_int_equal(r, -ETIMEDOUT);
        alive(instance);
        assert_int_equal(ask(instance, "SEQ.CREATE more")[0], '-');
        assert_int_equal(ask(instance, "GET orders")[0], '$');
        assert_true(instance_will_say(instance, "cannot reserve numbers"));

        assert_int_equal(prlimit(instance->pid, RLIMIT_FSIZE, &all, NULL), 0);
        assert_int_equal(seqnum_set_timeout(client, patience_usec(PATIENCE_USEC)), 0);
        for (int i = 0; i < 20; i++) {
                value = must_next(small);
                assert_true(value > last);
                last = value;
        }
        await_answer(instance, "SEQ.CREATE more", '+');
        seqnum_detach(client);
        instance_stop(instance);
}

static size_t descriptors(void)
{
        DIR *directory = opendir("/proc/self/fd");
        size_t n = 0;

        while (readdir(directory))
                n++;
        (void)closedir(directory);
        return n;
}

/* All that a program does with the library; the first error. */
static int use(const struct instance *instance)
{
        struct seqnum_client *client = NULL;
        struct seqnum *orders, *invoices;
        int64_t value;
        int r, s;

        r = seqnum_attach(&client, instance->shm, 0);
        if (r < 0)
                return r;
        r = seqnum_open(&orders, client, "orders");
        if (r >= 0)
                r = seqnum_next(orders, &value);
        if (r >= 0)
                r = seqnum_open(&invoices, client, "invoices");
        if (r >= 0)
                r = seqnum_begin(invoices, &value);
        if (r >= 0) {
                r = seqnum_commit(invoices);
                s = seqnum_begin(invoices, &value); /* left to detach */
                r = r < 0 ? r : s;
        }
        seqnum_detach(client);
        return r;
}

static void memory_of_the_library(struct instance *instance)
{
        static const struct {
                enum scarce what;
                int error;
        } wants[] = {{SCARCE_MEMORY, -ENOMEM}, {SCARCE_FILES, -EMFILE}};

        start(instance, "");
        assert_int_equal(use(instance), 0);
        for (size_t i = 0; i < 2; i++) {
                size_t before = descriptors();
                int64_t n = 0;
                int r;

                do {
                        refuse(getpid(), wants[i].what, n++, false);
                        r = use(instance);
                        if (relent(wants[i].what) > 0)
                                assert_int_equal(r, wants[i].error);
                        else
                                assert_int_equal(r, 0);
                        assert_true(descriptors() == before);
                } while (r < 0);
                assert_true(n >= 3);
                print_message("  %s: %" PRId64 "\n", seqnum_strerror(wants[i].error), n - 1);
        }
        instance_stop(instance);
}

/* A segment for a million sequences, and a process that may not have so much. */
static void address_space_of_a_client(struct instance *instance)
{
        const struct rlimit little = {UINT64_C(64) << 20, RLIM_INFINITY};
        pid_t child;

        start(instance, "max_sequences = 1048576\n");
        child = instance_fork(instance);
        if (child == 0) {
                struct seqnum_client *client = NULL;
                int64_t value;
                int r;

                if (setrlimit(RLIMIT_AS, &little) < 0)
                        _exit(1);
                r = seqnum_attach(&client, instance->shm, 0);
                if (r != -ENOMEM || client || strstr(seqnum_strerror(r), "memory") == NULL)
                        _exit(2);
                (void)setrlimit(RLIMIT_AS, &(struct rlimit){RLIM_INFINITY, RLIM_INFINITY});
                client = instance_attach(instance);
                _exit(seqnum_next(instance_open(client, "orders"), &value) < 0 ? 3 : 0);
        }
        assert_int_equal(instance_join(instance, child, 20), 0);
        instance_stop(instance);
}

/* --- the test, with scarcity preloaded ------------------------------------------- */

static int run_with_scarcity(char **argv)
{
        const char *build = getenv("SEQNUM_BUILD");
        int fd = memfd_create("scarce", 0);
        char path[64], text[4096];

        if (fd < 0 || ftruncate(fd, sizeof(*page)) < 0) {
                perror("memfd_create");
                return 1;
        }
        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        (void)setenv("SEQNUM_SCARCE", path, 1);
        (void)snprintf(text, sizeof(text), "%s/tests/preload/scarce.so",
                       build && *build ? build : "build");
        (void)setenv("LD_PRELOAD", text, 1);
        (void)execv("/proc/self/exe", argv);
        perror("/proc/self/exe");
        return 1;
}

static int map_page(const char *path)
{
        int fd = open(path, O_RDWR | O_CLOEXEC);
        void *memory = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

        if (memory == MAP_FAILED) {
                perror(path);
                return -1;
        }
        close(fd);
        page = memory;
        for (int i = 0; i < SCARCE_N; i++)
                (void)relent((enum scarce)i);
        return 0;
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                instance_test(memory_of_the_daemon),  instance_test(descriptors_of_the_daemon),
                instance_test(no_room_for_a_slot),    instance_test(size_of_files),
                instance_test(memory_of_the_library), instance_test(address_space_of_a_client),
        };
        const char *path = getenv("SEQNUM_SCARCE");

        (void)argc;
        if (sanitized()) {
                puts("a sanitizer has malloc(3) to itself");
                return 77;
        }
        if (!path)
                return run_with_scarcity(argv);
        if (map_page(path) < 0)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
