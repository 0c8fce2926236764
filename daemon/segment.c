/* SPDX-License-Identifier: MIT */

/* The segment, from its owner's side; see segment.h. */

#include "segment.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "atomic.h"
#include "clock.h"
#include "directory.h"
#include "futex.h"
#include "group.h"
#include "lost.h"
#include "statedir.h"

/* Where shm_open(3) looks names up: shm_overview(7). */
#define SHM_DIRECTORY "/dev/shm"

/* More segments than this were never made, whatever a header says. */
#define SEGMENT_ID_MAX (UINT64_C(1) << 62)

/* Pages are reserved in steps of this, so that a create is not four system calls. */
#define ALLOCATION_STEP (UINT64_C(16) * SEGMENT_PAGE)

enum { ENTRIES, WINDOWS, CELLS };

void segment_heartbeat(struct segment *segment)
{
        count_set(&segment->header->heartbeat, clock_usec(CLOCK_BOOTTIME));
}

/* --- memory ------------------------------------------------------------ */

/*
 * Back [offset, offset + length) with pages, now. A tmpfs that is full then
 * answers with an error here instead of SIGBUS at the first write. An object that
 * somebody truncated does not get its size again by it: see segment_mend().
 */
static int reserve_pages(const struct segment *segment, uint64_t offset, uint64_t length)
{
        int r;

        do
                r = fallocate(segment->map.fd, FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)length);
        while (r < 0 && errno == EINTR);
        if (r < 0)
                return errno == ENOSPC ? -ENOMEM : -errno;
        return 0;
}

/* Make sure that the first `bytes` of a growing part are backed by pages. */
static int reserve_part(struct segment *segment, int part, uint64_t bytes)
{
        const struct segment_geometry *g = &segment->map.geometry;
        const uint64_t starts[] = {g->entries, g->windows, g->cells};
        const uint64_t ends[] = {g->windows, g->writable, g->size};
        uint64_t room = ends[part] - starts[part];
        uint64_t upto;
        int r;

        if (bytes <= segment->allocated[part])
                return 0;
        upto = (bytes + ALLOCATION_STEP - 1) / ALLOCATION_STEP * ALLOCATION_STEP;
        if (upto > room)
                upto = room;
        r = reserve_pages(segment, starts[part] + segment->allocated[part],
                          upto - segment->allocated[part]);
        if (r < 0)
                return r;
        segment->allocated[part] = upto;
        return 0;
}

static int map_all(struct segment *segment, const struct segment_geometry *g)
{
        void *base = mmap(NULL, g->size, PROT_READ | PROT_WRITE, MAP_SHARED, segment->map.fd, 0);

        if (base == MAP_FAILED)
                return -errno;
        segment->map.geometry = *g;
        segment->map.base = base;
        segment->map.writable = true;
        segment->map.buckets = segment_at(base, g->buckets);
        segment->map.windows = segment->windows = segment_at(base, g->windows);
        segment->map.shared = segment_at(base, g->writable);
        segment->map.wants = segment_at(base, g->wants);
        segment->map.cells = segment_at(base, g->cells);
        segment->header = base;
        return lost_register(base, g->size, segment->map.fd) ? 0 : -ENOMEM;
}

/* --- life and death ---------------------------------------------------- */

static int segment_new(struct segment **ret, const char *shm)
{
        struct segment *segment = calloc(1, sizeof(*segment));

        if (!segment)
                return -ENOMEM;
        segment->map.fd = -1;
        (void)snprintf(segment->shm, sizeof(segment->shm), "%s", shm);
        *ret = segment;
        return 0;
}

struct segment *segment_free(struct segment *segment)
{
        if (!segment)
                return NULL;
        if (segment->map.base) {
                lost_unregister(segment->map.base);
                munmap(segment->map.base, segment->map.geometry.size);
        }
        if (segment->map.fd >= 0)
                close(segment->map.fd);
        free(segment);
        return NULL;
}

