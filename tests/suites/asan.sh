#!/bin/sh
# AddressSanitizer and UBSan: the unit tests and a slice of end to end
. tests/lib/suite.sh
# shellcheck disable=SC2086 # lists of words
need 'run the end-to-end tests' $PACKAGES_RUN $PACKAGES_TEST $PACKAGES_NET
build "$BUILD_ASAN" -Db_sanitize=address,undefined -Db_lundef=false -Dbuildtype=debugoptimized
# halt_on_error: a report is a failure, not a remark. A leak check needs ptrace, which a confined
# child does not have; the unit tests make up for it.
UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
ASAN_OPTIONS=abort_on_error=1:detect_leaks=1
export UBSAN_OPTIONS ASAN_OPTIONS
meson_tests "$BUILD_ASAN" asan --timeout-multiplier 4
ASAN_OPTIONS=abort_on_error=1:detect_leaks=0
CREEL_BUILD=$BUILD_ASAN
export ASAN_OPTIONS CREEL_BUILD
if_jails "asan: all files" bats_files tests/e2e/run.bats tests/e2e/review.bats \
    tests/broker/git.bats tests/broker/forge.bats
