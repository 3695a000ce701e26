"""A record becomes an event, or a rejection."""

from collections.abc import Sequence
from itertools import repeat
from operator import itemgetter
from typing import Any, NamedTuple, Protocol, cast

import polars as pl
import pydantic

from producers.columnar import Columns, UnfitError, json_texts
from schemas import avro, exact_json, identity
from schemas.coerce import Coercer, json_text
from schemas.columns import FrameWriter
from schemas.contract import Contract, Raw
from schemas.errors import RejectReason, Stage
from schemas.events import Incoming, Record, RecordHeaders, Rejection, Violation
from schemas.headers import Attributes
from schemas.record_writer import RecordWriter
from schemas.violations import violations_of

COLUMNAR_MIN = 200  # fewer records are faster one by one (python -m benchmarks.encoding)
_MISFITS = (ValueError, TypeError, OverflowError)
ROUNDS_MAX = 4  # how often unfit rows are set aside before all go one by one


Identity = tuple[str, bytes]
"""An event's id and the log's key."""


class Encoded(NamedTuple):
    """What became of some records: together as many as came in, each in the input's order."""

    records: tuple[Record, ...]
    rejections: tuple[Rejection, ...]
    ids: tuple[str, ...]  # event ids in the order of the input, rejected ones too


class Encoder(Protocol):
    """Encodes one stream's records."""

    contract: Contract

    def encode(self, incoming: Sequence[Incoming]) -> Encoded:
        """Coerce to the contract's types and encode; never raises on data."""


