"""More than was given: memory of every kind, processes, processor, time, disk. Each in an attempt of its
own; the host must stay usable, the limit must be named in words with what was reached."""
import re

from case import bad, case, judge, ok
from cases_jail import TABLE, line_of

MEMORY = [n for n in TABLE if n.startswith("memory-")]
MIB = 1 << 20


def words(world, attempt):
    """Everything that the operator is told about limits: the result's hits, its reason, the notes."""
    task = world.show(attempt)
    hits = [h["words"] for h in task.get("hits", [])]
    return hits, " | ".join(hits + [attempt.end.get("reason", ""), attempt.notes.replace("\n", " / ")])


def told(world, attempt, pattern):
    """The words that match; RuntimeError when the operator is not told so."""
    hits, everything = words(world, attempt)
    found = [h for h in hits if re.search(pattern, h)] or re.findall("[^|/]*" + pattern + "[^|/]*", everything)
    if not found:
        raise RuntimeError("nobody is told %r: %s" % (pattern, everything))
    return found[0].strip()


def on_time(attempt, name, limit_s, spare_s):
    wall = attempt.end.get("wall_ms", 0) / 1000
    if attempt.state != "timed-out":
        return bad(name, TABLE[name]["what"], "it is not timed out: " + attempt.said())
    if not limit_s <= wall <= limit_s + spare_s:
        return bad(name, TABLE[name]["what"], "it took %.1f s" % wall)
    return None


def out_of_time(world, name):
    attempt = world.run("bin/attack", name, limits="wall=2s")
    late = on_time(attempt, name, 2, 60)
    if late:
        return late
    return judge(name, TABLE[name]["what"], told(world, attempt, "wall limit 2 ?s reached"),
                 "; ".join(world.complaints(attempt.id)))


@case("spin")
def spin(world):
    yield out_of_time(world, "spin")


@case("stop-self")
def stop_self(world):
    yield out_of_time(world, "stop-self")


@case("stop-clock")
def stop_clock(world):
    yield out_of_time(world, "stop-clock")


# KiB of the host's own disk in use, but for the images that the runner keeps ready and are whole from the start,
# once it is the same twice: one of them may be about to come or go.
HOST_DISK = """now() { echo $(($(df -k --output=used / | tail -n 1) - $(cat /sys/block/dm-*/size 2>/dev/null | awk '{ n += $1 } END { print int(n / 2) }'))); }
was=; is=$(now); while [ "$is" != "$was" ]; do sleep 0.5; was=$is; is=$(now); done; echo $is"""


