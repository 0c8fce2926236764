#!/bin/bash
# SPDX-License-Identifier: MIT
#
# What bash completes of a seqnum command line: client/seqnum.bash, sourced as the
# package bash-completion would, with a seqnum against a real seqnumd. What is
# offered is compared with what the command itself says it takes, so that the two
# cannot drift apart.

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

[sequence orders-old]

[sequence a:b/c]

[sequence a:b/d]
INI

# shellcheck source=client/seqnum.bash disable=SC1091
. "$source_dir/client/seqnum.bash"

# complete_line LINE: as if Tab were pressed at its end; leaves COMPREPLY, and what is
# said where nothing may be said in $tmp/err
complete_line() {
        local rest=$1 piece blank=$' \t'

        COMP_LINE=$1
        COMP_POINT=${#1}
        COMP_WORDS=()
        # As bash does: blanks separate, and each run of '=' and ':' is a word.
        while [ -n "$rest" ]; do
                piece=${rest%%[!"$blank"]*}
                rest=${rest#"$piece"}
                case $rest in
                '') ;;
                [=:]*) piece=${rest%%[!=:]*} ;;
                *) piece=${rest%%["$blank"=:]*} ;;
                esac
                [ -z "$rest" ] || COMP_WORDS+=("$piece")
                rest=${rest#"$piece"}
        done
        [[ $COMP_LINE != *[$blank] ]] || COMP_WORDS+=("")
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        COMPREPLY=()
        _seqnum "$seqnum" 2> "$tmp/err"
}

# offers LINE CANDIDATE...: exactly these, in any order
offers() {
        local line=$1 expected got

        shift
        expected=$(printf '%s\n' "$@" | sort)
        complete_line "$seqnum $line"
        got=$(printf '%s\n' "${COMPREPLY[@]}" | sort)
        same "'seqnum $line'" "$expected" "$got"
        [ ! -s "$tmp/err" ] || not_ok "'seqnum $line' is quiet" "$(cat "$tmp/err")"
}

# The long options that `seqnum ... --help` tells, as the completion writes them.
options_told() {
        "$seqnum" "$@" --help | sed -n 's/^  \(-[a-z],\|   \) \(--[a-z-]*=\{0,1\}\).*/\2/p' | sort
}

verbs=$("$seqnum" --help | sed -n '/^Verbs:/,/^Options:/s/^  \([a-z]*\).*/\1/p')

words() {
        local verb

        # shellcheck disable=SC2086 # a list of words
        offers "" $verbs
        offers "ne" next
        offers "xyz" ""
        offers "-s /x ne" next
        offers "--shm=/x ne" next
        offers "-t 3 st" status
        offers "-t " ""
        offers "help ne" next
        offers "help next " ""
        for verb in $verbs; do
                complete_line "$seqnum $verb --"
                same "options of $verb" "$(options_told "$verb")" \
                        "$(printf '%s\n' "${COMPREPLY[@]}" | sort)"
        done
        complete_line "$seqnum --"
        same "options before the verb" "$(options_told)" "$(printf '%s\n' "${COMPREPLY[@]}" | sort)"
}

without_service() {
        offers "next " ""
        offers "next or" ""
}

names() {
        offers "next or" orders orders-old
        offers "next orders-" orders-old
        offers "peek " orders orders-old a:b/c a:b/d
        offers "next a:" b/c b/d
        offers "info a:b/c" b/c
        offers "next orders " ""
        offers "next -n 3 orders-" orders-old
        offers "next --count 3 orders-" orders-old
        offers "next -n " ""
        offers "drop orders a:" b/c b/d
        offers "restart orders-" orders-old
        offers "restart orders " ""
        offers "list " ""
        offers "create or" ""
        offers "-s $SEQNUM_SHM next orders-" orders-old
        offers "-s /seqnumd-no-such next or" ""
        offers "hold orders " --
        complete_line "$seqnum hold orders -- tru"
        case " ${COMPREPLY[*]} " in
        *" true "*) ok "hold completes commands" ;;
        *) not_ok "hold completes commands" "${COMPREPLY[*]}" ;;
        esac
}

keys() {
        local key

        offers "create new k" kind=
        offers "create new kind=" counter gapless time
        offers "create new kind=g" gapless
        offers "create new start=1 cy" cycle=
        offers "alter orders cycle=" yes no
        offers "alter orders start=" ""
        offers "alter or" orders orders-old
        complete_line "$seqnum create new "
        for key in "${COMPREPLY[@]}"; do
                grep -q "^;*${key%=} = " "$source_dir/config/seqnumd.ini" ||
                        not_ok "$key is a key of the sample file" "it is not"
        done
        # shellcheck disable=SC2013 # keys have no blanks
        for key in $(sed -n '/^;*\[sequence/,$s/^;*\([a-z_]*\) = .*/\1/p' \
                "$source_dir/config/seqnumd.ini" | sort -u); do
                [[ " ${COMPREPLY[*]} " == *" $key= "* ]] ||
                        not_ok "the sample file's $key is completed" "${COMPREPLY[*]}"
        done
        ok "keys are those of the sample file"
}

without_service
start_daemon
words
names
keys

finish
