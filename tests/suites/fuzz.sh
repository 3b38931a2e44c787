#!/bin/sh
# libFuzzer over every parser of foreign bytes, from the kept corpus (--seconds N a target)
. tests/lib/suite.sh
# shellcheck disable=SC2086 # lists of words
need 'fuzz' $PACKAGES_FUZZ
CC=clang
export CC
build "$BUILD_FUZZ" -Dfuzz=true -Db_lundef=false

fuzz_one()
{
    name=$(basename "$1")
    short=${name#fuzz_}
    mkdir -p "$BUILD_FUZZ/corpus/$short" "$BUILD_FUZZ/crashes"
    set -- "$1" -max_total_time="$CREEL_FUZZ_SECONDS" -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="$BUILD_FUZZ/crashes/$short-"
    [ ! -f "tests/fuzz/$short.dict" ] || set -- "$@" -dict="tests/fuzz/$short.dict"
    set -- "$@" "$BUILD_FUZZ/corpus/$short"
    [ ! -d "tests/fuzz/corpus/$short" ] || set -- "$@" "tests/fuzz/corpus/$short"
    if "$@" >"$BUILD_FUZZ/$short.log" 2>&1; then
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$BUILD_FUZZ/$short.log")
        pass "fuzz: $short ($runs runs)"
    else
        tail -n 40 "$BUILD_FUZZ/$short.log"
        fail "fuzz: $short (see build-fuzz/crashes)"
    fi
}

found=0
running=0
for target in "$BUILD_FUZZ"/tests/fuzz/fuzz_*; do
    if [ ! -f "$target" ] || [ ! -x "$target" ]; then continue; fi
    found=$((found + 1))
    fuzz_one "$target" &
    running=$((running + 1))
    [ $((running % JOBS)) -ne 0 ] || wait
done
wait
[ "$found" -gt 0 ] || fail 'fuzz: no targets were built'
