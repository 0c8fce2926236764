/* SPDX-License-Identifier: MIT */

/*
 * The draw protocol, for the model checker spin: clients that claim and judge
 * (client/draw.c), a daemon that moves windows (daemon/window.c) and may die
 * between any two steps, the next one that adopts what it left
 * (daemon/adopt.c), and the store. One sequence; its window and cell may come
 * to lie in more than one object, one after the other.
 *
 * Checked in every state that can be reached:
 *
 *   - no index is handed out twice, over all objects; the indices that a jump
 *     leaves out count as handed out, for the store gave them to others;
 *   - what is granted lies below what the store has made durable by then, and
 *     no later daemon opens a window below it, also one with only the store;
 *   - nobody gets stuck but clients that wait for a daemon when there is none;
 *   - where clients are patient (-DPATIENT: none gives up or is killed, no name
 *     is removed but after a clean stop): when all is over, every index below
 *     the saved position was handed out.
 *
 * Every step is one access to something shared: a word of the window or of the
 * cell, or a commit. Steps of different processes interleave in all ways.
 *
 * A client that is killed needs no step of its own: that it takes none any more
 * is among the interleavings, and that another comes in its place, too. A reboot
 * is the name being removed, the clients killed, and others on the new object;
 * so is the replacement of a segment or of a slot. A stop that leaves windows
 * open (on_stop = serve) is a death.
 *
 * What the model does not cover:
 *
 *   - memory orders weaker than sequential consistency: that each load sees
 *     what the order of the program suggests is argued in client/atomic.h;
 *   - ringing and waking: whoever waits looks again when it can matter;
 *   - more clients, claims, lives and moves than the bounds below say;
 *   - the end of a sequence, cycles, altered sequences, cells scribbled upon,
 *     a store restored from a backup;
 *   - two daemons at once: locks see to that;
 *   - a commit under way while the daemon freezes: it waits for that first.
 *
 * Bounds: CLAIMS1 and CLAIMS2, by each of the two clients; MOVES that daemons
 * make of their own accord (extend, jump); LIVES of daemons; OBJECTS; RESERVE
 * per commit. JUMPS: the store may grant a range that does not touch the last.
 * CLEAN: daemons stop, but never die.
 *
 * Each other name undoes one rule of the protocol, to show that it is needed
 * and that the checks notice; run.sh lists them.
 */

#ifndef CLAIMS1
#define CLAIMS1 2
#endif
#ifndef CLAIMS2
#define CLAIMS2 1
#endif
#ifndef MOVES
#define MOVES 2
#endif
#ifndef LIVES
#define LIVES 3
#endif
#ifndef OBJECTS
#define OBJECTS 1
#endif
#ifndef RESERVE
#define RESERVE 2
#endif

#define FROZEN_BIT 128 /* in `next`; the real one is the top bit of 64 */
#define CLOSED 127     /* in `floor`: above every index */
#define INDEX_LIMIT 30 /* bits in `taken`; the bounds keep every index below */

#define OPEN 1
#define FROZEN 2
#define RETIRED 3

/* The window: written by the daemon alone. */
byte ceiling[OBJECTS], floor[OBJECTS], frozen[OBJECTS], state[OBJECTS];
/* The cell: written by all. */
byte next[OBJECTS];
/* What the name leads to, and how many objects there have been. */
byte named, objects;

/*
 * The store: indices lo..hi are reserved, and all else below hi was used up or
 * is not ours; or the exact position (lo == hi) that a freeze saved.
 */
byte store_lo, store_hi;
bool store_exact;

/* For the checks alone: a bit per index handed out. */
int taken;

#define BITS(from, to) (((1 << (to)) - 1) & ~((1 << (from)) - 1))
#define MAX(a, b) ((a) > (b) -> (a) : (b))
#define MIN(a, b) ((a) < (b) -> (a) : (b))

inline take(from, to)
{
        assert((to) <= INDEX_LIMIT);
        assert((taken & BITS(from, to)) == 0); /* handed out twice */
        taken = taken | BITS(from, to);
}

/* --- the client: client/draw.c ------------------------------------------- */

inline grant()
{
        assert(k + n <= store_hi); /* outside of what is durable */
        take(k, k + n)
}

inline abandon()
{
        k = 0;
        n = 0
}

/* If no later claim was made, the numbers are not skipped. One step. */
inline give_back()
{
        if
        :: next[o] == k + n -> next[o] = k
        :: else
        fi
}

