/* SPDX-License-Identifier: MIT */

/*
 * recv: a stream to standard output. Its shape is the textbook's: wait for a filled
 * block, write it, say that it is empty, until one has no bytes. A block is checked
 * before a byte of it is written; an end that nobody sent is no end.
 */

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "atomic.h"
#include "clock.h"
#include "pshm-stream.h"

/* How often to look for a sender that is not there yet. */
#define LOOK_USEC 10000

/* How long another one may take to come in the place of one that died. */
#define MOMENT_USEC UINT64_C(1000000)

const struct cli_option pshm_recv_options[] = {
        {'c', "checksum", NULL, "refuse a stream that is sent without one"},
        {'w', "wait", "SECONDS", "how long to wait for a sender, at most (60)"},
        {'q', "quiet", NULL, "no progress on the terminal"},
        CLI_OPTION_HELP,
        {0},
};

struct receiver {
        struct stream stream;
        struct progress progress;
        uint64_t place, hash;
};

/* Errors of our own side, beside those of stream_peer(). */
enum {
        OUTPUT_FAILED = -EPIPE, /* said already */
        HASH_DIFFERS = -EILSEQ,
};

/* --- output ------------------------------------------------------------------ */

static int output_failed(struct receiver *receiver, int error)
{
        progress_end(&receiver->progress);
        cli_complain("writing standard output: %s", strerror(error));
        return OUTPUT_FAILED;
}

static int write_output(struct receiver *receiver, const char *bytes, size_t length)
{
        struct pollfd output = {.fd = STDOUT_FILENO, .events = POLLOUT};

        while (length > 0) {
                ssize_t n = write(STDOUT_FILENO, bytes, length);

                if (n < 0 && errno == EAGAIN)
                        (void)poll(&output, 1, -1);
                else if (n < 0 && errno == EFAULT)
                        return -EBADMSG; /* the block's memory is gone */
                else if (n < 0 && errno != EINTR)
                        return output_failed(receiver, errno);
                if (n < 0)
                        continue;
                bytes += n;
                length -= (size_t)n;
        }
        return 0;
}

/* Some file systems tell only now that there was no room. Nobody must hear of success before. */
static int end_output(struct receiver *receiver)
{
        int fd = dup(STDOUT_FILENO);

        if (fd < 0 || close(fd) < 0)
                return output_failed(receiver, errno);
        return 0;
}

/* --- the stream ---------------------------------------------------------------- */

/* While there is nothing to write: is there still anybody to write it for? */
static int idle(void *userdata)
{
        struct receiver *receiver = userdata;
        struct pollfd output = {.fd = STDOUT_FILENO};

        progress_look(&receiver->progress);
        if (poll(&output, 1, 0) == 1 && (output.revents & POLLERR))
                return output_failed(receiver, EPIPE);
        return 0;
}

/* Is this the block that comes next? Its bytes in *ret_count, 0: the end. */
static int check_block(struct receiver *receiver, const struct stream_block *block,
                       const char *data, uint64_t *ret_count)
{
        uint64_t count = see_u64(&block->count), hash = see_u64(&block->hash);

        if (count > receiver->stream.geometry.block_size ||
            see_u64(&block->place) != receiver->place ||
            see_u64(&block->before) != receiver->progress.bytes)
                return -EBADMSG;
        if (receiver->stream.flags & STREAM_CHECKSUM) {
                receiver->hash = stream_hash(receiver->hash, data, (size_t)count);
                if (hash != receiver->hash)
                        return HASH_DIFFERS;
        }
        *ret_count = count;
        return 0;
}

/* Move one block. 1: it was the end; 0; or an error. */
static int receive_block(struct receiver *receiver)
{
        const struct stream_block *block = stream_block(&receiver->stream, receiver->place);
        const char *data = stream_data(&receiver->stream, receiver->place);
        uint64_t count;
        int r;

        r = stream_take(&receiver->stream, &receiver->stream.header->filled, idle, receiver);
        if (r != 0)
                return r < 0 ? r : -EBADMSG; /* done, without an end? */
        r = check_block(receiver, block, data, &count);
        if (r < 0 || count == 0)
                return r < 0 ? r : 1;
        r = write_output(receiver, data, (size_t)count);
        if (r < 0)
                return r;
        receiver->place++;
        progress_add(&receiver->progress, count);
        return stream_post(&receiver->stream, &receiver->stream.header->empty);
}

static int receive_all(struct receiver *receiver)
{
        int r;

        do
                r = receive_block(receiver);
        while (r == 0);
        return r < 0 ? r : end_output(receiver);
}

/* --- the verb ------------------------------------------------------------------ */

/*
 * Wait for a stream, and become its receiver. 0, or as stream_attach() has it.
 *
 * A sender that died before we came may be the one we are to receive from, or may
 * have lain there since yesterday, and ours be just about to begin: that one gets a
 * moment, and then the dead one is told of.
 */
