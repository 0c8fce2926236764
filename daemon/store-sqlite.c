/* SPDX-License-Identifier: MIT */

/*
 * The store in SQLite: one file, seqnumd.db, in the state directory.
 *
 * Write-ahead log, synchronous=FULL: COMMIT returns after the log was synced,
 * so what it confirmed survives a power cut (sqlite.org/pragma.html). Unless a
 * write or a sync failed: then SQLite writes the same frames of the log anew and
 * syncs again, and the kernel may say that this worked when it did not (renewal.h).
 * So after such a failure nothing is confirmed before the store is in a new file.
 *
 * A store is made under another name and renamed when it is whole. A file that
 * is there but empty, cut short, or without its tables is therefore damage and
 * never a reason to start from 1. SQLite keeps no checksums, so every row has
 * one: a flipped bit in a position is noticed rather than believed.
 *
 * A row is changed by reading it, checking it, and writing it back: whole, or, when
 * only its position moved, that alone. SQLite would put a name that is written into
 * its index anew, which is another page in the log of every commit.
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "manager.h"
#include "renewal.h"
#include "statedir.h"
#include "store.h"

#define DB_FILE          "seqnumd.db"
#define APPLICATION_ID   0x5365714e /* "SeqN" */
#define SCHEMA_VERSION   2
#define CHECKPOINT_PAGES 256
#define BUSY_MSEC        1000
#define STRING_OF(x)     #x
#define STRING(x)        STRING_OF(x)

/* clang-format off */
static const char schema[] =
        "PRAGMA application_id = " STRING(APPLICATION_ID) ";"
        "PRAGMA user_version = " STRING(SCHEMA_VERSION) ";"
        "BEGIN;"
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;"
        "CREATE TABLE sequence ("
        " id INTEGER PRIMARY KEY AUTOINCREMENT,"
        " generation INTEGER NOT NULL,"
        " name TEXT NOT NULL UNIQUE,"
        " kind INTEGER NOT NULL,"
        " start INTEGER NOT NULL,"
        " increment INTEGER NOT NULL,"
        " min INTEGER NOT NULL,"
        " max INTEGER NOT NULL,"
        " cycle INTEGER NOT NULL,"
        " reserve INTEGER NOT NULL,"
        " origin INTEGER NOT NULL,"
        " lo INTEGER NOT NULL,"
        " hi INTEGER NOT NULL,"
        " exact INTEGER NOT NULL,"
        " checksum INTEGER NOT NULL,"
        " hold_limit INTEGER NOT NULL DEFAULT 0,"
        " epoch INTEGER NOT NULL DEFAULT 0,"
        " node INTEGER NOT NULL DEFAULT 0,"
        " node_bits INTEGER NOT NULL DEFAULT 0,"
        " serial_bits INTEGER NOT NULL DEFAULT 0"
        ") STRICT;"
        "INSERT INTO meta VALUES ('instance', randomblob(16));"
        "COMMIT;";

/* Format 1 knew counters alone; their checksums stand. */
static const char upgrade_from_1[] =
        "BEGIN;"
        "ALTER TABLE sequence ADD COLUMN hold_limit INTEGER NOT NULL DEFAULT 0;"
        "ALTER TABLE sequence ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0;"
        "ALTER TABLE sequence ADD COLUMN node INTEGER NOT NULL DEFAULT 0;"
        "ALTER TABLE sequence ADD COLUMN node_bits INTEGER NOT NULL DEFAULT 0;"
        "ALTER TABLE sequence ADD COLUMN serial_bits INTEGER NOT NULL DEFAULT 0;"
        "PRAGMA user_version = " STRING(SCHEMA_VERSION) ";"
        "COMMIT;";
/* clang-format on */

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

#define COLUMNS                                                                                    \
        "id, generation, name, kind, start, increment, min, max, cycle, reserve, origin, lo, hi, " \
        "exact, checksum, hold_limit, epoch, node, node_bits, serial_bits"

static const char *const statements[N_STATEMENTS] = {
        [BEGIN] = "BEGIN IMMEDIATE",
        [COMMIT] = "COMMIT",
        [ROLLBACK] = "ROLLBACK",
        [LOAD] = "SELECT " COLUMNS " FROM sequence ORDER BY id",
        [FETCH] = "SELECT " COLUMNS " FROM sequence WHERE id = ?1",
        [INSERT] =
                "INSERT INTO sequence (" COLUMNS ") VALUES "
                "(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, "
                "?19, ?20)",
        [UPDATE] =
                "UPDATE sequence SET generation = ?2, name = ?3, kind = ?4, start = ?5, "
                "increment = ?6, min = ?7, max = ?8, cycle = ?9, reserve = ?10, origin = ?11, "
                "lo = ?12, hi = ?13, exact = ?14, checksum = ?15, hold_limit = ?16, epoch = ?17, "
                "node = ?18, node_bits = ?19, serial_bits = ?20 WHERE id = ?1",
        [MOVE] = "UPDATE sequence SET lo = ?2, hi = ?3, exact = ?4, checksum = ?5 WHERE id = ?1",
        [DELETE] = "DELETE FROM sequence WHERE id = ?1",
        [SEGMENT] = "INSERT OR REPLACE INTO meta VALUES ('segment', ?1)",
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
        int former;            /* of the file that was replaced, locked; or -1 */
        struct stat file, log; /* where they were found */
        char directory[PATH_MAX], path[PATH_MAX];
};

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

