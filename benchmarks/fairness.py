"""How long senders wait at the gateway: when all begin at once, and with small beside large.

``python -m benchmarks fairness``. ADR 13 says what it was made for.
"""

import re
import selectors
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks.gateway import BATCH, CONNECTIONS, TOPIC, serving, signed
from benchmarks.http_load import request

SECONDS = 8.0
BESIDE_AFTER_SECONDS = 2.0
BESIDE_SECONDS = 5.0
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class _Sender:
    """One connection, which sends a request again when its answer is there."""

    def __init__(self, port: int, sent: bytes, selector: selectors.BaseSelector) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.settimeout(0)
        self.sent = sent
        self.selector = selector
        selector.register(self.socket, selectors.EVENT_READ, self)
        self.begin()

    def begin(self) -> None:
        self.began = time.perf_counter()
        self.left = memoryview(self.sent)
        self.answer = b""
        self.go_on()

    def go_on(self) -> None:
        """Send what the socket takes."""
        try:
            while self.left:
                self.left = self.left[self.socket.send(self.left) :]
        except BlockingIOError:
            pass
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self.left else 0)
        self.selector.modify(self.socket, wanted, self)

    def answered(self) -> float | None:
        """Milliseconds from the request's first byte to its whole answer, None before that."""
        self.answer += self.socket.recv(1 << 16)
        head, _, body = self.answer.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if length is None or len(body) < int(length[1]):
            return None
        if not head.startswith(b"HTTP/1.1 2"):
            raise RuntimeError(f"the gateway answered {self.answer[:500]!r}")
        return (time.perf_counter() - self.began) * 1_000


def waits(port: int, sent: bytes, connections: int, seconds: float) -> list[float]:
    """Sorted milliseconds of all answers to ``connections`` that begin at once."""
    found: list[float] = []
    with selectors.DefaultSelector() as selector:
        senders = [_Sender(port, sent, selector) for _ in range(connections)]
        ends = time.perf_counter() + seconds
        while time.perf_counter() < ends:
            for key, events in selector.select(0.1):
                if events & selectors.EVENT_WRITE:
                    key.data.go_on()
                if events & selectors.EVENT_READ and (waited := key.data.answered()) is not None:
                    found.append(waited)
                    key.data.begin()
        for sender in senders:
            sender.socket.close()
    return sorted(found)


def _row(found: list[float], share: float, unit: str) -> dict[str, Any]:
    """The wait of that share of answers, beside their median."""
    return {
        "value": round(found[min(int(len(found) * share), len(found) - 1)], 1),
        "unit": unit,
        "baseline": round(found[len(found) // 2], 1),
    }


def run(bootstrap: str) -> dict[str, Any]:
    """{name: {value, unit, baseline}}: a wait in milliseconds beside the median of the same."""
    from services.adapters.kafka import KafkaAdmin, TopicSpec  # noqa: PLC0415 - after the child's

    KafkaAdmin({"bootstrap.servers": bootstrap}).ensure_topics([TopicSpec(TOPIC, 2)])
    small, large = request(*signed(1)), request(*signed(BATCH))
    with (
        serving("benchmarks.gateway", "serve", bootstrap, TOPIC) as (port, _),
        ThreadPoolExecutor(1) as beside,
    ):
        waits(port, small, 1, BESIDE_AFTER_SECONDS)
        single = waits(port, small, CONNECTIONS, SECONDS)
        bulk = waits(port, large, CONNECTIONS, SECONDS)
        running = beside.submit(waits, port, large, CONNECTIONS, SECONDS)
        time.sleep(BESIDE_AFTER_SECONDS)
        alone = waits(port, small, 1, BESIDE_SECONDS)
        running.result()
    return {
        "wait of single events": _row(single, 0.999, f"ms, 99.9 %, {CONNECTIONS} begin at once"),
        "wait of bodies of 100": _row(bulk, 0.99, f"ms, 99 %, {CONNECTIONS} begin at once"),
        "wait of a small one beside bodies of 100": _row(alone, 1, "ms, the longest"),
    }
