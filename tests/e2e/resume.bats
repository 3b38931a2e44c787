# Everything that can die does, and each task still ends exactly once, with nothing lost.
load ../lib/e2e

setup_file() { e2e_up; }
teardown_file() { e2e_down; }
teardown() { e2e_logs; }

setup()
{
    cd "$BATS_TEST_TMPDIR"
    # Whatever the last test killed is up again.
    throwaway_alive "$E2E/host/runner.pid" || throwaway_runner "$E2E"
    throwaway_alive "$E2E/host/sshd.pid" || sshd_again
}

# ticks N : a command that prints N numbered lines, 20 a second, and would show a line lost or doubled.
ticks()
{
    echo "i=0; while [ \$i -lt $1 ]; do echo tick-\$i; i=\$((i+1)); sleep 0.05; done"
}

ticks_whole()
{
    seq -f 'tick-%.0f' 0 $(($2 - 1)) | cmp - "$1"
}

# ended_once ID : succeeded, by one accepted attempt.
ended_once()
{
    wait_final "$1" && in_state "$1" succeeded || { creel show "$1"; return 1; }
    creel logs --raw "$1" >ended
    [ "$(grep -c '^once$' ended)" -eq 1 ] || { echo "ran $(grep -c '^once$' ended) times"; cat ended; return 1; }
}

# kill -9, and gone: its lock is free only then.
engine_kill()
{
    local pid
    pid=$(engine_pid)
    kill -9 "$pid" 2>/dev/null || true
    throwaway_wait 10 throwaway_gone "$pid"
}

# sleeping : the sleep of this very test is there, of all that this machine runs. "$nap" is how long.
nap=600.$$
sleeping()
{
    pgrep -f "^sleep $nap\$"
}

woken()
{
    not sleeping
}

engine_revive()
{
    creel serve --idle-exit 5 </dev/null >>engine.out 2>&1 3>&- &
}

@test "logs -f may be killed and started at any time, from several terminals" {
    id=$(detached -- sh -c "$(ticks 60)")
    creel logs -f --raw "$id" >one 3>&- &
    one=$!
    throwaway_wait 20 grep -q tick-10 one
    kill -9 $one
    wait $one || true
    creel logs -f --raw "$id" >two 3>&- &
    two=$!
    creel logs -f --raw "$id" >three 3>&-
    wait $two
    ticks_whole two 60
    ticks_whole three 60
    creel logs --raw "$id" >four
    ticks_whole four 60
    cmp -n "$(stat -c %s one)" one four
}

@test "sshd killed mid-log: the stream goes on where it was, byte for byte" {
    id=$(detached -- sh -c "$(ticks 80)")
    creel logs -f --raw "$id" >followed 3>&- &
    follower=$!
    throwaway_wait 20 grep -q tick-10 followed
    throwaway_sshd_end "$E2E"
    sleep 0.5
    sshd_again
    wait $follower
    wait_state "$id" succeeded
    ticks_whole followed 80
    creel logs --raw "$id" >whole
    ticks_whole whole 80
    creel show "$id" --result >result
    exits 0 creel verify result --log "$CREEL_STATE/tasks/$id/log"
}

@test "only the SSH sessions killed, mid-log and while the source is sent" {
    head -c 30000000 /dev/urandom >"$REPO/large"
    git -C "$REPO" add large
    git -C "$REPO" commit -q -m large
    for delay in 0.3 0.6 1 2; do
        id=$(detached -- sh -c "echo once; $(ticks 30)")
        sleep $delay
        for pid in $(pgrep -P "$(cat "$E2E/host/sshd.pid")"); do kill "$pid" || true; done
        ended_once "$id"
        grep '^tick' ended >ticked
        ticks_whole ticked 30
    done
    git -C "$REPO" reset -q --hard HEAD~1
}

@test "the engine killed -9 at any moment: each task ends exactly once" {
    for delay in 0 0.02 0.05 0.08 0.12 0.16 0.2 0.25 0.3 0.4 0.5 0.7 0.9; do
        id=$(detached -- sh -c 'echo once; echo work >work.txt; sleep 0.3')
        sleep $delay
        engine_kill
        engine_revive
        ended_once "$id" || { echo "killed after $delay s"; return 1; }
        wait_receipt "$id" || { echo "no receipt, killed after $delay s"; return 1; }
    done
}

