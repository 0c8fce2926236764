/* SPDX-License-Identifier: MIT */

/*
 * The control socket, byte by byte: who may do what, what is refused and how,
 * that nobody holds up anybody else, and what becomes of what a connection held
 * when it ends. Redis' own clients are test-socket-redis.sh's and test-hiredis.c's.
 */

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "harness.h"

#define ANSWER_MSEC 20000 /* for an answer that must come; patience on top */
#define NOBODY      65534

/* --- a connection ------------------------------------------------------------------- */

static void send_bytes(int fd, const void *bytes, size_t n)
{
        assert_int_equal(send(fd, bytes, n, MSG_NOSIGNAL), n);
}

__attribute__((format(printf, 2, 3))) static void tell(int fd, const char *format, ...)
{
        char text[8192];
        va_list arguments;
        int n;

        va_start(arguments, format);
        n = vsnprintf(text, sizeof(text), format, arguments);
        va_end(arguments);
        assert_in_range(n, 1, sizeof(text) - 1);
        send_bytes(fd, text, (size_t)n);
}

/* 1: a byte; 0: the end; -1: nothing came in time. */
static int read_byte(int fd, char *ret, int msec)
{
        struct pollfd input = {.fd = fd, .events = POLLIN};

        if (poll(&input, 1, msec) <= 0)
                return -1;
        return read(fd, ret, 1) == 1 ? 1 : 0;
}

static int answer_msec(void)
{
        return (int)(patience_usec(ANSWER_MSEC * UINT64_C(1000)) / 1000);
}

/* The next line of the answers, without its end, until the next call. "(end)": no more come. */
static const char *hear(int fd)
{
        static char line[8192];
        size_t n = 0;

        while (n < sizeof(line) - 1) {
                int r = read_byte(fd, &line[n], answer_msec());

                if (r < 0)
                        fail_msg("no answer within %d ms", answer_msec());
                if (r == 0)
                        return n == 0 ? "(end)" : "(torn)";
                if (line[n] == '\n') {
                        assert_true(n > 0 && line[n - 1] == '\r');
                        line[n - 1] = '\0';
                        return line;
                }
                n++;
        }
        fail_msg("a line without an end");
        return line;
}

static void expect(int fd, const char *answer)
{
        const char *heard = hear(fd);

        if (strcmp(heard, answer) != 0)
                fail_msg("'%s', not '%s'", heard, answer);
}

/* An error that begins with `code` and in which `text` occurs. */
static void expect_error(int fd, const char *code, const char *text)
{
        const char *heard = hear(fd);

        if (heard[0] != '-' || strncmp(heard + 1, code, strlen(code)) != 0 || !strstr(heard, text))
                fail_msg("'%s', not an error %s that says '%s'", heard, code, text);
}

static void expect_silence(int fd, int msec)
{
        char byte;

        if (read_byte(fd, &byte, msec) >= 0)
                fail_msg("something was answered");
}

static void ask(int fd, const char *question, const char *answer)
{
        tell(fd, "%s\r\n", question);
        expect(fd, answer);
}

static void start_with(struct instance *instance, const char *text)
{
        instance_configure(instance, "%s", text);
        instance_start(instance);
}

/* --- who may what ----------------------------------------------------------------------- */

struct person {
        uid_t uid;
        gid_t gid;
        gid_t group;         /* a supplementary one, NOBODY: none */
        bool reaches;        /* the socket, as the kernel sees it */
        bool draws, creates; /* by our word */
};

/* What becomes of a person's attempts, as an exit status: 0 as it should be. */
static int attempt(const struct instance *instance, const struct person *person)
{
        int fd;

        if (setgroups(person->group != NOBODY, &person->group) < 0 || setgid(person->gid) < 0 ||
            setuid(person->uid) < 0)
                return 100;
        fd = instance_connect(instance);
        if (!person->reaches)
                return fd == -EACCES ? 0 : 1;
        if (fd < 0)
                return 2;
        if (!person->draws) { /* refused by name, before it has said anything */
                expect_error(fd, "NOPERM", "user 65534 is not in the group that may draw");
                expect(fd, "(end)");
                return 0;
        }
        tell(fd, "INCR orders\r\nSEQ.CREATE mine%d\r\n", (int)getpid());
        if (hear(fd)[0] != ':')
                return 3;
        if (person->creates)
                expect(fd, "+OK");
        else
                expect_error(fd, "NOPERM", "for root and the user of the service alone");
        tell(fd, "SEQ.DROP nobody\r\nSEQ.PEEK orders\r\n");
        expect_error(fd, person->creates ? "NOTFOUND" : "NOPERM", "");
        return hear(fd)[0] == ':' ? 0 : 4;
}

