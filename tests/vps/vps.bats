# On a real VPS (Debian 12, systemd, cgroup v2, under QEMU): what deploy/install makes is a host on
# which every limit is enforced, and of which nothing is left after a task but the record.
load ../lib/e2e
load ../lib/vps

setup_file()
{
    vps_host_up
    creel serve --stop
    remains | sort >"$E2E/remains"
}

teardown_file()
{
    vps_host_down
}

teardown()
{
    [ -n "${BATS_TEST_COMPLETED:-}" ] || on_vps 'journalctl -u creel-runner -n 12 --no-pager -o cat' || true
}

setup()
{
    cd "$BATS_TEST_TMPDIR"
}

# measured NAME : a number of the newest task, as `show` tells it.
measured()
{
    creel show "$(newest)" --json | jq -r ".task.$1 | tonumber"
}


# remains : what an attempt could leave on the host, as text: processes, mounts as init and the warden
# see them, namespaces, cgroups, files. The disks of spares are numbered on and on.
remains()
{
    # shellcheck disable=SC2016 # for the host
    on_vps 'main=$(systemctl show -p MainPID --value creel-runner)
        ps -eo user:20=,args= | grep -vE "^(root|creel|sshd|messagebus|systemd-[a-z]*) " | sed "s/^/process /"
        ps -eo args= | grep "^creel-left-behind"
        cut -d" " -f2,3 /proc/1/mounts | sed "s/^/mount /"
        [ "$main" = 0 ] || cut -d" " -f2,3 "/proc/$main/mounts" | sed "s/^/mount of the runner /"
        for kind in mnt net pid user ipc uts; do
            echo "namespaces $kind $(readlink /proc/[0-9]*/ns/$kind | sort -u | wc -l)"
        done
        find /sys/fs/cgroup -path "*creel-runner*" -type d | sed "s/^/cgroup /"
        find /run/creel-runner /tmp /var/tmp /dev/shm -type f 2>/dev/null | sed "s/^/file /"
        echo "loop devices $(losetup -na | wc -l), mappings $(ls -d /dev/dm-* | wc -l)"
        ls /dev/mapper | sed "s/^\(creel-.*\)-[0-9]*$/\1-N/"'
}

# The runner makes itself ready for the next task: what it keeps ready is as before.
as_before()
{
    remains | sort >now
    diff "$E2E/remains" now
}

nothing_left()
{
    vps_wait 60 as_before || as_before # which says what is left
}

@test "the host can enforce every limit, and its kernel clears memory" {
    creel host ls --json | jq -e '.hosts[0] | (.unenforceable | length == 0)'
    creel host ls --json | jq -e '.hosts[0] | .rooted == true and .memory_cleared == true'
}

@test "a useful task end to end, with every limit in force" {
    exits 0 task --test 'grep -q better hello.txt' -- sh -c 'sed -i s/hello/better/ hello.txt; id -u; grep Cap /proc/self/status'
    says 'CapEff:	0000000000000000'
    exits 0 creel approve "$(newest)"
    [ "$(git -C "$REPO" show "creel/$(newest):hello.txt" | head -n 1)" = better ]
    [ "$(creel show "$(newest)" --json | jq ".task.unenforced | length")" -eq 0 ]
}

@test "memory: the bomb dies alone, and limit and peak are reported" {
    exits 5 task --limit mem=64M -- perl -e 'my @x; push @x, "x" x 1000000 while 1'
    creel show "$(newest)" | grep -i memory
    [ "$(measured mem_peak)" -gt 50000000 ]
    [ "$(measured mem_peak)" -le $((64 << 20)) ]
    on_vps 'systemctl is-active creel-runner ssh'
}

