/* SPDX-License-Identifier: MIT */

/* What the daemon says; see log.h. */

#include "log.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>

static bool to_journal;

/*
 * $JOURNAL_STREAM is "device:inode" of the socket systemd connected our
 * standard error to; it is inherited by whoever redirects it elsewhere, so
 * compare (systemd.exec(5)).
 */
void log_open(void)
{
        const char *stream = getenv("JOURNAL_STREAM");
        uintmax_t device, inode;
        struct stat status;

        to_journal = stream && sscanf(stream, "%ju:%ju", &device, &inode) == 2 &&
                     fstat(STDERR_FILENO, &status) == 0 && status.st_dev == device &&
                     status.st_ino == inode;
}

void log_about(int priority, const char *sequence, const char *format, ...)
{
        char text[2048];
        va_list args;

        va_start(args, format);
        (void)vsnprintf(text, sizeof(text), format, args);
        va_end(args);

        if (!to_journal)
                (void)fprintf(stderr, "seqnumd: %s%s%s\n", sequence ? sequence : "",
                              sequence ? ": " : "", text);
        else if (sequence)
                (void)sd_journal_send("MESSAGE=%s: %s", sequence, text, "PRIORITY=%i", priority,
                                      "SEQNUM_SEQUENCE=%s", sequence, NULL);
        else
                (void)sd_journal_send("MESSAGE=%s", text, "PRIORITY=%i", priority, NULL);
}
