"""A frame becomes messages and is the same frame again."""

import datetime as dt
import io
from decimal import Context, Decimal
from typing import Annotated, Any

import fastavro
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from pydantic import BaseModel, Field

from producers.columnar import Columns, UnfitError
from producers.encode import StreamEncoder
from schemas import avro
from schemas.columns import FrameReader, FrameWriter, MisfitError, dtype_of
from schemas.contract import Contract
from schemas.decimals import avro_bytes
from schemas.types import Array, FieldType, Map, Record, Scalar
from schemas.types import Decimal as Kind
from tests.support.contracts import (
    DRAWS,
    Random,
    contract_of,
    decimal_text,
    incoming,
    leaves,
    shape_of,
)

ID = 7
MARKER = b"0123456789abcdef"


def kinds_of(rng: Random) -> tuple[dict[str, FieldType], pl.DataFrame, avro.Schema] | None:
    """The fields of some contract, and a frame of its complete records."""
    shape = shape_of(rng)
    contract = contract_of(rng, shape)
    records = [shape.complete(rng) for _ in range(9)]
    fields = contract.fields
    try:
        columns = [
            Columns().column(f.type, [r[f.source] for r in records]).alias(f.name) for f in fields
        ]
    except UnfitError:
        return None  # a map, or what pydantic has to look at
    schema = avro.wire_schema(contract)
    return {f.name: f.type for f in fields}, pl.DataFrame(columns), schema


@settings(deadline=None)
@given(DRAWS)
def test_a_frame_comes_back_from_its_messages(rng: Random) -> None:
    made = kinds_of(rng)
    if made is None:
        return
    kinds, frame, schema = made
    schema = schema | {"fields": schema["fields"][: len(kinds)]}
    messages = FrameWriter(kinds, ID).write(frame, MARKER)
    assert messages is not None
    assert_frame_equal(FrameReader(schema, ID).read(messages), frame)
    for message in messages:
        stream = io.BytesIO(message)
        stream.seek(5)
        fastavro.schemaless_reader(stream, fastavro.parse_schema(schema), None)
        assert stream.read() == b""


def test_a_slice_is_written_as_the_frame_it_is() -> None:
    kinds: dict[str, FieldType] = {"n": Array(_INTEGER), "s": _STRING}
    frame = pl.DataFrame({"n": [[1], [], None, [2, None]], "s": ["a", None, "c", "d"]})
    whole = FrameWriter(kinds, ID).write(frame, MARKER)
    pieces = [FrameWriter(kinds, ID).write(frame[i : i + 1], MARKER) for i in range(4)]
    assert whole == [piece[0] for piece in pieces if piece]
    chunked = pl.concat([frame[:2], frame[2:]], rechunk=False)
    assert FrameWriter(kinds, ID).write(chunked, MARKER) == whole


_INTEGER, _STRING = Scalar.INTEGER, Scalar.STRING


def test_nothing_is_written_as_nothing() -> None:
    assert FrameWriter({"s": _STRING}, ID).write(pl.DataFrame({"s": []}), MARKER) == []


def test_data_that_holds_the_marker_is_refused() -> None:
    writer = FrameWriter({"s": Scalar.BYTES}, ID)
    inside = pl.DataFrame({"s": [b"\x02\x2a" + MARKER, b""]})
    assert writer.write(inside, MARKER) is None
    assert writer.write(inside, MARKER[::-1]) is not None
    assert writer.write(pl.DataFrame({"s": [b"x"]}), MARKER) is not None


def test_maps_are_not_written_natively() -> None:
    for kind in (Map(_STRING), Array(Map(_STRING))):
        assert not FrameWriter({"m": kind}, ID).native
    assert FrameWriter({"m": Array(_STRING)}, ID).native


def test_a_writer_takes_the_wire_schemas_order() -> None:
    frame = pl.DataFrame({"b": ["x"], "a": [1]})
    (message,) = FrameWriter({"a": _INTEGER, "b": _STRING}, ID).write(frame, MARKER) or []
    assert message == avro.wire_header(ID) + b"\x02\x02\x02\x02x"


