/* SPDX-License-Identifier: MIT */

/*
 * The verb that holds a number of a gapless sequence while a command runs: its
 * success uses the number up, its failure gives it back.
 *
 * We wait for the command whatever signal arrives, and pass it on: only how the
 * command ends decides. If we are killed the kernel ends the turn, since what
 * says that we live is a lock on a descriptor that the command does not have.
 */

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli.h"

const struct cli_option cli_hold_options[] = {
        CLI_OPTION_HELP,
        {0},
};

/* Passed on. Besides, SIGCHLD is waited for. */
static const int passed_on[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};

/* --- the command ------------------------------------------------------------ */

struct command {
        char **words;
        pid_t pid;
        sigset_t before, awaited; /* signals that were blocked; that we wait for */
};

/*
 * From here on signals wait until command_await() takes them. An ignored SIGCHLD
 * would let the command's outcome get lost.
 */
static void signals_hold_back(struct command *command)
{
        sigemptyset(&command->awaited);
        sigaddset(&command->awaited, SIGCHLD);
        for (size_t i = 0; i < sizeof(passed_on) / sizeof(passed_on[0]); i++)
                sigaddset(&command->awaited, passed_on[i]);
        (void)signal(SIGCHLD, SIG_DFL);
        sigprocmask(SIG_BLOCK, &command->awaited, &command->before);
}

/* The command gets the signals as we got them. 0 or an errno, as posix_spawn(3). */
static int command_spawn(const struct cli *cli, struct command *command)
{
        posix_spawnattr_t attributes;
        sigset_t defaults;
        int r;

        sigemptyset(&defaults);
        if (!cli->sigpipe_ignored)
                sigaddset(&defaults, SIGPIPE);
        r = posix_spawnattr_init(&attributes);
        if (r != 0)
                return r;
        posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
        posix_spawnattr_setsigmask(&attributes, &command->before);
        posix_spawnattr_setsigdefault(&attributes, &defaults);
        r = posix_spawnp(&command->pid, command->words[0], NULL, &attributes, command->words,
                         environ);
        posix_spawnattr_destroy(&attributes);
        return r;
}

/*
 * Pass a signal on, but for what the terminal's keys sent: that went to all of
 * its foreground processes, the command among them.
 */
static void pass_on(const struct command *command, const siginfo_t *signal)
{
        bool key = signal->si_code == SI_KERNEL &&
                   (signal->si_signo == SIGINT || signal->si_signo == SIGQUIT);

        if (!key || getpgid(command->pid) != getpgrp())
                (void)kill(command->pid, signal->si_signo);
}

/* The command's exit status, as a shell has it. */
static int command_await(const struct command *command)
{
        siginfo_t signal;
        int status;
        pid_t pid;

        for (;;) {
                pid = waitpid(command->pid, &status, WNOHANG);
                if (pid < 0 && errno != EINTR)
                        return CLI_SYSTEM;
                if (pid == command->pid)
                        return WIFEXITED(status) ? WEXITSTATUS(status)
                                                 : CLI_SIGNAL + WTERMSIG(status);
                if (sigwaitinfo(&command->awaited, &signal) > 0 && signal.si_signo != SIGCHLD)
                        pass_on(command, &signal);
        }
}

static int command_run(const struct cli *cli, char **words, int64_t number)
{
        struct command command = {.words = words};
        char text[24];
        int r;

        (void)snprintf(text, sizeof(text), "%" PRId64, number);
        if (setenv("SEQNUM", text, 1) < 0)
                return cli_fail("running", words[0], -errno);
        (void)fflush(stdout);
        signals_hold_back(&command);
        r = command_spawn(cli, &command);
        if (r == 0)
                return command_await(&command);
        cli_complain("running %s: %s; number %" PRId64 " is given back", words[0], strerror(r),
                     number);
        return r == ENOENT ? CLI_NOT_FOUND : CLI_NOT_EXECUTABLE;
}

/* --- the number --------------------------------------------------------------- */

/* The command succeeded, and yet the number is not used up. */
static int complain_of_loss(const char *name, int64_t number, int error)
{
        const char *reason = seqnum_strerror(error);
        int status = cli_exit_status(error);

        if (error == -ESTALE)
                reason = "the turn was lost while the command ran (hold_limit, or the sequence was "
                         "changed)";
        else if (error == -ENOENT)
                reason = "the sequence was dropped while the command ran";
        else if (error == -EAGAIN)
                reason = "seqnumd was away, or just changing the sequence";
        cli_complain("number %" PRId64 " of %s is not used up, although the command succeeded: %s; "
                     "undo what was done with it, it may become somebody else's",
                     number, name, reason);
        return error == -EAGAIN ? CLI_TRY_AGAIN : status;
}

static int complain_of_unknown(const char *name, int64_t number, int error)
{
        cli_complain("number %" PRId64 " of %s: it cannot be told whether it is used up: "
                     "%s; 'seqnum info %s' shows where it is now",
                     number, name, seqnum_strerror(error), name);
        return CLI_UNAVAILABLE;
}

/* After the command's success. 0, or the exit status after saying what became of the number. */
static int commit(struct seqnum *seq, const char *name, int64_t number)
{
        int r = seqnum_commit(seq);

        switch (-r) {
        case 0:
                return CLI_OK;
        case ETIMEDOUT:
                cli_complain("number %" PRId64 " of %s is used up, but seqnumd did not confirm in "
                             "time that it is on the disk: only if the machine lost its power now "
                             "would it be issued again",
                             number, name);
                return CLI_UNAVAILABLE;
        case ENOTRECOVERABLE:
                return complain_of_unknown(name, number, r);
        default:
                /* Too late to give it back: the store was still to be waited for. */
                return seqnum_rollback(seq) == -EBUSY ? complain_of_unknown(name, number, r)
                                                      : complain_of_loss(name, number, r);
        }
}

/* The words of the command, NULL after saying what is missing. */
static char **command_of(const struct cli_args *args)
{
        char **words = args->names + 1;

        if (args->n_leading == 0 && strcmp(words[0], "--") == 0)
                words++; /* the name stood behind a "--" of its own */
        else if (args->n_leading != 1)
                words = NULL;
        if (words && *words && **words)
                return words;
        cli_complain("hold: put NAME, then --, then the command: see 'seqnum hold --help'");
        return NULL;
}

int cli_hold(const struct cli *cli, const struct cli_args *args)
{
        const char *name = args->names[0];
        char **words = command_of(args);
        struct seqnum_client *client;
        struct seqnum *seq;
        int64_t number;
        int r;

        if (!words)
                return CLI_USAGE;
        r = cli_open(cli, 0, name, &client, &seq);
        if (r != 0)
                return r;
        r = seqnum_begin(seq, &number);
        if (r == -EOPNOTSUPP) {
                cli_complain("holding a number of %s: it is of kind %s: only numbers of kind "
                             "gapless can be held",
                             name, sequence_kind_name(snapshot_take(seq).kind));
                r = CLI_NO;
        } else if (r < 0) {
                r = cli_fail_draw("holding a number of", name, seq, 1, r);
        } else {
                r = command_run(cli, words, number);
                if (r == CLI_OK)
                        r = commit(seq, name, number);
                else
                        (void)seqnum_rollback(seq); /* a turn lost is given back as well */
        }
        seqnum_detach(client);
        return r;
}
