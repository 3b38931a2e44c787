#!/usr/bin/python3
"""A model provider that answers every chat completion at once, with usage, and counts them.

echo_provider.py FILE: writes its port to FILE, and the count of calls to FILE.calls."""
import http.server
import json
import sys
import threading

calls = 0
lock = threading.Lock()


class Provider(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        global calls
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        with lock:
            calls += 1
            with open(sys.argv[1] + ".calls", "w", encoding="ascii") as f:
                f.write(str(calls))
        asked = json.loads(body)["messages"][-1]["content"]
        answer = json.dumps({
            "id": "x", "object": "chat.completion", "model": "echo",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "heard " + asked}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Provider)
with open(sys.argv[1], "w", encoding="ascii") as out:
    out.write(str(server.server_port))
server.serve_forever()
