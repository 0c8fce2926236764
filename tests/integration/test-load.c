/* SPDX-License-Identifier: MIT */

/*
 * Many at once: processes that are all attached, drawing by turns and all together,
 * with the daemon killed under them; connections to the control socket that are all
 * served, though some never read, or have never asked to the end; and a daemon that has
 * no file descriptors left for more.
 */

#include "harness.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_USEC UINT64_C(60000000)

/* --- processes ------------------------------------------------------------- */

#define PROCESSES 1000 /* at scale 1; 10,000 from scale 10 on */
#define DRAWS     20   /* of each in each round */
#define ROUNDS    3

struct crowd {
        _Atomic(uint32_t) attached, drawn[ROUNDS], failed;
        _Atomic(uint32_t) round; /* to be drawn; ROUNDS: go */
        _Atomic(int32_t) error;
};

/* One light process: nothing of its own but what the library takes. */
static int draw_in_rounds(const struct instance *instance, struct crowd *crowd,
                          struct record *record)
{
        struct seqnum_client *client;
        struct seqnum *orders;
        int64_t value, last = 0;
        int r;

        r = seqnum_attach(&client, instance->shm, 0);
        if (r >= 0)
                r = seqnum_open(&orders, client, "orders");
        if (r < 0)
                return r;
        (void)seqnum_set_timeout(client, patience_usec(PATIENCE_USEC));
        atomic_fetch_add(&crowd->attached, 1);
        for (uint32_t round = 0; round < ROUNDS; round++) {
                while (atomic_load(&crowd->round) <= round)
                        (void)poll(NULL, 0, 200);
                for (int i = 0; i < DRAWS; i++) {
                        r = seqnum_next(orders, &value);
                        if (r >= 0 && (value <= last || !record_add(record, value, 1)))
                                r = -EBADMSG; /* out of order, or twice */
                        if (r < 0)
                                return r;
                        last = value;
                }
                atomic_fetch_add(&crowd->drawn[round], 1);
        }
        return 0;
}

/* Those of the crowd; returns how many there came to be, the parent of them all. */
static uint32_t gather_crowd(const struct instance *instance, struct crowd *crowd,
                             struct record *record, uint32_t n)
{
        pid_t parent = getpid(), pid;
        int r;

