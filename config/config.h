/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The ini file, read and checked as a whole.
 *
 * A file is either good or not: config_load() yields a complete configuration
 * in which every value is in range and nothing contradicts, or a list of all
 * that is wrong with it. Nothing is applied here; the daemon does that.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "params.h"

enum config_on_stop {
        CONFIG_ON_STOP_FREEZE, /* close every window: a restart skips nothing */
        CONFIG_ON_STOP_SERVE,  /* leave windows open: a restart is no pause */
};

/* The most templates one file may have: each new name is compared with all of them. */
#define CONFIG_TEMPLATES_MAX 1024

/* One [sequence NAME] section, or one [sequence PREFIX*] section. */
struct config_sequence {
        char *name;       /* of a template: the prefix, without the '*'; may be empty */
        unsigned line;    /* of its section header, for messages */
        bool given_start; /* `start` was stated, not a default */
        struct sequence_params params;
};

struct config {
        char *path;             /* the file, for messages */
        char *instance;         /* as given to config_load(), NULL: the default one */
        char *shm;              /* segment name, "/seqnumd" */
        char *state;            /* state directory, absolute */
        char *socket;           /* control socket, absolute, fits sun_path; "": none */
        char *group;            /* group name that may draw; NULL: the daemon's own */
        mode_t mode;            /* of the segment: 0600 to 0664 */
        uint32_t max_sequences; /* capacity of the segment */
        uint64_t reserve;       /* default for counters; 0: auto */
        uint32_t max_clients;   /* of the control socket */
        enum config_on_stop on_stop;
        struct config_sequence *sequences; /* in the order of the file */
        size_t n_sequences;
        struct config_sequence *templates; /* named by their prefix, without the * */
        size_t n_templates;
};

/* All complaints about one file, in the order of its lines. */
struct config_errors {
        char **items; /* "FILE:LINE: what is wrong; what would be right" */
        size_t n_items;
};

/* The longest name of an instance: its paths have to fit. */
#define CONFIG_INSTANCE_MAX 64

/* 1 to CONFIG_INSTANCE_MAX of A-Z a-z 0-9 _ - and, not in front, a dot. */
bool config_instance_valid(const char *name);

/*
 * Read and check `path`. `instance` is NULL, or the valid name of another than
 * the default instance; then shm, state and socket have its name in them where
 * the file does not state them: "/seqnumd.NAME" and so on. 0 and a configuration
 * in *ret; or a negative errno with *ret untouched and at least one item in
 * `errors`: -EINVAL when the contents are wrong, the errno of open or read
 * otherwise, -ENOMEM.
 */
int config_load(struct config **ret, const char *path, const char *instance,
                struct config_errors *errors);

struct config *config_free(struct config *config);

/* Free the sequences of a configuration that was applied; templates stay, new names need them. */
void config_forget_sequences(struct config *config);

void config_errors_clear(struct config_errors *errors);

/*
 * The parameters that `n` keys and values state, as the lines of a [sequence]
 * section would, judged by the same parsers and checks.
 *
 * base NULL: of a new sequence; what is not stated has its default, which for
 * the reserve of a counter is `reserve` (0: auto). Otherwise a change of
 * *base: what is not stated stays as it is, also when the increment changes
 * its sign. The kind cannot be changed, of kind time nothing but the reserve;
 * stating what is so already is no change.
 *
 * 0; -EINVAL with a sentence in *message, to be freed, that says what is wrong
 * and what would be right; or -ENOMEM. On failure *ret is left alone, and
 * *message except by -EINVAL.
 */
int config_sequence_parse(struct sequence_params *ret, const struct sequence_params *base,
                          uint64_t reserve, const char *const *keys, const char *const *values,
                          size_t n, char **message);
