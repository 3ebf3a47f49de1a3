"""A proxy of our own between devices and the front door, which spoils what passes: seeded, and counted by kind.

It ends TLS with the server's own certificate, so that it sees requests, and opens TLS to the front door anew. What it
does with a request is drawn from the seed, the request's content and how often it was seen: the order in which
threads happen to come does not change it.
"""

import contextlib
import hashlib
import http.client
import os
import random
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

MOST_BODY = 64 << 20
CARRIES = ("push-object", "pull-object", "push-messages")
"""Calls of the Fleet API that carry a model or a reply, in one chunk after the other."""


class Spoil(StrEnum):
    """What happens to a request and its answer."""

    NOTHING = "nothing"
    DROP = "drop"
    """The request never arrives; the connection is closed without an answer."""
    HALF_REQUEST = "half-request"
    """Half of the request's bytes arrive, then both connections end."""
    NO_ANSWER = "no-answer"
    """The request arrives whole, its answer is lost."""
    HALF_ANSWER = "half-answer"
    """Half of the answer's bytes arrive, then the connection is reset."""


CUTS = (Spoil.DROP, Spoil.HALF_REQUEST, Spoil.NO_ANSWER, Spoil.HALF_ANSWER)


@dataclass(frozen=True, kw_only=True)
class Request:
    """``call``: the last part of the path. ``times``: how often this very request came, from 1."""

    call: str
    body: bytes
    times: int

    def draw(self, seed: int) -> random.Random:
        """Return the randomness of this request under a seed."""
        told = f"{seed}/{self.call}/{self.times}/".encode() + hashlib.sha256(self.body).digest()
        return random.Random(hashlib.sha256(told).digest())


def weather(seed: int, *, drop: float, reset: float) -> Callable[[Request], Spoil]:
    """Drop and reset shares of all requests."""

    def spoil(request: Request) -> Spoil:
        drawn = request.draw(seed).random()
        if drawn < drop:
            return Spoil.DROP
        return Spoil.HALF_ANSWER if drawn < drop + reset and request.call != "pull-messages" else Spoil.NOTHING

    return spoil


def every_boundary_once(seed: int) -> Callable[[Request], Spoil]:
    """Cut each request that carries a chunk when it first comes, in one of the four ways."""

    def spoil(request: Request) -> Spoil:
        if request.call not in CARRIES or request.times > 1:
            return Spoil.NOTHING
        return request.draw(seed).choice(CUTS)

    return spoil


@dataclass
class ChaosProxy:
    """Listens on a free port of loopback while it is entered.

    ``spoil`` and ``jitter`` (seconds, uniform from 0) may be changed while it runs. ``spoilt`` counts by what happened
    and by call; ``carried`` counts bytes of bodies that a device sent or was sent, by call, whole or in part;
    ``heard`` keeps what devices sent, in plain bytes, head and body.
    """

    upstream: tuple[str, int]
    certificate: Path
    key: Path
    authority: Path
    spoil: Callable[[Request], Spoil] = lambda request: Spoil.NOTHING
    jitter: float = 0.0
    spoilt: Counter[tuple[str, str]] = field(default_factory=Counter)
    carried: Counter[str] = field(default_factory=Counter)
    heard: list[bytes] = field(default_factory=list)
    _seen: Counter[bytes] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> "ChaosProxy":
        inside = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        inside.load_cert_chain(self.certificate, self.key)
        handler = type("Handler", (_Handler,), {"proxy": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._server.inside = inside
        self.outside = ssl.create_default_context(cafile=str(self.authority))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def judge(self, call: str, body: bytes) -> Spoil:
        """Return what is to happen to a request, and count it."""
        told = hashlib.sha256(call.encode() + b"/" + body).digest()
        with self._lock:
            self._seen[told] += 1
            times = self._seen[told]
        found = self.spoil(Request(call=call, body=body, times=times))
        with self._lock:
            self.spoilt[found.value, call] += 1
        return found

    def count(self, call: str, size: int) -> None:
        with self._lock:
            self.carried[call] += size

    def moved(self) -> int:
        """Return the bytes of models and replies that devices sent or were sent so far, those in vain too."""
        with self._lock:
            return sum(self.carried[call] for call in CARRIES)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    inside: ssl.SSLContext

    def get_request(self):
        connection, address = super().get_request()
        connection.settimeout(30)
        return self.inside.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

    def handle_error(self, request, client_address) -> None:
        """Say nothing: broken connections are what this is for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: ChaosProxy

    def do_GET(self) -> None:
        self._pass()

    def do_POST(self) -> None:
        self._pass()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _pass(self) -> None:
        proxy, call = self.proxy, self.path.rsplit("/", 1)[-1].split("?")[0]
        body = self.rfile.read(min(int(self.headers.get("Content-Length") or 0), MOST_BODY))
        proxy.heard.append(f"{self.requestline}\n{self.headers}".encode() + body)
        spoil = proxy.judge(call, body)
        if proxy.jitter:
            time.sleep(random.random() * proxy.jitter)
        proxy.count(call, len(body) // 2 if spoil is Spoil.HALF_REQUEST else len(body))
        if spoil is Spoil.DROP:
            return self._hang_up()
        upstream = http.client.HTTPSConnection(*proxy.upstream, timeout=60, context=proxy.outside)
        with contextlib.closing(upstream):
            self._forward(upstream, body[: len(body) // 2] if spoil is Spoil.HALF_REQUEST else body, len(body))
            if spoil is Spoil.HALF_REQUEST:
                return self._hang_up()
            answer = upstream.getresponse()
            content = answer.read()
        if spoil is Spoil.NO_ANSWER:
            return self._hang_up()
        self._answer(call, answer, content, half=spoil is Spoil.HALF_ANSWER)
        return None

    def _forward(self, upstream: http.client.HTTPSConnection, sent: bytes, length: int) -> None:
        upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in {"connection", "content-length", "transfer-encoding"}:
                upstream.putheader(name, value)
        upstream.putheader("Content-Length", str(length))
        upstream.endheaders(sent)

    def _answer(self, call: str, answer: http.client.HTTPResponse, content: bytes, *, half: bool) -> None:
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in {"connection", "content-length", "transfer-encoding"}:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        sent = content[: len(content) // 2] if half else content
        self.proxy.count(call, len(sent))
        self.wfile.write(sent)
        self.wfile.flush()
        if half:
            self._hang_up()

    def _hang_up(self) -> None:
        """Reset the connection: no orderly end, as of a router that lost its state."""
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(self.connection.detach())
