"""Cursor values: how a source writes them, how they compare, what is stored of a run."""

import datetime as dt
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from producers.config_errors import finding
from producers.pagers import Position, Span
from schemas import exact_json

STATE_BYTES_MAX = 4096
MICROS = 1_000_000
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_UNITS = {"ms": 1_000, "s": MICROS, "m": 60 * MICROS, "h": 3_600 * MICROS, "d": 86_400 * MICROS}
_DURATION = re.compile(r"(\d+)(ms|s|m|h|d)")
_PLAIN = {"rfc3339", "date", "epoch_seconds", "epoch_millis", "integer", "text"}
_NUMBERS = {"epoch_seconds", "epoch_millis", "integer"}

CursorValue = int | str
"""Microseconds since the epoch UTC for instants, the number itself for integers, or text."""


def duration_micros(text: str) -> int:
    """``500ms``, ``60s``, ``10m``, ``6h``, ``1d``, as microseconds. Raises ValueError."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        msg = "a duration is a whole number and a unit (ms, s, m, h, d), such as 10m"
        raise ValueError(msg)
    return int(match[1]) * _UNITS[match[2]]


def _duration(text: str) -> str:
    duration_micros(text)
    return text


Duration = Annotated[str, AfterValidator(_duration)]
"""A whole number and a unit: ms, s, m, h or d."""


def _interval(text: str) -> str:
    if duration_micros(text) <= 0:
        raise finding("no time at all", "write a duration above zero, such as 30s or 5m")
    return text


Interval = Annotated[str, AfterValidator(_interval)]
"""A duration above zero."""


def _form(text: str) -> str:
    if text not in _PLAIN and "%" not in text:
        msg = f"one of {', '.join(sorted(_PLAIN))}, or a strftime pattern"
        raise ValueError(msg)
    return text


Form = Annotated[str, AfterValidator(_form)]
"""How a source writes its cursor: a name, or a strftime pattern (taken as UTC)."""


def is_time(form: str) -> bool:
    """Whether values of this form are instants."""
    return form not in {"integer", "text"}


def kind_of(form: str) -> str:
    """What values of a form are: time, integer or text; only those of one kind compare."""
    return "time" if is_time(form) else form


def parse(value: object, form: str) -> CursorValue | None:
    """What a record's field says, or None where it is not of the form. Never raises."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        return _parse(value, form)
    except (ValueError, ArithmeticError, TypeError):
        return None


def _parse(value: object, form: str) -> CursorValue | None:
    match form:
        case "text":
            return value if isinstance(value, str) and value else None
        case "integer":
            return _bounded(int(value)) if isinstance(value, int | str) else None
        case "epoch_seconds" | "epoch_millis":
            micros = Decimal(str(value)) * (MICROS if form == "epoch_seconds" else 1_000)
            return _bounded(micros.to_integral_value(rounding="ROUND_FLOOR"))
        case "rfc3339" | "date":
            return _micros(dt.datetime.fromisoformat(str(value)))
        case pattern:
            return _micros(dt.datetime.strptime(str(value), pattern))  # noqa: DTZ007 - see _micros


def _bounded(number: int | Decimal) -> int | None:
    """In 64 bits, as it is stored; looked at first, as ``int`` of 1e99999999 has no end."""
    return int(number) if -(2**63) <= number < 2**63 else None


def _micros(moment: dt.datetime) -> int:
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=dt.UTC)
    return (aware - _EPOCH) // dt.timedelta(microseconds=1)


