#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The command seqnum against a real seqnumd: every verb, every exit status, the
# formats, what happens to output that cannot be written. Not the protocol (other
# tests hammer that), and nothing of the host's own instance: segment, state and
# configuration are private and removed at the end.

# shellcheck disable=SC1091,SC2154 # what it sets
. "$(dirname "$0")/harness.sh"
other=$SEQNUM_SHM-other
to_remove+=("/dev/shm$other")

cat > "$tmp/ini" << INI
[service]
shm = $SEQNUM_SHM
state = $tmp/state
socket = $tmp/socket
group =
mode = 0660
max_sequences = 100

[sequence orders]

[sequence batch]

[sequence shared]

[sequence down]
start = -1
increment = -3
max = -1

[sequence round]
start = 8
min = 1
max = 10
cycle = yes

[sequence short]
max = 5

[sequence a/b_c.d-e]
start = 42
INI

# --- without a service ---------------------------------------------------------

absent() {
        state_is "no service" 69 absent "$seqnum" status
        refuse "next: no service" 69 "no service" "$seqnum" next orders
        refuse "peek: no service" 69 "no service" "$seqnum" peek orders
        refuse "list: no service" 69 "no service" "$seqnum" list
        refuse "info: no service" 69 "no service" "$seqnum" info orders
}

# --- the command line -----------------------------------------------------------

usage() {
        local verb

        run "$seqnum"
        same "no verb: usage" 2 "$status"
        contains "no verb: usage on standard error" "Usage: seqnum" "$err"
        run "$seqnum" --help
        same "--help" 0 "$status"
        for verb in next peek list info status; do
                contains "--help names $verb" "  $verb " "$out"
        done
        for verb in next peek list info status; do
                run "$seqnum" "$verb" --help
                contains "$verb --help" "0 Usage: seqnum [-s SEGMENT] [-t SECONDS] $verb " \
                        "$status $out"
                contains "$verb --help names --json" " --json " "$out"
        done
        run "$seqnum" --version
        same "--version" 0 "$status"
        contains "--version says the name" "seqnum " "$out"
        for verb in $("$seqnum" --help | sed -n '/^Verbs:/,/^Options:/s/^  \([a-z]*\).*/\1/p'); do
                run "$seqnum" "$verb" --help
                contains "$verb --help: usage" "Usage: seqnum" "$out"
                contains "$verb --help: an example" "seqnum $verb" "${out#*Example:}"
                grep -q "^\.It Cm $verb" "$source_dir/client/seqnum.1" ||
                        not_ok "$verb is in the man page" "it is not"
        done
        refuse "a verb misspelt" 2 "did you mean 'next'" "$seqnum" nxt orders
        refuse "a verb cut short" 2 "did you mean 'status'" "$seqnum" stat
        refuse "a verb unlike any" 2 "unknown verb 'xyzzy': see" "$seqnum" xyzzy
        refuse "an unknown option" 2 "unknown option '-z'" "$seqnum" next -z orders
        refuse "an unknown long option" 2 "unknown option '--zap'" "$seqnum" next --zap orders
        refuse "a long option misspelt" 2 "did you mean '--format'?" "$seqnum" next --fromat orders
        refuse "one with an argument" 2 "did you mean '--count'?" "$seqnum" next --cuont=2 orders
        refuse "a global option misspelt" 2 "did you mean '--version'?" "$seqnum" --versoin
        refuse "-t behind the verb" 2 "-t stands before the verb: seqnum -t SECONDS next ..." \
                "$seqnum" next -t 5 orders
        refuse "-s behind the verb" 2 "-s stands before the verb: seqnum -s SEGMENT status ..." \
                "$seqnum" status -s /x
        refuse "--shm behind the verb" 2 "--shm stands before the verb: seqnum --shm=SEGMENT list ..." \
                "$seqnum" list --shm=/x
        refuse "--version behind the verb" 2 "--version stands before the verb: seqnum --version" \
                "$seqnum" list --version
        run "$seqnum" help
        same "help is --help" "0 $("$seqnum" --help)" "$status $out"
        for verb in next help; do
                run "$seqnum" help "$verb"
                same "help $verb is $verb --help" "0 $("$seqnum" "$verb" --help)" "$status $out"
        done
        run "$build/seqnumd" -h
        same "seqnumd -h is --help, too" "0 $("$build/seqnumd" --help)" "$status $out"
        refuse "help for a verb misspelt" 2 "did you mean 'next'?" "$seqnum" help nxt
        refuse "help for two" 2 "one argument too many" "$seqnum" help next list
        refuse "an option without its argument" 2 "needs COUNT" "$seqnum" next orders -n
        refuse "an argument to none" 2 "takes no argument" "$seqnum" list --json=yes
        refuse "nor behind its letter" 2 "--help takes no argument" "$seqnum" next -h=3
        refuse "nor an empty one" 2 "--long takes no argument" "$seqnum" list -l=
        refuse "whatever is before it" 2 "--help takes no argument" "$seqnum" next -f= -h=3
        refuse "a sign that is no option" 2 "unknown option '-='" "$seqnum" next -= orders
        refuse "a name missing" 2 "NAME is missing" "$seqnum" next
        refuse "a name too many" 2 "one argument too many" "$seqnum" next orders batch
        refuse "no name of a sequence" 2 "no name of a sequence" "$seqnum" next 'a b'
        refuse "an empty name" 2 "no name of a sequence" "$seqnum" next ''
        refuse "no name of a segment" 2 "no name of a segment" "$seqnum" -s seqnumd list
        refuse "an empty name of a segment" 2 "no name of a segment" "$seqnum" -s '' list
}

