#!/bin/bash
# SPDX-License-Identifier: MIT
#
# What bash completes of a pshm command line: client/pshm.bash, sourced as the package
# bash-completion would. What is offered is compared with what the command itself says
# it takes, so that the two cannot drift apart.

# shellcheck disable=SC1091,SC2154,SC2034 # what it sets, and uses
. "$(dirname "$0")/harness.sh"
program=pshm
mine=pshm-completion.$$
to_remove+=("/dev/shm/$mine-one" "/dev/shm/$mine-two" "/dev/shm/$mine:a=b" "/dev/shm/$mine a")

# shellcheck source=client/pshm.bash disable=SC1091
. "$source_dir/client/pshm.bash"

# complete_line LINE: as if Tab were pressed at its end; leaves COMPREPLY
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
        _pshm "$pshm" 2> "$tmp/err"
}

# offers LINE CANDIDATE...: exactly these, in any order
offers() {
        local line=$1 expected got

        shift
        expected=$(printf '%s\n' "$@" | sort)
        complete_line "$pshm $line"
        got=$(printf '%s\n' "${COMPREPLY[@]}" | sort)
        same "'pshm $line'" "$expected" "$got"
        [ ! -s "$tmp/err" ] || not_ok "'pshm $line' is quiet" "$(cat "$tmp/err")"
}

# The options that `pshm ... --help` tells, as the completion writes them.
options_told() {
        "$pshm" "$@" --help | sed -n 's/^  \(-[a-z],\|   \) \(--[a-z-]*=\{0,1\}\).*/\1\2/p' |
                sed 's/,/\n/; s/^ *//' | sort
}

verbs=$("$pshm" --help | sed -n '/^Verbs:/,/^Options:/s/^  \([a-z]*\).*/\1/p')

words() {
        local verb

        # shellcheck disable=SC2086 # a list of words
        offers "" $verbs
        offers "re" read resize recv
        offers "xyz" ""
        offers "help se" send
        offers "help send " ""
        for verb in $verbs; do
                complete_line "$pshm $verb -"
                same "options of $verb" "$(options_told "$verb")" \
                        "$(printf '%s\n' "${COMPREPLY[@]}" | sort)"
        done
        complete_line "$pshm -"
        same "options before the verb" "$(options_told)" "$(printf '%s\n' "${COMPREPLY[@]}" | sort)"
}

names() {
        local verb

        for verb in write read stat resize send recv rm; do
                offers "$verb $mine-" "$mine-one" "$mine-two"
                offers "$verb /$mine-o" "/$mine-one"
        done
        offers "create $mine-" ""
        offers "ls $mine-" ""
        offers "rm $mine-one $mine-t" "$mine-two"
        offers "stat $mine-one $mine-t" ""
        offers "read -o 5 $mine-o" "$mine-one"
        offers "read -x $mine-o" "$mine-one"
        offers "read -n 3 $mine-o" "$mine-one"
        offers "read -n " ""
        offers "send --blocks 3 $mine-t" "$mine-two"
        offers "send -c $mine-t" "$mine-two"
        offers "stat $mine:" "a=b"
        offers "stat $mine:a=" "b"
}

"$pshm" create "$mine-one" 1
"$pshm" create "$mine-two" 1
"$pshm" create "$mine:a=b" 1
"$pshm" create "$mine a" 1
words
names

finish
