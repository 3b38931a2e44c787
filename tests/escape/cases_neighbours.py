"""Two attempts at once on one host: neither may see, reach or hinder the other."""
import threading

from case import case, judge
from cases_jail import TABLE

# What one leaves while it lives: a file, a segment, names, a listener, processes, its argument and environment.
VICTIM = r"""
exec 2>&1
echo "$1" >/tmp/secret; echo "$1" >/dev/shm/secret; echo "$1" >/task/secret; echo "$1" >/home/agent/secret
python3 - "$1" "$2" <<'END'
import ctypes, os, socket, sys, time
secret = sys.argv[1].encode()
c = ctypes.CDLL(None)
c.shmat.restype = ctypes.c_void_p
at = c.shmat(c.shmget(0x63726562, 4096, 0o1666), None, 0)
ctypes.memmove(ctypes.c_void_p(at), secret, len(secret))
for kind, address in ((socket.AF_INET, ("0.0.0.0", 45679)), (socket.AF_UNIX, "\0creel-neighbour"), (socket.AF_UNIX, "/tmp/neighbour")):
    s = socket.socket(kind)
    s.bind(address)
    s.listen()
    globals()["keep%s%s" % (kind, address)] = s
print("= ready -", flush=True)
for n in range(int(sys.argv[2])):
    time.sleep(0.5)
    print("= still here -", flush=True)
END
"""

SPY = r"""
exec 2>&1
python3 - "$1" <<'END'
import ctypes, os, signal, socket, sys
secret, found = sys.argv[1].encode(), []
for at, dirs, files in os.walk("/"):
    if at == "/":
        dirs[:] = [d for d in dirs if d not in ("usr", "lib", "lib64", "bin", "sbin", "lib32", "libx32", "proc")]
    for name in files:
        path = os.path.join(at, name)
        try:
            if os.path.isfile(path) and os.path.getsize(path) < 1 << 20 and secret in open(path, "rb").read():
                found.append("file " + path)
        except OSError:
            pass
    found += ["socket " + at for name in files if name == "neighbour"]
for pid in filter(str.isdigit, os.listdir("/proc")):
    for what in ("environ", "cmdline", "mem", "maps"):
        try:
            if int(pid) not in (os.getpid(), os.getppid()) and secret in open("/proc/%s/%s" % (pid, what), "rb").read(1 << 20):
                found.append("process %s %s" % (pid, what))
        except OSError:
            pass
c = ctypes.CDLL(None)
if c.shmget(0x63726562, 0, 0) >= 0:
    found.append("System V segment")
for kind, address in ((socket.AF_INET, ("127.0.0.1", 45679)), (socket.AF_INET, ("127.9.9.9", 45679)), (socket.AF_UNIX, "\0creel-neighbour")):
    s = socket.socket(kind)
    s.settimeout(2)
    if s.connect_ex(address) == 0:
        found.append("listener %r" % (address,))
    s.close()
hits = 0
mine = set(map(int, filter(str.isdigit, os.listdir("/proc"))))
for pid in range(2, 70000):
    if pid not in mine:
        try:
            os.kill(pid, signal.SIGKILL)
            found.append("process %d took SIGKILL" % pid)
        except OSError:
            pass
s = socket.socket()
s.bind(("0.0.0.0", 45679))
for thread in range(40):
    os.open("/tmp/noise%d" % thread, os.O_CREAT | os.O_WRONLY)
print("= spy %s" % ("GOT " + "; ".join(found) if found else "blocked nothing was found"), flush=True)
END
"""
# The spy's own copy of the secret would be found by it: it gets the secret cut in two.
SPY = SPY.replace('sys.argv[1].encode()', 'sys.argv[1].replace("+", "").encode()')


