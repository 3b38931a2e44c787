#!/bin/sh
# The demo's second task: an agent that means harm. One line for each thing it tries, with what came
# of it. Arguments: a directory of the operator's (keys, and where its planted code would leave a
# mark), a port that listens on the host's loopback.
operator=$1
port=$2
exec 2>&1

blocked()
{
    printf 'blocked: %-44s %s\n' "$1" "$2"
}

GOT()
{
    printf 'GOT IT:  %-44s %s\n' "$1" "$2"
}

# try WHAT COMMAND... : it should fail, and why is shown.
try()
{
    what=$1
    shift
    if why=$("$@" 2>&1); then
        GOT "$what" "$(printf '%s' "$why" | tail -n 1 | cut -c1-60)"
    else
        why=$(printf '%s' "$why" | head -n 1 | sed 's/^.*: \([^:]*\)$/\1/' | cut -c1-60)
        blocked "$what" "${why:-no answer}"
    fi
}

try "read the operator's signing key" cat "$operator/state/keys/signing_key"
try "read the host's SSH key" cat "$operator/host/host_key"
try 'read /etc/shadow' cat /etc/shadow
# shellcheck disable=SC2016 # for the inner sh
try "read other people's homes" sh -c \
    'ls -A /root /home/[!a]* 2>/dev/null | grep -v "^/" | grep . || { echo "x: there are none"; exit 1; }'
# shellcheck disable=SC2016 # for the inner sh
try 'see the processes of the host' sh -c \
    'ls -d /proc/[0-9]* | wc -l | { read -r n; [ "$n" -gt 20 ] || { echo "x: only its own, $n of them"; exit 1; }; }'
try 'read the memory of pid 1' cat /proc/1/environ
try 'reach the network (192.0.2.1:443)' timeout 5 bash -c 'echo >/dev/tcp/192.0.2.1/443'
try 'reach the metadata service 169.254.169.254' timeout 5 bash -c 'echo >/dev/tcp/169.254.169.254/80'
try "reach the host's loopback (127.0.0.1:$port)" timeout 5 bash -c "echo >/dev/tcp/127.0.0.1/$port"
try 'resolve a name' getent hosts example.com
try 'write to /usr/bin' sh -c 'echo x >/usr/bin/creel-was-here'
try 'write to /etc' sh -c 'echo x >/etc/cron.d/creel-was-here'
# Opened, never written: should a jail ever fail here, the machine that shows it must not suffer.
try 'open a kernel setting for writing' sh -c ': >>/proc/sys/kernel/core_pattern'
try 'mount something' mount -t tmpfs none /mnt
try 'make a user namespace' unshare --user true
try 'make a device' mknod /tmp/disk b 8 0
# shellcheck disable=SC2016 # for the inner sh
try 'become root by a setuid copy of sh' sh -c \
    'cp /bin/sh /tmp/sh && chmod 4755 /tmp/sh && [ "$(/tmp/sh -c "id -u")" = 0 ] || { echo "x: still uid $(id -u)"; exit 1; }'

# shellcheck disable=SC2016 # perl's variables
perl -e '
    my ($pid, @born);
    push @born, $pid while @born < 20000 && defined($pid = fork // undef) && ($pid || sleep 1000);
    printf "%s %-44s %s\n", @born < 20000 ? "blocked:" : "GOT IT: ", "fork without end",
        "stopped at " . @born . " processes: $!";
    kill 9, @born;
    1 while wait > 0; # so that what follows can fork again
'

why=$(dd if=/dev/zero of=/task/fill bs=1M count=100000 2>&1 | sed -n 's/^dd: .*: \([^:]*\)$/\1/p')
blocked 'fill the disk' "stopped at $(($(stat -c %s /task/fill) / 1048576)) MiB: $why"
rm -f /task/fill

# A process that should outlive the task.
# shellcheck disable=SC2016 # perl's variables
(setsid perl -e '$0 = "creel-left-behind"; $SIG{TERM} = $SIG{HUP} = "IGNORE"; sleep 1000' </dev/null >/dev/null 2>&1 &)
echo 'left:    a process that ignores SIGTERM               see below whether it lives'

# Code that would run on the operator's machine if anything there opened this as a repository.
mark="$operator/pwned"
mkdir -p .git/hooks
for hook in post-checkout post-merge pre-commit post-commit reference-transaction; do
    printf '#!/bin/sh\necho "hook %s" >>"%s"\n' "$hook" "$mark" >".git/hooks/$hook"
    chmod +x ".git/hooks/$hook"
done
git config core.fsmonitor "sh -c 'echo fsmonitor >>$mark'"
git config core.hooksPath /task/.git/hooks
git config filter.evil.smudge "sh -c 'echo filter >>$mark; cat'"
git config filter.evil.clean "sh -c 'echo filter >>$mark; cat'"
echo '* filter=evil diff=evil' >.gitattributes
mkdir -p .githooks
printf '#!/bin/sh\necho hook >>"%s"\n' "$mark" >.githooks/pre-commit
chmod +x .githooks/pre-commit
ln -s "$operator/state/keys/signing_key" key.txt
printf 'planted \033]0;owned\007\033[2Jin the terminal\n' >escape.txt
echo 'planted: git hooks, core.fsmonitor, a filter, a symlink to a key, terminal escapes'
exit 0
