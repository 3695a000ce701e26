"""Which partitions a loader may read, from where, and until when it has to wait."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from enum import Enum, auto

from consumers.dedupe import PartitionKeys
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
    failures: int = 0  # in a row
    trouble: str = ""  # of the last one, where only people can mend it; until something loads
    claim: Claim | None = None
    topic_id: str | None = None  # of the topic, when it was claimed
    keys: PartitionKeys | None = None
    position: int = 0  # the next offset to be read, once owned
    committed: int = 0  # the next offset to be loaded, once owned
    goal: int | None = None  # where the log ended when delivery began, once that is known
    taken_up: bool = False  # has once been loaded up to there, by us


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

    def wait(self, partitions: Collection[Partition], retry_at: float, trouble: str = "") -> None:
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
                trouble=trouble,
                taken_up=held.taken_up,
            )

    def due(self, now: float) -> list[Partition]:
        """What is to be claimed now; first what has waited for longest, or not at all yet."""
        waiting = [(h.retry_at, p) for p, h in self.held.items() if h.phase is Phase.WAITING]
        return [partition for retry_at, partition in sorted(waiting) if retry_at <= now]

    def in_phase(self, phase: Phase) -> list[Partition]:
        """The partitions in a phase."""
        return [p for p, h in self.held.items() if h.phase is phase]
