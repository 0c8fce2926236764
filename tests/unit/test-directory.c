/* SPDX-License-Identifier: MIT */

/*
 * The directory: every name leads to its slot, the newest of two wins, and no
 * damage makes a reader crash, run forever, or find a slot that is none.
 */

#include "unit.h"

#include <sys/stat.h>

#include "directory.h"

#define DAMAGES 4000
#define SEED    UINT64_C(0x5e91a3d7c0ffee11)

/* As many names as a small segment has slots. */
struct names {
        struct unit unit;
        char names[64][SEQUENCE_NAME_MAX + 1];
        unsigned n;
};

static int setup(void **state)
{
        struct names *names = calloc(1, sizeof(*names));

        *state = names;
        if (!names)
                return -1;
        unit_name(names->unit.shm, sizeof(names->unit.shm));
        names->unit.segment = unit_segment(names->unit.shm, 1);
        return 0;
}

static int teardown(void **state)
{
        struct names *names = *state;

        segment_free(names->unit.segment);
        (void)shm_unlink(names->unit.shm);
        free(names);
        return 0;
}

static int add(struct names *names, const char *name, uint32_t *ret)
{
        const struct slot_setup slot = {
                .name = name,
                .id = names->n + 1,
                .generation = 1,
                .params = sequence_params_default(),
                .origin = 1,
        };

        return segment_add(names->unit.segment, &slot, ret);
}

/* Remember the name, too. */
static void add_name(struct names *names, const char *name)
{
        uint32_t slot;

        assert_int_equal(add(names, name, &slot), 0);
        assert_int_equal(slot, names->n);
        (void)snprintf(names->names[names->n++], sizeof(names->names[0]), "%s", name);
}

static int find(const struct mapping *mapping, const char *name, uint32_t *ret)
{
        return directory_find(mapping, name, strlen(name), ret);
}

static void assert_slot(const struct names *names, const char *name, uint32_t expected)
{
        uint32_t slot = UINT32_MAX;

        assert_int_equal(find(&names->unit.segment->map, name, &slot), 0);
        assert_int_equal(slot, expected);
}

static void assert_absent(const struct names *names, const char *name)
{
        uint32_t slot = 4711;

        assert_int_equal(find(&names->unit.segment->map, name, &slot), -ENOENT);
        assert_int_equal(slot, 4711);
}

/* The `i`th name of the given length whose hash falls into `bucket` of 64. */
static void colliding_name(char *name, unsigned bucket, unsigned i)
{
        unsigned found = 0;

        for (unsigned n = 0;; n++) {
                (void)snprintf(name, SEQUENCE_NAME_MAX + 1, "name-%u", n);
                if ((directory_hash(name, strlen(name)) & 63) == bucket && found++ == i)
                        return;
        }
}

/* All slots used, in a few long chains and of every kind of length. */
static void fill(struct names *names)
{
        char name[SEQUENCE_NAME_MAX + 1];

        for (unsigned i = 0; i < 40; i++) {
                colliding_name(name, i % 2, i / 2);
                add_name(names, name);
        }
        while (names->n < 64) {
                memset(name, 'a' + (int)(names->n % 26), sizeof(name));
                name[names->n == 63 ? SEQUENCE_NAME_MAX : names->n] = '\0';
                add_name(names, name);
        }
}

/* --- finding ----------------------------------------------------------- */

static void test_find(void **state)
{
        struct names *names = *state;
        char name[SEQUENCE_NAME_MAX + 1];

        assert_absent(names, "orders");
        fill(names);
        for (unsigned i = 0; i < names->n; i++)
                assert_slot(names, names->names[i], i);
        for (unsigned i = 20; i < 30; i++) { /* in the same chains */
                colliding_name(name, 0, i);
                assert_absent(names, name);
        }
        assert_absent(names, "");
        (void)snprintf(name, sizeof(name), "%s", names->names[63]);
        name[SEQUENCE_NAME_MAX - 1] = '\0'; /* a part of a name is not the name */
        assert_absent(names, name);
}

