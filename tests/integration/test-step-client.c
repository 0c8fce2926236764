/* SPDX-License-Identifier: MIT */

/*
 * A client killed after each single instruction of a draw and of an open
 * (harness-step.h). The next draw must get the very next number, or the one
 * behind those that the victim claimed, but never one that the victim has.
 *
 * Not here: gapless sequences (test-step-gapless.c); the daemon's own death
 * (test-step-daemon.c); two who are at it at the same time (tests/model).
 */

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

#include "harness-step.h"

#define RUN 7

/* --- counters ------------------------------------------------------------------ */

static int act_next(struct victim *victim)
{
        return seqnum_next(victim->seq, &victim->number);
}

static int act_run(struct victim *victim)
{
        struct seqnum_run run;
        int r = seqnum_next_run(victim->seq, RUN, &run);

        if (r >= 0)
                victim->number = run.first;
        return r;
}

static void must_be_new(struct scene *scene, int64_t number, uint64_t count)
{
        if (!record_add(scene->record, number, count))
                fail_msg("DUPLICATE: %" PRId64, number);
}

/*
 * The next draw gets the expected number, if the victim claimed nothing, or the
 * one behind what it claimed; and the latter if the victim was seen to have it.
 */
static void judge_claim(struct scene *scene, uint32_t count)
{
        const struct victim *victim = scene->victim;
        uint64_t since = now_usec();
        int64_t number = must_next(scene->seq);

        step_note_wait(scene, since);
        if (victim->number != STEP_NOT_GIVEN) {
                must_be_new(scene, victim->number, count);
                assert_int_equal(victim->number, scene->expected);
                assert_int_equal(number, scene->expected + count);
        } else if (number != scene->expected) {
                assert_int_equal(number, scene->expected + count);
                scene->lost += count;
        }
        must_be_new(scene, number, 1);
        scene->expected = number + 1;
}

static void judge_next(struct scene *scene)
{
        judge_claim(scene, 1);
}

static void judge_run(struct scene *scene)
{
        judge_claim(scene, RUN);
}

static void draws(struct instance *instance)
{
        step_through(instance, &(const struct scenario){
                                       .title = "next",
                                       .ini = "[sequence orders]\nreserve = 100000\n",
                                       .name = "orders",
                                       .stride = 1,
                                       .act = act_next,
                                       .judge = judge_next,
                               });
}

static void run_draws(struct instance *instance)
{
        step_through(instance, &(const struct scenario){
                                       .title = "next_run",
                                       .ini = "[sequence orders]\nreserve = 100000\n",
                                       .name = "orders",
                                       .stride = 1,
                                       .act = act_run,
                                       .judge = judge_run,
                               });
}

/* One number is reserved at a time, so each draw is the one that crosses the low mark. */
static void draws_that_ring(struct instance *instance)
{
        step_through(instance, &(const struct scenario){
                                       .title = "ringing",
                                       .ini = "[sequence orders]\nreserve = 1\n",
                                       .name = "orders",
                                       .stride = 2,
                                       .act = act_next,
                                       .judge = judge_next,
                               });
}

/* Use the window up under a daemon that does not look. */
static void set_exhausted(struct scene *scene)
{
        int64_t number;
        int r;

        (void)kill(scene->instance->pid, SIGSTOP);
        assert_int_equal(waitpid(scene->instance->pid, NULL, WUNTRACED), scene->instance->pid);
        (void)seqnum_set_timeout(scene->client, 0);
        while ((r = seqnum_next(scene->seq, &number)) == 0) {
                must_be_new(scene, number, 1);
                assert_int_equal(number, scene->expected);
                scene->expected = number + 1;
        }
        assert_int_equal(r, -ETIMEDOUT);
        (void)seqnum_set_timeout(scene->client, patience_usec(STEP_PATIENCE_USEC));
}

static int prepare_to_give_up(struct victim *victim)
{
        return seqnum_set_timeout(victim->client, 1000);
}

