"""Reads a stream's topic, and tells repeats from ids that stand for several things."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from consumers.reading.decode import SchemaLookup
from consumers.repeats.comparison import Comparison, Copies
from consumers.repeats.conflicts import Example, count_ids, examples, looked, sought
from schemas.contract import Contract
from schemas.errors import SetupError
from schemas.events import Partition, Run
from schemas.keys import Hashes
from schemas.ports import LogReader

EVENTS_MAX = 100_000_000  # of one stream: 2.4 GB of hashes, three times that while they are sorted
EXAMPLES_MAX = 10  # of one stream


@dataclass(frozen=True, slots=True)
class DuplicatesPorts:
    """What the report reads; it writes nothing."""

    reader: LogReader
    lookup: SchemaLookup
    progress: Callable[[str, int], None] = lambda _topic, _count: None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked: events logged since (microseconds), compared without some fields."""

    since: int | None = None
    ignored: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Duplicates:
    """A stream's events by their ids: events = ids + duplicates + without_id + dead."""

    stream: str
    events: int
    ids: int
    duplicates: int
    without_id: int
    dead: int  # what the loader rejects
    conflicts: int  # ids with copies that differ
    examples: list[Example] = field(default_factory=list)  # the first of them


@dataclass(frozen=True, slots=True)
class _Counted:
    """The first reading."""

    copies: Copies
    without_id: int
    dead: int


def duplicates_once(ports: DuplicatesPorts, contract: Contract, wanted: Wanted) -> Duplicates:
    """Read what the log has of a stream, up to its end of now, and count.

    1. Look up where each partition begins and ends. 2. Read it, and keep 24 bytes an event.
    3. If there are conflicts, read again until all copies of the first few have been seen.

    The same id in two partitions counts as a duplicate, though the loader looks within a
    partition. Raises SetupError for more than ``EVENTS_MAX`` offsets, and as the ports do.
    """
    comparison = Comparison(contract, ports.lookup, wanted.ignored)
    spans = _spans(ports.reader, contract.topic, wanted.since)
    counted = _read(ports, comparison, spans)
    ids, conflicts = count_ids(counted.copies)
    found = sought(conflicts, EXAMPLES_MAX)
    if found:
        for run in _runs(ports, spans):
            events = comparison.events(run)
            found = [looked(one, events, comparison) for one in found]
            if all(one.complete for one in found):
                break
    return Duplicates(
        stream=contract.stream,
        events=len(counted.copies) + counted.without_id + counted.dead,
        ids=ids,
        duplicates=len(counted.copies) - ids,
        without_id=counted.without_id,
        dead=counted.dead,
        conflicts=len(conflicts),
        examples=examples(found, comparison.names),
    )


_Spans = dict[Partition, tuple[int, int]]


def _spans(reader: LogReader, topic: str, since: int | None) -> _Spans:
    spans = {}
    for partition in reader.partitions(topic):
        first, after = reader.bounds(partition)
        if since is not None:
            first = max(first, reader.offset_at(partition, since // 1000))
        spans[partition] = first, after
    offsets = sum(max(after - first, 0) for first, after in spans.values())
    if offsets > EVENTS_MAX:
        raise SetupError(
            f"{offsets:,} offsets are more than the {EVENTS_MAX:,} that are compared at a time",
            where=topic,
            remedy="ask for a shorter time, such as --since 24h",
        )
    return spans


def _runs(ports: DuplicatesPorts, spans: _Spans) -> Iterator[Run]:
    for partition, (first, after) in spans.items():
        start, _ = ports.reader.bounds(partition)  # retention may have moved it since
        for run in ports.reader.read(partition, max(first, start), after):
            ports.progress(partition.topic, len(run))
            yield run


def _read(ports: DuplicatesPorts, comparison: Comparison, spans: _Spans) -> _Counted:
    columns: tuple[list[Hashes], list[Hashes], list[Hashes]] = ([], [], [])
    without_id = dead = 0
    for run in _runs(ports, spans):
        events = comparison.events(run)
        without_id += events.without_id
        dead += events.dead
        parts = (events.copies.h1, events.copies.h2, events.copies.body)
        for column, part in zip(columns, parts, strict=True):
            column.append(part)
    return _Counted(Copies(*map(_joined, columns)), without_id, dead)


def _joined(parts: list[Hashes]) -> Hashes:
    """The parts end to end; they are given up, so that not all columns are there twice."""
    column = np.concatenate([np.empty(0, dtype=np.uint64), *parts])
    parts.clear()
    return column
