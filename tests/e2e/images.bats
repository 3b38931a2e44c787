# Root file systems of the operator's: made by deploy/image, named by a task, shared by attempts.
load ../lib/e2e

setup_file()
{
    command -v busybox >/dev/null || skip_file 'no busybox here to make an image of (apt-get install busybox-static)' || return 0
    command -v umoci >/dev/null && command -v skopeo >/dev/null || skip_file 'no umoci and skopeo here' || return 0
    export IMAGES
    IMAGES=$(mktemp -d "${TMPDIR:-/tmp}/creel-images.XXXXXX")
    oci_image "$IMAGES"
    sh "$CREEL_ROOT/deploy/image" --to "$IMAGES/store" small-1 "oci:$IMAGES/layout:small"
    mkdir -p "$IMAGES/store/open/bin"
    chmod 777 "$IMAGES/store/open"
    export THROWAWAY_RUNNER_FLAGS="--images $IMAGES/store"
    e2e_up
}

teardown_file()
{
    [ -z "${E2E:-}" ] || e2e_down
    [ -z "${IMAGES:-}" ] || rm -rf "$IMAGES"
}

teardown() { e2e_logs; }

# oci_image DIR : an OCI layout whose image is busybox, with a set-uid program and a file of its own.
oci_image()
{
    local rootless='' applet
    [ "$(id -u)" -eq 0 ] || rootless=--rootless
    umoci init --layout "$1/layout"
    umoci new --image "$1/layout:small"
    umoci unpack $rootless --image "$1/layout:small" "$1/bundle"
    mkdir -p "$1/bundle/rootfs/bin" "$1/bundle/rootfs/etc"
    cp "$(command -v busybox)" "$1/bundle/rootfs/bin/busybox"
    for applet in sh ls cat id touch env grep stat; do
        ln -s busybox "$1/bundle/rootfs/bin/$applet"
    done
    cp "$1/bundle/rootfs/bin/busybox" "$1/bundle/rootfs/bin/setuid"
    chmod 4755 "$1/bundle/rootfs/bin/setuid"
    echo 'made of an OCI image' >"$1/bundle/rootfs/etc/motd"
    umoci repack --image "$1/layout:small" "$1/bundle"
}

@test "an OCI image, unpacked by the usual tools, is the run's root" {
    exits 0 task --image small-1 --test 'grep -q OCI /etc/motd' -- \
        sh -c 'cat /etc/motd; id -un; [ -e /usr/bin/env ] || echo no-host; touch /etc/x || echo read-only; echo new >made'
    says 'made of an OCI image' agent no-host read-only
    in_state "$(newest)" succeeded
    creel review last --json | jq -e '.. | objects | select(.path? == "made")' >/dev/null
}

@test "nothing in it has another's identity" {
    exits 0 task --image small-1 -- stat -c %a /bin/setuid
    says 755
}

@test "an unknown image is refused, and those that exist are named" {
    exits 7 task --image none-such -- true
    says "there is no image 'none-such'" small-1
}

@test "a directory that others may write is no image" {
    exits 7 task --image open -- true
}

@test "an image is never changed: another of its name is an error" {
    exits 1 sh "$CREEL_ROOT/deploy/image" --to "$IMAGES/store" small-1 "$IMAGES/bundle/rootfs"
    says small-1 'another name'
    exits 2 sh "$CREEL_ROOT/deploy/image" --to "$IMAGES/store"
    exits 1 sh "$CREEL_ROOT/deploy/image" --to "$IMAGES/store" ../up "$IMAGES/bundle/rootfs"
    exits 1 sh "$CREEL_ROOT/deploy/image" --to "$IMAGES/store" .new "$IMAGES/bundle/rootfs"
}
