# What comes back: reviewed as data, approved by objects and one ref, and nothing of it ever runs here.
load ../lib/e2e

setup_file() { e2e_up; }
teardown_file() { e2e_down; }
teardown() { e2e_logs; }

setup()
{
    cd "$BATS_TEST_TMPDIR"
}

# changed ID PATH : does the review list the path?
changed()
{
    creel review "$1" --json | jq -e --arg p "$2" '[.. | objects | select(.path? == $p)] | length > 0' >/dev/null
}

flagged()
{
    creel review "$1" --json | jq -e --arg k "$2" '[.. | objects | select(.kind? == $k)] | length > 0' >/dev/null
}

# snapshot : everything of the operator's repository that approve must leave alone.
snapshot()
{
    (cd "$REPO" && find . -path ./.git/objects -prune -o -path ./.git/refs -prune -o -path ./.git/logs -prune \
        -o -type f -print0 | sort -z | xargs -0 sha256sum; git for-each-ref --format='%(refname) %(objectname)' |
        grep -v ' *refs/heads/creel/'; git symbolic-ref HEAD)
}

@test "a patch comes back whole: changes, additions, deletions, modes, links" {
    task -- sh -c 'echo more >>hello.txt; echo new >new.txt; rm src/main.c; chmod +x hello.txt
        ln -s /etc/passwd out; mkdir a b; echo x >"a/with blank"; printf "\000\001" >bin' >/dev/null 2>&1
    id=$(newest)
    before=$(snapshot)
    exits 0 creel approve "$id"
    [ "$(snapshot)" = "$before" ]
    cd "$REPO"
    branch=creel/$id
    [ "$(git show "$branch:hello.txt" | tail -n 1)" = more ]
    [ "$(git show "$branch:new.txt")" = new ]
    not git cat-file -e "$branch:src/main.c"
    [ "$(git ls-tree "$branch" hello.txt | cut -d' ' -f1)" = 100755 ]
    [ "$(git ls-tree "$branch" out | cut -d' ' -f1)" = 120000 ]
    [ "$(git show "$branch:a/with blank")" = x ]
    [ "$(git rev-parse "$branch~1")" = "$(git rev-parse HEAD)" ]
    git fsck --strict --no-dangling
}

@test "review tells the tests, the changes and what to type next" {
    task --test 'test -f new.txt' --test 'echo two' -- sh -c 'echo new >new.txt' >/dev/null 2>&1
    exits 0 creel review "$(newest)"
    says 'test -f new.txt' 'new.txt' '+new' "creel approve"
    creel review "$(newest)" --json | jq -e '.version == 1'
}

@test "a task that changes nothing has nothing to approve" {
    task -- true >/dev/null 2>&1
    run creel approve "$(newest)"
    [ "$status" -ne 0 ]
    one_line
    not git -C "$REPO" rev-parse --verify -q "creel/$(newest)"
}

@test "approve twice is one approval; reject after it is an error" {
    task -- touch twice >/dev/null 2>&1
    id=$(newest)
    exits 0 creel approve "$id"
    exits 0 creel approve "$id"
    run creel reject "$id"
    [ "$status" -ne 0 ]
    git -C "$REPO" rev-parse --verify -q "creel/$id"
}

@test "reject keeps the evidence and makes no branch" {
    task -- touch rejected >/dev/null 2>&1
    id=$(newest)
    exits 0 creel reject "$id"
    run creel approve "$id"
    [ "$status" -ne 0 ]
    not git -C "$REPO" rev-parse --verify -q "creel/$id"
    creel show "$id" --result >/dev/null
    changed "$id" rejected
}

@test "a branch of that name at another commit is not overwritten" {
    task -- touch clash >/dev/null 2>&1
    id=$(newest)
    git -C "$REPO" branch "creel/$id" HEAD~1
    run creel approve "$id"
    [ "$status" -ne 0 ]
    one_line
    [ "$(git -C "$REPO" rev-parse "creel/$id")" = "$(git -C "$REPO" rev-parse HEAD~1)" ]
}

@test "approve runs no hook, filter or fsmonitor of anybody's" {
    mkdir -p "$REPO/.git/hooks"
    for hook in post-checkout reference-transaction post-commit pre-commit post-merge; do
        printf '#!/bin/sh\ntouch %s/ran\n' "$BATS_TEST_TMPDIR" >"$REPO/.git/hooks/$hook"
        chmod +x "$REPO/.git/hooks/$hook"
    done
    git -C "$REPO" config core.fsmonitor "touch $BATS_TEST_TMPDIR/ran; false"
    task -- sh -c 'echo "* filter=evil" >.gitattributes; git config filter.evil.clean "touch /tmp/x"; echo x >x' \
        >/dev/null 2>&1
    exits 0 creel approve "$(newest)"
    git -C "$REPO" config --unset core.fsmonitor
    rm -rf "$REPO/.git/hooks"
    [ ! -e ran ]
    [ "$(git -C "$REPO" show "creel/$(newest):x")" = x ]
}

@test "what the agent planted in its .git stays there" {
    task -- sh -c 'printf "#!/bin/sh\ntouch /task/ran\n" >.git/hooks/pre-commit; chmod +x .git/hooks/pre-commit
        git config core.fsmonitor "touch /task/ran-fsmonitor"; git config core.hooksPath /task/.git/hooks
        git config include.path /etc/shadow; echo /nowhere >.git/objects/info/alternates
        echo work >work.txt' >/dev/null 2>&1
    id=$(newest)
    in_state "$id" succeeded
    changed "$id" work.txt
    not changed "$id" ran
    not changed "$id" ran-fsmonitor
}

