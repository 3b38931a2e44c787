"""The bytes that attacks on the egress gate are made of: requests, ClientHellos, DNS questions. Runs in
jails, on the interpreter's smallest set of modules."""
import errno
import os
import socket
import struct

PROXY = ("127.0.0.1", 3128)
BROKER = ("127.0.0.1", 4100)
NAMES = ("127.0.0.1", 53)
WAIT_S = 25  # longer than any of the gate's own deadlines for a head


class Got(Exception):
    """The attack succeeded."""


def errno_name(e):
    return errno.errorcode.get(e.errno, str(e)) if isinstance(e, OSError) and e.errno else str(e)


def take(sock, limit=1 << 16):
    """What comes until the end, a reset, or the deadline."""
    data = b""
    try:
        while len(data) < limit:
            more = sock.recv(limit - len(data))
            if not more:
                break
            data += more
    except OSError:
        pass
    return data


def talk(address, *parts, pause=None, end=False):
    """Connects, sends the parts, and returns all that comes back."""
    with socket.create_connection(address, WAIT_S) as sock:
        try:
            for part in parts:
                sock.sendall(part)
                if pause:
                    pause()
            if end:
                sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        return take(sock)


def status(reply):
    """The number in an HTTP status line; 0 when there is none."""
    words = reply.split(b" ", 2)
    return int(words[1]) if reply.startswith(b"HTTP/1.") and len(words) > 2 and words[1].isdigit() else 0


def must_not(reply, what):
    """A bait's answer came back, so a bait was reached."""
    if b"bait" in reply:
        raise Got("%s reached a server outside" % what)


def refused(reply, what):
    must_not(reply, what)
    if 200 <= status(reply) < 400:
        raise Got("%s was answered %r" % (what, reply[:40]))


def tunnel(host, port=443):
    """A socket through the proxy to host:port, or the status that denied it."""
    sock = socket.create_connection(PROXY, WAIT_S)
    host = host if isinstance(host, bytes) else host.encode()
    sock.sendall(b"CONNECT %s:%d HTTP/1.1\r\n\r\n" % (host, port))
    head = b""
    while b"\r\n\r\n" not in head:
        more = sock.recv(1)
        if not more:
            break
        head += more
    if status(head) == 200:
        return sock
    sock.close()
    return status(head)


def ext(kind, body):
    return struct.pack("!HH", kind, len(body)) + body


def sni(*names):
    entries = b"".join(b"\0" + struct.pack("!H", len(n)) + n for n in names)
    return ext(0, struct.pack("!H", len(entries)) + entries)


def hello(extensions):
    body = b"\x03\x03" + os.urandom(32) + b"\0" + b"\0\x02\x13\x01" + b"\x01\0"
    body += struct.pack("!H", len(extensions)) + extensions
    return b"\x01" + struct.pack("!I", len(body))[1:] + body


def records(message, *cuts):
    """The handshake message in TLS records, cut at these places."""
    places = [0] + list(cuts) + [len(message)]
    return [b"\x16\x03\x01" + struct.pack("!H", b - a) + message[a:b] for a, b in zip(places, places[1:])]


def question(name, kind=1, number=7):
    labels = name if isinstance(name, bytes) else b"".join(
        bytes([len(l)]) + l.encode() for l in name.split(".")) + b"\0"
    return struct.pack("!HHHHHH", number, 0x0100, 1, 0, 0, 0) + labels + struct.pack("!HH", kind, 1)


def ask(packet):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(3)
        sock.sendto(packet, NAMES)
        try:
            return sock.recv(4096)
        except OSError:
            return b""


def lookup(name):
    """The gate's address for a name, or None."""
    reply = ask(question(name))
    if len(reply) < 12 or reply[3] & 15 or reply[7] == 0:
        return None
    return socket.inet_ntoa(reply[-4:])
