/* SPDX-License-Identifier: MIT */

/* The stream in an object: made, found, watched and left; see pshm-stream.h. */

#include "pshm-stream.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "atomic.h"
#include "clock.h"
#include "lock.h"
#include "token.h"

/* How long a death may go unnoticed by who waits. */
#define SLICE_USEC UINT64_C(10000)

/* Of whoever replaces or removes a name; they hold the byte for microseconds. */
#define NAME_ATTEMPTS 2000
#define NAME_USEC     1000

/* The same where it is not worth so long a wait; milliseconds. */
#define REMOVE_ATTEMPTS 500

/* Each time it was another object that had the name: so often in a row is no accident. */
#define UNLINK_ATTEMPTS 100

/* --- layout ------------------------------------------------------------------ */

static uint64_t align(uint64_t offset, uint64_t to)
{
        return (offset + to - 1) & ~(to - 1);
}

struct stream_geometry stream_geometry(uint64_t n_blocks, uint64_t block_size)
{
        struct stream_geometry g = {.n_blocks = n_blocks, .block_size = block_size};

        g.stride = align(block_size, sizeof(struct stream_block));
        g.data = align(SEGMENT_PAGE + n_blocks * sizeof(struct stream_block), SEGMENT_PAGE);
        g.size = align(g.data + n_blocks * g.stride, SEGMENT_PAGE);
        return g;
}

int stream_header_check(const struct stream_header *header, uint64_t size,
                        struct stream_geometry *ret)
{
        uint64_t n_blocks = header->n_blocks, block_size = header->block_size;
        char abi[SEGMENT_ABI_SIZE];
        struct stream_geometry g;

        if (header->magic != STREAM_MAGIC)
                return -EBADMSG;
        if (header->version != STREAM_VERSION || (header->flags & ~STREAM_CHECKSUM))
                return -EPROTONOSUPPORT;
        segment_abi(abi);
        if (memcmp(header->abi, abi, sizeof(abi)) != 0)
                return -ENOEXEC;
        if (header->header_size != sizeof(*header) || n_blocks < 1 ||
            n_blocks > STREAM_BLOCKS_MAX || block_size < 1 || block_size > STREAM_BLOCK_SIZE_MAX)
                return -EBADMSG;
        g = stream_geometry(n_blocks, block_size);
        if (header->size != g.size || size != g.size)
                return -EBADMSG;
        *ret = g;
        return 0;
}

uint64_t stream_hash(uint64_t before, const char *bytes, size_t length)
{
        return XXH3_64bits_withSeed(bytes, length, before);
}

/* --- from a name or an object to a stream ------------------------------------- */

static void set_name(struct stream *stream, const char *name)
{
        *stream = (struct stream){.fd = -1};
        pshm_path(name, stream->path);
        stream->name = stream->path + strlen(OBJECT_DIRECTORY);
}

static int map(struct stream *stream, uint64_t size, bool populate)
{
        int flags = MAP_SHARED | (populate ? MAP_POPULATE : 0);
        void *base = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, stream->fd, 0);

        if (base == MAP_FAILED)
                return -errno;
        stream->header = base;
        stream->geometry.size = size; /* for stream_close() */
        return 0;
}

static void set_parts(struct stream *stream, const struct stream_geometry *geometry, uint32_t flags,
                      bool sending)
{
        struct stream_header *header = stream->header;

        stream->geometry = *geometry;
        stream->blocks = segment_at(header, SEGMENT_PAGE);
        stream->data = segment_at(header, geometry->data);
        stream->flags = flags;
        stream->state = sending ? &header->sender : &header->receiver;
        stream->peer_state = sending ? &header->receiver : &header->sender;
        stream->peer_lock = sending ? STREAM_LOCK_RECEIVER : STREAM_LOCK_SENDER;
}

/*
 * Open what is under the name, as its receiver would see it. The header is judged by
 * a copy: it cannot change after the check, nor be gone.
 */
static int open_stream(struct stream *ret, const char *name)
{
        struct stream_geometry geometry;
        struct stream_header header;
        struct stat status;
        int r;

        set_name(ret, name);
        r = ret->fd = object_open(name, true, &status);
        if (r < 0)
                return r;
        ret->device = status.st_dev;
        ret->inode = status.st_ino;
        if (pread(ret->fd, &header, sizeof(header), 0) != (ssize_t)sizeof(header))
                return -EBADMSG;
        r = stream_header_check(&header, (uint64_t)status.st_size, &geometry);
        if (r == 0)
                r = map(ret, geometry.size, false);
        if (r == 0)
                set_parts(ret, &geometry, header.flags, false);
        return r;
}

