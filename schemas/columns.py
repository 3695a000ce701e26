"""A run of Avro messages <-> a frame of typed columns, in one native call each way.

A container block is the concatenation of records. Messages are joined by a sentinel, and the
reader's schema ends with a fixed(13) that *is* the sentinel and the next message's Confluent
header: so nothing is sliced, and a record that ate its neighbour's bytes is noticed.
Identities of Avro's binary encoding let native code read what it has no name for: an enum is its
int index, a map is an array of key and value records, a time is its long.
"""

import io
from collections.abc import Callable, Sequence
from typing import Any

import polars as pl

from schemas import avro
from schemas.bounds import within_bounds
from schemas.decimals import avro_bytes
from schemas.foreign import as_read, fits_decimal_column, without_null
from schemas.types import Array, Decimal, Enum, FieldType, Map, Record, Scalar

# Python's hash of a text is another one in every process: nobody can write it into a message, to
# pass two records off as one
SENTINEL = hash("seam").to_bytes(8, "big", signed=True)
MARKER = SENTINEL + hash("marker").to_bytes(8, "big", signed=True)
RUN_OUT = bytes(16_384)
"""Behind the records of a block. The native reader panics, and prints so on standard error, where a
length leads out of its block; the lengths of damaged records, of one or two bytes mostly, end here
and are errors."""
KEY, VALUE = "k", "v"
_SEAM = "__seam"

_DTYPES: dict[Scalar, pl.DataType] = {
    Scalar.BOOLEAN: pl.Boolean(),
    Scalar.INTEGER: pl.Int64(),
    Scalar.FLOAT: pl.Float64(),
    Scalar.STRING: pl.String(),
    Scalar.BYTES: pl.Binary(),
    Scalar.DATE: pl.Date(),
    Scalar.TIME: pl.Time(),
    Scalar.TIMESTAMP: pl.Datetime("us"),
    Scalar.UUID: pl.String(),
    Scalar.JSON: pl.String(),
}


class MisfitError(Exception):
    """The bytes are not a run of records of this schema."""


def dtype_of(kind: FieldType) -> pl.DataType:
    """The column type of a field: timestamps are naive UTC, maps lists of key and value."""
    match kind:
        case Scalar():
            return _DTYPES[kind]
        case Decimal(precision, scale):
            return pl.Decimal(precision, scale)
        case Enum():
            return pl.String()
        case Array(item, _, _):
            return pl.List(dtype_of(item))
        case Map(value, _, _):
            return pl.List(pl.Struct({KEY: pl.String(), VALUE: dtype_of(value)}))
        case Record():
            return pl.Struct({f.name: dtype_of(f.type) for f in kind.fields})


class FrameReader:
    """Reads messages of one writer schema, a record. ``native`` is False where Polars cannot.

    Raises ValueError for what is no schema.
    """

    def __init__(self, schema: avro.Schema, schema_id: int) -> None:
        self.schema = as_read(schema)
        self.header = avro.wire_header(schema_id)
        self._names: list[str] = [f["name"] for f in self.schema["fields"]]
        self._repairs: list[pl.Expr] = []
        self._checks: list[pl.Expr] = []
        self.native = True
        try:
            fields = [self._field(f) for f in avro.expanded(self.schema)["fields"]]
        except _UnreadableError:
            self.native = False
            return
        self._seam = SENTINEL + self.header
        fixed = {"type": "fixed", "name": _SEAM, "size": len(self._seam)}
        wrapper = {
            "type": "record",
            "name": "W",
            "fields": [*fields, {"name": _SEAM, "type": fixed}],
        }
        self._container = avro.container_head(wrapper)

    def read(self, values: Sequence[bytes]) -> pl.DataFrame:
        """One row a message, in order. Raises MisfitError if one of them is no such record."""
        if not values[0].startswith(self.header):
            raise MisfitError("another schema's header")
        body = b"".join((SENTINEL.join(values)[len(self.header) :], self._seam, RUN_OUT))
        container = avro.container_block(self._container, len(values), body)
        try:
            frame = pl.read_avro(io.BytesIO(container))
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
            # foreign bytes can make the native reader panic: the one place that must survive it
            raise MisfitError(str(error)) from error
        seams = pl.col(_SEAM) == pl.lit(self._seam)
        whole = frame.height == len(values) and frame.select(seams.all()).item()
        if not whole:
            raise MisfitError("a record's bytes do not end where the message ends")
        if self._checks and not frame.select(pl.all_horizontal(self._checks).all()).item():
            raise MisfitError("a date, time or decimal is beyond what its type holds")
        frame = frame.select(self._names)
        return self._repaired(frame) if self._repairs else frame

    def _repaired(self, frame: pl.DataFrame) -> pl.DataFrame:
        repaired = frame.with_columns(self._repairs)
        for name in (e.meta.output_name() for e in self._repairs):
            if _nulls(repaired[name]) != _nulls(frame[name]):
                raise MisfitError(f"an enumeration index of {name} is out of range")
        return repaired

    def _field(self, field: dict[str, Any]) -> dict[str, Any]:
        name = field["name"]
        readable = {"name": name, "type": _readable(field["type"], name)}
        repair = _repair(pl.col(name), field["type"])
        if repair is not None:
            self._repairs.append(repair.alias(name))
        check = within_bounds(pl.col(name), field["type"])
        if check is not None:
            self._checks.append(check.fill_null(value=True))
        return readable


