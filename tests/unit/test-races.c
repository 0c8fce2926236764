/* SPDX-License-Identifier: MIT */

/*
 * Daemon and clients as threads of one process on one mapping, for ThreadSanitizer
 * (`make tsan TESTS=races`): it knows memory by its address, so between processes,
 * and between two mappings of one object, it is blind to what the two sides of the
 * protocol do to each other. Here mmap(2) is wrapped (the linker's --wrap) and
 * gives whoever maps an object a second time the address of the first.
 *
 * The whole daemon, not parts of it: it starts, reserves, reloads, is stopped with
 * windows frozen or left open, adopts what the last one left, and makes segments anew,
 * while other threads draw, run, peek, begin, commit and roll back. What TSan sees
 * is the order of all that by the orders of client/atomic.h. Without TSan it is a test like
 * others: no number twice, none skipped by a commit.
 *
 * What it does not see: two accesses that are each atomic, in the wrong order
 * (Dekker's patterns). Those are checked in tests/model/bell.pml.
 */

#include "unit.h"

#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>

#include "config.h"
#include "service.h"

#define LIVES       10     /* of daemons */
#define LIFE_USEC   200000 /* of each */
#define THREADS     2      /* of each sort */
#define NUMBERS_MAX (1 << 24)
#define OBJECTS_MAX 256

/* --- one mapping of each object ------------------------------------------- */

void *__real_mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset);
int __real_munmap(void *address, size_t size);
void *__wrap_mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset);
int __wrap_munmap(void *address, size_t size);

static pthread_mutex_t objects_lock = PTHREAD_MUTEX_INITIALIZER;
static struct object {
        dev_t device;
        ino_t inode;
        char *base;
        size_t size;
} objects[OBJECTS_MAX];
static size_t n_objects;

static struct object *find_object(const struct stat *status)
{
        for (size_t i = 0; i < n_objects; i++)
                if (objects[i].device == status->st_dev && objects[i].inode == status->st_ino)
                        return &objects[i];
        return NULL;
}

/*
 * By a file description of its own: a mapping holds on to its file, and with it to
 * the daemon's lock, for as long as it lasts.
 */
static void *map_whole(int fd, size_t size)
{
        char path[64];
        void *base;
        int own;

        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        own = open(path, O_RDWR | O_CLOEXEC);
        base = __real_mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, own, 0);
        if (own >= 0)
                close(own);
        return base;
}

/* They stay mapped: a thread may hold on to one that the others have left. */
void *__wrap_mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset)
{
        struct stat status;
        struct object *object;
        void *base = MAP_FAILED;

        if (!(flags & MAP_SHARED) || fd < 0 || fstat(fd, &status) < 0)
                return __real_mmap(address, size, protection, flags, fd, offset);
        pthread_mutex_lock(&objects_lock);
        object = find_object(&status);
        if (object && (size_t)offset + size <= object->size) {
                base = object->base + offset;
        } else if (!object && n_objects < OBJECTS_MAX && offset == 0) {
                base = map_whole(fd, size);
                if (base != MAP_FAILED)
                        objects[n_objects++] =
                                (struct object){status.st_dev, status.st_ino, base, size};
        }
        pthread_mutex_unlock(&objects_lock);
        return base;
}

int __wrap_munmap(void *address, size_t size)
{
        bool ours = false;

        pthread_mutex_lock(&objects_lock);
        for (size_t i = 0; i < n_objects; i++)
                ours |= objects[i].base == address;
        pthread_mutex_unlock(&objects_lock);
        return ours ? 0 : __real_munmap(address, size);
}

/* --- the daemon, in a thread ------------------------------------------------ */

struct races {
        char directory[64], ini[96], shm[64];
        struct seqnum *changing;     /* one handle for all threads */
        unsigned life;               /* the main thread's */
        _Atomic(uint32_t) over;      /* no more daemons */
        _Atomic(uint32_t) enough;    /* no more draws */
        _Atomic(uint64_t) n_lives;   /* daemons that have started */
        _Atomic(uint8_t) *taken;     /* of orders: by value */
        _Atomic(uint8_t) *committed; /* of invoices */
        _Atomic(uint64_t) n_committed;
};

