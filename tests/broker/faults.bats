# Providers that fail in every way, an SSH connection that breaks in the middle of an answer, a controller killed
# between reserving and settling: what stands on disk is never below what the provider saw.
load ../lib/e2e
load ../lib/broker

KINDS='ok vary pace e429 e500 e401 e400 silent cut nousage zero over text minus endless huge lump gate slow redirect compressed twohead hang'

setup_file()
{
    e2e_up
    broker_up
    faulty_up
    # shellcheck disable=SC2086 # a list of words
    priced $KINDS
}

teardown_file()
{
    throwaway_alive "$E2E/host/sshd.pid" || sshd_again
    broker_down
    e2e_down
}

setup()
{
    : >"$FAULTY/journal"
    rm -f "$FAULTY/open"
}

teardown() { e2e_logs; }

# What one good call costs: 1000 in, 100 out.
ONE=3500

# ask_each EXIT OPTION... -- MODEL... : one call to each, one after the other.
ask_each()
{
    local due=$1 options=()
    shift
    while [ "$1" != -- ]; do options+=("$1"); shift; done
    shift
    exits "$due" task --provider faulty --budget 100 "${options[@]}" -- sh -c \
        'for kind in "$@"; do for form in "" --stream; do echo "$kind $(python3 ask.py responses $kind --bytes 4000 $form)"; done; done' sh "$@"
    id=$(newest)
}

# charged MODEL : "END HTTP reserve|used|nothing|other" of each of its calls, in one line.
charged()
{
    spend_of "$id" '[.calls[] | select(.model == "'"$1"'") | .end + " " + (.http_status | tostring) + " " +
        (if .charged_micros == .reserved_micros then "reserve" elif .charged_micros == 0 then "nothing"
         elif .charged_micros == '$ONE' then "used" else "other" end)] | join(", ")'
}

# enough_on_disk ID : for every call the provider let in at least what it would have charged is on disk, by its own
# count of good answers.
enough_on_disk()
{
    local seen on_disk
    seen=$(faulty_calls "${2:-}")
    on_disk=$(spend_of "$1" '.sum.spent_micros + .sum.held_micros')
    [ "$on_disk" -ge $((seen * ONE)) ] || { echo "$on_disk on disk, $seen calls seen"; return 1; }
}

@test "errors of the provider reach the agent, without the key that it repeats, and cost nothing" {
    ask_each 0 -- e429 e500 e400 e401
    says 'e429 429 ' 'e500 5' 'e400 400 '
    [[ "$output" != *sk-canary* ]] || { echo "the key came to the jail: $output"; return 1; }
    [ "$(spend_of "$id" .sum.spent_micros)" -eq 0 ]
}

@test "an answer without usable usage costs all that was reserved" {
    ask_each 0 -- nousage zero text minus
    for kind in nousage zero text minus; do
        [ "$(charged $kind)" = 'whole 200 reserve, whole 200 reserve' ] || { charged $kind; return 1; }
    done
    enough_on_disk "$id"
}

@test "an answer that breaks off costs all that was reserved, and the agent is told" {
    ask_each 0 -- cut
    not says 'cut 200 The answer is 42.'
    [[ "$(charged cut)" == 'whole 200 reserve, whole 200 reserve' ]] || { charged cut; return 1; }
    enough_on_disk "$id"
}

@test "usage over the reservation is believed, and ends the money" {
    exits 7 task --provider faulty --budget 10 -- sh -c 'python3 ask.py responses over --bytes 4000; python3 ask.py responses ok'
    id=$(newest)
    in_state "$id" refused
    [ "$(faulty_calls)" -eq 1 ]
    # 5 million at 2.50 and 100,000 at 10 dollars a million.
    [ "$(spend_of "$id" '.calls[0] | "\(.end) \(.charged_micros)"')" = 'over 13500000' ]
}

@test "answers without end, of 1 GiB, of one event, compressed, with two heads, from elsewhere: bounded and paid for" {
    exits 0 task --provider faulty --budget 100 --limit wall=5m -- sh -c '
        for kind in huge redirect compressed twohead; do echo "$kind $(python3 ask.py responses $kind --bytes 4000)"; done
        echo "lump $(python3 ask.py responses lump --bytes 4000 --stream)"'
    id=$(newest)
    not says 'The answer is 42.'
    for kind in lump compressed twohead; do
        [[ "$(charged $kind)" == whole*reserve ]] || { charged $kind; return 1; }
    done
    [ "$(faulty_calls)" -eq 5 ]
    exits 0 task --provider faulty --budget 100 --limit wall=5m -- python3 ask.py responses endless --bytes 4000 --stream
    id=$(newest)
    [ "$(charged endless)" = 'whole 200 reserve' ]
}

