#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Checks the models of the draw protocol (draw.pml) and of transactions on gapless
# sequences (gapless.pml): as they are, exhaustively and without an error; and
# with one rule undone at a time, which must be noticed.
#
# Works in a directory of its own below $BUILD (build/model), removed at the
# end. Takes about a minute and less than 1 GiB. Exit status 0 if all passed.
#
# A run that fails unexpectedly prints the steps that lead to the error.

set -u

here=$(cd "$(dirname "$0")" && pwd)
model=$here/draw.pml
build=${BUILD:-build/model}
passed=0
failed=0

for tool in spin "${CC:-gcc}"; do
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
        optimization=$1
        shift
        rm -f pan* ./*.trail report
        spin -a "$@" "$model" >report 2>&1 || return 1
        # -w: spin's output is not ours to keep free of warnings.
        "${CC:-gcc}" -w "$optimization" -DSAFETY -DMEMLIM=1900 -o pan pan.c >>report 2>&1 || return 1
        ./pan -n -m10000 -w24 >report 2>&1
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
        printf '%-6s %-18s %9s states, depth %4s, %6s s\n' "$1" "$2" \
                "$(sed -n 's/^ *\([0-9]*\) states, stored.*/\1/p' report)" \
                "$(sed -n 's/.*depth reached \([0-9]*\),.*/\1/p' report)" \
                "$(sed -n 's/.*elapsed time \([0-9.]*\) seconds.*/\1/p' report)"
}

# holds NAME SETTINGS...: the protocol as it is.
holds()
{
        name=$1
        shift
        if check -O2 "$@" && grep -q 'errors: 0' report && searched_whole; then
                passed=$((passed + 1))
                tell ok "$name"
                return
        fi
        failed=$((failed + 1))
        tell FAILED "$name"
        cat report
        for trail in ./*.trail; do
                [ -f "$trail" ] && spin "$@" -t -p -g -l -k "$trail" "$model"
        done
}

# caught RULE SETTINGS...: the protocol with a rule undone.
caught()
{
        name=$1
        shift
        if check -O1 "-D$name" "$@" && grep -q 'assertion violated' report &&
                ! grep -q 'errors: 0' report; then
                passed=$((passed + 1))
                tell caught "$name"
                return
        fi
        failed=$((failed + 1))
        tell MISSED "$name"
        cat report
}

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
caught GIVE_BACK_VOID -DLIVES=3 -DMOVES=0    # a void claim is given back
caught SKIP_BLINDLY -DJUMPS -DLIVES=1        # who finds `next` below the floor stores it
caught EXACT_WINS -DLIVES=2 -DMOVES=0        # adoption prefers the saved position to a higher one
caught KEEP_STATE -DLIVES=4 -DMOVES=0        # adoption leaves an open window's state at frozen
caught SAVE_BELOW -DJUMPS -DLIVES=3 -DMOVES=1       # a freeze ends below the last jump
caught THAW_BY_POSITION -DJUMPS -DLIVES=2 -DMOVES=0 # a thaw forgets what waits below its range
caught LO_MOVES -DPATIENT -DCLEAN            # the store's lo moves where nothing jumped

# Two clients with two transactions each; with power failures; with holders wrongly
# taken for dead; and three clients, of whom two may find the same dead owner.
model=$here/gapless.pml
holds gapless-crashes -DCLIENTS=2 -DROUNDS=2 -DLIVES=1 -DFAILURES=0
holds gapless-power -DCLIENTS=2 -DROUNDS=1 -DLIVES=2 -DFAILURES=1
holds gapless-wrongly -DCLIENTS=2 -DROUNDS=1 -DLIVES=2 -DFAILURES=0 -DWRONGLY
holds gapless-three -DCLIENTS=3 -DROUNDS=1 -DLIVES=1 -DFAILURES=0

set -- -DCLIENTS=2 -DROUNDS=2 -DLIVES=2 -DFAILURES=0
caught POST_ALWAYS "$@"   # posts of the semaphore pile up
caught TAKE_ANY "$@"      # the turn is taken without asking whether its owner lives
caught TAKE_BLINDLY "$@"  # two who find the same dead owner both take over
caught STORE_NEXT "$@"    # a commit stores `next` without comparing
caught PUBLISH_FIRST "$@" # the daemon confirms before the store has
caught THAW_AT_SAVED "$@" # a thaw goes back to below where the freeze was

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
