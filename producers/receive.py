"""One webhook delivery becomes records for the log, or is turned away."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import orjson

from producers import split
from producers.encode import Encoder
from producers.fitting import fitting
from producers.keys import levels, long_key
from producers.refusal import Refusal, RefusalReason
from producers.webhook import Answer, WebhookSource
from schemas import exact_json, identity
from schemas.errors import RejectReason, Stage
from schemas.events import Delivery, Incoming, Record, Rejection, Violation

T = TypeVar("T")

_TEXT = (str, type(None))
_FOUND_CHARS_MAX = 200
_KEY_BYTES_MIN = 5  # of a key with its value and a comma: "":0,

JSON_LINES = frozenset(
    {"application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"}
)
JSON = frozenset({"", "application/json", "text/json", "text/plain"})


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one delivery may hold."""

    inflated_bytes_max: int = 20_000_000
    events_max: int = 10_000
    depth_max: int = 32  # of one event; its outermost object is depth 1
    keys_max: int = 2_000  # of one event, over all levels
    record_bytes_max: int = 1_000_000  # of one event as the log takes it


class Received(NamedTuple):
    """What a delivery became: as many records and rejections together as it had events."""

    records: tuple[Record, ...]
    rejections: tuple[Rejection, ...]
    ids: tuple[str, ...]  # event ids in the order of the body, rejected ones too


class _Piece(NamedTuple):
    """One event of a body: its bytes, and its value or what is wrong with it."""

    raw: bytes
    value: dict[str, Any]
    fault: Violation | None


class _Placed(NamedTuple):
    """Where a piece belongs, or why it is rejected."""

    stream: str
    event_id: str | None
    fault: Violation | None


def receive(
    delivery: Delivery, source: WebhookSource, encoders: Mapping[str, Encoder], limits: Limits
) -> Refusal | Answer | Received:
    """Verify, then read: a refusal, a handshake's answer, or events and dead letters.

    The steps happen in this order, so that nothing of an unproved sender is parsed or inflated:

    1. Verify the signature over ``delivery.body``, the bytes as they came.
    2. Inflate: ``delivery.payload`` is not read before, so the caller sets it to the body.
    3. Answer a handshake.
    4. Cut the body into events by its content type alone: JSON lines; else one object or an
       array, at the source's pointer if it has one. Each keeps its exact bytes.
    5. Find each event's stream and id, and encode.

    A body that is no JSON is refused as a whole. An event that is no JSON, no object, too deep,
    of no known stream, too large for the log, or that the source's plug-in raises on is a dead
    letter, and the others go on. Dead letters of no known stream belong to ``source.fallback``:
    the only stream where it is fixed, else ``<source>.unknown``.
    """
    refusal = source.verify(delivery)
    if refusal is not None:
        return refusal
    inflated = _inflated(delivery, limits)
    if isinstance(inflated, Refusal):
        return inflated
    answer = handshake(inflated, source)
    if answer is not None:
        return answer
    pieces = _pieces(inflated, source, limits)
    if isinstance(pieces, Refusal):
        return pieces
    return _encoded(delivery, pieces, source, (encoders, limits.record_bytes_max))


def handshake(delivery: Delivery, source: WebhookSource) -> Answer | None:
    """A handshake's answer; None for an ordinary delivery, and where the plug-in raises."""
    hook = source.handshake
    if hook is None or delivery.method not in hook.methods:
        return None
    found = _guarded(source, lambda: hook.answer(delivery, source.secrets))
    return None if isinstance(found, Violation) else found


def _guarded(source: WebhookSource, ask: Callable[[], T]) -> T | Violation:
    """What a source's plug-in says. The one guard around it: what it raises is a rejection."""
    try:
        return ask()
    except Exception as error:  # noqa: BLE001 - a plug-in may raise anything on a bad payload
        detail = f"source {source.name}: {type(error).__name__}"
        return Violation("$", RejectReason.PLUGIN_FAILED, detail)


def _inflated(delivery: Delivery, limits: Limits) -> Delivery | Refusal:
    match delivery.headers.get("content-encoding", "identity").strip().lower():
        case "identity" | "":
            return delivery
        case "gzip" | "x-gzip":
            pass
        case other:
            return Refusal(
                415,
                RefusalReason.CONTENT_ENCODING,
                f"content-encoding {other[:40]!r} is not understood",
                "content-encoding",
                remedy="send gzip, or nothing compressed",
                headers=(("accept-encoding", "gzip"),),
            )
    try:
        return delivery._replace(payload=split.inflate(delivery.body, limits.inflated_bytes_max))
    except split.TooLargeError:
        return Refusal(
            413,
            RefusalReason.TOO_LARGE,
            f"the inflated body is larger than {limits.inflated_bytes_max} bytes",
            remedy="send fewer events at a time",
        )
    except split.NotGzipError as error:
        return Refusal(
            400,
            RefusalReason.NOT_GZIP,
            f"the body is not gzip: {error}",
            "content-encoding",
            remedy="gzip the whole body, or send it plain and without content-encoding",
        )


