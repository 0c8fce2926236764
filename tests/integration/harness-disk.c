/* SPDX-License-Identifier: MIT */

/*
 * A disk that can lose its power; see harness-disk.h.
 *
 * Two memories: the platter, which holds what was flushed, and the cache, which
 * holds what was written; and the list of the writes in which they differ. It
 * speaks FUSE's protocol itself, of which a file system of one file needs little,
 * rather than have the tests need a library for it.
 */

#include "harness-disk.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fuse.h>
#include <linux/loop.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECTOR      512
#define BLOCK       4096
#define WRITE_MAX   (128 << 10)
#define BUFFER_SIZE (WRITE_MAX + BLOCK)
#define HELD_MAX    256
#define MKFS        "/sbin/mkfs.ext4"
#define CUT_MSEC    20000 /* nobody lets a disk hold its breath for longer */
#define TRIES       50

enum disk_state { DISK_RUNS, DISK_IS_CUT, DISK_IS_DEAD };

/* Shared with the server. */
struct board {
        _Atomic(uint32_t) state;
        _Atomic(uint64_t) cut_after; /* so many requests, 0: not armed */
        _Atomic(uint64_t) fail_after, fail_count;
        _Atomic(uint64_t) writes, flushes, failed, cuts, cuts_unclean, sectors_lost;
};

struct disk {
        struct instance *instance;
        struct board *board;
        char file[160];  /* where the one file is */
        char where[160]; /* "": not mounted */
        char image_where[160];
        int platter, image; /* memfds */
        int control;        /* to the server */
        pid_t pid;
};

/* --- the server -------------------------------------------------------------- */

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

enum command { CUT_NOW = 'c', GO_ON = 'g', DIE = 'd', RESTORE = 'r' };

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

/* --- the test's side --------------------------------------------------------- */

static void tell(const struct disk *disk, enum command command)
{
        char byte = (char)command;

        assert_int_equal(write(disk->control, &byte, 1), 1);
        assert_int_equal(read(disk->control, &byte, 1), 1);
}

