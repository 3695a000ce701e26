"""Headers of the log's records, for others to read: W3C trace context, CloudEvents attributes."""

import datetime as dt
import re
from collections.abc import Callable
from functools import lru_cache
from urllib.parse import quote

from schemas.events import Headers, OriginalHeaders, RecordHeaders

TRACEPARENT, TRACESTATE = "traceparent", "tracestate"
TRACESTATE_CHARS_MAX = 512
AVRO = b"application/avro"

Attributes = Callable[[str, str, str, int], RecordHeaders]
"""An event's id, its source, its stream and when it came (microseconds, UTC), as headers."""

_VERSION, _FORBIDDEN = "00", "ff"
_SAMPLED = 1
_PARENT = re.compile(
    r"([0-9a-f]{2})-((?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
)
_STATE = re.compile(rf"[\t\x20-\x7e]{{1,{TRACESTATE_CHARS_MAX}}}")
_EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001 - the Z is written by hand


def trace_of(headers: Headers) -> RecordHeaders:
    """``traceparent`` and ``tracestate`` of a request; none where there is no valid one.

    They are handed on as they came, since nothing here is a span of its own. What a later version
    says beyond version 00 is cut off, as the specification has it. A ``tracestate`` that is too
    long, or no ASCII, is dropped alone.
    """
    parent = headers.get(TRACEPARENT)
    if parent is None:
        return ()
    known = _known(parent.strip())
    if known is None:
        return ()
    trace = ((TRACEPARENT, known.encode()),)
    state = headers.get(TRACESTATE, "").strip()
    return (*trace, (TRACESTATE, state.encode())) if _STATE.fullmatch(state) else trace


def trace_in(headers: OriginalHeaders) -> RecordHeaders:
    """:func:`trace_of` a record, whoever wrote it."""
    if not headers:
        return ()
    names = {TRACEPARENT, TRACESTATE}
    found = {name: value for name, value in headers if name in names and value is not None}
    return trace_of({name: value.decode("latin-1") for name, value in found.items()})


def trace_id(trace: RecordHeaders) -> str:
    """The 32 hexadecimal digits that all of a trace have in common."""
    return trace[0][1].split(b"-")[1].decode()


def cloud_event(event_id: str, source: str, stream: str, received_at: int) -> RecordHeaders:
    """The attributes of CloudEvents 1.0 in the binary mode of its Kafka binding.

    An event id is one within its stream, but CloudEvents wants it to be one within ``ce_source``:
    hence that names both.
    """
    return (("ce_id", event_id.encode()), *_shared(source, stream, received_at))


@lru_cache(256)
def _shared(source: str, stream: str, received_at: int) -> RecordHeaders:
    """What the events of one delivery or page have in common."""
    place = "/".join(quote(part, safe="") for part in (source, stream) if part)
    time = (_EPOCH + dt.timedelta(microseconds=received_at)).isoformat(timespec="microseconds")
    return (
        ("ce_specversion", b"1.0"),
        ("ce_source", place.encode()),
        ("ce_type", stream.encode()),
        ("ce_time", f"{time}Z".encode()),
        ("content-type", AVRO),
    )


def _known(parent: str) -> str | None:
    """A ``traceparent`` in the form of version 00; None where it is not valid."""
    found = _PARENT.fullmatch(parent)
    if found is None:
        return None
    version, ids, flags, more = found.groups()
    if version == _VERSION:
        return None if more else parent
    if version == _FORBIDDEN:
        return None
    return f"{_VERSION}-{ids}-{int(flags, 16) & _SAMPLED:02x}"
