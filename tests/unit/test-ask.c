/* SPDX-License-Identifier: MIT */

/*
 * Asking the daemon over its socket: what may come back, byte by byte, what must
 * not, and all that can happen to a connection. The daemon is a thread with a
 * script; what it answers in truth is for the integration tests.
 */

#include "unit.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "ask.h"

#define SHORT_USEC   UINT64_C(50000)
#define PATIENT_USEC UNIT_PATIENCE_USEC

/* --- reading answers ---------------------------------------------------------- */

static struct ask_value values[ASK_VALUES_MAX];

/* Parse a C string; `n` values must come of it. */
static void parses(const char *text, size_t n)
{
        size_t count = 0, used = 0;

        assert_int_equal(ask_parse(text, strlen(text), values, &count, &used), 1);
        assert_int_equal(count, n);
        assert_int_equal(used, strlen(text));
}

static void holds_text(const struct ask_value *value, enum ask_type type, const char *text)
{
        assert_int_equal(value->type, type);
        assert_int_equal(value->length, strlen(text));
        assert_memory_equal(value->text, text, strlen(text));
}

static void every_type_is_read(void **state)
{
        (void)state;
        parses("+OK\r\n", 1);
        holds_text(&values[0], ASK_SIMPLE, "OK");
        parses("+\r\n", 1);
        holds_text(&values[0], ASK_SIMPLE, "");
        parses("-ERR no\r\n", 1);
        holds_text(&values[0], ASK_ERROR, "ERR no");
        parses("$5\r\na\r\nbc\r\n", 1);
        holds_text(&values[0], ASK_BULK, "a\r\nbc");
        parses("$0\r\n\r\n", 1);
        holds_text(&values[0], ASK_BULK, "");
        parses("$-1\r\n", 1);
        assert_int_equal(values[0].type, ASK_NULL);
        parses("*-1\r\n", 1);
        assert_int_equal(values[0].type, ASK_NULL);
        parses("_\r\n", 1);
        assert_int_equal(values[0].type, ASK_NULL);
}

static void integers_are_read_to_their_limits(void **state)
{
        static const struct {
                const char *text;
                int64_t value;
        } cases[] = {
                {":0\r\n", 0},
                {":-1\r\n", -1},
                {":9223372036854775807\r\n", INT64_MAX},
                {":-9223372036854775808\r\n", INT64_MIN},
        };

        (void)state;
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                parses(cases[i].text, 1);
                assert_int_equal(values[0].type, ASK_INTEGER);
                assert_int_equal(values[0].integer, cases[i].value);
        }
}

static void what_holds_others_comes_before_them(void **state)
{
        (void)state;
        parses("*3\r\n:1\r\n*2\r\n+a\r\n$1\r\nb\r\n_\r\n", 6);
        assert_int_equal(values[0].type, ASK_ARRAY);
        assert_int_equal(values[0].n, 3);
        assert_int_equal(values[1].integer, 1);
        assert_int_equal(values[2].n, 2);
        holds_text(&values[3], ASK_SIMPLE, "a");
        holds_text(&values[4], ASK_BULK, "b");
        assert_int_equal(values[5].type, ASK_NULL);
        parses("%2\r\n+a\r\n:1\r\n+b\r\n*0\r\n", 5);
        assert_int_equal(values[0].type, ASK_MAP);
        assert_int_equal(values[0].n, 2);
        parses("*0\r\n", 1);
        parses("%0\r\n", 1);
}

static void an_answer_cut_short_wants_more(void **state)
{
        static const char whole[] = "*3\r\n:-17\r\n%1\r\n+a\r\n$4\r\n\r\n\r\n\r\n-ERR why\r\n";
        size_t length = sizeof(whole) - 1, n, used;

        (void)state;
        parses(whole, 6);
        for (size_t i = 0; i < length; i++)
                assert_int_equal(ask_parse(whole, i, values, &n, &used), 0);
        assert_int_equal(ask_parse("+OK\r\n+more", 10, values, &n, &used), 1);
        assert_int_equal(used, 5);
}

