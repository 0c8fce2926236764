/* SPDX-License-Identifier: MIT */

/*
 * Ringing, for the model checker spin: clients that draw past the low mark or wait
 * (client/draw.c), the doorbell's semaphore and bitmaps, and a daemon that listens
 * and reserves more (daemon/doorbell.c, daemon/refill.c, daemon/window.c). Here nobody
 * rings again when a slice of time has passed, as they do in truth, and nobody gives up:
 * every ring must be heard at once.
 *
 * Checked in every state that can be reached:
 *
 *   - nobody waits for ever (an invalid end state otherwise);
 *   - when all is quiet, nothing was drawn past the low mark unanswered.
 *
 * With DEATHS: that many clients are killed in the midst of posting, which is two steps:
 * to count, then to wake who sleeps. Then those who wait ring once more when a slice
 * has passed and nothing was done, whatever is pending; and what nobody waits for may
 * go unanswered.
 *
 * Every step is one access to something shared. Memory orders: two steps stand in
 * the order of the program where client/atomic.h says so, by an exchange or a
 * sequentially consistent access. Each pair that Dekker's pattern rests on has a rule
 * here that turns it round, as a weaker order would allow (the names ending in
 * EARLY and LATE); so what has to be ordered is known to be needed, and no fence but
 * these is. The doorbell's thread and the loop are one process: what is between
 * them orders all that they do (an eventfd).
 *
 * What the model does not cover: more than one sequence in a word and one word in
 * the summary, frozen windows, the daemon's death (draw.pml), commits that fail.
 *
 * Each name undoes one rule, to show that it is needed; run.sh lists them.
 */

#ifndef CLIENTS
#define CLIENTS 2
#endif
#ifndef CLAIMS
#define CLAIMS 3 /* of each client */
#endif
#ifndef RESERVE
#define RESERVE 4 /* at most, of each commit; the pace may also slow down to one */
#endif

#ifndef DEATHS
#define DEATHS 0
#endif

#define LIMIT (CLIENTS * CLAIMS + 1)
#define NEVER 255 /* a low mark that nobody draws past */

byte next, ceiling, low = NEVER;
bool word, summary; /* the bit of the sequence; the bit of its word */
byte posts, deaths = DEATHS;
bool asleep; /* the daemon, in sem_wait(3) */

inline ring()
{
#ifdef LOOK_EARLY
        seen = posts; /* the look overtakes the marks */
#endif
#ifdef SUMMARY_FIRST
        summary = true;
        word = true;
#else
        word = true;
        summary = true;
#endif
#ifndef LOOK_EARLY
        seen = posts;
#endif
        if
        :: seen > 0
        :: seen == 0 ->
                posts++;
                if
                :: asleep = false
                :: atomic { deaths > 0 -> deaths--; goto dead }
                fi
        fi;
        seen = 0
}

/* Until the window reaches the claim. */
inline wait()
{
#if DEATHS > 0 && !defined(NEVER_AGAIN)
        do
        :: ceiling > k -> break
        :: timeout -> posts++; asleep = false /* a slice has passed */
        od
#else
        ceiling > k /* asleep */
#endif
}

proctype client()
{
        byte k, c, l, seen, claims = CLAIMS;

end_draw:
        do
        :: claims == 0 -> break
        :: claims > 0 ->
                claims--;
#ifdef MARK_EARLY
                l = low; /* the load of the mark overtakes the claim */
#endif
                atomic { k = next; next++ }
                c = ceiling;
                if
                :: k < c
                :: k >= c ->
                        ring();
                        wait()
                fi;
#ifndef MARK_EARLY
                l = low;
#endif
                if
                :: k == l -> ring()
                :: k != l
                fi;
                k = 0;
                c = 0;
                l = 0
        od;
dead:
        skip
}

/* Half of what lies ahead. */
#define LOW_MARK(n, hi) ((hi) >= LIMIT -> NEVER : ((n) < (hi) -> (hi) - ((hi) - (n) + 1) / 2 : (hi)))

proctype daemon()
{
        byte n, hi, own_low = NEVER;
        bool wanted, heard;

end_listen:
        do
#ifdef TAKE_EARLY
        :: atomic { posts == 0 && !asleep -> asleep = true }
        :: posts > 0 && !asleep ->
                heard = summary; summary = false;
                posts = 0;
                if
                :: heard -> wanted = word; word = false
                :: !heard
                fi;
#else
        :: atomic { posts == 0 && !asleep -> asleep = true }
        :: posts > 0 && !asleep -> posts--;
                if /* drain: what else has been posted */
                :: posts > 0 -> posts--
                :: true
                fi;
#ifdef WORDS_FIRST
                wanted = word; word = false;
                summary = false;
#else
                atomic { heard = summary; summary = false };
                if
                :: heard -> atomic { wanted = word; word = false }
                :: !heard
                fi;
#endif
#endif
                heard = false;
                do
                :: !wanted -> break
                :: wanted ->
                        wanted = false;
                        n = next;
                        if
                        :: ceiling >= LIMIT || (n <= own_low && n < ceiling)
                        :: else ->
                                if
                                :: hi = n + 1
                                :: hi = n + RESERVE
                                fi;
                                hi = ((hi > LIMIT) -> LIMIT : hi);
                                /* if that is reserved already, the mark alone moves */
                                hi = ((hi < ceiling) -> ceiling : hi);
                                own_low = LOW_MARK(n, hi);
#ifdef LOOK_BEFORE_MARK
                                n = next; /* the look overtakes the mark */
#endif
                                low = own_low;
                                ceiling = hi;
#ifndef LOOK_BEFORE_MARK
#ifndef NO_LOOK
                                n = next;
#endif
#endif
                                wanted = (own_low != NEVER && n > own_low)
                        fi;
                        n = 0;
                        hi = 0
                od
        od
}

/* When nobody can do anything any more. */
proctype quiet()
{
        timeout ->
        assert(low == NEVER || next <= low || deaths < DEATHS)
}

init
{
        byte i;

        atomic {
                i = 0;
                do
                :: i < CLIENTS -> run client(); i++
                :: i == CLIENTS -> break
                od;
                run daemon();
                run quiet()
        }
}
