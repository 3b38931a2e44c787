"""The attacks on the network fence and the egress gate. The runner gets a network namespace that holds
the whole world (tests/lib/net_stage.py): what a jail could reach it would reach, and each packet, each
question and each byte that got out is on record there."""
import os
import re
import shutil
import subprocess
import sys
import time

from case import bad, case, judge
from world import ROOT, Local

ATTACKS = os.path.join(ROOT, "tests", "escape", "network")
TABLE = {}
for row in subprocess.run([sys.executable, ATTACKS + "/attacks.py", "--list"], stdout=subprocess.PIPE, check=True,
                          text=True).stdout.splitlines():
    name, what, fence, control, policy = row.split("\t")
    TABLE[name] = {"what": what, "fence": fence, "control": control, "policy": policy}

RULES = ("--egress", "ok.stage.test,*.bad.test")
POLICIES = {"A": (RULES, ""), "B": (RULES, "sent=1M"), "C": (RULES, "conns=20"), "D": (RULES, "dns=50"), "E": ((), "")}
SENT_MAX, CONNS_MAX = 1 << 20, 20
AT_ONCE = 12  # attacks in one task
ZONE = """ok.stage.test 60 7.7.7.1
re.bad.test 0 7.7.7.1 / 127.0.0.1
mix0.bad.test 0 127.0.0.1,7.7.7.1
mix1.bad.test 0 7.7.7.1,10.1.2.3,::1
mix2.bad.test 0 169.254.169.254,127.0.0.1,10.1.2.3
"""
OWN = "7.7.7.77"  # an address that the host itself has
BAITS = ["0.0.0.0:%d" % p for p in (22, 25, 80, 443, 3128, 4100, 8080)] + [":::%d" % p for p in (22, 80, 443)]
MAY_BE_DIALLED = {("tcp", "7.7.7.1", "443"), ("tcp", "7.7.7.1", "80"), ("udp", "7.7.7.53", "53")}
# Which attack a trace speaks against; any other trace speaks against all that ran.
TRACES = ((r" (127\.0\.0\.1|10\.1\.2\.3|::1) ", "rebinding mixed-answers private-names host-loopback"),
          (r"169\.254\.|168\.63\.|100\.100\.|fd00:ec2", "literal-metadata private-names direct-metadata mixed-answers"),
          (r"tunnel\.test", "dns-tunnel"), (r"evil\d+-\S+\.bad\.test", "dns-suffix"), (r"evil-sni", "sni-other sni-twice"),
          (r"evil-cut", "sni-fragments"), (r"evil-early", "data-before-200"), (r"sent over", "byte-budget"),
          (r"connections over", "connection-budget"), (r"icmp", "direct-icmp"), (r"evil-search", "search-domain"),
          (r"7\.7\.7\.66", "runner-proxy"), (re.escape(OWN), "private-names"))