@test "a provider that never answers: the task's own end ends the call, and it is paid for" {
    exits 3 task --provider faulty --budget 100 --limit wall=4s -- python3 ask.py responses hang --bytes 4000
    id=$(newest)
    ended() { [[ "$(charged hang)" == *whole*reserve* ]]; }
    throwaway_wait 10 ended || { charged hang; return 1; }
}

@test "a slow stream passes byte by byte" {
    exits 0 task --provider faulty --budget 100 -- python3 ask.py chat slow --stream
    says '200 The answer is 42.'
}

@test "SSH breaks in the middle of an answer: it is paid for whole, and the agent asks again" {
    id=$(detached --provider faulty --budget 100 -- python3 ask.py responses gate --bytes 4000 --stream --retry 20)
    asked() { [ "$(faulty_calls gate)" -ge 1 ]; }
    throwaway_wait 30 asked
    sleep 0.5
    for pid in $(pgrep -P "$(cat "$E2E/host/sshd.pid")"); do kill -9 "$pid" || true; done
    again() { [ "$(faulty_calls gate)" -ge 2 ]; }
    throwaway_wait 60 again
    touch "$FAULTY/open"
    wait_final "$id"
    in_state "$id" succeeded
    creel logs --raw "$id" | grep '^200 The answer is 42\.$'
    [[ "$(charged gate)" == 'whole '*' reserve, '*'settled 200 used' ]] || { charged gate; return 1; }
    enough_on_disk "$id"
}

# kill -9, both processes, and gone.
controller_kill()
{
    local engine broker
    engine=$(engine_pid)
    broker=$(broker_pid)
    kill -9 "$engine" $broker 2>/dev/null || true
    throwaway_wait 10 throwaway_gone "$engine"
    [ -z "$broker" ] || throwaway_wait 10 throwaway_gone "$broker"
}

# some_cut ID : the kills met calls under way, else nothing is shown.
some_cut()
{
    [ "$(spend_of "$1" '[.calls[] | select(.end == "whole" and .charged_micros == .reserved_micros)] | length')" -ge 1 ]
}

@test "the controller killed -9 at any moment: what is on disk is no less than what the provider saw" {
    id=$(detached --provider faulty --budget 1000 --calls 400 --limit wall=4m -- \
        python3 ask.py responses pace --bytes 4000 --stream --times 30 --retry 20)
    asked() { [ "$(faulty_calls pace)" -ge $1 ]; }
    for round in 1 2 3; do
        throwaway_wait 60 asked $((round * 7))
        sleep "0.$((RANDOM % 3))$((RANDOM % 10))"
        controller_kill
        enough_on_disk "$id" pace
        creel serve --idle-exit 5 </dev/null >>"$E2E/serve.log" 2>&1 3>&- &
    done
    wait_state "$id" succeeded failed refused
    enough_on_disk "$id" pace
    # Nothing hangs over: what a dead process held is charged.
    [ "$(spend_of "$id" .sum.held_micros)" -eq 0 ]
    some_cut "$id"
    # And each call had its answer in the end.
    [ "$(creel logs --raw "$id" | grep -c '^200 The answer is 42\. [0-9]*$')" -eq 30 ]
}

# another_broker OLD : one is there, and it is not that.
another_broker()
{
    local now
    now=$(broker_pid) && [ -n "$now" ] && [ "$now" != "$1" ]
}

@test "the broker alone killed -9 at any moment: the engine starts another, which knows what was spent" {
    local broker
    id=$(detached --provider faulty --budget 1000 --calls 400 --limit wall=4m -- \
        python3 ask.py responses pace --bytes 4000 --stream --times 30 --retry 20)
    asked() { [ "$(faulty_calls pace)" -ge $1 ]; }
    for round in 1 2 3; do
        throwaway_wait 60 asked $((round * 7))
        sleep "0.$((RANDOM % 3))$((RANDOM % 10))"
        broker=$(broker_pid)
        engine=$(engine_pid)
        kill -9 "$broker"
        throwaway_wait 10 throwaway_gone "$broker"
        throwaway_wait 30 another_broker "$broker"
        [ "$(engine_pid)" = "$engine" ]
        enough_on_disk "$id" pace
    done
    wait_state "$id" succeeded failed refused
    enough_on_disk "$id" pace
    [ "$(spend_of "$id" .sum.held_micros)" -eq 0 ]
    some_cut "$id"
    [ "$(creel logs --raw "$id" | grep -c '^200 The answer is 42\. [0-9]*$')" -eq 30 ]
}

