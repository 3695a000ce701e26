"""The values of deduplication: hashed keys, and where each was first accepted."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class KeyHashes:
    """128 bits of every dedupe key of a run, as two columns, and which keys are null."""

    h1: Hashes
    h2: Hashes
    null: Mask


@dataclass(frozen=True, slots=True)
class Keys:
    """Hashed keys with their events' offsets and timestamps (microseconds), parallel columns."""

    h1: Hashes
    h2: Hashes
    offset: Integers
    stamp: Integers

    def __len__(self) -> int:
        return int(self.h1.size)

    @property
    def columns(self) -> tuple[Hashes, Hashes, Integers, Integers]:
        """All four."""
        return self.h1, self.h2, self.offset, self.stamp

    def take(self, rows: Integers | Mask) -> "Keys":
        """These rows, in this order."""
        return Keys(self.h1[rows], self.h2[rows], self.offset[rows], self.stamp[rows])


@dataclass(frozen=True, slots=True)
class Segment:
    """At least one key, sorted by (h1, h2, offset), never changed, and a filter over h1.

    The filter has one bit for every value of h1's leading bits: clear where no key has them.
    """

    keys: Keys
    filter: npt.NDArray[np.uint8]
    shift: np.uint64  # h1 >> shift is the number of its bit
    first: int  # lowest offset
    last: int  # highest offset

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True, slots=True)
class Found:
    """For every key asked for: the latest accepted event before it; offset -1 where none is."""

    offset: Integers
    stamp: Integers
