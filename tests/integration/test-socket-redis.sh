#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The control socket with Redis' own programs, redis-cli and redis-benchmark, and
# with python's client, all unchanged; beside draws by shared memory.

# shellcheck disable=SC1091,SC2154 # what it sets
. "$(dirname "$0")/harness.sh"

command -v redis-cli > /dev/null || {
        echo "there is no redis-cli (redis-tools)"
        exit 77
}
socket=$tmp/sock
cat > "$tmp/ini" << END
[service]
shm = $SEQNUM_SHM
state = $tmp/state
socket = $socket
group =
[sequence orders]
[sequence ids]
kind = time
[sequence counter:*]
[sequence invoice/*]
kind = gapless
END
start_daemon
redis() {
        redis-cli -s "$socket" "$@" 2>&1
}

# --- redis-cli: what it prints when it does not print to a terminal ------------------

says() {
        local what=$1 expected=$2

        shift 2
        same "$what" "$expected" "$(redis "$@")"
}
lines() {
        tr '\n' ' ' | sed 's/ $//'
}

says "PING" PONG PING
says "PING with a message" hello PING hello
says "GET before the first draw" "" GET orders
says "INCR" 1 INCR orders
says "INCRBY answers the last of the run" 11 INCRBY orders 10
says "GET the last drawn" 11 GET orders
says "INCR goes on" 12 INCR orders
says "SEQ.NEXT" 13 SEQ.NEXT orders
same "SEQ.NEXT of a run" "14 1 5" "$(redis SEQ.NEXT orders 5 | lines)"
says "SEQ.PEEK takes nothing" 19 SEQ.PEEK orders
says "SEQ.PEEK again" 19 SEQ.PEEK orders
expect "shared memory goes on where the socket was" 0 19 "$seqnum" next orders
says "and the socket where shared memory was" 20 INCR orders
says "EXISTS counts" 2 EXISTS orders nobody ids orderz
says "TYPE of a sequence" string TYPE orders
says "TYPE of none" none TYPE nobody
says "DBSIZE" 2 DBSIZE
same "SCAN finds all" "ids orders" "$(redis --scan | sort | lines)"
same "SCAN with a pattern" "ids" "$(redis --scan --pattern 'i*' | lines)"
contains "INFO" "sequences:2" "$(redis INFO)"
same "INFO of one section" "" "$(redis INFO clients | grep sequences:)"
contains "HELLO 3" "proto 3" "$(redis -3 HELLO 3)"
contains "HELLO 4 is refused" "NOPROTO" "$(redis HELLO 4)"
says "CLIENT SETNAME" OK CLIENT SETNAME me
says "SELECT 0" OK SELECT 0
contains "SELECT 1 is refused" "out of range" "$(redis SELECT 1)"

contains "no such sequence" "NOTFOUND no such sequence 'nobody'" "$(redis INCR nobody)"
contains "unknown command" "did you mean INCR?" "$(redis INCRR orders)"
for word in DECR decrby DEL SET MGET SSCAN; do
        same "a command of Redis is not taken for a slip: $word" \
                "ERR unknown command '${word^^}'; seqnumd(8) has those there are" "$(redis $word orders)"
done
contains "a count of 0" "out of range: use 1 to 4294967295" "$(redis INCRBY orders 0)"
contains "a negative count" "out of range" "$(redis INCRBY orders -5)"
contains "no number" "not an integer" "$(redis INCRBY orders 1x)"
contains "too few arguments" "wrong number of arguments for 'INCR'" "$(redis INCR)"
says "nothing of that drew" 21 SEQ.PEEK orders

says "SEQ.CREATE of one more" OK SEQ.CREATE large
says "a run larger than what is ever reserved ahead" 5000000 INCRBY large 5000000
says "and what follows" 5000001 INCR large
says "SEQ.DROP of it" OK SEQ.DROP large

# --- live changes ------------------------------------------------------------------------

says "SEQ.CREATE" OK SEQ.CREATE countdown increment -1 min 0 max 3
says "it counts down" 3 INCR countdown
says "to its end" 0 INCRBY countdown 3
contains "and no further" "has come to its end" "$(redis INCR countdown)"
says "SEQ.RESTART" OK SEQ.RESTART countdown 1
says "restarted" 1 INCR countdown
says "SEQ.ALTER" OK SEQ.ALTER countdown cycle yes
same "altered" "0 3 2" "$(for _ in 1 2 3; do redis INCR countdown; done | lines)"
says "SEQ.DROP" OK SEQ.DROP countdown
contains "dropped" "NOTFOUND" "$(redis INCR countdown)"
contains "a contradiction" "min 5 is not below max 4" "$(redis SEQ.CREATE x min 5 max 4)"
contains "an unknown key" "did you mean start?" "$(redis SEQ.CREATE x strat 5)"
contains "a bad name" "no name of a sequence" "$(redis SEQ.CREATE 'a b')"
says "a template on first use" 1 INCR invoice/acme
says "SEQ.OPEN makes it too" OK SEQ.OPEN invoice/other
contains "no template" "NOTFOUND" "$(redis SEQ.OPEN nothing/of/it)"
for word in GET SEQ.PEEK SEQ.INFO EXISTS TYPE; do
        redis $word invoice/looked > /dev/null
done
redis SEQ.EXPLAIN invoice/looked 1 > /dev/null
same "looking makes none" "" "$(redis --scan --pattern invoice/looked | lines)"
says "SEQ.NEXT makes it" 1 SEQ.NEXT invoice/next
says "SEQ.BEGIN makes it" 1 SEQ.BEGIN invoice/begun

# --- transactions: bound to the connection ------------------------------------------------

same "begin, commit" "2 OK 3 OK" \
        "$(printf 'SEQ.BEGIN invoice/acme\nSEQ.COMMIT invoice/acme\nSEQ.BEGIN invoice/acme\nSEQ.ROLLBACK invoice/acme\n' | redis | lines)"
says "the end of the connection rolls back" 3 SEQ.BEGIN invoice/acme
says "and again" 3 SEQ.BEGIN invoice/acme
says "INCR is begin and commit" 3 INCR invoice/acme
says "a run" 13 INCRBY invoice/acme 10
contains "commit without begin" "in no transaction" "$(redis SEQ.COMMIT invoice/acme)"
contains "begin twice" "already" \
        "$(printf 'SEQ.BEGIN invoice/acme\nSEQ.BEGIN invoice/acme\n' | redis)"
contains "a counter has no transactions" "not gapless" "$(redis SEQ.BEGIN orders)"
expect "shared memory sees what was committed" 0 14 "$seqnum" peek invoice/acme

# A holder at the socket keeps others waiting, here and in shared memory; then not.
coproc HOLDER { exec redis-cli -s "$socket"; }
holder=$HOLDER_PID
to_kill+=("$holder")
echo 'SEQ.BEGIN invoice/acme' >&"${HOLDER[1]}"
read -r held <&"${HOLDER[0]}"
same "held" 14 "$held"
run "$seqnum" -t 0.3 next invoice/acme
same "others wait, and no longer than they want" 75 "$status"
kill -KILL "$holder"
wait "$holder" 2> /dev/null
expect "the next in line gets its number" 0 14 "$seqnum" next invoice/acme

# --- ids ---------------------------------------------------------------------------------

a=$(redis INCR ids)
b=$("$seqnum" next ids)
c=$(redis INCR ids)
if [ "$a" -lt "$b" ] && [ "$b" -lt "$c" ]; then
        ok "ids ascend, wherever they are drawn"
else
        not_ok "ids ascend" "$a $b $c"
fi
contains "SEQ.EXPLAIN" "unix_msec" "$(redis SEQ.EXPLAIN ids "$a")"
contains "SEQ.EXPLAIN of a counter" "say no time" "$(redis SEQ.EXPLAIN orders 5)"

# --- redis-benchmark ------------------------------------------------------------------------

bench() {
        run redis-benchmark -s "$socket" "$@" -q
        same "redis-benchmark $*" "0 " "$status $err"
        contains "redis-benchmark has a figure" "requests per second" "$out"
}
bench -t incr -n 20000
bench -t incr -n 50000 -P 16
bench -t ping -n 5000
same "every request drew one number" 70000 "$(redis GET counter:__rand_int__)"

# Both ways at once: no number twice.
before=$("$seqnum" peek orders)
redis-benchmark -s "$socket" -n 20000 -P 8 -q INCR orders > /dev/null 2>&1 &
for _ in 1 2 3 4; do
        "$seqnum" next -n 5000 orders
done > "$tmp/drawn"
wait $!
same "socket and shared memory at once" 20000 "$(sort -u "$tmp/drawn" | wc -l)"
if [ "$("$seqnum" peek orders)" -ge $((before + 40000)) ]; then
        ok "nothing was drawn twice"
else
        not_ok "nothing was drawn twice" "$before and then $("$seqnum" peek orders)"
fi

# --- python -------------------------------------------------------------------------------------

if /usr/bin/python3 -c 'import redis' 2> /dev/null; then
        run /usr/bin/python3 - "$socket" << 'END'
import redis, sys, threading

c = redis.Redis(unix_socket_path=sys.argv[1])
assert c.ping()
assert c.execute_command("SEQ.CREATE", "py", "start", 1000) == b"OK"
assert c.incr("py") == 1000
assert c.incrby("py", 5) == 1005
assert c.get("py") == b"1005"
assert c.exists("py", "nobody") == 1
assert b"py" in list(c.scan_iter(match="p*"))
p = c.pipeline(transaction=False)
for _ in range(5000):
    p.incr("py")
assert p.execute() == list(range(1006, 6006))
try:
    c.incr("nobody")
    sys.exit("no error")
except redis.ResponseError as e:
    assert "no such sequence" in str(e), e
seen, lock = set(), threading.Lock()
def draw():
    mine = redis.Redis(unix_socket_path=sys.argv[1])
    got = [mine.incr("py") for _ in range(500)]
    assert got == sorted(got)
    with lock:
        seen.update(got)
threads = [threading.Thread(target=draw) for _ in range(8)]
for t in threads: t.start()
for t in threads: t.join()
assert len(seen) == 4000, len(seen)
print("good")
END
        same "python's client" "0 good" "$status $out$err"
else
        skip "python: there is no module redis"
fi

# --- many creations in one go ---------------------------------------------------------------------

for i in $(seq 2000); do
        printf 'SEQ.CREATE many/%d\r\n' "$i"
done | redis --pipe > "$tmp/pipe" 2>&1
contains "redis-cli --pipe" "errors: 0, replies: 2000" "$(cat "$tmp/pipe")"
says "all are there" 1 INCR many/2000

finish
