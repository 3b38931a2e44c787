"""The log: it must reach the operator whole or counted, act on nothing, and say nothing but what it is."""
import re
import subprocess

from case import case, judge
from cases_jail import TABLE
from cases_limits import told


def on_terminal(world, *words):
    """What the operator's command writes when its output is a terminal."""
    line = " ".join("'%s'" % w for w in words)
    return subprocess.run(["script", "-qec", line, "/dev/null"], env=dict(world.env, TERM="xterm"),
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=60).stdout


def acting(text):
    """Control bytes that a terminal would act on, other than its own colours and line ends."""
    text = re.sub(rb"\x1b\[[0-9;]*m", b"", text)
    return sorted(set(re.findall(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\xaa-\xae]", text)))


@case("log-escapes")
def escapes(world):
    attempt = world.run("bin/attack", "log-escapes")
    raw = world.creel("logs", "--raw", attempt.id).stdout
    shown = on_terminal(world, "creel", "logs", attempt.id) + on_terminal(world, "creel", "show", attempt.id)
    complaint = "not kept as it was" if b"\x1b]52;c;" not in raw else ""
    if acting(shown):
        complaint = "a terminal would act on %s" % acting(shown)
    if b"desrever" not in shown:
        complaint = "it was not shown at all"
    yield judge("log-escapes", TABLE["log-escapes"]["what"], "shown as text; --raw has the bytes", complaint)


@case("log-bytes")
def some_bytes(world):
    attempt = world.run("bin/attack", "log-bytes")
    raw = world.creel("logs", "--raw", attempt.id).stdout
    whole = b"nul \0 nul" in raw and b"\xed\xa0\x80" in raw and raw.count(bytes(range(256))) == 16
    shown = on_terminal(world, "creel", "logs", attempt.id)
    complaint = "" if whole else "the log is not the bytes that were written"
    if acting(shown):
        complaint = "a terminal would act on %s" % acting(shown)
    yield judge("log-bytes", TABLE["log-bytes"]["what"], "kept byte for byte, every event valid JSON, shown as text", complaint)


@case("log-forged")
def forged(world):
    attempt = world.run("bin/attack", "log-forged")
    states = [e for e in attempt.events if e.get("event") == "state"]
    complaint = ""
    if attempt.state != "failed" or attempt.code != 5:
        complaint = "it is believed: " + attempt.said()
    if any(e["state"] not in ("queued", "leased", "sending", "running", "collecting", "imported", "failed") for e in states):
        complaint = "an event was forged"
    shown = world.creel("logs", attempt.id).stdout + world.creel("show", attempt.id).stdout
    if b"failed" not in shown:
        complaint = "the operator is not told of the failure"
    yield judge("log-forged", TABLE["log-forged"]["what"], "still failed, exit 3: frames have a type of their own", complaint)


@case("log-closed")
def closed(world):
    attempt = world.run("bin/attack", "log-closed")
    step = [s for s in attempt.end.get("steps", []) if s["kind"] == "command"]
    yield judge("log-closed", TABLE["log-closed"]["what"], "the end was awaited all the same: exit 4",
                "" if step and step[0]["exit"] == 4 else attempt.said())


def runner_memory(world):
    """KiB that the runner has at most held, each of its processes by itself."""
    return max(int(n) for n in world.host(
        "for p in $1 $(pgrep -P $1); do sed -n 's/^VmHWM:[^0-9]*\\([0-9]*\\).*/\\1/p' /proc/$p/status; done", world.runner()).split())


@case("log-flood")
def flood(world):
    attempt = world.run("bin/attack", "log-flood", limits="wall=3s,log=1M")
    size = len(world.creel("logs", "--raw", attempt.id).stdout)
    dropped, kib = int(attempt.end.get("log_dropped_bytes", 0)), runner_memory(world)
    complaint = ""
    if attempt.state != "timed-out" or size > 2 << 20 or dropped == 0:
        complaint = "%d bytes kept, %d dropped: %s" % (size, dropped, attempt.said()[:400])
    if kib > 64 << 10:
        complaint = "the runner held %d KiB" % kib
    yield judge("log-flood", TABLE["log-flood"]["what"],
                "log limit 1 MiB: %d KiB kept, %d MiB counted and dropped; the runner held at most %d MiB" %
                (size >> 10, dropped >> 20, kib >> 10), complaint)


@case("log-long-line")
def long_line(world):
    """A whole GiB on the VPS, an eighth here."""
    mib = 1024 if world.vps else 128
    attempt = world.run("bin/attack", "log-long-line", str(mib), limits="log=4M")
    size, dropped = len(world.creel("logs", "--raw", attempt.id).stdout), int(attempt.end.get("log_dropped_bytes", 0))
    yield judge("log-long-line", "one line of %d MiB" % mib,
                "no line is ever held: %d MiB kept, %d MiB counted and dropped; the runner held at most %d MiB" %
                (size >> 20, dropped >> 20, runner_memory(world) >> 10),
                "" if attempt.state == "succeeded" and size + dropped == mib << 20 and size <= 5 << 20
                and runner_memory(world) < 64 << 10 else "%d bytes kept, %d dropped: %s" % (size, dropped, attempt.said()[:400]))
