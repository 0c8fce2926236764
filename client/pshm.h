/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * pshm(1), shared memory objects from the command line: what its files share.
 *
 *   pshm.c                the table of verbs
 *   pshm-args.c           names, sizes and modes; errors
 *   pshm-object.c         create, resize, rm: the object as a whole
 *   pshm-data.c           write, read: its bytes
 *   pshm-look.c           what an object is, and whose
 *   pshm-mappers.c        who has it mapped
 *   pshm-ls.c             ls, stat
 *   pshm-stream.c         the stream in an object, see pshm-stream.h
 *   pshm-stream-report.c  what both sides of one say when it goes wrong
 *   pshm-guard.c          what signals do to a stream
 *   pshm-progress.c       bytes, time and rate on the terminal
 *   pshm-send.c           send
 *   pshm-recv.c           recv
 *
 * Entry, dispatch and options are those of seqnum(1): cli.h. Bytes of objects that
 * are not streams are read and written by system calls, never through a mapping:
 * so that a full tmpfs and an object cut short are errors, and no SIGBUS.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "cli.h"
#include "object.h"

/* More of pshm's exit statuses, beside those of cli.h. */
enum {
        PSHM_NO_SPACE = 73, /* EX_CANTCREAT */
};

#define PSHM_OPTION_FORCE                                                                          \
        {                                                                                          \
                'f', "force", NULL, "also if it is a segment that seqnumd serves"                  \
        }

extern const struct cli_option pshm_create_options[], pshm_write_options[], pshm_read_options[],
        pshm_ls_options[], pshm_stat_options[], pshm_rm_options[], pshm_resize_options[],
        pshm_send_options[], pshm_recv_options[];

int pshm_create(const struct cli *cli, const struct cli_args *args);
int pshm_write(const struct cli *cli, const struct cli_args *args);
int pshm_read(const struct cli *cli, const struct cli_args *args);
int pshm_ls(const struct cli *cli, const struct cli_args *args);
int pshm_stat(const struct cli *cli, const struct cli_args *args);
int pshm_rm(const struct cli *cli, const struct cli_args *args);
int pshm_resize(const struct cli *cli, const struct cli_args *args);
int pshm_send(const struct cli *cli, const struct cli_args *args);
int pshm_recv(const struct cli *cli, const struct cli_args *args);

/* --- names, sizes, modes, errors (pshm-args.c) --------------------------- */

/* A name with its slash and a NUL; and where it is found as a file. */
#define PSHM_NAME_SIZE (OBJECT_NAME_MAX + 1)
#define PSHM_PATH_SIZE (sizeof(OBJECT_DIRECTORY) + OBJECT_NAME_MAX)

/* What a file can be long. */
#define PSHM_SIZE_MAX ((uint64_t)INT64_MAX)

/* 0 and the name with its slash; or CLI_USAGE after saying that `text` is none. */
int pshm_name(const char *text, char ret[static PSHM_NAME_SIZE]);

/* The file in which the object lies. */
void pshm_path(const char *name, char ret[static PSHM_PATH_SIZE]);

/* "4096", "64K", "1M": bytes in min..max. 0, or CLI_USAGE after saying what is wrong. */
int pshm_size(const char *text, const char *what, uint64_t min, uint64_t max, uint64_t *ret);

/* The octal mode in option -m, `*ret` untouched without; 0, or CLI_USAGE after saying so. */
int pshm_mode(const struct cli_args *args, mode_t *ret);

/* Option -w in microseconds; `*ret` untouched if `text` is NULL. 0, or CLI_USAGE after saying so. */
int pshm_wait(const char *text, uint64_t *ret);

/* "1.50MiB"; as pv(1) has it, never wider than 7 characters below 1024 EiB. */
#define PSHM_BYTES_SIZE 16
const char *pshm_bytes(uint64_t bytes, char text[static PSHM_BYTES_SIZE]);

/* Say that `what` (as "opening") failed on `name`, and what to do; the exit status. */
int pshm_fail(const char *what, const char *name, int error);

/* --- the object as a whole (pshm-object.c) ------------------------------- */

/*
 * An object without a name, `size` bytes, all of them reserved. A descriptor, or a
 * negative errno: -ENOSPC if the memory is not there.
 */
int pshm_object_new(uint64_t size, mode_t mode);

/* Give it the name, which nobody may have: 0, -EEXIST, or another errno. */
int pshm_object_link(int fd, const char *name);

/*
 * Reserve the pages of `length` bytes from `offset` on, making the object as large
 * as that. 0 or a negative errno, -ENOSPC: nothing was reserved.
 */
int pshm_reserve(int fd, uint64_t offset, uint64_t length);

/* --- who has it mapped (pshm-mappers.c) ---------------------------------- */

struct pshm_mapper {
        dev_t device;
        ino_t inode;
        pid_t pid;
        uint64_t end; /* of the object's bytes that it maps */
        char command[16];
};

struct pshm_mappers {
        struct pshm_mapper *all; /* sorted by inode, then by pid; owned */
        size_t n, room;
        size_t unseen; /* processes that we may not look into */
};

/* All mappings of objects, by a look into every process there is. 0 or -errno. */
int pshm_mappers_look(struct pshm_mappers *ret);
void pshm_mappers_free(struct pshm_mappers *mappers);

/* Those of one object; how many. */
size_t pshm_mappers_of(const struct pshm_mappers *mappers, dev_t device, ino_t inode,
                       const struct pshm_mapper **ret);

/* --- what an object is (pshm-look.c) -------------------------------------- */

enum pshm_kind {
        PSHM_OBJECT,
        PSHM_SEGMENT,   /* of a seqnumd */
        PSHM_STREAM,    /* of pshm send */
        PSHM_SEMAPHORE, /* a named one */
        PSHM_OTHER,     /* no shared memory object */
};

struct pshm_look {
        char name[PSHM_NAME_SIZE];
        struct stat status;
        enum pshm_kind kind;
        bool readable; /* we could look inside */

        /* PSHM_SEGMENT */
        uint32_t sequences;
        bool served;     /* a daemon looks after it, */
        uint32_t daemon; /* this process, as it says */

        /* PSHM_STREAM */
        uint32_t blocks;
        uint64_t block_size;
        bool sender, receiver; /* live */
};

/* 0, -ENOENT, or another errno. */
int pshm_look(struct pshm_look *ret, const char *name);

/* Is it a segment that a daemon, process *ret_daemon, looks after? */
bool pshm_served(const char *name, uint32_t *ret_daemon);

/* Without option -f: 0, or CLI_NO after saying that what is served is not for `what`. */
int pshm_spare_served(const struct cli_args *args, const char *what, const char *name);

/* Anybody may name an object as he likes: what a terminal and JSON take of it. */
const char *pshm_shown(const char *name, char text[static PSHM_NAME_SIZE]);

const char *pshm_kind_text(enum pshm_kind kind);

/* Of a segment: the instance's name, which is part of the object's. */
const char *pshm_look_instance(const struct pshm_look *look);

/* "of instance billing, 12 sequences, served"; "" for what has nothing more to tell. */
void pshm_look_details(const struct pshm_look *look, char *text, size_t size);
