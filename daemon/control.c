/* SPDX-License-Identifier: MIT */

/* The control socket's connections; see control.h. What they ask is command.h's. */

#include "control.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <systemd/sd-event.h>

#include "atomic.h"
#include "clock.h"
#include "command.h"
#include "listen.h"
#include "log.h"

#define INPUT_ROOM     4096 /* of an idle connection */
#define INPUT_ROOM_MAX ((size_t)2 * RESP_REQUEST_MAX)
#define OUTPUT_MAX     ((size_t)256 * 1024) /* unsent answers from which on nothing more is run */
#define READY_MAX      64   /* connections served in a row, before it is other events' turn */
#define REQUESTS_MAX   1024 /* in a row of one connection, before it is others' turn */
#define PENDING_MAX    4096 /* creations under way of one connection */
#define WAIT_USEC      UINT64_C(5000000) /* a request may be parked, as long as a draw may wait */
#define IMPATIENT_USEC UINT64_C(2000)    /* how soon what time helps is run again */
#define PATIENT_USEC   UINT64_C(100000)  /* how late a time that is up may be noticed */
#define ACCEPT_USEC    UINT64_C(1000000) /* to wait when there are no file descriptors left */
#define NEVER          UINT64_MAX

struct connection {
        struct session session; /* first: a session is a connection */
        struct control *control;
        struct connection *next, *previous;
        unsigned references; /* the control's own, and one for each callback to come */
        int fd;
        uint32_t events; /* that its place in control->epoll waits for */
        char *in;
        size_t in_size, in_room;
        bool end_of_input, closing;
        bool more;          /* requests may be left in `in` that can be run */
        const char *broken; /* why `in` cannot be read on; said when nothing is pending */

        struct resp_request *request; /* parked, pointing into `in`; NULL: none */
        size_t used;                  /* bytes it takes */
        uint64_t deadline;            /* CLOCK_MONOTONIC usec; NEVER: it could not run so far */
        bool awake;                   /* to be looked at when the loop is free */
};

struct control {
        struct service *service;
        int fd;
        bool made;
        int epoll; /* all connections: what is ready is served in a row */
        sd_event_source *listener, *ready, *timer, *defer, *again;
        struct connection *connections;
        uint32_t n_connections, n_parked;
        uint64_t last_id;
};

static void serve(struct connection *connection);

/* --- life of a connection ------------------------------------------------------ */

static void unref(struct connection *connection)
{
        if (--connection->references > 0)
                return;
        free(connection->in);
        free(connection->request);
        free(connection);
}

static void note_clients(const struct control *control)
{
        publish_u32(&control->service->segment->header->n_clients, control->n_connections);
}

static void unpark(struct connection *connection)
{
        if (!connection->request)
                return;
        free(connection->request);
        connection->request = NULL;
        connection->control->n_parked--;
        progress_clear(&connection->session.progress);
}

static void disconnect(struct connection *connection)
{
        struct control *control = connection->control;

        if (connection->session.closed)
                return;
        connection->session.closed = true;
        unpark(connection);
        session_clear(&connection->session);
        close(connection->fd); /* which is its end in control->epoll, too */
        if (connection->previous)
                connection->previous->next = connection->next;
        else
                control->connections = connection->next;
        if (connection->next)
                connection->next->previous = connection->previous;
        control->n_connections--;
        note_clients(control);
        unref(connection);
}

static void keep(struct session *session)
{
        ((struct connection *)session)->references++;
}

static void release(struct session *session)
{
        unref((struct connection *)session);
}

/* Look at it when the loop is free: callbacks must not run requests. */
static void wake(struct session *session)
{
        struct connection *connection = (struct connection *)session;

        if (session->closed)
                return;
        connection->awake = true;
        (void)sd_event_source_set_enabled(connection->control->defer, SD_EVENT_ONESHOT);
}

/* --- output ---------------------------------------------------------------------- */

