"""The steps of a poll: slices of a page, cursor values, the stored state."""

import json
from contextlib import suppress
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.cursors import (
    STATE_BYTES_MAX,
    Cursor,
    Run,
    State,
    dump_state,
    duration_micros,
    later,
    load_state,
    parse,
    write,
)
from producers.exchange import at
from producers.pagers import Span
from producers.pages import UnreadableError, read_body
from schemas.errors import RejectReason
from tests.support.polling import NOW

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(
    records=st.lists(JSON, max_size=6),
    indent=st.none() | st.integers(0, 2),
    ascii_only=st.booleans(),
)
def test_slices_are_the_records_byte_for_byte(
    records: list[Any], indent: int | None, ascii_only: Any
) -> None:
    texts = [json.dumps(r, indent=indent, ensure_ascii=ascii_only) for r in records]
    body = ('{"a": {"data" :\t[ ' + " ,\n ".join(texts) + ' ]}, "b": [1]}').encode()
    found = read_body(body, "/a/data")
    assert [raw for _, raw, _ in found.records] == [text.encode() for text in texts]
    assert [value for value, _, _ in found.records] == records
    assert found.value["b"] == [1]


@given(records=st.lists(JSON, max_size=4))
def test_the_body_itself_can_be_the_array(records: list[Any]) -> None:
    body = b"\n " + orjson.dumps(records) + b"\n"
    assert [orjson.loads(raw) for _, raw, _ in read_body(body, "").records] == records


def test_numbers_keep_their_digits() -> None:
    body = b'[{"price": 1.10000000000000000001, "n": 123456789012345678901234567890}]'
    (found,) = read_body(body, "").records
    assert found.raw == body[1:-1]
    assert found.value == {
        "price": Decimal("1.10000000000000000001"),
        "n": Decimal(123456789012345678901234567890),
    }


def test_of_a_repeated_name_the_last_counts_for_values_and_slices_alike() -> None:
    found = read_body(b'{"d": [1], "d": [{"x": 2}]}', "/d")
    assert found.records == (({"x": 2}, b'{"x": 2}', 1),)


def test_pointers_go_through_arrays_and_escapes() -> None:
    found = read_body(b'[0, {"a/b": {"~": [7]}}]', "/1/a~1b/~0")
    assert found.records == ((7, b"7", 0),)


def test_a_deeply_nested_record_still_has_bytes() -> None:
    deep = b"[" * 1010 + b"]" * 1010  # more than Python's scanner takes
    ((value, raw, depth),) = read_body(b"[" + deep + b"]", "").records
    assert isinstance(value, list)
    assert (raw, depth) == (deep, 1010)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"<html>busy</html>", RejectReason.NOT_JSON),
        (b'{"data": [{"id": 1}, {"id"', RejectReason.NOT_JSON),
        (b"", RejectReason.NOT_JSON),
        (b'{"data": [NaN]}', RejectReason.NOT_JSON),
        (b"\xff\xfe", RejectReason.NOT_JSON),
        (b"[" * 5000, RejectReason.NOT_JSON),
        (b'{"error": "sorry"}', RejectReason.WRONG_TYPE),
        (b'{"data": null}', RejectReason.WRONG_TYPE),
        (b'{"data": {"id": 1}}', RejectReason.WRONG_TYPE),
        (b"3", RejectReason.WRONG_TYPE),
    ],
)
def test_an_unreadable_page_says_why(body: bytes, reason: RejectReason) -> None:
    with pytest.raises(UnreadableError) as caught:
        read_body(body, "/data")
    assert caught.value.reason is reason


def test_null_is_no_records_only_where_the_settings_say_so() -> None:
    assert read_body(b'{"data": null}', "/data", null_is_empty=True).records == ()


@given(body=st.binary(max_size=40))
def test_no_body_raises_anything_else(body: bytes) -> None:
    with suppress(UnreadableError):
        read_body(body, "/a")


def test_pointers_into_values() -> None:
    value = {"a": [{"b": 1}], "x/y": 2, "": 3}
    assert at(value, "/a/0/b") == at(value["a"], "/0/b") == 1
    assert at(value, "/x~1y") == 2
    assert at(value, "") is value
    assert at(value, "/") == 3
    assert at(value, "a") == [{"b": 1}]
    assert at(value, "/a/1/b") is at(value, "/a/x") is at(value, "/a/-1") is None


