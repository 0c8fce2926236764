/* SPDX-License-Identifier: MIT */

/*
 * Whose the segment and the control socket are, and where the socket is: what
 * the file says of `group`, `mode` and `socket` holds for both, after a start, a
 * reload and one that was refused; and where somebody else made the socket, the
 * log says what he must change.
 */

#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "harness.h"

#define NOBODY    65534
#define ONE_GROUP "games" /* Debian has these, with nobody in them */
#define OTHER     "tape"

static gid_t gid_of(const char *name)
{
        const struct group *group = getgrnam(name);

        assert_non_null(group);
        return group->gr_gid;
}

static bool may_give_away(void)
{
        if (geteuid() == 0 && getgrnam(ONE_GROUP) && getgrnam(OTHER))
                return true;
        print_message("  not root, or no groups " ONE_GROUP " and " OTHER "\n");
        return false;
}

/* instance_configure() says `group =`, and no key may be said twice. */
static void configure(struct instance *instance, const char *group)
{
        FILE *file = fopen(instance->ini, "we");

        assert_non_null(file);
        (void)fprintf(file,
                      "[service]\nshm = %s\nstate = %s\nsocket = %s\ngroup = %s\n"
                      "max_sequences = 4\n[sequence orders]\n",
                      instance->shm, instance->state, instance->socket, group);
        assert_int_equal(fclose(file), 0);
}

static void expect_gid(const char *path, gid_t gid)
{
        struct stat status;

        assert_int_equal(stat(path, &status), 0);
        if (status.st_gid != gid)
                fail_msg("%s is group %u's, not %u's", path, (unsigned)status.st_gid,
                         (unsigned)gid);
}

static void expect_group(const struct instance *instance, gid_t gid)
{
        expect_gid(instance_object(instance), gid);
        expect_gid(instance->socket, gid);
}

/* --- the group ------------------------------------------------------------------------- */

/* Connect and draw by the socket as a member of that group alone; 0, or what is said. */
static int draw_as(const struct instance *instance, gid_t gid)
{
        char answer[512] = "";
        int fd;

        if (setgroups(0, NULL) < 0 || setgid(gid) < 0 || setuid(NOBODY) < 0)
                return 100;
        fd = instance_connect(instance);
        if (fd < 0)
                return -fd;
        (void)!send(fd, "INCR orders\r\n", 13, MSG_NOSIGNAL); /* or it is turned away by then */
        if (read(fd, answer, sizeof(answer) - 1) <= 0)
                return 101;
        if (strncmp(answer, "-NOPERM", 7) == 0)
                return strstr(answer, "may draw: " OTHER) ? 102 : 103;
        return answer[0] == ':' ? 0 : 104;
}

static void expect_draw(struct instance *instance, const char *group, int outcome)
{
        gid_t gid = gid_of(group);
        pid_t pid = instance_fork(instance);

        if (pid == 0)
                _exit(draw_as(instance, gid));
        assert_int_equal(instance_join(instance, pid, 60), outcome);
}

static void a_reload_takes_the_group_over(struct instance *instance)
{
        if (!may_give_away())
                skip();
        assert_int_equal(chmod(instance->directory, 0711), 0);
        configure(instance, ONE_GROUP);
        instance_start(instance);
        expect_group(instance, gid_of(ONE_GROUP));
        expect_draw(instance, ONE_GROUP, 0);
        configure(instance, OTHER);
        instance_reload(instance);
        expect_group(instance, gid_of(OTHER));
        expect_draw(instance, OTHER, 0);
        expect_draw(instance, ONE_GROUP, EACCES);
        /* Who reaches the socket all the same is told the group of now. */
        assert_int_equal(chmod(instance->socket, 0666), 0);
        expect_draw(instance, ONE_GROUP, 102);
}

