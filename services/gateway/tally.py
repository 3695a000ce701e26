"""What is counted for every request, told to the metrics a few times a second."""

import asyncio
from collections.abc import Sequence

from schemas.events import Rejection
from schemas.ports import Metrics

TELL_SECONDS = 0.2


class Tally:
    """Adds up; one event loop's. A call of the metrics costs more than the sum it is told."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._counts: dict[tuple[str, ...], int] = {}  # name, then label names and values in turn
        self._seconds: list[tuple[str, float]] = []  # source, until its answer
        self._pending = 0
        self._timer: asyncio.TimerHandle | None = None

    def answered(self, source: str, status: int, reason: str | None) -> None:
        """One request has its answer."""
        self._add(("gateway_requests", "source", source, "status", str(status)))
        if reason is not None:
            self._add(("gateway_refusals", "source", source, "reason", reason))

    def read(self, source: str, size: int, seconds: float) -> None:
        """One body came whole; so long from then to its answer."""
        self._add(("gateway_bytes", "source", source), size)
        self._seconds.append((source, seconds))

    def stored(self, streams: Sequence[str], rejections: Sequence[Rejection]) -> None:
        """These events are acknowledged, and these dead letters with them."""
        for stream in streams:
            self._add(("gateway_events", "stream", stream))
        for one in rejections:
            self._add(("gateway_events_dead", "stream", one.stream, "reason", one.reason))

    def waiting(self, pending: int) -> None:
        """So many events wait for the broker."""
        self._pending = pending

    def _add(self, key: tuple[str, ...], value: int = 1) -> None:
        self._counts[key] = self._counts.get(key, 0) + value
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TELL_SECONDS, self.tell)

    def tell(self) -> None:
        """Pass on what has come together."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        counts, self._counts = self._counts, {}
        seconds, self._seconds = self._seconds, []
        for (name, *labels), value in counts.items():
            pairs = zip(labels[::2], labels[1::2], strict=True)
            self._metrics.count(name, value, **dict(pairs))
        for source, spent in seconds:
            self._metrics.observe("gateway_ack_seconds", spent, source=source)
        self._metrics.gauge("gateway_in_flight_events", self._pending)