@case("two-attempts two-identities")
def two(world):
    secret = "neighbours-secret-9f4c1d"
    victim = world.start("sh", "-c", VICTIM, "sh", secret, "400", limits="wall=240s")
    result, facts, seen = {}, [], {"id": "", "beats": 0}

    def each(event):
        seen["id"] = event.get("id") or seen["id"]
        seen["beats"] += "= still here -" in event.get("text", "")

    def look():
        """From outside, by the task's id in the environment."""
        facts.append(world.host_python("canary.py", world.canary, "tasks"))

    def spy():
        """While the other lives, which must go on afterwards until it is told to end."""
        own = []

        def look_and_end():
            look()
            world.creel("cancel", own[0])
        try:
            going = world.start("sh", "-c", SPY + "\necho = looked -; sleep 200", "sh", secret[:10] + "+" + secret[10:],
                                limits="wall=240s")
            result["spy"] = world.finish(going, during=look_and_end, when="= looked -",
                                         each=lambda event: own.extend([event["id"]] if "id" in event else []))
            before = seen["beats"]
            for _ in range(300):
                if seen["beats"] > before + 1:
                    break
                threading.Event().wait(0.1)
            result["went on"] = seen["beats"] > before + 1
        finally:
            world.creel("cancel", seen["id"])
    thread = threading.Thread(target=spy)
    ended = world.finish(victim, during=thread.start, when="= ready -", each=each)
    if thread.ident:
        thread.join()
    attempt = result.get("spy")
    complaint = ""
    if not attempt:
        complaint = "there were not two: " + ended.said()
    elif "= spy blocked" not in attempt.out:
        complaint = attempt.said()
    elif ended.state != "cancelled" or not result.get("went on"):
        complaint = "the other was hindered: " + ended.said()
    yield judge("two-attempts", "from one attempt find, read, connect to, kill another of the same host",
                "nothing of the other is there, the same port is free, and it went on", complaint)
    mine = [row.split() for row in "".join(facts).splitlines() if attempt and row.split()[0] in (attempt.id, ended.id)]
    users = {tid: {row[1] for row in mine if row[0] == tid} for tid in {row[0] for row in mine}}
    spaces = {tid: {x for row in mine if row[0] == tid for x in row[2:]} for tid in users}
    complaint = ""
    if len(users) != 2:
        complaint = "two tasks were not seen at once: %r" % users
    else:
        a, b = users
        root = world.host("id -u").strip() == "0"
        if root and users[a] & users[b]:
            complaint = "the same host uid: %r" % users
        if spaces[a] & spaces[b]:
            complaint = "shared: %s" % " ".join(spaces[a] & spaces[b])
        if users[a] | users[b] & {"0"} == {"0"}:
            complaint = "root on the host"
    yield judge("two-identities", "host user ids and namespaces of two attempts, read outside",
                "uids %s; none of %d kinds of namespaces is shared" % (" and ".join(sorted(u for s in users.values() for u in s)), 7),
                complaint)


@case("neighbour")
def neighbour(world):
    """Both leave the same names in the same places, at the same time."""
    first = world.start("bin/attack", "neighbour", "30" if world.vps else "4")
    result = []
    thread = threading.Thread(target=lambda: result.append(world.run("bin/attack", "neighbour", "1")))
    one = world.finish(first, during=thread.start, when="= ready -")
    thread.join()
    complaint = "" if all(a.verdict("neighbour") and a.verdict("neighbour")[0] for a in (one, result[0])) else \
        one.said() + " / " + result[0].said()
    yield judge("neighbour", "the same names in /tmp, /dev/shm, /task and of sockets, twice at once",
                TABLE["neighbour"]["fence"], complaint)


@case("after-another")
def after(world):
    """One after the other in the same slot: nothing of the first is left for the second."""
    secret = "earlier-secret-77ab01"
    one = world.run("sh", "-c", VICTIM, "sh", secret, "0")
    world.wait_receipt(one)
    two_ = world.run("sh", "-c", SPY, "sh", secret[:10] + "+" + secret[10:])
    yield judge("after-another", "find what an earlier attempt left: files, segments, sockets, processes",
                "every attempt has new namespaces and a new disk", "" if "= spy blocked" in two_.out else two_.said())