/* The daemon's lock: the kernel drops it when we die, however we die. */
static int lock_object(int fd)
{
        struct flock lock = {
                .l_type = F_WRLCK,
                .l_whence = SEEK_SET,
                .l_start = SEGMENT_LOCK_DAEMON,
                .l_len = 1,
        };

        if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
                return 0;
        return errno == EACCES || errno == EAGAIN ? -EBUSY : -errno;
}

static int remember_object(struct segment *segment)
{
        struct stat status;

        if (fstat(segment->map.fd, &status) < 0)
                return -errno;
        segment->map.device = status.st_dev;
        segment->map.inode = status.st_ino;
        return 0;
}

/*
 * The kernel tells of a removal when the link count is lowered already, but the
 * name can still be opened for a moment: ask for the count first.
 */
bool segment_named(const struct segment *segment)
{
        struct stat status;

        if (fstat(segment->map.fd, &status) == 0 && status.st_nlink == 0)
                return false;
        return mapping_named(&segment->map, segment->shm) == 1;
}

static void read_boot_id(char id[static 40])
{
        FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");

        memset(id, 0, 40);
        if (!file)
                return;
        if (fscanf(file, "%36s", id) != 1)
                id[0] = '\0';
        (void)fclose(file);
}

static int cannot_give(const struct segment_setup *setup, char **message)
{
        const int error = errno;
        char name[GROUP_TEXT_SIZE];

        (void)group_text(setup->group, name);
        return fail_with(-error, message,
                         "cannot give segment %s to group %s: %s; the service's user must be a "
                         "member, by SupplementaryGroups=%s in the unit (systemctl edit)",
                         setup->shm, name, strerror(error), name);
}

int segment_permit(struct segment *segment, const struct segment_setup *setup, char **message)
{
        if (setup->group != (gid_t)-1 && fchown(segment->map.fd, (uid_t)-1, setup->group) < 0)
                return cannot_give(setup, message);
        if (fchmod(segment->map.fd, setup->mode) < 0)
                return fail_with(-errno, message, "cannot set mode %04o on segment %s: %m",
                                 (unsigned)setup->mode, setup->shm);
        return 0;
}

/* Everything in the header but the magic. */
static void fill_header(struct segment *segment, const struct segment_setup *setup)
{
        const struct segment_geometry *g = &segment->map.geometry;
        struct segment_header *header = segment->header;

        header->layout_version = SEGMENT_LAYOUT_VERSION;
        header->header_size = sizeof(*header);
        segment_abi(header->abi);
        memcpy(header->instance_id, setup->instance_id, sizeof(header->instance_id));
        header->segment_id = segment->id = setup->segment_id;
        read_boot_id(header->boot_id);
        header->size = g->size;
        header->writable = g->writable;
        header->buckets = g->buckets;
        header->entries = g->entries;
        header->windows = g->windows;
        header->wants = g->wants;
        header->cells = g->cells;
        header->entries_size = g->entries_size;
        header->n_buckets = g->n_buckets;
        header->n_slots = g->n_slots;
        header->max_sequences = setup->max_sequences;
}

/* What changes with the daemon that looks after the segment. */
static void sign_header(struct segment *segment, const struct segment_setup *setup)
{
        struct segment_header *header = segment->header;

        publish_u32(&header->daemon_pid, (uint32_t)getpid());
        count_set(&header->started, clock_usec(CLOCK_REALTIME));
        (void)snprintf(header->socket, sizeof(header->socket), "%s", setup->socket);
        segment_heartbeat(segment);
}

/* Size, back and map the object just made, and fill in what is fixed. */
static int build_object(struct segment *segment, const struct segment_setup *setup)
{
        struct segment_geometry g = segment_geometry(setup->max_sequences);
        int r;

        r = lock_object(segment->map.fd);
        if (r >= 0)
                r = remember_object(segment);
        if (r >= 0 && ftruncate(segment->map.fd, (off_t)g.size) < 0)
                r = -errno;
        if (r >= 0)
                r = reserve_pages(segment, 0, g.entries);
        if (r >= 0)
                r = reserve_pages(segment, g.writable, g.cells - g.writable);
        if (r >= 0)
                r = map_all(segment, &g);
        if (r < 0)
                return r;
        fill_header(segment, setup);
        if (sem_init(&segment->map.shared->doorbell, 1, 0) < 0)
                return -errno;
        sign_header(segment, setup);
        return 0;
}

