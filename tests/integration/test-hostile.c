/* SPDX-License-Identifier: MIT */

/*
 * A client with the right to draw, and with the will to do harm.
 *
 * The boundary of trust is the group that may draw: who is in it can take all
 * numbers there are, and can make others of the group get what they should not, by
 * writing into the words that all of them share. What must hold nonetheless, and
 * is shown here, is what the daemon can answer for:
 *
 *   - It neither dies nor hangs, whatever is written into the pages that clients
 *     write, whatever is done to the object, however it is called.
 *   - What it hands out itself, over its socket, it never hands out twice, and what it
 *     reserves never goes back, not even while its cells are being scribbled on.
 *   - A cell that was overwritten as a whole (random bytes, zeros) is noticed at the
 *     next look. From then on the sequence has a slot above all that was reserved, so
 *     that what is drawn there was not drawn before: not by the daemon, not by anybody
 *     else, also on handles opened before. Numbers may be skipped.
 *   - Sequences that nobody wrote to skip nothing and repeat nothing.
 *   - It says in the log what it saw.
 *
 * What cannot be promised: somebody who sets a cell's index back, by as little as the
 * daemon has not looked meanwhile, makes others of the group draw the same again.
 *
 * This includes the segment's layout, as whoever means harm would.
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "layout.h"

#define AWAIT_USEC UINT64_C(20000000)

/* --- what the hostile see -------------------------------------------------------- */

/* The object, mapped for writing where a client may, and where it should not. */
struct target {
        int fd;
        struct segment_header *header;
        uint64_t size;
        struct segment_shared *shared;
        _Atomic(uint64_t) *wants;
        struct cell *cells;
};

static void forget(struct target *t)
{
        if (t->header && t->header != MAP_FAILED)
                (void)munmap(t->header, t->size);
        if (t->fd >= 0)
                (void)close(t->fd);
        t->header = NULL;
}

/* Is it there, and not what the last blow has made of it? */
static bool aim(struct target *t, const struct instance *instance)
{
        struct stat status;

        *t = (struct target){.fd = open(instance_object(instance), O_RDWR | O_CLOEXEC)};
        if (t->fd < 0 || fstat(t->fd, &status) < 0 || status.st_size < SEGMENT_PAGE)
                return false;
        t->size = (uint64_t)status.st_size;
        t->header = mmap(NULL, t->size, PROT_READ | PROT_WRITE, MAP_SHARED, t->fd, 0);
        return t->header != MAP_FAILED && t->header->size == t->size &&
               t->header->writable < t->size && t->header->wants < t->size &&
               t->header->cells < t->size;
}

/* In a child: there is no assertion. */
static struct target take_aim(const struct instance *instance)
{
        struct target t;

        while (!aim(&t, instance)) {
                forget(&t);
                nap(100);
        }
        t.shared = segment_at(t.header, t.header->writable);
        t.wants = segment_at(t.header, t.header->wants);
        t.cells = segment_at(t.header, t.header->cells);
        return t;
}

/* --- what the well-behaved do ------------------------------------------------------ */

/*
 * Who draws one number after the other, now by the library, now from the daemon: each
 * must be larger than the last, or it was drawn twice. A record would not hold them:
 * whoever scribbles on an index can also set it far ahead.
 */
struct fair {
        struct instance *instance;
        struct seqnum_client *client;
        struct seqnum *orders, *items;
        int64_t last[2];
        uint64_t n;
};

/* Handles of before the harm was done. */
static struct fair fair_start(struct instance *instance, const char *ini)
{
        struct fair fair = {.instance = instance};

        instance_configure(instance,
                           "max_sequences = 64\n%s"
                           "[sequence orders]\n[sequence items]\n[sequence spared]\n"
                           "[sequence invoices]\nkind = gapless\n",
                           ini);
        instance_start(instance);
        fair.client = instance_attach(instance);
        assert_int_equal(seqnum_set_timeout(fair.client, patience_usec(AWAIT_USEC)), 0);
        fair.orders = instance_open(fair.client, "orders");
        fair.items = instance_open(fair.client, "items");
        return fair;
}

