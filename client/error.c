/* SPDX-License-Identifier: MIT */

/* Errors in words: one table, in the terms of seqnum.h. */

#include <errno.h>
#include <stddef.h>

#include "seqnum.h"

static const struct {
        int error;
        const char *text;
} errors[] = {
        {0, "success"},
        {ENXIO, "no service: the segment does not exist, seqnumd has not been started"},
        {EAGAIN, "the service is starting, or away for the moment: try again"},
        {EPROTONOSUPPORT, "the segment was made by another version of seqnumd"},
        {ENOEXEC, "the segment was made for another C library or word size"},
        {EBADMSG, "the segment is corrupt, or not a segment of seqnumd"},
        {EACCES, "not permitted: ask to be in the group that may draw"},
        {EPERM, "the segment is not to be believed: it belongs to somebody who is not the service, "
                "or everybody may write it"},
        {ENOENT, "no such sequence"},
        {EINVAL, "invalid argument"},
        {ETIMEDOUT,
         "nothing became available in time: is seqnumd running, or has another the turn?"},
        {EOVERFLOW, "the sequence has come to its end, or has fewer numbers left than asked for"},
        {ERANGE, "a round of the sequence, or a millisecond of its ids, has fewer than asked for"},
        {ECHILD, "the handle belongs to the parent process: attach anew after fork"},
        {EOPNOTSUPP, "the sequence is of another kind, which cannot do this"},
        {EBUSY, "the handle is in a transaction, or in use by another thread"},
        {ESTALE, "the turn was lost, nothing was committed: begin again"},
        {ENOTRECOVERABLE, "the sequence was moved or changed while a commit waited, and it cannot "
                          "be told whether the number counts as used up"},
        {ENOLCK, "no lock to be had that shows who is in a transaction"},
        {ENOSPC, "the service has no room for another sequence: max_sequences is reached"},
        {EREMOTEIO, "the service could not make the sequence: its log says why"},
        {EPROTO, "what listens at the service's socket does not answer as seqnumd does"},
        {EMSGSIZE, "what listens at the service's socket does not answer as seqnumd does: at too "
                   "great length"},
        {ENOMEM, "out of memory"},
        {EMFILE, "too many files open in this process"},
        {ENFILE, "too many files open in the system"},
};

const char *seqnum_strerror(int error)
{
        if (error < 0)
                error = -error;
        for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
                if (errors[i].error == error)
                        return errors[i].text;
        return "unexpected system error";
}
