# `creel run` and the verbs that watch it: what a task may end as, and how that is told.
load ../lib/e2e

setup_file() { e2e_up; }
teardown_file() { e2e_down; }
teardown() { e2e_logs; }

@test "a task that succeeds: exit 0, its output on stdout, the rest on stderr" {
    task -- sh -c 'echo out; echo err >&2' >"$BATS_TEST_TMPDIR/out" 2>"$BATS_TEST_TMPDIR/err"
    [ "$(cat "$BATS_TEST_TMPDIR/out")" = out ]
    grep -q '^err$' "$BATS_TEST_TMPDIR/err"
    in_state "$(newest)" succeeded
}

@test "the plan is shown before anything is signed" {
    exits 0 task --test 'test -f hello.txt' --limit wall=2m -- true
    says "$REPO" "$(git -C "$REPO" rev-parse --short=7 HEAD)" 'test -f hello.txt' "$CREEL_HOST"
}

# planned ARG... : the plan alone. Without --yes and without a terminal nothing goes further.
planned()
{
    creel run --repo "$REPO" "$@" </dev/null
}

@test "what it may reach, its image, cache and namespaces stand in the plan" {
    exits 2 planned --egress npm,example.org:8443 --egress '*.example.net' --image debian-12 --nested-userns --cache deps --trusted -- true
    says "npm  (preset: what the host's npm is set up to use)" 'example.org:8443  (port 8443)' \
        '*.example.net  (every name below it, ports 80 and 443)' 'image         debian-12; the host did not have it' \
        'may make user namespaces' 'deps, empty: none was kept on this host yet; TRUSTED' 'conns 10000' 'add --yes'
    exits 2 planned -- true
    says 'none but loopback'
    [[ "$output" != *namespaces* ]]
}

@test "wrong rules, caches and trust: exit 2, one clear line" {
    local rule
    for rule in 127.0.0.1 'example.org,' '*.com' Example.org https://example.org example.org:0 localhost 'a b.org' npm,npm; do
        exits 2 planned --egress "$rule" -- true
        one_line
        says egress
    done
    exits 2 planned --cache ../up -- true
    one_line
    exits 2 planned --trusted -- true
    one_line
    says --cache
    exits 2 planned --image ../etc -- true
    one_line
    says image
    exits 2 creel cache rm none
    one_line
    says 'creel cache ls'
    exits 0 creel cache ls --json
    [ "$(jq -c .caches <<<"$output")" = '[]' ]
}

@test "what a task reached for is told, also when it was nothing" {
    task -- true
    exits 0 creel show last --egress
    says 'total    0 connections'
    exits 0 creel show last --egress --json
    jq -e '.egress.entries == [] and .hits == []' <<<"$output"
    exits 2 creel show last --egress --envelope
    one_line
}

@test "a task file names the same rules, and flags win over it" {
    printf '{"command":["true"],"egress":["example.org"],"image":"a","cache":"b","trusted":true,"nested_userns":true}' >"$BATS_TEST_TMPDIR/t.json"
    exits 2 planned "$BATS_TEST_TMPDIR/t.json"
    says 'example.org  (ports 80 and 443)' 'image         a;' 'b, empty' TRUSTED 'may make user namespaces'
    exits 2 planned --egress example.net "$BATS_TEST_TMPDIR/t.json"
    says 'example.net  (ports'
    [[ "$output" != *example.org* ]]
}

@test "without --host the engine chooses among those that can" {
    creel host add second "$(throwaway_address "$E2E")" --host-key "$E2E/host/host_key.pub"
    CREEL_HOST='' exits 0 task -- true
    says 'the least busy of 2 that can enforce the limits' 'second'
    creel host ls --json | jq -e '[.hosts[].name] | index("second")'
    CREEL_HOST='' exits 2 planned --cache deps -- true
    one_line
    says --host
    creel host rm second --force
}

@test "a command that fails: exit 5, its tests still run" {
    exits 5 task --test 'echo the-test-ran' -- sh -c 'exit 3'
    says the-test-ran
    in_state "$(newest)" failed
    creel show "$(newest)" --result >"$BATS_TEST_TMPDIR/result"
    payload "$BATS_TEST_TMPDIR/result" | grep -q '"exit":3'
}

