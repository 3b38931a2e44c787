# What a runner refuses, over its real socket, from a client that may say anything: each check of an
# envelope has its own reason, and no bytes can make the runner die.
load ../lib/e2e

setup_file()
{
    e2e_up
    task -- true >/dev/null 2>&1
    wait_receipt "$(newest)"
    creel show "$(newest)" --envelope >"$E2E/envelope"
    creel serve --stop
}
teardown_file() { e2e_down; }

setup()
{
    cd "$BATS_TEST_TMPDIR"
}

# Every test ends with the same runner alive and answering.
teardown()
{
    e2e_logs
    throwaway_alive "$E2E/host/runner.pid"
    wire hello recv | grep -q '^2 '
}

# refused REASON STEP... : the last frame is REFUSED with that reason.
refused()
{
    local want=$1
    shift
    run wire "$@"
    [[ "${lines[-1]}" == "18 "* && "${lines[-1]}" == *"\"$want\""* ]] ||
        { echo "not refused as $want:"; echo "$output"; return 1; }
}

@test "the welcome names the pinned host key and the runner's own" {
    run wire hello recv
    says "$(ssh-keygen -lf "$E2E/host/host_key.pub" | cut -d' ' -f2)"
}

@test "replayed: refused, and also after the runner was restarted" {
    refused replay hello recv "send:16:$E2E/envelope" recv
    throwaway_end "$E2E/host/runner.pid"
    throwaway_runner "$E2E"
    refused replay hello recv "send:16:$E2E/envelope" recv
}

@test "a tampered payload: signature" {
    python3 "$TOOLS/forge.py" flip <"$E2E/envelope" >flipped
    refused signature hello recv send:16:flipped recv
}

@test "signed by a stranger: signature" {
    ssh-keygen -q -t ed25519 -N '' -f stranger
    python3 "$TOOLS/forge.py" sign --key stranger <"$E2E/envelope" >forged
    refused signature hello recv send:16:forged recv
}

@test "for another host: audience" {
    body=$(payload "$E2E/envelope")
    aud=$(jq -r .aud.host_key <<<"$body")
    python3 "$TOOLS/forge.py" sign --key "$CREEL_STATE/keys/signing_key" \
        "text:$aud=>SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" <"$E2E/envelope" >forged
    refused audience hello recv send:16:forged recv
}

@test "expired, and not yet valid" {
    now=$(date +%s)
    python3 "$TOOLS/forge.py" sign --key "$CREEL_STATE/keys/signing_key" "iat=\"$((now - 7200))\"" \
        "nbf=\"$((now - 7200))\"" "exp=\"$((now - 3600))\"" <"$E2E/envelope" >forged
    refused expired hello recv send:16:forged recv
    python3 "$TOOLS/forge.py" sign --key "$CREEL_STATE/keys/signing_key" "iat=\"$((now + 3600))\"" \
        "nbf=\"$((now + 3600))\"" "exp=\"$((now + 7200))\"" <"$E2E/envelope" >forged
    refused not-yet hello recv send:16:forged recv || refused not_yet hello recv send:16:forged recv
}

@test "an unknown key and a duplicate key in what was signed: payload" {
    python3 "$TOOLS/forge.py" sign --key "$CREEL_STATE/keys/signing_key" 'surplus=1' <"$E2E/envelope" >forged
    refused payload hello recv send:16:forged recv
    python3 "$TOOLS/forge.py" sign --key "$CREEL_STATE/keys/signing_key" \
        'text:"iat":=>"iat":"1","iat":' <"$E2E/envelope" >forged
    refused payload hello recv send:16:forged recv
}

@test "not a DSSE document: malformed" {
    printf 'not json' >bad
    refused malformed hello recv send:16:bad recv
    python3 -c 'print("[" * 5000 + "]" * 5000)' >deep
    refused malformed hello recv send:16:deep recv
    printf '{"payloadType":"\377","payload":"","signatures":[]}' >utf8
    refused malformed hello recv send:16:utf8 recv
    sed 's/"payloadType"/"payloadType":"x","payloadType"/' "$E2E/envelope" >twice
    refused malformed hello recv send:16:twice recv
}