void stream_close(struct stream *stream)
{
        if (stream->header)
                munmap(stream->header, stream->geometry.size);
        if (stream->fd >= 0)
                close(stream->fd);
        stream->header = NULL;
        stream->fd = -1;
}

/* --- the name ------------------------------------------------------------------ */

/* 1: the name is removed; 0: it leads elsewhere, or nowhere. */
static int remove_name(const struct stream *stream)
{
        struct stat status;

        if (lstat(stream->path, &status) < 0 || status.st_dev != stream->device ||
            status.st_ino != stream->inode)
                return 0;
        if (unlink(stream->path) == 0)
                return 1;
        return errno == ENOENT ? 0 : -errno;
}

/* The same in turn; -EAGAIN: somebody else is about it. */
static int try_remove(const struct stream *stream)
{
        int r = lock_take(stream->fd, STREAM_LOCK_NAME);

        if (r < 0)
                return r;
        r = remove_name(stream);
        lock_drop(stream->fd, STREAM_LOCK_NAME);
        return r;
}

/* Who else is about it may die before it is done, and we be the last to know of it. */
static int remove_in_turn(const struct stream *stream)
{
        int r = try_remove(stream);

        for (int i = 0; i < REMOVE_ATTEMPTS && r == -EAGAIN; i++) {
                (void)poll(NULL, 0, 1);
                r = try_remove(stream);
        }
        return r;
}

int stream_remove(const struct stream *stream)
{
        int r = remove_in_turn(stream);

        return r < 0 ? r : 0;
}

/* Of whatever version: who makes them takes turns at their names. */
static bool is_stream(int fd)
{
        uint64_t magic;

        return pread(fd, &magic, sizeof(magic), 0) == (ssize_t)sizeof(magic) &&
               magic == STREAM_MAGIC;
}

/*
 * Whatever locks there may be on what is no stream, they are not about its name.
 * 1: removed; 0: what was found has lost the name meanwhile; or as stream_unlink().
 */
static int unlink_found(const char *name, bool force)
{
        struct stream found;
        struct stat status;
        int r;

        set_name(&found, name);
        found.fd = object_open(name, true, &status);
        if (found.fd < 0) { /* no object, or not ours to write: it has no lock that we could take */
                if (unlink(found.path) == 0)
                        return 1;
                return errno == EISDIR ? -EMEDIUMTYPE : -errno;
        }
        found.device = status.st_dev;
        found.inode = status.st_ino;
        r = is_stream(found.fd) ? remove_in_turn(&found) : remove_name(&found);
        if (r == -EAGAIN)
                r = force ? remove_name(&found) : -EBUSY;
        stream_close(&found);
        return r;
}

int stream_unlink(const char *name, bool force)
{
        int r = 0;

        for (int i = 0; i < UNLINK_ATTEMPTS && r == 0; i++)
                r = unlink_found(name, force);
        if (r == 0)
                return -EBUSY;
        return r < 0 ? r : 0;
}

/* Make way for a new stream. 0: try to take the name; -EBUSY, -EEXIST, another errno. */
static int remove_dead(const char *name)
{
        struct stream dead;
        int r = open_stream(&dead, name);

        if (r == 0 && lock_query(dead.fd, STREAM_LOCK_SENDER) != 0)
                r = -EBUSY;
        if (r == 0)
                r = try_remove(&dead);
        stream_close(&dead);
        switch (r) {
        case -EBADMSG:
        case -EPROTONOSUPPORT:
        case -ENOEXEC:
        case -EMEDIUMTYPE:
                return -EEXIST;
        case -ENOENT: /* just gone */
        case -EAGAIN: /* just going */
                return 0;
        default:
                return r < 0 ? r : 0;
        }
}

int stream_publish(struct stream *stream)
{
        int r;

        for (int i = 0; i < NAME_ATTEMPTS; i++) {
                r = pshm_object_link(stream->fd, stream->name);
                if (r == -EEXIST)
                        r = remove_dead(stream->name);
                else
                        return r;
                if (r < 0)
                        return r;
                if (i > 0)
                        (void)usleep(NAME_USEC);
        }
        return -EBUSY;
}

/* --- the two sides -------------------------------------------------------------- */

static int set_header(struct stream *stream, const struct stream_geometry *geometry, uint32_t flags)
{
        struct stream_header *header = stream->header;

        header->magic = STREAM_MAGIC;
        header->version = STREAM_VERSION;
        header->header_size = sizeof(*header);
        segment_abi(header->abi);
        header->size = geometry->size;
        header->block_size = geometry->block_size;
        header->n_blocks = (uint32_t)geometry->n_blocks;
        header->flags = flags;
        if (sem_init(&header->empty, 1, (unsigned)geometry->n_blocks) < 0 ||
            sem_init(&header->filled, 1, 0) < 0)
                return -errno;
        set_parts(stream, geometry, flags, true);
        for (uint64_t i = 0; i < geometry->n_blocks; i++)
                publish_u64(&stream->blocks[i].place, STREAM_NOWHERE);
        publish_u32(stream->state, STREAM_RUNNING);
        return 0;
}

