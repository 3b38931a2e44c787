"""What an attack is tried on: an operator, a repository and a host with a runner, either a throwaway
one on this machine (real sshd, controller and runner; no cgroup v2 here, perhaps) or a real VPS.

  world.run(COMMAND...)    a task in a jail, through the controller, to its end: an Attempt
  world.host(SCRIPT)       a script as root on the host, outside of any jail; its output
  world.creel(VERB...)     the operator's command
"""
import json
import os
import shlex
import shutil
import subprocess
import tempfile
import threading

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("CREEL_BUILD") or os.path.join(ROOT, "build")
MARK = "creel-escaped"
UID_BASE, UID_COUNT, JAIL_UID = 0x70000000, 65536, 1000  # runner/cell.h, runner/jail.h
SLOTS = 4
WAIT_S = 240


class Attempt:
    """One task that has ended. out, err: the bytes that its log shows; notes: the runner's words."""

    def __init__(self, code, events, stderr):
        self.code, self.events, self.stderr = code, events, stderr
        logs = [e for e in events if e.get("event") == "log"]
        self.out = "".join(e["text"] for e in logs if e["stream"] == "stdout")
        self.err = "".join(e["text"] for e in logs if e["stream"] == "stderr")
        self.notes = "\n".join(e["text"] for e in logs if e["stream"] == "note")
        self.end = next((e for e in reversed(events) if e.get("event") == "end"), {})
        self.id = next((e["id"] for e in events if e.get("event") == "plan"), "")
        self.state = self.end.get("state", "none")

    def verdict(self, name):
        """What the attack of that name says of itself: (blocked?, words), or None."""
        for line in self.out.splitlines():
            words = line.split(" ", 3)
            if len(words) == 4 and words[0] == "=" and words[1] == name and words[2] in ("blocked", "GOT"):
                return words[2] == "blocked", words[3]
        return None

    def said(self):
        """All words about this attempt, for a complaint."""
        if not self.end:
            return "no task ran: " + self.stderr[-300:]
        return "%s %s | %s | %s" % (self.state, self.end.get("reason", ""), self.notes.replace("\n", " / "),
                                    (self.out + self.err)[-600:])


class World:
    vps = False

    def __init__(self):
        self.dir, self.env, self.port = None, dict(os.environ), None
        self.limits = ""  # what every task gets where the case says nothing
        self.unenforced = []

    # ---- the operator ----

    def creel(self, *args, check=True, stdin=subprocess.DEVNULL, timeout=WAIT_S):
        done = subprocess.run(["creel", *args], env=self.env, stdin=stdin, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=timeout)
        if check and done.returncode != 0:
            raise RuntimeError("creel %s: exit %d: %s" % (args[0], done.returncode, done.stderr.decode("utf-8", "replace")))
        return done

    def show(self, attempt):
        return json.loads(self.creel("show", attempt.id, "--json").stdout)["task"]

    def git(self, *args, repo=None):
        return subprocess.run(["git", "-C", repo or self.repo, *args], env=self.env, check=True,
                              stdout=subprocess.PIPE).stdout.decode("utf-8", "surrogateescape")

    def start(self, *command, limits="", tests=(), repo=None, flags=()):
        """A task under way: its events come as lines of JSON on .stdout."""
        words = ["creel", "run", "--json", "--yes", "--repo", repo or self.repo]
        for one in tests:
            words += ["--test", one]
        both = dict(one.split("=") for one in (self.limits + "," + limits).split(",") if one)
        words += ["--limit", ",".join("%s=%s" % one for one in both.items())]
        return subprocess.Popen([*words, *flags, "--", *command], env=self.env, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def finish(self, process, during=None, when=None, each=None):
        """Its end. `during()` is called once, while it runs, when its output holds the text `when`;
        `each(event)` for every event."""
        timer = threading.Timer(WAIT_S, process.kill)
        timer.start()
        events, errors = [], []
        reader = threading.Thread(target=lambda: errors.append(process.stderr.read()))
        reader.start()
        for line in process.stdout:
            try:
                event = json.loads(line)
            except ValueError:
                raise RuntimeError("not a line of JSON: %r" % line[:200])
            events.append(event)
            if each:
                each(event)
            if during and event.get("event") == "log" and when in event["text"]:
                during()
                during = None
        reader.join()
        process.wait()
        timer.cancel()
        return Attempt(process.returncode, events, errors[0].decode("utf-8", "replace"))

    def run(self, *command, during=None, when="= - done -", **how):
        return self.finish(self.start(*command, **how), during, when)

    def wait_receipt(self, attempt):
        for _ in range(200):
            if self.creel("show", attempt.id, "--receipt", check=False).returncode == 0:
                return json.loads(self.creel("show", attempt.id, "--json").stdout)["task"]
            threading.Event().wait(0.1)
        raise RuntimeError("no receipt of %s" % attempt.id)

    # ---- the host ----

    def host(self, script, *args, check=True, stdin=None, timeout=WAIT_S):
        done = self.on_host(["sh", "-c", script, "sh", *args], stdin, timeout)
        if check and done.returncode != 0:
            raise RuntimeError("on the host: exit %d: %s" % (done.returncode, done.stderr.decode("utf-8", "replace")))
        return done.stdout.decode("utf-8", "replace")

    def host_python(self, file, *args):
        with open(os.path.join(ROOT, "tests", "escape", file), "rb") as f:
            return self.host('exec python3 - "$@"', *args, stdin=f.read())

    # ---- up and down ----

    def bash(self, script):
        """The functions of the end-to-end tests."""
        text = "set -e; . '%s/tests/lib/e2e.bash'\n%s" % (ROOT, script)
        return subprocess.run(["bash", "-c", text], env=self.env, check=True, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE).stdout.decode()

    def take_env(self, text):
        for entry in text.split("\0"):
            name, sep, value = entry.partition("=")
            if sep and (name in ("PATH", "E2E", "REPO", "VPS", "VPS_DIR") or name.startswith(("CREEL_", "GIT_"))):
                self.env[name] = value
        self.dir, self.repo = self.env["E2E"], self.env["REPO"]

    def prepare(self):
        """The attacks go the way that an agent's program would: they are in the tree."""
        os.makedirs(self.repo + "/bin", exist_ok=True)
        subprocess.run(["strip", "-o", self.repo + "/bin/attack", BUILD + "/tests/escape/attack"], check=True)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "attacks")
        self.canaries()

    def canaries(self):
        """Things on the host that attacks look for: files, processes of the jails' own user ids."""
        self.canary = (self.dir if not self.vps else "/var") + "/canary"
        self.host_python("canary.py", self.canary, "up", *[str(UID_BASE + n * UID_COUNT + JAIL_UID) for n in range(SLOTS)])

    def complaints(self, *tasks):
        """What is wrong on the host, seen from outside: traces, changed canaries, and processes of those
        tasks, which have ended. Empty: nothing."""
        return self.host_python("canary.py", self.canary, "sweep", *tasks).splitlines()

    def fresh_repo(self, name):
        """A repository of its own, with the attacks in it."""
        at = os.path.join(self.dir, name)
        subprocess.run(["git", "clone", "-q", self.repo, at], env=self.env, check=True)
        return at


