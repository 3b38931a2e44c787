#!/usr/bin/env python3
"""Fails when the secret of an OpenSSH Ed25519 key file is in the memory of a process.

  secret_in.py KEYFILE PID

Looks for the 32 seed bytes, raw and as they stand in the file's base64.
"""
import base64
import sys


def seed_of(path):
    lines = open(path).read().split("\n")
    blob = base64.b64decode("".join(l for l in lines if l and not l.startswith("-")))
    at = blob.rindex(b"\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20") + 19
    return blob[at + 36:at + 68]


def regions(pid):
    for line in open("/proc/%s/maps" % pid):
        span, rights = line.split()[:2]
        if rights.startswith("r") and "[v" not in line:
            yield (int(x, 16) for x in span.split("-"))


def main(path, pid):
    seed = seed_of(path)
    read = 0
    with open("/proc/%s/mem" % pid, "rb", 0) as memory:
        for start, end in regions(pid):
            try:
                memory.seek(start)
                data = memory.read(end - start)
            except OSError:
                continue
            read += len(data)
            if seed in data:
                sys.exit("secret_in: the key's secret is in process %s at %x" % (pid, start))
    if read < 100000:
        sys.exit("secret_in: could read only %d bytes of process %s" % (read, pid))


main(sys.argv[1], sys.argv[2])
