# The git broker with the real git client on one side and git-http-backend behind nginx on the other: the real
# broker process between them, its door on loopback as a jail has it (tests/tools/git_door.c).
load ../lib/e2e

setup_file()
{
    # shellcheck disable=SC2086 # lists of words
    . "$CREEL_ROOT/deploy/lib/packages.sh" && packages_need 'run the git broker tests' $PACKAGES_NET
    E2E=$(mktemp -d "${TMPDIR:-/tmp}/creel-git.XXXXXX")
    export E2E
    e2e_git_env
    ssh-keygen -q -t ed25519 -N '' -f "$E2E/key"
    mkdir "$E2E/repos" "$E2E/tmp"
    make_repo "$E2E/source"
    openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost \
        -keyout "$E2E/tls.key" -out "$E2E/tls.pem" 2>/dev/null
    nginx_up
    export PORT TLS_PORT KEY="operators-own-credential-$RANDOM$RANDOM"
    printf 'x-access-token:%s\n' "$(openssl passwd -apr1 "$KEY")" >"$E2E/users"
}

# Ports that are free now; nginx takes them before anybody else on this machine is likely to.
nginx_up()
{
    read -r PORT TLS_PORT < <(python3 -c 'import socket
a, b = socket.socket(), socket.socket()
a.bind(("127.0.0.1", 0)), b.bind(("127.0.0.1", 0))
print(a.getsockname()[1], b.getsockname()[1])')
    cat >"$E2E/nginx.conf" <<TEXT
worker_processes 1; pid $E2E/nginx.own; error_log $E2E/nginx.error; events {}
user root;
http {
    log_format stage '"\$request" \$status \$remote_user "\$http_authorization" "\$http_git_protocol" "\$http_cookie"';
    access_log $E2E/served stage; client_max_body_size 0;
    client_body_temp_path $E2E/tmp; proxy_temp_path $E2E/tmp; fastcgi_temp_path $E2E/tmp;
    uwsgi_temp_path $E2E/tmp; scgi_temp_path $E2E/tmp;
    ssl_certificate $E2E/tls.pem; ssl_certificate_key $E2E/tls.key;
    server { listen 127.0.0.1:$PORT; listen 127.0.0.1:$TLS_PORT ssl;
        location /moved/ { return 302 http://127.0.0.1:$PORT/own/greet.git\$is_args\$args; }
        location /broken/ { default_type text/html; return 200 '<html>not git</html>'; }
        location / { auth_basic forge; auth_basic_user_file $E2E/users; gzip off;
            include /etc/nginx/fastcgi_params; fastcgi_pass unix:$E2E/fcgi.sock; fastcgi_read_timeout 60s;
            fastcgi_param SCRIPT_FILENAME /usr/lib/git-core/git-http-backend;
            fastcgi_param GIT_HTTP_EXPORT_ALL 1; fastcgi_param GIT_PROJECT_ROOT $E2E/repos;
            fastcgi_param REMOTE_USER \$remote_user; fastcgi_param HTTP_GIT_PROTOCOL \$http_git_protocol;
            fastcgi_param PATH_INFO \$uri; } }
}
TEXT
    fcgiwrap -s "unix:$E2E/fcgi.sock" </dev/null >"$E2E/fcgi.log" 2>&1 3>&- &
    echo $! >"$E2E/fcgi.pid"
    throwaway_wait 10 test -S "$E2E/fcgi.sock"
    nginx -c "$E2E/nginx.conf" -g 'daemon off;' </dev/null >"$E2E/nginx.log" 2>&1 3>&- &
    echo $! >"$E2E/nginx.pid"
    throwaway_wait 10 curl --noproxy '*' -s -o "$E2E/tmp/x" "http://127.0.0.1:$PORT/"
}

teardown_file()
{
    [ -n "${E2E:-}" ] || return 0
    kill "$(cat "$E2E/nginx.pid")" "$(cat "$E2E/fcgi.pid")" 2>/dev/null || true
    rm -rf "$E2E"
}

# Each test has its forge as new, and a door to it once it says `door MODE [URL]`.
setup()
{
    rm -rf "$E2E/repos" && mkdir "$E2E/repos" "$E2E/repos/own"
    git clone -q --bare "$E2E/source" "$E2E/repos/own/greet.git"
    git clone -q --bare "$E2E/source" "$E2E/repos/own/other.git"
    : >"$E2E/served"
    cd "$BATS_TEST_TMPDIR"
    unset HTTP_PROXY HTTPS_PROXY http_proxy https_proxy ALL_PROXY all_proxy
    export GIT_TERMINAL_PROMPT=0 NO_PROXY=127.0.0.1 no_proxy=127.0.0.1
}

teardown()
{
    [ -n "${BATS_TEST_COMPLETED:-}" ] || { tail -n 5 "$E2E/door.log" "$E2E/served" "$E2E/nginx.error"; }
    door_close
    [ -z "${FORGE_PID:-}" ] || kill "$FORGE_PID"
}

door_close()
{
    [ -z "${DOOR_FD:-}" ] || { exec {DOOR_FD}>&-; wait "$DOOR_PID" 2>/dev/null || true; }
    DOOR_FD=
}

# door MODE [URL [WEB CA]] : the broker with one attempt; then BRANCH, TOKEN, URL, and git of a jail's environment.
door()
{
    URL=${2:-http://127.0.0.1:$PORT/own/greet.git}
    local web=${3:-http://127.0.0.1:$PORT}
    rm -rf "$E2E/broker" "$E2E/info" "$E2E/in"
    mkdir -m 700 "$E2E/broker"
    printf '%s' "$KEY" >"$E2E/secret" && chmod 600 "$E2E/secret"
    printf '{"secrets":[{"name":"forge-token","ref":"file:%s"}]}' "$E2E/secret" >"$E2E/broker/secrets.json"
    printf '{"forges":[{"name":"own","kind":"github","web":"%s","api":"%s/api","token":"forge-token","ca_file":"%s"}]}' \
        "$web" "$web" "${4:-}" >"$E2E/broker/forges.json"
    chmod 600 "$E2E/broker"/*.json
    mkfifo "$E2E/in"
    "$THROWAWAY_BIN/tests/tools/git_door" "$THROWAWAY_BIN/controller/creel" "$E2E/key" "$E2E/broker" "$URL" "$1" \
        "$E2E/info" <"$E2E/in" >"$E2E/door.log" 2>&1 3>&- &
    DOOR_PID=$!
    exec {DOOR_FD}>"$E2E/in"
    throwaway_wait 10 test -s "$E2E/info"
    read -r DOOR_PORT TOKEN BRANCH <"$E2E/info"
    jail_env "$TOKEN"
}

# What the controller puts into a jail's environment (controller/cli/run_agent.c), but the door's port.
jail_env()
{
    local path=${URL#http*://*/}
    export GIT_CONFIG_COUNT=2
    export GIT_CONFIG_KEY_0="url.http://127.0.0.1:$DOOR_PORT/git/$path.insteadOf" GIT_CONFIG_VALUE_0="$URL"
    export GIT_CONFIG_KEY_1="http.http://127.0.0.1:$DOOR_PORT/.extraHeader"
    export GIT_CONFIG_VALUE_1="Authorization: Bearer $1"
}

forge_ref()
{
    git --git-dir="$E2E/repos/own/${2:-greet}.git" rev-parse -q --verify "$1"
}

commit()
{
    echo "$1" >>work/hello.txt
    git -C work commit -q -a -m "$1"
}

raw()
{
    curl --noproxy '*' -s -o "$BATS_TEST_TMPDIR/body" -w '%{http_code}' -H "Authorization: Bearer $TOKEN" "$@"
}

@test "clone and fetch pass, by protocol 2 and 0, with the operator's credential and never the task's token" {
    door read
    exits 0 git clone -q "$URL" work
    [ "$(git -C work rev-parse HEAD)" = "$(git -C "$E2E/source" rev-parse HEAD)" ]
    git -C "$E2E/source" commit -q --allow-empty -m more
    git -C "$E2E/source" push -q "$E2E/repos/own/greet.git" main
    exits 0 git -C work -c protocol.version=0 fetch -q
    [ "$(git -C work rev-parse origin/main)" = "$(git -C "$E2E/source" rev-parse HEAD)" ]
    grep -q '"version=2"' "$E2E/served"
    not grep -q "$TOKEN" "$E2E/served"
    not grep -qv 'x-access-token' "$E2E/served"
}

@test "a large repository comes whole, and slowly read ones too" {
    head -c 8000000 /dev/urandom >"$E2E/source/big.bin"
    git -C "$E2E/source" add big.bin && git -C "$E2E/source" commit -q -m big
    git -C "$E2E/source" push -q "$E2E/repos/own/greet.git" main
    door read
    exits 0 git clone -q "$URL" work
    cmp work/big.bin "$E2E/source/big.bin"
    printf '0032want %s\n00000009done\n' "$(git -C work rev-parse HEAD)" >want
    raw --limit-rate 4M -H 'Content-Type: application/x-git-upload-pack-request' --data-binary @want \
        "http://127.0.0.1:$DOOR_PORT/git/own/greet.git/git-upload-pack" >code
    [ "$(cat code)" = 200 ]
    [ "$(stat -c %s body)" -gt 8000000 ]
    git -C "$E2E/source" reset -q --hard HEAD~1
}

@test "the task's own branch can be made and moved on, in 3 MB too" {
    door push
    exits 0 git clone -q "$URL" work
    commit one
    exits 0 git -C work push -q origin "HEAD:refs/heads/$BRANCH"
    [ "$(forge_ref "$BRANCH")" = "$(git -C work rev-parse HEAD)" ]
    head -c 3000000 /dev/urandom >work/big.bin
    git -C work add big.bin
    commit two
    exits 0 git -C work push -q origin "HEAD:$BRANCH"
    [ "$(forge_ref "$BRANCH")" = "$(git -C work rev-parse HEAD)" ]
    exits 0 git -C work push origin "HEAD:$BRANCH"
    says 'up-to-date'
    grep -q "^note .* git: refs/heads/$BRANCH: $(git -C work rev-parse HEAD)" "$E2E/door.log"
}

@test "any other push is refused in git's own words, and the forge hears of none" {
    door push
    exits 0 git clone -q "$URL" work
    main=$(forge_ref main)
    commit one
    exits 1 git -C work push origin HEAD:main
    says 'creel: not allowed: only branch'
    exits 1 git -C work push origin HEAD:refs/tags/v1
    says 'creel: not allowed: only branch'
    exits 1 git -C work push origin "HEAD:$BRANCH" HEAD:other
    says 'creel: not allowed: only branch'
    exits 1 git -C work push --force origin HEAD:main
    says 'creel: not allowed'
    exits 1 git -C work push origin :main
    says 'creel: not allowed'
    exits 1 git -C work push --mirror origin
    says 'creel: not allowed'
    exits 0 git -C work push -q origin "HEAD:$BRANCH"
    exits 1 git -C work push origin ":$BRANCH"
    says 'may not be deleted'
    [ "$(forge_ref main)" = "$main" ]
    [ "$(forge_ref "$BRANCH")" = "$(git -C work rev-parse HEAD)" ]
    [ "$(git --git-dir="$E2E/repos/own/greet.git" for-each-ref | wc -l)" -eq 2 ]
    [ "$(grep -c 'POST .*git-receive-pack' "$E2E/served")" -eq 1 ]
}

@test "a branch that somebody else moved is not moved, by force neither" {
    door push
    exits 0 git clone -q "$URL" work
    commit one
    exits 0 git -C work push -q origin "HEAD:$BRANCH"
    git clone -q -b "$BRANCH" "$E2E/repos/own/greet.git" theirs
    git -C theirs commit -q --allow-empty -m theirs
    git -C theirs push -q origin "HEAD:$BRANCH"
    theirs=$(forge_ref "$BRANCH")
    commit two
    exits 1 git -C work push --force origin "HEAD:$BRANCH"
    says 'somebody else pushed'
    [ "$(forge_ref "$BRANCH")" = "$theirs" ]
}

# push_raw OLD NEW CAPABILITIES : a push's commands as no git would say them, with a pack of nothing.
push_raw()
{
    printf '%04x%s %s refs/heads/%s\0%b0000' $((98 + ${#BRANCH} + $(printf %b "$3" | wc -c))) "$1" "$2" "$BRANCH" "$3" >push
    case $3 in *push-options*) printf '0018merge_request.create0000' >>push ;; esac
    git -C work pack-objects -q --stdout </dev/null >>push
    raw -X POST -H 'content-type: application/x-git-receive-pack-request' --data-binary @push \
        "http://127.0.0.1:$DOOR_PORT/git/own/greet.git/git-receive-pack"
}

@test "a commit of somebody else's that a push merely names does not become the task's own" {
    door push
    exits 0 git clone -q "$URL" work
    commit one
    exits 0 git -C work push -q origin "HEAD:$BRANCH"
    mine=$(forge_ref "$BRANCH")
    git clone -q -b "$BRANCH" "$E2E/repos/own/greet.git" theirs
    git -C theirs commit -q --allow-empty -m theirs
    git -C theirs push -q origin "HEAD:$BRANCH"
    theirs=$(forge_ref "$BRANCH")
    [ "$(push_raw "$mine" "$theirs" ' report-status')" = 200 ] # said to the forge, which does not do it
    grep -aq "ng refs/heads/$BRANCH" body
    [ "$(push_raw "$mine" "$theirs" ' agent=x')" = 403 ]
    grep -q 'must ask for a report-status' body
    commit two
    exits 1 git -C work push --force origin "HEAD:$BRANCH"
    says 'somebody else pushed'
    [ "$(forge_ref "$BRANCH")" = "$theirs" ]
}

@test "push options come to the forge in no spelling of theirs" {
    door push
    git --git-dir="$E2E/repos/own/greet.git" config receive.advertisePushOptions true
    printf '#!/bin/sh\nenv | grep ^GIT_PUSH_OPTION >>"%s"\nexit 0\n' "$BATS_TEST_TMPDIR/options" \
        >"$E2E/repos/own/greet.git/hooks/pre-receive"
    chmod +x "$E2E/repos/own/greet.git/hooks/pre-receive"
    exits 0 git clone -q "$URL" work
    exits 0 git -C work push -q origin "HEAD:$BRANCH"
    commit one
    exits 1 git -C work push -o merge_request.create origin "HEAD:$BRANCH"
    tip=$(forge_ref "$BRANCH")
    for caps in ' report-status push-options' ' report-status\tpush-options' ' report-status push-options=1' \
        ' report-status push-options\n'; do
        [ "$(push_raw "$tip" "$tip" "$caps")" = 200 ]
        grep -aq 'ng .*push options are not passed on' body
    done
    ! grep -q GIT_PUSH_OPTION_0 options
}

@test "a push whose client goes away is heard to its end" {
    door push
    printf '#!/bin/sh\ntouch "%s/asked"; while [ ! -e "%s/go" ]; do sleep 0.1; done\n' "$BATS_TEST_TMPDIR" \
        "$BATS_TEST_TMPDIR" >"$E2E/repos/own/greet.git/hooks/pre-receive"
    chmod +x "$E2E/repos/own/greet.git/hooks/pre-receive"
    exits 0 git clone -q "$URL" work
    commit one
    setsid git -C work push -q origin "HEAD:$BRANCH" </dev/null >/dev/null 2>&1 3>&- &
    client=$!
    throwaway_wait 20 test -e asked
    kill -9 -- "-$client" || kill -9 "$client"
    wait "$client" 2>/dev/null || true
    touch go
    throwaway_wait 20 grep -q "^note .* git: refs/heads/$BRANCH: $(git -C work rev-parse HEAD)" "$E2E/door.log"
    commit two
    exits 0 git -C work push -q origin "HEAD:$BRANCH"
    [ "$(forge_ref "$BRANCH")" = "$(git -C work rev-parse HEAD)" ]
}

# A forge that says where its branches stand and then nothing more; its port in $1.
deaf_forge()
{
    python3 -c '
import http.server, sys, threading
class Forge(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        line = b"0" * 40 + b" capabilities^{}\0report-status\n"
        body = b"001f# service=git-receive-pack\n0000%04x" % (len(line) + 4) + line + b"0000"
        self.send_response(200)
        self.send_header("Content-Type", "application/x-git-receive-pack-advertisement")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_POST(self):
        threading.Event().wait()
forge = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Forge)
forge.daemon_threads = True
open(sys.argv[1] + ".new", "w").write(str(forge.server_port))
import os
os.rename(sys.argv[1] + ".new", sys.argv[1])
forge.serve_forever()' "$1" </dev/null >forge.log 2>&1 3>&- &
    FORGE_PID=$!
    throwaway_wait 10 test -s "$1"
}

pushes_at_forge()
{
    ss -Htn state established dst "127.0.0.1:$1" | wc -l
}

few_pushes_at_forge()
{
    [ "$(pushes_at_forge "$1")" -le 20 ]
}

@test "pushes whose clients went away do not add up" {
    local zero=0000000000000000000000000000000000000000 line port
    deaf_forge "$BATS_TEST_TMPDIR/port"
    port=$(cat port)
    door push "http://127.0.0.1:$port/own/greet.git" "http://127.0.0.1:$port"
    [ "$(raw "http://127.0.0.1:$DOOR_PORT/git/own/greet.git/info/refs?service=git-receive-pack")" = 200 ]
    line="$zero $(git -C "$E2E/source" rev-parse HEAD) refs/heads/$BRANCH"
    printf '%04x%s\0 report-status\n0000' $((${#line} + 20)) "$line" >push
    for _ in $(seq 60); do
        raw --max-time 2 -H 'Content-Type: application/x-git-receive-pack-request' --data-binary @push \
            "http://127.0.0.1:$DOOR_PORT/git/own/greet.git/git-receive-pack" >/dev/null &
        clients+=($!)
    done
    for client in "${clients[@]}"; do wait "$client" || true; done
    throwaway_wait 10 few_pushes_at_forge "$port"
    [ "$(pushes_at_forge "$port")" -ge 10 ]
}

@test "other repositories, other paths, other methods are not served" {
    door push
    exits 128 git ls-remote "http://127.0.0.1:$DOOR_PORT/git/own/other.git"
    says 'only the task'
    base="http://127.0.0.1:$DOOR_PORT/git"
    for path in own/greet.git/HEAD own/greet.git/objects/info/packs own/greet.git/info/refs \
        'own/greet.git/info/refs?service=git-upload-archive' 'own/greet.git/info/refs?service=git-upload-pack&x' \
        own/greet.git/config own/../own/greet.git/HEAD; do
        [ "$(raw --path-as-is "$base/$path")" = 403 ]
    done
    [ "$(raw -X DELETE "$base/own/greet.git/git-receive-pack")" = 403 ]
    [ "$(raw --path-as-is "$base/own/greet.git/../other.git/info/refs?service=git-upload-pack")" = 200 ]
    grep -aq 'ERR creel: only the task' body
    [ "$(raw -X POST -d 0000 "$base/own/greet.git/git-receive-pack")" = 403 ] # not git's content type
    [ ! -s "$E2E/served" ]
}

@test "reading is not pushing, and none is neither" {
    door read
    exits 0 git clone -q "$URL" work
    commit one
    exits 128 git -C work push origin "HEAD:$BRANCH"
    says 'creel: this task may only read'
    [ "$(raw -X POST -H 'Content-Type: application/x-git-receive-pack-request' -d 0000 \
        "http://127.0.0.1:$DOOR_PORT/git/own/greet.git/git-receive-pack")" = 403 ]
    not grep -q receive-pack "$E2E/served"
}

@test "a wrong token gets nothing, and git does not ask for another" {
    door push
    jail_env "$(printf '0%.0s' $(seq 64))"
    exits 128 git ls-remote "$URL"
    [ ! -s "$E2E/served" ]
    unset GIT_CONFIG_VALUE_1 GIT_CONFIG_KEY_1
    export GIT_CONFIG_COUNT=1
    exits 128 git ls-remote "$URL"
    [ ! -s "$E2E/served" ]
}

@test "a forge that refuses, moves or speaks something else is told apart, in one line" {
    door read
    printf 'x-access-token:nobody\n' >"$E2E/users"
    exits 128 git ls-remote "$URL"
    printf 'x-access-token:%s\n' "$(openssl passwd -apr1 "$KEY")" >"$E2E/users"
    says "the forge refuses the operator's credential"
    door_close
    door read "http://127.0.0.1:$PORT/moved/greet.git"
    exits 128 git ls-remote "$URL"
    says 'is elsewhere'
    door_close
    door read "http://127.0.0.1:$PORT/broken/greet.git"
    exits 128 git ls-remote "$URL"
    says "answer is not git's"
    door_close
    door read "http://127.0.0.1:1/own/greet.git"
    exits 128 git ls-remote "$URL"
    says 'cannot be reached'
}

@test "a forge with an authority of its own is spoken to by TLS, one with another is not" {
    door read "https://localhost:$TLS_PORT/own/greet.git" "https://localhost:$TLS_PORT" "$E2E/tls.pem"
    exits 0 git ls-remote "$URL"
    says refs/heads/main
    door_close
    : >"$E2E/served"
    door read "https://localhost:$TLS_PORT/own/greet.git" "https://localhost:$TLS_PORT"
    exits 128 git ls-remote "$URL"
    says 'cannot be reached'
    grep -qi certificate "$E2E/door.log"
    [ ! -s "$E2E/served" ]
}