static void what_is_no_answer_is_refused(void **state)
{
        static const char *const texts[] = {
                "\r\n",
                "OK\r\n",
                ":\r\n",
                ":1x\r\n",
                ":+1\r\n",
                ": 1\r\n",
                ":-\r\n",
                ":9223372036854775808\r\n",
                "$-2\r\n",
                "$x\r\n",
                "$3\r\nabcd\r\n",
                "$1\r\nab\r\n",
                "*-2\r\n",
                "*\r\n",
                "%-1\r\n",
                "_x\r\n",
                "+a\rb\r\n",
                "!3\r\nabc\r\n",
                ":99999999999999999999999999\r\n",
                "*1\r\n*1\r\nx\r\n",
                ":-9223372036854775809\r\n",
        };
        size_t n, used;

        (void)state;
        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
                assert_int_equal(ask_parse(texts[i], strlen(texts[i]), values, &n, &used), -EPROTO);
}

static void a_line_without_end_is_refused(void **state)
{
        static char line[ASK_LINE_MAX + 16];
        size_t n, used;

        (void)state;
        memset(line, 'a', sizeof(line));
        line[0] = '+';
        assert_int_equal(ask_parse(line, ASK_LINE_MAX, values, &n, &used), 0);
        assert_int_equal(ask_parse(line, sizeof(line), values, &n, &used), -EPROTO);
        memcpy(line + ASK_LINE_MAX, "\r\n", 2);
        assert_int_equal(ask_parse(line, ASK_LINE_MAX + 2, values, &n, &used), 1);
}

static void what_is_too_large_is_refused(void **state)
{
        static char many[4 * ASK_VALUES_MAX + 64];
        size_t n, used, length;

        (void)state;
        assert_int_equal(ask_parse("$65537\r\n", 8, values, &n, &used), -EMSGSIZE);
        assert_int_equal(ask_parse("*1025\r\n", 7, values, &n, &used), -EMSGSIZE);
        assert_int_equal(ask_parse("*9223372036854775807\r\n", 22, values, &n, &used), -EMSGSIZE);
        parses("*1\r\n*1\r\n*1\r\n:1\r\n", 4);
        assert_int_equal(ask_parse("*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n", 20, values, &n, &used),
                         -EMSGSIZE);
        length = (size_t)snprintf(many, sizeof(many), "*%d\r\n", ASK_VALUES_MAX);
        for (int i = 0; i < ASK_VALUES_MAX; i++, length += 4)
                memcpy(many + length, ":1\r\n", 4);
        assert_int_equal(ask_parse(many, length, values, &n, &used), -EMSGSIZE);
        memcpy(many, "*1023", 5);
        assert_int_equal(ask_parse(many, length - 4, values, &n, &used), 1);
        assert_int_equal(n, ASK_VALUES_MAX);
}

/* Whatever comes, nothing is read beyond it and nothing but an outcome comes of it. */
static void random_bytes_do_no_harm(void **state)
{
        static const char alphabet[] = "+-:$*%_\r\n\r\n0123459OK";
        size_t n, used;
        unsigned seed = 4711;

        (void)state;
        for (int i = 0; i < 200000; i++) {
                size_t size = (size_t)rand_r(&seed) % 24;
                char *data = malloc(size + 1); /* of exactly this size, for the sanitizer */
                int r;

                assert_non_null(data);
                for (size_t j = 0; j < size; j++)
                        data[j] = alphabet[(size_t)rand_r(&seed) % (sizeof(alphabet) - 1)];
                data = realloc(data, size ? size : 1);
                assert_non_null(data);
                r = ask_parse(data, size, values, &n, &used);
                assert_true(r == 0 || r == -EPROTO || r == -EMSGSIZE || (r == 1 && used <= size));
                for (size_t j = 0; r == 1 && j < n; j++)
                        assert_true(!values[j].text ||
                                    (values[j].text >= data &&
                                     values[j].text + values[j].length + 2 <= data + size));
                free(data);
        }
}

/* --- a daemon by script --------------------------------------------------------- */

