#!/bin/bash
# SPDX-License-Identifier: MIT
#
# What the tests of the command share, to be sourced: a private instance, and
# checks of what a command prints, says and exits with. The test writes $tmp/ini.
#
# $tmp is a directory of the test's own, $SEQNUM_SHM a segment of its own; both are
# removed at the end, with whatever is named in to_remove, and the daemon stopped.
# shellcheck disable=SC2034 # tests use what is set here

set -u
export LC_ALL=C TZ=UTC
unset SEQNUM_OWNER

build=$(cd "${SEQNUM_BUILD:-build}" && pwd) || exit 1
source_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd) || exit 1
tmp=$(mktemp -d) || exit 1
SEQNUM_SHM=/seqnumd-$(basename "$0" .sh).$$
export SEQNUM_SHM
daemon=
to_remove=()
to_kill=()
passed=0
failed=0

clean_up() {
        local pid

        for pid in $daemon "${to_kill[@]}"; do
                kill -KILL "$pid" 2> /dev/null
        done
        rm -rf "$tmp" "/dev/shm$SEQNUM_SHM" "${to_remove[@]}"
}
trap clean_up EXIT
trap 'exit 1' HUP INT TERM

# The build directory may be closed to other users; this copy is not.
chmod 755 "$tmp"
mkdir "$tmp/state"
cp "$build/seqnum" "$build/pshm" "$tmp/" || exit 1
chmod 755 "$tmp/seqnum" "$tmp/pshm"
seqnum=$tmp/seqnum
pshm=$tmp/pshm
program=seqnum # whose name is before what is said

ok() {
        passed=$((passed + 1))
        echo "ok - $1"
}

not_ok() {
        failed=$((failed + 1))
        echo "NOT OK - $1"
        shift
        printf '#   %s\n' "$@"
}

skip() {
        echo "skipped - $1"
}

# same WHAT EXPECTED ACTUAL
same() {
        if [ "$2" = "$3" ]; then
                ok "$1"
        else
                not_ok "$1" "expected: $2" "got: $3"
        fi
}

# contains WHAT PART WHOLE
contains() {
        case $3 in
        *"$2"*) ok "$1" ;;
        *) not_ok "$1" "expected somewhere: $2" "got: $3" ;;
        esac
}

# lacks WHAT PART WHOLE
lacks() {
        case $3 in
        *"$2"*) not_ok "$1" "not expected: $2" "got: $3" ;;
        *) ok "$1" ;;
        esac
}

# run COMMAND...: leaves $status, $out and $err
run() {
        "$@" > "$tmp/out" 2> "$tmp/err"
        status=$?
        out=$(cat "$tmp/out")
        err=$(cat "$tmp/err")
}

# expect WHAT STATUS OUTPUT COMMAND...: both must be as stated; a failure must be explained
expect() {
        local what=$1 want_status=$2 want_out=$3

        shift 3
        run "$@"
        if [ "$status" != "$want_status" ] || [ "$out" != "$want_out" ]; then
                not_ok "$what" "expected status $want_status: $want_out" \
                        "got status $status: $out" "$err"
        elif [ "$status" = 0 ] && [ -n "$err" ]; then
                not_ok "$what" "success, and yet: $err"
        elif [ "$status" != 0 ] && [ "${err#"$program": }" = "$err" ]; then
                not_ok "$what" "status $status without a reason: $err"
        else
                ok "$what"
        fi
}

# refuse WHAT STATUS REASON COMMAND...: nothing on standard output, and this reason
refuse() {
        local what=$1 want_status=$2 reason=$3

        shift 3
        run "$@"
        if [ "$status" = "$want_status" ] && [ -z "$out" ] && [[ $err == "$program":*"$reason"* ]]; then
                ok "$what"
        else
                not_ok "$what" "expected status $want_status because: $reason" \
                        "got status $status: $out" "$err"
        fi
}

# field KEY: its value in the "key: value" lines of $out
field() {
        sed -n "s/^$1: *//p" "$tmp/out"
}

# state_is WHAT STATUS STATE COMMAND...: what `status` says, by word and by exit status
state_is() {
        local what=$1 want_status=$2 want_state=$3

        shift 3
        run "$@"
        same "status: $what" "$want_status $want_state" "$status $(field state)"
        [ "$want_status" = 0 ] || contains "status: $what: a reason" "seqnum: " "$err"
}

start_daemon() {
        "$build/seqnumd" -c "$tmp/ini" >> "$tmp/log" 2>&1 &
        daemon=$!
        for _ in $(seq 200); do
                "$seqnum" status > /dev/null 2>&1 && return
                kill -0 "$daemon" 2> /dev/null || break
                sleep 0.05
        done
        not_ok "seqnumd becomes ready" "$(cat "$tmp/log")"
        exit 1
}

stop_daemon() {
        kill "-$1" "$daemon"
        wait "$daemon" 2> /dev/null
        daemon=
}

finish() {
        echo "$passed passed, $failed failed"
        [ "$failed" = 0 ]
}

# await COMMAND...: until it succeeds, for ten seconds at most
await() {
        for _ in $(seq 200); do
                "$@" > /dev/null 2>&1 && return 0
                sleep 0.05
        done
        return 1
}
