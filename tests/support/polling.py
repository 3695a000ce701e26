"""A world for polled streams: a source, a log with transactions, a fake interpreter."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import orjson
from pydantic import BaseModel

from producers.cursors import State, dump_state, load_state
from producers.encode import Encoded, Encoder
from producers.exchange import Bounds, Request, Response
from producers.poll import Fetch, Plan, Publish, poll
from producers.rest import parse_source
from schemas.contract import Contract
from schemas.errors import FencedError
from schemas.events import CURSORS_TOPIC, Incoming, Record, Rejection
from schemas.ports import Clock, Transactions
from services.adapters.clock import SystemClock
from services.adapters.http import open_http
from services.adapters.metrics import MemoryMetrics
from services.poller.ports import Http, PollPorts, RefreshTokens
from services.settings import Poller, Settings

NOW = 1_700_000_000_000_000
KEY = b"poll/shop/shop.orders"


def plan_of(**stream: Any) -> Plan:
    """The plan of a source called shop with one stream, shop.orders."""
    source = parse_source(
        "shop",
        {
            "kind": "rest",
            "base_url": "https://api.example.com/v1",
            "streams": [{"stream": "shop.orders", "path": "orders", **stream}],
        },
    )
    return Plan("shop", source, source.streams[0])


def answered(value: Any, status: int = 200, at: int = NOW, **headers: Any) -> Response:
    body = value if isinstance(value, bytes) else orjson.dumps(value)
    return Response(status, {k.replace("_", "-"): v for k, v in headers.items()}, body, at)


class Crashed(BaseException):
    """The process was killed."""


@dataclass
class World:
    """What survives a crash: ``pages`` with their state. ``journal``: every effect, in order."""

    answer: Callable[[Request], Response]
    now: int = NOW
    journal: list[Fetch | Publish] = field(default_factory=list)
    pages: list[Publish] = field(default_factory=list)
    stored: bytes | None = None

    def run(self, plan: Plan, crash_before: int | None = None) -> State:
        """One run from the stored state; killed before the effect of that number of this run."""
        generator = poll(plan, load_state(self.stored), self.now)
        answer: Response | None = None
        number = 0
        try:
            while True:
                effect = generator.send(answer)
                if number == crash_before:
                    raise Crashed
                number += 1
                self.journal.append(effect)
                if isinstance(effect, Fetch):
                    answer = self.answer(effect.request)
                else:
                    answer = None
                    self.pages.append(effect)
                    self.stored = dump_state(effect.state)
        except StopIteration as end:
            state: State = end.value
            return state
        finally:
            generator.close()

    @property
    def delivered(self) -> list[dict[str, Any]]:
        return [incoming.value for page in self.pages for incoming in page.incoming]


@dataclass
class MemoryLog:
    """Transactions in memory; a transactional id opened again fences the older one."""

    records: list[Record] = field(default_factory=list)
    transactions: list[tuple[str, list[Record]]] = field(default_factory=list)
    generations: dict[str, int] = field(default_factory=dict)
    failing: list[Exception] = field(default_factory=list)  # of the next publishes
    refused: dict[str, Exception] = field(default_factory=dict)  # by transactional id, until told

    def open(self, name: str) -> Transactions:
        self.generations[name] = self.generations.get(name, 0) + 1
        return MemoryTransactions(self, name, self.generations[name])

    def cursors(self) -> dict[bytes, bytes]:
        found = [r for r in self.records if r.topic == CURSORS_TOPIC and r.key is not None]
        return {r.key: r.value for r in found if r.key is not None}

    def of(self, topic: str) -> list[Record]:
        return [record for record in self.records if record.topic == topic]


@dataclass
class MemoryTransactions:
    log: MemoryLog
    name: str
    generation: int

    def publish_atomically(self, records: Sequence[Record]) -> None:
        if self.log.failing:
            raise self.log.failing.pop(0)
        if self.name in self.log.refused and records:
            raise self.log.refused[self.name]
        if self.log.generations[self.name] != self.generation:
            raise FencedError("a newer producer has this transactional id", where=self.name)
        self.log.transactions.append((self.name, list(records)))
        self.log.records.extend(records)


class Order(BaseModel):
    id: int


class PlainEncoder:
    """The record's own bytes as the event; its id as the key. ``{"bad": true}`` is rejected."""

    def __init__(self, stream: str) -> None:
        self.contract = Contract(stream=stream, model=Order)

    def encode(self, incoming: Sequence[Incoming]) -> Encoded:
        records = [
            Record(self.contract.topic, i.raw, str(i.event_id or i.value.get("id")).encode())
            for i in incoming
        ]
        return Encoded(tuple(records), (), tuple(str(i.event_id) for i in incoming))


def plain_letters(rejections: Sequence[Rejection]) -> list[Record]:
    return [
        Record(f"{r.stream}.dead", r.value or b"", (r.event_id or "").encode()) for r in rejections
    ]


class MemoryRefreshTokens:
    """Port ``RefreshTokens`` for a test's length."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], str] = {}

    def read(self, source: str, configured: str) -> str | None:
        return self.kept.get((source, configured))

    def write(self, source: str, configured: str, token: str) -> None:
        self.kept[source, configured] = token


def ports_of(
    log: MemoryLog,
    *streams: str,
    secrets: Mapping[str, str] | None = None,
    http: Callable[[Bounds], AbstractAsyncContextManager[Http]] | None = None,
    clock: Clock | None = None,
    tokens: RefreshTokens | None = None,
    record_bytes_max: int = 1_000_000,
) -> PollPorts:
    """The poller's ports: everything in memory but HTTP and time, which are real unless given."""
    clock = clock or SystemClock()
    encoders: dict[str, Encoder] = {name: PlainEncoder(name) for name in streams}
    known = secrets or {}
    return PollPorts(
        clock=clock,
        metrics=MemoryMetrics(),
        http=http or partial(_opened, clock),
        transactions=log.open,
        cursors=log.cursors,
        encoders=encoders,
        dead_letters=plain_letters,
        secret=lambda name: known[name],
        refresh_tokens=tokens or MemoryRefreshTokens(),
        record_bytes_max=record_bytes_max,
        dead_letter_bytes_max=2 * record_bytes_max,
    )


def _opened(clock: Clock, bounds: Bounds) -> AbstractAsyncContextManager[Http]:
    return open_http(bounds, clock)


def settings_of(url: str, *streams: dict[str, Any], poller: Any = None, **source: Any) -> Settings:
    """Settings with one source called shop at ``url``; waits are short."""
    table = {"kind": "rest", "base_url": url, "streams": list(streams), **source}
    short = {"timeout_seconds": 2, "backoff_seconds_max": 2, "attempts_max": 3}
    return Settings(sources={"shop": table}, poller=Poller(**{**short, **(poller or {})}))
