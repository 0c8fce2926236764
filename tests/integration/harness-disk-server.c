/* SPDX-License-Identifier: MIT */

/*
 * The server of a disk that can lose its power; see harness-disk.h.
 *
 * Two memories: the platter, which holds what was flushed, and the cache, which
 * holds what was written; and the list of the writes in which they differ. It
 * speaks FUSE's protocol itself, of which a file system of one file needs little,
 * rather than have the tests need a library for it.
 */

#include "harness-disk-server.h"

#include <errno.h>
#include <linux/fuse.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "harness-disk.h"

#define SECTOR      512
#define BLOCK       4096
#define WRITE_MAX   (128 << 10)
#define BUFFER_SIZE (WRITE_MAX + BLOCK)
#define HELD_MAX    256
#define CUT_MSEC    20000 /* nobody lets a disk hold its breath for longer */

struct write {
        uint64_t offset;
        size_t size;
        unsigned char *data;
};

struct request {
        size_t size;
        unsigned char bytes[];
};

struct server {
        struct board *board;
        int fuse, control;
        unsigned char *platter, *image, *cache;
        struct write *pending;
        size_t n_pending, room;
        struct request *held[HELD_MAX];
        size_t n_held;
};

static void answer(const struct server *server, uint64_t unique, int error, const void *data,
                   size_t size)
{
        struct fuse_out_header header = {
                .len = (uint32_t)(sizeof(header) + size),
                .error = error,
                .unique = unique,
        };
        const struct iovec parts[2] = {
                {.iov_base = &header, .iov_len = sizeof(header)},
                {.iov_base = (void *)(uintptr_t)data, .iov_len = size},
        };

        (void)!writev(server->fuse, parts, size ? 2 : 1); /* ENOENT: it was interrupted */
}

static void forget_pending(struct server *server)
{
        for (size_t i = 0; i < server->n_pending; i++)
                free(server->pending[i].data);
        server->n_pending = 0;
}

static void note_write(struct server *server, uint64_t offset, const unsigned char *data,
                       size_t size)
{
        struct write *write;

        if (server->n_pending == server->room) {
                server->room = server->room ? 2 * server->room : 256;
                server->pending = reallocarray(server->pending, server->room, sizeof(*write));
        }
        if (!server->pending)
                _exit(1);
        write = &server->pending[server->n_pending++];
        *write = (struct write){.offset = offset, .size = size, .data = malloc(size)};
        if (!write->data)
                _exit(1);
        memcpy(write->data, data, size);
        memcpy(server->cache + offset, data, size);
}

static void flush(struct server *server)
{
        for (size_t i = 0; i < server->n_pending; i++)
                memcpy(server->platter + server->pending[i].offset, server->pending[i].data,
                       server->pending[i].size);
        forget_pending(server);
}

/*
 * How much of the unflushed a cut leaves: nothing, everything, what had been
 * written up to some moment, some writes whole, or any sectors. A sector written
 * more than once may be left as of any of the times.
 */
enum leaving { NOTHING, EVERYTHING, UP_TO, SOME_WRITES, SOME_SECTORS, N_LEAVINGS };

static bool is_left(enum leaving how, size_t i, size_t up_to)
{
        return how == EVERYTHING || (how == UP_TO && i < up_to) ||
               (how == SOME_WRITES && random_below(2));
}

/* The file system's first block is written as a whole: its checksum is over all of it. */
static void leave_write(struct server *server, enum leaving how, size_t i, size_t up_to)
{
        const struct write *write = &server->pending[i];
        bool left = is_left(how, i, up_to);
        size_t step = write->offset < BLOCK ? write->size : SECTOR;

        for (size_t at = 0; at < write->size; at += step) {
                if (how == SOME_SECTORS || (how == UP_TO && i == up_to))
                        left = random_below(2);
                if (left)
                        memcpy(server->image + write->offset + at, write->data + at, step);
                else
                        atomic_fetch_add(&server->board->sectors_lost, step / SECTOR);
        }
}

