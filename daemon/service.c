/* SPDX-License-Identifier: MIT */

/* One instance from its start to its stop; see service.h. */

#include "service.h"

#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

#include "atomic.h"
#include "clock.h"
#include "control.h"
#include "listen.h"
#include "log.h"

/* --- small services ---------------------------------------------------- */

struct waited_commit {
        int error;
        char *message;
};

static void commit_done(struct commit_job *job, int error)
{
        struct waited_commit *wait = job->userdata;

        wait->error = error;
        memcpy(wait->message, job->message, COMMIT_MESSAGE_SIZE);
}

int service_commit(struct service *service, struct store_op *ops, size_t n_ops, char *message)
{
        struct waited_commit wait = {.message = message};
        struct commit_job job = {
                .ops = ops,
                .n_ops = n_ops,
                .done = commit_done,
                .userdata = &wait,
        };

        message[0] = '\0';
        if (n_ops == 0)
                return 0;
        committer_submit(service->committer, &job);
        committer_drain(service->committer);
        if (wait.error < 0 && !message[0])
                (void)snprintf(message, COMMIT_MESSAGE_SIZE, "%s", strerror(-wait.error));
        return wait.error;
}

int service_place(struct service *service, struct segment *segment, struct sequence *sequence,
                  uint64_t position)
{
        const struct slot_setup setup = {
                .name = sequence->name,
                .id = sequence->id,
                .generation = sequence->generation,
                .params = sequence->params,
                .origin = sequence->map.origin,
                .position = position,
        };
        uint32_t slot;
        int r;

        manager_alive();
        r = registry_expect(&service->registry, segment->slots_used);
        if (r >= 0)
                r = segment_add(segment, &setup, &slot);
        if (r >= 0)
                r = registry_move(&service->registry, sequence, slot);
        if (r < 0)
                return r;
        sequence->placements++;
        sequence->floor = sequence->ceiling = position;
        sequence->low = UINT64_MAX;
        sequence->frozen = sequence->spoilt = false;
        sequence->looked = sequence->sure = position;
        sequence->sure_given = sequence->drawn = 0;
        sequence->looked_room = 0;
        return 0;
}

struct segment_setup service_segment_setup(const struct service *service)
{
        return (struct segment_setup){
                .shm = service->config->shm,
                .socket = service->config->socket,
                .instance_id = service->store->instance_id,
                .segment_id = service->segment_id,
                .max_sequences = service->config->max_sequences,
                .mode = service->config->mode,
                .group = service->group,
        };
}

/*
 * A segment left under another name, or put back, may lie behind the store
 * without a trace in its windows. So segments are numbered, and the store knows
 * the last one in use; a segment with a higher number than that knows better
 * than the store, which then was restored from a backup.
 */
static int note_segment(struct service *service, uint64_t id)
{
        struct store_op op = {.type = STORE_SEGMENT, .id = id};
        char message[COMMIT_MESSAGE_SIZE];
        int r;

        if (id == service->segment_id)
                return 0;
        r = service_commit(service, &op, 1, message);
        if (r < 0)
                log_event(EVENT_STORE_FAILING, LOG_ERR, NULL, "cannot put a segment in use: %s",
                          message);
        else
                service->segment_id = id;
        return r;
}

int service_publish(struct service *service, struct segment *segment)
{
        char *message = NULL;
        int r;

        r = note_segment(service, segment->id);
        if (r < 0)
                return r;
        if (service->segment && service->segment != segment && segment_named(service->segment))
                (void)shm_unlink(service->segment->shm);
        service_note_templates(service, segment);
        r = segment_publish(segment, &message);

        if (r < 0 && !service->unsettled)
                log_error("%s", message ? message : strerror(-r));
        free(message);
        return r;
}

void service_note_templates(const struct service *service, struct segment *segment)
{
        publish_u32(&segment->header->n_templates, (uint32_t)service->config->n_templates);
}

/* Not at every change: thousands may be made in a second. */
#define STATUS_USEC USEC_PER_SEC

static void say_status(struct service *service)
{
        uint64_t now = clock_usec(CLOCK_MONOTONIC);

        if (service->n_said == service->registry.n_sequences ||
            now - service->said_usec < STATUS_USEC)
                return;
        service->n_said = service->registry.n_sequences;
        service->said_usec = now;
        manager_status("serving %" PRIu32 " sequences in %s", service->n_said,
                       service->config->shm);
}

int service_find_group(const struct config *config, gid_t *ret)
{
        const struct group *group;

        if (!config->group) {
                *ret = getegid();
                return 0;
        }
        group = getgrnam(config->group); /* before any thread, or in the loop's */
        if (!group) {
                log_error("%s: group = %s: there is no such group; create it (systemd-sysusers, "
                          "groupadd) or leave group empty for the daemon's own",
                          config->path, config->group);
                return -ENOKEY;
        }
        *ret = group->gr_gid;
        return 0;
}