static void test_newest_wins(void **state)
{
        struct names *names = *state;
        uint32_t slot;

        add_name(names, "orders");
        add_name(names, "invoices");
        assert_int_equal(add(names, "orders", &slot), 0);
        assert_slot(names, "orders", slot);
        assert_slot(names, "invoices", 1);

        segment_remove(names->unit.segment, "orders", 0); /* the older */
        assert_slot(names, "orders", slot);
        segment_remove(names->unit.segment, "orders", slot);
        assert_absent(names, "orders");
        assert_slot(names, "invoices", 1);
}

static void test_newer_removed(void **state)
{
        struct names *names = *state;
        uint32_t slot;

        add_name(names, "orders");
        assert_int_equal(add(names, "orders", &slot), 0);
        segment_remove(names->unit.segment, "orders", slot);
        assert_slot(names, "orders", 0);
}

static void test_remove(void **state)
{
        struct names *names = *state;

        fill(names);
        for (unsigned i = 0; i < names->n; i++) { /* heads, middles and ends of chains */
                unsigned gone = i * 29 % 64;

                segment_remove(names->unit.segment, names->names[gone], gone);
                segment_remove(names->unit.segment, names->names[gone], gone);
                names->names[gone][0] = '\0';
                for (unsigned j = 0; j < names->n; j++)
                        if (names->names[j][0])
                                assert_slot(names, names->names[j], j);
                        else if (j == gone)
                                assert_absent(names, names->names[j]);
        }
        segment_remove(names->unit.segment, "never-was", 3);
}

/* Found by fuzz-adopt; `make asan` tells when it is followed. */
static void test_remove_by_a_damaged_link(void **state)
{
        struct names *names = *state;
        struct segment *segment = names->unit.segment;

        add_name(names, "orders");
        for (uint64_t back = 8; back <= sizeof(struct directory_entry); back += 8) {
                publish_u64((_Atomic(uint64_t) *)&segment->map
                                    .buckets[directory_hash("orders", 6) & 63],
                            -back);
                segment_remove(segment, "orders", 0);
        }
}

static struct directory_entry *entry_of(struct names *names, const char *name)
{
        const struct segment_geometry *g = &names->unit.segment->map.geometry;
        const _Atomic(uint64_t) *bucket =
                &names->unit.segment->map.buckets[directory_hash(name, strlen(name)) & 63];

        assert_true(see_u64(bucket) >= g->entries);
        return segment_at(names->unit.segment->map.base, see_u64(bucket));
}

/* Names decide, hashes only help: no two names of equal 64-bit hash are at hand. */
static void test_equal_hashes(void **state)
{
        struct names *names = *state;
        char a[SEQUENCE_NAME_MAX + 1], b[SEQUENCE_NAME_MAX + 1];

        colliding_name(a, 7, 0);
        colliding_name(b, 7, 1);
        while (strlen(a) != strlen(b)) {
                memcpy(a, b, sizeof(a));
                colliding_name(b, 7, 2);
        }
        add_name(names, b);
        add_name(names, a);
        entry_of(names, a)->hash = directory_hash(b, strlen(b));
        assert_slot(names, b, 0);
        assert_absent(names, a);
}

/* --- all names --------------------------------------------------------- */

struct walk {
        const struct names *names;
        unsigned seen;
        unsigned stop_at; /* 0: never */
};

static int walked(const struct mapping *mapping, const char *name, size_t length, uint32_t slot,
                  void *userdata)
{
        struct walk *walk = userdata;

        (void)mapping;
        assert_int_equal(length, strlen(walk->names->names[slot]));
        assert_memory_equal(name, walk->names->names[slot], length);
        walk->seen++;
        return walk->seen == walk->stop_at ? -77 : 0;
}

static void test_each(void **state)
{
        struct names *names = *state;
        struct walk walk = {.names = names};
        const struct mapping *mapping = &names->unit.segment->map;

        assert_int_equal(directory_each(mapping, walked, &walk), 0);
        assert_int_equal(walk.seen, 0);
        fill(names);
        assert_int_equal(directory_each(mapping, walked, &walk), 0);
        assert_int_equal(walk.seen, 64);

        walk = (struct walk){.names = names, .stop_at = 10};
        assert_int_equal(directory_each(mapping, walked, &walk), -77);
        assert_int_equal(walk.seen, 10);

        walk = (struct walk){.names = names};
        window_retire(names->unit.segment, 0);
        window_hand_over(names->unit.segment, 63);
        assert_int_equal(directory_each(mapping, walked, &walk), 0);
        assert_int_equal(walk.seen, 62);
}

