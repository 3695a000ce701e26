"""What somebody may write so that reading it raises, takes for ever or ends the process."""

import datetime as dt
import time
from decimal import Decimal
from typing import Annotated, Any

import orjson
import pytest
from pydantic import BaseModel, Field, JsonValue

from consumers.reading.align import UNFIT
from consumers.reading.decode import Decoded, Decoder
from consumers.reading.stream import LoadStream
from producers.encode import StreamEncoder
from schemas import avro
from schemas.contract import Contract
from schemas.dead_letters import DeadLetterWriter
from schemas.errors import RejectReason
from schemas.events import Partition
from tests.support.contracts import incoming
from tests.support.runs import run_of
from tests.support.strangers import message

SECONDS_MAX = 5.0  # of a message that is read in milliseconds


class Event(BaseModel):
    name: str | None = None
    free: JsonValue = None
    price: Annotated[Decimal, Field(max_digits=38, decimal_places=9)] | None = None
    at: dt.datetime | None = None


CONTRACT = Contract(stream="shop.orders", model=Event)


def record(*fields: tuple[str, Any], named: str = "theirs") -> dict[str, Any]:
    parts = [{"name": name, "type": kind} for name, kind in fields]
    return {"type": "record", "name": named, "fields": parts}


NODE = {"type": "record", "name": "n", "fields": [{"name": "next", "type": ["null", "n"]}]}
ENDLESS = {"type": "record", "name": "n", "fields": [{"name": "next", "type": "n"}]}
WIDE = {"type": "bytes", "logicalType": "decimal", "precision": 10_000, "scale": 0}


def levels(count: int) -> bytes:
    """A NODE with so many below it."""
    return b"\x02" * count + b"\x00"


def nested(count: int) -> str:
    return "[" * count + "]" * count


def read(schema: avro.Schema, *bodies: bytes) -> Decoded:
    values = [avro.wire_header(8) + body for body in bodies]
    return Decoder(CONTRACT, {8: schema}.get).decode(values)


def written(schema: avro.Schema, **value: Any) -> bytes:
    return message(schema, 8, value)[avro.HEADER.size :]


def plainly(schema: avro.Schema) -> avro.Schema:
    """The same bytes, as somebody writes them who does not care what they mean."""
    return record(*((f["name"], "bytes") for f in schema["fields"]))


FREE = record(("name", "string"), ("free", "string"))
PAYLOAD = record(("payload", "string"))
NUMBER = record(("payload", "long"))
PRICE = record(("price", WIDE))
MORE = record(("more", WIDE))
LISTS = record(("free", orjson.loads('{"type":"array","items":' * 300 + '"int"' + "}" * 300)))
TREE, TREE_IN_FREE = record(("more", NODE)), record(("free", NODE))

UNREADABLE: list[tuple[str, avro.Schema, bytes, bytes]] = [  # what, schema, poison, a neighbour
    ("payload no JSON", PAYLOAD, written(PAYLOAD, payload="hello"), written(PAYLOAD, payload="{}")),
    ("payload a number", NUMBER, written(NUMBER, payload=5), written(NUMBER, payload=5)),
    ("unknown and deep", TREE, levels(300), levels(3)),
    ("unknown and deeper", TREE, levels(900), levels(3)),
    ("deeper than the stack", TREE, levels(200_000), levels(3)),
    ("free and deeper than the stack", TREE_IN_FREE, levels(200_000), levels(3)),
    ("without an end", record(("more", ENDLESS)), b"", b""),
    (
        "digits of a megabyte",
        MORE,
        written(plainly(MORE), more=b"\x7f" * 1_000_000),
        written(plainly(MORE), more=b"\x7f"),
    ),
    (
        "a float cut off",
        record(("more", NODE), ("x", "float")),
        levels(1) + b"\x00",
        levels(1) + b"\x00" * 4,
    ),
]

UNFITTING: list[tuple[str, str, avro.Schema, bytes, bytes]] = [
    (
        "a text that nests",
        "free",
        FREE,
        written(FREE, name="a", free=nested(300)),
        written(FREE, name="a", free=nested(200)),
    ),
    ("lists that nest", "free", LISTS, b"\x02" * 299 + b"\x00" * 300, b"\x00"),
    (
        "digits beyond the context",
        "price",
        PRICE,
        written(plainly(PRICE), price=b"\x7f" * 4_152),
        written(plainly(PRICE), price=b"\x7f"),
    ),
]


