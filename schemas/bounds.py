"""What foreign bytes can say and no date, time or decimal can be: checks on the columns read.

A reader takes any integer for a date. Python, and the warehouse, know the years 1 to 9999.
"""

import datetime as dt
from typing import Any

import polars as pl

from schemas.foreign import without_null
from schemas.types import Array, FieldType, Map, Record, Scalar

_EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001 - columns are naive UTC
_FIRST = dt.datetime(1, 1, 1) - _EPOCH  # noqa: DTZ001 - as the epoch
_LAST = dt.datetime(9999, 12, 31, 23, 59, 59, 999_999) - _EPOCH  # noqa: DTZ001 - as the epoch
_MILLIS = (_FIRST // dt.timedelta(milliseconds=1), _LAST // dt.timedelta(milliseconds=1))
_MICROS = (_FIRST // dt.timedelta(microseconds=1), _LAST // dt.timedelta(microseconds=1))
_BOUNDS = {  # of the integers on the wire
    "date": (_FIRST.days, _LAST.days),
    "time-millis": (0, 86_400_000 - 1),
    "time-micros": (0, 86_400_000_000 - 1),
    "timestamp-millis": _MILLIS,
    "timestamp-micros": _MICROS,
    "local-timestamp-millis": _MILLIS,
    "local-timestamp-micros": _MICROS,
}


def within_bounds(column: pl.Expr, node: Any) -> pl.Expr | None:  # noqa: ANN401 - JSON
    """Whether all values of an Avro type can be what they should be; None where any can.

    Of a type that Polars reads: no union of several types.
    """
    node = without_null(node)
    match node["type"]:
        case "array":
            return _every(column, within_bounds(pl.element(), node["items"]))
        case "map":
            return _every(column, within_bounds(pl.element().struct.field("v"), node["values"]))
        case "record":
            parts = [(column.struct.field(f["name"]), f["type"]) for f in node["fields"]]
            checks = [within_bounds(part, kind) for part, kind in parts]
            known = [check.fill_null(value=True) for check in checks if check is not None]
            return pl.all_horizontal(known) if known else None
        case _:
            return _plain(column, node)


def finite_inside(column: pl.Expr, kind: FieldType) -> pl.Expr | None:
    """Whether no number inside a column is infinite or NaN, which JSON cannot say; None: no float.

    A column that is a float itself may be either.
    """
    match kind:
        case Array(item, _, _):
            return _every(column, _finite(pl.element(), item))
        case Map(value, _, _):
            return _every(column, _finite(pl.element().struct.field("v"), value))
        case Record(_, fields):
            found = [_finite(column.struct.field(f.name), f.type) for f in fields]
            known = [check.fill_null(value=True) for check in found if check is not None]
            return pl.all_horizontal(known) if known else None
        case _:
            return None


def _finite(column: pl.Expr, kind: FieldType) -> pl.Expr | None:
    return column.is_finite() if kind is Scalar.FLOAT else finite_inside(column, kind)


def _every(column: pl.Expr, check: pl.Expr | None) -> pl.Expr | None:
    return None if check is None else column.list.eval(check.fill_null(value=True)).list.all()


def _plain(column: pl.Expr, node: dict[str, Any]) -> pl.Expr | None:
    logical = node.get("logicalType")
    if logical == "decimal":
        limit = 10 ** node["precision"]
        return column.to_physical().is_between(-limit + 1, limit - 1)
    if logical in _BOUNDS:
        lowest, highest = _BOUNDS[logical]
        return column.to_physical().is_between(lowest, highest)
    return None
