"""The files of a partition's remembered keys: manifest, sealed segments and tail.

A folder holds one manifest (JSON with its CRC) that names everything else: sealed segments
(the four columns one after the other, little-endian; count and CRC are in the manifest) and one
tail (records, each with a CRC, that continue each other). Names carry a generation and are never
used twice, a manifest is replaced as a whole: a crash leaves the old state or the new one.
"""

import json
import mmap
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO
from zlib import crc32

import numpy as np

from consumers.reading.dedupe import segment_of, sort_keys
from schemas.errors import TransientError
from schemas.keys import Keys, Segment

LAYOUT = 1  # of all files here; another one counts as lost
MANIFEST = "manifest.json"
ROW_BYTES = 32
CHUNK_BYTES = 1 << 20
RECORD = struct.Struct("<IIqqq")  # CRC of the rest, rows, applied before, applied after, arrived
TYPES = ("<u8", "<u8", "<i8", "<i8")  # h1, h2, offset, stamp


class DamagedError(Exception):
    """The files do not hold what they should; the message says which and why."""


@dataclass(frozen=True, slots=True)
class SealedFile:
    """A sealed segment's file.

    ``began`` and ``arrived``: the partition's newest timestamp (microseconds) when its first and
    last key came.
    """

    name: str
    rows: int
    crc: int
    began: int
    arrived: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """All that holds of a folder, at the time when the tail was begun."""

    fingerprint: str  # of the hash function
    window: int  # microseconds; nothing younger has been forgotten
    applied: int
    arrived: int  # the newest timestamp so far, microseconds
    generation: int
    sealed: tuple[SealedFile, ...]

    @property
    def tail(self) -> str:
        """The name of the tail's file; it need not exist."""
        return f"{self.generation:010d}.tail"


@dataclass(frozen=True, slots=True)
class TailState:
    """What the good records of a tail hold; ``size`` is their length in bytes."""

    segment: Segment | None
    applied: int
    began: int
    arrived: int
    size: int


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """A disk that refuses is a TransientError: what was not written is read from the log again."""
    try:
        yield
    except OSError as error:
        raise TransientError(
            f"cannot read or write remembered keys: {error.strerror or error}",
            where=str(folder),
            remedy="free disk space or mend the disk; nothing is lost, the keys are in the log",
        ) from error


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace the manifest; durable on return. Raises OSError."""
    body = asdict(manifest)
    text = json.dumps({"layout": LAYOUT, "crc": _crc_of(body), "body": body})
    draft = folder / f"{MANIFEST}.tmp"
    with draft.open("wb") as file:
        file.write(text.encode())
        _sync(file)
    draft.replace(folder / MANIFEST)
    _sync_folder(folder)


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest; None in an empty folder. Raises DamagedError and OSError."""
    path = folder / MANIFEST
    if not path.exists():
        if _data_files(folder):
            raise DamagedError(f"{MANIFEST} is missing")
        return None
    try:
        whole = json.loads(path.read_bytes())
        body = whole["body"]
        if whole["layout"] != LAYOUT or whole["crc"] != _crc_of(body):
            raise DamagedError(f"{MANIFEST} is damaged or of another layout")
        body["sealed"] = tuple(SealedFile(**sealed) for sealed in body["sealed"])
        return Manifest(**body)
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedError(f"{MANIFEST} cannot be read: {error}") from error


def remove_strangers(folder: Path, manifest: Manifest) -> None:
    """Delete what the manifest does not name: left by a crash, or no longer needed."""
    named = {manifest.tail, *(sealed.name for sealed in manifest.sealed)}
    for path in _data_files(folder):
        if path.name not in named:
            path.unlink(missing_ok=True)


def write_segment(path: Path, segment: Segment) -> tuple[Segment, int]:
    """Write a segment's columns; durable on return (its name only with the manifest).

    Returns the segment, now on the file's pages, and the CRC of its bytes. Raises OSError.
    """
    crc = 0
    with path.open("wb") as file:
        for column, form in zip(segment.keys.columns, TYPES, strict=True):
            raw = column.astype(form, copy=False).view(np.uint8).data
            crc = crc32(raw, crc)
            file.write(raw)
        _sync(file)
    return replace(segment, keys=_map_keys(path, len(segment))), crc


