"""Which events are duplicates: a function of the log, computed on sorted columns of key hashes.

An event is a duplicate if the last accepted event with its key and a lower offset is not more
than a window older. Reading an offset twice thus never makes it a duplicate of itself.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

from schemas import avro
from schemas.contract import Contract
from schemas.events import Partition
from schemas.identity import digest
from schemas.keys import Found, Integers, KeyHashes, Keys, Mask, Segment
from schemas.ports import Seen

T = TypeVar("T", bound="np.generic[Any]")

SEED_1 = 0x5851F42D4C957F2D
SEED_2 = 0x14057B7EF767814F
BITS_PER_KEY = 16  # of a filter, at least; at most 6 % of the strange keys pass it then
PENDING_MAX = 8  # unmerged segments
MARKED_AT_ONCE = 1 << 16  # keys of a segment's filter: bounds what making it needs
LATENESS_MAX = 3_600_000_000  # one hour, in microseconds: so far may an event come behind others


def dedupe_keys(contract: Contract, frame: pl.DataFrame) -> pl.Series:
    """What tells events apart: their ids; for events of other producers, key and version."""
    ids = frame[avro.ID]
    names = (*contract.key, *contract.version)
    if not names or not ids.null_count():
        return ids
    texts = [pl.col(name).cast(pl.String) for name in names]
    # with their lengths, so that "a", "b|c" and "a|b", "c" differ
    parts = [part for text in texts for part in (text.str.len_bytes(), pl.lit(":"), text)]
    return frame.select(pl.coalesce(pl.col(avro.ID), pl.concat_str(parts))).to_series()


def stamps_of(frame: pl.DataFrame, logged: Callable[[], Integers]) -> Integers:
    """When each event was received (microseconds): our own field, or else the log's time.

    ``logged`` gives the log's times in milliseconds.
    """
    received = frame[avro.RECEIVED_AT].to_physical()
    if received.null_count():
        received = received.fill_null(pl.Series(logged() * 1000))
    return received.to_numpy()


def key_hashes(column: pl.Series) -> KeyHashes:
    """Two independent 64-bit hashes of a column of keys (text or bytes; nulls are marked).

    The same key has the same hashes in every process with the same :func:`hash_fingerprint`.
    """
    return KeyHashes(
        column.hash(SEED_1).to_numpy(), column.hash(SEED_2).to_numpy(), column.is_null().to_numpy()
    )


def hash_fingerprint() -> str:
    """Names the hash function: it may change with the version of Polars."""
    sizes = (0, 1, 3, 4, 8, 9, 16, 17, 128, 129, 240, 241, 1025)  # where xxh3 takes other paths
    probe = key_hashes(pl.Series(["s" * size for size in sizes]))
    return f"polars-{pl.__version__}-{digest(probe.h1.tobytes(), probe.h2.tobytes())}"


def lateness(window: int) -> int:
    """How far an event may come behind newer ones and still be judged exactly, microseconds."""
    return min(window, LATENESS_MAX)


def restore_since(stamp: int, window: int) -> int:
    """From which timestamp on the log is read again after a loss, microseconds.

    ``stamp``: of the first event that will be judged, not the clock's: a loader that was down
    for days needs the keys of the days before. Two windows back, as which event was the first
    in the last window depends on who was accepted in the one before.
    """
    return max(stamp - 2 * window - lateness(window), 0)


def sort_keys(*parts: Keys) -> tuple[Keys, Integers]:
    """The keys of all parts sorted by (h1, h2, offset), and the row that each came from.

    Rows count through the parts. The row number takes the place of h1's last bits, so that one
    plain sort of integers does nearly all of it (half the time of argsort); what ties in the
    leading bits is put in order afterwards. Column after column, so that a million keys do not
    need room for two million.
    """
    columns = zip(*(part.columns for part in parts), strict=True)
    h1, h2, offset, stamp = (partial(_joined, column) for column in columns)
    packed = _joined([part.h1 for part in parts], copied=True)
    bits = np.uint64(max(packed.size - 1, 1).bit_length())
    low = (np.uint64(1) << bits) - np.uint64(1)
    packed &= ~low
    packed |= np.arange(packed.size, dtype=np.uint64)
    packed.sort()
    order = (packed & low).view(np.int64)
    packed >>= bits
    ties = np.flatnonzero(packed[1:] == packed[:-1])
    del packed
    if ties.size:
        members = np.union1d(ties, ties + 1)
        tied = order[members]
        order[members] = tied[np.lexsort((offset()[tied], h2()[tied], h1()[tied]))]
    return Keys(h1()[order], h2()[order], offset()[order], stamp()[order]), order


def _joined(column: Sequence[npt.NDArray[T]], *, copied: bool = False) -> npt.NDArray[T]:
    """The parts of a column end to end; a single part is itself, if that will do."""
    return column[0] if len(column) == 1 and not copied else np.concatenate(column)


def segment_of(keys: Keys) -> Segment:
    """A segment of at least one key, sorted by (h1, h2, offset)."""
    bits = (len(keys) * BITS_PER_KEY - 1).bit_length()  # at least four
    shift = np.uint64(64 - bits)
    packed = np.zeros(1 << bits - 3, dtype=np.uint8)
    for first in range(0, len(keys), MARKED_AT_ONCE):  # h1 ascends: each time a stretch of it
        at = (keys.h1[first : first + MARKED_AT_ONCE] >> shift).view(np.int64)
        start = int(at[0]) >> 3
        marks = np.zeros(int(at[-1]) - 8 * start + 1, dtype=np.bool_)
        marks[at - 8 * start] = True
        found = np.packbits(marks, bitorder="little")
        packed[start : start + found.size] |= found
    return Segment(keys, packed, shift, int(keys.offset.min()), int(keys.offset.max()))


def merge_segments(segments: Sequence[Segment]) -> Segment:
    """One segment with the keys of all (at least one)."""
    if len(segments) == 1:
        return segments[0]
    return segment_of(sort_keys(*(segment.keys for segment in segments))[0])


def merge_newest(segments: Sequence[Segment], count_max: int) -> list[Segment]:
    """At most ``count_max`` segments: too many, and the newest become one.

    An older segment takes part if it is not more than twice as large as all newer ones, so that
    a key is moved a few times only, however small the segments come.
    """
    merged = list(segments)
    while len(merged) > count_max:
        first = len(merged) - 2
        total = len(merged[-1]) + len(merged[-2])
        while first > 0 and len(merged[first - 1]) <= 2 * total:
            first -= 1
            total += len(merged[first])
        merged[first:] = [merge_segments(merged[first:])]
    return merged


def cut_segment(segment: Segment, offset: int) -> tuple[list[Segment], list[Segment]]:
    """What lies below the offset, and the rest: each none or one segment."""
    if segment.last < offset:
        return [segment], []
    if segment.first >= offset:
        return [], [segment]
    below = segment.keys.offset < offset
    return [segment_of(segment.keys.take(below))], [segment_of(segment.keys.take(~below))]


def latest_before(segments: Sequence[Segment], keys: Keys) -> Found:
    """For every key the entry with its hashes and the highest offset below its own.

    Right for any order of the keys and segments, fast if the keys are sorted.
    """
    found = Found(np.full(len(keys), -1, dtype=np.int64), np.zeros(len(keys), dtype=np.int64))
    for segment in segments:
        at = (keys.h1 >> segment.shift).view(np.int64)
        bits = segment.filter[at >> 3] >> (at & 7).astype(np.uint8)
        rows = np.flatnonzero(bits & np.uint8(1))
        if rows.size:
            _walk(segment.keys, keys, rows, found)
    return found


def _walk(held: Keys, keys: Keys, rows: Integers, found: Found) -> None:
    """Visit all entries that share h1 with the keys in ``rows``; note the best in ``found``."""
    at = np.searchsorted(held.h1, keys.h1[rows])
    while True:
        inside = at < len(held)
        rows, at = rows[inside], at[inside]
        same = held.h1[at] == keys.h1[rows]
        rows, at = rows[same], at[same]
        if not rows.size:
            return
        offset = held.offset[at]
        better = (
            (held.h2[at] == keys.h2[rows])
            & (offset < keys.offset[rows])
            & (offset > found.offset[rows])
        )
        found.offset[rows[better]] = offset[better]
        found.stamp[rows[better]] = held.stamp[at[better]]
        at = at + 1


def later(one: Found, other: Found) -> Found:
    """The later of two findings, key by key."""
    first = one.offset >= other.offset
    return Found(np.where(first, one.offset, other.offset), np.where(first, one.stamp, other.stamp))


def judge_duplicates(keys: Keys, found: Found, window: int) -> Mask:
    """Which of these keys (sorted by h1, h2, offset) are duplicates.

    ``found``: what was accepted before each, outside this run. ``window`` in microseconds.
    """
    old = (found.offset >= 0) & (keys.stamp - found.stamp <= window)
    again = np.zeros(len(keys), dtype=np.bool_)  # has the key of the one before
    again[1:] = (keys.h1[1:] == keys.h1[:-1]) & (keys.h2[1:] == keys.h2[:-1])
    if not again.any():
        return old
    first_read = int(found.offset.max()) < int(keys.offset.min())
    if first_read and int(keys.stamp.max()) - int(keys.stamp.min()) <= window:
        return _judge_short(old, again)
    return _judge_exactly(keys, found, window, again)


def _judge_short(old: Mask, again: Mask) -> Mask:
    """A run within one window: of the new events with one key, the first is accepted."""
    group = np.cumsum(~again)
    new = np.flatnonzero(~old)
    same = group[new[1:]] == group[new[:-1]]
    duplicate = old.copy()
    duplicate[new[1:][same]] = True
    return duplicate


def _judge_exactly(keys: Keys, found: Found, window: int, again: Mask) -> Mask:
    """Event by event, for the keys that occur more than once."""
    duplicate: Mask = (found.offset >= 0) & (keys.stamp - found.stamp <= window)
    shared = again.copy()
    shared[:-1] |= again[1:]
    held_offset = held_stamp = -1
    for row in np.flatnonzero(shared).tolist():
        if not again[row]:
            held_offset = -1
        offset, stamp = int(found.offset[row]), int(found.stamp[row])
        if held_offset > offset:
            offset, stamp = held_offset, held_stamp
        duplicate[row] = offset >= 0 and int(keys.stamp[row]) - stamp <= window
        if not duplicate[row]:
            held_offset, held_stamp = int(keys.offset[row]), int(keys.stamp[row])
    return duplicate


class PartitionKeys:
    """One partition's keys: the durable ones, and the accepted ones that wait for a commit.

    Built on an opened store. Where ``applied`` is below ``until`` (the warehouse's next offset),
    the loader first reads ``[applied, until)`` again through :meth:`duplicates` and
    :meth:`settle`; events from ``until`` on are refused before that.
    """

    def __init__(self, partition: Partition, store: Seen, until: int, window: int) -> None:
        self._partition = partition
        self._store = store
        self._until = until
        self._window = window
        self._reach = store.applied  # everything below has been judged
        self._pending: list[Segment] = []

    @property
    def applied(self) -> int:
        """Every accepted event below this offset is durably remembered."""
        return self._store.applied

    @property
    def remembered(self) -> int:
        """Keys that are durably remembered."""
        return self._store.rows

    @property
    def pending(self) -> int:
        """Accepted keys that wait for the commit of their batch."""
        return sum(len(segment) for segment in self._pending)

    def duplicates(self, hashes: KeyHashes, offsets: Integers, stamps: Integers) -> Mask:
        """Which events of a run are duplicates; the others are pending from now on.

        Parallel columns: hashes, offsets (ascending), timestamps in microseconds. Pass only
        events that keep all rules, and every offset once in a life or again from the start.
        """
        mask = np.zeros(offsets.size, dtype=np.bool_)
        rows = np.flatnonzero(~hashes.null)
        if not rows.size:
            return mask
        self._check(int(offsets[-1]))
        keys, order = sort_keys(Keys(hashes.h1[rows], hashes.h2[rows], offsets[rows], stamps[rows]))
        found = later(self._store.latest(keys), latest_before(self._pending, keys))
        duplicate = judge_duplicates(keys, found, self._window)
        mask[rows[order]] = duplicate
        self._add(keys.take(~duplicate & (keys.offset >= self._reach)))
        self._reach = max(self._reach, int(offsets[-1]) + 1)
        return mask

    def settle(self, next_offset: int, now: int) -> None:
        """The batch up to ``next_offset`` has committed: remember its keys. Cheap.

        ``now`` in microseconds. Raises TransientError; nothing has been forgotten then.
        """
        if next_offset <= self.applied:
            return
        done: list[Segment] = []
        rest: list[Segment] = []
        for segment in self._pending:
            below, above = cut_segment(segment, next_offset)
            done += below
            rest += above
        self._store.remember(done, next_offset, now)
        self._pending = rest
        self._reach = max(self._reach, next_offset)

    def dissolve(self) -> None:
        """Forget what waits for a commit: it is read and judged again."""
        self._pending = []
        self._reach = self.applied

    def close(self) -> None:
        """Let others open the store; what was pending is forgotten."""
        self.dissolve()
        self._store.close()

    def _add(self, accepted: Keys) -> None:
        if len(accepted):
            self._pending = merge_newest([*self._pending, segment_of(accepted)], PENDING_MAX)

    def _check(self, last: int) -> None:
        """A partition whose memory is not restored stops: it never goes on with a part of it."""
        if last >= self._until > self.applied:
            topic, number = self._partition
            raise RuntimeError(
                f"{topic}/{number}: offset {last} came to be judged, but the keys are restored "
                f"only up to {self.applied} of {self._until}"
            )
