#!/bin/sh
# end to end: the public commands against a real sshd and runner on loopback
. tests/lib/suite.sh
# shellcheck disable=SC2086 # lists of words
need 'run the end-to-end tests' $PACKAGES_RUN $PACKAGES_TEST
build "$BUILD"
CREEL_BUILD=$BUILD
export CREEL_BUILD
if_jails "e2e: all files" bats_files tests/e2e/*.bats
