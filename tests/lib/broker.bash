# shellcheck shell=bash disable=SC2034,SC2154
# What tests of the broker and of agents add to tests/lib/e2e.bash: providers of which nothing here was written
# by us (aimock), or that misbehave on demand (tests/tools/provider.py), and an operator who has set them up.
#
#   broker_up            after e2e_up: the real key, made up for this run, as a secret; prices
#   aimock_have          before e2e_up: the mock's package, or skips the file
#   aimock_up FIXTURES   starts aimock with that key, adds it as provider "mock"
#   faulty_up            starts provider.py, adds it as provider "faulty"
#   broker_down          before e2e_down

# Input 2.50 and output 10 dollars a million tokens: 1200 in and 40 out cost $0.0034.
PRICE_IN=2.50
PRICE_OUT=10

broker_up()
{
    mkdir -m 700 "$E2E/provider"
    (umask 077; printf 'sk-canary-%s\n' "$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')" >"$E2E/provider/key")
    creel secret set provider-key "file:$E2E/provider/key"
    cp "$TOOLS/ask.py" "$REPO/"
    git -C "$REPO" add ask.py
    git -C "$REPO" commit -q -m 'Ask'
}

# The real key. Never in a variable that is exported: the engine would inherit it.
broker_key()
{
    cat "$E2E/provider/key"
}

# priced MODEL...
priced()
{
    local model
    for model in "$@"; do
        creel prices set "$model" --input "$PRICE_IN" --output "$PRICE_OUT"
    done
}

# listens PORT
listens()
{
    (exec 9<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

free_port()
{
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# aimock_have : for setup_file, before anything is up: `aimock_have || return 0`.
aimock_have()
{
    local why=$BATS_FILE_TMPDIR/npm.why
    command -v node >/dev/null || skip_file 'no node here' || return
    AIMOCK_DIR=$(sh "$TOOLS/npm_tools" aimock 2>"$why") || skip_file "$(tail -n 1 "$why")"
}

# aimock_up FIXTURES... : after aimock_have. AIMOCK is its URL. It answers 401 to every key but that one.
aimock_up()
{
    local port file flags=()
    port=$(free_port)
    for file in "$@"; do
        flags+=(-f "$file")
    done
    AIMOCK_STRICT_TURN_INDEX=1 AIMOCK_API_KEYS=$(broker_key) setsid node "$AIMOCK_DIR/node_modules/@copilotkit/aimock/dist/cli.js" \
        -p "$port" "${flags[@]}" --log-level warn --journal-max 0 </dev/null >"$E2E/provider/aimock.log" 2>&1 3>&- &
    echo $! >"$E2E/provider/aimock.pid"
    throwaway_wait 60 listens "$port" || { cat "$E2E/provider/aimock.log"; return 1; }
    export AIMOCK="http://127.0.0.1:$port"
    creel provider add mock --base-url "$AIMOCK" --secret provider-key --auth bearer \
        --dialect responses --dialect chat --dialect messages --day-budget 1000 --day-calls 100000
}

# What aimock saw since the last aimock_forget: its journal, as JSON.
aimock_journal()
{
    curl -sS --max-time 60 -H "authorization: Bearer $(broker_key)" "$AIMOCK/__aimock/journal"
}

aimock_forget()
{
    curl -sS --max-time 60 -o /dev/null -X POST -H "authorization: Bearer $(broker_key)" "$AIMOCK/__aimock/reset/journal"
}

# aimock_calls : how many model calls it answered.
aimock_calls()
{
    aimock_journal | jq '[.[] | select(.path | test("^/v1/(responses|chat/completions|messages)"))] | length'
}

faulty_up()
{
    FAULTY=$E2E/provider/faulty
    export FAULTY
    mkdir "$FAULTY"
    setsid python3 "$TOOLS/provider.py" --key "$(broker_key)" --dir "$FAULTY" </dev/null >"$FAULTY/log" 2>&1 3>&- &
    echo $! >"$FAULTY/pid"
    throwaway_wait 60 test -s "$FAULTY/port" || { cat "$FAULTY/log"; return 1; }
    : >"$FAULTY/journal"
    creel provider add faulty --base-url "http://127.0.0.1:$(cat "$FAULTY/port")" --secret provider-key --auth bearer \
        --dialect responses --dialect chat --dialect messages --day-budget 1000 --day-calls 100000
}

# faulty_calls [MODEL] : how many calls the faulty provider let in, of any model or of this one.
faulty_calls()
{
    jq -s --arg model "${1:-}" '[.[] | select(.allowed and ($model == "" or .model == $model))] | length' "$FAULTY/journal"
}

broker_down()
{
    throwaway_end "$E2E/provider/aimock.pid"
    throwaway_end "$E2E/provider/faulty/pid"
}

# The broker process of this test's engine.
broker_pid()
{
    # The older one: the other is its helper, or of an earlier engine that is about to go.
    pgrep -o -P "$(engine_pid)" -f ' broker '
}

# spend_of ID FILTER : what jq makes of `creel show ID --spend --json`.
spend_of()
{
    creel show "$1" --spend --json | jq -r "$2"
}
