/* SPDX-License-Identifier: MIT */

/* What seqnum(1) says of the library's errors, each with a hint, and its exit statuses. */

#include <errno.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli.h"
#include "directory.h"
#include "handle.h"
#include "similar.h"

static const struct {
        int error;
        enum cli_exit status;
        const char *hint;
} outcomes[] = {
        {ENOENT, CLI_NO, "'seqnum list' shows the names there are"},
        {EOVERFLOW, CLI_NO, "'seqnum info' shows its limits"},
        {ERANGE, CLI_NO, "ask for fewer at a time; 'seqnum info' shows its limits"},
        {EINVAL, CLI_USAGE, NULL},
        {EBADMSG, CLI_DATA, "'seqnum status' shows whose object it is"},
        {EPROTO, CLI_DATA, "'seqnum status' shows the socket"},
        {EMSGSIZE, CLI_DATA, "'seqnum status' shows the socket"},
        {EPROTONOSUPPORT, CLI_DATA, "use the seqnum that came with that seqnumd"},
        {ENOEXEC, CLI_DATA, "use a seqnum built for the C library that seqnumd uses"},
        {ENXIO, CLI_UNAVAILABLE, "start seqnumd, or name its segment with -s or $SEQNUM_SHM"},
        {EAGAIN, CLI_UNAVAILABLE, NULL},
        {EOPNOTSUPP, CLI_NO, "'seqnum info' shows its kind"},
        {ESTALE, CLI_TRY_AGAIN, NULL},
        {EREMOTEIO, CLI_UNAVAILABLE, NULL},
        {ENOTRECOVERABLE, CLI_UNAVAILABLE, "'seqnum info' shows where it is now"},
        {ENOSPC, CLI_NO, "'seqnum status' shows how many"},
        {ETIMEDOUT, CLI_TRY_AGAIN, "'seqnum status' tells; -t waits longer"},
        {EACCES, CLI_NOT_PERMITTED, "'seqnum status' shows the group"},
        {EPERM, CLI_NOT_PERMITTED,
         "'seqnum status' shows the owner and the mode; if the owner is right, say so by his "
         "number in $SEQNUM_OWNER"},
};

int cli_exit_status(int error)
{
        if (error == 0)
                return CLI_OK;
        for (size_t i = 0; i < sizeof(outcomes) / sizeof(outcomes[0]); i++)
                if (outcomes[i].error == -error)
                        return (int)outcomes[i].status;
        return CLI_SYSTEM;
}

const char *cli_hint(int error)
{
        for (size_t i = 0; i < sizeof(outcomes) / sizeof(outcomes[0]); i++)
                if (outcomes[i].error == -error)
                        return outcomes[i].hint;
        return NULL;
}

int cli_fail(const char *what, const char *object, int error)
{
        const char *hint = cli_hint(error);

        if (hint)
                cli_complain("%s %s: %s (%s)", what, object, seqnum_strerror(error), hint);
        else
                cli_complain("%s %s: %s", what, object, seqnum_strerror(error));
        return cli_exit_status(error);
}

int cli_fail_draw(const char *what, const char *name, struct seqnum *seq, uint64_t count, int error)
{
        struct snapshot s = snapshot_take(seq);

        if (error == -ETIMEDOUT && s.turn_held && s.holder_alive)
                cli_complain("%s %s: the time is up, and another process has the turn "
                             "('seqnum info %s' shows it; -t waits longer)",
                             what, name, name);
        else if (error == -EOVERFLOW && s.left > 0 && s.left < count)
                cli_complain("%s %s: it has fewer than %" PRIu64 " numbers left: ask for fewer "
                             "('seqnum info %s' shows its limits)",
                             what, name, count, name);
        else if (error == -EOVERFLOW)
                cli_complain("%s %s: it has come to its end ('seqnum info %s' shows its limits)",
                             what, name, name);
        else if (error == -ERANGE && s.kind == SEQUENCE_TIME)
                cli_complain("%s %s: a millisecond has %" PRIu64 " ids: ask for fewer at a time",
                             what, name, UINT64_C(1) << s.view->map.serial_bits);
        else if (error == -ERANGE)
                cli_complain("%s %s: a round has %" PRIu64 " numbers: ask for fewer at a time",
                             what, name, s.view->map.period);
        else
                return cli_fail(what, name, error);
        return cli_exit_status(error);
}

int cli_object_stat(const char *shm, struct stat *ret)
{
        char path[sizeof("/dev/shm") + SEGMENT_NAME_MAX];

        (void)snprintf(path, sizeof(path), "/dev/shm%s", shm);
        return lstat(path, ret) < 0 ? -errno : 0;
}

bool cli_object_wrong_mode(const struct stat *status)
{
        return S_ISREG(status->st_mode) && (status->st_mode & S_IWOTH);
}

static bool is_number(const char *text)
{
        return *text && text[strspn(text, "0123456789")] == '\0';
}