def disk_case(world, name, disk):
    """The host's own disk must not have got fuller, and the job may not have more than its limit."""
    before = int(world.host(HOST_DISK)) if world.vps else 0
    attempt = world.run("bin/attack", name, limits="disk=%dM" % disk)
    for _ in range(20):
        # Meanwhile other attempts come to their end, and what is kept of them until then goes.
        used = int(world.host(HOST_DISK)) - before if world.vps else 0
        if used <= 40 * 1024:
            break
    line = line_of(attempt, name, world.complaints(attempt.id))
    peak = int(attempt.end.get("disk_peak", 0))
    if line.holds and (peak > disk * MIB * 17 // 16 or peak == 0):
        line = bad(name, line.tried, "%d bytes were used of %d MiB" % (peak, disk))
    if line.holds and used > 40 * 1024:
        line = bad(name, line.tried, "the host's disk has %d KiB less" % used)
    return attempt, line


@case("disk-fill")
def disk_fill(world):
    attempt, line = disk_case(world, "disk-fill", 32)
    yield line if not line.holds else \
        ok(line.name, line.tried, told(world, attempt, "disk limit 32 MiB reached, peak") + ": " + line.stopped)


@case("disk-inodes")
def disk_inodes(world):
    attempt, line = disk_case(world, "disk-inodes", 16)
    yield line if not line.holds else \
        ok(line.name, line.tried, told(world, attempt, "disk limit 16 MiB reached, peak 16 MiB") + ": " + line.stopped)


@case("disk-sparse")
def disk_sparse(world):
    attempt, line = disk_case(world, "disk-sparse", 32)
    if line.holds and attempt.state not in ("succeeded", "failed"):
        line = bad(line.name, line.tried, "the task did not end well: " + attempt.said())
    yield line


@case(" ".join(MEMORY), vps=True, why="memory is limited by cgroup v2, and this machine's belongs to others too")
def memory(world):
    """The disk is memory too, half of it: what does not go there has to be stopped by the limit of memory."""
    for name in MEMORY:
        attempt = world.run("bin/attack", name, limits="mem=32M,disk=16M,pids=64")
        complaints = world.complaints(attempt.id)
        peak = int(attempt.end.get("mem_peak", 0))
        verdict = attempt.verdict(name)
        if verdict and not verdict[0]:
            complaints.append(verdict[1])
        if peak > 32 * MIB:
            complaints.append("%d bytes were used" % peak)
        if verdict:
            # Something else said no before memory did: that is told by the attack's own words.
            stopped = "%s, peak %d MiB" % (verdict[1], peak // MIB)
        else:
            stopped = told(world, attempt, r"memory limit 32 MiB reached, peak 3[12](\.\d+)? MiB, 1 process group killed")
        yield judge(name, TABLE[name]["what"], stopped, "; ".join(complaints))


@case("page-cache", vps=True, why="memory is limited by cgroup v2")
def page_cache(world):
    """A disk that memory cannot hold is an image: what is written there passes through the host's memory."""
    attempt = world.run("bin/attack", "memory-tmpfs", limits="mem=32M,disk=512M,wall=20s")
    peak, disk = int(attempt.end.get("mem_peak", 0)), int(attempt.end.get("disk_peak", 0))
    complaints = world.complaints(attempt.id)
    if not 0 < peak <= 32 * MIB:
        complaints.append("%d bytes of memory were used" % peak)
    yield judge("page-cache", "push other memory out by files on the disk",
                "counted as the job's: %d MiB written, peak of memory %d MiB" % (disk // MIB, peak // MIB), "; ".join(complaints))


@case("fork-count fork-bomb", vps=True, why="processes are limited by cgroup v2, and a bomb would fill this machine")
def forks(world):
    for name in ("fork-count", "fork-bomb"):
        attempt = world.run("bin/attack", name, limits="pids=40,wall=10s,mem=256M")
        complaints = world.complaints(attempt.id)
        peak = int(attempt.end.get("pids_peak", 0))
        if not 20 <= peak <= 40:
            complaints.append("%d processes were there at once" % peak)
        if int(world.host("ps -e | wc -l")) > 200:
            complaints.append("the host has more than 200 processes")
        stopped = told(world, attempt, "process limit 40 reached, peak [0-9]+, [0-9]+ forks? refused")
        yield judge(name, TABLE[name]["what"], stopped, "; ".join(complaints))


@case("processor", vps=True, why="processors are limited by cgroup v2")
def processor(world):
    """Four that spin, with a fifth of a processor: what they used is a fifth of the time."""
    attempt = world.run("sh", "-c", "for n in 1 2 3 4; do bin/attack spin & done; wait", limits="cpu=0.2,wall=10s")
    used, wall = int(attempt.end.get("cpu_ms", 0)), int(attempt.end.get("wall_ms", 1))
    yield judge("processor", "four processes that compute without end, with cpu=0.2",
                "cpu.max: %d ms used in %d ms" % (used, wall),
                "" if wall / 20 < used < wall * 0.35 else "%d ms used in %d ms: %s" % (used, wall, attempt.said()))


@case("host-in-use", vps=True, why="only where memory, processes and processor are limited")
def host_in_use(world):
    """Everything at once; meanwhile the host starts processes and serves another task."""
    script = "for n in memory-bomb memory-tmpfs fork-bomb spin log-flood disk-fill; do bin/attack $n & done; wait"
    busy = world.start("sh", "-c", script, limits="mem=64M,pids=40,cpu=0.5,wall=15s,disk=32M,log=1M")
    other = world.run("sh", "-c", "echo through")
    alive = world.host("for n in $(seq 50); do true | cat; done; systemctl is-active creel-runner ssh")
    attempt = world.finish(busy)
    complaints = world.complaints(attempt.id)
    if "through" not in other.out or other.state != "succeeded":
        complaints.append("another task did not get through: " + other.said())
    if alive.split() != ["active", "active"]:
        complaints.append("services: " + alive)
    yield judge("host-in-use", "memory, forks, processor, log and disk at once",
                "the host went on, another task too; this one: " + attempt.end.get("reason", ""), "; ".join(complaints))
