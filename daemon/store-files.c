/* SPDX-License-Identifier: MIT */

/*
 * The file of the store in SQLite, and its log: made, found, opened, replaced.
 *
 * A store is made under another name and renamed when it is whole. A file that is
 * there but empty, cut short, or without its tables is therefore damage and never a
 * reason to start from 1. After a failed write or sync, at the start after a daemon
 * that died, and when somebody moved the files away, all that is known goes into a new
 * file (renewal.h tells why and how).
 */

#include "store-sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "renewal.h"
#include "statedir.h"

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

#define LOG_PATH_MAX (PATH_MAX + 4)

static void log_path(const struct store_sqlite *s, char path[static LOG_PATH_MAX])
{
        (void)snprintf(path, LOG_PATH_MAX, "%s-wal", s->path);
}

/* 0, or a negative errno if one of them is not there. */
static int find_files(const struct store_sqlite *s, struct stat *file, struct stat *log)
{
        char wal[LOG_PATH_MAX];

        log_path(s, wal);
        return stat(s->path, file) < 0 || stat(wal, log) < 0 ? -errno : 0;
}

/*
 * Somebody restores a backup, or removes the log, while we are at it: what is
 * written from then on goes to files that no start will find. But all is still
 * there for us to put back.
 */
bool sqlite_files_moved(const struct store_sqlite *s)
{
        struct stat file = {0}, log = {0};

        if (find_files(s, &file, &log) >= 0 && statedir_same(&file, &s->file) &&
            statedir_same(&log, &s->log))
                return false;
        log_event(EVENT_STORE_BEHIND, LOG_CRIT, NULL,
                  "the store %s or its log was removed or replaced while in use; it is put back as "
                  "it was. To restore a backup stop the service first",
                  s->path);
        return true;
}

/* --- opening ----------------------------------------------------------- */

/*
 * The log of files that are not to be believed is not copied back, and stays: the
 * next start then knows to replace them.
 */
void sqlite_close_files(struct store_sqlite *s)
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

static int execute(struct store_sqlite *s, const char *sql, const char *what)
{
        int code;

        errno = 0;
        code = sqlite3_exec(s->db, sql, NULL, NULL, NULL);
        return code == SQLITE_OK ? 0 : sqlite_fail(s, code, what);
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
        return sqlite_say(s, -error, "cannot open %s for writing: %s", path, strerror(error));
}

static int open_db(struct store_sqlite *s, const char *path, int flags)
{
        int code = sqlite3_open_v2(path, &s->db, flags | SQLITE_OPEN_NOMUTEX, NULL);

        if (code != SQLITE_OK)
                return sqlite_fail(s, code, "open");
        (void)sqlite3_extended_result_codes(s->db, 1);
        /* Somebody reading it, for a backup say, is waited for. */
        (void)sqlite3_busy_timeout(s->db, BUSY_MSEC);
        return check_writable(s, path);
}

/*
 * A file just made says where SQLite will look for it that it has a log (offsets 18
 * and 19 of the header, sqlite.org/fileformat.html), so that the first start need
 * not write to it.
 */
static int settle_new(const struct store_sqlite *s, int fd)
{
        static const char has_log[2] = {2, 2};

        if (pwrite(fd, has_log, sizeof(has_log), 18) != sizeof(has_log))
                return -errno;
        return renewal_settle(fd, s->path);
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
                return sqlite_say(s, r, "cannot make %s.new: %s", s->path, strerror(-r));
        r = open_db(s, path, SQLITE_OPEN_READWRITE);
        if (r >= 0)
                r = execute(s, schema, "make");
        sqlite_close_files(s);
        if (r < 0) {
                close(fd);
                return r;
        }
        r = settle_new(s, fd);
        close(fd);
        if (r >= 0)
                r = statedir_sync_parent(s->directory);
        if (r >= 0 && rename(path, s->path) < 0)
                r = -errno;
        if (r >= 0)
                r = statedir_sync(s->directory);
        if (r < 0)
                return sqlite_say(s, r, "cannot make the store %s: %s", s->path, strerror(-r));
        s->store.created = true;
        return 0;
}

/* Is there a store, and no trace of one that is gone? Makes one if not. */
static int find_db(struct store_sqlite *s)
{
        char wal[LOG_PATH_MAX], *message = NULL;
        struct stat status;
        int r;

        log_path(s, wal);
        r = statedir_check_file(s->path, &message);
        if (r == 0)
                r = statedir_check_access(wal, &message);
        if (r < 0 && r != -ENOENT) {
                (void)sqlite_say(s, r, "%s", message ? message : strerror(-r));
                free(message);
                return r;
        }
        if (r == 0)
                return stat(s->path, &status) == 0 && status.st_size == 0
                               ? sqlite_corrupt(s, "the file is empty")
                               : 0;
        if (access(wal, F_OK) == 0)
                return sqlite_corrupt(s, "its log is there, but the file itself is not");
        return make_db(s);
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
                return sqlite_say(
                        s, -EBUSY,
                        "the store %s is being read by another process (a backup?), since before "
                        "a daemon died: let that end first",
                        s->path);
        return code == SQLITE_OK ? 0 : sqlite_fail(s, code, "settle the log of");
}

