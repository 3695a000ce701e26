"""Values that fastavro read, as a contract's columns and as JSON take them."""

import datetime as dt
import decimal
import math
from collections.abc import Mapping
from typing import Any

import orjson

from schemas import exact_json
from schemas.columns import KEY, VALUE
from schemas.types import Array, Decimal, Enum, FieldType, Map, Record, Scalar

_PYTHON: dict[Scalar, tuple[type, ...]] = {
    Scalar.BOOLEAN: (bool,),
    Scalar.INTEGER: (int,),
    Scalar.FLOAT: (float, int),
    Scalar.STRING: (str,),
    Scalar.BYTES: (bytes,),
    Scalar.DATE: (dt.date,),
    Scalar.TIME: (dt.time,),
    Scalar.TIMESTAMP: (dt.datetime,),
    Scalar.UUID: (str,),
}
_CONTEXT = decimal.Context(prec=10_000)


def plain(kind: FieldType, value: Any) -> tuple[Any, bool]:  # noqa: ANN401 - whatever Avro holds
    """A value as its column takes it, and whether it fits; what has no place there becomes null."""
    if value is None:
        return None, True
    match kind:
        case Scalar.JSON:
            return (as_json(value) if type(value) is str else dumped(value)), True
        case Scalar():
            return _scalar(kind, value)
        case Decimal():
            return _decimal(kind, value)
        case Enum():
            return (value, True) if type(value) is str else (None, False)  # the rules know whether
        case Array() | Map() | Record():
            return _nested(kind, value)


def _scalar(kind: Scalar, value: object) -> tuple[Any, bool]:
    if type(value) not in _PYTHON[kind]:  # exactly: True is an int, a datetime is a date
        return None, False
    if kind is Scalar.FLOAT and isinstance(value, int):
        return float(value), True
    if isinstance(value, dt.datetime) and value.tzinfo is not None:
        return value.astimezone(dt.UTC).replace(tzinfo=None), True
    return value, True


def _decimal(kind: Decimal, value: object) -> tuple[decimal.Decimal | None, bool]:
    """Exactly: no place is rounded away."""
    if type(value) is not int and not isinstance(value, decimal.Decimal):
        return None, False
    exact = decimal.Decimal(value)
    scaled = exact.quantize(decimal.Decimal(1).scaleb(-kind.scale), context=_CONTEXT)
    fits = scaled == exact and len(scaled.as_tuple().digits) <= kind.precision
    return (scaled, True) if fits else (None, False)


def _nested(kind: Array | Map | Record, value: Any) -> tuple[Any, bool]:  # noqa: ANN401 - see plain
    match kind:
        case Array(item, _, _) if isinstance(value, list):
            parts = [_inner(item, v) for v in value]
            return [p for p, _ in parts], all(fits for _, fits in parts)
        case Map(inner, _, _) if isinstance(value, dict):
            pairs = [(key, _inner(inner, v)) for key, v in value.items()]
            return [{KEY: k, VALUE: p} for k, (p, _) in pairs], all(f for _, (_, f) in pairs)
        case Record(_, fields) if isinstance(value, dict):
            found = {f.name: _inner(f.type, value.get(f.name)) for f in fields}
            return {k: p for k, (p, _) in found.items()}, all(f for _, f in found.values())
        case _:
            return None, False


def _inner(kind: FieldType, value: Any) -> tuple[Any, bool]:  # noqa: ANN401 - see plain
    """Of what becomes JSON, which knows no infinity and no NaN."""
    found, fits = plain(kind, value)
    return found, fits and not (isinstance(found, float) and not math.isfinite(found))


def as_json(text: str | None) -> str | None:
    """A text that is JSON, and no key twice; any other text as a JSON string."""
    if text is None:
        return None
    try:
        return exact_json.dumps(exact_json.loads(text)).decode()
    except ValueError:
        return orjson.dumps(text).decode()


def dumped(value: object) -> str | None:
    """The JSON of a value that fastavro read."""
    return None if value is None else orjson.dumps(jsonable(value)).decode()


def jsonable(value: Any) -> Any:  # noqa: ANN401 - whatever Avro holds
    """As JSON takes it: ISO times with microseconds, bytes in hex, decimals as text."""
    match value:
        case Mapping():
            return {key: jsonable(v) for key, v in value.items()}
        case list():
            return [jsonable(v) for v in value]
        case dt.datetime():
            zone = "Z" if value.tzinfo is not None else ""
            return value.replace(tzinfo=None).isoformat(timespec="microseconds") + zone
        case dt.time():
            return value.isoformat(timespec="microseconds")
        case dt.date():
            return value.isoformat()
        case bytes():
            return value.hex()
        case decimal.Decimal():
            return f"{value:f}"
        case _:
            return value
