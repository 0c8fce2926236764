/* SPDX-License-Identifier: MIT */

/*
 * What the segment tells of sequences: of one, and of all, sorted by name.
 *
 * It is read word by word from memory that others are changing, so figures of a
 * busy sequence belong to almost, not exactly, one moment.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "atomic.h"
#include "cli.h"
#include "directory.h"
#include "draw.h"
#include "handle.h"
#include "turn.h"

/* --- of one sequence ------------------------------------------------------- */

static uint64_t at_most(uint64_t value, uint64_t limit)
{
        return value < limit ? value : limit;
}

struct snapshot snapshot_take(struct seqnum *seq)
{
        const struct view *view = handle_view(seq);
        const struct cell *cell = &view->mapping->cells[view->slot];
        struct snapshot s = {.name = seq->name, .view = view, .kind = view->map.kind};
        uint64_t owner;

        s.state = see_u32(&view->window->state);
        s.ceiling = at_most(window_look(&view->window->ceiling), view->map.limit);
        s.floor = window_look(&view->window->floor);
        s.low = window_look_low(&view->window->low);
        /* Claims that wait, or that went past the end, are not numbers drawn. */
        s.used = at_most(view_next_index(view), view->map.limit);
        s.next = at_most(view_coming_index(view), view->map.limit);
        s.ahead = s.ceiling > s.next ? s.ceiling - s.next : 0;
        s.left = view->map.limit - s.next;
        s.refills = count_read(&view->window->refills);
        s.waits = count_read(&cell->waits);
        if (s.kind == SEQUENCE_GAPLESS) {
                s.turns = count_read(&cell->turns);
                owner = owner_look(&cell->owner);
                s.turn_held = owner != 0;
                s.holder_alive = owner != 0 && turn_owner_alive(view->mapping->fd, owner);
        }
        return s;
}

/* --- all names ------------------------------------------------------------- */

struct names {
        char **items; /* owned, NUL-terminated */
        size_t n_items, size;
};

static void names_free(struct names *names)
{
        for (size_t i = 0; i < names->n_items; i++)
                free(names->items[i]);
        free(names->items);
}

static int names_add(const struct mapping *mapping, const char *name, size_t length, uint32_t slot,
                     void *userdata)
{
        struct names *names = userdata;

        (void)mapping;
        (void)slot;
        if (!sequence_name_valid(name, length))
                return -EBADMSG;
        if (names->n_items == names->size) {
                size_t size = names->size ? 2 * names->size : 64;
                char **items = reallocarray(names->items, size, sizeof(*items));

                if (!items)
                        return -ENOMEM;
                names->items = items;
                names->size = size;
        }
        names->items[names->n_items] = strndup(name, length);
        if (!names->items[names->n_items])
                return -ENOMEM;
        names->n_items++;
        return 0;
}

static int by_name(const void *a, const void *b)
{
        return strcmp(*(char *const *)a, *(char *const *)b);
}

/* A sequence being altered may have two slots for a moment; it is one name. */
static void names_sort(struct names *names)
{
        size_t kept = 0;

        if (names->n_items == 0)
                return;
        qsort(names->items, names->n_items, sizeof(*names->items), by_name);
        for (size_t i = 1; i < names->n_items; i++) {
                if (strcmp(names->items[kept], names->items[i]) == 0)
                        free(names->items[i]);
                else
                        names->items[++kept] = names->items[i];
        }
        names->n_items = kept + 1;
}

/* 0, or the exit status after saying why. */
static int names_of(struct seqnum_client *client, struct names *ret)
{
        int r;

        r = directory_each(client->mappings, names_add, ret);
        if (r < 0)
                return cli_fail("listing", client->shm, r);
        names_sort(ret);
        return 0;
}

static size_t names_width(const struct names *names)
{
        size_t width = 0;

        for (size_t i = 0; i < names->n_items; i++)
                if (strlen(names->items[i]) > width)
                        width = strlen(names->items[i]);
        return width;
}

int snapshot_names(struct seqnum_client *client)
{
        struct names names __attribute__((cleanup(names_free))) = {0};
        int r;

        r = names_of(client, &names);
        for (size_t i = 0; i < names.n_items && r == 0 && !ferror(stdout); i++)
                puts(names.items[i]);
        return r;
}

/* --- all sequences --------------------------------------------------------- */

static int visit(struct seqnum_client *client, const char *name,
                 const struct snapshot_visitor *visitor)
{
        struct snapshot snapshot;
        struct seqnum *seq;
        int r;

        r = seqnum_open(&seq, client, name);
        if (r == -ENOENT || r == -ETIMEDOUT)
                return 0; /* dropped since the names were read */
        if (r < 0)
                return cli_fail("opening", name, r);
        snapshot = snapshot_take(seq);
        r = visitor->each(&snapshot, visitor->userdata);
        seqnum_close(seq);
        return r;
}

int snapshot_all(struct seqnum_client *client, const struct snapshot_visitor *visitor)
{
        struct names names __attribute__((cleanup(names_free))) = {0};
        int r;

        seqnum_set_timeout(client, 0); /* what a template allows for is not asked for */
        r = names_of(client, &names);
        if (r == 0 && visitor->begin)
                r = visitor->begin(names.n_items, names_width(&names), visitor->userdata);
        for (size_t i = 0; i < names.n_items && r == 0 && !ferror(stdout); i++)
                r = visit(client, names.items[i], visitor);
        return r;
}
