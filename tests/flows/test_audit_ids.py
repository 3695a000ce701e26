"""Damage that leaves every count right, and that ids give away."""

import datetime as dt
from dataclasses import replace
from typing import Any

import polars as pl
import pytest

from consumers.books.audit import AuditPorts, audit_once
from schemas.dead_letters import dead_contract
from schemas.events import Partition
from services.adapters.memory.log import MemoryLogReader
from services.adapters.memory_warehouse import MemoryWarehouse
from tests.support.world import CONTRACT, STREAM, World

P0 = Partition(STREAM, 0)
TABLE = "SHOP_ORDERS"


def order(number: int, **more: Any) -> dict[str, Any]:
    return {"order_id": f"o{number}", "amount": 1, **more}


def loaded_world(*orders: dict[str, Any]) -> World:
    world = World(partitions=1)
    world.produce(*orders)
    world.loader().run(4)
    assert world.audit().balanced
    return world


def findings(world: World) -> list[str]:
    return [str(finding) for finding in world.audit().findings]


def balances_by_counts(world: World) -> bool:
    streams = {STREAM: CONTRACT, STREAM + ".dead": dead_contract(STREAM)}
    reader, warehouse = MemoryLogReader(world.broker), MemoryWarehouse(world.account)
    return audit_once(AuditPorts(reader, warehouse), streams).balanced


def recount(world: World, *, loaded: int, duplicates: int) -> None:
    """Change the ledger's only row of the stream by so many."""
    world.damaged = "the ledger speaks of other rows than were loaded"
    for place, row in enumerate(world.account.ledger):
        if row.range.partition == P0:
            counts = row.range
            changed = replace(
                counts, loaded=counts.loaded + loaded, duplicates=counts.duplicates + duplicates
            )
            world.account.ledger[place] = replace(row, range=changed)


def test_an_event_that_was_taken_for_a_duplicate_is_named() -> None:
    world = loaded_world(*map(order, range(6)))
    table = world.account.table(TABLE)
    world.account.tables[TABLE] = [table.filter(pl.col("_offset") != 3)]
    recount(world, loaded=-1, duplicates=1)
    assert balances_by_counts(world)
    assert findings(world) == [
        "shop.orders/0 [3, 4): 1 event neither loaded nor dead, and no event of the id is loaded before"
    ]


def test_a_duplicate_that_was_taken_for_new_is_named() -> None:
    world = loaded_world(order(1), order(2), order(1), order(3))
    table = world.account.table(TABLE)
    again = table.filter(pl.col("_offset") == 0).with_columns(_offset=pl.lit(2, pl.Int64))
    world.account.tables[TABLE] = [pl.concat([table, again])]
    recount(world, loaded=1, duplicates=-1)
    assert balances_by_counts(world)
    assert findings(world) == [
        "shop.orders/0 [2, 3): 1 event loaded again within dedupe_window of the same id"
    ]


def test_the_same_id_beyond_the_window_is_another_event() -> None:
    world = World(partitions=1)
    loader = world.loader()
    world.produce(order(1), order(1))
    loader.run(3)
    world.clock.sleep(CONTRACT.dedupe_window / dt.timedelta(seconds=1) + 3_601)
    world.produce(order(1), order(2), order(1))
    loader.run(3)
    assert world.loaded() == ["o1", "o1", "o2"]
    assert findings(world) == []


def test_a_rejected_copy_is_no_first_copy_and_a_refused_one_is() -> None:
    world = World(partitions=1)
    world.account.refused[TABLE] = pl.col("amount") >= 100
    world.produce(order(1, amount=-1), order(1), order(2, amount=100), order(2, amount=1), order(3))
    world.loader().run(4)
    assert str(world.audit()).endswith("5 = loaded 2 + duplicate 1 + dead 2 + in flight 0")
    table = world.account.table(TABLE)
    world.account.tables[TABLE] = [table.filter(pl.col("_offset") != 1)]
    recount(world, loaded=-1, duplicates=1)
    assert balances_by_counts(world)
    assert findings(world) == [
        "shop.orders/0 [1, 2): 1 event neither loaded nor dead, and no event of the id is loaded before"
    ]


@pytest.mark.parametrize("lost", [False, True], ids=["the first copy is loaded", "it is not"])
def test_a_first_copy_that_has_left_the_log_is_looked_for_in_the_table(lost: bool) -> None:
    world = World(partitions=1, damaged="a first copy has left the log")
    loader = world.loader()
    world.produce(order(1), order(2))
    loader.run(3)
    world.produce(order(1), order(3))
    loader.run(3)
    world.broker.delete_records({P0: 2})
    if lost:
        table = world.account.table(TABLE).with_columns(
            pl.when(pl.col("_offset") == 0).then(pl.lit("o9")).otherwise("_id").alias("_id")
        )
        world.account.tables[TABLE] = [table]
    told = "[2, 3): 1 event neither loaded nor dead, and no event of the id is loaded before"
    assert findings(world) == ([f"shop.orders/0 {told}"] if lost else [])


def test_a_row_that_has_become_another_events_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumers.books.audit_ids.ROWS_MAX", 2)  # many questions
    world = loaded_world(*map(order, range(6)), order(2))
    world.damaged = "a row has another event's id"
    renamed = pl.when(pl.col("_offset") == 3).then(pl.lit("o1")).otherwise("_id").alias("_id")
    world.account.tables[TABLE] = [world.account.table(TABLE).with_columns(renamed)]
    assert balances_by_counts(world)
    assert findings(world) == [
        "shop.orders/0 [3, 4): 1 event whose row in the table has the id of another one"
    ]
    world.broker.delete_records({P0: 4})  # what the log has forgotten cannot be compared
    assert findings(world) == []
