/* SPDX-License-Identifier: MIT */

/*
 * Blocks: what is left of one when it is closed, when others draw, when the
 * process forks or dies, when the daemon stops, and when the sequence is changed,
 * ends or wraps. By function and inlined, in turn.
 */

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "harness.h"
#include "seqnum-inline.h"

struct one {
        struct seqnum_client *client;
        struct seqnum *seq;
        struct seqnum_block *block;
};

static struct one one_open(const struct instance *instance, uint32_t size)
{
        struct one one = {.client = instance_attach(instance)};

        one.seq = instance_open(one.client, "orders");
        assert_int_equal(seqnum_block_open(&one.block, one.seq, size), 0);
        return one;
}

static struct one start(struct instance *instance, const char *parameters, uint32_t size)
{
        instance_configure(instance, "[sequence orders]\n%s", parameters);
        instance_start(instance);
        return one_open(instance, size);
}

/* By turns as a function and inlined. */
static int draw(struct seqnum_block *block, int64_t *ret)
{
        static unsigned turn;

        return turn++ % 2 ? seqnum_block_next(block, ret) : seqnum_block_next_inline(block, ret);
}

static int64_t must_draw(const struct one *one)
{
        int64_t value = -1;
        int r = draw(one->block, &value);

        if (r < 0)
                fail_msg("a draw from a block failed: %s", seqnum_strerror(r));
        return value;
}

/* --- what is left -------------------------------------------------------------- */

static void rest_is_given_back(struct instance *instance)
{
        struct one one = start(instance, "", 10);

        for (int64_t i = 1; i <= 13; i++)
                assert_int_equal(must_draw(&one), i);
        assert_int_equal(must_peek(one.seq), 21);
        one.block = seqnum_block_close(one.block);
        assert_null(one.block);
        assert_int_equal(must_peek(one.seq), 14);
        assert_int_equal(must_next(one.seq), 14);

        assert_int_equal(seqnum_block_open(&one.block, one.seq, 10), 0); /* an unused one */
        seqnum_block_close(one.block);
        assert_int_equal(must_next(one.seq), 15);

        assert_int_equal(seqnum_block_open(&one.block, one.seq, 10), 0); /* with the handle */
        assert_int_equal(must_draw(&one), 16);
        seqnum_close(one.seq);
        assert_int_equal(instance_peek(instance, "orders"), 17);
        seqnum_detach(one.client);
        assert_null(seqnum_block_close(NULL));
}

/* Somebody claimed behind it: then it is skipped, and nothing twice. */
/*
 * Between the claim of a block and its end the daemon may have looked at the index, and
 * that it comes down then is nobody's ill will.
 */
static void rest_given_back_is_no_damage(struct instance *instance)
{
        struct one one = start(instance, "reserve = 1000\n", 0);
        uint64_t rounds = scaled(200);
        int64_t expected = 1;

        seqnum_block_close(one.block);
        for (uint64_t i = 0; i < rounds; i++) {
                assert_int_equal(seqnum_block_open(&one.block, one.seq,
                                                   1 + (uint32_t)random_below(2000)),
                                 0);
                for (uint64_t n = random_below(3); n > 0; n--)
                        assert_int_equal(must_draw(&one), expected++);
                nap(random_below(4) ? 0 : 40000); /* what asked for more may gather for a while */
                one.block = seqnum_block_close(one.block);
                if (random_below(2)) { /* the daemon looks at it */
                        char answer[32];

                        (void)snprintf(answer, sizeof(answer), ":%" PRId64, expected++);
                        assert_string_equal(instance_ask(instance, "INCR orders"), answer);
                }
        }
        instance_stop(instance);
        instance_start(instance);
        assert_int_equal(must_peek(one.seq), expected);
        assert_false(instance_says(instance, "damage"));
        assert_false(instance_says(instance, "cannot be"));
        seqnum_detach(one.client);
}

static void rest_is_skipped(struct instance *instance)
{
        struct one one = start(instance, "increment = -5\nstart = 1000\nmax = 1000\nmin = 0\n", 4);
        struct one two = one_open(instance, 0);

        assert_int_equal(must_draw(&one), 1000);
        assert_int_equal(must_next(two.seq), 980);
        assert_int_equal(must_draw(&one), 995);
        one.block = seqnum_block_close(one.block);
        assert_int_equal(must_next(two.seq), 975);
        assert_int_equal(must_draw(&two), 970);
        seqnum_detach(two.client); /* closes the block */
        assert_int_equal(must_next(one.seq), 965);
        seqnum_detach(one.client);
}

