"""A real HTTP server on loopback that behaves, and misbehaves, as sources do."""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from typing_extensions import override


@dataclass(frozen=True)
class Call:
    """One request as it came."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]  # lower-case names
    body: bytes
    at: float  # monotonic seconds

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode()))


@dataclass(frozen=True)
class Reply:
    """One answer. ``cut``: close the connection after that many bytes of the body."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    cut: int | None = None
    drip: float = 0.0  # seconds between two bytes of the body


def page(value: Any, status: int = 200, **headers: Any) -> Reply:
    """A JSON answer; header names with _ for -."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Reply(status, json.dumps(value).encode(), {"Content-Type": "application/json", **named})


Answer = Callable[[Call], Reply]


class Api:
    """Routes by path; calls are kept."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.routes: dict[str, Answer] = {}
        self.url = ""
        self.in_flight_max = 0
        self._in_flight = 0
        self._lock = threading.Lock()

    def route(self, path: str, answer: Answer | Reply | list[Reply]) -> None:
        """An answer for a path: computed, always the same, or one after the other (last stays)."""
        if isinstance(answer, Reply):
            self.routes[path] = lambda _: answer
        elif isinstance(answer, list):
            left = list(answer)
            self.routes[path] = lambda _: left.pop(0) if len(left) > 1 else left[0]
        else:
            self.routes[path] = answer

    def of(self, path: str) -> list[Call]:
        return [call for call in self.calls if call.path == path]

    def answer(self, call: Call) -> Reply:
        with self._lock:
            self.calls.append(call)
            self._in_flight += 1
            self.in_flight_max = max(self.in_flight_max, self._in_flight)
        try:
            found = self.routes.get(call.path)
            reply = Reply(404, b"{}") if found is None else found(call)
            time.sleep(reply.delay)
            return reply
        finally:
            with self._lock:
                self._in_flight -= 1


class TokenEndpoint:
    """OAuth 2: client credentials and refresh tokens that live for ``life`` seconds."""

    def __init__(self, *, life: float = 3600, rotate: bool = False) -> None:
        self.life = life
        self.rotate = rotate
        self.issued: list[str] = []
        self.valid: dict[str, float] = {}  # token -> end, monotonic
        self.refresh = "refresh-0"
        self.refused: Reply | None = None

    def __call__(self, call: Call) -> Reply:
        if self.refused is not None:
            return self.refused
        grant = call.form.get("grant_type")
        if grant == "refresh_token" and call.form.get("refresh_token") != self.refresh:
            return page({"error": "invalid_grant"}, 400)
        token = f"access-{len(self.issued)}"
        self.issued.append(token)
        self.valid[token] = time.monotonic() + self.life
        found = {"access_token": token, "token_type": "Bearer", "expires_in": self.life}
        if grant == "refresh_token" and self.rotate:
            self.refresh = f"refresh-{len(self.issued)}"
            found["refresh_token"] = self.refresh
        return page(found)

    def admits(self, call: Call) -> bool:
        token = call.headers.get("authorization", "").removeprefix("Bearer ")
        return self.valid.get(token, 0) > time.monotonic()


class _Quiet(ThreadingHTTPServer):
    """Clients that hang up are part of the tests."""

    @override
    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


@contextmanager
def serving() -> Iterator[Api]:
    """The server, until the end of the block."""
    api = Api()

    class Route(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            length = int(self.headers.get("content-length", 0))
            parts = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            query = dict(parse_qsl(parts.query, keep_blank_values=True))
            call = Call(
                self.command, parts.path, query, headers, self.rfile.read(length), time.monotonic()
            )
            _write(self, api.answer(call))

        do_GET = do_POST = _serve  # noqa: N815 - http.server looks these names up

        @override
        def log_message(self, *args: Any) -> None:
            pass

    server = _Quiet(("127.0.0.1", 0), Route)
    server.daemon_threads = True
    api.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _write(route: BaseHTTPRequestHandler, reply: Reply) -> None:
    headers = {"Content-Length": str(len(reply.body)), **reply.headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    start = f"HTTP/1.1 {reply.status} X\r\n{head}\r\n".encode()
    try:
        if reply.drip:
            route.wfile.write(start)
            for byte in reply.body:
                route.wfile.write(bytes([byte]))
                time.sleep(reply.drip)
        else:
            # one write: in two, Nagle's algorithm and delayed ACKs cost 40 ms
            route.wfile.write(start + reply.body[: reply.cut])
    except OSError:
        pass  # the client has given up
    if reply.cut is not None or reply.drip:
        route.close_connection = True