static void configure(const struct races *races)
{
        FILE *file = fopen(races->ini, "we");

        assert_non_null(file);
        (void)fprintf(file,
                      "[service]\nshm = %s\nstate = %s/state\nsocket = %s/socket\ngroup =\n"
                      "max_sequences = 64\non_stop = %s\n"
                      "[sequence orders]\n"
                      "[sequence small]\nreserve = 3\n"
                      "[sequence changing]\nincrement = %u\n"
                      "[sequence invoices]\nkind = gapless\n"
                      "[sequence ids]\nkind = time\n",
                      races->shm, races->directory, races->directory,
                      races->life % 3 == 1 ? "serve" : "freeze", races->life + 1);
        assert_int_equal(fclose(file), 0);
}

static void *serve(void *argument)
{
        struct races *races = argument;

        while (!see_u32(&races->over)) {
                struct config_errors errors = {0};
                struct service *service;
                struct config *config;

                if (config_load(&config, races->ini, NULL, &errors) < 0)
                        abort();
                if (service_new(&service, config) < 0)
                        abort();
                count_up(&races->n_lives);
                if (service_run(service) < 0)
                        abort();
                service_free(service);
        }
        return NULL;
}

/* --- the clients ------------------------------------------------------------ */

struct worker {
        pthread_t thread;
        struct races *races;
        struct seqnum_client *client;
        void (*work)(struct worker *worker);
        uint64_t n, failed; /* draws */
};

static struct seqnum *must_open(struct worker *worker, const char *name)
{
        struct seqnum *seq = NULL;

        if (seqnum_open(&seq, worker->client, name) < 0)
                abort();
        return seq;
}

/* Restarts are shorter than the patience of a draw: none may fail. */
static void must(struct worker *worker, const char *what, int r)
{
        worker->n++;
        if (r >= 0)
                return;
        (void)fprintf(stderr, "%s: %s\n", what, seqnum_strerror(r));
        worker->failed++;
}

static void note(struct worker *worker, _Atomic(uint8_t) *noted, int64_t value)
{
        if (value < 1 || value >= NUMBERS_MAX)
                return; /* more than there is room to note; its order is still looked at */
        if (atomic_fetch_add(&noted[value], 1) == 0)
                return;
        (void)fprintf(stderr, "%" PRId64 " twice\n", value);
        worker->failed++;
}

static void ascend(struct worker *worker, int64_t *last, int64_t value)
{
        if (value <= *last) {
                (void)fprintf(stderr, "%" PRId64 " after %" PRId64 "\n", value, *last);
                worker->failed++;
        }
        *last = value;
}

static void draw(struct worker *worker)
{
        struct seqnum *orders = must_open(worker, "orders"), *small = must_open(worker, "small");
        struct seqnum *changing = worker->races->changing;
        struct seqnum_run run = {.first = 1};
        int64_t last[3] = {0}, value = 0;

        while (!see_u32(&worker->races->enough)) {
                for (int i = 0; i < 16; i++) {
                        must(worker, "orders", seqnum_next(orders, &value));
                        note(worker, worker->races->taken, value);
                        ascend(worker, &last[0], value);
                }
                must(worker, "orders", seqnum_next_run(orders, 3, &run));
                for (int64_t i = 0; i < 3; i++)
                        note(worker, worker->races->taken, run.first + i);
                ascend(worker, &last[0], run.first);
                last[0] += 2;
                must(worker, "small", seqnum_next(small, &value));
                ascend(worker, &last[1], value);
                must(worker, "changing", seqnum_next(changing, &value));
                ascend(worker, &last[2], value);
                must(worker, "peek", seqnum_peek(small, &value));
        }
}

static void transact(struct worker *worker)
{
        struct seqnum *invoices = must_open(worker, "invoices");
        struct races *races = worker->races;
        int64_t value = 0;

        while (!see_u32(&races->enough)) {
                bool commit = worker->n % 8 != 1;
                int r = seqnum_begin(invoices, &value);

                must(worker, "begin", r);
                if (r < 0)
                        continue;
                r = commit ? seqnum_commit(invoices) : seqnum_rollback(invoices);
                while (r == -ETIMEDOUT || r == -EAGAIN)
                        r = seqnum_commit(invoices);
                if (r == -ENOTRECOVERABLE || r == -ESTALE) { /* its segment was lost meanwhile */
                        worker->n++;
                        continue;
                }
                must(worker, "commit", r);
                if (r >= 0 && commit) {
                        note(worker, races->committed, value);
                        count_up(&races->n_committed);
                }
        }
}

static void draw_ids(struct worker *worker)
{
        struct seqnum *ids = must_open(worker, "ids");
        struct seqnum_run run = {0};
        int64_t last = 0, value = 0;

        while (!see_u32(&worker->races->enough)) {
                must(worker, "ids", seqnum_next(ids, &value));
                ascend(worker, &last, value);
                must(worker, "ids", seqnum_next_run(ids, 5, &run));
                ascend(worker, &last, run.first);
                last += 4;
                unit_nap();
        }
}

