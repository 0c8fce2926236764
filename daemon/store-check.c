/* SPDX-License-Identifier: MIT */

/*
 * Is a file that was opened a store of ours, and whole? And what it says of itself.
 */

#include "store-sqlite.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "manager.h"

/* The one integer or text that a query yields; a damaged file may yield none. */
static int query_int(struct store_sqlite *s, const char *sql, int64_t *ret)
{
        sqlite3_stmt *statement = NULL;
        int code, r = 0;

        code = sqlite3_prepare_v2(s->db, sql, -1, &statement, NULL);
        if (code == SQLITE_OK)
                code = sqlite3_step(statement);
        if (code == SQLITE_ROW)
                *ret = sqlite3_column_int64(statement, 0);
        else if (code == SQLITE_DONE)
                r = sqlite_corrupt(s, "something is missing");
        else
                r = sqlite_fail(s, code, "read");
        (void)sqlite3_finalize(statement);
        return r;
}

/* A large store takes its time, which is no reason to give up on it. */
#define PROGRESS_STEPS 100000

static int on_progress(void *userdata)
{
        (void)userdata;
        manager_alive();
        return 0;
}

void sqlite_take_time(struct store_sqlite *s, bool begins)
{
        sqlite3_progress_handler(s->db, begins ? PROGRESS_STEPS : 0, begins ? on_progress : NULL,
                                 NULL);
}

static int check_identity(struct store_sqlite *s)
{
        int64_t application = 0, version = 0;
        int r;

        r = query_int(s, "PRAGMA application_id", &application);
        if (r >= 0)
                r = query_int(s, "PRAGMA user_version", &version);
        if (r < 0)
                return r;
        if (application != APPLICATION_ID)
                return sqlite_corrupt(s, "it is a database, but not a store of seqnumd");
        if (version > SCHEMA_VERSION)
                return sqlite_say(
                        s, -EPROTONOSUPPORT,
                        "the store %s was written by a newer version of seqnumd (format %" PRId64
                        ", this one knows %d): install that version",
                        s->path, version, SCHEMA_VERSION);
        if (version < 1)
                return sqlite_corrupt(s, "it has no format version");
        s->version = version;
        return 0;
}

static int check_contents(struct store_sqlite *s)
{
        sqlite3_stmt *statement = NULL;
        const char *verdict = NULL;
        int code, r = 0;

        code = sqlite3_prepare_v2(s->db, "PRAGMA integrity_check(1)", -1, &statement, NULL);
        sqlite_take_time(s, true);
        if (code == SQLITE_OK)
                code = sqlite3_step(statement);
        sqlite_take_time(s, false);
        if (code == SQLITE_ROW)
                verdict = (const char *)sqlite3_column_text(statement, 0);
        if (code != SQLITE_ROW)
                r = sqlite_fail(s, code, "check");
        else if (!verdict || strcmp(verdict, "ok") != 0)
                r = sqlite_corrupt(s, verdict ? verdict : "it cannot be checked");
        (void)sqlite3_finalize(statement);
        return r;
}

int sqlite_check(struct store_sqlite *s)
{
        int r = check_identity(s);

        return r < 0 ? r : check_contents(s);
}

/* Of a key of `meta`. 0; -ENOENT: it has none; -EMSGSIZE: of another size; or said. */
static int read_value(struct store_sqlite *s, const char *key, void *ret, int size)
{
        sqlite3_stmt *statement = NULL;
        int code, r = 0;

        code = sqlite3_prepare_v2(s->db, "SELECT value FROM meta WHERE key = ?", -1, &statement,
                                  NULL);
        if (code == SQLITE_OK)
                code = sqlite3_bind_text(statement, 1, key, -1, SQLITE_STATIC);
        if (code == SQLITE_OK)
                code = sqlite3_step(statement);
        if (code == SQLITE_DONE || code == SQLITE_ERROR) /* not even the table */
                r = -ENOENT;
        else if (code != SQLITE_ROW)
                r = sqlite_fail(s, code, "read");
        else if (sqlite3_column_bytes(statement, 0) != size)
                r = -EMSGSIZE;
        else
                memcpy(ret, sqlite3_column_blob(statement, 0), (size_t)size);
        (void)sqlite3_finalize(statement);
        return r;
}

static int read_instance(struct store_sqlite *s)
{
        int r = read_value(s, "instance", s->store.instance_id, STORE_INSTANCE_ID_SIZE);

        return r == -ENOENT || r == -EMSGSIZE ? sqlite_corrupt(s, "its instance id is missing") : r;
}

/* None in a store that never was served from. */
static int read_segment(struct store_sqlite *s)
{
        int r = read_value(s, "segment", &s->store.segment_id, sizeof(s->store.segment_id));

        if (r == -EMSGSIZE)
                return sqlite_corrupt(s, "its segment id is none");
        return r == -ENOENT ? 0 : r;
}

/* The last id given, which no row has passed unless the file is damaged. */
int sqlite_read_last_id(struct store_sqlite *s)
{
        int64_t last_id = 0, largest = 0;
        int r;

        r = query_int(
                s, "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'sequence'), 0)",
                &last_id);
        if (r >= 0)
                r = query_int(s, "SELECT coalesce(max(id), 0) FROM sequence", &largest);
        if (r < 0)
                return r;
        if (last_id < 0 || last_id < largest)
                return sqlite_corrupt(s, "the last id it gave is lost");
        s->store.last_id = (uint64_t)last_id;
        return 0;
}

int sqlite_read_meta(struct store_sqlite *s)
{
        int r;

        r = read_instance(s);
        return r < 0 ? r : read_segment(s);
}