# shellcheck disable=SC1003 # a backslash is meant
refused_numbers() {
        local value

        for value in 0 -1 +1 4294967296 1x ' 1' '' 0x10 99999999999999999999999; do
                refuse "-n '$value'" 2 "is no count" "$seqnum" next -n "$value" orders
        done
        for value in -1 1e3 . '' 0.0000001 1000000001 1,5; do
                refuse "-t '$value'" 2 "is no time" "$seqnum" -t "$value" next orders
        done
        for value in '%x' '%d%d' plain '%' '%256d' '%.3d' '%ld' 'a\q%d' '%*d' '%d\' ''; do
                refuse "-f '$value'" 2 ", column " "$seqnum" next -f "$value" orders
        done
        refuse "a format's column" 2 "column 11:" "$seqnum" next -f 'INV-%06dx%s' orders
        refuse "-f with --json" 2 "exclude" "$seqnum" next -f %d --json orders
        expect "what was refused drew nothing" 0 1 "$seqnum" peek orders
}

# --- drawing --------------------------------------------------------------------

draw() {
        expect "next" 0 1 "$seqnum" next orders
        expect "next -n 3" 0 $'2\n3\n4' "$seqnum" next -n 3 orders
        expect "options after the name" 0 $'5\n6' "$seqnum" next orders -n2
        expect "a name behind --" 0 7 "$seqnum" next -- orders
        expect "peek" 0 8 "$seqnum" peek orders
        expect "peek takes nothing" 0 8 "$seqnum" peek orders
        expect "-s and -t" 0 8 env -u SEQNUM_SHM "$seqnum" -s "$SEQNUM_SHM" -t 0.5 next orders
        expect "a start and a long name" 0 42 "$seqnum" next a/b_c.d-e
        expect "descending" 0 $'-1\n-4\n-7' "$seqnum" next -n 3 down
        expect "no such sequence: next" 1 "" "$seqnum" next nobody
        expect "no such sequence: peek" 1 "" "$seqnum" peek nobody
        refuse "a sequence misspelt" 1 "no such sequence 'order': did you mean 'orders'?" \
                "$seqnum" next order
        refuse "a sequence unlike any" 1 "no such sequence 'nobody' ('seqnum list'" \
                "$seqnum" next nobody
        expect "no such sequence: info" 1 "" "$seqnum" info nobody
}

ends() {
        refuse "a run longer than what is left" 1 "fewer than 6 numbers left: ask for fewer" \
                "$seqnum" next -n 6 short
        expect "a run of all that is left" 0 $'1\n2\n3\n4\n5' "$seqnum" next -n 5 short
        refuse "past the end" 1 "come to its end" "$seqnum" next short
        refuse "peek past the end" 1 "come to its end" "$seqnum" peek short
        run "$seqnum" info short
        same "info past the end" "0 none" "$status $(field next)"
        run "$seqnum" list -l
        contains "list past the end" "(end)" "$out"
        expect "cycling, up to the wrap" 0 $'8\n9\n10' "$seqnum" next -n 3 round
        expect "cycling, behind the wrap" 0 1 "$seqnum" next round
        refuse "a run longer than a round" 1 "a round has 10 numbers: ask for fewer" \
                "$seqnum" next -n 11 round
        expect "which skips nothing" 0 2 "$seqnum" next round
        "$seqnum" next -n 9 round > "$tmp/run"
        same "a run never straddles the wrap" "$(seq "$(head -n1 "$tmp/run")" \
                $(($(head -n1 "$tmp/run") + 8)))" "$(cat "$tmp/run")"
}