static void fair_end(struct fair *fair)
{
        fair->client = seqnum_detach(fair->client);
}

static void fair_add(struct fair *fair, size_t i, int64_t value)
{
        if (value <= fair->last[i])
                fail_msg("%s: %" PRId64 " after %" PRId64, i ? "items" : "orders", value,
                         fair->last[i]);
        fair->last[i] = value;
        fair->n++;
}

/* By the library, on the handles there are. */
static void fair_draw(struct fair *fair, unsigned count)
{
        for (unsigned i = 0; i < count; i++) {
                fair_add(fair, 0, must_next(fair->orders));
                fair_add(fair, 1, must_next(fair->items));
        }
}

/* By the daemon. While harm is being done it may have to say that it cannot, not now. */
static bool fair_ask(struct fair *fair, size_t i)
{
        const char *answer = instance_ask(fair->instance, "INCR %s", i ? "items" : "orders");

        if (answer[0] == ':') {
                fair_add(fair, i, strtoll(answer + 1, NULL, 10));
                return true;
        }
        if (strncmp(answer, "-TRYAGAIN", 9) != 0 && strncmp(answer, "-ERR", 4) != 0)
                fail_msg("INCR: %s", answer);
        return false;
}

/* It lives, and has had a look at both sequences: what was overwritten is known. */
static void fair_recover(struct fair *fair)
{
        uint64_t deadline = now_usec() + patience_usec(AWAIT_USEC);

        for (size_t i = 0; i < 2; i++)
                while (!fair_ask(fair, i)) {
                        assert_true(now_usec() < deadline);
                        nap(10000);
                }
}

static void assert_alive(const struct instance *instance)
{
        uint64_t began = now_usec();

        assert_string_equal(instance_ask(instance, "PING"), "+PONG");
        assert_true(now_usec() - began < patience_usec(2000000));
        assert_int_equal(kill(instance->pid, 0), 0);
}

/* --- harm, in a process of its own -------------------------------------------------- */

typedef void (*harm_function)(const struct instance *instance, uint64_t round);

static pid_t harm_begin(struct instance *instance, harm_function harm, uint64_t round)
{
        pid_t pid = instance_fork(instance);

        if (pid == 0) {
                harm(instance, round);
                _exit(0);
        }
        return pid;
}

static void harm_end(struct instance *instance, pid_t pid)
{
        (void)kill(pid, SIGKILL);
        instance_reap(instance, pid);
}

static void fill_randomly(void *where, size_t size)
{
        uint8_t *bytes = where;

        for (size_t i = 0; i + 8 <= size; i += 8) {
                /* 48 bits each */
                uint64_t word = random_below(UINT64_MAX) ^ random_below(UINT64_MAX) << 16;

                memcpy(bytes + i, &word, sizeof(word));
        }
}

/* Cells but for the spared sequence's, the third; the doorbell, all marks. Until killed. */
static void scribble(const struct instance *instance, uint64_t round)
{
        struct target t = take_aim(instance);

        for (;;) {
                for (uint32_t slot = 0; slot < t.header->n_slots; slot++)
                        if (slot != 2)
                                fill_randomly(&t.cells[slot], sizeof(struct cell));
                fill_randomly(t.shared, sizeof(*t.shared));
                fill_randomly(t.wants, t.header->n_slots / 8);
                if (round % 4 != 3)
                        nap(random_below(200000)); /* a commit has to fit in */
                forget(&t); /* there may be another one under the name by now */
                t = take_aim(instance);
        }
}

