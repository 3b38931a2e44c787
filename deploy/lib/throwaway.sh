# shellcheck shell=sh
# A throwaway host on this machine: an sshd of its own on a free port of 127.0.0.1, a runner behind
# it, and an operator's state directory that has it enrolled. For the demo and the tests. Everything
# is below one directory, nothing of the system's or the user's own configuration is read.
#
#   DIR/host/      the host's side: host_key, sshd_config, authorized_keys, controllers, logs
#   DIR/host/state the runner's state directory; DIR/host/rundir names its run directory
#   DIR/state      the operator's state directory (0700)
#   DIR/env        to source: PATH, CREEL_STATE, CREEL_HOST, what may go unenforced here
#
# The caller sets THROWAWAY_ROOT to the project and THROWAWAY_BIN to its build directory.
# THROWAWAY_RUNNER_FLAGS adds runner flags, THROWAWAY_RUNNER_UNDER is a command that execs the runner.

THROWAWAY_HOST=throwaway

throwaway_die()
{
    echo "creel: $*" >&2
    return 1
}

# throwaway_wait SECONDS COMMAND... : until it succeeds.
throwaway_wait()
{
    throwaway_tries=$(($1 * 20))
    shift
    while [ "$throwaway_tries" -gt 0 ]; do
        if "$@" >/dev/null 2>&1; then
            return 0
        fi
        sleep 0.05
        throwaway_tries=$((throwaway_tries - 1))
    done
    return 1
}

throwaway_alive()
{
    [ -s "$1" ] && kill -0 "$(cat "$1")" 2>/dev/null
}

throwaway_gone()
{
    ! kill -0 "$1" 2>/dev/null
}

# throwaway_end PIDFILE : ends a process that we started, politely, then not.
throwaway_end()
{
    if throwaway_alive "$1"; then
        throwaway_pid=$(cat "$1")
        kill "$throwaway_pid" 2>/dev/null || true
        throwaway_wait 10 throwaway_gone "$throwaway_pid" || kill -9 "$throwaway_pid" 2>/dev/null || true
    fi
    rm -f "$1"
}

# May processes of ours make what a jail is made of? Some kernels keep user namespaces from users, some
# containers keep all namespaces, or a fresh /proc, from everybody.
throwaway_userns()
{
    # A profile for the runner alone says nothing about unshare.
    [ -e /etc/apparmor.d/creel-runner ] ||
        unshare --user --map-root-user --mount --pid --net --fork --mount-proc true 2>/dev/null
}

throwaway_userns_help()
{
    if [ "$(id -u)" -eq 0 ]; then
        cat >&2 <<'TEXT'
creel: this kernel or container forbids namespaces even to root, and a jail is made of them.
  - a real machine or virtual machine has them; or
  - a container that may: docker run --privileged, or --security-opt seccomp=unconfined
    --security-opt systempaths=unconfined --cap-add SYS_ADMIN
TEXT
        return
    fi
    cat >&2 <<'TEXT'
creel: this kernel forbids user namespaces to users like you, and a runner that is not root needs them.
  - run this as root (sudo), as a real host does: there the jail's maker is root; or
  - Ubuntu 24.04: allow just the runner: install deploy/apparmor/creel-runner (its head says how); or
  - Debian with kernel.unprivileged_userns_clone=0: sudo sysctl -w kernel.unprivileged_userns_clone=1
TEXT
}

# The names of limits that this kernel cannot enforce, as --allow-unenforced wants them.
throwaway_unenforced()
{
    CREEL_STATE="$1/state" "$THROWAWAY_BIN/controller/creel" host ls --json |
        python3 -c '
import json, sys
print(",".join(json.load(sys.stdin)["hosts"][0]["unenforceable"]))'
}

# throwaway_keys DIR : directories, the operator's identity, the host's key.
throwaway_keys()
{
    # Root's runner becomes "nobody" and must get to its own directories, and only there.
    mkdir -p "$1/host" && chmod 711 "$1" "$1/host" || return 1
    "$THROWAWAY_BIN/controller/creel" --state "$1/state" init >"$1/init.log" 2>&1 ||
        throwaway_die "creel init: $(cat "$1/init.log")" || return 1
    ssh-keygen -q -t ed25519 -N '' -C throwaway -f "$1/host/host_key" || return 1
    "$THROWAWAY_BIN/controller/creel" --state "$1/state" key show --ssh >"$1/host/controllers" || return 1
    cp "$1/state/keys/ssh_key.pub" "$1/host/authorized_keys"
    chmod 644 "$1/host/controllers" "$1/host/authorized_keys"
}

# throwaway_run DIR : the runner's run directory. On memory where there is enough of it, so that a log's
# blocks do not stay on a disk.
throwaway_run()
{
    if [ ! -s "$1/host/rundir" ]; then
        throwaway_free=$(df -k --output=avail,fstype /dev/shm 2>/dev/null | awk '$2 == "tmpfs" { print $1 }')
        if [ "${throwaway_free:-0}" -gt 500000 ] && [ -w /dev/shm ]; then
            throwaway_shm=$(mktemp -d /dev/shm/creel-run.XXXXXX) && chmod 711 "$throwaway_shm"
            echo "$throwaway_shm/run" >"$1/host/rundir"
        else
            echo "$1/host/run" >"$1/host/rundir"
        fi
    fi
    cat "$1/host/rundir"
}

