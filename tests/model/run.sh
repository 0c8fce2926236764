#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Checks the models of the draw protocol (draw.pml), of ringing (bell.pml), of
# transactions on gapless sequences (gapless.pml; lost.pml when their segment is
# lost) and of ids made of time (time.pml): as they are, exhaustively and without an error; and with one rule
# undone at a time, which must be noticed.
#
# Works in a directory of its own below $BUILD (build/model), removed at the end.
# Takes about two minutes of processor time, on two of them if there are, and less
# than 2 GiB of memory each. Exit status 0 if all passed.
#
# A run that fails unexpectedly prints the steps that lead to the error.

set -u

here=$(cd "$(dirname "$0")" && pwd)
build=${BUILD:-build/model}
cc=${CC:-gcc}
jobs=$(($(nproc) < 2 ? 1 : 2))

for tool in spin "$cc"; do
        command -v "$tool" >/dev/null || {
                echo "run.sh: $tool is not installed" >&2
                exit 1
        }
done
mkdir -p "$build" && work=$(mktemp -d "$build/run.XXXXXX") && cd "$work" || exit 1
work=$PWD
trap 'cd / && rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# check OPTIMIZATION SETTINGS...: fills the file `report`; 1: no verdict.
check()
{
        local optimization=$1
        shift
        spin -a "$@" "$here/$model.pml" >report 2>&1 || return 1
        # -w: spin's output is not ours to keep free of warnings.
        "$cc" -w "$optimization" -DSAFETY -DMEMLIM=1900 -o pan pan.c >>report 2>&1 || return 1
        ./pan -n -m20000 -w24 >report 2>&1
        grep -q 'errors: [0-9]' report
}

# Was every state looked at?
searched_whole()
{
        ! grep -q -e 'Search not completed' -e 'max search depth too small' \
                -e 'memory limit' -e 'out of memory' -e 'MEMLIM' report
}

# tell VERDICT NAME
tell()
{
        printf '%-6s %-24s %9s states, depth %4s, %6s s\n' "$1" "$2" \
                "$(sed -n 's/^ *\([0-9]*\) states, stored.*/\1/p' report)" \
                "$(sed -n 's/.*depth reached \([0-9]*\),.*/\1/p' report)" \
                "$(sed -n 's/.*elapsed time \([0-9.]*\) seconds.*/\1/p' report)"
}

