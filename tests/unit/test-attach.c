/* SPDX-License-Identifier: MIT */

/*
 * Attaching: each thing that can be found under a segment's name is an outcome
 * of its own, nothing planted is believed, and what the daemon writes cannot be
 * written by a client.
 */

#include "unit.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "attach.h"

#define NOBODY   65534
#define STRANGER 12345

/* What a test may leave under the name. */
struct planted {
        char shm[64];
        char path[96];
        struct segment *segment;
};

static int setup(void **state)
{
        struct planted *planted = calloc(1, sizeof(*planted));

        *state = planted;
        if (!planted)
                return -1;
        unit_name(planted->shm, sizeof(planted->shm));
        (void)snprintf(planted->path, sizeof(planted->path), "/dev/shm%s", planted->shm);
        return unsetenv("SEQNUM_OWNER");
}

static int teardown(void **state)
{
        struct planted *planted = *state;

        segment_free(planted->segment);
        (void)unlink(planted->path);
        (void)rmdir(planted->path);
        free(planted);
        return unsetenv("SEQNUM_OWNER");
}

static int attach_as(const struct planted *planted, bool writable)
{
        struct mapping *mapping = NULL;
        int r = mapping_new(&mapping, planted->shm, writable ? MAPPING_WRITABLE : 0);

        assert_true((r < 0) == (mapping == NULL));
        mapping_free(mapping);
        return r;
}

static void assert_attach(const struct planted *planted, int expected)
{
        assert_int_equal(attach_as(planted, false), expected);
        assert_int_equal(attach_as(planted, true), expected);
}

/* An object of `size` bytes of zeroes. */
static void plant(const struct planted *planted, uint64_t size)
{
        int fd = shm_open(planted->shm, O_RDWR | O_CREAT | O_EXCL, 0600);

        assert_true(fd >= 0);
        assert_int_equal(ftruncate(fd, (off_t)size), 0);
        assert_int_equal(close(fd), 0);
}

/* Overwrite bytes of the object, as somebody who may. */
static void scribble(const struct planted *planted, uint64_t offset, const void *bytes, size_t size)
{
        int fd = shm_open(planted->shm, O_RDWR, 0);

        assert_true(fd >= 0);
        assert_int_equal(pwrite(fd, bytes, size, (off_t)offset), size);
        assert_int_equal(close(fd), 0);
}

static void resize(const struct planted *planted, uint64_t size)
{
        assert_int_equal(truncate(planted->path, (off_t)size), 0);
}

/* Of more sequences than share one geometry. */
static void publish(struct planted *planted)
{
        planted->segment = unit_segment(planted->shm, 100);
}

/* --- outcomes ---------------------------------------------------------- */

static void test_ready(void **state)
{
        struct planted *planted = *state;

        publish(planted);
        assert_attach(planted, 0);
}

static void test_absent(void **state)
{
        assert_attach(*state, -ENXIO);
}

static void test_starting(void **state)
{
        struct planted *planted = *state;
        struct segment_setup setup_of = unit_setup_of(planted->shm, 100);
        char *message = NULL;

        plant(planted, 0);
        assert_attach(planted, -EAGAIN);
        resize(planted, 10 * SEGMENT_PAGE); /* sized, no magic yet */
        assert_attach(planted, -EAGAIN);
        assert_int_equal(unlink(planted->path), 0);

        /* The real thing has no name until it is whole. */
        assert_int_equal(segment_create(&planted->segment, &setup_of, &message), 0);
        assert_attach(planted, -ENXIO);
        assert_int_equal(segment_publish(planted->segment, &message), 0);
        assert_attach(planted, 0);
}

static void test_other_version(void **state)
{
        struct planted *planted = *state;
        uint32_t version = SEGMENT_LAYOUT_VERSION + 1;

        publish(planted);
        scribble(planted, offsetof(struct segment_header, layout_version), &version,
                 sizeof(version));
        /* Whatever else differs: another version may lay the rest out anew. */
        scribble(planted, offsetof(struct segment_header, abi), "other-libc-le64-sem32", 22);
        scribble(planted, offsetof(struct segment_header, size), "12345678", 8);
        assert_attach(planted, -EPROTONOSUPPORT);
        version = 0;
        scribble(planted, offsetof(struct segment_header, layout_version), &version,
                 sizeof(version));
        assert_attach(planted, -EPROTONOSUPPORT);
}

static void test_foreign_abi(void **state)
{
        struct planted *planted = *state;

        publish(planted);
        scribble(planted, offsetof(struct segment_header, abi), "other-libc-le64-sem32", 22);
        /* The rest need not be laid out as ours is. */
        scribble(planted, offsetof(struct segment_header, size), "12345678", 8);
        assert_attach(planted, -ENOEXEC);
}

