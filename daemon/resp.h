/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * RESP, the Redis serialization protocol, versions 2 and 3: requests out of
 * bytes, and answers into bytes (redis.io/docs/reference/protocol-spec).
 *
 * Pure: no file descriptors, no clock, no allocation by the parser. What a
 * client may send is bound here, at the door, so that whoever handles requests
 * need not ask again.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RESP_INLINE_MAX  4096  /* bytes of an inline command, without its line end */
#define RESP_ARGS_MAX    256   /* arguments of a request, the command's name among them */
#define RESP_BULK_MAX    4096  /* bytes of one argument */
#define RESP_REQUEST_MAX 65536 /* bytes of a whole request, framing and all */

struct resp_argument {
        const char *data; /* not NUL-terminated; may hold any byte */
        size_t length;
};

struct resp_request {
        size_t n; /* 0: an empty line, to be ignored */
        struct resp_argument arguments[RESP_ARGS_MAX];
};

/*
 * Find the first request in `data`: an array of bulk strings, or an inline
 * command (words separated by blanks; "..." with \xHH \n \r \t \b \a \\ \" and
 * '...' with \' as redis-cli writes them). 1: it is in *ret, whose arguments
 * point into `data` (inline commands are unquoted in place), and takes *used
 * bytes. 0: more bytes are needed. -EPROTO: *reason says what is wrong; the
 * stream cannot be read on, and what is there not again: part of it is unquoted.
 */
int resp_parse(char *data, size_t size, struct resp_request *ret, size_t *used,
               const char **reason);

/* --- answers -------------------------------------------------------------- */

/* A growing buffer of answers. */
struct resp_writer {
        char *data;
        size_t size, room;
        unsigned protocol; /* 2 or 3 */
        bool failed;       /* out of memory: an answer is missing, close the connection */
};

void resp_writer_clear(struct resp_writer *writer);

/* The first `n` bytes were sent. */
void resp_writer_consume(struct resp_writer *writer, size_t n);

void resp_simple(struct resp_writer *writer, const char *text); /* +OK */
void resp_error(struct resp_writer *writer, const char *code, const char *format, ...)
        __attribute__((format(printf, 3, 4)));                /* -ERR what is wrong */
void resp_integer(struct resp_writer *writer, int64_t value); /* :1 */
void resp_bulk(struct resp_writer *writer, const char *data, size_t length);
void resp_text(struct resp_writer *writer, const char *text); /* bulk of a C string */
void resp_null(struct resp_writer *writer);                   /* $-1, or _ */
void resp_array(struct resp_writer *writer, size_t n);        /* n answers follow */
void resp_map(struct resp_writer *writer, size_t n); /* n pairs follow; an array of 2n in RESP2 */