static void scribbled_pages(struct instance *instance)
{
        const uint64_t rounds = scaled(10);
        struct fair fair = fair_start(instance, "");
        struct seqnum *spared = instance_open(fair.client, "spared");
        uint64_t asked = 0, granted = 0;
        int64_t last = 0;

        for (uint64_t round = 0; round < rounds; round++) {
                uint64_t until = now_usec() + 300000;
                pid_t pid;

                fair_draw(&fair, 1000);
                pid = harm_begin(instance, scribble, round);
                while (now_usec() < until) {
                        if (round % 4 != 3) { /* else it would be in vain, for five seconds each */
                                asked += 2;
                                granted += fair_ask(&fair, 0);
                                granted += fair_ask(&fair, 1);
                        }
                        assert_int_equal(must_next(spared), ++last);
                }
                assert_alive(instance);
                harm_end(instance, pid);
                fair_recover(&fair);
                fair_draw(&fair, 1000);
                assert_int_equal(must_next(spared), ++last);
                progress("%" PRIu64 " of %" PRIu64 " rounds, %" PRIu64 " numbers", round + 1,
                         rounds, fair.n);
        }
        assert_true(instance_will_say(instance, "cell in segment"));
        assert_alive(instance);
        figures("rounds=%" PRIu64 " numbers=%" PRIu64 " asked_meanwhile=%" PRIu64
                " granted_meanwhile=%" PRIu64 " duplicates=0",
                rounds, fair.n, asked, granted);
        fair_end(&fair);
}

/* --- what is done to the object --------------------------------------------------- */

enum blow { TRUNCATE, TRUNCATE_CELLS, PUNCH, PUNCH_CELLS, OVERWRITE, N_BLOWS };

static void strike(const struct instance *instance, uint64_t blow)
{
        struct target t = take_aim(instance);
        off_t size = (off_t)t.size, cells = (off_t)t.header->cells;
        const int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
        uint8_t bytes[4096];
        int r = 0;

        switch ((enum blow)(blow % N_BLOWS)) {
        case TRUNCATE:
                r = ftruncate(t.fd, (off_t)random_below((uint64_t)size));
                break;
        case TRUNCATE_CELLS:
                r = ftruncate(t.fd, cells);
                break;
        case PUNCH:
                r = fallocate(t.fd, punch, 0, size);
                break;
        case PUNCH_CELLS:
                r = fallocate(t.fd, punch, cells, size - cells);
                break;
        default: /* the header, by write(2) */
                fill_randomly(bytes, sizeof(bytes));
                r = pwrite(t.fd, bytes, sizeof(bytes), 0) < 0 ? -1 : 0;
                break;
        }
        _exit(r < 0 ? 12 : 0);
}

static ino_t object_inode(const struct instance *instance)
{
        struct stat status;

        return stat(instance_object(instance), &status) < 0 ? 0 : status.st_ino;
}

/* Until the object has its size again. */
static void await_mended(int fd, off_t size)
{
        uint64_t deadline = now_usec() + patience_usec(AWAIT_USEC);
        struct stat status;

        while (fstat(fd, &status) < 0 || status.st_size != size) {
                assert_true(now_usec() < deadline);
                nap(1000);
        }
        (void)close(fd);
}

/*
 * The handles are idle while it happens: who touches what is missing just then is
 * ended by SIGBUS (seqnum.h). Thereafter they go on, on another object or in another
 * slot.
 */
static void damaged_objects(struct instance *instance)
{
        const uint64_t rounds = N_BLOWS + scaled(20);
        struct fair fair = fair_start(instance, "");
        uint64_t replaced = 0;

        for (uint64_t round = 0; round < rounds; round++) {
                int fd = open(instance_object(instance), O_RDONLY | O_CLOEXEC);
                struct stat before;

                assert_int_equal(fstat(fd, &before), 0);
                fair_draw(&fair, 100);
                assert_int_equal(instance_join(instance, harm_begin(instance, strike, round), 20),
                                 0);
                await_mended(fd, before.st_size);
                fair_recover(&fair);
                fair_draw(&fair, 100);
                assert_alive(instance);
                replaced += object_inode(instance) != before.st_ino;
                progress("%" PRIu64 " of %" PRIu64 " rounds", round + 1, rounds);
        }
        assert_true(instance_will_say(instance, "somebody has damaged segment"));
        /* And what it does know is kept over a stop. */
        instance_stop(instance);
        instance_start(instance);
        fair_draw(&fair, 10);
        figures("objects_damaged=%" PRIu64 " replaced=%" PRIu64 " numbers=%" PRIu64 " duplicates=0",
                rounds, replaced, fair.n);
        fair_end(&fair);
}

