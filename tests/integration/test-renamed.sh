#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The segment's name is changed in the configuration, and changed back: the
# segment left under the first name lies behind the store, and no number that
# was drawn under the second comes again.

set -u
build=${SEQNUM_BUILD:-build}
dir=$(mktemp -d "${TMPDIR:-/tmp}/seqnum-test.XXXXXX") || exit 1
first=/seqnumd-test-renamed-a.$$
second=/seqnumd-test-renamed-b.$$
daemon=

cleanup() {
        status=$?
        trap - EXIT
        [ -z "$daemon" ] || kill -KILL "$daemon" 2>/dev/null
        [ "$status" = 0 ] || cat "$dir/log"
        rm -rf "$dir" "/dev/shm$first" "/dev/shm$second"
        exit $status
}
trap cleanup EXIT

# draw_under NAME SIGNAL: start the daemon, draw ten numbers, end it.
draw_under() {
        printf '[service]\nshm = %s\nstate = %s/state\nsocket = %s/sock\ngroup =\n[sequence q]\n' \
                "$1" "$dir" "$dir" >"$dir/ini"
        "$build/seqnumd" -c "$dir/ini" 2>>"$dir/log" &
        daemon=$!
        for _ in $(seq 200); do
                "$build/seqnum" -s "$1" status >/dev/null 2>&1 && break
                sleep 0.05
        done
        "$build/seqnum" -s "$1" -t 20 next -n 10 q >>"$dir/numbers" || exit 1
        kill "-$2" "$daemon"
        wait "$daemon" 2>/dev/null
        daemon=
}

draw_under "$first" TERM
draw_under "$second" KILL
draw_under "$first" TERM
draw_under "$second" KILL
draw_under "$first" KILL
again=$(sort -n "$dir/numbers" | uniq -d)
[ -z "$again" ] || {
        echo "drawn twice: $again"
        exit 1
}
grep -q 'another one has been in use since' "$dir/log" || {
        echo "the segment left behind was not noticed"
        exit 1
}
