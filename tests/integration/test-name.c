/* SPDX-License-Identifier: MIT */

/*
 * The segment's name and who may have it: removed under a living daemon and
 * living clients, taken by an object that is none of ours, wanted by a second
 * daemon, left by the daemon of another state directory, planted before the
 * start. Clients end up on the daemon's object, and the daemon touches nothing
 * that is not its own.
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"

#define DRAWERS    4
#define NOBODY     65534
#define AWAIT_USEC UINT64_C(20000000)

static struct crew *start_drawing(struct instance *instance)
{
        const struct crew_order order = {
                .n_drawers = DRAWERS,
                .sequences = {{"orders", record_new(1, 1, 0)}, {"items", record_new(1, 1, 0)}},
                .rate = 500000,
                .run_every = 16,
                .run_max = 100,
        };

        instance_configure(instance, "[sequence orders]\n[sequence items]\nreserve = 10000\n");
        instance_start(instance);
        return crew_start(instance, &order);
}

static void end_drawing(const struct instance *instance, struct crew *crew)
{
        crew_await_progress(crew);
        crew_stop(crew);
        for (size_t i = 0; i < 2; i++) {
                print_message("  sequence %zu: %" PRIu64 " drawn\n", i, crew_end(crew, i));
                assert_int_equal(crew_skipped(instance, crew, i), 0);
        }
}

static ino_t object_inode(const struct instance *instance)
{
        struct stat status;

        return stat(instance_object(instance), &status) < 0 ? 0 : status.st_ino;
}

/* Until there is an object under the name that is not `other`, and can be attached to. */
static void await_object(const struct instance *instance, ino_t other)
{
        uint64_t deadline = now_usec() + patience_usec(AWAIT_USEC);
        struct seqnum_client *client = NULL;
        int r;

        for (;;) {
                ino_t inode = object_inode(instance);

                r = seqnum_attach(&client, instance->shm, 0);
                seqnum_detach(r < 0 ? NULL : client);
                if (r == 0 && inode != other)
                        return;
                if (now_usec() > deadline)
                        fail_msg("the segment's name was not taken back: %s", seqnum_strerror(r));
                nap(2000);
        }
}

/* --- removed ---------------------------------------------------------------- */

static void removed_while_drawing(struct instance *instance)
{
        struct crew *crew = start_drawing(instance);

        for (uint64_t i = 0; i < 20; i++) {
                ino_t inode = object_inode(instance);

                crew_await_progress(crew);
                instance_unlink(instance);
                await_object(instance, inode);
                crew_await_progress(crew);
                crew_check(crew);
        }
        assert_true(instance_says(instance, "its name was removed"));
        end_drawing(instance, crew);
}

/* Clients that draw now and then, in one process: old handles and new ones agree. */
static void removed_between_draws(struct instance *instance)
{
        struct seqnum_client *old, *young;
        struct seqnum *seq, *fresh;
        ino_t inode;

        instance_configure(instance, "[sequence orders]\n");
        instance_start(instance);
        old = instance_attach(instance);
        seq = instance_open(old, "orders");
        for (int64_t expected = 1; expected < 30; expected += 3) {
                assert_int_equal(must_next(seq), expected);
                inode = object_inode(instance);
                instance_unlink(instance);
                await_object(instance, inode);
                young = instance_attach(instance);
                fresh = instance_open(young, "orders");
                assert_int_equal(must_next(fresh), expected + 1);
                assert_int_equal(must_peek(seq), expected + 2);
                assert_int_equal(must_next(seq), expected + 2);
                seqnum_detach(young);
        }
        seqnum_detach(old);
}

/* --- replaced --------------------------------------------------------------- */

/* Another object under the name, in place of the daemon's at once. */
static void put_in_place(const struct instance *instance, const char *bytes, uid_t owner)
{
        char path[128];
        int fd;

        (void)snprintf(path, sizeof(path), "%s.other", instance_object(instance));
        fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, bytes, strlen(bytes)), strlen(bytes));
        if (owner != geteuid())
                assert_int_equal(fchown(fd, owner, (gid_t)-1), 0);
        close(fd);
        assert_int_equal(rename(path, instance_object(instance)), 0);
}

static void assert_untouched(const struct instance *instance, const char *bytes)
{
        char found[64] = "";
        int fd = open(instance_object(instance), O_RDONLY | O_CLOEXEC);

        assert_true(fd >= 0);
        assert_int_equal(read(fd, found, sizeof(found) - 1), strlen(bytes));
        close(fd);
        assert_string_equal(found, bytes);
}

/* Served on by the nameless object; new clients are refused; then the name comes back. */
static void replaced(struct instance *instance, uid_t owner, const char *says, int refused)
{
        static const char bytes[] = "somebody's precious data";
        struct crew *crew = start_drawing(instance);
        struct seqnum_client *client;
        ino_t inode;

        crew_await_progress(crew);
        put_in_place(instance, bytes, owner);
        inode = object_inode(instance);
        assert_true(instance_will_say(instance, says));
        for (unsigned i = 0; i < 5; i++) {
                crew_await_progress(crew);
                assert_int_equal(seqnum_attach(&client, instance->shm, 0), refused);
                nap(300000);
        }
        assert_untouched(instance, bytes);
        assert_int_equal(object_inode(instance), inode);
        instance_unlink(instance);
        await_object(instance, inode);
        end_drawing(instance, crew);
}

