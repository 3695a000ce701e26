"""What a loader's `/ready` and `/progress` say of its partitions, whatever else it notes."""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import pytest
from structlog.testing import capture_logs

from schemas.errors import SetupError, TransientError
from schemas.events import Partition
from services.adapters.memory.broker import PartitionLog
from services.adapters.memory.log import MemoryTransactions
from services.adapters.memory_warehouse import Step, WarehouseFault
from services.monitor.health import Health, progress, ready
from services.processes.loader import SPARE_SECONDS, noted, report_partitions
from tests.support.world import STREAM, Loader, World

SICK, BUSY = Partition(STREAM, 0), Partition(STREAM, 1)
RETRY_SECONDS = 62.0  # more than a partition rests that waits for somebody


def order(number: int) -> dict[str, object]:
    return {"order_id": f"o{number}", "amount": 1.5}


def orders_of(partition: Partition, count: int, first: int = 0) -> list[dict[str, object]]:
    """Some orders that go to this partition, of two."""
    numbers = (n for n in range(first, first + 100 * count))
    mine = (n for n in numbers if zlib.crc32(f"o{n}".encode()) % 2 == partition.number)
    return [order(next(mine)) for _ in range(count)]


@dataclass
class Process:
    """A loader with its log and its health, as ``sluice loader`` runs it."""

    world: World
    loader: Loader = field(init=False)
    health: Health = field(init=False)
    began: float = field(init=False)

    def __post_init__(self) -> None:
        self.loader = self.world.loader()
        self.loader.ports = replace(self.loader.ports, note=self.note)
        self.health = Health(self.world.clock)
        self.began = self.world.clock.monotonic()

    def note(self, event: str, fields: Mapping[str, object]) -> None:
        with capture_logs():
            noted(event, fields)
        self.world.notes.append((event, fields))

    def turn(self, times: int = 1) -> str:
        """Turns of the loop; why it is not ready after them."""
        for _ in range(times):
            self.loader.turn()
            seconds = self.world.clock.monotonic() - self.began
            report_partitions(self.loader.state, self.health, seconds)
            self.world.clock.sleep(0.05)
        return "; ".join(ready(self.health.state()).body["reasons"])

    def run(self, seconds: float, before: Callable[[], object] = lambda: None) -> list[str]:
        """Turns for so long, with ``before`` every second; why it is not ready after each."""
        told: list[str] = []
        for _ in range(round(seconds)):
            before()
            end = self.world.clock.monotonic() + 1
            while self.world.clock.monotonic() < end:
                told.append(self.turn())
                self.world.clock.sleep(0.2)
        return told

    def progress(self) -> dict[str, dict[str, object]]:
        body: dict[str, dict[str, object]] = progress(
            self.health.state(), self.world.clock.monotonic()
        ).body["advances"]
        return body

    def noted(self, event: str) -> int:
        return sum(name == event for name, _ in self.world.notes)


class Traffic:
    """New orders of one partition with every call."""

    def __init__(self, world: World, partition: Partition) -> None:
        self.world = world
        self.partition = partition
        self.first = 100_000

    def __call__(self) -> None:
        self.world.produce(*orders_of(self.partition, 1, self.first))
        self.first += 100


def test_a_loader_is_ready_once_its_partitions_are_delivered() -> None:
    process = Process(World())
    assert process.turn() == (
        "shop.orders.dead/0, shop.orders/0, shop.orders/1: has not caught up with its log yet"
    )
    assert process.turn(3) == ""


def test_a_loader_with_a_backlog_is_ready_once_it_is_loaded_whatever_comes_meanwhile() -> None:
    world = World(partitions=1)
    world.produce(*map(order, range(1_000)))
    process = Process(world)
    assert process.turn(5) == "shop.orders/0: has not caught up with its log yet"
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
    assert "has not caught up" in process.turn(4)
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
    world.account.faults.append(WarehouseFault(Step.PUT, TransientError("down"), times=50))
    world.produce(order(2))
    told = process.run(60)
    failed = [n for n, why in enumerate(told) if why]
    assert failed == list(range(failed[0], len(told))), "it flickers"
    assert set(told[failed[0] :]) == {"shop.orders/0: down"}
    world.account.faults.clear()
    assert process.run(RETRY_SECONDS)[-1] == ""
    assert world.loaded() == ["o1", "o2"]


def test_an_outage_is_over_where_nothing_is_left_to_load() -> None:
    world = World(partitions=1)
    world.broker.fail_next("describe", SetupError("no grant"))
    process = Process(world)
    assert "no grant" in process.turn(2)
    assert process.run(RETRY_SECONDS)[-1] == ""