static void cut(struct server *server)
{
        enum leaving how = (enum leaving)random_below(N_LEAVINGS);
        size_t up_to = server->n_pending ? random_below(server->n_pending) : 0;

        atomic_store(&server->board->cut_after, 0);
        atomic_store(&server->board->fail_count, 0);
        memcpy(server->image, server->platter, DISK_SIZE);
        for (size_t i = 0; i < server->n_pending; i++)
                leave_write(server, how, i, up_to);
        atomic_fetch_add(&server->board->cuts, 1);
        atomic_fetch_add(&server->board->cuts_unclean, server->n_pending > 0);
        atomic_store(&server->board->state, DISK_IS_CUT);
}

/* Count down; true: it is this one's turn. */
static bool turn_comes(_Atomic(uint64_t) *counter)
{
        uint64_t n = atomic_load(counter);

        return n > 0 && atomic_compare_exchange_strong(counter, &n, n - 1) && n == 1;
}

static bool is_failing(struct server *server)
{
        uint64_t left;

        if (atomic_load(&server->board->fail_after) > 0 && !turn_comes(&server->board->fail_after))
                return false;
        left = atomic_load(&server->board->fail_count);
        if (left == 0)
                return false;
        atomic_store(&server->board->fail_count, left - 1);
        atomic_fetch_add(&server->board->failed, 1);
        return true;
}

/* A write or a flush; 0 or a negative errno. */
static int do_change(struct server *server, const struct fuse_in_header *in, const void *body)
{
        const struct fuse_write_in *write = body;

        if (is_failing(server))
                return -EIO;
        if (in->opcode == FUSE_FSYNC) {
                atomic_fetch_add(&server->board->flushes, 1);
                flush(server);
                return 0;
        }
        if (write->offset % SECTOR || write->size % SECTOR || write->size > WRITE_MAX ||
            write->offset + write->size > DISK_SIZE)
                return -EINVAL;
        atomic_fetch_add(&server->board->writes, 1);
        note_write(server, write->offset, (const unsigned char *)(write + 1), write->size);
        return 0;
}

static void on_change(struct server *server, const struct fuse_in_header *in, const void *body)
{
        const struct fuse_write_out written = {
                .size = in->opcode == FUSE_WRITE ? ((const struct fuse_write_in *)body)->size : 0,
        };
        int r = do_change(server, in, body);

        if (r < 0 || in->opcode == FUSE_FSYNC)
                answer(server, in->unique, r, NULL, 0);
        else
                answer(server, in->unique, 0, &written, sizeof(written));
}

static void on_init(const struct server *server, const struct fuse_in_header *in)
{
        const struct fuse_init_out out = {
                .major = FUSE_KERNEL_VERSION,
                .minor = FUSE_KERNEL_MINOR_VERSION,
                .max_readahead = 0,
                .flags = FUSE_BIG_WRITES | FUSE_ASYNC_READ,
                .max_background = 64,
                .congestion_threshold = 64,
                .max_write = WRITE_MAX,
                .time_gran = 1,
        };

        answer(server, in->unique, 0, &out, sizeof(out));
}

static void on_getattr(const struct server *server, const struct fuse_in_header *in)
{
        const struct fuse_attr_out out = {
                .attr_valid = 3600,
                .attr = {.ino = 1,
                         .size = DISK_SIZE,
                         .blocks = DISK_SIZE / SECTOR,
                         .mode = S_IFREG | 0600,
                         .nlink = 1,
                         .blksize = BLOCK},
        };

        answer(server, in->unique, 0, &out, sizeof(out));
}

static void on_read(const struct server *server, const struct fuse_in_header *in,
                    const struct fuse_read_in *read)
{
        uint64_t size = read->size;

        if (read->offset > DISK_SIZE)
                size = 0;
        else if (size > DISK_SIZE - read->offset)
                size = DISK_SIZE - read->offset;
        if (atomic_load(&server->board->state) == DISK_IS_DEAD)
                answer(server, in->unique, -EIO, NULL, 0);
        else
                answer(server, in->unique, 0, server->cache + (size ? read->offset : 0), size);
}

static void hold(struct server *server, const void *bytes, size_t size)
{
        struct request *request = malloc(sizeof(*request) + size);

        if (!request || server->n_held == HELD_MAX)
                _exit(1);
        request->size = size;
        memcpy(request->bytes, bytes, size);
        server->held[server->n_held++] = request;
}