static __attribute__((format(printf, 3, 4))) int say(struct store_sqlite *s, int error,
                                                     const char *format, ...)
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

static int corrupt(struct store_sqlite *s, const char *what)
{
        return say(s, -EBADMSG,
                   "the store %s is damaged (%s); restore it from a backup, it is not started over",
                   s->path, what);
}

static int say_sqlite(struct store_sqlite *s, int code, const char *what)
{
        int error = errno_of(s->db, code);

        if ((code & 0xff) == SQLITE_IOERR)
                s->distrusted = true;

        if (error == -EBADMSG)
                return corrupt(s, sqlite3_errmsg(s->db));
        if (error == -ENOSPC)
                return say(s, error, "cannot %s %s: %s", what, s->path, strerror(ENOSPC));
        return say(s, error, "cannot %s %s: %s", what, s->path,
                   s->db ? sqlite3_errmsg(s->db) : sqlite3_errstr(code));
}

/* --- rows -------------------------------------------------------------- */

struct row {
        struct store_sequence sequence; /* its name points into `name` */
        char name[SEQUENCE_NAME_MAX + 1];
};

static uint64_t hash_words(uint64_t hash, const uint64_t *words, size_t n)
{
        for (size_t i = 0; i < n; i++)
                for (unsigned shift = 0; shift < 64; shift += 8)
                        hash = (hash ^ ((words[i] >> shift) & 0xff)) * UINT64_C(0x100000001b3);
        return hash;
}

/*
 * FNV-1a over the row's fields, each as eight bytes, then the name; then what
 * only kinds other than a counter have, of which a counter's are checked to be 0.
 */
static int64_t row_checksum(const struct store_sequence *q)
{
        const uint64_t more[] = {
                q->params.hold_limit, (uint64_t)q->params.epoch, q->params.node,
                q->params.node_bits,  q->params.serial_bits,
        };
        const uint64_t fields[] = {
                q->id,
                q->generation,
                (uint64_t)q->params.kind,
                (uint64_t)q->params.start,
                (uint64_t)q->params.increment,
                (uint64_t)q->params.min,
                (uint64_t)q->params.max,
                q->params.cycle,
                q->params.reserve,
                (uint64_t)q->origin,
                q->lo,
                q->hi,
                q->exact,
        };
        uint64_t hash = UINT64_C(0xcbf29ce484222325);

        hash = hash_words(hash, fields, sizeof(fields) / sizeof(fields[0]));
        for (const char *c = q->name; *c; c++)
                hash = (hash ^ (unsigned char)*c) * UINT64_C(0x100000001b3);
        if (q->params.kind != SEQUENCE_COUNTER)
                hash = hash_words(hash, more, sizeof(more) / sizeof(more[0]));
        return (int64_t)hash;
}

/* NULL when the row can be served, else what is wrong with it. */
static const char *row_fault(const struct store_sequence *q)
{
        static _Thread_local char reason[256];
        const char *fault;

        if (q->id < 1 || q->id > INT64_MAX || q->generation < 1 || q->generation > INT64_MAX)
                return "id or generation";
        if (!sequence_name_valid(q->name, strlen(q->name)))
                return "name";
        fault = sequence_params_check(&q->params, reason, sizeof(reason));
        if (fault)
                return fault;
        if (q->origin < q->params.min || q->origin > q->params.max)
                return "origin is not within min and max";
        if (q->lo > q->hi || q->hi > SEQUENCE_INDEX_LIMIT || (q->exact && q->lo != q->hi))
                return "position";
        return NULL;
}

/* Is all that the columns hold in `q`? A struct is narrower, and the checksum is over it. */
static bool row_is_plain(sqlite3_stmt *statement, const struct store_sequence *q)
{
        return (size_t)sqlite3_column_bytes(statement, 2) == strlen(q->name) &&
               sqlite3_column_int64(statement, 3) == (int64_t)q->params.kind &&
               sqlite3_column_int64(statement, 8) == q->params.cycle &&
               sqlite3_column_int64(statement, 13) == q->exact &&
               sqlite3_column_int64(statement, 15) == q->params.hold_limit &&
               sqlite3_column_int64(statement, 17) == q->params.node &&
               sqlite3_column_int64(statement, 18) == q->params.node_bits &&
               sqlite3_column_int64(statement, 19) == q->params.serial_bits;
}

