"""In front of the stand-in, which lets everybody in: keeps what logs in, and refuses who may not."""

import gzip
import http.client
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from typing_extensions import override

from services.embedded.warehouse import EmbeddedWarehouse

REFUSED = {
    "data": {"authnMethod": "PASSWORD"},
    "code": "390100",
    "message": "Incorrect username or password was specified.",
    "success": False,
    "headers": None,
}


@dataclass
class Guard:
    """Who may log in. ``presented``: the ``data`` of every login, in order."""

    admits: Callable[[dict[str, Any]], bool] = lambda _: True
    presented: list[dict[str, Any]] = field(default_factory=list)


@contextmanager
def guarded(server: EmbeddedWarehouse, guard: Guard) -> Iterator[int]:
    """The port of the guard."""

    class Relay(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _relay(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            if self.path.startswith("/session/v1/login-request"):
                packed = self.headers.get("content-encoding") == "gzip"
                data = json.loads(gzip.decompress(body) if packed else body)["data"]
                guard.presented.append(data)
                if not guard.admits(data):
                    self._answer(200, [], json.dumps(REFUSED).encode())
                    return
            client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
            client.request(self.command, self.path, body, dict(self.headers.items()))
            answer = client.getresponse()
            text = answer.read()
            client.close()
            self._answer(answer.status, answer.getheaders(), text)

        do_GET = do_POST = _relay  # noqa: N815 - http.server looks these names up

        def _answer(self, status: int, headers: list[tuple[str, str]], text: bytes) -> None:
            self.send_response(status)
            for name, value in headers:
                if name.lower() == "content-type":
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        @override
        def log_message(self, *args: Any) -> None:
            pass

    relay = ThreadingHTTPServer(("127.0.0.1", 0), Relay)
    relay.daemon_threads = True
    threading.Thread(target=relay.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield relay.server_port
    finally:
        relay.shutdown()
        relay.server_close()