@test "a test that fails: exit 5" {
    exits 5 task --test true --test 'exit 1' -- true
    in_state "$(newest)" failed
}

@test "a setup step that fails: exit 5, the command does not run" {
    exits 5 task --setup 'exit 4' -- touch it-ran
    creel show "$(newest)" --json | jq -e '.task.steps[] | select(.kind == "command") | .ran == false'
    creel show "$(newest)" --json | jq -e '.task.patch_bytes | tonumber == 0'
}

@test "a command that does not exist says so" {
    exits 5 task -- no-such-command
    says no-such-command
}

@test "out of time: exit 3, timed-out, and what was written is kept" {
    exits 3 task --limit wall=2s -- sh -c 'echo saved >saved.txt; sleep 60'
    id=$(newest)
    in_state "$id" timed-out
    creel review "$id" --json | jq -e '.. | objects | select(.path? == "saved.txt")' >/dev/null
}

@test "cancelled: exit 3, state cancelled" {
    task -- sh -c 'echo begun; sleep 60' >"$BATS_TEST_TMPDIR/out" 2>&1 3>&- &
    throwaway_wait 20 grep -q '^begun' "$BATS_TEST_TMPDIR/out"
    creel cancel "$(newest)"
    status=0
    wait $! || status=$?
    [ "$status" -eq 3 ]
    wait_state "$(newest)" cancelled
}

@test "limits that this host cannot enforce are refused: exit 7, no task ran" {
    [ -n "$CREEL_ALLOW_UNENFORCED" ] || skip 'this kernel can enforce every limit'
    before=$(creel ps --all --json | jq '.tasks | length')
    CREEL_ALLOW_UNENFORCED='' exits 7 task -- true
    says --allow-unenforced "${CREEL_ALLOW_UNENFORCED%%,*}"
    after=$(creel ps --all --json | jq '[.tasks[] | select(.state == "succeeded")] | length')
    [ "$after" -le "$before" ]
}

@test "what was not enforced stands in the result" {
    [ -n "$CREEL_ALLOW_UNENFORCED" ] || skip 'this kernel can enforce every limit'
    task -- true
    creel show "$(newest)" --result >"$BATS_TEST_TMPDIR/result"
    payload "$BATS_TEST_TMPDIR/result" | jq -e '.predicate.buildDefinition.internalParameters.unenforced | index("mem")'
}

@test "wrong command lines: exit 2, one clear line" {
    exits 2 task --nonsense -- true
    says --nonsense
    one_line
    exits 2 task --limit mem=lots -- true
    says lots
    one_line
    exits 2 task --limit memory=1G -- true
    says "memory" "mem"
    one_line
    exits 2 task --base no-such-revision -- true
    says no-such-revision
    one_line
    exits 2 creel run --repo "$E2E/nowhere" --yes -- true
    says nowhere
    one_line
    exits 2 task
    one_line
    exits 2 creel nonsense
    one_line
    exits 2 creel show zzzz
    one_line
}

@test "without a terminal and without --yes nothing is signed: exit 2" {
    before=$(creel ps --all --json | jq '.tasks | length')
    exits 2 creel run --repo "$REPO" -- true </dev/null
    says --yes
    [ "$(creel ps --all --json | jq '.tasks | length')" -eq "$before" ]
}

@test "a dirty tree is said, and the base is the commit" {
    echo uncommitted >"$REPO/new.txt"
    echo edited-here >>"$REPO/hello.txt"
    exits 0 task -- sh -c 'ls; cat hello.txt'
    git -C "$REPO" checkout -q hello.txt
    rm "$REPO/new.txt"
    says uncommitted
    [[ "$output" != *new.txt* ]]
    [[ "$output" != *edited-here* ]]
}

@test "--base sends that revision" {
    exits 0 task --base HEAD~1 -- cat hello.txt
    [[ "$output" != *world* ]]
}

