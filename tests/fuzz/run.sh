#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Fuzzes for FUZZ_SECONDS each, two at a time: run.sh PATTERN TARGET...
#
# Begins with the corpus in tests/fuzz/corpus and what earlier runs have added in
# $SEQNUM_BUILD/corpus. A line for each target with what it came to; the end of
# its output if it found something, and then where the input is that shows it:
# $SEQNUM_BUILD/crashes. `$SEQNUM_BUILD/tests/fuzz/TARGET FILE` runs that again.

set -u
pattern=$1
shift
seconds=${FUZZ_SECONDS:-60}
jobs=${FUZZ_JOBS:-2}
build=${SEQNUM_BUILD:-build/fuzz}
sources=$(cd "$(dirname "$0")" && pwd)
passed=0 failed=0
declare -A target_of=()
trap 'kill $(jobs -p) 2>/dev/null' EXIT
trap 'exit 130' INT TERM

begin() {
        local target=$1 corpus=$build/corpus/$1 options=()
        [ ! -e "$sources/$1.dict" ] || options+=("-dict=$sources/$1.dict")
        mkdir -p "$corpus" "$build/crashes" "$sources/corpus/$target"
        # A leak is looked for at the end alone: threads come and go at every run.
        ASAN_OPTIONS=detect_leaks=${FUZZ_LEAKS:-1} UBSAN_OPTIONS=print_stacktrace=1 \
                "$build/tests/fuzz/$target" "$corpus" "$sources/corpus/$target" \
                ${FUZZ_SEED:+-seed="$FUZZ_SEED"} -max_total_time="$seconds" -timeout=25 \
                -rss_limit_mb=2048 -max_len="${FUZZ_MAX_LEN:-4096}" -close_fd_mask=3 \
                -print_final_stats=1 -artifact_prefix="$build/crashes/$target-" \
                "${options[@]}" \
                >"$build/$target.log" 2>&1 </dev/null &
        target_of[$!]=$target
}

# "cov: 123 ft: 456" of the last line that has it.
last_of() { grep -o "$1: [0-9]*" "$2" | tail -n 1 | grep -o '[0-9]*$'; }

end() {
        local pid=$1 status=$2 target=${target_of[$1]} word=ok log
        log=$build/$target.log
        unset "target_of[$pid]"
        rm -rf "/dev/shm/seqnumd-fuzz-$pid" "/dev/shm/seqnumd-fuzz-$pid.d"
        if [ "$status" = 0 ]; then
                passed=$((passed + 1))
        else
                failed=$((failed + 1)) word="FAILED (exit status $status)"
        fi
        printf '%-16s executions=%s coverage=%s features=%s corpus=%s  %s\n' "$target" \
                "$(last_of number_of_executed_units "$log")" "$(last_of cov "$log")" \
                "$(last_of ft "$log")" "$(find "$build/corpus/$target" -type f | wc -l)" "$word"
        [ "$status" = 0 ] || tail -n 60 "$log" | sed 's/^/    | /'
}

for target; do
        [[ $target == *"$pattern"* ]] || continue
        if [ "${#target_of[@]}" -ge "$jobs" ]; then
                wait -n -p pid "${!target_of[@]}"
                end "$pid" $?
        fi
        begin "$target"
done
while [ "${#target_of[@]}" -gt 0 ]; do
        wait -n -p pid "${!target_of[@]}"
        end "$pid" $?
done

echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
