"""The audit over a loader in memory: by hour, and from where the last one ended."""

from consumers.books import Share, summed
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
