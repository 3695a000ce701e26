"""What an answer says about when to ask again: Retry-After, RateLimit, X-RateLimit-*, Date."""

import re
from email.utils import parsedate_to_datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from producers.exchange import Response
from schemas.errors import SetupError, SluiceError, TransientError
from schemas.events import Headers

WAIT_SECONDS_MAX = 86_400.0  # whatever the other side says, a stream looks again after a day
_MICROS = 1_000_000
_EPOCH_SECONDS_MIN = 1_000_000_000  # a larger number is an instant, not a wait
_EPOCH_MILLIS_MIN = 1_000_000_000_000
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')


class RateHeaders(BaseModel):
    """Where a source says how much of the allowance is left.

    The fields of draft-ietf-httpapi-ratelimit-headers (``RateLimit: "default";r=0;t=30``) are
    always understood.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    remaining: str = Field(
        default="x-ratelimit-remaining", description="Header with the requests that are left."
    )
    reset: str = Field(
        default="x-ratelimit-reset", description="Header that says when there are more."
    )
    reset_form: Literal["auto", "epoch", "epoch_millis", "delta"] = Field(
        default="auto",
        description="Whether that is an instant in seconds or milliseconds, or seconds to wait; "
        "auto tells by the size.",
    )
    scope: Literal["source", "stream"] = Field(
        default="source",
        description="Whose allowance it is: the whole source waits, or that stream alone.",
    )


def retry_after(headers: Headers, now: int) -> float | None:
    """Seconds that Retry-After asks for (RFC 9110, 10.2.3: seconds or a date), or None."""
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    if re.fullmatch(r"\d{1,12}(\.\d{1,6})?", text):
        return min(float(text), WAIT_SECONDS_MAX)
    moment = http_date(text)
    return None if moment is None else _bounded((moment - now) / _MICROS)


def http_date(text: str) -> int | None:
    """An HTTP-date as microseconds since the epoch UTC, or None."""
    try:
        return int(parsedate_to_datetime(text).timestamp()) * _MICROS
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def exhausted_for(headers: Headers, names: RateHeaders, now: int) -> float | None:
    """Seconds until the allowance is renewed, where this answer used it up; else None."""
    for item in _QUOTED.sub("", headers.get("ratelimit", "")).split(","):
        params = dict(re.findall(r";\s*([a-z]+)\s*=\s*(\d+)", item))
        if params.get("r") == "0" and "t" in params:
            return _bounded(float(params["t"]))
    for remaining, reset, form in (
        (names.remaining, names.reset, names.reset_form),
        ("ratelimit-remaining", "ratelimit-reset", "auto"),
    ):
        if _number(headers.get(remaining.lower())) == 0:
            wait = _wait(_number(headers.get(reset.lower())), form, now)
            if wait is not None:
                return wait
    return None


def _wait(reset: float | None, form: str, now: int) -> float | None:
    if reset is None:
        return None
    if form == "epoch_millis" or (form == "auto" and reset >= _EPOCH_MILLIS_MIN):
        return _bounded(reset / 1_000 - now / _MICROS)
    if form == "epoch" or (form == "auto" and reset >= _EPOCH_SECONDS_MIN):
        return _bounded(reset - now / _MICROS)
    return _bounded(reset)


def _number(text: str | None) -> float | None:
    return float(text) if text and re.fullmatch(r"\s*\d{1,15}(\.\d{1,9})?\s*", text) else None


def _bounded(seconds: float) -> float:
    return max(0.0, min(seconds, WAIT_SECONDS_MAX))


_TIMEOUT, _TOO_EARLY, _TOO_MANY = 408, 425, 429
_UNAUTHORISED, _FORBIDDEN = 401, 403
_TRANSIENT = frozenset({_TIMEOUT, _TOO_EARLY, _TOO_MANY})
_REMEDIES = {
    _UNAUTHORISED: "check the source's auth and that the secret it names is current",
    _FORBIDDEN: "grant the credentials access to this path",
    404: "check base_url and path",
}


def wish(response: Response, names: RateHeaders) -> float | None:
    """Seconds that an answer's headers ask to wait, or None."""
    wait = retry_after(response.headers, response.received_at)
    return exhausted_for(response.headers, names, response.received_at) if wait is None else wait


def failure(response: Response, names: RateHeaders, where: str) -> SluiceError | None:
    """The error of an answer that is no success, or None. Nothing of its body is repeated."""
    status = response.status
    if 200 <= status < 300:  # noqa: PLR2004 - RFC 9110, 15.3
        return None
    wait = wish(response, names)
    what = f"the source answered {status}"
    if status >= 500 or status in _TRANSIENT:  # noqa: PLR2004 - RFC 9110, 15.6
        return TransientError(what, where=where, retry_after=wait)
    if status == _FORBIDDEN and wait is not None:  # some say so instead of 429
        return TransientError(f"{what}, its allowance is used up", where=where, retry_after=wait)
    return SetupError(
        what, where=where, remedy=_REMEDIES.get(status, "compare with the source's documentation")
    )
