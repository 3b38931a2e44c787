"""The attacks that disturb nobody, all in one attempt, with a look at the host while it lives and
after; their controls; and those that need an attempt of their own."""
import subprocess

from case import bad, case, judge, ok
from world import BUILD

TABLE = {}
for row in subprocess.run([BUILD + "/tests/escape/attack", "--list"], stdout=subprocess.PIPE, check=True,
                          text=True).stdout.splitlines():
    name, what, fence, where, control = row.split("\t")
    TABLE[name] = {"what": what, "fence": fence, "where": where, "control": control}

HARMLESS = [n for n, row in TABLE.items() if row["where"] == "anywhere"]

# Which attacks a trace on the host speaks against; any other trace speaks against all.
TRACES = {
    "mount": ["mount", "mount-bind", "mount-fds", "umount", "pivot-chroot"],
    "hostname": ["host-name"], "domainname": ["host-name"], "key": ["keyring-add"],
    "ipc": ["system-v-ipc"], "socket": ["abstract-socket"], "interface": ["interface"], "swap": ["swap"],
    "file": ["write-system", "mknod", "setuid-files", "core-dump"], "cgroup": ["cgroup-files"],
}


def against(name, complaints):
    mine = [c for c in complaints if name in TRACES.get(c.split(":")[0].split(" ")[0], [name])]
    return "; ".join(mine)


def line_of(attempt, name, complaints):
    row, verdict = TABLE[name], attempt.verdict(name)
    if verdict is None:
        return bad(name, row["what"], "it did not say what came of it: " + attempt.said())
    complaint = against(name, complaints)
    if not verdict[0]:
        complaint = verdict[1] + ("; " + complaint if complaint else "")
    return judge(name, row["what"], "%s: %s" % (row["fence"], verdict[1]), complaint)


@case(" ".join(HARMLESS))
def together(world):
    seen = []
    attempt = world.run("bin/attack", "--batch", "3", *HARMLESS, during=lambda: seen.extend(world.complaints()))
    seen += world.complaints(attempt.id)
    for one in HARMLESS:
        yield line_of(attempt, one, seen)


@case("controls", vps=True, alone=True, why="outside of a jail the attacks would act on this machine")
def controls(world):
    """The same program as root on the host, outside of any jail: there it must succeed."""
    with open(world.repo + "/bin/attack", "rb") as f:
        world.host("cat >/root/attack && chmod 755 /root/attack", stdin=f.read())
    tried = [n for n, row in TABLE.items() if row["control"] == ""]
    # In a mount namespace of its own, for pivot_root would take the whole host away. Some leave a child behind,
    # which must not hold what is waited for here.
    said = world.host('cd /root; for n in "$@"; do timeout 20 unshare --mount ./attack $n </dev/null 3</etc/passwd >>said 2>&1; '
                      'echo >>said; done; cat said', *tried)
    won = [n for n in tried if "= %s GOT" % n in said]
    lost = ["%s (%s)" % (n, " ".join(l for l in said.splitlines() if l.startswith("= %s " % n)))
            for n in tried if n not in won]
    yield judge("controls", "the same %d attacks as root outside of a jail" % len(tried),
                "all %d succeed there: it is the jail that stops them" % len(won),
                "not attacks at all: " + "; ".join(lost) if lost else "")


def alone(world, name, *args, **how):
    """One attack in an attempt of its own; the Line judges its word and the host's state after it."""
    attempt = world.run("bin/attack", name, *args, **how)
    return attempt, line_of(attempt, name, world.complaints(attempt.id))


def ends_well(attempt, line):
    """What the attack could also have broken: that the task ends as a task does."""
    if line.holds and attempt.state != "succeeded":
        return bad(line.name, line.tried, "the task did not end well: " + attempt.said())
    return line


# What root of a namespace of one's own may do there: none of it reaches out of the jail.
OWN = {"list-processes", "proc-first", "proc-first-write", "arguments", "become-root", "pid-reuse", "mount", "mount-bind",
       "umount", "pivot-chroot", "climb", "unshare", "clone-namespaces", "capabilities", "interface"}


