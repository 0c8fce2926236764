/* SPDX-License-Identifier: MIT */

/* What both sides of a stream say when it goes wrong. */

#include <errno.h>
#include <string.h>

#include "atomic.h"
#include "pshm-stream.h"

const char *stream_state_text(uint32_t state)
{
        switch (state) {
        case STREAM_INPUT_FAILED:
                return "its input failed";
        case STREAM_OUTPUT_FAILED:
                return "its output failed";
        case STREAM_INTERRUPTED:
                return "it was interrupted";
        case STREAM_DAMAGED:
                return "what it found in the object was not what was sent";
        case STREAM_ALONE:
                return "it had waited long enough";
        case STREAM_REFUSED:
                return "it wants a checksum (send -c)";
        default:
                return "it did not say why";
        }
}

int stream_complain(const struct stream *stream, const char *other, int error)
{
        switch (error) {
        case -EOWNERDEAD:
                cli_complain("%s: the %s died before the end", stream->name, other);
                return CLI_UNAVAILABLE;
        case -ECANCELED:
                cli_complain("%s: the %s gave up: %s", stream->name, other,
                             stream_state_text(see_u32(stream->peer_state)));
                return CLI_UNAVAILABLE;
        case -ETIMEDOUT:
                cli_complain("%s: no %s came in time (-w waits longer)", stream->name, other);
                return CLI_TRY_AGAIN;
        case -EBADMSG:
                cli_complain("%s: the object is damaged, or the %s is no pshm", stream->name,
                             other);
                return CLI_DATA;
        default:
                cli_complain("%s: %s", stream->name, strerror(-error));
                return CLI_SYSTEM;
        }
}
