/* SPDX-License-Identifier: MIT */

/*
 * A disk that can lose its power, from the test's side; see harness-disk.h.
 * What it is, is in harness-disk-server.c.
 */

#include "harness-disk.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/loop.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness-disk-server.h"

#define SECTOR 512
#define BLOCK  4096
#define MKFS   "/sbin/mkfs.ext4"
#define TRIES  50

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
        struct disk_server server = {.board = disk->board, .fuse = fuse};
        int pair[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        server.control = pair[1];
        server.platter = map_all(disk->platter);
        server.image = map_all(disk->image);
        server.cache = shared_memory(DISK_SIZE);
        disk->pid = instance_fork(disk->instance);
        if (disk->pid == 0) {
                close(pair[0]);
                if (unshare(CLONE_FS) < 0 || setns(first_mounts, CLONE_NEWNS) < 0)
                        _exit(1);
                disk_serve(&server);
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