def test_what_only_people_can_mend_is_told_through_an_outage_that_comes_on_top() -> None:
    world = World(partitions=1)
    process = Process(world)
    process.turn(5)
    world.account.faults.append(WarehouseFault(Step.PUT, SetupError("no grant"), times=1))
    world.produce(order(1))
    told = process.run(2)
    world.broker.fail_next("describe", TransientError("down"))
    while not world.loaded():
        told.append(process.turn())
        world.clock.sleep(0.2)
    assert process.noted("claim_failed") == 1
    failed = [n for n, why in enumerate(told) if why]
    assert failed == list(range(failed[0], len(told) - 1)), "not until it loads"
    assert {told[n] for n in failed} == {"shop.orders/0: no grant"}


def breaks_the_contract(world: World) -> Callable[[], object]:
    """So many events that the breaker opens; mended by events that keep it."""
    world.produce(*({**each, "amount": -1.0} for each in orders_of(SICK, 6)))
    return lambda: world.produce(*orders_of(SICK, 20, first=50_000))


def is_cut_off(world: World) -> Callable[[], object]:
    """The log ends before what was loaded; mended by bringing the old log back."""
    log, world.broker.logs[SICK] = world.broker.logs[SICK], PartitionLog()

    def mended() -> None:
        world.broker.logs[SICK] = log

    return mended


def is_made_again(world: World) -> Callable[[], object]:
    """Another topic of the same name; mended by bringing the old one back."""
    old, world.broker.topic_ids[STREAM] = world.broker.topic_ids[STREAM], "another"
    world.produce(*orders_of(SICK, 1, first=50_000))

    def mended() -> None:
        world.broker.topic_ids[STREAM] = old

    return mended


def is_refused(world: World) -> Callable[[], object]:
    """The warehouse lacks something at every load."""
    error = SetupError("a column is missing", where="snowflake", remedy="sluice apply")
    world.account.faults.append(WarehouseFault(Step.PUT, error, times=1_000))
    world.produce(*orders_of(SICK, 1, first=50_000))
    return world.account.faults.clear


CASES = {
    "breaker open": (
        breaks_the_contract,
        "events break the contract. What to do: see `sluice dead count`",
    ),
    "log hole": (is_cut_off, "shop.orders/0: offset 3 is not in the log, which holds [0, 0). What"),
    "topic made again": (is_made_again, "the topic was deleted and made again"),
    "setup error": (
        is_refused,
        "snowflake: a column is missing. What to do: sluice apply",
    ),
}


@pytest.mark.parametrize(("damage", "words"), CASES.values(), ids=CASES)
def test_a_partition_that_waits_for_somebody_is_told_until_it_advances_whatever_others_do(
    damage: Callable[[World], Callable[[], object]], words: str
) -> None:
    world = World(breaker=(0.5, 5, 1_000))
    world.produce(*orders_of(SICK, 3), *orders_of(BUSY, 3))
    process = Process(world)
    process.run(5)
    assert process.turn() == ""
    mend = damage(world)
    traffic = Traffic(world, BUSY)
    told = process.run(2 * RETRY_SECONDS + 5, traffic)  # it is tried again twice
    failed = [n for n, why in enumerate(told) if words in why]
    assert failed == list(range(failed[0], len(told))), "it flickers"
    assert not any(told[: failed[0]]), "something else was told"
    assert failed[0] < 60, "it was told late"
    assert process.noted("delivering") + process.noted("restore_failed") >= 5, "no retries"
    mend()
    told = process.run(RETRY_SECONDS, traffic)
    assert told[-1] == ""
    fine = told.index("")
    assert words in told[fine - 1]
    assert not any(told[fine:]), "it flickers"


def test_a_read_that_failed_is_no_matter_once_its_partitions_are_elsewhere() -> None:
    world = World(partitions=2, breaker=(0.5, 5, 1_000))
    first = Process(world)
    first.run(3)
    world.produce(*({**each, "amount": -1.0} for each in orders_of(BUSY, 6)))
    assert "break the contract" in first.run(3)[-1]
    others = [world.loader() for _ in range(2)]  # of three partitions, each gets one
    for _ in range(10):
        for other in others:
            other.turn()
        first.turn()
    assert BUSY not in first.loader.state.ownership.held
    (kept,) = first.loader.state.ownership.held
    assert first.turn() == ""
    body = ready(first.health.state()).body["checks"]
    assert list(body) == ["partitions", f"{kept.topic}/{kept.number}"]
    assert list(first.progress()) == [f"{kept.topic}/{kept.number}"]


