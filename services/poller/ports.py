"""What the poller needs from outside."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from producers.encode import Encoder
from producers.exchange import Bounds, Request, Response
from schemas.events import Record, Rejection
from schemas.ports import Clock, Metrics, Transactions
from services.poller.progress import Board


def cursor_key(source: str, stream: str) -> bytes:
    """The key of a stream's cursor record."""
    return f"poll/{source}/{stream}".encode()


class Http(Protocol):
    """One source's HTTP client."""

    async def send(self, request: Request) -> Response:
        """The whole answer, whatever its status, within the bounds given when it was opened.

        Raises TransientError and SetupError.
        """


class RefreshTokens(Protocol):
    """What sources gave in place of the configured refresh tokens, kept over restarts."""

    def read(self, source: str, configured: str) -> str | None:
        """The newest token that came in place of the configured one; None if there is none."""

    def write(self, source: str, configured: str, token: str) -> None:
        """Durable on return. Raises TransientError."""


@dataclass(frozen=True, slots=True)
class PollPorts:
    """The ports of the poller."""

    clock: Clock
    metrics: Metrics
    http: Callable[[Bounds], AbstractAsyncContextManager[Http]]
    transactions: Callable[[str], Transactions]  # by transactional id; fences an older holder
    cursors: Callable[[], Mapping[bytes, bytes]]  # the newest committed cursor of every key
    encoders: Mapping[str, Encoder]  # by stream
    dead_letters: Callable[[Sequence[Rejection]], Sequence[Record]]
    secret: Callable[[str], str]  # name -> text; may block
    refresh_tokens: RefreshTokens
    record_bytes_max: int  # of an event in the log
    dead_letter_bytes_max: int
    board: Board = field(default_factory=Board)
