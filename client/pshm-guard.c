/* SPDX-License-Identifier: MIT */

/*
 * Signals and a stream. What ends the process leaves the stream before it does, in
 * the handler: so it does not matter which call was interrupted, or whether one is
 * just about to block. What was ignored when we were started stays ignored.
 *
 * SIGBUS: somebody made the object shorter under our mapping. There is no way on,
 * but it is said, and the name is removed.
 */

#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "pshm-stream.h"

static const int deadly[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM};

/* Read by handlers in the same thread. */
static const struct stream *volatile guarded;

static void end_by_signal(int signal_number)
{
        if (guarded)
                stream_leave(guarded, STREAM_INTERRUPTED);
        /* SA_RESETHAND: the second time, when the handler returns, it is deadly. */
        (void)raise(signal_number);
}

static void end_by_cut(int signal_number)
{
        static const char message[] = "pshm: the stream's object was made shorter by somebody\n";

        (void)signal_number;
        if (guarded)
                (void)stream_remove(guarded); /* and no word: its header may be gone */
        (void)!write(STDERR_FILENO, message, sizeof(message) - 1);
        _exit(CLI_DATA);
}

void stream_guard(const struct stream *stream)
{
        struct sigaction action = {.sa_handler = end_by_signal, .sa_flags = (int)SA_RESETHAND};
        struct sigaction cut = {.sa_handler = end_by_cut};

        guarded = stream;
        (void)sigemptyset(&action.sa_mask);
        for (size_t i = 0; i < sizeof(deadly) / sizeof(deadly[0]); i++)
                (void)sigaddset(&action.sa_mask, deadly[i]);
        (void)sigemptyset(&cut.sa_mask);
        (void)sigaction(SIGBUS, &cut, NULL);
        for (size_t i = 0; i < sizeof(deadly) / sizeof(deadly[0]); i++) {
                struct sigaction before;

                if (sigaction(deadly[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
                        (void)sigaction(deadly[i], &action, NULL);
        }
}

void stream_unguard(void)
{
        guarded = NULL;
}
