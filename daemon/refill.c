/* SPDX-License-Identifier: MIT */

/* Refilling windows; see refill.h. */

#include "refill.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "atomic.h"
#include "clock.h"
#include "log.h"
#include "pace.h"
#include "window.h"

#define RETRY_USEC    UINT64_C(250000)
#define FRESH_USEC    UINT64_C(1000)     /* to fill fresh slots; somebody may be scribbling */
#define COMPLAIN_USEC UINT64_C(30000000) /* say again that it still fails */
#define BAR_SEC       30                 /* ask nothing for a sequence that the store refuses */
#define ACCURACY_USEC UINT64_C(1000)     /* 0 would be 250 ms: sd_event_add_time(3) */

/*
 * With so many left nobody need wait even if draws come all at once after a pause, which
 * says nothing of their rate: if the commit begins now. And who has so many is not among
 * the thousands that are drawn from slowly.
 */
#define LARGE UINT64_C(1024)

/* One commit under way, with all it needs until its end. */
struct batch {
        struct commit_job job;
        struct refill *refill;
        uint64_t begun; /* CLOCK_MONOTONIC usec */
        size_t n;
        struct sequence **sequences;
        struct store_op ops[];
};

/* --- who wants, and how soon -------------------------------------------- */

/* Would a counter at its present rate be exhausted before a gathered commit is made? */
static bool runs_out(const struct refill *refill, const struct sequence *sequence, uint64_t next)
{
        uint64_t last = sequence->refilled_next, left = sequence->ceiling - next;
        uint64_t soon = 4 * REFILL_GATHER_USEC + 2 * refill->commit_usec;
        uint64_t elapsed = clock_usec(CLOCK_MONOTONIC) - sequence->refilled_usec;

        if (left >= LARGE)
                return true;
        return next > last && elapsed / (next - last) < soon / left;
}

/* Does somebody wait, or will somebody before the others have gathered? */
static bool presses(const struct refill *refill, const struct sequence *sequence)
{
        const struct sequence_params *params = &sequence->params;
        uint64_t next;

        if (params->kind == SEQUENCE_GAPLESS || sequence->frozen ||
            sequence->ceiling > sequence->hi || sequence->demand > sequence->ceiling)
                return true;
        if (!registry_at(refill->registry, sequence->slot) ||
            !window_next(refill->segment, sequence, &next) || next >= sequence->ceiling)
                return true;
        if (params->kind == SEQUENCE_TIME) {
                uint64_t now = sequence_time_index(params, clock_usec(CLOCK_REALTIME) / 1000);

                return (next > now ? next : now) + sequence->size / 4 >= sequence->ceiling;
        }
        return runs_out(refill, sequence, next);
}

void refill_want(struct refill *refill, struct sequence *sequence)
{
        struct sequence **wanting;
        size_t size;

        if (!refill->urgent)
                refill->urgent = presses(refill, sequence);
        if (sequence->wanted)
                return;
        if (refill->n_wanting == refill->size_wanting) {
                size = refill->size_wanting ? 2 * refill->size_wanting : 64;
                wanting = reallocarray(refill->wanting, size, sizeof(struct sequence *));
                if (!wanting)
                        return; /* whoever waits rings again */
                refill->wanting = wanting;
                refill->size_wanting = size;
        }
        sequence->wanted = true;
        refill->wanting[refill->n_wanting++] = sequence;
}

void refill_forget(struct refill *refill, const struct sequence *sequence)
{
        size_t n = 0;

        for (size_t i = 0; i < refill->n_wanting; i++)
                if (refill->wanting[i] != sequence)
                        refill->wanting[n++] = refill->wanting[i];
        refill->n_wanting = n;
}

static void want_word(struct refill *refill, uint32_t word)
{
        uint64_t bits = bell_take(&refill->segment->map.wants[word]);
        struct sequence *sequence;

        while (bits) {
                uint32_t bit = (uint32_t)__builtin_ctzll(bits);

                bits &= bits - 1;
                sequence = registry_at(refill->registry, word * 64 + bit);
                if (sequence)
                        refill_want(refill, sequence);
        }
}