class Stage:
    """The world around the runner, on the host that `world` stands for."""

    def __init__(self, world):
        self.world = world
        with open(ROOT + "/tests/lib/net_stage.py") as f:
            program = f.read()
        self.dir = world.host("""d=$(mktemp -d /run/creel-stage.XXXXXX); chmod 755 "$d"; cat >"$d/net_stage.py"
            setsid unshare --net --mount --propagation private -- python3 "$d/net_stage.py" up "$d" "$@" </dev/null >"$d/log" 2>&1 &
            echo $! >"$d/pid"; printf %s "$d" """, *BAITS, stdin=program.encode())
        zone = ZONE + self.listed("--zone")
        self.names = {line.split()[0] for line in zone.splitlines()}  # what a rule allows, and nothing else
        self.put("zone", zone)
        self.put("resolv.conf", "nameserver 7.7.7.53\nsearch evil-search.test\noptions timeout:2 attempts:1\n")
        self.put("nsswitch.conf", "hosts: files dns\npasswd: files\ngroup: files\nshadow: files\n")
        self.put("hosts", "127.0.0.1 localhost\n::1 localhost ip6-localhost\n")
        world.host("""cd "$1"; for i in $(seq 200); do grep -q ^ready log && break; sleep 0.1; done; grep -q ^ready log
            for f in resolv.conf nsswitch.conf hosts; do [ -e "/etc/$f" ] || : >"/etc/$f"; done""", self.dir)
        self.inside("ip address add %s/32 dev lo; for f in resolv.conf nsswitch.conf hosts; do mount --bind %s/$f /etc/$f; done"
                    % (OWN, self.dir))
        self.pid = world.host("cat %s/pid" % self.dir).strip()

    @staticmethod
    def listed(flag):
        return subprocess.run([sys.executable, ATTACKS + "/attacks.py", flag], stdout=subprocess.PIPE, check=True,
                              text=True).stdout

    def put(self, name, text):
        self.world.host('cat >"$1"', self.dir + "/" + name, stdin=text.encode())

    def inside(self, script, *args):
        return self.world.host('p=$(cat "$1/pid"); s=$2; shift 2; exec nsenter --target "$p" --net --mount --wd=/ -- sh -ec "$s" sh "$@"',
                               self.dir, script, *args)

    def forget(self):
        self.mark()
        self.world.host('cd "$1"; : >packets; : >dns; : >baits', self.dir)

    def mark(self):
        self.inside("exec python3 %s/net_stage.py mark %s" % (self.dir, self.dir))

    def read(self, name):
        return self.world.host('cat "$1"', self.dir + "/" + name).splitlines()

    def traces(self, sent_max):
        """What was recorded outside since forget() that no policy allows."""
        self.mark()
        packets, seen = [line.split() for line in self.read("packets") if not line.startswith("mark ")], []
        for one in packets:
            if tuple(one) not in MAY_BE_DIALLED:
                seen.append("outside: %s packet to %s port %s " % tuple(one))
        seen += ["asked for: " + line for line in self.read("dns") if line.split()[0] not in self.names]
        baits = self.read("baits")
        seen += ["reached: " + line for line in baits if "evil" in line]
        sent = sum(int(line.rpartition("=")[2]) for line in baits if re.search(r" =\d+$", line))
        if sent_max and sent > sent_max:
            seen.append("%d bytes sent over a limit of %d" % (sent, sent_max))
        return packets, sorted(set(seen))

    def down(self):
        self.world.host('kill "$(cat "$1/pid")"; rm -rf "$1"', self.dir, check=False)


class Here:
    """A runner of its own on this machine, on the stage."""

    def __init__(self, world):
        self.world = Local()
        self.stage = Stage(world)
        self.world.env["THROWAWAY_RUNNER_UNDER"] = (
            "nsenter --target %s --net --mount --wd=/ -- env http_proxy=http://7.7.7.66:3128 "
            "https_proxy=http://7.7.7.66:3128 all_proxy=http://7.7.7.66:3128" % self.stage.pid)
        self.world.up()
        self.world.limits = "disk=256M,wall=10m"

    def down(self):
        self.world.down()
        self.stage.down()


class There:
    """The VPS's own runner, moved onto the stage and back."""

    def __init__(self, world):
        self.world, self.stage = world, Stage(world)
        self.limits, world.limits = world.limits, "mem=256M,pids=128,disk=64M,wall=20m"
        binds = " ".join("%s/%s:/etc/%s" % (self.stage.dir, f, f) for f in ("resolv.conf", "nsswitch.conf", "hosts"))
        self.service("[Service]\nNetworkNamespacePath=/proc/%s/ns/net\nBindReadOnlyPaths=%s\n"
                     "Environment=http_proxy=http://7.7.7.66:3128 https_proxy=http://7.7.7.66:3128\n" % (self.stage.pid, binds))

    def service(self, text):
        self.world.host("""d=/run/systemd/system/creel-runner.service.d; mkdir -p $d; cat >$d/stage.conf
            [ -s $d/stage.conf ] || rm $d/stage.conf
            systemctl daemon-reload; systemctl restart creel-runner""", stdin=text.encode())

    def down(self):
        self.service("")
        self.world.limits = self.limits
        self.stage.down()


def sockets_of(place):
    """How many sockets the runner and its children hold."""
    return int(place.world.host("""set -- "$1" $(pgrep -P "$1"); n=0
        for p in "$@"; do n=$((n + $(ls -l /proc/$p/fd 2>/dev/null | grep -c socket:))); done; echo $n""", place.world.runner()))


def against(name, traces):
    mine = []
    for trace in traces:
        whose = [names.split() for pattern, names in TRACES if re.search(pattern, trace)]
        if not whose or any(name in names for names in whose):
            mine.append(trace)
    return "; ".join(mine[:5])


def line_of(name, attempt, traces):
    row, verdict = TABLE[name], attempt.verdict(name)
    if verdict is None:
        return bad("net-" + name, row["what"], "it did not say what came of it: " + attempt.said())
    complaint = "; ".join(x for x in ("" if verdict[0] else verdict[1], against(name, traces)) if x)
    return judge("net-" + name, row["what"], "%s: %s" % (row["fence"], verdict[1]), complaint)


