"""Every store of remembered keys: what was settled is known after any end, nothing else is."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.reading.dedupe import PartitionKeys, latest_before, segment_of, sort_keys
from schemas.events import Partition
from schemas.keys import KeyHashes, Keys
from schemas.ports import SeenStores
from services.adapters import seen_keys
from services.adapters.memory_keys import MemoryStores
from services.adapters.seen_keys import SegmentStores

HOME = Partition("shop.orders", 3)
SECOND = 1_000_000
WINDOW = 600 * SECOND
KINDS = ("memory", "segments", "rocksdb")

Event = tuple[int, int, int]  # key, offset, timestamp


def make_stores(kind: str, root: Path) -> SeenStores:
    if kind == "memory":
        return MemoryStores()
    if kind == "segments":
        return SegmentStores(root)
    pytest.importorskip("rocksdict", reason="rocksdict comes with the bench group only")
    from benchmarks.rocksdb_store import RocksStores  # noqa: PLC0415 - it may be absent

    return RocksStores(root)


@pytest.fixture(params=KINDS)
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> SeenStores:
    return make_stores(request.param, tmp_path)


@pytest.fixture(autouse=True)
def _small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen_keys, "SEAL_ROWS", 6)
    monkeypatch.setattr(seen_keys, "MERGE_ROWS", 20)
    monkeypatch.setattr(seen_keys, "RECENT_MAX", 3)


def keys_of(events: Sequence[Event], h1_bits: int = 62) -> Keys:
    numbers, offsets, stamps = (np.array(column) for column in zip(*events, strict=True))
    h2 = numbers.astype(np.uint64)
    h1 = (h2 * np.uint64(0x9E3779B97F4A7C15)) & ~np.uint64((1 << (64 - h1_bits)) - 1)
    return Keys(h1, h2, offsets, stamps)


def ask(keys: PartitionKeys, events: Sequence[Event], h1_bits: int = 62) -> list[bool]:
    columns = keys_of(events, h1_bits)
    null = np.zeros(len(events), dtype=np.bool_)
    hashes = KeyHashes(columns.h1, columns.h2, null)
    return [bool(flag) for flag in keys.duplicates(hashes, columns.offset, columns.stamp)]


def expected(events: Sequence[Event]) -> list[bool]:
    accepted: dict[int, int] = {}
    verdicts = []
    for key, _, stamp in events:
        verdicts.append(key in accepted and stamp - accepted[key] <= WINDOW)
        if not verdicts[-1]:
            accepted[key] = stamp
    return verdicts


@dataclass
class Loader:
    """Does with the keys what the loader does: restores, judges, settles, dissolves, dies."""

    stores: SeenStores
    log: list[Event]
    h1_bits: int
    committed: int = 0  # the warehouse's next offset
    position: int = 0  # index of the next event to read
    verdicts: dict[int, bool] = field(default_factory=dict)
    keys: PartitionKeys = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        store = self.stores.open(HOME, self.committed, WINDOW)
        self.keys = PartitionKeys(HOME, store, self.committed, WINDOW)
        again = [event for event in self.log if self.keys.applied <= event[1] < self.committed]
        if again:
            self.judge(again)
        self.keys.settle(self.committed, self.log[-1][2])
        self.rewind()

    def rewind(self) -> None:
        self.position = sum(offset < self.committed for _, offset, _ in self.log)

    def judge(self, events: list[Event]) -> None:
        for (_, offset, _), verdict in zip(
            events, ask(self.keys, events, self.h1_bits), strict=True
        ):
            assert self.verdicts.setdefault(offset, verdict) == verdict, offset

    def read(self, number: int) -> None:
        run = self.log[self.position : self.position + number]
        if run:
            self.judge(run)
            self.position += len(run)

    def settle(self, number: int) -> None:
        """Commit some of what was read."""
        read = [offset for _, offset, _ in self.log[: self.position]]
        waiting = [offset for offset in read if offset >= self.committed][:number]
        if waiting:
            self.committed = waiting[-1] + 1
            newest = max(stamp for _, _, stamp in self.log[: self.position])
            self.keys.settle(self.committed, newest)

    def dissolve(self, _: int) -> None:
        self.keys.dissolve()
        self.rewind()

    def restart(self, number: int) -> None:
        """End, sometimes while the warehouse knows more than we do, or less (odd numbers)."""
        self.keys.close()
        if number % 4 == 1:
            self.committed = max(self.committed - number, 0)
        self.start()


def log_of(drawn: list[tuple[int, int, int]]) -> list[Event]:
    """Offsets with gaps; timestamps go forward in the long run, but back by up to 200 seconds."""
    events, stamp = [], 1000 * SECOND
    offsets = count()
    for key, step, back in drawn:
        stamp += step * SECOND
        events.append((key, next(offsets) * 2, stamp - back * SECOND))
    return events


steps = st.tuples(
    st.sampled_from(["read", "read", "settle", "settle", "dissolve", "restart"]),
    st.integers(1, 15),
)
logs = st.lists(
    st.tuples(st.integers(0, 12), st.sampled_from([0, 1, 10, 90, 400]), st.integers(0, 200)),
    min_size=1,
    max_size=80,
)


@pytest.mark.parametrize("kind", KINDS)
@given(drawn=logs, plan=st.lists(steps, max_size=40), h1_bits=st.sampled_from([1, 62]))
@settings(deadline=None, max_examples=60)
def test_verdicts_are_a_function_of_the_log_through_restarts_and_failed_batches(
    kind: str, drawn: list[tuple[int, int, int]], plan: list[tuple[str, int]], h1_bits: int
) -> None:
    log = log_of(drawn)
    with TemporaryDirectory() as root:
        loader = Loader(make_stores(kind, Path(root)), log, h1_bits)
        for step, number in plan:
            getattr(loader, step)(number)
        loader.read(len(log))
        loader.keys.close()
    assert [loader.verdicts[offset] for _, offset, _ in log] == expected(log)


def fill(stores: SeenStores, numbers: Sequence[int], batch: int = 4) -> None:
    """Keys ``n`` at offset ``n``, one a second, settled in batches."""
    keys = PartitionKeys(HOME, stores.open(HOME, numbers[0], WINDOW), numbers[0], WINDOW)
    for at in range(0, len(numbers), batch):
        part = numbers[at : at + batch]
        ask(keys, [(number, number, number * SECOND) for number in part])
        keys.settle(part[-1] + 1, part[-1] * SECOND)
    keys.close()


def known(stores: SeenStores, until: int, numbers: Sequence[int]) -> tuple[int, list[int]]:
    """After opening: ``applied``, and which of these keys are held, each at its own offset."""
    store = stores.open(HOME, until, WINDOW)
    keys, _ = sort_keys(keys_of([(number, 10**9, 0) for number in numbers]))
    found = store.latest(keys)
    store.close()
    held = {
        int(number): int(offset)
        for number, offset in zip(keys.h2, found.offset, strict=True)
        if offset >= 0
    }
    assert all(number == offset for number, offset in held.items())
    return store.applied, sorted(held)


def test_a_new_store_is_empty_and_says_so(stores: SeenStores) -> None:
    store = stores.open(HOME, 0, WINDOW)
    assert store.applied == 0
    assert latest_before([], keys_of([(1, 1, 1)])).offset.tolist() == [-1]
    assert store.latest(keys_of([(1, 1, 1)])).offset.tolist() == [-1]
    store.close()


def test_what_was_settled_is_known_after_a_restart(stores: SeenStores) -> None:
    fill(stores, range(50))
    assert known(stores, 50, range(60)) == (50, list(range(50)))


def test_partitions_are_strangers(stores: SeenStores) -> None:
    fill(stores, range(10))
    other = stores.open(Partition(HOME.topic, 4), 10, WINDOW)
    assert other.applied == 0
    assert other.latest(keys_of([(1, 100, 0)])).offset.tolist() == [-1]
    other.close()


@pytest.mark.parametrize("until", [0, 1, 13, 24, 49])
def test_opening_forgets_for_good_what_the_warehouse_does_not_have(
    stores: SeenStores, until: int
) -> None:
    fill(stores, range(50))
    assert known(stores, until, range(60)) == (until, list(range(until)))
    assert known(stores, 50, range(60)) == (until, list(range(until)))


def test_a_batch_without_new_keys_moves_applied(stores: SeenStores) -> None:
    store = stores.open(HOME, 0, WINDOW)
    store.remember([], 7, 0)
    store.close()
    assert known(stores, 7, [1]) == (7, [])


def test_many_batches_without_keys_do_not_grow_the_tail(tmp_path: Path) -> None:
    store = SegmentStores(tmp_path).open(HOME, 0, WINDOW)
    for offset in range(1, 100):
        store.remember([], offset, 0)
    store.close()
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.tail")) < 1000
    assert known(SegmentStores(tmp_path), 99, [1]) == (99, [])


def test_keys_older_than_the_window_leave_disk_and_memory(tmp_path: Path) -> None:
    stores = SegmentStores(tmp_path)
    fill(stores, range(0, 6000, 10))
    store = stores.open(HOME, 6000, WINDOW)
    lateness, part = WINDOW, WINDOW // seen_keys.AGES
    assert (WINDOW + lateness) // (10 * SECOND) <= store.rows
    assert store.rows <= (WINDOW + lateness + 2 * part) // (10 * SECOND)
    store.close()
    held = sum(path.stat().st_size for path in tmp_path.rglob("*.*"))
    assert held < 200 * 32 + 200 * 40


def test_a_timestamp_in_the_future_forgets_nothing(tmp_path: Path) -> None:
    stores = SegmentStores(tmp_path)
    fill(stores, range(50))
    store = stores.open(HOME, 50, WINDOW)
    poison = segment_of(keys_of([(50, 50, 10**17)]))
    store.remember([poison], 51, 50 * SECOND)
    for number in range(51, 80):
        one = segment_of(keys_of([(number, number, number * SECOND)]))
        store.remember([one], number + 1, number * SECOND)
    store.close()
    assert known(stores, 80, range(80)) == (80, list(range(80)))
