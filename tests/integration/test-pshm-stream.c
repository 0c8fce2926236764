/* SPDX-License-Identifier: MIT */

/*
 * pshm's streams: every byte arrives, whatever the sizes, whoever comes first and
 * however slow the ends; and what is not right is told, not passed on. Deaths are in
 * test-pshm-death.c.
 */

#include "harness-pshm.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* Of the object: the layout that client/pshm-stream.h tells, for the default 8 blocks. */
#define DESCRIPTORS 4096
#define PLACE       0
#define COUNT       8
#define BEFORE      24
#define DATA        8192
#define EMPTY       128
#define FILLED      256

/* --- sizes -------------------------------------------------------------------- */

/* Send and receive `length` bytes; `receiver_first` tells who is started first. */
static void transfer(struct instance *instance, const char *options, const char *bytes,
                     size_t length, bool receiver_first)
{
        int in = open_file(instance, "in"), out = open_file(instance, "out");
        struct side send, recv;

        for (size_t at = 0; at < length;) {
                ssize_t n = pwrite(in, bytes + at, length - at, (off_t)at);

                assert_true(n > 0);
                at += (size_t)n;
        }
        if (receiver_first)
                recv = side_start(instance, "recv", "", in, out);
        send = side_start(instance, "send", options, in, out);
        if (!receiver_first) {
                stream_await(instance);
                recv = side_start(instance, "recv", "", in, out);
        }
        side_must_end(&recv, 0, "");
        side_must_end(&send, 0, "");
        if (!file_is(out, bytes, length))
                fail_msg("'%s' of %zu bytes: something else arrived", options, length);
        assert_false(stream_exists(instance));
        close(in);
        close(out);
}

static void all_sizes(struct instance *instance)
{
        static const struct {
                const char *options;
                size_t block;
        } rings[] = {
                {"-b 1 -s 1K", 1024}, {"-b 1", 1 << 20}, {"", 1 << 20},           {"-c", 1 << 20},
                {"-b 1 -s 1", 1},     {"-s 7 -b 3", 7},  {"-b 2 -c -s 4K", 4096},
        };
        size_t room = 12 << 20;
        char *bytes = malloc(room);
        bool first = false;

        assert_non_null(bytes);
        fill_random(bytes, room, 1);
        for (size_t i = 0; i < sizeof(rings) / sizeof(rings[0]); i++) {
                size_t block = rings[i].block;
                const size_t lengths[] = {0,         1,         block - 1,      block,
                                          block + 1, 9 * block, 11 * block + 1, 8 * block};

                for (size_t j = 0; j < sizeof(lengths) / sizeof(lengths[0]); j++)
                        transfer(instance, rings[i].options, bytes, lengths[j], first = !first);
        }
        free(bytes);
}

/*
 * Ten gigabytes by count: a file of holes with a mark here and there, so that it
 * takes no memory; the output is counted and the marks are looked for.
 */
#define MARK_EVERY (UINT64_C(16) << 20)

static uint64_t count_and_check(int out)
{
        static char buffer[1 << 20];
        uint64_t at = 0;
        ssize_t n;

        while ((n = read(out, buffer, sizeof(buffer))) > 0) {
                uint64_t next = (at + MARK_EVERY - 1) / MARK_EVERY * MARK_EVERY, mark;

                if (next + sizeof(mark) <= at + (uint64_t)n) {
                        memcpy(&mark, buffer + (next - at), sizeof(mark));
                        assert_int_equal(mark, next + 1);
                        memset(buffer + (next - at), 0, sizeof(mark));
                }
                assert_int_equal(buffer[(uint64_t)n / 2], 0);
                at += (uint64_t)n;
                progress("%" PRIu64 " of the bytes received", at);
        }
        return at;
}