static int row_read(struct store_sqlite *s, sqlite3_stmt *statement, struct row *row)
{
        const char *name = (const char *)sqlite3_column_text(statement, 2);
        struct store_sequence *q = &row->sequence;
        char what[SEQUENCE_NAME_MAX + 300];
        const char *fault;

        if (!name || sqlite3_column_bytes(statement, 2) > SEQUENCE_NAME_MAX)
                return corrupt(s, "a sequence's name");
        (void)snprintf(row->name, sizeof(row->name), "%s", name);
        *q = (struct store_sequence){
                .id = (uint64_t)sqlite3_column_int64(statement, 0),
                .generation = (uint64_t)sqlite3_column_int64(statement, 1),
                .name = row->name,
                .params =
                        {
                                .kind = (enum sequence_kind)sqlite3_column_int(statement, 3),
                                .start = sqlite3_column_int64(statement, 4),
                                .increment = sqlite3_column_int64(statement, 5),
                                .min = sqlite3_column_int64(statement, 6),
                                .max = sqlite3_column_int64(statement, 7),
                                .cycle = sqlite3_column_int(statement, 8) != 0,
                                .reserve = (uint64_t)sqlite3_column_int64(statement, 9),
                                .hold_limit = (uint32_t)sqlite3_column_int64(statement, 15),
                                .epoch = sqlite3_column_int64(statement, 16),
                                .node = (uint16_t)sqlite3_column_int(statement, 17),
                                .node_bits = (uint8_t)sqlite3_column_int(statement, 18),
                                .serial_bits = (uint8_t)sqlite3_column_int(statement, 19),
                        },
                .origin = sqlite3_column_int64(statement, 10),
                .lo = (uint64_t)sqlite3_column_int64(statement, 11),
                .hi = (uint64_t)sqlite3_column_int64(statement, 12),
                .exact = sqlite3_column_int(statement, 13) != 0,
        };
        fault = !row_is_plain(statement, q) ||
                                row_checksum(q) != sqlite3_column_int64(statement, 14)
                        ? "checksum"
                        : row_fault(q);
        if (!fault)
                return 0;
        (void)snprintf(what, sizeof(what), "sequence %s: %s", row->name, fault);
        return corrupt(s, what);
}

static void row_bind(sqlite3_stmt *statement, const struct store_sequence *q)
{
        const int64_t values[] = {
                (int64_t)q->generation,
                0,
                (int64_t)q->params.kind,
                q->params.start,
                q->params.increment,
                q->params.min,
                q->params.max,
                q->params.cycle,
                (int64_t)q->params.reserve,
                q->origin,
                (int64_t)q->lo,
                (int64_t)q->hi,
                q->exact,
                row_checksum(q),
                q->params.hold_limit,
                q->params.epoch,
                q->params.node,
                q->params.node_bits,
                q->params.serial_bits,
        };

        sqlite3_bind_int64(statement, 1, (int64_t)q->id);
        for (int i = 0; i < (int)(sizeof(values) / sizeof(values[0])); i++)
                if (i != 1)
                        sqlite3_bind_int64(statement, i + 2, values[i]);
        sqlite3_bind_text(statement, 3, q->name, -1, SQLITE_STATIC);
}

/* Run a statement that yields no rows; always leaves it ready to run again. */
static int run(struct store_sqlite *s, enum statement which, const char *what)
{
        sqlite3_stmt *statement = s->prepared[which];
        int code, r = 0;

        errno = 0;
        code = sqlite3_step(statement);
        if (code != SQLITE_DONE)
                r = say_sqlite(s, code, what);
        (void)sqlite3_reset(statement);
        (void)sqlite3_clear_bindings(statement);
        return r;
}

static int row_fetch(struct store_sqlite *s, uint64_t id, struct row *row)
{
        sqlite3_stmt *statement = s->prepared[FETCH];
        int code, r;

        errno = 0;
        sqlite3_bind_int64(statement, 1, (int64_t)id);
        code = sqlite3_step(statement);
        if (code == SQLITE_ROW)
                r = row_read(s, statement, row);
        else if (code == SQLITE_DONE)
                r = say(s, -ENOENT, "there is no sequence with id %" PRIu64 " in %s", id, s->path);
        else
                r = say_sqlite(s, code, "read");
        (void)sqlite3_reset(statement);
        return r;
}

static int row_write(struct store_sqlite *s, const struct store_sequence *q)
{
        row_bind(s->prepared[UPDATE], q);
        return run(s, UPDATE, "write");
}

static int row_move(struct store_sqlite *s, const struct store_sequence *q)
{
        sqlite3_stmt *statement = s->prepared[MOVE];

        sqlite3_bind_int64(statement, 1, (int64_t)q->id);
        sqlite3_bind_int64(statement, 2, (int64_t)q->lo);
        sqlite3_bind_int64(statement, 3, (int64_t)q->hi);
        sqlite3_bind_int64(statement, 4, q->exact);
        sqlite3_bind_int64(statement, 5, row_checksum(q));
        return run(s, MOVE, "write");
}