/*
 * Damaged while the daemon is dead: the next one starts, on a fresh object if need be.
 * (But for one that bears no sign of being ours: root does not remove that.)
 */
static void damaged_while_away(struct instance *instance)
{
        const uint64_t rounds = scaled(10);
        struct fair fair = fair_start(instance, "");

        for (uint64_t round = 0; round < rounds; round++) {
                fair_draw(&fair, 10);
                instance_kill(instance);
                fair.client = seqnum_detach(fair.client); /* nobody mends it meanwhile */
                assert_int_equal(instance_join(instance,
                                               harm_begin(instance, strike, round % OVERWRITE), 20),
                                 0);
                instance_start(instance);
                fair.client = instance_attach(instance);
                fair.orders = instance_open(fair.client, "orders");
                fair.items = instance_open(fair.client, "items");
                fair_draw(&fair, 10);
                fair_recover(&fair);
        }
        fair_end(&fair);
}

/* --- how it is called --------------------------------------------------------------- */

/* Marks and posts without end. */
static void flood(const struct instance *instance, uint64_t round)
{
        struct target t = take_aim(instance);

        (void)round;
        for (;;) {
                for (uint32_t i = 0; i < t.header->n_slots / 64; i++)
                        atomic_store(&t.wants[i], UINT64_MAX);
                atomic_store(&t.shared->summary[0], UINT64_MAX);
                (void)sem_post(&t.shared->doorbell);
        }
}

/* As if posted two billion times: as far as it goes, and from there by real posts. */
static void pile_up(const struct instance *instance, uint64_t round)
{
        struct target t = take_aim(instance);

        for (;;) {
                for (uint32_t slot = 0; slot < 8; slot++)
                        (void)sem_init(&t.cells[slot].turn, 1, SEM_VALUE_MAX - (unsigned)round % 3);
                (void)sem_init(&t.shared->doorbell, 1, SEM_VALUE_MAX - (unsigned)round % 3);
                for (int i = 0; i < 1000; i++) {
                        (void)sem_post(&t.shared->doorbell);
                        (void)sem_post(&t.cells[3].turn);
                }
        }
}

/* With others at their draws all the while; the daemon has the work of it, and does it. */
static void harassed(struct instance *instance, harm_function harm, const char *name)
{
        struct fair fair = fair_start(instance, "reserve = 16\n");
        struct seqnum *invoices = instance_open(fair.client, "invoices");
        uint64_t until, slowest = 0, rounds = scaled(2);
        int64_t last_invoice = 0;

        fair_draw(&fair, 10);
        for (uint64_t round = 0; round < rounds; round++) {
                pid_t pid = harm_begin(instance, harm, round);

                until = now_usec() + 500000;
                while (now_usec() < until) {
                        uint64_t began = now_usec();

                        fair_draw(&fair, 50);
                        assert_true(fair_ask(&fair, 0));
                        assert_int_equal(must_next(invoices), ++last_invoice);
                        if (now_usec() - began > slowest)
                                slowest = now_usec() - began;
                }
                assert_alive(instance);
                harm_end(instance, pid);
                progress("%s: %" PRIu64 " of %" PRIu64 " rounds", name, round + 1, rounds);
        }
        fair_draw(&fair, 100);
        assert_int_equal(must_next(invoices), ++last_invoice);
        assert_int_equal(must_next(fair.orders), (int64_t)fair.last[0] + 1);
        figures("%s: numbers=%" PRIu64 " slowest_ms=%" PRIu64 " duplicates=0", name, fair.n,
                slowest / 1000);
        fair_end(&fair);
}

