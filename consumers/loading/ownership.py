"""Which partitions a loader may read, from where, and until when it has to wait."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from enum import Enum, auto

from consumers.reading.dedupe import PartitionKeys
from schemas.errors import SetupError, SluiceError
from schemas.events import Claim, Partition


class Phase(Enum):
    """A partition's way from assignment to delivery."""

    WAITING = auto()  # to be claimed, not before `retry_at`
    CLAIMING = auto()  # the warehouse has been asked
    RESTORING = auto()  # claimed; its keys are read again from the log
    OWNED = auto()  # delivering


@dataclass(slots=True)
class Held:
    """One assigned partition."""

    phase: Phase = Phase.WAITING
    retry_at: float = 0.0  # monotonic seconds
    failures: int = 0  # in a row, until something loads or everything is loaded
    error: SluiceError | None = None  # of the last one; what only people can mend stays
    claim: Claim | None = None
    topic_id: str | None = None  # of the topic, when it was claimed
    keys: PartitionKeys | None = None
    position: int = 0  # the next offset to be read, once owned
    committed: int | None = None  # the next offset to be loaded, as the warehouse last told
    advanced_at: int | None = None  # microseconds; when we last made that durable
    end: int | None = None  # where the log ends, as last heard
    goal: int | None = None  # where the log ended when delivery began, once that is known
    taken_up: bool = False  # has once been loaded up to there, by us
    oldest: int | None = None  # the log's time of the first message not loaded; microseconds

    @property
    def lag(self) -> int | None:
        """Offsets in the log that are not loaded; None where nobody knows."""
        if self.end is None or self.committed is None:
            return None
        return max(0, self.end - self.committed)


@dataclass(slots=True)
class Ownership:
    """All assigned partitions of this loader."""

    held: dict[Partition, Held] = field(default_factory=dict)

    def assign(self, partitions: Iterable[Partition]) -> None:
        """They are ours, once claimed."""
        for partition in partitions:
            self.held.setdefault(partition, Held())

    def revoke(self, partitions: Iterable[Partition]) -> None:
        """They are someone else's; what is pending is forgotten."""
        for partition in partitions:
            held = self.held.pop(partition, None)
            if held is not None and held.keys is not None:
                held.keys.close()

    def of_topic(self, topic: str) -> list[Partition]:
        """The assigned partitions of a topic."""
        return [partition for partition in self.held if partition.topic == topic]

    def owned(self, partition: Partition) -> bool:
        """Whether its messages count."""
        held = self.held.get(partition)
        return held is not None and held.phase is Phase.OWNED

    def wait(self, partitions: Collection[Partition], retry_at: float, error: SluiceError) -> None:
        """Claim these again, from where the warehouse then stands, but not before ``retry_at``."""
        for partition in partitions:
            held = self.held.get(partition)
            if held is None:
                continue
            if held.keys is not None:
                held.keys.close()
            self.held[partition] = Held(
                retry_at=retry_at,
                failures=held.failures + 1,
                error=_worse(held.error, error),
                committed=held.committed,
                advanced_at=held.advanced_at,
                taken_up=held.taken_up,
                oldest=held.oldest,
            )

    def due(self, now: float) -> list[Partition]:
        """What is to be claimed now; first what has waited for longest, or not at all yet."""
        waiting = [(h.retry_at, p) for p, h in self.held.items() if h.phase is Phase.WAITING]
        return [partition for retry_at, partition in sorted(waiting) if retry_at <= now]


def _worse(before: SluiceError | None, now: SluiceError) -> SluiceError:
    """What to tell: an outage meanwhile mends nothing of what waits for somebody."""
    waits = isinstance(before, SetupError) and not isinstance(now, SetupError)
    return before if before is not None and waits else now