/* False when the connection is gone. */
static bool send_answers(struct connection *connection)
{
        struct resp_writer *out = &connection->session.out;
        ssize_t n;

        if (out->failed)
                return false;
        while (out->size > 0) {
                n = send(connection->fd, out->data, out->size, MSG_NOSIGNAL);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return errno == EAGAIN;
                resp_writer_consume(out, (size_t)n);
        }
        if (out->room > INPUT_ROOM)
                resp_writer_clear(out);
        return true;
}

/* --- running requests -------------------------------------------------------------- */

static void consume(struct connection *connection, size_t n)
{
        connection->in_size -= n;
        if (connection->in_size > 0)
                memmove(connection->in, connection->in + n, connection->in_size);
}

/*
 * Keep the request, which points into `in`, until it can be run. Its time counts
 * from when it was run first: none is given up for what others had to wait for.
 */
static void park(struct connection *connection, const struct resp_request *request, size_t used)
{
        if (!connection->request) {
                connection->request = malloc(sizeof(*request));
                if (!connection->request) {
                        connection->session.out.failed = true;
                        return;
                }
                *connection->request = *request;
                connection->control->n_parked++;
                connection->deadline = NEVER;
        }
        if (connection->deadline == NEVER && connection->session.n_pending == 0)
                connection->deadline = clock_usec(CLOCK_MONOTONIC) + WAIT_USEC;
        connection->used = used;
}

/* Must the request wait for answers that are pending? */
static bool held_back(const struct connection *connection, const struct resp_request *request)
{
        size_t n = connection->session.n_pending;

        return n > 0 && (!command_overlaps(request) || n >= PENDING_MAX);
}

/* Run a request that is at `*at` of the input. False: nothing more can be run now. */
static bool run(struct connection *connection, const struct resp_request *request, size_t used,
                size_t *at)
{
        struct session *session = &connection->session;

        if (held_back(connection, request)) {
                park(connection, request, used);
                return false;
        }
        switch (command_run(session, request)) {
        case COMMAND_AGAIN:
                park(connection, request, used);
                return false;
        case COMMAND_CLOSE:
                connection->closing = true;
                break;
        case COMMAND_DONE:
        case COMMAND_PENDING:
                break;
        }
        progress_clear(&session->progress);
        *at += used;
        return !connection->closing;
}

/* The parked request once more. False: it stays parked. */
static bool resume(struct connection *connection)
{
        struct resp_request request = *connection->request;
        struct session *session = &connection->session;
        size_t at = 0;

        if (clock_usec(CLOCK_MONOTONIC) > connection->deadline && !session->progress.opening) {
                command_give_up(session, &request);
                at = connection->used;
        } else {
                (void)run(connection, &request, connection->used, &at);
        }
        if (at == 0)
                return false;
        unpark(connection);
        consume(connection, at);
        return !connection->closing;
}

/* What is pending is answered first. Until then the input is left alone: to parse changes it. */
static void protocol_error(struct connection *connection)
{
        if (connection->session.n_pending > 0)
                return;
        resp_error(&connection->session.out, "ERR", "Protocol error: %s", connection->broken);
        connection->closing = true;
}

/* As many requests as there are, and may be run now. True: there may be more. */
static bool run_all(struct connection *connection)
{
        struct resp_request request;
        size_t at = 0, used;
        bool more = true;
        int r = 1, n = 0;

        while (more && n++ < REQUESTS_MAX && connection->session.out.size < OUTPUT_MAX) {
                r = resp_parse(connection->in + at, connection->in_size - at, &request, &used,
                               &connection->broken);
                if (r <= 0)
                        break;
                if (request.n == 0)
                        at += used;
                else
                        more = run(connection, &request, used, &at);
        }
        /* A parked request points into the input: it must be at its beginning. */
        if (connection->request)
                for (size_t i = 0; i < connection->request->n; i++)
                        connection->request->arguments[i].data -= at;
        consume(connection, at);
        if (connection->broken)
                protocol_error(connection);
        return r > 0 && more;
}

/* --- input -------------------------------------------------------------------------- */