static int open_found(struct store_sqlite *s)
{
        int r;

        r = open_db(s, s->path, SQLITE_OPEN_READWRITE);
        if (r >= 0)
                r = sqlite_check(s);
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
                r = sqlite_read_meta(s);
        if (r >= 0)
                r = sqlite_prepare(s);
        if (r >= 0)
                r = sqlite_read_last_id(s);
        if (r < 0)
                return r;
        /* The log has just come into being, of which SQLite does not tell whether it lasts. */
        r = statedir_sync(s->directory);
        if (r < 0)
                return sqlite_say(s, r, "cannot sync %s: %s", s->directory, strerror(-r));
        r = find_files(s, &s->file, &s->log);
        return r < 0 ? sqlite_say(s, r, "cannot find %s or its log: %s", s->path, strerror(-r)) : 0;
}

/* --- a new file -------------------------------------------------------- */

static void replace_fd(int *fd, int by)
{
        if (*fd >= 0)
                close(*fd);
        *fd = by;
}

/* All that was confirmed, or all that was found at a start, goes to the file that is to be. */
static int copy_db(struct store_sqlite *s)
{
        char path[PATH_MAX + 16], *sql;
        int fd = -1, r;

        r = renewal_begin(&fd, s->path, path, sizeof(path));
        if (r < 0)
                return sqlite_say(s, r, "cannot make %s.new: %s", s->path, strerror(-r));
        sql = sqlite3_mprintf("VACUUM INTO %Q", path);
        sqlite_take_time(s, true);
        r = sql ? execute(s, sql, "copy") : -ENOMEM;
        sqlite_take_time(s, false);
        sqlite3_free(sql);
        if (r < 0) {
                close(fd);
                return r;
        }
        r = settle_new(s, fd);
        if (r < 0) {
                close(fd);
                return sqlite_say(s, r, "cannot sync %s: %s", path, strerror(-r));
        }
        replace_fd(&s->copy, fd);
        s->stage = DECIDE;
        return 0;
}

/* The copy is to take the place of the file, which nobody has open any more. */
static int decide(struct store_sqlite *s)
{
        int fd = -1, r;

        sqlite_close_files(s);
        r = renewal_lock_out(&fd, s->path);
        if (r == -EBUSY)
                return sqlite_say(
                        s, r,
                        "the store %s must be written anew, since it could not be written to or "
                        "was moved, but another process has it open (a backup?): let that end",
                        s->path);
        if (r < 0)
                return sqlite_say(s, r, "cannot lock %s: %s", s->path, strerror(-r));
        r = renewal_decide(s->copy, s->path);
        if (r < 0) {
                close(fd);
                return sqlite_say(s, r, "cannot rename %s.new: %s", s->path, strerror(-r));
        }
        replace_fd(&s->copy, -1);
        replace_fd(&s->former, fd);
        s->stage = FINISH;
        return 0;
}

static int finish(struct store_sqlite *s)
{
        int r = renewal_finish(s->directory, s->path);

        if (r < 0)
                return sqlite_say(s, r, "cannot put %s-renewed in place: %s", s->path,
                                  strerror(-r));
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
        sqlite_close_files(s);
        return r;
}

/* From where it was left the last time. */
int sqlite_replace_files(struct store_sqlite *s)
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
                sqlite_close_files(s); /* half open */
        return r;
}

/* After a failed write or sync: a new file. Tried again with each commit until it works. */
int sqlite_renew_files(struct store_sqlite *s)
{
        int r = sqlite_replace_files(s);

        return r < 0 ? r : reopen(s);
}

/* Was the store closed by a daemon that had not failed, nor died? */
static bool closed_well(const struct store_sqlite *s)
{
        char wal[LOG_PATH_MAX];
        struct stat status;

        log_path(s, wal);
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
                replace_fd(&s->copy, -1);
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
int sqlite_open_files(struct store_sqlite *s)
{
        int r = open_once(s);

        if (r != -EBADMSG)
                return r;
        sqlite_close_files(s);
        r = read_through(s->path, "");
        if (r >= 0)
                r = read_through(s->path, "-wal");
        if (r < 0)
                return sqlite_say(s, r, "cannot read %s: %s", s->path, strerror(-r));
        s->stage = COPY;
        return open_once(s);
}
