"""The loader's loop: the whole journal of its effects, and what it does under faults."""

import zlib
from datetime import timedelta
from typing import Any

import pytest

from consumers.loading.batching import FlushPolicy
from consumers.loading.loader import LoadPolicy
from schemas.dead_letters import TABLE as DEAD_LETTERS
from schemas.errors import SetupError, TransientError
from schemas.events import Partition
from services.adapters.memory_warehouse import Step, WarehouseFault
from tests.support.world import STREAM, World

P0, P1 = Partition(STREAM, 0), Partition(STREAM, 1)
DEAD = Partition(STREAM + ".dead", 0)


def order(number: int, **more: object) -> dict[str, object]:
    return {"order_id": f"o{number}", "amount": 1.5, **more}


def test_the_effects_of_a_batch_come_in_the_order_that_the_loop_promises() -> None:
    world = World(partitions=1)
    loader = world.loader()
    loader.turn(3)
    world.produce(order(1), order(1), order(2, amount=-1), order(3))
    world.journal.clear()
    loader.run(1.3)
    assert [told(effect) for effect in world.journal] == [
        "publish shop.orders.dead",  # durable before anything else happens
        "put shop.orders",
        "copy shop.orders",
        "ledger shop.orders",
        "fence shop.orders",
        "commit shop.orders",
        "put shop.orders.dead",
        "copy shop.orders.dead",
        "ledger shop.orders.dead",
        "fence shop.orders.dead",
        "commit shop.orders.dead",
        "remember shop.orders/0 up to 4",
        "position shop.orders/0 at 4",
        "publish sluice.batches",
        "remember shop.orders.dead/0 up to 1",
        "position shop.orders.dead/0 at 1",
        "publish sluice.batches",
    ]


def told(effect: tuple[Any, ...]) -> str:
    """An effect in words."""
    name, subject = effect[0], effect[1]
    match name:
        case "publish":
            return f"publish {subject[0].topic}"
        case "remember":
            return f"remember {subject.topic}/{subject.number} up to {effect[2]}"
        case "commit" if isinstance(subject, tuple):
            ((partition, offset),) = subject
            return f"position {partition.topic}/{partition.number} at {offset}"
        case _:
            return f"{name} {subject.rpartition('-')[0]}"


def test_a_batch_is_loaded_once_and_counted() -> None:
    world = World()
    loader = world.loader()
    world.produce(order(1), order(1), order(2, amount=-1), order(3), b"\x00\x00\x00\x00\x09x")
    loader.run(3)
    assert world.loaded() == ["o1", "o3"]
    ranges = [row.range for row in world.account.ledger if row.range.partition.topic == STREAM]
    assert sum(r.events for r in ranges) == 5
    assert sum(r.duplicates for r in ranges) == 1
    assert sum(r.dead for r in ranges) == 2
    assert sorted(world.account.table(DEAD_LETTERS)["reason"].to_list()) == [
        "out_of_range",
        "unknown_schema",
    ]
    books = world.audit()
    assert books.balanced, books.findings
    assert str(books) == (
        "books balance: accepted 5 = loaded 2 + duplicate 1 + dead 2 + in flight 0"
    )


def test_one_event_then_silence_is_loaded_within_the_flush_age() -> None:
    world = World()
    loader = world.loader()
    loader.run(1)
    world.produce(order(1))
    began = world.clock.monotonic()
    while not world.loaded():
        loader.run(0.1)
    assert world.clock.monotonic() - began <= 1.5


def test_a_stream_whose_next_batch_is_full_is_not_read_until_the_load_has_ended() -> None:
    world = World(partitions=1, policy=LoadPolicy(FlushPolicy(10, 10**9, 1.0), 5, 0.05))
    loader = world.loader()
    loader.run(1)
    loader.lanes.slow = True
    world.produce(*map(order, range(60)))
    loader.run(5)
    assert loader.state.open[STREAM].events == 10
    assert loader.state.ownership.held[P0].position == 20
    loader.lanes.slow = False
    loader.run(5)
    assert world.loaded() == sorted(f"o{n}" for n in range(60))
    assert world.audit().balanced


