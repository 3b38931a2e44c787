# Who may say what: pinned host keys, logins, and signatures checked by programs that are not ours.
load ../lib/e2e

setup_file()
{
    e2e_up
    task --test 'test -f new.txt' -- sh -c 'echo new >new.txt' >/dev/null 2>&1
    wait_receipt "$(newest)"
}
teardown_file() { e2e_down; }
teardown() { e2e_logs; }

setup()
{
    cd "$BATS_TEST_TMPDIR"
    id=$(creel ps --all --json | jq -r '[.tasks[] | select(.state == "succeeded")] | last.id')
}

# dsse_pae FILE : what a DSSE signature is over, made by hand.
dsse_pae()
{
    local type body
    type=$(jq -r .payloadType "$1")
    payload "$1" >body
    body=$(stat -c %s body)
    printf 'DSSEv1 %d %s %d ' "${#type}" "$type" "$body"
    cat body
}

# by_openssl FILE PEM : does openssl find the signature good?
by_openssl()
{
    dsse_pae "$1" >pae
    jq -r '.signatures[0].sig' "$1" | base64 -d >sig
    openssl pkeyutl -verify -rawin -pubin -inkey "$2" -in pae -sigfile sig
}

@test "openssl verifies the envelope with the controller's key" {
    creel show "$id" --envelope >envelope
    creel key show --pem >key.pem
    by_openssl envelope key.pem
    # and finds a flipped byte
    sed 's/"payload":"./"payload":"X/' envelope >tampered
    not by_openssl tampered key.pem
}

@test "openssl verifies result and receipt with the host's key" {
    creel host key "$CREEL_HOST" --pem >key.pem
    creel show "$id" --result >result
    by_openssl result key.pem
    creel show "$id" --receipt >receipt
    by_openssl receipt key.pem
}

@test "ssh-keygen verifies the SSHSIG over the same payload" {
    creel show "$id" --envelope >envelope
    payload envelope >payload.json
    creel show "$id" --sshsig >payload.sig
    printf 'operator %s\n' "$(creel key show --ssh)" >signers
    ssh-keygen -Y verify -f signers -I operator -n task@creel -s payload.sig <payload.json
    echo ' ' >>payload.json
    not ssh-keygen -Y verify -f signers -I operator -n task@creel -s payload.sig <payload.json
}

@test "the key id is the fingerprint that ssh-keygen prints" {
    creel show "$id" --envelope >envelope
    creel key show --ssh >key.pub
    [ "$(jq -r '.signatures[0].keyid' envelope)" = "$(ssh-keygen -lf key.pub | cut -d' ' -f2)" ]
}

@test "creel verify says what each document attests, and finds a changed one: exit 4" {
    creel show "$id" --envelope >envelope
    exits 0 creel verify envelope
    says "$id"
    creel show "$id" --result >result
    exits 0 creel verify result
    says "$id"
    creel show "$id" --receipt >receipt
    exits 0 creel verify receipt
    says "$id"
    python3 "$TOOLS/forge.py" flip <result >tampered
    exits 4 creel verify tampered
    one_line
    echo '{' >broken
    run creel verify broken
    [ "$status" -ne 0 ]
    exits 2 creel verify no-such-file
}

@test "creel verify says what a task might reach, and what it reached for" {
    task --egress example.org -- sh -c 'getent hosts evil.example' >/dev/null 2>&1 || true
    creel show last --envelope >envelope
    exits 0 creel verify envelope
    says 'may reach    example.org'
    creel show last --result >result
    exits 0 creel verify result
    says 'may reach    example.org' 'denied   evil.example' '--egress evil.example'
}

@test "a document signed by nobody we know is refused: exit 4" {
    creel show "$id" --result >result
    ssh-keygen -q -t ed25519 -N '' -f stranger
    python3 "$TOOLS/forge.py" sign --key stranger <result >forged
    exits 4 creel verify forged
}

@test "the log's hash chain is the one in the result" {
    creel show "$id" --result >result
    chain=$(python3 "$TOOLS/forge.py" chain <"$CREEL_STATE/tasks/$id/log")
    payload result | grep -q "$chain"
    exits 0 creel verify result --log "$CREEL_STATE/tasks/$id/log"
    cp "$CREEL_STATE/tasks/$id/log" log
    printf 'x' | dd of=log bs=1 seek=20 conv=notrunc status=none
    exits 4 creel verify result --log log
}

@test "the result is an in-toto statement with SLSA provenance" {
    creel show "$id" --result >result
    [ "$(jq -r .payloadType result)" = application/vnd.in-toto+json ]
    payload result | jq -e '._type == "https://in-toto.io/Statement/v1"
        and .predicateType == "https://slsa.dev/provenance/v1"
        and (.subject | length > 0)
        and (.subject[0].digest | to_entries[0].value | test("^[0-9a-f]{40,64}$"))
        and .predicate.buildDefinition.buildType and .predicate.runDetails.builder.id'
}

