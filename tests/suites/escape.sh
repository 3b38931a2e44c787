#!/bin/sh
# attacks on real jails, each judged from outside; with --vps on a real VPS, with every limit in force
. tests/lib/suite.sh
# shellcheck disable=SC2086 # lists of words
need 'attack jails' $PACKAGES_RUN $PACKAGES_TEST

where=
if [ "${CREEL_ESCAPE_VPS:-0}" = 1 ]; then
    # shellcheck source=/etc/os-release
    . /etc/os-release
    if [ "${ID:-}:${VERSION_ID:-}" != debian:12 ] || [ "$(id -u)" -ne 0 ]; then
        skip escape 'the VPS runs Debian 12 and the binaries built here; its image is made by root on Debian 12'
        exit 0
    fi
    # shellcheck disable=SC2086 # lists of words
    need 'run a VPS' $PACKAGES_VPS
    where=--vps
fi
build "$BUILD"
CREEL_BUILD=$BUILD
export CREEL_BUILD
if [ -n "$where" ] && ! python3 tests/vps/vps build; then
    skip escape 'the image of the VPS could not be made (no package mirror in reach?)'
    exit 0
fi

attacks()
{
    escape_out=$(mktemp)
    { python3 tests/escape/escape $where; echo "$?" >"$escape_out"; } | tap escape
    status=$(cat "$escape_out")
    rm -f "$escape_out"
    return "$status"
}

if_jails 'escape: all attacks' attacks
