# What people build, in the jail: a jail that breaks builds is not used. Everything here works offline,
# on what the distribution installs; what is absent is skipped and said.
load ../lib/e2e

setup_file()
{
    export IMAGES
    IMAGES=$(mktemp -d "${TMPDIR:-/tmp}/creel-builds.XXXXXX")
    export THROWAWAY_RUNNER_FLAGS="--images $IMAGES"
    e2e_up
}

teardown_file()
{
    [ -z "${E2E:-}" ] || e2e_down
    rm -rf "$IMAGES"
}

teardown() { e2e_logs; }

needs()
{
    local program
    for program in "$@"; do
        PATH=/usr/bin:/bin command -v "$program" >/dev/null || skip "no $program in /usr/bin here"
    done
}

# builds SCRIPT LINE... : the script succeeds in the jail, and its output has each line.
builds()
{
    exits 0 task --limit "mem=2G,disk=1G,wall=4m,pids=512" -- sh -ec "$1"
    shift
    says "$@"
}

@test "C: gcc, make -j, a library, a test program, an address sanitizer with its leak check" {
    needs gcc make ar
    builds '
        for i in 1 2 3 4 5 6 7 8; do echo "int f$i(int x) { return x + $i; }" >f$i.c; done
        printf "%s\n" "int f1(int); int f8(int); int printf(const char *, ...);" \
            "int main(void) { printf(\"%d\\n\", f1(f8(33))); return 0; }" >main.c
        printf "all: main\nlib.a: f1.o f2.o f3.o f4.o f5.o f6.o f7.o f8.o\n\tar rcs \$@ \$^\nmain: main.o lib.a\n\t\$(CC) -o \$@ \$^\n" >Makefile
        make -s -j8 && ./main
        gcc -fsanitize=address,undefined -g -o checked main.c f1.c f8.c && ./checked && echo sanitized' 42 sanitized
}

@test "node: npm install of a local package, its scripts, node --test, worker threads" {
    needs node npm
    builds '
        mkdir dep app
        echo "{\"name\":\"dep\",\"version\":\"1.0.0\",\"scripts\":{\"install\":\"node -e 0\"}}" >dep/package.json
        echo "module.exports = 41" >dep/index.js
        cd app
        echo "{\"name\":\"app\",\"version\":\"1.0.0\",\"scripts\":{\"test\":\"node --test\"}}" >package.json
        printf "%s\n" "const t = require(\"node:test\"), a = require(\"node:assert\");" \
            "t(\"dep\", () => a.strictEqual(require(\"dep\") + 1, 42));" \
            "t(\"worker\", async () => { const {Worker} = require(\"worker_threads\");" \
            "  await new Promise((r) => new Worker(\"1\", {eval: true}).on(\"exit\", r)); });" >app.test.js
        npm install --offline --no-audit --no-fund ../dep
        npm test
        node -e "console.log(require(\"os\").cpus().length > 0 ? \"processors\" : \"none\")"' 'pass 2' processors
}

@test "python: venv, multiprocessing, threads, sqlite, a server on loopback" {
    needs python3
    builds '
        python3 -m venv --without-pip v && . v/bin/activate
        cat >t.py <<END
import multiprocessing, sqlite3, threading, urllib.request, http.server, mmap, tempfile
def square(x): return x * x
if __name__ == "__main__":
    with multiprocessing.Pool(4) as p: print("pool", sum(p.map(square, range(10))))
    q = multiprocessing.Queue(); e = multiprocessing.Event()
    c = multiprocessing.Process(target=lambda: (q.put("child"), e.set())); c.start(); e.wait(10); print(q.get(), end=" "); c.join()
    d = sqlite3.connect("x.db"); d.execute("pragma journal_mode=wal"); d.execute("create table t(a)"); d.commit()
    s = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    threading.Thread(target=s.serve_forever, daemon=True).start()
    print("served", urllib.request.urlopen("http://127.0.0.1:%d/hello.txt" % s.server_port).status)
END
        python t.py' 'pool 285' 'child served 200'
}

@test "git: clone, commit, rebase, worktree, gc" {
    needs git
    builds '
        git clone -q . ../tmp/c && cd ../tmp/c && git checkout -q -b side
        echo s >side && git add . && git commit -q -m side
        git checkout -q - && echo m >main2 && git add . && git commit -q -m main
        git rebase -q side && git worktree add -q ../w side && git gc -q && git fsck && git log --oneline | wc -l' 3
}

@test "rust: cargo build and test, a build script, two crates" {
    needs cargo rustc gcc
    builds '
        mkdir -p d/src a/src
        printf "[package]\nname = \"d\"\nversion = \"0.1.0\"\n" >d/Cargo.toml
        echo "pub fn d() -> i32 { 41 }" >d/src/lib.rs
        printf "[package]\nname = \"a\"\nversion = \"0.1.0\"\n[dependencies]\nd = { path = \"../d\" }\n" >a/Cargo.toml
        echo "fn main() { println!(\"cargo:rustc-env=X=1\"); }" >a/build.rs
        printf "fn main() { println!(\"{}\", d::d() + env!(\"X\").len() as i32); }\n#[test] fn t() { assert_eq!(d::d(), 41); }\n" >a/src/main.rs
        cd a && cargo build --offline -q && ./target/debug/a && cargo test --offline' 42 '1 passed'
}

