/* SPDX-License-Identifier: MIT */

/* The sequences being served; see sequence.h. */

#define HASH_NONFATAL_OOM 1

#include "sequence.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NO_SLOT UINT32_MAX

/* Unless `reserve` says otherwise, ids of kind time are reserved so far ahead, milliseconds. */
#define TIME_AHEAD_MSEC 10000

struct sequence *registry_find_bytes(const struct registry *registry, const char *name,
                                     size_t length)
{
        struct sequence *sequence;

        HASH_FIND(by_name, registry->by_name, name, length, sequence);
        return sequence;
}

struct sequence *registry_find(const struct registry *registry, const char *name)
{
        return registry_find_bytes(registry, name, strlen(name));
}

int registry_add(struct registry *registry, const struct store_sequence *stored,
                 struct sequence **ret)
{
        size_t length = strlen(stored->name);
        struct sequence *sequence;

        if (registry_find(registry, stored->name))
                return -EEXIST;
        sequence = calloc(1, sizeof(*sequence) + length + 1);
        if (!sequence)
                return -ENOMEM;
        sequence->name = memcpy(sequence + 1, stored->name, length + 1);
        sequence->id = stored->id;
        sequence->slot = NO_SLOT;
        sequence_redefine(sequence, &stored->params, stored->origin, stored->generation,
                          stored->hi);
        sequence->lo = stored->lo;
        sequence->exact = stored->exact;

        HASH_ADD_KEYPTR(by_name, registry->by_name, sequence->name, length, sequence);
        if (!sequence->by_name.tbl) { /* how uthash says that memory ran out */
                free(sequence);
                return -ENOMEM;
        }
        registry->n_sequences++;
        *ret = sequence;
        return 0;
}

struct sequence *registry_at(const struct registry *registry, uint32_t slot)
{
        return slot < registry->n_slots ? registry->by_slot[slot] : NULL;
}

static int grow_slots(struct registry *registry, size_t n)
{
        size_t size = registry->n_slots ? registry->n_slots : 64;
        struct sequence **by_slot;

        while (size < n)
                size *= 2;
        if (size == registry->n_slots)
                return 0;
        by_slot = reallocarray(registry->by_slot, size, sizeof(struct sequence *));
        if (!by_slot)
                return -ENOMEM;
        memset(by_slot + registry->n_slots, 0,
               (size - registry->n_slots) * sizeof(struct sequence *));
        registry->by_slot = by_slot;
        registry->n_slots = size;
        return 0;
}

void registry_detach(struct registry *registry, struct sequence *sequence)
{
        if (registry_at(registry, sequence->slot) == sequence)
                registry->by_slot[sequence->slot] = NULL;
        sequence->slot = NO_SLOT;
}

int registry_expect(struct registry *registry, uint32_t slot)
{
        return grow_slots(registry, (size_t)slot + 1);
}

int registry_move(struct registry *registry, struct sequence *sequence, uint32_t slot)
{
        int r = registry_expect(registry, slot);

        if (r < 0)
                return r;
        registry_detach(registry, sequence);
        registry->by_slot[slot] = sequence;
        sequence->slot = slot;
        return 0;
}

void registry_clear_slots(struct registry *registry)
{
        for (size_t i = 0; i < registry->n_slots; i++)
                registry->by_slot[i] = NULL;
        registry_each (registry, sequence)
                sequence->slot = NO_SLOT;
}

struct sequence *registry_remove(struct registry *registry, struct sequence *sequence)
{
        registry_detach(registry, sequence);
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): it loses track in uthash */
        HASH_DELETE(by_name, registry->by_name, sequence);
        registry->n_sequences--;
        free(sequence);
        return NULL;
}

void registry_clear(struct registry *registry)
{
        struct sequence *sequence, *next;

        HASH_ITER (by_name, registry->by_name, sequence, next) {
                /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): it loses track in uthash */
                HASH_DELETE(by_name, registry->by_name, sequence);
                free(sequence);
        }
        free(registry->by_slot);
        *registry = (struct registry){0};
}

void sequence_redefine(struct sequence *sequence, const struct sequence_params *params,
                       int64_t origin, uint64_t generation, uint64_t position)
{
        sequence->params = *params;
        sequence->generation = generation;
        sequence->map = sequence_map_make(params, origin);
        sequence->lo = sequence->hi = position;
        sequence->exact = true;
        sequence->floor = sequence->ceiling = position;
        sequence->low = UINT64_MAX;
        sequence->frozen = false;
        sequence->size = params->kind == SEQUENCE_TIME ? sequence_time_ahead(params) : 0;
        sequence->refilled_usec = 0;
        sequence->demand = 0;
        sequence->barred = 0;
        sequence->refilled_next = position;
}

void sequence_forget_pace(struct sequence *sequence)
{
        sequence->size = 0;
        sequence->refilled_usec = 0;
        sequence->refilled_next = sequence_durable(sequence);
}

uint64_t sequence_time_ahead(const struct sequence_params *params)
{
        return (params->reserve ? params->reserve : TIME_AHEAD_MSEC) << params->serial_bits;
}
