/* SPDX-License-Identifier: MIT */

/*
 * Transactions on a gapless sequence, for the model checker spin: clients that
 * take the turn, commit or roll back and may be killed between any two steps
 * (client/turn.c, client/gapless.c), and a daemon that saves what was committed
 * and then publishes it (daemon/refill.c, daemon/window.c), is killed and
 * started again, freezes and thaws. At any moment the power may fail: nothing
 * is left then but the store, and all begin anew.
 *
 * Checked in every state that can be reached:
 *
 *   - a number is committed once: no two commits of it return, and none returns
 *     that the store could forget;
 *   - no gap: what the store has saved was committed, number by number, by
 *     exactly one advance that no power failure has undone;
 *   - nobody is stuck: as long as a client wants the turn and time passes, there
 *     is a step that it can take (an invalid end state otherwise), also when a
 *     holder died before or after any of its steps, and however many posts of
 *     the semaphore were lost or made once too often;
 *   - without -DWRONGLY, two living clients never both have the turn.
 *
 * Every step is one access to something shared. The semaphore's wait is a step
 * that takes a token or the passing of a slice of time.
 *
 * -DWRONGLY: a living holder may be taken for dead, as a hold_limit does. Then
 * two may hold one number, but still only one commits it.
 *
 * -DPROMPT: nobody is killed, and a waiter does not look again when a slice of time
 * has passed, as it does in truth: nobody may get stuck even so. That is, no post of the
 * semaphore is lost to those who wait, though it is left out when there is a token.
 *
 * What the model does not cover: memory orders (client/atomic.h), segments that
 * are replaced, sequences altered meanwhile, more clients than CLIENTS, more
 * transactions than each makes (ROUNDS).
 *
 * Each other name undoes one rule, to show that it is needed; run.sh lists them.
 */

#ifndef CLIENTS
#define CLIENTS 3
#endif
#ifndef ROUNDS
#define ROUNDS 2
#endif
#ifndef LIVES
#define LIVES 2 /* of daemons */
#endif
#ifndef FAILURES
#define FAILURES 1 /* of power */
#endif

#define FROZEN_BIT 64
#define NUMBERS 7 /* CLIENTS * ROUNDS + 1 */

/* Shared memory. Owners are numbered from 1 by life: a new life, a new id. */
byte next, ceiling, owner, tokens = 1;
/* The kernel: which ids are locked by a living process. */
bool locked[CLIENTS * ROUNDS + 1];
/* The disk. */
byte saved;
byte failures = FAILURES;
byte power; /* grows with each failure: all that began before it is gone */

/* What is checked. */
byte advanced[NUMBERS]; /* by how many advances that still stand */
bool returned[NUMBERS]; /* a commit of it returned */
byte holders;           /* living clients that think they have the turn */
byte last_id;

inline release(me)
{
#ifdef POST_FIRST
        tokens = 1;
#endif
        /* Whoever lost the turn has nothing to release. */
        if
        :: atomic { owner == me -> owner = 0; mine = true }
        :: atomic { owner != me -> mine = false }
        fi;
        if
        :: mine ->
                if
#ifdef POST_ALWAYS
                :: tokens < 3 -> tokens++
                :: tokens >= 3 -> assert(false) /* they pile up */
#elif defined(POST_FIRST) || defined(POST_NEVER)
                :: skip
#else
                :: tokens == 0 -> tokens = 1
                :: tokens > 0 -> skip
#endif
                fi
        :: !mine -> skip
        fi
}

/* The client has the turn no longer, as far as it knows itself. */
inline let_go()
{
        d_step {
                if
                :: power == born -> holders--
                :: else -> skip
                fi
        }
}

