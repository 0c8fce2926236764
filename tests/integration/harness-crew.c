/* SPDX-License-Identifier: MIT */

/*
 * The crew: processes that draw until told to stop, or killed.
 *
 * Before each draw a drawer writes down, in memory that outlives it, how many
 * numbers it is about to draw; when it has recorded them it takes that back.
 * What stands there when it was killed is all that may be missing on account
 * of its death. So a killed drawer makes gaps legitimate, but only so many, and
 * duplicates never.
 *
 * A drawer whose draws fail, whose numbers do not ascend or were had before,
 * says so in its slot and exits; the test finds it there.
 */

#include "harness.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define DRAW_TIMEOUT_USEC UINT64_C(20000000) /* a draw that takes longer has hung */
#define BURST             UINT64_C(256)      /* draws between two looks at the clock */

/* Written by the drawer alone. */
struct slot {
        _Alignas(128) _Atomic(uint64_t) about_to_draw[CREW_SEQUENCES_MAX];
        _Atomic(uint64_t) end[CREW_SEQUENCES_MAX];
        _Atomic(uint64_t) drawn;
        _Atomic(uint64_t) n_draws;
        char complaint[256];
};

struct board {
        _Atomic(bool) stop;
        struct slot slots[CREW_MAX];
};

struct crew {
        struct instance *instance;
        struct crew_order order;
        size_t n_sequences;
        struct board *board; /* shared with the drawers */
        pid_t pids[CREW_MAX];
        uint64_t drawn; /* by those killed and replaced */
        uint64_t end[CREW_SEQUENCES_MAX];
        uint64_t lost[CREW_SEQUENCES_MAX];
};

/* --- a drawer -------------------------------------------------------------- */

struct drawer {
        const struct crew *crew;
        struct slot *slot;
        struct seqnum *seqs[CREW_SEQUENCES_MAX];
        uint64_t ends[CREW_SEQUENCES_MAX]; /* of its own numbers */
        uint64_t drawn;
        uint64_t began;
};

__attribute__((format(printf, 2, 3), noreturn)) static void complain(struct slot *slot,
                                                                     const char *format, ...)
{
        va_list arguments;

        va_start(arguments, format);
        (void)vsnprintf(slot->complaint, sizeof(slot->complaint), format, arguments);
        va_end(arguments);
        _exit(1);
}

static uint64_t get(const _Atomic(uint64_t) *word)
{
        return atomic_load_explicit(word, memory_order_relaxed);
}

/* In the order in which the drawer did it, as seen by who reaps it. */
static void set(_Atomic(uint64_t) *word, uint64_t value)
{
        atomic_store_explicit(word, value, memory_order_release);
}

/* Right after a reboot there may be no segment yet, or one without its sequences. */
static void drawer_attach(struct drawer *drawer)
{
        const struct crew *crew = drawer->crew;
        uint64_t deadline = now_usec() + patience_usec(DRAW_TIMEOUT_USEC);
        struct seqnum_client *client = NULL;
        int r;

        while ((r = seqnum_attach(&client, crew->instance->shm, crew->order.flags)) < 0) {
                if ((r != -ENXIO && r != -EAGAIN) || now_usec() > deadline)
                        complain(drawer->slot, "attach: %s", seqnum_strerror(r));
                nap(1000);
        }
        (void)seqnum_set_timeout(client, patience_usec(DRAW_TIMEOUT_USEC));
        for (size_t i = 0; i < crew->n_sequences; i++) {
                r = seqnum_open(&drawer->seqs[i], client, crew->order.sequences[i].name);
                if (r < 0)
                        complain(drawer->slot, "open %s: %s", crew->order.sequences[i].name,
                                 seqnum_strerror(r));
        }
}

