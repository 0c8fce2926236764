#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The command pshm: every verb that is not a stream's, every refusal with its exit
# status, what is in the man page; streams only where it takes a file system, a user
# or an object of its own kind. Objects have names of their own and are removed.

# shellcheck disable=SC1091,SC2154,SC2034,SC2013 # what it sets, and uses; options have no blanks
. "$(dirname "$0")/harness.sh"
program=pshm
mine=pshm-test.$$
to_remove+=("/dev/shm/$mine" "/dev/shm/$mine-2" "/dev/shm/sem.$mine" "/dev/shm/$mine-fifo")

# The file system of objects as a small one, and this again in there.
if [ "${1:-}" = --in-small ]; then
        shift
        mount -t tmpfs -o size=1m,mode=1777 tmpfs /dev/shm || exit 1
fi

# holds WHAT COMMAND...
holds() {
        local what=$1

        shift
        if "$@"; then ok "$what"; else not_ok "$what" "$*"; fi
}

usage() {
        local verb option

        run "$pshm"
        same "no verb: usage" 2 "$status"
        contains "no verb: usage on standard error" "Usage: pshm" "$err"
        run "$pshm" --version
        contains "--version" "0 pshm " "$status $out"
        for verb in $("$pshm" --help | sed -n '/^Verbs:/,/^Options:/s/^  \([a-z]*\).*/\1/p'); do
                run "$pshm" "$verb" --help
                contains "$verb --help: usage" "0 Usage: pshm $verb" "$status $out"
                contains "$verb --help: an example" "pshm $verb" "${out#*Example:}"
                contains "$verb is in the synopsis" ".Cm $verb" "$(sed '/^\.Sh DESC/q' "$source_dir/client/pshm.1")"
                for option in $(sed -n '/^Options:/,/^Example/s/^  .*--\([a-z-]*\).*/\1/p' "$tmp/out"); do
                        [ "$option" = help ] ||
                                sed -n "/^\.It Cm $verb/,/^\.It Cm/p" "$source_dir/client/pshm.1" |
                                grep -q -- "^\.It.* Fl -$option" ||
                                not_ok "$verb --$option is in the man page" "it is not"
                done
        done
        for option in $(sed -n 's/^\.It.* Fl -\([a-z-]*\).*/\1/p' "$source_dir/client/pshm.1"); do
                "$pshm" --help > "$tmp/help"
                for verb in create write read ls stat resize rm send recv; do
                        "$pshm" "$verb" --help >> "$tmp/help"
                done
                grep -q -- "--$option" "$tmp/help" || not_ok "--$option exists" "only in the man page"
        done
        run "$pshm" help
        same "help is --help" "0 $("$pshm" --help)" "$status $out"
        run "$pshm" help send
        same "help send is send --help" "0 $("$pshm" send --help)" "$status $out"
        refuse "--version behind the verb" 2 "--version stands before the verb" "$pshm" ls --version
        refuse "a verb misspelt" 2 "did you mean 'create'" "$pshm" crate x 1
        refuse "a verb unlike any" 2 "unknown verb 'xyzzy': see 'pshm --help'" "$pshm" xyzzy
        refuse "an unknown option" 2 "unknown option '-z': see 'pshm rm --help'" "$pshm" rm -z x
        refuse "a name missing" 2 "NAME is missing" "$pshm" stat
        refuse "a name too many" 2 "one argument too many" "$pshm" create a 1 2
}

