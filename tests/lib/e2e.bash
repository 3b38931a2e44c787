# shellcheck shell=bash disable=SC2034
# What every end-to-end test uses: a throwaway host, an operator, a repository. One of each a file:
#
#   setup_file() { e2e_up; }
#   teardown_file() { e2e_down; }
#
# Then E2E is the private directory, REPO a small repository, and `creel` works as typed.

CREEL_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
THROWAWAY_ROOT=$CREEL_ROOT
THROWAWAY_BIN=${CREEL_BUILD:-$CREEL_ROOT/build}
TOOLS=$CREEL_ROOT/tests/tools
# shellcheck source=deploy/lib/throwaway.sh
. "$CREEL_ROOT/deploy/lib/throwaway.sh"

# Git of the tests reads no configuration but its own.
e2e_git_env()
{
    export GIT_CONFIG_GLOBAL="$E2E/gitconfig" GIT_CONFIG_NOSYSTEM=1
    git config --global user.name operator
    git config --global user.email operator@example.invalid
    git config --global init.defaultBranch main
    git config --global safe.directory '*'
}

# make_repo DIR : a small repository with what trees have: text, a script, a link, a binary.
make_repo()
{
    git init -q "$1"
    printf 'hello\n' >"$1/hello.txt"
    printf '#!/bin/sh\ngrep -q hello hello.txt\n' >"$1/check.sh"
    chmod +x "$1/check.sh"
    mkdir -p "$1/src/deep"
    printf 'int main(void) { return 0; }\n' >"$1/src/main.c"
    head -c 4096 /dev/urandom >"$1/src/deep/blob.bin"
    ln -s hello.txt "$1/link"
    git -C "$1" add -A
    git -C "$1" commit -q -m 'First'
    printf 'world\n' >>"$1/hello.txt"
    git -C "$1" commit -q -a -m 'Second'
}

e2e_up()
{
    E2E=$(mktemp -d "${TMPDIR:-/tmp}/creel-e2e.XXXXXX")
    export E2E REPO="$E2E/repo" CREEL_PAGER=cat
    unset CREEL_STATE CREEL_HOST CREEL_ALLOW_UNENFORCED
    e2e_git_env
    throwaway_up "$E2E"
    # shellcheck source=/dev/null
    . "$E2E/env"
    make_repo "$REPO"
    # bats reads what children print on descriptor 3; nothing of ours may hold it.
}

# skip_file REASON : for setup_file, where bats knows no skip: none of the file's tests is run, and each says why.
# Its status is that of a failure: `command -v it || skip_file 'no it here' || return 0`.
skip_file()
{
    export E2E_SKIP=$1
    return 1
}

# A file with a setup of its own calls this first.
file_skipped()
{
    [ -z "${E2E_SKIP:-}" ] || skip "$E2E_SKIP"
}

setup()
{
    file_skipped
}

# On failure the logs of both sides are what one wants to see.
e2e_logs()
{
    [ -n "${BATS_TEST_COMPLETED:-}" ] || tail -n 15 "$E2E/host/runner.log" "$E2E/state/engine.log" 2>/dev/null || true
}

e2e_down()
{
    if [ -n "${CREEL_E2E_KEEP:-}" ]; then
        echo "# kept: $E2E" >&3
        return
    fi
    throwaway_down "$E2E"
}

# task ARG... : creel run in REPO, agreed to.
task()
{
    creel run --repo "$REPO" --yes "$@" </dev/null
}

# detached ARG... : starts a task and gives its id on stdout.
detached()
{
    task --detach "$@" >/dev/null 2>&1 || return
    newest
}

newest()
{
    creel ps --all --json | jq -r '.tasks[0].id'
}

state_of()
{
    creel ps --all --json | jq -r --arg id "$1" '.tasks[] | select(.id == $id).state'
}

# in_state ID STATE...
in_state()
{
    local id=$1 now
    shift
    now=$(state_of "$id")
    [[ " $* " == *" $now "* ]]
}

FINAL='succeeded failed timed-out stuck cancelled refused lost'

# wait_state ID STATE... : up to 30 s.
wait_state()
{
    throwaway_wait 30 in_state "$@" || { echo "task $1 is $(state_of "$1"), not: ${*:2}"; creel show "$1"; return 1; }
}

wait_final()
{
    # shellcheck disable=SC2086 # a list of words
    wait_state "$1" $FINAL
}

has_receipt()
{
    creel show "$1" --receipt
}

wait_receipt()
{
    throwaway_wait 20 has_receipt "$1"
}

# The engine's pid, as it says itself in the state directory.
engine_pid()
{
    python3 - "$CREEL_STATE/creel.db" <<'END'
import sqlite3, sys
row = sqlite3.connect(sys.argv[1], timeout=10).execute("select value from meta where key = 'engine_pid'").fetchone()
print(row[0] if row else "")
END
}

# payload FILE : the signed body of a DSSE document.
payload()
{
    jq -r .payload "$1" | base64 -d
}

# wire STEP... : a client of the runner that may say anything.
wire()
{
    python3 "$TOOLS/wire.py" "$THROWAWAY_BIN/runner/creel-runner" attach --run "$(throwaway_run "$E2E")" -- "$@"
}

# proof USE FILE : that one has the envelope in FILE.
proof()
{
    python3 -c 'import hashlib, sys
print(hashlib.blake2b(open(sys.argv[2], "rb").read(), digest_size=32, key=sys.argv[1].encode()).hexdigest())' "$@"
}

# call_hello ATTEMPT PROOF : the step that opens a call channel.
call_hello()
{
    printf 'json:1:{"version":1,"channel":"call","program":"w","attempt":"%s","proof":"%s"}' "$@"
}

# sshd is killed and comes back on the same port.
sshd_again()
{
    throwaway_sshd "$E2E" "$(cat "$E2E/host/port")"
}

# exits CODE COMMAND... : runs it as bats' `run` does and compares the exit status.
exits()
{
    local want=$1
    shift
    run "$@"
    # shellcheck disable=SC2154 # bats sets them
    [ "$status" -eq "$want" ] || { echo "exit status $status, not $want: $*"; echo "$output"; return 1; }
}

# says TEXT... : each stands in the output of the last `run`.
says()
{
    local text
    for text in "$@"; do
        # shellcheck disable=SC2154 # bats sets it
        [[ "$output" == *"$text"* ]] || { echo "not said: $text"; echo "$output"; return 1; }
    done
}

# A usage error is one line.
one_line()
{
    [ "$(printf '%s\n' "$output" | wc -l)" -eq 1 ] || { echo "more than one line:"; echo "$output"; return 1; }
}

# not COMMAND... : bats does not see a failing `! command`.
not()
{
    if "$@"; then
        echo "this should fail: $*"
        return 1
    fi
}