static void flooded_doorbell(struct instance *instance)
{
        harassed(instance, flood, "flood");
}

static void piled_up_semaphores(struct instance *instance)
{
        harassed(instance, pile_up, "posts");
}

/* --- the turn, held for ever ----------------------------------------------------------- */

static void hold_for_ever(const struct instance *instance, uint64_t round)
{
        struct seqnum_client *client;
        struct seqnum *seq;
        int64_t number;

        if (seqnum_attach(&client, instance->shm, 0) < 0 ||
            seqnum_open(&seq, client, "invoices") < 0 || seqnum_begin(seq, &number) < 0)
                _exit(20);
        if (round % 2)
                (void)raise(SIGSTOP);
        for (;;)
                nap(1000000);
}

static void await_holder(const struct instance *instance)
{
        char line[4096];
        uint64_t deadline = now_usec() + patience_usec(AWAIT_USEC);

        do {
                assert_true(now_usec() < deadline);
                nap(1000);
                assert_int_equal(instance_command(instance, line, sizeof(line),
                                                  "info --json invoices"),
                                 0);
        } while (!strstr(line, "\"turn_held\": true") && !strstr(line, "\"turn_held\":true"));
}

/*
 * Without a hold_limit that is the holder's right. It costs the others of that
 * sequence their time, up to their own bound, and nobody else anything; when the
 * holder dies, stopped or not, the next one gets the number.
 */
static void turn_held_for_ever(struct instance *instance)
{
        struct fair fair = fair_start(instance, "");
        struct seqnum *invoices = instance_open(fair.client, "invoices");
        int64_t number = 0;

        for (uint64_t round = 0; round < 2; round++) {
                pid_t pid = harm_begin(instance, hold_for_ever, round);

                await_holder(instance);
                assert_int_equal(seqnum_set_timeout(fair.client, 200000), 0);
                assert_int_equal(seqnum_next(invoices, &number), -ETIMEDOUT);
                assert_int_equal(seqnum_begin(invoices, &number), -ETIMEDOUT);
                if (round == 1) /* the daemon too has no way around, and can be stopped */
                        assert_int_equal(strncmp(instance_ask(instance, "INCR invoices"),
                                                 "-TRYAGAIN", 9),
                                         0);
                fair_draw(&fair, 1000);
                assert_true(fair_ask(&fair, 0));
                instance_stop(instance);
                instance_start(instance);
                fair_draw(&fair, 10);
                assert_alive(instance);
                harm_end(instance, pid);
                assert_int_equal(seqnum_set_timeout(fair.client, patience_usec(AWAIT_USEC)), 0);
                assert_int_equal(must_next(invoices), (int64_t)round + 1);
        }
        fair_end(&fair);
}

/*
 * A daemon that lives mends what it finds; until it does, here when it is let go on, draws
 * wait. That the segment is corrupt is for who has nobody to mend it.
 */
static void overwrite_header(const struct instance *instance, uint64_t round)
{
        struct target t = take_aim(instance);
        const uint64_t magic = 1;
        const uint32_t state = SEGMENT_RETIRED;

        (void)round;
        if (pwrite(t.fd, &state, sizeof(state), offsetof(struct segment_header, state)) < 0 ||
            pwrite(t.fd, &magic, sizeof(magic), 0) < 0)
                _exit(12);
        nap(300000);
        _exit(kill(instance->pid, SIGCONT) < 0 ? 13 : 0);
}

static void damage_is_waited_out(struct instance *instance)
{
        struct fair fair = fair_start(instance, "");
        struct seqnum *invoices = instance_open(fair.client, "invoices");
        pid_t pid;

        assert_int_equal(must_next(invoices), 1);
        assert_int_equal(kill(instance->pid, SIGSTOP), 0);
        pid = harm_begin(instance, overwrite_header, 0);
        nap(100000);
        assert_int_equal(must_next(invoices), 2);
        assert_int_equal(instance_join(instance, pid, 20), 0);
        fair_draw(&fair, 10);
        fair_end(&fair);
}

