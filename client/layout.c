/* SPDX-License-Identifier: MIT */

/*
 * Arithmetic of the segment's layout: where each part lies for a given
 * capacity, which ABI this is, how a name hashes. No memory is touched.
 */

#include "layout.h"

#include <stdio.h>
#include <string.h>

static uint64_t page_align(uint64_t offset)
{
        return (offset + SEGMENT_PAGE - 1) & ~(uint64_t)(SEGMENT_PAGE - 1);
}

static uint32_t next_power_of_two(uint32_t n)
{
        uint32_t power = 64;

        while (power < n)
                power <<= 1;
        return power;
}

struct segment_geometry segment_geometry(uint32_t max_sequences)
{
        struct segment_geometry g = {0};

        g.n_buckets = next_power_of_two(max_sequences);
        g.n_slots = (2 * max_sequences + 63) & ~UINT32_C(63);
        g.entries_size = g.n_slots * directory_entry_size(SEQUENCE_NAME_MAX);

        g.buckets = SEGMENT_PAGE;
        g.entries = page_align(g.buckets + g.n_buckets * sizeof(uint64_t));
        g.windows = page_align(g.entries + g.entries_size);
        g.writable = page_align(g.windows + g.n_slots * sizeof(struct window));
        g.wants = page_align(g.writable + sizeof(struct segment_shared));
        g.cells = page_align(g.wants + g.n_slots / 8);
        g.size = page_align(g.cells + g.n_slots * sizeof(struct cell));
        return g;
}

void segment_abi(char abi[static SEGMENT_ABI_SIZE])
{
#if defined(__GLIBC__)
        const char *libc = "glibc";
#else
        const char *libc = "other-libc";
#endif
        const union {
                uint16_t word;
                uint8_t bytes[2];
        } order = {.word = 1};

        memset(abi, 0, SEGMENT_ABI_SIZE);
        (void)snprintf(abi, SEGMENT_ABI_SIZE, "%s-%s%zu-sem%zu", libc, order.bytes[0] ? "le" : "be",
                       8 * sizeof(void *), sizeof(sem_t));
}

uint64_t directory_hash(const char *name, size_t length)
{
        uint64_t hash = UINT64_C(0xcbf29ce484222325);

        for (size_t i = 0; i < length; i++) {
                hash ^= (unsigned char)name[i];
                hash *= UINT64_C(0x100000001b3);
        }
        return hash;
}
