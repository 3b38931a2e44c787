# The way of a call: from a jail over the runner and SSH to the operator's broker, and back.
load ../lib/e2e

setup_file()
{
    e2e_up
    printf 'sk-canary-of-the-call-path' >"$E2E/key"
    chmod 600 "$E2E/key"
    setsid python3 "$TOOLS/echo_provider.py" "$E2E/port" </dev/null >/dev/null 2>&1 3>&- &
    echo $! >"$E2E/provider.pid"
    throwaway_wait 20 test -s "$E2E/port"
    creel secret set echo "file:$E2E/key"
    creel provider add echo --base-url "http://127.0.0.1:$(cat "$E2E/port")" --dialect chat --day-calls 100000
    creel prices set echo --input 1 --output 1
}
teardown_file()
{
    kill "$(cat "$E2E/provider.pid")"
    e2e_down
}
teardown() { e2e_logs; }

# What a job says to ask for something: call WORDS. More than eight at once are told to come again (429).
CALL='call() { curl -sS -m 60 --retry 30 --retry-delay 1 -H "authorization: Bearer $CREEL_TASK_TOKEN" -H "content-type: application/json" \
    -d "{\"model\":\"echo\",\"messages\":[{\"role\":\"user\",\"content\":\"$1\"}]}" http://127.0.0.1:4100/v1/chat/completions; }'

calls_made()
{
    cat "$E2E/port.calls" 2>/dev/null || echo 0
}

@test "a call is answered, and another, also by a task without a model" {
    exits 0 task --provider echo --budget 1 --calls 10 -- sh -c "$CALL; call one; call two"
    says 'heard one' 'heard two'
    exits 0 task -- sh -c "$CALL; call three"
    says 'this task has no broker'
    [[ "$output" != *'heard three'* ]]
}

@test "many calls at once, each gets its own answer" {
    exits 0 task --provider echo --budget 1 --calls 100 -- sh -c "$CALL
        for i in \$(seq 20); do call say-\$i >out.\$i & done; wait
        for i in \$(seq 20); do grep -q \"heard say-\$i\\\"\" out.\$i || { cat out.\$i; exit 1; }; done"
}

@test "connections that a job has closed are gone, so there is no end of new ones" {
    exits 0 task --provider echo --budget 1 --calls 100 -- sh -c "$CALL
        for i in \$(seq 40); do call say-\$i | grep -q \"heard say-\$i\\\"\" || exit 1; done"
}

@test "over its number of calls it ends as refused, and what it did can be reviewed" {
    local before id
    before=$(calls_made)
    exits 7 task --provider echo --budget 1 --calls 3 -- sh -c "$CALL
        echo work >work.txt; for i in 1 2 3 4 5; do call \$i; done; sleep 300"
    id=$(newest)
    in_state "$id" refused
    [ "$(($(calls_made) - before))" -eq 3 ]
    exits 0 creel logs "$id"
    says 'calls are refused from here on'
    exits 0 creel review "$id"
    says work.txt
}

@test "the broker's notes stand in the log, which is still what the runner signed" {
    local id
    exits 7 task --provider echo --budget 0.002 --calls 100 --output-tokens 1000 -- sh -c "$CALL
        i=0; while [ \$i -lt 60 ]; do call \"\$i\" | grep -q heard || break; i=\$((i + 1)); done; echo made \$i; sleep 300"
    id=$(newest)
    exits 0 creel logs "$id"
    says budget
    creel show "$id" --result >"$BATS_TEST_TMPDIR/result.json"
    exits 0 creel verify "$BATS_TEST_TMPDIR/result.json" --log "$CREEL_STATE/tasks/$id/log"
}

@test "who has the login and the task's name alone takes none of its calls; who has its envelope does" {
    local id mine taken=$BATS_TEST_TMPDIR/taken
    id=$(detached --provider echo --budget 1 --calls 1000 -- sh -c "$CALL
        while :; do call again || :; sleep 0.1; done")
    mine=$CREEL_STATE/tasks/$id/envelope.json
    throwaway_wait 20 sh -c 'creel logs "$1" | grep -q "heard again"' sh "$id"
    run wire "$(call_hello "$id.1" "$(sha256sum "$mine" | cut -c1-64)")" recv recv
    [[ "${lines[0]}" == '18 '*'"proof"'* && "${lines[1]}" == EOF ]]
    wire "$(call_hello "$id.1" "$(proof 'creel call channel 1' "$mine")")" bytes >"$taken" 3>&- &
    throwaway_wait 20 grep -qs '^POST /v1/chat/completions' "$taken"
    creel cancel "$id"
    wait_state "$id" cancelled
    wait $!
}
