# SPDX-License-Identifier: MIT
#
# Completion of seqnum(1) for bash: verbs, options, names of sequences, keys and
# their values. Needs nothing but bash (the package bash-completion loads this file
# by the command's name, but is not called), and asks nobody but the segment: what
# does not answer completes to nothing, quietly.

# What each verb takes, of options; and what its names are.
_seqnum_verb_options() {
        case $1 in
        next) echo "-n --count= -f --format= --json -h --help" ;;
        list) echo "-l --long --json -h --help" ;;
        bench) echo "-p --processes= -d --duration= -n --count= --json -h --help" ;;
        hold | metrics | help) echo "-h --help" ;;
        peek | info | explain | create | alter | restart | drop | status) echo "--json -h --help" ;;
        esac
}

_seqnum_verbs="next peek hold list info explain create alter restart drop status metrics bench help"

# Keys of create and alter, as in seqnumd.ini(5).
_seqnum_keys="kind= start= increment= min= max= cycle= reserve= hold_limit= epoch= node= \
node_bits= serial_bits="

_seqnum_key_values() {
        case $1 in
        kind) echo "counter gapless time" ;;
        cycle) echo "yes no" ;;
        reserve) echo "auto" ;;
        esac
}

# The words up to the cursor as seqnum will see them: bash takes '=' and ':', which
# names and KEY=VALUE have, for ends of words. Leaves them in _seqnum_words.
_seqnum_split() {
        local line=${COMP_LINE:0:COMP_POINT} word
        local IFS=$' \t\n'

        _seqnum_words=()
        set -f
        for word in $line; do
                _seqnum_words+=("$word")
        done
        set +f
        [[ $line != *[$' \t'] ]] || _seqnum_words+=("")
}

# Sequences whose names begin with $1; not more than anybody would read.
_seqnum_names() {
        command "${_seqnum_words[0]}" "${_seqnum_global[@]}" list 2> /dev/null |
                awk -v begin="$1" 'index($0, begin) == 1 { print; if (++n == 1000) exit }'
}

# Offer those of the candidates that begin with the last word. What bash has split
# off as words of its own is already on the line and must not come back.
_seqnum_offer() {
        local current=$1 shown=${COMP_WORDS[COMP_CWORD]} cut candidate

        [[ $shown != [=:] ]] || shown=
        cut=$((${#current} - ${#shown}))
        shift
        for candidate; do
                [[ $candidate == "$current"* ]] || continue
                COMPREPLY+=("${candidate:cut}")
        done
        # Behind KEY= or --option= goes a value, not a blank.
        [[ ${#COMPREPLY[@]} != 1 || ${COMPREPLY[0]} != *= ]] || compopt -o nospace 2> /dev/null
}

# shellcheck disable=SC2046,SC2086,SC2207 # neither verbs, options, keys nor names have blanks
_seqnum() {
        local _seqnum_words _seqnum_global=() current verb="" i n=0 behind="" word

        COMPREPLY=()
        _seqnum_split
        current=${_seqnum_words[-1]}

        # Options before the verb, the verb, and how many names follow it.
        for ((i = 1; i < ${#_seqnum_words[@]} - 1; i++)); do
                word=${_seqnum_words[i]}
                if [[ -n $behind ]]; then
                        ((++n))
                elif [[ -z $verb && $word == -[st] || -z $verb && $word == --@(shm|timeout) ]]; then
                        [[ $word != -s && $word != --shm ]] ||
                                _seqnum_global=(-s "${_seqnum_words[i + 1]}")
                        ((++i))
                elif [[ -z $verb && $word == --shm=* ]]; then
                        _seqnum_global=("$word")
                elif [[ -n $verb && $word == -- ]]; then
                        behind=1
                elif [[ $verb == @(next|bench) &&
                        $word == @(-[nfpd]|--count|--format|--processes|--duration) ]]; then
                        ((++i))
                elif [[ $word == -?* ]]; then
                        :
                elif [[ -z $verb ]]; then
                        verb=$word
                else
                        ((++n))
                fi
        done
        # The argument of an option is nothing that we know.
        ((i < ${#_seqnum_words[@]})) || return 0

        if [[ -n $behind && $verb == hold ]]; then
                # A command: its name, then files, as bash does by itself.
                if ((n == 1)); then
                        COMPREPLY=($(compgen -c -- "$current"))
                else
                        compopt -o default 2> /dev/null
                fi
        elif [[ -z $behind && $current == -* && -z $verb ]]; then
                _seqnum_offer "$current" -s --shm= -t --timeout= --version -h --help
        elif [[ -z $behind && $current == -* ]]; then
                _seqnum_offer "$current" $(_seqnum_verb_options "$verb")
        elif [[ -z $verb ]]; then
                _seqnum_offer "$current" $_seqnum_verbs
        elif [[ $verb == @(create|alter) && $n -ge 1 && $current == *=* ]]; then
                for word in $(_seqnum_key_values "${current%%=*}"); do
                        _seqnum_offer "$current" "${current%%=*}=$word"
                done
        elif [[ $verb == @(create|alter) && $n -ge 1 ]]; then
                _seqnum_offer "$current" $_seqnum_keys
        elif [[ $verb == help ]]; then
                ((n > 0)) || _seqnum_offer "$current" $_seqnum_verbs
        elif [[ $verb == drop || $verb != @(create|list|status|metrics) && $n == 0 ]]; then
                _seqnum_offer "$current" $(_seqnum_names "$current")
        elif [[ $verb == hold && $n == 1 ]]; then
                _seqnum_offer "$current" --
        fi
}

complete -F _seqnum seqnum
