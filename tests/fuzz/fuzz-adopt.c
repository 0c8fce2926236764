/* SPDX-License-Identifier: MIT */

/*
 * A daemon that starts on a segment of which any byte may be wrong, is rung,
 * draws, is scribbled upon while it serves, and stops. It must come to no harm;
 * and for the numbers that it hands out itself:
 *
 *   - never one at or above what the store has confirmed,
 *   - never one twice,
 *   - of a sequence of which no byte was touched none that was drawn before.
 *
 * Input: patches up to one that stops, then patches while it serves.
 */

#include "fuzz.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "serve.h"
#include "service.h"
#include "window.h"

#define SEQUENCES_MAX 64

/* --- a store in memory -------------------------------------------------------- */

struct memory_store {
        struct store store;
        struct {
                uint64_t lo, hi, generation;
        } sequences[SEQUENCES_MAX]; /* by id */
};

static int commit_one(struct memory_store *memory, struct store_op *op)
{
        uint64_t *hi;

        if (op->type == STORE_SEGMENT)
                return 0;
        if (op->type == STORE_CREATE) {
                op->id = ++memory->store.last_id;
                op->generation = 1;
        }
        demand(op->id > 0 && op->id < SEQUENCES_MAX);
        hi = &memory->sequences[op->id].hi;
        switch (op->type) {
        case STORE_RESERVE:
                demand(op->count > 0 && op->from + op->count > op->from);
                *hi = (op->from > *hi ? op->from : *hi) + op->count;
                op->lo = memory->sequences[op->id].lo;
                op->hi = *hi;
                break;
        case STORE_CREATE:
        case STORE_SAVE:
                *hi = memory->sequences[op->id].lo = op->position;
                break;
        case STORE_REPLACE:
                op->generation = ++memory->sequences[op->id].generation;
                *hi = memory->sequences[op->id].lo = 0;
                break;
        default:
                break;
        }
        return 0;
}

static int memory_commit(struct store *store, struct store_op *ops, size_t n_ops)
{
        for (size_t i = 0; i < n_ops; i++) {
                int r = commit_one((struct memory_store *)store, &ops[i]);

                if (r < 0)
                        return r;
        }
        return 0;
}

static void memory_close(struct store *store)
{
        free(store);
}

static const struct store_vtable memory_vtable = {
        .commit = memory_commit,
        .close = memory_close,
};

/* --- a daemon without a socket and a loop ---------------------------------------- */

static struct config *make_config(void)
{
        struct config *config = calloc(1, sizeof(*config));

        demand(config);
        config->path = strdup("/nonexistent/seqnumd.ini");
        config->shm = strdup(image_name());
        config->state = strdup("/nonexistent");
        config->socket = strdup("");
        config->mode = 0600;
        config->max_sequences = IMAGE_CAPACITY;
        return config;
}

static void fill_store(struct service *service, const struct image *image)
{
        struct memory_store *memory = calloc(1, sizeof(*memory));

        demand(memory);
        memory->store.vtable = &memory_vtable;
        memory->store.last_id = IMAGE_SEQUENCES;
        memory->store.segment_id = service->segment_id = 1;
        memcpy(memory->store.instance_id, image_instance, sizeof(image_instance));
        service->store = &memory->store;
        for (size_t i = 0; i < IMAGE_SEQUENCES; i++) {
                const struct image_sequence *s = &image->sequences[i];
                const struct store_sequence stored = {
                        .id = s->id,
                        .generation = s->generation,
                        .name = s->name,
                        .params = s->params,
                        .origin = s->params.start,
                        .lo = s->lo,
                        .hi = s->hi,
                        .exact = s->exact,
                };
                struct sequence *sequence;

                memory->sequences[s->id].lo = s->lo;
                memory->sequences[s->id].hi = s->hi;
                memory->sequences[s->id].generation = s->generation;
                demand(registry_add(&service->registry, &stored, &sequence) == 0);
        }
}

static struct service *make_service(const struct image *image)
{
        struct service *service = calloc(1, sizeof(*service));

        demand(service);
        service->config = make_config();
        service->group = (gid_t)-1;
        service->turns_fd = -1;
        service->passed = (struct manager_fds){.socket = -1, .segment = -1};
        fill_store(service, image);
        demand(sd_event_new(&service->event) >= 0);
        demand(committer_new(&service->committer, service->store) == 0);
        demand(refill_init(&service->refill, service->event, &service->registry,
                           service->committer) >= 0);
        service->refill.distrust = service_distrust;
        service->refill.userdata = service;
        return service;
}

