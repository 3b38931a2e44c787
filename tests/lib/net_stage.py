#!/usr/bin/env python3
"""net_stage: the whole internet of one test, in a network namespace that has no way out.

  net_stage.py up DIR [ADDRESS:PORT...]   run in a fresh network namespace: every address there is, is
                                          local; serves names and baits, records what is sent; prints
                                          "ready" and stays until it is killed
  net_stage.py mark DIR                   returns when all that was sent before now is in DIR/packets

A packet to any address of the world arrives here and is answered, so what a jail could reach it would
reach. Baits accept on ADDRESS:PORT (0.0.0.0 is every IPv4 address, :: every IPv6 one). Files in DIR:

  zone      read at each question: NAME TTL ADDRESS,ADDRESS... [/ ADDRESS,...]...   a set after a slash is
            the answer from the next question on (rebinding); "-" is a name without addresses
  dns       one line a question that got to the name server: NAME TYPE
  packets   one line a flow's first packet: tcp|udp|icmp|PROTOCOL ADDRESS PORT; LOST N when the kernel
            could not hand over N packets, which fails whoever counts on this file
  baits     ADDRESS PORT FIRST-BYTES (of what a connection sent, escaped), and at its end ADDRESS PORT =TOTAL

The abstract unix socket "creel-stage" is bound in the namespace too.

Only the interpreter's smallest set of modules is used: a host for tests has no more.
"""
import os
import selectors
import socket
import struct
import subprocess
import sys
import time

# Not in a special-purpose range, so the gate may dial it; nothing here can leave the namespace.
NAMES_AT = "7.7.7.53"
MARK_AT = "7.7.7.99"
MARK_PORT = 9
RECORD_BYTES = 64 << 20
SOL_PACKET, PACKET_STATISTICS, PACKET_OUTGOING = 263, 6, 4
ETH_P_ALL, ETH_P_IP, ETH_P_IPV6 = 3, 0x0800, 0x86DD
TYPES = {1: "A", 28: "AAAA", 16: "TXT", 10: "NULL", 15: "MX", 33: "SRV", 65: "HTTPS"}


class Log:
    def __init__(self, directory, name):
        self.file = open(os.path.join(directory, name), "a", buffering=1)

    def line(self, *words):
        self.file.write(" ".join(str(w) for w in words) + "\n")


def escaped(data):
    return "".join(chr(b) if 33 <= b < 127 and b != 92 else "\\x%02x" % b for b in data)


# Names

class Names:
    """Answers from the zone file; a name that is not in it does not exist."""

    def __init__(self, directory):
        self.zone = os.path.join(directory, "zone")
        self.log = Log(directory, "dns")
        self.asked = {}

    def sets(self, name):
        for line in open(self.zone):
            words = line.split()
            if words and words[0] == name:
                return int(words[1]), [s.split(",") for s in " ".join(words[2:]).replace(" ", "").split("/")]
        return None

    def answer(self, query):
        at, labels = 12, []
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode("latin-1").lower())
            at += 1 + query[at]
        kind = struct.unpack_from("!H", query, at + 1)[0]
        question = query[12:at + 5]
        name = ".".join(labels)
        self.log.line(name or ".", TYPES.get(kind, kind))
        known = self.sets(name)
        records = []
        if known:
            turn = self.asked.get((name, kind), 0)
            self.asked[name, kind] = turn + 1
            ttl, sets = known
            for address in sets[min(turn, len(sets) - 1)]:
                if kind == 1 and ":" not in address and address != "-":
                    records.append((1, ttl, socket.inet_aton(address)))
                if kind == 28 and ":" in address:
                    records.append((28, ttl, socket.inet_pton(socket.AF_INET6, address)))
        head = struct.pack("!2sHHHHH", query[:2], 0x8580 if known else 0x8583, 1, len(records), 0, 0)
        body = b"".join(struct.pack("!HHHIH", 0xC00C, t, 1, ttl, len(data)) + data for t, ttl, data in records)
        return head + question + body


# Packets

