/* SPDX-License-Identifier: MIT */

/*
 * send: standard input into a stream. Its shape is the textbook's: wait for an empty
 * block, read into it, say that it is filled; a block of no bytes ends it. What is
 * read goes right into the block; and where input may keep us waiting, the receiver
 * is looked after meanwhile.
 */

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "atomic.h"
#include "pshm-stream.h"

#define MODE_DEFAULT 0600
#define SLICE_MSEC   10

/* 2^40 bytes: sizes are multiplied, and no host has as much memory. */
#define RING_SIZE_MAX (UINT64_C(1) << 40)

const struct cli_option pshm_send_options[] = {
        {'b', "blocks", "BLOCKS", "how many blocks the ring has (8); 1: the textbook's protocol"},
        {'s', "block-size", "SIZE", "how large each is (1M)"},
        {'m', "mode", "MODE", "permissions, octal, whatever the umask (600)"},
        {'c', "checksum", NULL, "let the receiver verify every byte"},
        {'w', "wait", "SECONDS", "how long to wait for a receiver, at most (60)"},
        {'q', "quiet", NULL, "no progress on the terminal"},
        CLI_OPTION_HELP,
        {0},
};

struct sender {
        struct stream stream;
        struct progress progress;
        bool waits; /* input may keep us waiting */
        uint64_t place, hash;
};

/* --- input ------------------------------------------------------------------ */

/* How long input is, 0: not known; and whether reading it can wait for somebody. */
static uint64_t look_at_input(bool *ret_waits)
{
        struct stat status;
        off_t at;

        *ret_waits = fstat(STDIN_FILENO, &status) < 0 || !S_ISREG(status.st_mode);
        if (*ret_waits)
                return 0;
        at = lseek(STDIN_FILENO, 0, SEEK_CUR);
        return at >= 0 && at < status.st_size ? (uint64_t)(status.st_size - at) : 0;
}

/* Until there is input, or its end: 0; or what stream_peer() says against it. */
static int await_input(struct sender *sender)
{
        struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
        int r = 0;

        while (r == 0 && poll(&input, 1, SLICE_MSEC) <= 0) {
                r = stream_peer(&sender->stream);
                progress_look(&sender->progress);
        }
        return r;
}

/* -EPIPE is what the receiver is told of an input that fails. */
enum {
        INPUT_FAILED = -EPIPE,
};

/* Fill the block as far as input is there. Its bytes, 0 at the end; or an error. */
static ssize_t read_input(struct sender *sender, char *block)
{
        for (;;) {
                int r = sender->waits ? await_input(sender) : 0;
                ssize_t n;

                if (r != 0)
                        return r < 0 ? r : -EBADMSG; /* done, before we were? */
                n = read(STDIN_FILENO, block, sender->stream.geometry.block_size);
                if (n >= 0)
                        return n;
                if (errno == EINTR || errno == EAGAIN)
                        continue;
                if (errno == EFAULT)
                        return -EBADMSG; /* the block's memory is gone */
                progress_end(&sender->progress);
                cli_complain("reading standard input: %s", strerror(errno));
                return INPUT_FAILED;
        }
}

/* --- the stream ---------------------------------------------------------------- */

static int idle(void *userdata)
{
        struct sender *sender = userdata;

        progress_look(&sender->progress);
        return 0;
}

static int take_empty(struct sender *sender)
{
        return stream_take(&sender->stream, &sender->stream.header->empty, idle, sender);
}

/* Move one block. 1: the last one; 0; or an error. */
static int send_block(struct sender *sender)
{
        struct stream_block *block = stream_block(&sender->stream, sender->place);
        char *data = stream_data(&sender->stream, sender->place);
        ssize_t n;
        int r;

        r = take_empty(sender);
        if (r != 0)
                return r < 0 ? r : -EBADMSG;
        n = read_input(sender, data);
        if (n < 0)
                return (int)n;
        if (sender->stream.flags & STREAM_CHECKSUM)
                sender->hash = stream_hash(sender->hash, data, (size_t)n);
        publish_u64(&block->place, sender->place++);
        publish_u64(&block->before, sender->progress.bytes);
        publish_u64(&block->hash, sender->hash);
        publish_u64(&block->count, (uint64_t)n);
        r = stream_post(&sender->stream, &sender->stream.header->filled);
        progress_add(&sender->progress, (uint64_t)n);
        return r < 0 ? r : n == 0;
}