static void check_person(struct instance *instance, const struct person *person)
{
        pid_t pid = instance_fork(instance);

        if (pid == 0)
                _exit(attempt(instance, person));
        assert_int_equal(instance_join(instance, pid, 60), 0);
}

static void rights(struct instance *instance)
{
        const struct person root = {0, 0, NOBODY, true, true, true};
        const struct person member = {NOBODY, 0, NOBODY, true, true, false};
        const struct person joined = {NOBODY, NOBODY, 0, true, true, false};
        struct person stranger = {NOBODY, NOBODY, NOBODY, false, false, false};

        if (geteuid() != 0) {
                print_message("  not root: nobody else to ask as\n");
                skip();
        }
        assert_int_equal(chmod(instance->directory, 0711), 0);
        start_with(instance, "[sequence orders]\n");
        check_person(instance, &root);
        check_person(instance, &member);
        check_person(instance, &joined);
        check_person(instance, &stranger);
        assert_int_equal(chmod(instance->socket, 0666), 0);
        stranger.reaches = true;
        check_person(instance, &stranger);
        assert_true(instance_will_say(instance, "refused: user 65534 is not in the group"));
}

/* --- what is refused --------------------------------------------------------------------- */

static void errors(struct instance *instance)
{
        int fd, other;

        start_with(instance, "[sequence orders]\n[sequence invoices]\nkind = gapless\n"
                             "[sequence few]\nmax = 3\n");
        fd = instance_plug_in(instance);
        tell(fd, "NONSENSE\r\nINCRR orders\r\nINCR\r\nINCR a b\r\n");
        expect_error(fd, "ERR", "unknown command 'NONSENSE'");
        expect_error(fd, "ERR", "did you mean INCR?");
        expect_error(fd, "ERR", "wrong number of arguments for 'INCR': it takes NAME");
        expect_error(fd, "ERR", "wrong number of arguments for 'INCR': it takes NAME");
        tell(fd, "INCR nobody\r\nINCR \"a b\"\r\nGET nobody\r\n");
        expect_error(fd, "NOTFOUND", "no such sequence 'nobody'");
        expect_error(fd, "NOTFOUND", "no such sequence 'a b'");
        expect(fd, "$-1");
        tell(fd, "INCRBY orders 0\r\nINCRBY orders -1\r\nINCRBY orders x\r\n"
                 "INCRBY orders 4294967296\r\nINCRBY orders 99999999999999999999\r\n"
                 "INCRBY orders ' 1'\r\n");
        for (int i = 0; i < 6; i++)
                expect_error(fd, "ERR", "is not an integer or out of range: use 1 to 4294967295");
        tell(fd, "SEQ.BEGIN orders\r\nSEQ.COMMIT invoices\r\nSEQ.ROLLBACK invoices\r\n");
        expect_error(fd, "ERR", "of kind counter, not gapless");
        expect_error(fd, "ERR", "in no transaction on 'invoices'");
        expect_error(fd, "ERR", "in no transaction on 'invoices'");
        tell(fd, "INCRBY few 4\r\nINCRBY few 3\r\nINCR few\r\n");
        expect_error(fd, "ERR", "'few' has come to its end");
        expect(fd, ":3");
        expect_error(fd, "ERR", "'few' has come to its end");
        tell(fd, "SEQ.CREATE x kind nonsense\r\nSEQ.CREATE x increment\r\n"
                 "SEQ.CREATE 'a b'\r\nSEQ.CREATE x start 5 max 4\r\n");
        expect_error(fd, "ERR", "counter, gapless or time");
        expect_error(fd, "ERR", "");
        expect_error(fd, "ERR", "");
        expect_error(fd, "ERR", "max");
        ask(fd, "SEQ.PEEK orders", ":1"); /* nothing was taken by what was refused */

        /* What is no RESP ends the connection that said so, after what went before. */
        other = instance_plug_in(instance);
        tell(other, "INCR orders\r\n*1\r\n:1\r\nINCR orders\r\n");
        expect(other, ":1");
        expect_error(other, "ERR", "Protocol error: expected '$'");
        expect(other, "(end)");
        close(other);
        ask(fd, "INCR orders", ":2");
        ask(fd, "QUIT", "+OK");
        expect(fd, "(end)");
        close(fd);
}

