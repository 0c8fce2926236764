/* SPDX-License-Identifier: MIT */

/*
 * The turn of a gapless sequence: one has it at a time, whoever dies with it
 * loses it, and no token too many or too few keeps anybody from it.
 */

#include "unit.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>

#include "turn.h"

#define THREADS 4
#define ROUNDS  1500

#define ID_FIRST ((uint64_t)SEGMENT_LOCK_OWNERS)

struct turns {
        struct cell *cell;
        int segment_fd, turns_fd;
};

static int setup(void **state)
{
        struct turns *t = calloc(1, sizeof(*t));

        *state = t;
        if (!t)
                return -1;
        t->segment_fd = memfd_create("turns", MFD_CLOEXEC);
        t->turns_fd = turn_open(t->segment_fd);
        if (t->turns_fd < 0 || ftruncate(t->segment_fd, SEGMENT_PAGE) < 0)
                return -1;
        t->cell = mmap(NULL, SEGMENT_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, t->segment_fd, 0);
        if (t->cell == MAP_FAILED)
                return -1;
        return sem_init(&t->cell->turn, 1, 1);
}

static int teardown(void **state)
{
        struct turns *t = *state;

        munmap(t->cell, SEGMENT_PAGE);
        close(t->turns_fd);
        close(t->segment_fd);
        free(t);
        return 0;
}

static int tokens(const struct turns *t)
{
        int value = -1;

        assert_int_equal(sem_getvalue(&t->cell->turn, &value), 0);
        return value;
}

static uint64_t new_id(const struct turns *t)
{
        uint64_t id = 0;

        assert_int_equal(turn_id_take(t->turns_fd, &id), 0);
        return id;
}

static bool look(const struct turns *t, uint64_t id)
{
        struct turn_watch watch = {0};

        return turn_look(t->cell, t->segment_fd, 0, &watch, unit_usec(), id);
}

/* --- ids --------------------------------------------------------------- */

static void test_ids(void **state)
{
        struct turns *t = *state;
        uint64_t a = new_id(t), b = new_id(t);

        assert_in_range(a, ID_FIRST, 2 * ID_FIRST - 1);
        assert_in_range(b, ID_FIRST, 2 * ID_FIRST - 1);
        assert_true(a != b);
        assert_true(turn_owner_alive(t->segment_fd, a));
        assert_true(turn_owner_alive(t->segment_fd, b));
        turn_id_drop(t->turns_fd, a);
        assert_false(turn_owner_alive(t->segment_fd, a));
        assert_true(turn_owner_alive(t->segment_fd, b));
        close(t->turns_fd);
        assert_false(turn_owner_alive(t->segment_fd, b));
        t->turns_fd = turn_open(t->segment_fd);
}

/* What is in the owner word is any client's to write. */
static void test_nonsense_is_nobody(void **state)
{
        static const uint64_t nonsense[] = {
                1,          ID_FIRST - 1,      2 * ID_FIRST, (uint64_t)SEGMENT_LOCK_DAEMON,
                UINT64_MAX, UINT64_C(1) << 63,
        };
        struct turns *t = *state;
        struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

        assert_int_equal(fcntl(t->turns_fd, F_OFD_SETLK, &all), 0);
        for (size_t i = 0; i < sizeof(nonsense) / sizeof(nonsense[0]); i++)
                assert_false(turn_owner_alive(t->segment_fd, nonsense[i]));
        assert_true(turn_owner_alive(t->segment_fd, ID_FIRST));
        assert_true(turn_owner_alive(t->segment_fd, 2 * ID_FIRST - 1));
}

/* Whoever locks all ids is a nuisance, but nobody hangs. */
static void test_no_id_left(void **state)
{
        struct turns *t = *state;
        struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        uint64_t id = 4711;

        assert_int_equal(fcntl(t->segment_fd, F_OFD_SETLK, &all), 0);
        assert_int_equal(turn_id_take(t->turns_fd, &id), -ENOLCK);
        assert_true(id == 4711);
}

