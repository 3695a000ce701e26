"""What a writer wrote, in the columns that the contract has now."""

import datetime as dt
import decimal
import enum
import uuid
from collections.abc import Sequence
from typing import Any

import orjson
import polars as pl

from schemas import avro
from schemas.columns import KEY, VALUE, dtype_of
from schemas.contract import Contract
from schemas.types import Array, Decimal, Enum, FieldType, Map, Record, Scalar

UNFIT = "__unfit"
"""A column that names the first field whose value does not fit the contract's type, or null."""


class Alignment:
    """From one writer schema's columns to the contract's. Unknown fields go to ``_extra``."""

    def __init__(self, contract: Contract, writer: avro.Schema) -> None:
        self._kinds = avro.field_types(contract)
        self._unknown = [
            f["name"]
            for f in writer["fields"]
            if f["name"] not in self._kinds and not f["name"].startswith("_")
        ]
        self._exact: list[pl.Expr] | None = None

    def of(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The frame with exactly the contract's and Sluice's own columns, and ``UNFIT``."""
        if self._exact is None:
            self._exact = self._plan(frame)
        return frame.select(self._exact)

    def _plan(self, frame: pl.DataFrame) -> list[pl.Expr]:
        unfit: list[pl.Expr] = []
        columns = []
        for name, kind in self._kinds.items():
            target = dtype_of(kind)
            if name not in frame.columns:
                columns.append(pl.lit(None, dtype=target).alias(name))
            elif frame.schema[name] == target:
                columns.append(pl.col(name))
            else:
                converted = _converted(name, kind, frame.schema[name])
                lost = pl.col(name).is_not_null() & converted.is_null()
                unfit.append(pl.when(lost).then(pl.lit(name)))
                columns.append(converted.alias(name))
        if self._unknown:
            rest = pl.struct(self._unknown).struct.json_encode()
            columns = [c for c in columns if c.meta.output_name() != avro.EXTRA]
            columns.append(rest.alias(avro.EXTRA))
            columns.sort(key=lambda c: list(self._kinds).index(c.meta.output_name()))
        first = pl.coalesce(unfit) if unfit else pl.lit(None, dtype=pl.String)
        return [*columns, first.alias(UNFIT)]


def _converted(name: str, kind: FieldType, found: pl.DataType) -> pl.Expr:
    """Null where a value has no counterpart of the type."""
    column = pl.col(name)
    if kind is Scalar.JSON:
        text = pl.struct(name).struct.json_encode()
        return pl.when(column.is_not_null()).then(text.str.slice(len(f'{{"{name}":')).str.head(-1))
    if kind is Scalar.TIMESTAMP and isinstance(found, pl.Datetime):
        return column.dt.replace_time_zone(None).dt.cast_time_unit("us")
    if isinstance(found, pl.Struct | pl.List) and not isinstance(found, _shape(kind)):
        return pl.lit(None, dtype=dtype_of(kind))
    return column.cast(dtype_of(kind), strict=False)


def _shape(kind: FieldType) -> tuple[type[pl.DataType], ...]:
    match kind:
        case Record():
            return (pl.Struct,)
        case Array() | Map():
            return (pl.List,)
        case Scalar() | Decimal() | Enum():
            return ()


def frame_of(contract: Contract, records: Sequence[dict[str, Any]]) -> pl.DataFrame:
    """The same columns from records that fastavro read."""
    kinds = avro.field_types(contract)
    unfit: list[str | None] = [None] * len(records)
    columns = []
    for name, kind in kinds.items():
        values = []
        for row, record in enumerate(records):
            value, fits = plain(kind, record.get(name))
            if not fits:
                unfit[row] = unfit[row] or name
            values.append(value)
        columns.append(pl.Series(name, values, dtype=dtype_of(kind), strict=False))
    frame = pl.DataFrame(columns)
    rest = [_rest(record, kinds) for record in records]
    if any(text is not None for text in rest):
        own = pl.Series(avro.EXTRA, rest, dtype=pl.String)
        frame = frame.with_columns(own.fill_null(frame[avro.EXTRA]))
    return frame.with_columns(pl.Series(UNFIT, unfit, dtype=pl.String))


def _rest(record: dict[str, Any], kinds: dict[str, FieldType]) -> str | None:
    unknown = {k: v for k, v in record.items() if k not in kinds and not k.startswith("_")}
    return orjson.dumps(unknown, default=_text).decode() if unknown else None


def _text(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


_PYTHON: dict[Scalar, tuple[type, ...]] = {
    Scalar.BOOLEAN: (bool,),
    Scalar.INTEGER: (int,),
    Scalar.FLOAT: (float, int),
    Scalar.STRING: (str,),
    Scalar.BYTES: (bytes,),
    Scalar.DATE: (dt.date,),
    Scalar.TIME: (dt.time,),
    Scalar.TIMESTAMP: (dt.datetime,),
}


def plain(kind: FieldType, value: Any) -> tuple[Any, bool]:  # noqa: ANN401 - whatever Avro holds
    """A value as its column takes it, and whether it fits; what does not becomes null."""
    if value is None:
        return None, True
    match kind:
        case Scalar.JSON:
            text = value if isinstance(value, str) else orjson.dumps(value, default=_text).decode()
            return text, True
        case Scalar.UUID:
            return str(value), isinstance(value, str | uuid.UUID)
        case Scalar.TIMESTAMP if isinstance(value, dt.datetime):
            aware = value.astimezone(dt.UTC) if value.tzinfo else value
            return aware.replace(tzinfo=None), True
        case Scalar():
            fits = isinstance(value, _PYTHON[kind])
            return (value, True) if fits else (None, False)
        case Decimal(_, scale):
            return _decimal(value, scale)
        case Enum(_, symbols):
            text = value.value if isinstance(value, enum.Enum) else value
            return (text, True) if text in symbols else (None, False)
        case Array() | Map() | Record():
            return _nested(kind, value)


def _decimal(value: object, scale: int) -> tuple[decimal.Decimal | None, bool]:
    if isinstance(value, float) or not isinstance(value, decimal.Decimal | int):
        return None, False
    exact = decimal.Decimal(value)
    rounded = exact.quantize(decimal.Decimal(1).scaleb(-scale))
    return (rounded, True) if rounded == exact else (None, False)


def _nested(kind: Array | Map | Record, value: Any) -> tuple[Any, bool]:  # noqa: ANN401 - see plain
    match kind:
        case Array(item, _, _) if isinstance(value, list):
            parts = [plain(item, v) for v in value]
            return [p for p, _ in parts], all(fits for _, fits in parts)
        case Map(inner, _, _) if isinstance(value, dict):
            pairs = [(key, plain(inner, v)) for key, v in value.items()]
            return [{KEY: k, VALUE: p} for k, (p, _) in pairs], all(f for _, (_, f) in pairs)
        case Record(_, fields) if isinstance(value, dict):
            found = {f.name: plain(f.type, value.get(f.name)) for f in fields}
            return {k: p for k, (p, _) in found.items()}, all(f for _, f in found.values())
        case _:
            return None, False