void refill_answer(struct refill *refill)
{
        struct segment_shared *shared = refill->segment->map.shared;
        uint32_t words = refill->segment->map.geometry.n_slots / 64;

        for (uint32_t i = 0; i * 64 < words; i++) {
                uint64_t bits = bell_take(&shared->summary[i]);

                while (bits) {
                        uint32_t word = i * 64 + (uint32_t)__builtin_ctzll(bits);

                        bits &= bits - 1;
                        if (word < words)
                                want_word(refill, word);
                }
        }
        segment_heartbeat(refill->segment);
        refill_run(refill);
}

/* --- how much ---------------------------------------------------------- */

static uint64_t size_to_keep(struct sequence *sequence, uint64_t next, uint64_t now,
                             uint64_t commit_usec)
{
        uint64_t last = sequence->refilled_next;
        struct pace_sample sample = {
                .size = sequence->size,
                .elapsed_usec = now - sequence->refilled_usec,
                .consumed = next > last ? next - last : 0,
                .commit_usec = commit_usec,
                .exhausted = next >= sequence->ceiling,
        };

        sequence->refilled_usec = now;
        sequence->refilled_next = next;
        return sequence->params.reserve ? sequence->params.reserve : pace_size(&sample);
}

/* Reserve up to `end`; if all is reserved, a commit that changes nothing. */
static struct store_op reservation(const struct sequence *sequence, uint64_t end)
{
        struct store_op op = {
                .type = STORE_RESERVE,
                .id = sequence->id,
                .generation = sequence->generation,
                .from = sequence->hi,
                .count = end - sequence->hi,
        };

        if (end <= sequence->hi) {
                op.type = STORE_TUNE;
                op.params = sequence->params;
        }
        return op;
}

/*
 * Up to where ids of kind time should be reserved; `next` when that is so. By a
 * clock past the end of all ids nobody draws, so nothing is reserved by it: a
 * crash would make it the end indeed.
 */
static uint64_t time_to_keep(struct sequence *sequence, uint64_t next)
{
        const struct sequence_params *params = &sequence->params;
        uint64_t now = sequence_time_index(params, clock_usec(CLOCK_REALTIME) / 1000);
        uint64_t base = next > now || now >= sequence->map.limit ? next : now;

        sequence->size = sequence_time_ahead(params);
        if (sequence->frozen || base + sequence->size / 2 >= sequence->ceiling)
                return base + sequence->size;
        return next;
}

/*
 * A gapless sequence reserves nothing: what was committed is saved. True: the
 * commit in *ret.
 */
static bool plan_gapless(struct refill *refill, struct sequence *sequence, uint64_t next,
                         struct store_op *ret)
{
        if (sequence->frozen && !committer_sound(refill->committer)) {
                /* What failed may have been to end this window: a commit first. */
                *ret = reservation(sequence, sequence->hi);
                return true;
        }
        if (next == sequence->hi) {
                if (sequence->frozen || sequence->ceiling < next)
                        window_confirm(refill->segment, sequence, next);
                return false;
        }
        *ret = (struct store_op){
                .type = STORE_SAVE,
                .id = sequence->id,
                .generation = sequence->generation,
                .position = next,
        };
        return true;
}

/* Is there no need to look closer? */
static bool enough(struct sequence *sequence, uint64_t next)
{
        if (sequence->frozen || sequence->ceiling > sequence->hi || next >= sequence->ceiling ||
            sequence->demand > sequence->ceiling)
                return false;
        if (sequence->params.kind == SEQUENCE_TIME)
                return time_to_keep(sequence, next) == next;
        return next <= sequence->low;
}

/*
 * What a sequence that was rung for needs. True: the reservation in *ret.
 * False: nothing (any more), or nothing that a commit would have to precede.
 */
