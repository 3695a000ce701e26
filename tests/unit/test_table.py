"""A contract as a table; values of all types from JSON to the warehouse and back."""

import datetime as dt
import io
import math
import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated, Any, Literal

import numpy as np
import orjson
import polars as pl
import pytest
from hypothesis import given, settings
from pydantic import BaseModel, Field, JsonValue, create_model

from consumers.loading.batching import Batch, Span
from consumers.loading.load_plan import plan_load
from consumers.reading.decode import Decoder
from consumers.reading.stream import LoadStream
from producers.encode import StreamEncoder
from schemas import avro, exact_json, file_columns, table
from schemas.contract import Contract, raw_contract
from schemas.events import Partition, Run
from schemas.types import Array, Map, Record
from services.setup.table_columns import columns_there, misfits
from tests.support.contracts import DRAWS, Random, contract_of, incoming, page_of, shape_of
from tests.support.real_snowflake import ACCOUNT, EMBEDDED, AnyPlace, opened

HOME = Partition("shop.orders", 0)
ID = 7


class Order(BaseModel):
    order_id: str = Field(description="Its number, it's unique.")
    order: int
    lines: list[str] = []


CONTRACT = Contract(stream="shop.orders", model=Order, load_raw=True)


def test_the_table_has_the_contracts_columns_and_ours() -> None:
    assert [(c.name, c.type, c.in_file) for c in table.columns_of(CONTRACT)] == [
        ("order_id", "VARCHAR", True),
        ("order", "NUMBER(38,0)", True),
        ("lines", "VARIANT", True),
        ("_id", "VARCHAR", True),
        ("_source", "VARCHAR", True),
        ("_received_at", "TIMESTAMP_NTZ(6)", True),
        ("_extra", "VARIANT", True),
        ("_raw", "VARCHAR", True),
        ("_topic", "VARCHAR", False),
        ("_partition", "NUMBER(38,0)", True),
        ("_offset", "NUMBER(38,0)", True),
        ("_batch", "VARCHAR", False),
        ("_loaded_at", "TIMESTAMP_NTZ(6)", False),
    ]


def test_the_raw_record_is_loaded_only_if_told() -> None:
    kept = CONTRACT.model_copy(update={"load_raw": False})
    assert "_raw" not in {c.name for c in table.columns_of(kept)}
    assert "_raw" in avro.system_fields(kept)


def test_the_ddl_quotes_reserved_names_and_comments() -> None:
    ddl = table.create_table(CONTRACT)
    assert ddl.startswith("CREATE TABLE IF NOT EXISTS SHOP_ORDERS (\n  ORDER_ID VARCHAR COMMENT")
    assert "COMMENT 'Its number, it''s unique.'" in ddl
    assert '"ORDER" NUMBER(38,0)' in ddl


def test_new_columns_are_added_and_none_is_dropped() -> None:
    present = {c.name.upper() for c in table.columns_of(CONTRACT)} - {"ORDER", "LINES"} | {"OLD"}
    assert table.add_columns(CONTRACT, present) == [
        'ALTER TABLE SHOP_ORDERS ADD COLUMN "ORDER" NUMBER(38,0)',
        "ALTER TABLE SHOP_ORDERS ADD COLUMN LINES VARIANT",
    ]
    assert table.add_columns(CONTRACT, {c.name for c in table.columns_of(CONTRACT)}) == []


class Line(BaseModel):
    sku: str
    at: dt.datetime | None = None


Money = Annotated[Decimal, Field(max_digits=38, decimal_places=9)]
FIXED = Annotated[Decimal, Field(max_digits=6, decimal_places=2)]
STAMPS = {
    "1970-01-01T00:00:00Z": dt.datetime(1970, 1, 1),  # noqa: DTZ001 - columns are naive UTC
    "1969-12-31T23:59:59.999999Z": dt.datetime(1969, 12, 31, 23, 59, 59, 999999),  # noqa: DTZ001
    "2024-02-29T12:00:00+05:30": dt.datetime(2024, 2, 29, 6, 30),  # noqa: DTZ001
    "2024-01-01T00:00:00.000001-11:00": dt.datetime(2024, 1, 1, 11, 0, 0, 1),  # noqa: DTZ001
    "0001-01-01T00:00:00Z": dt.datetime(1, 1, 1),  # noqa: DTZ001
    "9999-12-31T23:59:59.999999Z": dt.datetime(9999, 12, 31, 23, 59, 59, 999999),  # noqa: DTZ001
    "2024-01-01": dt.datetime(2024, 1, 1),  # noqa: DTZ001
}
DATES = ["1970-01-01", "1969-12-31", "1970-01-02", "2024-02-29", "0001-01-01", "9999-12-31"]
TIMES = ["00:00:00", "23:59:59.999999", "12:00:00.000001", "12:30:00"]
LONG_DECIMALS = ["99999999999999999999999999999.999999999", "-0.000000001", "655.35", "0", "-1e5"]
TEXTS = ["", " ", "é𝄞", 'it\'s \\ "q"\n\t', "null", "x" * 100_000, "\0"]

