# Dependency caches: kept from a trusted task only, read-only to all others, named by their content.
load ../lib/e2e

setup_file()
{
    export CACHES
    CACHES=$(mktemp -d "${TMPDIR:-/tmp}/creel-caches.XXXXXX")
    export THROWAWAY_RUNNER_FLAGS="--caches $CACHES"
    e2e_up
}

teardown_file()
{
    e2e_down
    rm -rf "$CACHES"
}

teardown() { e2e_logs; }

@test "what a trusted task leaves in its cache is kept, files, directories and links only" {
    exits 0 task --cache deps --trusted -- sh -c '
        cd ~/.cache && echo good >dep && mkdir -p npm/a && echo x >npm/a/x && chmod 4755 npm/a/x &&
        ln -s dep link && mkfifo pipe && chmod 700 npm'
    [ "$(find "$CACHES" -mindepth 1 -maxdepth 1 | wc -l)" -eq 1 ]
    tree=$(echo "$CACHES"/*)
    [ "${#tree}" -eq "$((${#CACHES} + 65))" ]
    [ "$(cat "$tree/dep")" = good ]
    [ "$(readlink "$tree/link")" = dep ]
    [ "$(stat -c %a "$tree/npm/a/x" "$tree/npm" "$tree/dep" | tr '\n' ' ')" = '755 755 644 ' ]
    [ ! -e "$tree/pipe" ]
}

@test "the digest is what the header says it is" {
    tree=$(echo "$CACHES"/*)
    python3 - "$tree" >"$BATS_TEST_TMPDIR/digest" <<'END'
import hashlib, os, sys
h = hashlib.sha256(b"creel-cache-v1\n")
def walk(d, p):
    for n in sorted(os.listdir(d)):
        f, q = os.path.join(d, n), p + b"/" + n if p else n
        if os.path.islink(f):
            h.update(b"l " + os.readlink(f) + b"\0" + q + b"\0")
        elif os.path.isdir(f):
            h.update(b"d " + q + b"\0")
            walk(f, q)
        else:
            c = open(f, "rb").read()
            t = b"x " if os.stat(f).st_mode & 0o100 else b"f "
            h.update(t + str(len(c)).encode() + b" " + hashlib.sha256(c).hexdigest().encode() + b" " + q + b"\0")
walk(sys.argv[1].encode(), b"")
print(h.hexdigest())
END
    [ "$(cat "$BATS_TEST_TMPDIR/digest")" = "${tree##*/}" ]
}

@test "a later task finds it, and may write: over it, beside it, away with it" {
    exits 0 task --cache deps -- sh -ec '
        cd ~/.cache; cat dep; cat npm/a/x; echo bad >dep; echo bad >>npm/a/x; rm link; mv npm/a/x y
        rm -r npm; echo new >new; cat dep; ls | tr "\n" " "'
    says good bad 'dep new y'
}

@test "what it wrote died with it: the next one finds what was kept, byte for byte" {
    exits 0 task --cache deps -- sh -ec 'cd ~/.cache; cat dep npm/a/x; readlink link; ls -A | tr "\n" " "'
    says good 'dep link npm '
    [ "$(find "$CACHES" -mindepth 1 -maxdepth 1 | wc -l)" -eq 1 ]
    [ "$(cat "$CACHES"/*/dep)" = good ]
}

@test "a task without trust keeps nothing, and one that names no cache sees none" {
    before=$(ls "$CACHES")
    exits 0 task --cache deps -- sh -c 'echo more >~/.cache/more'
    exits 0 task -- sh -c 'mkdir -p ~/.cache; echo more >~/.cache/more; ls ~/.cache'
    says more
    [ "$(ls -A "$CACHES")" = "$before" ]
}

@test "a trusted task goes on from the cache that it names" {
    exits 0 task --cache deps --trusted -- sh -c 'cat ~/.cache/dep; echo second >~/.cache/second'
    says good
    exits 0 task --cache deps -- sh -c 'cat ~/.cache/dep ~/.cache/second'
    says good second
    [ "$(find "$CACHES" -mindepth 1 -maxdepth 1 | wc -l)" -eq 2 ]
}

@test "the same content is the same cache" {
    exits 0 task --cache deps --trusted -- true
    [ "$(find "$CACHES" -mindepth 1 -maxdepth 1 | wc -l)" -eq 2 ]
}

@test "a cache that is not there is refused, and nothing runs" {
    mkdir "$BATS_TEST_TMPDIR/away"
    mv "$CACHES"/* "$BATS_TEST_TMPDIR/away"
    run task --cache deps -- sh -c 'echo it-ran'
    mv "$BATS_TEST_TMPDIR/away"/* "$CACHES"
    [ "$status" -eq 7 ]
    says 'is not on this host'
    [[ "$output" != *'it-ran'$'\n'* ]]
}

@test "the operator's name stands for what the last trusted task that succeeded left" {
    kept=$(creel cache ls --json | jq -r '.caches[] | select(.name == "deps").sha256')
    [ -d "$CACHES/$kept" ]
    exits 5 task --cache deps --trusted -- sh -c 'echo poison >~/.cache/poison; exit 1'
    [ "$(creel cache ls --json | jq -r '.caches[] | select(.name == "deps").sha256')" = "$kept" ]
    exits 0 task --cache deps -- sh -c '! test -e ~/.cache/poison'
    exits 0 creel cache ls
    says deps "$CREEL_HOST" "${kept:0:12}"
    exits 0 task --cache other -- true
    says 'other, empty: none was kept'
    creel cache rm deps
    exits 0 task --cache deps -- sh -c '! test -e ~/.cache/dep'
    exits 2 creel cache rm deps
    exits 0 task --cache deps --trusted -- sh -c 'echo good >~/.cache/dep'
}

@test "a link in the store is no cache" {
    for one in "$CACHES"/*; do mv "$one" "$BATS_TEST_TMPDIR/"; ln -s "$BATS_TEST_TMPDIR/${one##*/}" "$one"; done
    run task --cache deps -- true
    for one in "$CACHES"/*; do rm "$one"; mv "$BATS_TEST_TMPDIR/${one##*/}" "$one"; done
    [ "$status" -eq 7 ]
}

@test "package managers find their downloads there" {
    command -v /usr/bin/npm >/dev/null || skip 'no npm in /usr/bin here'
    exits 0 task -- sh -c 'npm config get cache; python3 -m pip cache dir 2>/dev/null || true; env | grep -E "^(GOMODCACHE|CARGO_HOME)="'
    says /home/agent/.cache/npm GOMODCACHE=/home/agent/.cache/go-mod CARGO_HOME=/home/agent/.cache/cargo
}