static void ten_gigabytes(struct instance *instance)
{
        uint64_t size = scaled(UINT64_C(10000000000)), received;
        int in = memfd_create("in", MFD_CLOEXEC), out[2];
        struct side send, recv;
        uint64_t begin;

        if (size > UINT64_C(200000000000))
                size = UINT64_C(200000000000);
        assert_true(in >= 0);
        assert_int_equal(ftruncate(in, (off_t)size), 0);
        for (uint64_t at = 0; at + sizeof(at) <= size; at += MARK_EVERY) {
                uint64_t mark = at + 1;

                assert_int_equal(pwrite(in, &mark, sizeof(mark), (off_t)at), sizeof(mark));
        }
        assert_int_equal(pipe2(out, O_CLOEXEC), 0);
        (void)fcntl(out[0], F_SETPIPE_SZ, 1 << 20);
        begin = now_usec();
        send = side_start(instance, "send", "", in, in);
        recv = side_start(instance, "recv", "", in, out[1]);
        close(out[1]);
        received = count_and_check(out[0]);
        close(out[0]);
        side_must_end(&recv, 0, "");
        side_must_end(&send, 0, "");
        assert_int_equal(received, size);
        figures("bytes=%" PRIu64 " MB_per_s=%.0f", size,
                (double)size / (double)(now_usec() - begin));
        close(in);
}

/* --- ends of all kinds ---------------------------------------------------------- */

