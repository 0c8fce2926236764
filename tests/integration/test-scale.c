/* SPDX-License-Identifier: MIT */

/*
 * Many sequences in one instance, made by pipelined commands over the control
 * socket: none is lost, all can be drawn from, before and after a restart; and
 * what each of them costs in memory, which is asserted. Times are told, not
 * asserted. SEQNUM_TEST_SEQUENCES says how many (20,000; at most 1,000,000).
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"

#define BYTES_MAX 700 /* of daemon and segment together, for each sequence */

static uint64_t how_many(void)
{
        const char *text = getenv("SEQNUM_TEST_SEQUENCES");
        uint64_t n = text ? strtoull(text, NULL, 10) : scaled(20000);

        return n < 100 ? 100 : n > 1000000 ? 1000000 : n;
}

/* --- sending on one side, counting answers on the other --------------------- */

struct stream {
        int fd;
        uint64_t n;
        bool sent;
};

static void *send_creates(void *argument)
{
        struct stream *stream = argument;
        FILE *out = fdopen(dup(stream->fd), "w");

        if (!out)
                return NULL;
        for (uint64_t i = 0; i < stream->n; i++) {
                char name[32];
                int length = snprintf(name, sizeof(name), "many/%07" PRIu64, i);

                (void)fprintf(out, "*2\r\n$10\r\nSEQ.CREATE\r\n$%d\r\n%s\r\n", length, name);
        }
        stream->sent = fclose(out) == 0;
        return NULL;
}

static void create_many(const struct instance *instance, uint64_t n)
{
        struct stream stream = {.fd = instance_connect(instance), .n = n};
        static char line[256];
        pthread_t sender;
        uint64_t begin = now_usec();
        FILE *in = fdopen(stream.fd, "r");

        assert_true(stream.fd >= 0);
        assert_non_null(in);
        assert_int_equal(pthread_create(&sender, NULL, send_creates, &stream), 0);
        for (uint64_t i = 0; i < n; i++) {
                assert_non_null(fgets(line, sizeof(line), in));
                if (strcmp(line, "+OK\r\n") != 0)
                        fail_msg("answer %" PRIu64 ": %s", i, line);
        }
        assert_int_equal(pthread_join(sender, NULL), 0);
        assert_true(stream.sent);
        (void)fclose(in);
        print_message("%" PRIu64 " created over the socket, pipelined: %.2f s\n", n,
                      (double)(now_usec() - begin) / 1e6);
}

/* --- what it costs ------------------------------------------------------------ */

/* Bytes of the daemon's own memory. */
static uint64_t anonymous_bytes(const struct instance *instance)
{
        char path[64], line[256];
        uint64_t kilobytes = 0;
        FILE *file;

        (void)snprintf(path, sizeof(path), "/proc/%d/status", (int)instance->pid);
        file = fopen(path, "re");
        assert_non_null(file);
        while (fgets(line, sizeof(line), file))
                if (sscanf(line, "RssAnon: %" SCNu64, &kilobytes) == 1)
                        break;
        (void)fclose(file);
        assert_true(kilobytes > 0);
        return kilobytes * 1024;
}

static uint64_t segment_bytes(const struct instance *instance)
{
        struct stat status;

        assert_int_equal(stat(instance_object(instance), &status), 0);
        return (uint64_t)status.st_blocks * 512;
}

static void check_all(const struct instance *instance, uint64_t n, int64_t expected)
{
        struct seqnum_client *client = instance_attach(instance);
        const uint64_t step = n > 5000 ? n / 5000 : 1;
        char name[32];

        for (uint64_t i = 0; i < n; i += step) {
                struct seqnum *seq;

                (void)snprintf(name, sizeof(name), "many/%07" PRIu64, i);
                seq = instance_open(client, name);
                assert_int_equal(must_next(seq), expected);
                seqnum_close(seq);
        }
        seqnum_detach(client);
}

static void many(struct instance *instance)
{
        const uint64_t n = how_many();
        uint64_t daemon_before, segment_before, daemon, segment, begin;

        instance_configure(instance, "max_sequences = %" PRIu64 "\n[sequence one]\n", n + 10);
        instance_start(instance);
        daemon_before = anonymous_bytes(instance);
        segment_before = segment_bytes(instance);
        create_many(instance, n);
        check_all(instance, n, 1);

        instance_stop(instance);
        begin = now_usec();
        instance_start(instance);
        print_message("restart with them: %.2f s\n", (double)(now_usec() - begin) / 1e6);
        /* Were it to take minutes, the manager would be asked for them. */
        assert_non_null(strstr(instance->notices, "EXTEND_TIMEOUT_USEC="));
        check_all(instance, n, 2);
        daemon = (anonymous_bytes(instance) - daemon_before) / n;
        segment = (segment_bytes(instance) - segment_before) / n;
        print_message("bytes for each: %" PRIu64 " in the daemon, %" PRIu64 " in the segment\n",
                      daemon, segment);
        if (n >= 20000 && !sanitized())
                assert_in_range(daemon + segment, 0, BYTES_MAX);

        /* A segment lost: all move to a fresh one. */
        instance_kill(instance);
        instance_unlink(instance);
        begin = now_usec();
        instance_start(instance);
        print_message("start without the segment: %.2f s\n", (double)(now_usec() - begin) / 1e6);
        (void)instance_ask(instance, "SEQ.DROP many/%07" PRIu64, n / 2);
        assert_string_equal(instance_ask(instance, "EXISTS many/%07" PRIu64, n / 2), ":0");
}

/* The one too many is refused, and says what would be right. */
static void no_more_than_configured(struct instance *instance)
{
        instance_configure(instance, "max_sequences = 3\n[sequence one]\n[sequence t/*]\n");
        instance_start(instance);
        assert_string_equal(instance_ask(instance, "SEQ.CREATE two"), "+OK");
        assert_string_equal(instance_ask(instance, "SEQ.OPEN t/three"), "+OK");
        assert_non_null(strstr(instance_ask(instance, "SEQ.CREATE four"), "max_sequences"));
        assert_non_null(strstr(instance_ask(instance, "INCR t/four"), "max_sequences"));
        assert_string_equal(instance_ask(instance, "SEQ.DROP two"), "+OK");
        assert_string_equal(instance_ask(instance, "INCR t/four"), ":1");
        instance_stop(instance);
        instance_start(instance);
        assert_string_equal(instance_ask(instance, "INCR t/four"), ":2");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                instance_test(many),
                instance_test(no_more_than_configured),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
