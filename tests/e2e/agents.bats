# Agents as data, through the whole path: profiles, what they place in a jail, tools of the host's operator,
# what the plan says. Real agents are in the suite `agents`.
load ../lib/e2e

setup_file()
{
    export TOOLS_DIR
    TOOLS_DIR=$(mktemp -d "${TMPDIR:-/tmp}/creel-tools.XXXXXX")
    mkdir "$TOOLS_DIR/bin"
    # It behaves as agents do: reads its settings and its token, changes a file, prints events.
    cat >"$TOOLS_DIR/bin/fake-agent" <<'END'
#!/bin/sh
set -eu
. "$HOME/.fake/settings"
[ "$token" = "$CREEL_TASK_TOKEN" ] && [ "$KEY" = "$CREEL_TASK_TOKEN" ] && echo 'token: the same'
echo "model: $model; mode: $MODE; prompt: $2"
[ "$1" != change ] || echo changed >>/task/hello.txt
END
    chmod 755 "$TOOLS_DIR" "$TOOLS_DIR/bin" "$TOOLS_DIR/bin/fake-agent"
    small_image "$TOOLS_DIR/images/small"
    mkdir -p "$TOOLS_DIR/images"
    export THROWAWAY_RUNNER_FLAGS="--tools $TOOLS_DIR --images $TOOLS_DIR/images"
    e2e_up
    profile change >"$E2E/change.json"
    profile stay >"$E2E/stay.json"
}

teardown_file()
{
    [ -z "${E2E:-}" ] || e2e_down
    [ -z "${TOOLS_DIR:-}" ] || rm -rf "$TOOLS_DIR"
}

teardown() { e2e_logs; }

# small_image DIR : busybox, where there is one, and where /opt/creel/tools is another's.
small_image()
{
    local applet
    command -v busybox >/dev/null || return 0
    mkdir -p "$1/bin" "$1/opt"
    cp "$(command -v busybox)" "$1/bin/busybox"
    for applet in sh echo test; do
        ln -s busybox "$1/bin/$applet"
    done
    ln -s /tmp "$1/opt/creel"
    chmod -R go-w "$1"
}

# profile WHAT : an agent of one's own.
profile()
{
    cat <<END
{"name":"fake","argv":["fake-agent","$1","\${PROMPT}"],
 "files":[{"path":".fake/settings","lines":["model='\${MODEL}'","token='\${CREEL_TASK_TOKEN}'"]}],
 "env":["MODE=yes","KEY=\${CREEL_TASK_TOKEN}"],
 "dialect":"none","tool":"fake-agent","model":"small-1","limits":"pids=99"}
END
}

@test "an agent of one's own: its tool, settings, environment and token are in the jail, its change comes back" {
    exits 0 task --agent "$E2E/change.json" --test 'test -z "${KEY:-}" && test -e ~/.fake/settings' "it's a prompt; \$(not run)"
    says 'token: the same' "model: small-1; mode: yes; prompt: it's a prompt; \$(not run)" \
        '~/.fake/settings  (2 lines)' 'MODE=yes' 'pids 99'
    in_state "$(newest)" succeeded
    run creel review last
    says '+changed'
    creel show last --json | jq -e '.task.agent == "fake" and .task.changed == true' >/dev/null
    # The envelope has the mark, nobody's token.
    not grep -qE '[0-9a-f]{64}' <(creel show last --payload | jq -c '.files, .env')
    creel show last --payload | jq -e '.agent == "fake" and (.env | length == 2)' >/dev/null
}

@test "exit 0 is no change: it is said where one looks" {
    exits 0 task --agent "$E2E/stay.json" --model other 'do nothing'
    says 'model: other' 'succeeded' ', no change' 'no change: the tree is as it was'
    run creel ps --all
    says 'no change'
    run creel show last
    says 'no change'
    creel show last --json | jq -e '.task.changed == false and .task.reason == "no change"' >/dev/null
    exits 2 creel approve last
}

@test "the prompt: words, stdin, a file, the task file" {
    exits 0 task --agent sh echo two words
    says 'two words'
    run creel run --repo "$REPO" --yes --agent sh - <<<'echo from stdin'
    says 'from stdin'
    printf 'echo one\necho two\n' >"$E2E/prompt"
    exits 0 task --agent sh --prompt-file "$E2E/prompt"
    says one two
    printf '{"agent":"sh","prompt":"echo from a task file"}' >"$E2E/task.json"
    exits 0 task "$E2E/task.json"
    says 'from a task file'
    printf 'echo \033[2J' >"$E2E/prompt"
    exits 2 task --agent sh --prompt-file "$E2E/prompt"
    says 'control byte (0x1b) in line 1'
    one_line
    exits 2 task --agent sh
    says 'wants a prompt'
    one_line
}

