#compdef millpond
# Completion of millpond for zsh. The program itself says what comes next (`millpond complete`), so that nothing here
# is out of date: its commands and options, and the names of pools and servers of the one that runs.
local line text
local -a lines offers before
before=("${(@Q)words[2,CURRENT-1]}")
(( CURRENT > 2 )) || before=()
lines=("${(@f)$("${(Q)words[1]}" complete "${before[@]}" "$PREFIX" 2>/dev/null)}")
if [[ $lines[1] == :files ]]; then
    _files
    return
fi
for line in "${lines[@]}"; do
    [[ -n $line ]] || continue
    text=${line#*$'\t'}
    line=${line%%$'\t'*}
    offers+=("${line//:/\\:}${text:+:$text}")
done
_describe millpond offers
