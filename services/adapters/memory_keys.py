"""Remembered keys in memory: for tests and demonstrations, with the promises of the real store."""

from collections.abc import Sequence

from consumers.reading.dedupe import cut_segment, latest_before, merge_newest
from schemas.events import Partition
from schemas.keys import Found, Keys, Segment

SEGMENTS_MAX = 8


class MemoryStore:
    """One partition's store. Fits :class:`schemas.ports.Seen`. Forgets nothing."""

    def __init__(self) -> None:
        self.applied = 0
        self.lost: str | None = None
        self._segments: list[Segment] = []

    @property
    def rows(self) -> int:
        """See the port."""
        return sum(len(segment) for segment in self._segments)

    def latest(self, keys: Keys) -> Found:
        """See the port."""
        return latest_before(self._segments, keys)

    def remember(self, parts: Sequence[Segment], next_offset: int, now: int) -> None:
        """See the port."""
        del now
        self._segments = merge_newest([*self._segments, *parts], SEGMENTS_MAX)
        self.applied = next_offset

    def drop_from(self, until: int) -> None:
        """Forget what is held from this offset on."""
        cuts = [cut_segment(segment, until)[0] for segment in self._segments]
        self._segments = [part for cut in cuts for part in cut]
        self.applied = min(self.applied, until)

    def close(self) -> None:
        """See the port."""


class MemoryStores:
    """Stores that live as long as this object. Fits :class:`schemas.ports.SeenStores`."""

    def __init__(self) -> None:
        self._stores: dict[Partition, MemoryStore] = {}

    def open(self, partition: Partition, until: int, window: int) -> MemoryStore:
        """See the port."""
        del window
        store = self._stores.setdefault(partition, MemoryStore())
        store.drop_from(until)
        return store
