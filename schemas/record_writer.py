"""One record at a time: for what comes singly or in small numbers, and for maps.

Avro 1.12, "Binary encoding". All fields are nullable on the wire (docs/adr/0006), so every writer
here writes the union's branch too. The writers of a record are put together once, from its types;
a library that looks at the schema again for every value takes eight times as long
(``python -m benchmarks.encoding``).
"""

import datetime as dt
import decimal
from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from struct import Struct
from typing import Any

from schemas import avro
from schemas.types import DECIMAL_DIGITS_MAX, Array, Decimal, Enum, FieldType, Map, Record, Scalar

Write = Callable[[Any], bytes]
WriteAll = Callable[[Sequence[Any]], list[bytes]]

_NULL, _SOME = b"\x00", b"\x02"  # the union's branches
_TRUE, _FALSE = b"\x02\x01", b"\x02\x00"
_LENGTHS = [avro.varint(n) for n in range(4_096)]
_HEADS = [_SOME + length for length in _LENGTHS]  # of texts
_SHORT = len(_HEADS)
_DOUBLE = Struct("<bd").pack
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_EPOCH_DAY = dt.date(1970, 1, 1).toordinal()
_MICROSECOND = dt.timedelta(microseconds=1)
_SECOND = 1_000_000  # microseconds
_EIGHT, _NINE = 1 << 49, 1 << 56  # zig-zag numbers from here on need so many bytes
_DIGITS = decimal.Context(prec=2 * DECIMAL_DIGITS_MAX)


class RecordWriter:
    """Writes single records as messages of one wire schema, from its fields in order."""

    def __init__(self, kinds: Mapping[str, FieldType], schema_id: int) -> None:
        self._header = avro.wire_header(schema_id)
        self._fields = [(name, _writer(kind)) for name, kind in kinds.items()]
        self._columns = [(name, _column(name, kind)) for name, kind in kinds.items()]

    def write(self, value: Mapping[str, Any]) -> bytes:
        """Header and record; a field that is missing is null.

        Takes the Python types that pydantic gives; a timestamp may be microseconds. Raises
        ValueError, TypeError or OverflowError on a misfit.
        """
        get = value.get
        return self._header + b"".join([write(get(name)) for name, write in self._fields])

    def write_all(self, values: Sequence[Mapping[str, Any]]) -> list[bytes]:
        """:meth:`write` of each, field by field, which takes two thirds of the time.

        What a misfit raises does not say which record it was.
        """
        columns = [write([v.get(name) for v in values]) for name, write in self._columns]
        return list(map(b"".join, zip(repeat(self._header, len(values)), *columns, strict=True)))


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
    return (_HEADS[size] if size < _SHORT else _head(size)) + raw


def _bytes(value: bytes | None) -> bytes:
    if value is None:
        return _NULL
    size = len(value)
    return (_HEADS[size] if size < _SHORT else _head(size)) + value


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
        value = (value - _EPOCH) // _MICROSECOND
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


def _texts(values: Sequence[str | None]) -> list[bytes]:
    """:func:`_text` of each."""
    raws = [None if value is None else value.encode() for value in values]
    return [
        _NULL if raw is None else (_HEADS[len(raw)] if len(raw) < _SHORT else _head(len(raw))) + raw
        for raw in raws
    ]


def _head(size: int) -> bytes:
    return _SOME + avro.varint(size)


_COLUMNS: dict[Scalar, WriteAll] = {
    Scalar.STRING: _texts,
    Scalar.UUID: _texts,
    Scalar.JSON: _texts,
    Scalar.FLOAT: lambda values: [_NULL if v is None else _DOUBLE(2, v) for v in values],
    Scalar.BOOLEAN: lambda values: [_NULL if v is None else _TRUE if v else _FALSE for v in values],
}
_USUALLY_ONE = frozenset({avro.SOURCE, avro.RECEIVED_AT, avro.EXTRA})  # of all that come together


def _column(name: str, kind: FieldType) -> WriteAll:
    """What writes a field of many records."""
    write = _writer(kind)
    each = _COLUMNS.get(kind) if isinstance(kind, Scalar) else None
    write_all = each or (lambda values: list(map(write, values)))
    if name not in _USUALLY_ONE:
        return write_all

    def write_one(values: Sequence[Any]) -> list[bytes]:
        if not values or values.count(values[0]) < len(values):
            return write_all(values)
        return [write(values[0])] * len(values)

    return write_one


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