EDGES: dict[str, tuple[Any, list[Any], list[Any]]] = {
    # name: annotation, values in JSON, values of the column
    "boolean": (bool, [True, False, None], [True, False, None]),
    "integer": (
        int,
        [0, -1, 2**63 - 1, -(2**63), 2**53 + 1],
        [0, -1, 2**63 - 1, -(2**63), 2**53 + 1],
    ),
    "float": (
        float,
        [0.1, -0.0, 5e-324, 1.7976931348623157e308, "NaN", "inf", "-inf", 2**53, None],
        [0.1, -0.0, 5e-324, 1.7976931348623157e308, math.nan, math.inf, -math.inf, 2.0**53, None],
    ),
    "decimal38": (Money, [*LONG_DECIMALS, None], [Decimal(t) for t in LONG_DECIMALS] + [None]),
    "decimal6": (
        FIXED,
        ["327.67", "327.68", "655.35", "-655.36", "9999.99", 0.1, 5],
        [Decimal(t) for t in ("327.67", "327.68", "655.35", "-655.36", "9999.99", "0.1", "5")],
    ),
    "string": (str, TEXTS, TEXTS),
    "bytes": (bytes, ["", "é", "\0\x01"], [b"", "é".encode(), b"\0\x01"]),
    "date": (dt.date, DATES, [dt.date.fromisoformat(d) for d in DATES]),
    "time": (dt.time, TIMES, [dt.time.fromisoformat(t) for t in TIMES]),
    "timestamp": (dt.datetime, [*STAMPS], [*STAMPS.values()]),
    "uuid": (
        uuid.UUID,
        ["12345678-1234-5678-1234-56781234ABCD"],
        ["12345678-1234-5678-1234-56781234abcd"],
    ),
    "enum": (Literal["a", "b"], ["a", "b", None], ["a", "b", None]),
    "free": (
        JsonValue,
        [{"a": [1, None, {"b": ""}]}, [], {}, "", "null", 0, False, 1.5, 2**63, None],
        [{"a": [1, None, {"b": ""}]}, [], {}, "", "null", 0, False, 1.5, 2**63, None],
    ),
    "list": (
        list[FIXED | None],
        [["655.35", None], [], None],
        [["655.35", None], [], None],
    ),
    "map": (dict[str, bytes], [{"a": "\0"}, {}, None], [{"a": "00"}, {}, None]),
    "record": (
        Line,
        [{"sku": "é", "at": "2024-01-01T00:00:00+01:00"}, {"sku": "x"}, None],
        [{"sku": "é", "at": "2023-12-31T23:00:00Z"}, {"sku": "x", "at": None}, None],
    ),
    "records": (
        list[Line],
        [[{"sku": "a", "at": None}, {"sku": "b"}], []],
        [[{"sku": "a", "at": None}, {"sku": "b", "at": None}], []],
    ),
}
FREE = {"free", "list", "map", "record", "records"}


def loading(contract: Contract, values: list[dict[str, Any]]) -> tuple[LoadStream, Run]:
    """The contract's loader, and a run of these records' events."""
    encoded = StreamEncoder(contract, ID, columnar_min=8).encode(
        [incoming(value) for value in values]
    )
    assert encoded.rejections == ()
    messages = [record.value for record in encoded.records]
    count = len(messages)
    run = Run(HOME, np.arange(count), np.zeros(count, dtype=np.int64), messages, [])
    return LoadStream(contract, {ID: avro.wire_schema(contract)}.get), run


def file_of(annotation: Any, values: list[Any], repeats: int = 1) -> pl.DataFrame:
    """The values as the file's column."""
    model = create_model("Event", x=(annotation | None, None))
    contract = Contract(stream="shop.orders", model=model, keep_raw=False)
    stream, run = loading(contract, [{"x": value} for value in values] * repeats)
    judged = stream.judge([run], {HOME: None})
    assert judged.rejections == []
    return judged.rows


def told(values: list[Any], name: str) -> list[Any]:
    """As a text that tells NaN and -0.0; free form by what its JSON says."""
    if name in FREE:
        return [None if v is None else orjson.loads(v) for v in values]
    return [repr(value) for value in values]


def wanted(values: list[Any], name: str) -> list[Any]:
    if name in FREE:
        return values
    places = {"decimal38": Decimal("1e-9"), "decimal6": Decimal("0.01")}.get(name)
    if places is not None:
        exact = pl.Series(values, dtype=pl.Decimal(38, -places.as_tuple().exponent))
        return [repr(v) for v in exact.to_list()]
    return [repr(v) for v in values]