/* --- operations -------------------------------------------------------- */

static int create(struct store_sqlite *s, struct store_op *op)
{
        const struct store_sequence q = {
                .id = s->store.last_id + 1,
                .generation = 1,
                .name = op->name,
                .params = op->params,
                .origin = op->origin,
                .lo = op->position,
                .hi = op->position,
                .exact = true,
        };
        const char *fault = row_fault(&q);
        int r;

        if (fault)
                return say(s, -EINVAL, "sequence %s cannot be stored: %s", op->name, fault);
        row_bind(s->prepared[INSERT], &q);
        r = run(s, INSERT, "write");
        if (r < 0 && sqlite3_extended_errcode(s->db) == SQLITE_CONSTRAINT_UNIQUE)
                return say(s, -EEXIST, "sequence %s exists already", op->name);
        if (r < 0)
                return r;
        s->store.last_id = q.id;
        op->id = q.id;
        op->generation = q.generation;
        return 0;
}

static int reserve(struct store_sqlite *s, struct store_op *op, struct store_sequence *q)
{
        uint64_t base = op->from > q->hi ? op->from : q->hi;

        if (op->count < 1)
                return say(s, -EINVAL, "sequence %s: nothing to reserve", q->name);
        if (base > SEQUENCE_INDEX_LIMIT || op->count > SEQUENCE_INDEX_LIMIT - base)
                return say(s, -EOVERFLOW, "sequence %s: no indices are left to reserve", q->name);
        if (op->from > q->hi)
                q->lo = op->from;
        q->hi = base + op->count;
        q->exact = false;
        op->lo = q->lo;
        op->hi = q->hi;
        return 0;
}

static int save(struct store_sqlite *s, const struct store_op *op, struct store_sequence *q)
{
        if (op->position < q->lo || op->position > SEQUENCE_INDEX_LIMIT)
                return say(s, -EINVAL,
                           "sequence %s: position %" PRIu64 " is below %" PRIu64 " or no position",
                           q->name, op->position, q->lo);
        q->lo = q->hi = op->position;
        q->exact = true;
        return 0;
}

static int replace(struct store_sqlite *s, struct store_op *op, struct store_sequence *q)
{
        const char *fault;

        q->params = op->params;
        q->origin = op->origin;
        q->generation++;
        q->lo = q->hi = 0;
        q->exact = true;
        fault = row_fault(q);
        if (fault)
                return say(s, -EINVAL, "sequence %s cannot be stored: %s", q->name, fault);
        op->generation = q->generation;
        return 0;
}

static int tune(struct store_sqlite *s, const struct store_op *op, struct store_sequence *q)
{
        const char *fault;

        q->params.reserve = op->params.reserve;
        fault = row_fault(q);
        return fault ? say(s, -EINVAL, "sequence %s cannot be stored: %s", q->name, fault) : 0;
}

/* An op that changes a row which must be there. */
static int change(struct store_sqlite *s, struct store_op *op)
{
        bool moves = op->type == STORE_RESERVE || op->type == STORE_SAVE;
        struct store_sequence *q;
        struct row row = {0};
        int r;

        r = row_fetch(s, op->id, &row);
        if (r < 0)
                return r;
        q = &row.sequence;
        if (moves && op->generation != q->generation)
                return say(s, -ESTALE,
                           "sequence %s: generation %" PRIu64 " is past, it is now %" PRIu64,
                           q->name, op->generation, q->generation);
        if (op->type == STORE_RESERVE)
                r = reserve(s, op, q);
        else if (op->type == STORE_SAVE)
                r = save(s, op, q);
        else if (op->type == STORE_REPLACE)
                r = replace(s, op, q);
        else
                r = tune(s, op, q);
        if (r < 0)
                return r;
        return moves ? row_move(s, q) : row_write(s, q);
}

static int drop(struct store_sqlite *s, const struct store_op *op)
{
        struct row row;
        int r;

        r = row_fetch(s, op->id, &row);
        if (r < 0)
                return r;
        sqlite3_bind_int64(s->prepared[DELETE], 1, (int64_t)op->id);
        return run(s, DELETE, "write");
}

static int apply(struct store_sqlite *s, struct store_op *op)
{
        switch (op->type) {
        case STORE_CREATE:
                return create(s, op);
        case STORE_DROP:
                return drop(s, op);
        case STORE_SEGMENT:
                sqlite3_bind_blob(s->prepared[SEGMENT], 1, &op->id, sizeof(op->id), SQLITE_STATIC);
                return run(s, SEGMENT, "write");
        case STORE_REPLACE:
        case STORE_RESERVE:
        case STORE_SAVE:
        case STORE_TUNE:
                return change(s, op);
        }
        return say(s, -EINVAL, "no such operation");
}

