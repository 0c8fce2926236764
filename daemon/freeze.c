/* SPDX-License-Identifier: MIT */

/*
 * All windows closed, and the store told where: at a stop, so that nothing is skipped,
 * and before the segment is made anew.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "log.h"
#include "service.h"
#include "window.h"

/*
 * What was closed in doubt is for good: who waits there would be granted, by whoever
 * opened it again, what others draw.
 */
static void close_all(struct service *service)
{
        registry_each (&service->registry, sequence) {
                if (!registry_at(&service->registry, sequence->slot))
                        continue;
                (void)window_freeze(service->segment, sequence);
                service_say_doubted(service, sequence);
                if (sequence->spoilt)
                        window_retire(service->segment, sequence->slot);
        }
}

static size_t gather_positions(struct service *service, struct store_op *ops)
{
        size_t n = 0;

        registry_each (&service->registry, sequence) {
                uint64_t position;

                if (!registry_at(&service->registry, sequence->slot))
                        continue;
                position = sequence->frozen_at;
                if (sequence->exact && sequence->hi == position)
                        continue;
                if (!window_next(service->segment, sequence, &position)) {
                        log_event(EVENT_SEGMENT_DAMAGED, LOG_WARNING, sequence->name,
                                  "index %" PRIu64 " in the segment cannot be believed; going on "
                                  "at %" PRIu64,
                                  position, sequence->hi);
                        continue;
                }
                ops[n++] = (struct store_op){
                        .type = STORE_SAVE,
                        .id = sequence->id,
                        .generation = sequence->generation,
                        .name = sequence->name,
                        .position = position,
                };
        }
        return n;
}

/* Those that the store has otherwise than we do, be it damaged or written to, go from `ops`. */
static size_t leave_out_refused(struct store_op *ops, size_t n, const char *message)
{
        size_t left = 0;

        for (size_t i = 0; i < n; i++) {
                if (committer_blames_op(ops[i].error))
                        log_event(EVENT_STORE_FAILING, LOG_ERR, ops[i].name,
                                  "the store refuses its exact position: %s; a start after a "
                                  "reboot goes by what is there",
                                  message);
                else
                        ops[left++] = ops[i];
        }
        return left;
}

/* The store has the exact positions: note it, and grant what waited for it. */
static void positions_saved(struct service *service, const struct store_op *ops, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                struct sequence *sequence = registry_find(&service->registry, ops[i].name);

                sequence->lo = sequence->hi = ops[i].position;
                sequence->exact = true;
        }
        registry_each (&service->registry, sequence)
                if (sequence->exact && sequence->hi == sequence->frozen_at &&
                    registry_at(&service->registry, sequence->slot))
                        window_grant_rest(service->segment, sequence);
}

/* How many were refused, or a negative errno. */
static int save_positions(struct service *service, struct store_op *ops, char *message)
{
        const size_t all = gather_positions(service, ops);
        size_t n = all, before;
        int r;

        do {
                before = n;
                r = service_commit(service, ops, n, message);
                if (committer_blames_op(r))
                        n = leave_out_refused(ops, n, message);
        } while (n < before);
        if (r < 0)
                return r;
        positions_saved(service, ops, n);
        return (int)(all - n);
}

int service_freeze_all(struct service *service)
{
        char message[COMMIT_MESSAGE_SIZE] = "out of memory";
        struct store_op *ops;
        int r;

        refill_void_plans(&service->refill);
        close_all(service);
        ops = calloc(service->registry.n_sequences + 1, sizeof(*ops));
        r = ops ? save_positions(service, ops, message) : -ENOMEM;
        free(ops);
        if (r < 0)
                log_event(EVENT_STORE_FAILING, LOG_ERR, NULL,
                          "cannot save the exact positions: %s; a start after a reboot will skip "
                          "what was reserved",
                          message);
        return r;
}
