# The operator's secrets: in the broker's memory and nowhere else, taken out of logs before they are stored,
# stopped in patches. The key is a canary, made up for this run; tasks here know it only because their command
# says it.
load ../lib/e2e
load ../lib/broker

setup_file()
{
    e2e_up
    broker_up
    faulty_up
    priced ok
    export BYTES_IN="$TOOLS/bytes_in.py"
    # What a task prints and writes comes with it, not with its command, which is on record here.
    cat >"$REPO/leak.py" <<'END'
import base64, os, sys, time
key = bytes.fromhex(sys.argv[1])[::-1].decode()
def out(text, fd=1):
    os.write(fd, text.encode())
out("raw " + key + "\n")
out("to stderr " + key + "\n", 2)
out("base64 " + base64.b64encode(b"x:" + key.encode()).decode() + "\n")
out("hex " + key.encode().hex() + "\n")
out("json " + '{"key":"' + key + '"}' + "\n")
out("split ")
for i in range(0, len(key), 5):
    out(key[i:i + 5])
    out("." if i % 2 else "", 2)
    time.sleep(0.05)
out(" end\n")
out("last " + key)
END
    git -C "$REPO" add leak.py
    git -C "$REPO" commit -q -m 'Leak'
    # Backwards and in hex: a form that nobody looks for.
    KEY=$(broker_key)
    REV=$(printf %s "$KEY" | rev | tr -d '\n' | od -An -tx1 -v | tr -d ' \n')
    export REV
}

teardown_file()
{
    broker_down
    e2e_down
}

setup() { KEY=$(broker_key); }
teardown() { e2e_logs; }

helper_pid()
{
    pgrep -P "$(broker_pid)" | head -n 1
}

engine_gone()
{
    [ ! -e "/proc/$(engine_pid)" ]
}

# absent WHERE... : the key is in none of these, in no form.
absent()
{
    exits 0 python3 "$BYTES_IN" "$E2E/provider/key" "$@"
}

@test "after a call the key is in the broker's memory, and nowhere else" {
    exits 0 task --provider faulty --budget 1 -- python3 ask.py responses ok
    says '200 The answer is 42.'
    run python3 "$BYTES_IN" "$E2E/provider/key" "$(broker_pid)" # it can be found where it is
    [ "$status" -eq 1 ]
    says 'as it is'
    absent "$(engine_pid)" "$(helper_pid)"
    absent "$CREEL_STATE"
    # shellcheck disable=SC2046 # a list of numbers
    absent "$E2E/host" $(pgrep -f "$E2E/host")
    exits 0 creel secret ls
    says provider-key "file:$E2E/provider/key"
}

@test "secret test says its length and its forms, not what it is; a short one is said to be short" {
    exits 0 creel secret test provider-key
    says "${#KEY} bytes" raw JSON URI base64 hex
    not grep -q "$KEY" <<<"$output"
    printf 'too short' | creel secret set short -
    exits 0 creel secret test short
    says 'Too short'
    [ "$(stat -c %a "$CREEL_STATE/broker/secrets/short")" = 600 ]
    exits 0 creel secret rm short
    [ ! -e "$CREEL_STATE/broker/secrets/short" ]
    exits 2 creel secret set x "$KEY"
    not grep -q "$KEY" <<<"$output"
    chmod 640 "$E2E/provider/key"
    exits 2 creel secret test provider-key
    says 'chmod 600'
    chmod 600 "$E2E/provider/key"
}

