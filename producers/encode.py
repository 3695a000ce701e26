"""A record becomes an event, or a rejection."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson
import polars as pl
import pydantic

from producers.coerce import Coercer, json_text
from producers.columnar import UnfitError, column, json_texts
from schemas import avro, identity
from schemas.columns import FrameWriter
from schemas.contract import Contract, Raw
from schemas.errors import RejectReason, Stage
from schemas.events import Incoming, Record, Rejection, Violation
from schemas.record_writer import RecordWriter
from schemas.violations import violations_of

COLUMNAR_MIN = 200  # fewer records are faster one by one (python -m benchmarks.encoding)
ROUNDS_MAX = 4  # how often unfit rows are set aside before all go one by one


@dataclass(frozen=True, slots=True)
class Encoded:
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
    """

    def __init__(
        self, contract: Contract, schema_id: int, columnar_min: int = COLUMNAR_MIN
    ) -> None:
        self.contract = contract
        self.schema_id = schema_id
        self._columnar_min = columnar_min
        self._coercer = Coercer(contract)
        self._frame_writer = FrameWriter(avro.field_types(contract), schema_id)
        self._record_writer = RecordWriter(avro.field_types(contract), schema_id)
        self._key = _names(contract, contract.key)
        self._version = _names(contract, contract.version)

    def encode(self, incoming: Sequence[Incoming]) -> Encoded:
        """Coerce to the contract's types and encode; never raises on data."""
        ids, keys = self._identities(incoming)
        values: list[bytes | Rejection]
        if len(incoming) < self._columnar_min or not self._frame_writer.native:
            values = [self._one(i, id_) for i, id_ in zip(incoming, ids, strict=True)]
        else:
            values = self._many(incoming, ids)
        topic = self.contract.topic
        records = [
            Record(topic, value, key)
            for value, key in zip(values, keys, strict=True)
            if type(value) is bytes
        ]
        rejections = [value for value in values if isinstance(value, Rejection)]
        return Encoded(tuple(records), tuple(rejections), tuple(ids))

    def _identities(self, incoming: Sequence[Incoming]) -> tuple[list[str], list[bytes]]:
        """Event ids, and the log's keys: the contract's key, or the event id where there is none.

        Duplicates share the log's key, hence their partition; events of one key keep their order.
        """
        keys = _joined([i.value for i in incoming], self._key)
        versions = _joined([i.value for i in incoming], self._version)
        known = [key for key in keys if key is not None]
        known_versions = [version for version in versions if version is not None]
        derived = self._key and not any(i.event_id for i in incoming)
        if derived and len(known) == len(known_versions) == len(incoming):
            ids = identity.event_ids_of_keys(known, known_versions if self._version else None)
        else:
            ids = [
                self._id(i, key, version)
                for i, key, version in zip(incoming, keys, versions, strict=True)
            ]
        if not self._key:
            return ids, [id_.encode() for id_ in ids]
        named = [id_ if key is None else key for key, id_ in zip(keys, ids, strict=True)]
        return ids, [name.encode() for name in identity.all_bounded(named)]

    def _id(self, incoming: Incoming, key: str | None, version: str | None) -> str:
        if incoming.event_id:
            return identity.bounded(_whole_characters(incoming.event_id))
        if self._key and key is not None and version is not None:
            return identity.event_ids_of_keys([key], [version] if self._version else None)[0]
        return identity.event_id_of_body(incoming.source, incoming.raw)

    def _one(self, incoming: Incoming, event_id: str) -> bytes | Rejection:
        try:
            return self._record_writer.write(self._found(incoming, event_id))
        except pydantic.ValidationError as error:
            return self._rejection(incoming, event_id, violations_of(error))
        except (ValueError, TypeError, OverflowError) as error:
            text = f"cannot be encoded: {error}"[:200]
            return self._rejection(
                incoming, event_id, (Violation("$", RejectReason.WRONG_TYPE, text),)
            )

    def _found(self, incoming: Incoming, event_id: str) -> dict[str, Any]:
        """All fields on the wire. Raises pydantic.ValidationError, or ValueError for no JSON."""
        found = self._coercer.coerce(incoming.value)
        unknown = self._coercer.unknown(incoming.value)
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
            schema_id=self.schema_id,
            event_id=event_id,
            source=incoming.source,
            seen_at=incoming.received_at,
        )

    def _many(self, incoming: Sequence[Incoming], ids: Sequence[str]) -> list[bytes | Rejection]:
        """Canonical records in one native call; the others one by one. In the input's order."""
        rows = list(range(len(incoming)))
        native: list[bytes] | None = None
        for _ in range(ROUNDS_MAX):
            if len(rows) < self._columnar_min:
                break
            try:
                native = self._native([incoming[r] for r in rows], [ids[r] for r in rows])
                break
            except UnfitError as error:
                unfit = set(error.rows)
                rows = [row for place, row in enumerate(rows) if place not in unfit]
        done: dict[int, bytes] = dict(zip(rows, native, strict=True)) if native else {}
        return [
            done[row] if row in done else self._one(incoming[row], ids[row])
            for row in range(len(incoming))
        ]

    def _native(self, incoming: Sequence[Incoming], ids: Sequence[str]) -> list[bytes] | None:
        """Raises UnfitError with the places of records that are not in canonical form."""
        frame = pl.DataFrame(self._columns([i.value for i in incoming])).with_columns(
            pl.Series(avro.ID, ids, dtype=pl.String),
            pl.Series(avro.SOURCE, [i.source for i in incoming], dtype=pl.String),
            pl.Series(avro.RECEIVED_AT, [i.received_at for i in incoming], dtype=pl.Int64).cast(
                pl.Datetime("us")
            ),
            pl.Series(avro.EXTRA, self._unknown([i.value for i in incoming]), dtype=pl.String),
        )
        if self.contract.keep_raw:
            raw = [i.raw.decode("utf-8", "replace") for i in incoming]
            frame = frame.with_columns(pl.Series(avro.RAW, raw, dtype=pl.String))
        return self._frame_writer.write(frame)

    def _unknown(self, values: Sequence[dict[str, Any]]) -> Sequence[str | None]:
        """Every record's unknown fields as JSON. Raises UnfitError."""
        if self._coercer.knows(set().union(*values)):
            return [None] * len(values)
        return json_texts([self._coercer.unknown(value) for value in values])

    def _columns(self, values: Sequence[dict[str, Any]]) -> list[pl.Series]:
        if self.contract.model is Raw:
            return [pl.Series("payload", json_texts(values), dtype=pl.String)]
        filled = [self._coercer.filled(value) for value in values]
        return [
            column(f.type, [value.get(f.source) for value in filled]).alias(f.name)
            for f in self.contract.fields
        ]


def _names(contract: Contract, names: Sequence[str]) -> tuple[str, ...]:
    sources = {f.name: f.source for f in contract.fields}
    return tuple(sources[name] for name in names)


def _joined(values: Sequence[dict[str, Any]], names: Sequence[str]) -> list[str | None]:
    """The named fields of every record as one text; None where one of them is missing."""
    if not names:
        return [""] * len(values)
    columns = [_encodable([_text(value.get(name)) for value in values]) for name in names]
    if len(columns) == 1:
        return columns[0]
    rows = zip(*columns, strict=True)
    return [None if None in row else identity.joined(map(str, row)) for row in rows]


def _text(part: object) -> str | None:
    """None for what is missing, and for what is no JSON and will be rejected."""
    if type(part) is str or part is None:
        return part
    try:
        return orjson.dumps(part).decode()
    except TypeError:
        return None


def _encodable(texts: list[str | None]) -> list[str | None]:
    try:
        "".join(filter(None, texts)).encode()
    except UnicodeEncodeError:
        return [text and _whole_characters(text) for text in texts]
    return texts


def _whole_characters(text: str) -> str:
    """The text, lone surrogates escaped."""
    return text.encode(errors="backslashreplace").decode()
