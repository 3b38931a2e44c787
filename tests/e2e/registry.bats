# A package through this machine's own npm registry, by preset: the gate and npm's own configuration as they
# are where creel is used. Skipped where no registry answers.
load ../lib/e2e

# The registry's URL, host and addresses are found here and written down nowhere.
setup_file()
{
    local host
    command -v npm >/dev/null || skip_file 'npm is not installed here' || return 0
    REGISTRY=$(npm config get registry)
    host=$(node -p 'new URL(process.argv[1]).hostname' "$REGISTRY")
    export REGISTRY
    curl -sSf --max-time 20 -o /dev/null "${REGISTRY%/}/is-number" 2>/dev/null ||
        skip_file 'the registry that npm is set up for does not answer' || return 0
    # A registry of one's own is often at a private address, which the gate dials only when it is told to.
    THROWAWAY_RUNNER_FLAGS=$(getent ahosts "$host" | cut -d' ' -f1 | sort -u | sed 's/^/--reach /' | tr '\n' ' ')
    export THROWAWAY_RUNNER_FLAGS
    e2e_up
}

teardown_file()
{
    [ -z "${E2E:-}" ] || e2e_down
}

teardown()
{
    e2e_logs
}

@test "npm install through the registry that this host's npm is set up for" {
    exits 0 task --limit wall=5m --egress npm -- sh -c "export npm_config_registry='$REGISTRY'"'
        export NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt
        mkdir /tmp/p && cd /tmp/p && npm install --no-audit --no-fund --no-update-notifier is-number &&
        node -e "console.log(require(\"is-number\")(7) ? \"it works\" : \"\")"'
    says 'it works'
    exits 0 creel show "$(newest)" --egress
    says allowed
}

@test "without the preset the same registry is denied" {
    exits 5 task --limit wall=5m -- sh -c "export npm_config_registry='$REGISTRY' npm_config_fetch_retries=0"'
        mkdir /tmp/p && cd /tmp/p && npm install --no-audit --no-fund --no-update-notifier is-number'
    exits 0 creel show "$(newest)" --egress
    says denied
}
