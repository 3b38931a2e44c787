# Providers that fail in every way, an SSH connection that breaks in the middle of an answer, a controller killed
# between reserving and settling: what stands on disk is never below what the provider saw.
load ../lib/e2e
load ../lib/broker

KINDS='ok e429 e500 e401 e400 silent cut nousage zero over text minus endless huge lump gate slow redirect compressed twohead hang'

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