@test "what a task prints of the key is taken out before it is stored; the result still attests what came" {
    exits 0 task --provider faulty --budget 1 -- sh -c "python3 ask.py responses ok; python3 leak.py $REV"
    id=$(newest)
    exits 0 creel logs "$id"
    says 'raw [redacted:provider-key]' 'to stderr [redacted:provider-key]' 'hex [redacted:provider-key]' \
        'json {"key":"[redacted:provider-key]"}' 'split [redacted:provider-key] end' 'last [redacted:provider-key]'
    grep -Eq '^base64 .{1,8}\[redacted:provider-key\].{0,4}$' <<<"$output"
    absent "$CREEL_STATE/tasks/$id"
    creel show "$id" --result >"$BATS_TEST_TMPDIR/result"
    exits 0 creel verify "$BATS_TEST_TMPDIR/result" --log "$CREEL_STATE/tasks/$id/log"
    says 'checked against the result when it came' '7 places were redacted'
    cp "$CREEL_STATE/tasks/$id/log" "$BATS_TEST_TMPDIR/log"
    cp "$CREEL_STATE/tasks/$id/log.json" "$BATS_TEST_TMPDIR/log.json"
    exits 0 creel verify "$BATS_TEST_TMPDIR/result" --log "$BATS_TEST_TMPDIR/log"
    sed -i 's/split/splat/' "$BATS_TEST_TMPDIR/log"
    exits 4 creel verify "$BATS_TEST_TMPDIR/result" --log "$BATS_TEST_TMPDIR/log"
    says 'changed after it was stored'
    rm "$BATS_TEST_TMPDIR/log.json"
    exits 4 creel verify "$BATS_TEST_TMPDIR/result" --log "$BATS_TEST_TMPDIR/log"
}

@test "a task that makes no call is searched for the key all the same" {
    creel secret rm provider-key
    rm -f "$CREEL_STATE/broker/needles.json"
    kill "$(engine_pid)" || true # and with it a broker that knows the key
    throwaway_wait 10 engine_gone
    creel secret set provider-key "file:$E2E/provider/key"
    exits 0 task --provider faulty --budget 1 -- sh -c "python3 leak.py $REV"
    exits 0 creel logs "$(newest)"
    says 'raw [redacted:provider-key]'
}

@test "engine and broker killed -9 while it prints: nothing of it is stored, nothing is lost or twice" {
    creel serve </dev/null >/dev/null 2>&1 3>&- &
    id=$(detached --provider faulty --budget 1 -- \
        sh -c "python3 ask.py responses ok; for i in 1 2 3 4 5 6 7 8; do echo round \$i; python3 leak.py $REV; echo; done")
    wait_state "$id" running
    for _ in 1 2 3 4 5; do
        sleep 0.7
        engine=$(engine_pid)
        kill -9 "$engine" 2>/dev/null || true
        sleep 0.1
        creel serve </dev/null >/dev/null 2>&1 3>&- &
        sleep 0.3
    done
    wait_state "$id" succeeded
    exits 0 creel logs "$id"
    [ "$(grep -c '^round' <<<"$output")" -eq 8 ]
    [ "$(grep -c '^split \[redacted:provider-key\] end$' <<<"$output")" -eq 8 ]
    [ "$(grep -c '^last \[redacted:provider-key\]$' <<<"$output")" -eq 8 ]
    absent "$CREEL_STATE/tasks/$id"
    creel show "$id" --result >"$BATS_TEST_TMPDIR/result"
    exits 0 creel verify "$BATS_TEST_TMPDIR/result" --log "$CREEL_STATE/tasks/$id/log"
    says '56 places were redacted'
    kill "$(engine_pid)" || true
}

@test "a patch that holds the key is kept, shown with the place, and not approved" {
    task --provider faulty --budget 1 --title 'With a key' -- sh -c "python3 ask.py responses ok
        mkdir conf; printf 'one\ntwo\n' >conf/app.ini
        python3 leak.py $REV 2>/dev/null | sed -n 's/^raw /key = /p' >>conf/app.ini"
    id=$(newest)
    in_state "$id" succeeded
    exits 0 creel review "$id"
    says 'SECRET' 'conf/app.ini: line 3 holds the secret provider-key' secret-value
    exits 7 creel approve "$id"
    says 'cannot be approved: conf/app.ini: line 3 holds the secret provider-key'
    one_line
    not git -C "$REPO" rev-parse -q --verify "creel/$id"
    # The same without the key is.
    task --provider faulty --budget 1 -- sh -c 'python3 ask.py responses ok; echo fine >>hello.txt'
    exits 0 creel approve "$(newest)"
}