@test "an oversized frame ends the channel and nothing else" {
    run wire hello recv raw:7fffffff10 zeros:100000 recv recv
    [[ "${lines[-1]}" == EOF ]]
}

@test "no hello, a bad hello, a wrong version: refused" {
    run wire json:3:'{"seq":"1"}' recv recv
    [[ "${lines[-1]}" == EOF || "${lines[0]}" == "18 "* ]]
    refused protocol json:1:'{"version":99,"channel":"control","program":"x"}' recv
    refused protocol json:1:'{"version":1,"channel":"nonsense","program":"x"}' recv
    refused protocol hello recv json:2:'{}' recv
}

@test "streams of attempts that it does not have: unknown" {
    attempt=00000000000000000000000000.1
    for channel in log result; do
        refused unknown "hello:$channel:$attempt" recv
    done
    proof=$(printf x | sha256sum | cut -c1-64)
    refused unknown "hello:pack:$attempt:$proof" recv
    refused unknown "hello:call:$attempt:$proof" recv
    aud=$(ssh-keygen -lf "$E2E/host/host_key.pub" | cut -d' ' -f2)
    python3 "$TOOLS/forge.py" order --key "$CREEL_STATE/keys/signing_key" cancel "$attempt" "$aud" >order
    refused unknown hello recv send:19:order recv
    python3 "$TOOLS/forge.py" order --key "$CREEL_STATE/keys/signing_key" wipe "$attempt" "$aud" "$(printf x | sha256sum | cut -c1-64)" >order
    refused unknown hello recv send:22:order recv
}

log_has()
{
    creel logs "$1" | grep -q "$2"
}

@test "a login alone can neither cancel nor wipe; the signing key can" {
    id=$(detached -- sh -c 'echo begun; sleep 60')
    attempt=$id.1
    throwaway_wait 20 log_has "$id" begun
    aud=$(ssh-keygen -lf "$E2E/host/host_key.pub" | cut -d' ' -f2)
    refused malformed hello recv "json:19:{\"attempt\":\"$attempt\"}" recv
    rm -f stranger stranger.pub
    ssh-keygen -q -t ed25519 -N '' -f stranger
    python3 "$TOOLS/forge.py" order --key stranger cancel "$attempt" "$aud" >order
    refused signature hello recv send:19:order recv
    python3 "$TOOLS/forge.py" order --key "$CREEL_STATE/keys/signing_key" cancel "$attempt" SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA >order
    refused audience hello recv send:19:order recv
    python3 "$TOOLS/forge.py" order --key "$CREEL_STATE/keys/signing_key" wipe "$attempt" "$aud" "$(printf x | sha256sum | cut -c1-64)" >order
    refused payload hello recv send:19:order recv
    refused protocol hello recv send:22:order recv
    refused type hello recv "send:19:$E2E/envelope" recv
    in_state "$id" running
    python3 "$TOOLS/forge.py" order --key "$CREEL_STATE/keys/signing_key" cancel "$attempt" "$aud" >order
    wire hello recv send:19:order >/dev/null
    wait_state "$id" cancelled
}

give_token()
{
    printf 'json:25:{"attempt":"%s","sealed":"c2VhbGVk","proof":"%s"}' "$@"
}