static void write_all(int fd, const char *text)
{
        assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

/* What is written arrives at once, not when a block is full. */
static void slow_sender(struct instance *instance)
{
        int in[2], out[2];
        struct side send, recv;

        assert_int_equal(pipe2(in, O_CLOEXEC), 0);
        assert_int_equal(pipe2(out, O_CLOEXEC), 0);
        recv = side_start(instance, "recv", "", in[0], out[1]);
        nap(50000);
        send = side_start(instance, "send", "-c", in[0], out[1]);
        close(in[0]);
        close(out[1]);
        for (int i = 0; i < 20; i++) {
                char text[24], got[24] = "";

                (void)snprintf(text, sizeof(text), "line %d\n", i);
                write_all(in[1], text);
                assert_int_equal(read(out[0], got, sizeof(got) - 1), strlen(text));
                assert_string_equal(got, text);
                nap((uint64_t)i * 2000);
        }
        close(in[1]);
        side_must_end(&send, 0, "");
        side_must_end(&recv, 0, "");
        close(out[0]);
}

static void slow_receiver(struct instance *instance)
{
        size_t length = 400000, at = 0;
        char *bytes = malloc(length), *got = malloc(length + 1);
        int in = open_file(instance, "in"), out[2];
        struct side send, recv;
        ssize_t n;

        assert_true(bytes && got);
        fill_random(bytes, length, 2);
        assert_int_equal(write(in, bytes, length), length);
        assert_int_equal(lseek(in, 0, SEEK_SET), 0);
        assert_int_equal(pipe2(out, O_CLOEXEC), 0);
        (void)fcntl(out[0], F_SETPIPE_SZ, 4096);
        send = side_start(instance, "send", "-s 4K", in, out[1]);
        recv = side_start(instance, "recv", "", in, out[1]);
        close(out[1]);
        while ((n = read(out[0], got + at, at + 5000 < length ? 5000 : length + 1 - at)) > 0) {
                at += (size_t)n;
                nap(3000);
                if (at < length / 2)
                        assert_false(side_ended(&send)); /* it waits for what is not read yet */
        }
        assert_int_equal(at, length);
        assert_memory_equal(got, bytes, length);
        side_must_end(&send, 0, "");
        side_must_end(&recv, 0, "");
        close(out[0]);
        close(in);
        free(bytes);
        free(got);
}

/* Descriptors that do not block are waited for. */
static void ends_that_do_not_block(struct instance *instance)
{
        size_t length = 1 << 20, at = 0;
        char *bytes = malloc(length), buffer[8192];
        int in[2], out[2];
        struct side send, recv;
        ssize_t n;

        assert_non_null(bytes);
        fill_random(bytes, length, 3);
        assert_int_equal(pipe2(in, O_CLOEXEC | O_NONBLOCK), 0);
        assert_int_equal(pipe2(out, O_CLOEXEC | O_NONBLOCK), 0);
        send = side_start(instance, "send", "", in[0], out[1]);
        recv = side_start(instance, "recv", "", in[0], out[1]);
        close(in[0]);
        close(out[1]);
        for (size_t sent = 0; at < length; nap(200)) {
                n = sent < length ? write(in[1], bytes + sent, length - sent) : 0;
                sent += n > 0 ? (size_t)n : 0;
                while ((n = read(out[0], buffer, sizeof(buffer))) > 0) {
                        assert_memory_equal(buffer, bytes + at, (size_t)n);
                        at += (size_t)n;
                }
        }
        close(in[1]);
        side_must_end(&send, 0, "");
        side_must_end(&recv, 0, "");
        close(out[0]);
        free(bytes);
}

/* --- one of each --------------------------------------------------------------- */

static void second_ones_are_refused(struct instance *instance)
{
        int in[2], out[2];
        struct side send, recv, second;
        char got[8] = "";

        assert_int_equal(pipe2(in, O_CLOEXEC), 0);
        assert_int_equal(pipe2(out, O_CLOEXEC), 0);
        send = side_start(instance, "send", "", in[0], out[1]);
        stream_await(instance);
        second = side_start(instance, "send", "", in[0], out[1]);
        side_must_end(&second, 1, "another sender has it");
        recv = side_start(instance, "recv", "", in[0], out[1]);
        write_all(in[1], "one");
        assert_int_equal(read(out[0], got, sizeof(got)), 3);
        second = side_start(instance, "recv", "", in[0], out[1]);
        side_must_end(&second, 1, "another receiver has it");
        second = side_start(instance, "send", "", in[0], out[1]);
        side_must_end(&second, 1, "another sender has it");
        write_all(in[1], "two");
        assert_int_equal(read(out[0], got, sizeof(got)), 3);
        assert_string_equal(got, "two");
        close(in[0]);
        close(in[1]);
        side_must_end(&send, 0, "");
        side_must_end(&recv, 0, "");
        close(out[0]);
        close(out[1]);
}

static void nobody_comes(struct instance *instance)
{
        int null = open_path("/dev/null", O_RDWR), zero = open_path("/dev/zero", O_RDWR), idle[2];
        uint64_t begin = now_usec();
        struct side side;

        side = side_start(instance, "recv", "-w 0.3", null, null);
        side_must_end(&side, 75, "no sender came in time");
        assert_true(now_usec() - begin >= 300000);
        side = side_start(instance, "recv", "-w 0", null, null);
        side_must_end(&side, 75, "no sender came in time");
        side = side_start(instance, "send", "-w 0.3", null, null);
        side_must_end(&side, 75, "no receiver came in time");
        side = side_start(instance, "send", "-w 0.3 -b 1", zero, null);
        side_must_end(&side, 75, "no receiver came in time");
        assert_int_equal(pipe2(idle, O_CLOEXEC), 0);
        side = side_start(instance, "send", "-w 0.3", idle[0], null);
        side_must_end(&side, 75, "no receiver came in time");
        assert_false(stream_exists(instance));
        close(idle[0]);
        close(idle[1]);
        close(null);
        close(zero);
}

/* One after the other under the same name, the two sides at their own pace. */
static void many_in_a_row(struct instance *instance)
{
        int null = open_path("/dev/null", O_RDWR);

        for (int i = 0; i < 50; i++) {
                char text[24], got[24] = "";
                struct side send, recv;
                int in[2], out[2];

                (void)snprintf(text, sizeof(text), "stream %d", i);
                assert_int_equal(pipe2(in, O_CLOEXEC), 0);
                assert_int_equal(pipe2(out, O_CLOEXEC), 0);
                write_all(in[1], text);
                close(in[1]);
                if (i % 2)
                        recv = side_start(instance, "recv", "", null, out[1]);
                send = side_start(instance, "send", "", in[0], null);
                if (i % 2 == 0)
                        recv = side_start(instance, "recv", "", null, out[1]);
                close(in[0]);
                close(out[1]);
                side_must_end(&recv, 0, "");
                assert_false(stream_exists(instance)); /* once either has ended well */
                assert_int_equal(read(out[0], got, sizeof(got)), strlen(text));
                assert_string_equal(got, text);
                side_must_end(&send, 0, "");
                close(out[0]);
        }
        close(null);
}

/* --- what is wrong is told -------------------------------------------------------- */

/*
 * Send "hello" with -c and wait until it is in the object; let `spoil` change the
 * object; then nobody must get a byte of it.
 */
static void spoiled(struct instance *instance, void (*spoil)(char *object), const char *reason)
{
        int in[2], out = open_file(instance, "out"), fd;
        struct side send, recv;
        char path[128], *object;

        assert_int_equal(pipe2(in, O_CLOEXEC), 0);
        send = side_start(instance, "send", "-c", in[0], out);
        stream_await(instance);
        (void)snprintf(path, sizeof(path), "/dev/shm%s", instance->shm);
        fd = open_path(path, O_RDWR);
        object = mmap(NULL, DATA + 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        assert_true(object != MAP_FAILED);
        close(fd);
        write_all(in[1], "hello");
        for (uint64_t end = now_usec() + patience_usec(5000000), count = 0; count != 5; nap(500)) {
                memcpy(&count, object + DESCRIPTORS + COUNT, sizeof(count));
                assert_true(now_usec() < end);
        }
        nap(20000); /* its post follows */
        spoil(object);
        recv = side_start(instance, "recv", "", in[0], out);
        side_must_end(&recv, 65, reason);
        side_must_end(&send, 69, "the receiver gave up: what it found");
        assert_true(file_is(out, "", 0));
        assert_false(stream_exists(instance));
        assert_int_equal(munmap(object, DATA + 4096), 0);
        close(in[0]);
        close(in[1]);
        close(out);
}

static void change_data(char *object)
{
        object[DATA + 1] ^= 1;
}

static void change_count(char *object)
{
        uint64_t count = (1 << 20) + 1;

        memcpy(object + DESCRIPTORS + COUNT, &count, sizeof(count));
}

static void shorten_count(char *object)
{
        uint64_t count = 4;

        memcpy(object + DESCRIPTORS + COUNT, &count, sizeof(count));
}

static void end_early(char *object)
{
        uint64_t count = 0;

        memcpy(object + DESCRIPTORS + COUNT, &count, sizeof(count));
}

static void change_place(char *object)
{
        object[DESCRIPTORS + PLACE] = 1;
}

static void change_total(char *object)
{
        object[DESCRIPTORS + BEFORE] = 1;
}

static void damage_is_told(struct instance *instance)
{
        spoiled(instance, change_data, "checksum of block 0 differs");
        spoiled(instance, shorten_count, "checksum of block 0 differs");
        spoiled(instance, end_early, "checksum of block 0 differs");
        spoiled(instance, change_count, "damaged");
        spoiled(instance, change_place, "damaged");
        spoiled(instance, change_total, "damaged");
}

/* The header of the stream there is. */
static char *map_header(const struct instance *instance)
{
        char path[128], *header;
        int fd;

        (void)snprintf(path, sizeof(path), "/dev/shm%s", instance->shm);
        fd = open_path(path, O_RDWR);
        header = mmap(NULL, DESCRIPTORS, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        assert_true(header != MAP_FAILED);
        close(fd);
        return header;
}

/*
 * What is in a semaphore beside its value makes glibc abort a process that waits for it
 * or posts it. It is none of our business: the stream goes on.
 */
static void scribbled_semaphores_abort_nobody(struct instance *instance)
{
        static const size_t semaphores[] = {EMPTY, FILLED};

        for (size_t i = 0; i < sizeof(semaphores) / sizeof(semaphores[0]); i++) {
                int in[2], out[2];
                struct side send, recv;
                char got[8] = "", *header;

                assert_int_equal(pipe2(in, O_CLOEXEC), 0);
                assert_int_equal(pipe2(out, O_CLOEXEC), 0);
                send = side_start(instance, "send", "-b 1", in[0], out[1]);
                recv = side_start(instance, "recv", "", in[0], out[1]);
                close(in[0]);
                close(out[1]);
                stream_await_receiver(instance);
                header = map_header(instance);
                memset(header + semaphores[i] + sizeof(uint64_t), 0x63,
                       sizeof(sem_t) - sizeof(uint64_t));
                nap(50000); /* who waits looks at it again */
                for (int j = 0; j < 3; j++) {
                        write_all(in[1], "hello");
                        assert_int_equal(read(out[0], got, sizeof(got)), 5);
                        assert_string_equal(got, "hello");
                }
                close(in[1]);
                side_must_end(&recv, 0, "");
                side_must_end(&send, 0, "");
                close(out[0]);
                assert_int_equal(munmap(header, DESCRIPTORS), 0);
        }
}

/* More tokens than blocks: somebody else's, and told, not taken for the end of the stream. */
static void tokens_of_others_are_told(struct instance *instance)
{
        static const size_t semaphores[] = {EMPTY, FILLED};

        for (size_t i = 0; i < sizeof(semaphores) / sizeof(semaphores[0]); i++) {
                int in[2], out = open_file(instance, "out"), sent, received;
                uint32_t tokens = 9; /* of 8 blocks */
                struct side send, recv;
                char *header;

                assert_int_equal(pipe2(in, O_CLOEXEC), 0);
                send = side_start(instance, "send", "", in[0], out);
                recv = side_start(instance, "recv", "", in[0], out);
                close(in[0]);
                stream_await_receiver(instance);
                header = map_header(instance);
                memcpy(header + semaphores[i], &tokens, sizeof(tokens));
                nap(50000); /* the receiver may look at a block that was never filled */
                (void)!write(in[1], "hello", 5); /* the sender may have gone */
                received = side_end(&recv);
                sent = side_end(&send);
                if ((sent != 65 && sent != 69) || (received != 65 && received != 69))
                        fail_msg("too many tokens at %zu: recv %d, send %d: %s", semaphores[i],
                                 received, sent, side_said(&recv));
                assert_false(stream_exists(instance));
                assert_int_equal(munmap(header, DESCRIPTORS), 0);
                close(in[1]);
                close(out);
        }
}

/* Refused with the reason, whoever is not to have it; and nobody hangs or dies of it. */
static void a_checksum_is_wanted(struct instance *instance)
{
        int null = open_path("/dev/null", O_RDWR);
        struct side send, recv;

        send = side_start(instance, "send", "", null, null);
        recv = side_start(instance, "recv", "-c", null, null);
        side_must_end(&recv, 65, "sent without a checksum");
        side_must_end(&send, 69, "it wants a checksum");
        assert_false(stream_exists(instance));
        send = side_start(instance, "send", "-c", null, null);
        recv = side_start(instance, "recv", "-c", null, null);
        side_must_end(&recv, 0, "");
        side_must_end(&send, 0, "");
        close(null);
}

/* The object made shorter under both: words and a status, not a core. */
static void cut_short(struct instance *instance)
{
        int zero = open_path("/dev/zero", O_RDWR), null = open_path("/dev/null", O_RDWR);
        const off_t sizes[] = {0, 4096, 8192 + (1 << 20)};
        char path[128];

        (void)snprintf(path, sizeof(path), "/dev/shm%s", instance->shm);
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
                struct side send = side_start(instance, "send", i % 2 ? "-c" : "", zero, null);
                struct side recv = side_start(instance, "recv", "", null, null);
                int sent, received;

                stream_await_receiver(instance);
                assert_int_equal(truncate(path, sizes[i]), 0);
                sent = side_end(&send);
                received = side_end(&recv);
                if ((sent != 65 && sent != 69) || (received != 65 && received != 69))
                        fail_msg("cut to %jd: send %d, recv %d: %s", (intmax_t)sizes[i], sent,
                                 received, side_said(&recv));
                assert_false(stream_exists(instance));
        }
        close(zero);
        close(null);
}

static void ends_that_fail(struct instance *instance)
{
        int null = open_path("/dev/null", O_RDWR), zero = open_path("/dev/zero", O_RDWR);
        int full = open_path("/dev/full", O_RDWR), directory = open_path("/", O_RDONLY), out[2];
        int failed;
        struct side send, recv;

        send = side_start(instance, "send", "", zero, null);
        recv = side_start(instance, "recv", "", null, full);
        side_must_end(&recv, 74, "writing standard output: No space left");
        side_must_end(&send, 69, "the receiver gave up: its output failed");
        assert_false(stream_exists(instance));

        /* It may be over before anybody sees it: then there was no sender. */
        recv = side_start(instance, "recv", "-w 0.5", null, null);
        nap(30000);
        send = side_start(instance, "send", "", directory, null);
        side_must_end(&send, 74, "reading standard input: Is a directory");
        failed = side_end(&recv);
        assert_true(failed == 69 || failed == 75);
        assert_false(stream_exists(instance));

        /* The reader of the output goes while there is output, and while there is none. */
        for (int i = 0; i < 2; i++) {
                int idle[2];

                assert_int_equal(pipe2(out, O_CLOEXEC), 0);
                assert_int_equal(pipe2(idle, O_CLOEXEC), 0);
                send = side_start(instance, "send", "", i ? idle[0] : zero, null);
                recv = side_start(instance, "recv", "", null, out[1]);
                close(out[1]);
                stream_await_receiver(instance);
                nap(20000);
                close(out[0]);
                side_must_end(&recv, 74, "writing standard output: Broken pipe");
                side_must_end(&send, 69, "its output failed");
                assert_false(stream_exists(instance));
                close(idle[0]);
                close(idle[1]);
        }
        close(null);
        close(zero);
        close(full);
        close(directory);
}

/* Some file systems say only when it is closed that there was no room; here it cannot be. */
static void output_fails_at_its_end(struct instance *instance)
{
        const struct rlimit no_more = {.rlim_cur = 3, .rlim_max = 3};
        int null, in[2];

        if (sanitized()) {
                print_message("  skipped: a sanitizer opens files at the end, and may not\n");
                return;
        }
        null = open_path("/dev/null", O_RDWR);
        for (int i = 0; i < 2; i++) {
                struct side send, recv;

                assert_int_equal(pipe2(in, O_CLOEXEC), 0);
                send = side_start(instance, "send", i ? "-b 1" : "", in[0], null);
                recv = side_start(instance, "recv", "", null, null);
                close(in[0]);
                stream_await_receiver(instance);
                write_all(in[1], "not kept");
                assert_int_equal(prlimit(recv.pid, RLIMIT_NOFILE, &no_more, NULL), 0);
                close(in[1]);
                side_must_end(&recv, 74, "writing standard output: Too many open files");
                side_must_end(&send, 69, "the receiver gave up: its output failed");
                assert_false(stream_exists(instance));
        }
        close(null);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                instance_test(all_sizes),
                instance_test(ten_gigabytes),
                instance_test(slow_sender),
                instance_test(slow_receiver),
                instance_test(ends_that_do_not_block),
                instance_test(second_ones_are_refused),
                instance_test(nobody_comes),
                instance_test(many_in_a_row),
                instance_test(damage_is_told),
                instance_test(scribbled_semaphores_abort_nobody),
                instance_test(tokens_of_others_are_told),
                instance_test(a_checksum_is_wanted),
                instance_test(cut_short),
                instance_test(ends_that_fail),
                instance_test(output_fails_at_its_end),
        };

        (void)signal(SIGPIPE, SIG_IGN);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
