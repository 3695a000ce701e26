"""The truth about a process: which loops turn, what it is ready for, and what was made durable."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from threading import Lock
from typing import Any

from schemas.errors import SluiceError
from schemas.ports import Clock
from services.redaction import explained, in_one_line

BEAT_SECONDS_MAX = 60.0
"""A loop that has not turned for this long is stuck; above any poll, load or retry slice."""
NAMES_MAX = 3  # of the checks that fail for the same reason


@dataclass(frozen=True, slots=True)
class Beat:
    """The last turn of a loop."""

    at: float  # seconds, monotonic
    seconds_max: float  # how long a turn may take


@dataclass(frozen=True, slots=True)
class Check:
    """One condition of readiness."""

    ok: bool
    why: Mapping[str, str]  # what, where and remedy, as far as there are any
    since: int  # microseconds since the epoch, UTC


@dataclass(frozen=True, slots=True)
class Advance:
    """The last durable advance of a partition or stream, or that there was none yet."""

    at: int | None  # microseconds since the epoch, UTC
    monotonic: float  # the same moment, in seconds
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Standing:
    """A partition that a process holds: what keeps it from being ready, and how far it is."""

    why: str | SluiceError  # empty: nothing does
    advanced_at: int | None  # by this process; microseconds since the epoch, UTC
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class State:
    """Everything that was reported, at one moment."""

    started: float  # seconds, monotonic
    beats: Mapping[str, Beat] = field(default_factory=dict)
    checks: Mapping[str, Check] = field(default_factory=dict)
    advances: Mapping[str, Advance] = field(default_factory=dict)
    held: frozenset[str] = frozenset()  # the partitions among them
    stopping: str = ""  # why, while the process drains


@dataclass(frozen=True, slots=True)
class Report:
    """An answer: whether, and what it rests on (plain JSON types)."""

    ok: bool
    body: Mapping[str, Any]


def live(state: State, now: float) -> Report:
    """Whether every loop turns. ``now`` in seconds, monotonic.

    A process whose first loop never began is not live either, once it had the time to.
    """
    loops = {
        name: {
            "age_seconds": round(now - beat.at, 3),
            "seconds_max": beat.seconds_max,
            "ok": now - beat.at <= beat.seconds_max,
        }
        for name, beat in sorted(state.beats.items())
    }
    reasons = [
        f"{name} has not turned for {loop['age_seconds']:.0f} s (limit {loop['seconds_max']:.0f})"
        for name, loop in loops.items()
        if not loop["ok"]
    ]
    if not loops and not state.stopping and now - state.started > BEAT_SECONDS_MAX:
        reasons.append(f"no loop has begun in {now - state.started:.0f} s")
    return Report(not reasons, {"ok": not reasons, "reasons": reasons, "loops": loops})


def ready(state: State) -> Report:
    """Whether every declared check holds. Without any check, a process is not ready yet."""
    checks = {
        name: {"ok": check.ok, "since": _iso(check.since), **check.why}
        for name, check in sorted(state.checks.items())
    }
    reasons = _reasons(state.checks)
    if not checks:
        reasons.append("nothing has reported yet")
    if state.stopping:
        reasons.append(f"stopping: {state.stopping}")
    return Report(not reasons, {"ok": not reasons, "reasons": reasons, "checks": checks})


def _reasons(checks: Mapping[str, Check]) -> list[str]:
    """What, where and remedy of each check that does not hold; once, if it is that of several."""
    names: dict[str, list[str]] = {}
    for name, check in sorted(checks.items()):
        if not check.ok:
            told = {part: text for part, text in check.why.items() if text != name}
            names.setdefault(in_one_line(**{"what": "not ok", **told}), []).append(name)
    return [f"{_some(found)}: {why}" for why, found in names.items()]


def _some(names: list[str]) -> str:
    more = len(names) - NAMES_MAX
    return ", ".join(names[:NAMES_MAX]) + (f" and {more} more" if more > 0 else "")


def progress(state: State, now: float) -> Report:
    """The last durable advance of each partition or stream; never a verdict.

    A partition that is held and has not advanced since has its entry too, without a time.
    """
    advances = {
        name: {
            "at": None if advance.at is None else _iso(advance.at),
            "age_seconds": None if advance.at is None else round(now - advance.monotonic, 3),
            "detail": dict(advance.detail),
        }
        for name, advance in sorted(state.advances.items())
    }
    return Report(ok=True, body={"advances": advances})


class Health:
    """Where loops report. Safe for any number of threads; nothing blocks for long.

    ``checks`` are the conditions of readiness that must report before the process is ready, so
    that one which forgets to cannot be taken for one that is fine.
    """

    def __init__(self, clock: Clock, checks: tuple[str, ...] = ()) -> None:
        self._clock = clock
        self._lock = Lock()
        waiting = Check(ok=False, why={"what": "has not reported yet"}, since=clock.now())
        self._state = State(started=clock.monotonic(), checks=dict.fromkeys(checks, waiting))

    def beat(self, name: str, seconds_max: float = BEAT_SECONDS_MAX) -> None:
        """The loop has turned; the next turn is due within ``seconds_max``."""
        beat = Beat(self._clock.monotonic(), seconds_max)
        with self._lock:
            self._state = replace(self._state, beats={**self._state.beats, name: beat})

    def end(self, name: str) -> None:
        """The loop has ended as it should; no turn is due any more."""
        with self._lock:
            beats = {other: beat for other, beat in self._state.beats.items() if other != name}
            self._state = replace(self._state, beats=beats)

    def ready(self, name: str, ok: bool, why: str | SluiceError = "") -> None:  # noqa: FBT001 - a report
        """Whether a condition holds, and why not: for errors with what, where and remedy."""
        now = self._clock.now()
        with self._lock:
            check = _checked(self._state.checks.get(name), ok=ok, why=why, now=now)
            self._state = replace(self._state, checks={**self._state.checks, name: check})

    def hold(self, partitions: Mapping[str, Standing]) -> None:
        """These are all partitions that are held now; of others nothing is told any more."""
        now, monotonic = self._clock.now(), self._clock.monotonic()
        with self._lock:
            before = self._state
            checks = {n: check for n, check in before.checks.items() if n not in before.held}
            advances = {n: it for n, it in before.advances.items() if n not in before.held}
            for name, here in partitions.items():
                known = before.checks.get(name)
                checks[name] = _checked(known, ok=not here.why, why=here.why, now=now)
                last = before.advances.get(name)
                same = last is not None and last.at == here.advanced_at
                moment = last.monotonic if last is not None and same else monotonic
                advances[name] = Advance(here.advanced_at, moment, dict(here.detail))
            held = frozenset(partitions)
            self._state = replace(before, checks=checks, advances=advances, held=held)

    def advance(self, name: str, detail: Mapping[str, Any]) -> None:
        """Something became durable: ``name`` is a partition or stream, ``detail`` how far it is."""
        advance = Advance(self._clock.now(), self._clock.monotonic(), dict(detail))
        with self._lock:
            self._state = replace(self._state, advances={**self._state.advances, name: advance})

    def stop(self, why: str) -> None:
        """Not ready any more, for good: the process drains."""
        with self._lock:
            self._state = replace(self._state, stopping=why)

    def state(self) -> State:
        """All that was reported; it does not change afterwards."""
        with self._lock:
            return self._state

    def now(self) -> float:
        """Seconds on the clock that :func:`live` and :func:`progress` take."""
        return self._clock.monotonic()


def _checked(before: Check | None, *, ok: bool, why: str | SluiceError, now: int) -> Check:
    told = explained(why) if isinstance(why, SluiceError) else {"what": why} if why else {}
    return Check(ok, told, before.since if before is not None and before.ok == ok else now)


def _iso(microseconds: int) -> str:
    moment = datetime.fromtimestamp(microseconds / 1e6, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
