"""A loader that stops: what is batched is loaded, and nobody is waited for twice in vain."""

from schemas.errors import TransientError
from tests.support.world import STREAM, Loader, World

AWAY = TransientError("no broker answers")


def batched(world: World) -> Loader:
    """A loader with an open batch of orders and one of dead letters, neither of them old."""
    loader = world.loader()
    loader.turn(3)
    world.produce(
        {"order_id": "o1", "amount": 1.5},
        {"order_id": "o2", "amount": -1},
        {"order_id": "o3", "amount": 1.5},
    )
    loader.turn(3)
    assert set(loader.state.open) == {STREAM, STREAM + ".dead"}
    world.journal.clear()
    return loader


def test_a_drain_loads_young_batches_and_reads_nothing_more() -> None:
    world = World(partitions=1)
    loader = batched(world)
    world.produce({"order_id": "o4", "amount": 1.5})
    loader.drain()
    assert world.loaded() == ["o1", "o3"]
    assert world.journal.names == [
        *(["put", "copy", "ledger", "fence", "commit"] * 2),
        *(["remember", "commit", "publish"] * 2),
    ]
    loader.log.close()
    world.loader().run(3)
    assert world.loaded() == ["o1", "o3", "o4"]
    assert world.audit().balanced


def test_a_drain_tells_one_report_in_vain_and_no_more() -> None:
    world = World(partitions=1)
    loader = batched(world)
    world.broker.fail_next("publish", AWAY)
    loader.drain()
    assert [event for event, _ in world.notes].count("report_failed") == 1
    assert world.loaded() == ["o1", "o3"]
    assert "publish" not in world.journal.names


def test_a_loader_that_runs_goes_on_reporting_after_a_report_in_vain() -> None:
    world = World(partitions=1)
    loader = batched(world)
    world.broker.fail_next("publish", AWAY)
    loader.run(2)
    assert world.journal.names.count("publish") == 1
