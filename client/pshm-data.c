/* SPDX-License-Identifier: MIT */

/* write and read: the bytes of an object, by system calls. */

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "pshm.h"

enum {
        BUFFER_SIZE = 65536,
        DUMP_WIDTH = 16,
};

const struct cli_option pshm_write_options[] = {
        {'o', "offset", "OFFSET", "where to begin (0)"},
        {'t', "truncate", NULL, "let the object end behind what is written"},
        PSHM_OPTION_FORCE,
        CLI_OPTION_HELP,
        {0},
};

const struct cli_option pshm_read_options[] = {
        {'o', "offset", "OFFSET", "where to begin (0)"},
        {'n', "count", "COUNT", "how many bytes (up to the end)"},
        {'x', "hex", NULL, "as a hex dump"},
        CLI_OPTION_HELP,
        {0},
};

/* Name and offset of both verbs. */
static int arguments(const struct cli_args *args, char name[static PSHM_NAME_SIZE], uint64_t *ret)
{
        const char *offset = args->values['o'];

        *ret = 0;
        if (pshm_name(args->names[0], name) != 0)
                return CLI_USAGE;
        return offset ? pshm_size(offset, "the offset", 0, PSHM_SIZE_MAX, ret) : 0;
}

/* --- write ----------------------------------------------------------------- */

struct target {
        const char *name;
        int fd;
        uint64_t at, end; /* of the object, PSHM_SIZE_MAX: it grows */
};

static int put(struct target *target, const char *bytes, size_t length)
{
        while (length > 0) {
                ssize_t n = pwrite(target->fd, bytes, length, (off_t)target->at);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return pshm_fail("writing", target->name, -errno);
                bytes += n;
                length -= (size_t)n;
                target->at += (uint64_t)n;
        }
        return 0;
}

static int put_what_fits(struct target *target, const char *bytes, size_t length)
{
        uint64_t room = target->end > target->at ? target->end - target->at : 0;
        int r;

        r = put(target, bytes, length < room ? length : (size_t)room);
        if (r != 0 || length <= room)
                return r;
        cli_complain("writing %s: it ends at byte %" PRIu64
                     ", and there is more to write (-t makes it fit)",
                     target->name, target->end);
        return CLI_NO;
}

static int put_input(struct target *target)
{
        char buffer[BUFFER_SIZE];
        int r = 0;

        while (r == 0) {
                ssize_t n = read(STDIN_FILENO, buffer, sizeof(buffer));

                if (n == 0)
                        break;
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0) {
                        cli_complain("reading standard input: %s", strerror(errno));
                        return CLI_OUTPUT;
                }
                r = put_what_fits(target, buffer, (size_t)n);
        }
        return r;
}

/* A string is written in full or not at all; input is written as far as it goes. */
static int put_string(struct target *target, const char *string, bool truncate)
{
        size_t length = strlen(string);
        int r;

        if (!truncate && (target->at > target->end || length > target->end - target->at)) {
                cli_complain("writing %s: it has %" PRIu64
                             " bytes, too few for %zu from byte %" PRIu64 " on (-t makes it fit)",
                             target->name, target->end, length, target->at);
                return CLI_NO;
        }
        r = pshm_reserve(target->fd, target->at, length);
        return r < 0 ? pshm_fail("writing", target->name, r) : put(target, string, length);
}

int pshm_write(const struct cli *cli, const struct cli_args *args)
{
        bool truncate = args->values['t'] != NULL;
        char name[PSHM_NAME_SIZE];
        struct target target = {.name = name};
        struct stat status;
        int r;

        (void)cli;
        if (arguments(args, name, &target.at) != 0)
                return CLI_USAGE;
        r = pshm_spare_served(args, "writing", name);
        if (r != 0)
                return r;
        target.fd = object_open(name, true, &status);
        if (target.fd < 0)
                return pshm_fail("opening", name, target.fd);
        target.end = truncate ? PSHM_SIZE_MAX : (uint64_t)status.st_size;
        r = args->n_names > 1 ? put_string(&target, args->names[1], truncate) : put_input(&target);
        if (r == 0 && truncate && ftruncate(target.fd, (off_t)target.at) < 0)
                r = pshm_fail("resizing", name, -errno);
        close(target.fd);
        return r;
}

