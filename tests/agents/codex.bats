# OpenAI's Codex CLI, the real one from npm, in a jail on a host reached by SSH; its model calls go through the
# broker to a mock that lets in nobody but the key which only the broker has.
load ../lib/e2e
load ../lib/broker
load ../lib/agents

setup_file()
{
    agents_have codex || return 0
    agents_up codex
    priced gpt-5.5
}

teardown_file() { agents_down; }
teardown() { e2e_logs; }

@test "codex edits by its own tools in the jail; every token is metered; the edit is reviewed and approved" {
    aimock_forget
    exits 0 agent_task codex --budget 2.50
    id=$(newest)
    # The log reads as what it thought, ran and edited.
    says 'thinks A typo is to be fixed.' 'says   I look first.' 'runs   ' 'edits  update' 'used   5400 tokens in, 152 out'
    [ "$(aimock_calls)" -eq 4 ]
    [ "$(spend_of "$id" .sum.calls)" -eq 4 ]
    [ "$(spend_of "$id" .sum.input_tokens)" -eq "$EDIT_IN" ]
    [ "$(spend_of "$id" .sum.output_tokens)" -eq "$EDIT_OUT" ]
    # 5400 in at 2.50 and 152 out at 10 dollars a million.
    [ "$(spend_of "$id" .sum.spent_micros)" -eq $((EDIT_IN * 5 / 2 + EDIT_OUT * 10)) ]
    [ "$(spend_of "$id" '[.calls[].end] | unique | join(",")')" = settled ]
    edit_is_there "$id"
    no_key_left
    # The bytes as Codex printed them.
    creel logs --raw "$id" | grep -c '^{"type":"item.completed"' | grep -q '^[5-9]$'
}

@test "codex told to stop after two calls makes two, and the task ends as refused" {
    aimock_forget
    exits 7 agent_task codex --budget 2.50 --calls 2
    id=$(newest)
    [ "$(aimock_calls)" -eq 2 ]
    [ "$(spend_of "$id" .sum.calls)" -eq 2 ]
    in_state "$id" refused
    creel show "$id" --json | jq -r .task.reason | grep -q calls
    says 'error  creel:'
}

@test "codex with money for less than one call makes none" {
    aimock_forget
    exits 7 agent_task codex --budget 0.01
    id=$(newest)
    [ "$(aimock_calls)" -eq 0 ]
    [ "$(spend_of "$id" .sum.spent_micros)" -eq 0 ]
    in_state "$id" refused
    creel show "$id" --json | jq -r .task.reason | grep -q budget
}