int segment_create(struct segment **ret, const struct segment_setup *setup, char **message)
{
        struct segment *segment;
        int r;

        r = segment_new(&segment, setup->shm);
        if (r < 0)
                return fail_with(r, message, "out of memory");
        segment->map.fd = open(SHM_DIRECTORY, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        if (segment->map.fd < 0) {
                r = fail_with(-errno, message, "cannot create segment %s: %m", setup->shm);
                segment_free(segment);
                return r;
        }
        r = segment_permit(segment, setup, message);
        if (r >= 0) {
                r = build_object(segment, setup);
                if (r < 0)
                        (void)fail_with(r, message,
                                        "cannot make segment %s of %" PRIu32 " sequences: %s",
                                        setup->shm, setup->max_sequences, strerror(-r));
        }
        if (r < 0) {
                segment_free(segment);
                return r;
        }
        *ret = segment;
        return 0;
}

/* Name the object behind our descriptor; linkat(2) tells how. */
static int give_name(const struct segment *segment)
{
        char from[64], to[sizeof(SHM_DIRECTORY) + SEGMENT_NAME_MAX];

        (void)snprintf(from, sizeof(from), "/proc/self/fd/%d", segment->map.fd);
        (void)snprintf(to, sizeof(to), SHM_DIRECTORY "%s", segment->shm);
        return linkat(AT_FDCWD, from, AT_FDCWD, to, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

int segment_publish(struct segment *segment, char **message)
{
        int r;

        publish_u32(&segment->header->state, SEGMENT_SERVING);
        publish_u64(&segment->header->magic, SEGMENT_MAGIC);
        segment->published = true;
        if (segment->linked)
                return 0;
        r = give_name(segment);
        if (r == -EEXIST)
                return fail_with(r, message,
                                 "/dev/shm%s was made by somebody else meanwhile; remove it, or "
                                 "choose another shm =",
                                 segment->shm);
        if (r < 0)
                return fail_with(r, message, "cannot put segment %s in place: %s", segment->shm,
                                 strerror(-r));
        segment->linked = true;
        return 0;
}

/* --- taking over ------------------------------------------------------- */

/* What stands in our way is somebody else's: no file of ours, or no file at all. */
static int open_error(int error)
{
        switch (error) {
        case EACCES:
        case ELOOP:  /* a symbolic link */
        case EISDIR: /* a directory; glibc says EINVAL */
        case EINVAL:
        case ENXIO: /* a socket */
                return -EPERM;
        default:
                return -error;
        }
}

/* Open the object under our name. */
static int open_named(struct segment *segment, char **message)
{
        segment->map.fd = shm_open(segment->shm, O_RDWR | O_CLOEXEC, 0);
        if (segment->map.fd < 0 && errno == ENOENT)
                return -ENXIO;
        if (segment->map.fd < 0)
                return fail_with(open_error(errno), message,
                                 "cannot open segment %s: %m; if it is not the service's, remove "
                                 "/dev/shm%s",
                                 segment->shm, segment->shm);
        return 0;
}

/* Refuse the object when it is not our user's. */
static int check_owner(struct segment *segment, char **message)
{
        struct stat status;

        if (fstat(segment->map.fd, &status) < 0)
                return fail_with(-errno, message, "cannot stat segment %s: %m", segment->shm);
        if (!S_ISREG(status.st_mode) || status.st_uid != geteuid())
                return fail_with(-EPERM, message,
                                 "/dev/shm%s belongs to user %u and not to the service's user %u: "
                                 "somebody else made it; remove it, or choose another shm =",
                                 segment->shm, (unsigned)status.st_uid, (unsigned)geteuid());
        segment->map.device = status.st_dev;
        segment->map.inode = status.st_ino;
        segment->map.geometry.size = (uint64_t)status.st_size;
        return 0;
}

/* The header as it is in the file: reading it so cannot raise SIGBUS. */
static void peek_header(const struct segment *segment, struct segment_header *ret)
{
        memset(ret, 0, sizeof(*ret));
        (void)!pread(segment->map.fd, ret, sizeof(*ret), 0);
}

/* Nothing at all: whoever may draw has punched a hole there, and nothing is lost with it. */
static bool is_blank(const struct segment_header *header)
{
        const unsigned char *bytes = (const unsigned char *)header;

        for (size_t i = 0; i < sizeof(*header); i++)
                if (bytes[i])
                        return false;
        return true;
}

/*
 * Is this object one that we may remove? Ours by user it is; but root has many
 * objects, so there some mark of ours must be left in it.
 */
static bool removable(const struct segment_header *header, const struct segment_setup *setup,
                      uint64_t size)
{
        char abi[SEGMENT_ABI_SIZE];

        segment_abi(abi);
        return geteuid() != 0 || size == 0 || is_blank(header) ||
               see_u64(&header->magic) == SEGMENT_MAGIC ||
               memcmp(header->abi, abi, sizeof(abi)) == 0 ||
               memcmp(header->instance_id, setup->instance_id, sizeof(header->instance_id)) == 0;
}

static bool boot_is_ours(const struct segment_header *header)
{
        char boot_id[sizeof(header->boot_id)];

        read_boot_id(boot_id);
        return memcmp(boot_id, header->boot_id, sizeof(boot_id)) == 0;
}

/* Can the object that we hold the lock of be used? See segment_take_over(). */
static int judge_object(struct segment *segment, const struct segment_setup *setup,
                        struct segment_geometry *g, char **message)
{
        struct segment_header header;
        uint64_t size = segment->map.geometry.size;
        int r;

        peek_header(segment, &header);
        if (!removable(&header, setup, size))
                return fail_with(-EEXIST, message,
                                 "/dev/shm%s exists and is not a segment of seqnumd; remove it if "
                                 "nobody needs it, or choose another shm =",
                                 segment->shm);
        r = segment_header_check(&header, size, g);
        if (r == -EAGAIN)
                return -ENXIO;
        if (r == -EPROTONOSUPPORT)
                return fail_with(-ESTALE, message, "it was made by another version of seqnumd");
        if (r == -ENOEXEC)
                return fail_with(-ESTALE, message, "it was made for another C library");
        if (r < 0)
                return fail_with(-ESTALE, message, "its header is damaged");
        if (memcmp(header.instance_id, setup->instance_id, sizeof(header.instance_id)) != 0)
                return fail_with(
                        -EEXIST, message,
                        "segment %s belongs to another state directory; if that one is lost, "
                        "and its numbers may be handed out again, remove /dev/shm%s",
                        segment->shm, segment->shm);
        /* Numbers were drawn from a later one: its windows lie behind the store. */
        if (header.segment_id < setup->segment_id || header.segment_id > SEGMENT_ID_MAX)
                return fail_with(-ESTALE, message, "another one has been in use since");
        if (!boot_is_ours(&header))
                return fail_with(-ESTALE, message, "it is from before the last reboot");
        segment->id = header.segment_id;
        return 0;
}

/* Believe how much of the segment is in use only as far as it can be. */
static int count_used(struct segment *segment)
{
        const struct segment_geometry *g = &segment->map.geometry;
        uint32_t slots = see_u32(&segment->header->slots_used);
        uint64_t entries = see_u64(&segment->header->entries_used);

        if (slots > g->n_slots || entries > g->entries_size || entries % 8 != 0)
                return -EBADMSG;
        segment->slots_used = slots;
        segment->entries_used = entries;
        return 0;
}

/* The object behind segment->map.fd. */
static int take_over(struct segment *segment, const struct segment_setup *setup, char **message)
{
        struct segment_header header;
        struct segment_geometry g = {0};
        int r;

        r = check_owner(segment, message);
        if (r < 0)
                return r;
        r = lock_object(segment->map.fd);
        if (r == -EBUSY) {
                peek_header(segment, &header);
                return fail_with(r, message,
                                 "segment %s is in use by process %" PRIu32 " (seqnumd)",
                                 segment->shm, see_u32(&header.daemon_pid));
        }
        if (r < 0)
                return fail_with(r, message, "cannot lock segment %s: %s", segment->shm,
                                 strerror(-r));
        r = judge_object(segment, setup, &g, message);
        if (r == 0) {
                r = map_all(segment, &g);
                if (r < 0)
                        return fail_with(r, message, "cannot map segment %s: %s", segment->shm,
                                         strerror(-r));
                if (count_used(segment) < 0)
                        r = fail_with(-ESTALE, message, "its directory is damaged");
        }
        return r;
}

int segment_take_over(struct segment **ret, const struct segment_setup *setup, char **message)
{
        struct segment *segment;
        int r;

        r = segment_new(&segment, setup->shm);
        if (r < 0)
                return fail_with(r, message, "out of memory");
        r = open_named(segment, message);
        if (r >= 0) {
                r = take_over(segment, setup, message);
                if (r == -ENXIO || r == -ESTALE)
                        (void)shm_unlink(segment->shm);
        }
        if (r >= 0)
                r = segment_permit(segment, setup, message);
        if (r < 0) {
                segment_free(segment);
                return r;
        }
        sign_header(segment, setup);
        segment->linked = true;
        *ret = segment;
        return 0;
}

int segment_take_back(struct segment **ret, const struct segment_setup *setup, int fd,
                      char **message)
{
        struct segment *segment;
        int r;

        r = segment_new(&segment, setup->shm);
        if (r < 0) {
                close(fd);
                return fail_with(r, message, "out of memory");
        }
        segment->map.fd = fd;
        r = take_over(segment, setup, message);
        if (r < 0) {
                segment_free(segment);
                return r;
        }
        sign_header(segment, setup);
        *ret = segment;
        return 0;
}

/* --- what became of it -------------------------------------------------- */

bool segment_shrunk(const struct segment *segment)
{
        struct stat status;

        return lost_happened(segment->map.base) ||
               (fstat(segment->map.fd, &status) == 0 &&
                (uint64_t)status.st_size != segment->map.geometry.size);
}

bool segment_whole(const struct segment *segment)
{
        const struct segment_header *header = segment->header;
        struct segment_geometry g;
        int r = segment_header_check(header, segment->map.geometry.size, &g);

        if (r == -EAGAIN && !segment->published)
                return true;
        return r == 0 && memcmp(&g, &segment->map.geometry, sizeof(g)) == 0 &&
               header->segment_id == segment->id &&
               see_u32(&header->slots_used) == segment->slots_used &&
               see_u64(&header->entries_used) == segment->entries_used;
}

int segment_mend(struct segment *segment)
{
        const struct segment_geometry *g = &segment->map.geometry;

        if (ftruncate(segment->map.fd, (off_t)g->size) < 0)
                return -errno;
        if (mmap(segment->map.base, g->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
                 segment->map.fd, 0) == MAP_FAILED)
                return -errno;
        lost_forgive(segment->map.base);
        return 0;
}

/* --- directory and slots ----------------------------------------------- */

static _Atomic(uint64_t) *bucket_of(struct segment *segment, const char *name, size_t length)
{
        uint64_t hash = directory_hash(name, length);
        _Atomic(uint64_t) *buckets = segment_at(segment->map.base, segment->map.geometry.buckets);

        return &buckets[hash & (segment->map.geometry.n_buckets - 1)];
}

static void fill_slot(struct segment *segment, const struct slot_setup *setup, uint32_t slot)
{
        struct window *window = &segment->windows[slot];
        struct cell *cell = &segment->map.cells[slot];

        window->id = setup->id;
        window->generation = setup->generation;
        window->origin = setup->origin;
        window->start = setup->params.start;
        window->increment = setup->params.increment;
        window->min = setup->params.min;
        window->max = setup->params.max;
        window->kind = (uint8_t)setup->params.kind;
        window->cycle = setup->params.cycle;
        window->node_bits = setup->params.node_bits;
        window->serial_bits = setup->params.serial_bits;
        window->node = setup->params.node;
        window->hold_limit = setup->params.hold_limit;
        window->epoch = setup->params.epoch;
        (void)sem_init(&cell->turn, 1, 1); /* fails for a value too large alone: sem_init(3) */
        cell_thaw(&cell->next, setup->position);
        publish_u64(&cell->mark, cell_mark(slot));
        window_publish_low(&window->low, UINT64_MAX);
        window_publish(&window->floor, setup->position);
        window_publish(&window->ceiling, setup->position);
        publish_u32(&window->state, WINDOW_OPEN);
}

/* Append an entry for `slot` and link it at the head of its chain. */
static void link_entry(struct segment *segment, const char *name, size_t length, uint32_t slot)
{
        uint64_t offset = segment->map.geometry.entries + segment->entries_used;
        struct directory_entry *entry = segment_at(segment->map.base, offset);
        _Atomic(uint64_t) *bucket = bucket_of(segment, name, length);

        entry->hash = directory_hash(name, length);
        entry->slot = slot;
        entry->name_length = (uint16_t)length;
        memcpy(entry->name, name, length);
        publish_u64(&entry->link, see_u64(bucket));
        segment->entries_used += directory_entry_size(length);
        publish_u64(&segment->header->entries_used, segment->entries_used);
        publish_u64(bucket, offset);
}

int segment_add(struct segment *segment, const struct slot_setup *setup, uint32_t *ret)
{
        size_t length = strlen(setup->name);
        uint64_t entries = segment->entries_used + directory_entry_size(length);
        uint32_t slot = segment->slots_used;
        int r;

        if (slot >= segment->map.geometry.n_slots || entries > segment->map.geometry.entries_size)
                return -ENOSPC;
        r = reserve_part(segment, ENTRIES, entries);
        if (r >= 0)
                r = reserve_part(segment, WINDOWS, (slot + UINT64_C(1)) * sizeof(struct window));
        if (r >= 0)
                r = reserve_part(segment, CELLS, (slot + UINT64_C(1)) * sizeof(struct cell));
        if (r < 0)
                return r;
        fill_slot(segment, setup, slot);
        segment->slots_used++;
        publish_u32(&segment->header->slots_used, segment->slots_used);
        link_entry(segment, setup->name, length, slot);
        *ret = slot;
        return 0;
}

/* The entry at `offset`, NULL when it does not lie among those we made. */
static struct directory_entry *own_entry(struct segment *segment, uint64_t offset)
{
        uint64_t start = segment->map.geometry.entries, used = segment->entries_used;

        if (offset < start || offset % 8 != 0 || used < sizeof(struct directory_entry) ||
            offset - start > used - sizeof(struct directory_entry))
                return NULL;
        return segment_at(segment->map.base, offset);
}

void segment_remove(struct segment *segment, const char *name, uint32_t slot)
{
        _Atomic(uint64_t) *link = bucket_of(segment, name, strlen(name));
        struct directory_entry *entry;

        for (uint32_t steps = 0; steps < segment->slots_used; steps++) {
                entry = own_entry(segment, see_u64(link));
                if (!entry)
                        return;
                if (entry->slot == slot) {
                        publish_u64(link, see_u64(&entry->link));
                        return;
                }
                link = &entry->link;
        }
}

void segment_stop(struct segment *segment)
{
        segment_heartbeat(segment);
        publish_u32(&segment->header->state, SEGMENT_STOPPED);
}

void segment_retire(struct segment *segment)
{
        publish_u32(&segment->header->state, SEGMENT_RETIRED);
        for (uint32_t slot = 0; slot < segment->slots_used; slot++) {
                wake_bump(&segment->windows[slot].wake);
                futex_wake_all(&segment->windows[slot].wake);
        }
}
