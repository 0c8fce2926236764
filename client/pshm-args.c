/* SPDX-License-Identifier: MIT */

/* What stands on pshm's command line, checked at the door; and what went wrong, said. */

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/statvfs.h>

#include "pshm.h"

/* --- arguments ----------------------------------------------------------- */

int pshm_name(const char *text, char ret[static PSHM_NAME_SIZE])
{
        int length = snprintf(ret, PSHM_NAME_SIZE, "%s%s", *text == '/' ? "" : "/", text);

        if (length < PSHM_NAME_SIZE && object_name_valid(ret))
                return 0;
        cli_complain("'%s' is no name of an object: give up to %d characters without a slash, "
                     "but for a leading one, and neither . nor ..",
                     text, OBJECT_NAME_MAX - 1);
        return CLI_USAGE;
}

void pshm_path(const char *name, char ret[static PSHM_PATH_SIZE])
{
        (void)snprintf(ret, PSHM_PATH_SIZE, OBJECT_DIRECTORY "%s", name);
}

/* Digits and one of K, M, G, T. 0 or -EINVAL, -ERANGE. */
static int parse_size(const char *text, uint64_t *ret)
{
        static const char units[] = "KMGT";
        const char *unit = NULL;
        uint64_t value = 0;

        if (*text < '0' || *text > '9')
                return -EINVAL;
        for (; *text >= '0' && *text <= '9'; text++)
                if (__builtin_mul_overflow(value, 10, &value) ||
                    __builtin_add_overflow(value, (uint64_t)(*text - '0'), &value))
                        return -ERANGE;
        if (*text)
                unit = strchr(units, *text >= 'a' && *text <= 'z' ? *text - 'a' + 'A' : *text);
        if (*text && (!unit || text[1]))
                return -EINVAL;
        if (unit && __builtin_mul_overflow(value, UINT64_C(1) << 10 * (unit - units + 1), &value))
                return -ERANGE;
        *ret = value;
        return 0;
}

int pshm_size(const char *text, const char *what, uint64_t min, uint64_t max, uint64_t *ret)
{
        int r = parse_size(text, ret);

        if (r == -EINVAL) {
                cli_complain("%s '%s' is none: give bytes, or bytes with K, M, G or T, such as 64K",
                             what, text);
                return CLI_USAGE;
        }
        if (r < 0 || *ret < min || *ret > max) {
                cli_complain("%s '%s' is out of range: give %" PRIu64 " to %" PRIu64, what, text,
                             min, max);
                return CLI_USAGE;
        }
        return 0;
}

int pshm_mode(const struct cli_args *args, mode_t *ret)
{
        const char *text = args->values['m'];
        size_t length = text ? strlen(text) : 0;
        mode_t mode = 0;

        if (!text)
                return 0;
        for (const char *digit = text; *digit >= '0' && *digit <= '7'; digit++)
                mode = mode << 3 | (mode_t)(*digit - '0');
        if (length < 1 || length > 4 || strspn(text, "01234567") != length || mode > 0777) {
                cli_complain("-m '%s' is no mode: give octal permissions up to 777, such as 660",
                             text);
                return CLI_USAGE;
        }
        *ret = mode;
        return 0;
}

int pshm_wait(const char *text, uint64_t *ret)
{
        if (!text || cli_parse_seconds(text, ret) == 0)
                return 0;
        cli_complain("-w '%s' is no time: give seconds from 0 to 1000000000, "
                     "with at most six decimals, such as 0.5",
                     text);
        return CLI_USAGE;
}

/* --- bytes for people ------------------------------------------------------ */

const char *pshm_bytes(uint64_t bytes, char text[static PSHM_BYTES_SIZE])
{
        static const char units[] = "KMGTPE";
        double value = (double)bytes;
        int unit = -1;

        for (; value >= 999.5 && units[unit + 1]; unit++)
                value /= 1024;
        if (unit < 0)
                (void)snprintf(text, PSHM_BYTES_SIZE, "%" PRIu64 "B", bytes);
        else
                (void)snprintf(text, PSHM_BYTES_SIZE, "%.*f%ciB",
                               value < 9.995   ? 2
                               : value < 99.95 ? 1
                                               : 0,
                               value, units[unit]);
        return text;
}

/* --- errors ---------------------------------------------------------------- */

static const struct {
        int error;
        int status;
        const char *text; /* NULL: the system's */
        const char *hint;
} outcomes[] = {
        {ENOENT, CLI_NO, "no such object", "'pshm ls' shows those there are"},
        {EEXIST, CLI_NO, "it exists already", NULL},
        {EBUSY, CLI_NO, "somebody holds a lock on it", "try again, or 'pshm rm -f'"},
        {EACCES, CLI_NOT_PERMITTED, "not permitted", "'pshm stat' shows its owner and mode"},
        {EPERM, CLI_NOT_PERMITTED, "not permitted", "'pshm stat' shows its owner"},
        {EMEDIUMTYPE, CLI_DATA, "no shared memory object", "'pshm ls -l' shows what it is"},
        {EFBIG, CLI_NO, "larger than an object can be", NULL},
        {EIO, CLI_DATA, NULL, NULL},
};

/* The one error whose hint is worked out. */
static int fail_for_space(const char *what, const char *name)
{
        char available[PSHM_BYTES_SIZE];
        struct statvfs fs;

        if (statvfs(OBJECT_DIRECTORY, &fs) < 0)
                cli_complain("%s %s: no space in " OBJECT_DIRECTORY, what, name);
        else
                cli_complain("%s %s: no space in " OBJECT_DIRECTORY
                             ", where %s are free ('pshm ls -l' shows what is used)",
                             what, name,
                             pshm_bytes((uint64_t)fs.f_bavail * fs.f_frsize, available));
        return PSHM_NO_SPACE;
}

int pshm_fail(const char *what, const char *name, int error)
{
        const char *text = NULL, *hint = NULL;
        int status = CLI_SYSTEM;

        if (error == -ENOSPC)
                return fail_for_space(what, name);
        for (size_t i = 0; i < sizeof(outcomes) / sizeof(outcomes[0]); i++) {
                if (outcomes[i].error != -error)
                        continue;
                status = outcomes[i].status;
                text = outcomes[i].text;
                hint = outcomes[i].hint;
        }
        if (!text)
                text = strerror(-error);
        if (hint)
                cli_complain("%s %s: %s (%s)", what, name, text, hint);
        else
                cli_complain("%s %s: %s", what, name, text);
        return status;
}
