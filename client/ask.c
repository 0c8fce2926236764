/* SPDX-License-Identifier: MIT */

/* Asking the daemon over its control socket; see ask.h. */

#include "ask.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "clock.h"

/* Between two attempts where there is nothing that poll(2) could wait for. */
#define PAUSE_USEC UINT64_C(5000)

/* --- the answer ---------------------------------------------------------- */

struct reader {
        const char *at, *end;
};

/* A line without its end. 1; 0: it is not whole yet; -EPROTO: it is too long. */
static int read_line(struct reader *reader, const char **ret, size_t *ret_length)
{
        size_t size = (size_t)(reader->end - reader->at);
        size_t most = size < ASK_LINE_MAX + 2 ? size : ASK_LINE_MAX + 2;
        const char *end = memchr(reader->at, '\r', most);

        if (!end)
                return size > ASK_LINE_MAX ? -EPROTO : 0;
        if (end + 1 == reader->end)
                return 0;
        if (end[1] != '\n')
                return -EPROTO;
        *ret = reader->at;
        *ret_length = (size_t)(end - reader->at);
        reader->at = end + 2;
        return 1;
}

/* All of `text` is a decimal number within `min`..`max`. */
static bool number_of(const char *text, size_t length, int64_t min, int64_t max, int64_t *ret)
{
        bool negative = length > 0 && text[0] == '-';
        int64_t value = 0;

        if (length == (size_t)negative)
                return false;
        for (size_t i = negative; i < length; i++) {
                int digit = text[i] - '0';

                if (digit < 0 || digit > 9 || __builtin_mul_overflow(value, 10, &value) ||
                    __builtin_add_overflow(value, negative ? -digit : digit, &value))
                        return false;
        }
        if (value < min || value > max)
                return false;
        *ret = value;
        return true;
}

/* Behind "$LENGTH": so many bytes and a line end. */
static int read_bulk(struct reader *reader, int64_t length, struct ask_value *ret)
{
        size_t size = (size_t)(reader->end - reader->at);

        if (length < 0) {
                ret->type = ASK_NULL;
                return 1;
        }
        if (size < (size_t)length + 2)
                return 0;
        if (memcmp(reader->at + length, "\r\n", 2) != 0)
                return -EPROTO;
        *ret = (struct ask_value){ASK_BULK, .text = reader->at, .length = (size_t)length};
        reader->at += length + 2;
        return 1;
}

/* Behind "*N" and "%N". */
static int read_list(char mark, int64_t n, struct ask_value *ret)
{
        if (n < 0)
                ret->type = ASK_NULL;
        else
                *ret = (struct ask_value){mark == '*' ? ASK_ARRAY : ASK_MAP, .n = (size_t)n};
        return 1;
}

/* One value, without those that it holds. */
static int read_value(struct reader *reader, struct ask_value *ret)
{
        const char *line = NULL;
        size_t length = 0;
        int64_t n = 0;
        char mark;
        int r;

        r = read_line(reader, &line, &length);
        if (r <= 0)
                return r;
        if (length == 0)
                return -EPROTO;
        mark = *line++;
        length--;
        *ret = (struct ask_value){0};
        switch (mark) {
        case '+':
        case '-':
                *ret = (struct ask_value){mark == '+' ? ASK_SIMPLE : ASK_ERROR, .text = line,
                                          .length = length};
                return 1;
        case ':':
                ret->type = ASK_INTEGER;
                return number_of(line, length, INT64_MIN, INT64_MAX, &ret->integer) ? 1 : -EPROTO;
        case '$':
                if (!number_of(line, length, -1, INT64_MAX, &n))
                        return -EPROTO;
                return n > ASK_ANSWER_MAX ? -EMSGSIZE : read_bulk(reader, n, ret);
        case '*':
        case '%':
                if (!number_of(line, length, mark == '*' ? -1 : 0, INT64_MAX, &n))
                        return -EPROTO;
                return n > ASK_VALUES_MAX ? -EMSGSIZE : read_list(mark, n, ret);
        case '_':
                ret->type = ASK_NULL;
                return length == 0 ? 1 : -EPROTO;
        default:
                return -EPROTO;
        }
}

int ask_parse(const char *data, size_t size, struct ask_value values[static ASK_VALUES_MAX],
              size_t *ret_n, size_t *ret_used)
{
        struct reader reader = {data, data + size};
        size_t left[ASK_DEPTH_MAX] = {1}; /* values to come, at each depth */
        size_t depth = 1, n = 0, held;
        int r;

        while (depth > 0) {
                if (left[depth - 1]-- == 0) {
                        depth--;
                        continue;
                }
                if (n == ASK_VALUES_MAX)
                        return -EMSGSIZE;
                r = read_value(&reader, &values[n]);
                if (r <= 0)
                        return r;
                held = values[n].type == ASK_MAP ? 2 * values[n].n : values[n].n;
                n++;
                if (held == 0)
                        continue;
                if (depth == ASK_DEPTH_MAX)
                        return -EMSGSIZE;
                left[depth++] = held;
        }
        *ret_n = n;
        *ret_used = (size_t)(reader.at - data);
        return 1;
}