/* --- stop -------------------------------------------------------------- */

static void stop(struct service *service)
{
        int r;

        manager_stopping();
        refill_pause(&service->refill);
        service->inspect_after = 0; /* what is left must be whole */
        service_inspect(service);
        if (service->config->on_stop == CONFIG_ON_STOP_SERVE) {
                log_event(EVENT_STOPPED, LOG_INFO, NULL, "stopping; the windows stay open");
                return;
        }
        r = service_freeze_all(service);
        if (r >= 0)
                log_event(EVENT_STOPPED, LOG_INFO, NULL,
                          "stopping; %" PRIu32 " sequences closed and saved",
                          service->registry.n_sequences - (uint32_t)r);
        segment_stop(service->segment);
}

/* --- events ------------------------------------------------------------ */

/* Figures for people, in the segment. */
static void count_commits(const struct service *service)
{
        struct commit_counters counters = committer_counters(service->committer);

        count_set(&service->segment->header->commits, counters.commits);
        count_set(&service->segment->header->failures, counters.failed);
}

static int on_commits(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
        struct service *service = userdata;

        (void)source;
        (void)fd;
        (void)revents;
        committer_dispatch(service->committer);
        count_commits(service);
        say_status(service);
        control_retry(service->control);
        return 0;
}

static void take_config(struct service *service, struct config *config)
{
        const char *path = service->config->path;
        int r = service_apply(service, config);

        if (r < 0 && r != -ENOKEY && !committer_sound(service->committer))
                log_event(EVENT_STORE_FAILING, LOG_ERR, NULL,
                          "%s cannot be applied while the store fails; nothing was changed", path);
        else if (r < 0)
                log_event(EVENT_CONFIG_BAD, LOG_ERR, NULL,
                          "%s does not fit the running service; nothing was changed", path);
        else if (r > 0)
                log_event(EVENT_RELOADED, LOG_WARNING, NULL,
                          "reloaded %s, but for %d sequences, which stay as they are", path, r);
        else
                log_event(EVENT_RELOADED, LOG_INFO, NULL, "reloaded %s", path);
}

static void reload(struct service *service)
{
        struct config_errors errors = {0};
        struct config *config = NULL;

        if (config_load(&config, service->config->path, service->config->instance, &errors) < 0) {
                for (size_t i = 0; i < errors.n_items; i++)
                        log_error("%s", errors.items[i]);
                log_event(EVENT_CONFIG_BAD, LOG_ERR, NULL, "%s is not good; nothing was changed",
                          service->config->path);
        } else {
                take_config(service, config);
        }
        config_errors_clear(&errors);
        config_free(config);
}

static int on_hangup(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
        struct service *service = userdata;

        (void)source;
        (void)info;
        manager_reloading();
        reload(service);
        manager_ready();
        say_status(service);
        return 0;
}

static int add_sources(struct service *service)
{
        sigset_t mask;
        int r;

        sigemptyset(&mask);
        sigaddset(&mask, SIGTERM);
        sigaddset(&mask, SIGINT);
        sigaddset(&mask, SIGHUP);
        if (sigprocmask(SIG_BLOCK, &mask, NULL) < 0)
                return -errno;
        /* A file that may not grow any more is an error like a full disk, not our end. */
        if (signal(SIGXFSZ, SIG_IGN) == SIG_ERR)
                return -errno;
        r = sd_event_default(&service->event);
        if (r >= 0)
                r = service_watch_losses(service);
        if (r >= 0) /* no handler: the loop ends */
                r = sd_event_add_signal(service->event, NULL, SIGTERM, NULL, NULL);
        if (r >= 0)
                r = sd_event_add_signal(service->event, NULL, SIGINT, NULL, NULL);
        if (r >= 0)
                r = sd_event_add_signal(service->event, NULL, SIGHUP, on_hangup, service);
        if (r >= 0)
                r = service_expect_again(service);
        return r;
}

static int start_committer(struct service *service)
{
        int r;

        r = committer_new(&service->committer, service->store);
        if (r >= 0)
                r = sd_event_add_io(service->event, &service->commits,
                                    committer_fd(service->committer), EPOLLIN, on_commits, service);
        if (r >= 0)
                r = refill_init(&service->refill, service->event, &service->registry,
                                service->committer);
        service->refill.distrust = service_distrust;
        service->refill.userdata = service;
        return r;
}

/* --- start ------------------------------------------------------------- */

static int take_in(const struct store_sequence *stored, void *userdata)
{
        struct registry *registry = userdata;
        struct sequence *sequence;

        manager_alive();
        return registry_add(registry, stored, &sequence);
}