@pytest.mark.parametrize(
    ("schema", "poison", "fine"),
    [row[1:] for row in UNREADABLE],
    ids=[row[0] for row in UNREADABLE],
)
def test_poison_is_unreadable_and_its_neighbours_survive(
    schema: avro.Schema, poison: bytes, fine: bytes
) -> None:
    began = time.monotonic()
    found = read(schema, fine, poison, fine, fine, fine, fine)
    assert time.monotonic() - began < SECONDS_MAX
    bad = [1] if fine != poison else list(range(6))
    assert [u.row for u in found.unreadable] == bad
    assert found.rows is not None
    assert found.rows.tolist() == [row for row in range(6) if row not in bad]
    assert {u.violation.reason for u in found.unreadable} == {RejectReason.UNDECODABLE}
    assert max(len(u.violation.detail) for u in found.unreadable) <= 200
    assert found.frame[UNFIT].null_count() == found.frame.height


@pytest.mark.parametrize(
    ("field", "schema", "poison", "fine"),
    [row[1:] for row in UNFITTING],
    ids=[row[0] for row in UNFITTING],
)
def test_poison_does_not_fit_its_field_and_its_neighbours_do(
    field: str, schema: avro.Schema, poison: bytes, fine: bytes
) -> None:
    found = read(schema, fine, poison, fine, fine, fine, fine)
    assert found.unreadable == []
    assert found.frame[UNFIT].to_list() == [None, field, None, None, None, None]
    assert found.frame[field].null_count() == 1


def test_an_array_of_nothing_is_refused_by_its_schema() -> None:
    """Nine bytes could say that it has a billion of billions items."""
    nothing = {"type": "record", "name": "nothing", "fields": []}
    fixed = {"type": "fixed", "name": "none", "size": 0}
    items = (
        "null",
        nothing,
        fixed,
        record(("a", "null"), ("b", nothing), named="pair"),
        {"type": "null"},
    )
    for item in items:
        array = {"type": "array", "items": item}
        for kind in (array, ["null", array], {"type": "map", "values": array}):
            found = read(record(("name", "string"), ("more", kind)), b"\x02a\xfe\xff\xff\xff\x0f")
            assert "items that take no bytes" in found.unreadable[0].violation.detail


def test_an_array_of_something_small_is_not() -> None:
    small = {"type": "fixed", "name": "one", "size": 1}
    pair = record(("a", "null"), ("b", small), named="pair")
    for item in (["null", "null"][:1], small, pair, "boolean", {"type": "map", "values": "null"}):
        found = read(record(("more", {"type": "array", "items": item})), b"\x00")
        assert found.unreadable == []


@pytest.mark.parametrize(
    "schema",
    [
        record(("a", "long")) | {"items": 5},
        record(("a", {"type": "bytes", "logicalType": ["decimal"]})),
        record(("a", orjson.loads('{"type":"array","items":' * 1_000 + '"int"' + "}" * 1_000))),
    ],
    ids=["items of a record", "a logical type that is a list", "deep"],
)
def test_a_schema_that_nobody_understands_makes_its_messages_unreadable(
    schema: avro.Schema,
) -> None:
    found = read(schema, b"\x00")
    assert [u.violation.reason for u in found.unreadable] == [RejectReason.UNDECODABLE]
    assert "schema 8 cannot be read" in found.unreadable[0].violation.detail


def test_a_decimal_keeps_all_digits_that_are_read() -> None:
    digits = 10**9_998 - 7
    raw = digits.to_bytes(4_152, "big", signed=True)
    found = read(MORE, written(plainly(MORE), more=raw))
    assert orjson.loads(found.frame[avro.EXTRA][0]) == {"more": f"{Decimal(digits):f}"}


class Stock(BaseModel):
    counts: dict[str, list[Annotated[int, Field(ge=0)]]]


def test_keys_as_long_as_a_message_leave_room_in_its_dead_letter() -> None:
    contract = Contract(stream="shop.stock", model=Stock)
    stream = LoadStream(contract, {7: avro.wire_schema(contract)}.get)
    keys = ["k" * 450_000 + end for end in "ab"]
    value = {"counts": {key: [-1] * 10 for key in keys}}
    (event,) = StreamEncoder(contract, 7).encode([incoming(value)]).records
    here = Partition("shop.stock", 0)
    judged = stream.judge([run_of(here, [event.value])], {here: None})
    (rejection,) = judged.rejections
    assert len({v.path for v in rejection.violations}) == 20
    (letter,) = DeadLetterWriter(3).records([rejection])
    assert len(letter.value) < len(event.value) + 20_000