proctype Client()
{
        byte me, seen, number, rounds = ROUNDS, born;
        bool mine;

again:
        do
        :: rounds == 0 -> goto end_over
        :: rounds > 0 -> break
        od;
        rounds--;
        /* A new transaction; with a new id after a death, else with the last one. */
        d_step {
                if
                :: me == 0 || !locked[me] -> last_id++; me = last_id; locked[me] = true
                :: else
                fi;
                born = power
        }

        /* Take the turn: by a token, or after a slice by what the owner word says. */
#ifdef PROMPT
        if /* whoever comes looks before it waits */
        :: tokens > 0 -> tokens = 0
        :: true
        fi;
        if
        :: atomic { owner == 0 -> owner = me; goto have }
        :: owner != 0
        fi;
#endif
        do
        :: power != born -> goto dark
        :: atomic { tokens > 0 -> tokens-- }
                if
                :: atomic { owner == 0 -> owner = me; break }
                :: owner != 0 -> skip
                fi
#ifndef PROMPT
        /* A slice passed; it looks in vain as long as the owner lives, which is no step. */
#ifdef NEVER_ASK
        :: atomic { owner == 0 -> seen = owner };
#elif defined(WRONGLY) || defined(TAKE_ANY)
        :: seen = owner;
#else
        :: atomic { owner == 0 || !locked[owner] -> seen = owner };
#endif
                if
                :: seen == 0 ->
                        if
                        :: atomic { owner == 0 -> owner = me; break }
                        :: owner != 0 -> skip
                        fi
#ifdef TAKE_ANY
                :: seen != 0 ->
#elif defined(WRONGLY)
                :: seen != 0 ->
#else
                :: seen != 0 && !locked[seen] ->
#endif
#ifdef TAKE_BLINDLY
                        owner = me; break
#else
                        if
                        :: atomic { owner == seen -> owner = me; break }
                        :: owner != seen -> skip
                        fi
#endif
#if !defined(WRONGLY) && !defined(TAKE_ANY)
                :: seen != 0 && locked[seen] -> skip
#endif
                fi
#endif
        od;
#ifdef PROMPT
have:
#endif
        if
        :: power != born -> goto dark
        :: d_step { power == born -> holders++;
#if !defined(WRONGLY)
                assert(holders == 1)
#endif
                }
        fi;
        number = next & ~FROZEN_BIT;

        if
#ifndef PROMPT
        :: /* killed while holding: the kernel unlocks */
                let_go(); locked[me] = false; goto again
#endif
        :: /* roll back */
                let_go();
                release(me)
        :: /* commit */
                if
                :: owner != me -> let_go(); goto done /* lost the turn */
                :: owner == me -> skip
                fi;
                do
                :: power != born -> goto dark
#ifdef STORE_NEXT
                :: next = number + 1; advanced[number]++; break
#else
                :: atomic { next == number -> next = number + 1;
                        advanced[number]++; assert(advanced[number] == 1); break }
                /* frozen: until the thaw */
                :: (next & ~FROZEN_BIT) != number -> let_go(); release(me); goto done
#endif
                od;
                let_go();
                if
#ifndef PROMPT
                :: locked[me] = false; goto again /* killed right after */
#endif
                :: release(me)
                fi;
                /* Wait for the store. */
                do
                :: power != born -> goto dark
                :: ceiling > number ->
                        d_step { if
                        :: power == born ->
                                assert(!returned[number]);
                                assert(saved > number);
                                returned[number] = true
                        :: else -> skip
                        fi }; break
#ifndef PROMPT
                :: goto again                     /* gave up */
                :: locked[me] = false; goto again /* killed */
#endif
                od
        fi;
done:
        goto again;

dark:   /* The power failed: this process is no more, another begins. */
        goto again;

end_over:
        skip
}

proctype Daemon()
{
        byte position, lives = LIVES, born;
        bool frozen;

start:
        if
        :: lives == 0 -> goto end_over
        :: lives > 0 -> lives--
        fi;
        born = power;
        /* Adoption: `next` is exact, whatever the last daemon was at. */
        frozen = (next & FROZEN_BIT) != 0;
end_quiet: /* it does nothing of its own accord: who waits for it must have rung */
        do
        :: power != born -> goto start
        :: lives > 0 -> goto start /* killed */
        :: atomic { frozen || next != saved || ceiling != saved ->
                position = next & ~FROZEN_BIT };
#ifdef PUBLISH_FIRST
                ceiling = position;
#endif
                if
                :: power != born -> goto start
                :: lives > 0 -> goto start
                :: atomic { power == born -> saved = position }
                fi;
                if
                :: power != born -> goto start
                :: lives > 0 -> goto start
                :: atomic { power == born -> ceiling = position }
                fi;
                if
                :: frozen ->
                        if
                        :: atomic { power == born ->
#ifdef THAW_AT_SAVED
                                next = saved - (saved > 0);
#else
                                next = position;
#endif
                                frozen = false }
                        :: power != born -> goto start
                        fi
                :: !frozen -> skip
                fi
        :: atomic { !frozen && lives > 0 && power == born -> /* freeze */
                next = next | FROZEN_BIT; frozen = true }
        od;
end_over:
        /* The last daemon to be serves for good. */
end_serve:
        do
        :: power != born -> born = power; frozen = false
        :: atomic { power == born && ((next & FROZEN_BIT) || next != saved || ceiling != saved) ->
                saved = next & ~FROZEN_BIT; ceiling = saved; next = saved }
        od
}

/* Power fails: memory is gone, what the store has is not, and that alone counts. */
proctype Power()
{
        byte i;

        do
        :: failures == 0 -> break
        :: failures > 0 ->
                d_step {
                        failures--;
                        power++;
                        next = saved;
                        ceiling = saved;
                        owner = 0;
                        tokens = 1;
                        holders = 0;
                        i = 0;
                        do
                        :: i < NUMBERS ->
                                if
                                :: i >= saved -> assert(!returned[i]); advanced[i] = 0
                                :: i < saved -> assert(advanced[i] == 1)
                                fi;
                                i++
                        :: i == NUMBERS -> break
                        od;
                        i = 0;
                        do
                        :: i <= CLIENTS * ROUNDS -> locked[i] = false; i++
                        :: i > CLIENTS * ROUNDS -> break
                        od
                }
        :: break
        od
}

init
{
        byte i;

        atomic {
                i = 0;
                do
                :: i < CLIENTS -> run Client(); i++
                :: i == CLIENTS -> break
                od;
                run Daemon();
                run Power()
        }
}
