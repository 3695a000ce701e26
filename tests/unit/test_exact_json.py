"""JSON numbers keep their digits."""

import json
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas import exact_json

# a JSON number as RFC 8259 writes it
numbers = st.from_regex(
    r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?([eE][-+]?[0-9]{1,2})?", fullmatch=True
)
texts = numbers | st.booleans().map(json.dumps) | st.text().map(json.dumps) | st.just("null")
documents = st.recursive(
    texts,
    lambda inner: (
        st.lists(inner).map(lambda parts: f"[ {' ,'.join(parts)}]")
        | st.dictionaries(st.text(), inner).map(
            lambda pairs: "{" + ",".join(f"{json.dumps(k)}:\t{v}" for k, v in pairs.items()) + "}"
        )
    ),
    max_leaves=8,
)


def exact(value: Any) -> Any:
    """A document as the standard library reads it, every number a Decimal."""
    return json.loads(value, parse_float=Decimal, parse_int=Decimal)


def as_decimals(value: Any) -> Any:
    match value:
        case dict():
            return {k: as_decimals(v) for k, v in value.items()}
        case list():
            return [as_decimals(v) for v in value]
        case bool():
            return value
        case int():
            return Decimal(value)
        case float():
            return Decimal(repr(value))
        case _:
            return value


@given(documents)
@example("0.30000000000000004")
@example("[18446744073709551616]")
@example('{"a":12345678901234567.5e3}')
@example('{"1234567890123456.25": "x: 1234567890123456.25"}')
def test_every_digit_is_read_and_written(document: str) -> None:
    value = exact_json.loads(document)
    assert as_decimals(value) == exact(document)
    assert exact(exact_json.dumps(value)) == exact(document)


@given(documents)
def test_what_is_short_is_read_as_by_any_parser(document: str) -> None:
    value = exact_json.loads(document)
    if "Decimal" not in repr(value):
        assert value == orjson.loads(document)


@pytest.mark.parametrize("text", ["", "{", '{"a": 1234567890123456.25', "[1e400]", "NaN", "[01]"])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"line 1 column"):
        exact_json.loads(text)


@pytest.mark.parametrize("exponent", [b"999999999", b"9" * 20])
def test_an_exponent_beyond_all_bounds_is_zero(exponent: bytes) -> None:
    assert exact_json.loads(b"[1.2345678901234567e-%s]" % exponent) == [0.0]


def test_no_number_takes_longer_than_it_took_to_send() -> None:
    (number,) = exact_json.loads(b"[0.%s]" % (b"3" * 1_000_000))
    assert number == 1 / 3
    (number,) = exact_json.loads(b"[%s]" % (b"1" * 308))
    assert number == Decimal("1" * 308)


def test_deep_nesting_is_no_crash() -> None:
    depth = 1_000
    text = "[" * depth + "1234567890123456789.5" + "]" * depth
    value = exact_json.loads(text)
    while isinstance(value, list):
        (value,) = value
    assert float(value) == float("1234567890123456789.5")


@pytest.mark.parametrize("value", [Decimal("NaN"), Decimal("-Infinity"), object(), {1, 2}])
def test_what_json_cannot_say_is_an_error(value: object) -> None:
    with pytest.raises(TypeError):
        exact_json.dumps([value])
