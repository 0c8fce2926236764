#!/bin/bash
# SPDX-License-Identifier: MIT
#
# `make bench`: what a draw costs, beside a bare `lock xadd`, in one run, on a
# private instance that reserves durably on the real disk. Then `seqnum next`
# for a million numbers. Ratios mean something, nanoseconds depend on the host.

set -eu
build=${SEQNUM_BUILD:-build}
dir=$(mktemp -d "${TMPDIR:-/var/tmp}/seqnum-bench.XXXXXX")
shm=/seqnumd-bench.$$
daemon=
export SEQNUM_SHM=$shm

cleanup() {
        status=$?
        trap - EXIT
        [ -z "$daemon" ] || kill -KILL "$daemon" 2>/dev/null || true
        rm -rf "$dir" "/dev/shm$shm"
        exit $status
}
trap cleanup EXIT

cat >"$dir/seqnumd.ini" <<INI
[service]
shm = $shm
state = $dir/state
socket = $dir/seqnumd.sock
group =
[sequence bench]
INI
"$build/seqnumd" -c "$dir/seqnumd.ini" 2>"$dir/log" &
daemon=$!
for _ in $(seq 100); do
        "$build/seqnum" status >/dev/null 2>&1 && break
        sleep 0.1
done

"$build/tests/bench/bench-draw" bench

echo
begin=$(date +%s%N)
"$build/seqnum" next -n 1000000 bench >/dev/null
echo "seqnum next -n 1000000: $((($(date +%s%N) - begin) / 1000000)) ms, start to end"

# Processor time of the daemon over all of this, by the kernel's account.
read -r -a stat <"/proc/$daemon/stat"
echo "the daemon used $(((stat[13] + stat[14]) * 1000 / $(getconf CLK_TCK))) ms of processor time"
"$build/seqnum" info bench | grep -E '^(index|refills|waits):'