static void test_not_a_segment(void **state)
{
        struct planted *planted = *state;

        plant(planted, 1); /* smaller than any header */
        assert_attach(planted, -EBADMSG);
        resize(planted, SEGMENT_PAGE - 1);
        assert_attach(planted, -EBADMSG);
        resize(planted, SEGMENT_PAGE);
        scribble(planted, 0, "something else", 14);
        assert_attach(planted, -EBADMSG);
}

static void test_damaged_size(void **state)
{
        struct planted *planted = *state;
        uint64_t size;

        publish(planted);
        size = planted->segment->map.geometry.size;
        segment_free(planted->segment); /* whoever has it mapped would get SIGBUS */
        planted->segment = NULL;
        resize(planted, size + SEGMENT_PAGE);
        assert_attach(planted, -EBADMSG);
        resize(planted, size - SEGMENT_PAGE);
        assert_attach(planted, -EBADMSG);
        resize(planted, SEGMENT_PAGE); /* the header alone */
        assert_attach(planted, -EBADMSG);
        resize(planted, size);
        assert_attach(planted, 0);
}

/* Any other value in any of the words that say where things are. */
static void test_damaged_header(void **state)
{
        static const size_t offsets[] = {
                offsetof(struct segment_header, header_size),
                offsetof(struct segment_header, size),
                offsetof(struct segment_header, writable),
                offsetof(struct segment_header, buckets),
                offsetof(struct segment_header, entries),
                offsetof(struct segment_header, windows),
                offsetof(struct segment_header, wants),
                offsetof(struct segment_header, cells),
                offsetof(struct segment_header, entries_size),
                offsetof(struct segment_header, n_buckets),
                offsetof(struct segment_header, n_slots),
                offsetof(struct segment_header, max_sequences),
        };
        static const uint32_t values[] = {0, 1, 8, SEGMENT_PAGE, UINT32_MAX};
        struct planted *planted = *state;

        publish(planted);
        for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
                uint32_t good;

                memcpy(&good, (char *)planted->segment->map.base + offsets[i], sizeof(good));
                for (size_t j = 0; j < sizeof(values) / sizeof(values[0]); j++) {
                        if (values[j] == good)
                                continue;
                        scribble(planted, offsets[i], &values[j], sizeof(values[j]));
                        assert_attach(planted, -EBADMSG);
                }
                scribble(planted, offsets[i], &good, sizeof(good));
                assert_attach(planted, 0);
        }
}

static void test_names(void **state)
{
        static const char *const refused[] = {"", "/", "seqnumd", "/a/b", "/.", "/..", "//"};
        char longest[SEGMENT_NAME_MAX + 2];
        struct mapping *mapping = NULL;

        (void)state;
        for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
                assert_false(segment_name_valid(refused[i]));
                assert_int_equal(mapping_new(&mapping, refused[i], 0), -EINVAL);
        }
        assert_null(mapping);
        memset(longest, 'n', sizeof(longest));
        longest[0] = '/';
        longest[SEGMENT_NAME_MAX + 1] = '\0';
        assert_false(segment_name_valid(longest));
        longest[SEGMENT_NAME_MAX] = '\0';
        assert_true(segment_name_valid(longest));
        assert_true(segment_name_valid("/seqnumd.billing"));
        assert_true(segment_name_valid("/..."));
        assert_null(mapping_free(NULL));
}

/* --- whose it is ------------------------------------------------------- */

static void test_not_permitted(void **state)
{
        struct planted *planted = *state;
        pid_t child;

        publish(planted);
        assert_int_equal(chmod(planted->path, geteuid() == 0 ? 0640 : 0), 0);
        if (geteuid() != 0) {
                assert_attach(planted, -EACCES);
                return;
        }
        child = fork();
        assert_true(child >= 0);
        if (child == 0) {
                struct mapping *mapping;

                if (setresgid(NOBODY, NOBODY, NOBODY) < 0 || setresuid(NOBODY, NOBODY, NOBODY) < 0)
                        _exit(1);
                if (mapping_new(&mapping, planted->shm, 0) != -EACCES ||
                    mapping_new(&mapping, planted->shm, MAPPING_WRITABLE) != -EACCES)
                        _exit(2);
                _exit(0);
        }
        assert_int_equal(unit_reap(child), 0);
}