/* Neither names nor values end at a NUL byte; what is only sent back may have some. */
static void nul_bytes(struct instance *instance)
{
        static const char *const with_nul[] = {
                "SEQ.CREATE \"a\\x00b\"",
                "SEQ.CREATE b start \"7\\x00xx\"",
                "SEQ.CREATE b \"start\\x00x\" 7",
                "SEQ.OPEN \"t/x\\x00y\"",
                "INCR \"orders\\x00\"",
                "INCRBY orders \"1\\x00\"",
                "SEQ.NEXT orders \"1\\x00\"",
                "SEQ.COMMIT \"invoices\\x00z\"",
                "SEQ.ROLLBACK \"invoices\\x00z\"",
                "SEQ.ALTER orders increment \"2\\x00\"",
                "SEQ.DROP \"orders\\x00\"",
                "SCAN 0 MATCH \"o*\\x00\"",
        };
        int fd;

        start_with(instance, "[sequence orders]\n[sequence invoices]\nkind = gapless\n"
                             "[sequence t/*]\n");
        fd = instance_plug_in(instance);
        ask(fd, "SEQ.BEGIN invoices", ":1");
        for (size_t i = 0; i < sizeof(with_nul) / sizeof(with_nul[0]); i++) {
                tell(fd, "%s\r\n", with_nul[i]);
                expect_error(fd, "ERR", "has a NUL byte in it");
        }
        ask(fd, "EXISTS a b t/x", ":0");
        ask(fd, "SEQ.COMMIT invoices", "+OK");
        ask(fd, "INCR orders", ":1");
        ask(fd, "ECHO \"1\\x002\"", "$3");
        (void)hear(fd);
        close(fd);
}

static void versions(struct instance *instance)
{
        int fd;

        start_with(instance, "[sequence orders]\n");
        fd = instance_plug_in(instance);
        ask(fd, "GET orders", "$-1");
        tell(fd, "HELLO 4\r\nHELLO 0\r\nHELLO x\r\n");
        for (int i = 0; i < 3; i++)
                expect_error(fd, "NOPROTO", "use 2 or 3");
        send_bytes(fd, "*2\r\n$5\r\nHELLO\r\n$1\r\n\0\r\n", 22);
        expect_error(fd, "ERR", "argument 1 of 'HELLO' has a NUL byte in it");
        ask(fd, "HELLO 3", "%7");
        for (int i = 0; i < 26; i++) {
                const char *line = hear(fd);

                if (strcmp(line, "*0") == 0)
                        break;
        }
        ask(fd, "GET orders", "_");
        ask(fd, "INCR orders", ":1");
        ask(fd, "GET orders", "$1");
        expect(fd, "1");
        ask(fd, "HELLO 2", "*14");
        close(fd);
}

/* --- limits -------------------------------------------------------------------------------- */

static void as_many_clients_as_allowed(struct instance *instance)
{
        char output[512];
        int fds[3], fd;

        start_with(instance, "max_clients = 3\n[sequence orders]\n");
        for (int i = 0; i < 3; i++) {
                fds[i] = instance_plug_in(instance);
                ask(fds[i], "PING", "+PONG");
        }
        fd = instance_plug_in(instance);
        expect_error(fd, "ERR", "max number of clients reached");
        expect(fd, "(end)");
        close(fd);
        assert_true(instance_says(instance, "refused: there are 3 connections, which is "
                                            "max_clients; raise it and reload"));
        assert_int_equal(instance_command(instance, output, sizeof(output), "create more"), 75);
        assert_non_null(strstr(output, "raise max_clients"));
        ask(fds[0], "QUIT", "+OK");
        expect(fds[0], "(end)");
        close(fds[0]);
        fd = instance_plug_in(instance);
        ask(fd, "INCR orders", ":1");
        close(fd);
        close(fds[1]);
        close(fds[2]);
}