@test "64 calls at once against money for 10 at once: ten are let through, the others may come again" {
    local micros
    exits 0 task --provider faulty --budget 10 --output-tokens 1000 -- python3 ask.py responses ok --bytes 4000
    # Ten and a half: streams are a few bytes longer.
    micros=$(($(spend_of "$(newest)" '.calls[0].reserved_micros') * 21 / 2))
    : >"$FAULTY/journal"
    id=$(detached --provider faulty --budget "$(printf '%d.%06d' $((micros / 1000000)) $((micros % 1000000)))" \
        --output-tokens 1000 --in-flight 64 --calls-per-minute 200 -- \
        python3 ask.py responses gate --bytes 4000 --stream --parallel 64)
    turned_away() { [ "$(creel logs --raw "$id" | grep -c '^429 .*budget.* held')" -eq 54 ]; }
    throwaway_wait 60 turned_away
    [ "$(faulty_calls gate)" -eq 10 ]
    touch "$FAULTY/open"
    wait_final "$id"
    [ "$(creel logs --raw "$id" | grep -c '^200 The answer is 42\.$')" -eq 10 ]
    [ "$(spend_of "$id" .sum.spent_micros)" -eq $((10 * ONE)) ]
    [ "$(spend_of "$id" .sum.held_micros)" -eq 0 ]
}

@test "the broker alone killed -9: the next call gets a new one, and what the dead one held is charged" {
    id=$(detached --provider faulty --budget 100 -- python3 ask.py responses gate --bytes 4000 --stream --retry 20)
    asked() { [ "$(faulty_calls gate)" -ge "$1" ]; }
    throwaway_wait 30 asked 1
    engine=$(engine_pid)
    broker=$(broker_pid)
    kill -9 $broker
    throwaway_wait 10 throwaway_gone "$broker"
    throwaway_wait 60 asked 2
    [ "$(engine_pid)" = "$engine" ]
    touch "$FAULTY/open"
    wait_final "$id"
    in_state "$id" succeeded
    creel logs --raw "$id" | grep '^200 The answer is 42\.$'
    [[ "$(charged gate)" == 'whole '*' reserve, '*'settled 200 used' ]] || { charged gate; return 1; }
    enough_on_disk "$id"
}

@test "every broker killed -9 until the task is over: another comes after a pause, what is not wiped then is, and who waited goes on" {
    id=$(detached --limit wall=4m -- sleep 3)
    wait_state "$id" running
    engine=$(engine_pid)
    # shellcheck disable=SC2086 # a list of words
    while ! in_state "$id" $FINAL; do
        pkill -9 -P "$engine" -f ' broker ' || sleep 0.05
    done
    has_receipt "$id" && return 1
    waits=$(detached -- true)
    throwaway_wait 60 has_receipt "$id"
    wait_state "$waits" succeeded
    [ "$(creel show "$waits" --json | jq .task.attempt)" -lt 9 ]
    [ "$(engine_pid)" = "$engine" ]
}

# Of a broker that has ended: it shares its files with nobody.
over_in_ledger()
{
    sqlite3 "$CREEL_STATE/broker/spend.db" "select over from attempts where attempt = '$1.1'"
}

@test "an attempt whose end no broker heard of is over with the next one" {
    exits 0 task --provider faulty --budget 100 -- python3 ask.py responses ok --bytes 4000
    id=$(newest)
    broker=$(broker_pid)
    creel serve --stop
    throwaway_wait 10 throwaway_gone "$broker"
    [ "$(over_in_ledger "$id")" = 1 ]
    sqlite3 "$CREEL_STATE/broker/spend.db" "update attempts set over = 0 where attempt = '$id.1'"
    [ "$(over_in_ledger "$id")" = 0 ]
    timeout 60 creel serve --idle-exit 1
    [ "$(over_in_ledger "$id")" = 1 ]
}

# given_back : a task that is done, as if the engine had died between the broker's signature and its own note that it
# sends. $id is its id.
given_back()
{
    exits 0 task --provider faulty --budget 100 -- python3 ask.py responses ok --bytes 4000
    id=$(newest)
    broker=$(broker_pid)
    creel serve --stop
    throwaway_wait 10 throwaway_gone "$broker"
    sqlite3 "$CREEL_STATE/broker/spend.db" "update attempts set over = 0 where attempt = '$id.1'"
    sqlite3 "$CREEL_STATE/creel.db" "update tasks set state = 1, imported = 0 where id = '$id'"
}

@test "an attempt that was signed and never sent is over once its lease is given back" {
    given_back
    find "$CREEL_STATE/tasks/$id" -mindepth 1 -type f ! -path '*/quarantine.git/*' -delete
    timeout 100 creel serve --idle-exit 1
    in_state "$id" succeeded failed
    [ "$(over_in_ledger "$id")" = 1 ]
    [ "$(sqlite3 "$CREEL_STATE/creel.db" "select attempt_n from tasks where id = '$id'")" = 2 ]
}

@test "an engine whose last task is not believed any more ends when it has nothing to do" {
    given_back
    timeout 100 creel serve --idle-exit 1 # the log that is there is another attempt's
    in_state "$id" refused
}
