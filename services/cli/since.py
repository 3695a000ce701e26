"""What ``--since`` and its like take: a span such as 30m, or a time."""

import datetime as dt
import re

from schemas.errors import SetupError
from schemas.ports import Clock

SECOND = 1_000_000
UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def seconds_of(text: str, where: str) -> int:
    """A span of a second or more. Raises SetupError, with ``where``, for anything else."""
    seconds = _span(text)
    if not seconds:
        raise SetupError(f"{text!r} is no span", where=where, remedy="write 30s, 5m, 12h or 7d")
    return seconds


def _span(text: str) -> int | None:
    match = re.fullmatch(r"(\d{1,6})([smhd])", text)
    return None if match is None else int(match[1]) * UNITS[match[2]]


def micros_of(text: str | None, clock: Clock) -> int | None:
    """Microseconds since the epoch. Raises SetupError for what is neither a span nor a time."""
    if text is None:
        return None
    span = _span(text)
    if span is not None:
        return clock.now() - span * SECOND
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        raise SetupError(
            f"{text!r} is neither a span nor a time",
            where="--since",
            remedy="write 30m, 12h, 7d, 2026-01-31 or 2026-01-31T08:00:00 (UTC)",
        ) from None
    moment = moment.replace(tzinfo=moment.tzinfo or dt.UTC)
    return round(moment.timestamp() * SECOND)
