/* SPDX-License-Identifier: MIT */

/* A daemon under ptrace(2); see harness-trace.h. */

#include "harness-trace.h"
#include "harness-step.h"

#include <stdio.h>

#ifndef __x86_64__

int trace_supported(void)
{
        printf("faults and registers are told apart for x86-64 alone\n");
        return 77;
}

void trace_attach(struct trace *trace, struct instance *instance)
{
        (void)trace;
        (void)instance;
}

void trace_launch(struct trace *trace, struct instance *instance)
{
        (void)trace;
        (void)instance;
}

bool trace_run(struct trace *trace, uint64_t limit, bool (*done)(void *userdata), void *userdata)
{
        (void)trace;
        (void)limit;
        (void)done;
        (void)userdata;
        return true;
}

void trace_kill(struct trace *trace)
{
        (void)trace;
}

#else

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define OPTIONS     (PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL)
#define PAGE        UINT64_C(4096)
#define SETTLE_USEC UINT64_C(3000) /* what comes so long after it was done still belongs to it */
#define STUCK_USEC  UINT64_C(20000000)

/* pthread_create(3) and the like may be busy for long under a tracer; then it naps. */
#define SPINS       200

int trace_supported(void)
{
        return step_supported();
}

static void must(long result, const char *what, pid_t thread)
{
        if (result < 0)
                fail_msg("%s of thread %d: %s", what, (int)thread, strerror(errno));
}

/* --- acting in its place --------------------------------------------------- */

/* One instruction, whatever it is. */
static void step(pid_t thread)
{
        int status;

        must(ptrace(PTRACE_SINGLESTEP, thread, NULL, NULL), "step", thread);
        must(waitpid(thread, &status, __WALL), "wait", thread);
        if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP)
                fail_msg("a step of thread %d ends with wait status %#x", (int)thread,
                         (unsigned)status);
}

/* Have the thread call mprotect(2), and forget that it did. */
static void protect(const struct trace *trace, pid_t thread, uint64_t address, uint64_t size,
                    int protection)
{
        struct user_regs_struct before, registers;

        must(ptrace(PTRACE_GETREGS, thread, NULL, &before), "registers", thread);
        registers = before;
        registers.rax = SYS_mprotect;
        registers.orig_rax = UINT64_MAX; /* in no system call: none to be made again */
        registers.rdi = address;
        registers.rsi = size;
        registers.rdx = (unsigned long long)protection;
        registers.rip = trace->syscall_at;
        must(ptrace(PTRACE_SETREGS, thread, NULL, &registers), "registers", thread);
        step(thread);
        must(ptrace(PTRACE_GETREGS, thread, NULL, &registers), "registers", thread);
        if (registers.rax != 0)
                fail_msg("mprotect in the daemon: %lld", (long long)registers.rax);
        must(ptrace(PTRACE_SETREGS, thread, NULL, &before), "registers", thread);
}

/* --- the segment in its memory ---------------------------------------------- */

/* Call each() for the mappings of segments: shared memory that is not SQLite's. */
static void each_mapping(const struct trace *trace,
                         bool (*each)(const struct trace *trace, uint64_t start, uint64_t end,
                                      uint64_t *userdata),
                         uint64_t *userdata)
{
        char path[64], line[512], rights[8];
        uint64_t start, end;
        FILE *file;

        (void)snprintf(path, sizeof(path), "/proc/%d/maps", (int)trace->threads[0]);
        file = fopen(path, "re");
        assert_non_null(file);
        while (fgets(line, sizeof(line), file))
                if (strstr(line, " /dev/shm/") && !strstr(line, "seqnumd.db") &&
                    sscanf(line, "%" SCNx64 "-%" SCNx64 " %7s", &start, &end, rights) == 3 &&
                    rights[3] == 's' && !each(trace, start, end, userdata))
                        break;
        (void)fclose(file);
}

static bool guard(const struct trace *trace, uint64_t start, uint64_t end, uint64_t *userdata)
{
        ++*userdata;
        protect(trace, trace->threads[0], start, end - start, PROT_READ);
        return true;
}

static bool holds(const struct trace *trace, uint64_t start, uint64_t end, uint64_t *userdata)
{
        (void)trace;
        if (*userdata < start || *userdata >= end)
                return true;
        *userdata = 0;
        return false;
}

static bool in_segment(const struct trace *trace, uint64_t address)
{
        each_mapping(trace, holds, &address);
        return address == 0;
}

/* Does the descriptor lead to where segments are? */
static bool is_segment(const struct trace *trace, int fd)
{
        char path[64], target[512];
        ssize_t n;

        (void)snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)trace->threads[0], fd);
        n = readlink(path, target, sizeof(target) - 1);
        if (n < 0)
                return false;
        target[n] = '\0';
        return strncmp(target, "/dev/shm/", 9) == 0 && !strstr(target, "seqnumd.db");
}

