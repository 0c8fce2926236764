/* SPDX-License-Identifier: MIT */

/* The service manager; see manager.h. */

#include "manager.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <systemd/sd-daemon.h>

#include "atomic.h"
#include "clock.h"
#include "log.h"

/* The name under which the manager keeps the segment. */
#define SEGMENT_FDNAME "segment"

#define MORE_TIME_USEC UINT64_C(30000000) /* asked for at a time */
#define ASK_USEC       UINT64_C(2000000)  /* not more often */

/* --- what is passed ------------------------------------------------------------ */

static void close_passed(int n)
{
        for (int fd = SD_LISTEN_FDS_START; fd < SD_LISTEN_FDS_START + n; fd++)
                close(fd);
}

static int unblock(int fd)
{
        int flags = fcntl(fd, F_GETFL);

        return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}

static int sort(int n, char **names, struct manager_fds *ret)
{
        for (int i = 0; i < n; i++) {
                int fd = SD_LISTEN_FDS_START + i;

                if (names && strcmp(names[i], SEGMENT_FDNAME) == 0 && ret->segment < 0) {
                        ret->segment = fd;
                } else if (sd_is_socket_unix(fd, SOCK_STREAM, 1, NULL, 0) > 0 && ret->socket < 0) {
                        ret->socket = fd;
                } else {
                        log_error("descriptor %d that was passed, %s, is of no use; pass one, a "
                                  "listening stream socket of the Unix domain, and what is kept "
                                  "as " SEGMENT_FDNAME,
                                  fd, names ? names[i] : "without a name");
                        return -EINVAL;
                }
        }
        return ret->socket < 0 ? 0 : unblock(ret->socket);
}

int manager_take_fds(struct manager_fds *ret)
{
        char **names = NULL;
        int n = sd_listen_fds_with_names(1, &names), r;

        *ret = (struct manager_fds){.socket = -1, .segment = -1};
        if (n < 0)
                log_error("cannot tell which descriptors were passed: %s", strerror(-n));
        if (n <= 0)
                return n;
        r = sort(n, names, ret);
        for (int i = 0; names && i < n; i++)
                free(names[i]);
        free(names);
        if (r < 0) {
                close_passed(n);
                *ret = (struct manager_fds){.socket = -1, .segment = -1};
        }
        return r;
}

/* --- telling it ------------------------------------------------------------------ */

#define PATIENCE_MSEC 1000 /* for what it must hear of */

/* `address` of its socket, as in sd_notify(3). False: it is none of the Unix domain. */
static bool read_address(const char *path, struct sockaddr_un *address, socklen_t *size)
{
        size_t length = strlen(path);

        if ((path[0] != '/' && path[0] != '@') || length >= sizeof(address->sun_path))
                return false;
        address->sun_family = AF_UNIX;
        memcpy(address->sun_path, path, length + 1);
        *size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + 1);
        if (path[0] == '@') {
                address->sun_path[0] = '\0';
                (*size)--;
        }
        return true;
}

/*
 * Would it take a message, now or within `msec`? sd_notify(3) waits for it, and one that
 * does not read any more (a PID 1 that has crashed freezes) would so hold us up for ever,
 * and with us all who draw.
 */
static bool takes_messages(int msec)
{
        const char *path = getenv("NOTIFY_SOCKET");
        struct sockaddr_un address;
        struct pollfd output = {.events = POLLOUT};
        socklen_t size;
        bool takes = true;

        if (!path || !read_address(path, &address, &size))
                return true;
        output.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (output.fd < 0)
                return true;
        if (connect(output.fd, (struct sockaddr *)&address, size) == 0)
                takes = poll(&output, 1, msec) > 0;
        close(output.fd);
        return takes;
}

/* The same, and says so when it does not, once. */
static bool listens(int msec)
{
        static _Atomic(uint32_t) deaf;
        bool takes = takes_messages(msec);

        if (!takes && !see_u32(&deaf))
                log_warning("the service manager does not take messages any more; going on "
                            "without it");
        publish_u32(&deaf, !takes);
        return takes;
}

/* --- our life -------------------------------------------------------------------- */

/* A start or a stop is under way. A hint: who reads an old value asks once too often. */
static _Atomic(uint32_t) hurrying = true;

void manager_alive(void)
{
        static _Atomic(uint64_t) asked;
        uint64_t now, last;

        if (!see_u32(&hurrying))
                return;
        now = clock_usec(CLOCK_MONOTONIC);
        last = count_read(&asked);
        if (last && now - last < ASK_USEC)
                return;
        count_set(&asked, now);
        if (listens(0))
                (void)sd_notifyf(0, "EXTEND_TIMEOUT_USEC=%" PRIu64, MORE_TIME_USEC);
}

void manager_ready(void)
{
        publish_u32(&hurrying, false);
        if (listens(PATIENCE_MSEC))
                (void)sd_notify(0, "READY=1");
}

void manager_reloading(void)
{
        if (listens(PATIENCE_MSEC))
                (void)sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
                                 clock_usec(CLOCK_MONOTONIC));
}

void manager_stopping(void)
{
        if (listens(PATIENCE_MSEC))
                (void)sd_notify(0, "STOPPING=1");
        publish_u32(&hurrying, true);
}

void manager_status(const char *format, ...)
{
        char text[256];
        va_list args;

        va_start(args, format);
        (void)vsnprintf(text, sizeof(text), format, args);
        va_end(args);
        if (listens(0))
                (void)sd_notifyf(0, "STATUS=%s", text);
}

/* --- the watchdog ------------------------------------------------------------------ */

static struct {
        sd_event_source *timer;
        uint64_t period; /* usec */
        bool (*well)(uint64_t limit, void *userdata);
        void *userdata;
} watchdog;

static int on_watchdog(sd_event_source *source, uint64_t usec, void *userdata)
{
        (void)usec;
        (void)userdata;
        if (watchdog.well(watchdog.period, watchdog.userdata) && listens(0))
                (void)sd_notify(0, "WATCHDOG=1");
        (void)sd_event_source_set_time_relative(source, watchdog.period / 4);
        (void)sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
        return 0;
}

int manager_watch(sd_event *event, bool (*well)(uint64_t limit, void *userdata), void *userdata)
{
        int r = sd_watchdog_enabled(1, &watchdog.period);

        if (r <= 0)
                return r;
        watchdog.well = well;
        watchdog.userdata = userdata;
        return sd_event_add_time_relative(event, &watchdog.timer, CLOCK_MONOTONIC,
                                          watchdog.period / 4, 0, on_watchdog, NULL);
}

void manager_unwatch(void)
{
        watchdog.timer = sd_event_source_disable_unref(watchdog.timer);
}

/* --- what it keeps ------------------------------------------------------------------- */

int manager_reopen(int fd)
{
        char path[32];
        int reopened;

        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        reopened = open(path, O_RDWR | O_CLOEXEC);
        return reopened < 0 ? -errno : reopened;
}

void manager_keep_segment(int fd)
{
        int kept, r = 0;

        if (!getenv("NOTIFY_SOCKET") || !listens(0))
                return;
        kept = manager_reopen(fd);
        if (kept < 0) {
                log_warning("cannot have the segment kept: %s", strerror(-kept));
                return;
        }
        (void)sd_notify(0, "FDSTOREREMOVE=1\nFDNAME=" SEGMENT_FDNAME);
        if (listens(PATIENCE_MSEC))
                r = sd_pid_notify_with_fds(0, 0, "FDSTORE=1\nFDNAME=" SEGMENT_FDNAME, &kept, 1);
        if (r < 0)
                log_warning("cannot have the segment kept: %s", strerror(-r));
        close(kept);
}
