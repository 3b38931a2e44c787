#!/bin/sh
# Builds and runs some unit tests of this repository: sh deploy/demo/unit.sh test_id ...
# Run by the demo's first task, inside the jail, in a build directory of its own.
set -eu
build=${BUILD:-/tmp/unit}
if [ ! -f "$build/build.ninja" ]; then
    meson setup "$build" . >"$build.log" 2>&1 || { cat "$build.log"; exit 1; }
fi
for test in "$@"; do
    set -- "$@" "tests/unit/$test"
    shift
done
ninja -C "$build" "$@" >"$build.log" 2>&1 || { cat "$build.log"; exit 1; }
failed=
for test in "$@"; do
    if "$build/$test" >"$build.out" 2>&1; then
        echo "pass ${test##*/}"
    else
        failed="$failed ${test##*/}"
        echo "FAIL ${test##*/}"
        grep -F '[  FAILED  ]' "$build.out" | head -n 3 || true
    fi
done
[ -z "$failed" ]