/* What is too large is refused by its length, before it takes any memory. */
static void sizes(struct instance *instance)
{
        static char bytes[8192];
        int fd;

        start_with(instance, "[sequence orders]\n");
        memset(bytes, 'a', sizeof(bytes));
        fd = instance_plug_in(instance);
        send_bytes(fd, bytes, sizeof(bytes));
        expect_error(fd, "ERR", "a line may have at most 4096 bytes");
        expect(fd, "(end)");
        close(fd);
        fd = instance_plug_in(instance);
        tell(fd, "*2\r\n$4\r\nINCR\r\n$2000000000\r\n");
        expect_error(fd, "ERR", "an argument may have at most 4096 bytes");
        expect(fd, "(end)");
        close(fd);
        fd = instance_plug_in(instance);
        tell(fd, "*2000000000\r\n");
        expect_error(fd, "ERR", "a request may have at most 256 arguments");
        expect(fd, "(end)");
        close(fd);
        /* A name may be long, and cut short in what is said of it. */
        fd = instance_plug_in(instance);
        tell(fd, "INCR %.4000s\r\n", bytes);
        expect_error(fd, "NOTFOUND", "no such sequence 'aaaa");
        ask(fd, "INCR orders", ":1");
        close(fd);
}

/* Resident memory of the daemon, KiB. */
static int64_t memory_of(const struct instance *instance)
{
        char path[64], line[256];
        int64_t kib = 0;
        FILE *file;

        (void)snprintf(path, sizeof(path), "/proc/%d/status", (int)instance->pid);
        file = fopen(path, "re");
        assert_non_null(file);
        while (fgets(line, sizeof(line), file))
                if (strncmp(line, "VmRSS:", 6) == 0)
                        kib = strtoll(line + 6, NULL, 10);
        (void)fclose(file);
        assert_true(kib > 0);
        return kib;
}

/*
 * One that asks for ever and reads nothing: the daemon stops listening to it
 * before its answers take much room, and serves the others. When it reads after
 * all, it gets every answer, in order.
 */
static void a_slow_reader(struct instance *instance)
{
        static const char request[] = "INCR orders\r\nECHO "
                                      "0123456789012345678901234567890123456789\r\n";
        uint64_t sent = 0;
        int64_t before, number = 0, elsewhere = 0;
        size_t part = 0;
        int fd, other;

        start_with(instance, "[sequence orders]\n");
        before = memory_of(instance);
        other = instance_plug_in(instance);
        fd = instance_plug_in(instance);
        for (;;) {
                struct pollfd output = {.fd = fd, .events = POLLOUT};
                ssize_t n;

                if (poll(&output, 1, 300) <= 0)
                        break;
                n = send(fd, request + part, sizeof(request) - 1 - part,
                         MSG_NOSIGNAL | MSG_DONTWAIT);
                if (n < 0)
                        continue;
                part += (size_t)n;
                sent += part / (sizeof(request) - 1);
                part %= sizeof(request) - 1;
                assert_true(sent < 10000000);
                if (sent % 512 == 0 && part == 0) {
                        ask(other, "PING", "+PONG");
                        tell(other, "INCR orders\r\n");
                        assert_int_equal(hear(other)[0], ':');
                        elsewhere++;
                }
        }
        if (!sanitized())
                assert_true(memory_of(instance) - before < 4096);
        for (uint64_t i = 0; i < sent; i++) {
                int64_t answer = strtoll(hear(fd) + 1, NULL, 10);

                assert_true(answer > number);
                number = answer;
                expect(fd, "$40");
                (void)hear(fd);
        }
        print_message("  %" PRIu64 " requests before it was stopped\n", sent);
        assert_true(number <= (int64_t)sent + elsewhere);
        close(fd);
        close(other);
}