bad_arguments() {
        local name size mode verb long

        long=$(printf '%0255d' 0)
        for name in '' / . .. /.. a/b //a "$long"; do
                for verb in write read stat send recv rm; do
                        refuse "$verb '${name:0:10}'" 2 "is no name of an object" "$pshm" "$verb" "$name" < /dev/null
                done
                refuse "create '${name:0:10}'" 2 "is no name of an object" "$pshm" create "$name" 1
                refuse "resize '${name:0:10}'" 2 "is no name of an object" "$pshm" resize "$name" 1
        done
        for size in '' x -1 1X 1KK 1.5K K ' 1' 0x10; do
                refuse "size '$size'" 2 "the size '$size' is none" "$pshm" create "$mine" -- "$size"
        done
        for size in 9223372036854775808 9000000000000000000000 16777216T; do
                refuse "size '$size'" 2 "is out of range" "$pshm" create "$mine" "$size"
        done
        for mode in '' 8 9999 rw 1777 00000 -1 0x1; do
                refuse "mode '$mode'" 2 "is no mode" "$pshm" create -m "$mode" "$mine" 1
        done
        refuse "-x and -f" 2 "contradict" "$pshm" create -x -f "$mine" 1
        refuse "no blocks" 2 "no count of blocks" "$pshm" send -b 0 "$mine"
        refuse "too many blocks" 2 "no count of blocks" "$pshm" send -b 1048577 "$mine"
        refuse "blocks of nothing" 2 "out of range" "$pshm" send -s 0 "$mine"
        refuse "blocks too large" 2 "out of range" "$pshm" send -s 1025M "$mine"
        refuse "too much in all" 2 "are too much" "$pshm" send -b 1048576 -s 1G "$mine"
        refuse "no time" 2 "is no time" "$pshm" send -w soon "$mine"
        refuse "no time either" 2 "is no time" "$pshm" recv -w -1 "$mine"
        [ ! -e "/dev/shm/$mine" ] || not_ok "nothing was made by what was refused"
}

mode_of() { stat -c %a "/dev/shm/$mine"; }
used_of() { "$pshm" stat --json "$mine" | jq .used; }

whole_objects() {
        refuse "stat: missing" 1 "no such object" "$pshm" stat "$mine"
        refuse "rm: missing" 1 "no such object" "$pshm" rm "$mine"
        refuse "read: missing" 1 "no such object" "$pshm" read "$mine"
        refuse "write: missing" 1 "no such object" "$pshm" write "$mine" x
        refuse "resize: missing" 1 "no such object" "$pshm" resize "$mine" 1
        expect "create" 0 "" "$pshm" create "$mine" 64K
        same "its size, mode and memory" "65536 600 65536" \
                "$(stat -c %s "/dev/shm/$mine") $(mode_of) $(used_of)"
        refuse "create: it exists" 1 "exists already (-f" "$pshm" create "/$mine" 1
        refuse "create -x: it exists" 1 "exists already" "$pshm" create -x "/$mine" 1
        "$pshm" write "$mine" old
        expect "create -f replaces it" 0 "" "$pshm" create -f -m 640 "$mine" 5000
        same "with another size and mode" "5000 640" "$(stat -c %s "/dev/shm/$mine") $(mode_of)"
        same "and none of the old bytes" "$(head -c 5000 /dev/zero | md5sum)" "$("$pshm" read "$mine" | md5sum)"
        (umask 077 && "$pshm" create -f -m 666 "$mine" 1)
        same "a mode is not masked" 666 "$(mode_of)"
        expect "an object of no bytes" 0 "" "$pshm" create -f "$mine" 0
        same "has none" "" "$("$pshm" read "$mine")"
        expect "resize: larger" 0 "" "$pshm" resize "$mine" 1M
        same "its memory is reserved" 1048576 "$(used_of)"
        expect "resize: smaller" 0 "" "$pshm" resize "$mine" 10
        same "its memory is given back" 4096 "$(used_of)"
        expect "rm of two, with a slash and without" 1 "" "$pshm" rm "/$mine" "$mine-2"
        contains "the one that there is not" "$mine-2: no such object" "$err"
        [ ! -e "/dev/shm/$mine" ] || not_ok "rm removes" "it is still there"
}

