"""A contract of orders, its stream, and orders as messages: what tests of the loader's steps share."""

import datetime as dt
from typing import Any

from pydantic import BaseModel, Field

from consumers.reading.dedupe import PartitionKeys
from consumers.reading.stream import LoadStream
from schemas import avro
from schemas.contract import Contract
from schemas.events import Partition
from services.adapters.memory_keys import MemoryStore
from tests.support.runs import SCHEMA_ID, encoded

P0, P1, P2 = (Partition("shop.orders", number) for number in range(3))


class Order(BaseModel):
    order_id: str = Field(min_length=1)
    amount: float = Field(ge=0)
    placed_at: dt.datetime | None = None


CONTRACT = Contract(stream="shop.orders", model=Order, key=("order_id",), business_date="placed_at")


def stream(contract: Contract = CONTRACT, **schemas: avro.Schema) -> LoadStream:
    known = {SCHEMA_ID: avro.wire_schema(contract)}
    known |= {int(name[1:]): schema for name, schema in schemas.items()}
    return LoadStream(contract, known.get)


def keys(
    contract: Contract = CONTRACT, *partitions: Partition
) -> dict[Partition, PartitionKeys | None]:
    window = round(contract.dedupe_window.total_seconds() * 1_000_000)
    return {p: PartitionKeys(p, MemoryStore(), 0, window) for p in partitions or (P0, P1, P2)}


def order(number: int | str, **more: Any) -> dict[str, Any]:
    return {"order_id": f"o{number}", "amount": 1.0} | more


def orders(*values: dict[str, Any]) -> list[bytes]:
    return encoded(CONTRACT, values)
