"""Rows that a table refuses: dead letters with their original bytes; the rest is loaded."""

from typing import Any

import polars as pl
import pytest

from consumers.loading.loader import REFUSED_IN_A_ROW
from schemas.dead_letters import TABLE as DEAD_LETTERS
from schemas.errors import SetupError, TransientError
from schemas.events import Partition
from services.adapters.memory_warehouse import Step, WarehouseFault
from tests.support.world import STREAM, World

P0 = Partition(STREAM, 0)
LARGE = 1000.0
TABLE = "SHOP_ORDERS"


def order(number: int, **more: object) -> dict[str, object]:
    return {"order_id": f"o{number}", "amount": 1.5, **more}


def narrow(**more: Any) -> World:
    """The orders' table takes no amount of 100 or more."""
    world = World(partitions=1, **more)
    world.account.refused[TABLE] = pl.col("amount") >= 100
    return world


def dead(world: World) -> list[dict[str, Any]]:
    found = world.account.table(DEAD_LETTERS)
    return found.sort("origin_partition", "origin_offset").to_dicts() if found.height else []


def published(world: World) -> int:
    """How often dead letters were published."""
    return len(world.broker.logs[Partition(STREAM + ".dead", 0)].messages)


def test_the_effects_come_in_the_order_that_the_loop_promises() -> None:
    world = narrow()
    loader = world.loader()
    loader.turn(3)
    world.produce(order(1), order(2, amount=LARGE), order(3))
    world.journal.clear()
    loader.run(1.1)
    assert [(name, *rest[1:2]) for name, *rest in world.journal if name != "remember"][:13] == [
        ("put", world.journal[0][2]),
        ("copy", TABLE),
        ("rollback",),
        ("probe", TABLE),
        ("rollback",),
        ("publish",),  # the dead letter: durable before anything else happens
        ("put", world.journal[6][2]),
        ("copy", TABLE),
        ("ledger",),
        ("fence",),
        ("commit",),
        ("commit",),  # the position
        ("publish",),  # the report
    ]
    assert world.journal[5][1][0].topic == STREAM + ".dead"
    assert world.journal[0][1] == world.journal[6][1], "one batch, over the same ranges"
    assert world.journal[0][2] != world.journal[6][2], "but another file, under another name"
    assert [effect[3] for effect in world.journal if effect[0] == "copy"][:2] == [3, 2]


def test_refused_rows_are_dead_letters_as_they_came_and_the_rest_is_loaded() -> None:
    world = narrow()
    world.produce(order(1), order(2, amount=LARGE), order(3, amount=-1), order(4))
    world.produce(order(5, amount=LARGE), order(1), order(6))
    sent = [message.record for message in world.broker.logs[P0].messages]
    world.loader().run(4)
    assert world.loaded() == ["o1", "o4", "o6"]
    rows = dead(world)
    assert [(r["origin_offset"], r["stage"], r["reason"]) for r in rows] == [
        (1, "load", "unloadable"),
        (2, "judge", "out_of_range"),
        (4, "load", "unloadable"),
    ]
    for row in rows:
        record = sent[row["origin_offset"]]
        assert (row["original_value"], row["original_key"]) == (record.value, record.key)
        assert row["event_id"] == f"o{ {1: 2, 2: 3, 4: 5}[row['origin_offset']] }"
        assert (row["source"], row["schema_id"]) == ("shop", 1)
    assert (
        "refuses 2 rows of the batch; the first for column AMOUNT: it does not fit"
        in rows[0]["detail"]
    )
    (entry,) = [row for row in world.account.ledger if row.range.partition == P0]
    counts = entry.range
    assert (counts.events, counts.loaded, counts.duplicates, counts.dead) == (7, 3, 1, 3)
    metric = world.metrics.total("load_events_dead", stage="load", reason="unloadable")
    assert (metric, world.metrics.total("load_events_loaded", stream=STREAM)) == (2, 3)
    books = world.audit()
    assert books.balanced, books.findings
    assert str(books).endswith("accepted 7 = loaded 3 + duplicate 1 + dead 3 + in flight 0")


def test_of_a_single_refused_row_the_dead_letter_names_the_field() -> None:
    world = narrow()
    world.produce(order(1), order(2, amount=LARGE))
    world.loader().run(4)
    (row,) = dead(world)
    assert (row["path"], row["detail"]) == ("$.amount", "column AMOUNT: it does not fit")


