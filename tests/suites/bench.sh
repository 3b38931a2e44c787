#!/bin/sh
# a table of medians and ratios against ssh, bubblewrap, git and tinyproxy; asserts nothing (not run by default)
. tests/lib/suite.sh
# shellcheck disable=SC2086 # lists of words
need 'measure' $PACKAGES_RUN $PACKAGES_TEST $PACKAGES_BENCH
build "$BUILD"
CREEL_BUILD=$BUILD
export CREEL_BUILD
bash tests/bench/run && pass 'bench: the table above'
bash tests/bench/broker && pass 'bench: the broker, the table above'
