#!/usr/bin/env python3
"""The broker beside the direct call and beside a gateway that people use, in turn, one session.

  broker_bench.py BUILD_DIR       with E2E, REPO and a state directory as tests/lib/broker.bash makes them
                                  (tests/bench/broker is what starts it)

Per way: the median of a call, of the first byte of a stream, and calls a second with 1, 16 and 256 in flight, and
what an open stream costs in memory. The ways: straight to the provider; the broker, without SSH between; the
whole path from a jail, over SSH; the gateway (Portkey's, from npm), where it can be had.
"""
import json
import os
import re
import statistics
import subprocess
import sys
import time

BENCH = os.path.join(sys.argv[1], "tests/bench/call_bench")
CREEL = os.path.join(sys.argv[1], "controller/creel")
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
IN_FLIGHT = (1, 16, 256)
STREAMS = 200
KEY = open(os.path.join(os.environ["E2E"], "provider/key")).read().strip()
PORTKEY = os.environ.get("BENCH_PORTKEY", "")


def started(*argv, **more):
    """A program of ours that says on its first line where it is."""
    p = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, **more)
    words = p.stdout.readline().split()
    if not words:
        sys.exit("broker_bench: %s did not start" % " ".join(argv[:2]))
    return p, words


def rss(pids):
    """KiB of several processes, memory that they share counted once."""
    total = 0
    for pid in pids:
        try:
            for line in open("/proc/%d/smaps_rollup" % pid):
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
        except OSError:
            pass
    return total


class Way:
    """Somewhere on 127.0.0.1 that answers POST /v1/chat/completions."""

    def __init__(self, name, port, token, pids, heads=()):
        self.name, self.port, self.token, self.pids, self.heads = name, str(port), token, pids, list(heads)

    def load(self, calls, in_flight, *stream):
        out = subprocess.run([BENCH, "load", self.port, self.token, str(calls), str(in_flight), "m", *stream, *self.heads],
                             capture_output=True, text=True)
        if out.returncode:
            sys.exit("broker_bench: %s: %s" % (self.name, out.stderr))
        return [float(x) for x in out.stdout.split()]

    def memory(self):
        before = rss(self.pids)
        p, _ = started(BENCH, "hold", self.port, self.token, str(STREAMS), "60", *self.heads)
        grown = rss(self.pids) - before
        p.kill()
        p.wait()
        return grown / STREAMS


class Jail(Way):
    """From within a task: it runs the same program, which it brings along."""

    def __init__(self, name):
        super().__init__(name, 4100, "", [])

    def run(self, line):
        return subprocess.run([CREEL, "run", "--repo", os.environ["REPO"], "--yes", "--provider", "bench", "--budget", "1000000",
                               "--calls", "100000", "--limit", "wall=10m", "--", "sh", "-c", line], capture_output=True, text=True)

    def load(self, calls, in_flight, *stream):
        # A task makes 60 calls a minute.
        out = self.run("./call_bench load 4100 $CREEL_TASK_TOKEN %d %d m %s" % (min(calls, 50), in_flight, " ".join(stream)))
        found = re.search(r"^[0-9.]+ \d+ \d+ \d+$", out.stdout, re.M)
        if out.returncode or not found:
            sys.exit("broker_bench: %s: %s%s" % (self.name, out.stdout[-2000:], out.stderr[-2000:]))
        return [float(x) for x in found.group().split()]

    def memory(self):
        return None


def medians(ways, calls, in_flight, *stream):
    """Name -> medians over the rounds, the ways in turn."""
    got = {way.name: [] for way in ways}
    for _ in range(ROUNDS):
        for way in ways:
            # Version 1.15.2 on node 20 answers a stream of this provider with 500 ("TypeError: immutable").
            if way.name == "gateway" and stream:
                continue
            # A task has 8 calls in flight.
            if isinstance(way, Jail) and in_flight > 8:
                continue
            got[way.name].append(way.load(calls, in_flight, *stream))
    return {name: [statistics.median(column) for column in zip(*rows)] for name, rows in got.items() if rows}


