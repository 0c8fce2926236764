/* SPDX-License-Identifier: MIT */

/*
 * Numbers by request and response over a Unix socket, or by a commit: Redis,
 * PostgreSQL, SQLite, and our own control socket, beside one draw in memory.
 */

#include <dlfcn.h>
#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "bench.h"
#include "seqnum.h"

#define GROUP    "server"
#define BARE     "seqnum_next, as the measure"
#define PIPELINE 100u

static int enter_seqnum(struct worker *worker)
{
        struct seqnum_client *client;
        struct seqnum *seq;
        int r;

        r = seqnum_attach(&client, NULL, 0);
        if (r >= 0)
                r = seqnum_open(&seq, client, "bench");
        if (r >= 0)
                worker->own = seq;
        return r;
}

static int work_seqnum(struct worker *worker, unsigned batch)
{
        int r = 0;

        for (unsigned i = 0; i < batch && r == 0; i++)
                r = seqnum_next(worker->own, &worker->number);
        return r < 0 ? r : (int)batch;
}

/* --- what speaks Redis' protocol ------------------------------------------------ */

struct connection {
        int fd;
};

static int connect_to(struct worker *worker, const char *path)
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        struct connection *connection = calloc(1, sizeof(*connection));

        if (!connection)
                return -ENOMEM;
        (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
        connection->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connection->fd < 0 ||
            connect(connection->fd, (struct sockaddr *)&address, sizeof(address)) < 0)
                return -errno;
        worker->own = connection;
        return 0;
}

static int enter_redis(struct worker *worker)
{
        return connect_to(worker, bench_setting("BENCH_REDIS"));
}

static int enter_redis_always(struct worker *worker)
{
        return connect_to(worker, bench_setting("BENCH_REDIS_ALWAYS"));
}

static int enter_socket(struct worker *worker)
{
        return connect_to(worker, bench_setting("BENCH_SEQNUMD_SOCKET"));
}

/* Read so many answers of the form ":NUMBER\r\n". */
static int read_answers(int fd, unsigned n)
{
        char buffer[4096];
        ssize_t got;

        while (n > 0) {
                got = read(fd, buffer, sizeof(buffer));
                if (got <= 0)
                        return got < 0 ? -errno : -ECONNRESET;
                if (memchr(buffer, '-', (size_t)got))
                        return -EPROTO;
                for (ssize_t i = 0; i < got; i++)
                        n -= buffer[i] == '\n' && n > 0;
        }
        return 0;
}

static int ask(const struct connection *connection, unsigned n)
{
        static const char incr[] = "*2\r\n$4\r\nINCR\r\n$5\r\nbench\r\n";
        char buffer[PIPELINE * (sizeof(incr) - 1)];
        size_t length = n * (sizeof(incr) - 1);

        for (unsigned i = 0; i < n; i++)
                memcpy(buffer + i * (sizeof(incr) - 1), incr, sizeof(incr) - 1);
        if (write(connection->fd, buffer, length) != (ssize_t)length)
                return -EIO;
        return read_answers(connection->fd, n);
}

static int work_incr(struct worker *worker, unsigned batch)
{
        int r = 0;

        for (unsigned i = 0; i < batch && r == 0; i++)
                r = ask(worker->own, 1);
        return r < 0 ? r : (int)batch;
}

static int work_pipelined(struct worker *worker, unsigned batch)
{
        int r;

        (void)batch;
        r = ask(worker->own, PIPELINE);
        return r < 0 ? r : (int)PIPELINE;
}

static bool there_redis(void)
{
        return getenv("BENCH_REDIS") != NULL;
}

/* --- PostgreSQL, by its library if that is installed ---------------------------- */

struct postgres {
        void *connection;
        void *(*exec)(void *, const char *);
        int (*status)(const void *);
        void (*clear)(void *);
};

#define POSTGRES_LIBRARY  "libpq.so.5"
#define POSTGRES_TUPLES   2 /* PGRES_TUPLES_OK */
#define POSTGRES_PER_BULK 1000

static bool there_postgres(void)
{
        return getenv("BENCH_POSTGRES") && dlopen(POSTGRES_LIBRARY, RTLD_NOW);
}