EDGES = [
    0, 1, -1, 127, 128, -128, -129, 255, 256, 32767, 32768, 65535, 65536, -32768, -32769,
    2**31 - 1, 2**31, 2**32 - 1, 2**47, 2**63 - 1, 2**63, 2**64 - 1, -(2**63), -(2**63) - 1,
    10**37, -(10**37), 10**38 - 1, 1 - 10**38,
]  # fmt: skip


def two_s_complement(number: int) -> bytes:
    magnitude = number if number >= 0 else ~number
    return number.to_bytes(magnitude.bit_length() // 8 + 1, "big", signed=True)


@pytest.mark.parametrize("scale", [0, 2, 9], ids=str)
def test_a_decimal_is_written_as_the_shortest_twos_complement(scale: int) -> None:
    """Polars' own writer loses the sign bit of 327.68 to 655.35: found by these tests."""
    context = Context(prec=60)
    values = [Decimal(n).scaleb(-scale, context) for n in EDGES]
    series = pl.Series([*values, None], dtype=pl.Decimal(38, scale))
    assert avro_bytes(series).to_list() == [*map(two_s_complement, EDGES), None]
    short = [v for v, n in zip(values, EDGES, strict=True) if abs(n) < 10**18]
    assert avro_bytes(pl.Series(short, dtype=pl.Decimal(18, scale))).to_list() == [
        two_s_complement(n) for n in EDGES if abs(n) < 10**18
    ]
    assert avro_bytes(pl.Series([], dtype=pl.Decimal(38, scale))).to_list() == []


@settings(deadline=None)
@given(st.lists(st.integers(1 - 10**38, 10**38 - 1) | st.integers(-99_999, 99_999), min_size=1))
def test_any_decimal_comes_back(numbers: list[int]) -> None:
    frame = pl.DataFrame({"d": pl.Series(numbers, dtype=pl.Int128).cast(pl.Decimal(38, 0))})
    messages = FrameWriter({"d": Kind(38, 0)}, ID).write(frame, MARKER)
    node = {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 0}
    schema = {"type": "record", "name": "r", "fields": [{"name": "d", "type": ["null", node]}]}
    assert messages is not None
    assert FrameReader(schema, ID).read(messages)["d"].to_list() == [Decimal(n) for n in numbers]


class Tax(BaseModel):
    rate: Decimal = Field(max_digits=20, decimal_places=3)


class Line(BaseModel):
    price: Decimal = Field(max_digits=38, decimal_places=18)
    taxes: list[Tax] = []


class Basket(BaseModel):
    lines: list[Line] = []
    tips: list[Annotated[Decimal, Field(max_digits=9, decimal_places=2)]] = []


def test_decimals_within_lists_are_written_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a list, a page of a thousand took seconds."""
    calls: list[int] = []

    def counted(values: pl.Series) -> pl.Series:
        calls.append(len(values))
        return avro_bytes(values)

    monkeypatch.setattr("schemas.columns.avro_bytes", counted)
    encoder = StreamEncoder(Contract(stream="shop.baskets", model=Basket), ID, columnar_min=1)
    line = {"price": "1.5", "taxes": [{"rate": "0.19"}, {"rate": "0.07"}]}
    baskets = [{"lines": [line] * (n % 3), "tips": ["0.50"]} for n in range(300)]
    encoded = encoder.encode([incoming(basket) for basket in baskets])
    assert len(encoded.records) == 300
    assert sorted(calls) == [300, 300, 600]


def record(**types: Any) -> avro.Schema:
    fields = [{"name": name, "type": kind} for name, kind in types.items()]
    return {"type": "record", "name": "r", "fields": fields}


ENUM = {"type": "enum", "name": "e", "symbols": ["a", "b"]}


@pytest.mark.parametrize(
    "kind",
    [
        "null",
        ["long"],
        ["null", "long", "string"],
        ["null", "null"],
        {"type": "array", "items": ["long", "string"]},
        {"type": "bytes", "logicalType": "decimal", "precision": 39, "scale": 2},
        {"type": "fixed", "name": "f", "size": 17, "logicalType": "decimal", "precision": 9},
        "Other",
    ],
    ids=str,
)
def test_what_polars_cannot_read_is_said_beforehand(kind: Any) -> None:
    assert not FrameReader(record(x=kind), ID).native


@pytest.mark.parametrize(
    "kind",
    [
        "long",
        ["long", "null"],
        {"type": "long", "logicalType": "timestamp-nanos"},
        {"type": "fixed", "name": "f", "size": 12, "logicalType": "duration"},
        {"type": "string", "logicalType": "decimal"},
        {"type": "bytes", "logicalType": "decimal", "precision": 2, "scale": 5},
        {"type": "bytes", "logicalType": "decimal", "precision": "x"},
        {"type": {"type": "map", "values": {"type": ENUM}}},
        {"type": "error", "name": "oops", "fields": []},
    ],
    ids=str,
)
def test_unknown_logical_types_mean_nothing(kind: Any) -> None:
    assert FrameReader(record(x=kind), ID).native


@pytest.mark.parametrize(
    ("kind", "index", "what"),
    [
        (ENUM, b"\x04", "enumeration"),
        (ENUM, b"\x01", "enumeration"),
        (["null", ENUM], b"\x02\x06", "enumeration"),
        ({"type": "array", "items": ENUM}, b"\x02\x08\x00", "enumeration"),
        ({"type": "map", "values": ENUM}, b"\x02\x02k\x08\x00", "enumeration"),
        (record(x=ENUM) | {"name": "q"}, b"\x08", "enumeration"),
        ("long", b"", "end"),
        ("string", b"\x02\xff", "utf"),
    ],
    ids=str,
)
def test_bytes_that_are_no_such_record_are_a_misfit(kind: Any, index: bytes, what: str) -> None:
    reader = FrameReader(record(x=kind, y="long"), ID)
    with pytest.raises(MisfitError, match=what):
        reader.read([reader.header + index + b"\x02"])


def test_another_schemas_header_is_a_misfit() -> None:
    reader = FrameReader(record(x="long"), ID)
    with pytest.raises(MisfitError, match="another schema"):
        reader.read([avro.wire_header(8) + b"\x02"])
    with pytest.raises(MisfitError, match="do not end where"):
        reader.read([reader.header + b"\x02", avro.wire_header(8) + b"\x02"])


@pytest.mark.parametrize("schema", [{}, record(x=5), record(x={}), {"type": "record"}], ids=str)
def test_what_is_no_schema_is_a_value_error(schema: avro.Schema) -> None:
    with pytest.raises(ValueError, match="no Avro schema"):
        FrameReader(schema, ID)


def test_times_of_both_units_are_times() -> None:
    millis = {"type": "int", "logicalType": "time-millis"}
    micros = {"type": "long", "logicalType": "time-micros"}
    reader = FrameReader(record(a=millis, b=["null", micros]), ID)
    frame = reader.read([reader.header + avro.varint(1_001) + b"\x02" + avro.varint(1_000_001)])
    assert frame.rows() == [(dt.time(0, 0, 1, 1_000), dt.time(0, 0, 1, 1))]


def test_nested_records_with_fields_of_the_same_names_are_kept_apart() -> None:
    inner = record(e=ENUM, n="long") | {"name": "inner"}
    reader = FrameReader(record(e=ENUM | {"name": "e2", "symbols": ["x", "y"]}, n=inner), ID)
    frame = reader.read([reader.header + b"\x02\x00\x0a"])
    assert frame.to_dicts() == [{"e": "y", "n": {"e": "a", "n": 5}}]


def test_every_type_has_a_column() -> None:
    kind = Record("r", ())
    assert dtype_of(kind) == pl.Struct({})
    assert decimal_text(Random(1), 3, 1)
    assert list(leaves({"a": [1, {"b": 2}]})) == [1, 2]
    assert Contract is not None