int stream_create(struct stream *ret, const char *name, const struct stream_setup *setup)
{
        struct stream_geometry geometry = stream_geometry(setup->n_blocks, setup->block_size);
        struct stat status;
        int r;

        set_name(ret, name);
        r = ret->fd = pshm_object_new(geometry.size, setup->mode);
        if (r >= 0 && fstat(ret->fd, &status) < 0)
                r = -errno;
        if (r >= 0)
                r = map(ret, geometry.size, true);
        if (r >= 0)
                r = set_header(ret, &geometry, setup->flags);
        if (r >= 0)
                r = lock_take(ret->fd, STREAM_LOCK_SENDER);
        if (r < 0)
                return r;
        ret->device = status.st_dev;
        ret->inode = status.st_ino;
        ret->give_up = clock_usec(CLOCK_MONOTONIC) + setup->wait_usec;
        return 0;
}

/* The sender is not there: tell what that means to who wanted to receive. */
static int judge_dead(struct stream *stream, struct stream_end *ret)
{
        uint32_t received = see_u32(stream->state);
        int removal = stream_remove(stream);

        if (received != STREAM_ABSENT)
                return -EAGAIN; /* others' story */
        *ret = (struct stream_end){.state = see_u32(stream->peer_state), .removal = removal};
        return ret->state == STREAM_RUNNING ? -EOWNERDEAD : -ECANCELED;
}

/* Between a live sender and us. */
static int become_receiver(struct stream *stream)
{
        int r;

        if (see_u32(stream->state) != STREAM_ABSENT)
                return see_u32(stream->state) == STREAM_RUNNING &&
                                       lock_query(stream->fd, STREAM_LOCK_RECEIVER) == 1
                               ? -EBUSY
                               : -EAGAIN;
        r = lock_take(stream->fd, STREAM_LOCK_RECEIVER);
        if (r == -EAGAIN)
                return -EBUSY;
        if (r == 0 && see_u32(stream->state) != STREAM_ABSENT)
                return -EAGAIN; /* somebody came and went between the two */
        if (r == 0)
                publish_u32(stream->state, STREAM_RUNNING);
        return r;
}

int stream_attach(struct stream *ret, const char *name, struct stream_end *ret_end)
{
        int r = open_stream(ret, name);

        if (r == 0) {
                r = lock_query(ret->fd, STREAM_LOCK_SENDER);
                if (r == 0)
                        r = judge_dead(ret, ret_end);
                else if (r == 1)
                        r = become_receiver(ret);
        }
        if (r == 0)
                return 0;
        stream_close(ret);
        return r == -ENOENT ? -EAGAIN : r;
}

int stream_peer(const struct stream *stream)
{
        uint32_t state = see_u32(stream->peer_state);

        if (state == STREAM_ABSENT)
                return clock_usec(CLOCK_MONOTONIC) >= stream->give_up ? -ETIMEDOUT : 0;
        if (state == STREAM_RUNNING) {
                if (lock_query(stream->fd, stream->peer_lock) != 0)
                        return 0;
                state = see_u32(stream->peer_state); /* its last word, if it had one */
                if (state == STREAM_RUNNING)
                        return -EOWNERDEAD;
        }
        return state == STREAM_DONE ? 1 : -ECANCELED;
}

int stream_take(const struct stream *stream, sem_t *semaphore, int (*idle)(void *), void *userdata)
{
        while (!semaphore_try(semaphore)) {
                int r;

                if (semaphore_expect(semaphore))
                        semaphore_doze(semaphore, SLICE_USEC);
                if (semaphore_try(semaphore))
                        return 0;
                r = stream_peer(stream);
                if (r != 0) /* what it did before it went still counts */
                        return semaphore_try(semaphore) ? 0 : r;
                r = idle(userdata);
                if (r != 0)
                        return r;
        }
        return 0;
}

int stream_post(const struct stream *stream, sem_t *semaphore)
{
        if (semaphore_value(semaphore) >= stream->geometry.n_blocks)
                return -EBADMSG;
        semaphore_post(semaphore);
        return 0;
}

void stream_leave(const struct stream *stream, enum stream_state state)
{
        int error = errno; /* of who is interrupted by a signal */

        (void)stream_remove(stream);
        publish_u32(stream->state, state);
        errno = error;
}