/* 0644: everybody may look, only the owner may draw. */
static void test_readable_only(void **state)
{
        struct planted *planted = *state;
        pid_t child;

        if (geteuid() != 0)
                skip();
        publish(planted);
        assert_int_equal(chmod(planted->path, 0644), 0);
        child = fork();
        assert_true(child >= 0);
        if (child == 0) {
                struct mapping *mapping;

                if (setresgid(NOBODY, NOBODY, NOBODY) < 0 || setresuid(NOBODY, NOBODY, NOBODY) < 0)
                        _exit(1);
                if (mapping_new(&mapping, planted->shm, 0) != 0 ||
                    mapping_new(&mapping, planted->shm, MAPPING_WRITABLE) != -EACCES)
                        _exit(2);
                _exit(0);
        }
        assert_int_equal(unit_reap(child), 0);
}

static void test_wrong_owner(void **state)
{
        static const char *const others[] = {"0",      "",           "12346",
                                             "12345x", " 12345",     "+12345",
                                             "-1",     "4294967295", "18446744073709563961"};
        struct planted *planted = *state;

        if (geteuid() != 0)
                skip();
        publish(planted);
        assert_int_equal(chown(planted->path, STRANGER, STRANGER), 0);
        assert_attach(planted, -EPERM);
        for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
                assert_int_equal(setenv("SEQNUM_OWNER", others[i], 1), 0);
                assert_attach(planted, -EPERM);
        }
        assert_int_equal(setenv("SEQNUM_OWNER", "12345", 1), 0);
        assert_attach(planted, 0);
}

static void test_other_writable(void **state)
{
        struct planted *planted = *state;
        char owner[32];

        publish(planted);
        assert_int_equal(chmod(planted->path, 0666), 0);
        assert_attach(planted, -EPERM);
        (void)snprintf(owner, sizeof(owner), "%u", (unsigned)geteuid());
        assert_int_equal(setenv("SEQNUM_OWNER", owner, 1), 0);
        assert_attach(planted, -EPERM);
        assert_int_equal(chmod(planted->path, 0664), 0);
        assert_attach(planted, 0);
}

static void test_symbolic_link(void **state)
{
        struct planted *planted = *state;
        char other[64], path[96];
        struct segment *segment;

        unit_name(other, sizeof(other));
        (void)snprintf(path, sizeof(path), "/dev/shm%s", other);
        segment = unit_segment(other, 1);
        assert_int_equal(symlink(path, planted->path), 0);
        (void)shm_unlink(other); /* before anything can fail: the link then dangles */
        segment_free(segment);
        assert_attach(planted, -EPERM);

        assert_int_equal(unlink(planted->path), 0);
        assert_int_equal(symlink("/dev/zero", planted->path), 0);
        assert_attach(planted, -EPERM);
}

/*
 * Opening a pipe for reading waits for a writer, unless told not to. In a child,
 * so that it can be ended when it hangs. `mapping` of another object of the name.
 */
static void assert_pipe_refused(const struct planted *planted, const struct mapping *mapping)
{
        pid_t child;

        assert_int_equal(mkfifo(planted->path, 0600), 0);
        child = fork();
        assert_true(child >= 0);
        if (child == 0) {
                struct mapping *none;

                (void)signal(SIGALRM, SIG_DFL);
                (void)alarm(10);
                if (mapping && mapping_current(mapping, planted->shm))
                        _exit(1);
                if (mapping_new(&none, planted->shm, 0) != -EPERM ||
                    mapping_new(&none, planted->shm, MAPPING_WRITABLE) != -EPERM)
                        _exit(2);
                _exit(0);
        }
        assert_int_equal(unit_reap(child), 0);
}

static void test_pipe(void **state)
{
        assert_pipe_refused(*state, NULL);
}

