# shellcheck shell=bash disable=SC2034,SC2154
# A host that gives real coding agents to its tasks, and a provider that is a mock nobody here wrote:
#
#   agents_have NAME || return 0     skips the file, saying why, where the packages cannot be had
#   agents_up NAME
#   agents_down
#
# The agent's edit comes from tests/fixtures/aimock/NAME.json: four answers that look, edit, try and say so. Its
# tools do the work; the mock only asks for them.

# agent_tools NAME : the tool layer with it, made by deploy/tools from the npm registry that is configured
# here, at the version of tests/fixtures/agents/versions.json, and kept from run to run, until deploy/tools or
# the version is another. What comes over a network is waited for 10 minutes at most.
agent_tools()
{
    local cache recipe all version integrity status
    version=$(jq -r --arg name "$1" '.[$name].version' "$CREEL_ROOT/tests/fixtures/agents/versions.json")
    integrity=$(jq -r --arg name "$1" '.[$name].integrity' "$CREEL_ROOT/tests/fixtures/agents/versions.json")
    all=${CREEL_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/creel-tests}/tools
    recipe=$(cat "$CREEL_ROOT/deploy/tools" - <<<"$version $integrity" | sha256sum)
    cache=$all/$1-${recipe:0:12}
    mkdir -p "$cache"
    touch "$cache"
    # Those of other recipes that no run of the last day has used.
    find "$all" -mindepth 1 -maxdepth 1 -name "$1-*" -mtime +0 -exec rm -rf {} +
    status=0
    (
        flock -w 900 9 || { echo 'another run has been at it for 15 minutes'; exit 1; }
        [ ! -e "$cache/ok" ] || exit 0
        command -v npm >/dev/null || { echo 'no npm here'; exit 77; }
        # Of one that was cut short nothing is kept.
        find "$cache" -mindepth 1 ! -name .lock -delete
        export npm_config_fetch_retries=2 npm_config_fetch_timeout=60000
        timeout -k 10 600 sh "$CREEL_ROOT/deploy/tools" --to "$cache" "$1@$version" 9>&- || {
            [ $? -lt 124 ] || echo 'deploy/tools did not end within 10 minutes'
            exit 77
        }
        # What came is what these tests were written for.
        jq -e --arg want "$integrity" '.tools[0].integrity == $want' "$cache/tools.json" ||
            { echo "$1 $version is not the package that the tests know"; exit 1; }
        : >"$cache/ok"
    ) 9>"$cache/.lock" >"$BATS_FILE_TMPDIR/tools.log" 2>&1 || status=$?
    [ "$status" -ne 77 ] || skip_file "the packages of $1 cannot be had from the npm registry that is configured here:\
 $(head -n 1 "$BATS_FILE_TMPDIR/tools.log")" || return
    [ "$status" -eq 0 ] || { cat "$BATS_FILE_TMPDIR/tools.log"; exit 1; }
    AGENT_TOOLS=$cache
}

agents_have()
{
    agent_tools "$1" && aimock_have
}

agents_up()
{
    # Jails reach it as another user.
    export THROWAWAY_RUNNER_FLAGS="--tools $AGENT_TOOLS"
    e2e_up
    broker_up
    aimock_up "$CREEL_ROOT/tests/fixtures/aimock/$1.json"
    printf 'def greet(name):\n    return "Helo, " + name\n' >"$REPO/greet.py"
    git -C "$REPO" add greet.py
    git -C "$REPO" commit -q -m 'Greet'
}

agents_down()
{
    [ -n "${E2E:-}" ] || return 0
    broker_down
    e2e_down
}

# agent_task NAME ARG... : the task of these tests. The task's own limit ends it; the other one is for an engine
# that does not.
agent_task()
{
    timeout -k 10 600 creel run --repo "$REPO" --yes --agent "$1" --limit mem=4G,disk=2G,wall=4m "${@:2}" \
        --test 'grep -q Hello greet.py' 'creel-edit: fix the typo in greet.py' </dev/null
}

# The four calls of the fixture: their tokens, and what they cost to the micro-dollar.
EDIT_IN=5400
EDIT_OUT=152

# edit_is_there ID : reviewed, the very edit and nothing else; approved, it is a branch.
edit_is_there()
{
    exits 0 creel review "$1"
    says '+    return "Hello, " + name' '-    return "Helo, " + name'
    exits 0 creel approve "$1"
    [ "$(git -C "$REPO" diff --name-only "HEAD..creel/$1")" = greet.py ]
    git -C "$REPO" show "creel/$1:greet.py" | grep -q Hello
}

# The real key is nowhere on the host's side, nor in what the operator keeps of the task.
no_key_left()
{
    python3 "$TOOLS/bytes_in.py" "$E2E/provider/key" "$E2E/host" "$E2E/state"
}
