"""What ``--since`` takes: a span back from now, or a time."""

import datetime as dt
import re

from schemas.errors import SetupError
from schemas.ports import Clock

SECOND = 1_000_000
UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def micros_of(text: str | None, clock: Clock) -> int | None:
    """Microseconds since the epoch. Raises SetupError for what is neither a span nor a time."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if match is not None:
        return clock.now() - int(match[1]) * UNITS[match[2]] * SECOND
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
