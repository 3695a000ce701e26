"""Kill the gateway before every effect in turn: what it acknowledged is in the log, once loaded.

Its sender sends again what was not answered, as providers do.
"""

import asyncio
import io
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import fastavro
import orjson
import pytest

from schemas.dead_letters import DeadLetterWriter
from schemas.errors import TransientError
from schemas.events import Record
from services.gateway.app import Gateway, Receive, Scope, Send
from services.gateway.tally import Tally
from tests.support import http
from tests.support.http import Reply, call, signature, source
from tests.support.world import SCHEMAS, STREAM, Crash, World

PLACED = "2026-11-20T10:00:00Z"
TRIES_MAX = 5
NAMES = {STREAM: (SCHEMAS[1], "_id"), f"{STREAM}.dead": (SCHEMAS[2], "event_id")}


def order(name: str, amount: object = 1.0) -> dict[str, object]:
    return {"order_id": name, "amount": amount, "placed_at": PLACED}


BODIES: list[list[dict[str, object]]] = [
    [order("a")],
    [order("b"), order("text", "x"), order("c"), order("below", -1.0)],
    [order("c"), order("d")],
]
"""``c`` comes twice; ``text`` is refused by the gateway, ``below`` by the loader."""


@dataclass
class LogSink:
    """The gateway's sink on the world's broker, record by record: a kill may come between two."""

    world: World
    refuse_at: int | None = None  # the broker does not take this one, counted from 1; once
    record_bytes_max: int = 1_000_000
    dead_letter_bytes_max: int = 8_000_000
    pending: int = 0

    async def open(self, seconds_max: float) -> None:
        """Ready."""

    async def publish(self, records: Sequence[Record]) -> None:
        for record in records:
            if self.refuse_at is not None:
                self.refuse_at -= 1
                if self.refuse_at == 0:
                    raise TransientError("no reply", where="broker")
            self.world.broker.publish([record])

    async def close(self, seconds_max: float) -> None:
        """Nothing waits."""


@dataclass
class Process:
    """One gateway process, which can die before it reads, publishes or answers."""

    world: World
    sink: LogSink
    gateway: Gateway = field(init=False)

    def __post_init__(self) -> None:
        here = http.World([source(event_id="{/order_id}")])
        ports = replace(
            here.ports_to(self.sink),
            encoders={STREAM: self.world.encoder},
            dead_letters=DeadLetterWriter(2).records,
            clock=self.world.clock,
        )
        self.gateway = Gateway(ports, here.settings)

    @property
    def tally(self) -> Tally:
        return self.gateway.tally

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def watched(message: Any) -> None:
            self.world.journal.moment()
            await send(message)

        self.world.journal.moment()
        await self.gateway(scope, receive, watched)


def in_the_log(world: World) -> set[str]:
    """The ids of all events and dead letters."""
    found = set()
    for partition, log in world.broker.logs.items():
        if partition.topic in NAMES:
            schema, name = NAMES[partition.topic]
            for message in log.messages:
                stream = io.BytesIO(message.record.value[5:])
                event: Any = fastavro.schemaless_reader(stream, schema, None)
                found.add(event[name])
    return found


@dataclass
class Sender:
    """Delivers until it is told that its events are stored."""

    world: World
    sink: LogSink
    process: Process = field(init=False)
    tries: int = 0

    def __post_init__(self) -> None:
        self.process = Process(self.world, self.sink)

    def deliver(self, body: Sequence[dict[str, object]]) -> None:
        for _ in range(TRIES_MAX):
            reply = self.once(orjson.dumps(body))
            if reply is None:  # it died, and no answer came
                self.process = Process(self.world, self.sink)
                continue
            if reply.status == 503:
                continue
            assert reply.status == 200
            assert reply.json["ids"] == [one["order_id"] for one in body]
            assert set(reply.json["ids"]) <= in_the_log(self.world), "acknowledged, and not stored"
            return
        pytest.fail("never acknowledged")

    def once(self, body: bytes) -> Reply | None:
        self.tries += 1
        try:
            return asyncio.run(call(self.process, body, {"x-signature": signature(body)}))  # type: ignore[arg-type]
        except Crash:
            return None


def delivered(crash_at: int | None = None, refuse_at: int | None = None) -> Sender:
    """All bodies, delivered until they were acknowledged, whatever happens at one moment."""
    world = World()
    world.journal.crash_at = crash_at
    sender = Sender(world, LogSink(world, refuse_at))
    for body in BODIES:
        sender.deliver(body)
    return sender


def require_loaded_once(world: World) -> None:
    """Each good event is one row, each bad one a dead letter, and the books balance."""
    loader = world.loader()
    loader.run(3)
    assert world.loaded() == ["a", "b", "c", "d"]
    dead = world.account.table("SLUICE_DEAD_LETTERS")
    assert dict(dead.select("event_id", "stage").unique().rows()) == {
        "text": "encode",
        "below": "judge",
    }
    assert dead["event_id"].to_list().count("text") == 1
    books = world.audit()
    assert books.balanced, list(map(str, books.findings))
    assert (books.totals.loaded, books.totals.in_flight) == (4, 0)


def test_nobody_dies_and_every_body_is_sent_once() -> None:
    sender = delivered()
    assert sender.tries == len(BODIES)
    assert sender.world.audit().totals.accepted == 7
    require_loaded_once(sender.world)


MOMENTS = delivered().world.journal.moments
RECORDS = sum(map(len, BODIES))


@pytest.mark.parametrize("crash_at", range(1, MOMENTS + 1))
def test_a_gateway_that_dies_at_any_moment_loses_nothing_that_it_acknowledged(
    crash_at: int,
) -> None:
    sender = delivered(crash_at=crash_at)
    assert sender.tries == len(BODIES) + 1
    require_loaded_once(sender.world)


@pytest.mark.parametrize("refuse_at", range(1, RECORDS + 1))
def test_a_broker_that_takes_a_part_of_a_body_makes_it_come_again(refuse_at: int) -> None:
    sender = delivered(refuse_at=refuse_at)
    assert sender.tries == len(BODIES) + 1
    require_loaded_once(sender.world)