static bool make_room(struct connection *connection)
{
        size_t room = connection->in_room ? 2 * connection->in_room : INPUT_ROOM;
        char *in;

        if (connection->in_size < connection->in_room)
                return true;
        if (room > INPUT_ROOM_MAX)
                return false;
        in = realloc(connection->in, room);
        if (!in)
                return false;
        if (connection->request)
                for (size_t i = 0; i < connection->request->n; i++)
                        connection->request->arguments[i].data =
                                in + (connection->request->arguments[i].data - connection->in);
        connection->in = in;
        connection->in_room = room;
        return true;
}

/* False when the connection is gone. */
static bool receive(struct connection *connection)
{
        ssize_t n;

        if (!make_room(connection))
                return true; /* full: what is there must be run first */
        do
                n = recv(connection->fd, connection->in + connection->in_size,
                         connection->in_room - connection->in_size, 0);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return errno == EAGAIN;
        connection->end_of_input |= n == 0;
        connection->in_size += (size_t)n;
        return true;
}

/* --- one connection ------------------------------------------------------------------- */

static void watch(struct connection *connection, bool more)
{
        bool busy = connection->request || connection->session.n_pending >= PENDING_MAX ||
                    connection->session.out.size >= OUTPUT_MAX || connection->broken ||
                    connection->closing;
        uint32_t events = 0;

        if (!busy && !connection->end_of_input)
                events |= EPOLLIN;
        if (connection->session.out.size > 0)
                events |= EPOLLOUT;
        if (events != connection->events)
                (void)epoll_ctl(connection->control->epoll, EPOLL_CTL_MOD, connection->fd,
                                &(struct epoll_event){.events = events, .data.ptr = connection});
        connection->events = events;
        if (more && !busy)
                wake(&connection->session);
}

/* Is there nothing that could still be answered? */
static bool finished(const struct connection *connection, bool more)
{
        if (connection->session.out.size > 0 || connection->session.n_pending > 0)
                return false;
        return connection->closing || (connection->end_of_input && !connection->request && !more);
}

static void set_timer(struct control *control, uint64_t usec)
{
        int enabled = SD_EVENT_OFF;
        uint64_t due = 0;

        (void)sd_event_source_get_enabled(control->timer, &enabled);
        (void)sd_event_source_get_time(control->timer, &due);
        if (enabled != SD_EVENT_OFF && due <= clock_usec(CLOCK_MONOTONIC) + usec)
                return;
        (void)sd_event_source_set_time_relative(control->timer, usec);
        (void)sd_event_source_set_enabled(control->timer, SD_EVENT_ONESHOT);
}

/* Run what can be run. */
static void work(struct connection *connection)
{
        connection->more = false;
        if (connection->closing)
                return;
        if (connection->broken)
                protocol_error(connection);
        else if (!connection->request || resume(connection))
                connection->more = run_all(connection);
}

/* Send what can be sent, and see what to wait for. The connection may be gone then. */
static void settle(struct connection *connection)
{
        bool more = connection->more;

        if (!send_answers(connection) || finished(connection, more)) {
                disconnect(connection);
                return;
        }
        if (connection->in_size == 0 && connection->in_room > INPUT_ROOM) {
                free(connection->in);
                connection->in = NULL;
                connection->in_room = 0;
        }
        if (connection->request)
                set_timer(connection->control,
                          connection->session.progress.impatient ? IMPATIENT_USEC : PATIENT_USEC);
        watch(connection, more);
}

static void serve(struct connection *connection)
{
        if (connection->session.closed)
                return;
        work(connection);
        settle(connection);
}

/* Read and run; false: nobody is there any more. */
static bool attend(struct connection *connection, uint32_t events)
{
        if (events & EPOLLERR || (events & EPOLLHUP && !(events & EPOLLIN)) ||
            (events & EPOLLIN && !receive(connection)))
                return false;
        work(connection);
        return true;
}

/*
 * Connections have an epoll of their own, which the loop's waits for: the loop
 * takes one event at a time, with a system call for each. All that are ready are
 * read from before the first is answered, so that answers leave in a row, and who
 * has many connections wakes up to many of them. None ends before its own answers
 * are sent: running requests ends no connection.
 */
