#!/usr/bin/env python3
"""A model provider that misbehaves on demand: the model's name says how. For tests of the broker.

  provider.py --key KEY --dir DIR

Listens on a free port of 127.0.0.1, which it writes to DIR/port. Answers POST /v1/responses,
/v1/chat/completions and /v1/messages, streaming or not. Only KEY is let in (bearer or x-api-key), others get
401 and stand in the journal all the same: DIR/journal has one JSON line a request, written and flushed before
the first byte of an answer, so what it counts is what a provider would have charged for.

  ok         answers with usage 1000 in, 100 out
  vary       the same, each time in other words
  pace       the same, with 30 ms between the events of its stream
  e429 e500 e401 e400   that status, with an error body
  hang       reads the request and never answers
  silent     sends a head and no byte of a body
  cut        half of a stream, or of a body, then the connection is reset
  nousage    a whole answer that does not say its usage
  zero       a whole answer that says zero
  over       usage over what was reserved: 5 million tokens in, 100,000 out
  text       usage in words
  minus      usage below zero
  endless    a stream without an end
  huge       an answer of 1 GiB, its length said
  lump       one event of a stream of 64 MiB
  gate       half of a stream; the rest when DIR/open is there
  slow       a byte of its stream each 50 ms
  redirect   302 to another port of this machine, at which nobody should ask
  compressed gzip, though nobody asked for it
  twohead    two heads in one answer
"""
import argparse
import gzip
import itertools
import json
import os
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TEXT = ["The ", "answer ", "is ", "42."]
IN, OUT = 1000, 100
LOCK = threading.Lock()
SEEN = itertools.count(1)


def counts(kind):
    """(input, output) as the kind tells them; None: it tells none."""
    return {"nousage": None, "zero": (0, 0), "over": (5 * 10**6, 10**5), "text": ("many", "more"), "minus": (-5, -5)}.get(kind, (IN, OUT))


class Responses:
    def usage(self, told):
        return {} if told is None else {"usage": {
            "input_tokens": told[0], "input_tokens_details": {"cached_tokens": 0}, "output_tokens": told[1],
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": told[0] + told[1] if isinstance(told[0], int) else "all"}}

    def whole(self, model, told):
        return {"id": "resp_1", "object": "response", "status": "completed", "model": model,
                "output": [{"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
                            "content": [{"type": "output_text", "text": "".join(TEXT), "annotations": []}]}],
                **self.usage(told)}

    def begin(self, model):
        yield "response.created", {"type": "response.created", "response": {"id": "resp_1", "status": "in_progress", "model": model}}
        item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "in_progress", "content": []}
        yield "response.output_item.added", {"type": "response.output_item.added", "output_index": 0, "item": item}

    def delta(self, text):
        return "response.output_text.delta", {"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0,
                                              "content_index": 0, "delta": text}

    def end(self, model, told):
        yield "response.completed", {"type": "response.completed", "response": self.whole(model, told)}


class Chat:
    def usage(self, told):
        return {} if told is None else {"usage": {
            "prompt_tokens": told[0], "completion_tokens": told[1],
            "total_tokens": told[0] + told[1] if isinstance(told[0], int) else "all"}}

    def whole(self, model, told):
        return {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": model,
                "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "".join(TEXT)}}],
                **self.usage(told)}

    def chunk(self, delta, end=None):
        return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m",
                "choices": [{"index": 0, "delta": delta, "finish_reason": end}]}

    def begin(self, model):
        yield None, self.chunk({"role": "assistant", "content": ""})

    def delta(self, text):
        return None, self.chunk({"content": text})

    def end(self, model, told):
        yield None, self.chunk({}, "stop")
        if told is not None:
            yield None, {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": [],
                         **self.usage(told)}
        yield None, "[DONE]"


class Messages:
    def usage(self, told, side=0):
        if told is None:
            return {}
        return {"usage": {"input_tokens": told[0], "output_tokens": 1} if side else {"input_tokens": told[0], "output_tokens": told[1]}}

    def whole(self, model, told):
        return {"id": "msg_1", "type": "message", "role": "assistant", "model": model, "stop_reason": "end_turn",
                "stop_sequence": None, "content": [{"type": "text", "text": "".join(TEXT)}], **self.usage(told)}

    def begin(self, model):
        told = counts(model)
        yield "message_start", {"type": "message_start", "message": {
            "id": "msg_1", "type": "message", "role": "assistant", "model": model, "content": [], "stop_reason": None,
            "stop_sequence": None, **self.usage(told, 1)}}
        yield "content_block_start", {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}

    def delta(self, text):
        return "content_block_delta", {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}

    def end(self, model, told):
        yield "content_block_stop", {"type": "content_block_stop", "index": 0}
        usage = {} if told is None else {"usage": {"output_tokens": told[1]}}
        yield "message_delta", {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, **usage}
        yield "message_stop", {"type": "message_stop"}


DIALECTS = {"/v1/responses": Responses(), "/v1/chat/completions": Chat(), "/v1/messages": Messages()}
STATUS = {"e429": 429, "e500": 500, "e401": 401, "e400": 400}