hold_up()
{
        local name=$1
        shift
        if check -O2 "$@" && grep -q 'errors: 0' report && searched_whole; then
                touch passed
                tell ok "$model: $name"
                return
        fi
        tell FAILED "$model: $name"
        cat report
        for trail in ./*.trail; do
                [ -f "$trail" ] && spin "$@" -t -p -g -l -k "$trail" "$here/$model.pml"
        done
}

catch()
{
        local name=$1
        shift
        if check -O1 "-D$name" "$@" && grep -q -e 'assertion violated' -e 'invalid end state (' report &&
                ! grep -q 'errors: 0' report; then
                touch passed
                tell caught "$model: $name"
                return
        fi
        tell MISSED "$model: $name"
        cat report
}

# begin WHAT NAME SETTINGS...: in a directory of its own, beside others.
started=0
begin()
{
        [ "$(jobs -rp | wc -l)" -lt "$jobs" ] || wait -n
        started=$((started + 1))
        mkdir "$work/$started"
        (
                cd "$work/$started" || exit
                "$@" >output 2>&1
                rm -f pan pan.*
                cat output # at once: others write too
        ) &
}

# holds NAME SETTINGS...: the protocol as it is.
holds()
{
        begin hold_up "$@"
}

# caught RULE SETTINGS...: the protocol with a rule undone.
caught()
{
        begin catch "$@"
}

model=draw
# Daemons die anywhere, three of them; jumps, with three and with two that also
# jump while open; names removed; and two settings in which nothing is skipped.
holds crashes -DLIVES=3 -DMOVES=1
holds jumps-thawing -DJUMPS -DLIVES=3 -DMOVES=0
holds jumps -DJUMPS -DLIVES=2 -DMOVES=1
holds objects -DOBJECTS=2 -DLIVES=2 -DMOVES=1
holds no-gaps-crashes -DPATIENT -DLIVES=3 -DMOVES=1
holds no-gaps-stops -DPATIENT -DCLEAN -DOBJECTS=2 -DLIVES=3 -DMOVES=2

caught FLOOR_FIRST -DJUMPS -DLIVES=1         # a client reads floor before ceiling
caught NO_LOWER -DLIVES=3 -DMOVES=0          # a freeze leaves the ceiling where it is
caught PUBLISH_FIRST -DLIVES=2 -DMOVES=1     # the ceiling rises before the commit
caught JUMP_FLOOR_LAST -DJUMPS -DLIVES=1     # a jump raises the ceiling before the floor
caught SKIP_BLINDLY -DJUMPS -DLIVES=1        # who finds `next` below the floor stores it
caught GIVE_BACK_BLINDLY -DLIVES=2 -DMOVES=1 # a block's rest is given back though others claimed since
caught EXACT_WINS -DLIVES=2 -DMOVES=0        # adoption prefers the saved position to a higher one
caught SAVE_BELOW -DJUMPS -DLIVES=3 -DMOVES=1       # a freeze ends below the last jump
caught THAW_BY_POSITION -DJUMPS -DLIVES=2 -DMOVES=0 # a thaw forgets what waits below its range
caught NOTE_LATE -DPATIENT -DLIVES=2 -DMOVES=0      # a freeze notes where it ended claims after it did
caught CLOSE_BLINDLY -DLIVES=3 -DMOVES=1            # and it ends them elsewhere than noted
# Where a freeze is not noted before, as a daemon of an earlier version did it:
caught GIVE_BACK_VOID -DNOTE_LATE -DLIVES=3 -DMOVES=0 # a void claim is given back
caught KEEP_STATE -DNOTE_LATE -DLIVES=4 -DMOVES=0     # adoption leaves an open window's state at frozen

caught LO_MOVES -DPATIENT -DCLEAN            # the store's lo moves where nothing jumped

# Rings: two clients that draw three numbers each, and three with one.
model=bell
holds two
holds three -DCLIENTS=3 -DCLAIMS=1 -DRESERVE=2
holds deaths -DDEATHS=1 -DCLAIMS=2 # and one of two is killed posting

caught NEVER_AGAIN -DDEATHS=1 -DCLAIMS=2 # who waits does not post again
caught LOOK_EARLY       # a client looks at the semaphore before its marks are made
caught SUMMARY_FIRST    # it marks the summary before the word
caught MARK_EARLY       # it reads the low mark before its claim is made
caught TAKE_EARLY       # the daemon takes the marks before the post
caught WORDS_FIRST      # it takes the word before the summary
caught LOOK_BEFORE_MARK # it looks at next before the new low mark is there
caught NO_LOOK          # it does not look again at all

# Two clients with two transactions each; with power failures; with holders wrongly
# taken for dead, as by a hold_limit; three clients, of whom two may find the same
# dead owner; and no wake-up lost that somebody waits for.
model=gapless
holds crashes -DCLIENTS=2 -DROUNDS=2 -DLIVES=1 -DFAILURES=0
holds power -DCLIENTS=2 -DROUNDS=1 -DLIVES=2 -DFAILURES=1
holds wrongly -DCLIENTS=2 -DROUNDS=1 -DLIVES=2 -DFAILURES=0 -DWRONGLY
holds three -DCLIENTS=3 -DROUNDS=1 -DLIVES=1 -DFAILURES=0
holds prompt -DCLIENTS=2 -DROUNDS=2 -DLIVES=2 -DFAILURES=0 -DPROMPT
holds prompt-three -DCLIENTS=3 -DROUNDS=1 -DLIVES=1 -DFAILURES=0 -DPROMPT

set -- -DCLIENTS=2 -DROUNDS=2 -DLIVES=2 -DFAILURES=0
caught NEVER_ASK "$@"      # nobody asks whether the owner lives
caught POST_ALWAYS "$@"    # posts of the semaphore pile up
caught POST_NEVER "$@" -DPROMPT # there are none
caught POST_FIRST "$@" -DPROMPT # the semaphore is posted before the owner is gone
caught TAKE_ANY "$@"       # the turn is taken without asking whether its owner lives
caught TAKE_BLINDLY "$@"   # two who find the same dead owner both take over
caught STORE_NEXT "$@"     # a commit stores next without comparing
caught PUBLISH_FIRST "$@"  # the daemon confirms before the store has
caught THAW_AT_SAVED "$@"  # a thaw goes back to below where the freeze was

# Segments lost and made anew under two clients with two transactions each; and
# where nobody dies and the store is well.
model=lost
holds lost -DROUNDS=2
holds well -DROUNDS=2 -DLIVES=1 -DWELL

caught JUDGE_BLINDLY              # what was used up counts as committed
caught JUDGE_BELOW                # a segment that begins at the number counts as one behind it
caught JUDGE_BY_ANY               # so does a later segment than the next
caught BEGIN_AT_NEXT              # a fresh segment begins at next, saved or not
caught REPLACE_OPEN -DLIVES=1 -DWELL # a segment is left without having been frozen

# Two clients that draw two ids and a run of two under a clock that is set; three
# daemons; the clock set twice; and after a reboot.
model='time'
holds stepped -DSTEPS=2
holds crashes -DLIVES=3 -DSTEPS=2
holds reboot -DOBJECTS=2 -DCLAIMS1=1

caught CLOCK_ALONE -DSTEPS=2                # a draw takes what the clock says
caught STORE_NEXT                           # it stores next without comparing
caught LOOK_ONCE -DSTEPS=2                  # it does not judge its claim once it is made
caught BEGIN_BY_CLOCK -DOBJECTS=2 -DSTEPS=2 # a fresh window begins at the clock
caught PUBLISH_FIRST                        # the ceiling rises before the commit
caught NO_LOWER -DSTEPS=2                   # a freeze leaves the ceiling where it is
caught SAVE_CLOCK                           # a freeze saves the clock
caught THAW_BY_CLOCK -DSTEPS=2              # a thaw goes on at the clock

wait
passed=$(find "$work" -name passed | wc -l)
echo "$passed passed, $((started - passed)) failed"
[ "$passed" -eq "$started" ]
