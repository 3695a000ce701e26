"""What is counted for every request, told to the metrics a few times a second."""

import asyncio
from collections import Counter
from collections.abc import Sequence

from schemas.events import Record, Rejection
from schemas.ports import Metrics

TELL_SECONDS = 0.2


class Tally:
    """Adds up; one event loop's. A call of the metrics costs more than the sum it is told."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._requests: Counter[tuple[str, int]] = Counter()  # source, status
        self._refusals: Counter[tuple[str, str]] = Counter()  # source, reason
        self._bytes: Counter[str] = Counter()  # source
        self._events: Counter[str] = Counter()  # stream
        self._dead: Counter[tuple[str, str]] = Counter()  # stream, reason
        self._seconds: list[tuple[str, float]] = []  # source, until its answer
        self._pending = 0
        self._timer: asyncio.TimerHandle | None = None

    def answered(self, source: str, status: int, reason: str | None) -> None:
        """One request has its answer."""
        self._requests[source, status] += 1
        if reason is not None:
            self._refusals[source, reason] += 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TELL_SECONDS, self.tell)

    def read(self, source: str, size: int, seconds: float) -> None:
        """One body came whole; so long from then to its answer."""
        self._bytes[source] += size
        self._seconds.append((source, seconds))

    def stored(self, records: Sequence[Record], rejections: Sequence[Rejection]) -> None:
        """These events are acknowledged, and these dead letters with them."""
        for record in records:
            self._events[record.topic] += 1
        for one in rejections:
            self._dead[one.stream, one.reason.value] += 1

    def waiting(self, pending: int) -> None:
        """So many events wait for the broker."""
        self._pending = pending

    def tell(self) -> None:
        """Pass on what has come together."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for (source, status), count in self._requests.items():
            self._metrics.count("gateway_requests", count, source=source, status=str(status))
        for (source, reason), count in self._refusals.items():
            self._metrics.count("gateway_refusals", count, source=source, reason=reason)
        for source, size in self._bytes.items():
            self._metrics.count("gateway_bytes", size, source=source)
        for stream, count in self._events.items():
            self._metrics.count("gateway_events", count, stream=stream)
        for (stream, reason), count in self._dead.items():
            self._metrics.count("gateway_events_dead", count, stream=stream, reason=reason)
        for tally in (self._requests, self._refusals, self._bytes, self._events, self._dead):
            tally.clear()
        seconds, self._seconds = self._seconds, []
        for source, spent in seconds:
            self._metrics.observe("gateway_ack_seconds", spent, source=source)
        self._metrics.gauge("gateway_in_flight_events", self._pending)