static int open_store(struct service *service)
{
        char *message = NULL;
        int r;

        r = store_open_sqlite(&service->store, service->config->state, &message);
        if (r < 0) {
                log_event(EVENT_STORE_UNUSABLE, LOG_ERR, NULL, "%s",
                          message ? message : strerror(-r));
                free(message);
                return r;
        }
        service->segment_id = service->store->segment_id;
        r = store_load(service->store, take_in, &service->registry);
        if (r < 0) {
                log_event(EVENT_STORE_UNUSABLE, LOG_ERR, NULL, "cannot load the store in %s: %s",
                          service->config->state,
                          service->store->message ? service->store->message : strerror(-r));
                return r;
        }
        if (service->registry.n_sequences > service->config->max_sequences) {
                log_error("%s: max_sequences = %" PRIu32 " is less than the %" PRIu32
                          " sequences in %s; raise it",
                          service->config->path, service->config->max_sequences,
                          service->registry.n_sequences, service->config->state);
                return -ENOKEY;
        }
        return 0;
}

/* What is passed is where clients are sent, whatever the file says. */
static int take_passed(struct service *service)
{
        char *wanted;
        int r;

        r = manager_take_fds(&service->passed);
        if (r < 0 || service->passed.socket < 0)
                return r;
        wanted = strdup(service->config->socket);
        r = wanted ? listen_locate(service->passed.socket, &service->config->socket) : -ENOMEM;
        if (r >= 0)
                listen_compare(wanted, service->config->socket);
        free(wanted);
        return r;
}

static int start(struct service *service)
{
        int r;

        r = take_passed(service);
        if (r >= 0)
                r = service_find_group(service->config, &service->group);
        if (r >= 0)
                r = open_store(service);
        if (r < 0)
                return r; /* said already */
        r = add_sources(service);
        if (r >= 0)
                r = start_committer(service);
        if (r < 0) {
                log_error("cannot start the event loop: %s", strerror(-r));
                return r;
        }
        r = service_get_segment(service);
        if (r >= 0)
                r = service_apply(service, service->config);
        if (r >= 0)
                r = control_new(&service->control, service);
        if (r >= 0)
                r = service_publish(service, service->segment);
        if (r < 0)
                return r; /* said already */
        manager_keep_segment(service->segment->map.fd);
        service->serving = true;
        refill_answer(&service->refill);
        return 0;
}

int service_new(struct service **ret, struct config *config)
{
        struct service *service;
        int r;

        service = calloc(1, sizeof(*service));
        if (!service) {
                config_free(config);
                return -ENOMEM;
        }
        service->config = config;
        service->turns_fd = -1;
        service->n_said = UINT32_MAX;
        service->passed = (struct manager_fds){.socket = -1, .segment = -1};
        r = start(service);
        if (r < 0) {
                service_free(service);
                return r;
        }
        log_event(EVENT_SERVING, LOG_INFO, NULL, "serving %" PRIu32 " sequences in %s",
                  service->registry.n_sequences, config->shm);
        *ret = service;
        return 0;
}

/*
 * The loop runs, or nobody would ask; but does the store? Who hangs in it for as
 * long as the watchdog waits is to be replaced. Also the time to say what has
 * changed since the last time.
 */
static bool is_well(uint64_t limit, void *userdata)
{
        struct service *service = userdata;

        say_status(service);
        return committer_busy_usec(service->committer) < limit;
}

int service_run(struct service *service)
{
        int r;

        r = manager_watch(service->event, is_well, service);
        if (r < 0)
                log_warning("cannot feed the watchdog: %s", strerror(-r));
        manager_ready();
        say_status(service);
        r = sd_event_loop(service->event);
        if (r < 0)
                log_error("the event loop failed: %s", strerror(-r));
        return r;
}

struct service *service_free(struct service *service)
{
        if (!service)
                return NULL;
        manager_unwatch();
        service->control = control_free(service->control);
        if (service->serving)
                stop(service);
        service->refill.paused = true; /* a batch that is done begins no other */
        if (service->committer)
                committer_drain(service->committer); /* creations free themselves */
        service_unwatch_segment(service);
        sd_event_source_disable_unref(service->again);
        sd_event_source_disable_unref(service->losses);
        sd_event_source_disable_unref(service->inspection);
        sd_event_source_disable_unref(service->commits);
        if (service->turns_fd >= 0)
                close(service->turns_fd);
        if (service->passed.socket >= 0)
                close(service->passed.socket);
        if (service->passed.segment >= 0)
                close(service->passed.segment);
        committer_free(service->committer);
        refill_clear(&service->refill);
        sd_event_unref(service->event);
        segment_free(service->segment);
        registry_clear(&service->registry);
        store_close(service->store);
        config_free(service->config);
        free(service);
        return NULL;
}
