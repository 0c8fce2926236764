/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * A daemon killed at each point at which its death can be told from another.
 *
 * What a daemon does is seen by others through two things: its system calls and its
 * stores to the segment. So it is traced (ptrace(2)), all threads of it, and each
 * system call's entry, each system call's return and each store to the segment is an
 * event, before which it can be killed. Stores are found by taking the right to write
 * from the daemon's mappings of the segment: each then faults, and is let pass by
 * itself, one instruction with the page made writable. (Another thread's store to the
 * same page in that instant is not seen; the doorbell's semaphore is all that two
 * threads write.)
 *
 * Events of different threads come in whatever order they come in.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "harness.h"

#define TRACE_THREADS_MAX 16

struct trace {
        struct instance *instance;
        pid_t threads[TRACE_THREADS_MAX]; /* the first is the process */
        size_t n_threads;
        uint64_t syscall_at; /* where it has a syscall instruction */
        bool counting;
        bool ended; /* it has exited by itself, with this wait status */
        int status;
        uint64_t calls, stores; /* events so far */
};

/* For main(): 0, or 77 and the reason why not. */
int trace_supported(void);

/* Trace the instance's daemon, which runs; it stands still until trace_run(). */
void trace_attach(struct trace *trace, struct instance *instance);

/*
 * Start a daemon that is traced from its first instruction. Events count from where
 * it has something open in its state directory.
 */
void trace_launch(struct trace *trace, struct instance *instance);

/*
 * Let it run up to just before its event number `limit`, and stop it there: false.
 * True: what it had to do was done before, by done(), which is asked now and then, and a
 * moment has passed since; or it has ended.
 */
bool trace_run(struct trace *trace, uint64_t limit, bool (*done)(void *userdata), void *userdata);

/* SIGKILL, wherever it stands. The instance has no daemon then. */
void trace_kill(struct trace *trace);