def _pieces(
    delivery: Delivery, source: WebhookSource, limits: Limits
) -> Sequence[_Piece] | Refusal:
    payload = delivery.payload
    if split.values_at_most(payload) > split.VALUES_MAX:
        return _too_many_values()
    kind = delivery.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in JSON_LINES:
        raws: Sequence[bytes] | Refusal | None = split.lines(payload)
    elif kind in JSON or kind.endswith("+json"):
        raws = _raws(payload, source)
    else:
        return Refusal(
            415,
            RefusalReason.MEDIA_TYPE,
            f"content-type {kind[:80]!r} is not JSON",
            "content-type",
            remedy="send application/json, or application/x-ndjson for one event a line",
            headers=(("accept-post", "application/json, application/x-ndjson"),),
        )
    if isinstance(raws, Refusal):
        return raws
    if raws is None:
        return _single(payload, source, limits)
    if len(raws) > limits.events_max:
        return Refusal(
            422,
            RefusalReason.TOO_MANY_EVENTS,
            f"{len(raws)} events; {limits.events_max} are allowed in one body",
            remedy="send fewer events at a time",
        )
    return [_piece(raw, limits) for raw in raws]


def _raws(payload: bytes, source: WebhookSource) -> Sequence[bytes] | Refusal | None:
    """The bytes of each event of an array, not yet parsed; None: the body is one event."""
    try:
        found = split.at(payload, source.records) if source.records else payload.strip(split.WHITE)
        if found is None:
            return None
        if not found.startswith(b"["):
            return (found,) if source.records else None
        raws = split.elements(found)
    except split.TooLargeError:
        return _too_many_values()
    return _not_json(payload, "brackets or quotes do not balance") if raws is None else raws


def _single(payload: bytes, source: WebhookSource, limits: Limits) -> Sequence[_Piece] | Refusal:
    """A body that is one event: no JSON is then the whole delivery's fault."""
    piece = _piece(payload.strip(split.WHITE), limits)
    if piece.fault is not None and piece.fault.reason is RejectReason.NOT_JSON:
        return _not_json(payload, piece.fault.detail)
    if source.records:
        place = "$." + ".".join(source.records)
        fault = Violation(place, RejectReason.MISSING, "the body has no records there")
        return (piece._replace(fault=piece.fault or fault),)
    return (piece,)


def _not_json(payload: bytes, detail: str) -> Refusal:
    what = "the body is empty" if not payload.strip(split.WHITE) else f"not JSON: {detail}"
    return Refusal(
        400,
        RefusalReason.NOT_JSON,
        what,
        remedy="send one JSON object, an array of them, or JSON lines as application/x-ndjson",
    )


def _too_many_values() -> Refusal:
    return Refusal(
        422,
        RefusalReason.TOO_MANY_VALUES,
        f"more than {split.VALUES_MAX} values in one body",
        remedy="send fewer events at a time",
    )


def _piece(raw: bytes, limits: Limits) -> _Piece:
    try:
        value = exact_json.loads(raw)
    except orjson.JSONDecodeError as error:
        reason = RejectReason.NOT_JSON
        if "depth limit" in error.msg or "recursion" in error.msg.lower():
            reason = RejectReason.TOO_DEEP
        return _Piece(raw, {}, Violation("$", reason, str(error)))
    if not isinstance(value, dict):
        detail = f"a JSON {_kind(value)}, not an object"
        return _Piece(raw, {}, Violation("$", RejectReason.NOT_AN_OBJECT, detail))
    # the bytes give upper bounds, which nearly always do
    deep = raw.count(b"{") + raw.count(b"[") > limits.depth_max
    wide = len(raw) > _KEY_BYTES_MIN * limits.keys_max and raw.count(b":") > limits.keys_max
    fault = _excess(value, limits) if deep or wide else None
    key = long_key(value, raw) if fault is None else None
    if key is not None:
        fault = Violation("$", RejectReason.OVERSIZED, key)
    return _Piece(raw, value, fault)


def _kind(value: object) -> str:
    kinds = {list: "array", str: "string", bool: "boolean", type(None): "null"}
    return kinds.get(type(value), "number")


