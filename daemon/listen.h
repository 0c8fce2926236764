/* SPDX-License-Identifier: MIT */
#pragma once

/* Getting the listening control socket, and who is at the other end of a connection. */

#include <stdbool.h>
#include <sys/types.h>

/*
 * A listening socket: `passed`, or if that is -1 a new one at `path`, for members
 * of `group`. The file descriptor, *made telling whether the path is ours to
 * remove; -ENOENT if there is to be none (an empty path); or a negative errno
 * after having logged why.
 */
int listen_open(const char *path, gid_t group, int passed, bool *made);

/*
 * Put the path of the socket that was passed in place of *path, which is freed;
 * "" if it has none. 0 or -ENOMEM.
 */
int listen_locate(int passed, char **path);

/* A passed socket at `path` may not be where the file says: then what to do is logged. */
void listen_compare(const char *wanted, const char *path);

/*
 * Let members of `group` connect, where we `made` the socket; whose a passed one
 * is stays as it is, and who cannot connect by that is said in the log.
 */
void listen_permit(const char *path, bool made, gid_t group);

struct peer {
        uid_t uid;
        bool draws; /* it may */
        bool administers;
};

/* By the credentials that the kernel has noted: SO_PEERCRED, SO_PEERGROUPS; unix(7). */
int peer_read(int fd, gid_t group, struct peer *ret);