static int await_stream(struct stream *ret, const char *name, uint64_t wait_usec,
                        struct stream_end *ret_end)
{
        uint64_t end = clock_usec(CLOCK_MONOTONIC) + wait_usec;
        int r, outcome = -EAGAIN;

        for (;;) {
                uint64_t now;

                r = stream_attach(ret, name, ret_end);
                now = clock_usec(CLOCK_MONOTONIC);
                if (r == -EOWNERDEAD || r == -ECANCELED) {
                        outcome = r;
                        end = now + MOMENT_USEC < end ? now + MOMENT_USEC : end;
                } else if (r != -EAGAIN) {
                        return r;
                }
                if (now >= end)
                        return outcome;
                (void)usleep(LOOK_USEC);
        }
}

/* Of the name that a dead sender left, and that could not be removed. */
static const char *why_it_stays(int error)
{
        switch (error) {
        case -EPERM:
        case -EACCES:
                return "its owner has to remove it ('pshm rm')";
        case -EAGAIN:
                return "somebody holds a lock on it ('pshm rm -f' removes it)";
        default:
                return strerror(-error);
        }
}

static int fail_to_begin(const char *name, int error, const struct stream_end *end)
{
        switch (error) {
        case -EAGAIN:
                cli_complain("%s: no sender came in time (-w waits longer)", name);
                return CLI_TRY_AGAIN;
        case -EBUSY:
                cli_complain("%s: another receiver has it", name);
                return CLI_NO;
        case -EOWNERDEAD:
                cli_complain("%s: its sender died before anything was received; %s%s", name,
                             end->removal == 0 ? "it is removed" : "it stays: ",
                             end->removal == 0 ? "" : why_it_stays(end->removal));
                return CLI_UNAVAILABLE;
        case -ECANCELED:
                cli_complain("%s: its sender gave up before anything was received: %s", name,
                             stream_state_text(end->state));
                return CLI_UNAVAILABLE;
        case -EBADMSG:
                cli_complain("%s: the object is no stream ('pshm ls -l' shows what it is)", name);
                return CLI_DATA;
        case -EPROTONOSUPPORT:
                cli_complain("%s: a stream of another version: use the pshm that sends it", name);
                return CLI_DATA;
        case -ENOEXEC:
                cli_complain("%s: a stream of another C library, whose semaphores are not ours",
                             name);
                return CLI_DATA;
        default:
                return pshm_fail("opening", name, error);
        }
}

static enum stream_state state_of(int error)
{
        return error == 0               ? STREAM_DONE
               : error == OUTPUT_FAILED ? STREAM_OUTPUT_FAILED
                                        : STREAM_DAMAGED;
}

static int complain(struct receiver *receiver, int error)
{
        if (error == OUTPUT_FAILED)
                return CLI_OUTPUT;
        if (error == HASH_DIFFERS) {
                cli_complain("%s: the checksum of block %" PRIu64 " differs; %" PRIu64
                             " bytes before it are good",
                             receiver->stream.name, receiver->place, receiver->progress.bytes);
                return CLI_DATA;
        }
        return stream_complain(&receiver->stream, "sender", error);
}

static int receive(struct receiver *receiver, bool quiet)
{
        int r;

        receiver->progress = progress_begin(quiet, 0);
        r = receive_all(receiver);
        stream_leave(&receiver->stream, state_of(r));
        /* What the sender waits for; it sees our word if there is no post. */
        (void)stream_post(&receiver->stream, &receiver->stream.header->empty);
        progress_end(&receiver->progress);
        return r == 0 ? CLI_OK : complain(receiver, r);
}

static int refuse(const struct stream *stream)
{
        stream_leave(stream, STREAM_REFUSED);
        cli_complain("%s: it is sent without a checksum ('pshm send -c' sends one)", stream->name);
        return CLI_DATA;
}

int pshm_recv(const struct cli *cli, const struct cli_args *args)
{
        uint64_t wait_usec = STREAM_WAIT_DEFAULT;
        struct receiver receiver = {0};
        char name[PSHM_NAME_SIZE];
        struct stream_end end = {0};
        int r;

        (void)cli;
        if (pshm_name(args->names[0], name) != 0 || pshm_wait(args->values['w'], &wait_usec) != 0)
                return CLI_USAGE;
        stream_guard(NULL);
        r = await_stream(&receiver.stream, name, wait_usec, &end);
        if (r < 0)
                return fail_to_begin(name, r, &end);
        stream_guard(&receiver.stream);
        if (args->values['c'] && !(receiver.stream.flags & STREAM_CHECKSUM))
                r = refuse(&receiver.stream);
        else
                r = receive(&receiver, args->values['q'] != NULL);
        stream_unguard();
        stream_close(&receiver.stream);
        return r;
}
