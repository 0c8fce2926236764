#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Runs test programs one after the other: run-tests.sh PATTERN PROGRAM...
#
# Those whose path contains PATTERN (empty: all). A line for each, with its
# time; its output only if it failed, but for the lines that begin with
# "figures: " where SEQNUM_TORTURE is set. Then a test may also say on the terminal
# how far it is. Exit status 77 of a test means skipped. Closes with a line that
# counts them, and fails if any failed.

set -u
pattern=$1
shift
limit=${SEQNUM_TEST_LIMIT:-600} # seconds a single test may take
passed=0 failed=0 skipped=0
log=$(mktemp "${TMPDIR:-/tmp}/seqnum-test.XXXXXX") || exit 1
child=
clear_line=
if [ -n "${SEQNUM_TORTURE:-}" ] && [ -t 1 ]; then
        exec 3>&1
        export SEQNUM_TEST_PROGRESS=3
        clear_line=$'\r\033[K'
fi
trap 'rm -f "$log"' EXIT
# timeout has a process group of its own, which the terminal's ^C does not reach.
trap '[ -z "$child" ] || kill "$child"; exit 130' INT TERM

for program; do
        [[ $program == *"$pattern"* ]] || continue
        begin=$(date +%s%N)
        # In the background, to be interruptible; there the shell would have ^C ignored.
        env --default-signal=INT,QUIT timeout --kill-after=10 "$limit" "$program" \
                >"$log" 2>&1 </dev/null &
        child=$!
        wait "$child" 2>/dev/null
        status=$?
        child=
        took=$((($(date +%s%N) - begin) / 1000000))
        name=${program#"${SEQNUM_BUILD:-build}"/}
        case $status in
        0) passed=$((passed + 1)) word=ok ;;
        77) skipped=$((skipped + 1)) word="skipped: $(tail -n 1 "$log")" ;;
        124 | 137) failed=$((failed + 1)) word="FAILED (took longer than $limit s)" ;;
        *) failed=$((failed + 1)) word="FAILED (exit status $status)" ;;
        esac
        printf '%s%-44s %6d.%03d s  %s\n' "$clear_line" "$name" $((took / 1000)) $((took % 1000)) "$word"
        [ -z "${SEQNUM_TORTURE:-}" ] || sed -n 's/^figures: /    /p' "$log"
        [[ $word == FAILED* ]] && sed 's/^/    | /' "$log"
done

if [ $((passed + failed + skipped)) = 0 ]; then
        echo "no test has '$pattern' in its path"
        failed=1
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
