# Pull requests and minted tokens, against a mock that checks every request by GitHub's own API description
# (@stoplight/prism-cli with a slice of @octokit/openapi), and pushes by real git.
load ../lib/e2e

setup_file()
{
    local why
    why=$(mktemp)
    PACKAGES=$("$TOOLS/npm_tools" forge 2>"$why") || skip_file "no mock of a forge: $(tail -n 1 "$why")" || return 0
    rm -f "$why"
    export PACKAGES
    e2e_up
    # The forge's own repositories. What git would send to github.com goes there.
    export FORGE="$E2E/forge"
    git clone -q --bare "$REPO" "$FORGE/octocat/Hello-World.git"
    git config --global "url.file://$FORGE/.insteadOf" https://github.com/
    git -C "$REPO" remote add origin https://github.com/octocat/Hello-World.git
    export CANARY=ghp_0canary0123456789abcdefghijklmnop
    (umask 077 && printf '%s\n' "$CANARY" >"$E2E/token" && openssl genrsa -out "$E2E/app.pem" 2048 2>/dev/null)
    creel secret set hub "file:$E2E/token"
    creel secret set app "file:$E2E/app.pem"
    task --title 'Say more' --test 'grep -q more hello.txt' -- sh -c 'echo more >>hello.txt; printf "x\n" >"a @octocat \`b"' \
        >/dev/null 2>&1
    TASK=$(newest)
    export TASK
}

teardown_file()
{
    if [ -n "${E2E:-}" ]; then
        prism_down
        e2e_down
    fi
}

teardown()
{
    e2e_logs
    [ -n "${BATS_TEST_COMPLETED:-}" ] || tail -n 20 "$E2E/prism.log" 2>/dev/null || true
}

# prism_up [SLICE OPTION...] : the mock, on a port of its own, and the forge that names it.
prism_up()
{
    local port
    prism_down
    node "$TOOLS/forge_slice.js" "$PACKAGES" "$@" >"$E2E/slice.json"
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    "$PACKAGES/node_modules/.bin/prism" mock -h 127.0.0.1 -p "$port" "$E2E/slice.json" >"$E2E/prism.log" 2>&1 3>&- &
    echo $! >"$E2E/prism.pid"
    throwaway_wait 60 grep -q 'is listening' "$E2E/prism.log"
    API=http://127.0.0.1:$port
    creel forge add github --kind github --replace --api "$API" --token hub --app 12345 --installation 678 --key app
}

prism_down()
{
    [ ! -f "${E2E:-/nonexistent}/prism.pid" ] || kill "$(cat "$E2E/prism.pid")" 2>/dev/null || true
    rm -f "${E2E:-/nonexistent}/prism.pid"
}

# asked METHOD PATH : how often.
asked()
{
    grep -c "HTTP SERVER\] $1 $2 .*Request received" "$E2E/prism.log" || true
}

# Every request was as GitHub describes it. (Its own examples, the answers, are not always.)
all_valid()
{
    [ "$(grep -c 'passed the validation rules' "$E2E/prism.log")" -eq "$(grep -c 'Request received' "$E2E/prism.log")" ]
}

PULLS=/repos/octocat/Hello-World/pulls

@test "the mock does check: what GitHub would refuse it refuses" {
    prism_up
    run curl -s -o /dev/null -w '%{http_code}' -H 'content-type: application/json' -H 'accept: application/json' \
        -d '{"repositories":["x"],"permissions":{"contents":"admin"}}' "$API/app/installations/678/access_tokens"
    [ "$output" = 422 ]
    run curl -s -o /dev/null -w '%{http_code}' -H 'content-type: application/json' -H 'accept: application/json' \
        -d '{"title":"x","head":"y"}' "$API$PULLS"
    [ "$output" = 422 ]
}

@test "a forge that does not answer leaves the branch, and says how to go on" {
    prism_up
    prism_down
    exits 1 creel approve "$TASK" --pr --base main
    says 'forge github' 'again goes on from there'
    git -C "$REPO" rev-parse --verify -q "creel/$TASK"
}

@test "approve --pr pushes the branch and opens the pull request" {
    prism_up --branch "creel/$TASK"
    exits 0 creel approve "$TASK" --pr
    says 'pull request: https://github.com/octocat/Hello-World/pull/1347'
    exits 0 creel show "$TASK"
    says 'https://github.com/octocat/Hello-World/pull/1347'
    [ "$(git -C "$FORGE/octocat/Hello-World.git" rev-parse "creel/$TASK")" = "$(git -C "$REPO" rev-parse "creel/$TASK")" ]
    [ "$(asked get "$PULLS")" -eq 1 ]
    [ "$(asked post "$PULLS")" -eq 1 ]
    [ "$(asked get /repos/octocat/Hello-World)" -eq 1 ] # its default branch: nothing here remembers it
    all_valid
}

@test "approve --pr again is the same pull request" {
    prism_up --branch "creel/$TASK"
    exits 0 creel approve "$TASK" --pr --json
    [ "$(jq -r .pull_request.was_there <<<"$output")" = true ]
    [ "$(jq -r .pull_request.number <<<"$output")" = 1347 ]
    [ "$(asked post "$PULLS")" -eq 0 ]
}

@test "after a crash between opening it and writing it down there is no second one" {
    rm "$CREEL_STATE/tasks/$TASK/pr.json"
    prism_up --branch "creel/$TASK" --listed "creel/$TASK"
    exits 0 creel approve "$TASK" --pr
    says 'as before: https://github.com/octocat/Hello-World/pull/'
    [ "$(asked get "$PULLS")" -eq 1 ]
    [ "$(asked post "$PULLS")" -eq 0 ]
    [ -f "$CREEL_STATE/tasks/$TASK/pr.json" ]
}