static int enter_postgres(struct worker *worker)
{
        void *library = dlopen(POSTGRES_LIBRARY, RTLD_NOW);
        struct postgres *postgres = calloc(1, sizeof(*postgres));
        void *(*connect)(const char *);
        int (*connected)(const void *);
        char where[256];

        if (!library || !postgres)
                return -ENOMEM;
        *(void **)&connect = dlsym(library, "PQconnectdb");
        *(void **)&connected = dlsym(library, "PQstatus");
        *(void **)&postgres->exec = dlsym(library, "PQexec");
        *(void **)&postgres->status = dlsym(library, "PQresultStatus");
        *(void **)&postgres->clear = dlsym(library, "PQclear");
        if (!connect || !connected || !postgres->exec || !postgres->status || !postgres->clear)
                return -ENOSYS;
        (void)snprintf(where, sizeof(where), "host=%s user=bench dbname=postgres",
                       bench_setting("BENCH_POSTGRES"));
        postgres->connection = connect(where);
        if (connected(postgres->connection) != 0)
                return -ECONNREFUSED;
        worker->own = postgres;
        return 0;
}

static int query(const struct postgres *postgres, const char *statement)
{
        void *result = postgres->exec(postgres->connection, statement);
        int r = postgres->status(result) == POSTGRES_TUPLES ? 0 : -EPROTO;

        postgres->clear(result);
        return r;
}

static int work_postgres(struct worker *worker, unsigned batch)
{
        int r = 0;

        for (unsigned i = 0; i < batch && r == 0; i++)
                r = query(worker->own, "select nextval('bench')");
        return r < 0 ? r : (int)batch;
}

static int work_postgres_bulk(struct worker *worker, unsigned batch)
{
        int r = query(worker->own, "select count(nextval('bench')) from generate_series(1, 1000)");

        (void)batch;
        return r < 0 ? r : POSTGRES_PER_BULK;
}

/* --- SQLite, committing each number ---------------------------------------------- */

static int enter_sqlite(struct worker *worker)
{
        char path[256];
        sqlite3 *database;

        (void)snprintf(path, sizeof(path), "%s/server.sqlite", bench_setting("BENCH_DIR"));
        if (sqlite3_open(path, &database) != SQLITE_OK ||
            sqlite3_exec(database,
                         "pragma journal_mode = wal; pragma synchronous = full;"
                         "create table if not exists bench (n integer);"
                         "insert into bench select 0 where not exists (select 1 from bench)",
                         NULL, NULL, NULL) != SQLITE_OK)
                return -EIO;
        worker->own = database;
        return 0;
}

static int work_sqlite(struct worker *worker, unsigned batch)
{
        for (unsigned i = 0; i < batch; i++)
                if (sqlite3_exec(worker->own, "update bench set n = n + 1 returning n", NULL, NULL,
                                 NULL) != SQLITE_OK)
                        return -EIO;
        return (int)batch;
}

const struct subject server_subjects[] = {
        {GROUP, BARE, NULL, 1, .server = "BENCH_SEQNUMD", .enter = enter_seqnum,
         .work = work_seqnum},
        {GROUP, "seqnumd INCR", BARE, 1, .server = "BENCH_SEQNUMD", .enter = enter_socket,
         .work = work_incr, .batch = 10},
        {GROUP, "seqnumd INCR, pipelined by 100", BARE, 1, .server = "BENCH_SEQNUMD",
         .enter = enter_socket, .work = work_pipelined},
        {GROUP, "Redis INCR, everysec", BARE, 1, .latency = true, .server = "BENCH_REDIS_PID",
         .there = there_redis, .enter = enter_redis, .work = work_incr, .batch = 10},
        {GROUP, "Redis INCR, always synced", BARE, 1, .server = "BENCH_REDIS_ALWAYS_PID",
         .there = there_redis, .enter = enter_redis_always, .work = work_incr, .batch = 10},
        {GROUP, "Redis INCR, pipelined by 100", BARE, 1, .server = "BENCH_REDIS_PID",
         .there = there_redis, .enter = enter_redis, .work = work_pipelined},
        {GROUP, "PostgreSQL nextval", BARE, 1, .latency = true, .server = "BENCH_POSTGRES_PID",
         .there = there_postgres, .enter = enter_postgres, .work = work_postgres, .batch = 10},
        {GROUP, "PostgreSQL nextval, 1000 at once", BARE, 1, .server = "BENCH_POSTGRES_PID",
         .there = there_postgres, .enter = enter_postgres, .work = work_postgres_bulk},
        {GROUP, "SQLite, a commit each", BARE, 1, .enter = enter_sqlite, .work = work_sqlite,
         .batch = 1},
        {0},
};