/* --- waiting, and not holding up others ------------------------------------------------------ */

static void waiting_holds_up_nobody(struct instance *instance)
{
        int holder, waiter, other;

        start_with(instance, "[sequence invoices]\nkind = gapless\n"
                             "[sequence orders]\nreserve = 10\n");
        holder = instance_plug_in(instance);
        waiter = instance_plug_in(instance);
        other = instance_plug_in(instance);
        ask(holder, "SEQ.BEGIN invoices", ":1");
        tell(holder, "SEQ.BEGIN invoices\r\nINCR invoices\r\n");
        expect_error(holder, "ERR", "in a transaction on 'invoices' already");
        expect_error(holder, "ERR", "in a transaction on 'invoices' already");
        /* What one connection asked after it waits with it, in order; others do not. */
        tell(waiter, "SEQ.BEGIN invoices\r\nPING\r\n");
        expect_silence(waiter, 50);
        ask(other, "PING", "+PONG");
        ask(other, "INCR orders", ":1");
        /* A run far larger than what is reserved at a time has to wait for the disk. */
        ask(other, "INCRBY orders 100000", ":100001");
        ask(other, "SEQ.PEEK invoices", ":1");
        expect_silence(waiter, 20);
        ask(holder, "SEQ.COMMIT invoices", "+OK");
        expect(waiter, ":2");
        expect(waiter, "+PONG");
        ask(waiter, "SEQ.ROLLBACK invoices", "+OK");
        ask(other, "INCR invoices", ":2"); /* begin and commit in one */
        ask(other, "SEQ.NEXT invoices 3", "*3");
        expect(other, ":3");
        expect(other, ":1");
        expect(other, ":3");
        ask(other, "SEQ.PEEK invoices", ":6");
        close(holder);
        close(waiter);
        close(other);
}

/* Long enough is enough: the one who waits is told, and can go on. */
static void waiting_ends(struct instance *instance)
{
        int holder, waiter;

        start_with(instance, "[sequence invoices]\nkind = gapless\n[sequence orders]\n");
        holder = instance_plug_in(instance);
        waiter = instance_plug_in(instance);
        ask(holder, "SEQ.BEGIN invoices", ":1");
        tell(waiter, "SEQ.BEGIN invoices\r\nINCR orders\r\n");
        expect_error(waiter, "TRYAGAIN", "'invoices' had to wait for too long: others have");
        expect(waiter, ":1");
        ask(holder, "SEQ.COMMIT invoices", "+OK");
        ask(waiter, "SEQ.BEGIN invoices", ":2");
        close(waiter);
        close(holder);
}

/* Many draws on a window of ten, from two connections at once: all distinct, and in order. */
static void pipelines_wait_for_the_disk(struct instance *instance)
{
        const int rounds = 200;
        int64_t last[2] = {0};
        int fds[2];

        start_with(instance, "[sequence orders]\nreserve = 10\n");
        for (int i = 0; i < 2; i++)
                fds[i] = instance_plug_in(instance);
        for (int n = 0; n < rounds; n++)
                for (int i = 0; i < 2; i++)
                        tell(fds[i], "INCRBY orders 7\r\n");
        for (int n = 0; n < rounds; n++)
                for (int i = 0; i < 2; i++) {
                        const char *heard = hear(fds[i]);
                        int64_t number = strtoll(heard + 1, NULL, 10);

                        assert_int_equal(heard[0], ':');
                        assert_int_equal(number % 7, 0); /* runs neither overlap nor leave gaps */
                        assert_true(number > last[i]);
                        last[i] = number;
                }
        ask(fds[0], "SEQ.PEEK orders", ":2801");
        close(fds[0]);
        close(fds[1]);
}

/* --- the end of a connection -------------------------------------------------------------------- */

