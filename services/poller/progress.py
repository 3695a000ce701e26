"""How far every stream is, for ``/progress`` and ``/ready``."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class StreamState(StrEnum):
    """What a stream is doing."""

    WAITING = "waiting"  # for its next turn
    RUNNING = "running"
    FAILING = "failing"  # transient; waits longer every time
    SETUP = "setup"  # somebody has to change something; looks again from time to time
    FENCED = "fenced"  # another poller has it; stopped
    STOPPED = "stopped"


UNHEALTHY = frozenset({StreamState.SETUP, StreamState.FENCED})


@dataclass(slots=True)
class Progress:
    """One stream. Instants in microseconds since the epoch, UTC; counts since the start."""

    source: str
    stream: str
    state: StreamState = StreamState.WAITING
    last_success: int | None = None  # end of the last complete run
    last_advance: int | None = None  # last durable page
    cursor: str | None = None  # as the source writes it
    mid_run: bool = False  # the stored state holds a position within a run
    pages: int = 0
    records: int = 0
    rejected: int = 0
    failures: int = 0  # turns in a row that failed
    error: str = ""  # the last one's text while failing; without secrets

    def values(self) -> dict[str, Any]:
        """The row as JSON values."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(slots=True)
class Board:
    """The progress of all streams. Written by the poller only."""

    rows: list[Progress] = field(default_factory=list)

    def open(self, source: str, stream: str) -> Progress:
        """A row for a stream."""
        row = Progress(source, stream)
        self.rows.append(row)
        return row

    def values(self) -> Sequence[dict[str, Any]]:
        """All rows as JSON values."""
        return [row.values() for row in self.rows]
