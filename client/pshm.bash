# SPDX-License-Identifier: MIT
#
# Completion of pshm(1) for bash: verbs, options and the names of objects. Needs
# nothing but bash (the package bash-completion loads this file by the command's
# name, but is not called); what cannot be listed completes to nothing, quietly.

# What each verb takes, of options.
_pshm_verb_options() {
        case $1 in
        create) echo "-m --mode= -x --exclusive -f --force -h --help" ;;
        write) echo "-o --offset= -t --truncate -f --force -h --help" ;;
        read) echo "-o --offset= -n --count= -x --hex -h --help" ;;
        ls) echo "-l --long --json -h --help" ;;
        stat) echo "--json -h --help" ;;
        resize | rm) echo "-f --force -h --help" ;;
        help) echo "-h --help" ;;
        send) echo "-b --blocks= -s --block-size= -m --mode= -c --checksum -w --wait= -q --quiet -h --help" ;;
        recv) echo "-c --checksum -w --wait= -q --quiet -h --help" ;;
        esac
}

_pshm_verbs="create write read ls stat resize rm send recv help"

# The words up to the cursor as pshm will see them: bash takes '=' and ':', which
# names may have, for ends of words. Leaves them in _pshm_words.
_pshm_split() {
        local line=${COMP_LINE:0:COMP_POINT} word
        local IFS=$' \t\n'

        _pshm_words=()
        set -f
        for word in $line; do
                _pshm_words+=("$word")
        done
        set +f
        [[ $line != *[$' \t'] ]] || _pshm_words+=("")
}

# Offer those of the candidates that begin with the last word. What bash has split
# off as words of its own is already on the line and must not come back.
_pshm_offer() {
        local current=$1 shown=${COMP_WORDS[COMP_CWORD]} cut candidate

        [[ $shown != [=:] ]] || shown=
        cut=$((${#current} - ${#shown}))
        shift
        for candidate; do
                [[ $candidate == "$current"* ]] || continue
                COMPREPLY+=("${candidate:cut}")
        done
        # Behind --option= goes a value, not a blank.
        [[ ${#COMPREPLY[@]} != 1 || ${COMPREPLY[0]} != *= ]] || compopt -o nospace 2> /dev/null
}

# Objects, with the leading slash if one was typed. A name with blanks or of a pattern is
# left out: the shell would take it for more than one word.
_pshm_names() {
        local slash=/ name

        [[ $1 != /* ]] || slash=
        while IFS= read -r name; do
                [[ $name == *[[:space:]*?[]* ]] || echo "${name#"$slash"}"
        done < <(command "${_pshm_words[0]}" ls 2> /dev/null)
}

# shellcheck disable=SC2046,SC2086 # neither verbs, options nor names offered have blanks
_pshm() {
        local _pshm_words current verb="" i n=0 behind="" word

        COMPREPLY=()
        _pshm_split
        current=${_pshm_words[-1]}

        # The verb, and how many names follow it.
        for ((i = 1; i < ${#_pshm_words[@]} - 1; i++)); do
                word=${_pshm_words[i]}
                if [[ -n $behind ]]; then
                        ((++n))
                elif [[ $word == -- ]]; then
                        behind=1
                elif [[ -n $verb && $word == @(-[mobsw]|--mode|--offset|--count|--blocks|--block-size|--wait) ]] ||
                        [[ $verb == read && $word == -n ]]; then
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
        ((i < ${#_pshm_words[@]})) || return 0

        if [[ -z $behind && $current == -* && -z $verb ]]; then
                _pshm_offer "$current" --version -h --help
        elif [[ -z $behind && $current == -* ]]; then
                _pshm_offer "$current" $(_pshm_verb_options "$verb")
        elif [[ -z $verb ]]; then
                _pshm_offer "$current" $_pshm_verbs
        elif [[ $verb == help ]]; then
                ((n > 0)) || _pshm_offer "$current" $_pshm_verbs
        elif [[ $verb == rm || $n == 0 && $verb == @(write|read|stat|resize|send|recv) ]]; then
                _pshm_offer "$current" $(_pshm_names "$current")
        fi
}

complete -F _pshm pshm