@test "what cannot be is said in one line, before anything is signed" {
    exits 2 task --agent no-such x
    says 'codex, claude, opencode, openclaw, sh'
    one_line
    exits 2 task --agent codex x
    one_line
    exits 2 task --calls 5 -- true
    says '--budget'
    one_line
    exits 2 task --budget 1 -- true
    one_line
    exits 2 task --repo-access read -- true
    says '--repo-url'
    one_line
    exits 2 task --repo-access all --repo-url https://example.org/o/r -- true
    one_line
    printf '{"name":"x","argv":["a"],"dialect":"none","env":["CREEL_TASK_ID=1"]}' >"$E2E/bad.json"
    exits 2 task --agent "$E2E/bad.json" x
    says bad.json 'CREEL_TASK_ID'
    one_line
}

@test "tools: the host says which it has, the plan says when one is missing" {
    run creel host ls --json
    says fake-agent
    run creel doctor
    says 'tools for agents: fake-agent'
    sed 's/"tool":"fake-agent"/"tool":"other"/' "$E2E/stay.json" >"$E2E/other.json"
    exits 0 task --agent "$E2E/other.json" x
    says "the host had no 'other' among its tools when last seen"
    exits 0 task -- sh -c 'touch /opt/creel/tools/x 2>&1; ls /opt/creel/tools'
    says 'Read-only file system' bin
}

@test "a file that is in the way, by a kept cache say, ends the task with its name" {
    printf '{"name":"x","argv":["cat","a/b"],"dialect":"none","files":[{"path":"a","lines":[]},{"path":"a/b","lines":["x"]}]}' \
        >"$E2E/twice.json"
    exits 1 task --agent "$E2E/twice.json" x
    says "the task's file 'a/b' cannot be placed in its home"
}

@test "git in the jail is led to what --repo-access allows" {
    exits 0 task --repo-access read --repo-url https://forge.example/o/r -- \
        sh -c 'git config --get-regexp "^(url|http)[.]"; git ls-remote --get-url https://forge.example/o/r.git; echo "$REPO_URL"'
    says 'url.http://127.0.0.1:4100/git/o/r.insteadof https://forge.example/o/r' \
        'http://127.0.0.1:4100/git/o/r.git' 'Authorization: Bearer ' 'it may read https://forge.example/o/r'
}

@test "without --repo-url the remote is where origin is, unless that address tells a secret or is another kind" {
    git -C "$REPO" remote add origin https://forge.example/o/from-origin
    exits 0 task --repo-access read -- sh -c 'echo "$REPO_URL"'
    says 'https://forge.example/o/from-origin'
    git -C "$REPO" remote set-url origin https://me:secret@forge.example/o/r
    exits 2 task --repo-access read -- true
    says '--repo-url'
    one_line
    [[ "$output" != *secret* ]]
    git -C "$REPO" remote set-url origin git@forge.example:o/r
    exits 2 task --repo-access push -- true
    one_line
    git -C "$REPO" remote remove origin
}

@test "in an image too" {
    [ -d "$TOOLS_DIR/images/small" ] || skip 'no busybox here to make an image of (apt-get install busybox-static)'
    exits 0 task --image small --agent "$E2E/change.json" 'x'
    says 'token: the same'
    in_state "$(newest)" succeeded
}

@test "profiles are listed and shown, to start one's own" {
    exits 0 creel agents
    says codex claude opencode openclaw 'a shell line'
    creel agents show codex | jq -e '.name == "codex" and .dialect == "responses"' >/dev/null
    creel agents show opencode >"$E2E/mine.json"
    exits 2 task --agent "$E2E/mine.json" x
    says 'no model provider is configured'
    one_line
    exits 2 creel agents show nobody
    one_line
}

@test "tools come from a directory whole, a newer one takes over, the old one goes by --clean" {
    local made="$E2E/made" from="$E2E/from"
    mkdir -p "$from/bin"
    printf '#!/bin/sh\necho first\n' >"$from/bin/helper"
    chmod 4775 "$from/bin/helper"
    exits 1 sh "$CREEL_ROOT/deploy/tools" --to "$made" "other=$from"
    says 'holds no program bin/other'
    exits 0 sh "$CREEL_ROOT/deploy/tools" --to "$made" "helper=$from"
    [ "$("$made/bin/helper")" = first ]
    [ "$(stat -L -c %a "$made/bin/helper")" = 555 ]
    printf '#!/bin/sh\necho second\n' >"$from/bin/helper"
    exits 0 sh "$CREEL_ROOT/deploy/tools" --to "$made" "helper=$from"
    [ "$("$made/bin/helper")" = second ]
    [ "$(find "$made" -maxdepth 1 -name 'helper-*' | wc -l)" -eq 2 ]
    exits 0 sh "$CREEL_ROOT/deploy/tools" --to "$made" --clean
    says 'removed helper-'
    [ "$(find "$made" -maxdepth 1 -name 'helper-*' | wc -l)" -eq 1 ]
    [ "$("$made/bin/helper")" = second ]
    jq -e '.tools | length == 1 and (.[0].name == "helper")' "$made/tools.json" >/dev/null
    [ -z "$(find "$made" -name '.new-*')" ]
    exits 1 sh "$CREEL_ROOT/deploy/tools" --to "$made" ../x
    exits 1 sh "$CREEL_ROOT/deploy/tools" --to "$made" "nothing"
    says 'codex, claude, opencode, openclaw'
}
