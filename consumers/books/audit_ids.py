"""Proves, by events' ids, that duplicates are duplicates and that nothing is loaded twice.

Counts alone would balance if a new event were taken for a duplicate, or a duplicate for new; and
if a row had become another event's.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import numpy as np
import numpy.typing as npt
import polars as pl

from consumers.books import audit_tables as tables
from consumers.books.balance import Finding
from consumers.reading.decode import Decoder
from consumers.reading.dedupe import dedupe_keys, key_hashes, lateness, sort_keys, stamps_of
from schemas import avro
from schemas.contract import Contract
from schemas.errors import SetupError
from schemas.events import Partition, Run
from schemas.keys import Integers, Keys
from schemas.ports import LogReader, Warehouse

EVENTS_MAX = 100_000_000  # of one partition: 3.2 GB of keys, twice that while they are sorted
ROWS_MAX = 200_000  # whose ids are fetched at a time
MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class IdPorts:
    """What looking at the ids of one stream reads; it writes nothing."""

    reader: LogReader
    warehouse: Warehouse
    contract: Contract
    decoder: Decoder
    progress: Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of a partition's events below ``after``, by offset."""

    partition: Partition
    start: int  # of the log
    after: int  # where the warehouse stands
    loaded: npt.NDArray[np.int64]  # rows of first and last offset, ascending
    dead: Integers  # ascending
    unloadable: Integers  # of the dead, those that count as seen

    def is_loaded(self, offsets: Integers) -> npt.NDArray[np.bool_]:
        """Which of the offsets the table holds."""
        if not len(self.loaded):
            return np.zeros(len(offsets), dtype=np.bool_)
        place = np.searchsorted(self.loaded[:, 0], offsets, side="right") - 1
        inside: npt.NDArray[np.bool_] = (place >= 0) & (offsets <= self.loaded[place, 1])
        return inside

    def has_any(self, first: int, after: int) -> bool:
        """Whether the table holds an offset from ``first`` to before ``after``."""
        return bool(((self.loaded[:, 0] < after) & (self.loaded[:, 1] >= first)).any())


def check_ids(ports: IdPorts, settled: Settled) -> Iterator[Finding]:
    """What a partition's ids say against its books.

    1. Read the log up to where the warehouse stands, and keep 32 bytes an event. 2. Compare.
    3. Read again what was dropped without a copy before it, if the log's beginning is gone, and
    ask the table for those ids. 4. Compare the ids of the table's rows. Raises SetupError for
    more than ``EVENTS_MAX`` offsets, and as the ports do.
    """
    if settled.after - settled.start > EVENTS_MAX:
        raise SetupError(
            f"{settled.after - settled.start:,} offsets are more than the {EVENTS_MAX:,} whose ids "
            "are compared at a time",
            where=f"{settled.partition.topic}/{settled.partition.number}",
            remedy="leave out --ids",
        )
    keys, without_key = _read(ports, settled)
    window = ports.contract.dedupe_window // MICROSECOND
    dropped, doubled = compare(keys, settled, window)
    if len(dropped) and settled.start:
        dropped = _unknown(ports, settled, dropped)
    gone = np.setdiff1d(without_key[~settled.is_loaded(without_key)], settled.dead)
    other = _other(ports, settled, keys)
    for offsets, what in (
        (other, "whose row in the table has the id of another one"),
        (dropped, "neither loaded nor dead, and no event of the id is loaded before"),
        (gone, "without an id that are neither loaded nor dead"),
        (doubled, "loaded again within dedupe_window of the same id"),
    ):
        if len(offsets):
            first, after = int(offsets.min()), int(offsets.max()) + 1
            events = "event" if len(offsets) == 1 else "events"
            yield Finding(settled.partition, first, after, f"{len(offsets)} {events} {what}")


