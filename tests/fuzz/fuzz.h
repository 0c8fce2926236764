/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What the fuzz targets share: the interface of libFuzzer, a reader of the
 * input, and a segment as a daemon would have left it, to be patched by input.
 *
 * A target is one function of bytes. Linked with libFuzzer (`make fuzz`) it is
 * given what that makes up; linked with replay.c, by any compiler and with any
 * sanitizer, the files of its corpus (`make check`). What is wrong ends the
 * process by abort(): demand().
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "layout.h"
#include "params.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A property that no input may break. */
#define demand(condition)                                                                          \
        do {                                                                                       \
                if (!(condition)) {                                                                \
                        (void)fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__,           \
                                      #condition);                                                 \
                        abort();                                                                   \
                }                                                                                  \
        } while (0)

/* --- the input, byte by byte; zeros behind its end ------------------------- */

struct input {
        const uint8_t *data;
        size_t size;
};

uint64_t input_take(struct input *input, size_t bytes); /* little endian, up to 8 */

/* --- a segment to be patched ------------------------------------------------ */

/* A sequence in it, as the store knows it and as it stands in the segment. */
struct image_sequence {
        const char *name;
        uint64_t id, generation;
        struct sequence_params params;
        uint64_t lo, hi; /* the store's */
        bool exact;
        uint64_t next; /* the index that a draw must get */
        uint32_t slot;
};

#define IMAGE_SEQUENCES 8
#define IMAGE_CAPACITY  16

struct image {
        struct image_sequence sequences[IMAGE_SEQUENCES];
        struct segment_geometry geometry;
        uint8_t *pristine;

        /* what patches have touched */
        bool touched[IMAGE_SEQUENCES]; /* its window or its cell */
        bool touched_roots;            /* header, buckets or entries: what leads to the slots */
};

extern const uint8_t image_instance[16];

/* The one image there is, made at the first call. */
struct image *image_get(void);

/* Put it, as it was made, under the name `shm`. Returns a descriptor of the object. */
int image_put(struct image *image, const char *shm);

/*
 * Apply the patches that the input begins with, to the object or to a mapping of
 * it, up to one that says stop or the end of the input.
 */
void image_patch(struct image *image, uint8_t *bytes, struct input *input);

/* A name that this process alone uses, "/seqnumd-fuzz-PID". */
const char *image_name(void);
