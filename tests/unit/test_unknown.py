"""Fields that the contract does not know are kept and judged at any depth, on every path."""

import io
from typing import Any

import fastavro
import pytest
from hypothesis import given, settings
from pydantic import BaseModel, ConfigDict, Field

from consumers.reading.decode import Decoder
from consumers.reading.judge import judge
from producers.encode import StreamEncoder
from schemas import avro, exact_json
from schemas.contract import Contract
from schemas.errors import RejectReason
from schemas.rules import compile_rules
from schemas.types import Array, FieldType, Map, Record
from schemas.unknown import unknown_fields
from tests.support.contracts import DRAWS, Random, Shape, contract_of, incoming, shape_of

PATHS = pytest.mark.parametrize("columnar_min", [1, 1000], ids=["together", "one by one"])


class Tax(BaseModel):
    rate: float


class Line(BaseModel):
    sku: str = Field(alias="SKU")
    taxes: list[list[Tax]] = []


class Order(BaseModel):
    id: str
    lines: list[Line | None] | None = Field(default=None, alias="orderLines")
    main: Line | None = None
    note: str = "none"


class Boxed(BaseModel):
    boxes: dict[str, Tax]


class StrictLine(BaseModel):
    model_config = ConfigDict(extra="forbid")
    sku: str
    taxes: list[Tax] = []


class LooseOrder(BaseModel):
    id: str
    lines: list[StrictLine]


def extras(contract: Contract, values: list[dict[str, Any]], columnar_min: int) -> list[Any]:
    """What ``_extra`` holds of each record, none of which is rejected."""
    encoded = StreamEncoder(contract, 7, columnar_min).encode([incoming(v) for v in values])
    assert encoded.rejections == ()
    schema = fastavro.parse_schema(avro.wire_schema(contract))
    found: list[Any] = []
    for record in encoded.records:
        stream = io.BytesIO(record.value[avro.HEADER.size :])
        row: Any = fastavro.schemaless_reader(stream, schema, None)
        found.append(row[avro.EXTRA] and exact_json.loads(row[avro.EXTRA]))
    return found


@PATHS
@pytest.mark.parametrize(
    ("given", "left"),
    [
        ({"orderLines": [{"SKU": "a"}, None], "main": {"SKU": "b"}, "note": None}, None),
        ({"main": {"SKU": "a", "discount": 1}}, {"main": {"discount": 1}}),
        ({"main": {"discount": 1}}, {"main": {"discount": 1}}),
        ({"main": {"SKU": "a", "sku": None}}, {"main": {"sku": None}}),
        (
            {"orderLines": [{"SKU": "a"}, {"SKU": "b", "discount": 1}, None, {}], "gift": True},
            {"orderLines": [{}, {"discount": 1}, {}, {}], "gift": True},
        ),
        (
            {"main": {"SKU": "a", "taxes": [[], [{"rate": 1.0}, {"rate": 2.0, "of": ["EU"]}]]}},
            {"main": {"taxes": [[], [{}, {"of": ["EU"]}]]}},
        ),
        ({"lines": []}, {"lines": []}),
    ],
    ids=range(7),
)
def test_what_is_unknown_is_kept_where_it_stood(
    given: dict[str, Any], left: Any, columnar_min: int
) -> None:
    contract = Contract(stream="shop.orders", model=Order)
    plain = {"id": "p", "main": {"SKU": "p"}}
    values = [plain, {"id": "g"} | given, plain]
    assert extras(contract, values, columnar_min) == [None, left, None]


def test_of_a_map_only_entries_with_something_unknown_are_kept() -> None:
    contract = Contract(stream="shop.boxes", model=Boxed)
    boxes = {"a": {"rate": 1}, "b": {"rate": 2, "unit": "%"}}
    assert extras(contract, [{"boxes": boxes}, {"boxes": {}}], 1000) == [
        {"boxes": {"b": {"unit": "%"}}},
        None,
    ]


def with_strangers(rng: Random, kind: FieldType, value: Any) -> tuple[Any, Any]:
    """The value with unknown fields inside its records here and there, and those by themselves."""
    match kind:
        case Record(_, fields) if isinstance(value, dict):
            more = {f"u{n}": rng.choice([None, 1, {"a": []}]) for n in range(rng.choice((0, 0, 2)))}
            pairs = {
                f.source: with_strangers(rng, f.type, value[f.source])
                for f in fields
                if f.source in value
            }
            left = more | {k: part for k, (_, part) in pairs.items() if part is not None}
            return more | {k: whole for k, (whole, _) in pairs.items()}, left or None
        case Array(item, _, _) if isinstance(value, list):
            both = [with_strangers(rng, item, each) for each in value]
            empty: Any = [] if isinstance(item, Array) else {}
            parts = [empty if part is None else part for _, part in both]
            known = all(part is None for _, part in both)
            return [whole for whole, _ in both], None if known else parts
        case Map(inner, _, _) if isinstance(value, dict):
            both_by_key = {k: with_strangers(rng, inner, v) for k, v in value.items()}
            left = {k: part for k, (_, part) in both_by_key.items() if part is not None}
            return {k: whole for k, (whole, _) in both_by_key.items()}, left or None
        case _:
            return value, None


def drawn(rng: Random, shape: Shape, contract: Contract) -> tuple[dict[str, Any], Any]:
    """A record that is right, and what is unknown of it."""
    whole = Record("Event", contract.fields)
    found: tuple[dict[str, Any], Any] = with_strangers(rng, whole, shape.complete(rng))
    return found


@settings(deadline=None)
@given(DRAWS)
def test_whatever_the_contract_both_paths_keep_the_same(rng: Random) -> None:
    shape = shape_of(rng, depth=3)
    contract = contract_of(rng, shape)
    pairs = [drawn(rng, shape, contract) for _ in range(4)]
    values, left = [value for value, _ in pairs], [part for _, part in pairs]
    assert extras(contract, values, 1) == extras(contract, values, 1000) == left


@settings(deadline=None)
@given(DRAWS)
def test_what_was_taken_out_can_be_put_back(rng: Random) -> None:
    shape = shape_of(rng, depth=3)
    contract = contract_of(rng, shape)
    seed = rng.getrandbits(32)
    known = shape.complete(Random(seed))
    whole, left = with_strangers(rng, Record("Event", contract.fields), known)
    unknown = unknown_fields(contract.fields)
    assert unknown.of(whole) == left
    assert unknown.restored(known, left) == whole
    for strange in (None, 5, [], dict.fromkeys(known, 5)):
        assert unknown.restored(known, strange) == known


def test_a_model_inside_that_forbids_more_makes_a_dead_letter_that_says_where() -> None:
    contract = Contract(stream="shop.orders", model=LooseOrder)
    rules = compile_rules(contract)
    assert not rules.by_row
    fine = {"id": "a", "lines": [{"sku": "a", "taxes": [{"rate": 1, "unit": "%"}]}], "gift": True}
    bad = {"id": "b", "lines": [{"sku": "a"}, {"sku": "b", "discount": 1}]}
    records = StreamEncoder(contract, 7).encode([incoming(v) for v in (fine, bad, fine)]).records
    decoder = Decoder(contract, {7: avro.wire_schema(contract)}.get)
    frame = decoder.decode([record.value for record in records]).frame
    (broken,) = judge(frame, rules)
    assert broken.row == 1
    assert [(v.path, v.reason) for v in broken.violations] == [
        ("$.lines[1].discount", RejectReason.INVALID)
    ]