def batches():
    for policy in POLICIES:
        names = [n for n, row in TABLE.items() if row["policy"] == policy and n != "other-attempt"]
        for i in range(0, len(names), AT_ONCE):
            yield policy, names[i:i + AT_ONCE]


def attack(place, policy, names):
    flags, limits = POLICIES[policy]
    place.stage.forget()
    attempt = place.world.run("python3", "bin/net/attacks.py", *names, flags=flags, limits=limits)
    packets, traces = place.stage.traces(SENT_MAX if policy == "B" else 0)
    dialled = sum(p[0] == "tcp" for p in packets)
    if policy == "C" and dialled > CONNS_MAX:
        traces.append("%d connections over a limit of %d" % (dialled, CONNS_MAX))
    return attempt, packets, traces


def neighbours(place):
    """Two attempts at once: what one listens on, and what its gate allows, is not the other's."""
    place.stage.forget()
    done, first = [], place.world.start("python3", "bin/net/attacks.py", "--neighbour", flags=RULES,
                                        repo=place.world.fresh_repo("neighbour"))

    def second():
        done.append(place.world.run("python3", "bin/net/attacks.py", "other-attempt"))
        first.terminate()
    place.world.finish(first, second, "listening")
    if not done:
        return bad("net-other-attempt", TABLE["other-attempt"]["what"], "the neighbour never listened")
    return line_of("other-attempt", done[0], place.stage.traces(0)[1])


def controls(place):
    """The same attacks on the stage, outside of any jail: there they reach what they aim at."""
    tried = [n for n, row in TABLE.items() if row["control"] == "direct"]
    for name in ("attacks.py", "wire.py"):
        with open(os.path.join(ATTACKS, name)) as f:
            place.stage.put(name, f.read())
    said = place.stage.inside('cd %s; exec timeout 200 python3 attacks.py "$@"' % place.stage.dir, *tried)
    lost = [line for line in said.splitlines() if line.startswith("= ") and " blocked " in line]
    won = sum(" GOT " in line for line in said.splitlines())
    complaint = "; ".join(lost) or ("" if won == len(tried) else said[-300:])
    return judge("net-controls", "the %d direct attacks outside of a jail" % len(tried),
                 "all succeed there: it is the jail that stops them", complaint)


@case(" ".join("net-" + n for n in TABLE) + " net-controls net-search-domain net-runner-proxy net-allowed-works "
      "net-doors-after-run", alone=True, root=True)
def network(world):
    place = (There if world.vps else Here)(world)
    try:
        yield controls(place)
        for name in ("attacks.py", "wire.py"):
            os.makedirs(place.world.repo + "/bin/net", exist_ok=True)
            shutil.copy(os.path.join(ATTACKS, name), place.world.repo + "/bin/net/")
        place.world.git("add", "-A")
        place.world.git("commit", "-q", "-m", "network attacks")
        # First, because afterwards the runner keeps as many jails ready as it ever ran at once.
        yield neighbours(place)
        place.world.run("true", flags=RULES)
        held, packets, traces = sockets_of(place), [], []
        for policy, names in batches():
            attempt, more, seen = attack(place, policy, names)
            packets, traces = packets + more, traces + seen
            for name in names:
                yield line_of(name, attempt, seen)
        yield judge("net-search-domain", "a resolver that would try a name below the host's search domain",
                    "the gate asks for a name as it stands, or not at all", against("search-domain", traces))
        yield judge("net-runner-proxy", "a proxy in the environment that the runner was started with",
                    "the gate dials for itself: nothing went there", against("runner-proxy", traces))
        reached = {(p[1], p[2]) for p in packets if p[0] == "tcp"}
        yield judge("net-allowed-works", "the allowed host at 443 and 80, as the recorder saw it",
                    "dialled and on record, so the recorder sees what there is to see",
                    "" if reached >= {("7.7.7.1", "443"), ("7.7.7.1", "80")} else "recorded: %s" % sorted(reached))
        for _ in range(100):
            now = sockets_of(place)
            if now <= held:
                break
            time.sleep(0.2)
        yield judge("net-doors-after-run", "sockets of ended attempts that the runner might still hold",
                    "%d sockets before all these attempts, %d after" % (held, now),
                    "" if now <= held else "%d sockets before, %d after" % (held, now))
    finally:
        place.down()
