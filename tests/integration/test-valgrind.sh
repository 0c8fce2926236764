#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The programs as they are shipped, under valgrind's memcheck: each verb of the
# command, the daemon's check of its file, and one short life of a daemon that is drawn
# from, altered, reloaded and stopped. An invalid access, a decision by what was never
# written, a descriptor closed twice or a block lost fails it. The sanitizers see more
# of the sources (`make asan`), and nothing of what libraries do with our bytes.

# shellcheck disable=SC1091,SC2154 # what harness.sh sets

[ -z "${SEQNUM_SANITIZER:-}" ] || {
        echo "a sanitizer and valgrind both want to be the one who owns memory"
        exit 77
}
command -v valgrind > /dev/null || {
        echo "valgrind is not installed (make deps)"
        exit 77
}

. "$(dirname "$0")/harness.sh"

# what it finds goes to $tmp/found
memcheck=(valgrind --quiet --error-exitcode=99 --leak-check=full --log-file="$tmp/found"
        '--errors-for-leak-kinds=definite,indirect' --child-silent-after-fork=yes)

# clean WHAT STATUS COMMAND...: it exits like this, and nothing is found
clean() {
        local what=$1 want=$2

        shift 2
        run "${memcheck[@]}" "$@"
        if [ "$status" = "$want" ] && [ ! -s "$tmp/found" ]; then
                ok "$what"
        else
                not_ok "$what" "expected status $want, got $status: $out" "$err" \
                        "$(cat "$tmp/found")"
        fi
}

configure() {
        cat > "$tmp/ini" << INI
[service]
shm = $SEQNUM_SHM
state = $tmp/state
socket = $tmp/socket
group =

[sequence orders]
increment = $1

[sequence invoice/*]
kind = gapless

[sequence ids]
kind = time
INI
}

config() {
        clean "--check-config" 0 "$build/seqnumd" -c "$tmp/ini" --check-config
        printf '[service]\nmode = 0999\nnonsense\n[sequence a b]\nstart = x\n' > "$tmp/bad"
        clean "--check-config of a bad file" 78 "$build/seqnumd" -c "$tmp/bad" --check-config
}

# At a daemon that is not under valgrind
verbs() {
        clean "next" 0 "$seqnum" next orders
        clean "next -n -f" 0 "$seqnum" next -n 3 -f 'ORDER-%06d' orders
        clean "next, which makes it" 0 "$seqnum" next invoice/valgrind
        clean "next of what is not there" 1 "$seqnum" next nobody
        clean "peek" 0 "$seqnum" peek orders
        clean "hold" 0 "$seqnum" hold invoice/valgrind -- true
        clean "hold, rolled back" 1 "$seqnum" hold invoice/valgrind -- false
        clean "list" 0 "$seqnum" list -l
        clean "list --json" 0 "$seqnum" list --json
        clean "info --json" 0 "$seqnum" info --json ids
        clean "explain" 0 "$seqnum" explain ids "$("$seqnum" next ids)"
        clean "create" 0 "$seqnum" create new start=5 max=9 cycle=yes
        clean "alter" 0 "$seqnum" alter new increment=2
        clean "restart" 0 "$seqnum" restart new 6
        clean "drop" 0 "$seqnum" drop new
        clean "status --json" 0 "$seqnum" status --json
        clean "metrics" 0 "$seqnum" metrics
        clean "bench" 0 "$seqnum" bench -p 2 -d 0.01 orders
}

# Everything that makes the daemon allocate and free
life() {
        local i

        "${memcheck[@]}" "$build/seqnumd" -c "$tmp/ini" >> "$tmp/log" 2>&1 &
        daemon=$!
        await "$seqnum" status
        for i in 1 2 3; do
                "$seqnum" next -n 1000 orders
                "$seqnum" create "made/$i"
                "$seqnum" hold invoice/life -- true
                "$seqnum" next ids
                "$seqnum" drop "made/$i"
                "$seqnum" restart orders
                configure "$((i + 1))"
                kill -HUP "$daemon"
                printf 'INCR orders\r\nSEQ.INFO orders\r\nSCAN 0\r\nnonsense\r\nSEQ.BEGIN %s\r\n' \
                        invoice/life | timeout 2 python3 -c '
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.sendall(sys.stdin.buffer.read())
s.shutdown(socket.SHUT_WR)
while s.recv(65536):
    pass' "$tmp/socket"
                rm "/dev/shm$SEQNUM_SHM" # a fresh one
                await "$seqnum" peek orders
        done > /dev/null
        kill -TERM "$daemon"
        wait "$daemon"
        status=$?
        daemon=
        same "a daemon's life" "0 " "$status $(cat "$tmp/found")"
}

configure 1
config
life
configure 1
start_daemon
verbs
stop_daemon TERM
finish
