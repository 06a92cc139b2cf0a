"""A real server on the loopback interface that answers as badly as it is told to."""

from __future__ import annotations

import base64
import json
import struct
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DIMENSIONS = 4


def numbers(text: str) -> list[float]:
    """A vector that tells its text apart from another."""
    return [float(len(text)), float(sum(text.encode())), 1.0, -0.5]


def answer(question: dict, **changes) -> dict:
    """What OpenAI would answer."""
    data = [
        {"object": "embedding", "index": index, "embedding": numbers(text)}
        for index, text in enumerate(question["input"])
    ]
    return {"object": "list", "data": data, "model": question["model"], **changes}


class Reply:
    """An answer to one request: status, headers and what *body* makes of the request.

    *cut* bytes of it are sent before the connection is closed, or none if *is_silent*.
    """

    def __init__(
        self, status=200, *, body=answer, headers=(), cut=None, is_silent=False
    ):
        self.status, self.body, self.headers = status, body, dict(headers)
        self.cut, self.is_silent = cut, is_silent

    def content(self, question) -> bytes:
        body = self.body(question) if callable(self.body) else self.body
        return body if isinstance(body, bytes) else json.dumps(body).encode()


FINE = Reply()


class Server(ThreadingHTTPServer):
    """Gives the replies that it was told in turn, the last of them from then on."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.replies = [FINE]
        #: Set when the tests are done with the server
        self.ended = threading.Event()
        self.questions: list[dict] = []
        self.requests: list[tuple[str, dict]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def reply(self, *replies):
        self.replies = list(replies)

    def handle_error(self, request, client_address):
        """A client that went away is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        server = self.server
        length = int(self.headers["Content-Length"])
        question = json.loads(self.rfile.read(length))
        server.questions.append(question)
        server.requests.append((self.path, dict(self.headers)))
        reply = server.replies[0]
        if len(server.replies) > 1:
            server.replies.pop(0)
        if reply.is_silent:
            server.ended.wait()
            return
        content = reply.content(question)
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content if reply.cut is None else content[: reply.cut])
        self.close_connection = reply.cut is not None

    def log_message(self, *_arguments):
        """Nothing: the tests ask for what they want to know."""


@contextmanager
def misbehaving():
    """A server that runs as long as the block."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.ended.set()
            server.shutdown()
            thread.join()


def in_base64(question):
    """The answer with vectors as float32 in base64."""
    found = answer(question)
    for each in found["data"]:
        packed = struct.pack(f"<{DIMENSIONS}f", *each["embedding"])
        each["embedding"] = base64.b64encode(packed).decode()
    return found


def backwards(question):
    """The answer with its vectors in another order than asked."""
    found = answer(question)
    return {**found, "data": found["data"][::-1]}


def with_data(change):
    """The answer with its list of vectors changed."""

    def body(question):
        found = answer(question)
        return {**found, "data": change(found["data"])}

    return body


def with_vector(vector):
    """The answer with *vector* in place of the last."""
    return with_data(lambda data: [*data[:-1], {**data[-1], "embedding": vector}])
