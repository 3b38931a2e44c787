#!/usr/bin/env python3
"""A client that speaks the runner's wire and may say what creel never would.

  wire.py ATTACH... -- SCRIPT...

ATTACH is the command that reaches the runner (creel-runner attach --run DIR). Each word of SCRIPT is
one step:
  hello[:CHANNEL[:ATTEMPT[:OFFSET]]]   HELLO, channel control unless said
  send:TYPE:FILE                       a frame of that type number with the file's bytes
  json:TYPE:TEXT                       a frame of that type with this text
  raw:HEX                              bytes as they are
  zeros:N                              N zero bytes
  bytes                                prints all that comes until the end, as it comes
  recv                                 prints the next frame as "TYPE PAYLOAD", or "EOF"
  pause:SECONDS
"""
import json
import struct
import subprocess
import sys
import threading
import time

CHANNELS = ("control", "pack", "log", "result", "call")


class Peer:
    def __init__(self, command):
        self.p = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        # Nothing here may wait for ever.
        self.timer = threading.Timer(30, self.p.kill)
        self.timer.start()

    def write(self, data):
        try:
            self.p.stdin.write(data)
            self.p.stdin.flush()
        except BrokenPipeError:
            pass

    def frame(self, kind, payload):
        self.write(struct.pack(">IB", len(payload), kind) + payload)

    def recv(self):
        head = self.p.stdout.read(5)
        if len(head) < 5:
            return "EOF"
        size, kind = struct.unpack(">IB", head)
        return "%d %s" % (kind, self.p.stdout.read(size).decode("utf-8", "replace"))

    def close(self):
        self.p.stdin.close()
        self.p.wait()
        self.timer.cancel()


def hello(words):
    text = {"version": 1, "channel": words[0] if words else "control", "program": "wire 1"}
    if len(words) > 1:
        text["attempt"] = words[1]
    if len(words) > 2 and words[0] == "log":
        text["offset"] = words[2]
    elif len(words) > 2:
        text["proof"] = words[2]
    return json.dumps(text, separators=(",", ":")).encode()


def step(peer, word):
    verb, _, rest = word.partition(":")
    if verb == "hello":
        peer.frame(1, hello(rest.split(":") if rest else []))
    elif verb == "send":
        kind, name = rest.split(":", 1)
        peer.frame(int(kind), open(name, "rb").read())
    elif verb == "json":
        kind, text = rest.split(":", 1)
        peer.frame(int(kind), text.encode("utf-8", "surrogateescape"))
    elif verb == "raw":
        peer.write(bytes.fromhex(rest))
    elif verb == "zeros":
        peer.write(bytes(int(rest)))
    elif verb == "bytes":
        while data := peer.p.stdout.read1():
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
    elif verb == "recv":
        print(peer.recv(), flush=True)
    elif verb == "pause":
        time.sleep(float(rest))
    else:
        sys.exit("wire: no step " + word)


def main(argv):
    cut = argv.index("--")
    peer = Peer(argv[1:cut])
    for word in argv[cut + 1:]:
        step(peer, word)
    peer.close()


main(sys.argv)
