#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The verbs that change sequences, against a real seqnumd: create, alter, restart,
# drop; what they refuse and with which exit status; names that were meant; what a
# template brings into being. And, with a script in the daemon's place at the socket,
# what is said when it answers otherwise, or not at all.

# shellcheck disable=SC1091,SC2154 # what it sets
. "$(dirname "$0")/harness.sh"

cat > "$tmp/ini" << INI
[service]
shm = $SEQNUM_SHM
state = $tmp/state
socket = $tmp/socket
group =
mode = 0660
max_sequences = 30

[sequence orders]

[sequence invoice/*]
kind = gapless
start = 100
INI

# quiet WHAT COMMAND...: succeeds and says nothing
quiet() {
        local what=$1

        shift
        expect "$what" 0 "" "$@"
}

# member KEY: of the JSON in $out
member() {
        jq -c ".$1" < "$tmp/out"
}

usage() {
        refuse "create without a name" 2 "is missing" "$seqnum" create
        refuse "alter without a key" 2 "is missing" "$seqnum" alter orders
        refuse "restart with two values" 2 "one argument too many" "$seqnum" restart orders 1 2
        refuse "no name" 2 "no name of a sequence" "$seqnum" create 'a b'
        refuse "no name among others" 2 "no name of a sequence" "$seqnum" drop orders 'a b'
        refuse "no KEY=VALUE" 2 "no KEY=VALUE" "$seqnum" create new start
        refuse "no key" 2 "no KEY=VALUE" "$seqnum" create new =5
        refuse "no value to restart at" 2 "no whole number" "$seqnum" restart orders 5x
        refuse "a value of 65 bits" 2 "no whole number" "$seqnum" restart orders \
                9223372036854775808
        refuse "a misspelt option" 2 "did you mean '--json'?" "$seqnum" drop --jsno orders
        expect "nothing was done" 0 1 "$seqnum" peek orders
}

create() {
        quiet "create" "$seqnum" create plain
        expect "it begins at 1" 0 1 "$seqnum" next plain
        quiet "create with keys" "$seqnum" create down start=-5 increment=-2 min=-100 max=-1
        expect "as they say" 0 $'-5\n-7' "$seqnum" next -n 2 down
        run "$seqnum" create --json round start=3 max=5 cycle=yes
        same "create --json shows it" '0 "round" "counter" 3 5 true 3' \
                "$status $(member sequence) $(member kind) $(member start) $(member max) $(
                        member cycle) $(member next)"
        quiet "create gapless" "$seqnum" create exact kind=gapless
        run "$seqnum" info exact
        same "info: gapless" "gapless 0 no none 0" "$(field kind) $(field 'hold limit') $(
                field 'turn held') $(field 'holder alive') $(field turns)"
        expect "next on it commits" 0 1 "$seqnum" next exact
        run "$seqnum" info exact
        same "info: a turn was taken" "2 1" "$(field next) $(field turns)"
        refuse "create: exists" 1 "orders" "$seqnum" create orders
        refuse "create: unknown key" 1 "strat" "$seqnum" create new strat=5
        refuse "create: a value out of range" 1 "increment" "$seqnum" create new increment=0
        refuse "create: a contradiction" 1 "" "$seqnum" create new min=10 max=5
        refuse "create: a key twice" 1 "start" "$seqnum" create new start=1 start=2
        refuse "what was refused is not there" 1 "no such sequence" "$seqnum" peek new
}

time_ids() {
        local id before after

        quiet "create time" "$seqnum" create ids kind=time node=7
        refuse "more ids than a millisecond has" 1 "a millisecond has 4096 ids: ask for fewer" \
                "$seqnum" next -n 4097 ids
        before=$(date +%s%3N)
        id=$("$seqnum" next ids)
        after=$(date +%s%3N)
        run "$seqnum" explain --json ids "$id"
        same "explain: node" "0 7" "$status $(member node)"
        # As text: jq takes numbers for floating point.
        contains "explain: id" "\"id\": $id," "$out"
        if [ "$(member unix_msec)" -ge $((before - 5)) ] &&
                [ "$(member unix_msec)" -le $((after + 5)) ]; then
                ok "explain: the time of the draw"
        else
                not_ok "explain: the time of the draw" "$before..$after: $(member unix_msec)"
        fi
        same "explain: in words" "\"$(date -u -d "@$(($(member unix_msec) / 1000))" \
                +%Y-%m-%dT%H:%M:%S).$(printf %03d $(($(member unix_msec) % 1000)))Z\"" \
                "$(member time)"
        run env TZ=XYZ-3 "$seqnum" explain ids 0
        same "explain: the epoch" "2020-01-01T00:00:00.000Z 2020-01-01T03:00:00.000+03:00 0 0" \
                "$(field time) $(field 'local time') $(field node) $(field serial)"
        contains "explain: long ago" " d " "$(field 'from now')"
        contains "explain: ago" " ago" "$(field 'from now')"
        run "$seqnum" explain ids 9223372036854775807
        contains "explain: in the future" "in " "$(field 'from now')"
        refuse "explain: a negative number" 2 "no id" "$seqnum" explain ids -1
        refuse "explain: no number" 2 "no id" "$seqnum" explain ids 1x
        refuse "explain: not of kind time" 1 "of kind counter" "$seqnum" explain orders 1
        run "$seqnum" info --json ids
        same "info: time" '"time" 7 "2020-01-01T00:00:00.000Z"' \
                "$(member kind) $(member node) $(member epoch_time)"
        contains "info: the last id's time" "$(date -u +%Y-)" "$(member last_time)"
}

alter() {
        quiet "alter" "$seqnum" alter plain increment=10
        expect "it goes on behind the last" 0 $'11\n21' "$seqnum" next -n 2 plain
        run "$seqnum" alter --json plain max=31
        same "alter --json shows it" "0 10 31" "$status $(member increment) $(member max)"
        expect "up to its end" 0 31 "$seqnum" next plain
        refuse "which is its end" 1 "come to its end" "$seqnum" next plain
        refuse "alter: no such sequence" 1 "no such sequence 'ordes': did you mean 'orders'?" \
                "$seqnum" alter ordes max=5
        refuse "alter: unknown key" 1 "maxx" "$seqnum" alter plain maxx=5
        refuse "alter: beyond where it is" 1 "" "$seqnum" alter plain max=20
}

restart() {
        quiet "restart" "$seqnum" restart plain
        expect "it is at its start" 0 1 "$seqnum" next plain
        quiet "restart at a value" "$seqnum" restart plain 21
        expect "it is there" 0 21 "$seqnum" next plain
        quiet "restart at a negative value" "$seqnum" restart down -50
        expect "it is there, too" 0 -50 "$seqnum" next down
        quiet "a negative value before an option" "$seqnum" restart down -60
        run "$seqnum" restart down -70 --json
        same "restart --json shows it" "0 -70" "$status $(member next)"
        quiet "a negative value behind --" "$seqnum" restart -- down -80
        refuse "restart: out of its limits" 1 "" "$seqnum" restart plain 5000
        refuse "restart: no such sequence" 1 "did you mean 'plain'" "$seqnum" restart plian 5
}

drop() {
        local i

        for i in 1 2 3; do
                quiet "create drop$i" "$seqnum" create "drop$i"
        done
        quiet "drop" "$seqnum" drop drop1
        refuse "it is gone" 1 "no such sequence" "$seqnum" next drop1
        refuse "drop: no such sequence" 1 "no such sequence 'drop1'" "$seqnum" drop drop1
        run "$seqnum" drop --json drop2 nobody drop3
        same "drop several: those that are there" "1 [true,false,true]" \
                "$status $(jq -c 'map(.dropped)' < "$tmp/out")"
        contains "drop several: a reason" "nobody" "$err"
        refuse "drop several: gone" 1 "no such sequence" "$seqnum" peek drop3
        quiet "a dropped name can be made again" "$seqnum" create drop3 start=7
        expect "and begins anew" 0 7 "$seqnum" next drop3
}

templates() {
        expect "a template's first number" 0 100 "$seqnum" next invoice/acme
        expect "and its second" 0 101 "$seqnum" next invoice/acme
        refuse "peek makes none" 1 "no such sequence" "$seqnum" peek invoice/peeked
        refuse "nor does info" 1 "no such sequence" "$seqnum" info invoice/peeked
        refuse "nor does explain" 1 "no such sequence" "$seqnum" explain invoice/peeked 1
        expect "what is there is looked at" 0 102 "$seqnum" peek invoice/acme
        refuse "no template" 1 "no such sequence" "$seqnum" next receipt/acme
        run "$seqnum" list
        same "no other came into being" 1 "$(grep -c ^invoice/ "$tmp/out")"
        "$seqnum" drop invoice/acme
        run "$seqnum" list --json
        same "list does not bring a dropped one back" 0 \
                "$(jq 'map(select(.sequence == "invoice/acme")) | length' < "$tmp/out")"
        refuse "the template itself is no sequence" 2 "no name" "$seqnum" next 'invoice/*'
}

full() {
        local i

        for i in $(seq 40); do
                run "$seqnum" create "many$i"
                [ "$status" = 0 ] || break
        done
        same "a full instance refuses" 1 "$status"
        contains "a full instance: a reason" "max_sequences" "$err"
        refuse "a full instance has no room for a template's" 1 "max_sequences" \
                "$seqnum" next invoice/too-many
}

rights() {
        if [ "$(id -u)" != 0 ]; then
                skip "rights: only root can be another user"
                return
        fi
        chmod 644 "/dev/shm$SEQNUM_SHM"
        run setpriv --reuid=nobody --clear-groups --regid=nogroup "$seqnum" create mine
        same "others may not create" 77 "$status"
        chmod 666 "$tmp/socket"
        run setpriv --reuid=nobody --clear-groups --regid=nogroup "$seqnum" drop orders
        same "others may not drop, by name" 77 "$status"
        chmod 660 "/dev/shm$SEQNUM_SHM" "$tmp/socket"
        expect "nothing was done" 0 1 "$seqnum" peek orders
}

# answer TEXT: one who asks at the socket, with this
answer() {
        rm -f "$tmp/socket"
        python3 -c '
import socket, sys, time
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1])
s.listen()
c = s.accept()[0]
c.recv(65536)
c.sendall(sys.argv[2].encode().decode("unicode_escape").encode())
if not sys.argv[2]:
    time.sleep(60)
' "$tmp/socket" "$1" &
        to_kill+=($!)
        await test -S "$tmp/socket"
        sleep 0.1
}

# Who listens is not who should: the segment of the daemon that was killed names the path.
silence() {
        stop_daemon KILL
        refuse "no time to ask" 69 "nothing was asked" "$seqnum" -t 0 create new
        refuse "nobody listens" 69 "nobody listens" "$seqnum" create new
        rm -f "$tmp/socket"
        refuse "no socket" 69 "nobody listens" "$seqnum" drop orders
        refuse "a template, and no socket" 75 "may make it from a template, did not answer" \
                "$seqnum" -t 0.2 next invoice/new
        if ! command -v python3 > /dev/null; then
                skip "answers of others: there is no python3"
                return
        fi
        answer ''
        refuse "no answer" 69 "no answer" "$seqnum" -t 0.3 create new
        answer '-TRYAGAIN the store is busy\r\n'
        refuse "try again" 75 "the store is busy" "$seqnum" create new
        answer '-NOPERM root only\r\n'
        refuse "not permitted" 77 "root only" "$seqnum" alter orders max=5
        answer '-ERR it is used by others\r\n'
        refuse "refused" 1 "it is used by others" "$seqnum" drop orders
        answer 'HTTP/1.1 400 Bad Request\r\n\r\n'
        refuse "somebody else's socket" 65 "does not answer as seqnumd" "$seqnum" drop orders
        answer 'HTTP/1.1 400 Bad Request\r\n\r\n'
        refuse "somebody else's socket, of a template" 65 "does not answer as seqnumd" \
                "$seqnum" next invoice/new
        answer '\x2465537\r\n'
        refuse "too long an answer, of a template" 65 "does not answer as seqnumd" \
                "$seqnum" next invoice/new
        answer '*2\r\n+half\r\n'
        refuse "half an answer" 69 "no answer" "$seqnum" drop orders
        rm -f "$tmp/socket"
}

refuse "no service" 69 "no service" "$seqnum" create new
start_daemon
usage
create
time_ids
alter
restart
drop
templates
rights
full
silence
start_daemon
expect "all is as it was left" 0 1 "$seqnum" peek orders
stop_daemon TERM
finish