bytes() {
        "$pshm" create "$mine" 16
        expect "write a string" 0 "" "$pshm" write "$mine" hello
        expect "read it" 0 "hello" "$pshm" read -n 5 "$mine"
        expect "write at an offset" 0 "" "$pshm" write -o 6 "$mine" world
        expect "read at an offset" 0 "world" "$pshm" read -o 6 -n 5 "$mine"
        refuse "a string that does not fit" 1 "too few for 5 from byte 12 on" "$pshm" write -o 12 "$mine" world
        refuse "one that begins behind the end" 1 "too few" "$pshm" write -o 17 "$mine" x
        expect "up to the last byte" 0 "" "$pshm" write -o 15 "$mine" x
        same "nothing of it was written" "00 00 00 78" "$("$pshm" read -o 12 "$mine" | od -An -tx1 | xargs)"
        expect "-t: resized to fit" 0 "" "$pshm" write -t "$mine" 'back at five'
        expect "it has just that" 0 "back at five" "$pshm" read "$mine"
        expect "-t with an offset grows it" 0 "" "$pshm" write -t -o 1K "$mine" end
        same "size" 1027 "$(stat -c %s "/dev/shm/$mine")"
        head -c 300000 /dev/urandom > "$tmp/data"
        expect "-t: standard input" 0 "" "$pshm" write -t "$mine" < "$tmp/data"
        holds "and it reads the same" cmp "$tmp/data" <("$pshm" read "$mine")
        expect "an empty input" 0 "" "$pshm" write "$mine" < /dev/null
        refuse "input that does not fit" 1 "ends at byte 300000" "$pshm" write -o 299990 "$mine" < "$tmp/data"
        same "as much as fits is there" "$(head -c 10 "$tmp/data" | md5sum)" "$("$pshm" read -o 299990 "$mine" | md5sum)"
        refuse "to read more than there is" 1 "it has 300000 bytes, too few for 11" "$pshm" read -o 299990 -n 11 "$mine"
        refuse "to read behind the end" 1 "it ends at byte 300000, before byte 300001" \
                "$pshm" read -o 300001 "$mine"
        refuse "some bytes of there" 1 "it ends at byte 300000, before byte 300001" \
                "$pshm" read -n 5 -o 300001 "$mine"
        expect "to read nothing at the end" 0 "" "$pshm" read -o 300000 "$mine"
        refuse "an offset that is none" 2 "the offset 'x' is none" "$pshm" read -o x "$mine"
        refuse "a count that is none" 2 "the count '-5' is none" "$pshm" read -n -5 "$mine"
        holds "a hex dump as hexdump has it" cmp <(hexdump -C "/dev/shm/$mine") <("$pshm" read -x "$mine")
        head -c 1000 /dev/zero | "$pshm" write -t "$mine"
        holds "also of much the same" cmp <(head -c 1000 /dev/zero | hexdump -C) <("$pshm" read -x "$mine")
        "$pshm" read -x -o 3 -n 50 "$mine" > "$tmp/dump"
        same "a dump tells where it is" "00000003 00000035" "$(sed -n '1s/ .*//p;$p' "$tmp/dump" | xargs)"
        "$pshm" read "$mine" > /dev/full 2> "$tmp/err"
        same "output lost" 74 $?
        "$pshm" rm "$mine"
}

# --- what there is --------------------------------------------------------------------

listed() { "$pshm" ls --json | jq -r ".[] | select(.name == \"/$1\") | $2"; }
listed_long() { "$pshm" ls -l | awk -v name="/$1" '$1 == name'; }

