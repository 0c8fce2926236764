/* SPDX-License-Identifier: MIT */

/* Reading the segment's directory; see directory.h. */

#include "directory.h"

#include <errno.h>
#include <string.h>

#include "atomic.h"

/*
 * The entry at `offset` (relative to the segment), NULL when it does not lie,
 * with all of its name, among the entries or leads to no slot.
 */
static const struct directory_entry *entry_at(const struct mapping *mapping, uint64_t offset)
{
        const struct segment_geometry *g = &mapping->geometry;
        const struct directory_entry *entry;
        uint64_t room;

        if (offset < g->entries || offset % 8 != 0 || offset >= g->entries + g->entries_size)
                return NULL;
        room = g->entries + g->entries_size - offset;
        if (room < sizeof(*entry))
                return NULL;
        entry = segment_at(mapping->base, offset);
        if (entry->slot >= g->n_slots || entry->name_length < 1 ||
            entry->name_length > SEQUENCE_NAME_MAX ||
            directory_entry_size(entry->name_length) > room)
                return NULL;
        return entry;
}

int directory_find(const struct mapping *mapping, const char *name, size_t length, uint32_t *ret)
{
        uint64_t hash = directory_hash(name, length);
        uint64_t offset = see_u64(&mapping->buckets[hash & (mapping->geometry.n_buckets - 1)]);
        const struct directory_entry *entry;

        for (uint32_t steps = 0; offset != 0; steps++) {
                entry = entry_at(mapping, offset);
                if (!entry || steps >= mapping->geometry.n_slots)
                        return -EBADMSG;
                if (entry->hash == hash && entry->name_length == length &&
                    memcmp(entry->name, name, length) == 0) {
                        *ret = entry->slot;
                        return 0;
                }
                offset = see_u64(&entry->link);
        }
        return -ENOENT;
}

int directory_each(const struct mapping *mapping,
                   int (*each)(const struct mapping *mapping, const char *name, size_t length,
                               uint32_t slot, void *userdata),
                   void *userdata)
{
        uint64_t offset = mapping->geometry.entries;
        uint64_t used = see_u64(&mapping->header->entries_used);
        const struct directory_entry *entry;
        int r;

        if (used > mapping->geometry.entries_size)
                return -EBADMSG;
        for (uint64_t end = offset + used; offset < end;
             offset += directory_entry_size(entry->name_length)) {
                entry = entry_at(mapping, offset);
                if (!entry)
                        return -EBADMSG;
                if (see_u32(&mapping->windows[entry->slot].state) == WINDOW_RETIRED)
                        continue;
                r = each(mapping, entry->name, entry->name_length, entry->slot, userdata);
                if (r != 0)
                        return r;
        }
        return 0;
}