# form FORMAT OUTPUT: of the next number of `orders`
form() {
        expect "format '$1'" 0 "$2" "$seqnum" next -f "$1" orders
}

# shellcheck disable=SC1003 # a backslash is meant
formats() {
        local n

        n=$("$seqnum" peek orders)
        form 'INV-%06d' "INV-$(printf %06d "$n")"
        form '%d' $((n + 1))
        form '%+d|' "+$((n + 2))|"
        form '%-5d|' "$(printf '%-5d|' $((n + 3)))"
        form '%5d' "$(printf '%5d' $((n + 4)))"
        form '% d' " $((n + 5))"
        form "%'d" "$((n + 6))"
        form '100%% \t%d\\' "100% "$'\t'"$((n + 7))\\"
        form '%+0-8d|' "$(printf '%+-8d|' $((n + 8)))"
        form '%255d' "$(printf '%255d' $((n + 9)))"
        expect "zeros behind the sign" 0 "-0010" "$seqnum" next -f %05d down
        "$seqnum" next -n 2 -f 'x%dy\n' orders > "$tmp/out"
        same "a format's own newline is not doubled" 2 "$(wc -l < "$tmp/out")"
        "$seqnum" next -n 2 -f 'x%dy' orders > "$tmp/out"
        same "a missing newline is added" 2 "$(wc -l < "$tmp/out")"
}

bulk() {
        "$seqnum" next -n 1000000 batch > "$tmp/numbers"
        same "a million numbers: status" 0 $?
        if seq 1000000 | cmp -s - "$tmp/numbers"; then
                ok "a million numbers, each on its line"
        else
                not_ok "a million numbers, each on its line" "$(wc -l < "$tmp/numbers") lines"
        fi
        for i in 1 2 3 4; do
                "$seqnum" next -n 2000 shared > "$tmp/shared.$i" &
                jobs[i]=$!
        done
        wait "${jobs[@]}"
        same "four draw at once: all different" 8000 \
                "$(cat "$tmp"/shared.* | sort -u | wc -l)"
        for i in 1 2 3 4; do
                seq "$(head -n1 "$tmp/shared.$i")" $(($(head -n1 "$tmp/shared.$i") + 1999)) |
                        cmp -s - "$tmp/shared.$i" || not_ok "run $i is consecutive" "it is not"
        done
}

lost_output() {
        local before after verb

        before=$("$seqnum" peek batch)
        "$seqnum" next -n 1000 batch > /dev/full 2> "$tmp/err"
        same "a full device" 74 $?
        contains "a full device: a reason" "No space left on device" "$(cat "$tmp/err")"
        after=$("$seqnum" peek batch)
        same "numbers drawn for a full device are used up" $((before + 1000)) "$after"
        "$seqnum" next batch > /dev/full 2> /dev/null
        same "a full device, one number" 74 $?
        for verb in "next --json batch" "peek batch" "info batch" list "list -l" "list --json" \
                status; do
                # shellcheck disable=SC2086
                "$seqnum" $verb > /dev/full 2> /dev/null
                same "a full device: $verb" 74 $?
        done
        "$seqnum" next -n 3 batch >&- 2> "$tmp/err"
        same "standard output closed" 74 $?
        state_is "the segment is whole after that" 0 ready "$seqnum" status
        "$seqnum" next -n 1000000 batch 2> "$tmp/err" | head -n 1 > /dev/null
        same "a reader gone" 74 "${PIPESTATUS[0]}"
        contains "a reader gone: a reason" "Broken pipe" "$(cat "$tmp/err")"
}

# --- looking ---------------------------------------------------------------------

