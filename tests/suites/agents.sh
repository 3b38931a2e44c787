#!/bin/sh
# real coding agents against a mock provider: of a plain run Codex alone, by name all of them (1 GB of packages)
. tests/lib/suite.sh
# shellcheck disable=SC2086 # lists of words
need 'run the end-to-end tests' $PACKAGES_RUN $PACKAGES_TEST
build "$BUILD"
CREEL_BUILD=$BUILD
export CREEL_BUILD
if [ "${CREEL_AGENTS_ALL:-0}" = 1 ]; then
    if_jails "agents: all files" bats_files tests/agents/*.bats
    exit
fi
if_jails "agents: codex" bats_files tests/agents/codex.bats
for agent in tests/agents/*.bats; do
    agent=$(basename "$agent" .bats)
    [ "$agent" = codex ] || skip "agents: $agent" 'large packages; sh tests/run agents'
done
