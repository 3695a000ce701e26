"""The records of an answer's body, each with its own bytes as they came."""

import re
from typing import Any, NamedTuple

import orjson

from producers.exchange import at, pointer_tokens
from schemas import exact_json
from schemas.errors import RejectReason

_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_NAME = re.compile(_STRING)
_BRACKET = re.compile(rb'[^"\[\]{}]*+(?:' + _STRING + rb'[^"\[\]{}]*+)*+([\[\]{}])')
_PLAIN = re.compile(rb'[^\s,\]}"\[{]+')  # numbers, true, false, null
_SPACE = re.compile(rb"\s*")
_OPEN = (b"[", b"{")


class UnreadableError(ValueError):
    """The body is not JSON, or holds no array where the records should be."""

    def __init__(self, what: str, reason: RejectReason) -> None:
        super().__init__(what)
        self.reason = reason


class Found(NamedTuple):
    """One element of a page's array."""

    value: Any
    raw: bytes  # its slice of the body
    depth: int  # of its nesting; 1: an object or array without others in it


class Body(NamedTuple):
    """A page's JSON value and its records."""

    value: Any
    records: tuple[Found, ...]


def read_body(body: bytes, records: str, *, null_is_empty: bool = False) -> Body:
    """Reads a page; ``records`` is the JSON pointer to the array, "" the body itself.

    Raises UnreadableError.
    """
    try:
        value = exact_json.loads(body)
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
    spans = _elements(body, _array(body, records))  # orjson has proved it to be UTF-8 and JSON
    return Body(
        value, tuple(Found(v, body[a:b], d) for v, (a, b, d) in zip(array, spans, strict=True))
    )


_ABSENT = object()


def _array(body: bytes, records: str) -> int:
    start = _skip(body, 0)
    for token in pointer_tokens(records):
        start = _child(body, start, token)
    return start


def _skip(body: bytes, pos: int) -> int:
    """Over white space."""
    match = _SPACE.match(body, pos)
    return match.end() if match is not None else pos


def _end(body: bytes, start: int) -> tuple[int, int]:
    """Where the value at ``start`` ends, and how deep it nests. No recursion: any depth will do."""
    if body[start : start + 1] not in _OPEN:
        match = _NAME.match(body, start) or _PLAIN.match(body, start)
        return (match.end() if match is not None else start), 0
    depth = deepest = 0
    for token in _BRACKET.finditer(body, start):
        char = token[1]
        if char in _OPEN:
            depth += 1
            deepest = max(deepest, depth)
        else:
            depth -= 1
            if depth == 0:
                return token.end(), deepest
    return len(body), deepest  # pragma: no cover - it is JSON


def _elements(body: bytes, start: int) -> list[tuple[int, int, int]]:
    """Where each element of the array at ``start`` begins and ends, and how deep it nests."""
    found: list[tuple[int, int, int]] = []
    pos = _skip(body, start + 1)
    while body[pos : pos + 1] != b"]":
        end, depth = _end(body, pos)
        found.append((pos, end, depth))
        pos = _after(body, end)
    return found


def _child(body: bytes, start: int, token: str) -> int:
    """Where the member ``token`` of the object or array at ``start`` begins."""
    if body[start : start + 1] == b"[":
        return _elements(body, start)[int(token)][0]
    found, pos = start, _skip(body, start + 1)
    while body[pos : pos + 1] != b"}":
        end, _ = _end(body, pos)
        value = _skip(body, _skip(body, end) + 1)  # over the colon
        if orjson.loads(body[pos:end]) == token:
            found = value  # of repeated names the last counts, as in orjson
        pos = _after(body, _end(body, value)[0])
    return found


def _after(body: bytes, end: int) -> int:
    """The next element, or the bracket that closes."""
    pos = _skip(body, end)
    return _skip(body, pos + 1) if body[pos : pos + 1] == b"," else pos
