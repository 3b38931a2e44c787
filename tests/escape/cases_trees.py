"""What comes back: a work tree and a .git that mean harm to whoever reads them. The operator does all that
operators do with it; nothing may run, nothing of the host or of the operator may be in it."""
import json
import os
import shutil
import stat
import subprocess

from case import bad, case, judge, ok
from cases_jail import TABLE

HOWS = {
    "git-config": ("config", "hooks, fsmonitor, filters, diff and merge drivers, textconv, pager, aliases, "
                   "alternates in .git and attributes"),
    "git-submodule": ("submodule", ".gitmodules whose URL is an option that runs a program"),
    "git-include": ("include", "/etc/shadow as configuration, attributes, ignored names"),
    "git-worktree": ("worktree", "core.worktree = /"),
    "git-file": ("gitfile", ".git a file that names another repository"),
    "git-symlink": ("symlink", ".git a link to another repository"),
    "git-fifo": ("fifo", ".git a fifo that blocks who opens it"),
    "git-bare": ("bare", "the work tree itself a bare repository with a configuration"),
}


def use_all(world, attempt, approve=True):
    """Every verb that touches what came back; their output, as one."""
    said = b""
    for words in (("show", attempt.id), ("review", attempt.id), ("review", attempt.id, "--json"),
                  ("show", attempt.id, "--result"), ("logs", attempt.id), ("ps", "--all")):
        said += world.creel(*words, check=False).stdout
    if approve:
        said += world.creel("approve", attempt.id, check=False).stdout
    return said


def changed(world, attempt):
    """Paths that the review lists."""
    def paths(node):
        if isinstance(node, dict):
            if isinstance(node.get("path"), str):
                yield node["path"]
            node = list(node.values())
        if isinstance(node, list):
            for one in node:
                yield from paths(one)
    return set(paths(json.loads(world.creel("review", attempt.id, "--json").stdout)))


def repository_state(repo):
    """Everything in an operator's repository that approve has to leave alone."""
    found = {}
    for at, dirs, files in os.walk(repo):
        if at == repo + "/.git":
            dirs[:] = [d for d in dirs if d not in ("objects", "refs", "logs")]
        for name in files:
            path = os.path.join(at, name)
            found[path] = (os.lstat(path).st_mode, open(path, "rb").read() if not os.path.islink(path) else os.readlink(path))
    return found


def victim(world, how, marks):
    """The control: what happens to somebody who uses git on that work tree."""
    at = world.fresh_repo("victim-" + how)
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "hostile_git.sh")
    subprocess.run(["sh", script, marks, how], cwd=at, check=True, env=world.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for words in (["status"], ["diff"], ["add", "-A"], ["diff", "--cached"], ["log", "-p", "-1"], ["commit", "-qm", "x"], ["checkout", "-q", "-f", "HEAD~1"]):
        try:
            subprocess.run(["git", *words], cwd=at, env=world.env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL, timeout=3)
        except subprocess.TimeoutExpired:
            pass
    return sorted(os.listdir(marks))


@case(" ".join(HOWS))
def hostile_git(world):
    script = open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "hostile_git.sh")).read()
    for name, (how, tried) in HOWS.items():
        repo = world.fresh_repo(name)
        marks = "%s/marks-%s/here" % (world.dir, name)
        control = "%s/control-%s/here" % (world.dir, name)
        for d in (marks, control):
            os.makedirs(d)
            os.chmod(d, 0o777)
        if not world.vps:
            world.host("mkdir -p \"$1\"; chmod 777 \"$1\"", marks)
        before, stopped = repository_state(repo), "its .git is never opened by anything of ours"
        attempt = world.run("sh", "-c", script, "sh", marks, how, repo=repo)
        use_all(world, attempt)
        ran = os.listdir(marks)
        complaint = ""
        if ran:
            complaint = "they ran: " + " ".join(ran)
        elif repository_state(repo) != before:
            complaint = "the operator's repository is not what it was"
        elif attempt.state != "succeeded" or "new.txt" not in changed(world, attempt):
            complaint = "the work did not come back: " + attempt.said()
        elif any(p == ".git" or p.startswith(".git/") for p in changed(world, attempt)):
            complaint = ".git came back"
        elif how == "submodule":
            done = world.creel("approve", attempt.id, check=False)
            stopped = "approve refuses it: " + done.stderr.decode("utf-8", "replace").strip()
            if done.returncode == 0:
                complaint = "it was approved"
        else:
            branch = "creel/" + attempt.id
            if how != "bare" and world.git("show", branch + ":hello.txt", repo=repo).splitlines()[-1] != "changed":
                complaint = "the approved branch has not the work"
        if how == "config":
            won = victim(world, how, control)
            if len(won) < 5:
                complaint = complaint or "it is no attack: git on that tree ran only %s" % won
            stopped += "; plain git on that tree ran %d programs: %s" % (len(won), " ".join(won)[:120])
        yield judge(name, tried, stopped, complaint)


