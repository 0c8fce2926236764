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
        {EAGAIN, "the service is starting: its segment is being made, try again"},
        {EPROTONOSUPPORT, "the segment was made by another version of seqnumd"},
        {ENOEXEC, "the segment was made for another C library or word size"},
        {EBADMSG, "the segment is corrupt, or not a segment of seqnumd"},
        {EACCES, "not permitted: ask to be in the group that may draw"},
        {EPERM, "the segment belongs to somebody who is not the service"},
        {ENOENT, "no such sequence"},
        {EINVAL, "invalid argument"},
        {ETIMEDOUT, "no number became available in time: is seqnumd running?"},
        {EOVERFLOW, "the sequence has come to its end"},
        {ERANGE, "the sequence has fewer numbers in a round than asked for"},
        {ECHILD, "the handle belongs to the parent process: attach anew after fork"},
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
