"""The rejected alternative for remembered keys: RocksDB through rocksdict (ADR 0005)."""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rocksdict import AccessType, BlockBasedOptions, Cache, Options, Rdict, WriteBatch

from consumers.reading.dedupe import hash_fingerprint
from schemas.events import Partition
from schemas.keys import Found, Keys, Segment

STATE = b"state"  # no key of 16 bytes
ENTRY = struct.Struct("<qq")  # offset, stamp
CACHE_BYTES = 64_000_000
LATENESS_SECONDS = 3600


class RocksStores:
    """The stores under one folder. Fits :class:`schemas.ports.SeenStores`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def open(self, partition: Partition, until: int, window: int) -> "RocksStore":
        """See the port. Expiry is RocksDB's own TTL, by the wall clock."""
        folder = self._root / partition.topic / str(partition.number)
        folder.parent.mkdir(parents=True, exist_ok=True)
        fingerprint = hash_fingerprint().encode()
        database = _open(folder, window)
        state: bytes | None = database.get(STATE)
        lost = None
        if state is None or state[8:] != fingerprint:
            lost = "there was no store" if state is None else "its hashes are of another version"
            database.close()
            Rdict.destroy(str(folder), _options())
            database = _open(folder, window)
        store = RocksStore(database, 0 if lost or state is None else _applied(state), window)
        store.lost = lost
        store.drop_from(until)
        return store


class RocksStore:
    """One partition's store: 128-bit hash to every (offset, timestamp) at which it was a first."""

    def __init__(self, database: Any, applied: int, window: int) -> None:
        self._database = database
        self._applied = applied
        self._window = window
        self._older: dict[bytes, bytes] = {}  # what renewed keys hold already
        self.lost: str | None = None

    @property
    def applied(self) -> int:
        return self._applied

    @property
    def rows(self) -> int:
        """See the port; RocksDB's own estimate."""
        return int(self._database.property_int_value("rocksdb.estimate-num-keys") or 0)

    def latest(self, keys: Keys) -> Found:
        names = _names(keys)
        offsets, stamps = np.full(len(keys), -1, dtype=np.int64), np.zeros(len(keys), np.int64)
        for row, value in enumerate(self._database.get(names)):
            if value is None:
                continue
            own = int(keys.offset[row])
            for offset, stamp in ENTRY.iter_unpack(value):
                if offsets[row] < offset < own:
                    offsets[row], stamps[row] = offset, stamp
            if int(keys.stamp[row]) - int(stamps[row]) > self._window:
                self._older[names[row]] = value
        return Found(offsets, stamps)

    def remember(self, parts: Sequence[Segment], next_offset: int, now: int) -> None:
        del now
        batch = WriteBatch(raw_mode=True)
        fresh: dict[bytes, bytes] = {}
        for part in parts:
            rows = np.stack([part.keys.offset, part.keys.stamp], axis=1)
            values = rows.astype("<i8").tobytes()
            for row, name in enumerate(_names(part.keys)):
                value = values[row * ENTRY.size : (row + 1) * ENTRY.size]
                older = fresh.get(name) or self._older.pop(name, b"")
                fresh[name] = older + value
        for name, value in fresh.items():
            batch.put(name, value)
        batch.put(STATE, struct.pack("<q", next_offset) + hash_fingerprint().encode())
        self._database.write(batch)
        self._applied = next_offset

    def drop_from(self, until: int) -> None:
        if self._applied <= until:
            return
        batch = WriteBatch(raw_mode=True)
        for name, value in self._database.items():
            if name == STATE:
                continue
            kept = [entry for entry in ENTRY.iter_unpack(value) if entry[0] < until]
            if len(kept) * ENTRY.size == len(value):
                continue
            if kept:
                batch.put(name, b"".join(ENTRY.pack(*entry) for entry in kept))
            else:
                batch.delete(name)
        batch.put(STATE, struct.pack("<q", until) + hash_fingerprint().encode())
        self._database.write(batch)
        self._applied = until

    def close(self) -> None:
        self._database.close()


def _names(keys: Keys) -> list[bytes]:
    """The 16-byte names, in the order of (h1, h2) for RocksDB."""
    pairs = np.stack([keys.h1, keys.h2], axis=1).astype(">u8").tobytes()
    return [pairs[at : at + 16] for at in range(0, len(pairs), 16)]


def _applied(state: bytes) -> int:
    return int(struct.unpack_from("<q", state)[0])


def _options() -> Options:
    options = Options(raw_mode=True)
    table = BlockBasedOptions()
    table.set_bloom_filter(10, block_based=False)
    table.set_block_cache(Cache(CACHE_BYTES))
    table.set_cache_index_and_filter_blocks(True)
    options.set_block_based_table_factory(table)
    return options


def _open(folder: Path, window: int) -> Any:
    ttl = AccessType.with_ttl(window // 1_000_000 + LATENESS_SECONDS)
    return Rdict(str(folder), _options(), access_type=ttl)