static void test_bad_file(void **state)
{
        uint64_t id = 4711;

        (void)state;
        assert_int_equal(turn_open(-1), -ENOENT);
        assert_int_equal(turn_id_take(-1, &id), -EBADF);
        assert_true(id == 4711);
        /* Whoever cannot ask must not overthrow. */
        assert_true(turn_owner_alive(-1, ID_FIRST));
}

/* --- taking and giving up ------------------------------------------------ */

static void test_one_at_a_time(void **state)
{
        struct turns *t = *state;
        uint64_t a = new_id(t), b = new_id(t);

        assert_true(turn_try(t->cell, a));
        assert_true(owner_look(&t->cell->owner) == a);
        assert_false(turn_try(t->cell, b));
        assert_false(look(t, b));
        assert_false(turn_try(t->cell, a)); /* not even twice the same */
        assert_false(turn_release(t->cell, b));
        assert_true(turn_release(t->cell, a));
        assert_false(turn_release(t->cell, a));
        assert_true(turn_try(t->cell, b));
        assert_true(count_read(&t->cell->turns) == 2);
}

static void test_tokens(void **state)
{
        struct turns *t = *state;
        uint64_t a = new_id(t), b = new_id(t);

        for (int i = 0; i < 5; i++) { /* taken over without a token, given up with one */
                assert_true(turn_take_over(t->cell, 0, a));
                assert_true(turn_release(t->cell, a));
                assert_int_equal(tokens(t), 1);
        }
        assert_int_equal(sem_trywait(&t->cell->turn), 0); /* lost with whoever was woken */
        assert_true(turn_try(t->cell, a));
        assert_true(turn_release(t->cell, a));
        assert_int_equal(tokens(t), 1);

        assert_true(turn_try(t->cell, a));
        assert_true(turn_take_over(t->cell, a, b));
        assert_false(turn_release(t->cell, a)); /* says nothing to those who wait for b */
        assert_int_equal(tokens(t), 0);
        assert_true(turn_release(t->cell, b));
        assert_int_equal(tokens(t), 1);
}

/* A post that never came costs a look, which everybody who waits takes by himself. */
static void test_lost_post(void **state)
{
        struct turns *t = *state;
        uint64_t a = new_id(t);
        uint64_t before = unit_usec();

        assert_int_equal(sem_trywait(&t->cell->turn), 0);
        turn_wait(t->cell, 1000);
        assert_true(unit_usec() - before >= 1000);
        assert_true(look(t, a));
}

static void test_dead_owner(void **state)
{
        struct turns *t = *state;
        uint64_t a = new_id(t), b = new_id(t), c = new_id(t);

        assert_true(turn_try(t->cell, a));
        turn_id_drop(t->turns_fd, a);
        assert_false(turn_try(t->cell, b));
        assert_true(look(t, b));
        assert_false(turn_take_over(t->cell, a, c)); /* who saw the same dead owner is late */
        assert_true(owner_look(&t->cell->owner) == b);
        assert_true(count_read(&t->cell->turns) == 2);
}

static void test_hold_limit(void **state)
{
        struct turns *t = *state;
        uint64_t a = new_id(t), b = new_id(t), limit = 3 * UINT64_C(1000000);
        struct turn_watch watch = {0};

        assert_true(turn_try(t->cell, a));
        assert_false(turn_look(t->cell, t->segment_fd, 3, &watch, 1000, b));
        assert_false(turn_look(t->cell, t->segment_fd, 3, &watch, 1000 + limit - 1, b));

        /* Another turn, though of the same owner: the time begins anew. */
        assert_true(turn_release(t->cell, a));
        assert_true(turn_try(t->cell, a));
        assert_false(turn_look(t->cell, t->segment_fd, 3, &watch, 1000 + limit, b));
        assert_false(turn_look(t->cell, t->segment_fd, 3, &watch, 1000 + 2 * limit - 1, b));
        assert_false(turn_look(t->cell, t->segment_fd, 0, &watch, 1000 + 9 * limit, b));
        assert_true(turn_look(t->cell, t->segment_fd, 3, &watch, 1000 + 2 * limit, b));
        assert_true(owner_look(&t->cell->owner) == b);
}

