"""A run of messages: what is readable, in order, and what is not, by name."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import orjson
import polars as pl
import pytest
from hypothesis import example, given, settings
from polars.testing import assert_frame_equal
from pydantic import BaseModel

from consumers.reading import decode as module
from consumers.reading.align import UNFIT
from consumers.reading.decode import Decoded, Decoder
from producers.encode import StreamEncoder
from schemas import avro
from schemas.columns import SENTINEL
from schemas.contract import Contract
from schemas.errors import RejectReason, TransientError
from schemas.types import Scalar
from tests.support.contracts import DRAWS, Random, contract_of, incoming, page_of, shape_of
from tests.support.strangers import fitting_record, message

ID = 7


class Order(BaseModel):
    order_id: str
    amount: float
    lines: list[int] = []
    note: str | None = None


CONTRACT = Contract(stream="shop.orders", model=Order)
SCHEMA = avro.wire_schema(CONTRACT)


def orders(count: int) -> list[bytes]:
    values = [
        {"order_id": f"o{n}", "amount": n / 4, "lines": list(range(n % 5)), "note": "n" * (n % 90)}
        for n in range(count)
    ]
    encoded = StreamEncoder(CONTRACT, ID).encode([incoming(value) for value in values])
    return [record.value for record in encoded.records]


def decoder(contract: Contract = CONTRACT, **schemas: avro.Schema) -> Decoder:
    """One that knows the contract's own schema, and others as ``s8=...``."""
    known = {ID: avro.wire_schema(contract)} | {int(n[1:]): s for n, s in schemas.items()}
    return Decoder(contract, known.get)


def ids(decoded: Decoded) -> list[str]:
    return decoded.frame["order_id"].to_list()


def test_a_run_of_one_schema_is_read_in_one_call() -> None:
    found = decoder().decode(orders(100))
    assert ids(found) == [f"o{n}" for n in range(100)]
    assert found.rows is None
    assert found.unreadable == []


def test_nothing_is_nothing() -> None:
    found = decoder().decode([])
    assert found.frame.height == 0
    assert found.frame.schema == decoder().decode(orders(1)).frame.schema


def reasons(found: Decoded) -> list[tuple[int, RejectReason]]:
    return [(u.row, u.violation.reason) for u in found.unreadable]


def test_what_cannot_be_read_is_named_and_its_neighbours_survive() -> None:
    good = orders(6)
    values = [
        None,
        good[1],
        b"",
        b"\x01" + good[3][1:],
        b"\x00\x00",
        good[5],
        good[0][:-3],
        good[0] + b"\x00",
        avro.wire_header(99) + good[0][5:],
    ]
    found = decoder().decode(values)
    assert ids(found) == ["o1", "o5"]
    assert found.rows is not None
    assert found.rows.tolist() == [1, 5]
    assert reasons(found) == [
        (0, RejectReason.NULL_VALUE),
        (2, RejectReason.BAD_FRAME),
        (3, RejectReason.BAD_FRAME),
        (4, RejectReason.BAD_FRAME),
        (6, RejectReason.UNDECODABLE),
        (7, RejectReason.UNDECODABLE),
        (8, RejectReason.UNKNOWN_SCHEMA),
    ]
    details = {u.row: u.violation.detail for u in found.unreadable}
    assert "begins with nothing" in details[2]
    assert "left over" in details[7]
    assert "schema id 99" in details[8]
    assert {u.row: u.schema_id for u in found.unreadable}[6] == ID


@pytest.mark.parametrize("length", [500, 8_191])
def test_a_length_beyond_the_message_is_an_error_and_nothing_is_printed(
    length: int, capfd: pytest.CaptureFixture[str]
) -> None:
    good, branch = orders(3), b"\x02"  # of the union that a nullable text is
    damaged = avro.wire_header(ID) + branch + avro.varint(length) + b"x"
    found = decoder().decode([good[0], damaged, good[2]])
    assert ids(found) == ["o0", "o2"]
    assert reasons(found) == [(1, RejectReason.UNDECODABLE)]
    assert capfd.readouterr().err == ""


def test_a_native_reader_that_panics_is_survived() -> None:
    long = avro.wire_header(ID) + b"\x02" + avro.varint(10_000_000) + b"x"
    found = decoder().decode([*orders(2), long])
    assert ids(found) == ["o0", "o1"]
    assert reasons(found) == [(2, RejectReason.UNDECODABLE)]


def test_only_nulls_give_no_rows() -> None:
    found = decoder().decode([None, None])
    assert found.frame.height == 0
    assert len(found.unreadable) == 2