# throwaway_runner DIR : starts `creel-runner serve`; its output goes to DIR/host/runner.log.
throwaway_runner()
{
    set -- "$1" --state "$1/host/state" --run "$(throwaway_run "$1")" --host-key "$1/host/host_key.pub" \
        --controllers "$1/host/controllers"
    throwaway_dir=$1
    shift
    if [ "$(id -u)" -eq 0 ]; then
        set -- "$@" --user nobody
    fi
    # shellcheck disable=SC2086 # a list of flags
    setsid ${THROWAWAY_RUNNER_UNDER:-} "$THROWAWAY_BIN/runner/creel-runner" serve "$@" ${THROWAWAY_RUNNER_FLAGS:-} \
        </dev/null >>"$throwaway_dir/host/runner.log" 2>&1 3>&- &
    echo $! >"$throwaway_dir/host/runner.pid"
    throwaway_wait 10 test -S "$(throwaway_run "$throwaway_dir")/runner.sock" ||
        throwaway_die "the runner did not start: $(tail -n 3 "$throwaway_dir/host/runner.log")"
}

throwaway_sshd_config()
{
    # shellcheck disable=SC2153 # the caller's
    sed -e "s|@RUNNER@|$THROWAWAY_BIN/runner/creel-runner|" -e "s|@RUN@|$(throwaway_run "$1")|" \
        -e '/^#/d' -e '/^Match/d' -e '/AuthorizedKeysFile/d' -e 's/^    //' "$THROWAWAY_ROOT/deploy/sshd_creel.conf"
    cat <<TEXT
Port $2
ListenAddress 127.0.0.1
HostKey $1/host/host_key
AuthorizedKeysFile $1/host/authorized_keys
PidFile none
UsePAM no
StrictModes no
UseDNS no
PermitRootLogin yes
LogLevel VERBOSE
MaxStartups 100
SetEnv HOME=$1/host/empty
TEXT
    # sshd runs the forced command by the account's login shell, and a bash there would read the start-up
    # files of whoever runs this, for every single channel.
    mkdir -p "$1/host/empty"
}

throwaway_listens()
{
    grep -q '^Server listening on' "$1"
}

throwaway_sshd_settled()
{
    throwaway_listens "$1" || ! throwaway_alive "$2"
}

# throwaway_sshd DIR [PORT] : starts sshd on PORT or a free port; the port is left in DIR/host/port.
throwaway_sshd()
{
    throwaway_sshd=$(command -v sshd || echo /usr/sbin/sshd)
    # sshd wants this when root starts it, and only its service file would make it.
    if [ "$(id -u)" -eq 0 ] && [ ! -d /run/sshd ]; then
        mkdir -m 755 /run/sshd || return 1
    fi
    for _ in 1 2 3 4 5 6 7 8; do
        throwaway_port=${2:-$((20000 + $(od -An -N2 -tu2 /dev/urandom) % 40000))}
        throwaway_sshd_config "$1" "$throwaway_port" >"$1/host/sshd_config"
        : >"$1/host/sshd.log"
        setsid "$throwaway_sshd" -D -e -f "$1/host/sshd_config" </dev/null >>"$1/host/sshd.log" 2>&1 3>&- &
        echo $! >"$1/host/sshd.pid"
        throwaway_wait 10 throwaway_sshd_settled "$1/host/sshd.log" "$1/host/sshd.pid" || true
        if throwaway_listens "$1/host/sshd.log"; then
            echo "$throwaway_port" >"$1/host/port"
            return 0
        fi
        throwaway_end "$1/host/sshd.pid"
        grep -q 'Address already in use' "$1/host/sshd.log" || break
    done
    throwaway_die "sshd did not start: $(tail -n 3 "$1/host/sshd.log")"
}

# throwaway_sshd_end DIR : ends sshd and every session it serves.
throwaway_sshd_end()
{
    if throwaway_alive "$1/host/sshd.pid"; then
        # Sessions are children of the listener and outlive it.
        throwaway_sessions=$(pgrep -P "$(cat "$1/host/sshd.pid")" || true)
        throwaway_end "$1/host/sshd.pid"
        for throwaway_pid in $throwaway_sessions; do
            kill "$throwaway_pid" 2>/dev/null || true
        done
    fi
    rm -f "$1/host/sshd.pid"
}

throwaway_address()
{
    echo "$(id -un)@127.0.0.1:$(cat "$1/host/port")"
}

# throwaway_env DIR : writes DIR/env, which makes `creel` work as typed.
throwaway_env()
{
    cat >"$1/env" <<TEXT
# Source this: . $1/env
PATH='$THROWAWAY_BIN/controller:$THROWAWAY_BIN/runner':\$PATH
CREEL_STATE='$1/state'
CREEL_HOST='$THROWAWAY_HOST'
CREEL_ALLOW_UNENFORCED='$(throwaway_unenforced "$1")'
export PATH CREEL_STATE CREEL_HOST CREEL_ALLOW_UNENFORCED
TEXT
}

# throwaway_up DIR : all of it, quietly, enrolled and ready.
throwaway_up()
{
    throwaway_keys "$1" && throwaway_runner "$1" && throwaway_sshd "$1" || return 1
    "$THROWAWAY_BIN/controller/creel" --state "$1/state" host add "$THROWAWAY_HOST" \
        "$(throwaway_address "$1")" --host-key "$1/host/host_key.pub" >"$1/enrol.log" 2>&1 ||
        throwaway_die "creel host add: $(cat "$1/enrol.log")" || return 1
    throwaway_env "$1"
}

# throwaway_down DIR : ends everything and removes DIR.
throwaway_down()
{
    if [ -d "$1/state" ]; then
        "$THROWAWAY_BIN/controller/creel" --state "$1/state" serve --stop >/dev/null 2>&1 || true
    fi
    throwaway_sshd_end "$1"
    throwaway_end "$1/host/runner.pid"
    case $(cat "$1/host/rundir" 2>/dev/null) in
    /dev/shm/creel-run.*/run) rm -rf "$(dirname "$(cat "$1/host/rundir")")" ;;
    esac
    rm -rf "$1"
}
