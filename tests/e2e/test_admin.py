"""The admin port over real sockets: truthful, small and hard to hurt."""

import asyncio
import contextlib
import http.client
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from schemas.errors import SetupError, TransientError
from schemas.telemetry import METRICS, Kind
from services.adapters.clock import SystemClock
from services.adapters.metrics import CONTENT_TYPE, PrometheusMetrics
from services.monitor import server
from services.monitor.health import Health, Standing
from services.monitor.server import CONNECTIONS_MAX, Admin, routes
from services.monitor.watch import Watch
from services.redaction import HIDDEN, ITEMS_MAX, LINE_CHARS_MAX
from services.run import Stop, Supervision, run_loop
from tests.support.project import until

pytestmark = pytest.mark.enable_socket


class Box:
    """A process's monitor."""

    def __init__(self) -> None:
        self.health = Health(SystemClock())
        self.metrics = PrometheusMetrics()
        self.watch = Watch(self.health, self.metrics)
        table = routes(self.health, self.metrics.text, CONTENT_TYPE)
        self.admin = Admin("127.0.0.1", 0, self.health, table, self.watch.tick)

    def ask(self, path: str, method: str = "GET") -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.admin.port, timeout=10)
        connection.request(method, path)
        answer = connection.getresponse()
        self.body = answer.read()
        connection.close()
        return answer

    def told(self, path: str) -> tuple[int, dict[str, Any]]:
        status = self.ask(path).status
        return status, json.loads(self.body)

    def until(self, path: str, status: int) -> dict[str, Any]:
        """Ask until the status is this one."""
        for _ in range(200):
            with contextlib.suppress(OSError):  # turned away while the port is full
                found, body = self.told(path)
                if found == status:
                    return body
            time.sleep(0.05)
        pytest.fail(f"{path} never gave {status}")


@pytest.fixture
def box() -> Iterator[Box]:
    made = Box()
    yield made
    made.admin.close()


def raw(box: Box, data: bytes) -> bytes:
    """What comes back for these bytes."""
    with socket.create_connection(("127.0.0.1", box.admin.port), timeout=20) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        found = b""
        while part := connection.recv(65_536):
            found += part
        return found


def test_a_loop_that_turns_is_live_and_ready_and_says_how_far_it_is(box: Box) -> None:
    stop = Stop()

    def step() -> None:
        here = Standing("", SystemClock().now(), {"next_offset": 17, "lag": 0})
        box.health.hold({"shop.orders/0": here})
        stop.wait(0.01)

    around = Supervision(box.health, box.metrics, SystemClock(), stop)
    loop = threading.Thread(target=run_loop, args=("load", step, around))
    loop.start()
    box.until("/ready", 200)
    assert box.told("/live")[0] == 200
    status, body = box.told("/progress")
    detail = {"next_offset": 17, "lag": 0}
    assert (status, body["advances"]["shop.orders/0"]["detail"]) == (200, detail)
    stop.set()
    loop.join()
    stop.close()


def test_a_stuck_loop_is_not_live_while_the_port_still_answers(box: Box) -> None:
    release = threading.Event()

    def loop() -> None:
        box.health.beat("load", seconds_max=0.2)
        release.wait(30)

    thread = threading.Thread(target=loop)
    thread.start()
    body = box.until("/live", 503)
    assert "load has not turned for" in body["reasons"][0]
    box.health.beat("load", seconds_max=60)
    assert box.told("/live")[0] == 200
    release.set()
    thread.join()


def test_a_blocked_asyncio_loop_is_not_live_either(box: Box) -> None:
    seen: list[int] = []

    async def main() -> None:
        box.health.beat("gateway", seconds_max=0.2)
        prober = threading.Thread(target=lambda: seen.append(len(box.until("/live", 503))))
        prober.start()
        time.sleep(1.5)  # noqa: ASYNC251 - the very mistake that must be seen
        prober.join()

    asyncio.run(main())
    assert seen != []


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (SetupError("no grant", where="RAW", remedy="GRANT it"), "no grant"),
        (ValueError("with a secret"), "crashed with ValueError, see the log"),
    ],
)
def test_a_loop_that_fails_makes_the_process_unready_with_the_reason(
    error: Exception, what: str, box: Box
) -> None:
    stop = Stop()

    def step() -> None:
        raise error

    around = Supervision(box.health, box.metrics, SystemClock(), stop)
    loop = threading.Thread(target=run_loop, args=("load", step, around))
    loop.start()
    for _ in range(200):
        told = box.until("/ready", 503).get("checks", {}).get("load", {})
        if told.get("what") == what:
            break
        time.sleep(0.02)
    assert told["what"] == what
    if isinstance(error, SetupError):
        assert (told["where"], told["remedy"]) == ("RAW", "GRANT it")
    assert b"Traceback" not in box.body
    stop.set()
    loop.join()
    stop.close()


def test_health_never_shows_a_secret(box: Box) -> None:
    HIDDEN.hide("hunter2-hunter2")
    box.health.ready("load", ok=False, why=TransientError("bad hunter2-hunter2", where="x"))
    box.health.advance("p", {"url": "https://u:hunter3@host/", "password": "hunter4"})
    for path in ("/ready", "/progress"):
        box.ask(path)
        assert b"hunter" not in box.body
        assert b"***" in box.body


def test_a_secret_is_hidden_before_a_long_reason_is_cut(box: Box) -> None:
    HIDDEN.hide("hunter2-hunter2")
    for length in range(LINE_CHARS_MAX - 40, LINE_CHARS_MAX + 5):
        why = SetupError(f"{'x' * length} hunter2-hunter2", remedy="r" * 10)
        box.health.ready("load", ok=False, why=why)
        box.ask("/ready")
        assert b"hunter" not in box.body