@test "the agent may destroy its .git and its work still comes back" {
    task -- sh -c 'rm -rf .git; echo work >work.txt; ln -s /etc .git' >/dev/null 2>&1
    in_state "$(newest)" succeeded
    changed "$(newest)" work.txt
    not changed "$(newest)" .git
}

@test "the agent may shut its work tree and its work still comes back" {
    task -- sh -c 'echo work >work.txt; chmod 0 .' >/dev/null 2>&1
    in_state "$(newest)" succeeded
    changed "$(newest)" work.txt
}

@test "names that fold to .git are never brought back" {
    task -- sh -c 'mkdir .GIT sub sub/.git "git~1" && echo "[core]" | tee .GIT/config sub/.git/config "git~1/config"
        echo x >sub/x; echo plain >plain' >/dev/null 2>&1
    id=$(newest)
    changed "$id" plain
    not changed "$id" .GIT/config
    not changed "$id" sub/.git/config
    not changed "$id" 'git~1/config'
    exits 0 creel approve "$id"
    git -C "$REPO" fsck --strict --no-dangling
}

@test "a nested repository comes back as files or not at all, never as a submodule" {
    task -- sh -c 'git init -q nested && cd nested && echo x >x && git add x &&
        git -c user.name=a -c user.email=a@b commit -q -m x' >/dev/null 2>&1
    id=$(newest)
    exits 0 creel approve "$id"
    git -C "$REPO" ls-tree -r "creel/$id" >listed
    not grep -q "^160000" listed
}

@test "fifos, sockets and holes do not hang or flood the collector" {
    task --limit wall=1m -- sh -c 'mkfifo pipe; truncate -s 1T hole 2>/dev/null || truncate -s 1G hole
        perl -MSocket -e "socket(S, AF_UNIX, SOCK_STREAM, 0); bind(S, sockaddr_un(\"sock\"))"; rm hole; echo x >x' \
        >/dev/null 2>&1
    in_state "$(newest)" succeeded
    changed "$(newest)" x
    not changed "$(newest)" pipe
    not changed "$(newest)" sock
}

@test "what a reviewer must look at is flagged" {
    task -- sh -c 'mkdir -p .github/workflows .githooks; echo on: push >.github/workflows/ci.yml
        echo "* text" >.gitattributes; ln -s ../../etc/passwd up; printf "#!/bin/sh\n" >run; chmod +x run
        printf "\000\001\002" >noise.bin; echo {} >package-lock.json' >/dev/null 2>&1
    id=$(newest)
    for kind in ci gitattributes symlink executable binary lockfile; do
        flagged "$id" "$kind" || { echo "not flagged: $kind"; creel review "$id" --json; false; }
    done
}

@test "control sequences in names and contents are neutralised on a terminal" {
    task -- sh -c 'printf "\033]0;owned\007\033[2J" >"$(printf "esc\033[31m")"; printf "a\033[2Jb\n" >plain.txt' >/dev/null 2>&1
    script -qec "creel review $(newest)" /dev/null </dev/null >tty
    not grep -qaF $'\033[2J' tty
    not grep -qaF $'\033]0;' tty
    not grep -qaF $'\033[31mq' tty
    grep -qa 'plain.txt' tty
}

@test "50 MB of work comes back" {
    task -- sh -c 'head -c 50000000 /dev/urandom >big; sha256sum big' >out 2>/dev/null
    id=$(newest)
    exits 0 creel approve "$id"
    [ "$(git -C "$REPO" show "creel/$id:big" | sha256sum | cut -d' ' -f1)" = "$(cut -d' ' -f1 out)" ]
}

@test "a source tree with tricks in it is refused, and the path is named" {
    cd "$REPO"
    blob=$(echo x | git hash-object -w --stdin)
    for name in .git .GIT git~1 ..; do
        tree=$(python3 -c 'import sys
sys.stdout.buffer.write(b"100644 " + sys.argv[1].encode() + b"\0" + bytes.fromhex(sys.argv[2]))' "$name" "$blob" |
            git hash-object -w -t tree --literally --stdin)
        commit=$(git commit-tree -m trick "$tree")
        run task --base "$commit" -- true
        [ "$status" -ne 0 ] || { echo "accepted: $name"; false; }
        says "$name"
    done
}

@test "submodules, worktrees, sub-directories, detached heads and odd paths are fine" {
    cp -R "$REPO" "$E2E/with blank"
    cd "$E2E/with blank"
    git update-index --add --cacheinfo "160000,$(git rev-parse HEAD),module"
    git commit -q -m module
    exits 0 creel run --yes -- test -f hello.txt </dev/null
    cd src/deep
    exits 0 creel run --yes -- test -f hello.txt </dev/null
    cd ../..
    git checkout -q --detach HEAD~1
    exits 0 creel run --yes -- test -f hello.txt </dev/null
    git worktree add -q "$E2E/tree" HEAD
    exits 0 creel run --repo "$E2E/tree" --yes -- sh -c 'test -f hello.txt; echo x >x' </dev/null
    exits 0 creel approve "$(newest)"
    git rev-parse --verify "creel/$(newest)"
}

@test "a repository without a commit, and no repository: exit 2" {
    git init -q empty
    exits 2 creel run --repo empty --yes -- true
    one_line
    mkdir none
    exits 2 creel run --repo none --yes -- true
    one_line
}
