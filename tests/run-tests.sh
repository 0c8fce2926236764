#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Runs test programs: run-tests.sh PATTERN PROGRAM...
#
# Those whose path contains PATTERN (empty: all), SEQNUM_TEST_JOBS of them at a time
# (default 1). A line for each, with its time; its output only if it failed, but for
# the lines that begin with "figures: " where SEQNUM_TORTURE is set. Then, one at a
# time, a test may also say on the terminal how far it is. Exit status 77 of a test
# means skipped. Closes with a line that counts them, and fails if any failed.

set -u
pattern=$1
shift
limit=${SEQNUM_TEST_LIMIT:-600} # seconds a single test may take
jobs=${SEQNUM_TEST_JOBS:-1}
passed=0 failed=0 skipped=0
declare -A program_of=() begin_of=() # by process id
logs=$(mktemp -d "${TMPDIR:-/tmp}/seqnum-test.XXXXXX") || exit 1
clear_line=
if [ -n "${SEQNUM_TORTURE:-}" ] && [ "$jobs" = 1 ] && [ -t 1 ]; then
        exec 3>&1
        export SEQNUM_TEST_PROGRESS=3
        clear_line=$'\r\033[K'
fi
trap 'rm -rf "$logs"' EXIT
# timeout has a process group of its own, which the terminal's ^C does not reach.
trap 'kill "${!program_of[@]}" 2>/dev/null; exit 130' INT TERM

# In the background, to be interruptible; there the shell would have ^C ignored.
begin() {
        # Opened here: opened by the child it might not be there yet when it is renamed.
        exec 4>"$logs/next"
        env --default-signal=INT,QUIT timeout --kill-after=10 "$limit" "$1" \
                >&4 2>&1 4>&- </dev/null &
        exec 4>&-
        mv "$logs/next" "$logs/$!"
        program_of[$!]=$1
        begin_of[$!]=$(date +%s%N)
}

# Wait until one has ended, and say how.
end_one() {
        local pid status took name word

        wait -n -p pid "${!program_of[@]}" 2>/dev/null
        status=$?
        took=$((($(date +%s%N) - begin_of[$pid]) / 1000000))
        name=${program_of[$pid]#"${SEQNUM_BUILD:-build}"/}
        case $status in
        0) passed=$((passed + 1)) word=ok ;;
        77) skipped=$((skipped + 1)) word="skipped: $(tail -n 1 "$logs/$pid")" ;;
        124 | 137) failed=$((failed + 1)) word="FAILED (took longer than $limit s)" ;;
        *) failed=$((failed + 1)) word="FAILED (exit status $status)" ;;
        esac
        printf '%s%-44s %6d.%03d s  %s\n' "$clear_line" "$name" $((took / 1000)) $((took % 1000)) "$word"
        [ -z "${SEQNUM_TORTURE:-}" ] || sed -n 's/^figures: /    /p' "$logs/$pid"
        [[ $word == FAILED* ]] && sed 's/^/    | /' "$logs/$pid"
        rm -f "$logs/$pid"
        unset "program_of[$pid]" "begin_of[$pid]"
}

for program; do
        [[ $program == *"$pattern"* ]] || continue
        [ ${#program_of[@]} -lt "$jobs" ] || end_one
        begin "$program"
done
while [ ${#program_of[@]} -gt 0 ]; do
        end_one
done

if [ $((passed + failed + skipped)) = 0 ]; then
        echo "no test has '$pattern' in its path"
        failed=1
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
