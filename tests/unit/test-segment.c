/* SPDX-License-Identifier: MIT */

/*
 * The segment from its owner's side: making one, taking one over or saying why
 * not, memory that is really there, slots that run out.
 */

#include "unit.h"

#include <fcntl.h>
#include <grp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "directory.h"
#include "lost.h"

#define STRANGER 12345

struct object {
        char shm[64];
        char path[96];
        struct segment_setup setup;
        struct segment *segment;
        char *message;
};

static int setup(void **state)
{
        struct object *object = calloc(1, sizeof(*object));

        *state = object;
        if (!object)
                return -1;
        unit_name(object->shm, sizeof(object->shm));
        (void)snprintf(object->path, sizeof(object->path), "/dev/shm%s", object->shm);
        object->setup = unit_setup_of(object->shm, 100);
        return 0;
}

static int teardown(void **state)
{
        struct object *object = *state;

        segment_free(object->segment);
        free(object->message);
        (void)unlink(object->path);
        (void)rmdir(object->path);
        free(object);
        return 0;
}

static void create(struct object *object)
{
        assert_int_equal(segment_create(&object->segment, &object->setup, &object->message), 0);
}

static void publish(struct object *object)
{
        assert_int_equal(segment_publish(object->segment, &object->message), 0);
}

/* A published segment that nobody looks after any more. */
static void leave(struct object *object)
{
        create(object);
        publish(object);
        object->segment = segment_free(object->segment);
}

static void assert_takes_over(struct object *object, int expected)
{
        struct segment *none = NULL;
        int r = segment_take_over(expected == 0 ? &object->segment : &none, &object->setup,
                                  &object->message);

        assert_int_equal(r, expected);
        assert_null(none);
        /* All but "there is none" is explained. */
        assert_true((object->message != NULL) == (r != 0 && r != -ENXIO));
}

static bool exists(const struct object *object)
{
        struct stat status;

        return lstat(object->path, &status) == 0;
}

static void scribble(const struct object *object, uint64_t offset, const void *bytes, size_t size)
{
        int fd = shm_open(object->shm, O_RDWR, 0);

        assert_true(fd >= 0);
        assert_int_equal(pwrite(fd, bytes, size, (off_t)offset), size);
        (void)close(fd);
}

static struct slot_setup slot_of(const char *name)
{
        return (struct slot_setup){
                .name = name,
                .id = 17,
                .generation = 2,
                .params = sequence_params_default(),
                .origin = 5,
                .position = 9,
        };
}

static int add(struct object *object, const char *name, uint32_t *ret)
{
        struct slot_setup slot = slot_of(name);

        return segment_add(object->segment, &slot, ret);
}

/* --- making ------------------------------------------------------------ */

static void test_create(void **state)
{
        struct object *object = *state;
        struct segment *second = NULL;
        struct segment_geometry g;
        struct stat status;
        int value = -1;

        create(object);
        assert_false(exists(object)); /* nobody can meet it half made */
        assert_int_equal(fstat(object->segment->map.fd, &status), 0);
        assert_int_equal(status.st_mode & 07777, 0660);
        assert_int_equal(segment_header_check(object->segment->header, (uint64_t)status.st_size,
                                              &g),
                         -EAGAIN);
        publish(object);
        assert_int_equal(segment_header_check(object->segment->header, (uint64_t)status.st_size,
                                              &g),
                         0);
        assert_int_equal(see_u32(&object->segment->header->state), SEGMENT_SERVING);
        assert_int_equal(see_u32(&object->segment->header->daemon_pid), getpid());
        assert_string_equal(object->segment->header->socket, object->setup.socket);
        assert_memory_equal(object->segment->header->instance_id, unit_instance, 16);
        assert_int_equal(strlen(object->segment->header->boot_id), 36);
        assert_int_equal(sem_getvalue(&object->segment->map.shared->doorbell, &value), 0);
        assert_int_equal(value, 0);

        assert_int_equal(segment_create(&second, &object->setup, &object->message), 0);
        assert_int_equal(segment_publish(second, &object->message), -EEXIST);
        segment_free(second);
        assert_non_null(strstr(object->message, object->shm));
        assert_true(segment_named(object->segment)); /* it did not harm the first */
        assert_null(segment_free(NULL));
}