proctype client(byte claims)
{
        byte o, k, n, c, f;

end_draw:
        atomic {
                claims > 0 && objects > 0 -> claims--;
                if
                :: n = 1
                :: n = 2
                fi;
                if /* the name is looked up again now and then */
                :: o = named
                :: o != named
                fi;
                k = next[o];
                next[o] = next[o] + n; /* fetch_add */
                assert((k & 127) + n <= INDEX_LIMIT)
        };

judge:
#ifdef FLOOR_FIRST
        f = floor[o];
        atomic {
                c = ceiling[o];
#else
        c = ceiling[o];
        atomic {
                f = floor[o];
#endif
                if
                :: k < f && f < CLOSED -> /* void, and so are all below */
                        c = 0;
                        abandon();
                        goto skip_void
                :: k >= FROZEN_BIT || (k < f && f == CLOSED) -> /* void */
                        c = 0;
                        f = 0;
#ifdef GIVE_BACK_VOID
                        if
                        :: k >= FROZEN_BIT -> goto unclaim
                        :: true
                        fi;
#endif
                        abandon();
                        goto end_draw
                :: k < FROZEN_BIT && k >= f && k + n <= c ->
                        c = 0;
                        f = 0;
                        if
                        :: grant();
                                abandon();
                                goto end_draw
#ifndef PATIENT
                        :: n == 2 -> /* a block: the second is kept for later */
                                assert(k + n <= store_hi);
                                take(k, k + 1);
                                k++;
                                n = 1;
                                goto end_keeping
#endif
                        fi
                :: else ->
                        c = 0;
                        f = 0
                fi
        }

end_waiting:
        if
        :: k + n <= ceiling[o] || k < floor[o] -> goto judge
#ifndef PATIENT
        :: atomic { give_back(); abandon(); goto end_draw } /* time is up */
        :: atomic { abandon(); goto end_draw }              /* killed */
#endif
        fi;

skip_void:
        atomic {
#ifdef SKIP_BLINDLY
                next[o] = f;
#else
                next[o] = MAX(next[o], f);
#endif
                f = 0;
                goto end_draw
        };
#ifndef PATIENT
/* With the rest of a block, which was granted: whatever became of the window since. */
end_keeping:
        atomic {
                if
                :: take(k, k + 1)
#ifdef GIVE_BACK_BLINDLY
                :: next[o] = k
#else
                :: give_back()
#endif
                :: true /* killed */
                fi;
                abandon();
                goto end_draw
        };
#endif

#ifdef GIVE_BACK_VOID
unclaim:
        atomic { give_back(); abandon(); goto end_draw }
#endif
}

/* --- the daemon: daemon/window.c, daemon/adopt.c ------------------------- */

byte lives = LIVES - 1; /* daemons to come */
byte moves = MOVES;

/* After any step the daemon may be dead; that it dies later is no different. */
#if defined(CLEAN)
#define DEADLY false
#else
#define DEADLY (lives > 0)
#endif
#define MAY_DIE                                                                                    \
        if                                                                                         \
        :: DEADLY -> goto died                                                                     \
        :: true                                                                                    \
        fi
#define STEP(step) atomic { step; MAY_DIE }

/* The store's commit: all or nothing, and durable when it returns. */
#define COMMIT(lo, hi, exact) store_lo = lo; store_hi = hi; store_exact = exact

/*
 * Reserve a range that touches the last and reaches beyond `above`. `lo` stays:
 * it says where the last jump landed, and only for that does anybody ask.
 */
#ifdef LO_MOVES
#define RESERVE_ON(above) COMMIT(store_hi, MAX(store_hi, above) + RESERVE, false)
#else
#define RESERVE_ON(above) COMMIT(store_lo, MAX(store_hi, above) + RESERVE, false)
#endif

/* Reserve a range that leaves out an index, which the store gave to others. */
#define RESERVE_APART                                                                              \
        take(store_hi, store_hi + 1);                                                              \
        COMMIT(store_hi + 1, store_hi + 1 + RESERVE, false)

/*
 * A freeze ends nowhere below the last jump's landing: a claim given back late
 * may have carried `next` there, into what the jump left out.
 */
#ifdef SAVE_BELOW
#define START 0
#else
#define START store_lo
#endif

/*
 * Does a thaw have to void what waits below its range? Not by comparing with x:
 * claims may wait above the ceiling, in what the store has given to others.
 */
#ifdef THAW_BY_POSITION
#define APART (store_lo > x)
#else
#define APART (store_lo > ceiling[o])
#endif

proctype daemon()
{
        byte o; /* the object it looks after */
        byte x; /* index at which claims ended, while frozen */
        bool stopping;

start:
        if
        :: objects < OBJECTS -> goto create /* the first, or its name was removed */
        :: objects > 0 && state[named] != RETIRED -> goto adopt
        fi;

/* A fresh window begins at what is durable; nothing is reserved there yet. */
create:
        STEP(
                o = objects;
                assert((taken >> store_hi) == 0); /* begins below what was granted */
                next[o] = store_hi;
                floor[o] = store_hi;
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
                if /* it may be told to stop before it thaws */
                :: stopping = true
                :: stopping = false
                fi;
                if
                :: state[o] == FROZEN -> x = frozen[o]
                :: else
                fi;
                if
#ifdef EXACT_WINS
                :: store_exact -> x = store_hi
#else
                :: store_exact && store_hi > x -> x = store_hi
#endif
                :: else
                fi;
                x = MAX(x, START);
                if
                :: store_exact || store_lo <= ceiling[o] -> goto close
                :: else /* a jump was begun: claims below it are void */
                fi
        };
        STEP(floor[o] = store_lo);
        goto close;

adopt_open:
#ifndef KEEP_STATE
        STEP(state[o] = OPEN);
#endif
        atomic { /* Finish what was begun. */
                assert(store_hi >= ceiling[o]);
                assert(!store_exact || store_hi == ceiling[o]);
                if
                :: store_hi == ceiling[o] -> goto serve
                :: store_hi > ceiling[o] && store_lo <= ceiling[o] -> goto publish
                :: store_hi > ceiling[o] && store_lo > ceiling[o] -> goto jump
                fi
        };

serve:
        if
#ifdef PUBLISH_FIRST
        :: atomic { moves > 0 -> moves--; ceiling[o] = store_hi + RESERVE; MAY_DIE };
                STEP(RESERVE_ON(store_hi))
#else
        :: atomic { moves > 0 -> moves--; RESERVE_ON(ceiling[o]); MAY_DIE; goto publish }
#endif
#ifdef JUMPS
        :: atomic { moves > 0 -> moves--; RESERVE_APART; MAY_DIE; goto jump }
#endif
        :: goto freeze
#ifndef PATIENT
        :: objects < OBJECTS -> goto retire
#endif
        fi;

jump:
        STEP(next[o] = MAX(next[o], store_lo));
#ifdef JUMP_FLOOR_LAST
        STEP(ceiling[o] = store_hi);
#endif
        STEP(floor[o] = store_lo);
publish:
        STEP(ceiling[o] = store_hi);
        goto serve;

freeze:
#ifdef NOTE_LATE
        STEP(
                x = MAX(next[o], START);
                next[o] = next[o] + FROZEN_BIT; /* fetch_or */
                stopping = true
        );
#else
        STEP(x = next[o]; stopping = true);
note: /* nobody asks for either before the bit is set */
        STEP(frozen[o] = x; state[o] = FROZEN);
        atomic { /* compare-and-swap */
#ifdef CLOSE_BLINDLY
                next[o] = next[o] + FROZEN_BIT; MAY_DIE; goto closed
#endif
                if
                :: next[o] == x && x >= START -> next[o] = next[o] + FROZEN_BIT; MAY_DIE; goto closed
                :: next[o] == x && x < START -> next[o] = next[o] + FROZEN_BIT; x = START; MAY_DIE
                :: next[o] != x -> x = next[o]; MAY_DIE; goto lower
                fi
        };
#endif
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
        STEP(COMMIT(x, x, true));
rest:
        STEP(ceiling[o] = MAX(ceiling[o], x)); /* grants claims that waited */
        if
        :: stopping -> goto died
        :: !stopping
        fi;

thaw:
        if
        :: !store_exact && store_hi > x -> skip /* reserved already */
        :: store_exact || store_hi <= x -> STEP(RESERVE_ON(x))
#ifdef JUMPS
        :: store_exact || store_hi <= x -> STEP(RESERVE_APART)
#endif
        fi;
        assert((taken >> MAX(x, store_lo)) == 0); /* begins below what was granted */
        STEP(next[o] = MAX(x, store_lo));
        if
        :: APART -> STEP(floor[o] = store_lo)
        :: else
        fi;
        STEP(ceiling[o] = store_hi);
        STEP(state[o] = OPEN);
        goto serve;

retire:
        STEP(floor[o] = CLOSED);
        STEP(state[o] = RETIRED);
        goto create;

#ifndef NOTE_LATE
lower: /* draws wait then, and come to rest */
        STEP(ceiling[o] = MIN(ceiling[o], MAX(x, START)));
        goto note;
#endif

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

#ifdef PATIENT
/* When nobody can do anything any more: was anything skipped? */
proctype gaps()
{
        timeout ->
        assert(store_exact);
        assert(taken == BITS(0, store_hi))
}
#endif

init
{
        atomic {
                if /* a new sequence, or one that was saved */
                :: store_exact = true
                :: store_exact = false
                fi;
                run daemon();
                run client(CLAIMS1);
                run client(CLAIMS2);
#ifdef PATIENT
                run gaps();
#endif
        }
}
