"""JSON that keeps every digit of its numbers.

A double holds 15 decimal digits for sure (``sys.float_info.dig``), and parsers read what has a
point, an exponent or more than 64 bits into one. Here such a number becomes a ``Decimal`` where the
double would say something else, and is written with the digits it came with.
"""

import json
import re
import sys
from decimal import Decimal
from typing import Any

import orjson

# a byte search over the translated text costs less than parsing it, and finds nearly nothing
_RUN = b"0" * (sys.float_info.dig + 1)
_DIGITS = bytes(ord("0") if chr(byte) in "0123456789." else byte for byte in range(256))
_LONG = re.compile(rb"(?:^|[\s:,\[])-?(?=[0-9.]{%d})(?:[0-9]+[.eE]|[0-9]{19})" % len(_RUN))
_INTEGERS = range(-(2**63), 2**64)  # that orjson reads and writes
_INTEGER_CHARS = 20
# what becomes of a number must not take longer than to send it: conversions of Decimals take time
# with the square of their digits, or with an exponent that is written in ten characters
CHARS_MAX = 1_000


def loads(text: bytes | str) -> Any:  # noqa: ANN401 - any JSON value
    """The value; numbers that neither 64 bits nor a double say exactly are ``Decimal``.

    A number too small for a double (below 1e-323) is still 0, one of more than ``CHARS_MAX``
    characters a double. Raises ``orjson.JSONDecodeError``, a ValueError, for what is no JSON, for
    a number too large for a double, and for a nesting deeper than 1,024.
    """
    value = orjson.loads(text)
    raw = text.encode() if isinstance(text, str) else text
    if _RUN not in raw.translate(_DIGITS) or _LONG.search(raw) is None:
        return value
    try:
        return json.loads(raw.decode(), parse_float=_number, parse_int=_integer)
    except RecursionError:  # deeper than any record may be: nobody will load it
        return value


def dumps(value: object, option: int | None = None) -> bytes:
    """Compact JSON of a value that :func:`loads` gave. Raises TypeError for what is no JSON."""
    return orjson.dumps(value, default=_digits, option=option)


def _number(text: str) -> float | Decimal:
    number = float(text)
    if not number or len(text) > CHARS_MAX:
        return number
    exact = Decimal(text)
    return number if Decimal(repr(number)) == exact else exact


def _integer(text: str) -> int | float | Decimal:
    if len(text) <= _INTEGER_CHARS and (number := int(text)) in _INTEGERS:
        return number
    return Decimal(text) if len(text) <= CHARS_MAX else float(text)


def _digits(value: object) -> orjson.Fragment:
    if isinstance(value, Decimal) and value.is_finite():
        return orjson.Fragment(str(value))
    raise TypeError(f"{type(value).__name__} is no JSON")
