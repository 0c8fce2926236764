#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Fuzzes for FUZZ_SECONDS each, two at a time: run.sh PATTERN TARGET...
#
# Begins with the corpus in tests/fuzz/corpus and what earlier runs have added in
# $SEQNUM_BUILD/corpus. A line for each target with what it came to; the end of
# its output if it found something, and then where the input is that shows it:
# $SEQNUM_BUILD/crashes. `$SEQNUM_BUILD/tests/fuzz/TARGET FILE` runs that again.
#
# A target whose runs mostly wait, for a thread or a timeout, has FUZZ_WORKERS
# processes on one corpus; and inputs of some length from the start, since
# libFuzzer would lengthen them too slowly for the few runs there are.

set -u
pattern=$1
shift
seconds=${FUZZ_SECONDS:-60}
jobs=${FUZZ_JOBS:-2}
workers=${FUZZ_WORKERS:-8}
build=$(realpath -m "${SEQNUM_BUILD:-build/fuzz}")
sources=$(cd "$(dirname "$0")" && pwd)
passed=0 failed=0
declare -A target_of=()
trap 'kill $(jobs -p) 2>/dev/null' EXIT
trap 'exit 130' INT TERM

begin() {
        local target=$1 corpus=$build/corpus/$1 options=()
        [ ! -e "$sources/$1.dict" ] || options+=("-dict=$sources/$1.dict")
        case $target in
        fuzz-adopt | fuzz-attach)
                options+=(-jobs="$workers" -workers="$workers" -len_control=0 -max_len=256)
                ;;
        esac
        mkdir -p "$corpus" "$build/crashes" "$build/workers/$target" "$sources/corpus/$target"
        # The processes of -jobs leave their logs where they are started.
        cd "$build/workers/$target" || exit 1
        # A leak is looked for at the end alone: threads come and go at every run.
        ASAN_OPTIONS=detect_leaks=${FUZZ_LEAKS:-1} UBSAN_OPTIONS=print_stacktrace=1 \
                "$build/tests/fuzz/$target" "$corpus" "$sources/corpus/$target" \
                ${FUZZ_SEED:+-seed="$FUZZ_SEED"} -max_total_time="$seconds" -timeout=25 \
                -rss_limit_mb=2048 -max_len="${FUZZ_MAX_LEN:-4096}" -close_fd_mask=3 \
                -print_final_stats=1 -artifact_prefix="$build/crashes/$target-" \
                "${options[@]}" \
                >"$build/$target.log" 2>&1 </dev/null &
        target_of[$!]=$target
        cd "$OLDPWD" || exit 1
}

# Of "cov: 123 ft: 456": the number behind a word, over all workers and lines.
numbers_of() { grep -o "$1: *[0-9]*" "$2" | grep -o '[0-9]*$'; }
sum_of() { numbers_of "$@" | awk '{ sum += $1 } END { print sum + 0 }'; }
largest_of() { numbers_of "$@" | sort -n | tail -n 1; }

# Whoever is killed, or crashes, leaves its object and its directory.
remove_litter() {
        local path pid
        for path in /dev/shm/seqnumd-fuzz-*; do
                pid=${path##*-fuzz-} pid=${pid%.d}
                [ ! -e "$path" ] || [ -d "/proc/$pid" ] || rm -rf "$path"
        done
}

end() {
        local pid=$1 status=$2 target=${target_of[$1]} word=ok log
        log=$build/$target.log
        unset "target_of[$pid]"
        remove_litter
        if [ "$status" = 0 ]; then
                passed=$((passed + 1))
        else
                failed=$((failed + 1)) word="FAILED (exit status $status)"
        fi
        printf '%-16s executions=%s coverage=%s features=%s corpus=%s  %s\n' "$target" \
                "$(sum_of number_of_executed_units "$log")" "$(largest_of cov "$log")" \
                "$(largest_of ft "$log")" "$(find "$build/corpus/$target" -type f | wc -l)" "$word"
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