static void replaced_by_garbage(struct instance *instance)
{
        struct crew *crew;
        ino_t inode;

        if (geteuid() == 0) { /* who has many objects, and removes none that is not marked */
                replaced(instance, 0, "exists and is not a segment of seqnumd", -EBADMSG);
                return;
        }
        crew = start_drawing(instance);
        crew_await_progress(crew);
        put_in_place(instance, "garbage", geteuid());
        inode = object_inode(instance);
        await_object(instance, inode);
        end_drawing(instance, crew);
}

static void replaced_by_another_user(struct instance *instance)
{
        if (geteuid() != 0)
                skip();
        replaced(instance, NOBODY, "belongs to user 65534 and not to the service's user", -EPERM);
}

/* --- a second daemon --------------------------------------------------------- */

static void says_pid(const struct instance *second, const struct instance *first)
{
        char text[64];

        (void)snprintf(text, sizeof(text), "in use by process %d (seqnumd)", (int)first->pid);
        if (!instance_says(second, text))
                fail_msg("the log does not say: %s", text);
}

static void second_on_same_state(struct instance *instance)
{
        struct instance *second = instance_twin(instance);

        instance_configure(instance, "[sequence orders]\n");
        (void)snprintf(second->state, sizeof(second->state), "%s", instance->state);
        instance_configure(second, "[sequence orders]\n");
        instance_start(instance);
        assert_int_equal(instance_outcome(second), 69);
        says_pid(second, instance);
        assert_true(instance_says(second, instance->state));
        assert_int_equal(object_inode(second), 0);
        assert_int_equal(instance_peek(instance, "orders"), 1);
        instance_kill(instance);
        instance_start(second); /* the kernel has dropped the lock */
}

static void second_on_same_segment(struct instance *instance)
{
        struct instance *second = instance_twin(instance);
        struct seqnum_client *client;
        struct seqnum *seq;
        ino_t inode;

        instance_configure(instance, "[sequence orders]\n");
        (void)snprintf(second->shm, sizeof(second->shm), "%s", instance->shm);
        instance_configure(second, "[sequence orders]\n");
        instance_start(instance);
        inode = object_inode(instance);
        client = instance_attach(instance);
        seq = instance_open(client, "orders");
        assert_int_equal(must_next(seq), 1);
        assert_int_equal(instance_outcome(second), 69);
        says_pid(second, instance);
        assert_int_equal(object_inode(instance), inode);
        assert_int_equal(must_next(seq), 2);
        instance_stop(instance); /* it is closed, and by the one that owns it */
        instance_start(instance);
        assert_int_equal(must_next(seq), 3);
        seqnum_detach(client);
}

/* The daemon of one state directory died, and another's comes to its segment. */
static void segment_of_another_state(struct instance *instance)
{
        struct instance *second = instance_twin(instance);
        ino_t inode;

        instance_configure(instance, "[sequence orders]\n");
        (void)snprintf(second->shm, sizeof(second->shm), "%s", instance->shm);
        instance_configure(second, "[sequence orders]\n");
        instance_start(instance);
        instance_kill(instance);
        inode = object_inode(instance);
        assert_int_equal(instance_outcome(second), 78);
        assert_true(instance_says(second, "belongs to another state directory"));
        assert_true(instance_says(second, instance_object(instance))); /* what to remove */
        assert_int_equal(object_inode(instance), inode);
        instance_start(instance);
}

/* --- planted before the start ------------------------------------------------- */

static void planted_link(struct instance *instance)
{
        char target[160];
        struct stat status;

        (void)snprintf(target, sizeof(target), "%s/victim", instance->directory);
        instance_configure(instance, "[sequence orders]\n");
        assert_int_equal(symlink(target, instance_object(instance)), 0);
        assert_int_equal(instance_outcome(instance), 77);
        assert_true(instance_says(instance, instance_object(instance)));
        assert_int_equal(lstat(instance_object(instance), &status), 0);
        assert_true(S_ISLNK(status.st_mode));
        assert_int_equal(access(target, F_OK), -1);
        instance_unlink(instance);
        instance_start(instance);
}

static void planted_object(struct instance *instance)
{
        if (geteuid() != 0)
                skip();
        instance_configure(instance, "[sequence orders]\n");
        put_in_place(instance, "planted", NOBODY);
        assert_int_equal(instance_outcome(instance), 77);
        assert_true(instance_says(instance, "belongs to user 65534"));
        assert_untouched(instance, "planted");
        instance_unlink(instance);
        instance_start(instance);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                instance_test(removed_while_drawing),    instance_test(removed_between_draws),
                instance_test(replaced_by_garbage),      instance_test(replaced_by_another_user),
                instance_test(second_on_same_state),     instance_test(second_on_same_segment),
                instance_test(segment_of_another_state), instance_test(planted_link),
                instance_test(planted_object),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
