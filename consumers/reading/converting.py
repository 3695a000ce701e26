"""Columns of a writer's Avro types as columns of a contract's types, without any loss."""

from collections.abc import Callable
from typing import Any

import polars as pl

from schemas import avro
from schemas.columns import KEY, VALUE, dtype_of
from schemas.foreign import without_null
from schemas.types import Array, Decimal, Enum, FieldType, Map, Record, Scalar

Node = Any  # a type in an Avro schema, as JSON


class NoExpressionError(Exception):
    """Only record by record."""


_DIGITS = {"int": 10, "long": 19}  # of the largest number
_TIMESTAMPS = {
    "timestamp-millis",
    "timestamp-micros",
    "local-timestamp-millis",
    "local-timestamp-micros",
}
_EXACT: dict[Scalar, set[str]] = {  # type, or logical type, whose column is the contract's column
    Scalar.BOOLEAN: {"boolean"},
    Scalar.INTEGER: {"long"},
    Scalar.FLOAT: {"double"},
    Scalar.STRING: {"string", "enum"},
    Scalar.UUID: {"string"},
    Scalar.BYTES: {"bytes", "fixed"},
    Scalar.DATE: {"date"},
    Scalar.TIME: {"time-millis", "time-micros"},
    Scalar.TIMESTAMP: {"timestamp-micros", "local-timestamp-micros"},
}
_WIDENED: dict[Scalar, set[str]] = {
    Scalar.INTEGER: {"int"},
    Scalar.FLOAT: {"int", "long", "float"},
}


def converted(column: pl.Expr, kind: FieldType, node: Node) -> pl.Expr:
    """The column in the contract's type. Raises NoExpressionError where a value could be lost."""
    node = without_null(node)
    if isinstance(node, list):
        raise NoExpressionError
    found = node.get("logicalType", node["type"])
    match kind:
        case Scalar.JSON:
            return _marked(column, node)
        case Scalar():
            return _scalar(column, kind, found)
        case Decimal():
            return _decimal(column, kind, node)
        case Enum() if found in {"enum", "string"}:
            return column
        case Array(item, _, _) if found == "array":
            return _every(column, item, lambda each: converted(each, item, node["items"]))
        case Map(value, _, _) if found == "map":
            return _every(column, value, lambda each: _entry(each, value, node["values"]))
        case Record() if found == "record":
            return _record(column, kind, node)
        case _:
            raise NoExpressionError


def _scalar(column: pl.Expr, kind: Scalar, found: str) -> pl.Expr:
    if found in _EXACT[kind]:
        return column
    if found in _WIDENED.get(kind, ()):
        return column.cast(dtype_of(kind))
    if kind is Scalar.TIMESTAMP and found in _TIMESTAMPS:
        return column.dt.cast_time_unit("us")
    raise NoExpressionError


def _decimal(column: pl.Expr, kind: Decimal, node: Node) -> pl.Expr:
    if "logicalType" not in node and node["type"] in _DIGITS:
        digits, places = _DIGITS[node["type"]], 0
    elif node.get("logicalType") == "decimal":
        digits, places = node["precision"], node.get("scale", 0)
    else:
        raise NoExpressionError
    if places > kind.scale or digits - places > kind.precision - kind.scale:
        raise NoExpressionError
    same = "precision" in node and (digits, places) == (kind.precision, kind.scale)
    return column if same else column.cast(dtype_of(kind))


def _marked(column: pl.Expr, node: Node) -> pl.Expr:
    if node["type"] == "string" and avro.JSON_PROPERTY in node:
        return column
    raise NoExpressionError


def free_form(column: pl.Expr, node: Node) -> pl.Expr:
    """The JSON of a column of any type; texts stay. Raises NoExpressionError."""
    if without_null(node) == node and isinstance(node, list):
        raise NoExpressionError
    if without_null(node)["type"] == "string":
        return column
    text = pl.struct(json_column(column, node).alias("x")).struct.json_encode()
    return pl.when(column.is_not_null()).then(text.str.slice(len('{"x":')).str.head(-1))


def _every(column: pl.Expr, kind: FieldType, change: Callable[[pl.Expr], pl.Expr]) -> pl.Expr:
    inner = change(pl.element())
    if inner.meta.eq(pl.element()):
        return column
    if _has_decimal(kind):
        raise NoExpressionError  # Polars 2.1 panics on some of these
    return column.list.eval(inner)


def _has_decimal(kind: FieldType) -> bool:
    match kind:
        case Array(inner, _, _) | Map(inner, _, _):
            return _has_decimal(inner)
        case Record(_, fields):
            return any(_has_decimal(f.type) for f in fields)
        case Scalar() | Decimal() | Enum():
            return isinstance(kind, Decimal)


def _entry(entry: pl.Expr, kind: FieldType, node: Node) -> pl.Expr:
    value = entry.struct.field(VALUE)
    changed = converted(value, kind, node)
    if changed.meta.eq(value):
        return entry
    return pl.struct(entry.struct.field(KEY), changed.alias(VALUE))


def _record(column: pl.Expr, kind: Record, node: Node) -> pl.Expr:
    """Field by field: unknown ones are left out, missing ones null."""
    there = {f["name"]: f["type"] for f in node["fields"]}
    parts = []
    changed = list(there) != [f.name for f in kind.fields]
    for field in kind.fields:
        if field.name in there:
            here = column.struct.field(field.name)
            part = converted(here, field.type, there[field.name])
            changed = changed or not part.meta.eq(here)
        elif isinstance(field.type, Decimal) or not _has_decimal(field.type):
            part = pl.lit(None, dtype=dtype_of(field.type))
        else:
            raise NoExpressionError  # Polars 2.1 panics on nulls of lists of decimals
        parts.append(part.alias(field.name))
    return pl.when(column.is_not_null()).then(pl.struct(parts)) if changed else column


# as plain.jsonable writes them
_TEXTS: dict[str, Callable[[pl.Expr], pl.Expr]] = {
    "date": lambda column: column.dt.strftime("%Y-%m-%d"),
    "time-millis": lambda column: column.dt.strftime("%H:%M:%S%.6f"),
    "time-micros": lambda column: column.dt.strftime("%H:%M:%S%.6f"),
    "timestamp-millis": lambda column: column.dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ"),
    "timestamp-micros": lambda column: column.dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ"),
    "local-timestamp-millis": lambda column: column.dt.strftime("%Y-%m-%dT%H:%M:%S%.6f"),
    "local-timestamp-micros": lambda column: column.dt.strftime("%Y-%m-%dT%H:%M:%S%.6f"),
    "decimal": lambda column: column.cast(pl.String),
    "bytes": lambda column: column.bin.encode("hex"),
    "fixed": lambda column: column.bin.encode("hex"),
    "float": lambda column: column.cast(pl.Float64),
}
_JSON_ALREADY = {"boolean", "int", "long", "double", "string", "enum"}


def json_column(column: pl.Expr, node: Node) -> pl.Expr:
    """The column in types of which Polars writes the JSON that we mean.

    Raises NoExpressionError for maps and unions.
    """
    node = without_null(node)
    found = node.get("logicalType", node["type"]) if isinstance(node, dict) else ""
    if found in _JSON_ALREADY:
        return column
    if found in _TEXTS:
        return _TEXTS[found](column)
    if found == "array":
        return column.list.eval(json_column(pl.element(), node["items"]))
    if found == "record":
        parts = [
            json_column(column.struct.field(f["name"]), f["type"]).alias(f["name"])
            for f in node["fields"]
        ]
        return pl.when(column.is_not_null()).then(pl.struct(parts))
    raise NoExpressionError
