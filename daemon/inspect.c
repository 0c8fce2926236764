/* SPDX-License-Identifier: MIT */

/*
 * Looking the segment over: is it still what we made of it?
 *
 * Whoever may draw can write wherever it likes in the second region and, by intent,
 * change the object itself: truncate it, punch holes, write(2) into it. The kernel
 * tells of the latter (inotify, or a SIGBUS: lost.h), and then everything in the
 * segment is compared with our own copy of it:
 *
 *   - A sequence whose window does not say what we wrote, or whose cell was
 *     overwritten, gets a fresh slot, beginning above all that was reserved: what
 *     was drawn in the old one nobody can tell any more, but it lies below.
 *   - If the object is smaller than it was, or header or directory are damaged, all
 *     sequences move to a fresh segment; those that are whole go on where they were.
 *
 * Windows that are not whole are closed before the object is given its size again:
 * its pages are zeros then, and a zeroed cell under an open window would hand out
 * what was drawn before.
 *
 * What a client writes by a mapping the kernel does not tell; refill.c looks at the
 * slot of whoever rings.
 */

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "atomic.h"
#include "clock.h"
#include "control.h"
#include "directory.h"
#include "log.h"
#include "lost.h"
#include "service.h"
#include "window.h"

/* Not more often than this, nor for more than a twentieth of the time. */
#define INSPECT_USEC  UINT64_C(50000)
#define INSPECT_SHARE 20
#define ACCURACY_USEC 1000

/* --- comparing ------------------------------------------------------------- */

static bool leads_to_slot(const struct segment *segment, const struct sequence *sequence)
{
        uint32_t slot;

        return directory_find(&segment->map, sequence->name, strlen(sequence->name), &slot) == 0 &&
               slot == sequence->slot;
}

static bool directory_whole(const struct service *service)
{
        registry_each (&service->registry, sequence)
                if (registry_at(&service->registry, sequence->slot) &&
                    !leads_to_slot(service->segment, sequence))
                        return false;
        return true;
}

/* Close what is not whole; its sequence has no slot then. How many there are. */
static uint32_t close_damaged(struct service *service)
{
        uint32_t n = 0;

        registry_each (&service->registry, sequence) {
                if (!registry_at(&service->registry, sequence->slot) ||
                    window_intact(service->segment, sequence))
                        continue;
                window_retire(service->segment, sequence->slot);
                registry_detach(&service->registry, sequence);
                sequence_forget_pace(sequence);
                n++;
        }
        return n;
}

/* --- mending ----------------------------------------------------------------- */

/*
 * What was committed without a gap, and is on its way into the store, is to lie below
 * where the fresh slot begins: else the number would be committed there once more.
 */
static bool to_be_settled(const struct sequence *sequence)
{
        return sequence->params.kind == SEQUENCE_GAPLESS && sequence->reserving;
}

/*
 * A fresh slot for each sequence that has none, in front of the entry of the old one;
 * for some not yet: *waits. False: there is no room for it here.
 */
static bool place_detached(struct service *service, bool *waits)
{
        registry_each (&service->registry, sequence) {
                if (registry_at(&service->registry, sequence->slot))
                        continue;
                if (to_be_settled(sequence))
                        *waits = true;
                else if (service_place(service, service->segment, sequence,
                                       sequence_durable(sequence)) < 0)
                        return false;
        }
        return true;
}

static int replace(struct service *service, const char *what)
{
        int r;

        r = segment_mend(service->segment);
        if (r < 0)
                log_event(EVENT_SEGMENT_DAMAGED, LOG_ERR, NULL,
                          "cannot give segment %s its size again: %s; clients that touch what is "
                          "missing are ended by SIGBUS",
                          service->config->shm, strerror(-r));
        segment_retire(service->segment); /* nobody new: they wait for the next */
        return service_replace_segment(service, what);
}

static void inspect(struct service *service)
{
        struct segment *segment = service->segment;
        bool shrunk = segment_shrunk(segment);
        uint32_t damaged = close_damaged(service);
        bool whole = !shrunk && !segment_shrunk(segment) && segment_whole(segment) &&
                     directory_whole(service);
        bool waits = false;
        const char *what = shrunk  ? "it was truncated"
                           : whole ? "windows or cells were overwritten"
                                   : "header or directory were overwritten";

        if (whole && damaged == 0 && !service->damaged)
                return;
        if (damaged > 0 || !whole)
                log_event(EVENT_SEGMENT_DAMAGED, LOG_CRIT, NULL,
                          "somebody has damaged segment %s: %s; %" PRIu32 " of %" PRIu32
                          " sequences go on above what was reserved for them",
                          service->config->shm, what, damaged, service->registry.n_sequences);
        service->damaged = true;
        if ((whole && place_detached(service, &waits)) || replace(service, what) >= 0)
                service->damaged = waits;
        control_retry(service->control); /* who committed in a former slot learns of it now */
}

/* --- when to look --------------------------------------------------------------- */

static int on_time(sd_event_source *source, uint64_t usec, void *userdata)
{
        (void)source;
        (void)usec;
        service_inspect(userdata);
        return 0;
}

static void look_later(struct service *service, uint64_t usec)
{
        int r = 0;

        if (!service->inspection)
                r = sd_event_add_time_relative(service->event, &service->inspection,
                                               CLOCK_MONOTONIC, 0, ACCURACY_USEC, on_time, service);
        if (r >= 0)
                r = sd_event_source_set_time_relative(service->inspection, usec);
        if (r >= 0)
                r = sd_event_source_set_enabled(service->inspection, SD_EVENT_ONESHOT);
        if (r < 0)
                log_error("cannot look over segment %s: %s", service->config->shm, strerror(-r));
}

void service_inspect(struct service *service)
{
        uint64_t now = clock_usec(CLOCK_MONOTONIC), took;

        if (now < service->inspect_after) {
                look_later(service, service->inspect_after - now);
                return;
        }
        inspect(service);
        took = clock_usec(CLOCK_MONOTONIC) - now;
        service->inspect_after = now + took + INSPECT_SHARE * took;
        if (service->inspect_after < now + INSPECT_USEC)
                service->inspect_after = now + INSPECT_USEC;
        if (service->damaged) /* there was no room, or it is to wait */
                look_later(service, USEC_PER_SEC);
}

void service_inspect_later(struct service *service)
{
        look_later(service, 0);
}

static int on_lost(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
        struct service *service = userdata;
        uint64_t count;

        (void)source;
        (void)revents;
        (void)!read(fd, &count, sizeof(count));
        if (!service->damaged) /* else it is known, and tried again in a while */
                service->inspect_after = 0;
        service_inspect(service);
        return 0;
}

int service_watch_losses(struct service *service)
{
        int fd = lost_watch();

        if (fd < 0)
                return fd;
        return sd_event_add_io(service->event, &service->losses, fd, EPOLLIN, on_lost, service);
}
