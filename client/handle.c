/* SPDX-License-Identifier: MIT */

/* Clients and handles, their making, renewal and end; see handle.h. */

#include "handle.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ask.h"
#include "atomic.h"
#include "block.h"
#include "cancel.h"
#include "directory.h"
#include "guard.h"
#include "turn.h"

static const char default_shm[] = "/seqnumd";

/* --- views that never draw --------------------------------------------- */

/* All have the frozen bit. */
struct cell void_cell = {.next = CELL_FROZEN};
static const struct window void_window = {.floor = WINDOW_CLOSED, .state = WINDOW_RETIRED};
static struct view forked_view = {
        .lens = {.next = (uint64_t *)&void_cell.next, .window = (const uint64_t *)&void_window},
        .cell = &void_cell,
        .window = &void_window,
};

/* --- fork -------------------------------------------------------------- */

static pthread_mutex_t clients_lock = PTHREAD_MUTEX_INITIALIZER;
static struct seqnum_client *clients;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;
static int fork_error;
static int forker_cancel_state; /* under clients_lock */

/* The kernel's locks on the parent's ids are shared by every copy of the file. */
static void close_turn_files(struct seqnum_client *client)
{
        for (struct turn_file *file = client->turn_files; file; file = file->older) {
                if (file->fd >= 0)
                        close(file->fd);
                file->fd = -1;
        }
}

/* Lock everything, so that the child's copy is in no half-made state. */
static void before_fork(void)
{
        int state = cancel_defer();

        pthread_mutex_lock(&clients_lock);
        forker_cancel_state = state;
        for (struct seqnum_client *c = clients; c; c = c->next)
                pthread_mutex_lock(&c->lock);
}

static void after_fork(void)
{
        int state = forker_cancel_state;

        pthread_mutex_unlock(&clients_lock);
        cancel_restore(&state);
}

static void after_fork_in_parent(void)
{
        for (struct seqnum_client *c = clients; c; c = c->next)
                pthread_mutex_unlock(&c->lock);
        after_fork();
}

static void after_fork_in_child(void)
{
        for (struct seqnum_client *c = clients; c; c = c->next) {
                c->forked = true;
                close_turn_files(c);
                for (struct seqnum *seq = c->handles; seq; seq = seq->next) {
                        head_publish(&seq->head, &forked_view.lens);
                        for (struct seqnum_block *b = seq->blocks; b; b = b->next)
                                b->stock.index = b->stock.end = 0; /* the parent's */
                }
                pthread_mutex_unlock(&c->lock);
        }
        after_fork();
}

