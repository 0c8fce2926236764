/* SPDX-License-Identifier: MIT */

/*
 * Gapless sequences: what was committed is 1..N, whoever dies holding a number,
 * whoever changes his mind, and whatever becomes of the daemon, the segment and
 * the machine meanwhile. And who waits for the turn gets it soon after its
 * holder died, whatever he leaves behind: children, another PID namespace.
 */

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

#define WORKERS      16
#define TRANSACTIONS 4000 /* in a round, which ends with a reboot */
#define ROUNDS       2
#define NUMBERS_MAX  65536
#define TIMEOUT_USEC UINT64_C(20000000)

/* --- who commits, rolls back and dies ------------------------------------------- */

struct worker {
        _Atomic(int64_t) committing; /* the number that a commit is at work on, 0: none */
        char complaint[256];
};

struct ledger {
        _Atomic(uint32_t) committed[NUMBERS_MAX]; /* how often a number was */
        _Atomic(bool) doubtful[NUMBERS_MAX];      /* killed before we heard of its commit */
        _Atomic(uint64_t) n_committed, n_rolled_back, n_begun;
        _Atomic(bool) stop;
        struct worker workers[WORKERS];
};

__attribute__((format(printf, 2, 3), noreturn)) static void complain(struct worker *worker,
                                                                     const char *format, ...)
{
        va_list arguments;

        va_start(arguments, format);
        (void)vsnprintf(worker->complaint, sizeof(worker->complaint), format, arguments);
        va_end(arguments);
        _exit(1);
}

/* The daemon may be away for a while: what is still held may be committed again. */
static int commit_patiently(struct seqnum *seq)
{
        int r;

        do
                r = seqnum_commit(seq);
        while (r == -EAGAIN || r == -ETIMEDOUT);
        return r;
}

static void work_once(struct ledger *ledger, struct worker *worker, struct seqnum *seq)
{
        uint64_t dice = random_below(5);
        int64_t number = 0;
        int r;

        r = seqnum_begin(seq, &number);
        if (r < 0)
                complain(worker, "begin: %s", seqnum_strerror(r));
        if (number < 1 || number >= NUMBERS_MAX)
                complain(worker, "%" PRId64 " is none of the numbers", number);
        atomic_fetch_add(&ledger->n_begun, 1);
        if (dice == 0)
                (void)raise(SIGKILL);
        if (dice == 1) {
                r = seqnum_rollback(seq);
                if (r < 0)
                        complain(worker, "rollback: %s", seqnum_strerror(r));
                atomic_fetch_add(&ledger->n_rolled_back, 1);
                return;
        }
        atomic_store(&worker->committing, number);
        r = commit_patiently(seq);
        if (r < 0)
                complain(worker, "commit of %" PRId64 ": %s", number, seqnum_strerror(r));
        if (atomic_fetch_add(&ledger->committed[number], 1) != 0)
                complain(worker, "DUPLICATE: %" PRId64, number);
        atomic_store(&worker->committing, 0);
        atomic_fetch_add(&ledger->n_committed, 1);
}

__attribute__((noreturn)) static void work(const struct instance *instance, struct ledger *ledger,
                                           struct worker *worker)
{
        uint64_t deadline = now_usec() + patience_usec(TIMEOUT_USEC);
        struct seqnum_client *client;
        struct seqnum *seq;
        int r;

        while ((r = seqnum_attach(&client, instance->shm, 0)) < 0) {
                if ((r != -ENXIO && r != -EAGAIN) || now_usec() > deadline)
                        complain(worker, "attach: %s", seqnum_strerror(r));
                nap(1000);
        }
        (void)seqnum_set_timeout(client, patience_usec(TIMEOUT_USEC));
        r = seqnum_open(&seq, client, "invoices");
        if (r < 0)
                complain(worker, "open: %s", seqnum_strerror(r));
        while (!atomic_load(&ledger->stop))
                work_once(ledger, worker, seq);
        _exit(0);
}

/* --- those who see to it that there are enough of them -------------------------- */

struct shift {
        struct instance *instance;
        struct ledger *ledger;
        pid_t pids[WORKERS];
        uint64_t killed; /* by their own hand, holding a number, or by ours */
};

static void shift_check(const struct shift *shift)
{
        for (size_t i = 0; i < WORKERS; i++)
                if (shift->ledger->workers[i].complaint[0])
                        fail_msg("worker %zu: %s", i, shift->ledger->workers[i].complaint);
}

