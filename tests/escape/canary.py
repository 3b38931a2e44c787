"""Runs on the host as root, outside of any jail: canary.py DIR up UID... | sweep [TASK...] | tasks | down

up      starts a process for each uid (the very ids that jails' users have), that holds an abstract
        socket and a System V object, and writes a file that no task may read or change
sweep   prints a line for every trace of an attack that is found on the host outside of a jail, for every
        process of those tasks, which have ended, and for everything about the canaries, and of the
        kernel's settings, that changed
tasks   prints for every process of any task: the task, the host's user id, its namespaces
down    ends and removes them
"""
import ctypes
import hashlib
import json
import os
import re
import signal
import socket
import sys
import time

MARK = "creel-escaped"
STATE = sys.argv[1]
SETTINGS = ("kernel/core_pattern kernel/modprobe kernel/sysrq kernel/hostname kernel/domainname "
            "kernel/randomize_va_space vm/overcommit_memory vm/panic_on_oom fs/suid_dumpable kernel/panic "
            "fs/protected_hardlinks fs/protected_symlinks net/ipv4/ip_forward kernel/ctrl-alt-del").split()
PLACES = ("/", "/tmp", "/var/tmp", "/dev", "/dev/shm", "/etc", "/usr/bin", "/usr/lib", "/root", "/run", "/var", "/mnt")
SHM_KEY = 0x63726561


def read(path):
    try:
        with open(path, "rb") as f:
            return f.read()
    except OSError as e:
        return b"-%d" % e.errno


def hold(uid, first):
    """The process that waits; its children would not, so it is forked straight from here."""
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    keep = []
    if first:
        s = socket.socket(socket.AF_UNIX)
        try:
            s.bind("\0" + MARK + "-host")
            s.listen()
        except OSError:
            pass # another run of this suite has it
        keep.append(s)
        ctypes.CDLL(None).shmget(SHM_KEY, 4096, 0o1666)
    if os.geteuid() == 0:
        os.setgid(uid)
        os.setuid(uid)
    libc = ctypes.CDLL(None)
    libc.prctl(15, b"canary", 0, 0, 0)
    libc.prctl(4, 1, 0, 0, 0)  # dumpable again: only the jail keeps others of this uid away
    while True:
        signal.pause()


def started(pid):
    """When a pid was born: a pid alone may be another process by now."""
    stat = read("/proc/%d/stat" % pid)
    return stat.rpartition(b")")[2].split()[19].decode() if b")" in stat else "gone"


def facts(pids):
    found = {"file": hashlib.sha256(read(STATE + "/secret")).hexdigest()}
    for pid in pids:
        at = "/proc/%d/" % pid
        found["process %d" % pid] = [started(pid), read(at + "oom_score_adj").decode(), read(at + "limits").decode()]
    for name in SETTINGS:
        found[name] = read("/proc/sys/" + name).decode("utf-8", "replace")
    return found


def up(uids):
    down()
    os.makedirs(STATE, exist_ok=True)
    os.chmod(STATE, 0o755)
    with open(STATE + "/secret", "w") as f:
        f.write("canary-of-the-host-%s\n" % os.urandom(8).hex())
    os.chmod(STATE + "/secret", 0o644)
    pids = [hold(int(uid), i == 0) for i, uid in enumerate(uids)]
    time.sleep(0.3)
    with open(STATE + "/state", "w") as f:
        json.dump({"pids": pids, "born": [started(p) for p in pids], "facts": facts(pids)}, f)
    print(STATE + "/secret")


def check():
    with open(STATE + "/state") as f:
        state = json.load(f)
    now = facts(state["pids"])
    for name, was in state["facts"].items():
        if now[name] != was:
            print("%s changed from %s to %s" % (name, was, now[name]))


def outside():
    """Pids that are in the first user namespace: no jail's."""
    mine = os.readlink("/proc/self/ns/user")
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink("/proc/%s/ns/user" % pid) == mine:
                yield pid
        except OSError:
            pass


def tasks_now():
    for pid in filter(str.isdigit, os.listdir("/proc")):
        task = re.search(rb"CREEL_TASK_ID=(\w+)", read("/proc/%s/environ" % pid))
        try:
            spaces = [os.readlink("/proc/%s/ns/%s" % (pid, n)) for n in "cgroup ipc mnt net pid user uts".split()]
            if task:
                print(task.group(1).decode(), os.stat("/proc/" + pid).st_uid, *spaces)
        except OSError:
            pass


def sweep(tasks):
    mark = MARK.encode()
    seen = set()
    for pid in outside():
        try:
            space = os.readlink("/proc/%s/ns/mnt" % pid)
        except OSError:
            continue
        if space not in seen:
            seen.add(space)
            if mark in read("/proc/%s/mountinfo" % pid):
                print("mount: in the mount namespace of process %s" % pid)
        if read("/proc/%s/comm" % pid).strip() == mark[:15]:
            print("process: %s runs outside of any jail" % pid)
    for pid in filter(str.isdigit, os.listdir("/proc") if tasks else ()):
        env = read("/proc/%s/environ" % pid)
        if any(b"CREEL_TASK_ID=" + t.encode() in env for t in tasks):
            print("process: %s was left behind" % pid)
    for what in ("hostname", "domainname"):
        if mark in read("/proc/sys/kernel/" + what):
            print("%s: it is the attack's" % what)
    if mark in read("/proc/keys"):
        print("key: an attack's key is visible to root")
    for kind in ("shm", "msg", "sem"):
        if re.search(rb"^ *%d " % 0x63726565, read("/proc/sysvipc/" + kind), re.M):
            print("ipc: a System V %s of an attack" % kind)
    if b"@" + mark + b"-jail" in read("/proc/net/unix"):
        print("socket: an abstract one of an attack")
    if b"escaped0" in read("/proc/net/dev"):
        print("interface: escaped0")
    if mark in read("/proc/swaps"):
        print("swap: a file of an attack")
    for place in PLACES:
        for name in os.listdir(place) if os.path.isdir(place) else []:
            if name.startswith(MARK):
                print("file: %s/%s" % (place, name))
    for at, dirs, _ in os.walk("/sys/fs/cgroup"):
        if MARK in dirs:
            print("cgroup: in %s" % at)


def down():
    try:
        with open(STATE + "/state") as f:
            state = json.load(f)
    except (OSError, ValueError):
        return
    for pid, born in zip(state["pids"], state["born"]):
        if born != "gone" and started(pid) == born:
            os.kill(pid, signal.SIGKILL)
    libc = ctypes.CDLL(None)
    shm = libc.shmget(SHM_KEY, 4096, 0)
    if shm >= 0:
        libc.shmctl(shm, 0, None)
    for name in ("secret", "state"):
        if os.path.exists(STATE + "/" + name):
            os.unlink(STATE + "/" + name)


verb, rest = sys.argv[2], sys.argv[3:]
if verb == "up":
    up(rest)
elif verb == "sweep":
    sweep(rest)
    check()
elif verb == "tasks":
    tasks_now()
elif verb == "down":
    down()
