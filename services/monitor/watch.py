"""Looks at a process from beside it: gauges of its health, and what a stuck loop was doing."""

import sys
import threading
import traceback

import structlog

from schemas.ports import Metrics
from services.monitor.health import Health, State, live, ready

FRAMES_MAX = 30


class Watch:
    """Called a few times a second by the admin thread; reports each stuck loop once."""

    def __init__(self, health: Health, metrics: Metrics) -> None:
        self._health = health
        self._metrics = metrics
        self._stuck: frozenset[str] = frozenset()
        self._gone: dict[str, frozenset[str]] = {}

    def tick(self) -> None:
        """Set the gauges; for a loop that has just become stuck, log where every thread is."""
        state, now = self._health.state(), self._health.now()
        self._gauges(state, now)
        stuck = frozenset(
            name for name, beat in state.beats.items() if now - beat.at > beat.seconds_max
        )
        for name in sorted(stuck - self._stuck):
            self._metrics.count("process_stuck", loop=name)
            structlog.get_logger(__name__).error(
                "a loop is stuck",
                loop=name,
                seconds=round(now - state.beats[name].at, 1),
                threads=stacks(),
                remedy="see where its thread stands; restart the process if it does not recover",
            )
        self._stuck = stuck

    def _gauges(self, state: State, now: float) -> None:
        metrics = self._metrics
        metrics.gauge("process_live", float(live(state, now).ok))
        metrics.gauge("process_ready", float(ready(state).ok))
        for loop, beat in state.beats.items():
            metrics.gauge("process_beat_age_seconds", now - beat.at, loop=loop)
        for check, held in state.checks.items():
            metrics.gauge("process_check", float(held.ok), check=check)
        advanced = {check: it for check, it in state.advances.items() if it.at is not None}
        for check, advance in advanced.items():
            metrics.gauge("process_advance_age_seconds", now - advance.monotonic, check=check)
        self._forget("loops", frozenset(state.beats))
        self._forget("checks", frozenset(state.checks))
        self._forget("advances", frozenset(advanced))

    def _forget(self, what: str, names: frozenset[str]) -> None:
        """No series of a loop that has ended or a partition that is gone."""
        nan = float("nan")
        for name in self._gone.get(what, frozenset()) - names:
            match what:
                case "loops":
                    self._metrics.gauge("process_beat_age_seconds", nan, loop=name)
                case "checks":
                    self._metrics.gauge("process_check", nan, check=name)
                case _:
                    self._metrics.gauge("process_advance_age_seconds", nan, check=name)
        self._gone[what] = names


def stacks() -> dict[str, list[str]]:
    """Where each thread is, innermost last: places only, no values."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return {
        f"{names.get(ident, 'thread')}-{ident}": [
            f"{frame.filename}:{frame.lineno} {frame.name}"
            for frame in traceback.extract_stack(top, limit=FRAMES_MAX)
        ]
        for ident, top in sys._current_frames().items()  # noqa: SLF001 - the only way to see them
    }