/* None in the file is the daemon's own, not the one that was before. */
static void none_is_its_own(struct instance *instance)
{
        if (!may_give_away())
                skip();
        configure(instance, ONE_GROUP);
        instance_start(instance);
        configure(instance, "");
        instance_reload(instance);
        expect_group(instance, getegid());
        configure(instance, ONE_GROUP);
        instance_reload(instance);
        expect_group(instance, gid_of(ONE_GROUP));
        /* The next daemon takes the segment over as it is. */
        instance_kill(instance);
        configure(instance, "");
        instance_start(instance);
        expect_group(instance, getegid());
}

/* A reload that is refused gives nothing away. */
static void a_refused_reload_keeps_it(struct instance *instance)
{
        static const char *const commands[] = {"create a", "create b", "create c", NULL};
        char output[1024];
        FILE *file;

        if (!may_give_away())
                skip();
        configure(instance, "");
        instance_start(instance);
        for (const char *const *command = commands; *command; command++)
                assert_int_equal(instance_command(instance, output, sizeof(output), *command), 0);
        configure(instance, ONE_GROUP);
        file = fopen(instance->ini, "ae");
        assert_non_null(file);
        (void)fprintf(file, "[sequence too-many]\n");
        assert_int_equal(fclose(file), 0);
        instance_reload(instance);
        assert_true(instance_will_say(instance, "there would be 5 sequences"));
        expect_group(instance, getegid());
}

/* --- a socket that was passed ------------------------------------------------------------- */

/* As systemd would, at this path. */
static void listen_at(struct instance *instance, const char *path)
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};

        assert_true(strlen(path) < sizeof(address.sun_path));
        memcpy(address.sun_path, path, strlen(path) + 1);
        instance->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(instance->listener, (const struct sockaddr *)&address,
                              sizeof(address)),
                         0);
        assert_int_equal(chmod(path, 0660), 0);
        assert_int_equal(listen(instance->listener, 16), 0);
}

static void unlisten(struct instance *instance)
{
        instance_kill(instance);
        close(instance->listener);
        instance->listener = 0;
}

/* Its group is not the daemon's to change: who made it is told. */
static void a_passed_socket_has_its_group(struct instance *instance)
{
        if (!may_give_away())
                skip();
        configure(instance, "");
        listen_at(instance, instance->socket);
        instance_start(instance);
        assert_false(instance_says(instance, "SocketGroup="));
        configure(instance, ONE_GROUP);
        instance_reload(instance);
        assert_true(instance_says(instance, "SocketGroup=" ONE_GROUP));
        expect_gid(instance->socket, getegid());
        unlisten(instance);
}

/* Clients are sent to where the socket is, and the log says that the file differs. */
static void a_passed_socket_is_elsewhere(struct instance *instance)
{
        char path[208], output[4096];

        instance_configure(instance, "[sequence orders]\n");
        (void)snprintf(path, sizeof(path), "%s/elsewhere", instance->directory);
        listen_at(instance, path);
        instance_start(instance);
        assert_true(instance_says(instance, "ListenStream="));
        assert_true(instance_says(instance, path));
        if (instance_command(instance, output, sizeof(output), "create more") != 0)
                fail_msg("seqnum create: %s", output);
        (void)instance_command(instance, output, sizeof(output), "status");
        assert_non_null(strstr(output, path));
        instance_forget_log(instance);
        instance_reload(instance); /* and goes on to say so */
        assert_true(instance_says(instance, "ListenStream="));
        assert_false(instance_says(instance, "takes a restart"));
        unlisten(instance);
        /* The same file by another name is no difference. */
        assert_int_equal(unlink(path), 0);
        (void)snprintf(path, sizeof(path), "%s/./%s", instance->directory,
                       strrchr(instance->socket, '/') + 1);
        instance_forget_log(instance);
        listen_at(instance, path);
        instance_start(instance);
        assert_int_equal(instance_command(instance, output, sizeof(output), "create again"), 0);
        assert_false(instance_says(instance, "ListenStream="));
        unlisten(instance);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                instance_test(a_reload_takes_the_group_over),
                instance_test(none_is_its_own),
                instance_test(a_refused_reload_keeps_it),
                instance_test(a_passed_socket_has_its_group),
                instance_test(a_passed_socket_is_elsewhere),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
