/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Opening a shared memory object by its name, whoever put it there.
 *
 * What lies under a name may be anything: a link, a directory, a pipe whose other
 * end never comes. Here it is told apart, without waiting for it and without
 * believing a byte of it.
 */

#include <stdbool.h>
#include <sys/stat.h>

/* Of a name, with its slash (shm_open(3): NAME_MAX). */
#define OBJECT_NAME_MAX 255

/* Where shm_open(3) looks names up: shm_overview(7). */
#define OBJECT_DIRECTORY "/dev/shm"

/* Is `name` portable: "/" and no other slash? */
bool object_name_valid(const char *name);

/*
 * Open for reading, or for writing too. A descriptor and what fstat(2) says of it;
 * -EINVAL: no valid name, -ENOENT, -EACCES, -EMEDIUMTYPE: there is something, but
 * no shared memory object; or another errno.
 */
int object_open(const char *name, bool writable, struct stat *ret);
