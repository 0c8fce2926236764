/* SPDX-License-Identifier: MIT */

/*
 * Getting a segment, and another one.
 *
 * At the start: take over what the last daemon left, window by window
 * (adopt.h), or make a fresh segment from the store alone. Later: move all
 * sequences to a fresh segment when the old one lost its name or is full.
 * Either way a sequence begins in its new slot where it ended in the old, or,
 * if that is not known, where the store has it.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "adopt.h"
#include "atomic.h"
#include "directory.h"
#include "log.h"
#include "serve.h"
#include "service.h"
#include "window.h"

/* --- a fresh segment --------------------------------------------------- */

/* Where a sequence goes on when no window tells: all below may be in use. */
static uint64_t safe_position(const struct sequence *sequence)
{
        return sequence_durable(sequence);
}

static int place_all(struct service *service, struct segment *segment)
{
        int r;

        registry_clear_slots(&service->registry);
        registry_each (&service->registry, sequence) {
                r = service_place(service, segment, sequence, safe_position(sequence));
                if (r < 0 && !service->unsettled)
                        log_about(LOG_ERR, sequence->name, "no room in segment %s: %s",
                                  segment->shm, strerror(-r));
                if (r < 0)
                        return r;
        }
        publish_u32(&segment->header->n_sequences, service->registry.n_sequences);
        return 0;
}

static int make_segment(struct service *service, struct segment **ret)
{
        struct segment_setup setup = service_segment_setup(service);
        char *message = NULL;
        int r;

        if (service->segment && service->segment->id > setup.segment_id)
                setup.segment_id = service->segment->id;
        setup.segment_id++; /* they are numbered in the order of their making */
        r = segment_create(ret, &setup, &message);
        if (r < 0 && !service->unsettled)
                log_error("%s", message ? message : strerror(-r));
        free(message);
        return r;
}

/* --- adoption ---------------------------------------------------------- */

/*
 * The slot that the sequence had is not used any more. If it was altered as the last
 * daemon died, what was claimed before is good, as it is when the daemon lives; and
 * what waits for it is granted, if nothing has come of the new generation yet.
 */
static void leave_slot(struct service *service, const struct sequence *sequence, uint32_t slot)
{
        struct segment *segment = service->segment;
        const struct window *window = &segment->windows[slot];
        struct adopt_view view = adopt_look(window, &segment->map.cells[slot], slot);

        if (!adopt_continued(sequence, window, &view)) {
                window_retire(segment, slot);
                return;
        }
        if (sequence->exact && sequence->hi == 1)
                window_grant_all(segment, slot, view.frozen);
        window_hand_over(segment, slot);
}

static int adopt_fresh(struct service *service, struct sequence *sequence,
                       const struct adopt_plan *plan, const uint32_t *old_slot)
{
        int r;

        if (plan->remark)
                log_event(EVENT_SEGMENT_DAMAGED, LOG_WARNING, sequence->name,
                          "found its window in segment %s damaged: %s; going on at index %" PRIu64,
                          service->config->shm, plan->remark, plan->position);
        if (old_slot)
                leave_slot(service, sequence, *old_slot);
        r = service_place(service, service->segment, sequence, plan->position);
        /* Only now: clients of the last daemon are looking the name up all the while. */
        if (r >= 0 && old_slot)
                segment_remove(service->segment, sequence->name, *old_slot);
        return r;
}

static int adopt_found(struct service *service, struct sequence *sequence,
                       const struct adopt_plan *plan, uint32_t slot)
{
        struct segment *segment = service->segment;
        int r;

        r = registry_move(&service->registry, sequence, slot);
        if (r < 0)
                return r;
        if (plan->store_behind)
                log_event(EVENT_STORE_BEHIND, LOG_CRIT, sequence->name,
                          "the store is older than segment %s (restored from a backup?): it has "
                          "index %" PRIu64 ", the segment knows better; going on above %" PRIu64,
                          segment->shm, sequence->hi,
                          plan->position > plan->ceiling ? plan->position : plan->ceiling);
        sequence->refilled_next = plan->position;
        if (plan->action == ADOPT_FROZEN) {
                window_adopt_frozen(segment, sequence, plan->floor, plan->ceiling, plan->position);
                if (sequence->exact && sequence->hi == plan->position)
                        window_grant_rest(segment, sequence); /* saved, not yet granted */
                window_wake(segment, slot); /* whoever waits rings, and that thaws */
        } else {
                window_adopt_open(segment, sequence, plan->floor, plan->ceiling);
        }
        /* What was reserved comes first: if it was to be a jump, a freeze must know of it. */
        if (!sequence->exact && sequence->hi > sequence->ceiling &&
            committer_sound(service->committer))
                (void)window_grant(segment, sequence, sequence->lo, sequence->hi);
        if (!sequence->frozen) {
                if (sequence->ceiling > plan->position)
                        sequence->size = sequence->ceiling - plan->position;
                refill_want(&service->refill, sequence); /* it sees whether there is need */
        }
        if (plan->store_behind)
                refill_want(&service->refill, sequence);
        return 0;
}