static bool plan(struct refill *refill, struct sequence *sequence, uint64_t now,
                 struct store_op *ret)
{
        uint64_t next, end, limit = sequence->map.limit;

        if (!registry_at(refill->registry, sequence->slot))
                return false; /* it has no place in the segment at the moment */
        if (now / USEC_PER_SEC < sequence->barred)
                return false;
        if (!window_intact(refill->segment, sequence) ||
            !window_next(refill->segment, sequence, &next)) {
                refill->distrusted++;
                refill->distrust(sequence, refill->userdata);
                refill_want(refill, sequence); /* who waits there does so in vain */
                return false;
        }
        window_learn(refill->segment, sequence);
        if (sequence->params.kind == SEQUENCE_GAPLESS)
                return plan_gapless(refill, sequence, next, ret);
        if (enough(sequence, next))
                return false;
        if (sequence->frozen && !committer_sound(refill->committer)) {
                /* What failed may have been to end this window: a commit first. */
                *ret = reservation(sequence, sequence->hi < limit ? sequence->hi + 1 : limit);
                return true;
        }
        if (sequence->frozen && (sequence->hi > next || sequence->hi >= limit) &&
            !sequence->exact) {
                /* Reserved already, by a daemon that died before it could publish. */
                (void)window_grant(refill->segment, sequence, sequence->lo, sequence->hi);
                return false;
        }
        if (sequence->hi >= limit) {
                if (sequence->frozen)
                        (void)window_grant(refill->segment, sequence, sequence->lo, limit);
                return false;
        }

        if (sequence->params.kind == SEQUENCE_TIME) {
                end = time_to_keep(sequence, next);
        } else {
                sequence->size = size_to_keep(sequence, next, now, refill->commit_usec);
                end = next + sequence->size;
        }
        if (end < sequence->demand)
                end = sequence->demand;
        if (end > limit)
                end = limit;
        if (end < sequence->ceiling)
                end = sequence->ceiling; /* a store from a backup must catch up at once */
        if (end <= sequence->hi && !sequence->frozen) {
                /* It slowed down, enough is ahead: only the low mark moves. */
                if (window_grant(refill->segment, sequence, sequence->lo, sequence->hi))
                        refill_want(refill, sequence);
                return false;
        }
        if (end <= sequence->hi)
                end = sequence->hi + 1;
        *ret = reservation(sequence, end);
        return true;
}

/* --- the commit -------------------------------------------------------- */

static void complain(struct refill *refill, const struct commit_job *job, int error)
{
        uint64_t now = clock_usec(CLOCK_MONOTONIC);

        refill->failures++;
        if (!refill->failing_since)
                refill->failing_since = now;
        else if (now - refill->complained < COMPLAIN_USEC)
                return;
        refill->complained = now;
        log_event(EVENT_STORE_FAILING, LOG_ERR, NULL,
                  "cannot reserve numbers: %s; windows stay as they are, trying again every %d ms",
                  job->message[0] ? job->message : strerror(-error), (int)(RETRY_USEC / 1000));
}

static void rejoice(struct refill *refill)
{
        if (!refill->failing_since)
                return;
        log_event(EVENT_STORE_WELL, LOG_NOTICE, NULL,
                  "reserving numbers works again, after %" PRIu64 " failures in %" PRIu64 " s",
                  refill->failures,
                  (clock_usec(CLOCK_MONOTONIC) - refill->failing_since) / USEC_PER_SEC);
        refill->failing_since = 0;
        refill->failures = 0;
}

static void retry_later(struct refill *refill, uint64_t usec)
{
        refill->retrying = true;
        (void)sd_event_source_set_time_relative(refill->retry, usec);
        (void)sd_event_source_set_enabled(refill->retry, SD_EVENT_ONESHOT);
}