static void drawer_note(struct drawer *drawer, size_t i, const struct seqnum_run *run)
{
        const struct crew_sequence *sequence = &drawer->crew->order.sequences[i];
        uint64_t index = record_index(sequence->record, run->first);

        if (index + run->count > RECORD_SIZE)
                complain(drawer->slot, "%s: %" PRId64 " cannot be one of its numbers",
                         sequence->name, run->first);
        if (index < drawer->ends[i])
                complain(drawer->slot, "%s: %" PRId64 " (index %" PRIu64 ") after index %" PRIu64,
                         sequence->name, run->first, index, drawer->ends[i] - 1);
        if (!record_add(sequence->record, run->first, run->count))
                complain(drawer->slot, "%s: DUPLICATE among %" PRIu32 " numbers from %" PRId64,
                         sequence->name, run->count, run->first);
        drawer->ends[i] = index + run->count;
        drawer->drawn += run->count;
        if (drawer->ends[i] > get(&drawer->slot->end[i]))
                set(&drawer->slot->end[i], drawer->ends[i]);
}

static uint32_t choose_count(const struct crew_order *order)
{
        if (order->run_every == 0 || random_below(order->run_every) != 0)
                return 1;
        return 1 + (uint32_t)random_below(order->run_max);
}

static void drawer_draw(struct drawer *drawer)
{
        const struct crew *crew = drawer->crew;
        size_t i = random_below(crew->n_sequences);
        uint32_t count = choose_count(&crew->order);
        struct seqnum_run run = {.count = 1};
        int r;

        set(&drawer->slot->about_to_draw[i], count);
        if (count == 1 && random_below(8) != 0)
                r = seqnum_next(drawer->seqs[i], &run.first);
        else
                r = seqnum_next_run(drawer->seqs[i], count, &run);
        if (r < 0)
                complain(drawer->slot, "%s: a draw of %" PRIu32 " failed: %s",
                         crew->order.sequences[i].name, count, seqnum_strerror(r));
        if (run.count != count)
                complain(drawer->slot, "%s: %" PRIu32 " numbers instead of %" PRIu32,
                         crew->order.sequences[i].name, run.count, count);
        drawer_note(drawer, i, &run);
        set(&drawer->slot->about_to_draw[i], 0);
        set(&drawer->slot->drawn, drawer->drawn);
        set(&drawer->slot->n_draws, get(&drawer->slot->n_draws) + 1);
}

/* How long to sleep so as not to draw faster than told, nor to fill the record. */
static uint64_t drawer_pause(const struct drawer *drawer)
{
        uint64_t due = drawer->drawn * UINT64_C(1000000) / drawer->crew->order.rate;
        uint64_t passed = now_usec() - drawer->began;

        for (size_t i = 0; i < drawer->crew->n_sequences; i++)
                if (drawer->ends[i] > RECORD_SIZE / 16 * 15)
                        return UINT64_C(10000);
        return due > passed ? due - passed : 0;
}

static bool stopping(const struct crew *crew)
{
        return atomic_load_explicit(&crew->board->stop, memory_order_relaxed);
}

__attribute__((noreturn)) static void drawer_main(const struct crew *crew, size_t number)
{
        struct drawer drawer = {.crew = crew, .slot = &crew->board->slots[number]};
        uint64_t pause = 0;

        drawer_attach(&drawer);
        drawer.began = now_usec();
        while (!stopping(crew)) {
                if (pause > 0) /* at most a little, so that it is soon there when stopped */
                        nap(pause < 5000 ? pause : 5000);
                else
                        for (uint64_t n = 1 + random_below(2 * BURST); n > 0 && !stopping(crew);
                             n--)
                                drawer_draw(&drawer);
                pause = drawer_pause(&drawer);
        }
        _exit(0);
}

/* --- the crew, from the test's side ---------------------------------------- */

static void start_drawer(struct crew *crew, size_t number)
{
        crew->pids[number] = instance_fork(crew->instance);
        if (crew->pids[number] == 0)
                drawer_main(crew, number);
}

struct crew *crew_start(struct instance *instance, const struct crew_order *order)
{
        struct crew *crew = calloc(1, sizeof(*crew));

        assert_non_null(crew);
        assert_null(instance->crew);
        assert_true(order->n_drawers <= CREW_MAX && order->rate > 0);
        instance->crew = crew;
        crew->instance = instance;
        crew->order = *order;
        while (crew->n_sequences < CREW_SEQUENCES_MAX && order->sequences[crew->n_sequences].name)
                crew->n_sequences++;
        crew->board = shared_memory(sizeof(*crew->board));
        for (size_t i = 0; i < order->n_drawers; i++)
                start_drawer(crew, i);
        return crew;
}