static void shift_start(struct shift *shift, size_t i)
{
        shift->pids[i] = instance_fork(shift->instance);
        if (shift->pids[i] == 0)
                work(shift->instance, shift->ledger, &shift->ledger->workers[i]);
}

/* Whether the number it was committing was used up, nobody has heard. */
static void shift_bury(struct shift *shift, size_t i)
{
        int64_t number;

        instance_reap(shift->instance, shift->pids[i]);
        shift->pids[i] = 0;
        shift->killed++;
        number = atomic_exchange(&shift->ledger->workers[i].committing, 0);
        if (number > 0)
                atomic_store(&shift->ledger->doubtful[number], true);
}

/* Replace the dead; seldom, kill one of the living too, whatever it does. */
static void shift_tend(struct shift *shift)
{
        if (random_below(100) == 0)
                (void)kill(shift->pids[random_below(WORKERS)], SIGKILL);
        for (size_t i = 0; i < WORKERS; i++) {
                siginfo_t dead = {0};

                if (waitid(P_PID, (id_t)shift->pids[i], &dead, WEXITED | WNOHANG | WNOWAIT) < 0 ||
                    dead.si_pid == 0)
                        continue;
                shift_check(shift);
                assert_int_equal(dead.si_code, CLD_KILLED);
                shift_bury(shift, i);
                shift_start(shift, i);
        }
}

static void shift_end(struct shift *shift)
{
        for (size_t i = 0; i < WORKERS; i++)
                (void)kill(shift->pids[i], SIGKILL);
        for (size_t i = 0; i < WORKERS; i++)
                shift_bury(shift, i);
        shift_check(shift);
}

/*
 * The numbers below `next` were committed once each, or it is not known and they
 * may have been; none from there on was.
 */
static uint64_t check_ledger(const struct ledger *ledger, int64_t next)
{
        uint64_t unheard = 0;

        for (int64_t i = 1; i < NUMBERS_MAX; i++) {
                uint32_t n = atomic_load(&ledger->committed[i]);

                if (n > 1)
                        fail_msg("%" PRId64 " was committed %" PRIu32 " times", i, n);
                if (n == 1 && i >= next)
                        fail_msg("%" PRId64 " was committed, but %" PRId64 " comes next", i, next);
                if (n == 0 && i < next && !atomic_load(&ledger->doubtful[i]))
                        fail_msg("a gap: nobody committed %" PRId64, i);
                unheard += n == 0 && i < next;
        }
        return unheard;
}

static void work_through(struct shift *shift, uint64_t goal, uint64_t *restarts)
{
        uint64_t next_crash = now_usec() + 50000;

        for (size_t i = 0; i < WORKERS; i++)
                shift_start(shift, i);
        while (atomic_load(&shift->ledger->n_begun) < goal) {
                shift_tend(shift);
                if (now_usec() > next_crash) {
                        instance_kill(shift->instance);
                        nap(random_below(20000));
                        shift_tend(shift);
                        instance_start(shift->instance);
                        ++*restarts;
                        next_crash = now_usec() + 30000 + random_below(150000);
                }
                nap(1000);
        }
}

static void deaths_leave_no_gap(struct instance *instance)
{
        struct shift shift = {
                .instance = instance,
                .ledger = shared_memory(sizeof(struct ledger)),
        };
        uint64_t restarts = 0, unheard = 0, round = 1 + scaled(TRANSACTIONS);
        int64_t next = 0;

        instance_configure(instance, "[sequence invoices]\nkind = gapless\n");
        instance_start(instance);
        for (uint64_t i = 1; i <= ROUNDS; i++) {
                work_through(&shift, i * round, &restarts);
                shift_end(&shift);
                instance_kill(instance);
                instance_unlink(instance); /* as a reboot does */
                instance_start(instance);
                next = instance_peek(instance, "invoices");
                unheard = check_ledger(shift.ledger, next);
        }
        assert_true(atomic_load(&shift.ledger->n_committed) > 0);
        figures("committed=%" PRId64 " unheard=%" PRIu64 " rolled_back=%" PRIu64
                " processes_killed=%" PRIu64 " daemons_killed=%" PRIu64 " reboots=%d gaps=0",
                next - 1, unheard, atomic_load(&shift.ledger->n_rolled_back), shift.killed,
                restarts, ROUNDS);
}

