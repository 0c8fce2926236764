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

/* One [sequence NAME] section. */
struct config_sequence {
        char *name;
        unsigned line;    /* of its section header, for messages */
        bool given_start; /* `start` was stated, not a default */
        struct sequence_params params;
};

struct config {
        char *path;             /* the file, for messages */
        char *shm;              /* segment name, "/seqnumd" */
        char *state;            /* state directory, absolute */
        char *socket;           /* control socket, absolute, fits sun_path */
        char *group;            /* group name that may draw; NULL: the daemon's own */
        mode_t mode;            /* of the segment: 0600 to 0664 */
        uint32_t max_sequences; /* capacity of the segment */
        uint64_t reserve;       /* default for sequences; 0: auto */
        enum config_on_stop on_stop;
        struct config_sequence *sequences; /* in the order of the file */
        size_t n_sequences;
};

/* All complaints about one file, in the order of its lines. */
struct config_errors {
        char **items; /* "FILE:LINE: what is wrong; what would be right" */
        size_t n_items;
};

/*
 * Read and check `path`. 0 and a configuration in *ret; or a negative errno
 * with *ret untouched and at least one item in `errors`: -EINVAL when the
 * contents are wrong, the errno of open or read otherwise, -ENOMEM.
 */
int config_load(struct config **ret, const char *path, struct config_errors *errors);

struct config *config_free(struct config *config);

void config_errors_clear(struct config_errors *errors);