/* Nothing more will be asked, but everything that was is answered. */
static void half_closed(struct instance *instance)
{
        char expected[32];
        int fd;

        start_with(instance, "[sequence invoices]\nkind = gapless\n");
        fd = instance_plug_in(instance);
        for (int i = 0; i < 100; i++)
                tell(fd, "INCR invoices\r\n"); /* each waits for a sync */
        tell(fd, "SEQ.CREATE late\r\nPING");   /* and a line without its end is none */
        assert_int_equal(shutdown(fd, SHUT_WR), 0);
        for (int i = 1; i <= 100; i++) {
                (void)snprintf(expected, sizeof(expected), ":%d", i);
                expect(fd, expected);
        }
        expect(fd, "+OK");
        expect(fd, "(end)");
        close(fd);
}

static void its_end_rolls_back(struct instance *instance)
{
        int holder, other;

        start_with(instance, "[sequence invoices]\nkind = gapless\n"
                             "[sequence receipts]\nkind = gapless\n");
        other = instance_plug_in(instance);
        for (int round = 0; round < 20; round++) {
                holder = instance_plug_in(instance);
                ask(holder, "SEQ.BEGIN invoices", ":1");
                ask(holder, "SEQ.BEGIN receipts", ":1");
                tell(other, "SEQ.BEGIN invoices\r\n");
                expect_silence(other, 5);
                if (round % 2) /* with and without an answer on its way */
                        tell(holder, "PING\r\n");
                close(holder);
                expect(other, ":1");
                ask(other, "SEQ.BEGIN receipts", ":1");
                ask(other, "SEQ.ROLLBACK invoices", "+OK");
                ask(other, "SEQ.ROLLBACK receipts", "+OK");
        }
        /* What it had asked to commit stays committed, though nobody heard of it. */
        holder = instance_plug_in(instance);
        tell(holder, "SEQ.BEGIN invoices\r\nSEQ.COMMIT invoices\r\n");
        expect(holder, ":1");
        expect(holder, "+OK");
        close(holder);
        ask(other, "SEQ.BEGIN invoices", ":2");
        close(other);
}

static void many_transactions(struct instance *instance)
{
        int fd;

        start_with(instance, "[sequence invoice/*]\nkind = gapless\n");
        fd = instance_plug_in(instance);
        for (int i = 0; i < 16; i++) {
                tell(fd, "SEQ.BEGIN invoice/%d\r\n", i);
                expect(fd, ":1");
        }
        tell(fd, "SEQ.BEGIN invoice/16\r\n");
        expect_error(fd, "ERR", "has 16 transactions open; commit or roll back first");
        ask(fd, "SEQ.COMMIT invoice/3", "+OK");
        ask(fd, "SEQ.BEGIN invoice/16", ":1");
        close(fd);
}

/* --- bytes as they come ------------------------------------------------------------------------- */

static void byte_by_byte(struct instance *instance)
{
        static const char text[] = "*2\r\n$4\r\nINCR\r\n$6\r\norders\r\nINCR orders\r\n\r\n*0\r\n"
                                   "INCRBY \"orders\" 5\n";
        int fd;

        start_with(instance, "[sequence orders]\n");
        fd = instance_plug_in(instance);
        for (size_t i = 0; i < sizeof(text) - 1; i++) {
                send_bytes(fd, &text[i], 1);
                nap(200);
        }
        expect(fd, ":1");
        expect(fd, ":2");
        expect(fd, ":7");
        close(fd);
}

/* --- the socket itself ---------------------------------------------------------------------------- */

static void socket_is_passed_in(struct instance *instance)
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int fd;

        instance_configure(instance, "[sequence orders]\n");
        memcpy(address.sun_path, instance->socket, strlen(instance->socket) + 1);
        instance->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(instance->listener, (const struct sockaddr *)&address,
                              sizeof(address)),
                         0);
        assert_int_equal(listen(instance->listener, 16), 0);
        /* Who comes before the daemon does waits for it. */
        fd = instance_plug_in(instance);
        tell(fd, "INCR orders\r\n");
        expect_silence(fd, 50);
        instance_start(instance);
        expect(fd, ":1");
        close(fd);
        /* So does who comes while it is restarted; and its path stays. */
        instance_stop(instance);
        fd = instance_plug_in(instance);
        tell(fd, "INCR orders\r\n");
        instance_start(instance);
        expect(fd, ":2");
        close(fd);
        instance_kill(instance);
        close(instance->listener);

        /* What is no listening stream socket is refused. */
        instance->listener = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        assert_int_not_equal(instance_outcome(instance), 0);
        assert_true(instance_says(instance, "pass one, a listening stream socket"));
        close(instance->listener);
        instance->listener = 0;
}