static void watch_forks(void)
{
        fork_error = -pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

static void clients_link(struct seqnum_client *client)
{
        pthread_mutex_lock(&clients_lock);
        client->next = clients;
        if (clients)
                clients->previous = client;
        clients = client;
        pthread_mutex_unlock(&clients_lock);
}

static void clients_unlink(struct seqnum_client *client)
{
        pthread_mutex_lock(&clients_lock);
        if (client->previous)
                client->previous->next = client->next;
        else if (clients == client)
                clients = client->next;
        if (client->next)
                client->next->previous = client->previous;
        pthread_mutex_unlock(&clients_lock);
}

/* --- views ------------------------------------------------------------- */

/*
 * The mapping of the window's constants, -EBADMSG when they are none that the
 * daemon would have published: they come from outside like everything else.
 */
static int window_map(const struct window *window, struct sequence_map *ret)
{
        struct sequence_params params = {
                .kind = (enum sequence_kind)window->kind,
                .node_bits = window->node_bits,
                .serial_bits = window->serial_bits,
                .node = window->node,
                .hold_limit = window->hold_limit,
                .epoch = window->epoch,
                .start = window->start,
                .increment = window->increment,
                .min = window->min,
                .max = window->max,
                .cycle = window->cycle != 0,
        };
        int64_t origin = window->origin; /* read once, like all the others: it may change */
        char reason[256];

        if (origin < params.min || origin > params.max ||
            sequence_params_check(&params, reason, sizeof(reason)))
                return -EBADMSG;
        *ret = sequence_map_make(&params, origin);
        return 0;
}

static int view_new(struct view **ret, const struct mapping *mapping, uint32_t slot)
{
        struct view *view;
        bool fast;
        int r;

        view = calloc(1, sizeof(*view));
        if (!view)
                return -ENOMEM;
        view->window = &mapping->windows[slot];
        view->mapping = mapping;
        view->slot = slot;
        r = window_map(view->window, &view->map);
        if (r < 0) {
                free(view);
                return r;
        }
        /* Only counters are drawn by claiming; only plain ones need no second look. */
        view->cell = mapping->writable && view->map.kind == SEQUENCE_COUNTER ? &mapping->cells[slot]
                                                                             : &void_cell;
        fast = view->cell != &void_cell && !view->map.period;
        view->lens = (struct seqnum_lens){
                .next = (uint64_t *)&view->cell->next,
                .window = (const uint64_t *)(fast ? view->window : &void_window),
                .origin = (uint64_t)view->map.origin,
                .increment = (uint64_t)view->map.increment,
        };
        *ret = view;
        return 0;
}

/* --- mappings of a client ---------------------------------------------- */

static unsigned mapping_flags(const struct seqnum_client *client)
{
        return (client->writable ? MAPPING_WRITABLE : 0) | (client->guarded ? MAPPING_GUARDED : 0);
}

/* Is the newest mapping out of date: retired, or abandoned and replaced? */
static bool mapping_outdated(const struct seqnum_client *client)
{
        const struct mapping *mapping = client->mappings;

        if (see_u32(&mapping->header->state) == SEGMENT_RETIRED)
                return true;
        return !mapping_attended(mapping) && !mapping_current(mapping, client->shm);
}

/* With the lock held: make sure that the newest mapping is of the live object. */
static int client_refresh(struct seqnum_client *client)
{
        struct mapping *mapping;
        int r;

        if (!mapping_outdated(client))
                return 0;
        r = mapping_new(&mapping, client->shm, mapping_flags(client));
        if (r < 0)
                return r;
        if (see_u32(&mapping->header->state) == SEGMENT_RETIRED) {
                mapping_free(mapping);
                return -ENXIO;
        }
        mapping->older = client->mappings;
        client->mappings = mapping;
        return 0;
}

static int look_up(struct seqnum *seq, const struct view *stale)
{
        struct seqnum_client *client = seq->client;
        struct view *view;
        uint32_t slot;
        int r;

        if (client->forked)
                return -ECHILD;
        if (handle_view(seq) != stale)
                return 0;
        r = client_refresh(client);
        if (r < 0)
                return r;
        r = directory_find(client->mappings, seq->name, seq->name_length, &slot);
        if (r < 0)
                return r;
        if (stale && stale->mapping == client->mappings && stale->slot == slot)
                return -EAGAIN;
        r = view_new(&view, client->mappings, slot);
        if (r < 0)
                return r;
        view->older = seq->views;
        seq->views = view;
        head_publish(&seq->head, &view->lens);
        return 0;
}

/*
 * What is not found in a segment that was lost meanwhile may yet be found in the one
 * that is to take its place. And what a handle meets there that cannot be believed, it
 * will not for long, if a daemon lives to mend it.
 */
static int renew_locked(struct seqnum *seq, const struct view *stale)
{
        const struct seqnum_client *client = seq->client;
        int r = look_up(seq, stale);

        if (r == -ENOENT && mapping_lost(client->mappings))
                return -EAGAIN;
        if (r == -EBADMSG && stale && (client->guarded || segment_attended(client->shm)))
                return -EAGAIN;
        return r;
}

const struct view *handle_view_of(struct seqnum *seq, const uint64_t *next)
{
        const struct view *found = handle_view(seq);

        if (found->lens.next == next)
                return found;
        pthread_mutex_lock(&seq->client->lock);
        for (const struct view *v = seq->views; v; v = v->older)
                if (v->lens.next == next) {
                        found = v;
                        break;
                }
        pthread_mutex_unlock(&seq->client->lock);
        return found;
}

int handle_renew(struct seqnum *seq, const struct view *stale)
{
        CANCEL_DEFERRED;
        int r;

        pthread_mutex_lock(&seq->client->lock);
        r = renew_locked(seq, stale);
        pthread_mutex_unlock(&seq->client->lock);
        return r;
}

/* --- files that ids are taken with -------------------------------------- */

static struct turn_file *turn_file_find(const struct seqnum_client *client,
                                        const struct mapping *mapping)
{
        struct turn_file *file = client->turn_files;

        while (file && file->mapping != mapping)
                file = file->older;
        return file;
}

/* Where there is no /proc, the name leads to the object, unless it was replaced. */
static int open_turns(const struct seqnum_client *client, const struct mapping *mapping)
{
        struct stat status;
        int fd;

        fd = turn_open(mapping->fd);
        if (fd != -ENOENT)
                return fd;
        fd = shm_open(client->shm, O_RDWR | O_CLOEXEC | O_NONBLOCK, 0);
        if (fd < 0)
                return errno == ENOENT ? -ENXIO : -errno;
        if (fstat(fd, &status) == 0 && status.st_dev == mapping->device &&
            status.st_ino == mapping->inode)
                return fd;
        close(fd);
        return -ENXIO;
}

/* With the lock held, so that no fork comes between opening and noting it. */
static int turn_file_new(struct seqnum_client *client, const struct mapping *mapping,
                         struct turn_file **ret)
{
        struct turn_file *file;

        if (client->forked)
                return -ECHILD;
        file = calloc(1, sizeof(*file));
        if (!file)
                return -ENOMEM;
        file->mapping = mapping;
        file->fd = open_turns(client, mapping);
        if (file->fd < 0) {
                int r = file->fd;

                free(file);
                return r;
        }
        file->older = client->turn_files;
        client->turn_files = file;
        *ret = file;
        return 0;
}

int client_turn_file(struct seqnum_client *client, const struct mapping *mapping,
                     const struct turn_file **ret)
{
        CANCEL_DEFERRED;
        struct turn_file *file;
        int r = 0;

        pthread_mutex_lock(&client->lock);
        file = turn_file_find(client, mapping);
        if (!file)
                r = turn_file_new(client, mapping, &file);
        pthread_mutex_unlock(&client->lock);
        if (r >= 0)
                *ret = file;
        return r;
}

/* --- the public constructors and destructors --------------------------- */

static const char *name_from_environment(void)
{
        const char *shm = secure_getenv("SEQNUM_SHM");

        return shm && *shm ? shm : default_shm;
}

int seqnum_attach(struct seqnum_client **ret, const char *shm, unsigned flags)
{
        CANCEL_DEFERRED;
        struct seqnum_client *client;
        int r;

        if (flags & ~(SEQNUM_RDONLY | SEQNUM_SIGBUS))
                return -EINVAL;
        if (!shm)
                shm = name_from_environment();
        if (!segment_name_valid(shm))
                return -EINVAL;
        pthread_once(&fork_once, watch_forks);
        r = fork_error;
        if (r >= 0 && (flags & SEQNUM_SIGBUS))
                r = guard_install();
        if (r < 0)
                return r;

        client = calloc(1, sizeof(*client));
        if (!client)
                return -ENOMEM;
        pthread_mutex_init(&client->lock, NULL);
        client->writable = !(flags & SEQNUM_RDONLY);
        client->guarded = flags & SEQNUM_SIGBUS;
        count_set(&client->timeout_usec, SEQNUM_TIMEOUT_DEFAULT);
        memcpy(client->shm, shm, strlen(shm) + 1);
        r = mapping_new(&client->mappings, shm, mapping_flags(client));
        if (r < 0) {
                pthread_mutex_destroy(&client->lock);
                free(client);
                return r;
        }
        clients_link(client);
        *ret = client;
        return 0;
}

static void handle_free(struct seqnum *seq)
{
        struct view *older;

        while (seq->blocks)
                block_free(seq->blocks);
        if (!seq->client->forked)
                transaction_clear(&seq->transaction);
        for (struct view *v = seq->views; v; v = older) {
                older = v->older;
                free(v);
        }
        free(seq);
}

struct seqnum_client *seqnum_detach(struct seqnum_client *client)
{
        CANCEL_DEFERRED;
        struct turn_file *older_file;
        struct mapping *older;
        struct seqnum *next;

        if (!client)
                return NULL;
        clients_unlink(client);
        for (struct seqnum *seq = client->handles; seq; seq = next) {
                next = seq->next;
                handle_free(seq);
        }
        close_turn_files(client);
        for (struct turn_file *file = client->turn_files; file; file = older_file) {
                older_file = file->older;
                free(file);
        }
        for (struct mapping *m = client->mappings; m; m = older) {
                older = m->older;
                mapping_free(m);
        }
        pthread_mutex_destroy(&client->lock);
        free(client);
        return NULL;
}

static void handle_link(struct seqnum *seq)
{
        struct seqnum_client *client = seq->client;

        seq->next = client->handles;
        if (client->handles)
                client->handles->previous = seq;
        client->handles = seq;
}

static void handle_unlink(struct seqnum *seq)
{
        if (seq->previous)
                seq->previous->next = seq->next;
        else if (seq->client->handles == seq)
                seq->client->handles = seq->next;
        if (seq->next)
                seq->next->previous = seq->previous;
}

/* Look the handle's name up and make the handle one of its client's. */
static int handle_enter(struct seqnum *seq)
{
        int r;

        pthread_mutex_lock(&seq->client->lock);
        r = renew_locked(seq, NULL);
        if (r >= 0)
                handle_link(seq);
        pthread_mutex_unlock(&seq->client->lock);
        return r;
}

/*
 * `name` is not in the directory: have the daemon make it, where a template may
 * allow for it. Without the lock, the answer may take long. 0, -ENOENT, ...
 */
static int client_ask(struct seqnum_client *client, const char *name)
{
        const struct segment_header *header;
        char path[sizeof(header->socket) + 1] = "";

        pthread_mutex_lock(&client->lock);
        header = client->mappings->header;
        if (see_u32(&header->n_templates) > 0)
                memcpy(path, header->socket, sizeof(header->socket));
        pthread_mutex_unlock(&client->lock);
        return *path ? ask_open(path, name, count_read(&client->timeout_usec)) : -ENOENT;
}

int seqnum_open(struct seqnum **ret, struct seqnum_client *client, const char *name)
{
        CANCEL_DEFERRED;
        size_t length = strnlen(name, SEQUENCE_NAME_MAX + 1);
        struct seqnum *seq;
        int r;

        if (!sequence_name_valid(name, length))
                return -EINVAL;
        seq = calloc(1, sizeof(*seq));
        if (!seq)
                return -ENOMEM;
        seq->client = client;
        seq->name_length = length;
        memcpy(seq->name, name, length);

        r = handle_enter(seq);
        if (r == -ENOENT) {
                r = client_ask(client, name);
                if (r >= 0)
                        r = handle_enter(seq);
        }
        if (r < 0) {
                free(seq);
                return r;
        }
        *ret = seq;
        return 0;
}

struct seqnum *seqnum_close(struct seqnum *seq)
{
        struct seqnum_client *client;

        if (!seq)
                return NULL;
        client = seq->client;
        pthread_mutex_lock(&client->lock);
        handle_unlink(seq);
        pthread_mutex_unlock(&client->lock);
        handle_free(seq);
        return NULL;
}

int seqnum_set_timeout(struct seqnum_client *client, uint64_t timeout_usec)
{
        if (client->forked)
                return -ECHILD;
        count_set(&client->timeout_usec, timeout_usec);
        return 0;
}
