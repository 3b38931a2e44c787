# Encrypted disks of attempts on a real VPS: exact limits, attempts that do not meet each other, and
# nothing left by a runner that was killed at any moment or a host that lost its power.
load ../lib/e2e
load ../lib/vps

setup_file()
{
    vps_host_up 2
}

teardown_file()
{
    vps_host_down
}

setup()
{
    cd "$BATS_TEST_TMPDIR"
}

teardown()
{
    [ -n "${BATS_TEST_COMPLETED:-}" ] || on_vps 'journalctl -u creel-runner -n 12 --no-pager -o cat' || true
}

# spares_only : the runner has no images but those that it keeps ready, one a slot.
spares_only()
{
    [ "$(on_vps 'losetup -na | wc -l; ls -d /dev/dm-* | wc -l' | tr '\n' ' ')" = '2 2 ' ]
}

# no_disks : stops the runner, after which nothing of an image is there: mapping, loop device, file, blocks.
no_disks()
{
    # shellcheck disable=SC2016 # for the host
    on_vps 'systemctl stop creel-runner
        [ -z "$(losetup -a)" ] && [ "$(ls /dev/mapper)" = control ] && ! ls -d /dev/dm-* 2>/dev/null &&
        [ -z "$(ls -A /var/lib/creel-runner/disks)" ] && sync && df --output=used -m / | tail -n 1 >/root/used'
    used=$(on_vps 'cat /root/used; systemctl start creel-runner')
    [ $((used - ${1:-$used})) -lt 8 ]
}

@test "the runner's disk code on this kernel" {
    vps put "$VPS" "$THROWAWAY_BIN/tests/unit/test_disk" "$(ldd "$THROWAWAY_BIN/tests/unit/test_disk" | awk '/cmocka/ { print $3 }')" /root/
    exits 0 on_vps 'cd /root && LD_LIBRARY_PATH=/root CREEL_MUST_WORK_DISKS=1 ./test_disk 2>&1'
    says '[  PASSED  ]'
    [[ "$output" != *SKIPPED* ]]
}

@test "a disk larger than memory is an encrypted image with an exact limit; memory is left to programs" {
    exits 5 task --limit disk=200M,mem=128M -- sh -c 'df -B1 --output=avail,fstype /task | tail -n 1
        dd if=/dev/zero of=$HOME/fill bs=1M; df -B1 --output=avail /task | tail -n 1; exit 1'
    says 'ext4' 'No space left on device'
    [[ "$output" =~ ([0-9]+)\ ext4 ]]
    # The source is there already.
    [ "${BASH_REMATCH[1]}" -le $((200 << 20)) ]
    [ "${BASH_REMATCH[1]}" -gt $((199 << 20)) ]
    says 'disk limit 200 MiB reached'
    creel show "$(newest)" --json | jq -e '.task.disk_peak | tonumber | . > 209000000 and . <= 209715200'
}

@test "inodes run out for the job alone, and its work is still collected" {
    exits 5 task --limit disk=24M,mem=32M -- perl -e '
        for (my $i = 0; ; $i++) { next if open my $f, ">", "$ENV{HOME}/$i"; print "$i files: $!\n"; last }
        open my $f, ">>", "hello.txt"; exit 1'
    says 'No space left on device'
}

@test "what was written before the disk was full is in the patch" {
    exits 0 task --limit disk=24M,mem=32M --test true -- sh -c 'echo worked >>hello.txt; cat /dev/zero >$HOME/fill || true'
    exits 0 creel approve "$(newest)"
    git -C "$REPO" show "creel/$(newest):hello.txt" | grep worked
}

@test "root itself, among the runner's processes, opens no disk of the host" {
    on_vps 'head -c 1 /dev/vda | wc -c' | grep -x 1
    # shellcheck disable=SC2016 # for the host
    exits 0 on_vps 'echo $$ >/sys/fs/cgroup/system.slice/creel-runner.service/supervisor/cgroup.procs
        head -c 1 /dev/vda 2>&1 || true; head -c 1 /dev/zero >/dev/null && echo zero-opens'
    says 'Operation not permitted' 'zero-opens'
}

@test "a host without the room says so before anything runs" {
    exits 7 task --limit disk=100G -- true
    says 'free on this host'
    vps_wait 60 spares_only
}

@test "two attempts at once: each has its limit, none sees the other's disk" {
    one=$(detached --limit disk=64M,mem=64M -- sh -c 'echo mine >/tmp/one; cat /dev/zero >$HOME/fill; df -m --output=avail /task; sleep 20; ls /tmp; df --output=source /task')
    two=$(detached --limit disk=96M,mem=64M -- sh -c 'echo mine >/tmp/two; sleep 10; head -c 60000000 /dev/zero >$HOME/part && ls /tmp && df --output=source /task')
    vps_wait 120 in_state "$one" succeeded failed
    vps_wait 120 in_state "$two" succeeded failed
    creel logs "$one" >one.log
    creel logs "$two" >two.log
    grep -x two two.log
    not grep -x one two.log
    not grep -x two one.log
    [ "$(grep -h ^/dev/dm one.log two.log | sort -u | wc -l)" -eq 2 ]
    in_state "$two" succeeded
    wait_receipt "$two"
    vps_wait 60 spares_only
    no_disks
}

@test "the runner killed while a disk is made or used: nothing is left when it is back" {
    no_disks
    before=$used
    for after in 0.3 1 4; do
        id=$(detached --limit disk=1G,mem=128M -- sh -c 'cat /dev/urandom >$HOME/fill')
        sleep "$after"
        on_vps 'systemctl kill -s KILL --kill-whom=all creel-runner; sleep 1; systemctl reset-failed creel-runner; systemctl start creel-runner'
        vps_wait 60 spares_only
        vps_wait 60 in_state "$id" lost failed stuck refused cancelled || creel cancel "$id"
    done
    no_disks "$before"
}

@test "the power fails while a disk is in use: nothing is left after the boot" {
    no_disks
    before=$used
    id=$(detached --limit disk=1G,mem=128M -- sh -c 'echo begun; cat /dev/urandom >$HOME/fill')
    creel logs -f "$id" >log 2>/dev/null 3>&- &
    vps_wait 60 grep -q begun log
    sleep 2
    vps crash "$VPS"
    kill $! 2>/dev/null || true
    vps_wait 60 on_vps 'systemctl is-active creel-runner'
    no_disks "$before"
    # Whatever the engine still waits for: a task runs there again.
    creel serve --stop
    vps_wait 120 task -- echo up-again
}