def test_business_dates_count_what_is_loaded() -> None:
    world = narrow()
    loader = world.loader()
    loader.turn(3)
    loader.lanes.slow = True
    other = "2026-11-19T10:00:00Z"
    world.produce(order(1), order(2, amount=LARGE), order(3, amount=LARGE, placed_at=other))
    loader.run(1.3)
    loader.lanes.slow = False
    plan, batch = loader.state.loading[STREAM]
    assert batch.spans[P0].dates == {"2026-11-19": 1, "2026-11-20": 2}
    loader.turn()
    rest, _ = loader.state.loading.get(STREAM, (None, None))
    assert batch.spans[P0].dates == {"2026-11-20": 1}
    assert plan.rows == 3
    assert rest is None or rest.refused == 2


def test_a_single_row_that_is_all_of_its_batch_does_not_hold_a_quiet_stream_up() -> None:
    world = narrow()
    loader = world.loader()
    loader.run(1)
    for number in (1, 2):
        world.produce(order(number, amount=LARGE))
        loader.run(3)
        assert published(world) == number
    world.produce(order(3))
    loader.run(3)
    assert world.loaded() == ["o3"]
    assert str(world.audit()).endswith("3 = loaded 1 + duplicate 0 + dead 2 + in flight 0")


def test_a_table_that_takes_no_row_any_more_diverts_ten_of_a_quiet_stream() -> None:
    world = narrow()
    loader = world.loader()
    loader.run(1)
    for number in range(15):
        world.produce(order(number, amount=LARGE))
        loader.run(3)
    assert published(world) == REFUSED_IN_A_ROW
    assert "11 events in a row do not fit" in loader.why_unready()
    del world.account.refused[TABLE]  # mended
    loader.run(65)
    assert len(world.loaded()) == 5
    assert world.audit().balanced


def test_a_table_that_takes_no_row_stops_the_partition_and_diverts_nothing() -> None:
    count = REFUSED_IN_A_ROW + 1
    world = narrow()
    loader = world.loader()
    loader.run(1)
    world.produce(*(order(n, amount=LARGE) for n in range(count)))
    loader.run(3)
    assert published(world) == 0
    told = loader.why_unready()
    assert f"refuses {count} of {count} rows: {count} events in a row do not fit" in told
    assert "compare SHOP_ORDERS" in told
    assert world.account.offsets[P0].next_offset == 0
    del world.account.refused[TABLE]  # mended
    loader.run(65)
    assert world.loaded() == sorted(f"o{n}" for n in range(count))
    assert world.audit().balanced


@pytest.mark.parametrize(
    ("breaker", "words"),
    [
        ((0.5, 4, 1000), "60% of the last 10 events do not fit the table"),
        ((0.9, 1000, 5), "6 events in a row do not fit the table"),
    ],
    ids=["share", "in a row"],
)
def test_too_many_refused_rows_stop_the_partition_as_too_many_rejects_do(
    breaker: tuple[float, int, int], words: str
) -> None:
    world = narrow(breaker=breaker)
    loader = world.loader()
    loader.run(1)
    world.produce(*(order(n, amount=LARGE if n < 6 else 1) for n in range(10)))
    loader.run(3)
    assert published(world) == 0
    assert world.loaded() == []
    assert words in loader.why_unready()


def test_the_share_is_taken_over_batches_that_were_loaded_whole_too() -> None:
    world = narrow(breaker=(0.4, 10, 1000))
    loader = world.loader()
    loader.run(1)
    world.produce(*map(order, range(20)))
    loader.run(2)
    world.produce(*(order(n, amount=LARGE if n % 2 else 1) for n in range(20, 30)))
    loader.run(2)
    assert published(world) == 5
    world.produce(*(order(n, amount=LARGE if n % 3 else 1) for n in range(30, 60)))
    loader.run(2)
    assert published(world) == 5
    assert len(world.loaded()) == 25
    assert "of the last 60 events do not fit" in loader.why_unready()


def test_dead_letters_that_their_table_refuses_are_not_made_dead_letters_again() -> None:
    world = World(partitions=1)
    world.account.refused[DEAD_LETTERS] = pl.col("origin_offset") == 1
    loader = world.loader()
    world.produce(order(0, amount=-1), order(1, amount=-1), order(2))
    loader.run(4)
    assert published(world) == 2
    assert "dead letters have no other place" in loader.why_unready()
    del world.account.refused[DEAD_LETTERS]
    loader.run(65)
    assert world.audit().balanced


