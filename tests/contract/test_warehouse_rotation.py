"""A key, token or password that is rotated while the loader runs: no restart."""

import gzip
import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from schemas.errors import SetupError
from services.adapters.snowflake.connection import connector_major
from services.bootstrap import read_project
from services.embedded.warehouse import EmbeddedWarehouse
from tests.support.warehouse import shared_server

pytestmark = [pytest.mark.enable_socket, pytest.mark.embedded]

SETTINGS = """
[kafka.options]
"bootstrap.servers" = "127.0.0.1:1"

[snowflake]
account = "a"
user = "u"
auth = "password"
password = "file:password"
warehouse = "w"
role = "r"
options = {{ host = "127.0.0.1", port = {port}, protocol = "http"{more} }}
"""


class Guard:
    """In front of the stand-in, which lets everybody in: only this password may log in."""

    def __init__(self, password: str) -> None:
        self.password = password
        self.presented: list[str] = []


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
                guard.presented.append(str(data["PASSWORD"]))
                if data["PASSWORD"] != guard.password:
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


REFUSED = {
    "data": {"authnMethod": "PASSWORD"},
    "code": "390100",
    "message": "Incorrect username or password was specified.",
    "success": False,
    "headers": None,
}


def test_a_rotated_secret_is_taken_up_by_the_next_connection(tmp_path: Path) -> None:
    guard = Guard("first-secret")
    with guarded(shared_server(), guard) as port:
        more = ", use_proxy_env = false" if connector_major() >= 5 else ""
        (tmp_path / "sluice.toml").write_text(SETTINGS.format(port=port, more=more))
        secret = tmp_path / "password"
        secret.write_text("first-secret\n")
        warehouse = read_project(tmp_path).warehouse()
        assert warehouse.rows("SELECT 1 AS ONE") == [{"one": 1}]
        guard.password = "second-secret"
        warehouse.close()
        with pytest.raises(SetupError, match="Incorrect username or password") as caught:
            warehouse.rows("SELECT 2 AS TWO")
        assert "first-secret" not in str(caught.value)
        secret.write_text("second-secret\n")
        assert warehouse.rows("SELECT 3 AS THREE") == [{"three": 3}]
        warehouse.close()
    assert guard.presented == ["first-secret", "first-secret", "second-secret"]