static void *map_all(int fd)
{
        void *memory = mmap(NULL, DISK_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

        assert_ptr_not_equal(memory, MAP_FAILED);
        return memory;
}

static int make_memory(const char *name)
{
        int fd = memfd_create(name, 0);

        assert_true(fd >= 0);
        assert_int_equal(ftruncate(fd, (off_t)DISK_SIZE), 0);
        return fd;
}

static int first_mounts = -1; /* the namespace that we came from */

/* A mount namespace of our own, once. */
static bool own_mounts(void)
{
        if (first_mounts >= 0)
                return true;
        first_mounts = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
        return first_mounts >= 0 && unshare(CLONE_NEWNS) == 0 &&
               mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

/*
 * The server is not in our namespace. There it might be the last one, when a test
 * was killed, and have to unmount what it would itself have to answer for.
 */
static void start_server(struct disk *disk, int fuse)
{
        struct server server = {.board = disk->board, .fuse = fuse};
        int pair[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        server.control = pair[1];
        server.platter = map_all(disk->platter);
        server.image = map_all(disk->image);
        server.cache = shared_memory(DISK_SIZE);
        disk->pid = instance_fork(disk->instance);
        if (disk->pid == 0) {
                close(pair[0]);
                if (setns(first_mounts, CLONE_NEWNS) < 0)
                        _exit(1);
                serve(&server);
        }
        (void)munmap(server.platter, DISK_SIZE);
        (void)munmap(server.image, DISK_SIZE);
        (void)munmap(server.cache, DISK_SIZE);
        close(pair[1]);
        close(fuse);
        disk->control = pair[0];
}

static bool can_open(const char *path)
{
        int fd = open(path, O_RDWR | O_CLOEXEC);

        if (fd >= 0)
                close(fd);
        return fd >= 0;
}

const char *disk_wanting(void)
{
        if (geteuid() != 0)
                return "only root may mount";
        if (access(MKFS, X_OK) < 0)
                return "there is no " MKFS;
        if (!can_open("/dev/loop-control"))
                return "there are no loop devices";
        if (!can_open("/dev/fuse"))
                return "there is no FUSE";
        return own_mounts() ? NULL : "a mount namespace is not permitted";
}

/* A descriptor of /dev/fuse, with the file mounted. */
static int mount_fuse(const char *file)
{
        int fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
        int fd = open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        char options[80];

        assert_true(fuse >= 0 && fd >= 0);
        close(fd);
        (void)snprintf(options, sizeof(options), "fd=%d,rootmode=100600,user_id=0,group_id=0",
                       fuse);
        if (mount("seqnum-test-disk", file, "fuse", MS_NOSUID | MS_NODEV, options) < 0)
                fail_msg("cannot mount by FUSE: %s", strerror(errno));
        return fuse;
}

struct disk *disk_new(struct instance *instance)
{
        struct disk *disk = calloc(1, sizeof(*disk));

        assert_non_null(disk);
        disk->instance = instance;
        (void)snprintf(disk->file, sizeof(disk->file), "%s/disk", instance->directory);
        disk->board = shared_memory(sizeof(*disk->board));
        disk->platter = make_memory("platter");
        disk->image = make_memory("image");
        start_server(disk, mount_fuse(disk->file));
        disk_format(disk);
        return disk;
}

struct disk *disk_free(struct disk *disk)
{
        if (!disk)
                return NULL;
        (void)kill(disk->pid, SIGKILL); /* whoever waits for the disk gets an error */
        if (disk->image_where[0])
                (void)umount2(disk->image_where, MNT_DETACH);
        if (disk->where[0])
                (void)umount2(disk->where, MNT_DETACH);
        (void)umount2(disk->file, MNT_DETACH);
        instance_reap(disk->instance, disk->pid);
        close(disk->platter);
        close(disk->image);
        close(disk->control);
        (void)munmap(disk->board, sizeof(*disk->board));
        free(disk);
        return NULL;
}

void disk_format(struct disk *disk)
{
        char command[256];

        (void)snprintf(command, sizeof(command),
                       MKFS " -q -F -b %d -m 0 -J size=4 -E lazy_itable_init=0,"
                            "lazy_journal_init=0,nodiscard /proc/%d/fd/%d >/dev/null 2>&1",
                       BLOCK, (int)getpid(), disk->image);
        assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): the test's own words */
        tell(disk, RESTORE);
}

/* A loop device over the file, which goes when it is unmounted; its descriptor. */
static int try_loop(int file, char *path, size_t size)
{
        const struct loop_config config = {
                .fd = (uint32_t)file,
                .block_size = SECTOR,
                .info = {.lo_flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO},
        };
        int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), loop, number;

        assert_true(control >= 0);
        number = ioctl(control, LOOP_CTL_GET_FREE);
        close(control);
        assert_true(number >= 0);
        (void)snprintf(path, size, "/dev/loop%d", number);
        loop = open(path, O_RDWR | O_CLOEXEC);
        if (loop >= 0 && ioctl(loop, LOOP_CONFIGURE, &config) == 0)
                return loop;
        if (loop >= 0)
                close(loop);
        return -1; /* somebody else took it */
}

static void mount_file(int file, const char *where, const char *options)
{
        char path[32];
        int loop = -1;

        for (int i = 0; i < TRIES && loop < 0; i++) {
                loop = try_loop(file, path, sizeof(path));
                if (loop < 0)
                        nap(10000);
        }
        if (loop < 0)
                fail_msg("no loop device is to be had: %s", strerror(errno));
        (void)mkdir(where, 0700);
        if (mount(path, where, "ext4", MS_NOATIME, options) < 0)
                fail_msg("the file system did not survive (%s)", strerror(errno));
        close(loop);
}

/* Whoever used it was just killed, and may not be wholly gone. */
static void unmount(char *where)
{
        for (int i = 0; i < TRIES && umount2(where, 0) < 0; i++) {
                if (errno != EBUSY)
                        fail_msg("umount %s: %s", where, strerror(errno));
                nap(10000);
        }
        where[0] = '\0';
}

void disk_mount(struct disk *disk, const char *where, const char *options)
{
        int file = open(disk->file, O_RDWR | O_CLOEXEC);

        assert_true(file >= 0);
        assert_string_equal(disk->where, "");
        mount_file(file, where, options);
        close(file);
        (void)snprintf(disk->where, sizeof(disk->where), "%s", where);
}

void disk_unmount(struct disk *disk)
{
        unmount(disk->where);
}

void disk_mount_image(struct disk *disk, const char *where)
{
        assert_string_equal(disk->image_where, "");
        mount_file(disk->image, where, "");
        (void)snprintf(disk->image_where, sizeof(disk->image_where), "%s", where);
}

void disk_unmount_image(struct disk *disk)
{
        unmount(disk->image_where);
}

void disk_arm(struct disk *disk, uint64_t requests)
{
        if (requests == 0)
                tell(disk, CUT_NOW);
        else
                atomic_store(&disk->board->cut_after, requests);
}

void disk_disarm(struct disk *disk)
{
        atomic_store(&disk->board->cut_after, 0);
}

bool disk_is_cut(const struct disk *disk)
{
        return atomic_load(&disk->board->state) == DISK_IS_CUT;
}

void disk_await_cut(struct disk *disk, uint64_t usec)
{
        uint64_t deadline = now_usec() + usec;

        while (!disk_is_cut(disk) && now_usec() < deadline)
                nap(100);
        if (!disk_is_cut(disk))
                tell(disk, CUT_NOW);
}

void disk_go_on(struct disk *disk)
{
        tell(disk, GO_ON);
}

void disk_die(struct disk *disk)
{
        tell(disk, DIE);
}

void disk_restore(struct disk *disk)
{
        assert_string_equal(disk->where, "");
        tell(disk, RESTORE);
}

void disk_fail(struct disk *disk, uint64_t requests, uint32_t count)
{
        atomic_store(&disk->board->fail_after, requests);
        atomic_store(&disk->board->fail_count, count);
}

struct disk_counters disk_counters(const struct disk *disk)
{
        return (struct disk_counters){
                .writes = atomic_load(&disk->board->writes),
                .flushes = atomic_load(&disk->board->flushes),
                .failed = atomic_load(&disk->board->failed),
                .cuts = atomic_load(&disk->board->cuts),
                .cuts_unclean = atomic_load(&disk->board->cuts_unclean),
                .sectors_lost = atomic_load(&disk->board->sectors_lost),
        };
}