static void test_create_fails(void **state)
{
        struct object *object = *state;
        struct segment *segment = NULL;

        if (geteuid() == 0)
                skip(); /* root may give it to any group */
        object->setup.group = 0;
        assert_int_equal(segment_create(&segment, &object->setup, &object->message), -EPERM);
        assert_non_null(object->message);
        assert_null(segment);
        assert_false(exists(object));
}

static void test_permit(void **state)
{
        struct object *object = *state;
        struct stat status;

        object->setup.mode = 0640;
        if (geteuid() == 0)
                object->setup.group = STRANGER;
        create(object);
        publish(object);
        assert_int_equal(stat(object->path, &status), 0);
        assert_int_equal(status.st_mode & 07777, 0640);
        if (geteuid() == 0)
                assert_int_equal(status.st_gid, STRANGER);
        object->setup.mode = 0664;
        assert_int_equal(segment_permit(object->segment, &object->setup, &object->message), 0);
        assert_int_equal(stat(object->path, &status), 0);
        assert_int_equal(status.st_mode & 07777, 0664);
        if (geteuid() == 0) /* chown must not have cost it anything */
                assert_int_equal(status.st_gid, STRANGER);
}

/* Of a second instance's unit it is forgotten most: the message has what to add. */
static void test_group_of_others(void **state)
{
        struct object *object = *state;
        int status;
        pid_t child;

        if (geteuid() != 0)
                skip();
        child = fork();
        assert_true(child >= 0);
        if (child == 0) {
                if (setgroups(0, NULL) < 0 || setgid(STRANGER) < 0 || setuid(STRANGER) < 0)
                        _exit(1);
                object->setup.group = 0;
                if (segment_create(&object->segment, &object->setup, &object->message) != -EPERM)
                        _exit(2);
                if (!strstr(object->message, "to group root: Operation not permitted") ||
                    !strstr(object->message, "SupplementaryGroups=root"))
                        _exit(3);
                object->setup.group = STRANGER + 1; /* without a name */
                if (segment_create(&object->segment, &object->setup, &object->message) != -EPERM)
                        _exit(4);
                _exit(strstr(object->message, "to group 12346: ") ? 0 : 5);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
}

/* --- taking over ------------------------------------------------------- */

static void test_take_over(void **state)
{
        struct object *object = *state;
        struct mapping *client = NULL;
        struct stat status;
        uint32_t slot, found;
        uint64_t entries;

        create(object);
        publish(object);
        assert_int_equal(mapping_new(&client, object->shm, MAPPING_WRITABLE), 0);
        assert_int_equal(add(object, "orders", &slot), 0);
        entries = object->segment->entries_used;
        segment_stop(object->segment);
        assert_int_equal(see_u32(&client->header->state), SEGMENT_STOPPED);
        object->segment = segment_free(object->segment);

        object->setup.mode = 0600;
        object->setup.socket = "/elsewhere.sock";
        assert_takes_over(object, 0);
        assert_true(mapping_current(client, object->shm));
        assert_int_equal(see_u32(&client->header->state), SEGMENT_STOPPED); /* not yet adopted */
        publish(object);
        assert_int_equal(see_u32(&client->header->state), SEGMENT_SERVING);
        assert_string_equal(client->header->socket, "/elsewhere.sock");
        assert_int_equal(stat(object->path, &status), 0);
        assert_int_equal(status.st_mode & 07777, 0600);
        assert_int_equal(object->segment->slots_used, 1);
        assert_true(object->segment->entries_used == entries);
        assert_int_equal(directory_find(&object->segment->map, "orders", 6, &found), 0);
        assert_int_equal(found, slot);

        assert_int_equal(add(object, "invoices", &slot), 0); /* behind, not over the first */
        assert_int_equal(slot, 1);
        assert_int_equal(directory_find(client, "orders", 6, &found), 0);
        assert_int_equal(found, 0);
        assert_int_equal(directory_find(client, "invoices", 8, &found), 0);
        assert_int_equal(found, 1);
        mapping_free(client);
}

static void test_none(void **state)
{
        assert_takes_over(*state, -ENXIO);
}

/* In a child, that it is another process; the kernel ends the lock with it. */
static void test_in_use(void **state)
{
        struct object *object = *state;
        char pid[16], byte = 0;
        int ready[2], go[2];
        pid_t child;

        leave(object);
        assert_int_equal(pipe(ready), 0);
        assert_int_equal(pipe(go), 0);
        child = fork();
        assert_true(child >= 0);
        if (child == 0) {
                struct segment *segment;
                char *message;

                (void)close(go[1]);
                if (segment_take_over(&segment, &object->setup, &message) < 0)
                        _exit(1);
                if (write(ready[1], "", 1) != 1)
                        _exit(2);
                (void)!read(go[0], &byte, 1);
                _exit(0);
        }
        (void)close(go[0]);
        (void)close(ready[1]);
        assert_int_equal(read(ready[0], &byte, 1), 1);
        assert_takes_over(object, -EBUSY);
        (void)snprintf(pid, sizeof(pid), "%d", (int)child);
        assert_non_null(strstr(object->message, pid));
        free(object->message);
        object->message = NULL;
        (void)close(go[1]);
        (void)close(ready[0]);
        assert_int_equal(unit_reap(child), 0);
        assert_takes_over(object, 0);
}

static void test_in_use_here(void **state)
{
        struct object *object = *state;
        struct segment *segment;

        create(object);
        publish(object);
        segment = object->segment;
        assert_takes_over(object, -EBUSY);
        assert_ptr_equal(object->segment, segment);
        assert_true(exists(object));
}

static void test_half_made(void **state)
{
        struct object *object = *state;
        int fd;

        create(object); /* died before it published */
        object->segment = segment_free(object->segment);
        assert_false(exists(object));

        create(object); /* died before it wrote the magic, in whatever way */
        publish(object);
        publish_u64(&object->segment->header->magic, 0);
        object->segment = segment_free(object->segment);
        assert_takes_over(object, -ENXIO);
        assert_false(exists(object));

        fd = shm_open(object->shm, O_RDWR | O_CREAT | O_EXCL, 0600); /* before it had a size */
        assert_true(fd >= 0);
        (void)close(fd);
        assert_takes_over(object, -ENXIO);
        assert_false(exists(object));
}

static void test_other_instance(void **state)
{
        static const uint8_t other[STORE_INSTANCE_ID_SIZE] = "somebody else's";
        struct object *object = *state;

        leave(object);
        object->setup.instance_id = other;
        assert_takes_over(object, -EEXIST);
        assert_true(exists(object));
        assert_non_null(strstr(object->message, "state directory"));
}

static void assert_stale(struct object *object, uint64_t offset, const void *bytes, size_t size)
{
        leave(object);
        scribble(object, offset, bytes, size);
        assert_takes_over(object, -ESTALE);
        assert_false(exists(object));
        free(object->message);
        object->message = NULL;
}

static void test_stale(void **state)
{
        const uint32_t version = SEGMENT_LAYOUT_VERSION + 1, many = 1000000;
        const uint64_t odd = 4;
        struct object *object = *state;

        assert_stale(object, offsetof(struct segment_header, layout_version), &version, 4);
        assert_stale(object, offsetof(struct segment_header, abi), "other-libc", 10);
        assert_stale(object, offsetof(struct segment_header, windows), "nonsense", 8);
        assert_stale(object, offsetof(struct segment_header, magic), "nonsense", 8);
        assert_stale(object, offsetof(struct segment_header, boot_id), "00000000", 8);
        assert_stale(object, offsetof(struct segment_header, slots_used), &many, 4);
        assert_stale(object, offsetof(struct segment_header, entries_used), &odd, 8);
        assert_stale(object, offsetof(struct segment_header, entries_used), "nonsense", 8);
}

static void test_not_a_segment(void **state)
{
        struct object *object = *state;
        int fd = shm_open(object->shm, O_RDWR | O_CREAT | O_EXCL, 0600);

        if (geteuid() != 0) {
                (void)close(fd);
                skip(); /* an object of the service's own user is its own */
        }
        assert_true(fd >= 0);
        assert_int_equal(write(fd, "precious", 8), 8);
        (void)close(fd);
        assert_takes_over(object, -EEXIST);
        assert_true(exists(object));
}

static void assert_planted(struct object *object)
{
        assert_takes_over(object, -EPERM);
        assert_true(exists(object));
        assert_non_null(strstr(object->message, object->path));
        free(object->message);
        object->message = NULL;
}

static void test_planted(void **state)
{
        struct object *object = *state;
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int fd;

        assert_int_equal(symlink("/dev/zero", object->path), 0);
        assert_planted(object);
        assert_int_equal(unlink(object->path), 0);

        assert_int_equal(mkdir(object->path, 0700), 0);
        assert_planted(object);
        assert_int_equal(rmdir(object->path), 0);

        assert_int_equal(mkfifo(object->path, 0600), 0);
        assert_planted(object);
        assert_int_equal(unlink(object->path), 0);

        (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", object->path);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_true(fd >= 0);
        assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
        (void)close(fd);
        assert_planted(object);
}

static void test_other_user(void **state)
{
        struct object *object = *state;

        if (geteuid() != 0)
                skip();
        leave(object);
        assert_int_equal(chown(object->path, STRANGER, (gid_t)-1), 0);
        assert_planted(object);
}

/* --- slots ------------------------------------------------------------- */

static void test_add(void **state)
{
        struct object *object = *state;
        const struct window *window;
        uint32_t slot = UINT32_MAX;

        create(object);
        assert_int_equal(add(object, "orders", &slot), 0);
        window = &object->segment->windows[slot];
        assert_true(window->id == 17 && window->generation == 2 && window->origin == 5);
        assert_true(window->increment == 1 && window->min == 1 && window->max == INT64_MAX);
        assert_int_equal(window->kind, SEQUENCE_COUNTER);
        assert_int_equal(see_u32(&window->state), WINDOW_OPEN);
        assert_true(window_look(&window->floor) == 9 && window_look(&window->ceiling) == 9);
        assert_true(window_look_low(&window->low) == UINT64_MAX);
        assert_true(cell_next(&object->segment->map.cells[slot].next) == 9);
        assert_int_equal(see_u32(&object->segment->header->slots_used), 1);
}

static void test_out_of_slots(void **state)
{
        struct object *object = *state;
        char name[SEQUENCE_NAME_MAX + 1];
        uint32_t n_slots, slot, found;

        create(object);
        n_slots = object->segment->map.geometry.n_slots;
        for (uint32_t i = 0; i < n_slots; i++) { /* all of the longest name */
                (void)snprintf(name, sizeof(name), "%0*u", SEQUENCE_NAME_MAX, i);
                assert_int_equal(add(object, name, &slot), 0);
                assert_int_equal(slot, i);
        }
        slot = 4711;
        assert_int_equal(add(object, "one-more", &slot), -ENOSPC);
        assert_int_equal(slot, 4711);
        segment_remove(object->segment, name, n_slots - 1); /* does not make room: never reused */
        assert_int_equal(add(object, "one-more", &slot), -ENOSPC);
        for (uint32_t i = 0; i < n_slots - 1; i++) {
                (void)snprintf(name, sizeof(name), "%0*u", SEQUENCE_NAME_MAX, i);
                assert_int_equal(directory_find(&object->segment->map, name, SEQUENCE_NAME_MAX,
                                                &found),
                                 0);
                assert_int_equal(found, i);
        }
}

static uint64_t backed(const struct object *object)
{
        struct stat status;

        assert_int_equal(fstat(object->segment->map.fd, &status), 0);
        return (uint64_t)status.st_blocks * 512;
}

/* Whatever is written is backed before: a full tmpfs is an error, not SIGBUS. */
static void test_memory(void **state)
{
        struct object *object = *state;
        struct segment_geometry g;
        uint64_t before;
        uint32_t slot;
        char name[32];

        object->setup.max_sequences = 65536;
        create(object);
        g = object->segment->map.geometry;
        assert_true(backed(object) >= g.entries + (g.cells - g.writable));
        assert_true(backed(object) < g.size / 4); /* the rest is sparse */

        for (unsigned i = 0; i < 3000; i++) {
                const struct segment *s = object->segment;

                (void)snprintf(name, sizeof(name), "s/%u", i);
                before = backed(object);
                assert_int_equal(add(object, name, &slot), 0);
                assert_true(s->allocated[0] >= s->entries_used);
                assert_true(s->allocated[1] >= s->slots_used * sizeof(struct window));
                assert_true(s->allocated[2] >= s->slots_used * sizeof(struct cell));
                assert_true(backed(object) >= before);
        }
        assert_true(backed(object) >=
                    g.entries + (g.cells - g.writable) + 3000 * (2 * SEGMENT_LINE + 24));
}

/*
 * Cells that somebody cut off come back as zeros, and would be drawn from anew: not
 * by making room for another slot.
 */
static void test_memory_of_truncated(void **state)
{
        struct object *object = *state;
        struct stat status;
        uint64_t cells;
        uint32_t slot;
        char name[32];

        assert_true(lost_watch() >= 0);
        object->setup.max_sequences = 1000;
        create(object);
        cells = object->segment->map.geometry.cells;
        for (unsigned i = 0; i < object->segment->allocated[2] / sizeof(struct cell) || i == 0;
             i++) {
                (void)snprintf(name, sizeof(name), "s/%u", i);
                assert_int_equal(add(object, name, &slot), 0);
        }
        assert_int_equal(ftruncate(object->segment->map.fd, (off_t)cells), 0);
        (void)add(object, "more", &slot);
        assert_int_equal(fstat(object->segment->map.fd, &status), 0);
        assert_int_equal(status.st_size, cells);
        assert_true(segment_shrunk(object->segment));
}

static void test_retire(void **state)
{
        struct object *object = *state;
        uint32_t slot, wake;

        create(object);
        assert_int_equal(add(object, "orders", &slot), 0);
        wake = wake_look(&object->segment->windows[slot].wake);
        segment_retire(object->segment);
        assert_int_equal(see_u32(&object->segment->header->state), SEGMENT_RETIRED);
        assert_true(wake_look(&object->segment->windows[slot].wake) != wake);
}

static void test_heartbeat(void **state)
{
        struct object *object = *state;
        uint64_t first;

        create(object);
        first = count_read(&object->segment->header->heartbeat);
        assert_true(first > 0);
        unit_nap();
        segment_heartbeat(object->segment);
        assert_true(count_read(&object->segment->header->heartbeat) > first);
}

#define segment_test(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                segment_test(test_create),    segment_test(test_create_fails),
                segment_test(test_permit),    segment_test(test_group_of_others),
                segment_test(test_take_over), segment_test(test_none),
                segment_test(test_in_use),    segment_test(test_in_use_here),
                segment_test(test_half_made), segment_test(test_other_instance),
                segment_test(test_stale),     segment_test(test_not_a_segment),
                segment_test(test_planted),   segment_test(test_other_user),
                segment_test(test_add),       segment_test(test_out_of_slots),
                segment_test(test_memory),    segment_test(test_memory_of_truncated),
                segment_test(test_retire),    segment_test(test_heartbeat),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
