"""A body into the exact bytes of its records, in a few native passes over it."""

import re
import zlib
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import orjson

from schemas.pointers import Tokens

VALUES_MAX = 2_000_000  # of one body: what parsing takes is bounded as well as what is sent
WHITE = b" \t\r\n"
_GZIP = 31  # zlib's code for a gzip header and trailer
_PIECE_BYTES = 16_384  # what follows a member is copied, hence no more than this at a time
_MEMBER = re.compile(rb'\s*+("(?:[^"\\]|\\.)*+")\s*+:', re.DOTALL)

_QUOTE, _COMMA = ord('"'), ord(",")
_OPENS, _CLOSES = b"[{", b"]}"
_STRUCTURAL = bytes(byte in b'"[]{},' for byte in range(256))
_DEPTH = np.zeros(256, dtype=np.int8)
_DEPTH[list(_OPENS)] = 1
_DEPTH[list(_CLOSES)] = -1


class TooLargeError(ValueError):
    """More bytes or values than are allowed."""


class NotGzipError(ValueError):
    """Damaged, cut, or followed by something else."""


def inflate(body: bytes, bytes_max: int) -> bytes:
    """The contents of a gzip file (RFC 1952), of several members too.

    Raises TooLargeError as soon as there is more than ``bytes_max``, and NotGzipError.
    """
    out: list[bytes] = []
    room = bytes_max
    member = None
    for start in range(0, len(body), _PIECE_BYTES):
        piece = body[start : start + _PIECE_BYTES]
        while piece:
            member = member or zlib.decompressobj(_GZIP)
            try:
                out.append(member.decompress(piece, room + 1))
            except zlib.error as error:
                raise NotGzipError(str(error)) from None
            room -= len(out[-1])
            if room < 0:
                raise TooLargeError
            if not member.eof:
                break
            piece, member = member.unused_data, None
    if member is not None or not body:
        raise NotGzipError("it ends too early" if body else "it is empty")
    return b"".join(out)


def values_at_most(payload: bytes) -> int:
    """An upper bound of the values in a JSON text, cheaply."""
    if len(payload) <= VALUES_MAX:
        return len(payload)
    return payload.count(b",") + payload.count(b"[") + payload.count(b"{") + 1


def lines(payload: bytes) -> list[bytes]:
    """The lines that are not empty, without what ends them."""
    return [line for line in (part.strip(WHITE) for part in payload.split(b"\n")) if line]


def elements(text: bytes) -> list[bytes] | None:
    """The exact bytes of an array's elements, or of an object's members.

    None if brackets or quotes do not balance. What stands between the commas need not be JSON:
    whoever parses it sees. Raises TooLargeError.
    """
    text = text.strip(WHITE)
    if text[:1] + text[-1:] not in {b"[]", b"{}"}:
        return None
    cuts = _top_commas(text)
    if cuts is None:
        return None
    if not cuts and not text[1:-1].strip(WHITE):
        return []
    bounds = [0, *cuts, len(text) - 1]
    return [text[start + 1 : end].strip(WHITE) for start, end in pairwise(bounds)]


def _top_commas(text: bytes) -> list[int] | None:
    """Where the commas of the outermost bracket are."""
    masked = text
    if b"\\" in text:  # looking is much cheaper than replacing nothing
        # within a run of backslashes every second one is escaped; of what else can be, only a quote
        # would be taken for structure
        masked = text.replace(rb"\\", b"__").replace(rb"\"", b"__")
    data = np.frombuffer(masked, dtype=np.uint8)
    marks = np.frombuffer(masked.translate(_STRUCTURAL), dtype=np.bool_)
    if np.count_nonzero(marks) > 4 * VALUES_MAX:
        raise TooLargeError
    places = np.flatnonzero(marks)
    kinds = data[places]
    quotes = kinds == _QUOTE
    within = np.logical_xor.accumulate(quotes)
    if within[-1]:
        return None
    outside = ~(within | quotes)
    places, kinds = places[outside], kinds[outside]
    depth = np.cumsum(_DEPTH[kinds], dtype=np.int32)
    if not _closes_at_the_end(depth, places, len(text)):
        return None
    top: list[int] = places[(kinds == _COMMA) & (depth == 1)].tolist()
    return top


def _closes_at_the_end(
    depth: npt.NDArray[np.int32], places: npt.NDArray[np.int64], length: int
) -> bool:
    """Whether the first bracket closes with the last character, and not before."""
    return bool(
        len(depth) > 1
        and depth[-1] == 0
        and places[-1] == length - 1
        and np.count_nonzero(depth <= 0) == 1
    )


def at(text: bytes, tokens: Tokens) -> bytes | None:
    """The exact bytes that a JSON pointer (RFC 6901) finds in an object; None without any."""
    for token in tokens:
        found = _member(text.strip(WHITE), token)
        if found is None:
            return None
        text = found
    return text


def _member(text: bytes, name: str) -> bytes | None:
    """An object's member by name; the last of equal names, as parsers do."""
    if not text.startswith(b"{"):
        return None
    found = None
    for member in elements(text) or ():
        match = _MEMBER.match(member)
        if match is None:
            return None
        try:
            key = orjson.loads(match[1])
        except orjson.JSONDecodeError:
            return None
        if key == name:
            found = member[match.end() :].strip(WHITE)
    return found