/* A new mapping of a segment comes into being without the right to write. */
static void guard_new(const struct trace *trace, pid_t thread,
                      const struct __ptrace_syscall_info *info)
{
        struct user_regs_struct registers;

        if (info->op != PTRACE_SYSCALL_INFO_ENTRY || info->entry.nr != SYS_mmap ||
            !(info->entry.args[3] & MAP_SHARED) || !(info->entry.args[2] & PROT_WRITE) ||
            !is_segment(trace, (int)info->entry.args[4]))
                return;
        must(ptrace(PTRACE_GETREGS, thread, NULL, &registers), "registers", thread);
        registers.rdx = PROT_READ;
        must(ptrace(PTRACE_SETREGS, thread, NULL, &registers), "registers", thread);
}

/* Let the one instruction pass that wants to write at `address`. */
static void let_store(const struct trace *trace, pid_t thread, uint64_t address)
{
        uint64_t page = address & ~(PAGE - 1);
        uint64_t size = in_segment(trace, page + PAGE) ? 2 * PAGE : PAGE;

        protect(trace, thread, page, size, PROT_READ | PROT_WRITE);
        step(thread);
        protect(trace, thread, page, size, PROT_READ);
}

/* --- events ------------------------------------------------------------------ */

static void resume(pid_t thread, int number)
{
        if (ptrace(PTRACE_SYSCALL, thread, NULL, (void *)(intptr_t)number) < 0 && errno != ESRCH)
                fail_msg("ptrace thread %d: %s", (int)thread, strerror(errno));
}

static void add_thread(struct trace *trace, pid_t thread)
{
        assert_true(trace->n_threads < TRACE_THREADS_MAX);
        trace->threads[trace->n_threads++] = thread;
}

/* Something is open in the state directory: from here on it is the daemon at work. */
static bool at_work(const struct trace *trace)
{
        char directory[64], path[400], target[512];
        size_t length = strlen(trace->instance->state);
        struct dirent *entry;
        bool found = false;
        DIR *dir;
        ssize_t n;

        (void)snprintf(directory, sizeof(directory), "/proc/%d/fd", (int)trace->threads[0]);
        dir = opendir(directory);
        assert_non_null(dir);
        while (!found && (entry = readdir(dir))) {
                (void)snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name);
                n = readlink(path, target, sizeof(target) - 1);
                found = n >= (ssize_t)length && memcmp(target, trace->instance->state, length) == 0;
        }
        (void)closedir(dir);
        return found;
}

/* True: this is the event to stop at. */
static bool count(struct trace *trace, uint64_t *events, uint64_t limit)
{
        if (!trace->counting)
                trace->counting = at_work(trace);
        if (!trace->counting)
                return false;
        if (trace->calls + trace->stores + 1 == limit)
                return true;
        ++*events;
        return false;
}

static bool at_call(struct trace *trace, pid_t thread, uint64_t limit)
{
        struct __ptrace_syscall_info info;

        must(ptrace(PTRACE_GET_SYSCALL_INFO, thread, (void *)sizeof(info), &info), "call", thread);
        trace->syscall_at = info.instruction_pointer - 2;
        guard_new(trace, thread, &info);
        if (count(trace, &trace->calls, limit))
                return true;
        resume(thread, 0);
        return false;
}

static bool at_fault(struct trace *trace, pid_t thread, uint64_t limit)
{
        siginfo_t info;
        uint64_t address;

        must(ptrace(PTRACE_GETSIGINFO, thread, NULL, &info), "signal", thread);
        address = (uint64_t)(uintptr_t)info.si_addr;
        if (!in_segment(trace, address))
                fail_msg("the daemon crashed, at address %#" PRIx64, address);
        if (count(trace, &trace->stores, limit))
                return true;
        let_store(trace, thread, address);
        resume(thread, 0);
        return false;
}

/* A thread has stopped. True: this is the event to stop at. */
static bool at_stop(struct trace *trace, pid_t thread, int status, uint64_t limit)
{
        int number = WSTOPSIG(status);
        unsigned long message;

        if (status >> 16 == PTRACE_EVENT_CLONE) {
                must(ptrace(PTRACE_GETEVENTMSG, thread, NULL, &message), "clone", thread);
                add_thread(trace, (pid_t)message);
        }
        if (number == (SIGTRAP | 0x80))
                return at_call(trace, thread, limit);
        if (number == SIGSEGV)
                return at_fault(trace, thread, limit);
        resume(thread, status >> 16 || number == SIGTRAP ? 0 : number);
        return false;
}

static void at_end(struct trace *trace, size_t i, int status)
{
        if (i == 0) {
                trace->ended = true;
                trace->status = status;
                trace->instance->pid = 0;
        }
        trace->threads[i] = trace->threads[--trace->n_threads];
}