/* Owner or mode are not such that a byte of the object is to be believed. */
static void complain_of_owner(const char *shm, const struct stat *status)
{
        const char *vouched = getenv("SEQNUM_OWNER");
        const struct passwd *user = getpwuid(status->st_uid);
        unsigned owner = status->st_uid, mode = status->st_mode & 07777;

        if (!S_ISREG(status->st_mode))
                cli_complain("attaching to %s: /dev/shm%s is no shared memory object: somebody "
                             "planted it; remove it",
                             shm, shm);
        else if (cli_object_wrong_mode(status))
                cli_complain("attaching to %s: everybody may write it (mode %04o), so it is not "
                             "believed: 'chmod o-w /dev/shm%s', or have seqnumd put that right "
                             "by a reload",
                             shm, mode, shm);
        else if (vouched && *vouched && !is_number(vouched))
                cli_complain("attaching to %s: $SEQNUM_OWNER '%s' is no number of a user: if user "
                             "%u runs the service, say SEQNUM_OWNER=%u",
                             shm, vouched, owner, owner);
        else
                cli_complain("attaching to %s: it belongs to %s, who is not the service: if he is, "
                             "say so: SEQNUM_OWNER=%u",
                             shm, user ? user->pw_name : "a user without a name", owner);
}

int cli_fail_attach(const char *shm, int error)
{
        struct stat status;

        if (error != -EPERM || cli_object_stat(shm, &status) < 0)
                return cli_fail("attaching to", shm, error);
        complain_of_owner(shm, &status);
        return cli_exit_status(error);
}

int cli_attach(const struct cli *cli, unsigned flags, struct seqnum_client **ret)
{
        struct seqnum_client *client;
        int r;

        r = seqnum_attach(&client, cli->shm, flags);
        if (r < 0)
                return cli_fail_attach(cli->shm, r);
        seqnum_set_timeout(client, cli->timeout_usec);
        *ret = client;
        return 0;
}

/* Give up looking for what is meant after so many names: a complaint must not take long. */
#define NAMES_TRIED_MAX 100000

struct guess {
        struct similar similar;
        size_t tried;
};

static int guess_try(const struct mapping *mapping, const char *name, size_t length, uint32_t slot,
                     void *userdata)
{
        struct guess *guess = userdata;

        (void)mapping;
        (void)slot;
        if (sequence_name_valid(name, length))
                similar_try(&guess->similar, name, length);
        return ++guess->tried == NAMES_TRIED_MAX;
}

int cli_no_sequence(const struct mapping *mapping, const char *name)
{
        struct guess guess = {.similar = similar_to(name, strlen(name))};

        (void)directory_each(mapping, guess_try, &guess);
        if (guess.similar.found)
                cli_complain("no such sequence '%s': did you mean '%.*s'?", name,
                             (int)guess.similar.found_length, guess.similar.found);
        else
                cli_complain("no such sequence '%s' (%s)", name, cli_hint(-ENOENT));
        return CLI_NO;
}

int cli_check_name(const char *name)
{
        if (sequence_name_valid(name, strlen(name)))
                return 0;
        cli_complain("'%s' is no name of a sequence: give 1 to %d characters of "
                     "letters, digits and . _ : / -",
                     name, SEQUENCE_NAME_MAX);
        return CLI_USAGE;
}

/*
 * Open what is there: who only looks brings no name into being that a template would
 * allow for, a mistyped one perhaps. Without time to ask the daemon nobody is asked.
 */
static int find(const struct cli *cli, struct seqnum_client *client, const char *name,
                struct seqnum **ret)
{
        int r;

        seqnum_set_timeout(client, 0);
        r = seqnum_open(ret, client, name);
        seqnum_set_timeout(client, cli->timeout_usec);
        return r == -ETIMEDOUT ? -ENOENT : r;
}

static int complain_of_opening(const struct mapping *mapping, const char *name, int error)
{
        if (error == -ENOENT)
                return cli_no_sequence(mapping, name);
        if (error != -ETIMEDOUT)
                return cli_fail("opening", name, error);
        cli_complain("opening %s: there is none yet, and seqnumd, which may make it from a "
                     "template, did not answer in time ('seqnum status' tells whether it runs; "
                     "-t waits longer)",
                     name);
        return cli_exit_status(error);
}

int cli_open(const struct cli *cli, unsigned flags, const char *name,
             struct seqnum_client **ret_client, struct seqnum **ret)
{
        struct seqnum_client *client = NULL;
        int r;

        r = cli_check_name(name);
        if (r == 0)
                r = cli_attach(cli, flags, &client);
        if (r != 0 || !client)
                return r;
        r = flags & SEQNUM_RDONLY ? find(cli, client, name, ret) : seqnum_open(ret, client, name);
        if (r == 0) {
                *ret_client = client;
                return 0;
        }
        r = complain_of_opening(client->mappings, name, r);
        seqnum_detach(client);
        return r;
}