def test_runs_of_several_schemas_keep_their_order() -> None:
    old = {
        "type": "record",
        "name": "old",
        "fields": [{"name": "order_id", "type": "string"}, {"name": "amount", "type": "int"}],
    }
    theirs = [message(old, 8, {"order_id": f"t{n}", "amount": n}) for n in range(3)]
    ours = orders(3)
    mixed = [ours[0], theirs[0], theirs[1], ours[1], ours[2], theirs[2]]
    found = decoder(s8=old).decode(mixed)
    assert ids(found) == ["o0", "t0", "t1", "o1", "o2", "t2"]
    assert found.frame["amount"].to_list() == [0.0, 0.0, 1.0, 0.25, 0.5, 2.0]
    assert found.rows is not None
    assert found.rows.tolist() == list(range(6))
    assert found.frame[avro.ID].null_count() == 3


BAD_SCHEMAS: list[tuple[str, dict[str, Any]]] = [
    ("no record", {"type": "string"}),
    ("cannot be read", {"type": "record", "name": "r", "fields": [{"name": "a", "type": "Other"}]}),
    ("cannot be read", {"type": "record", "name": "r"}),
    ("cannot be read", {"type": "record", "name": "r", "fields": [{"name": "a", "type": 5}]}),
    ("cannot be read", {"type": "record", "name": "r", "fields": [{"name": "a", "type": {}}]}),
    ("no record", {}),
]


@pytest.mark.parametrize(("text", "schema"), BAD_SCHEMAS, ids=range(len(BAD_SCHEMAS)))
def test_a_schema_that_is_no_record_makes_its_messages_unreadable(
    text: str, schema: dict[str, Any]
) -> None:
    asked: list[int] = []

    def lookup(schema_id: int) -> avro.Schema | None:
        asked.append(schema_id)
        return schema

    reader = Decoder(CONTRACT, lookup)
    for _ in range(2):
        found = reader.decode([avro.wire_header(8) + b"x"])
        assert reasons(found) == [(0, RejectReason.UNDECODABLE)]
        assert text in found.unreadable[0].violation.detail


def test_a_registry_that_is_away_is_no_matter_of_the_data() -> None:
    def away(schema_id: int) -> avro.Schema | None:
        raise TransientError(f"no registry for {schema_id}")

    with pytest.raises(TransientError, match="no registry for 7"):
        Decoder(CONTRACT, away).decode(orders(2))


def test_an_unknown_id_is_asked_for_again_since_it_may_be_registered_later() -> None:
    known: dict[int, avro.Schema] = {}
    reader = Decoder(CONTRACT, known.get)
    assert reasons(reader.decode(orders(1))) == [(0, RejectReason.UNKNOWN_SCHEMA)]
    known[ID] = SCHEMA
    assert ids(reader.decode(orders(1))) == ["o0"]


def by_record(reader: Decoder, values: Sequence[bytes | None]) -> Decoded:
    """The same through fastavro."""
    patch = pytest.MonkeyPatch()
    with patch.context() as patched:
        patched.setattr(module._Writer, "columnar", property(lambda _: False))
        return reader.decode(values)


def same_frames(one: pl.DataFrame, other: pl.DataFrame, free: Sequence[str]) -> None:
    """Equal, JSON by what it says."""
    assert one.schema == other.schema
    rest = [name for name in one.columns if name not in free]
    assert_frame_equal(one.select(rest), other.select(rest))
    for name in free:
        assert parsed(one[name]) == parsed(other[name])


def parsed(texts: pl.Series) -> list[Any]:
    return [None if text is None else orjson.loads(text) for text in texts.to_list()]


def free_form(contract: Contract) -> list[str]:
    return [avro.EXTRA, *(f.name for f in contract.fields if f.type is Scalar.JSON)]


@settings(deadline=None)
@given(DRAWS)
def test_our_own_messages_are_read_alike_on_both_paths(rng: Random) -> None:
    shape = shape_of(rng)
    contract = contract_of(rng, shape)
    encoder = StreamEncoder(contract, ID, columnar_min=8)
    values = [r.value for r in encoder.encode(page_of(rng, shape)).records]
    reader = decoder(contract)
    columns, records = reader.decode(values), by_record(decoder(contract), values)
    assert columns.unreadable == records.unreadable == []
    assert columns.frame[UNFIT].null_count() == len(values)
    same_frames(columns.frame, records.frame, free_form(contract))
    writer = reader._writers.get(values[0][:5]) if values else None
    assert writer is None or writer.columnar  # type: ignore[union-attr] # our own schema is fine


SYSTEM = {avro.ID: "x", avro.SOURCE: "s", avro.RECEIVED_AT: 5}


