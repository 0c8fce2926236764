#!/bin/bash
# SPDX-License-Identifier: MIT
#
# `seqnum hold` against a real seqnumd: the number is the command's while it runs;
# its success uses the number up, its failure, its death and ours give it back;
# signals are passed on; exit statuses are those of a shell.

# shellcheck disable=SC1091,SC2154 # what it sets
. "$(dirname "$0")/harness.sh"

cat > "$tmp/ini" << INI
[service]
shm = $SEQNUM_SHM
state = $tmp/state
socket = $tmp/socket
group =
max_sequences = 30

[sequence bills]
kind = gapless

[sequence limited]
kind = gapless
hold_limit = 1

[sequence plain]
INI

usage() {
        refuse "no command" 2 "is missing" "$seqnum" hold bills
        refuse "no --" 2 "then --" "$seqnum" hold bills true
        refuse "-- at the wrong place" 2 "then --" "$seqnum" hold bills x -- true
        refuse "an empty command" 2 "then --" "$seqnum" hold bills -- ''
        refuse "no such sequence" 1 "did you mean 'bills'" "$seqnum" hold bill -- true
        refuse "not gapless" 1 "of kind counter" "$seqnum" hold plain -- true
        expect "nothing was used up" 0 1 "$seqnum" peek bills
}

outcomes() {
        # shellcheck disable=SC2016 # the command's own shell expands it
        expect "the number is in \$SEQNUM" 0 1 "$seqnum" hold bills -- sh -c 'echo "$SEQNUM"'
        expect "success used it up" 0 2 "$seqnum" peek bills
        run "$seqnum" hold bills -- sh -c 'exit 3'
        same "the command's exit status" 3 "$status"
        expect "failure gave it back" 0 2 "$seqnum" peek bills
        # shellcheck disable=SC2016
        run "$seqnum" hold bills -- sh -c 'kill -KILL $$'
        same "the command's death by a signal" 137 "$status"
        run "$seqnum" hold bills -- "$tmp/no-such-command"
        same "no such command" "127 0" "$status $(grep -vc "given back" "$tmp/err")"
        run "$seqnum" hold bills -- "$tmp"
        same "not executable" 126 "$status"
        expect "none of them used it up" 0 2 "$seqnum" peek bills
        expect "options of the command are its own" 0 "-n --json" \
                "$seqnum" hold bills -- printf '%s %s' -n --json
        expect "a name behind --" 0 3 "$seqnum" hold -- bills -- printenv SEQNUM
        expect "input is the command's" 0 input bash -c "echo input | $seqnum hold bills -- cat"
        expect "four were used up" 0 5 "$seqnum" peek bills
}

# The turn is taken: it is seen, and others wait.
exclusion() {
        "$seqnum" hold bills -- sleep 60 &
        holder=$!
        to_kill+=("$holder")
        await sh -c "$seqnum info bills | grep -q 'turn held: *yes'"
        run "$seqnum" info bills
        same "info: the turn is held" "yes yes" "$(field 'turn held') $(field 'holder alive')"
        run "$seqnum" list -l
        contains "list: the turn is held" "held" "$(grep ^bills "$tmp/out")"
        expect "others wait for it" 75 "" "$seqnum" -t 0.2 next bills
        refuse "and are told what for" 75 "another process has the turn" "$seqnum" -t 0.2 next bills
        refuse "also those who want to hold it" 75 "another process has the turn" \
                "$seqnum" -t 0.2 hold bills -- true
        expect "looking does not" 0 5 "$seqnum" peek bills
}

# The holder's command as a process that `pgrep` finds.
command_of() {
        pgrep -P "$1"
}

