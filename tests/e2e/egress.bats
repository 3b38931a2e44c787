# The egress gate with the programs that go through it: what a policy names works as outside of a jail, with
# proxy variables and without; what it does not name ends at once, in words, and nothing is sent.
load ../lib/e2e
load ../lib/net
load ../lib/net_web

setup_file()
{
    [ "$(id -u)" -eq 0 ] || skip_file 'making a network for the runner needs root' || return 0
    # shellcheck disable=SC2086 # lists of words
    . "$CREEL_ROOT/deploy/lib/packages.sh" && packages_need 'run the egress tests' $PACKAGES_NET
    net_up 0.0.0.0:22 0.0.0.0:25 0.0.0.0:8080 :::80 :::443
    e2e_up
    web_up
}

teardown_file()
{
    [ -n "${E2E:-}" ] || return 0
    e2e_down
    net_down
}

setup()
{
    file_skipped
    net_forget
}

teardown()
{
    e2e_logs
}

# without : in the jail, a shell without the variables that name the proxy, so that the gate's name server
# and its doors at 443 and 80 are the way.
WITHOUT='unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY no_proxy NO_PROXY
    JAVA_TOOL_OPTIONS;'

have()
{
    [ -x "/usr/bin/$1" ] || skip "this machine has no /usr/bin/$1 to try"
}

# egress_of ID : the account in the signed result, one line an entry: VERDICT NAME PORT.
egress_of()
{
    creel show "$1" --result | jq -r .payload | base64 -d |
        jq -r '.. | objects | select(has("verdict") and has("port")) | "\(.verdict) \(.name) \(.port)"' | sort
}

# accounted VERDICT NAME PORT : an entry of the newest task.
accounted()
{
    egress_of "$(newest)" | grep -Fx "$*" || { echo "not in the account: $*"; egress_of "$(newest)"; return 1; }
}

# only WORD... : nothing but these ADDRESS:PORT were dialled.
only()
{
    local flow
    sent | while read -r _ address port; do
        [[ " $* " == *" $address:$port "* ]] || { echo "also sent: $address $port"; return 1; }
    done
}

@test "curl: https and http through the proxy" {
    exits 0 task --egress www.stage.test -- sh -c 'curl -sSf https://www.stage.test/hello && curl -sSf http://www.stage.test/hello'
    [ "$(grep -c 'hello from the stage' <<<"$output")" -eq 2 ]
    accounted allowed www.stage.test 443
    accounted allowed www.stage.test 80
    only 7.7.7.10:443 7.7.7.10:80
}

@test "curl without proxy variables: by the name server and the doors" {
    exits 0 task --egress www.stage.test -- sh -c "$WITHOUT"'curl -sSf https://www.stage.test/hello && curl -sSf http://www.stage.test/hello'
    [ "$(grep -c 'hello from the stage' <<<"$output")" -eq 2 ]
    accounted allowed www.stage.test 443
    accounted allowed www.stage.test 80
    only 7.7.7.10:443 7.7.7.10:80
}

@test "a large answer and a large body pass whole, both ways in" {
    for how in '' "$WITHOUT"; do
        exits 0 task --egress www.stage.test -- sh -c "$how"'
            curl -sSf https://www.stage.test/big | sha256sum
            curl -sSf http://www.stage.test/big | sha256sum
            curl -sSf http://www.stage.test/big -o /tmp/big
            curl -sSf --data-binary @/tmp/big https://www.stage.test/post
            curl -sSf --data-binary @/tmp/big http://www.stage.test/post
            curl -sSf -H "Transfer-Encoding: chunked" --data-binary @/tmp/big http://www.stage.test/post'
        [ "$(grep -c "^$(sha256sum <"$WEB/www/big" | cut -d' ' -f1)" <<<"$output")" -eq 2 ]
        [ "$(grep -c '^taken' <<<"$output")" -eq 3 ]
    done
    # What was sent is counted with what TLS adds, so it is more.
    creel show "$(newest)" --result | jq -r .payload | base64 -d >"$BATS_TEST_TMPDIR/result"
    jq -e '.. | objects | select(has("sent_bytes") and has("entries")) | .sent_bytes | tonumber > 25165824' "$BATS_TEST_TMPDIR/result"
}