/* --- read ------------------------------------------------------------------ */

struct dump {
        unsigned char line[DUMP_WIDTH], before[DUMP_WIDTH];
        size_t filled;
        uint64_t at; /* of the line */
        bool any, repeated;
};

/* As hexdump -C has it; a line like the one before is a star, once. */
static void dump_line(struct dump *dump)
{
        bool same = dump->any && dump->filled == DUMP_WIDTH &&
                    memcmp(dump->line, dump->before, DUMP_WIDTH) == 0;

        if (same && !dump->repeated)
                puts("*");
        dump->repeated = same;
        if (!same) {
                printf("%08" PRIx64, dump->at);
                for (size_t i = 0; i < DUMP_WIDTH; i++) {
                        (void)fputs(i % 8 == 0 ? "  " : " ", stdout);
                        if (i < dump->filled)
                                printf("%02x", dump->line[i]);
                        else
                                (void)fputs("  ", stdout);
                }
                (void)fputs("  |", stdout);
                for (size_t i = 0; i < dump->filled; i++)
                        (void)putchar(isprint(dump->line[i]) ? dump->line[i] : '.');
                puts("|");
        }
        memcpy(dump->before, dump->line, DUMP_WIDTH);
        dump->any = true;
        dump->at += dump->filled;
        dump->filled = 0;
}

static void dump_bytes(struct dump *dump, const char *bytes, size_t length)
{
        for (size_t i = 0; i < length; i++) {
                dump->line[dump->filled++] = (unsigned char)bytes[i];
                if (dump->filled == DUMP_WIDTH)
                        dump_line(dump);
        }
}

static void dump_end(struct dump *dump)
{
        if (dump->filled > 0)
                dump_line(dump);
        printf("%08" PRIx64 "\n", dump->at);
}

/* Print `count` bytes from `at` on; `dump` NULL: raw. Stops when output fails. */
static int print_bytes(int fd, const char *name, uint64_t at, uint64_t count, struct dump *dump)
{
        char buffer[BUFFER_SIZE];

        while (count > 0 && !ferror(stdout)) {
                size_t want = count < sizeof(buffer) ? (size_t)count : sizeof(buffer);
                ssize_t n = pread(fd, buffer, want, (off_t)at);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return pshm_fail("reading", name, -errno);
                if (n == 0) {
                        cli_complain("reading %s: it was cut short meanwhile", name);
                        return CLI_DATA;
                }
                if (dump)
                        dump_bytes(dump, buffer, (size_t)n);
                else
                        (void)fwrite(buffer, 1, (size_t)n, stdout);
                at += (uint64_t)n;
                count -= (uint64_t)n;
        }
        return 0;
}

static int check_range(const char *name, uint64_t size, uint64_t offset, uint64_t count)
{
        if (offset <= size && count <= size - offset)
                return 0;
        if (offset > size) {
                cli_complain("reading %s: it ends at byte %" PRIu64 ", before byte %" PRIu64, name,
                             size, offset);
                return CLI_NO;
        }
        cli_complain("reading %s: it has %" PRIu64 " bytes, too few for %" PRIu64
                     " from byte %" PRIu64 " on",
                     name, size, count, offset);
        return CLI_NO;
}

int pshm_read(const struct cli *cli, const struct cli_args *args)
{
        const char *counted = args->values['n'];
        char name[PSHM_NAME_SIZE];
        struct dump dump = {0};
        struct stat status;
        uint64_t offset, count, size;
        int fd, r;

        (void)cli;
        if (arguments(args, name, &offset) != 0 ||
            (counted && pshm_size(counted, "the count", 0, PSHM_SIZE_MAX, &count) != 0))
                return CLI_USAGE;
        fd = object_open(name, false, &status);
        if (fd < 0)
                return pshm_fail("opening", name, fd);
        size = (uint64_t)status.st_size;
        if (!counted)
                count = offset < size ? size - offset : 0;
        r = check_range(name, size, offset, count);
        dump.at = offset;
        if (r == 0)
                r = print_bytes(fd, name, offset, count, args->values['x'] ? &dump : NULL);
        if (r == 0 && args->values['x'])
                dump_end(&dump);
        close(fd);
        return r;
}
