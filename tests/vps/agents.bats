# Agents on a real VPS: the tool layer as deploy/tools makes it there, under the installed service, in jails whose
# users are mapped ranges.
load ../lib/e2e
load ../lib/vps

setup_file()
{
    vps_host_up
    on_vps 'mkdir -p /root/agent/bin && cat >/root/agent/bin/fake-agent && chmod 700 /root/agent/bin/fake-agent' <<'END'
#!/bin/sh
set -eu
. "$HOME/.fake/settings"
[ "$token" = "$CREEL_TASK_TOKEN" ]
echo "as $(id -u), prompt: $1"
echo changed >>/task/hello.txt
touch "$0" 2>/dev/null || echo 'its tool is read-only'
END
    on_vps 'sh /root/kit/deploy/tools fake-agent=/root/agent'
    cat >"$E2E/fake.json" <<'END'
{"name":"fake","argv":["fake-agent","${PROMPT}"],"dialect":"none","tool":"fake-agent",
 "files":[{"path":".fake/settings","lines":["token='${CREEL_TASK_TOKEN}'"]}]}
END
    # The host says what it has when it is asked anew.
    creel host test vps
}

teardown_file()
{
    vps_host_down
}

teardown()
{
    [ -n "${BATS_TEST_COMPLETED:-}" ] || on_vps 'journalctl -u creel-runner -n 12 --no-pager -o cat' || true
}

@test "an agent from the host's tool layer works, and cannot change it" {
    creel host ls --json | jq -e '.hosts[0].tools == ["fake-agent"]' >/dev/null
    exits 0 task --agent "$E2E/fake.json" 'do it'
    says 'as 1000, prompt: do it' 'its tool is read-only'
    in_state "$(newest)" succeeded
    run creel review last
    says '+changed'
    not on_vps 'grep -rl "token=" /var/lib/creel /run/creel-runner /var/lib/creel-runner'
}