/* --- the turn of one who died ------------------------------------------------------ */

struct holder {
        _Atomic(int64_t) number; /* held, or a negative errno */
        _Atomic(int) wish;       /* 1: commit */
        _Atomic(int) outcome;    /* of that; 1: not yet */
        _Atomic(uint64_t) died;  /* usec */
        _Atomic(pid_t) heir;     /* a child that outlives it */
};

static struct holder *holder_new(void)
{
        struct holder *holder = shared_memory(sizeof(*holder));

        atomic_store(&holder->outcome, 1);
        return holder;
}

static void hold(const struct instance *instance, struct holder *holder, struct seqnum **ret)
{
        struct seqnum_client *client;
        int64_t number = 0;
        int r;

        r = seqnum_attach(&client, instance->shm, 0);
        if (r >= 0)
                r = seqnum_open(ret, client, "invoices");
        if (r >= 0)
                r = seqnum_begin(*ret, &number);
        atomic_store(&holder->number, r < 0 ? r : number);
}

/* Hold the number until told to commit it, or killed. */
__attribute__((noreturn)) static void holder_main(const struct instance *instance,
                                                  struct holder *holder)
{
        struct seqnum *seq = NULL;

        hold(instance, holder, &seq);
        while (atomic_load(&holder->wish) == 0)
                nap(500);
        atomic_store(&holder->outcome, seqnum_commit(seq));
        for (;;)
                pause();
}

static int64_t holder_await(struct holder *holder)
{
        uint64_t end = now_usec() + patience_usec(TIMEOUT_USEC);

        while (atomic_load(&holder->number) == 0) {
                assert_true(now_usec() < end);
                nap(200);
        }
        return atomic_load(&holder->number);
}

static int holder_commit(struct holder *holder)
{
        uint64_t end = now_usec() + patience_usec(TIMEOUT_USEC);

        atomic_store(&holder->wish, 1);
        while (atomic_load(&holder->outcome) == 1) {
                assert_true(now_usec() < end);
                nap(200);
        }
        return atomic_load(&holder->outcome);
}

static pid_t holder_start(struct instance *instance, struct holder *holder)
{
        pid_t pid = instance_fork(instance);

        if (pid == 0)
                holder_main(instance, holder);
        return pid;
}

/* Kill `victim` when somebody waits, and note when. */
static pid_t killer_start(struct instance *instance, struct holder *holder, pid_t victim)
{
        pid_t pid = instance_fork(instance);

        if (pid != 0)
                return pid;
        nap(30000 + random_below(20000));
        atomic_store(&holder->died, now_usec());
        _exit(kill(victim, SIGKILL) < 0);
}

static struct seqnum *start_with_invoices(struct instance *instance, const char *more,
                                          struct seqnum_client **ret)
{
        instance_configure(instance, "[sequence invoices]\nkind = gapless\n%s", more);
        instance_start(instance);
        *ret = instance_attach(instance);
        return instance_open(*ret, "invoices");
}

static int compare_times(const void *a, const void *b)
{
        uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

        return (x > y) - (x < y);
}

static void the_turn_of_the_dead_is_taken_soon(struct instance *instance)
{
        enum { DEATHS = 21 };
        struct seqnum_client *client;
        struct seqnum *seq = start_with_invoices(instance, "", &client);
        uint64_t took[DEATHS];

        for (size_t i = 0; i < DEATHS; i++) {
                struct holder *holder = holder_new();
                pid_t victim = holder_start(instance, holder), killer;
                int64_t number = 0, theirs = holder_await(holder);

                killer = killer_start(instance, holder, victim);
                assert_int_equal(seqnum_begin(seq, &number), 0);
                took[i] = now_usec() - atomic_load(&holder->died);
                assert_int_equal(number, theirs);
                assert_int_equal(seqnum_commit(seq), 0);
                assert_int_equal(instance_join(instance, killer, 10), 0);
                instance_reap(instance, victim);
        }
        qsort(took, DEATHS, sizeof(took[0]), compare_times);
        print_message("  the next in line had it after %" PRIu64 " us (median), %" PRIu64
                      " us at most\n",
                      took[DEATHS / 2], took[DEATHS - 1]);
        assert_in_range(took[DEATHS / 2], 0, patience_usec(1000000));
        assert_int_equal(must_peek(seq), DEATHS + 1);
        assert_null(seqnum_detach(client));
}