static void sizes_adapt(struct instance *instance)
{
        struct one one = start(instance, "", 0);
        int64_t ahead = 0, first;

        for (int64_t i = 1; i <= 100000; i++) {
                assert_int_equal(must_draw(&one), i);
                if (must_peek(one.seq) - i > ahead)
                        ahead = must_peek(one.seq) - i;
        }
        assert_in_range(ahead, 8, 4096);
        for (unsigned i = 0; i < 12; i++) { /* each block lasts long: they shrink */
                first = must_peek(one.seq);
                nap(11000);
                while (must_draw(&one) < first)
                        ;
        }
        assert_in_range(must_peek(one.seq) - first, 1, 8);
        seqnum_detach(one.client);
}

/* --- fork ------------------------------------------------------------------------ */

static int child(const struct one *one)
{
        int64_t value = -1;
        struct seqnum_block *other = NULL;

        if (seqnum_block_next(one->block, &value) != -ECHILD)
                return 1;
        if (seqnum_block_next_inline(one->block, &value) != -ECHILD)
                return 2;
        if (seqnum_next_inline(one->seq, &value) != -ECHILD)
                return 3;
        if (seqnum_block_open(&other, one->seq, 5) != -ECHILD)
                return 4;
        if (seqnum_block_close(one->block))
                return 5;
        seqnum_detach(one->client);
        return value == -1 && !other ? 0 : 6;
}

static void child_has_none(struct instance *instance)
{
        struct one one = start(instance, "", 10);
        pid_t pid;

        assert_int_equal(must_draw(&one), 1);
        for (int64_t i = 2; i < 30; i += 2) {
                pid = instance_fork(instance);
                if (pid == 0)
                        _exit(child(&one));
                assert_int_equal(must_draw(&one), i);
                assert_int_equal(instance_join(instance, pid, 20), 0);
                assert_int_equal(must_draw(&one), i + 1); /* it has given nothing back */
        }
        seqnum_detach(one.client);
}

/* --- changes, stops, ends --------------------------------------------------------- */

static void tell(struct instance *instance, const char *arguments)
{
        char output[1024];

        if (instance_command(instance, output, sizeof(output), arguments) != 0)
                fail_msg("seqnum %s: %s", arguments, output);
}

/* From the next number on, and no number of a former life. */
static void changes_end_it(struct instance *instance)
{
        struct one one = start(instance, "", 10);
        struct seqnum_block *other = NULL;
        int64_t value = -1;

        assert_int_equal(must_draw(&one), 1);
        tell(instance, "restart orders 500");
        assert_int_equal(must_draw(&one), 500);
        assert_int_equal(must_draw(&one), 501);
        tell(instance, "alter orders increment=10");
        for (int64_t i = 502; i <= 509; i++) /* nobody else gets these */
                assert_int_equal(must_draw(&one), i);
        assert_int_equal(must_draw(&one), 519);
        tell(instance, "restart orders 3");
        seqnum_block_close(one.block); /* of a closed window: nothing is given back */
        assert_int_equal(must_next(one.seq), 3);
        assert_int_equal(seqnum_block_open(&one.block, one.seq, 10), 0);
        assert_int_equal(must_draw(&one), 13);
        tell(instance, "drop orders");
        assert_int_equal(draw(one.block, &value), -ENOENT);
        tell(instance, "create orders kind=gapless");
        assert_int_equal(draw(one.block, &value), -EOPNOTSUPP);
        assert_int_equal(seqnum_block_open(&other, one.seq, 10), -EOPNOTSUPP);
        assert_int_equal(value, -1);
        tell(instance, "drop orders");
        assert_int_equal(draw(one.block, &value), -ENOENT);
        assert_int_equal(seqnum_block_open(&other, one.seq, 10), -ENOENT);
        tell(instance, "create orders"); /* what it cannot be is not for good */
        assert_int_equal(seqnum_block_open(&other, one.seq, 10), 0);
        assert_int_equal(must_draw(&one), 1);
        assert_int_equal(draw(other, &value), 0);
        assert_int_equal(value, 11);
        seqnum_detach(one.client);
}

