"""A run of messages becomes a frame with the contract's columns; what cannot be read is named."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import ValidationError

from consumers.reading.align import Alignment, empty_frame
from consumers.reading.records import POISON, RecordReader
from schemas import avro, exact_json
from schemas.coerce import Coercer, json_text
from schemas.columns import FrameReader, MisfitError
from schemas.contract import Contract, Raw
from schemas.errors import RejectReason
from schemas.events import Violation
from schemas.violations import violations_of

DETAIL_CHARS_MAX = 200
SINGLE_MAX = 4  # a run this short is read message by message once it is known to be damaged

SchemaLookup = Callable[[int], avro.Schema | None]
"""The writer schema of an id; None where nobody knows it. May raise TransientError."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A message that is no event."""

    row: int
    violation: Violation
    schema_id: int | None


@dataclass(frozen=True, slots=True)
class Decoded:
    """The readable rows in order, ``rows`` saying which they are (None: all), and the others."""

    frame: pl.DataFrame
    rows: npt.NDArray[np.int64] | None = None
    unreadable: list[Unreadable] = field(default_factory=list)


class _BadRecordError(Exception):
    """A message that is no event, and why."""

    def __init__(self, violation: Violation) -> None:
        super().__init__(violation.detail)
        self.violation = violation


@dataclass(frozen=True, slots=True)
class _Writer:
    """One writer schema, ready to be read and aligned to the contract.

    ``unpack``: what a stream without a contract wrote becomes a record of the contract that it
    has got since.
    """

    reader: FrameReader
    records: RecordReader
    alignment: Alignment
    schema_id: int
    unpack: Callable[[dict[str, Any]], dict[str, Any]] | None = None

    @property
    def columnar(self) -> bool:
        """Whether runs can be read in one native call."""
        return self.reader.native and self.alignment.native and self.unpack is None

    def native(self, values: Sequence[bytes]) -> pl.DataFrame:
        """Raises MisfitError."""
        frame = self.reader.read(values)
        try:
            return self.alignment.of(frame)
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, *POISON) as error:
            raise MisfitError(str(error)) from error  # then record by record

    def single(self, value: bytes) -> dict[str, Any]:
        """One record. Raises _BadRecordError."""
        try:
            record = self.records.read(value)
            return self.unpack(record) if self.unpack else record
        except POISON as error:
            raise _BadRecordError(_undecodable(error)) from error


def _undecodable(error: BaseException) -> Violation:
    text = f"{type(error).__name__}: {error}"[:DETAIL_CHARS_MAX]
    return Violation("$", RejectReason.UNDECODABLE, text)


def _unpacking(contract: Contract) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """From an event of a stream without a contract to one of this contract."""
    coercer = Coercer(contract)

    def unpack(record: dict[str, Any]) -> dict[str, Any]:
        value = exact_json.loads(record["payload"] or "null")
        if not isinstance(value, dict):
            raise _BadRecordError(
                Violation("$", RejectReason.NOT_AN_OBJECT, "the payload is no JSON object")
            )
        try:
            found = coercer.coerce(value)
        except ValidationError as error:
            raise _BadRecordError(violations_of(error)[0]) from error
        unknown = coercer.unknown_beside(found, value)
        extra = record.get(avro.EXTRA) if unknown is None else json_text(unknown)
        return record | found | {avro.EXTRA: extra}

    return unpack


def _without_contract(contract: Contract, schema: avro.Schema) -> bool:
    """Whether a stream without a contract wrote this, which has one now."""
    own = {f["name"] for f in schema["fields"]} - set(avro.SYSTEM_NAMES)
    raw = set(Raw.model_fields)
    return own == raw and not raw & {f.name for f in contract.fields}