/* What a child inherited must not make its dead parent look alive. */
static void a_child_does_not_hold_on(struct instance *instance)
{
        struct seqnum_client *client;
        struct seqnum *seq = start_with_invoices(instance, "", &client), *theirs = NULL;
        struct holder *holder = holder_new();
        pid_t pid = instance_fork(instance);
        int64_t number = 0;

        if (pid == 0) {
                hold(instance, holder, &theirs);
                pid = fork();
                if (pid > 0)
                        for (;;)
                                pause();
                atomic_store(&holder->heir, getpid()); /* before it is looked at */
                atomic_store(&holder->outcome, seqnum_commit(theirs));
                nap(TIMEOUT_USEC);
                _exit(0);
        }
        assert_int_equal(holder_await(holder), 1);
        assert_int_equal(holder_commit(holder), -ECHILD);
        assert_int_equal(kill(pid, SIGKILL), 0);
        instance_reap(instance, pid);
        assert_int_equal(seqnum_begin(seq, &number), 0);
        assert_int_equal(number, 1);
        assert_int_equal(seqnum_commit(seq), 0);
        assert_int_equal(kill(atomic_load(&holder->heir), SIGKILL), 0);
        assert_null(seqnum_detach(client));
}

/* The living keep their turn for as long as they like, unless there is a limit. */
static void the_living_may_be_limited(struct instance *instance)
{
        struct seqnum_client *client;
        struct seqnum *seq = start_with_invoices(instance, "hold_limit = 1\n", &client);
        struct holder *holder = holder_new();
        pid_t pid = holder_start(instance, holder);
        int64_t number = 0;

        assert_int_equal(holder_await(holder), 1);
        assert_int_equal(seqnum_set_timeout(client, 100000), 0);
        assert_int_equal(seqnum_begin(seq, &number), -ETIMEDOUT);
        assert_int_equal(seqnum_set_timeout(client, patience_usec(TIMEOUT_USEC)), 0);
        assert_int_equal(seqnum_begin(seq, &number), 0);
        assert_int_equal(number, 1);
        assert_int_equal(holder_commit(holder), -ESTALE);
        assert_int_equal(seqnum_commit(seq), 0);
        assert_int_equal(must_next(seq), 2);
        assert_int_equal(kill(pid, SIGKILL), 0);
        instance_reap(instance, pid);
        assert_null(seqnum_detach(client));
}

/* A time that is up before the number is used up: it is not used up, and the turn is free. */
static void no_time_takes_no_number(struct instance *instance)
{
        struct seqnum_client *client;
        struct seqnum *seq = start_with_invoices(instance, "", &client);
        struct holder *holder = holder_new();
        struct seqnum_run run;
        int64_t number = -1;
        pid_t pid;

        assert_int_equal(must_next(seq), 1);
        assert_int_equal(seqnum_set_timeout(client, 0), 0);
        for (int i = 0; i < 3; i++) {
                assert_int_equal(seqnum_next(seq, &number), -ETIMEDOUT);
                assert_int_equal(seqnum_next_run(seq, 7, &run), -ETIMEDOUT);
        }
        assert_int_equal(number, -1);
        pid = holder_start(instance, holder);
        assert_int_equal(holder_await(holder), 2);
        assert_int_equal(holder_commit(holder), 0);
        assert_int_equal(kill(pid, SIGKILL), 0);
        instance_reap(instance, pid);
        assert_int_equal(must_peek(seq), 3);
        assert_null(seqnum_detach(client));
}

/* --- PID namespaces ------------------------------------------------------------------- */