class Recorder:
    def __init__(self, directory):
        self.log = Log(directory, "packets")
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
        self.socket.setsockopt(socket.SOL_SOCKET, 33, RECORD_BYTES)  # SO_RCVBUFFORCE
        self.socket.setblocking(False)

    def take(self):
        for _ in range(256):
            try:
                data, where = self.socket.recvfrom(256)
            except BlockingIOError:
                break
            if where[2] == PACKET_OUTGOING:
                self.packet(where[1], data)
        lost = struct.unpack("II", self.socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1]
        if lost:
            self.log.line("LOST", lost)

    def packet(self, ethertype, data):
        if ethertype == ETH_P_IP:
            protocol, to, rest = data[9], socket.inet_ntoa(data[16:20]), data[(data[0] & 15) * 4:]
            if protocol == 17 and socket.inet_ntoa(data[12:16]) == NAMES_AT and rest[:2] == b"\0\x35":
                return None  # an answer of ours
        elif ethertype == ETH_P_IPV6:
            protocol, to, rest = data[6], socket.inet_ntop(socket.AF_INET6, data[24:40]), data[40:]
        else:
            return self.log.line("ether", hex(ethertype), 0)
        port = struct.unpack_from("!H", rest, 2)[0] if protocol in (6, 17, 132) and len(rest) > 4 else 0
        if protocol == 6:
            if len(rest) > 13 and rest[13] & 0x12 == 2:  # SYN without ACK: somebody dials
                self.log.line("tcp", to, port)
        elif protocol == 17:
            if (to, port) == (MARK_AT, MARK_PORT):
                self.log.line("mark", rest[8:].decode("latin-1"), 0)
            else:
                self.log.line("udp", to, port)
        elif protocol in (1, 58):
            # Errors are the kernel's own answers; echo requests are somebody's.
            if rest[0] in (8, 128):
                self.log.line("icmp", to, 0)
        else:
            self.log.line(protocol, to, port)


# Baits

class Baits:
    """Accept, note who was meant and what came first, answer so that a client would be content."""

    def __init__(self, directory, select, places):
        self.log = Log(directory, "baits")
        self.select = select
        self.total = {}
        self.unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.unix.bind("\0creel-stage")
        self.unix.listen(5)
        for place in places:
            address, port = place.rsplit(":", 1)
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            listener = socket.socket(family, socket.SOCK_STREAM)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind((address, int(port)))
            listener.listen(1024)
            listener.setblocking(False)
            select.register(listener, selectors.EVENT_READ, self.accept)

    def accept(self, listener):
        try:
            peer, _ = listener.accept()
        except OSError:
            return
        peer.setblocking(False)
        self.select.register(peer, selectors.EVENT_READ, self.first)

    def first(self, peer):
        data = self.read(peer)
        where = peer.getsockname()
        self.log.line(where[0], where[1], escaped(data[:400]))
        self.total[peer] = len(data)
        if not data:
            return self.end(peer)
        answer = b"bait"
        if b"HTTP/1." in data:
            answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbait"
        try:
            peer.send(answer)
            if b"HTTP/1." in data:
                peer.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        self.select.modify(peer, selectors.EVENT_READ, self.drain)

    def drain(self, peer):
        data = self.read(peer)
        self.total[peer] += len(data)
        if not data:
            self.end(peer)

    def end(self, peer):
        where = peer.getsockname()
        self.log.line(where[0], where[1], "=%d" % self.total.pop(peer))
        self.select.unregister(peer)
        peer.close()

    @staticmethod
    def read(peer):
        try:
            return peer.recv(1 << 16)
        except OSError:
            return b""


def world_is_local():
    for command in ("ip link set lo up", "ip route add local default dev lo",
                    "ip -6 route add local default dev lo"):
        subprocess.run(command.split(), check=True)


def up(directory, places):
    world_is_local()
    select = selectors.DefaultSelector()
    names, recorder = Names(directory), Recorder(directory)
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((NAMES_AT, 53))

    def question(sock):
        query, asker = sock.recvfrom(4096)
        try:
            sock.sendto(names.answer(query), asker)
        except (IndexError, struct.error):
            names.log.line("malformed", "-")

    select.register(server, selectors.EVENT_READ, question)
    select.register(recorder.socket, selectors.EVENT_READ, lambda _: recorder.take())
    Baits(directory, select, places)
    print("ready", flush=True)
    while True:
        for key, _ in select.select():
            key.data(key.fileobj)


def mark(directory):
    word = os.urandom(8).hex()
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.sendto(word.encode(), (MARK_AT, MARK_PORT))
    for _ in range(2000):
        if "mark %s 0\n" % word in open(os.path.join(directory, "packets")).read():
            return
        time.sleep(0.005)
    sys.exit("net_stage: the recorder is gone or behind")


def main():
    if len(sys.argv) >= 3 and sys.argv[1] == "up":
        up(sys.argv[2], sys.argv[3:])
    elif len(sys.argv) == 3 and sys.argv[1] == "mark":
        mark(sys.argv[2])
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