static int on_ready(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
        struct epoll_event events[READY_MAX];
        int n = epoll_wait(fd, events, READY_MAX, 0);

        (void)source;
        (void)revents;
        (void)userdata;
        for (int i = 0; i < n; i++)
                if (!attend(events[i].data.ptr, events[i].events))
                        events[i].events = 0;
        for (int i = 0; i < n; i++)
                if (events[i].events)
                        settle(events[i].data.ptr);
                else
                        disconnect(events[i].data.ptr);
        return 0;
}

/* --- those who wait ---------------------------------------------------------------------- */

/* `each` may disconnect the one it is given. */
static void each_connection(struct control *control, bool (*wanted)(const struct connection *))
{
        struct connection *next;

        for (struct connection *c = control->connections; c; c = next) {
                next = c->next;
                if (!wanted(c))
                        continue;
                c->awake = false;
                serve(c);
        }
}

static bool is_parked(const struct connection *connection)
{
        return connection->request != NULL;
}

static bool is_awake(const struct connection *connection)
{
        return connection->awake;
}

void control_retry(struct control *control)
{
        if (control && control->n_parked > 0)
                each_connection(control, is_parked);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
        (void)source;
        (void)usec;
        control_retry(userdata);
        return 0;
}

static int on_defer(sd_event_source *source, void *userdata)
{
        (void)source;
        each_connection(userdata, is_awake);
        return 0;
}

/* --- accepting ------------------------------------------------------------------------------ */

/* An answer that is the last; whoever does not take it at once does not get it. */
static void turn_away(int fd, const char *code, const char *text)
{
        struct resp_writer out = {.protocol = 2};

        resp_error(&out, code, "%s", text);
        if (!out.failed)
                (void)!send(fd, out.data, out.size, MSG_NOSIGNAL | MSG_DONTWAIT);
        resp_writer_clear(&out);
        close(fd);
}

/* Those who may not are refused by name. */
static void turn_away_stranger(struct control *control, int fd, const struct peer *peer)
{
        const char *group = control->service->config->group;
        char text[512];

        (void)snprintf(text, sizeof(text), "user %u is not in the group that may draw%s%s",
                       (unsigned)peer->uid, group ? ": " : "", group ? group : "");
        log_event(EVENT_CLIENT_REFUSED, LOG_WARNING, NULL, "control socket: refused: %s", text);
        turn_away(fd, "NOPERM", text);
}

/* In Redis' own words, which client libraries know. What to do is the operator's to hear. */
static void turn_away_surplus(struct control *control, int fd)
{
        log_event(EVENT_CLIENT_REFUSED, LOG_WARNING, NULL,
                  "control socket: refused: there are %" PRIu32
                  " connections, which is max_clients; raise it and reload",
                  control->n_connections);
        turn_away(fd, "ERR", "max number of clients reached");
}

