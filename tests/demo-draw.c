/* SPDX-License-Identifier: MIT */

/* demo-draw SEQUENCE COUNT: draw so many numbers, singly, and print them. */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "seqnum.h"

static int draw(const char *name, unsigned long count)
{
        struct seqnum_client *client = NULL;
        struct seqnum *sequence;
        int64_t number;
        int r;

        r = seqnum_attach(&client, NULL, 0);
        if (r >= 0)
                r = seqnum_open(&sequence, client, name);
        for (unsigned long i = 0; i < count && r >= 0; i++) {
                r = seqnum_next(sequence, &number);
                if (r >= 0)
                        printf("%" PRId64 "\n", number);
        }
        seqnum_detach(client);
        return r;
}

int main(int argc, char **argv)
{
        int r;

        if (argc != 3) {
                (void)fprintf(stderr, "usage: demo-draw SEQUENCE COUNT\n");
                return 2;
        }
        r = draw(argv[1], strtoul(argv[2], NULL, 10));
        if (r < 0)
                (void)fprintf(stderr, "demo-draw: %s: %s\n", argv[1], seqnum_strerror(r));
        return r < 0;
}
