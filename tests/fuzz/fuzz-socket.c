/* SPDX-License-Identifier: MIT */

/*
 * Any bytes sent to the control socket of a whole daemon, store and all, by a
 * peer that may administer it. The loop is turned by hand in this process, which
 * is also the peer. However it was treated, the daemon answers the next one.
 *
 * The daemon is the same for all inputs: what they made stays.
 */

#include "fuzz.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "service.h"

#define TURNS_MAX                                                                                  \
        20 /* of the loop for one input; a request may wait for longer, and is left then */

static char directory[64];
static struct service *service;

static void clean(void)
{
        char command[128];

        service = service_free(service);
        (void)shm_unlink(image_name());
        (void)snprintf(command, sizeof(command), "rm -rf '%s'", directory);
        (void)!system(command); /* NOLINT: a test's own directory */
}

static void write_ini(const char *path)
{
        FILE *file = fopen(path, "we");

        demand(file);
        (void)fprintf(file,
                      "[service]\nshm = %s\nstate = %s\nsocket = %s/socket\ngroup =\n"
                      "max_sequences = 64\n"
                      "[sequence orders]\n[sequence ids]\nkind = time\n"
                      "[sequence invoice]\nkind = gapless\n[sequence t/*]\n",
                      image_name(), directory, directory);
        (void)fclose(file);
}

static void start(void)
{
        struct config_errors errors = {0};
        struct config *config;
        char path[96];

        (void)snprintf(directory, sizeof(directory), "/dev/shm%s.d", image_name());
        (void)snprintf(path, sizeof(path), "rm -rf '%s'", directory);
        demand(system(path) == 0); /* NOLINT: left by another of our process id */
        demand(mkdir(directory, 0700) == 0);
        (void)snprintf(path, sizeof(path), "%s/ini", directory);
        write_ini(path);
        demand(config_load(&config, path, NULL, &errors) == 0);
        demand(service_new(&service, config) == 0);
        demand(atexit(clean) == 0);
}

static int connect_to(void)
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/socket", directory);
        demand(fd >= 0);
        demand(connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0);
        return fd;
}

/* All that is ready; then wait for `usec` at most for more. */
static void turn(uint64_t usec)
{
        while (sd_event_run(service->event, usec) > 0)
                usec = 0;
}

/* Send it and read answers until the end of them. Returns how many bytes there were. */
static size_t talk(int fd, const uint8_t *data, size_t size, char *answer, size_t room)
{
        size_t sent = 0, got = 0;
        ssize_t n = -1;

        for (int i = 0; i < TURNS_MAX && n != 0; i++) {
                if (sent < size) {
                        n = send(fd, data + sent, size - sent, MSG_NOSIGNAL);
                        sent += n > 0 ? (size_t)n : 0;
                }
                if (sent == size)
                        (void)shutdown(fd, SHUT_WR);
                turn(i ? 1000 : 0);
                do {
                        n = recv(fd, answer, room, 0);
                        got += n > 0 ? (size_t)n : 0;
                } while (n > 0);
                if (n < 0 && errno != EAGAIN)
                        break;
        }
        return got;
}

/* SEGMENTED, the same bytes arrive in two parts. */
static void send_parted(int fd, const uint8_t *data, size_t size)
{
        (void)!send(fd, data, size, MSG_NOSIGNAL);
        turn(0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const char ping[] = "PING\r\n";
        static char answer[65536];
        static unsigned runs;
        size_t part = size % 3 ? 0 : size / 2;
        int fd;

        if (!service)
                start();
        fd = connect_to();
        if (part > 0)
                send_parted(fd, data, part);
        (void)talk(fd, data + part, size - part, answer, sizeof(answer));
        (void)close(fd);
        turn(0);
        if (runs++ % 64 == 0) {
                fd = connect_to();
                memset(answer, 0, sizeof(answer));
                demand(talk(fd, (const uint8_t *)ping, strlen(ping), answer, sizeof(answer)) ==
                       strlen("+PONG\r\n"));
                (void)close(fd);
        }
        return 0;
}