def test_what_only_people_can_mend_is_a_reason_at_once_and_until_it_loads() -> None:
    world = World(partitions=1)
    process = Process(world)
    assert process.turn(5) == ""
    error = SetupError("a column is missing", where="snowflake", remedy="sluice apply")
    world.account.faults.append(WarehouseFault(Step.PUT, error, times=2))
    world.produce(order(1))
    told = process.run(3 * RETRY_SECONDS)
    failed = [n for n, why in enumerate(told) if why]
    assert failed == list(range(failed[0], failed[-1] + 1)), "it flickers"
    assert told[failed[0]] == (
        "shop.orders/0: snowflake: a column is missing. What to do: sluice apply"
    )
    assert told[-1] == ""
    assert world.loaded() == ["o1"]


def test_a_load_is_the_end_of_it_though_more_waits_all_the_time() -> None:
    world = World(partitions=1)
    world.policy = replace(world.policy, poll_messages_max=1)
    process = Process(world)
    process.turn(5)
    world.account.faults.append(WarehouseFault(Step.PUT, SetupError("no grant"), times=1))
    world.produce(*map(order, range(1_000)))
    told = process.run(RETRY_SECONDS + 10)
    assert process.loader.state.ownership.held[SICK].lag
    failed = [n for n, why in enumerate(told) if why]
    assert failed == list(range(failed[0], failed[-1] + 1)), "it flickers"
    assert told[-1] == ""


def test_a_loader_that_starts_beyond_the_end_of_its_log_is_never_ready() -> None:
    world = World(partitions=1)
    world.produce(*map(order, range(3)))
    first = Process(world)
    first.run(3)
    first.loader.log.close()
    is_cut_off(world)
    world.damaged = "the log has lost what was loaded"
    assert "" not in Process(world).run(RETRY_SECONDS + 3)


@pytest.mark.parametrize("partitions", [1, 2])
def test_partitions_that_are_handed_over_are_the_new_ones_to_take_up(partitions: int) -> None:
    world = World(partitions=partitions)
    first, second = Process(world), Process(world)
    for _ in range(10):
        first.turn()
        second.turn()
    world.produce(*map(order, range(500)))
    first.loader.log.close()
    assert "has not caught up" in second.turn(2)
    assert second.turn(100) == ""
    assert len(world.loaded()) == 500


def test_progress_has_every_partition_with_its_own_last_advance() -> None:
    world = World(breaker=(0.5, 5, 1_000))
    world.produce(*orders_of(SICK, 3))
    process = Process(world)
    process.run(3)
    stalled = process.progress()[f"{STREAM}/0"]
    world.produce(*({**each, "amount": -1.0} for each in orders_of(SICK, 6)))
    before = world.clock.monotonic()
    process.run(2 * RETRY_SECONDS, Traffic(world, BUSY))
    told = process.progress()
    assert list(told) == [f"{STREAM}.dead/0", f"{STREAM}/0", f"{STREAM}/1"]
    sick, busy = told[f"{STREAM}/0"], told[f"{STREAM}/1"]
    assert sick["at"] == stalled["at"]
    assert sick["detail"] == {"next_offset": 3, "lag": 6}
    waited = world.clock.monotonic() - before
    age = float(str(sick["age_seconds"]))
    assert age == pytest.approx(float(str(stalled["age_seconds"])) + waited, abs=0.01)
    assert float(str(busy["age_seconds"])) < 3
    end = world.broker.logs[BUSY].after
    detail = busy["detail"]
    assert isinstance(detail, dict)
    assert detail["next_offset"] + detail["lag"] == end
    assert told[f"{STREAM}.dead/0"] == {
        "at": None,
        "age_seconds": None,
        "detail": {"next_offset": 0, "lag": 0},
    }


def test_what_was_batched_before_a_partition_stopped_is_an_advance_and_mends_nothing() -> None:
    world = World(partitions=1, breaker=(0.5, 5, 1_000))
    process = Process(world)
    process.run(3)
    world.produce(*map(order, range(3)))
    process.turn(2)
    world.produce(*({**order(n), "amount": -1.0} for n in range(3, 9)))
    assert world.loaded() == []
    told = process.run(3)
    assert world.loaded() == ["o0", "o1", "o2"]
    assert "break the contract" in told[-1]
    here = process.progress()[f"{STREAM}/0"]
    assert here["at"] is not None
    assert here["detail"] == {"next_offset": 3, "lag": 6}