def test_every_partition_is_told_however_many_there_are(box: Box) -> None:
    here = Standing(SetupError("no grant"), 1_000_000, {"next_offset": 1, "lag": 0})
    names = [f"shop.orders/{n:03}" for n in range(3 * ITEMS_MAX)]
    box.health.hold(dict.fromkeys(names, here))
    assert list(box.told("/progress")[1]["advances"]) == names
    body = box.told("/ready")[1]
    assert list(body["checks"]) == names
    assert body["reasons"] == [
        f"shop.orders/000, shop.orders/001, shop.orders/002 and {len(names) - 3} more: no grant"
    ]


def test_metrics_are_what_prometheus_reads(box: Box) -> None:
    box.health.beat("load")
    box.until("/live", 200)
    calls: dict[Kind, Callable[..., None]] = {
        Kind.COUNTER: box.metrics.count,
        Kind.GAUGE: box.metrics.gauge,
        Kind.HISTOGRAM: box.metrics.observe,
    }
    for metric in METRICS.values():
        calls[metric.kind](metric.name, 1, **dict.fromkeys(metric.labels, "x"))
    answer = box.ask("/metrics")
    assert (answer.status, answer.headers["Content-Type"]) == (200, CONTENT_TYPE)
    assert b"sluice_load_batches_total" in box.body
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed: apt-get install prometheus")
    done = subprocess.run(
        [promtool, "check", "metrics"], input=box.body, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


def test_only_get_and_head_and_only_four_paths(box: Box) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "NONSENSE"):
        answer = box.ask("/live", method)
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
    for path in ("/", "/live/", "/../etc/passwd", "/debug", "/%6cive"):
        assert box.ask(path).status == 404
    assert box.ask("/progress?x=1").status == 200


def test_head_has_the_headers_and_no_body(box: Box) -> None:
    assert box.ask("/progress", "HEAD").status == 200
    assert box.body == b""


def test_an_answer_says_nothing_about_the_software(box: Box) -> None:
    headers = box.ask("/progress").headers
    assert headers["Server"].strip() == "sluice"
    assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", b""),
        (b"GET /live HTTP/9.9\r\n\r\n", b"version not supported"),
        (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n", b" 414 "),
        (b"GET /live HTTP/1.1\r\n" + b"a: b\r\n" * 1_000 + b"\r\n", b" 431 "),
        (b"GET /live HTTP/1.1\r\na: " + b"b" * 100_000 + b"\r\n\r\n", b" 431 "),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b""),
        (b"<script> /live HTTP/1.1\r\n\r\n", b" 405 "),
        (b"", b""),
    ],
    ids=["no_http", "version", "long_path", "many", "long_header", "tls", "method", "nothing"],
)
def test_malformed_requests_get_a_short_answer_without_an_echo(
    data: bytes, status: bytes, box: Box, capfd: pytest.CaptureFixture[str]
) -> None:
    found = raw(box, data)
    assert status in found
    assert len(found) < 500
    for echoed in (b"aaaa", b"script", b"Traceback"):
        assert echoed not in found
    box.health.beat("load")
    assert box.told("/live")[0] == 200
    assert "Traceback" not in capfd.readouterr().err


def test_slow_clients_are_cut_off_and_make_room_for_probes(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "REQUEST_SECONDS_MAX", 1.0)
    slow = [
        socket.create_connection(("127.0.0.1", box.admin.port), timeout=20)
        for _ in range(CONNECTIONS_MAX + 8)
    ]
    started = time.monotonic()
    cut = 0
    while cut < len(slow) and time.monotonic() - started < 15:
        cut = 0
        for connection in slow:
            try:
                connection.sendall(b"x")  # never a whole request, never silent for long
            except OSError:
                cut += 1
        time.sleep(0.1)
    assert cut == len(slow)
    for connection in slow:
        connection.close()
    box.health.beat("load")
    box.until("/live", 200)


def test_a_route_that_fails_shows_no_trace_and_does_not_end_the_server(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def fail() -> bytes:
        raise ValueError("internal-detail")

    health = Health(SystemClock())
    admin = Admin("127.0.0.1", 0, health, routes(health, fail, "text/plain"), lambda: None)
    connection = http.client.HTTPConnection("127.0.0.1", admin.port, timeout=10)
    with capture_logs() as lines:
        connection.request("GET", "/metrics")
        with pytest.raises((http.client.HTTPException, OSError)):
            connection.getresponse()
        until(lambda: bool(lines), 10, "the server tells, after it has hung up")
    connection.close()
    again = http.client.HTTPConnection("127.0.0.1", admin.port, timeout=10)
    again.request("GET", "/progress")
    assert again.getresponse().status == 200
    again.close()
    admin.close()
    assert "Traceback" not in capfd.readouterr().err
    assert [str(line["exc_info"]) for line in lines] == ["internal-detail"]


def test_a_port_that_is_taken_is_a_setup_error_with_a_remedy(box: Box) -> None:
    with pytest.raises(SetupError, match=r"admin: 127\.0\.0\.1:\d+: .*cannot be opened") as caught:
        Admin("127.0.0.1", box.admin.port, box.health, {}, lambda: None)
    assert "[admin]" in caught.value.remedy


def test_a_closed_port_is_free_again(box: Box) -> None:
    port = box.admin.port
    box.admin.close()
    again = Admin("127.0.0.1", port, box.health, {}, lambda: None)
    assert again.port == port
    again.close()
