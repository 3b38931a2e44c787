# shellcheck shell=sh disable=SC2034
# What every suite uses: saying how a test ended, building, packages. Sourced by tests/suites/*.sh,
# which tests/run starts in the project's root with CREEL_ROOT and CREEL_TALLY set.

CREEL_ROOT=${CREEL_ROOT:-$(pwd)}
CREEL_TALLY=${CREEL_TALLY:-/dev/null}
BUILD=${CREEL_BUILD:-$CREEL_ROOT/build}
BUILD_ASAN=${CREEL_BUILD_ASAN:-$CREEL_ROOT/build-asan}
BUILD_FUZZ=${CREEL_BUILD_FUZZ:-$CREEL_ROOT/build-fuzz}
JOBS=$(nproc)
FILE_SECONDS=${CREEL_FILE_SECONDS:-1200}

# shellcheck source=deploy/lib/packages.sh
. "$CREEL_ROOT/deploy/lib/packages.sh"

pass()
{
    echo "pass $*" | tee -a "$CREEL_TALLY"
}

fail()
{
    echo "fail $*" | tee -a "$CREEL_TALLY"
}

# skip TEST REASON
skip()
{
    echo "skip $1: $2" | tee -a "$CREEL_TALLY"
}

# check NAME COMMAND... : passes when the command does; its output shows only when not.
check()
{
    check_name=$1
    check_out=$(mktemp)
    shift
    if "$@" >"$check_out" 2>&1; then
        pass "$check_name"
    else
        tail -n 60 "$check_out"
        fail "$check_name"
    fi
    rm -f "$check_out"
}

need()
{
    packages_need "$@" || { fail "packages to $1"; exit 1; }
}

# build DIR [MESON FLAGS...] : configures once, builds everything.
build()
{
    # shellcheck disable=SC2086 # lists of words
    need 'build creel' $PACKAGES_BUILD
    build_dir=$1
    shift
    if [ ! -f "$build_dir/build.ninja" ]; then
        meson setup "$build_dir" "$@" >"$build_dir.log" 2>&1 ||
            { tail -n 30 "$build_dir.log"; rm -f "$build_dir.log"; fail "meson setup $build_dir"; exit 1; }
        rm -f "$build_dir.log"
    fi
    if ! ninja -C "$build_dir" >"$build_dir/ninja.log" 2>&1; then
        grep -E 'error|warning|FAILED' -A 6 "$build_dir/ninja.log" | head -n 60
        fail "build of $build_dir"
        exit 1
    fi
    pass "builds with warnings as errors: $(basename "$build_dir")"
}

# tap PREFIX : counts what a TAP stream on stdin says and shows what is not plainly ok.
tap()
{
    while IFS= read -r tap_line; do
        case $tap_line in
        'ok '*' # skip'*)
            tap_rest=${tap_line#ok * }
            skip "$1: ${tap_rest%% # skip*}" "$(printf '%s' "${tap_line#*# skip}" | sed 's/^[ (]*//; s/)$//')"
            ;;
        'ok '*) pass "$1: ${tap_line#ok * }" ;;
        'not ok '*) fail "$1: ${tap_line#not ok * }" ;;
        1..*) ;;
        *) printf '    %s\n' "$tap_line" ;;
        esac
    done
}

# bats_files FILE... : runs bats files, JOBS at a time, each in a directory of its own. One that hangs is ended
# after FILE_SECONDS and has failed; what it printed says in which test. All of its processes are told, so that
# its teardown_file takes down what it had put up; so they are when somebody presses Ctrl-C.
bats_files()
{
    bats_out=$(mktemp -d)
    # shellcheck disable=SC2016 # for the inner sh
    printf '%s\n' "$@" | xargs -P "$JOBS" -I{} sh -c '
        started=$(date +%s)
        env --default-signal=INT,QUIT timeout -k 30 "$3" bats --tap "$1" >"$2/$(basename "$1" .bats).tap" 2>&1 &
        trap "kill $!; exit 130" INT TERM
        wait $!
        echo "$? $(($(date +%s) - started))" >"$2/$(basename "$1" .bats).status"' \
        sh {} "$bats_out" "$FILE_SECONDS"
    for bats_file in "$@"; do
        bats_name=$(basename "$bats_file" .bats)
        tap "$bats_name" <"$bats_out/$bats_name.tap"
        read -r bats_status bats_took <"$bats_out/$bats_name.status"
        printf '    %s took %d s\n' "$bats_name" "$bats_took"
        # bats dies without a "not ok" when a file does not even parse.
        case $bats_status in
        0) ;;
        124 | 137) fail "$bats_name: hangs after the last test named above; ended after $FILE_SECONDS s" ;;
        *) grep -q '^not ok' "$bats_out/$bats_name.tap" || fail "$bats_name: bats ended early" ;;
        esac
    done
    rm -rf "$bats_out"
}

# if_jails NAME COMMAND... : runs it where this machine can make jails at all, else says why not.
if_jails()
{
    # shellcheck source=deploy/lib/throwaway.sh
    if (. "$CREEL_ROOT/deploy/lib/throwaway.sh" && throwaway_userns); then
        shift
        "$@"
    else
        skip "$1" 'this kernel or container forbids the namespaces that a jail is made of (sh deploy/try says more)'
    fi
}

# meson_tests DIR PREFIX [MESON TEST FLAGS...] : runs and counts them.
meson_tests()
{
    meson_dir=$1
    meson_prefix=$2
    shift 2
    meson test -C "$meson_dir" --no-rebuild --print-errorlogs "$@" >"$meson_dir/tests.log" 2>&1 ||
        grep -v '^ *[0-9]*/[0-9]* .* OK ' "$meson_dir/tests.log" | tail -n 80
    # The summary at the end repeats the failures.
    sed -n -e '/^Summary of Failures/q' -e 's|^ *[0-9]*/[0-9]* \(.*\)$|\1|p' "$meson_dir/tests.log" \
        >"$meson_dir/tests.lines"
    while IFS= read -r meson_line; do
        meson_name=$(printf '%s' "$meson_line" | sed 's/  *\(OK\|FAIL\|SKIP\|TIMEOUT\|ERROR\|EXPECTEDFAIL\).*//; s|^.*:fuzz-corpus / |corpus of |; s|^.* / ||')
        case $meson_line in
        *' OK '*) pass "$meson_prefix: $meson_name" ;;
        *' SKIP '*) skip "$meson_prefix: $meson_name" 'it exits 77; run it by hand to see why' ;;
        *' FAIL '* | *' TIMEOUT '* | *' ERROR '*) fail "$meson_prefix: $meson_name" ;;
        esac
    done <"$meson_dir/tests.lines"
}
