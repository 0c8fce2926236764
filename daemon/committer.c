/* SPDX-License-Identifier: MIT */

/* The committing thread; see committer.h. */

#include "committer.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "clock.h"

struct queue {
        struct commit_job *first, **last;
        size_t n;
};

struct committer {
        struct store *store; /* the worker's alone */
        int fd;
        pthread_t thread;

        pthread_mutex_t lock; /* of all below */
        pthread_cond_t submitted, finished;
        struct queue waiting, done;
        size_t under_way; /* jobs the worker has in hand */
        uint64_t since;   /* when it took them, CLOCK_MONOTONIC usec */
        bool stop;
        bool unsound; /* a commit failed at the disk, and none has succeeded since */
        struct commit_counters counters;
};

/* --- queues ------------------------------------------------------------ */

static void queue_init(struct queue *queue)
{
        *queue = (struct queue){.last = &queue->first};
}

static void queue_push(struct queue *queue, struct commit_job *job)
{
        job->next = NULL;
        *queue->last = job;
        queue->last = &job->next;
        queue->n++;
}

static struct commit_job *queue_pop(struct queue *queue)
{
        struct commit_job *first = queue->first;

        if (!first)
                return NULL;
        queue->first = first->next;
        if (!queue->first)
                queue_init(queue);
        else
                queue->n--;
        return first;
}

/* Take all; the queue is empty then. */
static struct commit_job *queue_take(struct queue *queue)
{
        struct commit_job *first = queue->first;

        queue_init(queue);
        return first;
}

/* --- the worker -------------------------------------------------------- */

bool committer_blames_op(int error)
{
        return error == -EEXIST || error == -ENOENT || error == -ESTALE || error == -EINVAL ||
               error == -EOVERFLOW;
}

static void finish(struct commit_job *job, int error, const struct store *store)
{
        job->error = error;
        job->message[0] = '\0';
        if (error < 0)
                (void)snprintf(job->message, sizeof(job->message), "%s",
                               store->message ? store->message : strerror(-error));
}

static void commit_alone(struct committer *committer, struct commit_job *job)
{
        finish(job, store_commit(committer->store, job->ops, job->n_ops), committer->store);
}

static size_t count_ops(const struct commit_job *jobs)
{
        size_t n = 0;

        for (const struct commit_job *job = jobs; job; job = job->next)
                n += job->n_ops;
        return n;
}

/* All jobs in one transaction; their ops are copied together and back. */
static int commit_together(struct committer *committer, struct commit_job *jobs)
{
        struct store_op *ops = calloc(count_ops(jobs) + 1, sizeof(*ops));
        size_t n = 0;
        int r;

        if (!ops)
                return -ENOMEM;
        for (struct commit_job *job = jobs; job; job = job->next) {
                if (job->n_ops > 0)
                        memcpy(ops + n, job->ops, job->n_ops * sizeof(*ops));
                n += job->n_ops;
        }
        r = store_commit(committer->store, ops, n);
        n = 0;
        for (struct commit_job *job = jobs; job; job = job->next) {
                if (job->n_ops > 0)
                        memcpy(job->ops, ops + n, job->n_ops * sizeof(*ops));
                n += job->n_ops;
        }
        free(ops);
        return r;
}

/* Returns the number of transactions it took. */
static uint64_t commit_all(struct committer *committer, struct commit_job *jobs)
{
        uint64_t commits = 1;
        int r;

        if (!jobs->next) {
                commit_alone(committer, jobs);
                return commits;
        }
        r = commit_together(committer, jobs);
        for (struct commit_job *job = jobs; job; job = job->next) {
                if (committer_blames_op(r) || r == -ENOMEM) {
                        commit_alone(committer, job);
                        commits++;
                } else {
                        finish(job, r, committer->store);
                }
        }
        return commits;
}

/* With the lock held: hand the jobs over to the loop. */
static void hand_back(struct committer *committer, struct commit_job *jobs)
{
        const uint64_t one = 1;
        struct commit_job *next;

        for (struct commit_job *job = jobs; job; job = next) {
                next = job->next;
                committer->counters.jobs++;
                committer->counters.failed += job->error < 0;
                queue_push(&committer->done, job);
        }
        committer->under_way = 0;
        (void)!write(committer->fd, &one, sizeof(one));
        pthread_cond_signal(&committer->finished);
}

/* An op to blame stops a commit before it writes: it leaves things as they were. */
static bool is_unsound(bool before, const struct commit_job *jobs)
{
        bool unsound = before;

        for (const struct commit_job *job = jobs; job; job = job->next)
                if (job->error >= 0)
                        unsound = false;
                else if (!committer_blames_op(job->error))
                        unsound = true;
        return unsound;
}

