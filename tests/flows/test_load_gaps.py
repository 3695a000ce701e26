"""Offsets that are left out, read twice or gone: explained, or counted and read again."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from consumers.loading.gaps import wide_gap
from schemas.errors import TransientError
from schemas.events import Partition, Polled, Run
from services.adapters.memory.broker import PartitionLog
from services.adapters.memory.log import MemoryLog, MemoryTransactions
from tests.support.world import STREAM, Loader, World

P0 = Partition(STREAM, 0)


def order(number: int) -> dict[str, object]:
    return {"order_id": f"o{number}", "amount": 1.5}


def gaps(world: World, kind: str = "gaps") -> float:
    return world.metrics.total(f"load_offset_{kind}", stream=STREAM, partition="0")


@dataclass
class Skipping:
    """A log that leaves messages out, once each."""

    log: MemoryLog
    left_out: set[int] = field(default_factory=set)

    def __getattr__(self, name: str) -> object:
        return getattr(self.log, name)

    def poll(self, messages_max: int, timeout: float) -> Polled:
        found = self.log.poll(messages_max, timeout)
        runs = [run for run in map(self._without, found.runs) if run is not None]
        return replace(found, runs=runs)

    def _without(self, run: Run) -> Run | None:
        rows = [n for n, offset in enumerate(run.offsets) if int(offset) not in self.left_out]
        self.left_out -= set(run.offsets.tolist())
        if not rows:
            return None
        return Run(
            run.partition,
            run.offsets[rows],
            np.asarray(run.timestamps)[rows],
            [run.values[n] for n in rows],
            [run.messages[n] for n in rows],
        )


def skipping(world: World, *offsets: int) -> Loader:
    loader = world.loader()
    loader.turn(3)
    loader.ports = replace(loader.ports, log=Skipping(loader.log, set(offsets)))
    return loader


@pytest.mark.parametrize("offsets", [(3, 4), (0, 1, 2), (2, 3, 6, 7)])
def test_messages_that_a_poll_left_out_are_noticed_and_read_again(offsets: tuple[int, ...]) -> None:
    world = World(partitions=1)
    loader = skipping(world, *offsets)
    world.produce(*map(order, range(9)))
    loader.run(5)
    assert world.loaded() == [f"o{n}" for n in range(9)]
    assert world.audit().balanced
    assert gaps(world) == 1
    (note,) = [fields for event, fields in world.notes if event == "offset_gap"]
    assert f"[{offsets[0]}, " in str(note["error"])


def test_markers_and_aborted_transactions_are_explained() -> None:
    world = World(partitions=1)
    loader = world.loader()
    writer = MemoryTransactions(world.broker, "t")
    world.produce(order(0))
    some = world.broker.logs[P0].messages[0].record
    world.broker.fail_next("transaction", TransientError("aborted"))
    with pytest.raises(TransientError):
        writer.publish_atomically([some] * 5)
    writer.publish_atomically([some])
    world.produce(order(1))
    loader.run(3)
    assert world.loaded() == ["o0", "o1"]
    assert gaps(world) == 0
    assert world.audit().balanced


def test_a_topic_full_of_explained_gaps_is_looked_into_once_a_minute() -> None:
    world = World(partitions=1)
    loader = world.loader()
    loader.turn(3)
    reads: list[tuple[int, int]] = []
    read = loader.ports.reader.read
    object.__setattr__(
        loader.ports.reader, "read", lambda p, a, b: reads.append((a, b)) or read(p, a, b)
    )
    for n in range(8):
        world.produce(order(n))
        world.broker.logs[P0].after += 5  # compacted away
        loader.run(20)
    assert world.loaded() == [f"o{n}" for n in range(8)]
    assert len(reads) == 3  # after 20, 80 and 140 s
    assert gaps(world) == 0


def test_while_nobody_can_look_into_a_gap_the_partition_waits() -> None:
    world = World(partitions=1)
    loader = skipping(world, 1, 2)
    world.produce(*map(order, range(5)))
    world.broker.fail_next("read", TransientError("no leader"))
    loader.run(5)
    assert world.loaded() == [f"o{n}" for n in range(5)]
    assert world.audit().balanced


def test_what_retention_has_deleted_unread_is_a_gap_that_pages() -> None:
    world = World(partitions=1, damaged="retention has deleted what was never read")
    loader = world.loader()
    world.produce(order(1))
    loader.run(3)
    loader.log.close()
    world.produce(order(2), order(3))
    world.broker.delete_records({P0: 2})
    world.loader().run(3)
    assert (gaps(world), gaps(world, "rewinds")) == (1, 0)


def test_a_log_that_was_made_anew_is_a_rewind_that_pages() -> None:
    world = World(partitions=1, damaged="the log was made anew")
    loader = world.loader()
    world.produce(*map(order, range(3)))
    loader.run(3)
    loader.log.close()
    world.broker.logs[P0] = PartitionLog()
    world.produce(order(7))
    world.loader().run(3)
    assert (gaps(world), gaps(world, "rewinds")) == (0, 1)
    assert any(event == "log_hole" for event, _ in world.notes)
    assert world.loaded() == ["o0", "o1", "o2"]


def test_what_is_delivered_twice_is_an_overlap_and_loaded_once() -> None:
    world = World(partitions=1)
    loader = world.loader()
    world.produce(*map(order, range(3)))
    loader.turn(3)
    loader.log.seek({P0: 1})  # as a client might that forgets where it was
    loader.run(3)
    assert gaps(world, "overlaps") == 1
    assert world.loaded() == ["o0", "o1", "o2"]
    assert world.audit().balanced


@pytest.mark.parametrize(
    ("offsets", "position", "gap"),
    [
        ([5, 6, 7], 5, None),
        ([6, 7], 5, None),  # a marker
        ([5, 7, 9], 5, None),  # markers between transactions
        ([7, 8], 5, (5, 7)),
        ([5, 8, 12], 5, (6, 8)),
        ([5, 7, 10], 5, (8, 10)),
    ],
)
def test_more_than_a_marker_is_a_gap(
    offsets: list[int], position: int, gap: tuple[int, int] | None
) -> None:
    count = len(offsets)
    run = Run(P0, np.array(offsets), np.zeros(count, np.int64), [b""] * count, [])
    assert wide_gap(run, position) == gap