struct script {
        const char *answer;               /* sent when the request is there */
        size_t piece;                     /* bytes at a time, 0: all at once */
        bool deaf;                        /* don't read the request first */
        bool look;                        /* for sockets that a program would inherit */
        bool mute;                        /* keep the connection, until the test ends it */
        int (*meanwhile)(void *userdata); /* before the answer */
        void *userdata;
        /* what became of it */
        char request[ASK_REQUEST_MAX + 1];
        size_t request_size;
        int outcome;    /* of meanwhile() */
        bool inherited; /* a socket would have been, by a program that we execute */
};

struct server {
        char directory[64];
        char path[96];
        int fd;
        pthread_t thread;
        bool running;
        struct script script;
        int stop[2];
};

static int server_setup(void **state)
{
        struct server *server = calloc(1, sizeof(*server));
        struct sockaddr_un address = {.sun_family = AF_UNIX};

        *state = server;
        if (!server)
                return -1;
        (void)snprintf(server->directory, sizeof(server->directory), "/tmp/test-ask.XXXXXX");
        if (!mkdtemp(server->directory) || pipe2(server->stop, O_CLOEXEC) < 0)
                return -1;
        (void)snprintf(server->path, sizeof(server->path), "%s/socket", server->directory);
        memcpy(address.sun_path, server->path, strlen(server->path));
        server->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (bind(server->fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
                return -1;
        return listen(server->fd, 4);
}

static void server_join(struct server *server)
{
        if (server->running)
                pthread_join(server->thread, NULL);
        server->running = false;
}

static int server_teardown(void **state)
{
        struct server *server = *state;

        close(server->stop[1]);
        if (server->fd >= 0)
                shutdown(server->fd, SHUT_RDWR); /* ends an accept(2) that nobody came to */
        server_join(server);
        close(server->stop[0]);
        close(server->fd);
        (void)unlink(server->path);
        (void)rmdir(server->directory);
        free(server);
        return 0;
}

/* "*2\r\n$8\r\nSEQ.OPEN\r\n...": is it whole? A request has the form of an answer. */
static bool request_whole(const struct script *script)
{
        static struct ask_value parts[ASK_VALUES_MAX];
        size_t n, used;

        return ask_parse(script->request, script->request_size, parts, &n, &used) != 0;
}

static bool some_socket_inherited(void)
{
        for (int fd = 3; fd < 64; fd++) {
                struct stat status;

                if (fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode) &&
                    !(fcntl(fd, F_GETFD) & FD_CLOEXEC))
                        return true;
        }
        return false;
}

static void send_pieces(int fd, const struct script *script)
{
        size_t length = strlen(script->answer), piece = script->piece ? script->piece : length;

        for (size_t at = 0; at < length; at += piece) {
                size_t n = length - at < piece ? length - at : piece;

                if (send(fd, script->answer + at, n, MSG_NOSIGNAL) < 0)
                        return;
                if (script->piece)
                        unit_nap();
        }
}

static void *serve(void *userdata)
{
        struct server *server = userdata;
        struct script *script = &server->script;
        int fd = accept4(server->fd, NULL, NULL, SOCK_CLOEXEC);
        char byte;

        while (fd >= 0 && !script->deaf && !request_whole(script)) {
                ssize_t n = read(fd, script->request + script->request_size,
                                 ASK_REQUEST_MAX - script->request_size);

                if (n <= 0)
                        break;
                script->request_size += (size_t)n;
        }
        if (script->look)
                script->inherited = some_socket_inherited();
        if (script->meanwhile)
                script->outcome = script->meanwhile(script->userdata);
        if (script->answer)
                send_pieces(fd, script);
        while (script->mute && read(server->stop[0], &byte, 1) > 0)
                ;
        close(fd);
        return NULL;
}

static void server_run(struct server *server, struct script script)
{
        server_join(server);
        server->script = script;
        assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
        server->running = true;
}

static const char *const ping[] = {"PING"};

/* Ask with the server following `script`. */
static int ask_scripted(struct server *server, struct script script, struct ask_answer **ret)
{
        server_run(server, script);
        return ask(ret, server->path, ping, 1, PATIENT_USEC);
}

#define server_case(function)                                                                      \
        cmocka_unit_test_setup_teardown(function, server_setup, server_teardown)

/* --- connections ------------------------------------------------------------------ */

static void a_request_is_an_array_of_bulk_strings(void **state)
{
        static const char *const words[] = {"SEQ.CREATE", "a/b", "", "max"};
        static const char expected[] = "*4\r\n$10\r\nSEQ.CREATE\r\n$3\r\na/b\r\n$0\r\n\r\n"
                                       "$3\r\nmax\r\n";
        struct server *server = *state;
        struct ask_answer *answer = NULL;

        server_run(server, (struct script){.answer = "+OK\r\n", .look = true});
        assert_int_equal(ask(&answer, server->path, words, 4, PATIENT_USEC), 0);
        server_join(server);
        assert_string_equal(server->script.request, expected);
        assert_false(server->script.inherited);
        assert_string_equal(answer->values[0].text, "OK");
        assert_null(ask_sentence(answer));
        assert_null(ask_free(answer));
        assert_null(ask_free(NULL));
}

static void an_answer_may_come_byte_by_byte(void **state)
{
        struct server *server = *state;
        struct ask_answer *answer = NULL;
        int r;

        r = ask_scripted(server,
                         (struct script){.answer = "*2\r\n$3\r\nabc\r\n-NO way\r\n", .piece = 1},
                         &answer);
        assert_int_equal(r, 0);
        assert_int_equal(answer->n_values, 3);
        assert_string_equal(answer->values[1].text, "abc");
        assert_string_equal(answer->values[2].text, "NO way");
        ask_free(answer);
}

static void an_error_has_a_code_and_a_sentence(void **state)
{
        struct server *server = *state;
        struct ask_answer *answer = NULL;

        assert_int_equal(ask_scripted(server, (struct script){.answer = "-NOPERM you may not\r\n"},
                                      &answer),
                         0);
        assert_string_equal(ask_sentence(answer), "you may not");
        assert_true(ask_code(answer, "NOPERM"));
        assert_false(ask_code(answer, "NOPER"));
        assert_false(ask_code(answer, "ERR"));
        ask_free(answer);
        assert_int_equal(ask_scripted(server, (struct script){.answer = "-ERR\r\n"}, &answer), 0);
        assert_string_equal(ask_sentence(answer), "ERR");
        assert_true(ask_code(answer, "ERR"));
        ask_free(answer);
}

static void what_fails_leaves_no_answer(void **state)
{
        static const struct {
                const char *answer;
                int error;
        } cases[] = {
                {NULL, -ECONNRESET},           {"+O", -ECONNRESET},
                {"*2\r\n:1\r\n", -ECONNRESET}, {"HTTP/1.1 400 Bad Request\r\n\r\n", -EPROTO},
                {"+OK\r\n+OK\r\n", -EPROTO},   {"$65537\r\n", -EMSGSIZE},
        };
        struct server *server = *state;
        struct ask_answer *answer = NULL;

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                assert_int_equal(ask_scripted(server, (struct script){.answer = cases[i].answer},
                                              &answer),
                                 cases[i].error);
                assert_null(answer);
        }
}

