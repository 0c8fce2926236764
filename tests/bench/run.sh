#!/bin/bash
# SPDX-License-Identifier: MIT
#
# `make bench`: one run, everything side by side. Starts a private instance that
# reserves durably on the real disk, and private servers of the peers that are
# installed (`make bench-deps`), on Unix sockets in a directory of its own; goes
# round all of them (bench.c); makes the table, the JSON and the plots; stops all.
#
#   ROUNDS=15        samples of each case
#   ONLY='time ids,command'    only these groups of subjects
#   PEERS=no         no servers of others
#   SEQNUM_BENCH_OUTPUT=build/bench    where the results go
#
# Ratios mean something, nanoseconds depend on the host.

set -eu

# uuidd and libuuid meet at a path that is compiled in: have one of our own there.
if [ -z "${BENCH_OWN_MOUNTS+set}" ]; then
        if unshare --mount --propagation private true 2>/dev/null; then
                BENCH_OWN_MOUNTS=1 exec unshare --mount --propagation private "$0" "$@"
        fi
        export BENCH_OWN_MOUNTS=
fi

# What else runs on this machine is not what is to be measured.
renice -n -15 -p $$ >/dev/null 2>&1 || true

here=$(cd "$(dirname "$0")" && pwd)
build=$(cd "${SEQNUM_BUILD:-build}" && pwd)
output=${SEQNUM_BENCH_OUTPUT:-$build/bench}
rounds=${ROUNDS:-15}
mkdir -p "$output"
output=$(cd "$output" && pwd)

# On the real disk: what is durable must be.
dir=$(mktemp -d "${TMPDIR:-/var/tmp}/seqnum-bench.XXXXXX")
chmod 755 "$dir"
export SEQNUM_SHM=/seqnumd-bench.$$
export BENCH_BUILD=$build BENCH_DIR=$dir
servers=()
made=() # directories that were not there

cleanup() {
        status=$?
        trap - EXIT
        for pid in ${servers[@]+"${servers[@]}"}; do
                kill -TERM "$pid" 2>/dev/null || true
        done
        wait
        for path in ${made[@]+"${made[@]}"}; do
                umount "$path" 2>/dev/null || true
                rmdir "$path" || true
        done
        rm -rf "$dir" "/dev/shm$SEQNUM_SHM"
        exit $status
}
trap cleanup EXIT
trap 'exit 1' HUP INT TERM

# until_ready WHAT COMMAND...: for ten seconds at most
until_ready() {
        local what=$1
        shift
        for _ in $(seq 200); do
                "$@" >/dev/null 2>&1 && return
                sleep 0.05
        done
        echo "bench: $what does not start; its log:" >&2
        cat "$dir/$what.log" >&2
        return 1
}

start_seqnumd() {
        cat >"$dir/seqnumd.ini" <<-INI
	[service]
	shm = $SEQNUM_SHM
	state = $dir/state
	socket = $dir/seqnumd.sock
	group =
	[sequence bench]
	[sequence bench-time]
	kind = time
	node_bits = 0
	serial_bits = 22
	INI
        "$build/seqnumd" -c "$dir/seqnumd.ini" 2>"$dir/seqnumd.log" &
        servers+=($!)
        export BENCH_SEQNUMD=$! BENCH_SEQNUMD_SOCKET=$dir/seqnumd.sock
        until_ready seqnumd "$build/seqnum" status
}

start_seqnumd
if [ "${PEERS:-yes}" = yes ]; then
        # shellcheck source=tests/bench/peers.sh
        . "$here/peers.sh"
        start_peers
fi

"$build/tests/bench/bench" -r "$rounds" ${ONLY:+-g "$ONLY"} -l "$output/latency.tsv" >"$output/samples.tsv"

# What measures by itself (long runs, other servers) adds lines of the same
# format, run after the rounds: tests/bench/alone-*.sh, with the environment above.
: >"$output/facts"
export BENCH_FACTS=$output/facts
for script in "$here"/alone-*.sh; do
        if [ -e "$script" ] && [ -z "${ONLY:-}" ]; then
                "$script" >>"$output/samples.tsv"
        fi
done

# Processor time of the daemon over all of this, by the kernel's account.
read -r -a stat <"/proc/$BENCH_SEQNUMD/stat"
echo "seqnumd_cpu_ms $(((stat[13] + stat[14]) * 1000 / $(getconf CLK_TCK)))" >>"$output/facts"
"$build/seqnum" info bench | sed -n 's/^\(index\|refills\|waits\): */bench_\1 /p' >>"$output/facts"

"$here/report.sh" "$output"
