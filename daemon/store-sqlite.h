/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The store in SQLite, from inside: what its four files share.
 *
 *   store-sqlite.c   the store's interface: transactions, and what went wrong in words
 *   store-rows.c     a sequence as a row, and each operation on it
 *   store-files.c    the file and its log: made, found, opened, replaced
 *   store-check.c    is it one of ours, and whole?
 */

#include <limits.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "params.h"
#include "store.h"

enum statement {
        BEGIN,
        COMMIT,
        ROLLBACK,
        LOAD,
        FETCH,
        INSERT,
        UPDATE,
        MOVE,
        DELETE,
        SEGMENT,
        N_STATEMENTS
};

/* What is next, when the files are to be replaced. */
enum stage { COPY, DECIDE, FINISH };

struct store_sqlite {
        struct store store;
        int lock;
        sqlite3 *db;
        sqlite3_stmt *prepared[N_STATEMENTS];
        int64_t version;       /* of the format, as it was found */
        bool distrusted;       /* a write or a sync failed: the files are to be replaced */
        enum stage stage;      /* how far that has come */
        int copy;              /* of the file that is to replace it; or -1 */
        int former;            /* of the file that was replaced, locked; or -1 */
        struct stat file, log; /* where they were found */
        char directory[PATH_MAX], path[PATH_MAX];
};

/* --- what went wrong (store-sqlite.c) ------------------------------------ */

/* Put a sentence into the store's message; returns `error`. */
int sqlite_say(struct store_sqlite *s, int error, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

/* The file is damaged: says so, and returns -EBADMSG. */
int sqlite_corrupt(struct store_sqlite *s, const char *what);

/* A call of SQLite's failed with `code`, as we were about to `what`: a negative errno. */
int sqlite_fail(struct store_sqlite *s, int code, const char *what);

/* --- rows and operations (store-rows.c) ----------------------------------- */

struct sqlite_row {
        struct store_sequence sequence; /* its name points into `name` */
        char name[SEQUENCE_NAME_MAX + 1];
};

/* Prepare all statements. 0 or a negative errno, said. */
int sqlite_prepare(struct store_sqlite *s);

/* Run a statement that yields no rows; always leaves it ready to run again. */
int sqlite_run(struct store_sqlite *s, enum statement which, const char *what);

/* The row that the statement stands at, checked. 0, or -EBADMSG, said. */
int sqlite_read_row(struct store_sqlite *s, sqlite3_stmt *statement, struct sqlite_row *row);

/* One operation, within a transaction. 0 or a negative errno, said. */
int sqlite_apply(struct store_sqlite *s, struct store_op *op);

/* --- one of ours? (store-check.c) ------------------------------------------ */

#define APPLICATION_ID 0x5365714e /* "SeqN" */
#define SCHEMA_VERSION 2

/* Is what is open a store of ours, of a format we know, and whole? 0 or a negative errno, said. */
int sqlite_check(struct store_sqlite *s);

/* Read the ids: of the instance and the segment in use; and the last one given. As above. */
int sqlite_read_meta(struct store_sqlite *s);
int sqlite_read_last_id(struct store_sqlite *s);

/* What may take long begins, or ends: the manager is told that we are at it. */
void sqlite_take_time(struct store_sqlite *s, bool begins);

/* --- files (store-files.c) -------------------------------------------------- */

/* Find the store, or make it, and open it. 0 or a negative errno, said. */
int sqlite_open_files(struct store_sqlite *s);

/* Was the file or its log removed or replaced by somebody? Logs it. */
bool sqlite_files_moved(const struct store_sqlite *s);

/*
 * Put what is known into a new file, and open that: after a failed write or sync, or
 * when the files were moved. Goes on where the last attempt failed.
 */
int sqlite_renew_files(struct store_sqlite *s);

/* The same before the end: without opening it again. */
int sqlite_replace_files(struct store_sqlite *s);

/* Close the file; its log stays if it is not to be believed. */
void sqlite_close_files(struct store_sqlite *s);
