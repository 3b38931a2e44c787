#!/usr/bin/env python3
"""Finds bytes where they must not be: in the memory of processes, below directories.

  bytes_in.py NEEDLE-FILE WHERE...      WHERE: a pid, a file or a directory

Looks for the file's first line, and for it in base64 at its three shifts, hex, and reversed. Prints each place,
and exits 1 when there was one, 0 when there was none, 2 when something could not be looked at.
"""
import base64
import os
import stat
import sys

BLOCK = 16 << 20


def forms_of(text):
    yield "as it is", text
    yield "hex", text.hex().encode()
    yield "HEX", text.hex().upper().encode()
    yield "reversed", text[::-1]
    yield "UTF-16", text.decode().encode("utf-16-le")
    for shift in range(3):
        # Only what no neighbour's bits are in.
        coded = base64.b64encode(b"\0" * shift + text).rstrip(b"=")
        yield "base64", coded[(0, 2, 3)[shift]:len(coded) - 1]


def search(forms, where, blocks, places):
    keep = max(len(form) for _, form in forms)
    tail = b""
    for data in blocks:
        data = tail + data
        for name, form in forms:
            if form in data:
                places.add("%s: %s" % (where, name))
        tail = data[-keep:]


def memory_of(pid):
    """Blocks, region by region; returns through the generator's end how much was read."""
    with open("/proc/%s/mem" % pid, "rb", 0) as memory:
        for line in open("/proc/%s/maps" % pid):
            span, rights = line.split()[:2]
            if not rights.startswith("r") or "[v" in line:
                continue
            at, end = (int(x, 16) for x in span.split("-"))
            try:
                memory.seek(at)
                while at < end:
                    data = memory.read(min(BLOCK, end - at))
                    if not data:
                        break
                    at += len(data)
                    yield data
            except OSError:
                continue
            yield b"\0" * 64  # regions are no neighbours


def file_blocks(path):
    with open(path, "rb") as f:
        while data := f.read(BLOCK):
            yield data


def main(needle, wheres):
    text = open(needle, "rb").readline().strip()
    if len(text) < 12:
        sys.exit("bytes_in: too short a needle")
    forms, places, looked = list(forms_of(text)), set(), 0
    for where in wheres:
        if where.isdigit():
            read = [0]

            def counted():
                for data in memory_of(where):
                    read[0] += len(data)
                    yield data
            search(forms, "process " + where, counted(), places)
            if read[0] < 100000:
                print("bytes_in: could read only %d bytes of process %s" % (read[0], where))
                return 2
            looked += 1
            continue
        paths = [where]
        if os.path.isdir(where):
            paths = [os.path.join(d, n) for d, _, names in os.walk(where) for n in names]
        for path in paths:
            if stat.S_ISREG(os.lstat(path).st_mode):
                search(forms, path, file_blocks(path), places)
                looked += 1
    for place in sorted(places):
        print("found in " + place)
    if not looked:
        print("bytes_in: looked nowhere")
        return 2
    return 1 if places else 0


sys.exit(main(sys.argv[1], sys.argv[2:]))
