"""Stops a partition whose rejects pass a limit: a bad deploy must not divert a whole topic."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from schemas.errors import SluiceError
from schemas.events import Partition

MEMORY = 10  # the share is taken over this many times the least number of events


class BreakerOpenError(SluiceError):
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


@dataclass(slots=True)
class Breaker:
    """Counts one loader's verdicts by partition."""

    ratio_max: float
    events_min: int
    _counts: dict[Partition, tuple[float, float]] = field(default_factory=dict)

    def check(self, verdicts: Mapping[Partition, tuple[int, int]]) -> None:
        """Take events and rejects of a run into account.

        Raises BreakerOpenError instead, and counts nothing, if some partition goes too far.
        """
        sums = {p: self._sum(p, *verdict) for p, verdict in verdicts.items()}
        tripped = {
            p: f"{bad / seen:.0%} of the last {seen:,.0f} events break the contract"
            for p, (seen, bad) in sums.items()
            if seen >= self.events_min and bad / seen > self.ratio_max
        }
        if tripped:
            raise BreakerOpenError(tripped)
        self._counts |= sums

    def _sum(self, partition: Partition, events: int, rejects: int) -> tuple[float, float]:
        seen, bad = self._counts.get(partition, (0.0, 0.0))
        if seen > self.events_min * MEMORY:
            seen, bad = seen / 2, bad / 2
        return seen + events, bad + rejects

    def forget(self, partition: Partition) -> None:
        """Start anew, as for a partition that comes back."""
        self._counts.pop(partition, None)