def map_segment(folder: Path, sealed: SealedFile) -> Segment:
    """A sealed segment, mapped into memory and checked whole. Raises DamagedError, OSError."""
    path = folder / sealed.name
    if not path.exists() or path.stat().st_size != sealed.rows * ROW_BYTES:
        raise DamagedError(f"{sealed.name} is missing or has the wrong size")
    crc = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):  # not through the map: those pages count as ours
            crc = crc32(chunk, crc)
        if crc != sealed.crc:
            raise DamagedError(f"{sealed.name} is damaged")
    return segment_of(_map_keys(path, sealed.rows))


class Tail:
    """The append-only end of the store: one record a batch.

    Appending does not sync: it survives the process's death, and what a power cut takes is
    found missing and read from the log again.
    """

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self.size = size  # of the good records, in bytes
        self._file: BinaryIO | None = None

    def append(self, segments: Sequence[Segment], before: int, after: int, arrived: int) -> None:
        """Write one record. Raises OSError; the record then does not count."""
        parts = [
            column.astype(form, copy=False).view(np.uint8).data
            for index, form in enumerate(TYPES)
            for column in (segment.keys.columns[index] for segment in segments)
        ]
        rows = sum(len(segment) for segment in segments)
        crc = crc32(RECORD.pack(0, rows, before, after, arrived)[4:])
        for part in parts:
            crc = crc32(part, crc)
        record = b"".join([RECORD.pack(crc, rows, before, after, arrived), *parts])
        if self._file is None:
            self._file = self.path.open("r+b" if self.path.exists() else "w+b", buffering=0)
        written = os.pwrite(self._file.fileno(), record, self.size)
        if written != len(record):
            raise OSError(28, "the disk took only a part of a record")
        self.size += written

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def read_tail(path: Path, applied: int, arrived: int) -> TailState:
    """The good records of a tail that continues from ``applied``; ends before the first bad one."""
    raw = path.read_bytes() if path.exists() else b""
    parts: list[Keys] = []
    at, began = 0, arrived
    while (record := _record_at(raw, at)) is not None and record[1] == applied:
        rows, _, applied, arrived = record
        if rows:
            began = began if parts else arrived
            parts.append(_keys_in(raw, at + RECORD.size, rows))
        at += RECORD.size + rows * ROW_BYTES
    segment = segment_of(sort_keys(*parts)[0]) if parts else None
    return TailState(segment, applied, began, arrived, at)


def truncate_tail(path: Path, size: int) -> None:
    """Take away what follows the good records. Raises OSError."""
    if path.exists() and path.stat().st_size > size:
        os.truncate(path, size)


def _record_at(raw: bytes, at: int) -> tuple[int, int, int, int] | None:
    """The head of a whole, undamaged record, without its CRC."""
    if len(raw) - at < RECORD.size:
        return None
    crc, rows, before, after, arrived = RECORD.unpack_from(raw, at)
    end = at + RECORD.size + rows * ROW_BYTES
    if end > len(raw) or crc32(memoryview(raw)[at + 4 : end]) != crc:
        return None
    return rows, before, after, arrived


def _map_keys(path: Path, rows: int) -> Keys:
    with path.open("rb") as file:
        return _keys_in(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), 0, rows)


def _keys_in(raw: bytes | mmap.mmap, start: int, rows: int) -> Keys:
    """The four columns that lie one after the other in a buffer."""
    return Keys(
        *(
            np.frombuffer(raw, dtype=form, count=rows, offset=start + index * rows * 8)
            for index, form in enumerate(TYPES)
        )
    )


def _crc_of(body: dict[str, Any]) -> int:
    return crc32(json.dumps(body, sort_keys=True).encode())


def clear(folder: Path) -> None:
    """Delete the store; the manifest goes first. Raises OSError."""
    (folder / MANIFEST).unlink(missing_ok=True)
    for path in _data_files(folder):
        path.unlink()


def _data_files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.suffix in {".keys", ".tail", ".tmp"}]


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