/* Look after all threads once. 1: stopped where it should be; 0; -1: nothing happened. */
static int look(struct trace *trace, uint64_t limit)
{
        int result = -1, status;

        for (size_t i = trace->n_threads; i-- > 0;) {
                pid_t thread = trace->threads[i];

                if (waitpid(thread, &status, __WALL | WNOHANG) != thread)
                        continue;
                result = 0;
                if (!WIFSTOPPED(status))
                        at_end(trace, i, status);
                else if (at_stop(trace, thread, status, limit))
                        return 1;
        }
        return result;
}

bool trace_run(struct trace *trace, uint64_t limit, bool (*done)(void *userdata), void *userdata)
{
        uint64_t deadline = now_usec() + patience_usec(STUCK_USEC), done_at = 0, now;
        unsigned idle = 0, busy = 0;
        int r;

        while (!trace->ended) {
                r = look(trace, limit);
                if (r > 0)
                        return false;
                idle = r == 0 ? 0 : idle + 1;
                if (idle > SPINS)
                        nap(20);
                else if (busy++ % SPINS != 0)
                        continue;
                now = now_usec();
                if (!done_at && done(userdata))
                        done_at = now;
                if (done_at && now - done_at > SETTLE_USEC)
                        return true;
                if (now > deadline)
                        fail_msg("the daemon does not come to an end under the tracer");
        }
        return true;
}

/* --- begin and end ------------------------------------------------------------- */

static void seize(struct trace *trace, pid_t thread)
{
        must(ptrace(PTRACE_SEIZE, thread, NULL, OPTIONS), "seize", thread);
        add_thread(trace, thread);
}

static void seize_all(struct trace *trace, pid_t process)
{
        char path[64];
        struct dirent *entry;
        DIR *dir;

        seize(trace, process);
        (void)snprintf(path, sizeof(path), "/proc/%d/task", (int)process);
        dir = opendir(path);
        assert_non_null(dir);
        while ((entry = readdir(dir)))
                if (entry->d_name[0] != '.' && atoi(entry->d_name) != process)
                        seize(trace, (pid_t)atoi(entry->d_name));
        (void)closedir(dir);
}

/* Some thread waits in a system call: just behind it it stands. */
static void find_syscall(struct trace *trace)
{
        struct user_regs_struct registers;
        long code;

        for (size_t i = 0; i < trace->n_threads; i++) {
                pid_t thread = trace->threads[i];

                must(ptrace(PTRACE_GETREGS, thread, NULL, &registers), "registers", thread);
                errno = 0;
                code = ptrace(PTRACE_PEEKTEXT, thread, (void *)(uintptr_t)(registers.rip - 2), 0);
                trace->syscall_at = registers.rip - 2;
                if (!errno && (code & 0xffff) == 0x050f)
                        return;
        }
        fail_msg("no thread of the daemon waits in a system call");
}

void trace_attach(struct trace *trace, struct instance *instance)
{
        uint64_t n_guarded = 0;
        int status;

        *trace = (struct trace){.instance = instance, .counting = true};
        seize_all(trace, instance->pid);
        for (size_t i = 0; i < trace->n_threads; i++) {
                pid_t thread = trace->threads[i];

                must(ptrace(PTRACE_INTERRUPT, thread, NULL, NULL), "interrupt", thread);
                must(waitpid(thread, &status, __WALL), "wait", thread);
        }
        find_syscall(trace);
        each_mapping(trace, guard, &n_guarded);
        assert_true(n_guarded > 0);
        for (size_t i = 0; i < trace->n_threads; i++)
                resume(trace->threads[i], 0);
}

void trace_launch(struct trace *trace, struct instance *instance)
{
        int status;

        *trace = (struct trace){.instance = instance};
        instance->halted = true;
        instance_launch(instance);
        instance->halted = false;
        must(waitpid(instance->pid, &status, WUNTRACED), "wait", instance->pid);
        assert_true(WIFSTOPPED(status));
        seize(trace, instance->pid);
        must(waitpid(instance->pid, &status, __WALL), "wait", instance->pid);
        assert_int_equal(kill(instance->pid, SIGCONT), 0);
        resume(instance->pid, 0);
}

void trace_kill(struct trace *trace)
{
        if (trace->ended)
                return;
        assert_int_equal(kill(trace->threads[0], SIGKILL), 0);
        while (trace->n_threads > 0) { /* the process is the last to go */
                size_t i = trace->n_threads - 1;
                int status;

                must(waitpid(trace->threads[i], &status, __WALL), "wait", trace->threads[i]);
                if (!WIFSTOPPED(status))
                        trace->n_threads--;
        }
        trace->instance->pid = 0;
}

#endif
