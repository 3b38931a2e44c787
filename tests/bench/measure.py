"""The rows of the benchmark (tests/bench/run starts this with a host, a repository and a plain sshd
ready). Each row measures its two sides in turn, so that a slow minute of the machine meets both."""
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

E2E = os.environ["E2E"]
REPO = os.environ["REPO"]
BIN = os.environ["BENCH_BIN"]
RUNS = int(os.environ["BENCH_RUNS"])
SSH = ["ssh", "-F", E2E + "/ssh_config", "plain"]
BWRAP = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--ro-bind", "/usr", "/usr",
         "--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64",
         "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]
GIB = 1 << 30


def quiet(cmd, **kw):
    return subprocess.run(cmd, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL, **kw)


def timed(cmd, **kw):
    start = time.monotonic()
    quiet(cmd, **kw)
    return (time.monotonic() - start) * 1000


def creel(*args, repo=REPO):
    return ["creel", "run", "--repo", repo, "--yes", *args]


def stop_engine():
    subprocess.run(["creel", "serve", "--stop"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)


def in_turn(ours, theirs, runs=RUNS, before=lambda: None):
    """Median milliseconds of both, measured alternately; the first of each is thrown away."""
    a, b = [], []
    for i in range(runs + 1):
        before()
        x, y = ours(), theirs()
        if i:
            a.append(x)
            b.append(y)
    return a, b


def row(name, ours, theirs, aim, unit="ms", higher=False):
    a, b = statistics.median(ours), statistics.median(theirs)
    ratio = a / b if b else 0
    met = (ratio >= aim) if higher else (ratio <= aim)
    print("%-58s %10.1f %10.1f %-5s %6.2f  %s %s %s" % (
        name, a, b, unit, ratio, ">=" if higher else "<=", aim, "" if met else "  not met"), flush=True)


def cold():
    a, b = in_turn(lambda: timed(creel("--", "true")), lambda: timed(SSH + BWRAP + ["true"]), before=stop_engine)
    row("(a) creel run -- true, cold : ssh HOST bwrap true", a, b, 0.6)


def warm():
    quiet(creel("--", "true"))
    master = subprocess.Popen(SSH[:-1] + ["-M", "-N", "plain"], stdin=subprocess.DEVNULL)
    time.sleep(1)
    try:
        a, b = in_turn(lambda: timed(creel("--", "true")), lambda: timed(SSH + BWRAP + ["true"]))
    finally:
        master.terminate()
        master.wait()
    row("(b) same, connected engine : ssh through ControlMaster", a, b, 4)


def spawn_ms(cmd):
    start = time.monotonic()
    pid = os.posix_spawnp(cmd[0], cmd, os.environ)
    os.waitpid(pid, 0)
    return (time.monotonic() - start) * 1000


# A runtime that wants cgroups in one hierarchy finds none on a machine that has them mixed: it gets a
# mount namespace of its own with them so. Prints the milliseconds of each run.
IN_A_ROW = """
import os, sys, time
for i in range(int(sys.argv[1])):
    start = time.monotonic()
    pid = os.posix_spawnp(sys.argv[2], [a.replace("@", str(i)) for a in sys.argv[2:]], os.environ)
    if os.waitpid(pid, 0)[1]:
        sys.exit(1)
    print((time.monotonic() - start) * 1000)
"""


def crun_bundle(to):
    """The jail as an OCI bundle: the same namespaces, /usr read-only, no seccomp, no limits."""
    for name in ("proc", "dev", "tmp", "usr"):
        os.makedirs(to + "/rootfs/" + name)
    mounts = [("proc", "proc", "/proc", []), ("tmpfs", "tmpfs", "/dev", []), ("devpts", "devpts", "/dev/pts", []),
              ("tmpfs", "tmpfs", "/tmp", []), ("bind", "/usr", "/usr", ["rbind", "ro"])]
    for name in ("bin", "lib", "lib64"):
        os.symlink("usr/" + name, to + "/rootfs/" + name)
    ids = [{"containerID": 0, "hostID": 1879048192, "size": 65536}]
    kinds = ["pid", "network", "ipc", "uts", "mount", "user", "cgroup"]
    config = {
        "ociVersion": "1.0.2", "root": {"path": "rootfs", "readonly": True}, "hostname": "jail",
        "process": {"user": {"uid": 0, "gid": 0}, "args": ["/usr/bin/true"], "cwd": "/", "noNewPrivileges": True,
                    "env": ["PATH=/usr/bin"]},
        "mounts": [{"type": t, "source": s, "destination": d, "options": o} for t, s, d, o in mounts],
        "linux": {"namespaces": [{"type": k} for k in kinds], "uidMappings": ids, "gidMappings": ids},
    }
    with open(to + "/config.json", "w") as out:
        json.dump(config, out)
    os.chmod(to, 0o755)


def crun_ms(bundle, n):
    """None where crun cannot run."""
    loop = ["python3", "-c", IN_A_ROW, str(n), "crun", "--root", bundle + "/state", "--cgroup-manager=disabled", "run",
            "-b", bundle, "bench-@"]
    ran = subprocess.run(["unshare", "-m", "sh", "-c", 'mount -t cgroup2 none /sys/fs/cgroup && exec "$@"', "sh"] + loop,
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if ran.returncode:
        print("(c) beside crun left out: %s" % (ran.stderr.strip().splitlines() or ["it failed"])[-1])
        return None
    return [float(x) for x in ran.stdout.split()]


def jail():
    bench = BIN + "/tests/bench/jail_bench"
    if not os.path.exists(bench):
        print("(c) left out: %s is not built" % bench)
        return
    bundle = tempfile.mkdtemp(dir=E2E)
    crun_bundle(bundle)
    cold, pool, bwrap, crun = [], [], [], []
    for _ in range(5):
        for mode, times in ("start", cold), ("pool", pool):
            out = subprocess.run([bench, "60", mode], check=True, stdout=subprocess.PIPE, text=True).stdout
            times += [float(x) for x in out.split()][5:]
        bwrap += [spawn_ms(BWRAP + ["true"]) for _ in range(60)][5:]
        if crun is not None:
            times = crun_ms(bundle, 60)
            crun = crun + times[5:] if times else None
    row("(c) jail made cold, start to exit of true : bwrap", cold, bwrap, 0.45)
    row("(c) jail from the pool, the same : bwrap", pool, bwrap, 0.3)
    if crun:
        row("(c) jail made cold : crun, same namespaces", cold, crun, 0.4)
        row("(c) jail from the pool : crun", pool, crun, 0.4)


def log():
    size = str(GIB)
    speeds = lambda ms: [GIB / 1048576 / (x / 1000) for x in ms]
    command = creel("--limit", "log=2G", "--", "head", "-c", size, "/dev/zero")

    def ours():
        ms = timed(command)
        # Keep the disk from filling with gigabytes of zeros.
        task = subprocess.run("creel ps --all --json | jq -r '.tasks[0].id'", shell=True, check=True,
                              stdout=subprocess.PIPE, text=True).stdout.strip()
        os.truncate("%s/tasks/%s/log" % (os.environ["CREEL_STATE"], task), 0)
        return ms
    a, b = in_turn(ours, lambda: timed(SSH + ["head", "-c", size, "/dev/zero"]), runs=3)
    row("(d) 1 GiB of log : ssh HOST head -c 1G", speeds(a), speeds(b), 0.9, "MiB/s", True)


def big_repo():
    repo = E2E + "/big"
    if not os.path.exists(repo):
        for d in range(500):
            at = "%s/d%d/e%d" % (repo, d // 25, d)
            os.makedirs(at)
            for f in range(100):
                with open("%s/f%d.c" % (at, f), "w") as out:
                    out.write("/* file %d of %d */\n%s\n" % (f, d, ("int x%d_%d(void);\n" % (d, f)) * (20 + f)))
        quiet(["git", "init", "-q", repo])
        quiet(["git", "-C", repo, "add", "-A"])
        quiet(["git", "-C", repo, "commit", "-q", "-m", "big"])
        quiet(["git", "-C", repo, "repack", "-a", "-d", "-q"])
    return repo


def source():
    repo = big_repo()
    quiet(creel("--", "true"))

    def ours():
        start = time.time()
        out = subprocess.run(creel("--", "date", "+%s.%N", repo=repo), check=True, stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
        return (float(out.split()[0]) - start) * 1000

    def theirs():
        env = dict(os.environ, GIT_SSH_COMMAND=" ".join(SSH[:-1]))
        # A jail's work tree is in memory, so git's shall be too.
        to = tempfile.mkdtemp(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else E2E)
        ms = timed(["git", "clone", "-q", "--depth", "1", "ssh://plain" + repo, to], env=env)
        quiet(["rm", "-rf", to])
        return ms
    a, b = in_turn(ours, theirs, runs=3)
    row("(e) 50,000 files to the first instruction : git clone", a, b, 1.0)


def rss_mib(pid):
    for line in open("/proc/%s/status" % pid):
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0


def memory():
    quiet(creel("--", "true"))
    time.sleep(1)
    runner = os.environ["BENCH_RUNNER_PID"]
    print("(f) idle RSS: creel-runner serve %.1f MiB (<= 5)" % rss_mib(runner), end="")
    for child in subprocess.run(["pgrep", "-P", runner], stdout=subprocess.PIPE, text=True).stdout.split():
        print(", its warden %.1f MiB" % rss_mib(child), end="")
    import sqlite3
    engine = sqlite3.connect(os.environ["CREEL_STATE"] + "/creel.db").execute(
        "select value from meta where key = 'engine_pid'").fetchone()[0]
    print(", creel engine %.1f MiB" % rss_mib(engine), end="")
    for child in subprocess.run(["pgrep", "-P", engine], stdout=subprocess.PIPE, text=True).stdout.split():
        print(", its broker %.1f MiB" % rss_mib(child), end="")
    print(flush=True)


def gate():
    if not os.path.exists(BIN + "/tests/bench/gate_bench"):
        print("(g) left out: %s/tests/bench/gate_bench is not built" % BIN)
        return
    out = subprocess.run(["bash", os.path.dirname(os.path.abspath(__file__)) + "/gate", BIN, "5"], check=True,
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True).stdout
    rows = {}
    for kind, ours, theirs in (line.split() for line in out.splitlines()):
        rows.setdefault(kind, []).append((float(ours), float(theirs)))
    us = lambda ms: [x * 1000 for x in ms]
    row("(g) egress gate, CONNECT until its 200 : tinyproxy", *map(us, zip(*rows["connect"])), 1.5, "us")
    row("(h) egress gate, download of 1 GiB : tinyproxy", *zip(*rows["pull"]), 1.0, "MiB/s", True)


ROWS = {"a": cold, "b": warm, "c": jail, "d": log, "e": source, "f": memory, "g": gate}


def main(wanted):
    print("%-58s %10s %10s %-5s %6s  %s" % ("medians", "creel", "other", "", "ratio", "aim"))
    for name in wanted or ROWS:
        ROWS[name]()


main(sys.argv[1:])
