# The proof of the wipe, on a real VPS: a job leaves a canary in every place it can write to; afterwards
# neither the host's raw disk nor any byte of its memory holds it. The same scan finds it before the
# wipe, and after one where the kernel does not clear what it frees.
load ../lib/e2e
load ../lib/vps

MASK=0xa5

setup()
{
    cd "$BATS_TEST_TMPDIR"
}

teardown()
{
    [ -n "${BATS_TEST_COMPLETED:-}" ] || on_vps 'journalctl -u creel-runner -n 12 --no-pager -o cat' || true
    vps_host_down
}

# new_canary : the mask of 32 random letters and digits. In the clear it is nowhere on this machine.
new_canary()
{
    python3 -c "import secrets, string
print(bytes(ord(secrets.choice(string.ascii_letters)) ^ $MASK for _ in range(32)).hex())"
}

# found FILE : how often the canary is in what `vps image` wrote.
found()
{
    awk -v f="$1" '$1 == f { print $2 }' scan
}

# nowhere [PLACE] : the canary is in none of the three, but that PLACE may have left it in memory.
nowhere()
{
    [ "$(found disk)" -eq 0 ]
    [ "$(found qcow2)" -eq 0 ]
    sed "s/ '${1:-none}':[0-9]*//" scan | awk '$1 == "ram" { print NF }' >fields
    [ "$(cat fields)" -eq 2 ]
}

scan()
{
    rm -rf image
    vps image "$VPS" image
    python3 "$CREEL_ROOT/tests/vps/canary_scan.py" "$1" image/ram image/disk image/qcow2 >scan
    rm -rf image
    cat scan
}

# plant [LIMITS] : starts the task that plants $canary and waits until it has.
plant()
{
    cp "$CREEL_ROOT/tests/vps/canary_job.py" "$REPO/"
    git -C "$REPO" add -A
    git -C "$REPO" commit -q -m canary
    id=$(detached --limit "wall=20m${1:+,$1}" -- python3 canary_job.py "$canary")
    creel logs -f "$id" >log 2>/dev/null 3>&- &
    follower=$!
    vps_wait 300 grep -q planted log
}

# finish : lets the job end, waits for the receipt, and leaves no connection to the host.
finish()
{
    # shellcheck disable=SC2016 # for the host
    on_vps 'kill -USR1 "$(pgrep -o -f "^python3 canary_job")"'
    vps_wait 120 in_state "$id" succeeded
    vps_wait 60 has_receipt "$id"
    wait $follower
    creel show "$id" --receipt >receipt
    creel verify receipt
    creel serve --stop
    on_vps 'sync'
}

@test "an encrypted disk: nothing of a job is left, neither on the disk nor in memory" {
    vps_host_up
    canary=$(new_canary)
    plant
    # What root deletes from the host's own disk does stay there: the scan of the disk sees it.
    control=$(new_canary)
    on_vps "python3 -c 'import os; f = open(\"/root/control\", \"wb\")
f.write(bytes(b ^ $MASK for b in bytes.fromhex(\"$control\")) * 4096); f.flush(); os.fsync(f.fileno())' && rm /root/control && sync"
    scan "$canary"
    # Every place is found while it is there; on the disk there is nothing even now.
    [ "$(found ram)" -gt 1000 ]
    for place in a c d e f g h j k l m n o p q r; do
        grep -q "^ram .*'$place':" scan
    done
    [ "$(found disk)" -eq 0 ]
    [ "$(found qcow2)" -eq 0 ]
    finish
    payload receipt | jq -e '[.items[].gone] | all'
    payload receipt | jq -e '.memory_cleared == true'
    scan "$canary"
    # ext4 keeps the target of a short symbolic link in the inode, and the kernel does not clear inodes
    # when it frees them (their cache has a constructor): SECURITY.md says so.
    nowhere h
    scan "$control"
    [ "$(found disk)" -gt 0 ]
}

@test "a disk in memory: nothing of a job is left" {
    vps_host_up
    canary=$(new_canary)
    plant disk=64M,mem=512M
    finish
    payload receipt | jq -e '[.items[].gone] | all'
    scan "$canary"
    [ "$(found ram)" -eq 0 ]
    nowhere
}

@test "where the kernel does not clear memory, the scan finds it and the receipt says so" {
    vps_host_up 1 init_on_free=0
    creel host ls --json | jq -e '.hosts[0].memory_cleared == false'
    canary=$(new_canary)
    plant
    finish
    payload receipt | jq -e '.memory_cleared == false'
    payload receipt | jq -r .note | grep 'not cleared'
    scan "$canary"
    [ "$(found ram)" -gt 0 ]
    [ "$(found disk)" -eq 0 ]
    [ "$(found qcow2)" -eq 0 ]
}