def test_a_batch_closes_in_time_for_what_its_contract_promises() -> None:
    world = World(partitions=1, policy=LoadPolicy(FlushPolicy(1000, 10**9, 60.0), 100, 0.05))
    loader = world.loader()
    stream = loader.state.streams[STREAM]
    stream.contract = stream.contract.model_copy(update={"sla": timedelta(seconds=4)})
    loader.turn(3)
    for number in range(3):
        world.produce(order(number))
        loader.run(1.7)
        assert len(world.loaded()) == number
        loader.run(0.6)
        assert len(world.loaded()) == number + 1


@pytest.mark.parametrize("step", [step for step in Step if step is not Step.PROBE])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_failed_load_heals_by_itself_without_loss_or_doubles(step: Step, after: bool) -> None:
    world = World()
    loader = world.loader()
    loader.run(1)
    world.account.faults.append(WarehouseFault(step, after=after))
    world.produce(*(order(n) for n in range(20)), order(3), order(4, amount=-1))
    loader.run(6)
    assert world.loaded() == sorted(f"o{n}" for n in range(20))
    assert world.audit().balanced
    assert any(event == "load_failed" for event, _ in world.notes)


def test_a_warehouse_that_is_away_loses_nothing_and_the_keys_stay_exact() -> None:
    world = World()
    loader = world.loader()
    loader.run(1)
    world.account.faults.append(WarehouseFault(Step.COMMIT, times=5))
    for n in range(10):
        world.produce(order(n), order(n))
        loader.run(0.5)
    loader.run(30)
    assert world.loaded() == sorted(f"o{n}" for n in range(10))
    assert world.audit().balanced


def test_a_broker_that_is_away_stops_the_turn_with_a_transient_error_and_heals() -> None:
    world = World()
    loader = world.loader()
    loader.run(1)
    world.produce(order(1), order(2, amount=-1))
    world.broker.up = False
    with pytest.raises(TransientError):
        loader.turn()
    world.broker.up = True
    loader.run(4)
    assert world.loaded() == ["o1"]
    assert world.audit().balanced


def test_dead_letters_that_cannot_be_published_hold_the_partition_back() -> None:
    world = World(partitions=1)
    loader = world.loader()
    loader.run(1)
    world.produce(order(1), order(2, amount=-1))
    world.broker.fail_next("publish", TransientError("not now", where="broker"))
    loader.turn()
    assert not loader.state.open
    loader.run(5)
    assert world.loaded() == ["o1"]
    assert world.audit().balanced


def test_a_zombie_with_an_old_epoch_commits_nothing() -> None:
    world = World(partitions=1)
    zombie = world.loader()
    zombie.run(1)
    world.produce(order(1))
    zombie.turn()  # it holds the batch and has not flushed it
    zombie.log.lose_partitions()
    other = world.loader()
    other.run(3)
    assert world.loaded() == ["o1"]
    world.clock.sleep(2)
    zombie.run(3)
    other.run(3)
    assert world.loaded() == ["o1"]
    assert world.audit().balanced


def test_two_loaders_share_the_partitions_and_a_leaver_hands_over() -> None:
    world = World()
    one, two = world.loader(), world.loader()
    for n in range(40):
        world.produce(order(n))
        one.turn()
        two.turn()
        world.clock.sleep(0.05)
    one.log.close()
    for _ in range(80):
        two.turn()
        world.clock.sleep(0.05)
    assert world.loaded() == sorted(f"o{n}" for n in range(40))
    assert world.audit().balanced


def test_a_partition_that_comes_back_knows_what_others_accepted_meanwhile() -> None:
    """Its local keys are behind; they are read again from the log before it loads."""
    world = World(partitions=1)
    first = world.loader()
    world.produce(order(1))
    first.run(3)
    first.log.close()
    kept = world.disk
    world.disk = type(kept)()  # another machine
    second = world.loader()
    world.produce(order(2))
    second.run(3)
    second.log.close()
    world.disk = kept
    third = world.loader()
    world.produce(order(1), order(2), order(3))
    third.run(3)
    assert world.loaded() == ["o1", "o2", "o3"]
    assert world.audit().totals.duplicate == 2