@pytest.mark.parametrize(
    ("value", "form", "parsed", "written"),
    [
        ("2023-11-14T22:13:20Z", "rfc3339", NOW, "2023-11-14T22:13:20Z"),
        ("2023-11-14T23:13:20.5+01:00", "rfc3339", NOW + 500_000, "2023-11-14T22:13:20.500000Z"),
        ("2023-11-14 22:13:20", "rfc3339", NOW, "2023-11-14T22:13:20Z"),
        ("2023-11-14", "date", NOW - 80_000_000_000, "2023-11-14"),
        (1_700_000_000, "epoch_seconds", NOW, "1700000000"),
        ("1700000000.9", "epoch_seconds", NOW + 900_000, "1700000000"),
        (1_700_000_000.25, "epoch_seconds", NOW + 250_000, "1700000000"),
        (1_700_000_000_001, "epoch_millis", NOW + 1000, "1700000000001"),
        (17, "integer", 17, "17"),
        ("18", "integer", 18, "18"),
        ("b-7", "text", "b-7", "b-7"),
        ("14/11/2023 22:13", "%d/%m/%Y %H:%M", NOW - 20_000_000, "14/11/2023 22:13"),
        (True, "integer", None, None),
        (None, "rfc3339", None, None),
        ("soon", "rfc3339", None, None),
        ("nan", "epoch_seconds", None, None),
        ("inf", "epoch_millis", None, None),
        ({}, "epoch_seconds", None, None),
        ([1], "integer", None, None),
        ("1e99999999", "epoch_seconds", None, None),
        (2**63, "integer", None, None),
        ("-20260131080000123456", "integer", None, None),
        (-(2**63), "integer", -(2**63), str(-(2**63))),
        ("", "text", None, None),
        (5, "%d/%m/%Y", None, None),
        (5, "rfc3339", None, None),
    ],
)
def test_cursor_values(value: Any, form: str, parsed: Any, written: str | None) -> None:
    assert parse(value, form) == parsed
    if written is not None:
        assert write(parsed, form) == written


FORMS = ["rfc3339", "date", "epoch_seconds", "epoch_millis", "integer", "text", "%Y%m"]
NUMBERS = st.from_regex(r"-?[0-9]{1,40}(\.[0-9]{1,9})?([eE][-+]?[0-9]{1,9})?", fullmatch=True)


@given(value=JSON | st.floats() | st.text() | NUMBERS | st.integers(), form=st.sampled_from(FORMS))
def test_no_cursor_value_raises_and_what_is_parsed_can_be_stored(value: Any, form: str) -> None:
    cursor = parse(value, form)
    if not isinstance(cursor, str) or cursor.isprintable():
        assert load_state(dump_state(State(cursor))).cursor == cursor


@given(
    micros=st.integers(0, 4 * 10**15), form=st.sampled_from(["rfc3339", "date", "epoch_seconds"])
)
def test_what_is_written_is_never_later_than_what_was_meant(micros: int, form: str) -> None:
    """A floor asks for a little again; a ceiling would leave something out."""
    back = parse(write(micros, form), form)
    assert isinstance(back, int)
    assert back <= micros


def test_the_look_back_is_taken_off_and_never_passes_the_start() -> None:
    cursor = Cursor(field="u", lookback="10m", start="2023-11-14T22:10:00Z")
    assert cursor.since(None) == NOW - 200_000_000
    assert cursor.since(NOW + 10**9) == NOW + 10**9 - 600_000_000
    assert cursor.since(NOW) == NOW - 200_000_000
    assert Cursor(field="u").since(NOW) == NOW - 60_000_000
    assert Cursor(field="u", format="integer").since(5) == 5
    assert Cursor(field="u", format="integer", lookback=3).since(5) == 2
    assert Cursor(field="u", format="text", start="a").since(None) == "a"
    assert Cursor(field="u", format="text", start="a").since("b") == "b"


def test_the_later_of_two_values() -> None:
    assert later(None, 3) == later(3, None) == later(2, 3) == 3
    assert later("b", "a") == "b"
    assert later(None, None) is None
    assert later("a", 3) == 3


@pytest.mark.parametrize("text", ["", "10", "10 minutes", "-1m", "1.5h", "m"])
def test_durations_have_a_number_and_a_unit(text: str) -> None:
    with pytest.raises(ValueError, match="such as 10m"):
        duration_micros(text)


def test_a_state_comes_back_as_it_was_stored() -> None:
    run = Run({"page": 3, "seen": "x"}, Span(5, NOW), "plan", 7, 2, 200)
    for state in (State(), State(NOW, kind="time"), State("a", run, "bad", "text")):
        assert load_state(dump_state(state)) == state
    assert load_state(None) == load_state(b"") == State()


def test_a_position_too_long_to_store_is_left_out_and_the_cursor_kept() -> None:
    run = Run({"url": "x" * STATE_BYTES_MAX}, Span(5, NOW), "plan")
    dumped = dump_state(State(5, run, None, "integer"))
    assert len(dumped) <= STATE_BYTES_MAX
    assert load_state(dumped) == State(5, None, None, "integer")


@pytest.mark.parametrize("stored", [b"{}", b"[]", b'{"v":2}', b"x"])
def test_a_state_that_is_not_ours_is_an_error(stored: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        load_state(stored)
