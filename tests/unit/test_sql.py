"""Names and values in SQL text."""

import datetime as dt
from decimal import Decimal

import duckdb
import pytest
import sqlglot
from hypothesis import given
from hypothesis import strategies as st
from sqlglot import exp

from schemas.sql import identifier, literal, literals, quoted, timestamp

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("order_id", "ORDER_ID"),
        ("_id", "_ID"),
        ("SHOP_ORDERS", "SHOP_ORDERS"),
        ("order", '"ORDER"'),
        ("Offset", '"OFFSET"'),
        ("a-b", '"a-b"'),
        ("é", '"é"'),
        ("1st", '"1st"'),
        ('say "hi"', '"say ""hi"""'),
        ("x; DROP TABLE t", '"x; DROP TABLE t"'),
    ],
)
def test_an_identifier_is_folded_or_quoted(name: str, text: str) -> None:
    assert identifier(name) == text


def test_every_word_that_the_stand_in_takes_for_no_column_is_quoted() -> None:
    kinds = "('reserved', 'type_function')"
    words = duckdb.sql(
        f"SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category IN {kinds}"
    )
    found = [word for (word,) in words.fetchall()]
    assert "at" in found
    assert [word for word in found if identifier(word) != quoted(word.upper())] == []


@pytest.mark.parametrize("name", ["", "a\nb", "a\0b", "x" * 256])
def test_what_can_be_no_name_is_an_error(name: str) -> None:
    with pytest.raises(ValueError, match="identifier"):
        identifier(name)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "NULL"),
        (True, "TRUE"),
        (False, "FALSE"),
        (-5, "-5"),
        (Decimal("1.50"), "1.50"),
        (Decimal("1E+3"), "1000"),
        ("it's", "'it''s'"),
        ("a\\b\n", "'a\\\\b\\n'"),
        (dt.date(2026, 1, 2), "'2026-01-02'::DATE"),
        (
            dt.datetime(2026, 1, 2, 5, 4, 5, 6, dt.timezone(dt.timedelta(hours=2))),
            "'2026-01-02 03:04:05.000006'::TIMESTAMP_NTZ",
        ),
        ({"b": 1, "a": "ü'"}, '\'{"a":"ü\'\'","b":1}\''),
    ],
)
def test_a_value_becomes_a_literal(value: object, text: str) -> None:
    assert literal(value) == text  # type: ignore[arg-type]  # every kind in turn


@pytest.mark.parametrize(
    "value",
    [
        Decimal("NaN"),
        Decimal("Infinity"),
        "nul\0",
        "\ud800",
        dt.datetime(2026, 1, 1),  # noqa: DTZ001 - that is the point
        b"bytes",
        1.5,
    ],
)
def test_a_value_without_a_literal_is_an_error(value: object) -> None:
    with pytest.raises(ValueError, match=r"literal|zone"):
        literal(value)  # type: ignore[arg-type]  # that is the point


def test_literals_are_joined() -> None:
    assert literals((1, "a", None)) == "1, 'a', NULL"


@pytest.mark.parametrize(
    ("micros", "text"),
    [
        (None, "NULL"),
        (0, "'1970-01-01 00:00:00.000000'::TIMESTAMP_NTZ"),
        (-1, "'1969-12-31 23:59:59.999999'::TIMESTAMP_NTZ"),
        (2**63 - 1, "'9999-12-31 23:59:59.999999'::TIMESTAMP_NTZ"),
        (-(2**63), "'0001-01-01 00:00:00.000000'::TIMESTAMP_NTZ"),
    ],
)
def test_microseconds_become_a_timestamp_whatever_they_are(micros: int | None, text: str) -> None:
    assert timestamp(micros) == text


@given(TEXT)
def test_a_string_literal_is_one_token_with_the_same_text(text: str) -> None:
    parsed = sqlglot.parse_one(f"SELECT {literal(text)}", read="snowflake")
    (value,) = parsed.expressions
    assert isinstance(value, exp.Literal)
    assert value.this == text


@given(st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), min_size=1))
def test_an_identifier_is_one_name(name: str) -> None:
    try:
        text = identifier(name)
    except ValueError:
        return
    (column,) = sqlglot.parse_one(f"SELECT {text}", read="snowflake").expressions
    assert isinstance(column, exp.Column)
    assert column.name.upper() == name.upper() or column.name == name


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
def test_a_quoted_name_keeps_its_case(name: str) -> None:
    (column,) = sqlglot.parse_one(f"SELECT {quoted(name)}", read="snowflake").expressions
    assert column.name == name
