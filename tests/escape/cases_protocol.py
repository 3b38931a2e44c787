"""The runner's socket, from outside by somebody who has the login, and from inside of a jail. It may refuse,
it may close; it must stay, answer the next one, and start nothing."""
import os

from case import case, judge
from world import ROOT

BIG = os.path.join(ROOT, "tests", "escape", "cases_trees.py")  # any file of some KiB that is no order

# name: (what is tried, steps of tests/tools/wire.py)
SENT = {
    "wire-noise": ("16 KiB of nothing and of noise instead of a frame", ["zeros:16384", "raw:" + "ff" * 4096]),
    "wire-oversized": ("a frame that says it has 4 GiB", ["hello", "recv", "raw:ffffffff10", "zeros:65536"]),
    "wire-cut": ("a frame cut off in its head and in its body", ["raw:0000", "pause:0.2"]),
    "wire-unknown-type": ("message types that do not exist", ["hello", "recv", "json:250:{}", "json:0:{}", "recv"]),
    "wire-not-json": ("payloads that are not JSON or not UTF-8",
                      ["hello", "recv", "json:16:{\"a\":", "json:16:\udcff\udcfe", "json:16:nul\x01", "recv"]),
    "wire-duplicate-keys": ("one key twice, unknown keys", ["json:1:{\"version\":1,\"version\":1,\"channel\":\"control\",\"program\":\"x\"}", "recv"]),
    "wire-deep": ("JSON 100000 levels deep", ["hello", "recv", "json:16:" + "[" * 50000 + "]" * 50000, "recv"]),
    "wire-numbers": ("numbers past 64 bits, NaN, minus zero",
                     ["hello:log:01jdq7z4m2r8k5t3w9x1y6b0cn.1:99999999999999999999999", "recv"]),
    "wire-streams": ("streams of attempts of others", ["hello:log:01jdq7z4m2r8k5t3w9x1y6b0cn.1:0", "recv"]),
    "wire-paths": ("an attempt whose name is a path", ["hello:result:../../../etc/shadow:0", "recv"]),
    "wire-no-hello": ("orders before any greeting", ["json:17:{\"attempt\":\"x\"}", "json:20:{}", "recv"]),
    "wire-twice": ("a second greeting as another kind of channel", ["hello", "recv", "hello:result:01jdq7z4m2r8k5t3w9x1y6b0cn.1", "recv"]),
    "wire-flood": ("a MiB that is no order, no answer ever read",
                   ["hello"] + ["send:17:" + BIG] * 64),
}


def answers(world):
    """Asked again when not: a login may be refused for a moment while many others begin, and take long."""
    return any(world.wire("hello", "recv").startswith("2 ") for _ in range(5))


def serving(world):
    """Pids and start times of the runner's processes."""
    if world.vps:
        return world.host("systemctl show -p MainPID -p NRestarts creel-runner")
    return world.host("cut -d' ' -f22 /proc/%s/stat" % world.runner())


@case(" ".join(SENT))
def sent(world):
    for name, (tried, steps) in SENT.items():
        before = serving(world)
        said = world.wire(*steps)
        last = (said.strip().splitlines() or ["closed"])[-1]
        complaint = ""
        if serving(world) != before:
            complaint = "the runner is another one"
        elif not answers(world):
            complaint = "the runner does not answer any more"
        elif "root:" in said:
            complaint = "a file came back"
        yield judge(name, tried, "answer: " + last[:100], complaint)


@case("wire-idle", alone=True)
def idle(world):
    """Many that say nothing, while a task is to be run."""
    import concurrent.futures
    count = 20 if world.vps else 60
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        idlers = [pool.submit(world.wire, "raw:0000", "pause:%d" % (25 if world.vps else 4)) for _ in range(count)]
        attempt = world.run("echo", "through")
        for one in idlers:
            one.result()
    yield judge("wire-idle", "%d connections that never finish a frame" % count, "a task got through meanwhile",
                "" if "through" in attempt.out and answers(world) else attempt.said())


@case("wire-inside")
def inside(world):
    """From within a jail: the runner's own channels are not there, and what looks like them is only log."""
    script = r"""
for f in /proc/1/fd/* /proc/$PPID/fd/*; do (echo x >"$f") 2>/dev/null && case $(readlink "$f") in pipe:*|"") ;; *) echo "= GOT wrote to $f" ;; esac; done
printf '\000\000\000\002\022{}' >&1; printf '\000\000\000\002\022{}' >&2
perl -MSocket -e 'for my $n (3 .. 255) { open(my $f, ">&=", $n) and print "= GOT descriptor $n\n" }'
perl -MSocket -e 'for my $p ("/run/creel-runner/runner.sock", "/run/runner.sock") { socket(S, AF_UNIX, SOCK_STREAM, 0); print "= GOT $p\n" if connect(S, sockaddr_un($p)) }'
echo done-looking
exit 7
"""
    attempt = world.run("sh", "-c", script)
    step = [s for s in attempt.end.get("steps", []) if s["kind"] == "command"]
    complaint = ""
    if "= GOT" in attempt.out or "done-looking" not in attempt.out:
        complaint = attempt.said()
    if not step or step[0]["exit"] != 7 or attempt.state != "failed":
        complaint = "the step's own end did not count: " + attempt.said()
    yield judge("wire-inside", "write to pid 1's status pipe, forge frames, find the runner's socket",
                "no descriptor, no socket; frames in the log are bytes", complaint)
