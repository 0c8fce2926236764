/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The control socket: who connects, what they send, and what is sent back.
 *
 * Everything happens in the loop's thread, and nothing of it waits: a request
 * that must wait is parked with its connection and run again when the store has
 * committed something; the connection's later requests wait behind it, other
 * connections do not notice. What a client does not read is not produced: from
 * some amount of unsent answers on nothing more is read from it.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct control;
struct service;

/*
 * Listen on the socket that the service manager passed, or make the one of the
 * configuration. 0; *ret is NULL where there is to be none. A negative errno
 * after having logged why and what to do.
 */
int control_new(struct control **ret, struct service *service);

/* Close all connections, rolling back; remove the socket if we made it. NULL is fine. */
struct control *control_free(struct control *control);

/* Something may have changed for those who wait. NULL is fine. */
void control_retry(struct control *control);

/* The group that may draw is another from now on: let its members connect. NULL is fine. */
void control_permit(const struct control *control, gid_t group);

/* Was the socket passed, and is not ours? NULL is fine. */
bool control_passed(const struct control *control);
