"""A project whose books are worth damaging, and where its ledger rows are."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from consumers import ledger
from schemas.dead_letters import TABLE as DEAD_LETTERS
from schemas.errors import RejectReason, Stage
from schemas.events import Rejection, Violation
from tests.support.orders import ORDERS_TABLE, loaded, produce
from tests.support.project import ORDERS, Site, standing, until
from tests.support.senders import Fate, order

ROUNDS = 5
DEAD = f"{ORDERS}.dead"
KEPT = (ORDERS_TABLE, DEAD_LETTERS, ledger.LEDGER, ledger.OFFSETS)
Range = tuple[str, int, int, int]  # topic, partition, first, after


@dataclass(frozen=True)
class Row:
    """One ledger row."""

    topic: str
    part: int
    first: int
    after: int
    batch: str

    @property
    def range(self) -> Range:
        return self.topic, self.part, self.first, self.after

    def part_of(self, first: int, after: int) -> Range:
        return self.topic, self.part, first, after

    @property
    def where(self) -> str:
        return f"BATCH = '{self.batch}' AND PART = {self.part}"

    @property
    def rows(self) -> str:
        return f"_BATCH = '{self.batch}' AND _PARTITION = {self.part}"


def fill(site: Site) -> None:
    """The first batch holds broken events only, so that its ledger rows speak of no rows."""
    with site.up("loader"):
        site.produce(*(order(f"broken-{n}", Fate.JUDGE) for n in range(6)))
        until(lambda: site.count(DEAD_LETTERS) == 6, 20, "the first dead letters")
        for number in range(ROUNDS):
            made = produce(site, 600)
            site.produce(*(order(name) for name in made[:20]))  # once more
            site.produce(*(order(f"bad-{number}-{n}", Fate.JUDGE) for n in range(6)))
            site.publish(*site.project.dead_letters.records([refused(f"refused-{number}")]))
            loaded(site, made, 20)
        wanted = 6 + 7 * ROUNDS
        until(lambda: site.count(DEAD_LETTERS) == wanted, 20, "all dead letters")
        until(lambda: site.audit().totals.in_flight == 0, 20, "nothing in flight")


def refused(name: str) -> Rejection:
    """An event that the gateway could not encode."""
    violation = Violation("$.amount", RejectReason.WRONG_TYPE, "a text")
    return Rejection(ORDERS, Stage.ENCODE, (violation,), b"{}", event_id=name, source="shop")


def rows_of(site: Site, topic: str = ORDERS, part: int = 0) -> list[Row]:
    """A partition's ledger rows, in order."""
    found = site.rows(
        f"SELECT TOPIC, PART, FIRST_OFFSET, NEXT_OFFSET, BATCH FROM {ledger.LEDGER} "
        f"WHERE TOPIC = '{topic}' AND PART = {part} ORDER BY FIRST_OFFSET"
    )
    return [
        Row(r["topic"], int(r["part"]), int(r["first_offset"]), int(r["next_offset"]), r["batch"])
        for r in found
    ]


def extent(site: Site, row: Row) -> Range:
    """From the first of a batch's rows in the table to its last."""
    sql = f"SELECT MIN(_OFFSET) AS LO, MAX(_OFFSET) AS HI FROM {ORDERS_TABLE} WHERE {row.rows}"
    found = site.rows(sql)[0]
    return row.part_of(int(found["lo"]), int(found["hi"]) + 1)


@contextmanager
def kept_site(folder: Path) -> Iterator[Site]:
    """Some thousand events in several batches, with repeats and dead letters, all loaded."""
    with standing(folder / "project") as site:
        fill(site)
        keep(site)
        yield site


def keep(site: Site) -> None:
    """Copies of what may be damaged."""
    for table in KEPT:
        site.execute(f"CREATE TABLE {table}_KEPT AS SELECT * FROM {table}")


@contextmanager
def damaged(site: Site, *statements: str) -> Iterator[None]:
    """What the statements do, undone afterwards."""
    try:
        for statement in statements:
            assert site.execute(statement) > 0, f"touches nothing: {statement}"
        yield
    finally:
        for table in KEPT:
            site.execute(f"DELETE FROM {table}")
            site.execute(f"INSERT INTO {table} SELECT * FROM {table}_KEPT")


def row_at(site: Site, row: Row) -> str:
    """Where exactly one row of a batch is."""
    return f"{row.rows} AND _OFFSET = {extent(site, row)[2]}"
