/* SPDX-License-Identifier: MIT */

/*
 * Looking after the segment in use: its doorbell, its name, and what could not be
 * done when it was due.
 *
 * Memory, file descriptors and room in /dev/shm may be gone for a while, and come
 * back. Whatever the store has confirmed by then is to be served in the end, without
 * a restart and without anybody asking: so what fails behind the point of no return is
 * left to a timer, which looks at how things are and not at what failed. This is not
 * where it is done (takeover.c), nor where commits are tried again (refill.c).
 */

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>

#include "clock.h"
#include "log.h"
#include "service.h"

#define AGAIN_USEC     USEC_PER_SEC        /* then twice as long each time, up to */
#define AGAIN_USEC_MAX (32 * USEC_PER_SEC) /* this: an attempt may close all windows for a moment */

/* --- the doorbell -------------------------------------------------------- */

static int on_bell(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
        struct service *service = userdata;

        (void)source;
        (void)fd;
        (void)revents;
        if (!doorbell_answer(service->doorbell))
                log_event(EVENT_SEGMENT_DAMAGED, LOG_WARNING, NULL,
                          "the doorbell of segment %s was posted more often than it can have been "
                          "rung; the posts are dropped",
                          service->segment->shm);
        refill_answer(&service->refill);
        return 0;
}

/* --- the name ------------------------------------------------------------ */

/* The name went away or leads elsewhere: put a segment under it again. */
static void restore_name(struct service *service)
{
        if (segment_named(service->segment))
                return;
        service->again_usec = 0; /* nobody new can attach: do not wait for long */
        /* If that fails it is said once, and tried until it works. */
        service->unsettled = service_replace_segment(service, "its name was removed") < 0;
}

/*
 * The same watch tells when the object was written to, truncated or had a hole
 * punched by a system call: ours when more pages were reserved, or a client's.
 */
static int on_object(sd_event_source *source, const struct inotify_event *event, void *userdata)
{
        (void)source;
        if (event->mask & IN_MODIFY)
                service_inspect(userdata);
        restore_name(userdata);
        return 0;
}

void service_unwatch_segment(struct service *service)
{
        service->bell = sd_event_source_disable_unref(service->bell);
        service->name = sd_event_source_disable_unref(service->name);
        service->doorbell = doorbell_free(service->doorbell);
}

int service_watch_segment(struct service *service)
{
        int r;

        service_unwatch_segment(service);
        r = doorbell_new(&service->doorbell, service->segment->map.shared);
        if (r >= 0)
                r = sd_event_add_io(service->event, &service->bell, doorbell_fd(service->doorbell),
                                    EPOLLIN, on_bell, service);
        /* Removing a name changes the link count, which is an attribute. */
        if (r >= 0)
                r = sd_event_add_inotify_fd(service->event, &service->name,
                                            service->segment->map.fd,
                                            IN_ATTRIB | IN_MOVE_SELF | IN_MODIFY, on_object,
                                            service);
        if (r >= 0) {
                /* It has had its name for a moment, and the kernel did not tell yet. */
                service_inspect_later(service);
                return 0;
        }
        if (!service->unsettled)
                log_error("cannot watch segment %s: %s", service->segment->shm, strerror(-r));
        service_unwatch_segment(service);
        return r;
}

/* --- trying again -------------------------------------------------------- */

static int take_in_missing(const struct store_sequence *stored, void *userdata)
{
        struct registry *registry = userdata;
        struct sequence *sequence;

        if (registry_find(registry, stored->name))
                return 0;
        return registry_add(registry, stored, &sequence);
}

/* With refills paused, so that the store is nobody's. */
static int list_missing(struct service *service)
{
        int r;

        if (!service->unlisted)
                return 0;
        r = store_load(service->store, take_in_missing, &service->registry);
        service->unlisted = r < 0;
        return r;
}

static int settle(struct service *service)
{
        int r = 0;

        if (!service->doorbell) {
                r = service_watch_segment(service);
                refill_answer(&service->refill); /* nobody has heard who rang meanwhile */
        }
        refill_pause(&service->refill);
        if (r >= 0)
                r = list_missing(service);
        if (r >= 0 && service_place_rest(service) < 0)
                r = service_replace_segment(service, "it ran out of room");
        refill_resume(&service->refill);
        return r;
}

static int on_again(sd_event_source *source, uint64_t usec, void *userdata)
{
        struct service *service = userdata;

        (void)source;
        (void)usec;
        if (!segment_named(service->segment)) {
                restore_name(service);
                return 0;
        }
        if (settle(service) < 0) {
                service->unsettled = true;
                service_try_again(service);
                return 0;
        }
        if (service->unsettled)
                log_info("all sequences are served again");
        service->unsettled = false;
        service->again_usec = 0;
        return 0;
}

int service_expect_again(struct service *service)
{
        int r;

        r = sd_event_add_time_relative(service->event, &service->again, CLOCK_MONOTONIC, 0, 0,
                                       on_again, service);
        return r < 0 ? r : sd_event_source_set_enabled(service->again, SD_EVENT_OFF);
}

void service_try_again(struct service *service)
{
        uint64_t usec = service->again_usec ? 2 * service->again_usec : AGAIN_USEC, due = 0;
        int enabled = SD_EVENT_OFF;

        if (usec > AGAIN_USEC_MAX)
                usec = AGAIN_USEC_MAX;
        (void)sd_event_source_get_enabled(service->again, &enabled);
        (void)sd_event_source_get_time(service->again, &due);
        if (enabled != SD_EVENT_OFF && due <= clock_usec(CLOCK_MONOTONIC) + usec)
                return;
        service->again_usec = usec;
        (void)sd_event_source_set_time_relative(service->again, usec);
        (void)sd_event_source_set_enabled(service->again, SD_EVENT_ONESHOT);
}
