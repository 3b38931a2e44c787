#!/usr/bin/env python3
"""What a task asks of a model, from inside a jail: one line a call, "STATUS TEXT".

  ask.py DIALECT MODEL [OPTION...]

  --stream          as events; the line is written when the stream has ended, "cut" when it ended early
  --times N         one after the other
  --parallel N      at once
  --same            the same words each time (else each call asks something of its own)
  --text WORDS      what is asked
  --member JSON     more members of the body ({"tools":[...]})
  --bytes N         as many more in the body
  --token TOKEN     instead of the task's own
  --head NAME:VALUE one more header
  --path PATH       instead of the dialect's
  --url URL         instead of the jail's door
  --show            the answer's bytes too, each line behind a bar
  --retry N         again, when the connection broke, the answer was cut or 429, after a pause that grows to 2 s
  --mark FILE       made when the first byte of the first stream's body is there
"""
import argparse
import http.client
import json
import os
import sys
import threading
import time
import urllib.parse

PATHS = {"responses": "/v1/responses", "chat": "/v1/chat/completions", "messages": "/v1/messages?beta=true"}
ENDS = {"responses": b"response.completed", "chat": b"[DONE]", "messages": b"message_stop"}
PRINT = threading.Lock()


def body_of(options, words):
    body = {"model": options.model}
    if options.stream:
        body["stream"] = True
    if options.dialect == "responses":
        body["input"] = words
    else:
        body["messages"] = [{"role": "user", "content": words}]
    if options.dialect == "messages":
        body["max_tokens"] = 1000
    body.update(json.loads(options.member))
    if options.bytes:
        if options.dialect == "responses":
            body["instructions"] = "x" * options.bytes
        else:
            body["messages"].insert(0, {"role": "user", "content": "x" * options.bytes})
    return json.dumps(body)


def text_of(dialect, raw):
    """The answer's text, or an error's message."""
    try:
        answer = json.loads(raw)
    except ValueError:
        return raw[:200].decode("utf-8", "replace").replace("\n", " ")
    if isinstance(answer, dict) and isinstance(answer.get("error"), dict):
        return answer["error"].get("message", "")
    try:
        if dialect == "responses":
            return "".join(part["text"] for item in answer["output"] if item["type"] == "message" for part in item["content"])
        if dialect == "chat":
            return answer["choices"][0]["message"]["content"]
        return "".join(part["text"] for part in answer["content"])
    except (KeyError, TypeError, IndexError):
        return raw[:200].decode("utf-8", "replace")


def text_of_stream(dialect, raw):
    text, failure = "", ""
    for line in raw.split(b"\n"):
        if not line.startswith(b"data:") or line[5:].strip() == b"[DONE]":
            continue
        try:
            event = json.loads(line[5:])
        except ValueError:
            continue
        kind = event.get("type")
        if kind == "response.output_text.delta":
            text += event["delta"]
        elif kind == "content_block_delta":
            text += event["delta"].get("text", "")
        elif dialect == "chat" and event.get("choices"):
            text += event["choices"][0].get("delta", {}).get("content") or ""
        if kind == "response.failed":
            failure = (event["response"].get("error") or {}).get("message", "failed")
        elif event.get("error"):
            failure = event["error"].get("message", "failed") if isinstance(event["error"], dict) else str(event["error"])
    return text + (" failed: " + failure if failure else "")


def call(options, words):
    url = urllib.parse.urlsplit(options.url)
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=120)
    headers = {"content-type": "application/json"}
    token = os.environ.get("CREEL_TASK_TOKEN", "") if options.token is None else options.token
    if token:
        headers["x-api-key" if options.dialect == "messages" else "authorization"] = (
            token if options.dialect == "messages" else "Bearer " + token)
    for head in options.head:
        name, value = head.split(":", 1)
        headers[name] = value
    try:
        connection.request("POST", options.path or PATHS[options.dialect], body_of(options, words), headers)
        answer = connection.getresponse()
        raw, whole = b"", True
        try:
            while part := answer.read1(65536):
                if options.mark and not os.path.exists(options.mark):
                    open(options.mark, "w").close()
                if len(raw) < 16 << 20:
                    raw += part
        except (http.client.IncompleteRead, OSError):
            whole = False
    except (http.client.HTTPException, OSError) as e:
        return "000 %s" % type(e).__name__, False, b""
    finally:
        connection.close()
    streamed = answer.headers.get("content-type", "").startswith("text/event-stream")
    if streamed:
        whole = whole and ENDS[options.dialect] in raw
        text = text_of_stream(options.dialect, raw)
    else:
        text = text_of(options.dialect, raw)
    return "%d %s%s" % (answer.status, "" if whole else "cut: ", text), whole, raw


def ask(options, i):
    words = options.text if options.same else "%s %d" % (options.text, i)
    for n in range(options.retry + 1):
        if n > 0:
            time.sleep(min(2, 0.05 * 2**n))
        line, whole, raw = call(options, words)
        with PRINT:
            print(line, flush=True)
            if options.show:
                print("\n".join("| " + l for l in raw.decode("utf-8", "replace").split("\n")), flush=True)
        if whole and not line.startswith("429 "):
            break


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("dialect", choices=sorted(PATHS))
    parser.add_argument("model")
    for flag in ("stream", "same", "show"):
        parser.add_argument("--" + flag, action="store_true")
    for name in ("times", "parallel"):
        parser.add_argument("--" + name, type=int, default=1)
    for name in ("bytes", "retry"):
        parser.add_argument("--" + name, type=int, default=0)
    parser.add_argument("--text", default="creel-say: what is the answer?")
    parser.add_argument("--member", default="{}")
    parser.add_argument("--token")
    parser.add_argument("--head", action="append", default=[])
    parser.add_argument("--path")
    parser.add_argument("--url", default="http://127.0.0.1:4100")
    parser.add_argument("--mark")
    options = parser.parse_args()
    for i in range(options.times):
        threads = [threading.Thread(target=ask, args=(options, i * options.parallel + k)) for k in range(options.parallel)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


sys.exit(main())
