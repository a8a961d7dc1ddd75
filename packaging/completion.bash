# shellcheck shell=bash
# Completion of millpond for bash. The program itself says what comes next (`millpond complete`), so that nothing here
# is out of date: its commands and options, and the names of pools and servers of the one that runs.
_millpond()
{
    local line=${COMP_LINE:0:COMP_POINT} words typed before
    line=${line#*"${COMP_WORDS[0]}"}
    read -ra words <<<"$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    typed=${words[${#words[@]} - 1]}
    mapfile -t COMPREPLY < <("${COMP_WORDS[0]}" complete "${words[@]}" 2>/dev/null)
    if [[ ${COMPREPLY[*]} == :files ]]; then
        COMPREPLY=()
        compopt -o default
        return
    fi
    # To bash a word begins behind the last colon or equals sign.
    before=${typed%"${typed##*[:=]}"}
    COMPREPLY=("${COMPREPLY[@]%%$'\t'*}")
    COMPREPLY=("${COMPREPLY[@]#"$before"}")
}
complete -F _millpond millpond
