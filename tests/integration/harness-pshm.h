/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * pshm's two sides as a test runs them. A stream has the name of the instance's
 * segment, of which no daemon is started: so it is the test's own, and removed with
 * the instance. What a side says goes to a file of its own in the instance's
 * directory.
 */

#include "harness.h"

struct side {
        struct instance *instance;
        const char *verb;
        unsigned number; /* of the side in this process, and so of its file */
        pid_t pid;
};

/*
 * Run `pshm VERB [OPTION ...] NAME` with these as standard input and output, which
 * stay the caller's. `options` are separated by single blanks.
 */
struct side side_start(struct instance *instance, const char *verb, const char *options, int in,
                       int out);

/* How it ended, as shells say it: 128 and more for a signal. It must within 10 seconds. */
int side_end(struct side *side);

/* Has it ended? Then side_end() does not wait. */
bool side_ended(const struct side *side);

/* SIGKILL, and wait. */
void side_kill(struct side *side);

/* What it said on standard error, until the next call. */
const char *side_said(const struct side *side);

/* It must end with this status and have said this. */
void side_must_end(struct side *side, int status, const char *text);

bool stream_exists(const struct instance *instance);
void stream_await(const struct instance *instance);          /* until it exists */
void stream_await_receiver(const struct instance *instance); /* until one has said so in it */

/* Has one? False also if there is no stream. */
bool stream_has_receiver(const struct instance *instance);

/* /dev/null and the like. */
int open_path(const char *path, int flags);

/* A new file in the instance's directory, open for both. */
int open_file(const struct instance *instance, const char *name);

/* Bytes of a fixed pseudo-random sequence. */
void fill_random(char *bytes, size_t length, uint64_t seed);

/* Of the file behind fd: `length` bytes, and nothing else. */
bool file_is(int fd, const char *bytes, size_t length);