static int adopt_sequence(struct service *service, struct sequence *sequence)
{
        struct segment *segment = service->segment;
        struct adopt_plan plan = {.position = safe_position(sequence)};
        struct adopt_view view;
        uint32_t slot;
        int r;

        r = directory_find(&segment->map, sequence->name, strlen(sequence->name), &slot);
        if (r == -ENOENT)
                return adopt_fresh(service, sequence, &plan, NULL);
        if (r < 0)
                return r;
        if (slot >= segment->slots_used || registry_at(&service->registry, slot))
                return -EBADMSG;
        view = adopt_look(&segment->windows[slot], &segment->map.cells[slot], slot);
        plan = adopt_decide(sequence, &view);
        if (plan.action == ADOPT_FRESH) {
                /* When no other could take this one's place, we may know better than both. */
                if (plan.position < safe_position(sequence))
                        plan.position = safe_position(sequence);
                return adopt_fresh(service, sequence, &plan, &slot);
        }
        return adopt_found(service, sequence, &plan, slot);
}

/*
 * The slot of a sequence that is no more, dropped as the last daemon died, or of one that
 * has another slot. Its name must not lead there any longer, or clients would wait for
 * what is to come of it.
 */
static int retire_orphan(const struct mapping *map, const char *name, size_t length, uint32_t slot,
                         void *userdata)
{
        struct service *service = userdata;
        const struct sequence *sequence;
        char copy[SEQUENCE_NAME_MAX + 1];

        (void)map;
        /* The length was checked, but is in memory that somebody may write to meanwhile. */
        if (length > SEQUENCE_NAME_MAX || registry_at(&service->registry, slot))
                return 0;
        memcpy(copy, name, length);
        copy[length] = '\0';
        segment_remove(service->segment, copy, slot);
        sequence = registry_find(&service->registry, copy);
        if (sequence)
                leave_slot(service, sequence, slot);
        else
                window_retire(service->segment, slot);
        return 0;
}

/* Those, and slots that never got a name. */
static void retire_orphans(struct service *service)
{
        struct segment *segment = service->segment;

        (void)directory_each(&segment->map, retire_orphan, service);
        for (uint32_t slot = 0; slot < segment->slots_used; slot++)
                if (!registry_at(&service->registry, slot) &&
                    see_u32(&segment->windows[slot].state) != WINDOW_RETIRED)
                        window_retire(segment, slot);
}

static int adopt_all(struct service *service)
{
        int r;

        registry_each (&service->registry, sequence) {
                r = adopt_sequence(service, sequence);
                if (r < 0) {
                        log_event(EVENT_SEGMENT_DAMAGED, LOG_WARNING, sequence->name,
                                  "cannot be adopted in segment %s: %s", service->segment->shm,
                                  strerror(-r));
                        return r;
                }
        }
        retire_orphans(service);
        publish_u32(&service->segment->header->n_sequences, service->registry.n_sequences);
        return 0;
}

/* Nothing in the old segment can be relied on but that its windows were durable. */
static void discard_segment(struct service *service)
{
        struct segment *segment = service->segment;

        for (uint32_t slot = 0; slot < segment->slots_used; slot++)
                window_retire(segment, slot);
        (void)shm_unlink(segment->shm);
        segment_retire(segment);
        service->segment = segment_free(segment);
}

/* --- start ------------------------------------------------------------- */