struct ask_answer *ask_free(struct ask_answer *answer)
{
        if (!answer)
                return NULL;
        free(answer->values);
        free(answer->data);
        free(answer);
        return NULL;
}

static struct ask_answer *answer_new(void)
{
        struct ask_answer *answer = calloc(1, sizeof(*answer));

        if (!answer)
                return NULL;
        answer->values = calloc(ASK_VALUES_MAX, sizeof(*answer->values));
        answer->data = malloc(ASK_ANSWER_MAX);
        return answer->values && answer->data ? answer : ask_free(answer);
}

/* Each text has its line end behind it, which nobody needs any more. */
static void answer_terminate(struct ask_answer *answer)
{
        for (size_t i = 0; i < answer->n_values; i++) {
                const struct ask_value *value = &answer->values[i];

                if (value->text)
                        answer->data[(size_t)(value->text - answer->data) + value->length] = '\0';
        }
}

const char *ask_sentence(const struct ask_answer *answer)
{
        const char *blank;

        if (answer->values[0].type != ASK_ERROR)
                return NULL;
        blank = strchr(answer->values[0].text, ' ');
        return blank ? blank + 1 : answer->values[0].text;
}

int ask_code(const struct ask_answer *answer, const char *code)
{
        const struct ask_value *value = &answer->values[0];
        size_t length = strlen(code);

        return value->type == ASK_ERROR && value->length >= length &&
               memcmp(value->text, code, length) == 0 &&
               (value->text[length] == ' ' || value->text[length] == '\0');
}

/* Is the answer an error whose sentence begins so? The daemon's errors share a code. */
static bool says(const struct ask_answer *answer, const char *beginning)
{
        const char *sentence = ask_sentence(answer);

        return sentence && strncmp(sentence, beginning, strlen(beginning)) == 0;
}

/* It is said in Redis' words, which do not say what to do. */
bool ask_full(const struct ask_answer *answer)
{
        return says(answer, "max number of clients");
}

/* --- the request --------------------------------------------------------- */

struct request {
        char data[ASK_REQUEST_MAX];
        size_t size;
};

static bool request_add(struct request *request, const void *data, size_t size)
{
        if (size > sizeof(request->data) - request->size)
                return false;
        memcpy(request->data + request->size, data, size);
        request->size += size;
        return true;
}

/* "*3\r\n" and "$3\r\n". */
static bool request_count(struct request *request, char mark, size_t n)
{
        char line[32];
        int length = snprintf(line, sizeof(line), "%c%zu\r\n", mark, n);

        return request_add(request, line, (size_t)length);
}

static int request_make(struct request *request, const char *const *words, size_t n_words)
{
        bool fits = n_words <= ASK_WORDS_MAX && request_count(request, '*', n_words);

        for (size_t i = 0; fits && i < n_words; i++) {
                size_t length = strlen(words[i]);

                fits = request_count(request, '$', length) &&
                       request_add(request, words[i], length) && request_add(request, "\r\n", 2);
        }
        return fits ? 0 : -E2BIG;
}

/* --- the connection ------------------------------------------------------ */

static uint64_t deadline_of(uint64_t timeout_usec)
{
        uint64_t deadline;

        if (__builtin_add_overflow(clock_usec(CLOCK_MONOTONIC), timeout_usec, &deadline))
                return UINT64_MAX;
        return deadline;
}

static uint64_t time_left(uint64_t deadline)
{
        uint64_t now = clock_usec(CLOCK_MONOTONIC);

        return now < deadline ? deadline - now : 0;
}

/* Sleep a little. 0, or -ETIMEDOUT when the time is up. */
static int pause_until(uint64_t deadline)
{
        uint64_t left = time_left(deadline);
        struct timespec t = {.tv_nsec = (long)(left < PAUSE_USEC ? left : PAUSE_USEC) * 1000};

        if (left == 0)
                return -ETIMEDOUT;
        (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL);
        return 0;
}

/* Wait until the socket is ready for `events`, or fails. */
static int wait_for(int fd, short events, uint64_t deadline)
{
        struct pollfd pollfd = {.fd = fd, .events = events};
        uint64_t left = time_left(deadline);
        struct timespec t = {.tv_sec = (time_t)(left / USEC_PER_SEC),
                             .tv_nsec = (long)(left % USEC_PER_SEC) * 1000};
        int r;

        if (left == 0)
                return -ETIMEDOUT;
        r = ppoll(&pollfd, 1, &t, NULL);
        if (r < 0 && errno != EINTR)
                return -errno;
        return 0;
}