/* --- damage ------------------------------------------------------------ */

/* A copy of the segment in memory of its own, exactly as large. */
static void copy_mapping(struct mapping *copy, const struct mapping *mapping)
{
        const struct segment_geometry *g = &mapping->geometry;

        *copy = *mapping;
        copy->base = aligned_alloc(SEGMENT_PAGE, g->size);
        assert_non_null(copy->base);
        copy->buckets = segment_at(copy->base, g->buckets);
        copy->windows = segment_at(copy->base, g->windows);
}

static uint64_t random_u64(uint64_t *seed)
{
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        return *seed;
}

/* Anything at all, or what looks like a good offset, length or slot. */
static uint64_t random_word(uint64_t *seed, const struct segment_geometry *g)
{
        uint64_t word = random_u64(seed);

        switch (random_u64(seed) % 5) {
        case 0:
                return word;
        case 1:
                return word % 512;
        case 2:
                return (g->entries + word % (g->entries_size + 64)) & ~UINT64_C(7);
        case 3:
                return g->entries + g->entries_size - word % 300;
        default:
                return word & UINT64_C(0x000001ff0000007f); /* slot and length of an entry */
        }
}

static int count_entry(const struct mapping *mapping, const char *name, size_t length,
                       uint32_t slot, void *userdata)
{
        const char *first = segment_at(mapping->base, mapping->geometry.entries);
        uint64_t *count = userdata;

        assert_in_range(length, 1, SEQUENCE_NAME_MAX);
        assert_true(slot < mapping->geometry.n_slots);
        assert_true(name >= first && name + length <= first + mapping->geometry.entries_size);
        ++*count;
        return 0;
}

static void survive(const struct names *names, const struct mapping *damaged)
{
        uint64_t count = 0;
        int r;

        for (unsigned i = 0; i < names->n; i++) {
                uint32_t slot = UINT32_MAX;

                r = find(damaged, names->names[i], &slot);
                assert_true(r == 0 || r == -ENOENT || r == -EBADMSG);
                assert_true(r == 0 ? slot < damaged->geometry.n_slots : slot == UINT32_MAX);
        }
        r = directory_each(damaged, count_entry, &count);
        assert_true(r == 0 || r == -EBADMSG);
        assert_true(count <= damaged->geometry.entries_size / sizeof(struct directory_entry));
}

static void test_random_damage(void **state)
{
        struct names *names = *state;
        const struct mapping *mapping = &names->unit.segment->map;
        const struct segment_geometry *g = &mapping->geometry;
        uint64_t seed = SEED, used = names->unit.segment->entries_used;
        struct mapping copy;

        fill(names);
        used = names->unit.segment->entries_used;
        copy_mapping(&copy, mapping);
        memcpy(copy.base, mapping->base, g->size);
        for (int round = 0; round < DAMAGES; round++) {
                memcpy(segment_at(copy.base, g->buckets), segment_at(mapping->base, g->buckets),
                       g->entries + used - g->buckets);
                for (uint64_t n = 1 + random_u64(&seed) % 40; n > 0; n--) {
                        uint64_t *words = segment_at(copy.base, g->buckets);
                        uint64_t n_words = (g->entries + used - g->buckets) / 8;
                        uint64_t at = random_u64(&seed) % n_words;

                        if (at >= g->n_buckets && at < (g->entries - g->buckets) / 8)
                                at %= g->n_buckets; /* between the parts lies nothing */
                        words[at] = random_word(&seed, g);
                }
                survive(names, &copy);
        }
        free(copy.base);
}

