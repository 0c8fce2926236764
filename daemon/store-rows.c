/* SPDX-License-Identifier: MIT */

/*
 * A sequence as a row of the store in SQLite, and what can be done to it.
 *
 * SQLite keeps no checksums, so every row has one: a flipped bit in a position is
 * noticed rather than believed. A row is changed by reading it, checking it, and
 * writing it back: whole, or, when only its position moved, that alone. SQLite would
 * put a name that is written into its index anew, which is another page in the log of
 * every commit.
 */

#include "store-sqlite.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

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

int sqlite_prepare(struct store_sqlite *s)
{
        int code;

        for (int i = 0; i < N_STATEMENTS; i++) {
                code = sqlite3_prepare_v3(s->db, statements[i], -1, SQLITE_PREPARE_PERSISTENT,
                                          &s->prepared[i], NULL);
                if (code == SQLITE_ERROR)
                        return sqlite_corrupt(s, sqlite3_errmsg(s->db));
                if (code != SQLITE_OK)
                        return sqlite_fail(s, code, "read");
        }
        return 0;
}

/* --- rows -------------------------------------------------------------- */

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

int sqlite_read_row(struct store_sqlite *s, sqlite3_stmt *statement, struct sqlite_row *row)
{
        const char *name = (const char *)sqlite3_column_text(statement, 2);
        struct store_sequence *q = &row->sequence;
        char what[SEQUENCE_NAME_MAX + 300];
        const char *fault;

        if (!name || sqlite3_column_bytes(statement, 2) > SEQUENCE_NAME_MAX)
                return sqlite_corrupt(s, "a sequence's name");
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
        return sqlite_corrupt(s, what);
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
int sqlite_run(struct store_sqlite *s, enum statement which, const char *what)
{
        sqlite3_stmt *statement = s->prepared[which];
        int code, r = 0;

        errno = 0;
        code = sqlite3_step(statement);
        if (code != SQLITE_DONE)
                r = sqlite_fail(s, code, what);
        (void)sqlite3_reset(statement);
        (void)sqlite3_clear_bindings(statement);
        return r;
}

static int row_fetch(struct store_sqlite *s, uint64_t id, struct sqlite_row *row)
{
        sqlite3_stmt *statement = s->prepared[FETCH];
        int code, r;

        errno = 0;
        sqlite3_bind_int64(statement, 1, (int64_t)id);
        code = sqlite3_step(statement);
        if (code == SQLITE_ROW)
                r = sqlite_read_row(s, statement, row);
        else if (code == SQLITE_DONE)
                r = sqlite_say(s, -ENOENT, "there is no sequence with id %" PRIu64 " in %s", id,
                               s->path);
        else
                r = sqlite_fail(s, code, "read");
        (void)sqlite3_reset(statement);
        return r;
}

static int row_write(struct store_sqlite *s, const struct store_sequence *q)
{
        row_bind(s->prepared[UPDATE], q);
        return sqlite_run(s, UPDATE, "write");
}

static int row_move(struct store_sqlite *s, const struct store_sequence *q)
{
        sqlite3_stmt *statement = s->prepared[MOVE];

        sqlite3_bind_int64(statement, 1, (int64_t)q->id);
        sqlite3_bind_int64(statement, 2, (int64_t)q->lo);
        sqlite3_bind_int64(statement, 3, (int64_t)q->hi);
        sqlite3_bind_int64(statement, 4, q->exact);
        sqlite3_bind_int64(statement, 5, row_checksum(q));
        return sqlite_run(s, MOVE, "write");
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
                return sqlite_say(s, -EINVAL, "sequence %s cannot be stored: %s", op->name, fault);
        row_bind(s->prepared[INSERT], &q);
        r = sqlite_run(s, INSERT, "write");
        if (r < 0 && sqlite3_extended_errcode(s->db) == SQLITE_CONSTRAINT_UNIQUE)
                return sqlite_say(s, -EEXIST, "sequence %s exists already", op->name);
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
                return sqlite_say(s, -EINVAL, "sequence %s: nothing to reserve", q->name);
        if (base > SEQUENCE_INDEX_LIMIT || op->count > SEQUENCE_INDEX_LIMIT - base)
                return sqlite_say(s, -EOVERFLOW, "sequence %s: no indices are left to reserve",
                                  q->name);
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
                return sqlite_say(s, -EINVAL,
                                  "sequence %s: position %" PRIu64 " is below %" PRIu64
                                  " or no position",
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
                return sqlite_say(s, -EINVAL, "sequence %s cannot be stored: %s", q->name, fault);
        op->generation = q->generation;
        return 0;
}

static int tune(struct store_sqlite *s, const struct store_op *op, struct store_sequence *q)
{
        const char *fault;

        q->params.reserve = op->params.reserve;
        fault = row_fault(q);
        return fault ? sqlite_say(s, -EINVAL, "sequence %s cannot be stored: %s", q->name, fault)
                     : 0;
}

/* An op that changes a row which must be there. */
static int change(struct store_sqlite *s, struct store_op *op)
{
        bool moves = op->type == STORE_RESERVE || op->type == STORE_SAVE;
        struct store_sequence *q;
        struct sqlite_row row = {.sequence.name = ""};
        int r;

        r = row_fetch(s, op->id, &row);
        if (r < 0)
                return r;
        q = &row.sequence;
        if (moves && op->generation != q->generation)
                return sqlite_say(s, -ESTALE,
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
        struct sqlite_row row;
        int r;

        r = row_fetch(s, op->id, &row);
        if (r < 0)
                return r;
        sqlite3_bind_int64(s->prepared[DELETE], 1, (int64_t)op->id);
        return sqlite_run(s, DELETE, "write");
}

int sqlite_apply(struct store_sqlite *s, struct store_op *op)
{
        switch (op->type) {
        case STORE_CREATE:
                return create(s, op);
        case STORE_DROP:
                return drop(s, op);
        case STORE_SEGMENT:
                sqlite3_bind_blob(s->prepared[SEGMENT], 1, &op->id, sizeof(op->id), SQLITE_STATIC);
                return sqlite_run(s, SEGMENT, "write");
        case STORE_REPLACE:
        case STORE_RESERVE:
        case STORE_SAVE:
        case STORE_TUNE:
                return change(s, op);
        }
        return sqlite_say(s, -EINVAL, "no such operation");
}
