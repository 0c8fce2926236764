/* SPDX-License-Identifier: MIT */

/*
 * Ids made of time, for the model checker spin: clients that move one packed word
 * to the clock by compare-and-swap (client/time.c, client/timeid.c), a daemon that
 * keeps a durable time ahead of it, freezes, thaws and may die between any two steps,
 * the next one that adopts what it left, the store, and a clock that is set forward
 * and back at any moment. One sequence; its window and cell may come to lie in more
 * than one object, one after the other: a reboot, into whatever year, is the name
 * being removed.
 *
 * Checked in every state that can be reached:
 *
 *   - no id is handed out twice, over all objects and whatever the clock says;
 *   - what is granted lies below what the store has made durable by then, and no
 *     later daemon opens a window below it, also one with only the store;
 *   - a draw that begins after another one returned gets a later id;
 *   - nobody gets stuck but clients that wait for a daemon when there is none.
 *
 * Every step is one access to something shared: a word of the window or of the
 * cell, the clock, or a commit.
 *
 * An index here is the time alone: that the serial of a millisecond runs over into the
 * next one makes no difference to who gets which. The pace at which ids ahead of
 * the clock are given out, memory orders and the end of all time are not here.
 * Daemons, their deaths and the bounds are those of draw.pml, without jumps: nothing
 * lowers `next` or leaves a hole in what is reserved but what is here.
 *
 * Each other name undoes one rule, to show that it is needed; run.sh lists them.
 */

#ifndef CLAIMS1
#define CLAIMS1 2
#endif
#ifndef CLAIMS2
#define CLAIMS2 1
#endif
#ifndef MOVES
#define MOVES 1 /* extensions that daemons make, beside those asked for */
#endif
#ifndef LIVES
#define LIVES 2
#endif
#ifndef OBJECTS
#define OBJECTS 1
#endif
#ifndef STEPS
#define STEPS 1 /* of the clock */
#endif
#define AHEAD 2 /* so far above the clock is reserved */

#define LATE 3 /* what the clock is set to, or to 0 */

#define FROZEN_BIT 128
#define CLOSED 127
#define INDEX_LIMIT 30

#define OPEN 1
#define FROZEN 2
#define RETIRED 3

byte ceiling[OBJECTS], floor[OBJECTS], frozen[OBJECTS], state[OBJECTS];
byte next[OBJECTS];
byte named, objects;
byte store_hi;
bool store_exact;
byte now, steps = STEPS;

/* For the checks alone: a bit per id handed out; all returned ones are below `returned`. */
int taken;
byte returned;

#define BITS(from, to) (((1 << (to)) - 1) & ~((1 << (from)) - 1))
#define MAX(a, b) ((a) > (b) -> (a) : (b))
#define MIN(a, b) ((a) < (b) -> (a) : (b))

/* --- the client: client/time.c -------------------------------------------- */

inline grant()
{
        assert(k + n <= INDEX_LIMIT);
        assert((taken & BITS(k, k + n)) == 0); /* handed out twice */
        assert(k + n <= store_hi);             /* outside of what is durable */
        assert(k >= before);                   /* out of order */
        taken = taken | BITS(k, k + n);
        returned = MAX(returned, k + n)
}

proctype client(byte claims, n)
{
        byte o, k, c, f, seen, before;

end_draw:
        atomic {
                claims > 0 && objects > 0 -> claims--;
                before = returned
        };

end_attempt:
        atomic { /* the name is looked up again whenever that can matter */
                state[named] != RETIRED && next[named] < FROZEN_BIT -> o = named;
                seen = next[o];
                k = 0
        };
        c = ceiling[o];
        atomic {
#ifdef CLOCK_ALONE
                k = now;
#else
                k = MAX(now, MAX(seen, floor[o]));
#endif
                if
                :: k + n > c -> c = 0; goto wait_for_more
                :: k + n <= c -> c = 0
                fi
        };
        atomic {
#ifdef STORE_NEXT
                if
                :: true -> next[o] = k + n
#else
                if
                :: next[o] == seen -> next[o] = k + n
                :: next[o] != seen -> seen = 0; goto end_attempt
#endif
                fi;
                seen = 0
        };
#ifdef LOOK_ONCE
        atomic { grant(); goto over };
#endif

end_judge: /* a freeze and a thaw may have come in between */
        c = ceiling[o];
        atomic {
                f = floor[o];
                if
                :: k < f -> goto end_attempt /* void */
                :: k >= f && k + n <= c -> grant(); goto over
                :: else -> c = 0; f = 0
                fi
        };

end_waiting:
        if
        :: k + n <= ceiling[o] || k < floor[o] -> goto end_judge
        :: state[o] == RETIRED -> goto end_attempt
        :: atomic { goto over } /* killed, or time is up: a hole */
        fi;

wait_for_more: /* it rings and looks again, or gives up */
end_more:
        atomic {
                k = 0;
                seen = 0;
                if
                :: goto end_attempt
                :: goto over
                fi
        };

over:
        atomic { o = 0; k = 0; c = 0; f = 0; seen = 0; before = 0; goto end_draw }
}