@test "the engine killed -9 in each state that can be seen" {
    for state in queued leased sending running collecting imported; do
        # Enough source, and enough to collect, that each state lasts.
        id=$(detached -- sh -c 'echo once; head -c 40000000 /dev/urandom >work; sleep 0.2')
        throwaway_tries=0
        until in_state "$id" $state $FINAL || [ $throwaway_tries -gt 200 ]; do
            throwaway_tries=$((throwaway_tries + 1))
        done
        engine_kill
        engine_revive
        ended_once "$id" || { echo "killed at $state"; return 1; }
    done
}

# The moment is too short to be met by chance: between what says that the result is imported, and the state.
@test "an engine that died between two words about one import: the next one says the second" {
    exits 0 task -- sh -c 'echo once; echo work >work.txt'
    id=$(newest)
    wait_receipt "$id"
    creel serve --stop || true
    python3 - "$E2E/state/creel.db" "$id" <<'EOF'
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute("UPDATE tasks SET state = 4, reason = 'fetching the result' WHERE id = ? AND imported = 1", (sys.argv[2],))
db.commit()
EOF
    in_state "$id" collecting
    engine_revive
    ended_once "$id"
    exits 0 task -- true # and it does other work
}

@test "the engine and its host's sessions killed together" {
    id=$(detached -- sh -c "echo once; $(ticks 40)")
    sleep 0.7
    engine_kill
    throwaway_sshd_end "$E2E"
    sshd_again
    engine_revive
    ended_once "$id"
    grep '^tick' ended >ticked
    ticks_whole ticked 40
}

@test "a runner that vanishes mid-task: lost is said, it is not run twice, the host is usable again" {
    id=$(detached -- sh -c "echo once; exec sleep $nap")
    creel logs -f --raw "$id" >followed 3>&- &
    follower=$!
    throwaway_wait 20 grep -q once followed
    throwaway_wait 20 sleeping
    kill -9 "$(cat "$E2E/host/runner.pid")"
    rm -f "$(throwaway_run "$E2E")/runner.sock"
    sleep 0.3
    throwaway_runner "$E2E"
    wait_final "$id"
    in_state "$id" lost failed stuck
    wait $follower
    [ "$(creel logs --raw "$id" | grep -c once)" -eq 1 ]
    # The jail died with it.
    throwaway_wait 20 woken
    exits 0 task -- echo usable
}

@test "the warden killed: the jail dies, the runner ends, nothing is left" {
    id=$(detached -- sh -c "echo once; exec sleep $nap")
    creel logs -f --raw "$id" >followed 3>&- &
    follower=$!
    throwaway_wait 20 grep -q once followed
    throwaway_wait 20 sleeping
    runner=$(cat "$E2E/host/runner.pid")
    for pid in $(pgrep -P "$runner"); do kill -9 "$pid"; done
    throwaway_wait 10 throwaway_gone "$runner"
    throwaway_wait 20 woken
    rm -f "$(throwaway_run "$E2E")/runner.sock"
    throwaway_runner "$E2E"
    wait_final "$id"
    wait $follower
}

@test "the runner told to stop mid-task ends the jail and leaves nothing" {
    id=$(detached -- sh -c "echo once; exec sleep $nap")
    creel logs -f --raw "$id" >followed 3>&- &
    follower=$!
    throwaway_wait 20 grep -q once followed
    throwaway_wait 20 sleeping
    throwaway_end "$E2E/host/runner.pid"
    woken
    [ -z "$(find "$(throwaway_run "$E2E")" -name '*.log' 2>/dev/null)" ]
    throwaway_runner "$E2E"
    wait_final "$id"
    wait $follower
}

@test "a task waits for a host that is down, says so, and runs when it is back" {
    throwaway_sshd_end "$E2E"
    creel serve --stop || true
    id=$(detached -- echo once)
    sleep 1
    in_state "$id" queued leased sending
    creel ps --all --json | jq -e --arg id "$id" '.tasks[] | select(.id == $id) | .reason | length > 0'
    sshd_again
    ended_once "$id"
}

@test "cancel reaches a task whose host is down" {
    throwaway_sshd_end "$E2E"
    creel serve --stop || true
    id=$(detached -- echo never)
    sleep 0.5
    creel cancel "$id"
    wait_state "$id" cancelled
    sshd_again
    exits 0 task -- true
}