class StreamEncoder:
    """The encoder of a contract. ``schema_id`` is that of its wire schema.

    From ``columnar_min`` records on they are encoded together; the bytes are the same.
    ``attributes`` are headers of every record, besides those that it brings along.
    """

    def __init__(
        self,
        contract: Contract,
        schema_id: int,
        columnar_min: int = COLUMNAR_MIN,
        attributes: Attributes | None = None,
    ) -> None:
        self.contract = contract
        self.schema_id = schema_id
        self._attributes = attributes
        self._columnar_min = columnar_min
        self._coercer = Coercer(contract)
        self._frame_writer = FrameWriter(avro.field_types(contract), schema_id)
        self._record_writer = RecordWriter(avro.field_types(contract), schema_id)
        self._key = _names(contract, contract.key)
        self._version = _names(contract, contract.version)
        self._defaulted = self._coercer.fills((*self._key, *self._version))

    def encode(self, incoming: Sequence[Incoming]) -> Encoded:
        """Coerce to the contract's types and encode; never raises on data."""
        values: list[bytes | Rejection]
        ids, keys = self._identities(incoming)
        if len(incoming) < self._columnar_min or not self._frame_writer.native:
            values = self._few(incoming, ids)
        else:
            values = self._many(incoming, ids)
        topic, headers = self.contract.topic, self._headers(incoming, ids)
        if {bytes}.issuperset(map(type, values)):
            written = map(Record, repeat(topic), cast("list[bytes]", values), keys, headers)
            return Encoded(tuple(written), (), tuple(ids))
        return Encoded(
            tuple(
                Record(topic, value, key, head)
                for value, key, head in zip(values, keys, headers, strict=True)
                if isinstance(value, bytes)
            ),
            tuple(value for value in values if isinstance(value, Rejection)),
            tuple(ids),
        )

    def _headers(self, incoming: Sequence[Incoming], ids: Sequence[str]) -> Sequence[RecordHeaders]:
        attributes, stream = self._attributes, self.contract.stream
        if attributes is None:
            return [one.headers for one in incoming]
        return [
            (*attributes(id_, one.source, stream, one.received_at), *one.headers)
            for one, id_ in zip(incoming, ids, strict=True)
        ]

    def _identity(self, incoming: Incoming) -> Identity:
        """The event id, and the log's key: the contract's key, or the id where there is none.

        Duplicates share the log's key, hence their partition; events of one key keep their order.
        """
        value = self._naming(incoming)
        key = _named(value, self._key)
        version = _named(value, self._version) if self._version else ""
        id_ = self._id(incoming, key, version)
        if key is None or not self._key or key == id_:
            return id_, id_.encode()
        return id_, identity.bounded(key).encode()

    def _identities(self, incoming: Sequence[Incoming]) -> tuple[list[str], list[bytes]]:
        """:meth:`_identity` of all, column by column where they are of one kind."""
        if len(incoming) == 1:
            return _columns_of([self._identity(incoming[0])])
        values = [self._naming(each) for each in incoming]
        keys = _column(values, self._key)
        versions = _column(values, self._version)
        named = any(i.event_id for i in incoming)
        if named or keys is None or (self._version and versions is None):
            return _columns_of([self._identity(each) for each in incoming])
        ids = identity.event_ids_of_keys(keys, versions)
        return ids, [key.encode() for key in identity.all_bounded(keys)]

    def _naming(self, incoming: Incoming) -> dict[str, Any]:
        """What the id is read from: a default is as good as the value that it stands for."""
        return self._coercer.filled(incoming.value) if self._defaulted else incoming.value

    def _id(self, incoming: Incoming, key: str | None, version: str | None) -> str:
        if incoming.event_id:
            return identity.bounded(_whole_characters(incoming.event_id))
        if self._key and key is not None and version is not None:
            return identity.event_id_of_key(key, version if self._version else None)
        return identity.event_id_of_body(incoming.source, incoming.raw)

    def _few(self, incoming: Sequence[Incoming], ids: Sequence[str]) -> list[bytes | Rejection]:
        """:meth:`_one` of each; what was coerced is written together."""
        if len(incoming) == 1:
            return [self._one(incoming[0], ids[0])]
        coerced = [self._coerced(i, id_) for i, id_ in zip(incoming, ids, strict=True)]
        try:
            written = iter(
                self._record_writer.write_all([c for c in coerced if not isinstance(c, Rejection)])
            )
        except _MISFITS:
            return [self._one(i, id_) for i, id_ in zip(incoming, ids, strict=True)]
        return [c if isinstance(c, Rejection) else next(written) for c in coerced]

    def _one(self, incoming: Incoming, event_id: str) -> bytes | Rejection:
        found = self._coerced(incoming, event_id)
        if isinstance(found, Rejection):
            return found
        try:
            return self._record_writer.write(found)
        except _MISFITS as error:
            return self._misfit(incoming, event_id, error)

    def _coerced(self, incoming: Incoming, event_id: str) -> dict[str, Any] | Rejection:
        try:
            return self._found(incoming, event_id)
        except pydantic.ValidationError as error:
            return self._rejection(incoming, event_id, violations_of(error))
        except _MISFITS as error:
            return self._misfit(incoming, event_id, error)

    def _misfit(self, incoming: Incoming, event_id: str, error: Exception) -> Rejection:
        text = f"cannot be encoded: {error}"[:200]
        return self._rejection(incoming, event_id, (Violation("$", RejectReason.WRONG_TYPE, text),))

    def _found(self, incoming: Incoming, event_id: str) -> dict[str, Any]:
        """All fields on the wire. Raises pydantic.ValidationError, or ValueError for no JSON."""
        found = self._coercer.coerce(incoming.value)
        unknown = self._coercer.unknown_beside(found, incoming.value)
        found[avro.ID] = event_id
        found[avro.SOURCE] = incoming.source
        found[avro.RECEIVED_AT] = incoming.received_at
        found[avro.EXTRA] = None if unknown is None else json_text(unknown)
        if self.contract.keep_raw:
            found[avro.RAW] = incoming.raw.decode("utf-8", "replace")
        return found

    def _rejection(
        self, incoming: Incoming, event_id: str, violations: tuple[Violation, ...]
    ) -> Rejection:
        return Rejection(
            stream=self.contract.stream,
            stage=Stage.ENCODE,
            violations=violations,
            value=incoming.raw,
            headers=incoming.headers,
            schema_id=self.schema_id,
            event_id=event_id,
            source=incoming.source,
            seen_at=incoming.received_at,
        )

    def _many(self, incoming: Sequence[Incoming], ids: Sequence[str]) -> list[bytes | Rejection]:
        """Canonical records in one native call; the others one by one. In the input's order."""
        rows: Sequence[int] = range(len(incoming))
        fit, names = incoming, ids
        native: list[bytes] | None = None
        for _ in range(ROUNDS_MAX):
            if len(rows) < self._columnar_min:
                break
            try:
                native = self._native(fit, names)
                break
            except UnfitError as error:
                unfit = set(error.rows)
                rows = [row for place, row in enumerate(rows) if place not in unfit]
                fit, names = [incoming[row] for row in rows], [ids[row] for row in rows]
        if native and len(rows) == len(incoming):
            return [*native]
        done: dict[int, bytes] = dict(zip(rows, native, strict=True)) if native else {}
        return [
            done[row] if row in done else self._one(incoming[row], ids[row])
            for row in range(len(incoming))
        ]

    def _native(self, incoming: Sequence[Incoming], ids: Sequence[str]) -> list[bytes] | None:
        """Raises UnfitError with the places of records that are not in canonical form."""
        columns, values = Columns(), [i.value for i in incoming]
        series = [
            *self._columns(columns, values),
            pl.Series(avro.ID, ids, dtype=pl.String),
            pl.Series(avro.SOURCE, [i.source for i in incoming], dtype=pl.String),
            pl.Series(avro.RECEIVED_AT, [i.received_at for i in incoming], dtype=pl.Datetime("us")),
            pl.Series(avro.EXTRA, self._unknown(values, columns), dtype=pl.String),
        ]
        if self.contract.keep_raw:
            raw = [i.raw.decode("utf-8", "replace") for i in incoming]
            series.append(pl.Series(avro.RAW, raw, dtype=pl.String))
        return self._frame_writer.write(pl.DataFrame(series))

    def _unknown(self, values: Sequence[dict[str, Any]], columns: Columns) -> Sequence[str | None]:
        """What is unknown of every record as JSON. Raises UnfitError."""
        if not columns.strangers and self._coercer.knows(set().union(*values)):
            return [None] * len(values)
        return json_texts([self._coercer.unknown(value) for value in values])

    def _columns(self, columns: Columns, values: Sequence[dict[str, Any]]) -> list[pl.Series]:
        if self.contract.model is Raw:
            return [pl.Series("payload", json_texts(values), dtype=pl.String)]
        filled = [self._coercer.filled(value) for value in values]
        return [
            columns.column(f.type, _taken(filled, f.source)).alias(f.name)
            for f in self.contract.fields
        ]


