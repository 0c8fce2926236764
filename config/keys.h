/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The table of keys: all that an ini file may say.
 *
 * Defaults, ranges and parsers are here and nowhere else; the sample file and
 * seqnumd.ini(5) repeat them in prose, and a test holds the three together.
 * A parser judges one value by itself. Whether values contradict one another
 * is not known here, see config.c and sequence_params_check().
 */

#include <stddef.h>
#include <stdint.h>

enum config_section {
        CONFIG_SERVICE,  /* [service]: goes into struct config */
        CONFIG_SEQUENCE, /* [sequence NAME]: goes into struct config_sequence */
};

enum config_key_id {
        KEY_SHM,
        KEY_STATE,
        KEY_SOCKET,
        KEY_GROUP,
        KEY_MODE,
        KEY_MAX_SEQUENCES,
        KEY_SERVICE_RESERVE,
        KEY_ON_STOP,
        KEY_MAX_CLIENTS,
        KEY_KIND,
        KEY_START,
        KEY_INCREMENT,
        KEY_MIN,
        KEY_MAX,
        KEY_CYCLE,
        KEY_RESERVE,
        KEY_HOLD_LIMIT,
        KEY_EPOCH,
        KEY_NODE,
        KEY_NODE_BITS,
        KEY_SERIAL_BITS,
        CONFIG_N_KEYS
};

struct config_key;

/*
 * Put the value that `text` states at `to`. 0; -EINVAL with in *reason what is
 * wrong, such that "KEY = TEXT REASON" is a sentence; or -ENOMEM. A string
 * takes the place of the one at `to`, which is freed.
 */
typedef int (*config_parser)(const struct config_key *key, const char *text, void *to,
                             const char **reason);

struct config_key {
        enum config_section section;
        const char *name;
        const char *fallback;   /* what holds when the key is not there */
        const char *descending; /* that where the increment is negative; NULL: the same */
        const char *range;      /* what would be right, such that "use RANGE" is a sentence */
        config_parser parse;
        size_t offset;     /* where it goes in the section's struct */
        int64_t low, high; /* of a number: inclusive; of a string: of its length */
        unsigned kinds;    /* of sequences that have the key, CONFIG_KIND() of each; 0: all */
};

#define CONFIG_KIND(kind) (1U << (kind))

extern const struct config_key config_keys[CONFIG_N_KEYS];

/* "[service]" or "[sequence NAME]", for messages. */
const char *config_section_title(enum config_section section);

/* The key of that name in that section, NULL when there is none. */
const struct config_key *config_key_find(enum config_section section, const char *name);

/* The key of that section that `name` is most likely to mean, NULL when it is like none. */
const struct config_key *config_key_guess(enum config_section section, const char *name);

/* Parse `text` for `key` into `object`, the struct of the key's section. */
int config_key_parse(const struct config_key *key, const char *text, void *object,
                     const char **reason);

/* Give all keys of a section their defaults. 0 or -ENOMEM. */
int config_keys_default(enum config_section section, void *object);