class Local(World):
    def up(self):
        self.caches = tempfile.mkdtemp(prefix="creel-caches.")
        self.env.update(CREEL_BUILD=BUILD, THROWAWAY_RUNNER_FLAGS="--slots %d --caches %s" % (SLOTS, self.caches))
        self.take_env(self.bash("e2e_up >&2; env -0"))
        self.unenforced = [x for x in self.env.get("CREEL_ALLOW_UNENFORCED", "").split(",") if x]
        self.limits = "disk=256M,wall=90s"
        self.prepare()

    def down(self):
        if self.dir:
            self.host_python("canary.py", self.canary, "down")
            self.bash("E2E=%s; e2e_down" % shlex.quote(self.dir))
            shutil.rmtree(self.caches, ignore_errors=True)

    def on_host(self, argv, stdin, timeout):
        return subprocess.run(argv, input=stdin or b"", stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout)

    def runner(self):
        """The first of the runner's processes, which began the others."""
        with open(self.dir + "/host/runner.pid") as f:
            return f.read().strip()

    def wire(self, *steps):
        """A client that says anything to the runner's socket; what it was answered."""
        run_dir = open(self.dir + "/host/rundir").read().strip()
        return subprocess.run(["python3", ROOT + "/tests/tools/wire.py", BUILD + "/runner/creel-runner", "attach",
                               "--run", run_dir, "--", *steps], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              timeout=WAIT_S).stdout.decode("utf-8", "replace")


class Vps(World):
    vps = True
    caches = "/var/lib/creel/caches"

    def up(self):
        self.env.update(CREEL_BUILD=BUILD)
        self.take_env(self.bash(". '%s/tests/lib/vps.bash'; vps_host_up %d >&2; env -0" % (ROOT, SLOTS)))
        self.limits = "mem=256M,pids=128,disk=64M,wall=180s"
        self.prepare()

    def down(self):
        if self.dir and not self.env.get("CREEL_E2E_KEEP"):
            self.bash(". '%s/tests/lib/vps.bash'; vps_host_down" % ROOT)

    def on_host(self, argv, stdin, timeout):
        # ssh takes one string, which the login shell there splits again. 255 is its own: sshd lets only so
        # many log in at once.
        for _ in range(3):
            done = self.ssh(argv, stdin, timeout)
            if done.returncode != 255:
                break
        return done

    def ssh(self, argv, stdin, timeout):
        return subprocess.run(["python3", ROOT + "/tests/vps/vps", "ssh", self.env["VPS"],
                               " ".join(shlex.quote(a) for a in argv)], env=self.env, input=stdin or b"",
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout)

    def runner(self):
        return self.host("systemctl show -p MainPID --value creel-runner").strip()

    def wire(self, *steps):
        state = self.env["CREEL_STATE"]
        port = open(self.env["VPS_DIR"] + "/port").read().strip()
        attach = ["ssh", "-q", "-F", "none", "-i", state + "/keys/ssh_key", "-p", port, "-o", "StrictHostKeyChecking=no",
                  "-o", "UserKnownHostsFile=/dev/null", "-o", "IdentitiesOnly=yes", "creel@127.0.0.1"]
        return subprocess.run(["python3", ROOT + "/tests/tools/wire.py", *attach, "--", *steps],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=WAIT_S).stdout.decode("utf-8", "replace")