@test "go: build, test, the race-free parts of its runtime" {
    needs go
    builds '
        printf "module m\n\ngo 1.18\n" >go.mod
        printf "package main\n\nimport \"fmt\"\n\nfunc F() int { c := make(chan int); for i := 0; i < 42; i++ { go func() { c <- 1 }() }; n := 0; for n < 42 { n += <-c }; return n }\nfunc main() { fmt.Println(F()) }\n" >m.go
        printf "package main\n\nimport \"testing\"\n\nfunc TestF(t *testing.T) { if F() != 42 { t.Fail() } }\n" >m_test.go
        export GOFLAGS=-mod=mod GOPROXY=off
        go vet . && go build -o m . && ./m && go test .' 42 'ok'
}

@test "java: javac, java, threads" {
    needs java javac
    builds '
        echo "class A { public static void main(String[] a) throws Exception { Thread t = new Thread(() -> System.out.println(6 * 7)); t.start(); t.join(); } }" >A.java
        javac A.java && java -cp . A' 42
}

# The real client of a real agent, from its package as the registry has it; the model is one turn of our
# own, on the jail's loopback.
codex_image()
{
    local cache root=$BATS_FILE_TMPDIR/codex package applet lib
    [ -d "$IMAGES/codex" ] && return
    command -v busybox >/dev/null || skip 'no busybox-static here'
    cache=$(sh "$TOOLS/npm_tools" codex 2>"$BATS_FILE_TMPDIR/npm.why") || skip "$(tail -n 1 "$BATS_FILE_TMPDIR/npm.why")"
    package=$(echo "$cache"/node_modules/@openai/codex-linux-*/vendor/*)
    [ -x "$package/bin/codex" ] || skip 'the package has no program for this machine'
    mkdir -p "$root/bin" "$root/opt/codex" "$root/usr/bin"
    cp -a "$package/." "$root/opt/codex/"
    ln -s /opt/codex/bin/codex "$root/usr/bin/codex"
    cp "$(command -v busybox)" /bin/bash "$root/bin/"
    for applet in $(busybox --list); do
        [ -e "$root/bin/$applet" ] || ln -s busybox "$root/bin/$applet"
    done
    for lib in $(ldd /bin/bash | grep -o '/[^ ]*'); do
        mkdir -p "$root$(dirname "$lib")"
        cp -L "$lib" "$root$lib"
    done
    sh "$CREEL_ROOT/deploy/image" --to "$IMAGES" codex "$root"
    rm -rf "$root"
}

# codex_turn EXIT SANDBOX FLAG... : one `codex exec` whose model has it run the command of the fixture; the
# task's exit is EXIT, since the tests judge what the command did.
codex_turn()
{
    local due=$1 sandbox=$2
    shift 2
    rm -rf "$BATS_TEST_TMPDIR/repo"
    git init -q "$BATS_TEST_TMPDIR/repo"
    cp -R "$CREEL_ROOT/tests/fixtures/codex/cgi-bin" "$CREEL_ROOT/tests/fixtures/codex/config.toml" "$BATS_TEST_TMPDIR/repo/"
    echo Helo >"$BATS_TEST_TMPDIR/repo/greet.txt"
    git -C "$BATS_TEST_TMPDIR/repo" add -A
    git -C "$BATS_TEST_TMPDIR/repo" commit -q -m 'Greet'
    exits "$due" creel run --repo "$BATS_TEST_TMPDIR/repo" --yes --image codex --limit mem=2G,disk=1G,wall=3m,pids=512 "$@" \
        --setup 'mkdir ~/.codex && cp config.toml ~/.codex/ && httpd -h /task -p 127.0.0.1:4300' \
        --test 'grep -q Hello greet.txt && test -e by-agent' -- \
        codex exec --json --skip-git-repo-check --ephemeral -s "$sandbox" -C /task 'Greet properly.' </dev/null
    says 'The command ran.' '"type":"turn.completed"'
}

@test "codex: the real program starts" {
    codex_image
    exits 0 task --image codex --limit mem=2G -- codex --version
    says codex-cli
}

@test "codex: a turn with its own sandbox off" {
    codex_image
    codex_turn 0 danger-full-access
}

@test "codex: a turn in its own sandbox, where the policy says so" {
    codex_image
    codex_turn 0 workspace-write --nested-userns
}

@test "codex: without that policy its own sandbox cannot be made, and the tests show it" {
    codex_image
    codex_turn 5 workspace-write
    says 'Greet' bwrap
}
