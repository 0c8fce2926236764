/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Asking the daemon over its control socket: one request, one answer.
 *
 * Numbers are never drawn this way; what is in the segment is read there. This
 * is for what only the daemon can do: bring a sequence into being, alter it,
 * drop it. RESP, the Redis protocol (redis.io/docs/reference/protocol-spec), on a
 * Unix stream socket: an array of bulk strings goes out, any one value comes
 * back. Each request has a connection of its own.
 *
 * What comes back is bound in size, depth and time, and checked byte by byte.
 * Nothing here touches the segment or a lock; any thread may ask at any time.
 * The descriptor is gone after execve(2), and no SIGPIPE is raised.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ASK_WORDS_MAX   64    /* of a request */
#define ASK_REQUEST_MAX 16384 /* bytes of a request, framing and all */
#define ASK_ANSWER_MAX  65536 /* bytes of an answer, framing and all */
#define ASK_LINE_MAX    4096  /* bytes of a simple string or an error */
#define ASK_VALUES_MAX  1024  /* values in an answer, at all depths */
#define ASK_DEPTH_MAX   4     /* arrays and maps within one another, and what is in them */

enum ask_type {
        ASK_SIMPLE,
        ASK_ERROR,
        ASK_INTEGER,
        ASK_BULK,
        ASK_NULL,
        ASK_ARRAY, /* its `n` elements follow */
        ASK_MAP,   /* its `n` pairs follow, as 2n values */
};

struct ask_value {
        enum ask_type type;
        int64_t integer;
        size_t n;
        size_t length;    /* of `text` */
        const char *text; /* simple, error, bulk: in an answer NUL-terminated besides; else NULL */
};

/* A tree as a list: each value before those that it holds; the first is the whole. */
struct ask_answer {
        size_t n_values;
        struct ask_value *values;
        char *data; /* that they point into */
};

/*
 * Send the `n_words` words to the socket at `path` and wait for the answer, both
 * together for at most `timeout_usec` (0: don't even connect). 0 with an answer,
 * which may be an error that the daemon states; or
 *   -ENOENT, -ECONNREFUSED  there is no socket, nobody listens at it
 *   -EACCES                 the socket may not be opened by us
 *   -ETIMEDOUT              no whole answer in time
 *   -ECONNRESET             the connection ended before the answer did
 *   -EPROTO                 the answer is not RESP
 *   -EMSGSIZE               the answer is larger than the bounds above
 *   -E2BIG                  the request is
 *   -EINVAL                 `path` is none of a socket
 *   -ENOMEM, -EMFILE, ...   as usual
 */
int ask(struct ask_answer **ret, const char *path, const char *const *words, size_t n_words,
        uint64_t timeout_usec);

/* NULL is fine; returns NULL. */
struct ask_answer *ask_free(struct ask_answer *answer);

/*
 * Of an answer that is an error, "-CODE sentence": the sentence; NULL when it is
 * none. ask_code() of the same: is CODE `code`?
 */
const char *ask_sentence(const struct ask_answer *answer);
int ask_code(const struct ask_answer *answer, const char *code);

/* Is the answer that there are as many connections as the daemon takes? */
bool ask_full(const struct ask_answer *answer);

/*
 * Have the daemon bring `name` into being, if a template allows for it. As long
 * as there is nobody to ask, or too many do, it is tried again until the time is
 * up. 0: it is there now; or
 *   -ENOENT     no template allows for it
 *   -EACCES     we may not ask
 *   -ETIMEDOUT  the daemon did not answer in time, or not now
 *   -ENOSPC     there are as many sequences as the instance may have
 *   -EREMOTEIO  the daemon refused for another reason, which its log tells
 *   or another of ask()'s errors
 */
int ask_open(const char *path, const char *name, uint64_t timeout_usec);

/*
 * The door: the first whole value in `size` bytes of `data`, as a list of values
 * that point into it (not NUL-terminated). 1 with *ret_n values and *ret_used
 * bytes; 0: more bytes are needed; -EPROTO; -EMSGSIZE.
 */
int ask_parse(const char *data, size_t size, struct ask_value values[static ASK_VALUES_MAX],
              size_t *ret_n, size_t *ret_used);
