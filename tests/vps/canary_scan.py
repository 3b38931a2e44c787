#!/usr/bin/env python3
"""Counts a canary in files, byte by byte, also across holes and at any offset.

  canary_scan.py HEX FILE...     HEX: the canary, every byte xored with 0xa5

Prints for each file its name, how often the canary is in it, and the letters that followed it with
their counts: the places that canary_job.py put it.
"""
import collections
import os
import re
import sys

CHUNK = 32 << 20


def data_of(fd):
    """The parts of a file that are not holes, with their offsets."""
    size, at = os.fstat(fd).st_size, 0
    while at < size:
        try:
            at = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:
            return
        end = os.lseek(fd, at, os.SEEK_HOLE)
        while at < end:
            yield at, os.pread(fd, min(CHUNK, end - at), at)
            at += min(CHUNK, end - at)


def scan(path, canary):
    found = collections.Counter()
    pattern = re.compile(re.escape(canary) + b"(.?)", re.DOTALL)
    fd = os.open(path, os.O_RDONLY)
    tail, end, last = b"", 0, -1
    for at, chunk in data_of(fd):
        whole = (tail if at == end else b"") + chunk
        end = at + len(chunk)
        for m in pattern.finditer(whole):
            # What ended in the kept tail was counted before.
            if end - len(whole) + m.start() > last:
                last = end - len(whole) + m.start()
                found[m.group(1).decode("ascii", "replace")] += 1
        tail = whole[-len(canary):]
    os.close(fd)
    return found


def main():
    canary = bytes(b ^ 0xA5 for b in bytes.fromhex(sys.argv[1]))
    for path in sys.argv[2:]:
        found = scan(path, canary)
        places = " ".join("%r:%d" % (k, n) for k, n in sorted(found.items()))
        print(os.path.basename(path), sum(found.values()), places)


main()