@test "the text: facts, tests, digests; names that an agent chose are data in a fence" {
    rm "$CREEL_STATE/tasks/$TASK/pr.json"
    # A forge that keeps what it is told.
    python3 "$TOOLS/forge_record.py" "$E2E/body" "creel/$TASK" >"$E2E/port" 3>&- &
    recorder=$!
    throwaway_wait 10 test -s "$E2E/port"
    creel forge add github --kind github --replace --api "http://127.0.0.1:$(cat "$E2E/port")" --token hub
    exits 0 creel approve "$TASK" --pr --base main --title 'A title' --draft
    kill "$recorder"
    [ "$(jq -r .title "$E2E/body")" = 'A title' ]
    [ "$(jq -r .draft "$E2E/body")" = true ]
    [ "$(jq -r .head "$E2E/body")" = "creel/$TASK" ]
    jq -r .body "$E2E/body" >"$E2E/text"
    grep -q 'tests: 1 of 1 passed' "$E2E/text"
    grep -q 'passed  grep -q more hello.txt' "$E2E/text"
    grep -q "$(creel show "$TASK" --result | sha256sum | cut -d' ' -f1)" "$E2E/text"
    # The name with a backtick and a mention stands between fences of at least three.
    python3 - "$E2E/text" <<'PY'
import sys
fence = None
for line in open(sys.argv[1]):
    if line.startswith("```"):
        fence = None if fence else line
    elif "@octocat" in line:
        assert fence, "outside of a fence: " + line
        sys.exit(0)
sys.exit("the name is not there")
PY
    [ "$(cat "$E2E/body.auth")" = "Bearer $CANARY" ]
}

@test "a remote at no known forge changes nothing" {
    git -C "$REPO" remote add other https://elsewhere.example/o/r.git
    task -- touch elsewhere >/dev/null 2>&1
    exits 2 creel approve "$(newest)" --pr --remote other
    says 'no forge that is known'
    not git -C "$REPO" rev-parse --verify -q "creel/$(newest)"
    exits 2 creel approve "$(newest)" --draft
    says '--pr'
}

@test "nothing is forced: a branch of that name at the forge stays, and no pull request is opened" {
    task -- touch clash >/dev/null 2>&1
    id=$(newest)
    git -C "$FORGE/octocat/Hello-World.git" branch "creel/$id" HEAD~1
    git -C "$REPO" commit-tree -m other 'HEAD^{tree}' >"$E2E/other"
    git -C "$REPO" push -q -f origin "$(cat "$E2E/other"):refs/heads/creel/$id"
    prism_up --branch "creel/$id"
    exits 1 creel approve "$id" --pr
    says "did not take branch creel/$id"
    [ "$(git -C "$FORGE/octocat/Hello-World.git" rev-parse "creel/$id")" = "$(cat "$E2E/other")" ]
    [ "$(asked post "$PULLS")" -eq 0 ]
}

@test "pushing runs no hook and reads nothing of the agent's" {
    mkdir -p "$REPO/.git/hooks"
    printf '#!/bin/sh\ntouch %s/ran\n' "$E2E" >"$REPO/.git/hooks/pre-push"
    chmod +x "$REPO/.git/hooks/pre-push"
    git -C "$REPO" config push.recurseSubmodules on-demand
    task -- sh -c 'printf "[submodule \"x\"]\n\tpath = x\n\turl = ext::touch /tmp/x\n" >.gitmodules' >/dev/null 2>&1
    id=$(newest)
    prism_up --branch "creel/$id"
    exits 0 creel approve "$id" --pr
    rm -rf "$REPO/.git/hooks"
    git -C "$REPO" config --unset push.recurseSubmodules
    [ ! -e "$E2E/ran" ]
}

MINT=/app/installations/678/access_tokens

revoked()
{
    [ "$(asked delete /installation/token)" -eq 1 ]
}

@test "a task that may have a token gets one, and it is revoked when the task is over" {
    prism_up --repo octocat/Hello-World --expires "$(date -u -d '1 hour' +%Y-%m-%dT%H:%M:%SZ)"
    exits 0 task --repo-access token --repo-url https://github.com/octocat/Hello-World.git -- sh -c \
        'i=0; until [ -s /run/creel/repo-token ] || [ $i -ge 100 ]; do sleep 0.1; i=$((i + 1)); done
        wc -c </run/creel/repo-token; head -c 8 /run/creel/repo-token | od -c | head -n 1'
    says 527 'g   h   s   _   1   _   x   x'
    throwaway_wait 20 revoked
    [ "$(asked post "$MINT")" -eq 1 ]
    all_valid
    throwaway_wait 20 sh -c '[ "$(sqlite3 "$CREEL_STATE/broker/forge.db" "select count(*) from minted where state <> 3")" = 0 ]'
    # Not in the clear, anywhere.
    not grep -rqaF 'ghs_1_xxxxxxxxxxxxxxxx' "$CREEL_STATE"
}

@test "a token that can more than was asked for is revoked at once, and the task not signed" {
    prism_up --repo octocat/Spoon-Knife --expires "$(date -u -d '1 hour' +%Y-%m-%dT%H:%M:%SZ)"
    run task --repo-access token --repo-url https://github.com/octocat/Hello-World.git -- true
    [ "$status" -ne 0 ]
    says 'not for octocat/Hello-World alone'
    throwaway_wait 20 revoked
    not creel show "$(newest)" --envelope
}

@test "the token is in nothing that creel wrote" {
    run grep -rlaF "$CANARY" "$CREEL_STATE" "$REPO/.git"
    [ -z "$output" ] || { echo "in: $output"; false; }
}
