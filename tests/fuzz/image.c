/* SPDX-License-Identifier: MIT */

/*
 * A segment with one sequence of every kind and in every state, and patches to it.
 *
 * Random bytes would not get past the check of the header. So the input is a
 * list of patches to a good image: where (a region, and an offset into the part
 * of it that is in use) and what (bytes of the input, values that are edges of
 * something, another part of the image).
 */

#include "fuzz.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "segment.h"
#include "sequence.h"
#include "window.h"

const uint8_t image_instance[16] = "fuzzed instance";

uint64_t input_take(struct input *input, size_t bytes)
{
        uint64_t value = 0;

        for (size_t i = 0; i < bytes && input->size > 0; i++) {
                value |= (uint64_t)*input->data++ << (8 * i);
                input->size--;
        }
        return value;
}

const char *image_name(void)
{
        static char name[64];

        (void)snprintf(name, sizeof(name), "/seqnumd-fuzz-%d", (int)getpid());
        return name;
}

/* --- making it ---------------------------------------------------------------- */

static struct sequence_params plain(int64_t increment)
{
        struct sequence_params params = {.kind = SEQUENCE_COUNTER, .increment = increment};

        sequence_params_complete(&params, false, false, false);
        return params;
}

static struct sequence_params cycling(void)
{
        struct sequence_params params = plain(1);

        params.max = 10;
        params.cycle = true;
        return params;
}

static struct sequence_params of_kind(enum sequence_kind kind)
{
        struct sequence_params params = {.kind = kind, .increment = 1};

        if (kind == SEQUENCE_TIME) {
                params.node_bits = 6;
                params.serial_bits = 14;
                params.node = 3;
        }
        sequence_params_complete(&params, false, false, false);
        return params;
}

static void place(struct segment *segment, struct image_sequence *made, struct sequence *sequence,
                  uint64_t position)
{
        const struct slot_setup setup = {
                .name = made->name,
                .id = made->id,
                .generation = made->generation,
                .params = made->params,
                .origin = made->params.start,
                .position = position,
        };

        demand(segment_add(segment, &setup, &made->slot) == 0);
        *sequence = (struct sequence){
                .name = made->name,
                .id = made->id,
                .generation = made->generation,
                .params = made->params,
                .map = sequence_map_make(&made->params, made->params.start),
                .slot = made->slot,
                .floor = position,
                .ceiling = position,
                .low = UINT64_MAX,
        };
}

static void draw_to(struct segment *segment, const struct image_sequence *made)
{
        atomic_store(&segment->map.cells[made->slot].next, made->next);
}

/* Reserved up to `hi`, drawn up to made->next. */
static void fill(struct segment *segment, struct image_sequence *made, struct sequence *sequence)
{
        place(segment, made, sequence, 0);
        (void)window_grant(segment, sequence, made->lo, made->hi);
        draw_to(segment, made);
}

static void fill_gapless(struct segment *segment, struct image_sequence *made,
                         struct sequence *sequence)
{
        place(segment, made, sequence, made->hi);
        draw_to(segment, made); /* one commit that the store does not have yet */
}

static void fill_frozen(struct segment *segment, struct image_sequence *made,
                        struct sequence *sequence)
{
        fill(segment, made, sequence);
        (void)window_freeze(segment, sequence);
        made->lo = made->hi = made->next;
        made->exact = true;
}

/* Its first generation's slot is retired; it is altered since. */
static void fill_altered(struct segment *segment, struct image_sequence *made,
                         struct sequence *sequence)
{
        place(segment, made, sequence, 0);
        segment_remove(segment, made->name, made->slot);
        window_retire(segment, made->slot);
        made->generation++;
        fill(segment, made, sequence);
}

/* Committed by a daemon that died before it could publish: a jump is to be finished. */
static void fill_behind(struct segment *segment, struct image_sequence *made,
                        struct sequence *sequence)
{
        uint64_t lo = made->lo, hi = made->hi;

        made->lo = 0;
        made->hi = 20;
        fill(segment, made, sequence);
        made->lo = lo;
        made->hi = hi;
        made->next = lo;
}

struct kind {
        struct image_sequence sequence;
        void (*fill)(struct segment *, struct image_sequence *, struct sequence *);
};

static void make(struct image *image)
{
        const struct kind kinds[IMAGE_SEQUENCES] = {
                {{.name = "orders", .params = plain(1), .hi = 100, .next = 40}, fill},
                {{.name = "down", .params = plain(-3), .hi = 64, .next = 64}, fill},
                {{.name = "cycle", .params = cycling(), .hi = 50, .next = 23}, fill},
                {{.name = "invoice/acme",
                  .params = of_kind(SEQUENCE_GAPLESS),
                  .lo = 7,
                  .hi = 7,
                  .exact = true,
                  .next = 8},
                 fill_gapless},
                {{.name = "ids", .params = of_kind(SEQUENCE_TIME), .hi = 1000, .next = 500}, fill},
                {{.name = "frozen", .params = plain(1), .hi = 100, .next = 55}, fill_frozen},
                {{.name = "altered", .params = plain(2), .hi = 30, .next = 10}, fill_altered},
                {{.name = "behind", .params = plain(1), .lo = 500, .hi = 600, .next = 20},
                 fill_behind},
        };
        const struct segment_setup setup = {
                .shm = image_name(),
                .socket = "/nonexistent/seqnumd.sock",
                .instance_id = image_instance,
                .segment_id = 1,
                .max_sequences = IMAGE_CAPACITY,
                .mode = 0600,
                .group = (gid_t)-1,
        };
        struct sequence sequence;
        struct segment *segment;
        char *message = NULL;

        (void)shm_unlink(setup.shm);
        demand(segment_create(&segment, &setup, &message) == 0);
        demand(segment_publish(segment, &message) == 0);
        for (size_t i = 0; i < IMAGE_SEQUENCES; i++) {
                image->sequences[i] = kinds[i].sequence;
                image->sequences[i].id = i + 1;
                image->sequences[i].generation = 1;
                kinds[i].fill(segment, &image->sequences[i], &sequence);
        }
        image->geometry = segment->map.geometry;
        image->pristine = malloc(image->geometry.size);
        demand(image->pristine);
        memcpy(image->pristine, segment->map.base, image->geometry.size);
        segment_free(segment);
        (void)shm_unlink(setup.shm);
}