looks() {
        local holder weird

        "$pshm" create -m 640 "$mine" 10000
        same "ls" "/$mine" "$("$pshm" ls | grep -x "/$mine")"
        same "ls --json" "object 10000 12288 0640 $(id -un)" \
                "$(listed "$mine" '"\(.kind) \(.size) \(.used) \(.mode) \(.owner)"')"
        run "$pshm" stat "$mine"
        same "stat" "object 10000 12288 0640 none" \
                "$(field kind) $(field size) $(field used) $(field mode) $(field mappers)"
        contains "ls -l" "10000 12.0KiB 0640 $(id -un)" "$(listed_long "$mine" | tr -s ' ')"
        truncate -s 1G "/dev/shm/$mine"
        same "holes use no memory" 12288 "$(used_of)"
        python3 -c "
import mmap, time
f = open('/dev/shm/$mine', 'r+b')
m = mmap.mmap(f.fileno(), 1 << 20)
print('mapped', flush=True)
time.sleep(60)
" > "$tmp/mapped" &
        holder=$!
        to_kill+=("$holder")
        await grep -q mapped "$tmp/mapped"
        same "who has it mapped" "$holder python3" \
                "$(listed "$mine" '.mappers[] | "\(.pid) \(.command)"')"
        run "$pshm" stat "$mine"
        same "in words" "$holder (python3)" "$(field mappers)"
        run "$pshm" resize "$mine" 512K
        contains "shrinking warns whose pages are cut" "0 pshm: warning: process $holder (python3)" "$status $err"
        "$pshm" resize "$mine" 2M
        expect "where nobody has mapped it, it does not" 0 "" "$pshm" resize "$mine" 1M
        kill "$holder"
        wait "$holder" 2> /dev/null
        python3 -c "
import ctypes, os
lib = ctypes.CDLL(None, use_errno=True)
lib.sem_open.restype = ctypes.c_void_p
assert lib.sem_open(b'/$mine', os.O_CREAT, 0o600, 1)
"
        same "a named semaphore" semaphore "$(listed "sem.$mine" .kind)"
        expect "is removed by that name" 0 "" "$pshm" rm "sem.$mine"
        mkfifo "/dev/shm/$mine-fifo"
        same "something else" "not an object" "$(listed "$mine-fifo" .kind)"
        refuse "is not read" 65 "no shared memory object" "$pshm" read "$mine-fifo"
        refuse "nor written" 65 "no shared memory object" "$pshm" write "$mine-fifo" x
        refuse "nor received from" 65 "no shared memory object" "$pshm" recv "$mine-fifo"
        refuse "nor replaced by a stream" 1 "it is no stream" "$pshm" send "$mine-fifo" < /dev/null
        rm "/dev/shm/$mine-fifo"
        mkdir "/dev/shm/$mine-directory"
        refuse "a directory is not replaced" 65 "no shared memory object" \
                "$pshm" create -f "$mine-directory" 1
        refuse "nor removed" 65 "no shared memory object" "$pshm" rm "$mine-directory"
        rmdir "/dev/shm/$mine-directory"
        weird=$mine-$'\x1b\xff\n'
        to_remove+=("/dev/shm/$weird")
        "$pshm" create "$weird" 1
        same "a name that a terminal must not see" "/$mine-???" "$("$pshm" ls | grep "^/$mine-")"
        same "nor JSON" object "$(listed "$mine-???" .kind)"
        expect "it can be removed" 0 "" "$pshm" rm "$weird"
        "$pshm" rm "$mine"
}