@case("nested-root")
def nested_root(world):
    """A policy may allow user namespaces, for agents that bring a sandbox. Its root is root of nothing else."""
    seen = []
    inner = "unshare -Ur --mount --net --ipc --uts --pid --fork --mount-proc bin/attack --batch 2 " + " ".join(HARMLESS)
    attempt = world.run("sh", "-c", inner, flags=["--nested-userns"], during=lambda: seen.extend(world.complaints()))
    seen += world.complaints(attempt.id)
    won = {n for n in HARMLESS if attempt.verdict(n) and not attempt.verdict(n)[0]}
    if won - OWN:
        seen.append("got: " + "; ".join("%s: %s" % (n, attempt.verdict(n)[1]) for n in sorted(won - OWN)))
    if len([n for n in HARMLESS if attempt.verdict(n)]) < len(HARMLESS) or not won:
        seen.append("not all was tried: " + attempt.said())
    yield judge("nested-root", "all of them again as root of nested namespaces, which a policy may allow",
                "%d of %d work, inside of those namespaces only; on the host nothing" % (len(won), len(HARMLESS)), "; ".join(seen))


@case("kill-all")
def kill_all(world):
    yield ends_well(*alone(world, "kill-all"))


@case("kill-first")
def kill_first(world):
    yield ends_well(*alone(world, "kill-first"))


@case("daemon")
def daemon(world):
    yield ends_well(*alone(world, "daemon"))


@case("pid-hop")
def pid_hop(world):
    yield ends_well(*alone(world, "pid-hop"))


@case("reboot", vps=True, why="it would restart this machine")
def reboot(world):
    before = world.host("cat /proc/sys/kernel/random/boot_id")
    attempt, line = alone(world, "reboot")
    yield line if before == world.host("cat /proc/sys/kernel/random/boot_id") else \
        bad("reboot", line.tried, "the host restarted")


@case("acct", vps=True, why="every process of this machine would be written down")
def acct(world):
    yield alone(world, "acct")[1]


POISON = r"""
cd ~/.cache || exit 9
echo evil >dep; rm -f tool; printf '#!/bin/sh\necho evil\n' >tool; chmod +x tool; ln -sfn /etc/shadow link; chmod 777 .
ln -f dep hard; mknod whiteout c 0 0; mkdir -p .wh..wh..opq; mv dir dir2
for f in $(find / -xdev -name dep 2>/dev/null); do echo evil >>$f; done
for fd in /proc/self/fd/* /proc/1/root; do ls -l $fd/.. >/dev/null 2>&1; done
true
"""


@case("cache-poison")
def cache_poison(world):
    """What a trusted task kept is what a later one finds, whatever came between."""
    flags = ["--cache", "deps"]
    kept = world.run("sh", "-c", "cd ~/.cache && echo good >dep && printf '#!/bin/sh\necho good\n' >tool && chmod +x tool && mkdir dir && "
                     "echo x >dir/file", flags=[*flags, "--trusted"])
    # The time of a cache's own directory says when it was used last, and is the warden's.
    listing = ('find "$1" -printf "%P %y %m %s %l\\n" | sort; find "$1" -mindepth 2 -printf "%P %T@\\n" | sort; find "$1" -type f -exec sha256sum {} + | sort')
    before = world.host(listing, world.caches)
    evil = world.run("sh", "-c", POISON, flags=flags)
    none = world.run("sh", "-c", "echo evil >~/.cache/dep 2>/dev/null; ls -A ~/.cache 2>/dev/null")
    after = world.host(listing, world.caches)
    later = world.run("sh", "-c", "cd ~/.cache && cat dep dir/file && ./tool; ls -A", flags=flags)
    complaint = ""
    if kept.state != "succeeded" or not before.strip() or len(before.splitlines()) < 4:
        complaint = "nothing was kept: " + kept.said()
    elif evil.state != "succeeded":
        complaint = "the attack did not run: " + evil.said()
    elif after != before:
        complaint = "the store of caches is not what it was: %s" % sorted(set(after.splitlines()) ^ set(before.splitlines()))
    elif later.out.split() != ["good", "x", "good", "dep", "dir", "tool"]:
        complaint = "a later task finds: " + later.said()
    elif "tool" in none.out:
        complaint = "a task that names no cache sees one"
    yield judge("cache-poison", "change, replace, link into, whiteout what a trusted task left for others",
                "the kept tree is read-only below; a task's own layer dies with it", complaint)
