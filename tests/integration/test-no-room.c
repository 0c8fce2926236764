/* SPDX-License-Identifier: MIT */

/*
 * A segment without room for another slot is made anew, with all that goes on in it.
 * Slots are used up by restarts, since none is used twice; what is under way then are
 * creations and reservations that were committed together.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "harness.h"

#define SYNC_USEC "300000" /* in which all of a round is asked for */

static uint64_t figure(const char *info, const char *name)
{
        const char *at = strstr(info, name);

        assert_non_null(at);
        return strtoull(at + strlen(name), NULL, 10);
}

/* How many slots are left. */
static uint64_t slots_left(const struct instance *instance)
{
        char info[4096];
        int fd = instance_connect(instance);
        size_t n = 0;

        assert_true(fd >= 0);
        assert_int_equal(send(fd, "INFO\r\n", 6, MSG_NOSIGNAL), 6);
        while (n == 0 || !strstr(info, "\r\nslots:") || info[n - 1] != '\n') {
                ssize_t got = recv(fd, info + n, sizeof(info) - 1 - n, 0);

                assert_true(got > 0);
                n += (size_t)got;
                info[n] = '\0';
        }
        close(fd);
        return figure(info, "\r\nslots:") - figure(info, "slots_used:");
}

static void use_up_slots(const struct instance *instance)
{
        while (slots_left(instance) > 0)
                assert_string_equal(instance_ask(instance, "SEQ.RESTART used 1"), "+OK");
}

static int begin(const struct instance *instance, const char *request)
{
        int fd = instance_connect(instance);

        assert_true(fd >= 0);
        assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), strlen(request));
        nap(30000); /* the daemon has read it when the next one comes */
        return fd;
}

static void end(int fd, char kind)
{
        char answer[256];

        assert_true(recv(fd, answer, sizeof(answer), 0) > 1);
        if (answer[0] != kind)
                fail_msg("%.*s", 80, answer);
        close(fd);
}

static int64_t number(const struct instance *instance, const char *request)
{
        const char *answer = instance_ask(instance, "%s", request);

        if (answer[0] != ':')
                fail_msg("%s", answer);
        return strtoll(answer + 1, NULL, 10);
}

/* A reservation that is committed with the creation for which there is no room. */
static void a_creation_and_a_reservation(struct instance *instance)
{
        int busy, creation, reservation;
        int64_t last;

        instance_configure(instance, "max_sequences = 8\n"
                                     "[sequence drawn]\nreserve = 1000\n"
                                     "[sequence used]\n");
        instance_start_on_slow_disk(instance);
        (void)number(instance, "INCR drawn");
        use_up_slots(instance);
        (void)number(instance, "INCR drawn");

        instance_slow_down(instance, SYNC_USEC);
        busy = begin(instance, "INCRBY used 1000\r\n");
        creation = begin(instance, "SEQ.CREATE another\r\n");
        reservation = begin(instance, "INCRBY drawn 600\r\n");
        end(busy, ':');
        end(creation, '+');
        end(reservation, ':');
        instance_slow_down(instance, "");
        assert_true(instance_will_say(instance, "it ran out of room"));

        last = number(instance, "INCRBY drawn 100");
        instance_kill(instance);
        instance_unlink(instance);
        instance_start(instance);
        if (number(instance, "INCR drawn") <= last)
                fail_msg("DUPLICATE: %" PRId64 " was drawn before", last);
}

/*
 * Several creations that find no room, committed together, are told one after the
 * other: one fresh segment takes them all, and a number committed without a gap at the
 * same time moves once, so that what became of it can be told.
 */
static void creations_and_a_gapless_number(struct instance *instance)
{
        enum { N = 6 };
        int busy, creations[N], committed;

        instance_configure(instance, "max_sequences = 16\n"
                                     "[sequence used]\n[sequence invoices]\nkind = gapless\n");
        instance_start_on_slow_disk(instance);
        use_up_slots(instance);

        instance_slow_down(instance, SYNC_USEC);
        busy = begin(instance, "INCRBY used 1000\r\n");
        for (int i = 0; i < N; i++) {
                char request[64];

                (void)snprintf(request, sizeof(request), "SEQ.CREATE another%d\r\n", i);
                creations[i] = begin(instance, request);
        }
        committed = begin(instance, "INCR invoices\r\n");
        end(busy, ':');
        for (int i = 0; i < N; i++)
                end(creations[i], '+');
        end(committed, ':');
        instance_slow_down(instance, "");
        assert_int_equal(number(instance, "INCR invoices"), 2);
        for (int i = 0; i < N; i++) {
                char request[64];

                (void)snprintf(request, sizeof(request), "INCR another%d", i);
                assert_int_equal(number(instance, request), 1);
        }
        shell("test \"$(grep -c 'it ran out of room' '%s')\" = 1", instance->log);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                instance_test(a_creation_and_a_reservation),
                instance_test(creations_and_a_gapless_number),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
