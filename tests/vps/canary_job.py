#!/usr/bin/env python3
"""Runs as a task: leaves a canary in every place that a job can write to, says "planted", and ends at a
SIGUSR1. The canary is given masked, so that only this job ever holds it in the clear; each
place appends a letter of its own, which the scan (canary_scan.py) counts by.

  canary_job.py HEX     HEX: the canary, every byte xored with 0xa5
"""
import array
import mmap
import os
import signal
import socket
import sys
import time

SIZE = 1 << 20


def fill(word, size=SIZE):
    """A page begins with a new canary: none is lost where pages are torn apart."""
    page = (word + b".") * (4096 // (len(word) + 1))
    return page.ljust(4096, b"\n") * (size // 4096)


def put(path, data):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    os.write(fd, data)
    os.fsync(fd)
    os.close(fd)


def stay(word, act):
    """A process that holds what `act` made until it is killed, in a session of its own."""
    if os.fork() == 0:
        os.setsid()
        held = act()
        while True:
            time.sleep(1000)
            held = held


def unread(pair, data):
    """Fills a pipe or socket that nobody reads."""
    write, ends = pair
    try:
        while True:
            write(data)
    except BlockingIOError:
        return ends


def pipe():
    r, w = os.pipe()
    os.set_blocking(w, False)
    return (lambda data: os.write(w, data), (r, w))


def stream():
    a, b = socket.socketpair()
    a.setblocking(False)
    return (lambda data: a.send(data), (a, b))


def main():
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    canary = bytes(b ^ 0xA5 for b in bytes.fromhex(sys.argv[1]))
    home = os.environ["HOME"]

    def word(place):
        return canary + place.encode()

    put("/task/kept", fill(word("a")))
    put("/task/deleted", fill(word("b")))
    os.unlink("/task/deleted")
    for place, at in (("c", "/tmp"), ("d", "/var/tmp"), ("e", home), ("f", "/dev/shm")):
        put(at + "/file", fill(word(place)))
    for i in range(64):
        put("/task/%d-%s" % (i, word("g").decode()), b"")
        os.symlink(word("h").decode() + str(i), "/task/link%d" % i)
    try:
        os.setxattr("/task/kept", "user.canary", word("i") * 20)
    except OSError as e:
        print("no extended attributes here:", e)
    # What follows stays in memory: of processes that hold it until the jail is killed.
    stay(word("j"), lambda: array.array("b", fill(word("j"))))
    stay(word("k"), lambda: unread(pipe(), fill(word("k"), 4096)))
    stay(word("l"), lambda: unread(stream(), fill(word("l"), 4096)))

    def memfd():
        fd = os.memfd_create("canary")
        os.write(fd, fill(word("m")))
        return fd

    def shared():
        m = mmap.mmap(-1, SIZE)
        m.write(fill(word("n")))
        return m

    stay(word("m"), memfd)
    stay(word("n"), shared)
    if os.fork() == 0:
        os.setsid()
        os.execve("/bin/sh", ["sh", "-c", "sleep 1000; :", word("o").decode()], {"CANARY": word("p").decode()})
    # Held open by nobody but a process, under no name.
    stay(word("q"), lambda: nameless(fill(word("q"))))
    for _ in range(2000):
        sys.stdout.buffer.write(word("r") + b"\n")
    sys.stdout.buffer.flush()
    print("planted", flush=True)
    signal.sigwait([signal.SIGUSR1])


def nameless(data):
    fd = os.open("/task", os.O_TMPFILE | os.O_RDWR, 0o600)
    os.write(fd, data)
    os.fsync(fd)
    return fd


main()
