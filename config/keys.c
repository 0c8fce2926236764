/* SPDX-License-Identifier: MIT */

/* The table of keys and a parser for each type of value; see keys.h. */

#include "keys.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "config.h"

/* Room for the names of files inside the state directory, well below PATH_MAX. */
#define STATE_PATH_MAX    1024
#define SHM_NAME_MAX      254
#define GROUP_NAME_MAX    255
#define MAX_SEQUENCES_MAX 1048576

#define SOCKET_PATH_MAX ((int64_t)sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1)
_Static_assert(sizeof(((struct sockaddr_un *)NULL)->sun_path) == 108, "the table says 107");
_Static_assert(SEQUENCE_RESERVE_MAX == UINT64_C(4294967296), "the table says 4294967296");

static const char no_whole_number[] = "is not a whole number";
static const char out_of_range[] = "is out of range";

static int refuse(const char **reason, const char *why)
{
        *reason = why;
        return -EINVAL;
}

/* --- strings ----------------------------------------------------------- */

static int replace_string(char **to, const char *text)
{
        char *copy = strdup(text);

        if (!copy)
                return -ENOMEM;
        free(*to);
        *to = copy;
        return 0;
}

static int parse_shm(const struct config_key *key, const char *text, void *to, const char **reason)
{
        static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                      "0123456789._-";
        const char *name = text + 1;

        if (text[0] != '/')
                return refuse(reason, "does not begin with a slash");
        if (strchr(name, '/'))
                return refuse(reason, "has more than one slash");
        if (name[strspn(name, allowed)] != '\0')
                return refuse(reason, "has a character that does not belong there");
        if ((int64_t)strlen(text) > key->high)
                return refuse(reason, "is too long");
        if ((int64_t)strlen(text) < key->low)
                return refuse(reason, "has no name behind the slash");
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
                return refuse(reason, "names a directory");
        return replace_string(to, text);
}

static int parse_path(const struct config_key *key, const char *text, void *to, const char **reason)
{
        if (text[0] != '/')
                return refuse(reason, "is not an absolute path");
        if ((int64_t)strlen(text) > key->high)
                return refuse(reason, "is too long");
        return replace_string(to, text);
}

static int parse_socket(const struct config_key *key, const char *text, void *to,
                        const char **reason)
{
        if (text[0] == '/' && text[strlen(text) - 1] == '/')
                return refuse(reason, "names a directory");
        return parse_path(key, text, to, reason);
}

/* The name is not looked up: a file must mean the same wherever it is checked. */
static int parse_group(const struct config_key *key, const char *text, void *to,
                       const char **reason)
{
        char **group = to;

        if (text[0] == '\0') {
                free(*group);
                *group = NULL;
                return 0;
        }
        if (strpbrk(text, ":,/"))
                return refuse(reason, "has a character that does not belong there");
        if ((int64_t)strlen(text) > key->high)
                return refuse(reason, "is too long");
        return replace_string(group, text);
}

/* --- numbers ----------------------------------------------------------- */

/*
 * A decimal number with nothing before or behind it. Not strtoll(), which
 * takes blanks, a plus and whatever the locale allows.
 */
static int whole_number(const char *text, int64_t *ret, const char **reason)
{
        bool negative = text[0] == '-', overflow = false;
        const char *digits = text + negative;
        int64_t value = 0;

        if (digits[0] == '\0' || digits[strspn(digits, "0123456789")] != '\0')
                return refuse(reason, no_whole_number);
        for (const char *p = digits; *p; p++) {
                int digit = negative ? -(*p - '0') : *p - '0';

                overflow |= __builtin_mul_overflow(value, 10, &value);
                overflow |= __builtin_add_overflow(value, digit, &value);
        }
        if (overflow)
                return refuse(reason, out_of_range);
        *ret = value;
        return 0;
}

static int ranged_number(const struct config_key *key, const char *text, int64_t *ret,
                         const char **reason)
{
        int64_t value;
        int r = whole_number(text, &value, reason);

        if (r < 0)
                return r;
        if (value < key->low || value > key->high)
                return refuse(reason, out_of_range);
        *ret = value;
        return 0;
}

static int parse_i64(const struct config_key *key, const char *text, void *to, const char **reason)
{
        return ranged_number(key, text, to, reason);
}

static int parse_increment(const struct config_key *key, const char *text, void *to,
                           const char **reason)
{
        int64_t value;
        int r = ranged_number(key, text, &value, reason);

        if (r < 0)
                return r;
        if (value == 0)
                return refuse(reason, "would never move on");
        *(int64_t *)to = value;
        return 0;
}

static int parse_u32(const struct config_key *key, const char *text, void *to, const char **reason)
{
        int64_t value;
        int r = ranged_number(key, text, &value, reason);

        if (r < 0)
                return r;
        *(uint32_t *)to = (uint32_t)value;
        return 0;
}

