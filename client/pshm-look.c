/* SPDX-License-Identifier: MIT */

/*
 * What an object is: a segment of seqnumd, a stream, a named semaphore, or some
 * program's own. By its name and its first bytes, read, not mapped; and by asking
 * the kernel who holds its locks.
 */

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "atomic.h"
#include "attach.h"
#include "lock.h"
#include "pshm-stream.h"
#include "pshm.h"

/* What both libcs of Debian put before the name of a semaphore: sem_overview(7). */
#define SEMAPHORE_PREFIX "/sem."

/* A segment's name is that of its instance behind this: seqnumd(8). */
#define INSTANCE_PREFIX "/seqnumd."

static bool look_for_segment(struct pshm_look *look, int fd)
{
        struct segment_geometry geometry;
        struct segment_header header;

        if (pread(fd, &header, sizeof(header), 0) != (ssize_t)sizeof(header) ||
            segment_header_check(&header, (uint64_t)look->status.st_size, &geometry) < 0 ||
            segment_owner_check(&look->status, look->name) < 0)
                return false;
        look->kind = PSHM_SEGMENT;
        look->sequences = see_u32(&header.n_sequences);
        look->daemon = see_u32(&header.daemon_pid);
        look->served = lock_query(fd, SEGMENT_LOCK_DAEMON) == 1;
        return true;
}

static bool look_for_stream(struct pshm_look *look, int fd)
{
        struct stream_geometry geometry;
        struct stream_header header;

        if (pread(fd, &header, sizeof(header), 0) != (ssize_t)sizeof(header) ||
            stream_header_check(&header, (uint64_t)look->status.st_size, &geometry) < 0)
                return false;
        look->kind = PSHM_STREAM;
        look->blocks = (uint32_t)geometry.n_blocks;
        look->block_size = geometry.block_size;
        look->sender = lock_query(fd, STREAM_LOCK_SENDER) == 1;
        look->receiver = lock_query(fd, STREAM_LOCK_RECEIVER) == 1;
        return true;
}

int pshm_look(struct pshm_look *ret, const char *name)
{
        struct pshm_look look = {.kind = PSHM_OBJECT};
        char path[PSHM_PATH_SIZE];
        int fd;

        (void)snprintf(look.name, sizeof(look.name), "%s", name);
        pshm_path(name, path);
        if (lstat(path, &look.status) < 0)
                return -errno;
        *ret = look;
        if (!S_ISREG(look.status.st_mode)) {
                ret->kind = PSHM_OTHER;
                return 0;
        }
        if (strncmp(name, SEMAPHORE_PREFIX, strlen(SEMAPHORE_PREFIX)) == 0)
                ret->kind = PSHM_SEMAPHORE;
        fd = object_open(name, false, &ret->status);
        if (fd == -ENOENT)
                return fd;
        if (fd < 0)
                return 0;
        ret->readable = true;
        if (ret->kind == PSHM_OBJECT && !look_for_segment(ret, fd))
                (void)look_for_stream(ret, fd);
        close(fd);
        return 0;
}

const char *pshm_look_instance(const struct pshm_look *look)
{
        if (strcmp(look->name, "/seqnumd") == 0)
                return "default";
        if (strncmp(look->name, INSTANCE_PREFIX, strlen(INSTANCE_PREFIX)) == 0)
                return look->name + strlen(INSTANCE_PREFIX);
        return look->name + 1;
}

bool pshm_served(const char *name, uint32_t *ret_daemon)
{
        struct pshm_look look = {0};

        if (pshm_look(&look, name) < 0 || look.kind != PSHM_SEGMENT || !look.served)
                return false;
        *ret_daemon = look.daemon;
        return true;
}

int pshm_spare_served(const struct cli_args *args, const char *what, const char *name)
{
        uint32_t daemon;

        if (args->values['f'] || !pshm_served(name, &daemon))
                return 0;
        cli_complain("%s %s: it is a segment that process %" PRIu32
                     " serves (-f does it nevertheless)",
                     what, name, daemon);
        return CLI_NO;
}

const char *pshm_shown(const char *name, char text[static PSHM_NAME_SIZE])
{
        json_t *as_utf8 = json_string(name);
        char *c = text;

        for (; *name; name++)
                *c++ = (unsigned char)*name < ' ' || *name == 127 || (*name & 0x80 && !as_utf8)
                               ? '?'
                               : *name;
        *c = '\0';
        json_decref(as_utf8);
        return text;
}

const char *pshm_kind_text(enum pshm_kind kind)
{
        static const char *const texts[] = {
                [PSHM_OBJECT] = "object",       [PSHM_SEGMENT] = "segment",
                [PSHM_STREAM] = "stream",       [PSHM_SEMAPHORE] = "semaphore",
                [PSHM_OTHER] = "not an object",
        };

        return texts[kind];
}

void pshm_look_details(const struct pshm_look *look, char *text, size_t size)
{
        char block[PSHM_BYTES_SIZE], instance[PSHM_NAME_SIZE];

        *text = '\0';
        if (look->kind == PSHM_SEGMENT)
                (void)snprintf(text, size, "of instance %s, %" PRIu32 " sequences, %s",
                               pshm_shown(pshm_look_instance(look), instance), look->sequences,
                               look->served ? "served" : "not served");
        else if (look->kind == PSHM_STREAM)
                (void)snprintf(text, size, "%" PRIu32 " x %s, %s, %s", look->blocks,
                               pshm_bytes(look->block_size, block),
                               look->sender ? "sending" : "its sender is dead",
                               look->receiver ? "receiving" : "nobody receives");
}