def event(name, data):
    text = data if isinstance(data, str) else json.dumps(data)
    return (("event: %s\n" % name if name else "") + "data: " + text + "\n\n").encode()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 0

    def log_message(self, *args):
        pass

    def setup(self):
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def body(self):
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("content-length", 0)))
        whole = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            whole += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return whole

    def allowed(self):
        key = self.server.options.key
        return self.headers.get("authorization") == "Bearer " + key or self.headers.get("x-api-key") == key

    def journal(self, body, let_in):
        line = {"path": self.path, "allowed": let_in, "model": body.get("model"), "stream": bool(body.get("stream")),
                "headers": {k.lower(): v for k, v in self.headers.items() if k.lower() not in ("authorization", "x-api-key")},
                "cap": next((body[k] for k in ("max_output_tokens", "max_completion_tokens", "max_tokens") if k in body), None),
                "keys": sorted(body)}
        with LOCK, open(os.path.join(self.server.options.dir, "journal"), "a") as f:
            f.write(json.dumps(line) + "\n")
            f.flush()

    def head(self, status, kind, length=None, extra=()):
        self.send_response(status)
        self.send_header("content-type", kind)
        for name, value in extra:
            self.send_header(name, value)
        if length is None:
            self.send_header("transfer-encoding", "chunked")
        else:
            self.send_header("content-length", str(length))
        self.end_headers()

    def chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def reset(self):
        """The peer sees a reset connection, not an end; and first what was sent before, which a reset drops."""
        time.sleep(0.2)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.connection.close()
        self.close_connection = True

    def plain(self, status, obj, extra=()):
        data = json.dumps(obj).encode()
        self.head(status, "application/json", len(data), extra)
        self.wfile.write(data)

    def do_GET(self):
        self.journal({}, self.allowed())
        self.plain(404, {"error": {"message": "not found"}})

    def do_POST(self):
        dialect = DIALECTS.get(self.path.split("?")[0])
        try:
            body = json.loads(self.body())
        except ValueError:
            body = {}
        self.journal(body, self.allowed())
        if not self.allowed():
            return self.plain(401, {"error": {"message": "this key is not let in", "type": "authentication_error"}})
        if dialect is None:
            return self.plain(404, {"error": {"message": "not found"}})
        kind = str(body.get("model"))
        try:
            self.serve(dialect, kind, bool(body.get("stream")))
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def serve(self, dialect, kind, stream):
        if kind in STATUS:
            # A careless provider: its error repeats the key it was given.
            message = "%s was refused for %s" % (self.headers.get("authorization") or self.headers.get("x-api-key"), kind)
            extra = [("retry-after", "1")] if kind == "e429" else []
            return self.plain(STATUS[kind], {"error": {"message": message, "type": "provider_error", "code": kind}}, extra)
        if kind == "hang":
            return self.wait_for_peer()
        if kind == "silent":
            self.head(200, "text/event-stream" if stream else "application/json")
            return self.wait_for_peer()
        if kind == "redirect":
            return self.plain(302, {}, [("location", "http://127.0.0.1:1/elsewhere")])
        if kind == "twohead":
            self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 30\r\n\r\n{}")
            return self.reset()
        if kind == "huge":
            return self.huge()
        if stream:
            return self.stream(dialect, kind)
        data = json.dumps(dialect.whole(kind, counts(kind))).encode()
        if kind in ("vary", "pace"):
            data = data.replace(b"is 42.", b"is 42. %d" % next(SEEN))
        if kind == "cut":
            self.head(200, "application/json", len(data))
            self.wfile.write(data[:len(data) // 2])
            return self.reset()
        if kind == "compressed":
            data = gzip.compress(data)
            self.head(200, "application/json", len(data), [("content-encoding", "gzip")])
        else:
            self.head(200, "application/json", len(data))
        self.wfile.write(data)

    def wait_for_peer(self):
        while self.connection.recv(65536):
            pass
        self.close_connection = True

    def huge(self):
        total, block = 1 << 30, b"x" * (1 << 20)
        self.head(200, "application/json", total)
        for _ in range(total // len(block)):
            self.wfile.write(block)

    def stream(self, dialect, kind):
        self.head(200, "text/event-stream")
        for one in dialect.begin(kind):
            self.send(kind, event(*one))
        if kind == "lump":
            self.chunk(b"data: ")
            for _ in range(64):
                self.chunk(b"x" * (1 << 20))
        while kind == "endless":
            self.chunk(event(*dialect.delta("more " * 40000)))
        for i, text in enumerate(TEXT):
            if i == len(TEXT) // 2 and kind == "cut":
                return self.reset()
            if i == len(TEXT) // 2 and kind == "gate":
                while not os.path.exists(os.path.join(self.server.options.dir, "open")):
                    time.sleep(0.02)
            self.send(kind, event(*dialect.delta(text)))
        if kind in ("vary", "pace"):
            self.send(kind, event(*dialect.delta(" %d" % next(SEEN))))
        for one in dialect.end(kind, counts(kind)):
            self.send(kind, event(*one))
        self.chunk(b"")

    def send(self, kind, data):
        if kind == "pace":
            time.sleep(0.03)
        if kind != "slow":
            return self.chunk(data)
        for byte in data:
            self.chunk(bytes([byte]))
            time.sleep(0.05)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512

    def handle_error(self, request, address):
        pass


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--key", required=True)
    parser.add_argument("--dir", required=True)
    options = parser.parse_args()
    server = Server(("127.0.0.1", 0), Handler)
    server.options = options
    with open(os.path.join(options.dir, "port.new"), "w") as f:
        f.write("%d\n" % server.server_address[1])
    os.rename(os.path.join(options.dir, "port.new"), os.path.join(options.dir, "port"))
    server.serve_forever()


sys.exit(main())
