"""Remembered keys on local disk: a tail of recent batches, and sealed segments behind it.

``remember`` appends one record to the tail. Once the tail is large or old, its keys are sealed
into a sorted segment file, neighbours of one age are merged, and files in which no key matters
any more are dropped: at most one such step a call, on at most ``MERGE_ROWS`` keys.
"""

import fcntl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from consumers.reading.dedupe import (
    cut_segment,
    hash_fingerprint,
    lateness,
    latest_before,
    merge_newest,
    merge_segments,
)
from schemas.errors import SetupError, TransientError
from schemas.events import Partition
from schemas.keys import Found, Keys, Segment
from services.adapters.key_files import (
    ROW_BYTES,
    DamagedError,
    Manifest,
    SealedFile,
    Tail,
    clear,
    disk_errors,
    map_segment,
    read_manifest,
    read_tail,
    remove_strangers,
    truncate_tail,
    write_manifest,
    write_segment,
)

SEAL_ROWS = 1 << 19  # keys in the tail that seal it
MERGE_ROWS = 1_100_000  # most keys in a merged segment: bounds time and memory of one call
RECENT_MAX = 8  # unmerged segments in memory
AGES = 6  # parts of a window; keys are forgotten one part at a time
AGE_MIN = 60_000_000  # a part is not shorter than a minute


@dataclass(frozen=True, slots=True)
class _Sealed:
    """A segment and its file."""

    segment: Segment
    file: SealedFile


