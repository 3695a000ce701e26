"""A topic in memory whose records come under given ids, and its report of duplicates."""

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from consumers.repeats.duplicates import Duplicates, DuplicatesPorts, Wanted, duplicates_once
from producers.encode import StreamEncoder
from schemas import avro
from schemas.contract import Contract
from schemas.events import Incoming, Record
from services.adapters.memory.broker import MemoryBroker
from services.adapters.memory.log import MemoryLogReader
from tests.support.world import CONTRACT, STREAM, StepClock


class Shop:
    """A topic of one partition, to which records come under given ids."""

    def __init__(self, contract: Contract = CONTRACT) -> None:
        self.contract = contract
        self.clock = StepClock()
        self.broker = MemoryBroker(self.clock)
        self.broker.create_topic(STREAM)
        self.schemas: dict[int, avro.Schema] = {1: avro.wire_schema(contract)}
        self.read = 0
        self._encoder = StreamEncoder(contract, 1)

    def put(self, id_: str | None, value: Mapping[str, Any], source: str = "shop") -> None:
        raw = orjson.dumps(value)
        one = Incoming(dict(value), raw, id_, source, self.clock.now())
        self.broker.publish(self._encoder.encode([one]).records)

    def put_raw(self, value: bytes) -> None:
        self.broker.publish([Record(STREAM, value, b"raw")])

    def ports(self, progress: Callable[[str, int], None] | None = None) -> DuplicatesPorts:
        def count(_topic: str, number: int) -> None:
            self.read += number

        return DuplicatesPorts(MemoryLogReader(self.broker), self.schemas.get, progress or count)

    def report(self, *ignored: str, since: int | None = None) -> Duplicates:
        return duplicates_once(self.ports(), self.contract, Wanted(since, frozenset(ignored)))


def order(name: str, amount: float = 1.0, **more: Any) -> dict[str, Any]:
    return {"order_id": name, "amount": amount, "placed_at": "2026-11-20T10:00:00Z", **more}