static void test_other_kinds(void **state)
{
        struct planted *planted = *state;
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int fd;

        assert_int_equal(mkdir(planted->path, 0700), 0);
        assert_attach(planted, -EPERM);
        assert_int_equal(rmdir(planted->path), 0);

        (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", planted->path);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_true(fd >= 0);
        assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
        (void)close(fd);
        assert_attach(planted, -EPERM);
}

/* --- what is mapped how ------------------------------------------------ */

/* Does a write of a byte at `offset` of a fresh mapping kill the writer? */
static bool write_kills(const struct planted *planted, bool writable, uint64_t offset)
{
        pid_t child = fork();
        int status;

        assert_true(child >= 0);
        if (child == 0) {
                struct mapping *mapping;
                volatile char *byte;

                (void)signal(SIGSEGV, SIG_DFL);
                if (mapping_new(&mapping, planted->shm, writable ? MAPPING_WRITABLE : 0) < 0)
                        _exit(1);
                byte = segment_at(mapping->base, offset);
                *byte = 1;
                _exit(0);
        }
        status = unit_reap(child);
        if (WIFSIGNALED(status)) {
                assert_int_equal(WTERMSIG(status), SIGSEGV);
                return true;
        }
        assert_int_equal(WEXITSTATUS(status), 0);
        return false;
}

static void test_read_only(void **state)
{
        struct planted *planted = *state;
        const struct segment_geometry *g;

        publish(planted);
        g = &planted->segment->map.geometry;
        for (int writable = 0; writable < 2; writable++) {
                assert_true(write_kills(planted, writable, 0));
                assert_true(write_kills(planted, writable, g->buckets));
                assert_true(write_kills(planted, writable, g->entries));
                assert_true(write_kills(planted, writable, g->windows));
                assert_true(write_kills(planted, writable, g->writable - 1));
                assert_int_equal(write_kills(planted, writable, g->writable), !writable);
                assert_int_equal(write_kills(planted, writable, g->cells), !writable);
                assert_int_equal(write_kills(planted, writable, g->size - 1), !writable);
        }
}

/* --- the object's life ------------------------------------------------- */

static void test_current(void **state)
{
        struct planted *planted = *state;
        struct mapping *mapping = NULL;
        struct segment *old;

        publish(planted);
        assert_int_equal(mapping_new(&mapping, planted->shm, 0), 0);
        assert_true(mapping_current(mapping, planted->shm));
        assert_int_equal(unlink(planted->path), 0);
        assert_false(mapping_current(mapping, planted->shm));
        old = planted->segment;
        publish(planted); /* another of the same name */
        assert_false(mapping_current(mapping, planted->shm));
        assert_true(segment_named(planted->segment));
        assert_false(segment_named(old));
        segment_free(old);
        mapping_free(mapping);
}

/* A client asks whenever it waits; a pipe under the name must not hold it. */
static void test_current_of_pipe(void **state)
{
        struct planted *planted = *state;
        struct mapping *mapping = NULL;

        publish(planted);
        assert_int_equal(mapping_new(&mapping, planted->shm, 0), 0);
        assert_int_equal(unlink(planted->path), 0);
        assert_pipe_refused(planted, mapping);
        mapping_free(mapping);
}

static void test_attended(void **state)
{
        struct planted *planted = *state;
        struct segment_setup setup_of = unit_setup_of(planted->shm, 100);
        struct mapping *reader = NULL, *writer = NULL;
        char *message = NULL;

        publish(planted);
        assert_int_equal(mapping_new(&reader, planted->shm, 0), 0);
        assert_int_equal(mapping_new(&writer, planted->shm, MAPPING_WRITABLE), 0);
        assert_true(mapping_attended(reader));
        assert_true(mapping_attended(writer));
        planted->segment = segment_free(planted->segment);
        assert_false(mapping_attended(reader));
        assert_false(mapping_attended(writer));
        assert_int_equal(segment_take_over(&planted->segment, &setup_of, &message), 0);
        assert_true(mapping_attended(reader));
        assert_true(mapping_current(reader, planted->shm));
        mapping_free(reader);
        mapping_free(writer);
}

/* --- the same through the library -------------------------------------- */

static void test_seqnum_attach(void **state)
{
        struct planted *planted = *state;
        struct seqnum_client *client = NULL;

        assert_int_equal(seqnum_attach(&client, planted->shm, 0), -ENXIO);
        assert_int_equal(seqnum_attach(&client, "no slash", 0), -EINVAL);
        assert_int_equal(seqnum_attach(&client, "", 0), -EINVAL); /* not the default one */
        assert_null(client);
        publish(planted);
        assert_int_equal(seqnum_attach(&client, planted->shm, 4), -EINVAL); /* no flag */
        assert_null(client);
        assert_int_equal(setenv("SEQNUM_SHM", planted->shm, 1), 0);
        assert_int_equal(seqnum_attach(&client, NULL, SEQNUM_RDONLY), 0);
        assert_int_equal(unsetenv("SEQNUM_SHM"), 0);
        assert_null(seqnum_detach(client));
        assert_null(seqnum_detach(NULL));
}

#define attach_test(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                attach_test(test_ready),
                attach_test(test_absent),
                attach_test(test_starting),
                attach_test(test_other_version),
                attach_test(test_foreign_abi),
                attach_test(test_not_a_segment),
                attach_test(test_damaged_size),
                attach_test(test_damaged_header),
                cmocka_unit_test(test_names),
                attach_test(test_not_permitted),
                attach_test(test_readable_only),
                attach_test(test_wrong_owner),
                attach_test(test_other_writable),
                attach_test(test_symbolic_link),
                attach_test(test_pipe),
                attach_test(test_other_kinds),
                attach_test(test_read_only),
                attach_test(test_current),
                attach_test(test_current_of_pipe),
                attach_test(test_attended),
                attach_test(test_seqnum_attach),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