@test "a host with another key than the pinned one: exit 4, before any login" {
    ssh-keygen -q -t ed25519 -N '' -f other
    exits 4 creel host add other "$(throwaway_address "$E2E")" --host-key other.pub
    says SHA256:
    one_line
    exits 4 creel host add other "$(throwaway_address "$E2E")" --fingerprint "$(ssh-keygen -lf other.pub | cut -d' ' -f2)"
}

@test "no host is trusted on first use unless asked, and then it is said what was trusted" {
    exits 2 creel host add other "$(throwaway_address "$E2E")"
    says --host-key
    exits 0 creel host add other "$(throwaway_address "$E2E")" --trust-first-use
    says "$(ssh-keygen -lf "$E2E/host/host_key.pub" | cut -d' ' -f2)"
    creel host rm other
    creel host add other "$(throwaway_address "$E2E")" --trust-first-use --json | jq -e '.host.name == "other"'
    creel host rm other
}

@test "a fingerprint is enough to pin" {
    exits 0 creel host add byprint "$(throwaway_address "$E2E")" \
        --fingerprint "$(ssh-keygen -lf "$E2E/host/host_key.pub" | cut -d' ' -f2)"
    exits 0 task --host byprint -- true
    wait_receipt "$(newest)"
    creel host rm byprint
    [ "$(creel host ls --json | jq '.hosts | length')" -eq 1 ]
}

@test "a host whose key changes after enrolment: exit 4, nothing was sent" {
    creel serve --stop
    throwaway_sshd_end "$E2E"
    mv "$E2E/host/host_key" "$E2E/host/host_key.kept"
    ssh-keygen -q -t ed25519 -N '' -f "$E2E/host/host_key.new"
    cp "$E2E/host/host_key.new" "$E2E/host/host_key"
    sshd_again
    status=0
    run timeout 60 creel run --repo "$REPO" --yes -- true </dev/null
    throwaway_sshd_end "$E2E"
    mv "$E2E/host/host_key.kept" "$E2E/host/host_key"
    sshd_again
    creel serve --stop || true
    [ "$status" -eq 4 ] || { echo "exit status $status"; echo "$output"; false; }
    says SHA256:
    exits 0 task -- true
}

@test "a login that the host refuses: exit 4, and what to do" {
    creel serve --stop || true
    mv "$E2E/host/authorized_keys" "$E2E/host/authorized_keys.kept"
    : >"$E2E/host/authorized_keys"
    run timeout 60 creel run --repo "$REPO" --yes -- true </dev/null
    mv "$E2E/host/authorized_keys.kept" "$E2E/host/authorized_keys"
    [ "$status" -eq 4 ] || { echo "exit status $status"; echo "$output"; false; }
    says authorized_keys
}

@test "a host that is down: exit 6" {
    exits 6 creel host add down nobody@127.0.0.1:1 --host-key "$E2E/host/host_key.pub"
    one_line
}

@test "a runner that is not running: exit 6, and it says so" {
    creel serve --stop || true
    throwaway_end "$E2E/host/runner.pid"
    exits 6 creel host add silent "$(throwaway_address "$E2E")" --host-key "$E2E/host/host_key.pub"
    says creel-runner
    throwaway_runner "$E2E"
    exits 0 task -- true
}

@test "private files are private" {
    [ "$(stat -c %a "$CREEL_STATE")" = 700 ]
    [ "$(stat -c %a "$CREEL_STATE/keys/signing_key")" = 600 ]
    [ "$(stat -c %a "$CREEL_STATE/keys/ssh_key")" = 600 ]
    not cmp -s "$CREEL_STATE/keys/signing_key.pub" "$CREEL_STATE/keys/ssh_key.pub"
    chmod 750 "$CREEL_STATE"
    run creel ps
    chmod 700 "$CREEL_STATE"
    [ "$status" -ne 0 ]
}

@test "the signing key is in no process but the broker's" {
    [ "$(id -u)" -eq 0 ] || skip 'reading the memory of other processes needs root'
    task -- sh -c 'echo begun; sleep 4' >out 2>/dev/null 3>&- &
    begun=$!
    throwaway_wait 20 grep -q begun out
    exits 0 python3 "$TOOLS/secret_in.py" "$CREEL_STATE/keys/signing_key" "$(engine_pid)"
    # The search itself can find it: in the broker, which is the engine's child.
    run python3 "$TOOLS/secret_in.py" "$CREEL_STATE/keys/signing_key" "$(pgrep -P "$(engine_pid)" | head -n 1)"
    [ "$status" -ne 0 ]
    says "the key's secret is in process"
    wait $begun
}