/* --- processes and threads ------------------------------------------------ */

/* What a killed child leaves is a dead owner, at once. */
static void test_killed(void **state)
{
        struct turns *t = *state;
        uint64_t mine = new_id(t);
        pid_t child = fork();

        if (child == 0) {
                int fd = turn_open(t->segment_fd);
                uint64_t id;

                if (turn_id_take(fd, &id) < 0 || !turn_try(t->cell, id))
                        _exit(1);
                for (;;)
                        pause();
        }
        unit_await(owner_look(&t->cell->owner) != 0);
        assert_false(look(t, mine));
        assert_int_equal(kill(child, SIGKILL), 0);
        (void)unit_reap(child);
        assert_true(look(t, mine));
}

/* Why a forked child must close its copy of the file. */
static void test_copies_live_on(void **state)
{
        struct turns *t = *state;
        uint64_t id = new_id(t);
        int copy = dup(t->turns_fd); /* as fork(2) makes one */

        close(t->turns_fd);
        assert_true(turn_owner_alive(t->segment_fd, id));
        close(copy);
        assert_false(turn_owner_alive(t->segment_fd, id));
        t->turns_fd = turn_open(t->segment_fd);
}

struct contender {
        struct turns *turns;
        uint64_t *guarded; /* by the turn alone */
        pthread_t thread;
};

static void *contend(void *userdata)
{
        struct contender *contender = userdata;
        struct turns *t = contender->turns;
        uint64_t id = new_id(t);

        for (unsigned i = 0; i < ROUNDS; i++) {
                while (!turn_try(t->cell, id) && !look(t, id))
                        turn_wait(t->cell, TURN_SLICE_USEC);
                ++*contender->guarded;
                if (i % 100 == 17)
                        (void)sem_post(&t->cell->turn); /* one too many */
                if (i % 100 == 59)
                        (void)sem_trywait(&t->cell->turn);
                if (!turn_release(t->cell, id))
                        return (void *)1;
        }
        return NULL;
}

static void test_exclusion(void **state)
{
        struct contender contenders[THREADS];
        uint64_t guarded = 0;
        void *failed;

        for (int i = 0; i < THREADS; i++) {
                contenders[i] = (struct contender){.turns = *state, .guarded = &guarded};
                assert_int_equal(pthread_create(&contenders[i].thread, NULL, contend,
                                                &contenders[i]),
                                 0);
        }
        for (int i = 0; i < THREADS; i++) {
                assert_int_equal(pthread_join(contenders[i].thread, &failed), 0);
                assert_null(failed);
        }
        assert_true(guarded == THREADS * ROUNDS);
        assert_true(owner_look(&((struct turns *)*state)->cell->owner) == 0);
}

/* As in test-doorbell.c: with glibc's functions this would be the end of the process. */
static void test_mode_of_nobody(void **state)
{
        struct turns *t = *state;
        uint64_t id;

        assert_int_equal(turn_id_take(t->turns_fd, &id), 0);
        memset(&t->cell->turn, 0, 8);
        memset((char *)&t->cell->turn + 8, 0x5a, sizeof(sem_t) - 8);
        turn_wait(t->cell, 1000);
        assert_true(turn_try(t->cell, id));
        assert_true(turn_release(t->cell, id));
        assert_int_equal(tokens(t), 1);
        memset(&t->cell->turn, 0xff, sizeof(sem_t));
        turn_wait(t->cell, 1000);
        assert_true(turn_try(t->cell, id));
        assert_true(turn_release(t->cell, id));
}

#define turn_case(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                turn_case(test_ids),
                turn_case(test_nonsense_is_nobody),
                turn_case(test_no_id_left),
                turn_case(test_bad_file),
                turn_case(test_one_at_a_time),
                turn_case(test_tokens),
                turn_case(test_lost_post),
                turn_case(test_dead_owner),
                turn_case(test_hold_limit),
                turn_case(test_killed),
                turn_case(test_copies_live_on),
                turn_case(test_exclusion),
                turn_case(test_mode_of_nobody),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