static void *work(void *argument)
{
        struct committer *committer = argument;
        struct commit_job *jobs;
        uint64_t commits;

        pthread_mutex_lock(&committer->lock);
        for (;;) {
                while (!committer->waiting.n && !committer->stop)
                        pthread_cond_wait(&committer->submitted, &committer->lock);
                if (!committer->waiting.n)
                        break;
                committer->under_way = committer->waiting.n;
                committer->since = clock_usec(CLOCK_MONOTONIC);
                jobs = queue_take(&committer->waiting);
                pthread_mutex_unlock(&committer->lock);
                commits = commit_all(committer, jobs);
                pthread_mutex_lock(&committer->lock);
                committer->counters.commits += commits;
                committer->unsound = is_unsound(committer->unsound, jobs);
                hand_back(committer, jobs);
        }
        pthread_mutex_unlock(&committer->lock);
        return NULL;
}

/* --- the loop's side --------------------------------------------------- */

static int start_thread(struct committer *committer)
{
        sigset_t all, before;
        int r;

        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        r = pthread_create(&committer->thread, NULL, work, committer);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        return -r;
}

static void destroy(struct committer *committer)
{
        if (committer->fd >= 0)
                close(committer->fd);
        pthread_cond_destroy(&committer->finished);
        pthread_cond_destroy(&committer->submitted);
        pthread_mutex_destroy(&committer->lock);
        free(committer);
}

int committer_new(struct committer **ret, struct store *store)
{
        struct committer *committer;
        int r;

        committer = calloc(1, sizeof(*committer));
        if (!committer)
                return -ENOMEM;
        committer->store = store;
        pthread_mutex_init(&committer->lock, NULL);
        pthread_cond_init(&committer->submitted, NULL);
        pthread_cond_init(&committer->finished, NULL);
        queue_init(&committer->waiting);
        queue_init(&committer->done);
        committer->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        r = committer->fd < 0 ? -errno : start_thread(committer);
        if (r < 0) {
                destroy(committer);
                return r;
        }
        *ret = committer;
        return 0;
}

struct committer *committer_free(struct committer *committer)
{
        if (!committer)
                return NULL;
        pthread_mutex_lock(&committer->lock);
        committer->stop = true;
        pthread_cond_signal(&committer->submitted);
        pthread_mutex_unlock(&committer->lock);
        (void)pthread_join(committer->thread, NULL);
        destroy(committer);
        return NULL;
}

int committer_fd(const struct committer *committer)
{
        return committer->fd;
}

void committer_submit(struct committer *committer, struct commit_job *job)
{
        pthread_mutex_lock(&committer->lock);
        queue_push(&committer->waiting, job);
        pthread_cond_signal(&committer->submitted);
        pthread_mutex_unlock(&committer->lock);
}

static size_t count_done(struct committer *committer)
{
        size_t n;

        pthread_mutex_lock(&committer->lock);
        n = committer->done.n;
        pthread_mutex_unlock(&committer->lock);
        return n;
}

static struct commit_job *take_done(struct committer *committer)
{
        struct commit_job *job;

        pthread_mutex_lock(&committer->lock);
        job = queue_pop(&committer->done);
        pthread_mutex_unlock(&committer->lock);
        return job;
}

/*
 * One at a time: done() may submit more, and may drain. Whoever drains relies on all
 * that was committed having been told by then; what waits in a list of ours would
 * still be told later, of positions that have changed since.
 */
void committer_dispatch(struct committer *committer)
{
        struct commit_job *job;
        uint64_t count;

        (void)!read(committer->fd, &count, sizeof(count));
        for (size_t n = count_done(committer); n > 0; n--) {
                job = take_done(committer);
                if (!job)
                        return;
                job->done(job, job->error);
        }
}

void committer_drain(struct committer *committer)
{
        pthread_mutex_lock(&committer->lock);
        while (committer->waiting.n || committer->under_way)
                pthread_cond_wait(&committer->finished, &committer->lock);
        pthread_mutex_unlock(&committer->lock);
        committer_dispatch(committer);
}

bool committer_sound(struct committer *committer)
{
        bool sound;

        pthread_mutex_lock(&committer->lock);
        sound = !committer->unsound;
        pthread_mutex_unlock(&committer->lock);
        return sound;
}

uint64_t committer_busy_usec(struct committer *committer)
{
        uint64_t busy = 0;

        pthread_mutex_lock(&committer->lock);
        if (committer->under_way)
                busy = clock_usec(CLOCK_MONOTONIC) - committer->since;
        pthread_mutex_unlock(&committer->lock);
        return busy;
}

struct commit_counters committer_counters(struct committer *committer)
{
        struct commit_counters counters;

        pthread_mutex_lock(&committer->lock);
        counters = committer->counters;
        pthread_mutex_unlock(&committer->lock);
        return counters;
}