@test "wget, with and without" {
    have wget
    exits 0 task --egress www.stage.test -- sh -c 'wget -qO- https://www.stage.test/hello && wget -qO- http://www.stage.test/hello'
    [ "$(grep -c 'hello from the stage' <<<"$output")" -eq 2 ]
    exits 0 task --egress www.stage.test -- sh -c "$WITHOUT"'wget -qO- https://www.stage.test/hello && wget -qO- http://www.stage.test/hello'
    [ "$(grep -c 'hello from the stage' <<<"$output")" -eq 2 ]
}

@test "git over https, with and without" {
    for how in '' "$WITHOUT"; do
        exits 0 task --egress git.stage.test -- sh -c "$how"'git clone -q https://git.stage.test/project.git /tmp/c &&
            git -C /tmp/c log --format=%s && git -C /tmp/c ls-remote origin'
        says Second First refs/heads/main
    done
    accounted allowed git.stage.test 443
}

@test "npm install, with and without" {
    have npm
    for how in '' "$WITHOUT"; do
        exits 0 task --egress npm.stage.test -- sh -c "$how"'
            export npm_config_registry=https://npm.stage.test/ NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt
            mkdir /tmp/p && cd /tmp/p && npm install --no-audit --no-fund --no-update-notifier stage-pack &&
            node -e "console.log(require(\"stage-pack\"))"'
        says 'stage-pack works'
    done
    accounted allowed npm.stage.test 443
    only 7.7.7.10:443
}

@test "apt-get, with and without: update and download" {
    have apt-get
    for how in '' "$WITHOUT"; do
        exits 0 task --egress deb.stage.test -- sh -c "$how"'
            d=/tmp/apt; mkdir -p $d/lists/partial $d/cache/archives/partial $d/etc; : >$d/status
            echo "deb [trusted=yes] http://deb.stage.test/ ./" >$d/etc/sources.list
            o="-o Dir::State=$d -o Dir::State::status=$d/status -o Dir::Cache=$d/cache -o Dir::Etc=$d/etc
                -o Dir::Etc::sourceparts=- -o Dir::Log=$d -o APT::Sandbox::User= -o Debug::NoLocking=1"
            cd /tmp && apt-get $o -q update && apt-get $o -q download stage-deb && dpkg-deb -c stage-deb_1.0_all.deb'
        says ./usr/share/stage/word
    done
    accounted allowed deb.stage.test 80
    only 7.7.7.10:80
}

@test "pip, with and without" {
    have pip3
    for how in '' "$WITHOUT"; do
        exits 0 task --egress pypi.stage.test -- sh -c "$how"'cd /tmp &&
            pip3 download --no-deps --disable-pip-version-check -i https://pypi.stage.test/simple stagepip && ls *.whl'
        says stagepip-1.0-py3-none-any.whl
    done
    accounted allowed pypi.stage.test 443
}

