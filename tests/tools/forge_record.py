#!/usr/bin/env python3
"""forge_record.py FILE BRANCH : a forge that has no pull requests and writes down the one that it is asked for.

Prints its port. FILE gets the body of the POST, FILE.auth its Authorization.
"""
import http.server
import json
import sys

FILE, BRANCH = sys.argv[1:3]


class Forge(http.server.BaseHTTPRequestHandler):
    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer(200, [])

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        open(FILE + ".auth", "w").write(self.headers["authorization"])
        open(FILE, "wb").write(body)
        self.answer(201, {"html_url": "https://github.com/octocat/Hello-World/pull/1", "number": 1, "state": "open",
                          "head": {"ref": BRANCH, "label": "octocat:" + BRANCH},
                          "base": {"ref": "main", "label": "octocat:main"}})

    def log_message(self, *args):
        pass


server = http.server.HTTPServer(("127.0.0.1", 0), Forge)
print(server.server_port, flush=True)
server.serve_forever()