/* --- what it hands out -------------------------------------------------------------- */

/* By name: recovery may have made sequences anew. */
struct drawn {
        uint64_t above; /* the next must not be below */
        bool known;
        uint64_t id, generation;
};

/* The other way round than sequence_map_value(). */
static uint64_t index_of(const struct sequence *sequence, int64_t value)
{
        const struct sequence_params *params = &sequence->params;
        uint64_t serials = (UINT64_C(1) << params->serial_bits) - 1;
        uint64_t distance = (uint64_t)value - (uint64_t)sequence->map.origin;

        if (params->kind == SEQUENCE_TIME)
                return ((uint64_t)value >> params->node_bits & ~serials) |
                       ((uint64_t)value & serials);
        return params->increment < 0 ? -distance / -(uint64_t)params->increment
                                     : distance / (uint64_t)params->increment;
}

static void note(struct service *service, const struct sequence *sequence, struct drawn *drawn,
                 int64_t value)
{
        const struct memory_store *memory = (const struct memory_store *)service->store;
        uint64_t index = index_of(sequence, value);

        if (sequence->params.cycle)
                return; /* its values do come again */
        demand(sequence_map_value(&sequence->map, index) == value);
        demand(index < memory->sequences[sequence->id].hi);
        if (drawn->known && drawn->id == sequence->id && drawn->generation == sequence->generation)
                demand(index >= drawn->above);
        *drawn = (struct drawn){index + 1, true, sequence->id, sequence->generation};
}

static int draw_gapless(struct service *service, struct sequence *sequence, int64_t *ret)
{
        struct serve_hold hold = {0};
        int r = serve_begin(service, sequence, &hold, ret);

        for (int i = 0; i < 4 && r >= 0; i++) {
                r = serve_commit(service, &hold, 1);
                if (r != -EAGAIN)
                        break;
                committer_drain(service->committer);
                r = 0;
        }
        if (hold.state != HOLD_NONE)
                r = -EAGAIN;
        serve_hold_clear(service, &hold);
        return r;
}

static void draw(struct service *service, struct sequence *sequence, struct drawn *drawn)
{
        struct seqnum_run run;
        int r = -EAGAIN;

        for (int i = 0; i < 4 && r == -EAGAIN; i++) {
                r = sequence->params.kind == SEQUENCE_GAPLESS
                            ? draw_gapless(service, sequence, &run.first)
                            : serve_draw(service, sequence, 1, &run);
                committer_drain(service->committer);
        }
        if (r == 0)
                note(service, sequence, drawn, run.first);
        (void)serve_peek(service, sequence, &run.first);
        (void)serve_last(service, sequence, &run.first);
}

static void draw_all(struct service *service, const struct image *image, struct drawn *drawn)
{
        for (int round = 0; round < 2; round++) {
                refill_answer(&service->refill);
                for (size_t i = 0; i < IMAGE_SEQUENCES; i++) {
                        struct sequence *sequence =
                                registry_find(&service->registry, image->sequences[i].name);

                        demand(sequence);
                        draw(service, sequence, &drawn[i]);
                }
        }
}

/* Untouched: what was drawn before this daemon is not drawn again. */
static void expect(const struct image *image, struct drawn *drawn)
{
        for (size_t i = 0; i < IMAGE_SEQUENCES; i++) {
                const struct image_sequence *s = &image->sequences[i];

                /* A commit that the store does not have goes with the segment: it is told so. */
                uint64_t above = s->params.kind == SEQUENCE_GAPLESS && image->touched_roots
                                         ? s->hi
                                         : s->next;

                if (!image->touched[i])
                        drawn[i] = (struct drawn){above, true, s->id, s->generation};
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct drawn drawn[IMAGE_SEQUENCES] = {0};
        struct input input = {data, size};
        struct image *image = image_get();
        int fd = image_put(image, image_name());
        uint8_t *bytes =
                mmap(NULL, image->geometry.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        struct service *service = make_service(image);

        demand(bytes != MAP_FAILED);
        image_patch(image, bytes, &input);
        expect(image, drawn);
        if (service_get_segment(service) >= 0 && service_publish(service, service->segment) >= 0) {
                service->serving = true;
                draw_all(service, image, drawn);
                image_patch(image, bytes, &input);
                draw_all(service, image, drawn);
        }
        service_free(service);
        munmap(bytes, image->geometry.size);
        (void)close(fd);
        (void)shm_unlink(image_name());
        return 0;
}