static int parse_reserve(const struct config_key *key, const char *text, void *to,
                         const char **reason)
{
        int64_t value = 0;
        int r = strcmp(text, "auto") == 0 ? 0 : ranged_number(key, text, &value, reason);

        if (r < 0)
                return r;
        *(uint64_t *)to = (uint64_t)value;
        return 0;
}

static int parse_mode(const struct config_key *key, const char *text, void *to, const char **reason)
{
        size_t digits = strspn(text, "01234567");
        mode_t mode = 0;

        (void)key;
        if (digits != strlen(text) || digits < 3 || digits > 4)
                return refuse(reason, "is not an octal mode of three or four digits");
        for (const char *p = text; *p; p++)
                mode = mode * 8 + (mode_t)(*p - '0');
        if (mode & 07000)
                return refuse(reason, "has a set-id or sticky bit");
        if (mode & 0111)
                return refuse(reason, "has an execute bit");
        if (mode & 0002)
                return refuse(reason, "lets everyone write");
        if ((mode & 0600) != 0600)
                return refuse(reason, "keeps the daemon itself out");
        *(mode_t *)to = mode;
        return 0;
}

/* --- words ------------------------------------------------------------- */

static int parse_on_stop(const struct config_key *key, const char *text, void *to,
                         const char **reason)
{
        enum config_on_stop *on_stop = to;

        (void)key;
        if (strcmp(text, "freeze") == 0)
                *on_stop = CONFIG_ON_STOP_FREEZE;
        else if (strcmp(text, "serve") == 0)
                *on_stop = CONFIG_ON_STOP_SERVE;
        else
                return refuse(reason, "is not known");
        return 0;
}

static int parse_kind(const struct config_key *key, const char *text, void *to, const char **reason)
{
        (void)key;
        if (strcmp(text, sequence_kind_name(SEQUENCE_GAPLESS)) == 0 ||
            strcmp(text, sequence_kind_name(SEQUENCE_TIME)) == 0)
                return refuse(reason, "is not served by this version");
        if (strcmp(text, sequence_kind_name(SEQUENCE_COUNTER)) != 0)
                return refuse(reason, "is not known");
        *(enum sequence_kind *)to = SEQUENCE_COUNTER;
        return 0;
}

static int parse_bool(const struct config_key *key, const char *text, void *to, const char **reason)
{
        static const struct {
                const char *word;
                bool value;
        } words[] = {
                {"yes", true}, {"no", false},  {"true", true}, {"false", false},
                {"on", true},  {"off", false}, {"1", true},    {"0", false},
        };

        (void)key;
        for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
                if (strcmp(text, words[i].word) == 0) {
                        *(bool *)to = words[i].value;
                        return 0;
                }
        return refuse(reason, "is neither yes nor no");
}

/* --- the table --------------------------------------------------------- */

#define WHOLE_NUMBER "a whole number from -9223372036854775808 to 9223372036854775807"

#define SERVICE(field) .section = CONFIG_SERVICE, .offset = offsetof(struct config, field)
#define SEQUENCE(field)                                                                            \
        .section = CONFIG_SEQUENCE, .offset = offsetof(struct config_sequence, field)