/* --- the daemon: daemon/refill.c, daemon/window.c, daemon/adopt.c ----------- */

byte lives = LIVES - 1;
byte moves = MOVES;

#define MAY_DIE                                                                                    \
        if                                                                                         \
        :: lives > 0 -> goto died                                                                  \
        :: true                                                                                    \
        fi
#define STEP(step) atomic { step; MAY_DIE }
#define COMMIT(hi, exact) store_hi = hi; store_exact = exact

proctype daemon()
{
        byte o, x;
        bool stopping;

start:
        if
        :: objects < OBJECTS -> goto create
        :: objects > 0 && state[named] != RETIRED -> goto adopt
        fi;

create:
        STEP(
                o = objects;
#ifdef BEGIN_BY_CLOCK
                x = now;
#else
                x = store_hi;
                assert((taken >> store_hi) == 0); /* begins below what was granted */
#endif
                next[o] = x;
                floor[o] = x;
                ceiling[o] = store_hi;
                state[o] = OPEN;
                objects++;
                named = o
        );
        goto serve;

adopt:
        atomic {
                o = named;
                if
                :: next[o] < FROZEN_BIT -> goto adopt_open
                :: else -> x = next[o] - FROZEN_BIT
                fi;
                if
                :: stopping = true
                :: stopping = false
                fi;
                if
                :: state[o] == FROZEN -> x = frozen[o]
                :: else
                fi;
                if
                :: store_exact -> x = MAX(x, store_hi)
                :: else
                fi;
                goto close
        };

adopt_open:
        STEP(state[o] = OPEN);
        atomic {
                assert(store_hi >= ceiling[o]);
                if
                :: store_hi == ceiling[o] -> goto serve
                :: store_hi > ceiling[o] -> goto publish
                fi
        };

serve:
        if
#ifdef PUBLISH_FIRST
        :: atomic { moves > 0 -> moves--; ceiling[o] = MAX(next[o], now) + AHEAD; MAY_DIE };
                STEP(COMMIT(MAX(store_hi, ceiling[o]), false))
#else
        :: atomic { moves > 0 -> moves--; x = MAX(next[o], now) + AHEAD; MAY_DIE };
                STEP(COMMIT(MAX(MAX(store_hi, ceiling[o]), x), false));
                goto publish
#endif
        :: goto freeze
        :: objects < OBJECTS -> goto retire
        fi;

publish:
        STEP(ceiling[o] = store_hi);
        goto serve;

freeze:
        STEP(x = next[o]; stopping = true);
note: /* nobody asks for either before the bit is set */
        STEP(frozen[o] = x; state[o] = FROZEN);
        atomic { /* compare-and-swap */
                if
                :: next[o] == x -> next[o] = next[o] + FROZEN_BIT; MAY_DIE; goto closed
                :: next[o] != x -> x = next[o]; MAY_DIE; goto lower
                fi
        };
close:
        STEP(frozen[o] = x);
        STEP(state[o] = FROZEN);
closed:
#ifndef NO_LOWER
        STEP(ceiling[o] = MIN(ceiling[o], x));
#endif
        if
        :: store_exact && store_hi == x -> goto rest
        :: !(store_exact && store_hi == x) && !stopping -> goto thaw
        :: !(store_exact && store_hi == x) && stopping
        fi;
#ifdef SAVE_CLOCK
        STEP(COMMIT(now, true));
#else
        STEP(COMMIT(x, true));
#endif
rest:
        if
        :: stopping -> goto died
        :: !stopping
        fi;

thaw:
        if
        :: !store_exact && store_hi > x
        :: store_exact || store_hi <= x -> STEP(COMMIT(MAX(store_hi, MAX(x, now) + AHEAD), false))
        fi;
#ifdef THAW_BY_CLOCK
        STEP(next[o] = now);
#else
        assert((taken >> x) == 0);
        STEP(next[o] = x);
#endif
        STEP(ceiling[o] = store_hi);
        STEP(state[o] = OPEN);
        goto serve;

retire:
        STEP(floor[o] = CLOSED);
        STEP(state[o] = RETIRED);
        goto create;

lower: /* draws wait then, and come to rest */
        STEP(ceiling[o] = MIN(ceiling[o], x));
        goto note;

died:
        atomic {
                o = 0;
                x = 0;
                stopping = false;
                if
                :: lives > 0 -> lives--; goto start
                :: else
                fi
        }
}

/* Set by an administrator, ntpd, or a battery that has run down. */
proctype clock()
{
end_clock:
        do
        :: atomic { steps > 0 && now != 0 -> steps--; now = 0 }
        :: atomic { steps > 0 && now != LATE -> steps--; now = LATE }
        od
}

init
{
        atomic {
                store_exact = true;
                if
                :: now = LATE
                :: now = 0
                fi;
                run daemon();
                run client(CLAIMS1, 1);
                run client(CLAIMS2, 2);
                run clock()
        }
}
