/* SPDX-License-Identifier: MIT */

/*
 * A client killed after each single instruction of a transaction on a gapless
 * sequence (harness-step.h): of begin and commit, of begin and rollback, of a draw, and
 * of taking over the turn of one that died holding it.
 *
 * The next to begin must get the turn at once, and with it the same number, or the
 * one behind it if the victim came to use its number up. In the end the segment is
 * thrown away: nothing that was committed may be gone from the store.
 */

#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "harness-step.h"

/* The victim becomes somebody (turn.h) before it is stepped; in takeovers() it does so while. */
static int prepare_id(struct victim *victim)
{
        int64_t number;
        int r = seqnum_begin(victim->seq, &number);

        return r < 0 ? r : seqnum_rollback(victim->seq);
}

static int act_commit(struct victim *victim)
{
        int r = seqnum_begin(victim->seq, &victim->number);

        return r < 0 ? r : seqnum_commit(victim->seq);
}

static int act_rollback(struct victim *victim)
{
        int r = seqnum_begin(victim->seq, &victim->number);

        return r < 0 ? r : seqnum_rollback(victim->seq);
}

static int act_draw(struct victim *victim)
{
        return seqnum_next(victim->seq, &victim->number);
}

static int64_t begin_after_death(struct scene *scene)
{
        uint64_t since = now_usec();
        int64_t number = 0;
        int r = seqnum_begin(scene->seq, &number);

        if (r < 0)
                fail_msg("begin after the victim's death: %s", seqnum_strerror(r));
        step_note_wait(scene, since);
        if (scene->victim->number != STEP_NOT_GIVEN)
                assert_int_equal(scene->victim->number, scene->expected);
        return number;
}

static void judge_commit(struct scene *scene)
{
        int64_t number = begin_after_death(scene);

        if (number != scene->expected) {
                assert_int_equal(number, scene->expected + 1);
                assert_int_equal(scene->victim->number, scene->expected);
                scene->lost += scene->victim->outcome != 0;
        }
        if (scene->victim->outcome == 0)
                assert_int_equal(number, scene->expected + 1); /* it was committed */
        assert_int_equal(seqnum_rollback(scene->seq), 0);
        scene->expected = number;
}

static void judge_rollback(struct scene *scene)
{
        int64_t number = begin_after_death(scene);

        assert_int_equal(number, scene->expected);
        assert_int_equal(seqnum_rollback(scene->seq), 0);
}

/* A draw is a transaction of its own: what is used up may not have been given to the victim yet. */
static void judge_draw(struct scene *scene)
{
        int64_t number = begin_after_death(scene);

        if (number != scene->expected) {
                assert_int_equal(number, scene->expected + 1);
                scene->lost += scene->victim->number == STEP_NOT_GIVEN;
        } else {
                assert_int_equal(scene->victim->number, STEP_NOT_GIVEN);
        }
        assert_int_equal(seqnum_rollback(scene->seq), 0);
        scene->expected = number;
}

/* What the victims used up, and one more, is in the store. */
static void conclude(struct scene *scene)
{
        int64_t number = 0;

        assert_int_equal(seqnum_begin(scene->seq, &number), 0);
        assert_int_equal(number, scene->expected);
        assert_int_equal(seqnum_commit(scene->seq), 0);
        instance_kill(scene->instance);
        instance_unlink(scene->instance);
        instance_start(scene->instance);
        assert_int_equal(instance_peek(scene->instance, "invoices"), number + 1);
}

static void commits(struct instance *instance)
{
        step_through(instance, &(const struct scenario){
                                       .title = "begin+commit",
                                       .ini = "[sequence invoices]\nkind = gapless\n",
                                       .name = "invoices",
                                       .stride = 11,
                                       .prepare = prepare_id,
                                       .act = act_commit,
                                       .judge = judge_commit,
                                       .conclude = conclude,
                               });
}

static void rollbacks(struct instance *instance)
{
        step_through(instance, &(const struct scenario){
                                       .title = "begin+rollback",
                                       .ini = "[sequence invoices]\nkind = gapless\n",
                                       .name = "invoices",
                                       .stride = 3,
                                       .prepare = prepare_id,
                                       .act = act_rollback,
                                       .judge = judge_rollback,
                                       .conclude = conclude,
                               });
}

static void draws(struct instance *instance)
{
        step_through(instance, &(const struct scenario){
                                       .title = "next_gapless",
                                       .ini = "[sequence invoices]\nkind = gapless\n",
                                       .name = "invoices",
                                       .stride = 11,
                                       .prepare = prepare_id,
                                       .act = act_draw,
                                       .judge = judge_draw,
                                       .conclude = conclude,
                               });
}

/* Somebody dies holding the turn; then the victim comes. */
static void set_dead_owner(struct scene *scene)
{
        struct seqnum_client *client;
        struct seqnum *seq;
        pid_t pid = instance_fork(scene->instance);
        int64_t number;

        if (pid > 0) {
                instance_reap(scene->instance, pid);
                assert_string_equal(scene->victim->name, "held");
                return;
        }
        if (seqnum_attach(&client, scene->instance->shm, 0) < 0 ||
            seqnum_open(&seq, client, "invoices") < 0 || seqnum_begin(seq, &number) < 0)
                _exit(1);
        (void)strcpy(scene->victim->name, "held");
        (void)kill(getpid(), SIGKILL);
}

static void takeovers(struct instance *instance)
{
        step_through(instance, &(const struct scenario){
                                       .title = "takeover+commit",
                                       .ini = "[sequence invoices]\nkind = gapless\n",
                                       .name = "invoices",
                                       .stride = 61,
                                       .set = set_dead_owner,
                                       .act = act_commit,
                                       .judge = judge_commit,
                                       .conclude = conclude,
                               });
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                instance_test(commits),
                instance_test(rollbacks),
                instance_test(draws),
                instance_test(takeovers),
        };
        int r = step_supported();

        return r ? r : cmocka_run_group_tests(tests, NULL, NULL);
}
