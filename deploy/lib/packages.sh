# shellcheck shell=sh disable=SC2034 # the lists are for whoever sources this
# Which packages of the distribution creel needs, and how missing ones are installed. Nothing comes
# from anywhere else, and nothing is installed when all are there.

PACKAGES_BUILD="gcc libc6-dev meson ninja-build pkg-config git libcjson-dev libcmocka-dev libcurl4-openssl-dev libgit2-dev
 libseccomp-dev libsodium-dev libsqlite3-dev libssh-dev libssl-dev libuv1-dev"
PACKAGES_RUN="git openssh-client openssh-server perl-base procps util-linux"
PACKAGES_TEST="bats bubblewrap jq openssl python3 skopeo sqlite3 umoci"
PACKAGES_NET="nginx-light fcgiwrap iproute2 curl wget openssl python3 util-linux"
PACKAGES_BENCH="iproute2 tinyproxy-bin"
# For tests only, and not for a machine that somebody works on.
PACKAGES_CI="busybox-static cargo default-jdk-headless golang-go"
PACKAGES_TIDY="clang clang-format clang-tidy cppcheck shellcheck"
PACKAGES_FUZZ="clang"
PACKAGES_VPS="qemu-system-x86 qemu-utils mmdebstrap e2fsprogs kmod cpio lz4 zstd xz-utils"

# packages_missing NAME... : prints those that are not installed. pkg-config may be pkgconf.
packages_missing()
{
    for package in "$@"; do
        case $(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null) in
        ii*) ;;
        *)
            case $package in
            pkg-config) command -v pkg-config >/dev/null || echo "$package" ;;
            *) echo "$package" ;;
            esac
            ;;
        esac
    done
}

packages_as_root()
{
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        echo "creel: not root and no sudo here; as root: $*" >&2
        return 1
    fi
}

# An sshd that comes as a side effect must not start listening on port 22 of this machine, now or at
# the next boot.
packages_hold_sshd()
{
    if [ -d /run/systemd/system ]; then
        echo "the system's own ssh service stays off (systemctl unmask ssh turns it on)" >&2
        packages_as_root systemctl mask ssh.service ssh.socket >/dev/null 2>&1 || true
    fi
}

# packages_need WHAT-FOR NAME... : installs what is missing, and says so first.
packages_need()
{
    packages_for=$1
    shift
    if ! command -v apt-get >/dev/null; then
        echo "creel: no apt-get here; needed to $packages_for: $*" >&2
        return 1
    fi
    packages_want=$(packages_missing "$@" | sort -u | tr '\n' ' ')
    [ -n "$packages_want" ] || return 0
    echo "to $packages_for, installing from the distribution: $packages_want" >&2
    case " $packages_want" in
    *" openssh-server "*) packages_hold_sshd ;;
    esac
    # A policy that starts no service, unless the machine has one of its own.
    packages_policy=
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        packages_policy=$(mktemp)
        printf '#!/bin/sh\nexit 101\n' >"$packages_policy"
        packages_as_root install -m 755 "$packages_policy" /usr/sbin/policy-rc.d || return 1
    fi
    packages_status=0
    # shellcheck disable=SC2086 # a list of words
    { [ -n "$(find /var/lib/apt/lists -name '*_Packages*' -print 2>/dev/null | head -n 1)" ] &&
        packages_install $packages_want; } ||
        { packages_as_root apt-get update -qq >&2 && packages_install $packages_want; } ||
        packages_status=$?
    if [ -n "$packages_policy" ]; then
        packages_as_root rm -f /usr/sbin/policy-rc.d
        rm -f "$packages_policy"
    fi
    return $packages_status
}

packages_install()
{
    packages_as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "$@" </dev/null >/dev/null
}