@test "TASK.json says the same as the command line" {
    cat >"$BATS_TEST_TMPDIR/task.json" <<END
{"repo": "$REPO", "title": "from a file", "command": ["sh", "-c", "echo from-a-file"],
 "tests": ["test -f hello.txt"], "limits": "wall=1m"}
END
    exits 0 creel run --yes "$BATS_TEST_TMPDIR/task.json"
    says from-a-file
    sed -i 's/"title"/"titel"/' "$BATS_TEST_TMPDIR/task.json"
    exits 2 creel run --yes "$BATS_TEST_TMPDIR/task.json"
    says titel
    one_line
}

@test "--json is one object a line, versioned, and ends with the end" {
    task --json -- sh -c 'echo out' >"$BATS_TEST_TMPDIR/events" 2>/dev/null
    jq -es 'all(.version == 1 and (.event | type == "string"))' "$BATS_TEST_TMPDIR/events"
    [ "$(tail -n 1 "$BATS_TEST_TMPDIR/events" | jq -r .event)" = end ]
}

@test "ps and host ls have their JSON forms" {
    task -- true
    creel ps --all --json | jq -e '.version == 1 and (.tasks | length > 0) and all(.tasks[]; .id and .state)'
    [ "$(creel ps --all --json | jq -r '[.tasks[].id] == ([.tasks[].id] | sort | reverse)')" = true ]
    creel host ls --json | jq -e ".version == 1 and .hosts[0].name == \"$CREEL_HOST\""
    creel ps --json | jq -e '.version == 1 and (.tasks | type == "array")'
}

@test "the task token is in the jail only as CREEL_TASK_TOKEN, and its hash is in the envelope" {
    task --test '[ -z "${CREEL_TASK_TOKEN:-}" ]' -- sh -c 'printf %s "$CREEL_TASK_TOKEN"' \
        >"$BATS_TEST_TMPDIR/token" 2>/dev/null
    id=$(newest)
    token=$(cat "$BATS_TEST_TMPDIR/token")
    [[ "$token" =~ ^[0-9a-f]{64}$ ]]
    creel show "$id" --envelope >"$BATS_TEST_TMPDIR/envelope"
    [ "$(printf %s "$token" | sha256sum | cut -d' ' -f1)" = \
        "$(payload "$BATS_TEST_TMPDIR/envelope" | jq -r .cnf.token_sha256)" ]
    # It was printed, so the log has it; nothing else on either side does.
    wait_receipt "$id"
    found=$(grep -rlaF "$token" "$CREEL_STATE" "$E2E/host" "$(throwaway_run "$E2E")" || true)
    [ "$found" = "$CREEL_STATE/tasks/$id/log" ]
}

@test "each attempt has its own token" {
    task -- sh -c 'echo $CREEL_TASK_TOKEN' >"$BATS_TEST_TMPDIR/1" 2>/dev/null
    task -- sh -c 'echo $CREEL_TASK_TOKEN' >"$BATS_TEST_TMPDIR/2" 2>/dev/null
    not cmp -s "$BATS_TEST_TMPDIR/1" "$BATS_TEST_TMPDIR/2"
}

@test "raw logs are the agent's bytes, whatever they are" {
    head -c 3000000 /dev/urandom >"$REPO/noise"
    git -C "$REPO" add noise
    git -C "$REPO" commit -q -m noise
    task -- cat noise >"$BATS_TEST_TMPDIR/out" 2>/dev/null
    cmp "$REPO/noise" "$BATS_TEST_TMPDIR/out"
    creel logs --raw "$(newest)" >"$BATS_TEST_TMPDIR/raw"
    cmp "$REPO/noise" "$BATS_TEST_TMPDIR/raw"
}

@test "control sequences are neutralised on a terminal" {
    task -- printf 'a\033]0;owned\007b\033[2Jc\n' >/dev/null 2>&1
    script -qec "creel logs $(newest)" /dev/null </dev/null >"$BATS_TEST_TMPDIR/tty"
    not grep -qaF $'\033]0;' "$BATS_TEST_TMPDIR/tty"
    not grep -qaF $'\033[2J' "$BATS_TEST_TMPDIR/tty"
    creel logs --raw "$(newest)" | grep -qaF $'\033]0;owned\007b'
}