static void an_answer_has_a_largest_size(void **state)
{
        static char large[ASK_ANSWER_MAX + 64];
        struct server *server = *state;
        struct ask_answer *answer = NULL;
        size_t length;

        /* Four bulk strings that fit each, but not together. */
        length = (size_t)snprintf(large, sizeof(large), "*5\r\n");
        for (int i = 0; i < 4; i++) {
                length += (size_t)snprintf(large + length, sizeof(large) - length, "$16384\r\n");
                if (length + 16386 > sizeof(large))
                        break;
                memset(large + length, 'x', 16384);
                memcpy(large + length + 16384, "\r\n", 2);
                length += 16386;
        }
        memset(large + length, 'x', sizeof(large) - length - 1);
        assert_int_equal(ask_scripted(server, (struct script){.answer = large}, &answer),
                         -EMSGSIZE);
}

static void a_request_has_a_largest_size(void **state)
{
        static char word[ASK_REQUEST_MAX];
        const char *words[ASK_WORDS_MAX + 1];
        struct server *server = *state;
        struct ask_answer *answer = NULL;

        memset(word, 'x', sizeof(word) - 1);
        words[0] = word;
        assert_int_equal(ask(&answer, server->path, words, 1, PATIENT_USEC), -E2BIG);
        for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
                words[i] = "x";
        assert_int_equal(ask(&answer, server->path, words, ASK_WORDS_MAX + 1, PATIENT_USEC),
                         -E2BIG);
}