static int connection_new(struct control *control, int fd, const struct peer *peer)
{
        struct connection *connection = calloc(1, sizeof(*connection));
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
        int r;

        if (!connection)
                return -ENOMEM;
        if (epoll_ctl(control->epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
                r = -errno;
                free(connection);
                return r;
        }
        connection->control = control;
        connection->references = 1;
        connection->fd = fd;
        connection->events = EPOLLIN;
        connection->session = (struct session){
                .service = control->service,
                .out = {.protocol = 2},
                .admin = peer->administers,
                .user = peer->uid,
                .id = ++control->last_id,
                .wake = wake,
                .keep = keep,
                .release = release,
        };
        connection->next = control->connections;
        if (control->connections)
                control->connections->previous = connection;
        control->connections = connection;
        control->n_connections++;
        note_clients(control);
        return 0;
}

static void admit(struct control *control, int fd)
{
        struct peer peer;
        int r = peer_read(fd, control->service->group, &peer);

        if (r >= 0 && !peer.draws) {
                turn_away_stranger(control, fd, &peer);
                return;
        }
        if (r >= 0 && control->n_connections >= control->service->config->max_clients) {
                turn_away_surplus(control, fd);
                return;
        }
        if (r >= 0)
                r = connection_new(control, fd, &peer);
        if (r < 0)
                turn_away(fd, "ERR", strerror(-r));
}

/* Without file descriptors there is nothing to do but to wait for some. */
static void pause_accepting(struct control *control)
{
        log_event(EVENT_CLIENT_REFUSED, LOG_WARNING, NULL,
                  "control socket: cannot accept more connections: %s; raise LimitNOFILE=",
                  strerror(errno));
        (void)sd_event_source_set_enabled(control->listener, SD_EVENT_OFF);
        (void)sd_event_source_set_time_relative(control->again, ACCEPT_USEC);
        (void)sd_event_source_set_enabled(control->again, SD_EVENT_ONESHOT);
}

static int on_listener(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
        struct control *control = userdata;

        (void)source;
        (void)revents;
        for (int i = 0; i < 64; i++) {
                int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

                if (client >= 0) {
                        admit(control, client);
                        continue;
                }
                if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
                        pause_accepting(control);
                if (errno != EINTR && errno != ECONNABORTED)
                        break;
        }
        return 0;
}

static int on_again(sd_event_source *source, uint64_t usec, void *userdata)
{
        struct control *control = userdata;

        (void)source;
        (void)usec;
        (void)sd_event_source_set_enabled(control->listener, SD_EVENT_ON);
        return 0;
}

/* --- start and end ---------------------------------------------------------------------------- */

static int add_sources(struct control *control)
{
        sd_event *event = control->service->event;
        int r;

        control->epoll = epoll_create1(EPOLL_CLOEXEC);
        if (control->epoll < 0)
                return -errno;
        r = sd_event_add_io(event, &control->listener, control->fd, EPOLLIN, on_listener, control);
        if (r >= 0)
                r = sd_event_add_io(event, &control->ready, control->epoll, EPOLLIN, on_ready,
                                    control);
        if (r >= 0)
                r = sd_event_add_defer(event, &control->defer, on_defer, control);
        if (r >= 0)
                r = sd_event_source_set_enabled(control->defer, SD_EVENT_OFF);
        if (r >= 0)
                r = sd_event_add_time_relative(event, &control->timer, CLOCK_MONOTONIC, 0, 1,
                                               on_timer, control);
        if (r >= 0)
                r = sd_event_source_set_enabled(control->timer, SD_EVENT_OFF);
        if (r >= 0)
                r = sd_event_add_time_relative(event, &control->again, CLOCK_MONOTONIC, 0, 0,
                                               on_again, control);
        if (r >= 0)
                r = sd_event_source_set_enabled(control->again, SD_EVENT_OFF);
        return r;
}

int control_new(struct control **ret, struct service *service)
{
        struct control *control;
        int r;

        control = calloc(1, sizeof(*control));
        if (!control)
                return -ENOMEM;
        control->service = service;
        control->epoll = -1;
        r = control->fd = listen_open(service->config->socket, service->group,
                                      service->passed.socket, &control->made);
        if (r < 0) {
                free(control);
                return r == -ENOENT ? 0 : r;
        }
        service->passed.socket = -1; /* ours now */
        r = add_sources(control);
        if (r < 0) {
                log_error("cannot watch the control socket: %s", strerror(-r));
                control_free(control);
                return r;
        }
        note_clients(control);
        if (!control->made)
                control_permit(control, service->group);
        *ret = control;
        return 0;
}

bool control_passed(const struct control *control)
{
        return control && !control->made;
}

void control_permit(const struct control *control, gid_t group)
{
        if (control)
                listen_permit(control->service->config->socket, control->made, group);
}

struct control *control_free(struct control *control)
{
        if (!control)
                return NULL;
        for (struct connection *c = control->connections, *next; c; c = next) {
                next = c->next;
                disconnect(c);
        }
        note_clients(control);
        sd_event_source_disable_unref(control->listener);
        sd_event_source_disable_unref(control->ready);
        sd_event_source_disable_unref(control->defer);
        sd_event_source_disable_unref(control->timer);
        sd_event_source_disable_unref(control->again);
        if (control->made)
                (void)unlink(control->service->config->socket);
        if (control->epoll >= 0)
                close(control->epoll);
        close(control->fd);
        free(control);
        return NULL;
}
