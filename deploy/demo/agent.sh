#!/bin/sh
# The demo's first task plays a coding agent with this. It is told nothing about the fault. It runs
# the unit tests, takes the source file that a failing test mirrors (tests/unit/test_X.c tests X.c),
# and turns one comparison at a time into its neighbour until the test passes.
set -eu
BUILD=/tmp/agent
export BUILD

suspect_of()
{
    find proto common -name "${1#test_}.c" | head -n 1
}

# Every line with a comparison, with every way to turn it: "LINE sed-expression".
mutations()
{
    grep -nE '[^-<>=!](<|>|<=|>=|==|!=) ' "$1" | grep -v '#include' | while IFS=: read -r line text; do
        case $text in *' < '*) echo "$line s/ < / <= /" ;; esac
        case $text in *' <= '*) echo "$line s/ <= / < /" ;; esac
        case $text in *' > '*) echo "$line s/ > / >= /" ;; esac
        case $text in *' >= '*) echo "$line s/ >= / > /" ;; esac
        case $text in *' == '*) echo "$line s/ == / != /" ;; esac
        case $text in *' != '*) echo "$line s/ != / == /" ;; esac
    done
}

repair()
{
    cp "$1" /tmp/broken.c
    mutations /tmp/broken.c >/tmp/mutations
    echo "agent: $(wc -l </tmp/mutations) comparisons to doubt in $1"
    while read -r line change; do
        sed "$line$change" /tmp/broken.c >"$1"
        # A mutant may loop for ever.
        if timeout 20 sh deploy/demo/unit.sh "$2" >/tmp/out 2>&1; then
            echo "agent: line $line, $change: the test passes"
            return 0
        fi
    done </tmp/mutations
    cp /tmp/broken.c "$1"
    return 1
}

echo 'agent: running the unit tests'
sh deploy/demo/unit.sh test_id test_state test_buf >/tmp/report 2>&1 && { echo 'agent: nothing is broken'; exit 0; }
cat /tmp/report
failing=$(sed -n 's/^FAIL //p' /tmp/report | head -n 1)
[ -n "$failing" ] || exit 1
suspect=$(suspect_of "$failing")
echo "agent: $failing fails, which tests $suspect"
repair "$suspect" "$failing" || { echo 'agent: found no repair'; exit 1; }
git diff --stat
