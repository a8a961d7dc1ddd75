# Completion of millpond for fish. The program itself says what comes next (`millpond complete`), so that nothing here
# is out of date: its commands and options, and the names of pools and servers of the one that runs.
function __millpond_complete
    set -l words (commandline -opc)
    set -l typed (commandline -ct)
    set -l lines (command $words[1] complete $words[2..-1] "$typed" 2>/dev/null)
    if test "$lines" = :files
        __fish_complete_path "$typed"
    else
        string join \n $lines
    end
end
complete -c millpond -f -a '(__millpond_complete)'