static void test_loop(void **state)
{
        struct names *names = *state;
        struct directory_entry *entry;
        char missing[SEQUENCE_NAME_MAX + 1], name[SEQUENCE_NAME_MAX + 1];
        uint32_t slot;

        colliding_name(name, 3, 0);
        colliding_name(missing, 3, 1);
        add_name(names, name);
        entry = entry_of(names, name);
        publish_u64(&entry->link, names->unit.segment->map.geometry.entries); /* itself */
        assert_slot(names, name, 0);
        assert_int_equal(find(&names->unit.segment->map, missing, &slot), -EBADMSG);
        segment_remove(names->unit.segment, missing, 9); /* comes back, finds nothing */
}

static void test_bad_offsets(void **state)
{
        struct names *names = *state;
        struct mapping *mapping = &names->unit.segment->map;
        const struct segment_geometry *g = &mapping->geometry;
        const uint64_t bad[] = {
                1,
                8,
                g->buckets,
                g->entries - 8,
                g->entries + 4,
                g->entries + g->entries_size,
                g->entries + g->entries_size - 8,
                g->entries + g->entries_size - 16,
                g->windows,
                g->size,
                g->size + 8,
                UINT64_MAX,
                UINT64_MAX - 7,
                UINT64_C(1) << 63,
        };
        _Atomic(uint64_t) *buckets = segment_at(mapping->base, g->buckets);
        uint32_t slot = 4711;

        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                publish_u64(&buckets[directory_hash("orders", 6) & 63], bad[i]);
                assert_int_equal(find(mapping, "orders", &slot), -EBADMSG);
                segment_remove(names->unit.segment, "orders", 0);
        }
        assert_int_equal(slot, 4711);
}

static void test_bad_entries(void **state)
{
        struct names *names = *state;
        struct mapping *mapping = &names->unit.segment->map;
        struct walk walk = {.names = names};
        struct directory_entry *entry;
        uint32_t slot;

        add_name(names, "orders");
        entry = entry_of(names, "orders");
        entry->slot = mapping->geometry.n_slots;
        assert_int_equal(find(mapping, "orders", &slot), -EBADMSG);
        assert_int_equal(directory_each(mapping, walked, &walk), -EBADMSG);
        entry->slot = 0;
        entry->name_length = 0;
        assert_int_equal(find(mapping, "orders", &slot), -EBADMSG);
        assert_int_equal(directory_each(mapping, walked, &walk), -EBADMSG);
        entry->name_length = SEQUENCE_NAME_MAX + 1;
        assert_int_equal(find(mapping, "orders", &slot), -EBADMSG);
        assert_int_equal(directory_each(mapping, walked, &walk), -EBADMSG);
        entry->name_length = 6;
        assert_slot(names, "orders", 0);
        publish_u64(&names->unit.segment->header->entries_used, mapping->geometry.entries_size + 8);
        assert_int_equal(directory_each(mapping, walked, &walk), -EBADMSG);
        assert_int_equal(walk.seen, 0);
}

/* The last entry there is room for, and its name does not fit. */
static void test_name_beyond_end(void **state)
{
        struct names *names = *state;
        struct mapping *mapping = &names->unit.segment->map;
        const struct segment_geometry *g = &mapping->geometry;
        _Atomic(uint64_t) *buckets = segment_at(mapping->base, g->buckets);
        uint64_t last = g->entries + g->entries_size - sizeof(struct directory_entry);
        struct directory_entry *entry = segment_at(mapping->base, last);
        uint32_t slot;

        publish_u64(&buckets[directory_hash("orders", 6) & 63], last);
        entry->name_length = 2;
        assert_int_equal(find(mapping, "orders", &slot), -ENOENT);
        entry->name_length = 3;
        assert_int_equal(find(mapping, "orders", &slot), -EBADMSG);
}

#define directory_test(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                directory_test(test_find),
                directory_test(test_newest_wins),
                directory_test(test_newer_removed),
                directory_test(test_remove),
                directory_test(test_remove_by_a_damaged_link),
                directory_test(test_equal_hashes),
                directory_test(test_each),
                directory_test(test_random_damage),
                directory_test(test_loop),
                directory_test(test_bad_offsets),
                directory_test(test_bad_entries),
                directory_test(test_name_beyond_end),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
