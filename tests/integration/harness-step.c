/* SPDX-License-Identifier: MIT */

/* Clients killed after each single instruction; see harness-step.h. */

#include "harness-step.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#define RETURNS   3     /* so many victims in a row lived to see the call's end */
#define ALL_SCALE 10000 /* of scaled(1000): from here on each instruction */

/* --- the victim ---------------------------------------------------------- */

/* No assertion here: that it could not act shows soon enough. */
__attribute__((noreturn)) static void be_victim(const struct scene *scene)
{
        const struct scenario *scenario = scene->scenario;
        struct victim *victim = scene->victim;

        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
                _exit(2);
        if (seqnum_attach(&victim->client, scene->instance->shm, 0) < 0)
                _exit(3);
        if (*scenario->name && seqnum_open(&victim->seq, victim->client, scenario->name) < 0)
                _exit(4);
        (void)seqnum_set_timeout(victim->client, patience_usec(STEP_PATIENCE_USEC));
        if (scenario->prepare && scenario->prepare(victim) < 0)
                _exit(5);
        (void)kill(getpid(), SIGSTOP);
        victim->outcome = scenario->act(victim);
        (void)kill(getpid(), SIGSTOP);
        _exit(6);
}

/* Wait until the victim is stopped; the signal that stopped it. */
static int await_stop(pid_t pid)
{
        int status;

        if (waitpid(pid, &status, 0) != pid)
                fail_msg("waitpid %d: %s", (int)pid, strerror(errno));
        if (!WIFSTOPPED(status))
                fail_msg("the victim ended with wait status %#x", (unsigned)status);
        return WSTOPSIG(status);
}

/* Let it do `limit` steps. False: it was at the end before. */
static bool step(pid_t pid, bool by_calls, uint64_t *steps, uint64_t limit)
{
        int number;

        for (*steps = 0; *steps < limit; ++*steps) {
                if (ptrace(by_calls ? PTRACE_SYSCALL : PTRACE_SINGLESTEP, pid, NULL, NULL) < 0)
                        fail_msg("ptrace %d: %s", (int)pid, strerror(errno));
                number = await_stop(pid);
                if (number == SIGSTOP)
                        return false;
                if (number != SIGTRAP)
                        fail_msg("signal %d after %" PRIu64 " steps", number, *steps);
        }
        return true;
}

/* --- one after the other --------------------------------------------------- */

/* One more victim, killed after so many instructions or at the end. True: at the end. */
static bool sacrifice(struct scene *scene, uint64_t limit)
{
        uint64_t steps;
        bool through;
        pid_t pid;

        nap(0); /* reads what the daemon says */
        scene->kills++;
        *scene->victim = (struct victim){.number = STEP_NOT_GIVEN, .outcome = 1};
        if (scene->scenario->set)
                scene->scenario->set(scene);
        pid = instance_fork(scene->instance);
        if (pid == 0)
                be_victim(scene);
        if (await_stop(pid) != SIGSTOP)
                fail_msg("the victim did not stop by itself");
        (void)ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_EXITKILL);
        through = !step(pid, scene->scenario->by_calls, &steps, limit);
        (void)kill(pid, SIGKILL);
        instance_reap(scene->instance, pid);
        if (through && scene->victim->outcome != 0)
                fail_msg("the victim's call failed: %s", seqnum_strerror(scene->victim->outcome));
        if (through && steps > scene->steps)
                scene->steps = steps;
        scene->scenario->judge(scene);
        return through;
}

void step_note_wait(struct scene *scene, uint64_t since)
{
        uint64_t took = now_usec() - since;

        if (took > scene->longest_usec)
                scene->longest_usec = took;
        if (took > patience_usec(STEP_PATIENCE_USEC))
                fail_msg("waited for %" PRIu64 " us after a death", took);
}

void step_through(struct instance *instance, const struct scenario *scenario)
{
        unsigned stride = scaled(1000) >= ALL_SCALE ? 1 : scenario->stride;
        struct scene scene = {
                .instance = instance,
                .scenario = scenario,
                .victim = shared_memory(sizeof(struct victim)),
                .record = record_new(1, 1, 0),
                .expected = 1,
        };
        unsigned returns = 0;

        instance_configure(instance, "%s", scenario->ini);
        instance_start(instance);
        scene.client = instance_attach(instance);
        (void)seqnum_set_timeout(scene.client, patience_usec(STEP_PATIENCE_USEC));
        if (*scenario->name)
                scene.seq = instance_open(scene.client, scenario->name);
        for (uint64_t k = random_below(stride); returns < RETURNS; k += stride) {
                returns = sacrifice(&scene, k) ? returns + 1 : 0;
                progress("%s: killed after %" PRIu64 " %s", scenario->title, k,
                         scenario->by_calls ? "stops at system calls" : "instructions");
        }
        if (scenario->conclude)
                scenario->conclude(&scene);
        figures("call=%s %s=%" PRIu64 " every=%u kills=%" PRIu64 " numbers_lost=%" PRIu64
                " longest_wait_usec=%" PRIu64 " duplicates=0",
                scenario->title, scenario->by_calls ? "stops" : "instructions", scene.steps, stride,
                scene.kills, scene.lost, scene.longest_usec);
        seqnum_detach(scene.client);
        record_free(scene.record);
}

static bool may_trace(void)
{
        pid_t pid = fork();
        int status;

        if (pid == 0)
                _exit(ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0);
        return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) &&
               WEXITSTATUS(status) == 0;
}

int step_supported(void)
{
        if (sanitized())
                printf("a sanitizer's instructions and system calls are not the ones that are "
                       "shipped\n");
        else if (!may_trace())
                printf("processes may not be traced (ptrace) here\n");
        else
                return 0;
        return 77;
}
