/* SPDX-License-Identifier: MIT */

/* The table of keys and a parser for each type of value; see keys.h. */

#include "keys.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <time.h>

#include "config.h"
#include "similar.h"

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
        if (text[0] == '\0')
                return replace_string(to, text);
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

static int parse_u16(const struct config_key *key, const char *text, void *to, const char **reason)
{
        int64_t value;
        int r = ranged_number(key, text, &value, reason);

        if (r < 0)
                return r;
        *(uint16_t *)to = (uint16_t)value;
        return 0;
}

static int parse_u8(const struct config_key *key, const char *text, void *to, const char **reason)
{
        int64_t value;
        int r = ranged_number(key, text, &value, reason);

        if (r < 0)
                return r;
        *(uint8_t *)to = (uint8_t)value;
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

/*
 * An instant in UTC, in milliseconds: a date, a date and a time of day, or @ and
 * the seconds since 1970. In all forms whole seconds: an epoch has no need of more.
 */
static int parse_instant(const struct config_key *key, const char *text, void *to,
                         const char **reason)
{
        struct tm tm = {0};
        const char *rest;
        int64_t seconds;

        if (text[0] == '@') {
                int r = whole_number(text + 1, &seconds, reason);

                if (r < 0)
                        return r;
        } else {
                rest = strptime(text, "%Y-%m-%d", &tm);
                if (rest && *rest == 'T')
                        rest = strptime(rest, "T%H:%M:%SZ", &tm);
                if (!rest || *rest)
                        return refuse(reason, "is not a date");
                seconds = timegm(&tm);
        }
        if (seconds < key->low || seconds > key->high)
                return refuse(reason, out_of_range);
        *(int64_t *)to = seconds * 1000;
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
        for (int kind = SEQUENCE_COUNTER; kind <= SEQUENCE_TIME; kind++)
                if (strcmp(text, sequence_kind_name((enum sequence_kind)kind)) == 0) {
                        *(enum sequence_kind *)to = (enum sequence_kind)kind;
                        return 0;
                }
        return refuse(reason, "is not known");
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
#define COUNTING       (CONFIG_KIND(SEQUENCE_COUNTER) | CONFIG_KIND(SEQUENCE_GAPLESS))
#define RESERVING      (CONFIG_KIND(SEQUENCE_COUNTER) | CONFIG_KIND(SEQUENCE_TIME))
#define TIME_ALONE     CONFIG_KIND(SEQUENCE_TIME)
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
                        .range = "the absolute path of a socket, of at most 107 bytes, or nothing "
                                 "for none"},
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

        [KEY_MAX_CLIENTS] = {SERVICE(max_clients), .name = "max_clients", .parse = parse_u32,
                             .fallback = "1000", .low = 1, .high = 65536,
                             .range = "a whole number from 1 to 65536"},

        [KEY_KIND] = {SEQUENCE(params.kind), .name = "kind", .parse = parse_kind,
                      .fallback = "counter", .range = "counter, gapless or time"},
        [KEY_START] = {SEQUENCE(params.start), .kinds = COUNTING, .name = "start",
                       .parse = parse_i64, .fallback = "1", .descending = "-1", .low = INT64_MIN,
                       .high = INT64_MAX, .range = WHOLE_NUMBER},
        [KEY_INCREMENT] = {SEQUENCE(params.increment), .kinds = COUNTING, .name = "increment",
                           .parse = parse_increment, .fallback = "1", .low = INT64_MIN,
                           .high = INT64_MAX, .range = WHOLE_NUMBER ", other than 0"},
        [KEY_MIN] = {SEQUENCE(params.min), .kinds = COUNTING, .name = "min", .parse = parse_i64,
                     .fallback = "1", .descending = "-9223372036854775808", .low = INT64_MIN,
                     .high = INT64_MAX, .range = WHOLE_NUMBER},
        [KEY_MAX] = {SEQUENCE(params.max), .kinds = COUNTING, .name = "max", .parse = parse_i64,
                     .fallback = "9223372036854775807", .descending = "-1", .low = INT64_MIN,
                     .high = INT64_MAX, .range = WHOLE_NUMBER},
        [KEY_CYCLE] = {SEQUENCE(params.cycle), .kinds = COUNTING, .name = "cycle",
                       .parse = parse_bool, .fallback = "no",
                       .range = "yes or no (or true, false, on, off, 1, 0)"},
        [KEY_RESERVE] = {SEQUENCE(params.reserve), .kinds = RESERVING, .name = "reserve",
                         .parse = parse_reserve, .fallback = "auto", .low = 1,
                         .high = SEQUENCE_RESERVE_MAX,
                         .range = "auto, or a whole number from 1 to 4294967296"},
        [KEY_HOLD_LIMIT] = {SEQUENCE(params.hold_limit), .kinds = CONFIG_KIND(SEQUENCE_GAPLESS),
                            .name = "hold_limit", .parse = parse_u32, .fallback = "0", .low = 0,
                            .high = SEQUENCE_HOLD_LIMIT_MAX,
                            .range = "seconds, a whole number from 0 (no limit) to 604800"},
        [KEY_EPOCH] = {SEQUENCE(params.epoch), .kinds = TIME_ALONE, .name = "epoch",
                       .parse = parse_instant, .fallback = "2020-01-01", .low = 0,
                       .high = SEQUENCE_EPOCH_MAX / 1000,
                       .range = "a date in UTC from 1970-01-01 to 2100-01-01, as 2020-01-01 or "
                                "2020-01-01T00:00:00Z, or @SECONDS since 1970"},
        [KEY_NODE] = {SEQUENCE(params.node), .kinds = TIME_ALONE, .name = "node",
                      .parse = parse_u16, .fallback = "0", .low = 0, .high = 65535,
                      .range = "a whole number from 0 to 65535 that fits in node_bits"},
        [KEY_NODE_BITS] = {SEQUENCE(params.node_bits), .kinds = TIME_ALONE, .name = "node_bits",
                           .parse = parse_u8, .fallback = "10", .low = 0,
                           .high = SEQUENCE_NODE_BITS_MAX, .range = "a whole number from 0 to 16"},
        [KEY_SERIAL_BITS] = {SEQUENCE(params.serial_bits), .kinds = TIME_ALONE,
                             .name = "serial_bits", .parse = parse_u8, .fallback = "12", .low = 1,
                             .high = SEQUENCE_SERIAL_BITS_MAX,
                             .range = "a whole number from 1 to 22"},
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

const struct config_key *config_key_guess(enum config_section section, const char *name)
{
        struct similar similar = similar_to(name, strlen(name));

        for (size_t i = 0; i < CONFIG_N_KEYS; i++)
                if (config_keys[i].section == section)
                        similar_try(&similar, config_keys[i].name, strlen(config_keys[i].name));
        return similar.found ? config_key_find(section, similar.found) : NULL;
}

/* --- parsing by the table ---------------------------------------------- */

int config_key_parse(const struct config_key *key, const char *text, void *object,
                     const char **reason)
{
        /* To a group and a socket, the empty value says something; to all others it is a slip. */
        if (text[0] == '\0' && key->parse != parse_group && key->parse != parse_socket)
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
