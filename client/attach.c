/* SPDX-License-Identifier: MIT */

/* Finding, checking and mapping a segment; see attach.h. */

#include "attach.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "atomic.h"
#include "cancel.h"
#include "guard.h"
#include "lock.h"
#include "object.h"

bool segment_name_valid(const char *shm)
{
        return object_name_valid(shm);
}

/* The user id in $SEQNUM_OWNER; false when unset or not a number. */
static bool owner_from_environment(uid_t *ret)
{
        const char *text = secure_getenv("SEQNUM_OWNER");
        unsigned long value;
        char *end;

        if (!text || *text < '0' || *text > '9')
                return false;
        errno = 0;
        value = strtoul(text, &end, 10);
        if (errno || *end || value >= (uid_t)-1)
                return false;
        *ret = (uid_t)value;
        return true;
}

/*
 * The owner of /var/lib/NAME. Only root can make a directory there, so its
 * owner is the user whom root lets run the service.
 */
static bool owner_of_state_directory(const char *shm, uid_t *ret)
{
        char path[sizeof("/var/lib") + SEGMENT_NAME_MAX];
        struct stat status;

        (void)snprintf(path, sizeof(path), "/var/lib%s", shm);
        if (lstat(path, &status) < 0 || !S_ISDIR(status.st_mode))
                return false;
        *ret = status.st_uid;
        return true;
}

int segment_owner_check(const struct stat *status, const char *shm)
{
        uid_t owner;

        if (!S_ISREG(status->st_mode) || (status->st_mode & S_IWOTH))
                return -EPERM;
        if (status->st_uid == 0 || status->st_uid == geteuid())
                return 0;
        if (owner_of_state_directory(shm, &owner) && owner == status->st_uid)
                return 0;
        if (owner_from_environment(&owner) && owner == status->st_uid)
                return 0;
        return -EPERM;
}

static bool geometry_matches(const struct segment_header *header, const struct segment_geometry *g)
{
        return header->size == g->size && header->writable == g->writable &&
               header->buckets == g->buckets && header->entries == g->entries &&
               header->windows == g->windows && header->wants == g->wants &&
               header->cells == g->cells && header->entries_size == g->entries_size &&
               header->n_buckets == g->n_buckets && header->n_slots == g->n_slots;
}

int segment_header_check(const struct segment_header *header, uint64_t size,
                         struct segment_geometry *ret)
{
        uint64_t magic = see_u64(&header->magic);
        char abi[SEGMENT_ABI_SIZE];
        struct segment_geometry g;

        if (magic == 0)
                return -EAGAIN;
        if (magic != SEGMENT_MAGIC)
                return -EBADMSG;
        if (header->layout_version != SEGMENT_LAYOUT_VERSION)
                return -EPROTONOSUPPORT;
        segment_abi(abi);
        if (memcmp(header->abi, abi, sizeof(abi)) != 0)
                return -ENOEXEC;
        if (header->header_size != sizeof(*header) || header->max_sequences < 1 ||
            header->max_sequences > SEGMENT_SEQUENCES_MAX)
                return -EBADMSG;
        g = segment_geometry(header->max_sequences);
        if (g.size != size || !geometry_matches(header, &g))
                return -EBADMSG;
        *ret = g;
        return 0;
}

static int open_segment(const char *shm, bool writable, struct stat *ret)
{
        int fd = object_open(shm, writable, ret);

        if (fd == -EMEDIUMTYPE)
                return -EPERM; /* planted */
        return fd == -ENOENT ? -ENXIO : fd;
}

/* Map the object behind mapping->fd, `size` bytes, and check its header. */
static int map_object(struct mapping *mapping, uint64_t size)
{
        int protection = PROT_READ | (mapping->writable ? PROT_WRITE : 0);
        struct segment_geometry g;
        void *base;
        int r;

        if (size == 0)
                return -EAGAIN;
        if (size < SEGMENT_PAGE || size > SIZE_MAX)
                return -EBADMSG;
        base = mmap(NULL, size, PROT_READ, MAP_SHARED, mapping->fd, 0);
        if (base == MAP_FAILED)
                return -errno;
        mapping->base = base;
        mapping->geometry.size = size; /* for the destructor */
        r = mapping->guarded ? guard_add(base, size) : 0;
        if (r < 0)
                return r;

        r = segment_header_check(mapping->header, size, &g);
        if (r < 0)
                return r;
        mapping->geometry = g;
        if (mapping->writable &&
            mmap(segment_at(base, g.writable), g.size - g.writable, protection,
                 MAP_SHARED | MAP_FIXED, mapping->fd, (off_t)g.writable) == MAP_FAILED)
                return -errno;

        mapping->buckets = segment_at(base, g.buckets);
        mapping->windows = segment_at(base, g.windows);
        mapping->shared = segment_at(base, g.writable);
        mapping->wants = segment_at(base, g.wants);
        mapping->cells = segment_at(base, g.cells);
        return 0;
}

int mapping_new(struct mapping **ret, const char *shm, unsigned flags)
{
        bool writable = flags & MAPPING_WRITABLE;
        struct mapping *mapping;
        struct stat status;
        int r;

        mapping = calloc(1, sizeof(*mapping));
        if (!mapping)
                return -ENOMEM;
        mapping->writable = writable;
        mapping->guarded = flags & MAPPING_GUARDED;
        r = mapping->fd = open_segment(shm, writable, &status);
        if (r >= 0)
                r = segment_owner_check(&status, shm);
        if (r >= 0) {
                mapping->device = status.st_dev;
                mapping->inode = status.st_ino;
                r = map_object(mapping, (uint64_t)status.st_size);
        }
        if (r < 0) {
                mapping_free(mapping);
                return r;
        }
        *ret = mapping;
        return 0;
}

struct mapping *mapping_free(struct mapping *mapping)
{
        if (!mapping)
                return NULL;
        if (mapping->base && mapping->guarded)
                guard_remove(mapping->base);
        if (mapping->base)
                munmap(mapping->base, mapping->geometry.size);
        if (mapping->fd >= 0)
                close(mapping->fd);
        free(mapping);
        return NULL;
}

/* Did opening it fail because there is no object under the name, or none for us? */
static bool seen_to_be_none(int error)
{
        return error == -ENOENT || error == -EMEDIUMTYPE || error == -EACCES;
}

int mapping_named(const struct mapping *mapping, const char *shm)
{
        CANCEL_DEFERRED;
        struct stat status;
        int fd = object_open(shm, false, &status);

        if (seen_to_be_none(fd))
                return 0;
        if (fd < 0)
                return fd;
        close(fd);
        return status.st_dev == mapping->device && status.st_ino == mapping->inode;
}

bool mapping_current(const struct mapping *mapping, const char *shm)
{
        return mapping_named(mapping, shm) != 0;
}

/* A magic, once written, stays; where there is none there are zeros. */
bool mapping_lost(const struct mapping *mapping)
{
        return mapping->guarded && see_u64(&mapping->header->magic) == 0;
}

bool mapping_attended(const struct mapping *mapping)
{
        return lock_query(mapping->fd, SEGMENT_LOCK_DAEMON) == 1;
}

bool segment_attended(const char *shm)
{
        struct stat status;
        int fd = object_open(shm, false, &status);
        bool attended;

        if (fd < 0)
                return !seen_to_be_none(fd);
        attended = lock_query(fd, SEGMENT_LOCK_DAEMON) != 0;
        close(fd);
        return attended;
}
