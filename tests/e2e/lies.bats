# A host that was taken over: it has the runner's own key and says what suits it. What it says is compared
# with what was sent and received; what does not agree is not believed, kept, and never reaches a branch.
load ../lib/e2e

# sshd starts the liar, which starts the real runner's attach.
setup_file()
{
    e2e_up
    creel serve --stop || true
    ssh-keygen -q -t ed25519 -N '' -f "$E2E/host/stranger"
    mkdir -p "$E2E/liar/runner"
    printf '#!/bin/sh\nexec python3 %s %s %s %s %s "$@"\n' "$TOOLS/liar.py" "$E2E/host/lie" "$E2E/host/state/signing_key" \
        "$E2E/host/stranger" "$THROWAWAY_BIN/runner/creel-runner" >"$E2E/liar/runner/creel-runner"
    chmod 755 "$E2E/liar/runner/creel-runner"
    throwaway_sshd_end "$E2E"
    (THROWAWAY_BIN=$E2E/liar && sshd_again)
}
teardown_file() { e2e_down; }
teardown() { e2e_logs; }

# What a lie leaves at the runner is evidence and keeps its slot: each test has a runner and an engine of
# its own.
setup()
{
    lie honest
    creel serve --stop || true
    throwaway_end "$E2E/host/runner.pid"
    throwaway_runner "$E2E"
}

lie()
{
    echo "$1" >"$E2E/host/lie"
}

work()
{
    task -- sh -c 'echo line; echo new >new.txt'
}

# not_believed LIE WORD... : the task ends so, in those words, and nothing of it can be approved.
not_believed()
{
    local id
    lie "$1"
    shift
    exits 4 work
    says "$@"
    id=$(newest)
    in_state "$id" refused
    not has_receipt "$id"
    not creel approve "$id"
    not git -C "$REPO" rev-parse -q --verify "refs/heads/creel/$id"
}

@test "the liar itself changes nothing when it is honest" {
    exits 0 work
    wait_receipt "$(newest)"
}

@test "a result that was changed after it was signed" {
    not_believed unsigned 'no pinned key signed this'
}

@test "a result that another key signed" {
    not_believed stranger 'no pinned key signed this'
}

@test "a result about another envelope, well signed" {
    not_believed envelope 'another envelope'
}

@test "a result that echoes another policy, well signed" {
    not_believed policy 'another policy'
}

@test "a result about another task, well signed" {
    not_believed task 'another task'
}

@test "a cache kept from a task that nobody trusted, well signed" {
    not_believed cache 'kept, though the policy does not say so'
    [ "$(creel cache ls --json | jq -c .caches)" = '[]' ]
}

@test "another patch than the one it signed" {
    not_believed patch 'not the one it signed'
}

@test "a longer patch than the one it signed" {
    not_believed longer 'longer patch'
}

@test "another log than the one it signed" {
    not_believed log 'another log'
}

@test "a patch that breaks off is asked for again, and lost only if it never comes" {
    lie truncated
    id=$(detached -- sh -c 'echo new >new.txt')
    throwaway_wait 20 grep -q 'broke off' "$CREEL_STATE/engine.log"
    in_state "$id" collecting
    lie honest
    wait_state "$id" succeeded
    exits 0 creel review "$id" --stat
    says new.txt
}

@test "a patch that is no pack, well signed: kept, and cannot be approved" {
    lie garbage
    exits 0 work
    id=$(newest)
    says 'cannot be approved' 'damaged patch pack'
    [ -s "$CREEL_STATE/tasks/$id/patch.pack" ]
    not creel approve "$id"
    not git -C "$REPO" rev-parse -q --verify "refs/heads/creel/$id"
}

@test "a receipt that another key signed is none" {
    lie receipt
    exits 0 work
    id=$(newest)
    throwaway_wait 20 grep -q 'no pinned key signed this' "$CREEL_STATE/engine.log"
    not has_receipt "$id"
    lie honest
    wait_receipt "$id"
}
