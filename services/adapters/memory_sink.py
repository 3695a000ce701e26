"""The gateway's sink in memory. Fits :class:`services.gateway.ports.Sink`."""

import asyncio
from collections.abc import Sequence

from schemas.errors import SluiceError, TransientError
from schemas.events import Record

RECORD_BYTES_MAX = 1_000_000


class MemorySink:
    """Keeps the records, or raises ``failure``; publishers wait while ``gate`` is clear."""

    def __init__(self, seconds_max: float = 2.5, record_bytes_max: int = RECORD_BYTES_MAX) -> None:
        self.records: list[Record] = []
        self.failure: SluiceError | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.closed = False
        self.pending = 0
        self.seconds_max = seconds_max
        self.record_bytes_max = record_bytes_max
        self.dead_letter_bytes_max = 8 * record_bytes_max

    async def open(self, seconds_max: float) -> None:
        """Ready."""
        del seconds_max

    async def publish(self, records: Sequence[Record]) -> None:
        """Kept on return. Raises TransientError after ``seconds_max`` before a closed gate."""
        self.pending += len(records)
        try:
            async with asyncio.timeout(self.seconds_max):
                await self.gate.wait()
            if self.failure is not None:
                raise self.failure
            self.records += records
        except TimeoutError:
            raise TransientError("the gate did not open in time") from None
        finally:
            self.pending -= len(records)

    async def close(self, seconds_max: float) -> None:
        """Nothing is pending but what waits for ``gate``."""
        del seconds_max
        self.closed = True
