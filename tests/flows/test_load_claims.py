"""What keeps one partition from being claimed keeps no other one."""

from collections.abc import Mapping

import pytest

from consumers.loading.measure import unready
from schemas.errors import SetupError, TransientError, UnclaimableError
from schemas.events import Claim, Partition
from services.adapters.memory_warehouse import MemoryWarehouse
from tests.support.world import STREAM, InlineLanes, Loader, World

P0, P1 = Partition(STREAM, 0), Partition(STREAM, 1)
PATIENCE = 13.0  # of the broker's client, in which nothing else is done


def order(number: int, **more: object) -> dict[str, object]:
    return {"order_id": f"o{number}", "amount": 1.5, **more}


def without(loader: Loader, bad: set[Partition | str], error: Exception) -> None:
    """The log cannot tell of these partitions, or of these topics."""
    reader, clock = loader.ports.reader, loader.world.clock
    bounds, topic_id = reader.bounds, reader.topic_id

    def refuse(what: Partition | str) -> None:
        if what in bad:
            clock.sleep(PATIENCE)
            raise error

    def bounds_or_not(partition: Partition) -> tuple[int, int]:
        refuse(partition)
        return bounds(partition)

    def topic_id_or_not(topic: str) -> str | None:
        refuse(topic)
        return topic_id(topic)

    object.__setattr__(reader, "bounds", bounds_or_not)
    object.__setattr__(reader, "topic_id", topic_id_or_not)


def settled(world: World, partition: Partition) -> int:
    return sum(row.range.events for row in world.account.ledger if row.range.partition == partition)


ERRORS = (TransientError("no leader"), SetupError("may not describe it"))


@pytest.mark.parametrize("error", ERRORS, ids=["transient", "setup"])
def test_a_partition_that_cannot_be_described_holds_no_other_up(error: Exception) -> None:
    world = World()
    world.produce(*(order(n) for n in range(20)), *(order(90 + n, amount=-1) for n in range(9)))
    loader = world.loader()
    bad: set[Partition | str] = {P1}
    without(loader, bad, error)
    loader.run(5 * PATIENCE)
    assert settled(world, P0) == world.broker.logs[P0].after > 0
    assert world.account.table("SLUICE_DEAD_LETTERS").height > 0  # another stream's
    assert settled(world, P1) == 0
    bad.clear()
    loader.run(100)
    assert len(world.loaded()) == 20
    assert world.audit().balanced


def test_many_partitions_that_cannot_be_described_take_turns_with_the_reading() -> None:
    """One broker's patience a turn: between two of them everything else is polled and loaded."""
    world = World(partitions=8)
    loader = world.loader()
    bad: set[Partition | str] = {Partition(STREAM, n) for n in range(7)}
    without(loader, bad, TransientError("no leader"))
    for _ in range(40):
        before = world.clock.monotonic()
        loader.turn()
        assert world.clock.monotonic() - before <= PATIENCE + 1
    good = Partition(STREAM, 7)
    world.produce(*(order(n) for n in range(40)))
    loader.run(5 * PATIENCE)
    assert settled(world, good) == world.broker.logs[good].after > 0
    bad.clear()
    loader.run(100)
    assert len(world.loaded()) == 40
    assert world.audit().balanced


def test_a_topic_that_cannot_be_described_is_asked_for_once_and_holds_no_other_up() -> None:
    world = World(partitions=8)
    loader = world.loader()
    bad: set[Partition | str] = {STREAM}
    without(loader, bad, TransientError("no such topic"))
    loader.run(PATIENCE + 0.2)  # not yet again
    failed = [fields for name, fields in world.notes if name == "claim_failed"]
    assert len(failed) == 1
    delivering = {f["partition"] for name, f in world.notes if name == "delivering"}
    assert delivering == {STREAM + ".dead/0"}


class Doubled(MemoryWarehouse):
    """One whose offsets have two rows of some partitions."""

    doubled: frozenset[Partition] = frozenset()
    asked = 0

    def claim(self, starts: Mapping[Partition, int]) -> Mapping[Partition, Claim]:
        self.asked += 1
        found = self.doubled & starts.keys()
        if found:
            raise UnclaimableError("two rows", frozenset(found), where="there", remedy="delete")
        return super().claim(starts)


def test_a_doubled_row_of_one_partition_holds_no_other_up() -> None:
    world = World()
    world.produce(*(order(n) for n in range(20)), *(order(90 + n, amount=-1) for n in range(9)))
    loader = world.loader()
    warehouse = Doubled(world.account)
    warehouse.doubled = frozenset({P1})
    object.__setattr__(loader.ports, "lanes", InlineLanes(warehouse, world.journal))
    loader.run(5)
    assert warehouse.asked == 2  # and again without it, not one by one
    assert settled(world, P0) == world.broker.logs[P0].after > 0
    assert world.account.table("SLUICE_DEAD_LETTERS").height > 0
    assert unready(loader.state.ownership.held[P1])  # only people can mend it
    assert unready(loader.state.ownership.held[P0]) == ""
    warehouse.doubled = frozenset()
    loader.run(70)
    assert len(world.loaded()) == 20
    assert world.audit().balanced
