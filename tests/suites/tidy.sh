#!/bin/sh
# clang-format, clang-tidy, cppcheck, shellcheck: not one remark
. tests/lib/suite.sh
# shellcheck disable=SC2086 # lists of words
need 'check the sources' $PACKAGES_TIDY
build "$BUILD"

sources()
{
    git ls-files --cached --others --exclude-standard "$@" | while IFS= read -r file; do
        [ ! -f "$file" ] || echo "$file"
    done
}

shell_files()
{
    sources deploy tests .ci | while IFS= read -r file; do
        case $file in
        *.bats | *.bash) ;;
        *) ! head -n 1 "$file" | grep -aqE '^#!.*\bsh$|^#!.*bash|^# shellcheck shell=' || echo "$file" ;;
        esac
    done
}

format()
{
    sources '*.c' '*.h' | xargs -n 40 -P "$JOBS" clang-format --dry-run -Werror
}

shells()
{
    shell_files | xargs shellcheck -x
}

# Only what meson compiles has a line in the compile database.
compiled()
{
    python3 -c '
import json, os, sys
for unit in json.load(open(sys.argv[1] + "/compile_commands.json")):
    print(os.path.realpath(os.path.join(unit["directory"], unit["file"])))
' "$BUILD" | sort -u | grep "^$(pwd -P)/\(proto\|common\|runner\|controller\)/"
}

tidy()
{
    compiled | xargs -n 4 -P "$JOBS" clang-tidy -p "$BUILD" --quiet --warnings-as-errors='*' \
        --config-file=tests/clang-tidy.yaml 2>"$tidy_said"
    tidy_status=$?
    # What it says of headers that are not ours would push what matters out of sight.
    grep -v 'warnings\{0,1\} generated\.$' "$tidy_said"
    return $tidy_status
}

cpp()
{
    cppcheck --quiet --error-exitcode=1 --std=c11 -j "$JOBS" -I . --inline-suppr \
        --enable=warning,portability --suppress=missingInclude --suppress=missingIncludeSystem \
        --suppress=normalCheckLevelMaxBranches --suppress=unknownMacro --suppress=internalAstError -D_GNU_SOURCE \
        proto common runner controller
}

tidy_said=$(mktemp)
trap 'rm -f "$tidy_said"' EXIT
check 'tidy: clang-format' format
check 'tidy: shellcheck' shells
check 'tidy: cppcheck' cpp
check 'tidy: clang-tidy' tidy
