/* SPDX-License-Identifier: MIT */

/*
 * The part of alone-scale.sh that is no shell's: make many sequences over the
 * control socket, pipelined; and what opening and drawing cost among so many.
 *
 *   bench-scale create SOCKET FROM TO    makes s/FROM .. s/TO-1, prints seconds
 *   bench-scale measure N                prints microseconds an open, and
 *                                        nanoseconds a draw, of names among N
 *
 * A draw is the first of a name in a row of a few, each name having been drawn
 * from before: what is not in the processor's caches is fetched. Needs $SEQNUM_SHM.
 */

#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "seqnum.h"

#define OPENS  2000
#define DRAWS  4
#define ROUNDS 9

static uint64_t now_ns(void)
{
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static int compare(const void *a, const void *b)
{
        double x = *(const double *)a, y = *(const double *)b;

        return (x > y) - (x < y);
}

/* --- creating ------------------------------------------------------------------ */

struct order {
        int fd;
        uint64_t from, to;
};

static void *send_all(void *argument)
{
        const struct order *order = argument;
        FILE *out = fdopen(dup(order->fd), "w");

        for (uint64_t i = order->from; out && i < order->to; i++)
                (void)fprintf(out, "SEQ.CREATE s/%" PRIu64 " reserve 100000\r\n", i);
        if (out)
                (void)fclose(out);
        return NULL;
}

static bool receive_all(const struct order *order)
{
        FILE *in = fdopen(order->fd, "r");
        char line[512];

        for (uint64_t i = order->from; in && i < order->to; i++)
                if (!fgets(line, sizeof(line), in) || *line != '+') {
                        (void)fprintf(stderr, "bench-scale: s/%" PRIu64 ": %s\n", i, line);
                        return false;
                }
        return in && fclose(in) == 0;
}

static int create(const char *path, uint64_t from, uint64_t to)
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        struct order order = {.fd = socket(AF_UNIX, SOCK_STREAM, 0), .from = from, .to = to};
        uint64_t begin = now_ns();
        pthread_t sender;

        if (strlen(path) >= sizeof(address.sun_path))
                return 1;
        memcpy(address.sun_path, path, strlen(path) + 1);
        if (connect(order.fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
                perror(path);
                return 1;
        }
        if (pthread_create(&sender, NULL, send_all, &order) != 0 || !receive_all(&order))
                return 1;
        (void)pthread_join(sender, NULL);
        printf("%.6f\n", (double)(now_ns() - begin) / 1e9);
        return 0;
}

/* --- opening and drawing ---------------------------------------------------------- */

static struct seqnum *open_one(struct seqnum_client *client, uint64_t n)
{
        struct seqnum *seq;
        char name[32];
        int r;

        (void)snprintf(name, sizeof(name), "s/%" PRIu64, (uint64_t)random() % n);
        r = seqnum_open(&seq, client, name);
        if (r >= 0)
                return seq;
        (void)fprintf(stderr, "bench-scale: %s: %s\n", name, seqnum_strerror(r));
        exit(1);
}

static int64_t draw_one(struct seqnum *seq)
{
        int64_t value;
        int r = seqnum_next(seq, &value);

        if (r >= 0)
                return value;
        (void)fprintf(stderr, "bench-scale: %s\n", seqnum_strerror(r));
        exit(1);
}

static double open_us(struct seqnum_client *client, uint64_t n)
{
        uint64_t begin = now_ns();

        for (int i = 0; i < OPENS; i++)
                (void)seqnum_close(open_one(client, n));
        return (double)(now_ns() - begin) / OPENS / 1e3;
}

static double draw_ns(struct seqnum_client *client, uint64_t n)
{
        static struct seqnum *seqs[OPENS / 10];
        const int count = OPENS / 10;
        uint64_t begin;
        double ns;

        for (int i = 0; i < count; i++) {
                seqs[i] = open_one(client, n);
                (void)draw_one(seqs[i]);
        }
        begin = now_ns();
        for (int i = 0; i < count; i++)
                for (int j = 0; j < DRAWS; j++)
                        (void)draw_one(seqs[i]);
        ns = (double)(now_ns() - begin) / count / DRAWS;
        for (int i = 0; i < count; i++)
                seqs[i] = seqnum_close(seqs[i]);
        return ns;
}

static int measure(uint64_t n)
{
        double opens[ROUNDS], draws[ROUNDS];
        struct seqnum_client *client;
        int r = seqnum_attach(&client, NULL, 0);

        if (r < 0) {
                (void)fprintf(stderr, "bench-scale: %s\n", seqnum_strerror(r));
                return 1;
        }
        for (int i = 0; i < ROUNDS; i++) {
                opens[i] = open_us(client, n);
                draws[i] = draw_ns(client, n);
        }
        qsort(opens, ROUNDS, sizeof(*opens), compare);
        qsort(draws, ROUNDS, sizeof(*draws), compare);
        printf("%.3f %.2f\n", opens[ROUNDS / 2], draws[ROUNDS / 2]);
        client = seqnum_detach(client);
        return 0;
}

int main(int argc, char **argv)
{
        if (argc == 5 && strcmp(argv[1], "create") == 0)
                return create(argv[2], strtoull(argv[3], NULL, 10), strtoull(argv[4], NULL, 10));
        if (argc == 3 && strcmp(argv[1], "measure") == 0 && strtoull(argv[2], NULL, 10) > 0)
                return measure(strtoull(argv[2], NULL, 10));
        (void)fprintf(stderr, "usage: bench-scale create SOCKET FROM TO | measure N\n");
        return 2;
}