def compare(keys: Keys, settled: Settled, window: int) -> tuple[Integers, Integers]:
    """Offsets of events that were dropped without a copy before them, and of loaded copies.

    An event counts as seen once it is loaded, or refused by its table; ``window`` in
    microseconds, 0 where nothing is a duplicate.
    """
    if not len(keys):
        return keys.offset, keys.offset
    keys, _ = sort_keys(keys)
    loaded = settled.is_loaded(keys.offset)
    seen = loaded | np.isin(keys.offset, settled.unloadable)
    begins = np.ones(len(keys), dtype=np.bool_)  # of one id's events
    begins[1:] = (keys.h1[1:] != keys.h1[:-1]) | (keys.h2[1:] != keys.h2[:-1])
    number: Integers = np.cumsum(begins) - 1
    before: Integers = np.cumsum(seen) - seen
    earlier = before - before[begins][number] > 0
    dropped = ~seen & ~np.isin(keys.offset, settled.dead) & ~earlier
    places = np.flatnonzero(seen)
    one, other = places[:-1], places[1:]
    apart = keys.stamp[other] - keys.stamp[one]
    # what comes far behind newer events is not judged exactly, nor is it here
    again = (number[one] == number[other]) & (apart <= window) & (apart >= -lateness(window))
    doubled = other[again & loaded[other]] if window else other[:0]
    return np.sort(keys.offset[dropped]), np.sort(keys.offset[doubled])


def _read(ports: IdPorts, settled: Settled) -> tuple[Keys, Integers]:
    """The keys of all events that can be read, and the offsets of those that have none."""
    parts: list[tuple[npt.NDArray[np.uint64], ...]] = []
    times: list[tuple[Integers, Integers]] = []
    without: list[Integers] = [np.empty(0, dtype=np.int64)]
    for run, frame, offsets in _decoded(ports, settled):
        hashes = key_hashes(dedupe_keys(ports.contract, frame))
        stamps = stamps_of(frame, partial(_logged, run, offsets))
        kept = ~hashes.null
        without.append(offsets[hashes.null])
        parts.append((hashes.h1[kept], hashes.h2[kept]))
        times.append((offsets[kept], stamps[kept]))
    if not parts:
        none, nothing = np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.int64)
        return Keys(none, none, nothing, nothing), nothing
    h1, h2 = (np.concatenate(column) for column in zip(*parts, strict=True))
    offset, stamp = (np.concatenate(column) for column in zip(*times, strict=True))
    return Keys(h1, h2, offset, stamp), np.concatenate(without)


def _decoded(ports: IdPorts, settled: Settled) -> Iterator[tuple[Run, pl.DataFrame, Integers]]:
    """Each run's readable events, and their offsets."""
    for run in ports.reader.read(settled.partition, settled.start, settled.after):
        decoded = ports.decoder.decode(run.values)
        rows = decoded.rows
        yield run, decoded.frame, run.offsets if rows is None else run.offsets[rows]
        ports.progress(settled.partition.topic, len(run))


def _logged(run: Run, offsets: Integers) -> Integers:
    """The log's own times of these offsets, milliseconds."""
    return np.asarray(run.timestamps)[np.searchsorted(run.offsets, offsets)]


def _other(ports: IdPorts, settled: Settled, keys: Keys) -> Integers:
    """The offsets at which the table has another id than the log; ``keys`` by offset."""
    found = [np.empty(0, dtype=np.int64)]
    for first in range(settled.start, settled.after, ROWS_MAX):
        after = min(first + ROWS_MAX, settled.after)
        if not settled.has_any(first, after):
            continue
        offsets, ids = tables.loaded_ids(
            ports.warehouse, ports.contract, settled.partition, first, after
        )
        hashes = key_hashes(pl.Series(ids, dtype=pl.String))
        place = np.searchsorted(keys.offset, offsets)
        known = np.take(keys.offset, place, mode="clip") == offsets if len(keys) else place < 0
        place = place[known]
        same = (keys.h1[place] == hashes.h1[known]) & (keys.h2[place] == hashes.h2[known])
        found.append(offsets[known][~same])
    return np.concatenate(found)


def _unknown(ports: IdPorts, settled: Settled, dropped: Integers) -> Integers:
    """Those of the dropped events whose id the table does not hold either.

    Their first copies may have left the log. Ids of other producers are not in the table, so
    that nothing can be said of those.
    """
    ids: dict[int, str] = {}
    for _, frame, offsets in _decoded(ports, settled):
        wanted = np.isin(offsets, dropped) & frame[avro.ID].is_not_null().to_numpy()
        names = frame[avro.ID].filter(pl.Series(wanted)).to_list()
        ids |= dict(zip(offsets[wanted].tolist(), names, strict=True))
    known = tables.known_ids(ports.warehouse, ports.contract, set(ids.values()))
    return np.array(sorted(o for o, name in ids.items() if name not in known), dtype=np.int64)