def test_keys_survive_an_outage_longer_than_the_window() -> None:
    """The restore begins at the first event's own time, not at the clock's."""
    world = World(partitions=1)
    loader = world.loader()
    world.produce(order(1))
    loader.run(3)
    world.produce(order(1))  # a duplicate, waiting in the log
    loader.log.close()
    world.clock.sleep(3 * 86_400)  # the dedupe window is one day
    world.disk = type(world.disk)()
    world.loader().run(3)
    assert world.loaded() == ["o1"]


def test_a_bad_deploy_stops_the_partition_instead_of_diverting_the_topic() -> None:
    world = World(partitions=1, breaker=(0.5, 100, 1000))
    loader = world.loader()
    loader.run(1)
    world.produce(*(order(n, amount=-1) for n in range(200)))
    loader.run(5)
    assert any(event == "breaker_open" for event, _ in world.notes)
    dead = world.account.table(DEAD_LETTERS)
    assert dead.height < 150
    assert world.audit().balanced


def test_rejects_in_a_row_stop_their_partition_and_the_others_go_on() -> None:
    """A deploy that breaks one producer's keys, after a long time without a reject."""
    world = World(breaker=(0.9, 1000, 20))
    loader = world.loader()
    keyed = {p: [n for n in range(2000) if home(n) == p.number] for p in (P0, P1)}
    world.produce(*(order(n) for n in [*keyed[P0][:300], *keyed[P1][:300]]))
    loader.run(8)
    assert len(world.loaded()) == 600
    world.produce(*(order(n, amount=-1) for n in keyed[P0][300:400]))
    loader.run(3)
    world.produce(*(order(n) for n in keyed[P1][300:400]))
    loader.run(3)
    assert len(world.loaded()) == 700
    assert world.account.table(DEAD_LETTERS).height == 0
    assert breakers(world) == {"0": 1.0, "1": 0.0}
    loader.run(200)  # it looks again every minute, and diverts nothing
    assert world.account.table(DEAD_LETTERS).height == 0
    assert world.audit().balanced
    mended = world.loader()
    loader.log.close()
    mended.state.breaker.ratio_max = 1.0  # as a person decides who wants the dead letters
    mended.run(5)
    assert world.account.table(DEAD_LETTERS).height == 100
    assert breakers(world) == {"0": 0.0, "1": 0.0}
    assert world.audit().balanced


def home(number: int) -> int:
    """The partition of an order, of two."""
    return zlib.crc32(f"o{number}".encode()) % 2


def breakers(world: World) -> dict[str, float | None]:
    """The gauge that alerts, by partition."""
    last = world.metrics.last
    return {n: last("load_breaker_open", stream=STREAM, partition=n) for n in ("0", "1")}


def test_a_position_that_retention_has_deleted_stops_the_partition_and_says_so() -> None:
    world = World(partitions=1, damaged="retention has deleted what was never read")
    loader = world.loader()
    world.produce(order(1))
    loader.run(3)
    loader.log.close()
    world.produce(order(2), order(3))
    world.broker.delete_records({P0: 2})
    world.loader().run(3)
    assert world.loaded() == ["o1"]
    assert any(event == "log_hole" for event, _ in world.notes)


def test_a_setup_error_of_one_stream_leaves_the_others_alone() -> None:
    world = World(partitions=1)
    loader = world.loader()
    loader.run(1)
    world.account.faults.append(
        WarehouseFault(Step.COPY, SetupError("no table", where="SHOP_ORDERS"), times=1)
    )
    world.produce(order(1))
    loader.run(3)
    assert world.loaded() == []
    loader.run(70)  # somebody has mended it meanwhile
    assert world.loaded() == ["o1"]