static bool same_file(const struct stat *a, const struct stat *b)
{
        return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* 0, or a negative errno if one of them is not there. */
static int find_files(const struct store_sqlite *s, struct stat *file, struct stat *log)
{
        char wal[PATH_MAX + 16];

        (void)snprintf(wal, sizeof(wal), "%s-wal", s->path);
        return stat(s->path, file) < 0 || stat(wal, log) < 0 ? -errno : 0;
}

/*
 * Somebody restores a backup, or removes the log, while we are at it: what is
 * written from then on goes to files that no start will find. But all is still
 * there for us to put back.
 */
static bool was_moved(const struct store_sqlite *s)
{
        struct stat file = {0}, log = {0};

        if (find_files(s, &file, &log) >= 0 && same_file(&file, &s->file) &&
            same_file(&log, &s->log))
                return false;
        log_event(EVENT_STORE_BEHIND, LOG_CRIT, NULL,
                  "the store %s or its log was removed or replaced while in use; it is put back as "
                  "it was. To restore a backup stop the service first",
                  s->path);
        return true;
}

static int replace_files(struct store_sqlite *s);
static int renew(struct store_sqlite *s);

static int sqlite_commit(struct store *store, struct store_op *ops, size_t n_ops)
{
        struct store_sqlite *s = (struct store_sqlite *)store;
        uint64_t last_id = s->store.last_id;
        int r;

        for (size_t i = 0; i < n_ops; i++)
                ops[i].error = 0;
        s->distrusted = s->distrusted || was_moved(s);
        r = s->distrusted ? renew(s) : 0;
        if (r < 0)
                return r;
        r = run(s, BEGIN, "begin a transaction in");
        for (size_t i = 0; i < n_ops && r >= 0; i++) {
                manager_alive();
                r = ops[i].error = apply(s, &ops[i]);
        }
        if (r >= 0)
                r = run(s, COMMIT, "commit to");
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
        struct row row;
        int code, r = 0;

        while (r == 0 && (code = sqlite3_step(statement)) != SQLITE_DONE) {
                if (code != SQLITE_ROW)
                        r = say_sqlite(s, code, "read");
                else
                        r = row_read(s, statement, &row);
                if (r == 0)
                        r = each(&row.sequence, userdata);
        }
        (void)sqlite3_reset(statement);
        return r;
}

/* --- opening ----------------------------------------------------------- */

/*
 * The log of files that are not to be believed is not copied back, and stays: the
 * next start then knows to replace them.
 */
static void close_db(struct store_sqlite *s)
{
        for (int i = 0; i < N_STATEMENTS; i++) {
                (void)sqlite3_finalize(s->prepared[i]);
                s->prepared[i] = NULL;
        }
        if (s->db && s->distrusted)
                (void)sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
        (void)sqlite3_close(s->db);
        s->db = NULL;
}

static void destroy(struct store_sqlite *s)
{
        close_db(s);
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
                (void)replace_files(s);
        destroy(s);
}

static const struct store_vtable sqlite_vtable = {
        .load = sqlite_load,
        .commit = sqlite_commit,
        .close = sqlite_close,
};

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
                r = corrupt(s, "something is missing");
        else
                r = say_sqlite(s, code, "read");
        (void)sqlite3_finalize(statement);
        return r;
}

static int execute(struct store_sqlite *s, const char *sql, const char *what)
{
        int code;

        errno = 0;
        code = sqlite3_exec(s->db, sql, NULL, NULL, NULL);
        return code == SQLITE_OK ? 0 : say_sqlite(s, code, what);
}

/* Where SQLite could not open it for writing it has opened it for reading, and keeps quiet. */
static int check_writable(struct store_sqlite *s, const char *path)
{
        int fd, error;

        if (sqlite3_db_readonly(s->db, "main") != 1)
                return 0;
        fd = open(path, O_RDWR | O_CLOEXEC);
        error = fd < 0 ? errno : EIO; /* now it can be: the next time it will */
        if (fd >= 0)
                close(fd);
        return say(s, -error, "cannot open %s for writing: %s", path, strerror(error));
}

static int open_db(struct store_sqlite *s, const char *path, int flags)
{
        int code = sqlite3_open_v2(path, &s->db, flags | SQLITE_OPEN_NOMUTEX, NULL);

        if (code != SQLITE_OK)
                return say_sqlite(s, code, "open");
        (void)sqlite3_extended_result_codes(s->db, 1);
        /* Somebody reading it, for a backup say, is waited for. */
        (void)sqlite3_busy_timeout(s->db, BUSY_MSEC);
        return check_writable(s, path);
}

/*
 * A file just made says where SQLite will look for it that it has a log (offsets 18
 * and 19 of the header, sqlite.org/fileformat.html), so that the first start need
 * not write to it. Closes `fd`.
 */
static int settle_new(int fd)
{
        static const char has_log[2] = {2, 2};
        int r = pwrite(fd, has_log, sizeof(has_log), 18) == sizeof(has_log) ? 0 : -errno;

        if (r >= 0)
                return renewal_settle(fd);
        close(fd);
        return r;
}

