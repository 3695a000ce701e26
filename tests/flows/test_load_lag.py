"""How far behind a loader says that it is, by the gauge that the alerts ask."""

import math

from schemas.errors import SetupError
from services.adapters.memory_warehouse import Step, WarehouseFault
from tests.support.world import STREAM, World


def order(number: int) -> dict[str, object]:
    return {"order_id": f"o{number}", "amount": 1.5}


def lag(world: World) -> float:
    found = world.metrics.last("load_lag_seconds", stream=STREAM)
    assert found is not None
    return found


def test_the_lag_grows_while_a_table_is_refused_and_is_gone_when_it_loads() -> None:
    world = World(partitions=1)
    loader = world.loader()
    world.produce(order(9))
    loader.run(3)
    assert lag(world) == 0
    error = SetupError("no table", where="SHOP_ORDERS")
    world.account.faults.append(WarehouseFault(Step.COPY, error, times=99))
    world.produce(*(order(n) for n in range(3)))
    loader.run(600)
    assert 590 <= lag(world) <= 601
    assert world.metrics.last("load_lag_events", stream=STREAM, partition="0") == 3
    world.produce(order(3), order(4))  # nobody reads them: the partition waits
    loader.turn()
    assert world.metrics.last("load_lag_events", stream=STREAM, partition="0") == 5
    world.account.faults.clear()
    loader.run(70)
    assert len(world.loaded()) == 6
    assert lag(world) == 0
    assert world.metrics.last("load_lag_events", stream=STREAM, partition="0") == 0
    assert world.audit().balanced


def test_the_lag_of_a_loader_that_is_behind_is_that_of_the_log_and_not_of_its_batch() -> None:
    world = World(partitions=1)
    world.produce(order(1))
    world.clock.sleep(3600)
    world.produce(order(2))
    loader = world.loader()
    loader.run(0.9)  # read, not loaded
    assert 3600 <= lag(world) <= 3602
    loader.run(3)
    assert lag(world) == 0
    assert world.audit().balanced


def test_what_was_said_of_a_partition_goes_with_it() -> None:
    """Or the alert of a breaker that is closed elsewhere stays until a restart."""
    world = World(partitions=1, breaker=(0.5, 2, 1000))
    first = world.loader()
    first.run(1)
    world.produce(*({"order_id": f"o{n}", "amount": -1} for n in range(4)))
    first.run(1)
    names = ("load_breaker_open", "load_lag_events")
    for name in names:
        assert world.metrics.last(name, stream=STREAM, partition="0") in {1, 4}
    first.log.lose_partitions()
    first.turn()
    for name in names:
        calls = [
            c for c in world.metrics.calls if c.name == name and ("stream", STREAM) in c.labels
        ]
        assert any(math.isnan(call.value) for call in calls), name
    assert world.audit().balanced