class _UnreadableError(Exception):
    """Polars reads no such type."""


def _nulls(series: pl.Series) -> int:
    """How many nulls there are on every level together."""
    count = series.null_count()
    if isinstance(series.dtype, pl.List):
        return count + _nulls(series.explode())
    if isinstance(series.dtype, pl.Struct):
        return count + sum(_nulls(part) for part in series.struct.unnest().get_columns())
    return count


_NATIVE = {"boolean", "int", "long", "float", "double", "string", "bytes"}
_NANOS = {"time-millis": 1_000_000, "time-micros": 1_000}  # what Polars counts times in
_AS_NAIVE = {  # columns are naive UTC
    "timestamp-micros": "local-timestamp-micros",
    "timestamp-millis": "local-timestamp-millis",
}


def _readable(node: Any, path: str) -> Any:  # noqa: ANN401 - JSON
    """The same bytes, described in types that Polars reads. Raises _UnreadableError."""
    if isinstance(node, list):
        if len(node) != 2 or node.count("null") != 1:  # noqa: PLR2004 - null and one type
            raise _UnreadableError
        return ["null" if branch == "null" else _readable(branch, path) for branch in node]
    if isinstance(node, str):
        return _native(node, node)
    if not isinstance(node["type"], str):
        return _readable(node["type"], path)
    if node.get("logicalType") == "decimal" and not fits_decimal_column(node):
        raise _UnreadableError
    if node["type"] in _COMPOUND:
        return _COMPOUND[node["type"]](node, path)
    plain = {k: v for k, v in node.items() if k != avro.JSON_PROPERTY}
    if plain.get("logicalType") in _NANOS:
        del plain["logicalType"]  # Polars would make nulls of impossible times
    elif "logicalType" in plain:
        plain["logicalType"] = _AS_NAIVE.get(plain["logicalType"], plain["logicalType"])
    return _native(node["type"], plain)


def _native(kind: str, node: Any) -> Any:  # noqa: ANN401 - JSON
    if kind not in _NATIVE:
        raise _UnreadableError
    return node


def _readable_record(fields: Sequence[Any], path: str) -> dict[str, Any]:
    return {
        "type": "record",
        "name": path,
        "fields": [
            {"name": f["name"], "type": _readable(f["type"], f"{path}_{f['name']}")} for f in fields
        ],
    }


_COMPOUND: dict[str, Callable[[Any, str], Any]] = {
    "enum": lambda _node, _path: "int",
    "map": lambda node, path: {
        "type": "array",
        "items": _readable_record(
            [{"name": KEY, "type": "string"}, {"name": VALUE, "type": node["values"]}], path
        ),
    },
    "array": lambda node, path: {"type": "array", "items": _readable(node["items"], path + "_i")},
    "record": lambda node, path: _readable_record(node["fields"], path),
    "fixed": lambda node, path: node | {"name": path},
}


def _repair(column: pl.Expr, node: Any) -> pl.Expr | None:  # noqa: ANN401 - JSON
    """What turns the substitute type back into the real one; None where nothing is needed."""
    node = without_null(node)
    if node.get("logicalType") in _NANOS:
        return (column.cast(pl.Int64) * _NANOS[node["logicalType"]]).cast(pl.Time)
    return _REPAIRS[node["type"]](column, node) if node["type"] in _REPAIRS else None


def _repair_enum(column: pl.Expr, node: dict[str, Any]) -> pl.Expr:
    symbols = node["symbols"]
    return column.replace_strict(
        list(range(len(symbols))), symbols, default=None, return_dtype=pl.String
    )


