"""What a loader's `/ready` says of its partitions: assigned, and caught up."""

from dataclasses import dataclass, field

import pytest

from schemas.errors import SetupError
from schemas.events import Partition
from services.adapters.memory.log import MemoryTransactions
from services.adapters.memory_warehouse import Step, WarehouseFault
from services.monitor.health import Health, ready
from services.processes.loader import SPARE_SECONDS, report_partitions
from tests.support.world import STREAM, Loader, World


def order(number: int) -> dict[str, object]:
    return {"order_id": f"o{number}", "amount": 1.5}


@dataclass
class Process:
    """A loader with its health, as ``sluice loader`` runs it."""

    world: World
    loader: Loader = field(init=False)
    health: Health = field(init=False)
    began: float = field(init=False)

    def __post_init__(self) -> None:
        self.loader = self.world.loader()
        self.health = Health(self.world.clock)
        self.began = self.world.clock.monotonic()

    def turn(self, times: int = 1) -> str:
        """Turns of the loop; why it is not ready after them."""
        for _ in range(times):
            self.loader.turn()
            seconds = self.world.clock.monotonic() - self.began
            report_partitions(self.loader.ports, self.loader.state, self.health, seconds)
            self.world.clock.sleep(0.05)
        return "; ".join(ready(self.health.state()).body["reasons"])


def test_a_loader_is_ready_once_its_partitions_are_delivered() -> None:
    process = Process(World())
    assert process.turn() == (
        "partitions: 3 of 3 partitions are not taken up yet, such as shop.orders/0"
    )
    assert process.turn(3) == ""


def test_a_loader_with_a_backlog_is_ready_once_it_is_loaded_whatever_comes_meanwhile() -> None:
    world = World(partitions=1)
    world.produce(*map(order, range(1_000)))
    process = Process(world)
    assert "1 of 2 partitions" in process.turn(5)
    for number in range(1_000, 3_000, 20):
        world.produce(*map(order, range(number, number + 20)))
        loaded = len(world.loaded())
        assert (process.turn() == "") == (len(world.loaded()) >= 1_000), loaded
    assert process.turn() == ""
    assert len(world.loaded()) < 3_000


def test_the_markers_of_transactions_are_nothing_to_catch_up_with() -> None:
    world = World(partitions=1)
    world.produce(order(1))
    some = world.broker.logs[Partition(STREAM, 0)].messages[0].record
    MemoryTransactions(world.broker, "t").publish_atomically([some])
    process = Process(world)
    assert "not taken up yet" in process.turn(4)
    assert process.turn(40) == ""
    assert world.loaded() == ["o1"]


def test_a_loader_without_partitions_is_a_spare_after_a_while() -> None:
    world = World(partitions=1)
    others = [world.loader() for _ in range(2)]
    for _ in range(5):
        for one in others:
            one.turn()
    spare = Process(world)
    while world.clock.monotonic() < spare.began + SPARE_SECONDS - 1:
        assert spare.turn() == "partitions: waits for its partitions"
    assert spare.turn(40) == ""


def test_a_blip_is_no_reason_and_an_outage_is() -> None:
    world = World(partitions=1)
    process = Process(world)
    assert process.turn(5) == ""
    world.account.faults.append(WarehouseFault(Step.COMMIT))
    world.produce(order(1))
    for _ in range(60):
        assert process.turn() == ""
    assert world.loaded() == ["o1"]
    world.account.faults.append(WarehouseFault(Step.PUT, times=50))
    world.produce(order(2))
    told = [process.turn() for _ in range(400)]
    assert "partitions: 1 of 2 partitions are not taken up yet, such as shop.orders/0" in told
    world.account.faults.clear()
    assert process.turn(1_000) == ""
    assert world.loaded() == ["o1", "o2"]


def test_what_only_people_can_mend_is_a_reason_at_once_and_until_it_loads() -> None:
    world = World(partitions=1)
    process = Process(world)
    assert process.turn(5) == ""
    error = SetupError("a column is missing", where="snowflake", remedy="sluice apply")
    world.account.faults.append(WarehouseFault(Step.PUT, error, times=2))
    world.produce(order(1))
    told = [process.turn() for _ in range(6_000)]
    failed = [n for n, why in enumerate(told) if why]
    assert failed == list(range(failed[0], failed[-1] + 1)), "it flickers"
    assert "partitions: shop.orders/0: " in told[failed[0]]
    assert "a column is missing" in told[failed[0]]
    assert told[-1] == ""
    assert world.loaded() == ["o1"]


@pytest.mark.parametrize("partitions", [1, 2])
def test_partitions_that_are_handed_over_are_the_new_ones_to_take_up(partitions: int) -> None:
    world = World(partitions=partitions)
    first, second = Process(world), Process(world)
    for _ in range(10):
        first.turn()
        second.turn()
    world.produce(*map(order, range(500)))
    first.loader.log.close()
    assert "not taken up yet" in second.turn(2)
    assert second.turn(100) == ""
    assert len(world.loaded()) == 500