/*
 * The segment that the manager kept for us is not the one in use: its name was
 * removed and another took its place before a daemon could send clients there. All
 * numbers of it were durable before the other one began, so it may end here.
 */
static void retire_kept(struct service *service, struct segment *kept)
{
        for (uint32_t slot = 0; slot < kept->slots_used; slot++)
                window_retire(kept, slot);
        segment_retire(kept);
        log_event(EVENT_SEGMENT_REPLACED, LOG_NOTICE, NULL,
                  "clients of a former segment %s are sent to the present one",
                  service->config->shm);
}

/* What the manager kept: 1 and *ret, if it is ours and not the one with the name. */
static int take_kept(struct service *service, struct segment **ret)
{
        struct segment_setup setup = service_segment_setup(service);
        int fd = service->passed.segment, own, r;
        char *message = NULL;
        struct stat status;

        if (fd < 0)
                return 0;
        service->passed.segment = -1;
        own = fstat(fd, &status) < 0 ? -errno : manager_reopen(fd);
        close(fd);
        if (own < 0) {
                log_warning("the segment that was kept cannot be opened: %s", strerror(-own));
                return 0;
        }
        if (service->segment && service->segment->map.device == status.st_dev &&
            service->segment->map.inode == status.st_ino) {
                close(own);
                return 0;
        }
        setup.segment_id = 0; /* a former one too has clients to be sent on */
        r = segment_take_back(ret, &setup, own, &message);
        if (r < 0 && r != -ENXIO)
                log_warning("the segment that was kept is of no use: %s",
                            message ? message : strerror(-r));
        free(message);
        return r < 0 ? 0 : 1;
}

/* 1: took the last daemon's segment over; 0: there is none (any more). */
static int take_over(struct service *service)
{
        struct segment_setup setup = service_segment_setup(service);
        struct segment *kept = NULL;
        char *message = NULL;
        int r;

        r = segment_take_over(&service->segment, &setup, &message);
        if (r == -ESTALE)
                log_event(EVENT_SEGMENT_REPLACED, LOG_WARNING, NULL,
                          "the segment %s cannot be used: %s; making a fresh one", setup.shm,
                          message ? message : "it is stale");
        else if (r < 0 && r != -ENXIO)
                log_error("%s", message ? message : strerror(-r));
        free(message);
        if (r < 0 && r != -ESTALE && r != -ENXIO)
                return r;
        if (take_kept(service, &kept) == 0)
                return service->segment != NULL;
        if (!service->segment && kept->id >= service->segment_id) {
                service->segment = kept;
        } else {
                retire_kept(service, kept);
                segment_free(kept);
        }
        return service->segment != NULL;
}

int service_get_segment(struct service *service)
{
        const char *reason = NULL;
        bool taken;
        int r;

        r = take_over(service);
        if (r < 0)
                return r;
        taken = r > 0;
        if (taken) {
                service->refill.segment = service->segment;
                r = service_recover(service);
                if (r < 0)
                        return r;
                if (adopt_all(service) < 0)
                        discard_segment(service);
        }
        taken = service->segment != NULL;
        if (!taken) {
                r = make_segment(service, &service->segment);
                if (r >= 0)
                        r = place_all(service, service->segment);
                if (r < 0)
                        return r;
        }
        service->refill.segment = service->segment;
        if (service->segment->header->max_sequences != service->config->max_sequences)
                reason = "max_sequences was changed";
        else if (taken && !service->segment->linked)
                reason = "its name was removed";
        if (reason) {
                r = service_replace_segment(service, reason);
                if (r < 0)
                        return r;
        }
        return service->doorbell ? 0 : service_watch_segment(service);
}

/* --- replacement ------------------------------------------------------- */

/* Make the name free of an object that is of no use. */
static int free_name(struct service *service)
{
        struct segment_setup setup = service_segment_setup(service);
        struct segment *other = NULL;
        char *message = NULL;
        int r;

        if (segment_named(service->segment))
                return 0; /* until the fresh one takes its place */
        r = segment_take_over(&other, &setup, &message);
        if (r == 0)
                (void)shm_unlink(setup.shm); /* a copy of ours, or an older one: not looked after */
        else if (r != -ENXIO && r != -ESTALE && !service->unsettled)
                log_error("cannot put a fresh segment in place: %s",
                          message ? message : strerror(-r));
        free(message);
        segment_free(other);
        return r == -ENXIO || r == -ESTALE ? 0 : r;
}

