"""The audit over a loader in memory: by hour, and from where the last one ended."""

from dataclasses import replace

from consumers.books.balance import Share, summed
from tests.support.world import START, STREAM, World

HOUR = START // 3_600_000_000


def test_by_hour_says_when_each_partition_was_loaded_and_sums_to_the_totals() -> None:
    world = World(partitions=1)
    loader = world.loader()
    world.produce(*({"order_id": f"a{n}", "amount": 1} for n in range(5)))
    loader.run(3)
    world.clock.sleep(7_200)
    world.produce({"order_id": "a1", "amount": 1}, {"order_id": "b", "amount": -1})
    loader.run(3)
    world.produce({"order_id": "c", "amount": 1})
    found = world.audit()
    assert found.balanced
    orders = {share: sides for share, sides in found.shares.items() if share.stream == STREAM}
    early, late = orders[Share(STREAM, 0, HOUR)], orders[Share(STREAM, 0, HOUR + 2)]
    assert (early.accepted, early.loaded) == (5, 5)
    assert (late.accepted, late.loaded, late.duplicate, late.dead) == (2, 0, 1, 1)
    assert orders[Share(STREAM, 0, None)].in_flight == 1
    assert summed(found.shares.values()) == found.totals


def test_a_ledger_that_has_a_table_in_lower_case_means_the_same_table() -> None:
    """Older versions wrote the name as the contract does."""
    world = World(partitions=1)
    world.produce({"order_id": "a", "amount": 1})
    world.loader().run(3)
    (row,) = world.account.ledger
    world.account.ledger[:] = [replace(row, table=row.table.lower())]
    assert world.audit().balanced