def main():
    provider, words = started(BENCH, "provider", KEY)
    port = int(words[1])
    for state in ([], ["--state", os.environ["BENCH_STATE"]]):
        subprocess.run([CREEL, *state, "provider", "add", "bench", "--base-url", "http://127.0.0.1:%d" % port, "--secret",
                        "provider-key", "--dialect", "chat", "--day-budget", "900000", "--day-calls", "10000000"], check=True,
                       stdout=subprocess.DEVNULL)
        for model in ("m", "hold"):
            subprocess.run([CREEL, *state, "prices", "set", model, "--input", "1", "--output", "1"], check=True,
                           stdout=subprocess.DEVNULL)
    ways = [Way("direct", port, KEY, [provider.pid])]
    running = [provider]

    gateway = None
    if PORTKEY:
        env = dict(os.environ, TRUSTED_CUSTOM_HOSTS="127.0.0.1")
        gport = int(os.environ["BENCH_PORTKEY_PORT"])
        gateway = subprocess.Popen(["node", PORTKEY, "--port=%d" % gport, "--headless"], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL, env=env)
        running.append(gateway)
        for _ in range(100):
            if subprocess.run(["curl", "-s", "-o", "/dev/null", "http://127.0.0.1:%d/" % gport]).returncode == 0:
                break
            time.sleep(0.1)
        ways.append(Way("gateway", gport, KEY, [gateway.pid],
                        ["x-portkey-provider: openai", "x-portkey-custom-host: http://127.0.0.1:%d/v1" % port]))
    try:
        measure(ways, running)
    finally:
        for p in running:
            p.kill()


def door(running):
    """A fresh attempt at a real broker: its calls a minute are its own."""
    state = os.environ["BENCH_STATE"]
    p, words = started(BENCH, "door", CREEL, state, "bench")
    running.append(p)
    pids = [int(x) for x in subprocess.run(["pgrep", "-P", str(p.pid)], capture_output=True, text=True).stdout.split()]
    return p, Way("broker", int(words[1]), words[2], pids)


def table(rows, ways):
    names = [way.name for way in ways]
    print("| | " + " | ".join(names) + " | broker : direct | broker : gateway |")
    print("|---" * (len(names) + 3) + "|")
    for title, unit, values in rows:
        cells = ["%.3g %s" % (values[n], unit) if n in values and values[n] is not None else "-" for n in names]
        ratio = ["%.2f" % (values["broker"] / values[o]) if values.get(o) and values.get("broker") else "-" for o in ("direct", "gateway")]
        print("| %s | %s | %s |" % (title, " | ".join(cells), " | ".join(ratio)))


def measure(ways, running):
    rows = []
    jail = Jail("jail, SSH")
    shown = ways + [Way("broker", 0, "", []), jail]

    def each(calls, in_flight, *stream):
        p, broker = door(running)
        got = medians(ways + [broker, jail], calls, in_flight, *stream)
        p.kill()
        p.wait()
        return got

    one = each(500, 1)
    rows.append(("a call, median", "us", {n: v[1] for n, v in one.items()}))
    rows.append(("a call, 99 of 100", "us", {n: v[2] for n, v in one.items()}))
    stream = each(500, 1, "stream")
    rows.append(("first byte of a stream, median", "us", {n: v[3] for n, v in stream.items()}))
    for n in IN_FLIGHT:
        got = one if n == 1 else each(2000, n)
        rows.append(("calls a second, %d in flight" % n, "/s", {k: v[0] for k, v in got.items()}))
    # What the wire and SSH take of a call from a jail, beside the broker's own part.
    p, broker = door(running)
    rows.append(("memory of an open stream", "KiB", {broker.name: broker.memory()}))
    p.kill()
    p.wait()
    table(rows, shown)
    print("the broker adds %.0f us to a call and %.0f us to the first byte of a stream, at the median" % (
        one["broker"][1] - one["direct"][1], stream["broker"][3] - stream["direct"][3]))


main()