void crew_free(struct instance *instance)
{
        struct crew *crew = instance->crew;

        if (!crew)
                return;
        for (size_t i = 0; i < crew->order.n_drawers; i++)
                if (crew->pids[i] > 0)
                        crew_kill(crew, i);
        for (size_t i = 0; i < crew->n_sequences; i++)
                crew->order.sequences[i].record = record_free(crew->order.sequences[i].record);
        (void)munmap(crew->board, sizeof(*crew->board));
        free(crew);
        instance->crew = NULL;
}

void crew_kill(struct crew *crew, size_t drawer)
{
        struct slot *slot = &crew->board->slots[drawer];

        (void)kill(crew->pids[drawer], SIGKILL);
        instance_reap(crew->instance, crew->pids[drawer]);
        crew->pids[drawer] = 0;
        for (size_t i = 0; i < crew->n_sequences; i++)
                crew->lost[i] += get(&slot->about_to_draw[i]);
}

void crew_replace(struct crew *crew, size_t drawer)
{
        struct slot *slot = &crew->board->slots[drawer];

        assert_int_equal(crew->pids[drawer], 0);
        crew_check(crew);
        crew->drawn += get(&slot->drawn);
        for (size_t i = 0; i < crew->n_sequences; i++)
                if (get(&slot->end[i]) > crew->end[i])
                        crew->end[i] = get(&slot->end[i]);
        memset(slot, 0, sizeof(*slot));
        start_drawer(crew, drawer);
}

void crew_check(struct crew *crew)
{
        for (size_t i = 0; i < crew->order.n_drawers; i++)
                if (crew->board->slots[i].complaint[0])
                        fail_msg("drawer %zu: %s", i, crew->board->slots[i].complaint);
}

void crew_await_progress(struct crew *crew)
{
        uint64_t deadline = now_usec() + patience_usec(DRAW_TIMEOUT_USEC);
        uint64_t before[CREW_MAX] = {0};

        for (size_t i = 0; i < crew->order.n_drawers; i++)
                before[i] = get(&crew->board->slots[i].n_draws);
        for (size_t i = 0; i < crew->order.n_drawers; i++) {
                while (get(&crew->board->slots[i].n_draws) < before[i] + 2) {
                        crew_check(crew);
                        if (now_usec() > deadline)
                                fail_msg("drawer %zu has come to a halt", i);
                        nap(1000);
                }
        }
}

void crew_stop(struct crew *crew)
{
        atomic_store(&crew->board->stop, true);
        for (size_t i = 0; i < crew->order.n_drawers; i++) {
                int status = instance_join(crew->instance, crew->pids[i], 30);

                crew->pids[i] = 0;
                crew_check(crew);
                if (status != 0)
                        fail_msg("drawer %zu exited with status %d", i, status);
        }
}

/* --- the result ------------------------------------------------------------ */

uint64_t crew_drawn(const struct crew *crew)
{
        uint64_t drawn = crew->drawn;

        for (size_t i = 0; i < crew->order.n_drawers; i++)
                drawn += get(&crew->board->slots[i].drawn);
        return drawn;
}

uint64_t crew_end(const struct crew *crew, size_t sequence)
{
        uint64_t end = crew->end[sequence];

        for (size_t i = 0; i < crew->order.n_drawers; i++)
                if (get(&crew->board->slots[i].end[sequence]) > end)
                        end = get(&crew->board->slots[i].end[sequence]);
        return end;
}

uint64_t crew_lost(const struct crew *crew, size_t sequence)
{
        return crew->lost[sequence];
}

uint64_t crew_skipped(const struct instance *instance, const struct crew *crew, size_t sequence)
{
        const struct crew_sequence *s = &crew->order.sequences[sequence];
        uint64_t next = record_index(s->record, instance_peek(instance, s->name));

        if (next >= RECORD_SIZE || next < crew_end(crew, sequence))
                fail_msg("%s: index %" PRIu64 " was drawn, but %" PRIu64 " would come next",
                         s->name, crew_end(crew, sequence) - 1, next);
        return next - record_count(s->record, next);
}
