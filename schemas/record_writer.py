"""One record at a time: for what comes singly or in small numbers, and for maps.

Avro 1.12, "Binary encoding". All fields are nullable on the wire (docs/adr/0006), so every writer
here writes the union's branch too. The writers of a record are put together once, from its types;
a library that looks at the schema again for every value takes eight times as long
(``python -m benchmarks.encoding``).
"""

import datetime as dt
import decimal
from collections.abc import Callable, Mapping
from struct import Struct
from typing import Any

from schemas import avro
from schemas.types import DECIMAL_DIGITS_MAX, Array, Decimal, Enum, FieldType, Map, Record, Scalar

Write = Callable[[Any], bytes]

_NULL, _SOME = b"\x00", b"\x02"  # the union's branches
_TRUE, _FALSE = b"\x02\x01", b"\x02\x00"
_LENGTHS = [avro.varint(n) for n in range(4_096)]
_HEADS = [_SOME + length for length in _LENGTHS]  # of texts
_DOUBLE = Struct("<bd").pack
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_EPOCH_DAY = dt.date(1970, 1, 1).toordinal()
_SECOND, _DAY = 1_000_000, 86_400_000_000  # microseconds
_EIGHT, _NINE = 1 << 49, 1 << 56  # zig-zag numbers from here on need so many bytes
_DIGITS = decimal.Context(prec=2 * DECIMAL_DIGITS_MAX)


class RecordWriter:
    """Writes single records as messages of one wire schema, from its fields in order."""

    def __init__(self, kinds: Mapping[str, FieldType], schema_id: int) -> None:
        self._header = avro.wire_header(schema_id)
        self._fields = [(name, _writer(kind)) for name, kind in kinds.items()]

    def write(self, value: Mapping[str, Any]) -> bytes:
        """Header and record; a field that is missing is null.

        Takes the Python types that pydantic gives; a timestamp may be microseconds. Raises
        ValueError, TypeError or OverflowError on a misfit.
        """
        get = value.get
        return self._header + b"".join([write(get(name)) for name, write in self._fields])


def _length(count: int) -> bytes:
    return _LENGTHS[count] if count < len(_LENGTHS) else avro.varint(count)


def _long(value: int | None) -> bytes:
    if value is None:
        return _NULL
    n = (value << 1) ^ (value >> 63)
    if n < len(_HEADS) * 2 and not n & 1:
        return _HEADS[value]
    if _EIGHT <= n < _NINE:  # the microseconds of our days
        return bytes(
            (
                2,
                n & 127 | 128,
                n >> 7 & 127 | 128,
                n >> 14 & 127 | 128,
                n >> 21 & 127 | 128,
                n >> 28 & 127 | 128,
                n >> 35 & 127 | 128,
                n >> 42 & 127 | 128,
                n >> 49,
            )
        )
    if n >> 64:
        raise OverflowError(f"{value} has more than 64 bits")
    out = bytearray(_SOME)
    while n > 127:  # noqa: PLR2004 - seven bits a byte
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return bytes(out)


def _text(value: str | None) -> bytes:
    if value is None:
        return _NULL
    raw = value.encode()
    size = len(raw)
    return (_HEADS[size] if size < len(_HEADS) else _SOME + avro.varint(size)) + raw


def _bytes(value: bytes | None) -> bytes:
    if value is None:
        return _NULL
    size = len(value)
    return (_HEADS[size] if size < len(_HEADS) else _SOME + avro.varint(size)) + value


def _boolean(value: bool | None) -> bytes:  # noqa: FBT001 - data, no switch
    return _NULL if value is None else _TRUE if value else _FALSE


def _double(value: float | None) -> bytes:
    return _NULL if value is None else _DOUBLE(2, value)


def _date(value: dt.date | None) -> bytes:
    return _NULL if value is None else _long(value.toordinal() - _EPOCH_DAY)


def _time(value: dt.time | None) -> bytes:
    if value is None:
        return _NULL
    seconds = (value.hour * 60 + value.minute) * 60 + value.second
    return _long(seconds * _SECOND + value.microsecond)


def _timestamp(value: dt.datetime | int | None) -> bytes:
    if isinstance(value, dt.datetime):
        since = value - _EPOCH
        value = since.days * _DAY + since.seconds * _SECOND + since.microseconds
    return _long(value)


_SCALARS: dict[Scalar, Write] = {
    Scalar.BOOLEAN: _boolean,
    Scalar.INTEGER: _long,
    Scalar.FLOAT: _double,
    Scalar.STRING: _text,
    Scalar.BYTES: _bytes,
    Scalar.DATE: _date,
    Scalar.TIME: _time,
    Scalar.TIMESTAMP: _timestamp,
    Scalar.UUID: _text,
    Scalar.JSON: _text,
}


def _writer(kind: FieldType) -> Write:
    """What writes values of a type, null included."""
    match kind:
        case Scalar():
            return _SCALARS[kind]
        case Decimal():
            return _decimal(kind)
        case Enum():
            indexes: dict[str | None, bytes] = {
                symbol: _long(index) for index, symbol in enumerate(kind.symbols)
            }
            return (indexes | {None: _NULL}).__getitem__
        case Array():
            return _array(kind)
        case Map():
            return _map(kind)
        case Record():
            return _record(kind)


def _decimal(kind: Decimal) -> Write:
    def write(value: decimal.Decimal | None) -> bytes:
        """The shortest two's complement of the unscaled number, big-endian."""
        if value is None:
            return _NULL
        unscaled = int(value.scaleb(kind.scale, _DIGITS))
        size = (unscaled if unscaled >= 0 else ~unscaled).bit_length() // 8 + 1
        return _bytes(unscaled.to_bytes(size, "big", signed=True))

    return write


def _array(kind: Array) -> Write:
    item = _writer(kind.item)

    def write(values: list[Any] | None) -> bytes:
        if values is None:
            return _NULL
        if not values:
            return b"\x02\x00"
        return b"".join([_SOME, _length(len(values)), *map(item, values), b"\x00"])

    return write


def _map(kind: Map) -> Write:
    item = _writer(kind.value)

    def write(values: dict[str, Any] | None) -> bytes:
        if values is None:
            return _NULL
        if not values:
            return b"\x02\x00"
        parts = [_SOME, _length(len(values))]
        for key, value in values.items():
            name = key.encode()
            parts += (_length(len(name)), name, item(value))
        return b"".join([*parts, b"\x00"])

    return write


def _record(kind: Record) -> Write:
    fields = [(f.name, _writer(f.type)) for f in kind.fields]

    def write(value: dict[str, Any] | None) -> bytes:
        if value is None:
            return _NULL
        get = value.get
        return _SOME + b"".join([write(get(name)) for name, write in fields])

    return write