@pytest.mark.parametrize("repeats", [1, 3], ids=["singly", "together"])
@pytest.mark.parametrize("name", EDGES)
def test_edge_values_reach_the_file_as_they_came(name: str, repeats: int) -> None:
    """Through the row encoder, or where there are enough of them through the columnar one."""
    annotation, values, expected = EDGES[name]
    rows = file_of(annotation, values, repeats)
    found = rows["x"].to_list()
    if name == "time":
        found = [None if t is None else dt.time.fromisoformat(t) for t in found]
    assert told(found, name) == wanted(expected, name) * repeats


@settings(deadline=None)
@given(DRAWS)
def test_the_file_of_any_contract_is_one_that_parquet_holds(rng: Random) -> None:
    shape = shape_of(rng)
    contract = contract_of(rng, shape)
    records = StreamEncoder(contract, ID, columnar_min=8).encode(page_of(rng, shape)).records
    if not records:
        return
    values = [record.value for record in records]
    run = Run(
        HOME,
        np.arange(len(values)),
        np.zeros(len(values), dtype=np.int64),
        values,
        [Known()] * len(values),
    )
    stream = LoadStream(contract, {ID: avro.wire_schema(contract)}.get)
    rows = stream.judge([run], {HOME: None}).rows
    assert rows.columns == [c.name for c in table.columns_of(contract) if c.in_file]
    out = io.BytesIO()
    rows.write_parquet(out)
    out.seek(0)
    assert pl.read_parquet(out).equals(rows, null_equal=True)
    frame = Decoder(contract, {ID: avro.wire_schema(contract)}.get).decode(values).frame
    for field in contract.fields:
        if not isinstance(field.type, Array | Map | Record):
            continue
        loaded = frame[field.name].gather(rows["_offset"]).to_list()
        for text, value in zip(rows[field.name], loaded, strict=True):
            said = exact_json.loads(exact_json.dumps(file_columns.jsonable(field.type, value)))
            assert (None if text is None else exact_json.loads(text)) == said


class Known:
    """A message without key and headers."""

    def key(self) -> None:
        return None

    def headers(self) -> None:
        return None


@pytest.fixture(params=[EMBEDDED, ACCOUNT])
def place(request: pytest.FixtureRequest) -> Iterator[AnyPlace]:
    with opened(request.param) as place:
        yield place


def test_edge_values_reach_the_warehouse_and_come_back(place: AnyPlace) -> None:
    fields = {name: (annotation | None, None) for name, (annotation, _, _) in EDGES.items()}
    model = create_model("Event", **fields)  # type: ignore[call-overload] # made of the matrix
    contract = Contract(stream="shop.orders", model=model, load_raw=True)
    count = max(len(values) for _, values, _ in EDGES.values())
    records: list[dict[str, Any]] = [{} for _ in range(count)]
    for name, (_, values, _) in EDGES.items():
        for record, value in zip(records, values, strict=False):
            record[name] = value
    stream, run = loading(contract, records)
    batch = Batch(contract.topic, 0)
    batch.grow(stream.judge([run], {HOME: None}), {HOME: Span(0, count, 1)}, 0)
    warehouse = place.session()
    warehouse.ensure_ledger()
    warehouse.execute(table.create_table(contract))
    assert list(misfits(contract, columns_there(warehouse)[contract.table_name])) == []
    warehouse.claim({HOME: 0})
    plan = plan_load(batch, contract, 1_795_000_000_000_000)
    assert warehouse.load(plan).error is None
    rows = warehouse.rows(f"SELECT * FROM {contract.table_name} ORDER BY _OFFSET")
    assert [row["_offset"] for row in rows] == list(range(count))
    for name, (_, _, expected) in EDGES.items():
        found = [bytes(v) if isinstance(v := row[name], bytearray) else v for row in rows]
        found = found[: len(expected)]
        assert told(found, name) == wanted(expected, name), name
    assert {row["_batch"] for row in rows} == {plan.batch}
    assert rows[0]["_loaded_at"] == dt.datetime(2026, 11, 18, 11, 6, 40)  # noqa: DTZ001 - NTZ


def test_a_copy_that_goes_on_differs_in_nothing_else() -> None:
    contract = raw_contract("shop.orders")
    names = ("_topic", "_batch", "_loaded_at")
    copy = table.copy_into(contract, "@S/d/f.parquet", dict.fromkeys(names, "'x'"))
    assert copy.endswith(" ON_ERROR=ABORT_STATEMENT")
    assert table.going_on(copy) == copy.replace("ABORT_STATEMENT", "CONTINUE") + " FORCE=TRUE"


def test_a_raw_payload_is_the_record_as_it_came() -> None:
    contract = raw_contract("shop.orders")
    stream, run = loading(contract, [{"a": {"b": [1]}}, {}])
    rows = stream.judge([run], {HOME: None}).rows
    assert rows["payload"].to_list() == ['{"a":{"b":[1]}}', "{}"]