show() {
        local pid=$daemon since age

        expect "list" 0 "$(printf '%s\n' a/b_c.d-e batch down orders round shared short)" \
                "$seqnum" list
        run "$seqnum" list -l
        same "list -l: a line each and one above" "0 8" "$status $(wc -l < "$tmp/out")"
        contains "list -l: a head" "NAME" "$(head -n 1 "$tmp/out")"
        run "$seqnum" info down
        same "info: parameters" "0 counter -1 -3 -9223372036854775808 -1 no" \
                "$status $(field kind) $(field start) $(field increment) $(field min) $(
                        field max) $(field cycle)"
        same "info: next is what peek says" "$("$seqnum" peek down)" "$(field next)"
        same "info: index" 3 "$(field index)"
        same "info: ahead is ceiling less index" $(($(field ceiling) - 3)) \
                "$(field 'reserved ahead')"
        same "info: state" open "$(field state)"
        run "$seqnum" status
        same "status: ready and alive" "0 $SEQNUM_SHM ready serving yes $pid" \
                "$status $(field segment) $(field state) $(field service) $(field 'daemon alive') $(
                        field pid)"
        since=$(TZ=XYZ-5 "$seqnum" status | sed -n 's/^since: *//p')
        age=$(($(date +%s) - $(date -d "$since" +%s)))
        if [[ $since =~ ^[0-9-]{10}T[0-9:]{8}Z$ ]] && [ $age -ge 0 ] && [ $age -lt 3600 ]; then
                ok "status: since when, in UTC, as jq's fromdateiso8601 takes it"
        else
                not_ok "status: since when, in UTC, as jq's fromdateiso8601 takes it" "$since"
        fi
        same "status: sequences" "7 100" "$(field sequences) $(field 'max sequences')"
        same "status: socket" "$tmp/socket" "$(field socket)"
        same "status: owner and mode" "$(stat -c '%u %g' "/dev/shm$SEQNUM_SHM") 0660" \
                "$(field 'owner uid') $(field 'group gid') $(field mode)"
        same "status: boot" "$(cat /proc/sys/kernel/random/boot_id)" "$(field 'boot id')"
}

# json WHAT COMMAND...: is its output one JSON text?
json() {
        local what=$1

        shift
        run "$@"
        if [ "$status" = 0 ] && "${json_tool[@]}" < "$tmp/out" > /dev/null 2> "$tmp/err"; then
                ok "JSON: $what"
        else
                not_ok "JSON: $what" "status $status" "$(cat "$tmp/err")" "$out"
        fi
}

# lines of JSON without blanks, for a comparison by text
flat() {
        tr -d ' \n' < "$tmp/out"
}

all_json() {
        local n

        if python3 -c 'import json' 2> /dev/null; then
                json_tool=(python3 -m json.tool)
        elif command -v jq > /dev/null; then
                json_tool=(jq -e .)
        else
                skip "JSON: neither python3 nor jq is there to check it"
                return
        fi
        n=$("$seqnum" peek orders)
        json "peek" "$seqnum" peek --json orders
        same "JSON: peek, members" "{\"sequence\":\"orders\",\"next\":$n}" "$(flat)"
        json "next" "$seqnum" next --json -n 5 orders
        same "JSON: next, members" \
                "{\"sequence\":\"orders\",\"first\":$n,\"increment\":1,\"count\":5}" "$(flat)"
        json "list" "$seqnum" list --json
        same "JSON: list, an object each" 7 "$(grep -c '"sequence":' "$tmp/out")"
        json "info" "$seqnum" info --json down
        contains "JSON: info, members" \
                '"increment":-3,"min":-9223372036854775808,"max":-1,"cycle":false,' "$(flat)"
        json "info of a sequence at its end" "$seqnum" info --json short
        contains "JSON: nothing is null" '"next":null,' "$(flat)"
        json "status" "$seqnum" status --json
        contains "JSON: status, members" \
                '"state":"ready","service":"serving","daemon_alive":true,' "$(flat)"
}

# --- objects that are none, or not ours ---------------------------------------------

# plant BYTES-AT OFFSET: the live segment's copy under another name, patched
plant() {
        rm -f "/dev/shm$other"
        cp --sparse=always "/dev/shm$SEQNUM_SHM" "/dev/shm$other"
        printf '%b' "$1" | dd of="/dev/shm$other" bs=1 seek="$2" conv=notrunc status=none
        chmod 600 "/dev/shm$other"
}

strange_objects() {
        : > "/dev/shm$other"
        state_is "an object without a byte" 69 starting "$seqnum" -s "$other" status
        refuse "starting: next" 69 "is starting" "$seqnum" -s "$other" next orders
        head -c 8192 /dev/urandom > "/dev/shm$other"
        state_is "a random page" 65 corrupt "$seqnum" -s "$other" status
        refuse "corrupt: next" 65 "corrupt" "$seqnum" -s "$other" next orders
        plant '\0143' 8
        state_is "a later layout" 65 "other version" "$seqnum" -s "$other" status
        same "status: both versions are told" 99 "$(field 'layout version')"
        refuse "other version: next" 65 "another version" "$seqnum" -s "$other" next orders
        plant 'another-libc' 16
        state_is "another C library" 65 "foreign ABI" "$seqnum" -s "$other" status
        contains "status: both ABIs are told" "another-libc" "$(field abi)"
        refuse "foreign ABI: list" 65 "another C library" "$seqnum" -s "$other" list
        plant '' 0
        truncate -s -4096 "/dev/shm$other"
        state_is "a segment cut short" 65 corrupt "$seqnum" -s "$other" status
}

