/* SPDX-License-Identifier: MIT */

/* The turn of a gapless sequence; see turn.h. */

#include "turn.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/random.h>

#include "atomic.h"
#include "cancel.h"
#include "clock.h"
#include "lock.h"
#include "token.h"

/* So many ids taken in a row are no accident: somebody has locked them all. */
#define ID_ATTEMPTS 16

static bool is_id(uint64_t id)
{
        return id >= (uint64_t)SEGMENT_LOCK_OWNERS && id < 2 * (uint64_t)SEGMENT_LOCK_OWNERS;
}

/* --- ids --------------------------------------------------------------- */

int turn_open(int segment_fd)
{
        char path[64];
        int fd;

        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", segment_fd);
        fd = open(path, O_RDWR | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

static int random_id(uint64_t *ret)
{
        uint64_t bits;
        ssize_t n;

        do
                n = getrandom(&bits, sizeof(bits), 0);
        while (n < 0 && errno == EINTR);
        if (n != (ssize_t)sizeof(bits))
                return n < 0 ? -errno : -EIO;
        *ret = (uint64_t)SEGMENT_LOCK_OWNERS | (bits & ((uint64_t)SEGMENT_LOCK_OWNERS - 1));
        return 0;
}

int turn_id_take(int turns_fd, uint64_t *ret)
{
        CANCEL_DEFERRED;
        uint64_t id = 0;
        int r;

        for (int i = 0; i < ID_ATTEMPTS; i++) {
                r = random_id(&id);
                if (r == 0)
                        r = lock_take(turns_fd, (int64_t)id);
                if (r == 0)
                        *ret = id;
                if (r != -EAGAIN)
                        return r;
        }
        return -ENOLCK;
}

void turn_id_drop(int turns_fd, uint64_t id)
{
        lock_drop(turns_fd, (int64_t)id);
}

bool turn_owner_alive(int segment_fd, uint64_t owner)
{
        return is_id(owner) && lock_query(segment_fd, (int64_t)owner) != 0;
}

/* --- the turn ---------------------------------------------------------- */

bool turn_take_over(struct cell *cell, uint64_t seen, uint64_t id)
{
        if (!owner_change(&cell->owner, seen, id))
                return false;
        count_up(&cell->turns);
        return true;
}

bool turn_try(struct cell *cell, uint64_t id)
{
        (void)semaphore_try(&cell->turn);
        return turn_take_over(cell, 0, id);
}

void turn_wait(struct cell *cell, uint64_t usec)
{
        CANCEL_DEFERRED; /* sem_timedwait(3) */

        /* A token, the end of the time, a signal: all the same to who looks again. */
        if (semaphore_expect(&cell->turn))
                semaphore_doze(&cell->turn, usec);
        (void)semaphore_try(&cell->turn);
}

bool turn_release(struct cell *cell, uint64_t id)
{
        if (!owner_change(&cell->owner, id, 0))
                return false;
        /* They must not pile up: each in excess wakes somebody for nothing. */
        if (semaphore_value(&cell->turn) == 0)
                semaphore_post(&cell->turn);
        return true;
}

/* Has the owner kept us waiting for longer than it may? */
static bool overdue(struct turn_watch *watch, uint64_t owner, uint64_t turns, uint64_t now,
                    uint32_t hold_limit)
{
        if (owner != watch->owner || turns != watch->turns)
                *watch = (struct turn_watch){.owner = owner, .turns = turns, .since = now};
        return hold_limit && now - watch->since >= hold_limit * USEC_PER_SEC;
}

bool turn_look(struct cell *cell, int segment_fd, uint32_t hold_limit, struct turn_watch *watch,
               uint64_t now, uint64_t id)
{
        uint64_t owner = owner_look(&cell->owner);
        uint64_t turns = count_read(&cell->turns);

        if (owner && !overdue(watch, owner, turns, now, hold_limit) &&
            turn_owner_alive(segment_fd, owner))
                return false;
        return turn_take_over(cell, owner, id);
}