@test "python's urllib, with and without" {
    have python3
    for how in '' "$WITHOUT"; do
        exits 0 task --egress www.stage.test -- sh -c "$how"'python3 -c "
import urllib.request as u
for s in (\"https\", \"http\"): print(u.urlopen(s + \"://www.stage.test/hello\").read().decode())"'
        [ "$(grep -c 'hello from the stage' <<<"$output")" -eq 2 ]
    done
}

@test "node, which knows no proxy: fetch and https.get" {
    have node
    exits 0 task --egress www.stage.test -- sh -c 'NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt node -e "
        fetch(\"https://www.stage.test/hello\").then(r => r.text()).then(t => console.log(\"fetch:\", t));
        require(\"https\").get(\"https://www.stage.test/hello\", r => r.on(\"data\", d => console.log(\"get:\", String(d))));
        require(\"http\").get(\"http://www.stage.test/hello\", r => r.on(\"data\", d => console.log(\"plain:\", String(d))))"'
    says 'fetch: hello from the stage' 'get: hello from the stage' 'plain: hello from the stage'
}

@test "go get through a module proxy, with and without" {
    have go
    for how in '' "$WITHOUT"; do
        exits 0 task --egress proxy.stage.test -- sh -c "$how"'
            export GOPROXY=https://proxy.stage.test GONOSUMDB="*" GOFLAGS=-mod=mod GOCACHE=/tmp/gc GOPATH=/tmp/go
            mkdir /tmp/m && cd /tmp/m && echo "module m" >go.mod && go get example.com/stage && cat go.mod'
        says 'example.com/stage v1.0.0'
    done
}

@test "what is not named is denied at once, in words, with the flag that would allow it" {
    exits 0 task --egress www.stage.test -- sh -c '
        curl -sS --max-time 20 https://elsewhere.stage.test/hello; echo "curl https: $?"
        curl -sS --max-time 20 http://elsewhere.stage.test/hello; echo "curl http: $?"
        '"$WITHOUT"'
        curl -sS --max-time 20 https://elsewhere.stage.test/hello; echo "curl direct: $?"'
    says 'curl https: 56' 'response 403' 'curl http: 0' '--egress elsewhere.stage.test' 'curl direct: 6' 'Could not resolve host'
    accounted denied elsewhere.stage.test 443
    accounted denied elsewhere.stage.test 80
    accounted denied elsewhere.stage.test 0
    exits 0 creel show "$(newest)" --egress
    says elsewhere.stage.test denied '--egress elsewhere.stage.test'
    # Neither was anything sent nor any name asked for.
    [ -z "$(sent)" ]
    [ -z "$(asked)" ]
}

@test "each client ends when it is denied, and says something" {
    exits 0 task --egress www.stage.test -- sh -c '
        t() { name=$1; shift; timeout 60 "$@" >/tmp/out 2>&1; echo "$name: $?"; sed "s/^/  /" /tmp/out | tail -n 6; }
        export NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt npm_config_registry=https://npm.stage.test/ npm_config_fetch_retries=0
        all() {
            t "$1 wget" wget -O- https://elsewhere.stage.test/
            t "$1 git" git clone https://git.stage.test/project.git /tmp/c
            t "$1 python" python3 -c "import urllib.request as u; u.urlopen(\"https://elsewhere.stage.test/\")"
            t "$1 pip" pip3 download --retries 0 --disable-pip-version-check -d /tmp -i https://pypi.stage.test/simple stagepip
            ! command -v npm >/dev/null || t "$1 npm" npm install --prefix /tmp/p --no-audit stage-pack
            ! command -v node >/dev/null || t "$1 node" node -e "fetch(\"https://elsewhere.stage.test/\").catch(e => { console.log(e.cause); process.exit(9) })"
        }
        all with; '"$WITHOUT"' all without'
    says 'with wget: ' 'with git: 128' 'with python: 1' '403'
    says 'without wget: 4' 'without git: 128' 'without python: 1' 'Could not resolve host'
    # 124 is what timeout says.
    not grep -E '^with(out)? [a-z]+: (0|124)$' <<<"$output"
    accounted denied git.stage.test 443
    [ -z "$(sent)" ]
    [ -z "$(asked)" ]
}

@test "a suffix allows what is below it, not itself, nor what only ends alike" {
    net_zone 'xwww.stage.test 60 7.7.7.10' 'www.stage.test.evil.test 60 7.7.7.10'
    exits 0 task --egress '*.www.stage.test' -- sh -c '
        for name in api.www.stage.test www.stage.test xwww.stage.test www.stage.test.evil.test; do
            curl -sS -o /dev/null -w "$name %{http_code}\n" http://$name/hello
        done'
    says 'api.www.stage.test 200' 'www.stage.test 403' 'xwww.stage.test 403' 'www.stage.test.evil.test 403'
    [ "$(asked)" = api.www.stage.test ]
}

@test "a port is allowed alone, by the proxy and by a door of its own" {
    for how in '' "$WITHOUT"; do
        exits 0 task --egress www.stage.test:8443 -- sh -c "$how"'
            curl -sS https://www.stage.test:8443/hello
            curl -sS --max-time 20 https://www.stage.test/hello; echo "443: $?"
            curl -sS --max-time 20 https://www.stage.test:8444/hello; echo "8444: $?"'
        says 'hello from the stage'
        not grep -E '^(443|8444): 0' <<<"$output"
    done
    accounted allowed www.stage.test 8443
    accounted denied www.stage.test 443
    only 7.7.7.10:8443
}

@test "a redirect to what is not named ends there" {
    exits 0 task --egress www.stage.test -- sh -c 'curl -sSL http://www.stage.test/away'
    says '--egress elsewhere.stage.test'
    [ "$(asked)" = www.stage.test ]
}

@test "a name that leads to the host's own or private addresses is refused, whatever the policy says" {
    net_zone 'own.stage.test 60 127.0.0.1' 'meta.stage.test 60 169.254.169.254' 'six.stage.test 60 ::1' \
        'mapped.stage.test 60 ::ffff:7.7.7.10' 'none.stage.test 60 -'
    exits 0 task --egress '*.stage.test' -- sh -c '
        for name in own meta six mapped none gone; do
            curl -sS --max-time 20 -w "$name %{http_code}\n" http://$name.stage.test/
        done'
    for name in own meta six mapped; do
        accounted refused $name.stage.test 80
    done
    accounted failed none.stage.test 80
    accounted failed gone.stage.test 80
    [ -z "$(sent)" ]
}

@test "presets: apt and npm are what this host's own configuration says" {
    have npm
    global=$(env -i PATH="$PATH" npm config get globalconfig)
    [ -e "$global" ] || skip "npm here has no file $global that the test's could stand in for"
    mkdir -p "$NET/apt.d"
    : >"$NET/sources.list"
    printf 'deb [trusted=yes] http://deb.stage.test/ ./\n' >"$NET/apt.d/stage.list"
    printf 'registry=https://npm.stage.test/\n' >"$NET/npmrc"
    chmod -R a+rX "$NET/apt.d" "$NET/sources.list" "$NET/npmrc"
    net_mount sources.list /etc/apt/sources.list
    net_mount apt.d /etc/apt/sources.list.d
    net_mount npmrc "$global"
    exits 0 task --egress npm,apt -- sh -c 'curl -sSf https://npm.stage.test/stage-pack >/dev/null && curl -sSf http://deb.stage.test/Packages &&
        curl -sS -o /dev/null -w "%{http_code}\n" http://www.stage.test/'
    says 'Package: stage-deb' 403
}

@test "no rules, no way: nothing at all is sent" {
    exits 0 task -- sh -c 'curl -sS --max-time 20 https://www.stage.test/; echo "proxy: $?"; '"$WITHOUT"'
        curl -sS --max-time 20 https://www.stage.test/; echo "direct: $?"
        curl -sS --max-time 20 https://7.7.7.10/; echo "address: $?"'
    not grep -E '^(proxy|direct|address): (0|28)$' <<<"$output"
    [ -z "$(sent)" ]
    [ -z "$(asked)" ]
}

@test "the limits on connections, bytes sent and questions hold, and are told in words" {
    exits 0 task --egress www.stage.test --limit conns=5 -- sh -c 'for i in 1 2 3 4 5 6 7 8; do curl -s -o /dev/null -w "%{http_code}\n" http://www.stage.test/hello; done'
    [ "$(grep -c '^200' <<<"$output")" -eq 5 ]
    exits 0 creel show "$(newest)"
    grep -i 'limit.*5.*reached' <<<"$output"
    exits 0 task --egress www.stage.test --limit sent=1M -- sh -c 'head -c 4000000 /dev/zero >/tmp/z; curl -sS --max-time 60 --data-binary @/tmp/z https://www.stage.test/post; echo "post: $?"'
    not grep -E '^(post: (0|28)|taken)' <<<"$output"
    exits 0 creel show "$(newest)"
    grep -i 'limit.*1 MiB.*reached' <<<"$output"
    exits 0 task --egress www.stage.test --limit dns=5 -- sh -c "$WITHOUT"'for i in 1 2 3 4 5 6 7 8 9; do getent ahostsv4 www.stage.test >/dev/null; echo "ask: $?"; done'
    grep -q '^ask: 0' <<<"$output"
    not grep -q '^ask: 0$' <<<"$(tail -n 20 <<<"$output" | grep '^ask' | tail -n 1)"
    [ -z "$(asked)" ] || [ "$(asked)" = www.stage.test ]
}

@test "the log and the account show the same connections" {
    exits 0 task --egress www.stage.test -- sh -c 'curl -sS -o /dev/null http://www.stage.test/hello; curl -sS -o /dev/null http://elsewhere.stage.test/'
    exits 0 creel logs "$(newest)"
    says www.stage.test elsewhere.stage.test
    exits 0 creel show "$(newest)" --egress
    says 'www.stage.test' 'allowed' 'elsewhere.stage.test' 'denied'
}