        for (uint32_t i = 0; i < n; i++) {
                pid = fork();
                if (pid < 0)
                        return i; /* the machine takes no more */
                if (pid > 0)
                        continue;
                (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
                r = getppid() == parent ? draw_in_rounds(instance, crowd, record) : -ESRCH;
                if (r < 0) {
                        atomic_store(&crowd->error, r);
                        atomic_fetch_add(&crowd->failed, 1);
                }
                _exit(r < 0);
        }
        return n;
}

static void await_all(const struct crowd *crowd, const _Atomic(uint32_t) *done, uint32_t n,
                      const char *what)
{
        uint64_t end = now_usec() + patience_usec(PATIENCE_USEC) + n * UINT64_C(5000);

        while (atomic_load(done) < n) {
                progress("%s: %" PRIu32 " of %" PRIu32, what, atomic_load(done), n);
                if (atomic_load(&crowd->failed) > 0)
                        fail_msg("%s: %s", what, seqnum_strerror(atomic_load(&crowd->error)));
                if (now_usec() > end)
                        fail_msg("%s: only %" PRIu32 " of %" PRIu32, what, atomic_load(done), n);
                nap(2000);
        }
}

static void processes(struct instance *instance)
{
        struct crowd *crowd = shared_memory(sizeof(*crowd));
        _Atomic(uint32_t) *forked = shared_memory(sizeof(*forked));
        struct record *record = record_new(1, 1, 0);
        uint32_t wanted = (uint32_t)scaled(PROCESSES), n;
        struct seqnum_client *client;
        uint64_t drawn, end;
        pid_t leader;

        if (wanted > 10000)
                wanted = 10000;
        instance_configure(instance, "[sequence orders]\n");
        instance_start(instance);
        leader = instance_fork(instance);
        if (leader == 0) {
                atomic_store(forked, gather_crowd(instance, crowd, record, wanted) + 1);
                while (wait(NULL) > 0)
                        ;
                _exit(0);
        }
        end = now_usec() + patience_usec(PATIENCE_USEC) + wanted * UINT64_C(10000);
        while (atomic_load(forked) == 0) {
                progress("attached: %" PRIu32, atomic_load(&crowd->attached));
                assert_true(now_usec() < end);
                nap(2000);
        }
        n = atomic_load(forked) - 1;
        await_all(crowd, &crowd->attached, n, "attached");

        atomic_store(&crowd->round, 1);
        await_all(crowd, &crowd->drawn[0], n, "drawn");
        instance_kill(instance);
        atomic_store(&crowd->round, 2); /* without a daemon, until the window is used up */
        nap(200000);
        instance_start(instance);
        await_all(crowd, &crowd->drawn[1], n, "drawn");
        atomic_store(&crowd->round, 3);
        nap(1000);
        instance_stop(instance);
        instance_start(instance);
        await_all(crowd, &crowd->drawn[2], n, "drawn");
        assert_int_equal(instance_join(instance, leader, 120), 0);

        drawn = (uint64_t)n * DRAWS * ROUNDS;
        client = instance_attach(instance);
        assert_true(must_next(instance_open(client, "orders")) == (int64_t)drawn + 1);
        assert_true(record_count(record, drawn) == drawn); /* each number once: none left out */
        seqnum_detach(client);
        figures("processes=%" PRIu32 " numbers=%" PRIu64 " duplicates=0 gaps=0", n, drawn);
        record_free(record);
        instance_stop(instance);
}

/* --- connections --------------------------------------------------------------- */

#define CONNECTIONS 1000
#define CLIENTS_MAX 20000
#define REQUESTS    10 /* of each, in one go */
#define SPARE       200

/* So many descriptors can be had; the daemon inherits it. */
static size_t allow_descriptors(size_t wanted)
{
        struct rlimit limit = {0};

        struct rlimit more = {wanted, wanted};

        assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
        if (limit.rlim_max < wanted && setrlimit(RLIMIT_NOFILE, &more) == 0)
                return wanted; /* root may */
        limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
        return limit.rlim_cur;
}

static void tell(int fd, const char *text)
{
        assert_true(send(fd, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text));
}

/* The next whole line, without its end; each connection is read by one reader at a time. */
static const char *hear(int fd)
{
        static char line[256];
        struct pollfd input = {.fd = fd, .events = POLLIN};
        size_t n = 0;

        do {
                if (n == sizeof(line) ||
                    poll(&input, 1, (int)(patience_usec(20000000) / 1000)) <= 0 ||
                    recv(fd, line + n, 1, 0) <= 0)
                        return "(silence)";
        } while (line[n++] != '\n');
        line[n - 2] = '\0';
        return line;
}

static int64_t number(int fd)
{
        const char *line = hear(fd);

        if (line[0] != ':')
                fail_msg("no number: %s", line);
        return strtoll(line + 1, NULL, 10);
}

/* Ask until nothing more is taken, and read nothing. Returns how often. */
static uint64_t flood(int fd)
{
        static const char request[] = "INCR slow\r\n";
        struct pollfd output = {.fd = fd, .events = POLLOUT};
        uint64_t n = 0;

        while (poll(&output, 1, 200) > 0) {
                ssize_t sent = send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);

                if (sent == (ssize_t)sizeof(request) - 1)
                        n++;
                else if (sent >= 0)
                        return n; /* a part of one more */
        }
        return n;
}

/* Every one asks for ten in one go, and then all are heard. */
static void all_ask(const int *fds, size_t n, struct record *record)
{
        static const char requests[] =
                "INCR orders\r\nINCR orders\r\nINCR orders\r\nINCR orders\r\n"
                "INCR orders\r\nINCR orders\r\nINCR orders\r\nINCR orders\r\n"
                "INCR orders\r\nINCR orders\r\n";

        for (size_t i = 0; i < n; i++)
                tell(fds[i], requests);
        for (size_t i = 0; i < n; i++) {
                progress("answered: %zu of %zu", i, n);
                for (int k = 0; k < REQUESTS; k++)
                        assert_true(record_add(record, number(fds[i]), 1));
        }
}

