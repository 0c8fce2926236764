/* SPDX-License-Identifier: MIT */

/*
 * Transactions on a gapless sequence whose segment is lost under them, for the model
 * checker spin: clients live on while the daemon dies and its segment with it, or a
 * living daemon makes another one, with the store well or failing. A client that holds
 * a number then goes on in the next segment if it can, and one that has used a number
 * up judges by where the next segment begins whether the store had it
 * (client/gapless.c: follow_held(), judge()). The turn itself is gapless.pml's.
 *
 * Checked in every state that can be reached:
 *
 *   - a number is committed once: no two commits of it return, and none returns
 *     that the store does not have;
 *   - no gap: whoever is told that a number was not committed is told the truth, so
 *     that another one gets it: the store does not have it by that commit;
 *   - where the store is well and nobody dies (-DWELL) no number that was used up
 *     is lost to a segment made anew;
 *   - nobody is stuck while there is a daemon (an invalid end state otherwise).
 *
 * What the model does not cover: the turn's queue and dead owners (gapless.pml),
 * power failures (there no client is left to be told anything), and a commit of the
 * store that fails and turns up after all.
 *
 * Each other name undoes one rule, to show that it is needed; run.sh lists them.
 */

#ifndef CLIENTS
#define CLIENTS 2
#endif
#ifndef ROUNDS
#define ROUNDS 1
#endif
#ifndef LIVES
#define LIVES 2 /* of daemons */
#endif
#ifndef SEGMENTS
#define SEGMENTS 3
#endif

#define FROZEN_BIT 64
#define NUMBERS 7

byte next[SEGMENTS], ceiling[SEGMENTS], begins[SEGMENTS], owner[SEGMENTS];
bool gone[SEGMENTS]; /* retired, or left by its daemon and replaced */
byte current;
byte saved;

/* For the checks alone. */
byte used_by[NUMBERS]; /* whose advance of it stands, 0: nobody's */
bool returned[NUMBERS];

inline succeed()
{
        d_step {
                assert(saved > number);
                assert(!returned[number]);
                assert(used_by[number] == me);
                returned[number] = true
        }
}

/* Told, for certain, that it was not committed. */
#define REFUSED assert(used_by[number] != me)

/* A number that was used up is not lost but to a death or a failing store. */
#ifdef WELL
#define UNLOST assert(false)
#else
#define UNLOST skip
#endif

proctype client(byte me)
{
        byte o, n, number, rounds = ROUNDS;

end_again:
        do
        :: rounds == 0 -> break
        :: rounds > 0 ->
                rounds--;
begin:
                atomic { owner[current] == 0 -> o = current; owner[o] = me };
                number = next[o] & ~FROZEN_BIT;
                if
                :: gone[o] -> owner[o] = 0; goto begin
                :: !gone[o]
                fi;
                if
                :: goto give_up /* rolls back */
                :: true
                fi;

advance:
                if
                :: gone[o] ->
                        owner[o] = 0;
                        n = current;
                        if
                        :: atomic { owner[n] == 0 -> owner[n] = me; o = n }
                        :: owner[n] != 0 -> REFUSED; goto over
                        fi;
                        if
                        :: (next[o] & ~FROZEN_BIT) == number -> goto advance
                        :: (next[o] & ~FROZEN_BIT) != number -> REFUSED; goto give_up
                        fi
                :: !gone[o]
                fi;
                if
                :: atomic { next[o] == number -> next[o] = number + 1;
                        if /* in a segment that is left it is no more than a word in memory */
                        :: o == current ->
                                assert(used_by[number] == 0);
                                used_by[number] = me
                        :: o != current
                        fi }
                :: gone[o] -> goto advance
                :: (next[o] & ~FROZEN_BIT) != number -> REFUSED; goto give_up
                fi;
                owner[o] = 0;

                /* Until the store has it. */
                if
                :: ceiling[o] > number -> succeed()
                :: gone[o] ->
                        if /* what retired it may first have raised the ceiling */
                        :: ceiling[o] > number -> succeed(); goto over
                        :: ceiling[o] <= number
                        fi;
                        n = current;
                        if
#ifdef JUDGE_BLINDLY
                        :: true -> succeed()
#elif defined(JUDGE_BELOW)
                        :: begins[n] < number -> REFUSED
                        :: begins[n] >= number && n == o + 1 -> succeed()
                        :: begins[n] >= number && n > o + 1 /* nobody can tell */
#elif defined(JUDGE_BY_ANY)
                        :: begins[n] <= number -> REFUSED
                        :: begins[n] > number -> succeed()
#else
                        :: begins[n] <= number -> REFUSED; UNLOST
                        :: begins[n] > number && n == o + 1 -> succeed()
                        :: begins[n] > number && n > o + 1 /* nobody can tell */
#endif
                        fi
                fi;
                goto over;

give_up:
                owner[o] = 0;
over:
                o = 0;
                n = 0;
                number = 0
        od
}

/* A fresh segment begins at what the store has; what it has not is lost. */
inline fresh(at)
{
        d_step {
                next[current + 1] = at;
                ceiling[current + 1] = at;
                begins[current + 1] = at;
                i = saved;
                do
                :: i < NUMBERS -> assert(!returned[i]); used_by[i] = 0; i++
                :: i == NUMBERS -> break
                od;
                i = 0;
                current++
        }
}

proctype daemon()
{
        byte position, i, lives = LIVES - 1;
        bool frozen;

start:
        if
        :: true
#ifndef WELL
        :: atomic { current + 1 < SEGMENTS -> fresh(saved); gone[current - 1] = true }
#endif
        fi;
        frozen = (next[current] & FROZEN_BIT) != 0;

end_serve:
        do
        :: lives > 0 -> lives--; goto start /* killed */
        :: atomic { frozen || next[current] != saved || ceiling[current] != saved ->
                position = next[current] & ~FROZEN_BIT };
                if
                :: lives > 0 -> lives--; goto start
                :: saved = position
                fi;
                if
                :: lives > 0 -> lives--; goto start
                :: ceiling[current] = position
                fi;
                if
                :: frozen -> next[current] = position; frozen = false
                :: !frozen
                fi
        :: atomic { current + 1 < SEGMENTS && !frozen -> /* another segment */
#ifdef REPLACE_OPEN
                position = next[current] };
#else
                position = next[current];
                next[current] = position | FROZEN_BIT };
#endif
                if
                :: saved = position; ceiling[current] = position
#ifndef WELL
                :: true /* the store fails */
#endif
                fi;
                if
                :: lives > 0 -> lives--; goto start
                :: true
                fi;
#ifdef BEGIN_AT_NEXT
                fresh(position);
#else
                fresh(saved);
#endif
                gone[current - 1] = true
        od
}

init
{
        byte i;

        atomic {
                i = 0;
                do
                :: i < CLIENTS -> i++; run client(i)
                :: i == CLIENTS -> break
                od;
                run daemon()
        }
}