/* Who turns us away says why and hangs up; that must not be lost, nor kill us. */
static void who_hangs_up_at_once_is_heard(void **state)
{
        static char word[ASK_REQUEST_MAX - 64];
        const char *const words[] = {word};
        struct server *server = *state;
        struct ask_answer *answer = NULL;
        int r;

        memset(word, 'x', sizeof(word) - 1);
        assert_true(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
        for (int i = 0; i < 50; i++) {
                server_run(server, (struct script){.answer = "-ERR full\r\n", .deaf = true});
                r = ask(&answer, server->path, words, 1, PATIENT_USEC);
                assert_int_equal(r, 0);
                assert_string_equal(ask_sentence(answer), "full");
                answer = ask_free(answer);
        }
}

static void nobody_there_is_said_at_once(void **state)
{
        struct server *server = *state;
        struct ask_answer *answer = NULL;
        char path[200];

        close(server->fd);
        server->fd = -1;
        assert_int_equal(ask(&answer, server->path, ping, 1, PATIENT_USEC), -ECONNREFUSED);
        (void)unlink(server->path);
        assert_int_equal(ask(&answer, server->path, ping, 1, PATIENT_USEC), -ENOENT);
        assert_int_equal(ask(&answer, "", ping, 1, PATIENT_USEC), -EINVAL);
        memset(path, 'x', sizeof(path) - 1);
        path[sizeof(path) - 1] = '\0';
        assert_int_equal(ask(&answer, path, ping, 1, PATIENT_USEC), -EINVAL);
}

static void who_does_not_answer_is_not_waited_for(void **state)
{
        struct server *server = *state;
        struct ask_answer *answer = NULL;
        uint64_t began;

        assert_int_equal(ask(&answer, server->path, ping, 1, 0), -ETIMEDOUT);
        server_run(server, (struct script){.answer = "+O", .mute = true});
        began = unit_usec();
        assert_int_equal(ask(&answer, server->path, ping, 1, SHORT_USEC), -ETIMEDOUT);
        assert_true(unit_usec() - began >= SHORT_USEC);
        assert_true(unit_usec() - began < PATIENT_USEC);
}

static void a_full_backlog_is_waited_for(void **state)
{
        struct server *server = *state;
        struct ask_answer *answer = NULL;

        assert_int_equal(listen(server->fd, 0), 0);
        /* The first is taken into the backlog, and never answered; then it is full. */
        assert_int_equal(ask(&answer, server->path, ping, 1, SHORT_USEC), -ETIMEDOUT);
        assert_int_equal(ask(&answer, server->path, ping, 1, SHORT_USEC), -ETIMEDOUT);
        /* That one is taken out and found dead; whoever asks now gets through. */
        server_run(server, (struct script){.answer = "+OK\r\n"});
        assert_int_equal(ask_scripted(server, (struct script){.answer = "+OK\r\n"}, &answer), 0);
        ask_free(answer);
}

/* --- opening ------------------------------------------------------------------------ */

static void the_answer_to_an_opening_is_an_errno(void **state)
{
        static const struct {
                const char *answer;
                int error;
        } cases[] = {
                {"+OK\r\n", 0},
                {":1\r\n", 0},
                {"-ERR no such sequence 'a'\r\n", -ENOENT},
                {"-NOPERM you may not\r\n", -EACCES},
                {"-TRYAGAIN the store is busy\r\n", -ETIMEDOUT},
                {"-ERR there are 5 sequences, which is max_sequences\r\n", -ENOSPC},
                {"-ERR the store does not answer\r\n", -EREMOTEIO},
                {"*1\r\nx\r\n", -EPROTO},
        };
        struct server *server = *state;

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                server_run(server, (struct script){.answer = cases[i].answer});
                assert_int_equal(ask_open(server->path, "a", PATIENT_USEC), cases[i].error);
                server_join(server);
                assert_string_equal(server->script.request, "*2\r\n$8\r\nSEQ.OPEN\r\n$1\r\na\r\n");
        }
}