def _excess(value: dict[str, Any], limits: Limits) -> Violation | None:
    """What of depth or keys is too much."""
    keys = 0
    for depth, level in enumerate(levels(value), start=1):
        keys += sum(len(node) for node in level if isinstance(node, dict))
        if depth > limits.depth_max:
            detail = f"nested deeper than {limits.depth_max}"
            return Violation("$", RejectReason.TOO_DEEP, detail)
        if keys > limits.keys_max:
            detail = f"more than {limits.keys_max} keys"
            return Violation("$", RejectReason.TOO_MANY_KEYS, detail)
    return None


def _encoded(
    delivery: Delivery,
    pieces: Sequence[_Piece],
    source: WebhookSource,
    log: tuple[Mapping[str, Encoder], int],
) -> Received:
    """Groups the pieces by stream, encodes each group, and puts the ids back in order."""
    encoders, bytes_max = log
    known = _Placed(source.fallback, None, None) if _places_nothing(source) else None
    if known and known.stream in encoders and not any(piece.fault for piece in pieces):
        incoming = [
            Incoming(
                piece.value, piece.raw, None, source.name, delivery.received_at, delivery.trace
            )
            for piece in pieces
        ]
        return Received(*fitting(encoders[known.stream].encode(incoming), incoming, bytes_max))
    ids = [""] * len(pieces)
    groups: dict[str, tuple[list[int], list[Incoming]]] = {}
    rejections: list[Rejection] = []
    for index, piece in enumerate(pieces):
        placed = known or _placed(delivery, piece, source, (index, len(pieces)))
        fault = piece.fault or placed.fault or _unknown(placed.stream, encoders)
        if fault is not None:
            stream = placed.stream if placed.stream in encoders else source.fallback
            rejections.append(_rejection(delivery, piece, _Placed(stream, placed.event_id, fault)))
            ids[index] = rejections[-1].event_id or ""
            continue
        places, incoming = groups.setdefault(placed.stream, ([], []))
        places.append(index)
        incoming.append(
            Incoming(
                piece.value,
                piece.raw,
                placed.event_id,
                source.name,
                delivery.received_at,
                delivery.trace,
            )
        )
    records: list[Record] = []
    for stream, (places, incoming) in groups.items():
        encoded = fitting(encoders[stream].encode(incoming), incoming, bytes_max)
        records += encoded.records
        rejections += encoded.rejections
        for index, id_ in zip(places, encoded.ids, strict=True):
            ids[index] = id_
    return Received(tuple(records), tuple(rejections), tuple(ids))


def _places_nothing(source: WebhookSource) -> bool:
    """Whether stream and id are the same question for every event, and need no asking."""
    return source.fixed and source.event_id is None


_NAMELESS = Violation("$", RejectReason.NO_STREAM, "what would name its stream is missing")


def _placed(
    delivery: Delivery, piece: _Piece, source: WebhookSource, position: tuple[int, int]
) -> _Placed:
    # by the content that they do not have, all unreadable pieces would be one dead letter
    unread = piece.fault is not None and not piece.value and source.id_per_record

    def ask() -> tuple[str | None, str | None]:
        event_id: object = None
        if source.event_id is not None and not unread:
            event_id = source.event_id(delivery.headers, piece.value)
        stream: object = source.stream(delivery.headers, piece.value)
        if not (isinstance(event_id, _TEXT) and isinstance(stream, _TEXT)):
            raise TypeError
        return event_id, stream

    found = _guarded(source, ask)
    if isinstance(found, Violation):
        return _Placed(source.fallback, None, found)
    event_id, stream = found
    if event_id is not None and not source.id_per_record:
        event_id = identity.event_id_in_delivery(event_id, *position)
    return _Placed(stream or source.fallback, event_id, None if stream else _NAMELESS)


def _unknown(stream: str, encoders: Mapping[str, Encoder]) -> Violation | None:
    if stream in encoders:
        return None
    detail = "no stream of that name"
    return Violation("$", RejectReason.NO_STREAM, detail, repr(stream[:_FOUND_CHARS_MAX]))


def _rejection(delivery: Delivery, piece: _Piece, placed: _Placed) -> Rejection:
    return Rejection(
        stream=placed.stream,
        stage=Stage.ENCODE,
        violations=(placed.fault,) if placed.fault else (),
        value=piece.raw,
        headers=delivery.trace,
        event_id=placed.event_id or identity.event_id_of_body(delivery.source, piece.raw),
        source=delivery.source,
        seen_at=delivery.received_at,
    )
