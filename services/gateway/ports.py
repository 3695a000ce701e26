"""What the gateway needs from outside."""

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from producers.encode import Encoder
from producers.webhook import WebhookSource
from schemas.events import Record, Rejection
from schemas.ports import Clock, Metrics


class Sink(Protocol):
    """The log, for callers of one event loop."""

    @property
    def record_bytes_max(self) -> int:
        """Largest event, with key and headers, that the log takes."""

    @property
    def dead_letter_bytes_max(self) -> int:
        """Largest dead letter that the log takes."""

    @property
    def pending(self) -> int:
        """Records that were handed over and neither acknowledged nor given up."""

    async def open(self, seconds_max: float) -> None:
        """Get ready, so that the first delivery need not wait; a broker may be away."""

    async def publish(self, records: Sequence[Record]) -> None:
        """Durable (acks=all, idempotent) on return, in order.

        Never takes longer than the sink's own time, which is ``ack_seconds_max``. Raises
        TransientError or SetupError if not all are known to be durable: some may have been
        written all the same, or may be later. Callers that are cancelled know no more.
        """

    async def close(self, seconds_max: float) -> None:
        """Wait for what is pending, then end."""


DeadLetters = Callable[[Sequence[Rejection]], Sequence[Record]]


@dataclass(frozen=True, slots=True)
class GatewayPorts:
    """All that the gateway works with. Built by ``services.bootstrap``.

    Encoders may be called by the event loop's thread and one other at the same time.
    """

    sources: MutableMapping[str, WebhookSource]  # replaced when their secrets are rotated
    encoders: Mapping[str, Encoder]  # by stream
    dead_letters: DeadLetters
    sink: Sink
    clock: Clock
    metrics: Metrics
