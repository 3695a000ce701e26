"""The ways in which the demo's senders break records, and what has to become of each."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from schemas.errors import RejectReason, Stage

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to break a record, and the dead letter that follows from it.

    ``line_only``: the result is no JSON object, so it can travel as a line of NDJSON only.
    """

    name: str
    stage: Stage
    reason: RejectReason
    text: Callable[[Event], str]
    line_only: bool = False


def _with(field: str, value: object) -> Callable[[Event], str]:
    return lambda event: json.dumps({**event, field: value})


def _without(field: str) -> Callable[[Event], str]:
    return lambda event: json.dumps({k: v for k, v in event.items() if k != field})


def _cut(event: Event) -> str:
    """A line whose end got lost."""
    return json.dumps(event)[:-20]


def _listed(event: Event) -> str:
    return json.dumps(list(event.values()))


_LINES = (
    Fault("line cut short", Stage.ENCODE, RejectReason.NOT_JSON, _cut, line_only=True),
    Fault("values only", Stage.ENCODE, RejectReason.NOT_AN_OBJECT, _listed, line_only=True),
)
WEATHER = (
    *_LINES,
    Fault("temperature in words", Stage.ENCODE, RejectReason.WRONG_TYPE, _with("temp", "mild")),
    Fault("another airport", Stage.ENCODE, RejectReason.NOT_A_MEMBER, _with("origin", "LaGuardia")),
    Fault("no hour", Stage.JUDGE, RejectReason.MISSING, _without("time_hour")),
    Fault("humidity of 140 %", Stage.JUDGE, RejectReason.OUT_OF_RANGE, _with("humid", 140)),
)
PLANES = (
    *_LINES,
    Fault("year in words", Stage.ENCODE, RejectReason.WRONG_TYPE, _with("year", "MCMXCIX")),
    Fault("no manufacturer", Stage.JUDGE, RejectReason.MISSING, _without("manufacturer")),
    Fault("no seats", Stage.JUDGE, RejectReason.OUT_OF_RANGE, _with("seats", 0)),
    Fault("foreign registration", Stage.JUDGE, RejectReason.PATTERN, _with("tailnum", "D-AIMA")),
    Fault("unknown engine", Stage.JUDGE, RejectReason.NOT_A_MEMBER, _with("engine", "Steam")),
)