static void an_opening_waits_while_too_many_ask(void **state)
{
        struct server *server = *state;
        uint64_t began = unit_usec();

        server_run(server, (struct script){.answer = "-ERR max number of clients reached\r\n"});
        assert_int_equal(ask_open(server->path, "a", SHORT_USEC), -ETIMEDOUT);
        assert_true(unit_usec() - began >= SHORT_USEC);
}

/* A daemon that restarts is away for a moment. */
static void an_opening_waits_for_somebody_to_ask(void **state)
{
        struct server *server = *state;
        uint64_t began = unit_usec();
        char moved[112];

        (void)snprintf(moved, sizeof(moved), "%s.moved", server->path);
        assert_int_equal(rename(server->path, moved), 0);
        assert_int_equal(ask_open(server->path, "a", SHORT_USEC), -ETIMEDOUT);
        assert_true(unit_usec() - began >= SHORT_USEC);
        assert_int_equal(ask_open(server->path, "a", 0), -ETIMEDOUT);
        assert_int_equal(rename(moved, server->path), 0);
}

/* --- the library's own way ------------------------------------------------------------ */

struct opening {
        struct unit *unit;
        struct server *server;
};

static int opening_setup(void **state)
{
        static struct opening opening;
        int r;

        r = unit_setup((void **)&opening.unit);
        if (r == 0)
                r = server_setup((void **)&opening.server);
        *state = &opening;
        if (r < 0)
                return r;
        memcpy(opening.unit->segment->header->socket, opening.server->path,
               strlen(opening.server->path) + 1);
        publish_u32(&opening.unit->segment->header->n_templates, 1);
        return seqnum_set_timeout(opening.unit->client, PATIENT_USEC);
}

static int opening_teardown(void **state)
{
        struct opening *opening = *state;
        void *unit = opening->unit, *server = opening->server;

        return server_teardown(&server) + unit_teardown(&unit);
}

#define opening_case(function)                                                                     \
        cmocka_unit_test_setup_teardown(function, opening_setup, opening_teardown)

/* As the daemon does before it says yes. */
static int make_sequence(void *userdata)
{
        struct unit *unit = userdata;
        const struct slot_setup setup = {
                .name = "invoice/acme",
                .id = 1,
                .generation = 1,
                .params = sequence_params_default(),
                .origin = 1,
        };
        uint32_t slot;

        return segment_add(unit->segment, &setup, &slot);
}

/* While one thread waits for the daemon, others can use the client. */
static int use_client(void *userdata)
{
        struct unit *unit = userdata;
        struct seqnum *seq;
        int r = seqnum_open(&seq, unit->client, "orders");

        if (r == 0)
                seqnum_close(seq);
        return r == 0 ? make_sequence(unit) : r;
}

static void what_a_template_allows_for_is_asked_for(void **state)
{
        struct opening *opening = *state;
        struct seqnum *seq = NULL;

        unit_sequence(opening->unit, "orders", sequence_params_default());
        server_run(opening->server, (struct script){.answer = "+OK\r\n",
                                                    .meanwhile = use_client,
                                                    .userdata = opening->unit});
        assert_int_equal(seqnum_open(&seq, opening->unit->client, "invoice/acme"), 0);
        server_join(opening->server);
        assert_int_equal(opening->server->script.outcome, 0);
        assert_string_equal(opening->server->script.request,
                            "*2\r\n$8\r\nSEQ.OPEN\r\n$12\r\ninvoice/acme\r\n");
        assert_null(seqnum_close(seq));
        /* It is there: nobody is asked again. */
        assert_int_equal(seqnum_open(&seq, opening->unit->client, "invoice/acme"), 0);
}