/* With a cut due at this request: before it is done, or done and not yet answered. */
static void change_or_cut(struct server *server, const struct fuse_in_header *in, const void *body)
{
        uint32_t state = atomic_load(&server->board->state);

        if (state == DISK_IS_DEAD) {
                answer(server, in->unique, -EIO, NULL, 0);
                return;
        }
        if (state == DISK_RUNS && turn_comes(&server->board->cut_after)) {
                if (random_below(2))
                        (void)do_change(server, in, body); /* and once more when it goes on */
                cut(server);
                state = DISK_IS_CUT;
        }
        if (state == DISK_IS_CUT)
                hold(server, in, in->len);
        else
                on_change(server, in, body);
}

static void on_request(struct server *server, const struct fuse_in_header *in)
{
        const struct fuse_open_out opened = {.open_flags = FOPEN_DIRECT_IO};
        const struct fuse_statfs_out statfs = {.st = {.bsize = BLOCK, .namelen = 255}};
        const void *body = in + 1;

        switch (in->opcode) {
        case FUSE_INIT:
                on_init(server, in);
                break;
        case FUSE_GETATTR:
                on_getattr(server, in);
                break;
        case FUSE_OPEN:
                answer(server, in->unique, 0, &opened, sizeof(opened));
                break;
        case FUSE_READ:
                on_read(server, in, body);
                break;
        case FUSE_WRITE:
        case FUSE_FSYNC:
                change_or_cut(server, in, body);
                break;
        case FUSE_STATFS:
                answer(server, in->unique, 0, &statfs, sizeof(statfs));
                break;
        case FUSE_FLUSH:
        case FUSE_RELEASE:
                answer(server, in->unique, 0, NULL, 0);
                break;
        case FUSE_FORGET:
        case FUSE_BATCH_FORGET:
        case FUSE_INTERRUPT:
                break; /* no answer is wanted */
        default:
                answer(server, in->unique, -ENOSYS, NULL, 0);
        }
}

static void release_held(struct server *server)
{
        size_t n = server->n_held;

        server->n_held = 0;
        for (size_t i = 0; i < n; i++) {
                on_request(server, (const struct fuse_in_header *)server->held[i]->bytes);
                free(server->held[i]);
        }
}

static void on_command(struct server *server, char command)
{
        switch (command) {
        case CUT_NOW:
                if (atomic_load(&server->board->state) == DISK_RUNS)
                        cut(server);
                break;
        case GO_ON:
                atomic_store(&server->board->state, DISK_RUNS);
                release_held(server);
                break;
        case DIE:
                atomic_store(&server->board->state, DISK_IS_DEAD);
                release_held(server);
                break;
        case RESTORE:
                forget_pending(server);
                memcpy(server->platter, server->image, DISK_SIZE);
                memcpy(server->cache, server->image, DISK_SIZE);
                atomic_store(&server->board->state, DISK_RUNS);
                break;
        }
}

__attribute__((noreturn)) static void serve(struct server *server)
{
        static _Alignas(struct fuse_in_header) unsigned char buffer[BUFFER_SIZE];
        struct pollfd fds[2] = {
                {.fd = server->fuse, .events = POLLIN},
                {.fd = server->control, .events = POLLIN},
        };
        ssize_t n;
        char command;

        for (;;) {
                bool cut = atomic_load(&server->board->state) == DISK_IS_CUT;
                int n_ready = poll(fds, 2, cut ? CUT_MSEC : -1);

                if (n_ready == 0)
                        on_command(server, DIE); /* the test did: let go of who waits */
                if (n_ready <= 0)
                        continue;
                if (fds[1].revents) {
                        if (read(server->control, &command, 1) != 1)
                                _exit(0);
                        on_command(server, command);
                        (void)!write(server->control, &command, 1);
                }
                if (!fds[0].revents)
                        continue;
                n = read(server->fuse, buffer, sizeof(buffer));
                if (n >= (ssize_t)sizeof(struct fuse_in_header))
                        on_request(server, (struct fuse_in_header *)buffer);
                else if (n < 0 && errno != EINTR && errno != EAGAIN && errno != ENOENT)
                        _exit(0); /* unmounted */
        }
}

void disk_serve(const struct disk_server *start)
{
        struct server server = {
                .board = start->board,
                .fuse = start->fuse,
                .control = start->control,
                .platter = start->platter,
                .image = start->image,
                .cache = start->cache,
        };

        serve(&server);
}
