/* SPDX-License-Identifier: MIT */

/*
 * Who has shared memory objects mapped: /proc/PID/maps of every process, proc(5).
 *
 * A look, not a promise: processes come and go meanwhile, and those of others may
 * be looked into by root alone. How many were not is counted.
 */

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "pshm.h"

static bool same_mapper(const struct pshm_mapper *a, const struct pshm_mapper *b)
{
        return a->pid == b->pid && a->inode == b->inode && a->device == b->device;
}

/* Several mappings of one object in one process are one. */
static int note(struct pshm_mappers *mappers, const struct pshm_mapper *mapper, size_t first)
{
        for (size_t i = first; i < mappers->n; i++) {
                struct pshm_mapper *known = &mappers->all[i];

                if (same_mapper(known, mapper)) {
                        known->end = mapper->end > known->end ? mapper->end : known->end;
                        return 0;
                }
        }
        if (mappers->n == mappers->room) {
                size_t room = mappers->room ? 2 * mappers->room : 64;
                struct pshm_mapper *all = realloc(mappers->all, room * sizeof(*all));

                if (!all)
                        return -ENOMEM;
                mappers->all = all;
                mappers->room = room;
        }
        mappers->all[mappers->n++] = *mapper;
        return 0;
}

/* "7f00-7f01 rw-s 00000000 00:18 42   /dev/shm/x": false: no such line. */
static bool parse_line(const char *line, struct pshm_mapper *ret)
{
        uint64_t begin, end, offset, inode;
        unsigned major_number, minor_number;

        /* NOLINTNEXTLINE(cert-err34-c): the kernel's own numbers */
        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %*s %" SCNx64 " %x:%x %" SCNu64, &begin, &end,
                   &offset, &major_number, &minor_number, &inode) != 6)
                return false;
        ret->device = makedev(major_number, minor_number);
        ret->inode = (ino_t)inode;
        ret->end = offset + (end - begin);
        return true;
}

static void read_command(int process, char command[static 16])
{
        int fd = openat(process, "comm", O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? 0 : read(fd, command, 15);

        command[n > 0 ? n : 0] = '\0';
        command[strcspn(command, "\n")] = '\0';
        /* Anybody may call a process as he likes. */
        for (; *command; command++)
                if (!isprint((unsigned char)*command))
                        *command = '?';
        if (fd >= 0)
                close(fd);
}

static int read_maps(struct pshm_mappers *mappers, FILE *maps, struct pshm_mapper *mapper,
                     dev_t device)
{
        size_t first = mappers->n, size = 0;
        char *line = NULL;
        int r = 0;

        while (r == 0 && getline(&line, &size, maps) > 0)
                if (parse_line(line, mapper) && mapper->device == device)
                        r = note(mappers, mapper, first);
        free(line);
        return r;
}

static int look_into(struct pshm_mappers *mappers, int proc, const char *pid, dev_t device)
{
        struct pshm_mapper mapper = {.pid = (pid_t)strtol(pid, NULL, 10)};
        int process, fd, r = 0;
        FILE *maps;

        process = openat(proc, pid, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (process < 0)
                return 0; /* gone */
        fd = openat(process, "maps", O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                mappers->unseen += errno == EACCES || errno == EPERM;
        maps = fd < 0 ? NULL : fdopen(fd, "r");
        if (maps) {
                read_command(process, mapper.command);
                r = read_maps(mappers, maps, &mapper, device);
                (void)fclose(maps);
        } else if (fd >= 0) {
                close(fd);
        }
        close(process);
        return r;
}

static int by_inode(const void *a, const void *b)
{
        const struct pshm_mapper *x = a, *y = b;

        if (x->inode != y->inode)
                return x->inode < y->inode ? -1 : 1;
        return x->pid < y->pid ? -1 : x->pid > y->pid;
}

int pshm_mappers_look(struct pshm_mappers *ret)
{
        struct pshm_mappers mappers = {0};
        struct stat directory;
        struct dirent *entry;
        DIR *proc;
        int r = 0;

        if (stat(OBJECT_DIRECTORY, &directory) < 0)
                return -errno;
        proc = opendir("/proc");
        if (!proc)
                return -errno;
        while (r == 0 && (entry = readdir(proc)))
                if (isdigit((unsigned char)entry->d_name[0]))
                        r = look_into(&mappers, dirfd(proc), entry->d_name, directory.st_dev);
        closedir(proc);
        if (r < 0) {
                pshm_mappers_free(&mappers);
                return r;
        }
        if (mappers.n > 0)
                qsort(mappers.all, mappers.n, sizeof(*mappers.all), by_inode);
        *ret = mappers;
        return 0;
}

void pshm_mappers_free(struct pshm_mappers *mappers)
{
        free(mappers->all);
        *mappers = (struct pshm_mappers){0};
}

size_t pshm_mappers_of(const struct pshm_mappers *mappers, dev_t device, ino_t inode,
                       const struct pshm_mapper **ret)
{
        size_t first = 0, n = 0;

        while (first < mappers->n && mappers->all[first].inode < inode)
                first++;
        while (first + n < mappers->n && mappers->all[first + n].inode == inode &&
               mappers->all[first + n].device == device)
                n++;
        *ret = mappers->all ? mappers->all + first : NULL;
        return n;
}