static void a_reader_may_ask_too(void **state)
{
        struct opening *opening = *state;
        struct seqnum_client *reader = NULL;
        struct seqnum *seq = NULL;

        assert_int_equal(seqnum_attach(&reader, opening->unit->shm, SEQNUM_RDONLY), 0);
        server_run(opening->server, (struct script){.answer = "+OK\r\n",
                                                    .meanwhile = make_sequence,
                                                    .userdata = opening->unit});
        assert_int_equal(seqnum_open(&seq, reader, "invoice/acme"), 0);
        seqnum_detach(reader);
}

static void an_opening_tells_why_not(void **state)
{
        static const struct {
                const char *answer;
                int error;
        } cases[] = {
                {"-ERR no such sequence 'nobody'\r\n", -ENOENT},
                {"-NOPERM you may not\r\n", -EACCES},
                {"+OK\r\n", -ENOENT}, /* and yet it is not there */
        };
        struct opening *opening = *state;
        struct seqnum *seq = NULL;

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                server_run(opening->server, (struct script){.answer = cases[i].answer});
                assert_int_equal(seqnum_open(&seq, opening->unit->client, "nobody"),
                                 cases[i].error);
                assert_null(seq);
        }
}

static void nobody_is_asked_in_vain(void **state)
{
        struct opening *opening = *state;
        struct seqnum_client *client = opening->unit->client;
        struct seqnum *seq = NULL;

        /* No time to wait; then no template; then no socket. Nobody would answer. */
        assert_int_equal(seqnum_set_timeout(client, 0), 0);
        assert_int_equal(seqnum_open(&seq, client, "invoice/acme"), -ETIMEDOUT);
        assert_int_equal(seqnum_set_timeout(client, PATIENT_USEC), 0);
        publish_u32(&opening->unit->segment->header->n_templates, 0);
        assert_int_equal(seqnum_open(&seq, client, "invoice/acme"), -ENOENT);
        publish_u32(&opening->unit->segment->header->n_templates, 1);
        opening->unit->segment->header->socket[0] = '\0';
        assert_int_equal(seqnum_open(&seq, client, "invoice/acme"), -ENOENT);
}

static void a_daemon_away_is_a_timeout(void **state)
{
        struct opening *opening = *state;
        struct seqnum *seq = NULL;

        (void)unlink(opening->server->path);
        assert_int_equal(seqnum_set_timeout(opening->unit->client, SHORT_USEC), 0);
        assert_int_equal(seqnum_open(&seq, opening->unit->client, "invoice/acme"), -ETIMEDOUT);
        assert_null(seq);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_type_is_read),
                cmocka_unit_test(integers_are_read_to_their_limits),
                cmocka_unit_test(what_holds_others_comes_before_them),
                cmocka_unit_test(an_answer_cut_short_wants_more),
                cmocka_unit_test(what_is_no_answer_is_refused),
                cmocka_unit_test(a_line_without_end_is_refused),
                cmocka_unit_test(what_is_too_large_is_refused),
                cmocka_unit_test(random_bytes_do_no_harm),
                server_case(a_request_is_an_array_of_bulk_strings),
                server_case(an_answer_may_come_byte_by_byte),
                server_case(an_error_has_a_code_and_a_sentence),
                server_case(what_fails_leaves_no_answer),
                server_case(an_answer_has_a_largest_size),
                server_case(a_request_has_a_largest_size),
                server_case(who_hangs_up_at_once_is_heard),
                server_case(nobody_there_is_said_at_once),
                server_case(who_does_not_answer_is_not_waited_for),
                server_case(a_full_backlog_is_waited_for),
                server_case(the_answer_to_an_opening_is_an_errno),
                server_case(an_opening_waits_while_too_many_ask),
                server_case(an_opening_waits_for_somebody_to_ask),
                opening_case(what_a_template_allows_for_is_asked_for),
                opening_case(a_reader_may_ask_too),
                opening_case(an_opening_tells_why_not),
                opening_case(nobody_is_asked_in_vain),
                opening_case(a_daemon_away_is_a_timeout),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