def _columns_of(identities: Sequence[Identity]) -> tuple[list[str], list[bytes]]:
    return [id_ for id_, _ in identities], [key for _, key in identities]


def _taken(values: Sequence[dict[str, Any]], name: str) -> list[Any]:
    """What every record has under the name, None where it has nothing."""
    try:
        return list(map(itemgetter(name), values))
    except KeyError:
        return [value.get(name) for value in values]


def _names(contract: Contract, names: Sequence[str]) -> tuple[str, ...]:
    sources = {f.name: f.source for f in contract.fields}
    return tuple(sources[name] for name in names)


def _named(value: dict[str, Any], names: Sequence[str]) -> str | None:
    """The named fields of a record as one text; None where one of them is missing."""
    if len(names) == 1:
        return _text(value.get(names[0]))
    parts = [_text(value.get(name)) for name in names]
    return None if None in parts else identity.joined(map(str, parts))


def _column(values: Sequence[dict[str, Any]], names: Sequence[str]) -> list[str] | None:
    """:func:`_named` of every record; None where it is None for one of them, or no name is."""
    columns = [_all_texts(_taken(values, name)) for name in names]
    if not columns or any(None in column for column in columns):
        return None
    if len(columns) == 1:
        return columns[0]  # type: ignore[return-value] # no None is in it
    return [identity.joined(map(str, row)) for row in zip(*columns, strict=True)]


def _all_texts(parts: list[Any]) -> list[str | None]:
    """:func:`_text` of each; together where all are texts already."""
    if {str}.issuperset(map(type, parts)):
        try:
            "".join(parts).encode()
        except UnicodeEncodeError:
            pass
        else:
            return parts
    return [_text(part) for part in parts]


def _text(part: object) -> str | None:
    """None for what is missing, and for what is no JSON and will be rejected."""
    if type(part) is str:
        return _whole_characters(part)
    if part is None:
        return None
    try:
        return exact_json.dumps(part).decode()
    except TypeError:
        return None


def _whole_characters(text: str) -> str:
    """The text, lone surrogates escaped."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="backslashreplace").decode()
    return text