/* --- a claim that waits in a cell that cannot be believed --------------------------- */

static void draw_one(const struct instance *instance, _Atomic(int64_t) *ret)
{
        struct seqnum_client *client;
        struct seqnum *seq;
        int64_t value;
        int r;

        r = seqnum_attach(&client, instance->shm, 0);
        if (r >= 0)
                r = seqnum_set_timeout(client, patience_usec(AWAIT_USEC));
        if (r >= 0)
                r = seqnum_open(&seq, client, "orders");
        if (r >= 0)
                r = seqnum_next(seq, &value);
        atomic_store(ret, r < 0 ? r : value);
        _exit(r < 0);
}

/* All that is granted is drawn, and one more claimed, while the daemon sleeps. */
static pid_t leave_one_waiting(struct instance *instance, struct target *t,
                               _Atomic(int64_t) *number)
{
        const struct window *window = segment_at(t->header, t->header->windows);
        struct seqnum_client *client = instance_attach(instance);
        struct seqnum *orders = instance_open(client, "orders");
        uint64_t ceiling;
        pid_t pid;

        assert_int_equal(kill(instance->pid, SIGSTOP), 0);
        ceiling = atomic_load(&window->ceiling);
        while (atomic_load(&t->cells[0].next) < ceiling)
                (void)must_next(orders);
        seqnum_detach(client);
        pid = instance_fork(instance);
        if (pid == 0)
                draw_one(instance, number);
        while (atomic_load(&t->cells[0].next) <= ceiling)
                nap(1000);
        return pid;
}

/* Nobody has rung. */
static void silence(struct target *t)
{
        for (uint32_t i = 0; i < t->header->n_slots / 64; i++)
                atomic_store(&t->wants[i], 0);
        for (size_t i = 0; i < sizeof(t->shared->summary) / 8; i++)
                atomic_store(&t->shared->summary[i], 0);
        while (sem_trywait(&t->shared->doorbell) == 0)
                ;
}

/*
 * The cell is made one that cannot be believed, and the service stopped. It closes the
 * window where all that it granted ends; so does the next daemon not open it again,
 * since who waits there would be granted what others draw.
 */
static void stopped_in_doubt(struct instance *instance)
{
        _Atomic(int64_t) *number = shared_memory(sizeof(*number));
        struct target t;
        pid_t pid;

        instance_configure(instance, "[sequence orders]\nreserve = 10\n");
        for (uint64_t round = 0; round < scaled(5); round++) {
                instance_start(instance);
                assert_string_equal(instance_ask(instance, "INCR orders"), ":1");
                t = take_aim(instance);
                pid = leave_one_waiting(instance, &t, number);
                assert_int_equal(kill(pid, SIGSTOP), 0);
                (void)atomic_fetch_or(&t.cells[0].next, CELL_FROZEN);
                silence(&t);
                forget(&t);
                assert_int_equal(kill(instance->pid, SIGTERM), 0);
                assert_int_equal(kill(instance->pid, SIGCONT), 0);
                instance_stop(instance);
                instance_start(instance);
                assert_int_equal(kill(pid, SIGCONT), 0);
                for (int i = 0; i < 30; i++) {
                        const char *answer = instance_ask(instance, "INCR orders");

                        assert_int_equal(answer[0], ':');
                        if (i == 25)
                                assert_int_equal(instance_join(instance, pid, 30), 0);
                        if (strtoll(answer + 1, NULL, 10) == atomic_load(number))
                                fail_msg("DUPLICATE: %s", answer);
                }
                instance_stop(instance);
                instance_unlink(instance);
                shell("rm -rf '%s'", instance->state);
                atomic_store(number, 0);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                instance_test(scribbled_pages),      instance_test(damaged_objects),
                instance_test(damaged_while_away),   instance_test(flooded_doorbell),
                instance_test(piled_up_semaphores),  instance_test(turn_held_for_ever),
                instance_test(damage_is_waited_out), instance_test(stopped_in_doubt),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