strange_owners() {
        plant '' 0
        chmod 666 "/dev/shm$other"
        state_is "an object that everyone may write" 77 "wrong mode" "$seqnum" -s "$other" status
        refuse "wrong mode: next" 77 "everybody may write it (mode 0666)" \
                "$seqnum" -s "$other" next orders
        rm -f "/dev/shm$other"
        ln -s "/dev/shm$SEQNUM_SHM" "/dev/shm$other"
        state_is "a symbolic link" 77 "wrong owner" "$seqnum" -s "$other" status
        plant '' 0
        if [ "$(id -u)" != 0 ]; then
                chmod 000 "/dev/shm$other"
                state_is "no permission" 77 "not permitted" "$seqnum" -s "$other" status
                skip "objects of other users: only root can plant one"
                return
        fi
        state_is "a segment that nobody looks after" 69 ready "$seqnum" -s "$other" status
        chown nobody "/dev/shm$other"
        state_is "planted by another user" 77 "wrong owner" "$seqnum" -s "$other" status
        refuse "wrong owner: next" 77 "it belongs to nobody, who is not the service" \
                "$seqnum" -s "$other" next orders
        contains "how to vouch for him" "SEQNUM_OWNER=$(id -u nobody)" "$err"
        SEQNUM_OWNER=nobody refuse "not by his name" 77 "OWNER 'nobody' is no number" \
                "$seqnum" -s "$other" next orders
        SEQNUM_OWNER=$(id -u nobody) state_is "its owner vouched for" 69 ready \
                "$seqnum" -s "$other" status
        state_is "not in the group" 77 "not permitted" \
                setpriv --reuid=nobody --clear-groups --regid=nogroup "$seqnum" status
        refuse "not permitted: next" 77 "not permitted" \
                setpriv --reuid=nobody --clear-groups --regid=nogroup "$seqnum" next orders
        chmod 644 "/dev/shm$SEQNUM_SHM"
        run setpriv --reuid=nobody --clear-groups --regid=nogroup "$seqnum" peek orders
        same "who may only read may peek" 0 "$status"
        refuse "who may only read may not draw" 77 "not permitted" \
                setpriv --reuid=nobody --clear-groups --regid=nogroup "$seqnum" next orders
        chmod 660 "/dev/shm$SEQNUM_SHM"
}

# --- the daemon away -------------------------------------------------------------------

away() {
        local n began ended

        stop_daemon KILL
        state_is "the daemon was killed" 69 ready "$seqnum" status
        same "status: it is not alive" "no none" "$(field 'daemon alive') $(field pid)"
        contains "status: killed: draws get the rest" "draws get what it had reserved, then wait" "$err"
        n=$("$seqnum" peek orders)
        expect "draws go on without a daemon" 0 "$n" "$seqnum" next orders
        start_daemon
        expect "and with the next one" 0 $((n + 1)) "$seqnum" next orders
        stop_daemon TERM
        state_is "the daemon was stopped" 69 ready "$seqnum" status
        same "status: stopped" stopped "$(field service)"
        contains "status: stopped: draws wait" "seqnumd was stopped: draws wait until it is started" "$err"
        expect "peek at a frozen sequence" 0 $((n + 2)) "$seqnum" peek orders
        run "$seqnum" info orders
        same "info: frozen" "frozen 0" "$(field state) $(field 'reserved ahead')"
        began=$(date +%s%N)
        expect "a frozen sequence: try again" 75 "" "$seqnum" -t 0.3 next orders
        ended=$(date +%s%N)
        if [ $((ended - began)) -ge 300000000 ] && [ $((ended - began)) -lt 2000000000 ]; then
                ok "it waited as long as it was told to"
        else
                not_ok "it waited as long as it was told to" "$(((ended - began) / 1000000)) ms"
        fi
        expect "not to wait at all" 75 "" "$seqnum" -t 0 next orders
        "$seqnum" -t 10 next orders > "$tmp/waited" &
        waiter=$!
        start_daemon
        wait "$waiter"
        same "a draw that waited for the daemon" "0 $((n + 2))" "$? $(cat "$tmp/waited")"
        expect "nothing was skipped" 0 $((n + 3)) "$seqnum" next orders
}

absent
start_daemon
usage
refused_numbers
draw
show
ends
formats
bulk
lost_output
all_json
strange_objects
strange_owners
away
stop_daemon TERM

finish