@test "processes: a fork bomb stops at the limit and dies, the host stays usable" {
    run task --limit pids=40,wall=40s -- perl -e '
        for (1..30) { fork } for (1..200) { fork // last } sleep 3; exit 0'
    [ "$(measured pids_peak)" -gt 20 ]
    [ "$(measured pids_peak)" -le 40 ]
    on_vps 'ps -e | wc -l' >count
    [ "$(cat count)" -lt 120 ]
}

@test "processor time: a fifth of one is a fifth" {
    exits 3 task --limit cpu=0.2,wall=10s -- sh -c 'while :; do :; done'
    [ "$(measured cpu_ms)" -gt 500 ]
    [ "$(measured cpu_ms)" -lt 4000 ]
}

# host_disk : KiB of the host's own disk in use, but for the image that the runner keeps ready, once it is
# the same twice: that one may be about to come or go.
host_disk()
{
    # shellcheck disable=SC2016 # for the host
    on_vps 'now() { echo $(($(df -k --output=used / | tail -n 1) - $(cat /sys/block/dm-*/size | awk "{ n += \$1 } END { print int(n / 2) }"))); }
        was=; is=$(now); while [ "$is" != "$was" ]; do sleep 0.5; was=$is; is=$(now); done; echo "$is"'
}

disk_as_before()
{
    [ $(($(host_disk) - $1)) -lt 20000 ]
}

@test "disk: full at its limit, reported as that, the host's own disk untouched" {
    before=$(host_disk)
    exits 5 task --limit disk=32M,mem=256M -- dd if=/dev/zero of=fill bs=1M count=200
    says 'No space left'
    creel show "$(newest)" | grep -i disk
    vps_wait 60 disk_as_before "$before"
}

@test "nothing of a task is written to swap, nor what the runner holds of one" {
    on_vps 'cd /sys/fs/cgroup/system.slice/creel-runner.service && cat supervisor/memory.swap.max attempt-0/*/memory.swap.max' >swap
    [ "$(sort swap | uniq -c | tr -s " ")" = " 4 0" ]
}

@test "wall clock" {
    exits 3 task --limit wall=3s -- sleep 100
    in_state "$(newest)" timed-out
}

@test "a hostile agent gets nothing" {
    mkdir -p "$REPO/deploy/demo"
    cp "$CREEL_ROOT/deploy/demo/hostile.sh" "$REPO/deploy/demo/"
    git -C "$REPO" add -A
    git -C "$REPO" commit -q -m hostile
    task --limit mem=256M,pids=64,disk=32M,wall=3m -- sh deploy/demo/hostile.sh "$E2E" 22 >out 2>/dev/null || true
    grep -c '^blocked' out
    not grep '^GOT IT' out
    wait_receipt "$(newest)"
    nothing_left
}

@test "nothing is left after all this, and the receipts say so" {
    for id in $(creel ps --all --json | jq -r '.tasks[].id'); do
        wait_receipt "$id"
        creel show "$id" --receipt >receipt
        payload receipt | jq -e '[.items[].gone] | all'
    done
    nothing_left
}

@test "cancelling and stopping the service mid-task leaves nothing" {
    id=$(detached -- sh -c 'echo begun; exec sleep 300')
    creel logs -f --raw "$id" >followed 3>&- &
    follower=$!
    throwaway_wait 60 grep -q begun followed
    on_vps systemctl stop creel-runner
    remains | grep -E '^(process|cgroup|file|creel-left)' >now || true
    [ ! -s now ] || { cat now; false; }
    on_vps systemctl start creel-runner
    throwaway_wait 60 in_state "$id" lost failed stuck cancelled
    wait $follower
}

@test "a replayed envelope is refused, also after a reboot, and the service comes back by itself" {
    on_vps systemctl start creel-runner
    exits 0 task -- true
    creel show "$(newest)" --envelope >envelope
    wait_receipt "$(newest)"
    creel serve --stop
    attach=(ssh -q -F none -i "$CREEL_STATE/keys/ssh_key" -p "$(cat "$VPS_DIR/port")" -o StrictHostKeyChecking=no
        -o UserKnownHostsFile=/dev/null -o IdentitiesOnly=yes creel@127.0.0.1)
    python3 "$TOOLS/wire.py" "${attach[@]}" -- hello recv send:16:envelope recv >answer
    tail -n 1 answer | grep '^18 .*"replay"'
    vps boot "$VPS"
    python3 "$TOOLS/wire.py" "${attach[@]}" -- pause:1 hello recv send:16:envelope recv >answer
    tail -n 1 answer | grep '^18 .*"replay"'
    exits 0 task -- echo up-again
}

@test "over SSH there is nothing but the runner" {
    ssh_options=(-F none -i "$CREEL_STATE/keys/ssh_key" -p "$(cat "$VPS_DIR/port")" -o StrictHostKeyChecking=no
        -o UserKnownHostsFile=/dev/null -o IdentitiesOnly=yes -o BatchMode=yes)
    run timeout 60 ssh -q "${ssh_options[@]}" creel@127.0.0.1 'echo got-a-shell' </dev/null
    [[ "$output" != *got-a-shell* ]]
    run timeout 60 ssh -q "${ssh_options[@]}" root@127.0.0.1 true </dev/null
    [ "$status" -ne 0 ]
}
