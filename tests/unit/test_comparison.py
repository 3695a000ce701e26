"""Fields and bodies have one hash exactly if they say the same, however it is written."""

import json
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from pydantic import BaseModel, JsonValue

from consumers.reading.decode import Decoder
from consumers.repeats.comparison import Comparison, canonical, compared
from schemas import avro
from schemas.contract import Contract, raw_contract
from schemas.types import Array, FieldType, Map, Record, Scalar
from tests.support.contracts import DRAWS, Random, contract_of, incoming, shape_of
from tests.support.runs import SCHEMA_ID, messages
from tests.support.shop import Shop
from tests.support.world import STREAM


def shuffled(value: Any) -> Any:
    """The same JSON value, its keys in the opposite order on every level."""
    if isinstance(value, dict):
        return {key: shuffled(value[key]) for key in reversed(list(value))}
    if isinstance(value, list):
        return [shuffled(part) for part in value]
    return value


def said(kind: FieldType, value: Any) -> Any:
    """A column's value in plain words."""
    if value is None:
        return None
    if kind is Scalar.JSON:
        return json.dumps(json.loads(value), sort_keys=True)
    if isinstance(kind, Array):
        return [said(kind.item, part) for part in value]
    if isinstance(kind, Map):
        return {entry["k"]: said(kind.value, entry["v"]) for entry in value}
    if isinstance(kind, Record):
        return {field.name: said(field.type, value[field.name]) for field in kind.fields}
    return value


@settings(deadline=None, max_examples=40)
@given(DRAWS)
def test_fields_have_one_hash_exactly_if_they_say_the_same(rng: Random) -> None:
    shape = shape_of(rng)
    contract = contract_of(rng, shape)
    values = [shape.complete(rng) for _ in range(4)]
    values += [shuffled(value) for value in values]
    encoded = [messages(contract, [incoming(value)])[0] for value in values]
    schemas = {SCHEMA_ID: avro.wire_schema(contract)}
    frame = Decoder(contract, schemas.get).decode(encoded).frame
    comparison = Comparison(contract, schemas.get)
    hashes = comparison.hashes(frame)
    alone = [comparison.hashes(frame[row : row + 1])[0] for row in range(frame.height)]
    assert (hashes == np.array(alone)).all(), "a hash depends on what else is read with it"
    for place, (name, kind) in enumerate(compared(contract).items()):
        column = [said(kind, value) for value in frame[name].to_list()]
        for row, one in enumerate(column):
            for other_row, other in enumerate(column):
                if (one == other) != (repr(one) == repr(other)):
                    continue  # 0.0 and -0.0: either will do
                same = hashes[row, place] == hashes[other_row, place]
                assert same == (one == other), (name, one, other)


class Who(BaseModel):
    name: str
    about: JsonValue = None


class Nested(BaseModel):
    id: str
    who: Who | None = None
    lines: list[Who] = []
    counts: dict[str, int] = {}
    free: dict[str, Any] | None = None


@pytest.mark.parametrize(
    ("one", "other", "fields"),
    [
        ({"counts": {"a": 1, "b": 2}}, {"counts": {"b": 2, "a": 1}}, ()),
        ({"counts": {"a": 1}}, {"counts": {"a": 2}}, ("counts",)),
        ({"free": {"a": {"b": 1, "c": 2}}}, {"free": {"a": {"c": 2, "b": 1}}}, ()),
        ({"free": {"a": [1, 2]}}, {"free": {"a": [2, 1]}}, ("free",)),
        ({"free": {}}, {}, ("free",)),
        (
            {"lines": [{"name": "x", "about": {"a": 1, "b": 2}}]},
            {"lines": [{"about": {"b": 2, "a": 1}, "name": "x"}]},
            (),
        ),
        ({"lines": [{"name": "x"}, {"name": "y"}]}, {"lines": [{"name": "xy"}]}, ("lines",)),
        ({"who": {"name": "x"}}, {"who": {"name": "x", "about": [None]}}, ("who",)),
        ({"who": None}, {"who": {"name": ""}}, ("who",)),
    ],
)
def test_parts_are_compared_by_what_they_say(
    one: dict[str, Any], other: dict[str, Any], fields: tuple[str, ...]
) -> None:
    shop = Shop(Contract(stream=STREAM, model=Nested, key=("id",)))
    for value in (one, other):
        shop.put("d1", {"id": "a", **value})
    assert [example.fields for example in shop.report().examples] == [fields][: bool(fields)]


NESTED = {
    "who": {"name": "x"},
    "lines": [{"name": "x"}, {"name": "y"}],
    "counts": {"a": 1, "b": 1},
    "free": {"meta": {"sent_at": 1, "n": 1}},
    "unknown": [1, 2],
}


@pytest.mark.parametrize(
    ("changed", "pointer"),
    [
        ({"who": {"name": "z"}}, "/who/name"),
        ({"who": None}, "/who"),
        ({"lines": [{"name": "x"}, {"name": "z"}]}, "/lines/1"),
        ({"lines": [{"name": "x"}, {"name": "z"}]}, "/lines/1/name"),
        ({"counts": {"a": 2, "b": 1}}, "/counts/a"),
        ({"free": {"meta": {"sent_at": 2, "n": 1}}}, "/free/meta/sent_at"),
        ({"free": {"meta": {"n": 1}}}, "/free/meta/sent_at"),
        ({"unknown": [1, 3]}, "/unknown/1"),
    ],
)
def test_a_pointer_leaves_out_a_part_of_the_record(changed: dict[str, Any], pointer: str) -> None:
    with_contract = Shop(Contract(stream=STREAM, model=Nested, key=("id",)))
    without = Shop(raw_contract(STREAM))
    for shop in (with_contract, without):
        for value in (NESTED, NESTED | changed):
            shop.put("d1", {"id": "a", **value})
        assert shop.report().conflicts == 1
        assert shop.report("/other", f"{pointer}/other").conflicts == 1
        assert shop.report(pointer).conflicts == 0


def test_free_form_that_is_no_json_or_too_deep_is_compared_as_it_is() -> None:
    deep = "[" * 400 + "]" * 400
    texts = ["{", "{ ", deep, f" {deep}", '{"a": 1}', '{"a":1}']
    found = canonical(pl.Series(texts), Scalar.JSON).to_list()
    assert len(set(found)) == 5
    assert found[4] == found[5]