static int act_in_vain(struct victim *victim)
{
        int r = seqnum_next(victim->seq, &victim->number);

        return r == -ETIMEDOUT ? 0 : r ? r : 1;
}

static void judge_after_waiting(struct scene *scene)
{
        (void)kill(scene->instance->pid, SIGCONT);
        judge_next(scene);
}

/* The window is used up and the daemon hangs: it waits, rings, gives up, gives back. */
static void draws_in_vain(struct instance *instance)
{
        step_through(instance, &(const struct scenario){
                                       .title = "waiting",
                                       .ini = "[sequence orders]\nreserve = 2\n",
                                       .name = "orders",
                                       .stride = 11,
                                       .set = set_exhausted,
                                       .prepare = prepare_to_give_up,
                                       .act = act_in_vain,
                                       .judge = judge_after_waiting,
                               });
}

/* --- ids of kind time ------------------------------------------------------------ */

/* They need not follow each other: larger than all before, and not the victim's, is enough. */
static void judge_time(struct scene *scene)
{
        const struct victim *victim = scene->victim;
        uint64_t since = now_usec();
        int64_t number = must_next(scene->seq);

        step_note_wait(scene, since);
        if (victim->number != STEP_NOT_GIVEN) {
                if (victim->number < scene->expected)
                        fail_msg("the victim's %" PRId64 " is not new", victim->number);
                scene->expected = victim->number + 1;
        }
        if (number < scene->expected)
                fail_msg("DUPLICATE or out of order: %" PRId64, number);
        scene->expected = number + 1;
}

static void time_draws(struct instance *instance)
{
        step_through(instance, &(const struct scenario){
                                       .title = "time",
                                       .ini = "[sequence ids]\nkind = time\n",
                                       .name = "ids",
                                       .stride = 5,
                                       .act = act_next,
                                       .judge = judge_time,
                               });
}

/* --- opening ---------------------------------------------------------------------- */

static int act_open(struct victim *victim)
{
        return seqnum_open(&victim->seq, victim->client, "orders");
}

static void judge_open(struct scene *scene)
{
        struct seqnum *seq = instance_open(scene->client, "orders");

        assert_int_equal(must_next(seq), scene->expected++);
        seqnum_close(seq);
}

static void opens(struct instance *instance)
{
        step_through(instance, &(const struct scenario){
                                       .title = "open",
                                       .ini = "[sequence orders]\n",
                                       .name = "",
                                       .stride = 11,
                                       .act = act_open,
                                       .judge = judge_open,
                               });
}

/* A new name for each victim. */
static void set_template(struct scene *scene)
{
        (void)snprintf(scene->victim->name, sizeof(scene->victim->name), "of/%" PRIu64,
                       scene->kills);
}

static int act_open_template(struct victim *victim)
{
        return seqnum_open(&victim->seq, victim->client, victim->name);
}

/* Whether the victim had it made or not: it can be opened, and begins at 1. */
static void judge_template(struct scene *scene)
{
        uint64_t since = now_usec();
        struct seqnum *seq = instance_open(scene->client, scene->victim->name);

        assert_int_equal(must_next(seq), 1);
        step_note_wait(scene, since);
        seqnum_close(seq);
}

/* Nothing is shared with the daemon here but the socket. */
static void opens_of_a_template(struct instance *instance)
{
        step_through(instance, &(const struct scenario){
                                       .title = "open_template",
                                       .ini = "[sequence of/*]\n",
                                       .name = "",
                                       .stride = 1,
                                       .by_calls = true,
                                       .set = set_template,
                                       .act = act_open_template,
                                       .judge = judge_template,
                               });
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                instance_test(draws),
                instance_test(run_draws),
                instance_test(draws_that_ring),
                instance_test(draws_in_vain),
                instance_test(time_draws),
                instance_test(opens),
                instance_test(opens_of_a_template),
        };
        int r = step_supported();

        return r ? r : cmocka_run_group_tests(tests, NULL, NULL);
}