segments() {
        local weird=seqnumd.$'\x1b[31m'$mine header size verb

        printf '[service]\nshm = %s\nstate = %s\nsocket = %s\ngroup =\n[sequence a]\n[sequence b]\n' \
                "$SEQNUM_SHM" "$tmp/state" "$tmp/socket" > "$tmp/ini"
        program=seqnum
        start_daemon
        program=pshm
        same "a segment is known" "segment ${SEQNUM_SHM#/} 2 true" \
                "$(listed "${SEQNUM_SHM#/}" '"\(.kind) \(.instance) \(.sequences) \(.served)"')"
        contains "ls -l tells the instance and how many sequences" \
                "segment: of instance ${SEQNUM_SHM#/}, 2 sequences, served" \
                "$(listed_long "${SEQNUM_SHM#/}")"
        to_remove+=("/dev/shm/$weird")
        ln "/dev/shm$SEQNUM_SHM" "/dev/shm/$weird"
        contains "nor is an instance's name shown raw" "segment: of instance ?[31m$mine, 2" \
                "$(listed_long "seqnumd.?[31m$mine")"
        rm "/dev/shm/$weird"
        refuse "no stream replaces it" 1 "is a segment that process $daemon serves" \
                "$pshm" send "$SEQNUM_SHM" < /dev/null
        lacks "and nobody is told to remove it" "pshm rm" "$err"
        header=$(head -c 112 "/dev/shm$SEQNUM_SHM" | md5sum)
        size=$(stat -c %s "/dev/shm$SEQNUM_SHM")
        for verb in "write $SEQNUM_SHM foo" "write -t $SEQNUM_SHM foo" "resize $SEQNUM_SHM 4K" \
                "resize $SEQNUM_SHM 1G" "rm $SEQNUM_SHM" "create $SEQNUM_SHM 4K" \
                "create -x $SEQNUM_SHM 4K"; do
                # shellcheck disable=SC2086 # words
                refuse "served: ${verb/$SEQNUM_SHM /}" 1 \
                        "it is a segment that process $daemon serves (-f does it nevertheless)" \
                        "$pshm" $verb < /dev/null
        done
        same "all of it is there" "$size" "$(stat -c %s "/dev/shm$SEQNUM_SHM")"
        same "what never changes is as it was" "$header" "$(head -c 112 "/dev/shm$SEQNUM_SHM" | md5sum)"
        refuse "nor is it received" 65 "is no stream" "$pshm" recv "$SEQNUM_SHM"
        stop_daemon KILL
        expect "what nobody serves is written" 0 "" "$pshm" write -o 64K "$SEQNUM_SHM" foo
        same "and that nobody looks after it" false "$(listed "${SEQNUM_SHM#/}" .served)"
}

# --- wrong objects, other users, little room ----------------------------------------------

wrong_objects() {
        local n

        for n in 0 100 4096 8396800; do
                head -c "$n" /dev/urandom > "/dev/shm/$mine"
                refuse "recv: $n random bytes" 65 "is no stream" "$pshm" recv "$mine"
                refuse "send: $n random bytes" 1 "it is no stream" "$pshm" send "$mine" < /dev/null
        done
        rm "/dev/shm/$mine"
        # A real one, and what is wrong with copies of it.
        "$pshm" send "$mine" < /dev/null &
        to_kill+=($!)
        await test -e "/dev/shm/$mine"
        same "a stream is known" "stream 8 1048576 true false" \
                "$(listed "$mine" '"\(.kind) \(.blocks) \(.block_size) \(.sender_alive) \(.receiver_alive)"')"
        contains "ls -l tells its ring and who is there" "stream: 8 x 1.00MiB, sending, nobody receives" \
                "$(listed_long "$mine")"
        altered() {
                cp "/dev/shm/$mine" "/dev/shm/$mine-2"
                # shellcheck disable=SC2059 # escapes are meant
                printf "$3" | dd of="/dev/shm/$mine-2" bs=1 seek="$2" conv=notrunc status=none
                refuse "recv: $1" 65 "$4" "$pshm" recv "$mine-2"
                refuse "send: $1" 1 "it is no stream" "$pshm" send "$mine-2" < /dev/null
        }
        altered "another magic" 0 x "is no stream"
        altered "another version" 8 '\02' "another version"
        altered "another C library" 16 musl "another C library"
        altered "another size" 48 '\01' "is no stream"
        altered "blocks of another size" 57 '\377' "is no stream"
        altered "blocks of no size" 56 '\0\0\0\0\0\0\0\0' "is no stream"
        altered "blocks without number" 64 '\377\377\377\377' "is no stream"
        altered "no blocks" 64 '\0\0\0\0' "is no stream"
        altered "flags of the future" 68 '\200' "another version"
        cp "/dev/shm/$mine" "/dev/shm/$mine-2"
        truncate -s 100M "/dev/shm/$mine-2"
        refuse "recv: too long" 65 "is no stream" "$pshm" recv "$mine-2"
        cp "/dev/shm/$mine" "/dev/shm/$mine-2"
        same "a copy has no sender" false "$(listed "$mine-2" .sender_alive)"
        refuse "recv: a sender long dead" 69 "died before anything was received" "$pshm" recv "$mine-2"
        [ ! -e "/dev/shm/$mine-2" ] || not_ok "it is removed" "it is still there"
        expect "the real one is as it was" 0 "" "$pshm" recv "$mine"
        wait $!
        same "its sender is done" 0 $?
}

# On a terminal, as pv shows it; and only there.
progress() {
        script -qec true /dev/null > /dev/null 2>&1 < /dev/null || {
                skip "progress: no terminal to be had here"
                return
        }
        head -c 3M /dev/urandom > "$tmp/data"
        "$pshm" recv "$mine" > "$tmp/got" &
        script -qec "'$pshm' send '$mine' < '$tmp/data'" "$tmp/terminal" > /dev/null < /dev/null
        wait $!
        holds "progress of a file: bytes, time, rate, share" \
                grep -q '3\.00MiB 0:[0-9:]* \[.*iB/s\] 100%' "$tmp/terminal"
        holds "and nothing of it in the output" cmp "$tmp/data" "$tmp/got"
        (
                cat "$tmp/data"
                sleep 1.2
        ) | "$pshm" send "$mine" &
        script -qec "'$pshm' recv '$mine' > '$tmp/got'" "$tmp/terminal" > /dev/null < /dev/null
        wait $!
        lines=$(tr '\r' '\n' < "$tmp/terminal" | grep -c '^ *3.00MiB 0:')
        holds "progress of a pipe, once a second and at the end" test "$lines" -ge 2
        "$pshm" recv "$mine" > "$tmp/got" &
        script -qec "'$pshm' send -q '$mine' < '$tmp/data'" "$tmp/terminal" > /dev/null < /dev/null
        wait $!
        same "-q: none" "" "$(grep -v '^Script ' "$tmp/terminal")"
}

as_nobody() { setpriv --reuid=nobody --regid=nogroup --clear-groups "$@"; }

others() {
        if [ "$(id -u)" != 0 ]; then
                skip "other users: only root can be one"
                return
        fi
        "$pshm" create "$mine" 10
        for verb in "read $mine" "write $mine x" "resize $mine 5"; do
                # shellcheck disable=SC2086 # words
                refuse "not permitted: ${verb%% *}" 77 "not permitted" as_nobody "$pshm" $verb
        done
        refuse "not permitted: rm" 77 "not permitted" as_nobody "$pshm" rm "$mine"
        refuse "not permitted: create -f" 77 "not permitted" as_nobody "$pshm" create -f "$mine" 1
        refuse "not permitted: send" 77 "not permitted" as_nobody "$pshm" send "$mine" < /dev/null
        refuse "not permitted: recv" 77 "not permitted" as_nobody "$pshm" recv "$mine"
        "$pshm" rm "$mine"
        echo "for nobody" | "$pshm" send "$mine" &
        await test -e "/dev/shm/$mine"
        refuse "a stream of mode 600" 77 "not permitted" as_nobody "$pshm" recv "$mine"
        expect "is its owner's" 0 "for nobody" "$pshm" recv "$mine"
        wait $!
        echo "for nobody" | "$pshm" send -m 666 "$mine" &
        await test -e "/dev/shm/$mine"
        expect "one of mode 666 is everybody's" 0 "for nobody" as_nobody "$pshm" recv "$mine"
        wait $!
        same "its sender is done" 0 $?
        [ ! -e "/dev/shm/$mine" ] || not_ok "and it is removed" "it is still there"
}

# leave_dead_stream OPTION...: one whose sender was killed before anybody came
leave_dead_stream() {
        "$pshm" send "$@" "$mine" < <(sleep 60) &
        await test -e "/dev/shm/$mine"
        kill -KILL $!
        wait $! 2> /dev/null
}

# Where /dev/shm is sticky, as everywhere, only its owner removes what a dead one left.
dead_of_another() {
        if [ "$(id -u)" != 0 ] || [ ! -k /dev/shm ]; then
                skip "a stream of another user: only root can be one, where others may not remove"
                return
        fi
        leave_dead_stream -m 666
        refuse "a dead sender of another user" 69 "its owner has to remove it" \
                as_nobody "$pshm" recv "$mine"
        holds "it is still there" test -e "/dev/shm/$mine"
        refuse "and of one's own" 69 "it is removed" "$pshm" recv "$mine"
        holds "it is not" test ! -e "/dev/shm/$mine"
}

# lock_object USER MODE TYPE FIRST COUNT: $holder holds such a lock on the object
lock_object() {
        python3 -c "
import fcntl, os, struct, time
os.setuid($1)
f = open('/dev/shm/$mine', '$2')
fcntl.fcntl(f, 37, struct.pack('hhqqi', fcntl.$3, 0, $4, $5, 0)) # F_OFD_SETLK
print('locked', flush=True)
time.sleep(60)
" > "$tmp/locked" &
        holder=$!
        to_kill+=("$holder")
        await grep -q locked "$tmp/locked" || not_ok "a lock on the object" "there is none"
}

lock_name() { lock_object "$(id -u)" r+b F_WRLCK '(1 << 62) + 2' 1; }

unlock() {
        kill "$holder"
        wait "$holder" 2> /dev/null
}

# Who removes a stream's name holds the name's lock (client/pshm-stream.h), so that it is
# no other's in the moment it goes.
in_turn() {
        local before

        leave_dead_stream
        before=$(stat -c %i "/dev/shm/$mine")
        lock_name
        refuse "while another removes it: rm" 1 "somebody holds a lock on it" "$pshm" rm "$mine"
        same "it keeps its name" "$before" "$(stat -c %i "/dev/shm/$mine")"
        refuse "nor does recv remove it, and tells why" 69 "somebody holds a lock on it" \
                "$pshm" recv -w 0 "$mine"
        lacks "which is not for its owner to mend" "its owner" "$err"
        expect "rm -f has waited long enough" 0 "" "$pshm" rm -f "$mine"
        holds "it is removed" test ! -e "/dev/shm/$mine"
        unlock
        leave_dead_stream
        lock_name
        expect "and so has create -f" 0 "" "$pshm" create -f "$mine" 5
        same "it is replaced" 5 "$(stat -c %s "/dev/shm/$mine")"
        unlock
        leave_dead_stream
        lock_name
        unlock
        expect "once that one is dead" 0 "" "$pshm" rm "$mine"
        holds "it is removed" test ! -e "/dev/shm/$mine"
        if [ "$(id -u)" = 0 ]; then
                as_nobody "$pshm" create -m 400 "$mine" 10
                expect "what may not be written has no turn" 0 "" as_nobody "$pshm" rm "$mine"
        fi
}

# stopped_rm: `rm`, process $remover, stopped when it has the object open and waits for its lock
stopped_rm() {
        local fd found=

        "$pshm" rm -f "$mine" 2> "$tmp/removed" &
        remover=$!
        to_kill+=("$remover")
        while [ -z "$found" ] && kill -0 "$remover" 2> /dev/null; do
                for fd in "/proc/$remover/fd"/*; do
                        [ "$fd" -ef "/dev/shm/$mine" ] && found=yes
                done
        done
        kill -STOP "$remover" 2> /dev/null
}

# The same of a dead stream; again where it had waited long enough before it was stopped.
waiting_rm() {
        leave_dead_stream
        lock_name
        until stopped_rm; do
                unlock
                leave_dead_stream
                lock_name
        done
}

# Success of rm means that what had the name is gone, and by this rm.
not_mine_to_remove() {
        waiting_rm
        unlink "/dev/shm/$mine"
        "$pshm" create "$mine" 10
        unlock
        kill -CONT "$remover"
        wait "$remover"
        same "replaced while rm waited: success" 0 $?
        holds "and the next is removed" test ! -e "/dev/shm/$mine"
        rm -f "/dev/shm/$mine"
        waiting_rm
        unlink "/dev/shm/$mine"
        unlock
        kill -CONT "$remover"
        wait "$remover"
        same "removed while rm waited: no success" 1 $?
        contains "and why" "no such object" "$(cat "$tmp/removed")"
}

# What is no stream is removed by its name, as everywhere, whatever its program has locked.
locked_objects() {
        "$pshm" create "$mine" 10
        lock_object "$(id -u)" r+b F_WRLCK 0 0
        expect "an object locked as a whole is replaced" 0 "" "$pshm" create -f "$mine" 5
        unlock
        lock_object "$(id -u)" r+b F_WRLCK 0 0
        expect "and removed" 0 "" "$pshm" rm "$mine"
        unlock
        if [ "$(id -u)" = 0 ]; then
                "$pshm" create -m 644 "$mine" 10
                lock_object "$(id -u nobody)" rb F_RDLCK 0 0
                expect "also one that somebody locked who may only read it" 0 "" "$pshm" rm "$mine"
                unlock
        fi
}

# In a file system of 1 MiB.
little_room() {
        refuse "create: no space" 73 "no space in /dev/shm, where" "$pshm" create "$mine" 2M
        same "nothing is left" "" "$(ls /dev/shm)"
        same "no memory is left used" 0 "$(df --output=used /dev/shm | tail -n 1 | xargs)"
        expect "create: just enough" 0 "" "$pshm" create "$mine" 1M
        refuse "resize: no space" 73 "no space" "$pshm" resize "$mine" 1025K
        same "it is as large as it was" 1048576 "$(stat -c %s "/dev/shm/$mine")"
        refuse "write -t: no space" 73 "no space" "$pshm" write -t -o 1M "$mine" x
        refuse "write -t from input: no space" 73 "no space" "$pshm" write -t "$mine" < <(head -c 2M /dev/zero)
        "$pshm" rm "$mine"
        refuse "send: no space for the ring" 73 "no space" "$pshm" send "$mine" < /dev/null
        same "nothing is left of it" "" "$(ls /dev/shm)"
        head -c 3M /dev/urandom > "$tmp/data"
        "$pshm" send -b 4 -s 128K "$mine" < "$tmp/data" &
        # To a file: a pipe is closed by who still has the object, and its room, for a moment.
        "$pshm" recv -w 5 "$mine" > "$tmp/got"
        wait $!
        holds "a smaller ring has room" cmp "$tmp/data" "$tmp/got"
        truncate -s 900K "/dev/shm/$mine-2"
        # Holes are reserved when they are written, and not found by SIGBUS.
        "$pshm" create "$mine" 900K
        refuse "write into a hole: no space" 73 "no space" "$pshm" write -o 500K "$mine-2" "$(printf '%0130000d' 0)"
}

if [ "${1:-}" = small ]; then
        little_room
        finish
        exit
fi
usage
bad_arguments
whole_objects
bytes
looks
segments
wrong_objects
progress
others
dead_of_another
in_turn
not_mine_to_remove
locked_objects
if [ "$(id -u)" = 0 ] && unshare -m true 2> /dev/null; then
        expect "in little room" 0 "$(unshare -m "$0" --in-small small > "$tmp/small" && tail -n 1 "$tmp/small")" \
                tail -n 1 "$tmp/small"
        grep -q ' 0 failed$' "$tmp/small" || not_ok "all is well in little room" "$(cat "$tmp/small")"
else
        skip "a small file system: it takes root to mount one"
fi
finish
