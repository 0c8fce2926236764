#!/bin/bash
# SPDX-License-Identifier: MIT
#
# `make pshm_xfr_test`, the textbook's exercise: random data of about 50 MB through a
# shared memory object, with one block and two semaphores, and by default; what comes
# out is what went in. Says how fast each was.

set -u
pshm=${SEQNUM_BUILD:-build}/pshm
name=pshm-xfr.$$
dir=$(mktemp -d "${TMPDIR:-/tmp}/pshm-xfr.XXXXXX") || exit 1
# shellcheck disable=SC2046,SC2317 # a list of words; called by the trap
cleanup() {
        kill $(jobs -p) 2> /dev/null
        rm -rf "$dir" "/dev/shm/$name"
}
trap cleanup EXIT
trap 'exit 1' HUP INT TERM

failed=0
head -c 50000123 /dev/urandom > "$dir/in" || exit 1

# xfr WHAT OPTION...: of send
xfr() {
        local what=$1 begin took sent received

        shift
        begin=$(date +%s%N)
        "$pshm" send "$@" "$name" < "$dir/in" &
        "$pshm" recv "$name" > "$dir/out"
        received=$?
        wait $!
        sent=$?
        took=$((($(date +%s%N) - begin) / 1000 + 1))
        if [ "$sent $received" = "0 0" ] && cmp "$dir/in" "$dir/out" &&
                [ ! -e "/dev/shm/$name" ]; then
                echo "ok - $what: 50 MB arrived as they were, $((50000123 / took)) MB/s"
        else
                echo "NOT OK - $what: send exited with $sent, recv with $received"
                failed=1
        fi
}

xfr "the textbook's 1 block of 1 KiB" -b 1 -s 1K
xfr "the textbook's protocol, 1 block of 1 MiB" -b 1
xfr "by default"
xfr "with a checksum" -c
exit $failed
