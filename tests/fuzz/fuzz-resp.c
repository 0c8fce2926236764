/* SPDX-License-Identifier: MIT */

/*
 * Any bytes as a stream of requests: what is found lies within them, does not
 * depend on how much of the rest has arrived, and can be written back.
 */

#include "fuzz.h"

#include <errno.h>
#include <string.h>

#include "resp.h"

/* Of exactly its size, so that a sanitizer sees the first byte too many. */
static char *copy(const uint8_t *data, size_t size)
{
        char *bytes = malloc(size ? size : 1);

        demand(bytes);
        if (size > 0)
                memcpy(bytes, data, size);
        return bytes;
}

static void check_request(const struct resp_request *request, const char *bytes, size_t size)
{
        demand(request->n <= RESP_ARGS_MAX);
        for (size_t i = 0; i < request->n; i++) {
                const struct resp_argument *a = &request->arguments[i];

                demand(a->length <= RESP_BULK_MAX);
                demand(a->data >= bytes && a->data + a->length <= bytes + size);
        }
}

/* Part of a request is no request, and no error. */
static void check_prefix(const uint8_t *data, size_t size)
{
        static struct resp_request request;
        const char *reason = NULL;
        char *bytes = copy(data, size);
        size_t used = 0;

        demand(resp_parse(bytes, size, &request, &used, &reason) == 0);
        free(bytes);
}

static void answer(struct resp_writer *out, const struct resp_request *request)
{
        char word[16] = "";

        resp_array(out, request->n);
        for (size_t i = 0; i < request->n; i++)
                resp_bulk(out, request->arguments[i].data, request->arguments[i].length);
        if (request->n > 0)
                (void)snprintf(word, sizeof(word), "%.*s",
                               (int)(request->arguments[0].length < 15
                                             ? request->arguments[0].length
                                             : 15),
                               request->arguments[0].data);
        resp_error(out, "ERR", "unknown command '%s'", word);
        resp_integer(out, INT64_MIN);
        resp_map(out, 1);
        resp_null(out);
        demand(!out->failed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct resp_writer out = {.protocol = size % 2 ? 2 : 3};
        static struct resp_request request;
        size_t at = 0, used;
        int r = 1;

        while (at < size && r > 0) {
                const char *reason = NULL;
                char *bytes = copy(data + at, size - at);

                used = 0;
                r = resp_parse(bytes, size - at, &request, &used, &reason);
                demand(r == 0 || r == 1 || (r == -EPROTO && reason));
                if (r > 0) {
                        demand(used > 0 && used <= size - at && used <= RESP_REQUEST_MAX);
                        check_request(&request, bytes, used);
                        answer(&out, &request);
                        check_prefix(data + at, used - 1);
                        check_prefix(data + at, used / 2);
                        at += used;
                }
                free(bytes);
        }
        resp_writer_consume(&out, out.size / 2);
        resp_writer_clear(&out);
        return 0;
}
