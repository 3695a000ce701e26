"""Dead letters are a stream: their contract, and how a rejection becomes one of their events."""

import base64
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import orjson
from pydantic import BaseModel, Field, JsonValue

from schemas import avro, identity
from schemas.contract import DEAD_SUFFIX, DEDUPE_WINDOW_MAX, Contract
from schemas.errors import RejectReason, Stage
from schemas.events import OriginalHeaders, Record, Rejection, Violation
from schemas.headers import Attributes, trace_in
from schemas.record_writer import RecordWriter

TABLE = "SLUICE_DEAD_LETTERS"
SUBJECT = "sluice.dead"
BYTES_MAX = 8_388_608  # of one dead letter: an event with everything that is said about it
BASE64 = "base64"


class DeadLetter(BaseModel):
    """A rejected event with its original bytes, coordinates, stage, reason and detail.

    Key, value and headers are what came, to the byte. Of a message that no dead letter can hold
    they are null: the last violation is ``oversized`` and tells how many bytes there are, which
    stay at the origin's place for as long as the topic keeps them.
    """

    stream: str = Field(description="The stream that it was meant for.")
    stage: Stage = Field(description="The step that rejected it.")
    reason: RejectReason = Field(description="The first violation's code.")
    path: str = Field(description="The first violation's JSON path.")
    detail: str = Field(description="The first violation in words.")
    violations: JsonValue = Field(description="All violations: path, reason, detail.")
    fingerprint: str = Field(description="Equal for the same fault at the same place.")
    event_id: str | None = Field(default=None, description="The event's own, where it is known.")
    source: str | None = Field(default=None, description="Where it came from.")
    origin_partition: int | None = Field(default=None, description="Null: never on the topic.")
    origin_offset: int | None = Field(default=None, description="Null: never on the topic.")
    schema_id: int | None = Field(default=None, description="Of its wire header, if it had one.")
    original_key: bytes | None = Field(default=None, description="The message's key.")
    original_value: bytes | None = Field(
        default=None, description="The message or raw record. Null too if no letter can hold it."
    )
    original_headers: JsonValue = Field(
        default=None,
        description="The message's headers in order, each [name, value]; the value is text, null, "
        'or {"base64": ...} where the bytes are no text.',
    )
    attempt: int = Field(
        default=1, description="How often it was tried: 1, since nothing sends letters again yet."
    )


def dead_contract(stream: str) -> Contract:
    """The contract of a stream's dead letters; all of them share one table."""
    return Contract(
        stream=stream + DEAD_SUFFIX,
        model=DeadLetter,
        table=TABLE,
        dedupe_window=DEDUPE_WINDOW_MAX,
        keep_raw=False,
        description="Rejected events.",
        sla=timedelta(minutes=5),
    )


class DeadLetterWriter:
    """Turns rejections into events of the dead letter topics, in the trace of what they reject.

    ``attributes`` are further headers of every one of them.
    """

    def __init__(self, schema_id: int, attributes: Attributes | None = None) -> None:
        self._attributes = attributes
        self._writer = RecordWriter(avro.field_types(dead_contract("any.stream")), schema_id)

    def records(self, rejections: Sequence[Rejection]) -> list[Record]:
        """One record a rejection, in order."""
        return [self._record(rejection) for rejection in rejections]

    def _record(self, rejection: Rejection) -> Record:
        first = rejection.violations[0]
        event_id = _identity(rejection)
        value = {
            "stream": rejection.stream,
            "stage": rejection.stage.value,
            "reason": first.reason.value,
            "path": first.path,
            "detail": first.told,
            "violations": orjson.dumps(
                [
                    {"path": v.path, "reason": v.reason.value, "detail": v.told}
                    for v in rejection.violations
                ]
            ).decode(),
            "fingerprint": identity.digest(
                rejection.stream, rejection.stage.value, first.reason.value, first.path
            ),
            "event_id": rejection.event_id,
            "source": rejection.source,
            "origin_partition": rejection.partition,
            "origin_offset": rejection.offset,
            "schema_id": rejection.schema_id,
            "original_key": rejection.key,
            "original_value": rejection.value,
            "original_headers": _header_json(rejection.headers),
            "attempt": 1,
            avro.ID: event_id,
            avro.SOURCE: rejection.source,
            avro.RECEIVED_AT: rejection.seen_at,
            avro.EXTRA: None,
        }
        topic = rejection.stream.removesuffix(DEAD_SUFFIX) + DEAD_SUFFIX  # theirs have no other
        headers = trace_in(rejection.headers)
        if self._attributes is not None:
            source, seen_at = rejection.source or "", rejection.seen_at
            headers = (*self._attributes(event_id, source, topic, seen_at), *headers)
        return Record(topic, self._writer.write(value), event_id.encode(), headers)


def without_bytes(rejection: Rejection) -> Rejection:
    """The same, under the same id, without what is as long as the message."""
    size = len(rejection.value or b"") + len(rejection.key or b"")
    place = "left out" if rejection.offset is None else "in the log only, at its place"
    detail = f"{size} bytes, too many for a dead letter: they are {place}"
    left = Violation("$", RejectReason.OVERSIZED, detail)
    event_id = rejection.event_id or _event_id(rejection)
    return replace(
        rejection,
        violations=(*rejection.violations, left),
        event_id=identity.bounded(event_id) if event_id else None,
        source=rejection.source and identity.bounded(rejection.source),
        value=None,
        key=None,
        headers=(),
    )


def _event_id(rejection: Rejection) -> str | None:
    """What its bytes are called, where they never were on a topic."""
    if rejection.offset is not None:
        return None
    return identity.event_id_of_body(rejection.source or "", rejection.value or b"")


def _identity(rejection: Rejection) -> str:
    if rejection.partition is not None and rejection.offset is not None:
        return identity.dead_letter_id(
            rejection.stream, rejection.partition, rejection.offset, rejection.stage.value
        )
    name = rejection.event_id or _event_id(rejection)
    return identity.bounded(f"{rejection.stream}/{name}/{rejection.stage.value}")


def _header_json(headers: OriginalHeaders) -> str | None:
    """The headers as JSON from which :func:`headers_of` makes the same again."""
    if not headers:
        return None
    return orjson.dumps([[name, _header_value(value)] for name, value in headers]).decode()


def _header_value(value: bytes | None) -> str | dict[str, str] | None:
    """Text where it is text, for people; not every warehouse keeps a NUL in JSON."""
    if value is None:
        return None
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = "\0"
    return {BASE64: base64.b64encode(value).decode()} if "\0" in text else text


def headers_of(stored: list[list[Any]] | None) -> OriginalHeaders:
    """The headers as they came, from a dead letter's ``original_headers``.

    Letters of versions that escaped what is no text give the escaped text.
    """
    return tuple((name, _header_bytes(value)) for name, value in stored or ())


def _header_bytes(value: str | dict[str, str] | None) -> bytes | None:
    if isinstance(value, dict):
        return base64.b64decode(value[BASE64])
    return None if value is None else value.encode()
