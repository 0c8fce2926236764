/* SPDX-License-Identifier: MIT */

/* The doorbell thread; see doorbell.h. */

#include "doorbell.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "atomic.h"
#include "token.h"

/*
 * More posts than this waiting are no callers (each posts when none is waiting, or
 * when it has waited for a while), not even of a daemon that was stopped for long,
 * but somebody posting for its own sake.
 */
#define POSTS_BELIEVED (UINT32_C(1) << 24)

/* Between two looks: whoever rings without end is not listened to all the time. */
#define PAUSE_NSEC 20000

struct doorbell {
        struct segment_shared *shared;
        int fd;
        pthread_t thread;
        _Atomic(uint64_t) floods; /* times that there were more posts than callers */
        uint64_t floods_told;
};

/* Variables of these have addresses: not to be on the stack of a thread that is cancelled. */
static __attribute__((noinline)) bool is_silent(sem_t *semaphore)
{
        return semaphore_expect(semaphore);
}

static __attribute__((noinline)) void take_all(sem_t *semaphore)
{
        semaphore_drain(semaphore);
}

/*
 * Ends by cancellation, in write(2), in nanosleep(2), or asleep: there it may come at
 * any instruction, since there is nothing but a system call. No variable whose
 * address is taken lies on the stack then (hence `static`, and the above are not
 * inlined): the address sanitizer does not see frames unwound.
 */
static void *listen_to(void *argument)
{
        struct doorbell *doorbell = argument;
        sem_t *semaphore = &doorbell->shared->doorbell;
        static const struct timespec pause = {.tv_nsec = PAUSE_NSEC};
        static const uint64_t one = 1;

        for (;;) {
                while (is_silent(semaphore)) {
                        /* NOLINTNEXTLINE(cert-pos47-c): nothing but a system call until then */
                        (void)pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
                        semaphore_sleep(semaphore);
                        (void)pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, NULL);
                }
                if (semaphore_value(semaphore) > POSTS_BELIEVED)
                        count_up(&doorbell->floods);
                take_all(semaphore);
                (void)!write(doorbell->fd, &one, sizeof(one));
                if (semaphore_value(semaphore) > 0)
                        (void)nanosleep(&pause, NULL);
        }
        return NULL;
}

static int start_thread(struct doorbell *doorbell)
{
        sigset_t all, before;
        int r;

        sigfillset(&all);
        sigdelset(&all, SIGBUS); /* of this thread's own making, and handled: lost.h */
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

bool doorbell_answer(struct doorbell *doorbell)
{
        uint64_t count, floods = count_read(&doorbell->floods);

        (void)!read(doorbell->fd, &count, sizeof(count));
        if (floods == doorbell->floods_told)
                return true;
        doorbell->floods_told = floods;
        return false;
}
