/* SPDX-License-Identifier: MIT */

/* What it takes before the first number: to find, check and map the segment, and open a name. */

#include "bench.h"
#include "seqnum.h"

#define GROUP "attach"

static int attach(struct worker *worker, unsigned batch)
{
        struct seqnum_client *client;
        struct seqnum *seq;
        int r = 0;

        for (unsigned i = 0; i < batch && r == 0; i++) {
                r = seqnum_attach(&client, NULL, 0);
                if (r < 0)
                        break;
                r = seqnum_open(&seq, client, "bench");
                if (r == 0)
                        r = seqnum_next(seq, &worker->number);
                seqnum_detach(client);
        }
        return r < 0 ? r : (int)batch;
}

static int reopen(struct worker *worker, unsigned batch)
{
        struct seqnum_client *client;
        struct seqnum *seq;
        int r;

        r = seqnum_attach(&client, NULL, 0);
        for (unsigned i = 0; i < batch && r == 0; i++) {
                r = seqnum_open(&seq, client, "bench");
                if (r == 0)
                        r = seqnum_next(seq, &worker->number);
                if (r == 0)
                        seqnum_close(seq);
        }
        if (r == 0)
                seqnum_detach(client);
        return r < 0 ? r : (int)batch;
}

const struct subject attach_subjects[] = {
        {GROUP, "attach, open, draw, detach", NULL, 1, .work = attach, .batch = 4},
        {GROUP, "open, draw, close", NULL, 1, .work = reopen, .batch = 4096},
        {0},
};
