# opencode, the real one from npm, through the whole path: see codex.bats.
load ../lib/e2e
load ../lib/broker
load ../lib/agents

setup_file()
{
    agents_have opencode || return 0
    agents_up opencode
    priced gpt-5.5
}

teardown_file() { agents_down; }
teardown() { e2e_logs; }

@test "opencode edits by its own tools in the jail; every token is metered; the edit is reviewed and approved" {
    aimock_forget
    exits 0 agent_task opencode --budget 5
    id=$(newest)
    [ "$(aimock_calls)" -ge 4 ]
    [ "$(spend_of "$id" .sum.calls)" -eq "$(aimock_calls)" ]
    [ "$(spend_of "$id" .sum.input_tokens)" -ge "$EDIT_IN" ]
    [ "$(spend_of "$id" '.sum | .spent_micros * 2 == .input_tokens * 5 + .output_tokens * 20')" = true ]
    [ "$(spend_of "$id" '[.calls[].end] | unique | join(",")')" = settled ]
    edit_is_there "$id"
    no_key_left
}

@test "opencode told to stop after two calls makes two, and the task ends as refused" {
    aimock_forget
    exits 7 agent_task opencode --budget 5 --calls 2
    id=$(newest)
    [ "$(aimock_calls)" -eq 2 ]
    in_state "$id" refused
}
