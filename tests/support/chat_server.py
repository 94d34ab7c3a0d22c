"""A local server of OpenAI's chat protocol that misbehaves on demand, in every way that a real one was seen to."""

import json
import socket
import struct
import threading
import time
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def said(text, finish="stop", **message):
    """Return a whole reply that says `text`."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text, **message},
        "finish_reason": finish,
    }
    usage = {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}
    return {"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage}


def usual(body):
    """Answer as a server does that heeds the seed: the same to the same request."""
    last = body["messages"][-1]["content"]
    return said(f"<think>\n{last} {body.get('seed')}\n</think>\n<answer>A</answer>")


class ChatServer:
    """Replies to the n-th request of a conversation with `plan(last message, n)`, n from 0.

    A plan gives: None, the usual reply; a dict, that reply; bytes, that body; (status, headers, body); or a name of
    a method of `Handler`. `arrived` is told each body before. `requests` lists (path, headers, body) of all; `asked`
    counts those of each last message.
    """

    def __init__(self, plan=lambda text, n: None, delay=0.0):
        self.arrived = lambda body: None
        self.plan, self.delay, self.requests, self.asked = plan, delay, [], defaultdict(int)
        self.lock, self.alive, self.at_once, self.most_at_once = threading.Lock(), True, 0, 0
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                data = self.rfile.read(int(self.headers["Content-Length"]))
                body = json.loads(data)
                text = body["messages"][-1]["content"]
                with server.lock:
                    server.arrived(body)
                    n, server.asked[text] = server.asked[text], server.asked[text] + 1
                    server.requests.append((self.path, dict(self.headers), body))
                    server.at_once += 1
                    server.most_at_once = max(server.most_at_once, server.at_once)
                try:
                    time.sleep(server.delay)
                    self.reply(server.plan(text, n), body)
                except OSError:
                    pass  # nobody waits any more
                finally:
                    self.close_connection = True
                    with server.lock:
                        server.at_once -= 1

            def do_GET(self):
                server.requests.append((self.path, dict(self.headers), None))
                self.send(200, {}, b"{}")

            def reply(self, planned, body):
                if isinstance(planned, str):
                    return getattr(self, planned)(body)
                planned = usual(body) if planned is None else planned
                if isinstance(planned, dict):
                    planned = json.dumps(planned).encode()
                status, headers, content = (200, {}, planned) if isinstance(planned, bytes) else planned
                self.send(status, headers, content)

            def send(self, status, headers, content):
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def reset(self, body):
                """The connection is torn down in place of a reply."""
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()

            def dribble(self, body):
                """A byte each 0.3 s, for ever."""
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
                self.drip()

            def dribble_headers(self, body):
                self.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
                self.drip()

            def drip(self):
                while server.alive:
                    self.wfile.write(b"{")
                    self.wfile.flush()
                    time.sleep(0.3)

            def truncated(self, body):
                """Less than the length that was said."""
                content = json.dumps(usual(body)).encode()
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content))
                self.wfile.write(content[: len(content) // 2])

            def giant(self, body):
                """64 MiB, in pieces that do not end."""
                self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                for _ in range(1024):
                    self.wfile.write(b"10000\r\n" + b" " * 65536 + b"\r\n")
                self.wfile.write(b"0\r\n\r\n")

            def echo(self, body):
                """The key, wherever a reply has room for it."""
                key = self.headers["Authorization"]
                record = said(f"<think>{key}</think>{key}", reasoning_content=key)
                self.send(200, {"X-Key": key}, json.dumps({**record, "model": key}).encode())

            def echo_error(self, body):
                key = self.headers["Authorization"]
                self.send(
                    401, {}, json.dumps({"error": {"message": "x" * 280 + f" bad key: {key}"}}).encode()
                )

            def echo_broken(self, body):
                self.send(200, {}, f"<html>{'é' * 150}{self.headers['Authorization']}".encode())

            def echo_busy(self, body):
                self.send_response(500, f"no {self.headers['Authorization']}")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def echo_elsewhere(self, body):
                target = f"http://127.0.0.1:9/{'a' * 200}?{self.headers['Authorization']}"
                self.send(307, {"Location": target}, b"")

            def log_message(self, *_):
                pass

        class Quiet(ThreadingHTTPServer):
            request_queue_size, daemon_threads = 128, True

            def handle_error(self, *_):
                pass  # a client that went away

        self._http = Quiet(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._http.server_port}/v1"

    def __enter__(self):
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.alive = False
        self._http.shutdown()
        self._http.server_close()
