"""A business date that is over is in the table, however young its batch is."""

from consumers.loading.batching import FlushPolicy
from consumers.loading.loader import LoadPolicy
from tests.support.world import Loader, World

AGE_SECONDS = 60.0
PATIENT = LoadPolicy(FlushPolicy(1000, 10**9, AGE_SECONDS), 100, 0.05)


def order(number: int, day: int, **more: object) -> dict[str, object]:
    return {
        "order_id": f"o{number}",
        "amount": 1.5,
        "placed_at": f"2026-11-{day:02}T10:00:00Z",
        **more,
    }


def begun(world: World) -> Loader:
    loader = world.loader()
    loader.turn(4)
    return loader


def test_the_first_rows_of_a_date_bring_those_of_the_date_before_into_the_table() -> None:
    world = World(policy=PATIENT)
    loader = begun(world)
    world.produce(*(order(n, 18) for n in range(5)))
    loader.run(5)
    assert world.loaded() == []
    world.produce(order(5, 18), order(6, 19))
    loader.run(0.5)
    assert world.loaded() == [f"o{n}" for n in range(7)]
    assert world.audit().balanced


def test_it_closes_a_batch_once_for_each_date() -> None:
    world = World(policy=PATIENT)
    loader = begun(world)
    world.produce(order(0, 18))
    loader.run(0.5)
    world.produce(order(1, 19))
    loader.run(0.5)
    assert len(world.loaded()) == 2
    for number, day in enumerate((19, 18, 17, 19), start=2):
        world.produce(order(number, day))
        loader.run(1)
    assert len(world.loaded()) == 2
    loader.run(AGE_SECONDS)
    assert len(world.loaded()) == 6


def test_a_first_date_closes_nothing_and_neither_do_rejected_rows() -> None:
    world = World(policy=PATIENT)
    loader = begun(world)
    world.produce(order(0, 18), order(1, 19))
    loader.run(1)
    world.produce(order(2, 20, amount=-1))
    loader.run(1)
    assert world.loaded() == []


def test_a_date_far_ahead_is_passed_over() -> None:
    world = World(policy=PATIENT)
    loader = begun(world)
    world.produce(order(0, 18))
    loader.run(1)
    world.produce({**order(1, 18), "placed_at": "2099-01-01T00:00:00Z"}, order(2, 26))
    loader.run(1)
    assert world.loaded() == []
    world.produce(order(3, 19))
    loader.run(1)
    assert len(world.loaded()) == 4


def test_a_batch_whose_date_is_over_waits_for_the_load_under_way() -> None:
    world = World(policy=PATIENT, partitions=1)
    loader = begun(world)
    world.produce(order(0, 18))
    loader.run(1)
    loader.lanes.slow = True
    for number, day in enumerate((19, 20, 21), start=1):
        world.produce(order(number, day))
        loader.run(1)
    assert len(world.loaded()) == 2
    loader.lanes.slow = False
    loader.run(1)
    assert len(world.loaded()) == 4
    assert world.audit().balanced
