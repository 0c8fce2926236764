#!/bin/bash
# SPDX-License-Identifier: MIT
#
# What the daemon is asked for, measured on a private instance that reserves on
# the real disk: stalls while drawing at full speed, also on a disk whose syncs
# take 50 ms; commits without a gap beside SQLite's; the control socket beside a
# Redis server of its own (if there is one), with the same client and load.
#
#   tests/bench/alone-server.sh [stalls] [slow] [gapless] [socket]    all by default
#
# For people to standard error; samples for the table of `make bench`, of which it
# is a part, to standard output.
#
# SEQNUM_BENCH_SECONDS (30): of drawing at full speed. SEQNUM_BENCH_ROUNDS (5).

set -eu
build=${SEQNUM_BUILD:-build}
seconds=${SEQNUM_BENCH_SECONDS:-30}
rounds=${SEQNUM_BENCH_ROUNDS:-5}
dir=$(mktemp -d "${TMPDIR:-/var/tmp}/seqnum-bench.XXXXXX")
export SEQNUM_SHM=/seqnumd-bench.$$ SEQNUM_BUILD=$build
children=()
daemon=

cleanup() {
        status=$?
        trap - EXIT
        [ ${#children[@]} = 0 ] || kill -KILL "${children[@]}" 2>/dev/null || true
        wait 2>/dev/null
        rm -rf "$dir" "/dev/shm$SEQNUM_SHM"
        exit $status
}
trap cleanup EXIT

# start [VARIABLE=VALUE ...]: a daemon on a state of its own
start() {
        rm -rf "$dir/state" "/dev/shm$SEQNUM_SHM"
        env "$@" "$build/seqnumd" -c "$dir/seqnumd.ini" 2>"$dir/log" &
        daemon=$!
        children+=("$daemon")
        for _ in $(seq 100); do
                "$build/seqnum" status >/dev/null 2>&1 && return
                sleep 0.1
        done
        cat "$dir/log" >&2
        return 1
}

stop() {
        kill -TERM "${children[@]}"
        wait "${children[@]}" || true
        children=()
}

cat >"$dir/seqnumd.ini" <<INI
[service]
shm = $SEQNUM_SHM
state = $dir/state
socket = $dir/seqnumd.sock
group =
[sequence two]
[sequence eight]
[sequence invoices]
kind = gapless
INI

# --- stalls ------------------------------------------------------------------

stalls() {
        start
        echo "stalls: two processes at full speed" >&2
        "$build/tests/bench/bench-stalls" two "$daemon" 2 "$seconds"
        echo "stalls: eight processes at full speed" >&2
        "$build/tests/bench/bench-stalls" eight "$daemon" 8 10
        stop
}

slow() {
        echo 50000 >"$dir/slow"
        start LD_PRELOAD="$build/tests/preload/slow-disk.so" SEQNUM_SLOW_DISK="$dir/slow"
        echo "stalls: two processes at full speed, syncs of 50 ms" >&2
        env -u BENCH_FACTS "$build/tests/bench/bench-stalls" two "$daemon" 2 10 ", syncs of 50 ms"
        stop
}

gapless() {
        start
        echo "gapless" >&2
        "$build/tests/bench/bench-gapless" invoices "$dir" "$rounds" 1
        stop
}

# --- the socket ----------------------------------------------------------------

# redis NAME FSYNC: a server that appends every command to a file
redis() {
        mkdir -p "$dir/$1"
        redis-server --port 0 --unixsocket "$dir/$1.sock" --dir "$dir/$1" --save '' \
                --appendonly yes --appendfsync "$2" >/dev/null 2>&1 &
        children+=("$!")
        for _ in $(seq 100); do
                redis-cli -s "$dir/$1.sock" PING >/dev/null 2>&1 && return
                sleep 0.1
        done
        return 1
}

# incr SOCKET PIPELINE REQUESTS: requests a second of 50 connections
incr() {
        redis-benchmark -s "$1" -c 50 -P "$2" -n "$3" --csv INCR two |
                sed -n 's/^"INCR two","\([0-9.]*\)".*/\1/p' | tail -1
}

median() { sort -n | sed -n "$(((rounds + 1) / 2))p"; }

# sample PEER PIPELINE ROUND RATE THAN
sample() {
        local name="redis-benchmark INCR, by $2, $1" than=
        [ -z "$5" ] || than="redis-benchmark INCR, by $2, $5"
        [ "$3" != 1 ] || printf '#\tsocket\t%s\n' "$name"
        printf 'socket\t%s\t1\tscheduler\t%s\t%s\t%s\n' "$name" "$than" "$3" \
                "$(awk -v rate="$4" 'BEGIN { printf "%.1f", 1e9 / rate }')"
}

# In turn, so that a noisy machine disturbs all alike.
compare() {
        local pipeline=$1 requests=$2 round peer rate
        for ((round = 1; round <= rounds; round++)); do
                for peer in everysec always seqnumd; do
                        rate=$(incr "$dir/$peer.sock" "$pipeline" "$requests")
                        echo "$rate" >>"$dir/$peer.$pipeline"
                        case $peer in
                        seqnumd) sample seqnumd "$pipeline" "$round" "$rate" "redis everysec" ;;
                        *) sample "redis $peer" "$pipeline" "$round" "$rate" "" ;;
                        esac
                done
        done
        for peer in seqnumd everysec always; do
                printf '%s ' "$(median <"$dir/$peer.$pipeline")"
        done | awk -v p="$pipeline" \
                '{printf "%8d %12.0f %16.0f %14.0f %10.2f %8.2f\n", p, $1, $2, $3, $1 / $2, $1 / $3}' >&2
}

socket() {
        if ! command -v redis-server redis-benchmark >/dev/null; then
                echo "the socket: no redis-server or redis-benchmark here to compare with" >&2
                return
        fi
        start
        redis everysec everysec
        redis always always
        echo "the socket, INCR from 50 connections, requests a second (medians)" >&2
        printf '%8s %12s %16s %14s %10s %8s\n' pipeline seqnumd redis-everysec redis-always \
                ratio ratio >&2
        compare 1 100000
        compare 16 500000
        compare 100 1000000
        stop
}

what=("$@")
[ $# -gt 0 ] || what=(stalls slow gapless socket)
for each in "${what[@]}"; do
        "$each"
        echo >&2
done