signals() {
        local signal number

        kill "$holder"
        wait "$holder"
        same "SIGTERM is passed on" 143 $?
        for signal in HUP:129 TERM:143 INT:130 QUIT:131; do
                number=${signal#*:}
                # A shell that starts in the background would have INT and QUIT ignored.
                env --default-signal=INT,QUIT "$seqnum" hold bills -- sleep 60 &
                holder=$!
                to_kill+=("$holder")
                await command_of "$holder"
                kill "-${signal%:*}" "$holder"
                wait "$holder" 2> /dev/null
                same "SIG${signal%:*} is passed on" "$number" $?
        done
        expect "none of them used it up" 0 5 "$seqnum" peek bills
        # The command decides: one that takes the signal well has succeeded.
        "$seqnum" hold bills -- bash -c "trap 'exit 0' TERM; touch $tmp/trapped; while :; do
                sleep 0.05; done" &
        holder=$!
        to_kill+=("$holder")
        await test -e "$tmp/trapped"
        kill -TERM "$holder"
        wait "$holder"
        same "a signal taken well is a success" 0 $?
        expect "which used the number up" 0 6 "$seqnum" peek bills
        rm -f "$tmp/trapped"
}

# Dead in the middle: the kernel ends the turn, although the command goes on.
killed() {
        local left

        "$seqnum" hold bills -- sleep 60 &
        holder=$!
        await command_of "$holder"
        left=$(command_of "$holder")
        to_kill+=("$left")
        kill -KILL "$holder"
        wait "$holder" 2> /dev/null
        if kill -0 "$left" 2> /dev/null; then
                ok "the command goes on"
        else
                not_ok "the command goes on" "it does not"
        fi
        expect "the next in line gets the number" 0 6 "$seqnum" -t 10 next bills
        kill "$left" 2> /dev/null
}

turn_lost() {
        local number

        "$seqnum" hold limited -- sh -c "touch $tmp/held; while ! [ -e $tmp/go ]; do
                sleep 0.05; done" 2> "$tmp/lost" &
        holder=$!
        to_kill+=("$holder")
        await test -e "$tmp/held"
        number=$("$seqnum" -t 20 next limited)
        same "hold_limit: who waits gets it" 1 "$number"
        touch "$tmp/go"
        wait "$holder"
        same "hold_limit: the holder is told" 75 $?
        contains "hold_limit: what became of it" "number 1 of limited is not used up" \
                "$(cat "$tmp/lost")"
        expect "hold_limit: no gap, no duplicate" 0 2 "$seqnum" next limited
}

crowd() {
        local pids=() i

        for i in $(seq 8); do
                "$seqnum" -t 60 hold bills -- sh -c "echo \$SEQNUM >> $tmp/taken; exit $((i % 4 == 0))" &
                pids+=($!)
        done
        wait "${pids[@]}"
        same "six of eight succeed: six numbers are used up" 13 "$("$seqnum" peek bills)"
        # Those that failed had theirs given to somebody else.
        same "each of them was given out" "$(seq 7 12)" "$(sort -nu "$tmp/taken" | head -n 6)"
}

away() {
        stop_daemon KILL
        run "$seqnum" -t 0.5 hold bills -- true
        case $status in
        69) contains "a commit unconfirmed is explained" "used up" "$err" ;;
        75) ok "no number without the daemon" ;;
        *) not_ok "a daemon away" "status $status" "$err" ;;
        esac
        start_daemon
}

# How the next of bills is numbered, by who only looks.
bills_next_is() {
        [ "$("$seqnum" peek bills 2> /dev/null)" = "$1" ]
}

# Used up in the segment, not yet on the disk; and then a segment that we cannot read.
outcome_unknown() {
        local number segment=/dev/shm$SEQNUM_SHM

        number=$("$seqnum" peek bills)
        "$seqnum" -t 30 hold bills -- kill -STOP "$daemon" 2> "$tmp/unknown" &
        holder=$!
        to_kill+=("$holder")
        if await bills_next_is $((number + 1)); then
                ok "outcome unknown: the commit is under way"
        else
                not_ok "outcome unknown: the commit is under way" "$(cat "$tmp/unknown")"
        fi
        cp "$segment" "$tmp/other" && printf '\x63' |
                dd of="$tmp/other" bs=1 seek=8 conv=notrunc status=none # layout_version
        stop_daemon KILL
        cp "$tmp/other" "$segment.new" && mv "$segment.new" "$segment"
        wait "$holder"
        same "outcome unknown: the exit status" 69 $?
        contains "outcome unknown: nobody is told to undo it" \
                "number $number of bills: it cannot be told whether it is used up" \
                "$(cat "$tmp/unknown")"
        rm -f "$segment"
        start_daemon
}

# Used up, the turn passed on, and the store still to be waited for when the time is up.
draw_unconfirmed() {
        local number drawer

        number=$("$seqnum" peek bills)
        kill -STOP "$daemon"
        "$seqnum" -t 3 next bills > "$tmp/drawn" 2> "$tmp/unconfirmed" &
        drawer=$!
        to_kill+=("$drawer")
        await bills_next_is $((number + 1)) ||
                not_ok "a draw unconfirmed: the number is used up" "$("$seqnum" peek bills)"
        "$seqnum" hold bills -- sleep 60 &
        holder=$!
        to_kill+=("$holder")
        await command_of "$holder"
        refuse "a draw unconfirmed: who wants to hold waits for the turn" 75 \
                "another process has the turn" "$seqnum" -t 0.2 hold bills -- true
        wait "$drawer"
        same "a draw unconfirmed: the exit status" "75 " "$? $(cat "$tmp/drawn")"
        contains "a draw unconfirmed: the number may be used up" "may be used up" \
                "$(cat "$tmp/unconfirmed")"
        kill -CONT "$daemon"
        kill "$holder"
        wait "$holder" 2> /dev/null
}

start_daemon
usage
outcomes
exclusion
signals
killed
turn_lost
crowd
away
outcome_unknown
draw_unconfirmed
stop_daemon TERM
finish
