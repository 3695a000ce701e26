"""Bodies cut into the exact bytes of their records."""

import gzip
import json
import time
import tracemalloc
import zlib

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers import split

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)
WHITE = st.text(" \t\r\n", max_size=3).map(str.encode)


def written(value: object, *, spaced: bool, ascii_only: bool) -> bytes:
    separators = (" , ", " : ") if spaced else (",", ":")
    return json.dumps(value, separators=separators, ensure_ascii=ascii_only).encode(
        "utf-8", "surrogatepass"
    )


@given(
    values=st.lists(JSON, max_size=8),
    spaced=st.booleans(),
    ascii_only=st.booleans(),
    white=WHITE,
)
def test_elements_are_the_exact_bytes_between_the_commas(
    values: list[object], *, spaced: bool, ascii_only: bool, white: bytes
) -> None:
    parts = [written(value, spaced=spaced, ascii_only=ascii_only) for value in values]
    body = white + b"[" + white + (white + b"," + white).join(parts) + white + b"]" + white
    assert split.elements(body) == parts


@given(
    value=st.dictionaries(st.text(), JSON, min_size=1, max_size=5),
    spaced=st.booleans(),
    data=st.data(),
)
def test_a_pointer_finds_exact_bytes(
    value: dict[str, object], *, spaced: bool, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(sorted(value)))
    body = written({"envelope": value}, spaced=spaced, ascii_only=spaced)
    expected = written(value[name], spaced=spaced, ascii_only=spaced)
    assert split.at(body, ("envelope", name)) == expected
    assert split.at(body, ("envelope", name + "x")) in {
        None,
        written(value.get(name + "x"), spaced=spaced, ascii_only=spaced),
    }


def test_the_last_of_equal_names_counts_as_with_parsers() -> None:
    body = b'{"a":1,"a":[2]}'
    assert split.at(body, ("a",)) == b"[2]"
    assert orjson.loads(body) == {"a": [2]}


@pytest.mark.parametrize("body", [b'{a:1,"b":2}', b'{"\\x":1,"b":2}', b'{"b" 2}', b"[1]", b"5"])
def test_a_pointer_into_what_is_no_object_finds_nothing(body: bytes) -> None:
    assert split.at(body, ("b",)) is None


@pytest.mark.parametrize(
    "body",
    [b"", b"[", b"]", b"[}", b"{]", b"[1]]", b"[[1]", b'["]', b"[1],[2]", b"1", b'"[]"', b"[1] x"],
)
def test_what_does_not_balance_is_not_cut(body: bytes) -> None:
    assert split.elements(body) is None


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"[]", []),
        (b"[ \n]", []),
        (b"[1]", [b"1"]),
        (b"[1,]", [b"1", b""]),
        (rb'["\"],[", {"a":"\\"}]', [rb'"\"],["', rb'{"a":"\\"}']),
        (b"[{oops}, 2]", [b"{oops}", b"2"]),
    ],
)
def test_cuts_are_at_the_outermost_commas(body: bytes, expected: list[bytes]) -> None:
    assert split.elements(body) == expected


@given(st.binary(max_size=300) | st.text('[]{}",\\:1 a', max_size=60).map(str.encode))
def test_any_bytes_are_cut_or_not_but_never_raise(body: bytes) -> None:
    try:
        whole = orjson.loads(body)
    except orjson.JSONDecodeError:
        whole = None
    parts = split.elements(body)
    split.at(body, ("a", "b"))
    split.lines(body)
    if isinstance(whole, list):
        assert parts is not None
        assert [orjson.loads(part) for part in parts] == whole


def test_backslashes_take_no_more_memory_than_other_text() -> None:
    body = b'["' + b"\\\\" * 1_000_000 + b'","' + b'\\"' * 1_000_000 + b'"]'
    tracemalloc.start()
    try:
        assert split.elements(body) == [body[1:2_000_003], body[2_000_004:-1]]
        assert tracemalloc.get_traced_memory()[1] < 8 * len(body)
    finally:
        tracemalloc.stop()


def test_too_many_values_are_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split, "VALUES_MAX", 3)
    with pytest.raises(split.TooLargeError):
        split.elements(b"[" + b"1," * 20 + b"1]")


def test_lines_are_kept_byte_for_byte() -> None:
    assert split.lines(b'{"a": 1}\r\n\n  {"b":2} \n') == [b'{"a": 1}', b'{"b":2}']
    assert split.lines(b"") == []


@given(st.lists(st.binary(max_size=100), min_size=1, max_size=4))
def test_gzip_of_several_members_is_inflated(parts: list[bytes]) -> None:
    whole = b"".join(parts)
    assert split.inflate(b"".join(map(gzip.compress, parts)), max(1, len(whole))) == whole


def test_a_gzip_file_of_many_members_is_read_once_and_not_once_a_member() -> None:
    body = gzip.compress(b"", mtime=0) * 100_000 + gzip.compress(b"end", mtime=0)
    started = time.process_time()
    assert split.inflate(body, 1_000) == b"end"
    assert time.process_time() - started < 3  # each with a copy of the rest: 5 and more
    with pytest.raises(split.NotGzipError):
        split.inflate(body[:-1], 1_000)


def test_a_zip_bomb_is_stopped_at_the_limit() -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)
    assert len(bomb) < 60_000
    tracemalloc.start()
    try:
        with pytest.raises(split.TooLargeError):
            split.inflate(bomb, 1_000_000)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()
    with pytest.raises(split.TooLargeError):
        split.inflate(gzip.compress(b"ab") * 3, 5)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"plain",
        gzip.compress(b"cut")[:-3],
        gzip.compress(b"x") + b"tail",
        zlib.compress(b"zlib, not gzip"),
        gzip.compress(b"damaged")[:-8] + b"\0" * 8,
    ],
)
def test_what_is_not_gzip_is_said_to_be_none(body: bytes) -> None:
    with pytest.raises(split.NotGzipError):
        split.inflate(body, 1000)


@given(st.binary(max_size=200))
def test_damaged_gzip_never_raises_anything_else(noise: bytes) -> None:
    for body in (noise, b"\x1f\x8b\x08\0\0\0\0\0\0\0" + noise, gzip.compress(noise) + noise):
        try:
            split.inflate(body, 1000)
        except (split.NotGzipError, split.TooLargeError):
            continue