@pytest.mark.parametrize("operation", ["publish", "read"])
@pytest.mark.parametrize("error", [TransientError("down"), SetupError("denied")], ids=["t", "s"])
def test_dead_letters_that_cannot_be_made_durable_hold_the_rest_back(
    operation: str, error: Exception
) -> None:
    world = narrow()
    loader = world.loader()
    loader.run(1)
    world.produce(order(1), order(2, amount=LARGE))
    loader.run(0.9)
    world.broker.fail_next(operation, error)
    while not world.loaded():
        assert world.account.offsets[P0].next_offset == 0
        assert published(world) == 0 or "commit" in world.journal.names
        loader.run(0.5)
    loader.run(3)
    assert world.loaded() == ["o1"]
    assert [row["origin_offset"] for row in dead(world)] == [1]
    assert world.audit().balanced
    assert any(event == "load_failed" for event, _ in world.notes)


def test_a_refused_event_that_the_log_does_not_show_any_more_diverts_nothing() -> None:
    """Compaction may take it between reading and loading."""
    world = narrow()
    loader = world.loader()
    loader.turn(3)
    world.produce(order(1), order(2, amount=LARGE), order(3, amount=LARGE), order(4))
    loader.turn(2)
    del world.broker.logs[P0].messages[1]
    while not world.loaded():
        loader.run(0.2)
    loader.run(3)
    assert any("shows 1 of 2 events" in str(fields.get("error")) for _, fields in world.notes)
    assert world.loaded() == ["o1", "o4"]
    assert [row["origin_offset"] for row in dead(world)] == [2]
    assert world.audit().balanced


@pytest.mark.parametrize("step", list(Step))
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("skipped", [0, 1])
def test_a_fault_at_any_step_of_either_load_heals_by_itself(
    step: Step, after: bool, skipped: int
) -> None:
    world = narrow()
    loader = world.loader()
    loader.run(1)
    world.produce(order(1), order(2, amount=LARGE), order(3))
    if skipped:  # strike the load of the rest
        world.account.faults.append(WarehouseFault(step, after=after, times=0))
        while published(world) == 0:
            loader.turn()
            world.clock.sleep(0.05)
        loader.lanes._answers.clear()  # what had begun of it is done again
        loader.state.loading.clear()
        world.account.faults[0].times = 1
    else:
        world.account.faults.append(WarehouseFault(step, after=after))
    loader.run(8)
    if skipped:
        loader.log.close()
        world.loader().run(8)
    assert world.loaded() == ["o1", "o3"]
    assert [row["origin_offset"] for row in dead(world)] == [1]
    assert world.audit().balanced


def test_a_table_that_is_altered_again_meanwhile_is_asked_again() -> None:
    world = narrow()
    loader = world.loader()
    loader.turn(3)
    world.produce(*(order(n, amount=10.0 * n) for n in range(12)))

    def publish_and_narrow(records: Any, publish: Any = loader.ports.publisher.publish) -> None:
        publish(records)
        world.account.refused[TABLE] = pl.col("amount") >= 50

    object.__setattr__(loader.ports.publisher, "publish", publish_and_narrow)
    loader.run(4)
    assert world.loaded() == sorted(f"o{n}" for n in range(5))
    assert [row["origin_offset"] for row in dead(world)] == [5, 6, 7, 8, 9, 10, 11]
    assert world.audit().balanced


def test_a_stopping_loader_loads_the_rest() -> None:
    world = narrow()
    loader = world.loader()
    loader.turn(3)
    world.produce(order(1), order(2, amount=LARGE))
    loader.turn(2)
    loader.drain()
    assert world.loaded() == ["o1"]
    assert published(world) == 1


def test_what_its_table_refused_counts_as_seen() -> None:
    """Deduplication is a function of the log: a copy is a duplicate of the dead letter."""
    world = narrow()
    loader = world.loader()
    world.produce(order(1), order(2, amount=LARGE))
    loader.run(3)
    del world.account.refused[TABLE]
    world.produce(order(2, amount=LARGE), order(3))
    loader.run(3)
    assert world.loaded() == ["o1", "o3"]
    assert str(world.audit()).endswith("4 = loaded 2 + duplicate 1 + dead 1 + in flight 0")