/* A holder that is process 1 of a namespace of its own; 0 where that is not permitted. */
static pid_t namespaced_holder(struct instance *instance, struct holder *holder)
{
        pid_t pid = instance_fork(instance);

        if (pid != 0)
                return pid;
        if (unshare(CLONE_NEWPID) < 0) {
                atomic_store(&holder->number, -EPERM);
                _exit(0);
        }
        pid = fork();
        if (pid == 0) {
                (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
                if (getpid() != 1)
                        atomic_store(&holder->number, -ESRCH);
                else
                        holder_main(instance, holder);
                _exit(1);
        }
        for (;;)
                pause();
}

/* Two processes of the same number, each in a namespace of its own, and we in a third. */
static void namespaces_make_no_difference(struct instance *instance)
{
        struct seqnum_client *client;
        struct seqnum *seq = start_with_invoices(instance, "", &client);
        struct holder *first = holder_new(), *second = holder_new();
        pid_t pids[2];
        int64_t number = 0;

        pids[0] = namespaced_holder(instance, first);
        if (holder_await(first) == -EPERM) {
                assert_int_equal(instance_join(instance, pids[0], 10), 0);
                assert_null(seqnum_detach(client));
                print_message("  skipped: making a PID namespace is not permitted\n");
                skip();
        }
        assert_int_equal(holder_await(first), 1);
        pids[1] = namespaced_holder(instance, second);
        assert_int_equal(seqnum_set_timeout(client, 300000), 0);
        assert_int_equal(seqnum_begin(seq, &number), -ETIMEDOUT); /* nobody took the living one's */
        assert_int_equal(atomic_load(&second->number), 0);
        assert_int_equal(kill(pids[0], SIGKILL), 0);
        instance_reap(instance, pids[0]);
        assert_int_equal(holder_await(second), 1);
        assert_int_equal(holder_commit(second), 0);
        assert_int_equal(must_next(seq), 2);
        assert_int_equal(kill(pids[1], SIGKILL), 0);
        instance_reap(instance, pids[1]);
        assert_null(seqnum_detach(client));
}

/* --- syncs ------------------------------------------------------------------------------ */

static uint64_t metric(const struct instance *instance, const char *name)
{
        char output[8192];
        const char *at;

        assert_int_equal(instance_command(instance, output, sizeof(output), "metrics"), 0);
        at = strstr(output, name);
        while (at && (at == output || at[-1] != '\n'))
                at = strstr(at + 1, name);
        if (!at)
                fail_msg("no %s in: %s", name, output);
        at = strchr(at, ' ');
        assert_non_null(at);
        return strtoull(at, NULL, 10);
}

struct committers {
        _Atomic(uint32_t) waiting;
        _Atomic(bool) go;
};

__attribute__((noreturn)) static void commit_many(const struct instance *instance,
                                                  struct committers *all, uint64_t count)
{
        struct seqnum_client *client = NULL;
        struct seqnum *seq = NULL;
        int64_t number;
        int r = seqnum_attach(&client, instance->shm, 0);

        if (r >= 0)
                r = seqnum_set_timeout(client, patience_usec(TIMEOUT_USEC));
        if (r >= 0)
                r = seqnum_open(&seq, client, "invoices");
        atomic_fetch_add(&all->waiting, 1);
        while (!atomic_load(&all->go))
                nap(100);
        for (uint64_t n = 0; n < count && r >= 0; n++)
                r = seqnum_next(seq, &number);
        _exit(r < 0);
}

/*
 * The turn passes on before the store has the number, so that many wait for one
 * sync. How many is a matter of the disk; here, that it is more than one.
 */
static void commits_share_syncs(struct instance *instance)
{
        const uint64_t each = 25 + scaled(175);
        struct committers *all = shared_memory(sizeof(*all));
        struct seqnum_client *client;
        struct seqnum *seq = start_with_invoices(instance, "", &client);
        uint64_t before, commits;
        pid_t pids[WORKERS];

        before = metric(instance, "seqnum_commits_total");
        for (size_t i = 0; i < WORKERS; i++) {
                pids[i] = instance_fork(instance);
                if (pids[i] == 0)
                        commit_many(instance, all, each);
        }
        while (atomic_load(&all->waiting) < WORKERS)
                nap(1000);
        atomic_store(&all->go, true);
        for (size_t i = 0; i < WORKERS; i++)
                assert_int_equal(instance_join(instance, pids[i], 60), 0);
        commits = metric(instance, "seqnum_commits_total") - before;
        assert_int_equal(must_peek(seq), WORKERS * each + 1);
        print_message("  %" PRIu64 " numbers by %d processes in %" PRIu64 " transactions\n",
                      WORKERS * each, WORKERS, commits);
        assert_in_range(commits, 1, WORKERS * each - 1);
        assert_null(seqnum_detach(client));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                instance_test(deaths_leave_no_gap),
                instance_test(the_turn_of_the_dead_is_taken_soon),
                instance_test(a_child_does_not_hold_on),
                instance_test(the_living_may_be_limited),
                instance_test(no_time_takes_no_number),
                instance_test(namespaces_make_no_difference),
                instance_test(commits_share_syncs),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