static void path_of_the_socket(struct instance *instance)
{
        struct instance *twin = instance_twin(instance);
        struct stat status;
        int fd;

        start_with(instance, "[sequence orders]\n");
        assert_int_equal(stat(instance->socket, &status), 0);
        assert_int_equal(status.st_mode & 07777, 0660);
        /* Another daemon does not take it away. */
        (void)snprintf(twin->socket, sizeof(twin->socket), "%s", instance->socket);
        instance_configure(twin, "[sequence orders]\n");
        assert_int_equal(instance_outcome(twin), 69);
        assert_true(instance_says(twin, "another process listens there"));
        fd = instance_plug_in(instance);
        ask(fd, "INCR orders", ":1");
        close(fd);
        /* What a killed one left is taken over; a clean stop leaves nothing. */
        instance_kill(instance);
        assert_int_equal(stat(instance->socket, &status), 0);
        instance_start(instance);
        fd = instance_plug_in(instance);
        ask(fd, "INCR orders", ":2");
        close(fd);
        instance_stop(instance);
        assert_int_equal(stat(instance->socket, &status), -1);
        /* What is no socket is left alone. */
        fd = open(instance->socket, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        close(fd);
        assert_int_equal(instance_outcome(instance), 78);
        assert_true(instance_says(instance, "something that is no socket is there"));
        assert_int_equal(stat(instance->socket, &status), 0);
        /* Nor is a directory made for it. */
        (void)snprintf(instance->socket, sizeof(instance->socket), "%s/no/sock",
                       instance->directory);
        instance_configure(instance, "[sequence orders]\n");
        assert_int_equal(instance_outcome(instance), 78);
        assert_true(instance_says(instance, "make its directory"));
        (void)snprintf(instance->socket, sizeof(instance->socket), "%.150s/sock", instance->ini);
        instance_configure(instance, "[sequence orders]\n");
        instance_forget_log(instance);
        assert_int_equal(instance_outcome(instance), 78);
        assert_true(instance_says(instance, "make its directory"));
}

/* How long somebody was watched who held another sequence's turn does not count. */
static void a_limit_begins_with_its_turn(struct instance *instance)
{
        int holder, waiter;

        start_with(instance, "[sequence first]\nkind = gapless\nhold_limit = 6\n"
                             "[sequence second]\nkind = gapless\nhold_limit = 6\n");
        holder = instance_plug_in(instance);
        waiter = instance_plug_in(instance);
        ask(holder, "SEQ.BEGIN first", ":1");
        tell(waiter, "SEQ.BEGIN first\r\n");
        expect_error(waiter, "TRYAGAIN", "first"); /* after 5 s */
        ask(holder, "SEQ.ROLLBACK first", "+OK");
        nap(1100000);
        ask(holder, "SEQ.BEGIN second", ":1");
        tell(waiter, "SEQ.BEGIN second\r\n");
        expect_silence(waiter, 200);
        ask(holder, "SEQ.COMMIT second", "+OK");
        expect(waiter, ":2");
        close(holder);
        close(waiter);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                instance_test(rights),
                instance_test(errors),
                instance_test(nul_bytes),
                instance_test(versions),
                instance_test(as_many_clients_as_allowed),
                instance_test(sizes),
                instance_test(a_slow_reader),
                instance_test(waiting_holds_up_nobody),
                instance_test(waiting_ends),
                instance_test(pipelines_wait_for_the_disk),
                instance_test(half_closed),
                instance_test(its_end_rolls_back),
                instance_test(many_transactions),
                instance_test(a_limit_begins_with_its_turn),
                instance_test(byte_by_byte),
                instance_test(socket_is_passed_in),
                instance_test(path_of_the_socket),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