/* What was granted is good whatever the daemon does; but a frozen window takes nothing back. */
static void stops_do_not(struct instance *instance)
{
        struct one one = start(instance, "", 10);

        assert_int_equal(must_draw(&one), 1);
        instance_stop(instance);
        assert_int_equal(must_draw(&one), 2);
        seqnum_block_close(one.block);
        instance_start(instance);
        assert_int_equal(must_next(one.seq), 11);

        assert_int_equal(seqnum_block_open(&one.block, one.seq, 10), 0);
        assert_int_equal(must_draw(&one), 12);
        instance_kill(instance);
        assert_int_equal(must_draw(&one), 13);
        instance_start(instance);
        assert_int_equal(must_draw(&one), 14);
        seqnum_block_close(one.block); /* of an open one: given back */
        assert_int_equal(must_next(one.seq), 15);

        assert_int_equal(seqnum_block_open(&one.block, one.seq, 10), 0);
        assert_int_equal(must_draw(&one), 16);
        instance_stop(instance);
        instance_start(instance);
        seqnum_block_close(one.block); /* thawed meanwhile: given back or not, nothing twice */
        assert_in_range(must_next(one.seq), 17, 26);
        seqnum_detach(one.client);
}

/* All that was reserved can be drawn while the daemon is away, also where it is no block. */
static void away(struct instance *instance)
{
        struct one one = start(instance, "reserve = 1000\n", 300);
        int64_t value = must_draw(&one), last = 0;

        nap(100000); /* what asked for more has it */
        instance_kill(instance);
        assert_int_equal(seqnum_set_timeout(one.client, 100000), 0);
        do
                assert_int_equal(value, ++last);
        while (draw(one.block, &value) == 0);
        assert_in_range(last, 1000, 3000);
        assert_int_equal(seqnum_next(one.seq, &value), -ETIMEDOUT); /* nobody has more */
        instance_start(instance);
        assert_int_equal(seqnum_set_timeout(one.client, SEQNUM_TIMEOUT_DEFAULT), 0);
        assert_int_equal(must_draw(&one), last + 1);
        seqnum_detach(one.client);
}

static void ends_and_rounds(struct instance *instance)
{
        struct one one = start(instance,
                               "max = 25\n[sequence round]\nmin = 0\nmax = 4\n"
                               "start = 3\ncycle = yes\n",
                               10);
        struct seqnum *round = instance_open(one.client, "round");
        struct seqnum_block *block;
        int64_t value;

        for (int64_t i = 1; i <= 25; i++)
                assert_int_equal(must_draw(&one), i);
        for (unsigned i = 0; i < 3; i++)
                assert_int_equal(draw(one.block, &value), -EOVERFLOW);

        assert_int_equal(seqnum_block_open(&block, round, 2), 0);
        value = 2;
        for (unsigned i = 0; i < 40; i++) { /* what a run would straddle is skipped */
                int64_t last = value;

                assert_int_equal(draw(block, &value), 0);
                assert_in_range(value, 0, 4);
                assert_true(value == last + 1 || value <= 1 || value == last + 2);
        }
        seqnum_block_close(block);
        seqnum_detach(one.client);
}

static void refusals(struct instance *instance)
{
        struct seqnum_client *client, *reader;
        struct seqnum_block *block = NULL;

        instance_configure(instance, "[sequence orders]\n[sequence invoice]\nkind = gapless\n"
                                     "[sequence id]\nkind = time\n");
        instance_start(instance);
        client = instance_attach(instance);
        assert_int_equal(seqnum_attach(&reader, instance->shm, SEQNUM_RDONLY), 0);
        assert_int_equal(seqnum_block_open(&block, instance_open(client, "invoice"), 10),
                         -EOPNOTSUPP);
        assert_int_equal(seqnum_block_open(&block, instance_open(client, "id"), 0), -EOPNOTSUPP);
        assert_int_equal(seqnum_block_open(&block, instance_open(reader, "orders"), 0), -EACCES);
        assert_null(block);
        seqnum_detach(reader);
        seqnum_detach(client);
}

/* --- inlined draws of all that cannot be drawn so ---------------------------------- */