/* Until the receiver says that it is done: before the last block is empty, well or not. */
static int await_receiver(struct sender *sender)
{
        int r = 0;

        for (uint64_t i = 0; i < sender->stream.geometry.n_blocks && r == 0; i++)
                r = take_empty(sender);
        if (r == 0)
                r = stream_peer(&sender->stream);
        if (r == 0)
                return -EBADMSG; /* emptied by somebody else */
        return r < 0 ? r : 0;
}

static int send_all(struct sender *sender)
{
        int r;

        do
                r = send_block(sender);
        while (r == 0);
        return r < 0 ? r : await_receiver(sender);
}

/* --- the verb ------------------------------------------------------------------ */

static int read_setup(const struct cli_args *args, struct stream_setup *ret)
{
        const char *blocks = args->values['b'], *size = args->values['s'];
        const char *wait = args->values['w'];

        *ret = (struct stream_setup){
                .n_blocks = STREAM_BLOCKS_DEFAULT,
                .block_size = STREAM_BLOCK_SIZE_DEFAULT,
                .flags = args->values['c'] ? STREAM_CHECKSUM : 0,
                .mode = MODE_DEFAULT,
                .wait_usec = STREAM_WAIT_DEFAULT,
        };
        if (blocks && cli_parse_count(blocks, 1, STREAM_BLOCKS_MAX, &ret->n_blocks) < 0) {
                cli_complain("-b '%s' is no count of blocks: give 1 to %" PRIu64, blocks,
                             STREAM_BLOCKS_MAX);
                return CLI_USAGE;
        }
        if (pshm_mode(args, &ret->mode) != 0 || pshm_wait(wait, &ret->wait_usec) != 0 ||
            (size &&
             pshm_size(size, "the block size", 1, STREAM_BLOCK_SIZE_MAX, &ret->block_size) != 0))
                return CLI_USAGE;
        if (ret->n_blocks * ret->block_size > RING_SIZE_MAX) {
                cli_complain("%" PRIu64 " blocks of %" PRIu64
                             " bytes are too much: give up to %" PRIu64 " bytes in all",
                             ret->n_blocks, ret->block_size, RING_SIZE_MAX);
                return CLI_USAGE;
        }
        return 0;
}

static int fail_to_begin(const char *name, int error)
{
        uint32_t daemon;

        if (error == -EBUSY) {
                cli_complain("%s: another sender has it", name);
                return CLI_NO;
        }
        if (error == -EEXIST && pshm_served(name, &daemon)) {
                cli_complain("%s: it is a segment that process %" PRIu32
                             " serves: give the stream another name",
                             name, daemon);
                return CLI_NO;
        }
        if (error == -EEXIST) {
                cli_complain(
                        "%s: there is an object of that name, and it is no stream that we know "
                        "('pshm rm' removes it)",
                        name);
                return CLI_NO;
        }
        return pshm_fail("making the stream", name, error);
}

static enum stream_state state_of(int error)
{
        switch (error) {
        case 0:
                return STREAM_DONE;
        case INPUT_FAILED:
                return STREAM_INPUT_FAILED;
        case -ETIMEDOUT:
                return STREAM_ALONE;
        default:
                return STREAM_DAMAGED;
        }
}

int pshm_send(const struct cli *cli, const struct cli_args *args)
{
        char name[PSHM_NAME_SIZE];
        struct sender sender = {0};
        struct stream_setup setup;
        uint64_t total;
        int r;

        (void)cli;
        if (pshm_name(args->names[0], name) != 0 || read_setup(args, &setup) != 0)
                return CLI_USAGE;
        stream_guard(NULL);
        total = look_at_input(&sender.waits);
        r = stream_create(&sender.stream, name, &setup);
        if (r == 0) {
                stream_guard(&sender.stream);
                r = stream_publish(&sender.stream);
        }
        if (r < 0) {
                stream_unguard();
                stream_close(&sender.stream);
                return fail_to_begin(name, r);
        }
        sender.progress = progress_begin(args->values['q'] != NULL, total);
        r = send_all(&sender);
        stream_leave(&sender.stream, state_of(r));
        progress_end(&sender.progress);
        stream_unguard();
        if (r == INPUT_FAILED)
                r = CLI_OUTPUT; /* said already */
        else if (r != 0)
                r = stream_complain(&sender.stream, "receiver", r);
        stream_close(&sender.stream);
        return r;
}