static void hand_over_all(struct segment *segment)
{
        for (uint32_t slot = 0; slot < segment->slots_used; slot++)
                window_hand_over(segment, slot);
        segment_retire(segment);
}

/*
 * Back to the old slots, as a new daemon would: they are closed, not gone. One that
 * finds no slot gets its own later; it is not to keep the others from theirs.
 */
static void adopt_back(struct service *service)
{
        int r;

        registry_clear_slots(&service->registry);
        registry_each (&service->registry, sequence) {
                r = adopt_sequence(service, sequence);
                if (r < 0 && !service->unsettled)
                        log_about(LOG_ERR, sequence->name, "has no place in segment %s: %s",
                                  service->segment->shm, strerror(-r));
        }
}

int service_place_rest(struct service *service)
{
        int r = 0;

        registry_each (&service->registry, sequence)
                if (!registry_at(&service->registry, sequence->slot)) {
                        r = adopt_sequence(service, sequence);
                        if (r < 0)
                                break;
                }
        publish_u32(&service->segment->header->n_sequences, service->registry.n_sequences);
        return r;
}

/* With refills paused. */
static int replace(struct service *service, const char *reason)
{
        struct segment *fresh, *old = service->segment;
        int r;

        r = free_name(service);
        if (r >= 0)
                r = make_segment(service, &fresh);
        if (r < 0)
                return r;
        /* When the positions cannot be saved the fresh windows begin at the ceilings. */
        (void)service_freeze_all(service);
        r = place_all(service, fresh);
        if (r >= 0)
                r = service_publish(service, fresh);
        if (r < 0) {
                segment_free(fresh);
                adopt_back(service);
                return r;
        }
        service->segment = service->refill.segment = fresh;
        service_unwatch_segment(service);
        hand_over_all(old);
        segment_free(old);
        serve_forget_turns(service);
        manager_keep_segment(fresh->map.fd);
        log_event(EVENT_SEGMENT_REPLACED, LOG_NOTICE, NULL, "made segment %s anew: %s", fresh->shm,
                  reason);
        /* It is in use now, whatever becomes of this; and its name may be gone already. */
        if (service_watch_segment(service) < 0 || !segment_named(fresh))
                service_try_again(service);
        return 0;
}

/* To pause tells of creations, for which there may be no room either: they are in this one. */
int service_replace_segment(struct service *service, const char *reason)
{
        bool paused = service->refill.paused;
        int r;

        if (service->replacing)
                return 0;
        service->replacing = true;
        refill_pause(&service->refill);
        r = replace(service, reason);
        service->replacing = false;
        if (r < 0)
                service_try_again(service);
        if (!paused)
                refill_resume(&service->refill);
        return r;
}

/* --- distrust ---------------------------------------------------------- */

void service_say_doubted(const struct service *service, struct sequence *sequence)
{
        if (!sequence->doubted)
                return;
        sequence->doubted = false;
        log_event(EVENT_SEGMENT_DAMAGED, LOG_WARNING, sequence->name,
                  "its cell in segment %s cannot be believed; closed at index %" PRIu64
                  ", what was reserved below is skipped",
                  service->segment->shm, sequence->frozen_at);
}

void service_distrust(struct sequence *sequence, void *userdata)
{
        struct service *service = userdata;
        uint32_t slot = sequence->slot;
        uint64_t position = safe_position(sequence);
        int r;

        log_event(EVENT_SEGMENT_DAMAGED, LOG_WARNING, sequence->name,
                  "its cell in segment %s holds what nobody can have claimed; going on in "
                  "a fresh slot at index %" PRIu64,
                  service->segment->shm, position);
        window_retire(service->segment, slot);
        registry_detach(&service->registry, sequence);
        sequence_forget_pace(sequence);
        r = service_place(service, service->segment, sequence, position);
        if (r >= 0)
                segment_remove(service->segment, sequence->name, slot);
        else if (service_replace_segment(service, "it ran out of slots") < 0)
                log_about(LOG_ERR, sequence->name, "no fresh slot: %s", strerror(-r));
}
