"""What a writer wrote, in the columns that the contract has now.

Columns are converted only where no value can be lost; every other writer's messages are read one
by one, and a value that has no counterpart in the contract's type makes its row unfit.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from consumers.reading.converting import NoExpressionError, converted, free_form, json_column
from consumers.reading.plain import as_json, dumped, plain
from consumers.reading.records import POISON
from schemas import avro, exact_json
from schemas.bounds import finite_inside
from schemas.columns import dtype_of
from schemas.contract import Contract
from schemas.foreign import without_null
from schemas.types import FieldType, Scalar

UNFIT = "__unfit"
"""A column that names the first field whose value does not fit the contract's type, or null."""

_OURS = (avro.ID, avro.SOURCE, avro.RECEIVED_AT, avro.EXTRA)


class Alignment:
    """From one writer schema to the contract's columns. Unknown fields go to ``_extra``.

    ``native``: whether columns can be converted; else use :meth:`of_records`. Fields called as
    ours are ours only if the writer has all of them: an ``_id`` alone is the stranger's own.
    Free form takes texts as JSON where they are JSON, and as strings where not.
    """

    def __init__(self, contract: Contract, writer: avro.Schema) -> None:
        self._nodes = {f["name"]: f["type"] for f in avro.expanded(writer)["fields"]}
        ours = all(_written_by_us(name, self._nodes.get(name)) for name in _OURS)
        self._kinds = avro.field_types(contract)
        self._known = [
            name
            for name in self._kinds
            if name in self._nodes and (ours or name not in avro.SYSTEM_NAMES)
        ]
        known = {*self._known, *(avro.SYSTEM_NAMES if ours else ())}
        self._unknown = [name for name in self._nodes if name not in known]
        self._texts = [
            name
            for name in self._known
            if self._kinds[name] is Scalar.JSON and _is_text(self._nodes[name])
        ]
        self._free = [  # not texts: their JSON is made here
            name
            for name in self._known
            if self._kinds[name] is Scalar.JSON and not _is_string(self._nodes[name])
        ]
        self._extra_too = ours and bool(self._unknown)
        checks = {name: finite_inside(pl.col(name), self._kinds[name]) for name in self._known}
        self._unsayable = [  # names of columns in whose JSON a number would become null
            pl.when(check.not_()).then(pl.lit(name))
            for name, check in checks.items()
            if check is not None
        ]
        self.native = True
        try:
            self._columns = self._plan()
        except NoExpressionError:
            self.native = False

    def of(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The frame with exactly the contract's and Sluice's own columns, and ``UNFIT``."""
        extra = frame[avro.EXTRA] if self._extra_too else None
        found = frame.select(self._columns)
        if self._unsayable:
            found = found.with_columns(pl.coalesce(self._unsayable).alias(UNFIT))
        return self._finished(found, extra)

    def of_records(self, records: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
        """The same columns from records that fastavro read."""
        unfit: list[str | None] = [None] * len(records)
        columns = []
        for name, kind in self._kinds.items():
            known = name in self._known
            values = []
            free = name in self._free
            for row, record in enumerate(records):
                found = record.get(name) if known else None
                value, fits = _fitted(kind, found, free=free)
                if not fits:
                    unfit[row] = unfit[row] or name
                values.append(value)
            columns.append(pl.Series(name, values, dtype=dtype_of(kind)))
        frame = pl.DataFrame([*columns, pl.Series(UNFIT, unfit, dtype=pl.String)])
        extra = frame[avro.EXTRA]
        if self._unknown:
            rest = [dumped({name: r.get(name) for name in self._unknown}) for r in records]
            frame = frame.with_columns(pl.Series(avro.EXTRA, rest, dtype=pl.String))
        return self._finished(frame, extra if self._extra_too else None)

    def _plan(self) -> list[pl.Expr]:
        columns = []
        for name, kind in self._kinds.items():
            if name == avro.EXTRA and self._unknown:
                parts = [json_column(pl.col(n), self._nodes[n]).alias(n) for n in self._unknown]
                column = pl.struct(parts).struct.json_encode()
            elif name in self._known and kind is Scalar.JSON:
                column = free_form(pl.col(name), self._nodes[name])
            elif name in self._known:
                column = converted(pl.col(name), kind, self._nodes[name])
            else:
                column = pl.lit(None, dtype=dtype_of(kind))
            columns.append(column.alias(name))
        return [*columns, pl.lit(None, dtype=pl.String).alias(UNFIT)]

    def _finished(self, frame: pl.DataFrame, extra: pl.Series | None) -> pl.DataFrame:
        """Texts as JSON, and what the writer itself had not known beside what we do not know."""
        columns = [
            pl.Series(
                name,
                list(map(as_json, frame[name].to_list())),
                dtype=pl.String,
            )
            for name in self._texts
        ]
        if extra is not None and extra.null_count() < len(extra):
            both = zip(frame[avro.EXTRA].to_list(), extra.to_list(), strict=True)
            merged = [_merged(rest, own) for rest, own in both]
            columns.append(pl.Series(avro.EXTRA, merged, dtype=pl.String))
        return frame.with_columns(columns)


def empty_frame(contract: Contract) -> pl.DataFrame:
    """No rows, all columns."""
    kinds: dict[str, FieldType] = avro.field_types(contract)
    return pl.DataFrame(schema={n: dtype_of(k) for n, k in kinds.items()} | {UNFIT: pl.String()})


def _fitted(kind: FieldType, value: Any, *, free: bool) -> tuple[Any, bool]:  # noqa: ANN401 - whatever Avro holds
    """A value as its column takes it, and whether it fits: JSON may be too deep to be written."""
    try:
        return (dumped(value), True) if free else plain(kind, value)
    except POISON:
        return None, False


def _written_by_us(name: str, node: Any) -> bool:  # noqa: ANN401 - JSON
    return node is not None and without_null(node) == avro.system_type(name)


def _is_text(node: Any) -> bool:  # noqa: ANN401 - JSON
    """A string that is not marked as JSON."""
    return _is_string(node) and avro.JSON_PROPERTY not in without_null(node)


def _is_string(node: Any) -> bool:  # noqa: ANN401 - JSON
    inner = without_null(node)
    return isinstance(inner, dict) and inner["type"] == "string"


def _merged(rest: str, own: str | None) -> str:
    """One object of two; text that is none is kept under its column's name."""
    if own is None:
        return rest
    try:
        known = exact_json.loads(own)
    except ValueError:
        known = own
    found = known if isinstance(known, dict) else {avro.EXTRA: known}
    return exact_json.dumps(found | exact_json.loads(rest)).decode()
