"""Which ids have copies that say different things, and what an example of them looks like."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from consumers.repeats.comparison import Comparison, Copies, Events
from schemas.keys import Hashes, Integers


@dataclass(frozen=True, slots=True)
class Conflicts:
    """Ids with several bodies, in the order of their first copies; parallel columns."""

    h1: Hashes
    h2: Hashes
    copies: Integers
    bodies: Integers

    def __len__(self) -> int:
        return int(self.h1.size)


def count_ids(events: Copies) -> tuple[int, Conflicts]:
    """How many ids there are, and which of them have copies with different bodies.

    Needs some 20 bytes an event beside the copies, 50 for each whose id occurs again.
    """
    ordered = np.sort(events.h1)
    again = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    del ordered
    rows = np.flatnonzero(_among(events.h1, again))
    rows = rows[np.lexsort((events.body[rows], events.h2[rows], events.h1[rows]))]
    other_id = _changes(events.h1[rows]) | _changes(events.h2[rows])
    starts = np.flatnonzero(other_id)
    bodies = np.add.reduceat(other_id | _changes(events.body[rows]), starts, dtype=np.int64)
    copies = np.diff(starts, append=rows.size)
    several = np.flatnonzero(bodies > 1)
    several = several[np.argsort(np.minimum.reduceat(rows, starts)[several])]
    first = rows[starts[several]]
    conflicts = Conflicts(events.h1[first], events.h2[first], copies[several], bodies[several])
    return len(events) - rows.size + starts.size, conflicts


def _changes(column: Hashes) -> npt.NDArray[np.bool_]:
    """Where another value than the one before begins; at the first."""
    found = np.ones(column.size, dtype=np.bool_)
    found[1:] = column[1:] != column[:-1]
    return found


def _among(values: Hashes, known: Hashes) -> npt.NDArray[np.bool_]:
    """Which values are among the known ones, which ascend."""
    if not known.size:
        return np.zeros(values.size, dtype=np.bool_)
    at = np.minimum(np.searchsorted(known, values), known.size - 1)
    found: npt.NDArray[np.bool_] = known[at] == values
    return found


@dataclass(frozen=True, slots=True)
class Place:
    """Where a copy is in the log."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Example:
    """An id whose copies differ; first and last in the order of partitions and offsets."""

    id: str
    copies: int
    bodies: int
    first: Place
    last: Place
    fields: tuple[str, ...]  # in which a copy differs from the first


@dataclass(frozen=True, slots=True)
class _Found:
    """What has been seen of an id's copies."""

    id: str
    first: Place
    last: Place
    said: npt.NDArray[np.uint64]  # by the first copy, field by field
    differs: npt.NDArray[np.bool_]
    copies: int


@dataclass(frozen=True, slots=True)
class Sought:
    """An id in conflict, whose copies are looked at once more."""

    h1: np.uint64
    h2: np.uint64
    copies: int
    bodies: int
    found: _Found | None = None

    @property
    def complete(self) -> bool:
        """Whether all copies have been seen."""
        return self.found is not None and self.found.copies >= self.copies


def sought(conflicts: Conflicts, count_max: int) -> list[Sought]:
    """The first few ids."""
    columns = (conflicts.h1, conflicts.h2, conflicts.copies, conflicts.bodies)
    rows = zip(*(column[:count_max] for column in columns), strict=True)
    return [Sought(h1, h2, int(copies), int(bodies)) for h1, h2, copies, bodies in rows]


def looked(one: Sought, events: Events, comparison: Comparison) -> Sought:
    """The same, with its copies among these events; runs come in the log's order."""
    rows = np.flatnonzero((events.copies.h1 == one.h1) & (events.copies.h2 == one.h2))
    if not rows.size:
        return one
    said = comparison.hashes(events.frame[rows])
    first, last = (Place(*events.partition, int(events.offsets[row])) for row in rows[[0, -1]])
    before = one.found or _Found(
        events.ids[int(rows[0])], first, last, said[0], np.zeros(said.shape[1], np.bool_), 0
    )
    found = replace(
        before,
        last=last,
        differs=before.differs | (said != before.said).any(axis=0),
        copies=before.copies + rows.size,
    )
    return replace(one, found=found)


def examples(looked_at: Sequence[Sought], names: Sequence[str]) -> list[Example]:
    """What was found; nothing of an id whose copies have left the log meanwhile."""
    return [
        Example(
            id=found.id,
            copies=one.copies,
            bodies=one.bodies,
            first=found.first,
            last=found.last,
            fields=tuple(
                name for name, differs in zip(names, found.differs, strict=True) if differs
            ),
        )
        for one in looked_at
        if (found := one.found) is not None and found.differs.any()
    ]