@test "Ctrl-C once detaches, says how to come back, and loses nothing" {
    env --default-signal=INT creel run --repo "$REPO" --yes -- sh -c 'echo begun; sleep 3; echo finished' \
        </dev/null >"$BATS_TEST_TMPDIR/out" 2>&1 3>&- &
    throwaway_wait 20 grep -q '^begun' "$BATS_TEST_TMPDIR/out"
    kill -INT $!
    status=0
    wait $! || status=$?
    [ "$status" -eq 130 ]
    id=$(newest)
    grep -q "creel logs -f" "$BATS_TEST_TMPDIR/out"
    grep -q "creel cancel" "$BATS_TEST_TMPDIR/out"
    wait_state "$id" succeeded
    creel logs --raw "$id" | grep -q '^finished'
}

@test "several tasks at once each end once" {
    for n in 1 2 3 4; do
        task -- sh -c "echo number-$n" >"$BATS_TEST_TMPDIR/out.$n" 2>&1 3>&- &
        tasks="${tasks:-} $!"
    done
    # shellcheck disable=SC2086 # a list of pids
    wait $tasks
    for n in 1 2 3 4; do
        [ "$(grep -c "^number-$n$" "$BATS_TEST_TMPDIR/out.$n")" -eq 1 ]
    done
}

@test "the disk limit is a full disk in the jail, and is reported as that" {
    exits 5 task --limit disk=16M -- dd if=/dev/zero of=fill bs=1M count=64
    says 'No space left'
    in_state "$(newest)" failed
    creel show "$(newest)" | grep -qi disk
}

@test "a log over its limit is cut, counted and does not stop the task" {
    exits 0 task --limit log=64K -- sh -c 'head -c 1000000 /dev/zero | tr "\0" x; echo done >done.txt'
    creel show "$(newest)" --json | jq -e '.task.log_dropped_bytes | tonumber > 900000'
}

@test "help, versions and doctor" {
    exits 0 creel --version
    exits 0 creel help
    says run review approve
    for verb in init host run ps logs show review approve reject cancel verify cache doctor key serve; do
        exits 0 creel "$verb" --help
        says "creel $verb"
    done
    creel doctor --json | jq -e '.version == 1'
}

@test "host test says what the host can do, and what to do about the rest" {
    exits 0 creel host test "$CREEL_HOST"
    says "host $CREEL_HOST answers" 'Landlock'
    exits 0 creel host test "$CREEL_HOST" --json
    sed -n '/^{/p' <<<"$output" | jq -e '.findings | all(.level == "ok" or (.level == "warn" and .fix != ""))'
    sed -n '/^{/p' <<<"$output" | jq -e '.host.landlock_abi >= 0 and (.host.presets | type) == "array"'
    creel host test "$CREEL_HOST" --json 2>/dev/null | jq -r '.findings[].detail' >"$BATS_TEST_TMPDIR/findings"
    while read -r line; do
        creel doctor | grep -qF "${line:0:40}"
    done <"$BATS_TEST_TMPDIR/findings"
}

@test "a slot that someone else holds is waited for, and not asked for without end" {
    other="$BATS_TEST_TMPDIR/other"
    creel --state "$other" init >/dev/null
    creel --state "$other" key show --ssh >>"$E2E/host/controllers"
    cat "$other/keys/ssh_key.pub" >>"$E2E/host/authorized_keys"
    throwaway_end "$E2E/host/runner.pid"
    throwaway_runner "$E2E"
    creel --state "$other" host add "$CREEL_HOST" "$(throwaway_address "$E2E")" --host-key "$E2E/host/host_key.pub"
    creel --state "$other" run --repo "$REPO" --yes -- sh -c 'echo begun; sleep 4' \
        </dev/null >"$BATS_TEST_TMPDIR/first" 2>&1 3>&- &
    first=$!
    throwaway_wait 20 grep -q '^begun' "$BATS_TEST_TMPDIR/first"
    exits 0 task -- echo second
    says 'no free slot'
    [ "$(creel show "$(newest)" --json | jq .task.attempt)" -lt 9 ]
    wait $first
    creel --state "$other" serve --stop
}
