#!/bin/sh
# a real VPS under QEMU: limits by cgroup v2, the installed service, hostile probes, the wipe, a reboot
. tests/lib/suite.sh

# The VPS is Debian 12 and runs the binaries built here.
. /etc/os-release
if [ "${ID:-}:${VERSION_ID:-}" != debian:12 ]; then
    skip vps "the VPS runs Debian 12 and the binaries built here are for ${PRETTY_NAME:-another system}"
    exit 0
fi
if [ "$(id -u)" -ne 0 ]; then
    skip vps 'making its image needs root'
    exit 0
fi
# shellcheck disable=SC2086 # lists of words
if ! packages_need 'run a VPS' $PACKAGES_VPS $PACKAGES_TEST; then
    skip vps 'QEMU and what makes its image cannot be installed here'
    exit 0
fi
build "$BUILD"
CREEL_BUILD=$BUILD
export CREEL_BUILD
if ! python3 tests/vps/vps build; then
    skip vps 'its image could not be made (no package mirror in reach?)'
    exit 0
fi
# All at once: each waits for its host more than it computes.
JOBS=3
bats_files tests/vps/*.bats
