#!/bin/bash
# SPDX-License-Identifier: MIT
#
# `make demo`: a private instance from the sample configuration. Eight
# processes draw at once, half of them from the shell and half from a C
# program; the daemon is killed meanwhile, and started again; no number comes
# twice and none is missing.

set -eu
build=${SEQNUM_BUILD:-build}
dir=$(mktemp -d "${TMPDIR:-/tmp}/seqnum-demo.XXXXXX")
shm=/seqnumd-demo.$$
daemon=
export SEQNUM_SHM=$shm

cleanup() {
        status=$?
        trap - EXIT
        # shellcheck disable=SC2046 # a list of words
        kill -KILL $daemon $(jobs -p) 2>/dev/null || true
        wait 2>/dev/null || true
        rm -rf "$dir" "/dev/shm$shm"
        exit $status
}
trap cleanup EXIT

say() { printf '\n== %s\n' "$*"; }

start() {
        "$build/seqnumd" -c "$dir/seqnumd.ini" &
        daemon=$!
        for _ in $(seq 100); do
                "$build/seqnum" status >/dev/null 2>&1 && return
                sleep 0.1
        done
        echo "demo: the daemon did not come up" >&2
        exit 1
}

say "a configuration from config/seqnumd.ini, and the daemon"
sed -e "s|^;* *shm = .*|shm = $shm|" -e "s|^;* *state = .*|state = $dir/state|" \
        -e "s|^;* *socket = .*|socket = $dir/seqnumd.sock|" -e "s|^;* *group = .*|group =|" \
        config/seqnumd.ini >"$dir/seqnumd.ini"
grep -q '^\[sequence orders\]' "$dir/seqnumd.ini" || echo '[sequence orders]' >>"$dir/seqnumd.ini"
"$build/seqnumd" -c "$dir/seqnumd.ini" --check-config
start
"$build/seqnum" status

say "one number, and three as a run, from the shell"
"$build/seqnum" next orders
"$build/seqnum" next -n 3 -f 'ORDER-%06d' orders

say "eight processes draw at once: four shell loops, four C programs"
for i in 1 2 3 4; do
        (for _ in $(seq 200); do "$build/seqnum" next orders; done >"$dir/shell.$i") &
        "$build/tests/demo-draw" orders 1000000 >"$dir/c.$i" &
done
drawers=$(jobs -p | grep -vx "$daemon")

sleep 0.3
say "kill -9 of the daemon, in the middle of it"
kill -KILL "$daemon"
wait "$daemon" 2>/dev/null || true
before=$("$build/seqnum" next orders)
after=$("$build/seqnum" next orders)
echo "no daemon, and drawing goes on: $before, then $after"
sleep 0.2
say "the daemon again: it takes the segment over as it stands"
start
# shellcheck disable=SC2086 # a list of words
wait $drawers

say "what came of it"
cat "$dir"/shell.* "$dir"/c.* >"$dir/all"
printf '%s\n' "$before" "$after" 1 2 3 4 >>"$dir/all"
drawn=$(wc -l <"$dir/all")
distinct=$(sort -n -u "$dir/all" | wc -l)
last=$(sort -n "$dir/all" | tail -n 1)
echo "$drawn numbers drawn, $distinct distinct, the last is $last"
"$build/seqnum" info orders
kill -TERM "$daemon"
wait "$daemon"
if [ "$drawn" != "$distinct" ] || [ "$drawn" != "$last" ]; then
        echo "demo: duplicates or gaps" >&2
        exit 1
fi
echo "no duplicate, no gap"
