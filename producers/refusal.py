"""Why a delivery is turned away at the door."""

from dataclasses import KW_ONLY, dataclass
from enum import StrEnum


class RefusalReason(StrEnum):
    """A low-cardinality code: metric label and the last part of a problem's ``type``."""

    UNKNOWN_SOURCE = "unknown_source"  # 404
    WRONG_METHOD = "wrong_method"  # 405
    NO_SIGNATURE = "no_signature"  # 401, the header is missing
    BAD_SIGNATURE = "bad_signature"  # 401, the header does not fit the body
    EXPIRED = "expired"  # 401, signed too long ago or in the future
    TOO_SLOW = "too_slow"  # 408
    TOO_LARGE = "too_large"  # 413
    HEADERS_TOO_LARGE = "headers_too_large"  # 431
    MEDIA_TYPE = "media_type"  # 415, not JSON by its content type
    CONTENT_ENCODING = "content_encoding"  # 415, neither gzip nor plain
    BAD_REQUEST = "bad_request"  # 400, not HTTP
    NOT_GZIP = "not_gzip"  # 400, damaged or cut
    NOT_JSON = "not_json"  # 400
    TOO_MANY_EVENTS = "too_many_events"  # 422
    TOO_MANY_VALUES = "too_many_values"  # 422
    RATE = "rate"  # 429
    BUSY = "busy"  # 503, too much is waiting for the broker
    UNAVAILABLE = "unavailable"  # 503, the broker did not acknowledge in time


@dataclass(frozen=True, slots=True)
class Refusal:
    """A verdict on a whole delivery: nothing of it was accepted.

    ``detail`` is for the sender and never holds a secret or an expected signature.
    """

    status: int
    reason: RefusalReason
    detail: str
    field: str | None = None  # the header or the place in the body that is wrong
    _: KW_ONLY
    remedy: str
    headers: tuple[tuple[str, str], ...] = ()  # lower-case names, such as retry-after
