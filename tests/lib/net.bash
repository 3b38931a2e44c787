# shellcheck shell=bash
# A network for tests that has everything and leads nowhere: the runner (and so the egress gate) gets a
# network namespace in which every address of the world is local, with name server, web servers and
# a recorder of each packet (tests/lib/net_stage.py). Beside it a mount namespace, in which the host's resolver
# and trusted certificates are the test's. sshd and the operator's side stay where they are: between
# them and the runner is a unix socket.
#
#   net_up ADDRESS:PORT...   baits on these; before e2e_up; $NET is the stage's directory
#   net_in COMMAND...        runs it on the stage
#   $NET_UNDER COMMAND...    the same, for what stays: the shell's $! is its pid
#   net_down                 after e2e_down

net_in()
{
    $NET_UNDER "$@"
}

# The certificates that the test's world trusts: one authority of our own, and a key for all its hosts.
net_certificates()
{
    mkdir "$NET/certs"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj '/CN=Stage Authority' \
        -addext 'basicConstraints=critical,CA:TRUE' -keyout "$NET/ca.key" -out "$NET/certs/ca.pem" 2>/dev/null
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj '/CN=stage.test' \
        -keyout "$NET/tls.key" -out "$NET/tls.csr" 2>/dev/null
    printf 'subjectAltName=DNS:*.stage.test,DNS:stage.test\n' >"$NET/tls.ext"
    openssl x509 -req -in "$NET/tls.csr" -CA "$NET/certs/ca.pem" -CAkey "$NET/ca.key" -CAserial "$NET/ca.srl" -CAcreateserial \
        -days 2 -extfile "$NET/tls.ext" -out "$NET/tls.pem" 2>/dev/null
    cp "$NET/certs/ca.pem" "$NET/certs/ca-certificates.crt"
    openssl rehash "$NET/certs" 2>/dev/null
    chmod -R a+rX "$NET/certs"
}

# net_mount FILE PATH : the stage's own FILE stands at PATH of the host, seen from the stage.
net_mount()
{
    if [ -e "$2" ]; then
        net_in mount --bind "$NET/$1" "$2"
    fi
}

net_up()
{
    NET=$(mktemp -d "${TMPDIR:-/tmp}/creel-net.XXXXXX")
    export NET
    chmod 755 "$NET"
    : >"$NET/zone"
    net_certificates
    printf "nameserver 7.7.7.53\nsearch evil-search.test\noptions timeout:2 attempts:1\n" >"$NET/resolv.conf"
    printf 'hosts: files dns\npasswd: files\ngroup: files\nshadow: files\nservices: files\nprotocols: files\n' \
        >"$NET/nsswitch.conf"
    printf '127.0.0.1 localhost\n::1 localhost ip6-localhost\n' >"$NET/hosts"
    # exec all the way: the pid is the stage's own.
    setsid unshare --net --mount --propagation private -- \
        python3 "$CREEL_ROOT/tests/lib/net_stage.py" up "$NET" "$@" </dev/null >"$NET/log" 2>&1 3>&- &
    echo $! >"$NET/pid"
    throwaway_wait 10 grep -q '^ready' "$NET/log" || { cat "$NET/log"; return 1; }
    NET_UNDER="nsenter --target $(cat "$NET/pid") --net --mount --wd=/ --"
    THROWAWAY_RUNNER_UNDER=$NET_UNDER
    export NET_UNDER THROWAWAY_RUNNER_UNDER
    net_mount resolv.conf /etc/resolv.conf
    net_mount nsswitch.conf /etc/nsswitch.conf
    net_mount hosts /etc/hosts
    net_mount certs /etc/ssl/certs
}

net_down()
{
    local file
    for file in "$NET"/*.pid "$NET/pid"; do
        throwaway_end "$file"
    done
    [ -n "${CREEL_E2E_KEEP:-}" ] || rm -rf "$NET"
}

# net_zone 'NAME TTL ADDRESSES'... : names of the world, see net_stage.py.
net_zone()
{
    printf '%s\n' "$@" >>"$NET/zone"
}

# All that was sent before now is in the records.
net_mark()
{
    net_in python3 "$CREEL_ROOT/tests/lib/net_stage.py" mark "$NET"
    not grep '^LOST' "$NET/packets"
}

# net_forget : what was recorded up to now is another test's.
net_forget()
{
    net_mark
    : >"$NET/packets"
    : >"$NET/dns"
    : >"$NET/baits"
}

# sent : the flows since net_forget, but for questions to the stage's name server.
sent()
{
    net_mark
    grep -vE '^(mark|udp 7\.7\.7\.53 53$)' "$NET/packets" | sort -u
}

# asked : the names that the stage's name server was asked for since net_forget.
asked()
{
    net_mark
    cut -d' ' -f1 "$NET/dns" | sort -u
}
