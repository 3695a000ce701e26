"""The admin port: ``/live``, ``/ready``, ``/progress`` and ``/metrics``, and nothing else.

A thread of its own answers, so that a loop that is stuck cannot keep its process from saying so.
"""

import contextlib
import json
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import BoundedSemaphore, Lock, Thread
from typing import Any, ClassVar

import structlog
from typing_extensions import override

from schemas.errors import SetupError
from services.monitor.health import Health, Report, live, progress, ready
from services.redaction import HIDDEN

CONNECTIONS_MAX = 32
REQUEST_SECONDS_MAX = 5.0  # from the connection to the end of the answer
TICK_SECONDS = 0.25
LINGER_SECONDS, LINGER_BYTES_MAX = 0.5, 1_000_000
_METHODS = ("GET", "HEAD")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a route says."""

    status: HTTPStatus
    body: bytes
    content_type: str = "application/json"


Routes = Mapping[str, Callable[[], Answer]]


def routes(health: Health, text: Callable[[], bytes], content_type: str) -> Routes:
    """The routes of a process; ``text`` gives its metrics in ``content_type``."""

    def of(report: Callable[[], Report]) -> Callable[[], Answer]:
        return lambda: _told(report())

    return {
        "/live": of(lambda: live(health.state(), health.now())),
        "/ready": of(lambda: ready(health.state())),
        "/progress": of(lambda: progress(health.state(), health.now())),
        "/metrics": lambda: Answer(HTTPStatus.OK, text(), content_type),
    }


def _told(report: Report) -> Answer:
    status = HTTPStatus.OK if report.ok else HTTPStatus.SERVICE_UNAVAILABLE
    return Answer(status, _json({part: _hidden(told) for part, told in report.body.items()}))


def _hidden(told: object) -> object:
    """Without secrets; entry by entry, as of a collection only the first ones are kept."""
    if isinstance(told, Mapping):
        return {HIDDEN.text(str(name)): HIDDEN.value(entry) for name, entry in told.items()}
    return HIDDEN.value(told)


def _json(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, indent=1).encode() + b"\n"


def _plain(status: HTTPStatus) -> Answer:
    return Answer(status, _json({"ok": False, "reasons": [status.phrase.lower()]}))


class _Conversation(BaseHTTPRequestHandler):
    """One request and its answer; the connection is closed afterwards."""

    server_version = "sluice"
    sys_version = ""
    timeout: ClassVar[float | None] = REQUEST_SECONDS_MAX  # of one read; see service_actions
    table: ClassVar[Routes] = {}

    def do_GET(self) -> None:
        path = self.path.split("?", 1)[0]
        route = self.table.get(path)
        self._send(_plain(HTTPStatus.NOT_FOUND) if route is None else route())

    def do_HEAD(self) -> None:
        self.do_GET()

    @override
    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Short, without repeating anything of the request."""
        status = HTTPStatus(code)
        if status is HTTPStatus.NOT_IMPLEMENTED:
            status = HTTPStatus.METHOD_NOT_ALLOWED
        self._send(_plain(status))

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        if answer.status is HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", ", ".join(_METHODS))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    @override
    def finish(self) -> None:
        """Read on for a moment: closing on unread bytes takes the answer back (RFC 9112, 9.6)."""
        super().finish()
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(LINGER_SECONDS)
            left = LINGER_BYTES_MAX
            while left > 0 and (part := self.connection.recv(left)):
                left -= len(part)

    @override
    def log_message(self, format: str, *args: object) -> None:
        """Probes are not worth a line."""


class _Server(ThreadingHTTPServer):
    """A thread a connection, a few at a time, none for long."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = CONNECTIONS_MAX

    def __init__(
        self,
        host: str,
        port: int,
        table: Routes,
        tick: Callable[[], None],
        now: Callable[[], float],
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._tick = tick
        self._now = now
        self._slots = BoundedSemaphore(CONNECTIONS_MAX)
        self._open: dict[int, tuple[socket.socket, float]] = {}
        self._lock = Lock()
        super().__init__((host, port), type("_Bound", (_Conversation,), {"table": table}))

    @override
    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._slots.acquire(blocking=False):
            self.shutdown_request(request)
            return
        with self._lock:
            self._open[id(request)] = (request, self._now())
        super().process_request(request, client_address)

    @override
    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._open.pop(id(request), None)
            self._slots.release()

    @override
    def service_actions(self) -> None:
        """Every tick: end conversations that take too long, look at the process."""
        oldest = self._now() - REQUEST_SECONDS_MAX
        with self._lock:
            late = [request for request, since in self._open.values() if since < oldest]
            for request in late:
                try:
                    request.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # the other side was faster
        self._tick()

    @override
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is nothing; an error of a route is ours, and logged."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            structlog.get_logger(__name__).error("an admin request failed", exc_info=error)


class Admin:
    """The admin port, served by a daemon thread until :meth:`close`."""

    def __init__(
        self, host: str, port: int, health: Health, table: Routes, tick: Callable[[], None]
    ) -> None:
        """Listen. Raises SetupError where the address cannot be had.

        ``tick`` is called in the thread a few times a second and must not block.
        """
        try:
            self._server = _Server(host, port, table, tick, health.now)
        except (OSError, OverflowError) as error:
            raise SetupError(
                f"the admin port cannot be opened ({error})",
                where=f"admin: {host}:{port}",
                remedy="choose another port or host in [admin], or stop what uses it",
            ) from error
        self._thread = Thread(
            target=self._server.serve_forever, args=(TICK_SECONDS,), name="admin", daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        """The port; the one that was found where 0 was asked for."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop answering and give the port back."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(REQUEST_SECONDS_MAX)
