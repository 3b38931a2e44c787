#!/usr/bin/env python3
"""A host that lies: stands where sshd starts `creel-runner attach`, and changes what the real runner says.

  liar.py LIE KEY STRANGER RUNNER attach ...

The file LIE holds one word, read when a channel opens; KEY is the runner's own signing key, so that most
lies are well signed; STRANGER is a key that nobody pinned. Lies:
  honest       nothing is changed            unsigned     the result is changed, its signature is not
  stranger     the result, by STRANGER       envelope     it answers another envelope
  policy       another policy is echoed      task         it is about another task
  patch        another patch than it signed  longer       a byte more than it signed
  truncated    half of the patch, then EOF   garbage      no pack at all, but signed
  log          another log than it signed    receipt      the receipt, by STRANGER
  cache        a cache was kept, of a task that its operator does not trust
"""
import hashlib
import json
import os
import struct
import subprocess
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True
import forge  # noqa: E402

RESULT, RECEIPT = 33, 23


def read_exact(f, n):
    data = b""
    while len(data) < n:
        more = f.read(n - len(data))
        if not more:
            return None
        data += more
    return data


def frame_read(f):
    head = read_exact(f, 5)
    if head is None:
        return None, None
    size, kind = struct.unpack(">IB", head)
    return kind, read_exact(f, size)


def frame(kind, payload):
    return struct.pack(">IB", len(payload), kind) + payload


def relay(source, sink):
    while True:
        data = source.read1(65536)
        if not data:
            return
        sink.write(data)
        sink.flush()


def body_of(doc):
    return json.loads(forge.base64.b64decode(doc["payload"]))


def signed(doc, body, key):
    return forge.document(doc, json.dumps(body, separators=(",", ":")).encode(), key).encode()


class Liar:
    def __init__(self, lie, key, stranger):
        self.lie, self.key, self.stranger = lie, key, stranger

    def result(self, payload, pack):
        """The RESULT document and the patch's bytes, as they shall be told."""
        doc = json.loads(payload)
        body = body_of(doc)
        subject = body["subject"][0]["digest"]
        params = body["predicate"]["buildDefinition"]
        if self.lie == "unsigned":
            return forge.flip(doc).encode(), pack
        if self.lie == "stranger":
            body["predicate"]["runDetails"]["builder"]["id"] = "creel-runner:" + forge.fingerprint(self.stranger)
            return signed(doc, body, self.stranger), pack
        if self.lie == "envelope":
            params["resolvedDependencies"][3]["digest"]["sha256"] = "0" * 64
        elif self.lie == "policy":
            params["externalParameters"]["policy"]["limits"]["pids"] = "77"
        elif self.lie == "task":
            other = "0" * 26
            params["externalParameters"].update(task=other, attempt=other + ".1")
            body["predicate"]["runDetails"]["metadata"]["invocationId"] = other + ".1"
        elif self.lie == "cache":
            body["predicate"]["runDetails"]["creel_cache"] = "c" * 64
        elif self.lie == "garbage":
            pack = b"PACK" + bytes(200)
            subject["sha256"] = hashlib.sha256(pack).hexdigest()
            body["predicate"]["runDetails"]["creel_patch"]["bytes"] = str(len(pack))
        elif self.lie == "patch":
            pack = pack[:-1] + bytes([pack[-1] ^ 1])
        elif self.lie == "longer":
            pack += b"x"
        elif self.lie == "truncated":
            pack = pack[:len(pack) // 2]
        if self.lie in ("envelope", "policy", "task", "garbage", "cache"):
            return signed(doc, body, self.key), pack
        return payload, pack

    def say_result(self, source, sink):
        kind, payload = frame_read(source)
        if kind == RESULT:
            payload, pack = self.result(payload, source.read())
            sink.write(frame(kind, payload) + pack)
        elif kind is not None:
            sink.write(frame(kind, payload))
        sink.flush()

    def say_control(self, source, sink):
        while True:
            kind, payload = frame_read(source)
            if kind is None:
                return
            if kind == RECEIPT and self.lie == "receipt":
                doc = json.loads(payload)
                body = body_of(doc)
                body["runner"] = forge.fingerprint(self.stranger)
                payload = signed(doc, body, self.stranger)
            sink.write(frame(kind, payload))
            sink.flush()

    def say_log(self, source, sink):
        head = read_exact(source, 13)
        if head is not None:
            size = struct.unpack(">I", head[:4])[0]
            text = bytearray(read_exact(source, size) or b"")
            if text:
                text[0] ^= 1
            sink.write(head + bytes(text))
            sink.flush()
        relay(source, sink)


def main(argv):
    liar = Liar(open(argv[1]).read().strip(), argv[2], argv[3])
    p = subprocess.Popen(argv[4:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    ours, theirs = sys.stdin.buffer, sys.stdout.buffer
    kind, payload = frame_read(ours)
    if kind is None:
        p.kill()
        return
    channel = json.loads(payload).get("channel", "")
    p.stdin.write(frame(kind, payload))
    p.stdin.flush()

    def onward():
        try:
            relay(ours, p.stdin)
            p.stdin.close()
        except BrokenPipeError:
            pass

    threading.Thread(target=onward, daemon=True).start()
    if channel == "result":
        liar.say_result(p.stdout, theirs)
    elif channel == "control":
        liar.say_control(p.stdout, theirs)
    elif channel == "log" and liar.lie == "log":
        liar.say_log(p.stdout, theirs)
    else:
        relay(p.stdout, theirs)
    sys.stdout.flush()
    os._exit(0)


main(sys.argv)
