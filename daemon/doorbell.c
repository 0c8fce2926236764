/* SPDX-License-Identifier: MIT */

/* The doorbell thread; see doorbell.h. */

#include "doorbell.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

/*
 * More posts than this waiting are no callers (each posts when none is waiting,
 * or when it has waited for a while) but somebody posting for its own sake, or
 * callers of a daemon that was stopped for long: drop them all at once.
 */
#define POSTS_BELIEVED 65536

struct doorbell {
        struct segment_shared *shared;
        int fd;
        pthread_t thread;
};

/* Take what has been posted meanwhile: one look at the wants serves them all. */
static __attribute__((noinline)) void drain(sem_t *semaphore)
{
        int posts = 0;

        (void)sem_getvalue(semaphore, &posts);
        if (posts > POSTS_BELIEVED) {
                (void)sem_init(semaphore, 1, 0);
                return;
        }
        while (posts-- > 0 && sem_trywait(semaphore) == 0)
                ;
}

/*
 * Ends by cancellation: sem_wait(3) and write(2) are cancellation points. No
 * variable whose address is taken lies on the stack then (hence `static`, and
 * drain() is not inlined): the address sanitizer does not see frames unwound.
 */
static void *listen_to(void *argument)
{
        struct doorbell *doorbell = argument;
        static const uint64_t one = 1;

        for (;;) {
                if (sem_wait(&doorbell->shared->doorbell) < 0 && errno != EINTR)
                        (void)sem_init(&doorbell->shared->doorbell, 1, 0);
                drain(&doorbell->shared->doorbell);
                (void)!write(doorbell->fd, &one, sizeof(one));
        }
        return NULL;
}

static int start_thread(struct doorbell *doorbell)
{
        sigset_t all, before;
        int r;

        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        r = pthread_create(&doorbell->thread, NULL, listen_to, doorbell);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        return -r;
}

int doorbell_new(struct doorbell **ret, struct segment_shared *shared)
{
        struct doorbell *doorbell;
        int r;

        doorbell = calloc(1, sizeof(*doorbell));
        if (!doorbell)
                return -ENOMEM;
        doorbell->shared = shared;
        doorbell->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        r = doorbell->fd < 0 ? -errno : start_thread(doorbell);
        if (r < 0) {
                if (doorbell->fd >= 0)
                        close(doorbell->fd);
                free(doorbell);
                return r;
        }
        *ret = doorbell;
        return 0;
}

struct doorbell *doorbell_free(struct doorbell *doorbell)
{
        if (!doorbell)
                return NULL;
        (void)pthread_cancel(doorbell->thread);
        (void)pthread_join(doorbell->thread, NULL);
        close(doorbell->fd);
        free(doorbell);
        return NULL;
}

int doorbell_fd(const struct doorbell *doorbell)
{
        return doorbell->fd;
}

void doorbell_answer(struct doorbell *doorbell)
{
        uint64_t count;

        (void)!read(doorbell->fd, &count, sizeof(count));
}
