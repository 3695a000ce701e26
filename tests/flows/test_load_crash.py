"""Kill the loader before every effect in turn: nothing is lost, nothing doubled."""

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import polars as pl
import pytest
from _pytest.mark import ParameterSet

from consumers.loading.batching import FlushPolicy
from consumers.loading.loader import LoadPolicy
from schemas.events import Partition
from services.adapters.memory_keys import MemoryStores
from tests.support.conservation import all_loaded, require_exact
from tests.support.world import STREAM, Crash, Loader, World

DEAD = Partition(STREAM + ".dead", 0)
SMALL = LoadPolicy(FlushPolicy(3, 10**9, 0.3), 5, 0.05)
TURNS_MAX = 400
ALL = 1_000  # looks: every load that waits


@dataclass(frozen=True)
class Life:
    """How loaders live, one after the other."""

    late: int = 0  # looks for an answer before a load begins: it works beside the reading
    forgets: bool = False  # the next one is on another machine, where no keys are
    stops_after: int = 0  # turns of the first one before SIGTERM; 0: it is not stopped
    outlived_by: int | None = None  # turns of the next one until a dead one's loads are done


LIVES = {
    "at once": Life(),
    "keys lost": Life(forgets=True),
    "beside": Life(late=3),
    "nobody has claimed": Life(late=3, forgets=True, outlived_by=0),
    "next has claimed": Life(late=3, outlived_by=4),
    "drain": Life(stops_after=6),
    "drain, a load under way": Life(late=4, stops_after=8, forgets=True),
}


def live(world: World, life: Life, first: Loader | None = None) -> None:
    """Loaders, one after the other, each until it dies or all is loaded."""
    loader, dead, turns = first or started(world, life), None, 0
    for _ in range(TURNS_MAX):
        if dead is not None and turns == life.outlived_by:
            with world.journal.aside():
                dead.lanes.work(ALL)
        if loader.state.idle and all_loaded(world):
            break
        try:
            turns += 1
            loader.turn()
        except Crash:
            dead, loader, turns = loader, successor(world, life, loader), 0
    assert all_loaded(world), "nobody loads the rest"
    with world.journal.aside():
        loader.log.close()


def started(world: World, life: Life) -> Loader:
    loader = world.loader()
    loader.lanes.late = life.late
    return loader


def successor(world: World, life: Life, dead: Loader) -> Loader:
    """The group notices that one is gone; another is started."""
    with world.journal.aside():
        dead.log.close()
    if life.forgets:
        world.disk = MemoryStores()
    return started(world, life)


def lived(world: World, life: Life, crash_at: int | None = None) -> World:
    """The world after so many moments, a kill, and all that the next ones had to do.

    Of a loader that is stopped the moments count from the signal on.
    """
    loader = started(world, life)
    loader.turn(life.stops_after)
    world.journal.moments = 0
    world.journal.crash_at = crash_at
    if life.stops_after:
        assert not loader.state.idle, "nothing to be drained"
        with suppress(Crash):
            loader.drain()
        world.journal.crash_at = None
        loader = successor(world, life, loader)
    live(world, life, loader)
    return world


def moments(made: Callable[[], World], *names: str) -> list[ParameterSet]:
    """Every moment of every life at which a process can be killed."""
    found = []
    for name in names or LIVES:
        life = LIVES[name]
        journal = lived(made(), life).journal
        found += [pytest.param(life, n + 1, id=f"{name}-{n + 1}") for n in range(journal.moments)]
    return found


def many_batches() -> World:
    """Orders, broken ones, and repeats of what was loaded before."""
    world = World(partitions=1, policy=SMALL)
    for number in (0, 1, -1, 1, 2, 0, 3, 4, -4, 2):
        name, amount = f"o{number}", 1.0 if number >= 0 else -1.0
        world.produce({"order_id": name, "amount": amount})
    return world


@pytest.mark.parametrize(("life", "crash_at"), moments(many_batches))
def test_a_crash_at_any_moment_loses_nothing_and_doubles_nothing(life: Life, crash_at: int) -> None:
    world = lived(many_batches(), life, crash_at)
    assert world.loaded() == [f"o{n}" for n in range(5)]
    books = world.audit()
    assert books.balanced, books.findings
    assert (books.totals.accepted, books.totals.duplicate, books.totals.dead) == (10, 3, 2)


def narrow_world() -> World:
    """Its table does not take some of the orders; the contract does."""
    world = World(partitions=1, policy=LoadPolicy(FlushPolicy(1000, 10**9, 0.3), 100, 0.05))
    world.account.refused["SHOP_ORDERS"] = pl.col("amount") >= 100
    for n in range(6):
        world.produce({"order_id": f"o{n}", "amount": 1.0})
        if n % 2 == 0:
            world.produce({"order_id": f"large{n}", "amount": 100.0 + n})
        if n == 3:
            world.produce({"order_id": "bad", "amount": -1.0})
    return world


def test_a_diversion_goes_through_all_its_effects() -> None:
    world = lived(narrow_world(), Life())
    assert {"probe", "publish", "copy", "commit"} <= set(world.journal.names)


@pytest.mark.parametrize(("life", "crash_at"), moments(narrow_world, "at once", "drain"))
def test_a_crash_at_any_moment_of_a_diversion_loses_nothing_and_doubles_nothing(
    life: Life, crash_at: int
) -> None:
    world = lived(narrow_world(), life, crash_at)
    assert world.loaded() == [f"o{n}" for n in range(6)]
    dead = world.account.table("SLUICE_DEAD_LETTERS")
    places = dead.select("origin_offset", "stage").sort("origin_offset").rows()
    assert places == [(1, "load"), (4, "load"), (6, "judge"), (8, "load")]
    keys = [message.key() for message in world.broker.logs[DEAD].messages]
    assert len(set(keys)) == 4, "a repeat has the identity of the first"
    books = world.audit()
    assert books.balanced, books.findings
    assert (books.totals.accepted, books.totals.dead) == (10, 4)


@pytest.mark.parametrize("seed", range(12))
def test_many_crashes_in_a_row_lose_nothing_and_double_nothing(seed: int) -> None:
    draw = random.Random(seed)
    world = World()
    sent: set[str] = set()
    for n in range(40):
        name, amount = f"o{draw.randrange(25)}", draw.choice([1.0, -1.0])
        sent |= {name} if amount > 0 else set()
        world.produce({"order_id": name, "amount": amount})
        if n % 8 == 0:
            world.journal.crash_at = world.journal.moments + draw.randrange(1, 25)
            live(world, draw.choice(list(LIVES.values())))
    world.journal.crash_at = None
    live(world, Life())
    assert world.loaded() == sorted(sent)
    require_exact(world)
    books = world.audit()
    assert books.balanced, books.findings
    assert books.totals.accepted == 40