struct image *image_get(void)
{
        static struct image image;

        if (!image.pristine)
                make(&image);
        return &image;
}

int image_put(struct image *image, const char *shm)
{
        int fd;

        (void)shm_unlink(shm);
        fd = shm_open(shm, O_RDWR | O_CREAT | O_EXCL, 0600);
        demand(fd >= 0);
        demand(write(fd, image->pristine, image->geometry.size) == (ssize_t)image->geometry.size);
        memset(image->touched, 0, sizeof(image->touched));
        image->touched_roots = false;
        return fd;
}

/* --- patches --------------------------------------------------------------------- */

enum region { HEADER, BUCKETS, ENTRIES, WINDOWS, SHARED, WANTS, CELLS, CELLS_TOO, N_REGIONS };

static void find_region(const struct segment_geometry *g, enum region region, uint64_t *start,
                        uint64_t *length)
{
        const struct {
                uint64_t start, length;
        } regions[N_REGIONS] = {
                [HEADER] = {0, sizeof(struct segment_header)},
                [BUCKETS] = {g->buckets, g->n_buckets * sizeof(uint64_t)},
                [ENTRIES] = {g->entries, 512},
                [WINDOWS] = {g->windows, (IMAGE_SEQUENCES + 2) * sizeof(struct window)},
                [SHARED] = {g->writable, 256},
                [WANTS] = {g->wants, g->n_slots / 8},
                [CELLS] = {g->cells, (IMAGE_SEQUENCES + 2) * sizeof(struct cell)},
                [CELLS_TOO] = {g->cells, (IMAGE_SEQUENCES + 2) * sizeof(struct cell)},
        };

        *start = regions[region].start;
        *length = regions[region].length;
}

static bool within(uint64_t start, uint64_t at, uint64_t length, uint64_t size)
{
        return at < start + size && at + length > start;
}

static void note_touched(struct image *image, uint64_t at, uint64_t length)
{
        const struct segment_geometry *g = &image->geometry;

        if (at < g->windows)
                image->touched_roots = true;
        for (size_t i = 0; i < IMAGE_SEQUENCES; i++) {
                uint64_t slot = image->sequences[i].slot;

                if (within(g->windows + slot * sizeof(struct window), at, length,
                           sizeof(struct window)) ||
                    within(g->cells + slot * sizeof(struct cell), at, length, sizeof(struct cell)))
                        image->touched[i] = true;
        }
}

/* What off-by-one errors are made of. */
static uint64_t edge(struct input *input)
{
        static const uint64_t edges[] = {
                0,
                1,
                7,
                WINDOW_OVERSHOOT_MAX,
                UINT64_C(1) << 31,
                UINT64_C(1) << 32,
                UINT64_C(1) << 61,
                UINT64_C(1) << 62,
                CELL_FROZEN,
                CELL_FROZEN | 55,
                UINT64_MAX,
                SEGMENT_MAGIC,
                INT64_MAX,
                100,
                1000,
                UINT32_MAX,
        };
        uint64_t choice = input_take(input, 1);

        return edges[choice % 16] + (choice >> 4) - 8;
}

static void patch_at(struct image *image, uint8_t *bytes, uint64_t at, unsigned how,
                     struct input *input)
{
        uint64_t room = image->geometry.size - at, from, value;
        size_t length = (size_t)1 << (how % 4); /* 1, 2, 4 or 8 bytes */

        if (length > room)
                length = room;
        switch (how / 4) {
        case 0:
                value = input_take(input, length);
                memcpy(bytes + at, &value, length);
                break;
        case 1:
                length = 8 < room ? 8 : room;
                value = edge(input);
                memcpy(bytes + at, &value, length);
                break;
        case 2: /* a run of one byte */
                length = (size_t)(1 + input_take(input, 1));
                length = length < room ? length : room;
                memset(bytes + at, (int)input_take(input, 1), length);
                break;
        default: /* another part of the image, a slot's size */
                from = input_take(input, 2) * 8 % (image->geometry.size - SEGMENT_LINE);
                length = SEGMENT_LINE < room ? SEGMENT_LINE : room;
                memcpy(bytes + at, image->pristine + from, length);
                break;
        }
        note_touched(image, at, length);
}

void image_patch(struct image *image, uint8_t *bytes, struct input *input)
{
        while (input->size > 0) {
                unsigned head = (unsigned)input_take(input, 1);
                uint64_t start, length;

                if (head & 0x80)
                        return;
                find_region(&image->geometry, (enum region)(head % N_REGIONS), &start, &length);
                patch_at(image, bytes, start + input_take(input, 2) % length, head / N_REGIONS,
                         input);
        }
}