class SegmentStores:
    """The stores under one folder. Fits :class:`schemas.ports.SeenStores`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def open(self, partition: Partition, until: int, window: int) -> "SegmentStore":
        """See the port. Reads and checks all files: about 0.1 s a million keys."""
        folder = self._root / partition.topic / str(partition.number)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = (folder / "lock").open("wb")
        except OSError as error:
            raise SetupError(
                f"cannot keep remembered keys: {error.strerror}",
                where=str(folder),
                remedy="give the process a writable state_dir",
            ) from error
        try:
            return _open_locked(folder, lock, until, window)
        except BaseException:
            lock.close()
            raise


def _open_locked(folder: Path, lock: BinaryIO, until: int, window: int) -> "SegmentStore":
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise TransientError(
            "another process on this machine has the remembered keys open",
            where=str(folder),
            remedy="wait until it has given the partition back, or stop it",
        ) from error
    with disk_errors(folder):
        try:
            store = SegmentStore(folder, lock, window)
        except DamagedError as error:
            clear(folder)
            store = SegmentStore(folder, lock, window, lost=str(error))
        store.drop_from(until)
    return store


class SegmentStore:
    """One partition's store, open and locked. Fits :class:`schemas.ports.Seen`.

    *Arrived* is the partition's newest timestamp when a key came, but never later than the
    clock. A key is forgotten when that is more than window and lateness ago, by the same
    measure: so a wrong timestamp in the future empties nothing, old timestamps are kept as long
    as others, and verdicts are exact for events that come up to the lateness behind newer ones.
    """

    def __init__(
        self, folder: Path, lock: BinaryIO, window: int, *, lost: str | None = None
    ) -> None:
        """Raises DamagedError and OSError."""
        manifest = read_manifest(folder)
        if manifest is None:
            manifest = Manifest(hash_fingerprint(), window, 0, 0, 1, ())
            write_manifest(folder, manifest)
            lost = lost or "there was no store"
        _check_fit(manifest, window)
        remove_strangers(folder, manifest)
        self.lost = lost
        self._folder = folder
        self._lock = lock
        self._window = window
        self._generation = manifest.generation
        self._sealed = [_Sealed(map_segment(folder, file), file) for file in manifest.sealed]
        tail = folder / manifest.tail
        state = read_tail(tail, manifest.applied, manifest.arrived)
        truncate_tail(tail, state.size)
        self._tail = Tail(tail, state.size)
        self._recent = [] if state.segment is None else [state.segment]
        self._began = state.began
        self._arrived = state.arrived
        self._applied = state.applied

    @property
    def applied(self) -> int:
        """See the port."""
        return self._applied

    @property
    def rows(self) -> int:
        """Keys held."""
        return sum(len(segment) for segment in self._segments())

    def latest(self, keys: Keys) -> Found:
        """See the port."""
        return latest_before(self._segments(), keys)

    def remember(self, parts: Sequence[Segment], next_offset: int, now: int) -> None:
        """See the port."""
        newest = max((int(part.keys.stamp.max()) for part in parts), default=0)
        arrived = max(self._arrived, min(newest, now))
        with disk_errors(self._folder):
            self._tail.append(parts, self._applied, next_offset, arrived)
        if not self._recent:
            self._began = arrived
        self._applied, self._arrived = next_offset, arrived
        self._recent = merge_newest([*self._recent, *parts], RECENT_MAX)
        if self._is_tail_full():
            with disk_errors(self._folder):
                self._seal()

    def drop_from(self, until: int) -> None:
        """Forget what is held from this offset on, durably. Raises OSError."""
        if self._applied <= until:
            return
        kept = []
        for sealed in self._sealed:
            below, above = cut_segment(sealed.segment, until)
            file = sealed.file
            if not above:
                kept.append(sealed)
            elif below:
                kept.append(self._write(below[0], file.began, file.arrived))
        parts = [part for segment in self._recent for part in cut_segment(segment, until)[0]]
        if parts:
            kept.append(self._write(merge_segments(parts), self._began, self._arrived))
        self._replace(kept, until)

    def close(self) -> None:
        """See the port."""
        self._tail.close()
        self._lock.close()

    def _segments(self) -> list[Segment]:
        return [*(sealed.segment for sealed in self._sealed), *self._recent]

    @property
    def _age(self) -> int:
        """The part of a window that one segment may span, microseconds."""
        return max(self._window // AGES, AGE_MIN)

    def _is_tail_full(self) -> bool:
        rows = sum(len(segment) for segment in self._recent)
        return (
            rows >= SEAL_ROWS
            or self._tail.size > 2 * SEAL_ROWS * ROW_BYTES
            or self._arrived - self._began > self._age
        )

    def _seal(self) -> None:
        """Write the recent keys as a segment, together with their younger neighbours."""
        horizon = self._arrived - self._window - lateness(self._window)
        kept = [sealed for sealed in self._sealed if sealed.file.arrived >= horizon]
        if self._recent:
            first = self._first_neighbour(kept)
            joined = kept[first:]
            began = joined[0].file.began if joined else self._began
            parts = [*(sealed.segment for sealed in joined), *self._recent]
            kept[first:] = [self._write(merge_segments(parts), began, self._arrived)]
        self._replace(kept, self._applied)

    def _first_neighbour(self, kept: Sequence[_Sealed]) -> int:
        """Where the segments begin that are of one age with the recent keys, and not too large."""
        total = sum(len(segment) for segment in self._recent)
        first = len(kept)
        while first and self._arrived - kept[first - 1].file.began <= self._age:
            total += len(kept[first - 1].segment)
            if total > MERGE_ROWS:
                break
            first -= 1
        return first

    def _write(self, segment: Segment, began: int, arrived: int) -> _Sealed:
        self._generation += 1
        name = f"{self._generation:010d}.keys"
        mapped, crc = write_segment(self._folder / name, segment)
        return _Sealed(mapped, SealedFile(name, len(segment), crc, began, arrived))

    def _replace(self, sealed: list[_Sealed], applied: int) -> None:
        """From here on these segments and an empty tail are the store."""
        self._generation += 1
        files = tuple(one.file for one in sealed)
        manifest = Manifest(
            hash_fingerprint(), self._window, applied, self._arrived, self._generation, files
        )
        write_manifest(self._folder, manifest)
        self._tail.close()
        self._tail = Tail(self._folder / manifest.tail, 0)
        self._sealed, self._recent, self._applied = sealed, [], applied
        self._began = self._arrived
        remove_strangers(self._folder, manifest)


def _check_fit(manifest: Manifest, window: int) -> None:
    """Raises DamagedError where the store cannot answer for this hash and window."""
    if manifest.fingerprint != hash_fingerprint():
        raise DamagedError(f"its hashes are of {manifest.fingerprint}, not of {hash_fingerprint()}")
    if window > manifest.window:
        raise DamagedError(
            f"it was kept for a window of {manifest.window} microseconds, now it is {window}"
        )
