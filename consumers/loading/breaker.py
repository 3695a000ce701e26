"""Stops a partition whose rejects pass a limit: a bad deploy must not divert a whole topic."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.errors import SetupError
from schemas.events import Partition

MEMORY = 10  # the share is taken over this many times the least number of events


class Verdicts(NamedTuple):
    """A run's events, and the places of those that were rejected, ascending."""

    events: int
    rejected: npt.NDArray[np.int64]


class BreakerOpenError(SetupError):
    """Too many events of these partitions are rejected; nothing of the run was dead-lettered."""

    def __init__(self, tripped: Mapping[Partition, str]) -> None:
        first = next(iter(tripped))
        super().__init__(
            tripped[first],
            where=", ".join(f"{p.topic}/{p.number}" for p in tripped),
            remedy="see `sluice dead count`; mend the producer or the contract, then restart "
            "the loader (the events wait in the log)",
        )
        self.tripped = tripped


class _Sum(NamedTuple):
    """What is remembered of a partition."""

    seen: float = 0.0
    bad: float = 0.0
    in_a_row: int = 0  # rejects at its end
    longest: int = 0  # rejects in a row in the last run


@dataclass(slots=True)
class Breaker:
    """Counts one loader's verdicts by partition. ``ratio_max`` 1 switches it off.

    A partition that was stopped is let through again only by a run that keeps the share, however
    short it is.
    """

    ratio_max: float
    events_min: int
    in_a_row_max: int
    what: str = "break the contract"  # the events that are counted
    _sums: dict[Partition, _Sum] = field(default_factory=dict)
    _stopped: set[Partition] = field(default_factory=set)

    def check(self, verdicts: Mapping[Partition, Verdicts]) -> None:
        """Take events and rejects of a run into account.

        Raises BreakerOpenError instead, and counts nothing, if some partition goes too far.
        """
        if self.ratio_max >= 1:
            return
        sums = {p: self._sum(p, verdict) for p, verdict in verdicts.items()}
        tripped = {p: why for p, found in sums.items() if (why := self._why(p, found)) is not None}
        if tripped:
            self._stopped.update(tripped)
            raise BreakerOpenError(tripped)
        self._stopped.difference_update(sums)
        self._sums |= sums

    def passed(self, events: Mapping[Partition, int]) -> None:
        """Take events into account of which none was rejected."""
        none = np.empty(0, dtype=np.int64)
        sums = {p: self._sum(p, Verdicts(count, none)) for p, count in events.items() if count}
        self._stopped.difference_update(sums)
        self._sums |= sums

    def twin(self, what: str, in_a_row_max: int) -> "Breaker":
        """One for another kind of rejects, with its own limit in a row where that is lower."""
        lower = min(self.in_a_row_max, in_a_row_max)
        return Breaker(self.ratio_max, self.events_min, lower, what)

    def _why(self, partition: Partition, found: _Sum) -> str | None:
        """Why the partition has to stop; None if it may go on."""
        if found.longest > self.in_a_row_max:
            return f"{found.longest:,} events in a row {self.what}"
        events_min = 1 if partition in self._stopped else self.events_min
        if found.seen >= events_min and found.bad / found.seen > self.ratio_max:
            return f"{found.bad / found.seen:.0%} of the last {found.seen:,.0f} events {self.what}"
        return None

    def _sum(self, partition: Partition, verdicts: Verdicts) -> _Sum:
        before = self._sums.get(partition, _Sum())
        seen, bad = before.seen, before.bad
        if seen > self.events_min * MEMORY:
            seen, bad = seen / 2, bad / 2
        longest, in_a_row = _rows(verdicts, before.in_a_row)
        return _Sum(seen + verdicts.events, bad + len(verdicts.rejected), in_a_row, longest)

    def forget(self, partition: Partition) -> None:
        """Start anew, as for a partition that comes back."""
        self._sums.pop(partition, None)


def _rows(verdicts: Verdicts, before: int) -> tuple[int, int]:
    """The most rejects in a row, with ``before`` ahead of the run, and how many end it."""
    places = verdicts.rejected
    if not len(places):
        return 0, 0
    breaks = np.flatnonzero(np.diff(places) > 1)
    lengths = np.diff(np.concatenate([[0], breaks + 1, [len(places)]]))
    if places[0] == 0:
        lengths[0] += before
    ends = int(places[-1]) == verdicts.events - 1
    return int(lengths.max()), int(lengths[-1]) if ends else 0
