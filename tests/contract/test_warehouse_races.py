"""Two sessions race for the same range of a partition: one commits, and the books say which.

``RACES_SEED`` (1) says in which orders, and where the sessions pause on their way.
"""

import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Any

import pytest

from schemas.errors import FencedError, TransientError
from schemas.events import Claim, Partition
from schemas.ports import Warehouse
from services.adapters.memory_warehouse import WarehouseState
from tests.contract.test_warehouse import MemoryWorld, SqlWorld, World
from tests.support.warehouse import TOPIC, Place, plan, shared_server, span

SEED = int(os.environ.get("RACES_SEED", "1"))
RACES_A_WORLD = 20
PARTITIONS = 3
ROWS_MAX = 4
PAUSES_SECONDS = (0.0, 0.0, 0.0002, 0.001)
TRIES_MAX = 100
EMBEDDED = (pytest.mark.embedded, pytest.mark.enable_socket, pytest.mark.timeout(1500))


class Order(StrEnum):
    """Who does what when."""

    FREE = "both claim and load at once"
    CLAIMS_FIRST = "both claim, then both load at once"
    BETWEEN = "one claims while the other is on its way from claim to load"
    LATE = "a zombie loads after its heir"


class Pauses:
    """Stops whoever comes by for a moment, now and then."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw

    def __call__(self) -> None:
        time.sleep(self._draw.choice(PAUSES_SECONDS))


class Trace(list[Any]):
    """A list of effects or statements; each is a moment at which the other may come between."""

    def __init__(self, pause: Pauses) -> None:
        super().__init__()
        self._pause = pause

    def append(self, item: object) -> None:
        super().append(item)
        self._pause()


class SlowLock:
    """A lock before which there is time for somebody else."""

    def __init__(self, pause: Pauses) -> None:
        self._pause = pause
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._pause()
        self._lock.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._lock.release()


@dataclass
class Racer:
    """A session that wants one range, and tries again after every conflict."""

    name: str
    session: Warehouse
    epoch: int = 0
    conflicts: int = 0

    def claim(self, part: int, first: int) -> None:
        for _ in range(TRIES_MAX):
            try:
                claims = self.session.claim({Partition(TOPIC, part): first})
            except TransientError:
                self.conflicts += 1
                continue
            self.epoch = claims[Partition(TOPIC, part)].epoch
            return
        pytest.fail(f"{self.name} never claimed")

    def load(self, part: int, first: int, after: int) -> bool:
        """Whether it was this session that committed the range."""
        for _ in range(TRIES_MAX):
            try:
                self.session.load(plan(span(part, first, after, self.epoch)))
            except FencedError:
                return False
            except TransientError:
                self.conflicts += 1
                continue
            return True
        pytest.fail(f"{self.name} was neither committed nor fenced")


def together(*calls: Callable[[], bool]) -> list[bool]:
    """Several calls, let go at the same moment."""
    start = threading.Barrier(len(calls), timeout=30)

    def released(call: Callable[[], bool]) -> bool:
        start.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(released, calls))


@dataclass
class Track:
    """A world with two racers, and what must be in it by now."""

    world: World
    racers: tuple[Racer, Racer]
    ends: list[int] = field(default_factory=lambda: [0] * PARTITIONS)
    ids: list[int] = field(default_factory=list)
    ledger: list[tuple[str, int, int, int, int, int]] = field(default_factory=list)
    won: Counter[str] = field(default_factory=Counter)

    def race(self, order: Order, draw: random.Random) -> None:
        """One race, the order of the two drawn; then a look at rows, ledger and offsets."""
        part, rows = draw.randrange(PARTITIONS), draw.randint(1, ROWS_MAX)
        first = self.ends[part]
        one, two = draw.sample(self.racers, 2)
        committed = self._run(order, (one, two), (part, first, first + rows))
        assert sum(committed) == 1, f"{order}: {committed}"
        winner = one if committed[0] else two
        assert order is not Order.LATE or winner is two
        self.won[winner.name] += 1
        self._expect(winner.epoch, part, rows)
        self._check(Claim(max(one.epoch, two.epoch), first + rows), part)

    @staticmethod
    def _run(
        order: Order, racers: tuple[Racer, Racer], place: tuple[int, int, int]
    ) -> tuple[bool, ...]:
        one, two = racers
        part, first, _ = place

        def whole(racer: Racer) -> bool:
            racer.claim(part, first)
            return racer.load(*place)

        if order is Order.FREE:
            return tuple(together(lambda: whole(one), lambda: whole(two)))
        one.claim(part, first)
        if order is Order.BETWEEN:
            return tuple(together(lambda: one.load(*place), lambda: whole(two)))
        two.claim(part, first)
        if order is Order.CLAIMS_FIRST:
            return tuple(together(lambda: one.load(*place), lambda: two.load(*place)))
        heir = two.load(*place)
        return one.load(*place), heir

    def _expect(self, epoch: int, part: int, rows: int) -> None:
        first, after = self.ends[part], self.ends[part] + rows
        work = plan(span(part, first, after, epoch))
        self.ids += work.frame["id"].to_list()
        self.ledger.append((work.batch, part, first, after, rows, epoch))
        self.ends[part] = after

    def _check(self, standing: Claim, part: int) -> None:
        assert self.world.ids() == sorted(self.ids)
        assert sorted(self.world.ledger()) == sorted(self.ledger)
        assert self.world.standing(Partition(TOPIC, part)) == standing


@contextmanager
def in_memory(pause: Pauses) -> Iterator[Track]:
    state = WarehouseState(journal=Trace(pause), lock=SlowLock(pause))
    world = MemoryWorld(state)
    yield Track(world, (Racer("a", world.session()), Racer("b", world.session())))


@contextmanager
def embedded(pause: Pauses) -> Iterator[Track]:
    looks = Place(shared_server())
    world = SqlWorld(looks)
    places = [Place(looks.server, looks.schema, Trace(pause)) for _ in range(2)]
    a, b = (place.session() for place in places)
    try:
        yield Track(world, (Racer("a", a), Racer("b", b)))
    finally:
        for place in (looks, *places):
            place.close()


@pytest.mark.parametrize(
    ("tracks", "races"),
    [
        pytest.param(in_memory, 500, id="memory"),
        pytest.param(embedded, 20, id="embedded", marks=EMBEDDED),
        pytest.param(embedded, 500, id="embedded-many", marks=(*EMBEDDED, pytest.mark.slow)),
    ],
)
def test_of_two_sessions_that_race_for_a_range_one_commits_and_the_books_agree(
    tracks: Callable[[Pauses], Any], races: int, capsys: pytest.CaptureFixture[str]
) -> None:
    draw = random.Random(SEED)
    orders, won, conflicts = Counter[Order](), Counter[str](), 0
    for _ in range(races // RACES_A_WORLD):
        with tracks(Pauses(random.Random(draw.random()))) as track:
            for order in draw.sample(list(Order) * (RACES_A_WORLD // len(Order)), RACES_A_WORLD):
                track.race(order, draw)
                orders[order] += 1
            won += track.won
            conflicts += sum(racer.conflicts for racer in track.racers)
    with capsys.disabled():
        sys.stdout.write(f"  {orders.total()} races, won {dict(won)}, {conflicts} conflicts\n")
    assert orders == dict.fromkeys(Order, races // len(Order))
    assert min(won.values()) > races // 10  # no race at all if it were always the same
