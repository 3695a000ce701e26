"""A topic that was deleted and made again is not the one that was loaded."""

import pytest

from schemas.errors import TransientError
from schemas.events import Partition
from tests.support.world import STREAM, World

P0 = Partition(STREAM, 0)


def order(number: int) -> dict[str, object]:
    return {"order_id": f"o{number}", "amount": 1.5}


def made_again(world: World) -> None:
    world.damaged = "the topic was made again"
    world.broker.delete_topic(STREAM)
    world.broker.create_topic(STREAM, 1)


def loaded_world() -> World:
    world = World(partitions=1)
    world.produce(*map(order, range(5)))
    loader = world.loader()
    loader.run(4)
    loader.log.close()
    assert world.loaded() == [f"o{n}" for n in range(5)]
    return world


@pytest.mark.parametrize("events", [0, 3, 5, 8], ids=lambda n: f"{n} events in the new topic")
def test_a_topic_that_was_made_again_stops_its_partitions_and_names_both_ids(events: int) -> None:
    world = loaded_world()
    old = world.broker.topic_ids[STREAM]
    made_again(world)
    new = world.broker.topic_ids[STREAM]
    world.produce(*map(order, range(100, 100 + events)))
    loader = world.loader()
    loader.run(4)
    assert len(world.loaded()) == 5, "offsets of the new topic were taken for the old one's"
    assert world.account.offsets[P0].next_offset == 5
    told = loader.why_unready()
    assert f"topic id {old}" in told
    assert f"has {new}" in told
    assert "another name" in told
    assert not loader.state.ownership.owned(P0)


def test_a_running_loader_notices_before_it_loads_any_of_the_other_events() -> None:
    """Deleted and made again at once, it is longer than the old one was: nobody is told."""
    world = World(partitions=1)
    loader = world.loader()
    world.produce(*map(order, range(5)))
    loader.run(4)
    old, world.broker.topic_ids[STREAM] = world.broker.topic_ids[STREAM], "another"
    world.produce(*map(order, range(100, 108)))
    loader.run(70)  # and it stays so with the next claim
    assert world.loaded() == [f"o{n}" for n in range(5)]
    assert world.account.offsets[P0].next_offset == 5
    told = loader.why_unready()
    assert f"topic id {old}" in told
    assert "has another" in told
    world.broker.topic_ids[STREAM] = old  # brought back
    loader.run(65)
    assert len(world.loaded()) == 13
    assert world.audit().balanced


@pytest.mark.parametrize("events", [3, 5, 8])
def test_an_audit_names_the_topic_that_was_made_again(events: int) -> None:
    world = loaded_world()
    made_again(world)
    world.produce(*map(order, range(100, 100 + events)))
    found = [str(finding) for finding in world.audit().findings]
    assert any(
        f"made again: loaded from topic-id-1, now {world.broker.topic_ids[STREAM]}" in each
        for each in found
    ), found
    world.broker.topic_ids[STREAM] = None  # a broker that tells none
    assert not any("made again" in str(finding) for finding in world.audit().findings)


def test_a_broker_that_does_not_answer_is_no_reason_not_to_load() -> None:
    world = World(partitions=1)
    loader = world.loader()
    loader.run(1)
    world.produce(order(0))
    loader.turn(2)
    for _ in range(20):
        world.broker.fail_next("describe", TransientError("down"))
    loader.run(2)
    assert world.loaded() == ["o0"]


def test_the_same_topic_goes_on_with_another_loader() -> None:
    world = loaded_world()
    world.produce(order(5))
    world.loader().run(4)
    assert world.loaded() == [f"o{n}" for n in range(6)]
    assert {row.range.topic_id for row in world.account.ledger if row.range.partition == P0} == {
        world.broker.topic_ids[STREAM]
    }
    assert world.audit().balanced


@pytest.mark.parametrize("unknown", ["ledger", "broker"])
def test_where_one_side_knows_no_topic_id_the_loader_goes_on(unknown: str) -> None:
    """Rows of an older version have none, and so have brokers before 2.8."""
    world = World(partitions=1)
    ids = dict(world.broker.topic_ids)
    if unknown == "ledger":
        world.broker.topic_ids.update(dict.fromkeys(ids))
    world.produce(order(0))
    first = world.loader()
    first.run(3)
    first.log.close()
    world.broker.topic_ids.update(ids if unknown == "ledger" else dict.fromkeys(ids))
    world.produce(order(1))
    world.loader().run(3)
    assert world.loaded() == ["o0", "o1"]
    assert world.audit().balanced