def write(value: CursorValue, form: str) -> str:
    """The value as a parameter; instants are rounded down to what the form can say."""
    if isinstance(value, str) or form == "integer":
        return str(value)
    if form == "epoch_seconds":
        return str(value // MICROS)
    if form == "epoch_millis":
        return str(value // 1_000)
    moment = _EPOCH + dt.timedelta(microseconds=value)
    if form == "rfc3339":
        return moment.isoformat().replace("+00:00", "Z")
    return moment.date().isoformat() if form == "date" else moment.strftime(form)


def as_param(value: CursorValue, form: str) -> str | int:
    """As :func:`write`, but a number where the form is one: in a JSON body they differ."""
    text = write(value, form)
    return int(text) if form in _NUMBERS else text


class Cursor(BaseModel):
    """What makes a stream incremental.

    A run asks for what changed since the cursor less the look-back. Duplicates that this brings
    are removed downstream by event id.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    field: str | None = Field(
        default=None,
        description="Field of the record, or a JSON pointer into it; not needed by windows.",
    )
    param: str | None = Field(
        default=None, description="Request parameter that takes the cursor; not used by windows."
    )
    start: str | int | None = Field(
        default=None, description="Cursor of the very first run; default: everything there is."
    )
    format: Form = Field(
        default="rfc3339",
        description="How the source writes it: rfc3339, date, epoch_seconds, epoch_millis, "
        "integer, text, or a strftime pattern in UTC.",
    )
    lookback: Duration | int | None = Field(
        default=None,
        description="Taken off the cursor: a duration for instants (default 1m; longer than "
        "commits of the source may be late), a number for integers (default 0), none for text.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.start is not None and parse(self.start, self.format) is None:
            msg = f"start: not of the format {self.format}"
            raise ValueError(msg)
        if self.lookback is None:
            return self
        if self.format == "text":
            msg = "lookback: text has none"
            raise ValueError(msg)
        if isinstance(self.lookback, str) != is_time(self.format):
            msg = "lookback: a duration such as 10m for instants, a number for integers"
            raise ValueError(msg)
        return self

    @property
    def start_value(self) -> CursorValue | None:
        """The cursor before the first run."""
        return None if self.start is None else parse(self.start, self.format)

    def since(self, cursor: CursorValue | None) -> CursorValue | None:
        """Where the next run begins: the cursor less the look-back, never before ``start``."""
        start = self.start_value
        if cursor is None or isinstance(cursor, str):
            return start if cursor is None else cursor
        since = cursor - self._lookback()
        return max(since, start) if isinstance(start, int) else since

    def _lookback(self) -> int:
        if isinstance(self.lookback, int):
            return self.lookback
        if self.lookback is None:
            return 60 * MICROS if is_time(self.format) else 0
        return duration_micros(self.lookback)


def later(one: CursorValue | None, other: CursorValue | None) -> CursorValue | None:
    """The greater of two cursor values; values of two kinds (a changed format): the second."""
    if one is None or other is None:
        return one if other is None else other
    if isinstance(one, int) and isinstance(other, int):
        return max(one, other)
    return max(one, other) if isinstance(one, str) and isinstance(other, str) else other


@dataclass(frozen=True, slots=True)
class Run:
    """A run under way, as it stands after a page."""

    position: Position
    span: Span
    plan: str  # fingerprint of the settings that the position belongs to
    seen: CursorValue | None = None  # the greatest cursor value of its records
    pages: int = 0
    records: int = 0


@dataclass(frozen=True, slots=True)
class State:
    """What is stored with every page: the cursor of complete runs, and the run under way."""

    cursor: CursorValue | None = None
    run: Run | None = None
    bad: str | None = None  # digest of the unreadable page that already is a dead letter
    kind: str | None = None  # of the cursor: time, integer or text


def dump_state(state: State) -> bytes:
    """At most STATE_BYTES_MAX bytes of JSON; a longer position is left out, the run begins anew."""
    run = state.run
    value: dict[str, Any] = {"v": 1, "cursor": state.cursor, "bad": state.bad, "kind": state.kind}
    if run is None:
        return exact_json.dumps(value)
    full = {
        "position": run.position,
        "since": run.span.since,
        "until": run.span.until,
        "plan": run.plan,
        "seen": run.seen,
        "pages": run.pages,
        "records": run.records,
    }
    dumped = exact_json.dumps(value | {"run": full})
    return dumped if len(dumped) <= STATE_BYTES_MAX else exact_json.dumps(value)


def load_state(stored: bytes | None) -> State:
    """The state of a stored cursor record. Raises ValueError for what we have not written."""
    if not stored:
        return State()
    value = exact_json.loads(stored)
    if not isinstance(value, dict) or value.get("v") != 1:
        msg = "not a cursor of version 1"
        raise ValueError(msg)
    run = value.get("run")
    if run is None:
        return State(value["cursor"], None, value["bad"], value["kind"])
    span = Span(run["since"], run["until"])
    kept = Run(run["position"], span, run["plan"], run["seen"], run["pages"], run["records"])
    return State(value["cursor"], kept, value["bad"], value["kind"])