class Decoder:
    """Decodes one stream's messages, whatever schemas wrote them."""

    def __init__(self, contract: Contract, lookup: SchemaLookup) -> None:
        self._contract = contract
        self._lookup = lookup
        self._writers: dict[bytes, _Writer | Violation] = {}
        self._empty = empty_frame(contract)

    def decode(self, values: Sequence[bytes | None]) -> Decoded:
        """All values, however many schemas wrote them. Raises TransientError (registry away)."""
        first = values[0] if len(values) else None
        writer = self._writer(first[: avro.HEADER.size]) if first else None
        if isinstance(writer, _Writer) and writer.columnar:
            try:
                return Decoded(writer.native(values))  # type: ignore[arg-type] # a None raises
            except (MisfitError, TypeError):
                pass  # a null, another schema, or damage: find out which
        return self._piecewise(values)

    def _writer(self, header: bytes) -> _Writer | Violation:
        known = self._writers.get(header)
        if known is not None:
            return known
        if len(header) < avro.HEADER.size or header[0] != avro.MAGIC:
            detail = f"begins with {header.hex() or 'nothing'}, not with 00 and a schema id"
            return Violation("$", RejectReason.BAD_FRAME, detail)
        schema_id = avro.HEADER.unpack(header)[1]
        schema = self._lookup(schema_id)
        if schema is None:
            return Violation("$", RejectReason.UNKNOWN_SCHEMA, f"schema id {schema_id}")
        self._writers[header] = self._compiled(schema, schema_id)
        return self._writers[header]

    def _compiled(self, schema: avro.Schema, schema_id: int) -> _Writer | Violation:
        if schema.get("type") != "record":
            return Violation("$", RejectReason.UNDECODABLE, f"schema {schema_id} is no record")
        try:
            reader = FrameReader(schema, schema_id)
            records = RecordReader(reader.schema)
            theirs = Alignment(self._contract, reader.schema)
        except (AttributeError, *POISON) as error:
            text = f"schema {schema_id} cannot be read: {error}"[:DETAIL_CHARS_MAX]
            return Violation("$", RejectReason.UNDECODABLE, text)
        if _without_contract(self._contract, schema):
            ours = Alignment(self._contract, avro.wire_schema(self._contract))
            return _Writer(reader, records, ours, schema_id, _unpacking(self._contract))
        return _Writer(reader, records, theirs, schema_id)

    def _piecewise(self, values: Sequence[bytes | None]) -> Decoded:
        groups: dict[bytes, list[int]] = {}
        unreadable: list[Unreadable] = []
        for row, value in enumerate(values):
            if value is None:
                violation = Violation("$", RejectReason.NULL_VALUE, "a message without a value")
                unreadable.append(Unreadable(row, violation, None))
            else:
                groups.setdefault(value[: avro.HEADER.size], []).append(row)
        frames: list[pl.DataFrame] = []
        rows: list[int] = []
        for header, members in groups.items():
            writer = self._writer(header)
            if isinstance(writer, Violation):
                unreadable += [Unreadable(row, writer, None) for row in members]
                continue
            group = _Group(writer, values)
            group.read(members)
            frames += group.frames
            rows += group.rows
            unreadable += group.unreadable
        return self._gathered(frames, rows, unreadable)

    def _gathered(
        self, frames: list[pl.DataFrame], rows: list[int], unreadable: list[Unreadable]
    ) -> Decoded:
        order = np.argsort(np.asarray(rows, dtype=np.int64), kind="stable")
        frame = pl.concat(frames) if frames else self._empty
        return Decoded(
            frame[order] if len(frames) > 1 else frame,
            np.asarray(rows, dtype=np.int64)[order],
            sorted(unreadable, key=lambda u: u.row),
        )


class _Group:
    """The messages of one writer schema: halved until the damaged ones stand alone."""

    def __init__(self, writer: _Writer, values: Sequence[bytes | None]) -> None:
        self._writer = writer
        self._values = values
        self.frames: list[pl.DataFrame] = []
        self.rows: list[int] = []
        self.unreadable: list[Unreadable] = []

    def read(self, members: list[int]) -> None:
        """Read these rows."""
        if not self._writer.columnar:
            self._singly(members)
            return
        try:
            frame = self._writer.native(
                [v for row in members if (v := self._values[row]) is not None]
            )
        except MisfitError:
            if len(members) <= SINGLE_MAX:
                self._singly(members)
            else:
                half = len(members) // 2
                self.read(members[:half])
                self.read(members[half:])
            return
        self.frames.append(frame)
        self.rows += members

    def _singly(self, members: list[int]) -> None:
        records: list[tuple[int, dict[str, Any]]] = []
        for row in members:
            try:
                records.append((row, self._writer.single(self._values[row] or b"")))
            except _BadRecordError as error:
                self._refuse(row, error.violation)
        if records:
            self._align(records)

    def _align(self, records: list[tuple[int, dict[str, Any]]]) -> None:
        """Halved too, until those stand alone that no columns take."""
        try:
            frame = self._writer.alignment.of_records([record for _, record in records])
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, *POISON) as error:
            if len(records) == 1:
                self._refuse(records[0][0], _undecodable(error))
                return
            half = len(records) // 2
            self._align(records[:half])
            self._align(records[half:])
            return
        self.frames.append(frame)
        self.rows += [row for row, _ in records]

    def _refuse(self, row: int, violation: Violation) -> None:
        self.unreadable.append(Unreadable(row, violation, self._writer.schema_id))