/*
 * Make a whole store under another name, then give it its own. The directory that
 * it is in comes first: what can be found there again must not vanish with it.
 */
static int make_db(struct store_sqlite *s)
{
        char path[PATH_MAX + 16];
        int fd = -1, r;

        r = renewal_begin(&fd, s->path, path, sizeof(path));
        if (r < 0)
                return say(s, r, "cannot make %s.new: %s", s->path, strerror(-r));
        r = open_db(s, path, SQLITE_OPEN_READWRITE);
        if (r >= 0)
                r = execute(s, schema, "make");
        close_db(s);
        if (r < 0) {
                close(fd);
                return r;
        }
        r = settle_new(fd);
        if (r >= 0)
                r = statedir_sync_parent(s->directory);
        if (r >= 0 && rename(path, s->path) < 0)
                r = -errno;
        if (r >= 0)
                r = statedir_sync(s->directory);
        if (r < 0)
                return say(s, r, "cannot make the store %s: %s", s->path, strerror(-r));
        s->store.created = true;
        return 0;
}

/* Is there a store, and no trace of one that is gone? Makes one if not. */
static int find_db(struct store_sqlite *s)
{
        char wal[PATH_MAX + 16], *message = NULL;
        struct stat status;
        int r;

        r = statedir_check_file(s->path, &message);
        if (r < 0 && r != -ENOENT) {
                (void)say(s, r, "%s", message ? message : strerror(-r));
                free(message);
                return r;
        }
        if (r == 0)
                return stat(s->path, &status) == 0 && status.st_size == 0
                               ? corrupt(s, "the file is empty")
                               : 0;
        (void)snprintf(wal, sizeof(wal), "%s-wal", s->path);
        if (access(wal, F_OK) == 0)
                return corrupt(s, "its log is there, but the file itself is not");
        return make_db(s);
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
                return corrupt(s, "it is a database, but not a store of seqnumd");
        if (version > SCHEMA_VERSION)
                return say(s, -EPROTONOSUPPORT,
                           "the store %s was written by a newer version of seqnumd (format %" PRId64
                           ", this one knows %d): install that version",
                           s->path, version, SCHEMA_VERSION);
        if (version < 1)
                return corrupt(s, "it has no format version");
        s->version = version;
        return 0;
}

/* A large store takes its time, which is no reason to give up on it. */
#define PROGRESS_STEPS 100000

static int on_progress(void *userdata)
{
        (void)userdata;
        manager_alive();
        return 0;
}

static int check_contents(struct store_sqlite *s)
{
        sqlite3_stmt *statement = NULL;
        const char *verdict = NULL;
        int code, r = 0;

        code = sqlite3_prepare_v2(s->db, "PRAGMA integrity_check(1)", -1, &statement, NULL);
        sqlite3_progress_handler(s->db, PROGRESS_STEPS, on_progress, NULL);
        if (code == SQLITE_OK)
                code = sqlite3_step(statement);
        sqlite3_progress_handler(s->db, 0, NULL, NULL);
        if (code == SQLITE_ROW)
                verdict = (const char *)sqlite3_column_text(statement, 0);
        if (code != SQLITE_ROW)
                r = say_sqlite(s, code, "check");
        else if (!verdict || strcmp(verdict, "ok") != 0)
                r = corrupt(s, verdict ? verdict : "it cannot be checked");
        (void)sqlite3_finalize(statement);
        return r;
}

static int read_instance(struct store_sqlite *s)
{
        sqlite3_stmt *statement = NULL;
        int code, r = 0;

        code = sqlite3_prepare_v2(s->db, "SELECT value FROM meta WHERE key = 'instance'", -1,
                                  &statement, NULL);
        if (code == SQLITE_OK)
                code = sqlite3_step(statement);
        if (code == SQLITE_ROW && sqlite3_column_bytes(statement, 0) == STORE_INSTANCE_ID_SIZE)
                memcpy(s->store.instance_id, sqlite3_column_blob(statement, 0),
                       STORE_INSTANCE_ID_SIZE);
        else if (code == SQLITE_ROW || code == SQLITE_DONE || code == SQLITE_ERROR)
                r = corrupt(s, "its instance id is missing");
        else
                r = say_sqlite(s, code, "read");
        (void)sqlite3_finalize(statement);
        return r;
}

/* None in a store that never was served from. */
static int read_segment(struct store_sqlite *s)
{
        sqlite3_stmt *statement = NULL;
        int code, r = 0;

        code = sqlite3_prepare_v2(s->db, "SELECT value FROM meta WHERE key = 'segment'", -1,
                                  &statement, NULL);
        if (code == SQLITE_OK)
                code = sqlite3_step(statement);
        if (code == SQLITE_ROW &&
            sqlite3_column_bytes(statement, 0) == (int)sizeof(s->store.segment_id))
                memcpy(&s->store.segment_id, sqlite3_column_blob(statement, 0),
                       sizeof(s->store.segment_id));
        else if (code == SQLITE_ROW)
                r = corrupt(s, "its segment id is none");
        else if (code != SQLITE_DONE)
                r = say_sqlite(s, code, "read");
        (void)sqlite3_finalize(statement);
        return r;
}

