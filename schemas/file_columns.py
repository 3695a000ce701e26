"""The columns of the Parquet file that COPY loads into a contract's table."""

from typing import Any

import polars as pl

from schemas import avro, exact_json
from schemas.columns import KEY, VALUE
from schemas.contract import Contract
from schemas.table import columns_of
from schemas.types import Array, Decimal, Enum, FieldType, Map, Record, Scalar


class FileColumns:
    """Turns judged columns into those of the Parquet file: nested ones become JSON text."""

    def __init__(self, contract: Contract) -> None:
        kinds = avro.field_types(contract)
        self._nested = {f.name: f.type for f in contract.fields if _nested(f.type)}
        self._by_row = {name for name, kind in self._nested.items() if not _encodable(kind)}
        self._select = [
            self._written(c.name, kinds.get(c.name)) for c in columns_of(contract) if c.in_file
        ]

    def _written(self, name: str, kind: FieldType | None) -> pl.Expr:
        if name in self._nested and name not in self._by_row:
            return _json_text(name, self._nested[name]).alias(name)
        if kind is Scalar.TIME:
            return pl.col(name).dt.to_string("%H:%M:%S%.6f")
        return pl.col(name)

    def of(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The file's columns, in order."""
        if self._by_row:
            frame = frame.with_columns(
                pl.Series(name, _dumped(frame[name], self._nested[name]), dtype=pl.String)
                for name in self._by_row
            )
        return frame.select(self._select)


def _nested(kind: FieldType) -> bool:
    return isinstance(kind, Array | Map | Record)


def _json_text(name: str, kind: FieldType) -> pl.Expr:
    """JSON of a nested column, whatever it is: encoded as a record's only field, then unwrapped."""
    told = _told(pl.col(name), kind)
    text = pl.struct(told.alias(name)).struct.json_encode()
    wrap = len(f'{{"{name}":')
    return pl.when(pl.col(name).is_not_null()).then(text.str.slice(wrap).str.head(-1))


_DAY, _TIME = "%Y-%m-%d", "%H:%M:%S"


def _told(column: pl.Expr, kind: FieldType) -> pl.Expr:
    """The column with everything as text that :func:`jsonable` makes a text of."""
    match kind:
        case Scalar.DATE:
            return column.dt.to_string(_DAY)
        case Scalar.TIME:
            return _with_fraction(column, _TIME, "")
        case Scalar.TIMESTAMP:
            return _with_fraction(column, f"{_DAY}T{_TIME}", "Z")
        case Scalar.BYTES:
            return column.bin.encode("hex")
        case Decimal():
            return column.cast(pl.String)
        case Array(item, _, _):
            return column.list.eval(_told(pl.element(), item))
        case Record(_, fields):
            parts = [_told(column.struct.field(f.name), f.type).alias(f.name) for f in fields]
            return pl.when(column.is_not_null()).then(pl.struct(parts))
        case Scalar() | Enum() | Map():
            return column


def _with_fraction(column: pl.Expr, form: str, end: str) -> pl.Expr:
    """As Python writes times: six digits behind the point, or none."""
    whole = column.dt.nanosecond() == 0
    return (
        pl.when(whole)
        .then(column.dt.to_string(form + end))
        .otherwise(column.dt.to_string(f"{form}%.6f{end}"))
    )


def _encodable(kind: FieldType) -> bool:
    """Whether Polars writes the JSON that we mean: no maps, no JSON inside."""
    match kind:
        case Scalar():
            return kind is not Scalar.JSON
        case Map():
            return False
        case Decimal() | Enum():
            return True
        case Array(item, _, _):
            return _encodable(item)
        case Record(_, fields):
            return all(_encodable(f.type) for f in fields)


def _dumped(values: pl.Series, kind: FieldType) -> list[str | None]:
    return [
        None if value is None else exact_json.dumps(jsonable(kind, value)).decode()
        for value in values.to_list()
    ]


def jsonable(kind: FieldType, value: Any) -> Any:  # noqa: ANN401 - whatever a column holds
    """A column's value as JSON takes it: ISO times (UTC), bytes in hex, decimals as text."""
    if value is None:
        return None
    match kind:
        case Scalar.JSON:
            return exact_json.loads(value)
        case Scalar.DATE | Scalar.TIME | Scalar.TIMESTAMP:
            # not left to orjson, which drops zeros of a time: .029784 becomes .29784
            return value.isoformat() + ("Z" if kind is Scalar.TIMESTAMP else "")
        case Scalar.BYTES:
            return value.hex()
        case Decimal():
            return f"{value:f}"  # never 0E-9
        case Array(item, _, _):
            return [jsonable(item, v) for v in value]
        case Map(inner, _, _):
            return {pair[KEY]: jsonable(inner, pair[VALUE]) for pair in value}
        case Record(_, fields):
            return {f.name: jsonable(f.type, value[f.name]) for f in fields}
        case Scalar() | Enum():
            return value
