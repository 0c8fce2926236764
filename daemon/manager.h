/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The service manager: what systemd passes to the daemon, keeps for it, and is
 * told of its life (sd_notify(3), sd_listen_fds(3), systemd.service(5)).
 *
 * Without a manager all of it does nothing, and one that does not read what it is told
 * holds up nothing for longer than a second. The loop's thread alone, except for
 * manager_alive().
 */

#include <stdbool.h>
#include <stdint.h>

#include <systemd/sd-event.h>

/* Descriptors that were passed in; -1: none. The caller's from then on. */
struct manager_fds {
        int socket;  /* a listening stream socket of the Unix domain */
        int segment; /* the segment that the last daemon had the manager keep */
};

/* 0, or -EINVAL after having logged what was passed and what would be right. */
int manager_take_fds(struct manager_fds *ret);

/* --- our life ------------------------------------------------------------- */

void manager_ready(void);
void manager_reloading(void);
void manager_stopping(void);

/* One line for `systemctl status`. */
void manager_status(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * A start or a stop goes on: asks for more time. To be called at every step of
 * work that may be long, from any thread; cheap, and nothing while serving.
 */
void manager_alive(void);

/*
 * Tell the manager's watchdog, from the loop, that all is well, as long as
 * well() says so. 0, also when there is no watchdog; or a negative errno.
 * `limit` given to well() is for how long a single step may take, in usec.
 */
int manager_watch(sd_event *event, bool (*well)(uint64_t limit, void *userdata), void *userdata);
void manager_unwatch(void);

/* --- what it keeps for us --------------------------------------------------- */

/*
 * Have the segment behind `fd` kept in the manager's store, in place of the one
 * before: the next daemon gets it passed even when its name is gone by then.
 */
void manager_keep_segment(int fd);

/*
 * The file behind `fd` through a descriptor of its own: locks on it (F_OFD_SETLK)
 * do not outlive us, as they would on one that the manager has too. Or -errno.
 */
int manager_reopen(int fd);
