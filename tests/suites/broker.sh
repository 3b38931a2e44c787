#!/bin/sh
# the credential broker end to end: model calls with the key swapped, money, faults, secrets, forges, git
. tests/lib/suite.sh
# shellcheck disable=SC2086 # lists of words
need 'run the end-to-end tests' $PACKAGES_RUN $PACKAGES_TEST $PACKAGES_NET
build "$BUILD"
CREEL_BUILD=$BUILD
export CREEL_BUILD
if_jails "broker: all files" bats_files tests/broker/*.bats