const struct config_key config_keys[CONFIG_N_KEYS] = {
        [KEY_SHM] = {SERVICE(shm), .name = "shm", .parse = parse_shm, .fallback = "/seqnumd",
                     .low = 2, .high = SHM_NAME_MAX,
                     .range = "a slash and 1 to 253 of A-Z a-z 0-9 . _ -"},
        [KEY_STATE] = {SERVICE(state), .name = "state", .parse = parse_path,
                       .fallback = "/var/lib/seqnumd", .low = 1, .high = STATE_PATH_MAX,
                       .range = "an absolute path of at most 1024 bytes"},
        [KEY_SOCKET] = {SERVICE(socket), .name = "socket", .parse = parse_socket,
                        .fallback = "/run/seqnumd/seqnumd.sock", .low = 2, .high = SOCKET_PATH_MAX,
                        .range = "the absolute path of a socket, of at most 107 bytes"},
        [KEY_GROUP] = {SERVICE(group), .name = "group", .parse = parse_group, .fallback = "seqnum",
                       .low = 0, .high = GROUP_NAME_MAX,
                       .range = "the name of a group, of at most 255 bytes, or nothing for the "
                                "daemon's own"},
        [KEY_MODE] = {SERVICE(mode), .name = "mode", .parse = parse_mode, .fallback = "0660",
                      .range = "an octal mode from 0600 to 0664 in which the owner may read and "
                               "write, others may not write, and nobody may execute"},
        [KEY_MAX_SEQUENCES] = {SERVICE(max_sequences), .name = "max_sequences", .parse = parse_u32,
                               .fallback = "65536", .low = 1, .high = MAX_SEQUENCES_MAX,
                               .range = "a whole number from 1 to 1048576"},
        [KEY_SERVICE_RESERVE] = {SERVICE(reserve), .name = "reserve", .parse = parse_reserve,
                                 .fallback = "auto", .low = 1, .high = SEQUENCE_RESERVE_MAX,
                                 .range = "auto, or a whole number from 1 to 4294967296"},
        [KEY_ON_STOP] = {SERVICE(on_stop), .name = "on_stop", .parse = parse_on_stop,
                         .fallback = "freeze", .range = "freeze or serve"},

        [KEY_KIND] = {SEQUENCE(params.kind), .name = "kind", .parse = parse_kind,
                      .fallback = "counter", .range = "counter"},
        [KEY_START] = {SEQUENCE(params.start), .name = "start", .parse = parse_i64, .fallback = "1",
                       .descending = "-1", .low = INT64_MIN, .high = INT64_MAX,
                       .range = WHOLE_NUMBER},
        [KEY_INCREMENT] = {SEQUENCE(params.increment), .name = "increment",
                           .parse = parse_increment, .fallback = "1", .low = INT64_MIN,
                           .high = INT64_MAX, .range = WHOLE_NUMBER ", other than 0"},
        [KEY_MIN] = {SEQUENCE(params.min), .name = "min", .parse = parse_i64, .fallback = "1",
                     .descending = "-9223372036854775808", .low = INT64_MIN, .high = INT64_MAX,
                     .range = WHOLE_NUMBER},
        [KEY_MAX] = {SEQUENCE(params.max), .name = "max", .parse = parse_i64,
                     .fallback = "9223372036854775807", .descending = "-1", .low = INT64_MIN,
                     .high = INT64_MAX, .range = WHOLE_NUMBER},
        [KEY_CYCLE] = {SEQUENCE(params.cycle), .name = "cycle", .parse = parse_bool,
                       .fallback = "no", .range = "yes or no (or true, false, on, off, 1, 0)"},
        [KEY_RESERVE] = {SEQUENCE(params.reserve), .name = "reserve", .parse = parse_reserve,
                         .fallback = "auto", .low = 1, .high = SEQUENCE_RESERVE_MAX,
                         .range = "auto, or a whole number from 1 to 4294967296"},
};

/* --- looking things up -------------------------------------------------- */

const char *config_section_title(enum config_section section)
{
        return section == CONFIG_SERVICE ? "[service]" : "[sequence NAME]";
}

const struct config_key *config_key_find(enum config_section section, const char *name)
{
        for (size_t i = 0; i < CONFIG_N_KEYS; i++)
                if (config_keys[i].section == section && strcmp(config_keys[i].name, name) == 0)
                        return &config_keys[i];
        return NULL;
}

#define GUESS_MAX 32 /* longer than any key by more than a slip of the finger */

static size_t least(size_t a, size_t b, size_t c)
{
        size_t ab = a < b ? a : b;

        return ab < c ? ab : c;
}

/* Levenshtein's distance; both are shorter than GUESS_MAX. */
static size_t edit_distance(const char *a, const char *b)
{
        size_t width = strlen(b), row[GUESS_MAX], corner, swap;

        for (size_t j = 0; j <= width; j++)
                row[j] = j;
        for (size_t i = 1; a[i - 1]; i++) {
                corner = row[0];
                row[0] = i;
                for (size_t j = 1; j <= width; j++) {
                        swap = corner + (a[i - 1] != b[j - 1]);
                        corner = row[j];
                        row[j] = least(row[j] + 1, row[j - 1] + 1, swap);
                }
        }
        return row[width];
}

const struct config_key *config_key_guess(enum config_section section, const char *name)
{
        const struct config_key *best = NULL;
        size_t best_distance = 3, length = strlen(name), d; /* at most two slips */

        if (length >= GUESS_MAX)
                return NULL;
        for (size_t i = 0; i < CONFIG_N_KEYS; i++) {
                if (config_keys[i].section != section)
                        continue;
                d = edit_distance(name, config_keys[i].name);
                if (d < best_distance && d < length) {
                        best = &config_keys[i];
                        best_distance = d;
                }
        }
        return best;
}

/* --- parsing by the table ---------------------------------------------- */

int config_key_parse(const struct config_key *key, const char *text, void *object,
                     const char **reason)
{
        /* To a group, the empty value says something; to all others it is a slip. */
        if (text[0] == '\0' && key->parse != parse_group)
                return refuse(reason, "is empty");
        return key->parse(key, text, (char *)object + key->offset, reason);
}

int config_keys_default(enum config_section section, void *object)
{
        const char *reason;
        int r;

        for (size_t i = 0; i < CONFIG_N_KEYS; i++) {
                if (config_keys[i].section != section)
                        continue;
                r = config_key_parse(&config_keys[i], config_keys[i].fallback, object, &reason);
                if (r < 0)
                        return r;
        }
        return 0;
}