/* Commits of a gapless sequence are in the store; more may have been made since. */
static void saved(struct refill *refill, struct sequence *sequence, const struct store_op *op)
{
        uint64_t next;

        sequence->lo = sequence->hi = op->position;
        sequence->exact = true;
        if (!registry_at(refill->registry, sequence->slot))
                return;
        window_confirm(refill->segment, sequence, op->position);
        if (!window_next(refill->segment, sequence, &next) || next > op->position)
                refill_want(refill, sequence);
}

static void publish(struct refill *refill, struct sequence *sequence, const struct store_op *op)
{
        if (op->type == STORE_SAVE) {
                saved(refill, sequence, op);
                return;
        }
        if (op->type != STORE_RESERVE) {
                refill_want(refill, sequence);
                return;
        }
        sequence->lo = op->lo;
        sequence->hi = op->hi;
        sequence->exact = false;
        if (!registry_at(refill->registry, sequence->slot))
                return;
        if (window_grant(refill->segment, sequence, op->lo, op->hi))
                refill_want(refill, sequence);
}

/*
 * The store refuses a sequence that it has otherwise than we do: it is damaged, or
 * somebody wrote to it. The others need not wait until that is mended.
 */
static bool bar_refused(const struct batch *batch, const struct commit_job *job, int error)
{
        bool barred = false;

        for (size_t i = 0; i < batch->n && committer_blames_op(error); i++) {
                struct sequence *sequence = batch->sequences[i];

                if (!committer_blames_op(batch->ops[i].error))
                        continue;
                sequence->barred = (uint32_t)(clock_usec(CLOCK_MONOTONIC) / USEC_PER_SEC) + BAR_SEC;
                log_event(EVENT_STORE_FAILING, LOG_ERR, sequence->name,
                          "the store refuses to reserve numbers: %s; trying again in %d s",
                          job->message, BAR_SEC);
                barred = true;
        }
        return barred;
}

/* The longest of late: what is to be provided for is the slow commit, not the usual one. */
static void note_time(struct refill *refill, uint64_t usec)
{
        refill->commit_usec -= refill->commit_usec / 16;
        if (usec > refill->commit_usec)
                refill->commit_usec = usec;
}

static void batch_done(struct commit_job *job, int error)
{
        struct batch *batch = job->userdata;
        struct refill *refill = batch->refill;
        bool barred = bar_refused(batch, job, error);

        if (error >= 0)
                note_time(refill, clock_usec(CLOCK_MONOTONIC) - batch->begun);
        for (size_t i = 0; i < batch->n; i++) {
                batch->sequences[i]->reserving = false;
                if (error < 0)
                        refill_want(refill, batch->sequences[i]);
                else
                        publish(refill, batch->sequences[i], &batch->ops[i]);
        }
        if (barred) {
                refill_run(refill); /* without those, which have no other plan now */
        } else if (error < 0) {
                complain(refill, job, error);
                retry_later(refill, RETRY_USEC);
        } else {
                rejoice(refill);
                refill_run(refill);
        }
        free(batch->sequences);
        free(batch);
}

static struct batch *batch_new(struct refill *refill, size_t most)
{
        struct batch *batch = calloc(1, sizeof(*batch) + most * sizeof(struct store_op));

        if (!batch)
                return NULL;
        batch->sequences = calloc(most, sizeof(struct sequence *));
        if (!batch->sequences) {
                free(batch);
                return NULL;
        }
        batch->refill = refill;
        return batch;
}

/* What was planned so far is to be planned again. */
static void give_up_plans(struct refill *refill, struct batch *batch)
{
        for (size_t i = 0; i < batch->n; i++) {
                batch->sequences[i]->reserving = false;
                refill_want(refill, batch->sequences[i]);
        }
        batch->n = 0;
}

/*
 * Move those that want, and are not being served already, into a batch. Takes
 * the list away first: distrust() may add to a new one, or want a commit, which
 * has to wait.
 */