static void connections(struct instance *instance)
{
        static int fds[CLIENTS_MAX];
        size_t n = scaled(CONNECTIONS), limit = allow_descriptors(CLIENTS_MAX + SPARE);
        struct record *record = record_new(1, 1, 0);
        uint64_t floods, end;
        int slow, half, late;

        if (n > CLIENTS_MAX)
                n = CLIENTS_MAX;
        if (n + SPARE > limit)
                n = limit - SPARE;
        instance_configure(instance, "max_clients = %zu\n[sequence orders]\n[sequence slow]\n",
                           n + 2);
        instance_start(instance);
        slow = instance_plug_in(instance);
        half = instance_plug_in(instance);
        tell(half, "*2\r\n$4\r\nINCR\r\n$6\r\nord");
        for (size_t i = 0; i < n; i++)
                fds[i] = instance_plug_in(instance);
        all_ask(fds, n, record);
        floods = flood(slow);
        all_ask(fds, n, record);
        assert_true(record_count(record, 2 * n * REQUESTS) == 2 * n * REQUESTS);

        late = instance_plug_in(instance);
        assert_non_null(strstr(hear(late), "max number of clients reached"));
        close(late);
        close(half);
        end = now_usec() + patience_usec(PATIENCE_USEC);
        while (strcmp(instance_ask(instance, "PING"), "+PONG") != 0) { /* once it has noticed */
                assert_true(now_usec() < end);
                nap(10000);
        }
        for (uint64_t i = 0; i < floods; i++)
                assert_true(number(slow) > 0);
        for (size_t i = 0; i < n; i++)
                close(fds[i]);
        close(slow);
        figures("connections=%zu requests=%" PRIu64 " unread=%" PRIu64, n + 2,
                2 * (uint64_t)n * REQUESTS, floods);
        record_free(record);
        instance_stop(instance);
}

/* --- no descriptors left ----------------------------------------------------------- */

/*
 * The daemon is at its limit: who is connected is served, who is not waits in the socket
 * until there is one, and those who draw from memory notice nothing.
 */
static void no_descriptors_left(struct instance *instance)
{
        struct rlimit few = {64, 4096}, many = {1024, 4096};
        struct seqnum_client *client;
        int fds[128], late;
        struct seqnum *small;
        size_t n = 0;
        int64_t last = 0;

        instance_configure(instance, "[sequence orders]\n[sequence small]\nreserve = 3\n");
        instance_start(instance);
        assert_int_equal(prlimit(instance->pid, RLIMIT_NOFILE, &few, NULL), 0);
        client = instance_attach(instance);
        small = instance_open(client, "small");
        while (n < 128 && !instance_says(instance, "cannot accept more connections")) {
                fds[n] = instance_plug_in(instance);
                tell(fds[n++], "INCR orders\r\n");
                nap(1000);
        }
        assert_true(n < 128 && n > 20);
        for (int i = 0; i < 100; i++) {
                int64_t value = must_next(small);

                assert_true(value == last + 1);
                last = value;
        }
        assert_true(number(fds[0]) > 0);
        tell(fds[0], "GET orders\r\n");
        assert_int_equal(hear(fds[0])[0], '$');
        (void)hear(fds[0]);

        late = fds[n - 1]; /* in the socket, not accepted yet */
        for (size_t i = 0; i < 10; i++)
                close(fds[i]);
        assert_true(number(late) > 1);
        assert_int_equal(prlimit(instance->pid, RLIMIT_NOFILE, &many, NULL), 0);
        for (size_t i = 10; i < n; i++)
                close(fds[i]);
        assert_string_equal(instance_ask(instance, "PING"), "+PONG");
        seqnum_detach(client);
        instance_stop(instance);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                instance_test(processes),
                instance_test(connections),
                instance_test(no_descriptors_left),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
