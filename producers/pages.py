"""The records of an answer's body, each with its own bytes as they came."""

import json
from dataclasses import dataclass
from typing import Any

import orjson

from producers.exchange import at, pointer_tokens
from schemas.errors import RejectReason

_DECODER = json.JSONDecoder()
_SPACE = " \t\n\r"


class UnreadableError(ValueError):
    """The body is not JSON, or holds no array where the records should be."""

    def __init__(self, what: str, reason: RejectReason) -> None:
        super().__init__(what)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Body:
    """A page's JSON value, and its records as (value, raw bytes)."""

    value: Any
    records: tuple[tuple[Any, bytes], ...]


def read_body(body: bytes, records: str, *, null_is_empty: bool = False) -> Body:
    """Reads a page; ``records`` is the JSON pointer to the array, "" the body itself.

    Raises UnreadableError. ``raw`` is the record's slice of the body, byte for byte; only where
    the body nests too deeply for the scanner is it orjson's canonical form.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        what = f"the answer is not JSON ({error.msg} at {error.pos})"
        raise UnreadableError(what, RejectReason.NOT_JSON) from None
    array = at(value, records, default=_ABSENT)
    if array is None and null_is_empty:
        return Body(value, ())
    if not isinstance(array, list):
        found = "nothing" if array is _ABSENT else type(array).__name__
        what = f"no array at {records!r} but {found}"
        raise UnreadableError(what, RejectReason.WRONG_TYPE)
    return Body(value, tuple(zip(array, _slices(body, records, array), strict=True)))


_ABSENT = object()


def _slices(body: bytes, records: str, array: list[Any]) -> list[bytes]:
    text = body.decode()  # orjson has proved it to be UTF-8 without a BOM, and JSON
    try:
        start = _skip(text, 0)
        for token in pointer_tokens(records):
            start = _child(text, start, token)
        return [text[a:b].encode() for a, b in _elements(text, start)]
    except RecursionError:
        return [orjson.dumps(record) for record in array]


def _skip(text: str, pos: int) -> int:
    while text[pos] in _SPACE:
        pos += 1
    return pos


def _elements(text: str, start: int) -> list[tuple[int, int]]:
    """Where each element of the array at ``start`` begins and ends."""
    found: list[tuple[int, int]] = []
    pos = _skip(text, start + 1)
    while text[pos] != "]":
        _, end = _DECODER.raw_decode(text, pos)
        found.append((pos, end))
        pos = _skip(text, end)
        if text[pos] == ",":
            pos = _skip(text, pos + 1)
    return found


def _child(text: str, start: int, token: str) -> int:
    """Where the member ``token`` of the object or array at ``start`` begins."""
    if text[start] == "[":
        return _elements(text, start)[int(token)][0]
    found, pos = start, _skip(text, start + 1)
    while text[pos] != "}":
        name, end = _DECODER.raw_decode(text, pos)
        value = _skip(text, _skip(text, end) + 1)  # over the colon
        if name == token:
            found = value  # of repeated names the last counts, as in orjson
        _, end = _DECODER.raw_decode(text, value)
        pos = _skip(text, end)
        if text[pos] == ",":
            pos = _skip(text, pos + 1)
    return found
