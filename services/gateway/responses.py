"""Answers as values: receipts, and problem documents (RFC 9457)."""

from typing import Any, NamedTuple

import orjson

from producers.receive import Received
from producers.refusal import Refusal, RefusalReason
from producers.webhook import Answer
from schemas.events import Rejection

Header = tuple[bytes, bytes]
DEAD_LETTERS_SHOWN_MAX = 100
_JSON = (b"content-type", b"application/json")

_TITLES = {
    RefusalReason.UNKNOWN_SOURCE: "There is nothing here",
    RefusalReason.WRONG_METHOD: "This address takes other methods",
    RefusalReason.NO_SIGNATURE: "The delivery is not signed",
    RefusalReason.BAD_SIGNATURE: "The signature does not fit",
    RefusalReason.EXPIRED: "The signature is out of date",
    RefusalReason.TOO_SLOW: "The request took too long to arrive",
    RefusalReason.TOO_LARGE: "The body is too large",
    RefusalReason.HEADERS_TOO_LARGE: "The headers are too large",
    RefusalReason.MEDIA_TYPE: "The content type is not taken",
    RefusalReason.CONTENT_ENCODING: "The content encoding is not taken",
    RefusalReason.BAD_REQUEST: "The request is not HTTP",
    RefusalReason.NOT_GZIP: "The body is not gzip",
    RefusalReason.NOT_JSON: "The body is not JSON",
    RefusalReason.TOO_MANY_EVENTS: "Too many events in one body",
    RefusalReason.TOO_MANY_VALUES: "Too many values in one body",
    RefusalReason.RATE: "Too many requests",
    RefusalReason.BUSY: "Too much is waiting",
    RefusalReason.UNAVAILABLE: "The events could not be stored in time",
}


class Response(NamedTuple):
    """One HTTP answer. ``close`` ends the connection after it."""

    status: int
    headers: tuple[Header, ...]
    body: bytes
    reason: RefusalReason | None = None
    close: bool = False


def problem(refusal: Refusal, *, challenge: str = "", close: bool = False) -> Response:
    """A refusal as ``application/problem+json``: type, title, status, detail, field, remedy."""
    members = {
        "type": f"urn:sluice:refusal:{refusal.reason}",
        "title": _TITLES[refusal.reason],
        "status": refusal.status,
        "detail": refusal.detail,
        "field": refusal.field,
        "remedy": refusal.remedy,
    }
    body = orjson.dumps({name: value for name, value in members.items() if value is not None})
    headers = [_encoded(header) for header in refusal.headers]
    if refusal.status == 401 and challenge:  # noqa: PLR2004 - HTTP
        headers.append((b"www-authenticate", challenge.encode("latin-1")))
    return _response(refusal.status, b"application/problem+json", headers, body)._replace(
        reason=refusal.reason, close=close
    )


def receipt(received: Received) -> Response:
    """What was stored: how many events, their ids in the body's order, and which are dead.

    Of the events it repeats ids and names of fields only: answers are kept where events may not be.
    """
    dead = received.rejections
    members: dict[str, Any] = {"accepted": len(received.ids), "ids": received.ids}
    if dead:
        members["dead"] = len(dead)
        members["dead_letters"] = [_told(one) for one in dead[:DEAD_LETTERS_SHOWN_MAX]]
    body = orjson.dumps(members)
    return Response(200, (_JSON, (b"content-length", b"%d" % len(body))), body)


def answered(answer: Answer) -> Response:
    """A handshake's answer."""
    headers = [_encoded(header) for header in answer.headers]
    return _response(answer.status, answer.content_type.encode("latin-1"), headers, answer.body)


def _told(rejection: Rejection) -> dict[str, Any]:
    first = rejection.violations[0]
    return {
        "id": rejection.event_id,
        "stream": rejection.stream,
        "reason": first.reason,
        "path": first.path,
        "detail": first.detail,
    }


def _encoded(header: tuple[str, str]) -> Header:
    return header[0].encode("latin-1"), header[1].encode("latin-1")


def _response(status: int, kind: bytes, headers: list[Header], body: bytes) -> Response:
    length = str(len(body)).encode()
    return Response(status, ((b"content-type", kind), (b"content-length", length), *headers), body)
