#!/bin/bash
# SPDX-License-Identifier: MIT
#
# From one sequence to a million, on an instance of its own: what creating, opening
# and drawing cost, how long a restart takes, what memory daemon and segment have.
#
# The table goes to standard error and, with names for the plots, to
# $SEQNUM_BENCH_OUTPUT/scale.tsv; scale.dat beside it has a line for each size:
#   n_sequences create_s open_us draw_ns restart_s daemon_bytes segment_bytes
# Samples for the table of `make bench` go to standard output.
#
# SEQNUM_BENCH_SEQUENCES (1000000): where to end.

set -eu
build=$(cd "${SEQNUM_BUILD:-build}" && pwd)
output=${SEQNUM_BENCH_OUTPUT:-$build/bench}
most=${SEQNUM_BENCH_SEQUENCES:-1000000}
mkdir -p "$output"
dir=$(mktemp -d "${TMPDIR:-/var/tmp}/seqnum-bench.XXXXXX")
export SEQNUM_SHM=/seqnumd-scale.$$
daemon=

cleanup() {
        status=$?
        trap - EXIT
        [ -z "$daemon" ] || kill -KILL "$daemon" 2>/dev/null || true
        rm -rf "$dir" "/dev/shm$SEQNUM_SHM"
        exit $status
}
trap cleanup EXIT

start() {
        "$build/seqnumd" -c "$dir/seqnumd.ini" 2>"$dir/log" &
        daemon=$!
        until "$build/seqnum" status >/dev/null 2>&1; do
                kill -0 "$daemon" 2>/dev/null || { cat "$dir/log" >&2; exit 1; }
                sleep 0.002
        done
}

now() { date +%s%N; }

# since NS: seconds
since() { awk -v ns="$(($(now) - $1))" 'BEGIN { printf "%.4f\n", ns / 1e9 }'; }

# Of the daemon's own.
daemon_bytes() { awk '/^RssAnon:/ { print $2 * 1024 }' "/proc/$daemon/status"; }
segment_bytes() { stat -c '%b %B' "/dev/shm$SEQNUM_SHM" | awk '{ print $1 * $2 }'; }

cat >"$dir/seqnumd.ini" <<INI
[service]
shm = $SEQNUM_SHM
state = $dir/state
socket = $dir/seqnumd.sock
group =
max_sequences = $((most + 1))
INI
start
echo "# n_sequences create_s open_us draw_ns restart_s daemon_bytes segment_bytes" >"$output/scale.dat"
from=0
for ((n = 1; n <= most; n *= 10)); do
        create=$("$build/tests/bench/bench-scale" create "$dir/seqnumd.sock" "$from" "$n")
        read -r open draw < <("$build/tests/bench/bench-scale" measure "$n")
        begin=$(now)
        kill -TERM "$daemon"
        wait "$daemon"
        start
        restart=$(since "$begin")
        echo "$n $create $open $draw $restart $(daemon_bytes) $(segment_bytes)" >>"$output/scale.dat"
        from=$n
done
column -t "$output/scale.dat" >&2

# Memory of one more sequence: what there is beyond that of the smallest instance.
awk -v OFS='\t' '
        /^#/ { next }
        !first++ { daemon = $6; segment = $7 }
        {
                print "open, us", $1, $3
                print "draw, ns", $1, $4
                print "restart, s", $1, $5
                if ($1 >= 1000) {
                        print "daemon, bytes a sequence", $1, ($6 - daemon) / $1
                        print "segment, bytes a sequence", $1, ($7 - segment) / $1
                }
        }' "$output/scale.dat" >"$output/scale.tsv"
# sample WHAT COLUMN FACTOR
sample() {
        awk -v OFS='\t' -v what="$1" -v column="$2" -v factor="$3" '
                /^#/ { next }
                !first { first = what ", among " $1 }
                {
                        subject = what ", among " $1
                        print "#", "scale", subject
                        print "scale", subject, 1, "scheduler", first, 1, $column * factor
                }' "$output/scale.dat"
}
sample open 3 1000
sample draw 4 1