/* Copy the log back now and then. SQLite's own way of doing so keeps failures to itself. */
static int on_commit(void *userdata, sqlite3 *db, const char *name, int pages)
{
        struct store_sqlite *s = userdata;
        int code;

        if (pages < CHECKPOINT_PAGES)
                return SQLITE_OK;
        code = sqlite3_wal_checkpoint_v2(db, name, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
        if ((code & 0xff) == SQLITE_IOERR)
                s->distrusted = true;
        return SQLITE_OK; /* the commit itself is in the log */
}

static int configure(struct store_sqlite *s)
{
        (void)sqlite3_wal_hook(s->db, on_commit, s);
        return execute(s,
                       "PRAGMA journal_mode = WAL;"
                       "PRAGMA synchronous = FULL;"
                       "PRAGMA cache_size = -512;"
                       "PRAGMA temp_store = MEMORY;"
                       "PRAGMA mmap_size = 0;"
                       "PRAGMA trusted_schema = OFF;",
                       "set up");
}

/*
 * Where somebody else has the file open it cannot be replaced. Then, at a start,
 * what is found in the log is at least written into the file itself, and synced
 * there, before it is believed.
 */
static int settle_log(struct store_sqlite *s)
{
        int code;

        errno = 0;
        code = sqlite3_wal_checkpoint_v2(s->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
        if (code == SQLITE_BUSY)
                return say(
                        s, -EBUSY,
                        "the store %s is being read by another process (a backup?), since before "
                        "a daemon died: let that end first",
                        s->path);
        return code == SQLITE_OK ? 0 : say_sqlite(s, code, "settle the log of");
}

static int prepare(struct store_sqlite *s)
{
        int code;

        for (int i = 0; i < N_STATEMENTS; i++) {
                code = sqlite3_prepare_v3(s->db, statements[i], -1, SQLITE_PREPARE_PERSISTENT,
                                          &s->prepared[i], NULL);
                if (code == SQLITE_ERROR)
                        return corrupt(s, sqlite3_errmsg(s->db));
                if (code != SQLITE_OK)
                        return say_sqlite(s, code, "read");
        }
        return 0;
}

/* The last id given, which no row has passed unless the file is damaged. */
static int read_last_id(struct store_sqlite *s)
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
                return corrupt(s, "the last id it gave is lost");
        s->store.last_id = (uint64_t)last_id;
        return 0;
}

static int open_found(struct store_sqlite *s)
{
        int r;

        r = open_db(s, s->path, SQLITE_OPEN_READWRITE);
        if (r >= 0)
                r = check_identity(s);
        if (r >= 0)
                r = check_contents(s);
        return r;
}

static int make_ready(struct store_sqlite *s)
{
        int r;

        r = configure(s);
        if (r >= 0)
                r = settle_log(s);
        if (r >= 0 && s->version == 1)
                r = execute(s, upgrade_from_1, "upgrade");
        if (r >= 0)
                r = read_instance(s);
        if (r >= 0)
                r = read_segment(s);
        if (r >= 0)
                r = prepare(s);
        if (r >= 0)
                r = read_last_id(s);
        if (r < 0)
                return r;
        /* The log has just come into being, of which SQLite does not tell whether it lasts. */
        r = statedir_sync(s->directory);
        if (r < 0)
                return say(s, r, "cannot sync %s: %s", s->directory, strerror(-r));
        r = find_files(s, &s->file, &s->log);
        return r < 0 ? say(s, r, "cannot find %s or its log: %s", s->path, strerror(-r)) : 0;
}

/* --- a new file -------------------------------------------------------- */

/* All that was confirmed, or all that was found at a start, goes to the file that is to be. */
static int copy_db(struct store_sqlite *s)
{
        char path[PATH_MAX + 16], *sql;
        int fd = -1, r;

        r = renewal_begin(&fd, s->path, path, sizeof(path));
        if (r < 0)
                return say(s, r, "cannot make %s.new: %s", s->path, strerror(-r));
        sql = sqlite3_mprintf("VACUUM INTO %Q", path);
        sqlite3_progress_handler(s->db, PROGRESS_STEPS, on_progress, NULL);
        r = sql ? execute(s, sql, "copy") : -ENOMEM;
        sqlite3_progress_handler(s->db, 0, NULL, NULL);
        sqlite3_free(sql);
        if (r < 0) {
                close(fd);
                return r;
        }
        r = settle_new(fd);
        if (r < 0)
                return say(s, r, "cannot sync %s: %s", path, strerror(-r));
        s->stage = DECIDE;
        return 0;
}

/* The copy is to take the place of the file, which nobody has open any more. */
static int decide(struct store_sqlite *s)
{
        int fd = -1, r;

        close_db(s);
        r = renewal_lock_out(&fd, s->path);
        if (r == -EBUSY)
                return say(s, r,
                           "the store %s must be written anew, since it could not be written to or "
                           "was moved, but another process has it open (a backup?): let that end",
                           s->path);
        if (r < 0)
                return say(s, r, "cannot lock %s: %s", s->path, strerror(-r));
        r = renewal_decide(s->path);
        if (r < 0) {
                close(fd);
                return say(s, r, "cannot rename %s.new: %s", s->path, strerror(-r));
        }
        if (s->former >= 0)
                close(s->former);
        s->former = fd;
        s->stage = FINISH;
        return 0;
}

static int finish(struct store_sqlite *s)
{
        int r = renewal_finish(s->directory, s->path);

        if (r < 0)
                return say(s, r, "cannot put %s-renewed in place: %s", s->path, strerror(-r));
        s->stage = COPY; /* the next time */
        s->distrusted = false;
        return 0;
}

static int reopen(struct store_sqlite *s)
{
        int r;

        r = open_found(s);
        if (r >= 0)
                r = make_ready(s);
        if (r >= 0)
                return 0;
        s->distrusted = true;
        close_db(s);
        return r;
}

/* From where it was left the last time. */
static int replace_files(struct store_sqlite *s)
{
        int r = 0;

        if (s->stage == COPY && !s->db)
                r = open_found(s);
        if (r >= 0 && s->stage == COPY)
                r = copy_db(s);
        if (r >= 0 && s->stage == DECIDE)
                r = decide(s);
        if (r >= 0)
                return finish(s);
        if (s->stage == COPY && !s->prepared[BEGIN])
                close_db(s); /* half open */
        return r;
}

/* After a failed write or sync: a new file. Tried again with each commit until it works. */
static int renew(struct store_sqlite *s)
{
        int r = replace_files(s);

        return r < 0 ? r : reopen(s);
}

/* Was the store closed by a daemon that had not failed, nor died? */
static bool closed_well(const struct store_sqlite *s)
{
        char wal[PATH_MAX + 16];
        struct stat status;

        (void)snprintf(wal, sizeof(wal), "%s-wal", s->path);
        return stat(wal, &status) < 0 ? errno == ENOENT : status.st_size == 0;
}

static int open_once(struct store_sqlite *s)
{
        bool well;
        int r;

        r = finish(s); /* what the last daemon could not */
        if (r >= 0)
                r = find_db(s);
        if (r < 0)
                return r;
        well = closed_well(s);
        r = open_found(s);
        if (r < 0 || well)
                return r < 0 ? r : make_ready(s);
        s->distrusted = true; /* by whoever left the log, perhaps */
        r = copy_db(s);
        if (r >= 0)
                r = decide(s);
        if (r == -EBUSY) {
                s->stage = COPY;
                s->distrusted = false;
        } else if (r >= 0) {
                r = finish(s);
        }
        return r < 0 && r != -EBUSY ? r : reopen(s);
}

/* Can the file be read, all of it? 0 also if there is none. */
static int read_through(const char *path, const char *suffix)
{
        char file[PATH_MAX + 16], buffer[16384];
        ssize_t n;
        int fd, r;

        (void)snprintf(file, sizeof(file), "%s%s", path, suffix);
        fd = open(file, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return errno == ENOENT ? 0 : -errno;
        do
                n = read(fd, buffer, sizeof(buffer));
        while (n > 0);
        r = n < 0 ? -errno : 0;
        close(fd);
        return r;
}

/*
 * SQLite takes some failures to read for damage. Who is told of damage brings back
 * a backup, which is the worst to do if there is none: so it is looked at twice.
 */
static int open_all(struct store_sqlite *s)
{
        int r = open_once(s);

        if (r != -EBADMSG)
                return r;
        close_db(s);
        r = read_through(s->path, "");
        if (r >= 0)
                r = read_through(s->path, "-wal");
        if (r < 0)
                return say(s, r, "cannot read %s: %s", s->path, strerror(-r));
        s->stage = COPY;
        return open_once(s);
}

int store_open_sqlite(struct store **ret, const char *directory, char **message)
{
        struct store_sqlite *s;
        int r;

        s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;
        s->store.vtable = &sqlite_vtable;
        s->lock = s->former = -1;
        (void)snprintf(s->directory, sizeof(s->directory), "%s", directory);
        if (snprintf(s->path, sizeof(s->path), "%s/" DB_FILE, directory) >= (int)sizeof(s->path))
                r = fail_with(-ENAMETOOLONG, message, "state = %s is too long", directory);
        else
                r = statedir_lock(&s->lock, directory, message);
        if (r >= 0) {
                r = open_all(s);
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