@test "commands killed at any time leave the state whole" {
    for delay in 0.01 0.03 0.06 0.1 0.2; do
        timeout -s KILL $delay creel run --repo "$REPO" --yes -- true </dev/null >/dev/null 2>&1 || true
    done
    engine_revive
    sleep 1
    for id in $(creel ps --all --json | jq -r '.tasks[].id'); do
        wait_final "$id"
    done
    exits 0 task -- true
    exits 0 creel doctor
}

@test "the state directory's disk is full: a clear error, and later everything works" {
    [ "$(id -u)" -eq 0 ] || skip 'a small filesystem of its own needs root'
    cat >full.sh <<'END'
set -eu
. tests/lib/e2e.bash
mkdir -p "$E2E/small"
mount -t tmpfs -o size=8m,mode=700 none "$E2E/small"
cp -a "$CREEL_STATE/." "$E2E/small/" 2>/dev/null || { rm -rf "$E2E/small/tasks"; cp -a "$CREEL_STATE/keys" "$CREEL_STATE/creel.db" "$E2E/small/"; }
rm -rf "$E2E/small/tasks" "$E2E/small/engine.sock" "$E2E/small"/engine.l*
export CREEL_STATE="$E2E/small"
dd if=/dev/zero of="$E2E/small/ballast" bs=64k 2>/dev/null || true
status=0
timeout 60 creel run --repo "$REPO" --yes -- echo once </dev/null >"$E2E/full.out" 2>&1 || status=$?
[ "$status" -ne 0 ] || { echo 'it said success on a full disk'; exit 1; }
rm "$E2E/small/ballast"
creel run --repo "$REPO" --yes -- echo once </dev/null || { cat "$E2E/full.out"; exit 1; }
creel serve --stop || true
END
    creel serve --stop || true
    cp full.sh "$E2E/full.sh"
    cd "$CREEL_ROOT"
    exits 0 unshare --mount bash "$E2E/full.sh"
}

@test "somebody in between for a while ends no task: it goes on when the right host is back" {
    id=$(detached -- sh -c "echo once; sleep 6")
    wait_state "$id" running
    throwaway_sshd_end "$E2E"
    mv "$E2E/host/host_key" right_key
    mv "$E2E/host/host_key.pub" right_key.pub
    ssh-keygen -q -t ed25519 -N '' -f "$E2E/host/host_key"
    sshd_again
    throwaway_wait 20 sh -c "creel ps --all --json | jq -e '.tasks[0].reason | test(\"pinned\")'"
    in_state "$id" running collecting
    throwaway_sshd_end "$E2E"
    mv right_key "$E2E/host/host_key"
    mv right_key.pub "$E2E/host/host_key.pub"
    sshd_again
    ended_once "$id"
    throwaway_wait 20 has_receipt "$id"
}

# The host as `creel host add` wants it again.
host_again()
{
    creel host add throwaway "$(id -un)@127.0.0.1:$(cat "$E2E/host/port")" --host-key "$E2E/host/host_key.pub"
}

@test "a host removed by force while a task is there: lost is said at once" {
    id=$(detached -- sleep 600)
    wait_state "$id" running
    [ "$(creel host rm throwaway 2>&1 >/dev/null; echo $?)" != 0 ]
    creel host rm --force throwaway
    wait_state "$id" lost
    # What still runs there belongs to nobody: a runner told to stop ends it.
    throwaway_end "$E2E/host/runner.pid"
    throwaway_runner "$E2E"
    host_again
    id=$(detached -- echo once)
    ended_once "$id"
}

@test "a result that is stored is imported although its host was removed" {
    id=$(detached -- sh -c 'echo once; echo new >new.txt')
    ended_once "$id"
    throwaway_wait 20 has_receipt "$id"
    creel serve --stop || true
    # What a kill between the result and its import leaves behind.
    sqlite3 "$CREEL_STATE/creel.db" \
        "UPDATE tasks SET state = 4, imported = 0, review = 0, commit_oid = '' WHERE id = '$id'" \
        "UPDATE attempts SET wiped = 0 WHERE task = '$id'"
    in_state "$id" collecting
    creel host rm --force throwaway
    engine_revive
    wait_state "$id" succeeded
    creel review --stat "$id" | grep -F new.txt
    host_again
}
