#!/bin/sh
# the demo, deploy/try, as root or user, and --keep and --stop
. tests/lib/suite.sh
# shellcheck disable=SC2086 # lists of words
need 'run the demo' $PACKAGES_BUILD $PACKAGES_RUN
CREEL_BUILD=$BUILD
export CREEL_BUILD
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

demo()
{
    mkdir "$scratch/tmp"
    TMPDIR="$scratch/tmp" sh deploy/try && rmdir "$scratch/tmp"
}

keep_and_stop()
{
    sh deploy/try --keep "$scratch/kept" || return 1
    # shellcheck source=/dev/null # made by the line above
    (. "$scratch/kept/env" && cd "$CREEL_ROOT" && creel run --yes -- true)
    status=$?
    sh deploy/try --stop "$scratch/kept" && [ "$status" -eq 0 ] && [ ! -e "$scratch/kept" ]
}

# The demo must work for a plain user too; root makes one for a minute. sshd wants a real shell.
demo_as_user()
{
    user=creel-try-$$
    home=$(mktemp -d /tmp/creel-user.XXXXXX)
    useradd --no-create-home --home-dir "$home" --shell /bin/sh "$user" || return 1
    printf '[safe]\n\tdirectory = *\n' >"$home/gitconfig"
    GIT_CONFIG_GLOBAL="$home/gitconfig" git clone -q . "$home/creel"
    # What the tree has that is not committed yet belongs to the demo as well.
    cp -R deploy "$home/creel/"
    # The build was tried above; here it would only cost its time again.
    mkdir -p "$home/tmp" "$home/bin/controller" "$home/bin/runner"
    cp "$BUILD/controller/creel" "$home/bin/controller/"
    cp "$BUILD/runner/creel-runner" "$BUILD/runner/creel-runner-tree" "$home/bin/runner/"
    chown -R "$user" "$home"
    status=0
    setpriv --reuid="$user" --regid="$user" --clear-groups env -i PATH="$PATH" HOME="$home" \
        TMPDIR="$home/tmp" CREEL_BUILD="$home/bin" sh "$home/creel/deploy/try" && [ -z "$(ls -A "$home/tmp")" ] || status=1
    userdel "$user"
    rm -rf "$home"
    return $status
}

if (. deploy/lib/throwaway.sh && ! throwaway_userns); then
    skip try 'this kernel or container forbids the namespaces that a jail is made of (sh deploy/try says more)'
    exit 0
fi
check 'try: the demo runs and leaves nothing' demo
check 'try: --keep and --stop' keep_and_stop
if [ "$(id -u)" -ne 0 ]; then
    skip 'try: the demo as a plain user' 'this is not root, so the run above was it'
elif ! command -v useradd >/dev/null; then
    skip 'try: the demo as a plain user' 'no useradd here to make one'
else
    check 'try: the demo as a plain user' demo_as_user
fi
