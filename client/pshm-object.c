/* SPDX-License-Identifier: MIT */

/*
 * The object as a whole: made, made larger or smaller, removed.
 *
 * An object is made without a name and gets it when it is complete, so that nobody
 * ever meets half of one, and a death on the way leaves nothing behind.
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "pshm-stream.h"
#include "pshm.h"

/* Of an object whose mode nobody stated, as the textbook has it. */
#define MODE_DEFAULT 0600

/* Somebody else may be replacing it too; so often in a row is no accident. */
#define REPLACE_ATTEMPTS 100

const struct cli_option pshm_create_options[] = {
        {'m', "mode", "MODE", "permissions, octal, whatever the umask (600)"},
        {'x', "exclusive", NULL, "the name must be free (as without -f)"},
        {'f', "force", NULL, "replace an object that has the name, even if seqnumd serves it"},
        CLI_OPTION_HELP,
        {0},
};

const struct cli_option pshm_resize_options[] = {
        PSHM_OPTION_FORCE,
        CLI_OPTION_HELP,
        {0},
};

const struct cli_option pshm_rm_options[] = {
        {'f', "force", NULL, "also if seqnumd serves it, or somebody keeps it locked"},
        CLI_OPTION_HELP,
        {0},
};

/* --- making one ------------------------------------------------------------ */

/* tmpfs would take page after page before it says that there are too few. */
static bool space_for(int fd, uint64_t bytes)
{
        struct statvfs fs;

        return fstatvfs(fd, &fs) < 0 || fs.f_blocks == 0 ||
               bytes / fs.f_frsize <= (uint64_t)fs.f_bavail;
}

int pshm_reserve(int fd, uint64_t offset, uint64_t length)
{
        int r;

        if (length == 0)
                return 0;
        if (offset > PSHM_SIZE_MAX || length > PSHM_SIZE_MAX - offset)
                return -EFBIG;
        if (!space_for(fd, length))
                return -ENOSPC;
        do
                r = posix_fallocate(fd, (off_t)offset, (off_t)length);
        while (r == EINTR);
        return -r;
}

int pshm_object_new(uint64_t size, mode_t mode)
{
        int fd = open(OBJECT_DIRECTORY, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        int r;

        if (fd < 0)
                return -errno;
        r = pshm_reserve(fd, 0, size);
        if (r == 0 && fchmod(fd, mode) < 0)
                r = -errno;
        if (r == 0)
                return fd;
        close(fd);
        return r;
}

int pshm_object_link(int fd, const char *name)
{
        char from[64], to[PSHM_PATH_SIZE];

        (void)snprintf(from, sizeof(from), "/proc/self/fd/%d", fd);
        pshm_path(name, to);
        return linkat(AT_FDCWD, from, AT_FDCWD, to, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

static int link_in_place(int fd, const char *name)
{
        for (int i = 0; i < REPLACE_ATTEMPTS; i++) {
                int r = pshm_object_link(fd, name);

                if (r != -EEXIST)
                        return r;
                r = stream_unlink(name, true);
                if (r < 0 && r != -ENOENT)
                        return r;
        }
        return -EEXIST;
}

/* Whoever is about to say -f is to know whose object he replaces. */
static int refuse_taken(const struct cli_args *args, const char *name)
{
        if (pshm_spare_served(args, "creating", name) == 0)
                cli_complain("creating %s: it exists already (-f replaces it)", name);
        return CLI_NO;
}

int pshm_create(const struct cli *cli, const struct cli_args *args)
{
        bool replace = args->values['f'] != NULL;
        char name[PSHM_NAME_SIZE];
        mode_t mode = MODE_DEFAULT;
        uint64_t size;
        int fd, r;

        (void)cli;
        if (replace && args->values['x']) {
                cli_complain("create: -x and -f contradict each other: give one of them");
                return CLI_USAGE;
        }
        if (pshm_name(args->names[0], name) != 0 || pshm_mode(args, &mode) != 0 ||
            pshm_size(args->names[1], "the size", 0, PSHM_SIZE_MAX, &size) != 0)
                return CLI_USAGE;
        r = fd = pshm_object_new(size, mode);
        if (r >= 0) {
                r = replace ? link_in_place(fd, name) : pshm_object_link(fd, name);
                close(fd);
        }
        if (r == -EEXIST && !replace)
                return refuse_taken(args, name);
        return r < 0 ? pshm_fail("creating", name, r) : CLI_OK;
}

/* --- another size ---------------------------------------------------------- */

/* Whose mappings reach beyond `size`: reading there will be the end of them. */
static void warn_mappers(const char *name, const struct stat *status, uint64_t size)
{
        const struct pshm_mapper *of_it;
        struct pshm_mappers mappers;
        size_t n;

        if (pshm_mappers_look(&mappers) < 0)
                return;
        n = pshm_mappers_of(&mappers, status->st_dev, status->st_ino, &of_it);
        for (size_t i = 0; i < n; i++)
                if (of_it[i].end > size)
                        cli_complain("warning: process %jd (%s) has %s mapped up to byte %" PRIu64
                                     ": beyond the new end it gets SIGBUS",
                                     (intmax_t)of_it[i].pid, of_it[i].command, name, of_it[i].end);
        pshm_mappers_free(&mappers);
}

static int resize(int fd, const char *name, const struct stat *status, uint64_t size)
{
        uint64_t old = (uint64_t)status->st_size;

        if (size > old)
                return pshm_reserve(fd, old, size - old);
        if (size < old)
                warn_mappers(name, status, size);
        return ftruncate(fd, (off_t)size) < 0 ? -errno : 0;
}

int pshm_resize(const struct cli *cli, const struct cli_args *args)
{
        char name[PSHM_NAME_SIZE];
        struct stat status;
        uint64_t size;
        int fd, r;

        (void)cli;
        if (pshm_name(args->names[0], name) != 0 ||
            pshm_size(args->names[1], "the size", 0, PSHM_SIZE_MAX, &size) != 0)
                return CLI_USAGE;
        r = pshm_spare_served(args, "resizing", name);
        if (r != 0)
                return r;
        fd = object_open(name, true, &status);
        if (fd < 0)
                return pshm_fail("opening", name, fd);
        r = resize(fd, name, &status, size);
        close(fd);
        return r < 0 ? pshm_fail("resizing", name, r) : CLI_OK;
}

/* --- none any more --------------------------------------------------------- */

static int remove_one(const struct cli_args *args, const char *name)
{
        int r = pshm_spare_served(args, "removing", name);

        if (r != 0)
                return r;
        r = stream_unlink(name, args->values['f'] != NULL);
        return r < 0 ? pshm_fail("removing", name, r) : CLI_OK;
}

int pshm_rm(const struct cli *cli, const struct cli_args *args)
{
        char name[PSHM_NAME_SIZE];
        int status = CLI_OK, r;

        (void)cli;
        for (int i = 0; i < args->n_names; i++)
                if (pshm_name(args->names[i], name) != 0)
                        return CLI_USAGE;
        for (int i = 0; i < args->n_names; i++) {
                (void)pshm_name(args->names[i], name);
                r = remove_one(args, name);
                if (r != 0)
                        status = r;
        }
        return status;
}
