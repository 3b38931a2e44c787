# Money's own commands: providers, prices, what was spent. No host is needed.
load ../lib/e2e

setup_file()
{
    E2E=$(mktemp -d "${TMPDIR:-/tmp}/creel-money.XXXXXX")
    export E2E CREEL_STATE="$E2E/state" CREEL_PAGER=cat PATH="$THROWAWAY_BIN/controller:$PATH"
    creel init >/dev/null
    cat >"$E2E/litellm.json" <<'END'
{"sample_spec": {"input_cost_per_token": 0.0, "mode": "one of: chat"},
 "gpt-5.5": {"litellm_provider": "openai", "mode": "responses", "input_cost_per_token": 1.25e-06,
   "output_cost_per_token": 1e-05, "cache_read_input_token_cost": 1.25e-07,
   "input_cost_per_token_above_272k_tokens": 2.5e-06, "output_cost_per_token_above_272k_tokens": 1.5e-05},
 "claude-x": {"litellm_provider": "anthropic", "mode": "chat", "input_cost_per_token": 3e-06,
   "output_cost_per_token": 1.5e-05}}
END
}

teardown_file() { rm -rf "$E2E"; }

@test "a provider: known, changed, another, listed, forgotten" {
    creel provider add openai --day-budget 5
    creel provider add openai --day-calls 70
    [ "$(creel provider ls --json | jq -c '.providers[] | [.name, .base_url, .auth, .dialects, .day_usd_micros, .day_calls]')" = \
        '["openai","https://api.openai.com","bearer",["responses","chat"],5000000,70]' ]
    creel provider add local --base-url http://127.0.0.1:8080/v1/ --dialect chat --model a --model b
    creel provider ls | grep -E '^local +http://127.0.0.1:8080 +local +chat .*a,b$'
    [ "$(stat -c %a "$CREEL_STATE/broker/providers.json")" = 600 ]
    creel provider rm local
    exits 2 creel provider rm local
    says "no provider 'local'"
}

@test "what cannot be a provider is refused in a line" {
    while IFS='|' read -r args says; do
        # shellcheck disable=SC2086 # words
        exits 2 creel provider add $args
        [ "$(wc -l <<<"$output")" -eq 1 ]
        one_line
        says "$says"
    done <<'END'
other|say --base-url URL
Other --base-url https://h --dialect chat|not a name for a provider
other --base-url http://h --dialect chat|addresses of this machine only
other --base-url https://u:p@h --dialect chat|without user
other --base-url https://h|at least one dialect
other --base-url https://h --dialect gemini|is none of: responses, chat, messages
openai --auth basic|is none of: bearer, x-api-key
openai --day-budget 1.1234567|not an amount of dollars
openai --day-calls -1|not a number of calls
openai --ca-file /nonexistent/ca.pem|--ca-file
END
}

@test "prices: imported, set, shown, forgotten" {
    exits 2 creel prices ls
    says 'there are no prices yet'
    creel prices import "$E2E/litellm.json" --provider openai --as-of 2026-11-23
    [ "$(creel prices ls --json | jq -c '[.as_of, [.models[].model]]')" = '["2026-11-23",["gpt-5.5"]]' ]
    [ "$(creel prices ls --json | jq -r .sha256)" = "$(sha256sum <"$CREEL_STATE/broker/prices.json" | cut -d ' ' -f 1)" ]
    creel prices import - --provider anthropic --as-of 2026-11-24 <"$E2E/litellm.json"
    creel prices set my-model --input 0.5 --output 2.000001
    [ "$(creel prices ls --json | jq -c '[.models[] | [.model, .input, .output, .cache_write]]')" = \
        '[["claude-x",3000000,15000000,6000000],["gpt-5.5",1250000,10000000,1250000],["my-model",500000,2000001,1000000]]' ]
    creel prices ls gpt | grep -E 'gpt-5.5 +\$1.25 +\$10.00 +\$0.125'
    creel prices ls gpt | grep -E 'above 272000 tokens in +\$2.50 +\$15.00'
    creel prices rm my-model
    exits 2 creel prices ls my-model
    creel prices import "$E2E/litellm.json" --provider openai --replace
    [ "$(creel prices ls --json | jq '.models | length')" = 1 ]
}

@test "a wrong table changes nothing" {
    before=$(sha256sum "$CREEL_STATE/broker/prices.json")
    exits 2 creel prices import /etc/passwd
    says '/etc/passwd: byte 0: not a table of models'
    exits 2 creel prices import "$E2E/litellm.json" --provider nobody
    says 'no model with prices of provider nobody'
    exits 2 creel prices import "$E2E/litellm.json" --as-of 2026-02-30
    exits 2 creel prices set gpt-5.5 --input 1
    exits 2 creel prices set gpt-5.5 --input 1 --output 1e-3
    [ "$before" = "$(sha256sum "$CREEL_STATE/broker/prices.json")" ]
}

@test "a file that was edited by hand is refused where it is wrong" {
    cp "$CREEL_STATE/broker/prices.json" "$E2E/kept"
    sed -i 's/"input":"1250000"/"input":"1250000.5"/' "$CREEL_STATE/broker/prices.json"
    exits 2 creel prices ls
    says 'prices.json: models[0].input: not a decimal string'
    cp "$E2E/kept" "$CREEL_STATE/broker/prices.json"
    creel prices ls >/dev/null
}

@test "a budget of a day that nothing was spent of" {
    creel budget | grep -E '^openai +\$0.00 +\$0.00 +\$5.00 +0 +70 +0$'
    [ "$(creel budget --json | jq -c '[.today[0].provider, .today[0].spent_micros, .days, .tasks]')" = '["openai",0,[],[]]' ]
}
