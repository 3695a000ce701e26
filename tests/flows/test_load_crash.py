"""Kill the loader before every effect in turn: nothing is lost, nothing doubled."""

import random

import polars as pl
import pytest

from schemas.events import Partition
from tests.support.world import STREAM, Crash, World

DEAD = Partition(STREAM + ".dead", 0)


def story(world: World) -> None:
    """What the sources send: orders, repeats, broken ones."""
    for n in range(12):
        world.produce({"order_id": f"o{n}", "amount": 1.0})
        if n % 3 == 0:
            world.produce({"order_id": f"o{n}", "amount": 1.0})
        if n % 4 == 0:
            world.produce({"order_id": f"bad{n}", "amount": -1.0})


EXPECTED = sorted(f"o{n}" for n in range(12))


def live(world: World, seconds: float) -> None:
    """Loaders, one after the other, each until it dies or the time is over."""
    end = world.clock.monotonic() + seconds
    while world.clock.monotonic() < end:
        loader = world.loader()
        try:
            loader.run(end - world.clock.monotonic())
        except Crash:
            crash_at, world.journal.crash_at = world.journal.crash_at, None
            loader.log.close()  # the group notices that it is gone
            world.journal.crash_at = crash_at


def effects_of_a_quiet_run() -> int:
    world = World()
    story(world)
    live(world, 6)
    assert world.loaded() == EXPECTED
    return len(world.journal)


@pytest.mark.parametrize("crash_at", range(1, effects_of_a_quiet_run() + 1))
def test_a_crash_at_any_effect_loses_nothing_and_doubles_nothing(crash_at: int) -> None:
    world = World()
    story(world)
    world.journal.crash_at = crash_at
    live(world, 8)
    assert world.loaded() == EXPECTED
    books = world.audit()
    assert books.balanced, books.findings
    assert books.totals.dead == 3
    assert books.totals.duplicate == 4


def narrow_world() -> World:
    """Its table does not take some of the orders; the contract does."""
    world = World(partitions=1)
    world.account.refused["SHOP_ORDERS"] = pl.col("amount") >= 100
    for n in range(6):
        world.produce({"order_id": f"o{n}", "amount": 1.0})
        if n % 2 == 0:
            world.produce({"order_id": f"large{n}", "amount": 100.0 + n})
        if n == 3:
            world.produce({"order_id": "bad", "amount": -1.0})
    return world


def effects_of_a_quiet_diversion() -> int:
    world = narrow_world()
    live(world, 6)
    names = world.journal.names
    assert {"probe", "publish", "copy", "commit"} <= set(names)
    assert world.loaded() == [f"o{n}" for n in range(6)]
    return len(names)


@pytest.mark.parametrize("crash_at", range(1, effects_of_a_quiet_diversion() + 1))
def test_a_crash_at_any_effect_of_a_diversion_loses_nothing_and_doubles_nothing(
    crash_at: int,
) -> None:
    world = narrow_world()
    world.journal.crash_at = crash_at
    live(world, 9)
    assert world.loaded() == [f"o{n}" for n in range(6)]
    dead = world.account.table("SLUICE_DEAD_LETTERS")
    places = dead.select("origin_offset", "stage").sort("origin_offset").rows()
    assert places == [(1, "load"), (4, "load"), (6, "judge"), (8, "load")]
    keys = [message.key() for message in world.broker.logs[DEAD].messages]
    assert len(set(keys)) == 4, "a repeat has the identity of the first"
    books = world.audit()
    assert books.balanced, books.findings
    assert (books.totals.accepted, books.totals.dead) == (10, 4)


@pytest.mark.parametrize("seed", range(20))
def test_many_crashes_in_a_row_lose_nothing_and_double_nothing(seed: int) -> None:
    draw = random.Random(seed)
    world = World()
    for n in range(60):
        world.produce({"order_id": f"o{draw.randrange(40)}", "amount": draw.choice([1.0, -1.0])})
        if n % 5 == 0:
            world.journal.crash_at = len(world.journal) + draw.randrange(1, 25)
            live(world, 0.7)
    world.journal.crash_at = None
    live(world, 6)
    ids = world.loaded()
    assert len(ids) == len(set(ids))
    books = world.audit()
    assert books.balanced, books.findings
    assert books.totals.accepted == 60
