/* SPDX-License-Identifier: MIT */

/*
 * The store in SQLite: one file, seqnumd.db, in the state directory.
 *
 * Write-ahead log, synchronous=FULL: COMMIT returns after the log was synced,
 * so what it confirmed survives a power cut (sqlite.org/pragma.html). Unless a
 * write or a sync failed: then SQLite writes the same frames of the log anew and
 * syncs again, and the kernel may say that this worked when it did not (renewal.h).
 * So after such a failure nothing is confirmed before the store is in a new file.
 */

#include "store-sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "manager.h"
#include "statedir.h"

#define DB_FILE "seqnumd.db"

/* --- errors ------------------------------------------------------------ */

static int errno_of(sqlite3 *db, int code)
{
        switch (code & 0xff) {
        case SQLITE_FULL:
                return -ENOSPC;
        case SQLITE_IOERR:
                /* Of a failed COMMIT sqlite3_system_errno() knows nothing. */
                return errno == ENOSPC || errno == EDQUOT ? -ENOSPC : -EIO;
        case SQLITE_READONLY:
                return -EROFS;
        case SQLITE_CORRUPT:
        case SQLITE_NOTADB:
                return -EBADMSG;
        case SQLITE_NOMEM:
                return -ENOMEM;
        case SQLITE_BUSY:
        case SQLITE_LOCKED:
                return -EBUSY;
        case SQLITE_PERM:
        case SQLITE_AUTH:
                return -EACCES;
        case SQLITE_CANTOPEN:
                return sqlite3_system_errno(db) ? -sqlite3_system_errno(db) : -EIO;
        default:
                return -EIO;
        }
}

int sqlite_say(struct store_sqlite *s, int error, const char *format, ...)
{
        va_list args;

        free(s->store.message);
        va_start(args, format);
        if (vasprintf(&s->store.message, format, args) < 0)
                s->store.message = NULL;
        va_end(args);
        /* integrity_check has more than one line to say; a message is one. */
        for (char *c = s->store.message; c && *c; c++)
                if (*c == '\n')
                        *c = ' ';
        return error;
}

int sqlite_corrupt(struct store_sqlite *s, const char *what)
{
        return sqlite_say(
                s, -EBADMSG,
                "the store %s is damaged (%s); restore it from a backup, it is not started over",
                s->path, what);
}

int sqlite_fail(struct store_sqlite *s, int code, const char *what)
{
        int error = errno_of(s->db, code);

        if ((code & 0xff) == SQLITE_IOERR)
                s->distrusted = true;

        if (error == -EBADMSG)
                return sqlite_corrupt(s, sqlite3_errmsg(s->db));
        if (error == -ENOSPC)
                return sqlite_say(s, error, "cannot %s %s: %s", what, s->path, strerror(ENOSPC));
        return sqlite_say(s, error, "cannot %s %s: %s", what, s->path,
                          s->db ? sqlite3_errmsg(s->db) : sqlite3_errstr(code));
}

/* --- transactions ------------------------------------------------------ */

static int sqlite_commit(struct store *store, struct store_op *ops, size_t n_ops)
{
        struct store_sqlite *s = (struct store_sqlite *)store;
        uint64_t last_id = s->store.last_id;
        int r;

        free(s->store.message);
        s->store.message = NULL; /* what failed before is not why this one does */
        for (size_t i = 0; i < n_ops; i++)
                ops[i].error = 0;
        s->distrusted = s->distrusted || sqlite_files_moved(s);
        r = s->distrusted ? sqlite_renew_files(s) : 0;
        if (r < 0)
                return r;
        r = sqlite_run(s, BEGIN, "begin a transaction in");
        for (size_t i = 0; i < n_ops && r >= 0; i++) {
                manager_alive();
                r = ops[i].error = sqlite_apply(s, &ops[i]);
        }
        if (r >= 0)
                r = sqlite_run(s, COMMIT, "commit to");
        if (r >= 0)
                return 0;
        s->store.last_id = last_id;
        /* Most I/O errors end the transaction by themselves. */
        if (!sqlite3_get_autocommit(s->db)) {
                (void)sqlite3_step(s->prepared[ROLLBACK]);
                (void)sqlite3_reset(s->prepared[ROLLBACK]);
        }
        return r;
}

static int sqlite_load(struct store *store,
                       int (*each)(const struct store_sequence *sequence, void *userdata),
                       void *userdata)
{
        struct store_sqlite *s = (struct store_sqlite *)store;
        sqlite3_stmt *statement = s->prepared[LOAD];
        struct sqlite_row row;
        int code, r = 0;

        while (r == 0 && (code = sqlite3_step(statement)) != SQLITE_DONE) {
                if (code != SQLITE_ROW)
                        r = sqlite_fail(s, code, "read");
                else
                        r = sqlite_read_row(s, statement, &row);
                if (r == 0)
                        r = each(&row.sequence, userdata);
        }
        (void)sqlite3_reset(statement);
        return r;
}

/* --- beginning and end ------------------------------------------------- */

static void destroy(struct store_sqlite *s)
{
        sqlite_close_files(s);
        if (s->copy >= 0)
                close(s->copy);
        if (s->former >= 0)
                close(s->former);
        if (s->lock >= 0)
                close(s->lock);
        free(s->store.message);
        free(s);
}

/* So that what a failed commit left in the log is not found by the next start, if possible. */
static void sqlite_close(struct store *store)
{
        struct store_sqlite *s = (struct store_sqlite *)store;

        if (s->distrusted)
                (void)sqlite_replace_files(s);
        destroy(s);
}

static const struct store_vtable sqlite_vtable = {
        .load = sqlite_load,
        .commit = sqlite_commit,
        .close = sqlite_close,
};

int store_open_sqlite(struct store **ret, const char *directory, char **message)
{
        struct store_sqlite *s;
        int r;

        s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;
        s->store.vtable = &sqlite_vtable;
        s->lock = s->copy = s->former = -1;
        (void)snprintf(s->directory, sizeof(s->directory), "%s", directory);
        if (snprintf(s->path, sizeof(s->path), "%s/" DB_FILE, directory) >= (int)sizeof(s->path))
                r = fail_with(-ENAMETOOLONG, message, "state = %s is too long", directory);
        else
                r = statedir_lock(&s->lock, directory, message);
        if (r >= 0) {
                r = sqlite_open_files(s);
                if (r < 0) {
                        *message = s->store.message;
                        s->store.message = NULL;
                }
        }
        if (r < 0) {
                destroy(s);
                return r;
        }
        *ret = &s->store;
        return 0;
}
