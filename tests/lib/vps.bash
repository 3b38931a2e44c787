# shellcheck shell=bash
# What every test on a real VPS uses, beside tests/lib/e2e.bash: a host made by deploy/install, enrolled
# as "vps" by an operator of its own. E2E, REPO and `creel` are as in e2e.bash; nothing of the host is
# this machine's but what `on_vps` runs there.

vps()
{
    # shellcheck disable=SC2153 # e2e.bash's
    python3 "$CREEL_ROOT/tests/vps/vps" "$@"
}

# on_vps CMD : runs CMD as root on the host.
on_vps()
{
    vps ssh "$VPS" "$@"
}

# vps_wait SECONDS CMD... : as throwaway_wait, but by the clock: a command there takes its time.
vps_wait()
{
    vps_until=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$vps_until" ] || return 1
        sleep 0.2
    done
}

# vps_host_up [SLOTS [KERNEL-ARGUMENT...]] : with kernel arguments it boots from power-on, which takes longer.
vps_host_up()
{
    vps_slots=${1:-1}
    [ $# -eq 0 ] || shift
    E2E=$(mktemp -d "${TMPDIR:-/tmp}/creel-vps.XXXXXX")
    export E2E REPO="$E2E/repo" CREEL_STATE="$E2E/state" CREEL_HOST=vps CREEL_PAGER=cat VPS="creel-${E2E##*.}"
    export PATH="$THROWAWAY_BIN/controller:$PATH"
    unset CREEL_ALLOW_UNENFORCED
    e2e_git_env
    make_repo "$REPO"
    if [ $# -eq 0 ]; then
        vps up "$VPS" 3>&-
    else
        vps cold "$VPS" "$@" 3>&-
    fi
    VPS_DIR=${CREEL_VPS_DIR:-$HOME/.cache/creel-vps-test}/$VPS
    export VPS_DIR
    creel init >"$E2E/init.log"
    mkdir "$E2E/kit"
    cp -R "$CREEL_ROOT/deploy" "$THROWAWAY_BIN/runner/creel-runner" "$THROWAWAY_BIN/runner/creel-runner-tree" "$E2E/kit/"
    strip "$E2E/kit/creel-runner" "$E2E/kit/creel-runner-tree"
    creel key show --ssh >"$E2E/kit/controllers"
    creel key show --login >"$E2E/kit/login.pub"
    vps put "$VPS" "$E2E/kit" /root/kit
    on_vps "cd /root/kit && sh deploy/install --bin . --controllers controllers --login login.pub --slots $vps_slots"
    throwaway_wait 20 creel host add vps "creel@127.0.0.1:$(cat "$VPS_DIR/port")" --host-key "$VPS_DIR/host_key.pub"
}

vps_host_down()
{
    creel serve --stop >/dev/null 2>&1 || true
    if [ -n "${CREEL_E2E_KEEP:-}" ]; then
        echo "# kept: $E2E, VPS $VPS" >&3
        return
    fi
    vps down "$VPS"
    rm -rf "$E2E"
}