def _repair_array(column: pl.Expr, node: dict[str, Any]) -> pl.Expr | None:
    inner = _repair(pl.element(), node["items"])
    return column.list.eval(inner) if inner is not None else None


def _repair_map(column: pl.Expr, node: dict[str, Any]) -> pl.Expr | None:
    entry = pl.element().struct
    inner = _repair(entry.field(VALUE), node["values"])
    if inner is None:
        return None
    return column.list.eval(pl.struct(entry.field(KEY), inner.alias(VALUE)))


def _repair_record(column: pl.Expr, node: dict[str, Any]) -> pl.Expr | None:
    # built anew: Polars 2.1 mixes up the fields of a with_fields inside another one
    parts = {f["name"]: column.struct.field(f["name"]) for f in node["fields"]}
    repaired = {f["name"]: _repair(parts[f["name"]], f["type"]) for f in node["fields"]}
    known = {name: part for name, part in repaired.items() if part is not None}
    return _struct(column, parts | known) if known else None


_REPAIRS: dict[str, Callable[[pl.Expr, dict[str, Any]], pl.Expr | None]] = {
    "enum": _repair_enum,
    "array": _repair_array,
    "map": _repair_map,
    "record": _repair_record,
}


class FrameWriter:
    """Writes frames as messages of one wire schema (all fields nullable, in its order)."""

    def __init__(self, kinds: dict[str, FieldType], schema_id: int) -> None:
        self.header = avro.wire_header(schema_id)
        self.native = not any(_has_map(kind) for kind in kinds.values())
        self._names = list(kinds)
        self._changed = [
            _writable(pl.col(name), kind).alias(name)
            for name, kind in kinds.items()
            if _changes(kind)
        ]

    def write(self, frame: pl.DataFrame, marker: bytes = MARKER) -> list[bytes] | None:
        """One message a row, in order; None if ``marker`` occurs in the data."""
        if frame.is_empty():
            return []
        seam = marker + self.header  # what is cut at the marker begins with the header
        seams = pl.Series(_SEAM, [seam], dtype=pl.Binary).new_from_index(0, frame.height)
        written = frame.with_columns(self._changed) if self._changed else frame
        out = io.BytesIO()
        # made of columns: for a thousand rows the set-up of a query is most of its cost
        marked = pl.DataFrame([seams, *map(written.get_column, self._names)]).rechunk()
        marked.write_avro(out, compression="uncompressed")
        count, body = avro.block_body(out.getvalue())
        # union branch 1, then the length: how Polars writes the seam's column
        before, *messages = body.split(b"\x02" + avro.varint(len(seam)) + marker)
        if before or len(messages) != frame.height or count != frame.height:
            return None
        return messages


def _struct(column: pl.Expr, parts: dict[str, pl.Expr]) -> pl.Expr:
    """The struct of these parts, null where the column is."""
    packed = pl.struct(part.alias(name) for name, part in parts.items())
    return pl.when(column.is_not_null()).then(packed)


def _has_map(kind: FieldType) -> bool:
    match kind:
        case Map():
            return True  # Polars would write the keys as nullable
        case Array(item, _, _):
            return _has_map(item)
        case Record():
            return any(_has_map(f.type) for f in kind.fields)
        case Scalar() | Decimal() | Enum():
            return False


def _writable(column: pl.Expr, kind: FieldType) -> pl.Expr:
    """The column in a type whose bytes are those of the wire schema."""
    match kind:
        case Scalar.TIME:
            return column.cast(pl.Int64) // 1000  # Polars counts nanoseconds
        case Decimal():
            # elementwise: within lists it is called once, and not once a list
            return column.map_batches(avro_bytes, return_dtype=pl.Binary(), is_elementwise=True)
        case Enum(_, symbols):
            indexes = column.cast(pl.Enum(symbols), strict=False).to_physical()
            return indexes.cast(pl.Int32)
        case Array(item, _, _):
            inner = _writable(pl.element(), item)
            return column.list.eval(inner) if _changes(item) else column
        case Record():
            if not _changes(kind):
                return column
            parts = {f.name: column.struct.field(f.name) for f in kind.fields}
            return _struct(column, {f.name: _writable(parts[f.name], f.type) for f in kind.fields})
        case Scalar() | Map():
            return column


def _changes(kind: FieldType) -> bool:
    match kind:
        case Scalar():
            return kind is Scalar.TIME
        case Enum() | Decimal():
            return True
        case Array(item, _, _):
            return _changes(item)
        case Record():
            return any(_changes(f.type) for f in kind.fields)
        case Map():
            return False
