# Model calls from a jail to a provider and back, through everything: runner, SSH, engine, broker. The provider is
# aimock, which lets in nobody but the real key: an answer proves that the task's token was exchanged for it.
load ../lib/e2e
load ../lib/broker

setup_file()
{
    aimock_have || return 0
    # Two at once: a task that shows its token, and one that tries it.
    export THROWAWAY_RUNNER_FLAGS="--slots 2"
    e2e_up
    broker_up
    aimock_up "$CREEL_ROOT/tests/fixtures/aimock/model.json"
    priced gpt-5.5
}

teardown_file()
{
    [ -n "${E2E:-}" ] || return 0
    broker_down
    e2e_down
}

setup()
{
    file_skipped
    aimock_forget
}

teardown() { e2e_logs; }

# What one call costs by the mock's usage: 1200 in, 40 out.
ONE=3400

# asks EXIT OPTION... -- ASK... : a task that asks so.
asks()
{
    local due=$1 options=()
    shift
    while [ "$1" != -- ]; do options+=("$1"); shift; done
    shift
    exits "$due" task --provider mock "${options[@]}" -- python3 ask.py "$@"
}

lines()
{
    printf '%s\n' "$output" | grep -c "$1" || true
}

@test "three dialects, streaming and not: answered under the real key, every token paid for" {
    exits 0 task --provider mock --budget 1 -- sh -ec '
        for dialect in responses chat messages; do
            python3 ask.py $dialect gpt-5.5 --bytes 5000
            python3 ask.py $dialect gpt-5.5 --bytes 5000 --stream
        done'
    [ "$(lines '^200 The answer is 42\.$')" -eq 6 ]
    id=$(newest)
    [ "$(aimock_calls)" -eq 6 ]
    [ "$(spend_of "$id" '.sum | "\(.calls) \(.spent_micros) \(.held_micros) \(.input_tokens) \(.output_tokens)"')" = "6 $((6 * ONE)) 0 7200 240" ]
    [ "$(spend_of "$id" '[.calls[].dialect] | join(" ")')" = 'responses responses chat chat messages messages' ]
    [ "$(spend_of "$id" '[.calls[].end] | unique | join(" ")')" = settled ]
    run creel budget
    says mock
}

@test "what reaches the provider is capped, and says nothing of the machine" {
    asks 0 --budget 1 --output-tokens 777 -- responses gpt-5.5 --head x-codex-turn-metadata:here --head user-agent:codex_exec \
        --member '{"client_metadata":{"where":"machine-name"}}'
    says '200 The answer is 42.'
    # aimock keeps what it was sent, as a chat request.
    aimock_journal >"$BATS_TEST_TMPDIR/journal"
    jq -e '.[0].body.max_tokens == 777' "$BATS_TEST_TMPDIR/journal"
    not grep -qE 'machine-name|x-codex|codex_exec' "$BATS_TEST_TMPDIR/journal"
}

@test "exactly as many calls as are allowed, then the task ends as refused; what it did is kept" {
    exits 7 task --provider mock --budget 1 --calls 3 -- sh -c 'echo done >>hello.txt; python3 ask.py chat gpt-5.5 --times 6; exit 0'
    [ "$(lines '^200 ')" -eq 3 ]
    [ "$(lines '^400 ')" -eq 3 ]
    [ "$(aimock_calls)" -eq 3 ]
    id=$(newest)
    in_state "$id" refused
    [ "$(spend_of "$id" '.sum | "\(.calls) \(.spent_micros)"')" = "3 $((3 * ONE))" ]
    creel show "$id" --json | jq -r .task.reason | grep calls
    exits 0 creel review "$id"
    says '+done'
}

@test "money: what was reserved fits each time, the call that does not fit is refused, no cent is spent beyond" {
    exits 7 task --provider mock --budget 0.08 --output-tokens 1000 -- python3 ask.py responses gpt-5.5 --bytes 4000 --times 12
    id=$(newest)
    made=$(aimock_calls)
    [ "$made" -ge 2 ]
    [ "$made" -lt 12 ]
    [ "$(lines '^200 ')" -eq "$made" ]
    [ "$(spend_of "$id" .sum.spent_micros)" -eq $((made * ONE)) ]
    # One call more would have gone over with what it reserves.
    echo "$made calls"; creel show "$id" --spend
    reserve=$(spend_of "$id" '.calls[-1].reserved_micros')
    [ $((made * ONE + reserve)) -gt 80000 ]
    [ $(((made - 1) * ONE + reserve)) -le 80000 ]
    says 'budget'
    # The marks stand in the log.
    creel logs "$id" | grep -c '^creel: .*\(80\|90\|100\) %' | grep -q '[1-3]'
}

@test "the same answer again and again: a mark in the log, then everything is refused" {
    asks 7 --budget 10 -- chat gpt-5.5 --times 20
    [ "$(aimock_calls)" -eq 16 ]
    creel logs "$(newest)" | grep '^creel: .* 8 times'
    creel show "$(newest)" --json | jq -r .task.reason | grep 'same answer'
    # As many as the task says, in its file as by flags.
    aimock_forget
    jq -n '{command: ["python3", "ask.py", "chat", "gpt-5.5", "--times", "20"], provider: "mock", budget: "10",
        repeats: 2, in_flight: 3, calls_per_minute: 50}' >"$BATS_TEST_TMPDIR/task.json"
    exits 7 task "$BATS_TEST_TMPDIR/task.json"
    [ "$(aimock_calls)" -eq 4 ]
    says '50 a minute, 3 at once'
}