static void gather(struct refill *refill, struct batch *batch)
{
        struct sequence **wanting = refill->wanting;
        size_t n = refill->n_wanting;
        uint64_t now = clock_usec(CLOCK_MONOTONIC), voided = refill->voided;
        struct sequence *sequence;

        batch->begun = now;
        refill->wanting = NULL;
        refill->n_wanting = refill->size_wanting = 0;
        refill->urgent = false;
        refill->paused = true;
        for (size_t i = 0; i < n; i++) {
                sequence = wanting[i];
                sequence->wanted = false;
                if (sequence->reserving) {
                        refill_want(refill, sequence);
                        continue;
                }
                if (!plan(refill, sequence, now, &batch->ops[batch->n]))
                        continue;
                sequence->reserving = true;
                batch->sequences[batch->n++] = sequence;
        }
        refill->paused = false;
        if (refill->voided != voided)
                give_up_plans(refill, batch);
        free(wanting);
}

/* Nobody is in a hurry: wait for others, for which the timer makes an end. */
static void gather_more(struct refill *refill)
{
        if (refill->gathering)
                return;
        refill->gathering = true;
        (void)sd_event_source_set_time_relative(refill->gather, REFILL_GATHER_USEC);
        (void)sd_event_source_set_enabled(refill->gather, SD_EVENT_ONESHOT);
}

void refill_run(struct refill *refill)
{
        uint64_t distrusted = refill->distrusted;
        struct batch *batch;

        if (refill->n_wanting == 0 || refill->retrying || refill->paused)
                return;
        if (!refill->urgent) {
                gather_more(refill);
                return;
        }
        batch = batch_new(refill, refill->n_wanting);
        if (!batch) {
                retry_later(refill, RETRY_USEC);
                return;
        }
        gather(refill, batch);
        if (batch->n == 0) {
                if (refill->n_wanting > 0 && refill->distrusted > distrusted)
                        retry_later(refill, FRESH_USEC);
                free(batch->sequences);
                free(batch);
                return;
        }
        batch->job.ops = batch->ops;
        batch->job.n_ops = batch->n;
        batch->job.done = batch_done;
        batch->job.userdata = batch;
        committer_submit(refill->committer, &batch->job);
}

void refill_void_plans(struct refill *refill)
{
        refill->voided++;
}

void refill_pause(struct refill *refill)
{
        refill->paused = true;
        committer_drain(refill->committer);
}

static void run_now(struct refill *refill)
{
        refill->urgent = true;
        refill_run(refill);
}

void refill_resume(struct refill *refill)
{
        refill->paused = false;
        run_now(refill);
}

static int on_gathered(sd_event_source *source, uint64_t usec, void *userdata)
{
        struct refill *refill = userdata;

        (void)source;
        (void)usec;
        refill->gathering = false;
        run_now(refill);
        return 0;
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata)
{
        struct refill *refill = userdata;

        (void)source;
        (void)usec;
        refill->retrying = false;
        run_now(refill);
        return 0;
}

int refill_init(struct refill *refill, sd_event *event, struct registry *registry,
                struct committer *committer)
{
        int r;

        *refill = (struct refill){
                .event = event,
                .registry = registry,
                .committer = committer,
        };
        r = sd_event_add_time_relative(event, &refill->retry, CLOCK_MONOTONIC, 0, ACCURACY_USEC,
                                       on_retry, refill);
        if (r >= 0)
                r = sd_event_source_set_enabled(refill->retry, SD_EVENT_OFF);
        if (r >= 0)
                r = sd_event_add_time_relative(event, &refill->gather, CLOCK_MONOTONIC, 0,
                                               ACCURACY_USEC, on_gathered, refill);
        if (r >= 0)
                r = sd_event_source_set_enabled(refill->gather, SD_EVENT_OFF);
        return r;
}

void refill_clear(struct refill *refill)
{
        sd_event_source_unref(refill->retry);
        sd_event_source_unref(refill->gather);
        free(refill->wanting);
        *refill = (struct refill){0};
}
