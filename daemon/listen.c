/* SPDX-License-Identifier: MIT */

/* The listening socket and its peers; see listen.h. */

#include "listen.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "group.h"
#include "log.h"

/* Groups of a peer that are looked at; NGROUPS_MAX is 65536. */
#define GROUPS_MAX 65536

/* --- our own ------------------------------------------------------------------ */

static int fill_address(struct sockaddr_un *address, const char *path)
{
        *address = (struct sockaddr_un){.sun_family = AF_UNIX};
        if (strlen(path) >= sizeof(address->sun_path))
                return -ENAMETOOLONG;
        memcpy(address->sun_path, path, strlen(path) + 1);
        return 0;
}

/* Is somebody listening at the path? */
static bool answered(const struct sockaddr_un *address)
{
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        bool answered;

        if (fd < 0)
                return false;
        answered = connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 ||
                   errno == EAGAIN || errno == EACCES;
        close(fd);
        return answered;
}

/* Take away what a daemon that died left; nothing else. */
static int clear_path(const struct sockaddr_un *address)
{
        const char *path = address->sun_path;
        struct stat status;

        if (lstat(path, &status) < 0)
                return errno == ENOENT ? 0 : -errno;
        if (!S_ISSOCK(status.st_mode)) {
                log_error("socket = %s: something that is no socket is there; remove it, or choose "
                          "another path",
                          path);
                return -EEXIST;
        }
        if (answered(address)) {
                log_error("socket = %s: another process listens there; stop it, or choose another "
                          "path",
                          path);
                return -EBUSY;
        }
        return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

/* Never wider than it is to be, not for a moment. */
static int bind_private(int fd, const struct sockaddr_un *address, gid_t group)
{
        mode_t before = umask(0177);
        int r = bind(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ? -errno : 0;

        (void)umask(before);
        if (r >= 0 && chown(address->sun_path, (uid_t)-1, group) < 0)
                r = -errno;
        if (r >= 0 && chmod(address->sun_path, 0660) < 0)
                r = -errno;
        if (r >= 0 && listen(fd, SOMAXCONN) < 0)
                r = -errno;
        return r;
}

static const char *what_to_do(int error)
{
        switch (-error) {
        case ENOENT:
        case ENOTDIR:
                return "; make its directory (RuntimeDirectory= in the unit), or choose another "
                       "path, or none";
        case EACCES:
        case EPERM:
        case EROFS:
                return "; choose a directory that the service's user may write to, and let the "
                       "unit write to it (ReadWritePaths=)";
        default:
                return "";
        }
}

static int own_socket(const char *path, gid_t group)
{
        struct sockaddr_un address;
        int fd, r;

        r = fill_address(&address, path);
        if (r >= 0)
                r = clear_path(&address);
        if (r == -EEXIST || r == -EBUSY)
                return r; /* said */
        fd = r < 0 ? -1 : socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (r >= 0 && fd < 0)
                r = -errno;
        if (r >= 0)
                r = bind_private(fd, &address, group);
        if (r >= 0)
                return fd;
        log_error("socket = %s: cannot listen there: %s%s", path, strerror(-r), what_to_do(r));
        if (fd >= 0)
                close(fd);
        return r == -ENOENT ? -ENOTDIR : r;
}

int listen_open(const char *path, gid_t group, int passed, bool *made)
{
        int fd;

        *made = false;
        if (passed >= 0)
                return passed;
        if (!*path)
                return -ENOENT;
        fd = own_socket(path, group);
        *made = fd >= 0;
        return fd;
}

int listen_locate(int passed, char **path)
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        socklen_t size = sizeof(address);
        size_t length = 0;
        char *where;

        if (getsockname(passed, (struct sockaddr *)&address, &size) == 0 &&
            address.sun_path[0] == '/')
                length = strnlen(address.sun_path, sizeof(address.sun_path));
        if (length == sizeof(address.sun_path))
                length = 0; /* nobody could connect to it */
        where = strndup(address.sun_path, length);
        if (!where)
                return -ENOMEM;
        free(*path);
        *path = where;
        return 0;
}

static bool same_file(const char *one, const char *other)
{
        struct stat a, b;

        return strcmp(one, other) == 0 || (lstat(one, &a) == 0 && lstat(other, &b) == 0 &&
                                           a.st_dev == b.st_dev && a.st_ino == b.st_ino);
}

void listen_compare(const char *wanted, const char *path)
{
        if (same_file(wanted, path))
                return;
        if (!*path)
                log_warning("the socket that was passed has no path: socket = %s is not there, and "
                            "clients are sent nowhere; ListenStream= in the unit of the socket "
                            "takes an absolute path",
                            wanted);
        else
                log_warning("socket = %s, but one was passed that listens at %s: clients are sent "
                            "there; let the file and ListenStream= in the unit of the socket say "
                            "the same",
                            wanted, path);
}

void listen_permit(const char *path, bool made, gid_t group)
{
        char name[GROUP_TEXT_SIZE];
        struct stat status;

        (void)group_text(group, name);
        if (made && fchownat(AT_FDCWD, path, (uid_t)-1, group, AT_SYMLINK_NOFOLLOW) < 0)
                log_warning("socket = %s: cannot give it to group %s: %m; its members cannot "
                            "connect before a restart",
                            path, name);
        if (!made && lstat(path, &status) == 0 && status.st_gid != group &&
            !(status.st_mode & S_IWOTH))
                log_warning("socket = %s was passed, and is group %u's: members of %s cannot "
                            "connect; SocketGroup=%s in the unit of the socket, and a restart of "
                            "it, let them",
                            path, (unsigned)status.st_gid, name, name);
}

/* --- peers --------------------------------------------------------------------- */

static bool in_groups(int fd, gid_t group)
{
        socklen_t size = 0;
        gid_t *groups;
        bool found = false;

        if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &size) == 0 || errno != ERANGE ||
            size > GROUPS_MAX * sizeof(gid_t))
                return false;
        groups = malloc(size);
        if (groups && getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size) == 0)
                for (size_t i = 0; i < size / sizeof(gid_t); i++)
                        found |= groups[i] == group;
        free(groups);
        return found;
}

int peer_read(int fd, gid_t group, struct peer *ret)
{
        struct ucred credentials;
        socklen_t size = sizeof(credentials);

        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0)
                return -errno;
        ret->uid = credentials.uid;
        ret->administers = credentials.uid == 0 || credentials.uid == geteuid();
        ret->draws = ret->administers || credentials.gid == group || in_groups(fd, group);
        return 0;
}
