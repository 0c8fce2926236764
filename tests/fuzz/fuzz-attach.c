/* SPDX-License-Identifier: MIT */

/*
 * A client and a segment of which any byte may be wrong, before it attaches and
 * while it draws. It may be refused, wait no longer than it was allowed to, or
 * get numbers that are none; it must not touch memory that is not its own, nor
 * end or hang.
 *
 * Input: a byte of flags, patches up to one that stops, a byte of flags, patches
 * that are made while handles are open.
 */

#include "fuzz.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "directory.h"
#include "handle.h"
#include "seqnum.h"

enum { ATTENDED = 1, READ_ONLY = 2, PATIENT = 4 };

/* As the daemon would: whoever looks takes the segment for one that is looked after. */
static void attend(int fd)
{
        struct flock lock = {
                .l_type = F_WRLCK,
                .l_whence = SEEK_SET,
                .l_start = SEGMENT_LOCK_DAEMON,
                .l_len = 1,
        };

        demand(fcntl(fd, F_OFD_SETLK, &lock) == 0);
}

/* What is left alone when it is not given is tested elsewhere; here only that all comes back. */
static void use(struct seqnum *seq)
{
        struct seqnum_time parts;
        struct seqnum_run run;
        int64_t value;

        (void)seqnum_peek(seq, &value);
        (void)seqnum_next(seq, &value);
        (void)seqnum_next_run(seq, 3, &run);
        (void)seqnum_next_run(seq, UINT32_MAX, &run);
        (void)seqnum_explain(seq, INT64_C(123456789012345), &parts);
        if (seqnum_begin(seq, &value) == 0 && seqnum_commit(seq) < 0)
                (void)seqnum_rollback(seq);
}

static int look(const struct mapping *mapping, const char *name, size_t length, uint32_t slot,
                void *userdata)
{
        uint64_t *sum = userdata;

        demand(slot < mapping->geometry.n_slots);
        for (size_t i = 0; i < length; i++)
                *sum += (unsigned char)name[i];
        return 0;
}

static void use_all(struct seqnum_client *client, const struct image *image, uint8_t *bytes,
                    struct input *input)
{
        struct seqnum *handles[IMAGE_SEQUENCES + 1] = {0};
        uint64_t sum = 0;

        for (size_t i = 0; i < IMAGE_SEQUENCES; i++)
                (void)seqnum_open(&handles[i], client, image->sequences[i].name);
        (void)seqnum_open(&handles[IMAGE_SEQUENCES], client, "nobody/made/it");
        for (int round = 0; round < 2; round++) {
                (void)directory_each(&client->mappings[0], look, &sum);
                for (size_t i = 0; i <= IMAGE_SEQUENCES; i++)
                        if (handles[i])
                                use(handles[i]);
                image_patch((struct image *)image, bytes, input);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct input input = {data, size};
        unsigned flags = (unsigned)input_take(&input, 1);
        struct image *image = image_get();
        struct seqnum_client *client;
        int fd = image_put(image, image_name());
        uint8_t *bytes =
                mmap(NULL, image->geometry.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

        demand(bytes != MAP_FAILED);
        if (flags & ATTENDED)
                attend(fd);
        image_patch(image, bytes, &input);
        if (seqnum_attach(&client, image_name(), flags & READ_ONLY ? SEQNUM_RDONLY : 0) == 0) {
                (void)seqnum_set_timeout(client, flags & PATIENT ? 20 : 0);
                use_all(client, image, bytes, &input);
                seqnum_detach(client);
        }
        munmap(bytes, image->geometry.size);
        (void)close(fd);
        (void)shm_unlink(image_name());
        return 0;
}