static void *work(void *argument)
{
        struct worker *worker = argument;

        worker->work(worker);
        return NULL;
}

/* --- the test ----------------------------------------------------------------- */

static int setup(void **state)
{
        struct races *races = calloc(1, sizeof(*races));
        sigset_t mask;

        *state = races;
        if (!races)
                return -1;
        (void)snprintf(races->directory, sizeof(races->directory), "/tmp/seqnum-races.XXXXXX");
        if (!mkdtemp(races->directory))
                return -1;
        (void)snprintf(races->ini, sizeof(races->ini), "%s/ini", races->directory);
        unit_name(races->shm, sizeof(races->shm));
        races->taken = calloc(NUMBERS_MAX, 1);
        races->committed = calloc(NUMBERS_MAX, 1);
        /* The daemon reads them from a descriptor: no thread may take them by the handler. */
        sigemptyset(&mask);
        sigaddset(&mask, SIGTERM);
        sigaddset(&mask, SIGHUP);
        return races->taken && races->committed ? pthread_sigmask(SIG_BLOCK, &mask, NULL) : -1;
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *walk)
{
        (void)status;
        (void)type;
        (void)walk;
        return remove(path);
}

static int teardown(void **state)
{
        struct races *races = *state;

        (void)shm_unlink(races->shm);
        (void)nftw(races->directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
        free(races->taken);
        free(races->committed);
        free(races);
        return 0;
}

/* Whatever can happen to a segment while it is drawn from. */
static void lead_lives(struct races *races)
{
        const struct timespec part = {.tv_nsec = LIFE_USEC * 1000 / 4};
        uint64_t before;

        for (races->life = 1; races->life <= LIVES; races->life++) {
                (void)nanosleep(&part, NULL);
                configure(races);
                (void)kill(getpid(), SIGHUP); /* `changing` is altered */
                (void)nanosleep(&part, NULL);
                if (races->life % 4 == 2)
                        (void)shm_unlink(races->shm); /* a fresh segment */
                (void)nanosleep(&part, NULL);
                before = count_read(&races->n_lives);
                (void)kill(getpid(), SIGTERM);
                unit_await(count_read(&races->n_lives) > before);
        }
}

static void check(const struct races *races, const struct worker *workers, size_t n)
{
        uint64_t draws = 0;

        for (size_t i = 0; i < n; i++) {
                assert_int_equal(workers[i].failed, 0);
                assert_true(workers[i].n > 0);
                draws += workers[i].n;
        }
        assert_true(races->n_committed > 0);
        for (uint64_t i = 1; i <= races->n_committed && i < NUMBERS_MAX; i++)
                assert_int_equal(races->committed[i], 1);
        print_message("  %" PRIu64 " draws, %" PRIu64 " commits, %" PRIu64 " daemons\n", draws,
                      races->n_committed, races->n_lives);
}

static void test_one_mapping(void **state)
{
        static void (*const works[])(struct worker * worker) = {draw, transact, draw_ids};
        struct worker workers[3 * THREADS] = {0};
        struct seqnum_client *shared = NULL;
        struct races *races = *state;
        pthread_t daemon;

        configure(races);
        assert_int_equal(pthread_create(&daemon, NULL, serve, races), 0);
        unit_await(count_read(&races->n_lives) > 0);
        assert_int_equal(seqnum_attach(&shared, races->shm, 0), 0);
        assert_int_equal(seqnum_open(&races->changing, shared, "changing"), 0);
        for (size_t i = 0; i < 3 * THREADS; i++) {
                workers[i].races = races;
                workers[i].work = works[i % 3];
                workers[i].client = shared; /* the first three; the others have their own */
                if (i >= 3)
                        assert_int_equal(seqnum_attach(&workers[i].client, races->shm, 0), 0);
                assert_int_equal(seqnum_set_timeout(workers[i].client, UNIT_PATIENCE_USEC), 0);
                assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
        }
        lead_lives(races);
        publish_u32(&races->enough, 1);
        for (size_t i = 0; i < 3 * THREADS; i++) {
                assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
                if (i >= 3)
                        seqnum_detach(workers[i].client);
        }
        seqnum_detach(shared);
        publish_u32(&races->over, 1);
        (void)kill(getpid(), SIGTERM);
        assert_int_equal(pthread_join(daemon, NULL), 0);
        check(races, workers, 3 * THREADS);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_one_mapping, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
