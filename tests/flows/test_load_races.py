"""Two loaders on one partition, their turns interleaved at random: one commits each range.

A race is a load that came too late: the fence turned it away, as the other had claimed or loaded
the range meanwhile.
"""

import random
from dataclasses import dataclass, field

import pytest

from consumers.loading.batching import FlushPolicy
from consumers.loading.loader import LoadPolicy
from services.adapters.memory_keys import MemoryStores
from tests.support.conservation import require_conserved
from tests.support.world import Crash, Loader, World

RACES = 500
PARTS = 10
PARTS_AT_ONCE = 4  # the others come with `make faults`
WORLDS_MAX = 20  # of a part
ACTS = 100
ALL = 1_000  # looks: every load that waits
BUSY = {"turn": 20, "send": 4, "wait": 3, "answer": 2, "rebalance": 1, "kill": 1}


@pytest.fixture(autouse=True)
def conserved() -> None:
    """Each race proves its own books."""


@dataclass
class Race:
    """The world, its two loaders, and those that were killed while the warehouse works for them."""

    seed: int
    dead: list[Loader] = field(default_factory=list)
    sent: set[str] = field(default_factory=set)
    turning: int = 0

    def __post_init__(self) -> None:
        self.draw = random.Random(self.seed)
        rows, messages = self.draw.choice([2, 5, 1000]), self.draw.choice([2, 7])
        policy = LoadPolicy(FlushPolicy(rows, 10**9, 0.2), messages, 0.02)
        self.world = World(partitions=1, policy=policy)
        # of one group they take turns, of two both believe that the partition is theirs alone
        self.groups = ("one", self.draw.choice(["one", "two", "two", "two"]))
        self.disks = [MemoryStores(), MemoryStores()]
        self.loaders = [self.started(0), self.started(1)]
        self.world.journal.meanwhile = self.meanwhile

    def started(self, which: int) -> Loader:
        self.world.disk = self.disks[which]
        loader = self.world.loader(self.groups[which])
        loader.lanes.late = self.draw.choice([0, 0, 2, 5])
        return loader

    def turn(self, which: int) -> None:
        before, self.turning = self.turning, which
        try:
            self.loaders[which].turn()
        except Crash:
            self.replace(which)
        finally:
            self.turning = before

    def replace(self, which: int) -> None:
        """Killed: the warehouse may go on with what it has been told."""
        with self.world.journal.aside():
            self.loaders[which].log.close()
        self.dead.append(self.loaders[which])
        if self.draw.random() < 0.5:
            self.disks[which] = MemoryStores()
        self.loaders[which] = self.started(which)

    def meanwhile(self) -> None:
        """Between two effects of the one, the other turns: what the warehouse locks is not asked."""
        if self.world.account.lock.locked() or self.draw.random() > 0.3:
            return
        journal = self.world.journal
        journal.meanwhile = None
        self.turn(1 - self.turning)
        journal.meanwhile = self.meanwhile

    def act(self) -> None:
        which, journal = self.draw.randrange(2), self.world.journal
        match self.draw.choices(list(BUSY), list(BUSY.values()))[0]:
            case "turn":
                self.turn(which)
            case "send":
                self.send()
            case "wait":
                self.world.clock.sleep(self.draw.choice([0.1, 0.3, 1.0]))
            case "answer":  # at last, to one that may be dead
                with journal.aside():
                    self.draw.choice([*self.loaders, *self.dead]).lanes.work(ALL)
            case "rebalance":  # which the loader hears of when it polls
                self.loaders[which].log.lose_partitions()
            case "kill":
                journal.crash_at = journal.moments + self.draw.randrange(1, 12)

    def send(self) -> None:
        for _ in range(self.draw.randrange(1, 4)):
            name, good = f"o{self.draw.randrange(60)}", self.draw.random() < 0.8
            self.world.produce({"order_id": name, "amount": 1.0 if good else -1.0})
            self.sent |= {name} if good else set()

    def run(self) -> None:
        self.send()
        for _ in range(ACTS):
            self.act()
        require_conserved(self.world)
        assert self.world.loaded() == sorted(self.sent)


@pytest.mark.parametrize(
    "part",
    [pytest.param(n, marks=() if n < PARTS_AT_ONCE else pytest.mark.slow) for n in range(PARTS)],
)
def test_of_two_loaders_on_one_partition_one_commits_each_range(part: int) -> None:
    lost = 0
    for seed in range(part * WORLDS_MAX, (part + 1) * WORLDS_MAX):
        race = Race(seed)
        try:
            race.run()
        except AssertionError as error:
            error.add_note(f"seed {seed}")
            raise
        lost += int(race.world.metrics.total("load_fences_lost"))
        if lost >= RACES // PARTS:
            return
    pytest.fail(f"only {lost} races: the two hardly meet")
