#!/bin/bash
# SPDX-License-Identifier: MIT
#
# `seqnum metrics` and `seqnum bench` against a real seqnumd: what Prometheus' own
# checker says of the one, and that figures are right; that the other measures, and
# uses up what it says.

# shellcheck disable=SC1091,SC2154 # what it sets
. "$(dirname "$0")/harness.sh"

cat > "$tmp/ini" << INI
[service]
shm = $SEQNUM_SHM
state = $tmp/state
socket = $tmp/socket
group =
max_sequences = 100

[sequence orders]

[sequence a/b:c.d-e]
max = 10

[sequence exact]
kind = gapless

[sequence ids]
kind = time
INI

# is_clean WHAT: promtool has nothing to say against $tmp/out
is_clean() {
        if ! command -v promtool > /dev/null; then
                skip "$1: there is no promtool (package prometheus)"
                return
        fi
        if promtool check metrics < "$tmp/out" > "$tmp/promtool" 2>&1; then
                same "promtool: $1" "" "$(cat "$tmp/promtool")"
        else
                not_ok "promtool: $1" "$(cat "$tmp/promtool")"
        fi
}

# value METRIC: of the one line that begins so
value() {
        awk -v metric="$1" 'index($0, metric " ") == 1 { print $NF }' "$tmp/out"
}

metrics() {
        local of='sequence="orders",kind="counter"'

        "$seqnum" next -n 17 orders > /dev/null
        "$seqnum" next -n 10 a/b:c.d-e > /dev/null
        "$seqnum" next exact > /dev/null
        "$seqnum" next ids > /dev/null
        run "$seqnum" metrics
        same "metrics: status" "0 " "$status $err"
        is_clean "a service"
        same "metrics: up" 1 "$(value seqnum_up)"
        same "metrics: sequences" "4 100" "$(value seqnum_sequences) $(
                value seqnum_max_sequences)"
        same "metrics: next index" 17 "$(value "seqnum_next_index{$of}")"
        same "metrics: what is left" 0 \
                "$(value 'seqnum_remaining_numbers{sequence="a/b:c.d-e",kind="counter"}')"
        same "metrics: turns" 1 \
                "$(value 'seqnum_turns_total{sequence="exact",kind="gapless"}')"
        same "metrics: turns are of gapless ones alone" 1 \
                "$(grep -c '^seqnum_turns_total{' "$tmp/out")"
        same "metrics: reserved is what info says" \
                "$("$seqnum" info orders | sed -n 's/^reserved ahead: *//p')" \
                "$(value "seqnum_reserved_numbers{$of}")"
        same "metrics: each is explained once" "$(grep -c '^# TYPE' "$tmp/out")" \
                "$(grep '^# HELP' "$tmp/out" | sort -u | wc -l)"
        if awk "BEGIN { exit !($(value seqnum_commits_total) >= 1) }"; then
                ok "metrics: commits are counted"
        else
                not_ok "metrics: commits are counted" "$(value seqnum_commits_total)"
        fi
        run env SEQNUM_SHM=/seqnumd-no-such "$seqnum" metrics
        same "metrics without a service: status" 69 "$status"
        same "metrics without a service: not up" 0 "$(value seqnum_up)"
        is_clean "no service"
        "$seqnum" metrics > /dev/full 2> /dev/null
        same "metrics to a full device" 74 $?
}

bench() {
        local before

        before=$("$seqnum" peek orders)
        run "$seqnum" bench orders -d 0.05 -p 2
        same "bench: status" 0 "$status"
        contains "bench: warns" "used up" "$err"
        same "bench: a head and a line for 1 and 2 processes" 3 "$(wc -l < "$tmp/out")"
        if [ "$("$seqnum" peek orders)" -gt $((before + 1000)) ]; then
                ok "bench: numbers are used up"
        else
                not_ok "bench: numbers are used up" "$before" "$("$seqnum" peek orders)"
        fi
        run "$seqnum" bench orders -d 0.02 -p 3 -n 100 --json
        same "bench --json" "0 [1,2,3] 100 true" "$status $(
                jq -c '.measurements | map(.processes)' < "$tmp/out") $(jq .count < "$tmp/out") $(
                jq 'all(.measurements[]; .ratio > 0 and .draw_ns > 0)' < "$tmp/out")"
        run "$seqnum" bench exact -d 0.05 -p 1 --json
        same "bench of a gapless sequence" "0 1" "$status $(
                jq '.measurements | length' < "$tmp/out")"
        run "$seqnum" bench -d 0.01 -p 1
        same "bench of the instruction alone" "0 2 " "$status $(wc -l < "$tmp/out") $err"
        # An ignored SIGCHLD is inherited; it would lose how the processes ended.
        run env --ignore-signal=CHLD "$seqnum" bench -d 0.01 -p 1
        same "bench where SIGCHLD was ignored" "0 2 " "$status $(wc -l < "$tmp/out") $err"
        run "$seqnum" bench a/b:c.d-e -d 0.01 -p 1
        same "bench at the end of a sequence" 1 "$status"
        refuse "bench: no such sequence" 1 "did you mean 'orders'" "$seqnum" bench ordesr
        refuse "bench: no process" 2 "no number of processes" "$seqnum" bench -p 0
        refuse "bench: no time" 2 "no time" "$seqnum" bench -d 61
        refuse "bench: no count" 2 "no count" "$seqnum" bench -n 0
}

start_daemon
metrics
bench
stop_daemon TERM
run "$seqnum" metrics
same "metrics of a stopped service" "0 0" "$status $(value seqnum_up)"
finish
