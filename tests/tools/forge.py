#!/usr/bin/env python3
"""Makes DSSE documents that should be refused, and one number that should agree. Reads stdin.

  forge.py flip                          the document with one byte of its payload changed
  forge.py sign --key FILE [EXPR...]     the payload changed by EXPR and signed again with an OpenSSH key
  forge.py order --key FILE KIND ATTEMPT HOST_KEY [SHA256]
                                         an order (cancel, wipe) signed with an OpenSSH key; reads nothing
  forge.py chain                         the hash chain over a log file's frames, in hex

EXPR is PATH=JSON ("exp=\"1\"", "aud.host_key=\"SHA256:...\"", "surplus=1"), or text:OLD=>NEW on the
payload's own bytes. The signature is made by openssl, so what it signs owes nothing to creel.
"""
import base64
import hashlib
import json
import os
import struct
import subprocess
import sys
import tempfile


def ssh_seed(path):
    """The 32 seed bytes and the public key of an unencrypted openssh-key-v1 Ed25519 key."""
    lines = open(path).read().split("\n")
    blob = base64.b64decode("".join(l for l in lines if l and not l.startswith("-")))
    at = blob.rindex(b"\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20") + 4 + 11 + 4
    public = blob[at:at + 32]
    return blob[at + 36:at + 68], public


def sign(path, message):
    seed, _ = ssh_seed(path)
    with tempfile.TemporaryDirectory() as scratch:
        key, text, sig = (os.path.join(scratch, n) for n in ("key", "text", "sig"))
        with open(key, "wb") as f:
            f.write(bytes.fromhex("302e020100300506032b657004220420") + seed)
        with open(text, "wb") as f:
            f.write(message)
        subprocess.run(["openssl", "pkeyutl", "-sign", "-rawin", "-keyform", "DER", "-inkey", key,
                        "-in", text, "-out", sig], check=True)
        return open(sig, "rb").read()


def fingerprint(path):
    public = ssh_seed(path)[1]
    wire = struct.pack(">I", 11) + b"ssh-ed25519" + struct.pack(">I", 32) + public
    return "SHA256:" + base64.b64encode(hashlib.sha256(wire).digest()).decode().rstrip("=")


def change(body, expr):
    if expr.startswith("text:"):
        old, new = expr[5:].split("=>", 1)
        assert old.encode() in body, old
        return body.replace(old.encode(), new.encode().decode("unicode_escape").encode("latin-1"), 1)
    path, value = expr.split("=", 1)
    tree = json.loads(body)
    at = tree
    *parents, last = path.split(".")
    for name in parents:
        at = at[name]
    at[last] = json.loads(value)
    return json.dumps(tree, separators=(",", ":")).encode()


def document(doc, body, key):
    kind = doc["payloadType"]
    pae = b"DSSEv1 %d %s %d " % (len(kind), kind.encode(), len(body)) + body
    return json.dumps({"payloadType": kind, "payload": base64.b64encode(body).decode(),
                       "signatures": [{"keyid": fingerprint(key),
                                       "sig": base64.b64encode(sign(key, pae)).decode()}]},
                      separators=(",", ":"))


def order(key, kind, attempt, host_key, digest=None):
    body = {"_type": "https://creel.dev/order/v1", "order": kind, "attempt": attempt,
            "iss": fingerprint(key), "aud": host_key}
    if digest:
        body["result_sha256"] = digest
    return document({"payloadType": "application/vnd.creel.order.v1+json"},
                    json.dumps(body, separators=(",", ":")).encode(), key)


def flip(doc):
    body = bytearray(base64.b64decode(doc["payload"]))
    body[len(body) // 2] ^= 1
    doc["payload"] = base64.b64encode(bytes(body)).decode()
    return json.dumps(doc, separators=(",", ":"))


def chain(log):
    at, link = 0, bytes(32)
    while at < len(log):
        size = 13 + struct.unpack_from(">I", log, at)[0]
        link = hashlib.sha256(link + log[at:at + size]).digest()
        at += size
    return link.hex()


def main(argv):
    if argv[1] == "chain":
        print(chain(sys.stdin.buffer.read()))
        return
    if argv[1] == "order":
        assert argv[2] == "--key"
        print(order(*argv[3:]))
        return
    doc = json.load(sys.stdin)
    if argv[1] == "flip":
        print(flip(doc))
        return
    assert argv[1] == "sign" and argv[2] == "--key"
    body = base64.b64decode(doc["payload"])
    for expr in argv[4:]:
        body = change(body, expr)
    print(document(doc, body, argv[3]))


if __name__ == "__main__":
    main(sys.argv)