/* A full backlog refuses a connection for the moment, with nothing to wait for. */
static int connect_by(int fd, const char *path, uint64_t deadline)
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        size_t length = strlen(path);
        int r;

        if (length == 0 || length >= sizeof(address.sun_path))
                return -EINVAL;
        memcpy(address.sun_path, path, length);
        while (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
                if (errno != EAGAIN && errno != EINTR)
                        return -errno;
                r = pause_until(deadline);
                if (r < 0)
                        return r;
        }
        return 0;
}

/*
 * A peer that has hung up may have said why before it did, so that is no error
 * here: reading tells.
 */
static int send_by(int fd, const struct request *request, uint64_t deadline)
{
        size_t sent = 0;
        int r = 0;

        while (sent < request->size && r == 0) {
                ssize_t n = send(fd, request->data + sent, request->size - sent, MSG_NOSIGNAL);

                if (n >= 0)
                        sent += (size_t)n;
                else if (errno == EAGAIN)
                        r = wait_for(fd, POLLOUT, deadline);
                else if (errno == EPIPE || errno == ECONNRESET)
                        return 0;
                else if (errno != EINTR)
                        r = -errno;
        }
        return r;
}

/* More bytes of the answer. 0, or a negative errno. */
static int receive_by(int fd, struct ask_answer *answer, size_t *size, uint64_t deadline)
{
        for (;;) {
                ssize_t n = recv(fd, answer->data + *size, ASK_ANSWER_MAX - *size, 0);
                int r;

                if (n > 0) {
                        *size += (size_t)n;
                        return 0;
                }
                if (n == 0)
                        return -ECONNRESET;
                if (errno != EAGAIN && errno != EINTR)
                        return -errno;
                r = wait_for(fd, POLLIN, deadline);
                if (r < 0)
                        return r;
        }
}

static int answer_by(int fd, struct ask_answer *answer, uint64_t deadline)
{
        size_t size = 0, used = 0;
        int r = 0;

        while (r == 0) {
                if (size == ASK_ANSWER_MAX)
                        return -EMSGSIZE;
                r = receive_by(fd, answer, &size, deadline);
                if (r == 0)
                        r = ask_parse(answer->data, size, answer->values, &answer->n_values, &used);
        }
        if (r < 0)
                return r;
        if (used != size)
                return -EPROTO; /* more than was asked for */
        answer_terminate(answer);
        return 0;
}

static int exchange(const char *path, const struct request *request, struct ask_answer *answer,
                    uint64_t deadline)
{
        int fd, r;

        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        r = connect_by(fd, path, deadline);
        if (r == 0)
                r = send_by(fd, request, deadline);
        if (r == 0)
                r = answer_by(fd, answer, deadline);
        close(fd);
        return r;
}

int ask(struct ask_answer **ret, const char *path, const char *const *words, size_t n_words,
        uint64_t timeout_usec)
{
        uint64_t deadline = deadline_of(timeout_usec);
        struct request request = {.size = 0};
        struct ask_answer *answer;
        int r;

        r = request_make(&request, words, n_words);
        if (r < 0)
                return r;
        if (timeout_usec == 0)
                return -ETIMEDOUT;
        answer = answer_new();
        if (!answer)
                return -ENOMEM;
        r = exchange(path, &request, answer, deadline);
        if (r < 0) {
                ask_free(answer);
                return r;
        }
        *ret = answer;
        return 0;
}

/* --- bringing a sequence into being -------------------------------------- */

/* What the answer to SEQ.OPEN means to the library. */
static int open_outcome(const struct ask_answer *answer)
{
        if (!ask_sentence(answer))
                return 0;
        if (ask_code(answer, "NOPERM"))
                return -EACCES;
        if (ask_code(answer, "TRYAGAIN"))
                return -ETIMEDOUT;
        if (says(answer, "no such sequence"))
                return -ENOENT;
        if (ask_full(answer))
                return -ECONNREFUSED;
        return strstr(ask_sentence(answer), "max_sequences") ? -ENOSPC : -EREMOTEIO;
}

/* May there be somebody to ask in a moment? */
static bool nobody_there(int error)
{
        return error == -ENOENT || error == -ECONNREFUSED || error == -ECONNRESET;
}

int ask_open(const char *path, const char *name, uint64_t timeout_usec)
{
        const char *const words[] = {"SEQ.OPEN", name};
        uint64_t deadline = deadline_of(timeout_usec);
        struct ask_answer *answer;
        int r;

        for (;;) {
                r = ask(&answer, path, words, 2, time_left(deadline));
                if (r < 0 && !nobody_there(r))
                        return r;
                if (r == 0) {
                        r = open_outcome(answer);
                        ask_free(answer);
                        if (r != -ECONNREFUSED)
                                return r;
                }
                r = pause_until(deadline);
                if (r < 0)
                        return r;
        }
}