@test "a login alone can neither take a running task's calls nor give it a token: that takes its envelope" {
    id=$(detached -- sh -c 'echo begun; sleep 60')
    attempt=$id.1
    throwaway_wait 20 log_has "$id" begun
    mine=$CREEL_STATE/tasks/$id/envelope.json
    public=$(sha256sum "$mine" | cut -c1-64)
    refused protocol "json:1:{\"version\":1,\"channel\":\"call\",\"program\":\"w\",\"attempt\":\"$attempt\"}" recv
    for wrong in "$public" "$(proof 'creel call channel 1' "$E2E/envelope")" "$(proof 'creel repository token 1' "$mine")"; do
        refused proof "$(call_hello "$attempt" "$wrong")" recv
        refused proof "hello:pack:$attempt:$wrong" recv
    done
    refused proof "hello:pack:$attempt:$(proof 'creel call channel 1' "$mine")" recv
    for wrong in "$public" "$(proof 'creel repository token 1' "$E2E/envelope")" "$(proof 'creel call channel 1' "$mine")"; do
        refused proof hello recv "$(give_token "$attempt" "$wrong")" recv
    done
    [ "$(grep -c "refused (proof) attempt $attempt" "$E2E/host/runner.log")" -eq 10 ]
    # With the right ones it is the policy that says no: this task has neither calls nor a token.
    refused protocol "$(call_hello "$attempt" "$(proof 'creel call channel 1' "$mine")")" recv
    refused protocol "hello:pack:$attempt:$(proof 'creel pack channel 1' "$mine")" recv
    refused protocol hello recv "$(give_token "$attempt" "$(proof 'creel repository token 1' "$mine")")" recv
    # Nothing that a login is told has the envelope in it, or the number that makes it unguessable.
    nonce=$(payload "$mine" | jq -r .nonce)
    [ -n "$nonce" ]
    wire hello recv >welcome
    wire "hello:log:$attempt:0" bytes >log 3>&- &
    reader=$!
    throwaway_wait 20 grep -q begun log
    creel cancel "$id"
    wait_state "$id" cancelled
    wait "$reader"
    wait_receipt "$id"
    for told in welcome log \
        "$CREEL_STATE/tasks/$id/result.json" "$CREEL_STATE/tasks/$id/receipt.json" "$E2E/host/runner.log"; do
        [ -s "$told" ]
        run grep -aF -e "$nonce" -e "$(jq -r .payload "$mine" | cut -c1-60)" "$told"
        [ "$status" -eq 1 ]
    done
    for told in result receipt; do
        run grep -F "$nonce" <<<"$(payload "$CREEL_STATE/tasks/$id/$told.json")"
        [ "$status" -eq 1 ]
    done
}

@test "noise does not hurt it" {
    for n in 1 2 3 4 5 6 7 8; do
        wire "raw:$(od -An -N400 -tx1 /dev/urandom | tr -d ' \n')" recv >/dev/null || true
    done
    wire hello recv "raw:$(od -An -N400 -tx1 /dev/urandom | tr -d ' \n')" >/dev/null || true
}

@test "many idle connections at once, and an honest one still gets through" {
    idle=
    for _ in $(seq 60); do
        wire pause:3 >/dev/null 3>&- &
        idle="$idle $!"
    done
    sleep 1
    run wire hello recv
    [[ "${lines[0]}" == "2 "* ]]
    # shellcheck disable=SC2086 # a list of pids
    wait $idle
}

@test "nothing but the forced command over SSH: no shell, no forwarding, no terminal" {
    ssh_options=(-F none -i "$CREEL_STATE/keys/ssh_key" -p "$(cat "$E2E/host/port")" -o StrictHostKeyChecking=no
        -o UserKnownHostsFile=/dev/null -o IdentitiesOnly=yes -o BatchMode=yes -o ConnectTimeout=10)
    run timeout 20 ssh -q "${ssh_options[@]}" "$(id -un)@127.0.0.1" 'echo got-a-shell' </dev/null
    [[ "$output" != *got-a-shell* ]]
    run timeout 5 ssh -N -o ExitOnForwardFailure=yes "${ssh_options[@]}" -R 127.0.0.1:0:127.0.0.1:1 \
        "$(id -un)@127.0.0.1" </dev/null
    [ "$status" -ne 0 ] && [ "$status" -ne 124 ]
    run timeout 20 ssh -tt "${ssh_options[@]}" "$(id -un)@127.0.0.1" </dev/null
    says 'PTY allocation request failed'
}