@settings(deadline=None)
@given(DRAWS)
@example(Random(9008967))  # NaN in a list
def test_messages_of_strangers_are_read_alike_on_both_paths(rng: Random) -> None:
    contract = contract_of(rng, shape_of(rng))
    more = rng.sample(["u1", "u2", "_id", "_extra", "__op"], rng.randint(0, 2))
    schema, draw = fitting_record(rng, contract.fields, [] if rng.random() < 0.3 else more)
    values = [draw(rng) for _ in range(8)]
    if rng.random() < 0.2:  # an older contract of ours, with what it did not know
        system = avro.wire_schema(contract)["fields"][len(contract.fields) :]
        own = [f for f in system if f["name"] not in {g["name"] for g in schema["fields"]}]
        schema["fields"] += own
        values = [
            SYSTEM | {avro.EXTRA: rng.choice([None, '{"a":1}', "[1]"])} | value for value in values
        ]
    messages = [message(schema, 8, value) for value in values]
    columns = decoder(contract, s8=schema).decode(messages)
    records = by_record(decoder(contract, s8=schema), messages)
    assert columns.unreadable == records.unreadable == []
    same_frames(columns.frame, records.frame, free_form(contract))


Damage = Callable[[Random, bytes], bytes]


def flip(rng: Random, value: bytes) -> bytes:
    place = rng.randrange(len(value))
    return value[:place] + bytes([value[place] ^ 1 << rng.randrange(8)]) + value[place + 1 :]


def cut(rng: Random, value: bytes) -> bytes:
    return value[: rng.randrange(len(value))]


def insert(rng: Random, value: bytes) -> bytes:
    place = rng.randrange(len(value) + 1)
    return value[:place] + rng.randbytes(rng.randint(1, 9)) + value[place:]


def double(_: Random, value: bytes) -> bytes:
    return value + value


def swallow(rng: Random, value: bytes) -> bytes:
    """An absurd length where a length may be."""
    place = rng.randrange(5, len(value))
    return value[:place] + b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f" + value[place:]


@settings(deadline=None)
@given(DRAWS)
def test_damage_hurts_the_damaged_messages_only(rng: Random) -> None:
    shape = shape_of(rng)
    contract = contract_of(rng, shape)
    good = [
        r.value
        for r in StreamEncoder(contract, ID, columnar_min=8).encode(page_of(rng, shape)).records
    ]
    whole = decoder(contract).decode(good).frame
    values: list[bytes | None] = list(good)
    damaged = set()
    for _ in range(rng.randint(1, 3)):
        row = rng.randrange(len(good))
        kind: Damage = rng.choice((flip, flip, cut, insert, double, swallow))
        values[row] = kind(rng, good[row])
        damaged.add(row)
    found = decoder(contract).decode(values)
    rows = np.arange(len(values)) if found.rows is None else found.rows
    lost = [u.row for u in found.unreadable]
    assert sorted([*rows.tolist(), *lost]) == list(range(len(values)))
    assert rows.tolist() == sorted(rows.tolist())
    assert set(lost) <= damaged
    survived = [place for place, row in enumerate(rows.tolist()) if row not in damaged]
    expected = [row for row in range(len(values)) if row not in damaged]
    assert_frame_equal(found.frame[survived], whole[expected])


def test_a_message_of_two_records_does_not_hide_a_cut_one() -> None:
    """Together they hold as many records as messages: only the seams tell."""
    good = orders(4)
    for seam in (b"", b"\xde\xad\xbe\xef", b"\x00" * 8):
        found = decoder().decode([good[0] + seam + good[1], good[2], good[3][:-1]])
        assert ids(found) == ["o2"]
        assert [u.row for u in found.unreadable] == [0, 2]


def test_what_parts_the_messages_cannot_be_guessed() -> None:
    script = "from schemas.columns import SENTINEL; print(SENTINEL.hex())"
    run = [sys.executable, "-c", script]
    known = {
        subprocess.check_output(run, env={"PYTHONHASHSEED": seed}) for seed in ("1", "2", "random")
    }
    assert len(known) == 3
    assert len(SENTINEL) == 8


def test_polars_failing_at_our_own_columns_falls_back_to_records(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader = decoder()
    reader.decode(orders(1))
    writer = reader._writers[avro.wire_header(ID)]

    def fail(_: object, __: object) -> pl.DataFrame:
        raise pl.exceptions.ComputeError("no")

    monkeypatch.setattr(type(writer.alignment), "of", fail)  # type: ignore[union-attr] # one of ours
    assert ids(reader.decode(orders(9))) == [f"o{n}" for n in range(9)]