def tree_attempt(world, name, *args, **how):
    repo = world.fresh_repo(name)
    return repo, world.run("../task/bin/attack", name, *args, repo=repo, **how)


@case("tree-names")
def names(world):
    repo, attempt = tree_attempt(world, "tree-names", "3000" if world.vps else "20000")
    review = use_all(world, attempt)
    complaint = "" if attempt.state == "succeeded" else attempt.said()
    if b"\x1b]0;" in review or b"\x1b[2J" in review:
        complaint = "a control sequence came out of a verb"
    listed = world.git("ls-tree", "-r", "-z", "--name-only", "creel/" + attempt.id, repo=repo) if not complaint else ""
    folds = [n for n in listed.split("\0") if any(p.lower().rstrip(". ").startswith((".git\u200c", "git~1")) or
             p.lower() in (".git", ".git ", ".git.") for p in n.split("/"))]
    if folds:
        complaint = "names that fold to .git came back: %r" % folds
    done = subprocess.run(["git", "-C", repo, "fsck", "--strict", "--no-dangling"], env=world.env, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    if done.returncode:
        complaint = complaint or "git fsck: %r" % done.stdout[-300:]
    yield judge("tree-names", TABLE["tree-names"]["what"],
                "%d came back as bytes, none that folds to .git, none acts on a terminal" % listed.count("\0"), complaint)


@case("tree-deep")
def deep(world):
    repo, attempt = tree_attempt(world, "tree-deep", "2000")
    use_all(world, attempt, approve=False)
    world.wait_receipt(attempt)
    told = [l for l in (attempt.err + attempt.notes).splitlines() if "directories deep" in l]
    yield judge("tree-deep", TABLE["tree-deep"]["what"], "collected and wiped in time, and told: " + (told or ["nothing"])[0][-100:],
                "" if attempt.state == "succeeded" and told else attempt.said())


@case("tree-specials")
def specials(world):
    repo, attempt = tree_attempt(world, "tree-specials")
    said = use_all(world, attempt)
    secret = world.host("cat %s/secret" % world.canary).strip().encode()
    tree = {}
    if attempt.state == "succeeded":
        for row in world.git("ls-tree", "-r", "-z", "creel/" + attempt.id, repo=repo).split("\0"):
            if row:
                head, _, path = row.partition("\t")
                tree[path] = head.split()[0]
    complaint = "" if tree else attempt.said()
    for path in ("fifo", "socket", "whiteout"):
        if path in tree:
            complaint = "%s came back as %s" % (path, tree[path])
    for path in ("zero", "stdin", "environ", "loop", "up"):
        if tree and tree.get(path) != "120000":
            complaint = "%s came back as %s" % (path, tree.get(path))
    if tree and tree.get("setuid") not in (None, "100755"):
        complaint = "setuid came back as %s" % tree["setuid"]
    if secret in said or b"root:" in said:
        complaint = "a file of the host's is in what came back"
    yield judge("tree-specials", TABLE["tree-specials"]["what"], "left out; links are links, never followed", complaint)


@case("tree-swap")
def swap(world):
    repo = world.fresh_repo("tree-swap")
    aim = world.canary + "/secret"
    attempt = world.run("bin/attack", "tree-swap", aim, repo=repo)
    complaints = world.complaints(attempt.id)
    said = use_all(world, attempt)
    secret = world.host("cat '%s'" % aim).strip()
    patch = world.git("log", "-p", "-1", "creel/" + attempt.id, repo=repo) if attempt.state == "succeeded" else ""
    if not patch:
        complaints.append(attempt.said())
    if secret in patch or secret.encode() in said or "root:" in patch:
        complaints.append("a file of the host's is in the patch")
    yield judge("tree-swap", TABLE["tree-swap"]["what"],
                "the swappers were dead before collect; links came back as links", "; ".join(complaints))


@case("tree-huge")
def huge(world):
    repo, attempt = tree_attempt(world, "tree-huge", "40" if world.vps else "200", limits="disk=%s" % ("64M" if world.vps else "256M"))
    use_all(world, attempt, approve=False)
    yield judge("tree-huge", TABLE["tree-huge"]["what"], "%s, a patch of %d MiB, kept for the review" %
                (attempt.state, int(attempt.end.get("patch_bytes", 0)) >> 20),
                "" if attempt.state in ("succeeded", "failed") and attempt.end.get("imported", True) else attempt.said())


@case("tree-escape-names")
def escape_names(world):
    """Links that would carry a later write out of the tree, and a file under a directory that became a link."""
    repo = world.fresh_repo("tree-escape-names")
    outside = world.dir + "/outside"
    os.makedirs(outside, exist_ok=True)
    attempt = world.run("sh", "-c", 'rm -rf src; ln -s "$1" src; ln -s "$1/planted" hello.txt.link; ln -s ../../.. up; '
                        'mkdir -p a/..b "a/b\\..\\c"; echo x >a/..b/x; echo x >"a/b\\..\\c/x"; echo x >...', "sh", outside,
                        repo=repo)
    use_all(world, attempt)
    listed = world.git("ls-tree", "-r", "-z", "--name-only", "creel/" + attempt.id, repo=repo).split("\0") \
        if attempt.state == "succeeded" else []
    complaint = "" if listed else attempt.said()
    if os.listdir(outside):
        complaint = "something was written outside of the tree"
    if any(part in ("..", ".", "") for n in listed if n for part in n.split("/")):
        complaint = "a path with .. came back"
    yield judge("tree-escape-names", "links in the place of directories, names with .. in them",
                "approve writes objects and one ref, no files", complaint)


@case("pack-forged")
def forged_pack(world):
    """A host that was taken over: its results are signed by its own key, so they carry what it likes. Trees with
    .., .git and absolute names are refused by the importer: the same checks meet the agent's."""
    at = world.dir + "/forged.git"
    shutil.rmtree(at, ignore_errors=True)
    subprocess.run(["git", "init", "-q", "--bare", at], check=True, env=world.env)

    def git(*words, text=b""):
        return subprocess.run(["git", "-C", at, *words], env=world.env, input=text, check=True, stdout=subprocess.PIPE).stdout.strip()
    blob = git("hash-object", "-w", "--stdin", text=b"x")
    refused = []
    for name in (b"..", b".", b".git", b".GIT", b"a/../b", b"/etc", b"git~1"):
        tree = subprocess.run(["git", "-C", at, "hash-object", "-t", "tree", "-w", "--literally", "--stdin"], env=world.env,
                              input=b"100644 " + name + b"\0" + bytes.fromhex(blob.decode()), stdout=subprocess.PIPE).stdout.strip()
        commit = git("commit-tree", tree.decode(), "-m", "x")
        git("update-ref", "refs/heads/main", commit.decode())
        done = subprocess.run(["creel", "run", "--repo", at, "--yes", "--base", commit.decode(), "--", "true"], env=world.env,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
        if done.returncode == 0:
            yield bad("pack-forged", "a tree with an entry %r" % name, "it was taken")
            return
        refused.append(name.decode())
    yield ok("pack-forged", "packs whose trees hold %s" % " ".join(refused), "refused, each by name: the reader of trees is strict")