@test "64 calls at once against a number of 10: no more than 10 get through" {
    asks 7 --budget 10 --calls 10 --in-flight 64 --calls-per-minute 200 -- responses gpt-5.5 --parallel 64 --stream
    [ "$(aimock_calls)" -le 10 ]
    [ "$(lines '^200 ')" -eq "$(aimock_calls)" ]
    [ "$(spend_of "$(newest)" .sum.calls)" -eq "$(aimock_calls)" ]
}

@test "64 calls at once against money for 10: what is reserved fits, and no more is spent" {
    asks 7 --budget "$(printf '0.%06d' $((10 * ONE)))" --output-tokens 1000 --in-flight 64 --calls-per-minute 200 -- \
        responses gpt-5.5 --parallel 64 --retry 20
    made=$(aimock_calls)
    [ "$made" -le 10 ]
    [ "$made" -ge 1 ]
    [ "$(spend_of "$(newest)" .sum.spent_micros)" -eq $((made * ONE)) ]
}

@test "a tool that runs at the provider is refused, unless the policy allows it" {
    asks 0 --budget 1 -- responses gpt-5.5 --member '{"tools":[{"type":"web_search"}]}'
    says '400 ' web_search
    [ "$(aimock_calls)" -eq 0 ]
    asks 0 --budget 1 --hosted-tool web_search -- responses gpt-5.5 --member '{"tools":[{"type":"web_search"}]}'
    says '200 The answer is 42.'
}

@test "models, paths and bodies that are none of the task's" {
    exits 0 task --provider mock --budget 1 -- sh -c '
        python3 ask.py responses gpt-6-unpriced
        python3 ask.py responses gpt-5.5 --path /v1/embeddings
        python3 ask.py responses gpt-5.5 --path /v1/responses/../files
        python3 ask.py responses gpt-5.5 --member "{\"background\":true}"
        python3 ask.py responses gpt-5.5 --member "{\"previous_response_id\":\"resp_1\"}"
        python3 ask.py responses gpt-5.5 --head content-encoding:gzip
        python3 ask.py chat gpt-5.5 --member "{\"n\":9}"'
    [ "$(lines '^200 ')" -eq 0 ]
    [ "$(lines '^4')" -eq 7 ]
    says gpt-6-unpriced background
    [ "$(aimock_calls)" -eq 0 ]
    [ "$(spend_of "$(newest)" .sum.spent_micros)" -eq 0 ]
    # Of one model alone, when that was said.
    priced another
    asks 0 --budget 1 --model another -- responses gpt-5.5
    says '400 '
}

@test "without a budget there is no door" {
    exits 0 task -- python3 ask.py responses gpt-5.5
    not says '200 The answer'
    [ "$(aimock_calls)" -eq 0 ]
}

@test "a task's token is good on its own attempt's channel, while that runs, and nowhere else" {
    # One task shows its token and waits.
    one=$(detached --provider mock --budget 1 -- sh -c 'echo "token $CREEL_TASK_TOKEN"; until [ -e /task/never ]; do sleep 0.1; done')
    shows() { creel logs --raw "$1" | grep -q '^token [0-9a-f]\{64\}$'; }
    throwaway_wait 20 shows "$one"
    token=$(creel logs --raw "$one" | sed -n 's/^token //p')
    # From the host's own shell there is no door at all.
    run python3 "$TOOLS/ask.py" responses gpt-5.5 --token "$token"
    says '000 '
    # From another attempt it is not that attempt's.
    asks 0 --budget 1 -- responses gpt-5.5 --token "$token"
    says '401 '
    other=$(newest)
    creel logs "$other" | grep '^creel: .*token'
    [ "$(spend_of "$other" .sum.refused)" -ge 1 ]
    # And after its end it is nobody's.
    creel cancel "$one"
    wait_final "$one"
    asks 0 --budget 1 -- responses gpt-5.5 --token "$token"
    says '401 '
    # Nothing of it was paid for.
    [ "$(aimock_calls)" -eq 0 ]
}

@test "the key is nowhere on the host, in no memory there, in no file of the operator's but its own; and in the engine it never was" {
    id=$(detached --provider mock --budget 1 -- sh -c 'python3 ask.py responses gpt-5.5 --stream && echo asked; until [ -e /task/never ]; do sleep 0.1; done')
    asked() { creel logs --raw "$1" | grep -q '^asked$'; }
    throwaway_wait 30 asked "$id"
    # The search finds it where it must be: in the broker's own memory, if the kernel lets root look there.
    runner=$(cat "$E2E/host/runner.pid")
    host=$(pgrep -P "$runner"; pgrep -P "$(cat "$E2E/host/sshd.pid")"; echo "$runner")
    # shellcheck disable=SC2086 # pids
    python3 "$TOOLS/bytes_in.py" "$E2E/provider/key" $host "$(engine_pid)" "$E2E/host" "$E2E/state" \
        "$(cat "$E2E/host/rundir")"
    not python3 "$TOOLS/bytes_in.py" "$E2E/provider/key" "$E2E/provider/key"
    run python3 "$TOOLS/bytes_in.py" "$E2E/provider/key" "$(broker_pid)"
    says 'found in process'
    creel cancel "$id"
    wait_final "$id"
}