static void inlined_everywhere(struct instance *instance)
{
        struct seqnum_client *client, *reader;
        struct seqnum *seq;
        int64_t value = -1, last;

        instance_configure(instance, "[sequence orders]\n[sequence invoice]\nkind = gapless\n"
                                     "[sequence id]\nkind = time\n[sequence round]\nmax = 2\n"
                                     "cycle = yes\n[sequence short]\nmax = 2\n");
        instance_start(instance);
        client = instance_attach(instance);
        seq = instance_open(client, "orders");
        for (int64_t i = 1; i < 2000; i++) {
                assert_int_equal(seqnum_next_inline(seq, &value), 0);
                assert_int_equal(value, i);
        }
        seq = instance_open(client, "invoice");
        for (int64_t i = 1; i < 4; i++) {
                assert_int_equal(seqnum_next_inline(seq, &value), 0);
                assert_int_equal(value, i);
        }
        seq = instance_open(client, "id");
        assert_int_equal(seqnum_next_inline(seq, &last), 0);
        assert_int_equal(seqnum_next_inline(seq, &value), 0);
        assert_true(value > last);
        seq = instance_open(client, "round");
        for (int64_t i = 0; i < 9; i++) {
                assert_int_equal(seqnum_next_inline(seq, &value), 0);
                assert_int_equal(value, 1 + i % 2);
        }
        seq = instance_open(client, "short");
        assert_int_equal(seqnum_next_inline(seq, &value), 0);
        assert_int_equal(seqnum_next_inline(seq, &value), 0);
        assert_int_equal(seqnum_next_inline(seq, &value), -EOVERFLOW);
        assert_int_equal(value, 2);
        assert_int_equal(seqnum_attach(&reader, instance->shm, SEQNUM_RDONLY), 0);
        assert_int_equal(seqnum_next_inline(instance_open(reader, "orders"), &value), -EACCES);
        assert_int_equal(must_next(instance_open(client, "orders")), 2000);
        seqnum_detach(reader);
        seqnum_detach(client);
}

/* --- many at once, some killed -------------------------------------------------------- */

#define DRAWERS 6

struct board {
        _Atomic(bool) stop, duplicate, disorder;
        _Atomic(int) error;
        _Atomic(uint64_t) drawn;
};

/* Blocks of all sizes, closed now and then, singles in between. */
static void draw_until_told(const struct instance *instance, struct board *board,
                            struct record *record, unsigned n)
{
        struct seqnum_client *client = instance_attach(instance);
        struct seqnum *seq = instance_open(client, "orders");
        struct seqnum_block *block = NULL;
        int64_t value, last = 0;
        int r = 0;

        seqnum_set_timeout(client, patience_usec(20000000));
        while (!atomic_load(&board->stop) && r == 0) {
                r = seqnum_block_open(&block, seq, n % 3 == 0 ? 0 : 1 + (uint32_t)random_below(50));
                last = 0;
                for (uint64_t i = random_below(300); i > 0 && r == 0; i--) {
                        r = draw(block, &value);
                        if (r == 0 && value <= last)
                                atomic_store(&board->disorder, true);
                        if (r == 0 && !record_add(record, value, 1))
                                atomic_store(&board->duplicate, true);
                        last = value;
                        atomic_fetch_add(&board->drawn, r == 0);
                }
                block = seqnum_block_close(block);
                if (r == 0)
                        r = seqnum_next_inline(seq, &value);
                if (r == 0 && !record_add(record, value, 1))
                        atomic_store(&board->duplicate, true);
                nap(100);
        }
        if (r < 0)
                atomic_store(&board->error, r);
        _exit(0);
}

static void no_number_twice(struct instance *instance)
{
        struct board *board = shared_memory(sizeof(*board));
        struct record *record = record_new(1, 1, 0);
        uint64_t end = now_usec() + 1000 * scaled(3000);
        pid_t pids[DRAWERS] = {0};
        unsigned harm = 0;

        instance_configure(instance, "[sequence orders]\n");
        instance_start(instance);
        while (now_usec() < end || harm < DRAWERS) {
                unsigned n = harm % DRAWERS;

                if (pids[n] > 0) {
                        kill(pids[n], SIGKILL);
                        instance_reap(instance, pids[n]);
                }
                pids[n] = instance_fork(instance);
                if (pids[n] == 0)
                        draw_until_told(instance, board, record, n);
                nap(20000);
                if (harm % 8 == 5) {
                        instance_kill(instance);
                        instance_start(instance);
                } else if (harm % 8 == 7) {
                        instance_stop(instance);
                        instance_start(instance);
                }
                harm++;
                progress("%u deaths", harm);
        }
        atomic_store(&board->stop, true);
        for (unsigned n = 0; n < DRAWERS; n++)
                assert_int_equal(instance_join(instance, pids[n], 30), 0);
        if (board->error)
                fail_msg("a draw failed: %s", seqnum_strerror(board->error));
        assert_false(board->duplicate);
        assert_false(board->disorder);
        assert_true(board->drawn > 0);
        figures("deaths=%u drawn=%llu duplicates=0", harm, (unsigned long long)board->drawn);
        record_free(record);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                instance_test(rest_is_given_back), instance_test(rest_given_back_is_no_damage),
                instance_test(rest_is_skipped),    instance_test(sizes_adapt),
                instance_test(child_has_none),     instance_test(changes_end_it),
                instance_test(stops_do_not),       instance_test(away),
                instance_test(ends_and_rounds),    instance_test(refusals),
                instance_test(inlined_everywhere), instance_test(no_number_twice),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
