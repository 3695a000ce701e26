"""What is refused before a body is read."""

import math
from collections.abc import Mapping, Sequence
from itertools import chain

from producers.refusal import Refusal, RefusalReason
from producers.webhook import WebhookSource
from schemas.ports import Clock
from services.gateway.rate import TokenBucket
from services.settings import Gateway as GatewaySettings

RETRY_SECONDS = 2  # for 503: about as long as a leader election takes
_LINE_BYTES = len(": \r\n")

NOWHERE = Refusal(
    404,
    RefusalReason.UNKNOWN_SOURCE,
    "no source is served at this address",
    remedy="the address is /v1/in/<source>, and the sources are those of sluice.toml",
)


def headers_of(pairs: Sequence[tuple[bytes, bytes]]) -> Mapping[str, str]:
    """By name, lower case as ASGI has it; repeated ones joined by ``, `` (RFC 9110, 5.2)."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in pairs}
    if len(headers) == len(pairs):
        return headers
    repeated: dict[str, list[str]] = {}
    for name, value in pairs:
        repeated.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
    return {name: ", ".join(values) for name, values in repeated.items()}


def header_bytes(pairs: Sequence[tuple[bytes, bytes]]) -> int:
    """The size of a header block."""
    return sum(map(len, chain.from_iterable(pairs))) + len(pairs) * _LINE_BYTES


def content_length(headers: Mapping[str, str]) -> int | None:
    """The announced size of the body; None if there is none, or none that can be read."""
    text = headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < len("1" * 19) else None


def busy(what: str) -> Refusal:
    """The refusal of a delivery that would wait too long."""
    return Refusal(
        503,
        RefusalReason.BUSY,
        what,
        remedy="send it again; nothing of it was stored",
        headers=(("retry-after", str(RETRY_SECONDS)),),
    )


def too_large(bytes_max: int) -> Refusal:
    """The refusal of a body by its size on the wire."""
    return Refusal(
        413,
        RefusalReason.TOO_LARGE,
        f"the body is larger than {bytes_max} bytes",
        "content-length",
        remedy="send fewer events at a time, or gzip",
    )


class Door:
    """Looks at what is known before the body: size, method, rate. No I/O."""

    def __init__(self, sources: Mapping[str, WebhookSource], settings: GatewaySettings) -> None:
        self._settings = settings
        rates = {
            name: source.rate_per_second or settings.rate_per_second
            for name, source in sources.items()
        }
        self._buckets = {name: TokenBucket(rate) for name, rate in rates.items() if rate}

    def oversized(self, pairs: Sequence[tuple[bytes, bytes]]) -> Refusal | None:
        """A refusal if the header block is too large."""
        if header_bytes(pairs) <= self._settings.header_bytes_max:
            return None
        return headers_too_large(self._settings.header_bytes_max)

    def refusal(
        self, source: WebhookSource, method: str, headers: Mapping[str, str], clock: Clock
    ) -> Refusal | None:
        """Why a request is not read, or None. The clock is asked for sources with a rate."""
        if method != "POST" and method not in source.methods:
            return wrong_method(source)
        length = content_length(headers)
        if length is not None and length > self._settings.body_bytes_max:
            return too_large(self._settings.body_bytes_max)
        bucket = self._buckets.get(source.name)
        wait = bucket.take(clock.monotonic()) if bucket is not None else 0
        return rated(wait) if wait > 0 else None


def rated(wait: float) -> Refusal:
    """The refusal of a source that sends too often."""
    return Refusal(
        429,
        RefusalReason.RATE,
        "this source sends more requests than its rate allows",
        remedy="wait, and send several events in one body",
        headers=(("retry-after", str(math.ceil(wait))),),
    )


def wrong_method(source: WebhookSource) -> Refusal:
    """The refusal of a method, with those that are taken."""
    return Refusal(
        405,
        RefusalReason.WRONG_METHOD,
        "deliveries are POSTed",
        remedy="send it with POST",
        headers=(("allow", ", ".join(sorted(source.methods))),),
    )


def headers_too_large(bytes_max: int) -> Refusal:
    """The refusal of a header block."""
    return Refusal(
        431,
        RefusalReason.HEADERS_TOO_LARGE,
        f"the headers are larger than {bytes_max} bytes",
        remedy="send fewer or shorter headers; what is to be stored belongs into the body",
    )


def too_slow(seconds_max: float) -> Refusal:
    """The refusal of a client that sends too slowly."""
    return Refusal(
        408,
        RefusalReason.TOO_SLOW,
        f"the request took longer than {seconds_max:g} s to arrive",
        remedy="send it again, all at once; smaller bodies or gzip help a slow line",
    )


def no_http(what: str) -> Refusal:
    """The refusal of bytes that cannot be read as a request."""
    return Refusal(
        400,
        RefusalReason.BAD_REQUEST,
        what,
        remedy="send a well-formed HTTP/1.1 request; TLS ends at the proxy in front, not here",
    )
