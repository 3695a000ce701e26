"""What every Warehouse promises: in memory, on the embedded stand-in, on a real account."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import polars as pl
import pytest

from schemas.errors import FencedError, RefusedError, TransientError
from schemas.events import Claim, LoadPlan, Partition
from schemas.ports import Warehouse
from services.adapters.memory_warehouse import (
    MemoryWarehouse,
    Step,
    WarehouseFault,
    WarehouseState,
)
from services.adapters.snowflake import SnowflakeWarehouse
from tests.support.real_snowflake import ACCOUNT, EMBEDDED, AnyPlace, RealPlace, opened
from tests.support.warehouse import TABLE, TOPIC, plan, span, table_ddl

IDS_SQL = f"SELECT ID FROM {TABLE} ORDER BY ID"
P0, P1, P2 = (Partition(TOPIC, number) for number in range(3))


class World(Protocol):
    """A warehouse, and ways to look at it that are not the port's."""

    def session(self) -> Warehouse: ...
    def ids(self) -> list[int]: ...
    def standing(self, partition: Partition) -> Claim: ...
    def ledger(self) -> list[tuple[str, int, int, int, int, int]]: ...
    def lose_the_reply_to_the_next_commit(self) -> None: ...
    def refuse_the_next_commit(self) -> None: ...
    def narrow(self) -> None: ...


@dataclass
class MemoryWorld:
    state: WarehouseState = field(default_factory=WarehouseState)

    def session(self) -> Warehouse:
        return MemoryWarehouse(self.state)

    def ids(self) -> list[int]:
        frame = self.state.table(TABLE)
        return sorted(frame["id"].to_list()) if frame.height else []

    def standing(self, partition: Partition) -> Claim:
        return self.state.offsets[partition]

    def ledger(self) -> list[tuple[str, int, int, int, int, int]]:
        rows = [(row.batch, row.range) for row in self.state.ledger]
        return sorted((b, r.partition.number, r.first, r.after, r.loaded, r.epoch) for b, r in rows)

    def lose_the_reply_to_the_next_commit(self) -> None:
        self.state.faults.append(WarehouseFault(Step.COMMIT, after=True))

    def refuse_the_next_commit(self) -> None:
        self.state.faults.append(WarehouseFault(Step.COMMIT))

    def narrow(self) -> None:
        """The table takes no id of 1,000 or more any more."""
        self.state.refused[TABLE] = pl.col("id") >= 1_000


@dataclass
class SqlWorld:
    place: AnyPlace
    looker: SnowflakeWarehouse = field(init=False)

    def __post_init__(self) -> None:
        self.looker = self.place.ready()

    def session(self) -> Warehouse:
        return self.place.session()

    def ids(self) -> list[int]:
        return [int(row["id"]) for row in self.look(IDS_SQL)]

    def standing(self, partition: Partition) -> Claim:
        rows = self.look(
            f"SELECT NEXT_OFFSET, EPOCH FROM SLUICE_OFFSETS WHERE "
            f"TOPIC = '{partition.topic}' AND PART = {partition.number}"
        )
        assert len(rows) == 1
        return Claim(int(rows[0]["epoch"]), int(rows[0]["next_offset"]))

    def ledger(self) -> list[tuple[str, int, int, int, int, int]]:
        rows = self.look("SELECT * FROM SLUICE_LEDGER ORDER BY BATCH, PART")
        numbers = ("part", "first_offset", "next_offset", "loaded", "epoch")
        return [(row["batch"], *(int(row[name]) for name in numbers)) for row in rows]

    def lose_the_reply_to_the_next_commit(self) -> None:
        # the connector repeats a request whose answer was lost, so all of them are
        self.place.faults({"match": "^COMMIT", "action": "drop_reply", "times": 1000})

    def refuse_the_next_commit(self) -> None:
        self.place.faults({"match": "^COMMIT", "action": "drop_request", "times": 1000})

    def narrow(self) -> None:
        self.looker.execute(f"DROP TABLE {TABLE}")
        self.looker.execute(table_ddl().replace("ID NUMBER(38,0)", "ID NUMBER(3,0)"))

    def look(self, sql: str) -> list[dict[str, Any]]:
        self.place.faults()
        return self.looker.rows(sql)


@pytest.fixture(params=["memory", EMBEDDED, ACCOUNT])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    if request.param == "memory":
        yield MemoryWorld()
        return
    with opened(request.param) as place:
        yield SqlWorld(place)


def load(session: Warehouse, work: LoadPlan) -> None:
    receipt = session.load(work)
    assert receipt.error is None
    assert (receipt.batch, receipt.topic) == (work.batch, work.topic)
    assert (receipt.bytes > 0) == (work.rows > 0)


def test_a_first_claim_starts_where_it_is_told_with_epoch_one(world: World) -> None:
    assert world.session().claim({P0: 0, P1: 7}) == {P0: Claim(1, 0), P1: Claim(1, 7)}


def test_a_second_claim_raises_the_epoch_and_keeps_the_offset(world: World) -> None:
    world.session().claim({P0: 5})
    assert world.session().claim({P0: 0, P1: 3}) == {P0: Claim(2, 5), P1: Claim(1, 3)}


def test_a_claim_tells_which_topic_was_loaded_last(world: World) -> None:
    session = world.session()
    assert session.claim({P0: 0, P1: 0}) == {P0: Claim(1, 0), P1: Claim(1, 0)}
    for first, topic_id in ((0, "zz"), (2, "aa")):
        load(session, plan(replace(span(0, first, first + 2, epoch=1), topic_id=topic_id)))
    load(session, plan(span(1, 0, 2, epoch=1)))
    assert session.claim({P0: 0, P1: 0}) == {P0: Claim(2, 4, "aa"), P1: Claim(2, 2)}


def test_nothing_is_claimed_without_partitions(world: World) -> None:
    assert world.session().claim({}) == {}


def test_a_load_moves_rows_ledger_and_offsets_together(world: World) -> None:
    session = world.session()
    session.claim({P0: 10})
    work = plan(span(0, 10, 14, epoch=1))
    load(session, work)
    assert world.ids() == [10, 11, 12, 13]
    assert world.standing(P0) == Claim(1, 14)
    assert world.ledger() == [(work.batch, 0, 10, 14, 4, 1)]


def test_loads_follow_each_other_in_one_session(world: World) -> None:
    session = world.session()
    session.claim({P0: 0})
    load(session, plan(span(0, 0, 3, epoch=1)))
    load(session, plan(span(0, 3, 5, epoch=1)))
    assert world.ids() == [0, 1, 2, 3, 4]
    assert world.standing(P0) == Claim(1, 5)


def test_one_plan_covers_several_partitions(world: World) -> None:
    session = world.session()
    session.claim({P0: 0, P1: 0, P2: 100})
    work = plan(span(0, 0, 2, epoch=1), span(1, 0, 1, epoch=1), span(2, 100, 103, epoch=1))
    load(session, work)
    assert world.ids() == [0, 1, 1_000_000, 2_000_100, 2_000_101, 2_000_102]
    assert [row[1:4] for row in world.ledger()] == [(0, 0, 2), (1, 0, 1), (2, 100, 103)]
    assert world.standing(P2) == Claim(1, 103)


def test_a_batch_without_rows_still_moves_ledger_and_offsets(world: World) -> None:
    session = world.session()
    session.claim({P0: 0})
    work = plan(span(0, 0, 9, epoch=1, loaded=0))
    load(session, work)
    assert world.ids() == []
    assert world.standing(P0) == Claim(1, 9)
    assert world.ledger() == [(work.batch, 0, 0, 9, 0, 1)]


def test_rows_that_the_table_refuses_are_told_and_nothing_is_loaded(world: World) -> None:
    session = world.session()
    session.claim({P0: 998, P1: 0})
    world.narrow()
    work = plan(span(0, 998, 1_003, epoch=1), span(1, 0, 2, epoch=1))
    with pytest.raises(RefusedError) as caught:
        session.load(work)
    assert caught.value.rows == (2, 3, 4, 5, 6)
    assert caught.value.column == "ID"
    assert world.ids() == []
    assert world.ledger() == []
    assert world.standing(P0) == Claim(1, 998)


def test_the_others_are_loaded_under_the_same_claim(world: World) -> None:
    session = world.session()
    session.claim({P0: 998})
    world.narrow()
    with pytest.raises(RefusedError) as caught:
        session.load(plan(span(0, 998, 1_003, epoch=1)))
    work = plan(span(0, 998, 1_003, epoch=1, loaded=2))
    load(session, replace(work, file=work.file, refused=len(caught.value.rows)))
    assert world.ids() == [998, 999]
    assert world.standing(P0) == Claim(1, 1_003)
    assert world.ledger() == [(work.batch, 0, 998, 1_003, 2, 1)]


def test_a_zombie_whose_heir_has_loaded_what_fits_is_fenced(world: World) -> None:
    zombie, heir = world.session(), world.session()
    zombie.claim({P0: 998})
    heir.claim({P0: 998})
    world.narrow()
    rest = plan(span(0, 998, 1_003, epoch=2, loaded=2))
    copy_sql = rest.copy_sql.replace(rest.file, "rest.parquet")
    load(heir, replace(rest, file="rest.parquet", copy_sql=copy_sql))
    with pytest.raises(FencedError):
        zombie.load(plan(span(0, 998, 1_003, epoch=1)))
    assert world.ids() == [998, 999]


def test_where_no_row_fits_all_are_told(world: World) -> None:
    session = world.session()
    session.claim({P0: 1_000})
    world.narrow()
    with pytest.raises(RefusedError) as caught:
        session.load(plan(span(0, 1_000, 1_003, epoch=1)))
    assert caught.value.rows == (0, 1, 2)


def test_a_zombie_is_fenced_and_leaves_nothing_behind(world: World) -> None:
    zombie, heir = world.session(), world.session()
    zombie.claim({P0: 0})
    heir.claim({P0: 0})
    with pytest.raises(FencedError):
        zombie.load(plan(span(0, 0, 4, epoch=1)))
    assert world.ids() == []
    assert world.ledger() == []
    assert world.standing(P0) == Claim(2, 0)
    load(heir, plan(span(0, 0, 4, epoch=2)))
    assert world.ids() == [0, 1, 2, 3]


def test_a_zombie_with_the_very_batch_that_its_heir_has_loaded_is_fenced(world: World) -> None:
    zombie, heir = world.session(), world.session()
    zombie.claim({P0: 0})
    heir.claim({P0: 0})
    load(heir, plan(span(0, 0, 4, epoch=2)))
    with pytest.raises(FencedError):
        zombie.load(plan(span(0, 0, 4, epoch=1)))
    assert world.ids() == [0, 1, 2, 3]


def test_one_stale_partition_fences_the_whole_batch(world: World) -> None:
    mine, other = world.session(), world.session()
    mine.claim({P0: 0, P1: 0})
    other.claim({P1: 0})
    with pytest.raises(FencedError):
        mine.load(plan(span(0, 0, 2, epoch=1), span(1, 0, 2, epoch=1)))
    assert world.ids() == []
    assert world.standing(P0) == Claim(1, 0)


def test_the_same_batch_twice_is_fenced_the_second_time(world: World) -> None:
    session = world.session()
    session.claim({P0: 0})
    work = plan(span(0, 0, 4, epoch=1))
    load(session, work)
    with pytest.raises(FencedError):
        session.load(work)
    assert world.ids() == [0, 1, 2, 3]
    assert len(world.ledger()) == 1


def test_a_gap_is_fenced(world: World) -> None:
    session = world.session()
    session.claim({P0: 0})
    with pytest.raises(FencedError):
        session.load(plan(span(0, 5, 9, epoch=1)))
    assert world.ids() == []


def test_sessions_on_disjoint_partitions_do_not_disturb_each_other(world: World) -> None:
    one, two = world.session(), world.session()
    one.claim({P0: 0})
    two.claim({P1: 0})
    load(one, plan(span(0, 0, 2, epoch=1)))
    load(two, plan(span(1, 0, 2, epoch=1)))
    load(one, plan(span(0, 2, 3, epoch=1)))
    assert world.ids() == [0, 1, 2, 1_000_000, 1_000_001]


def test_a_fenced_session_works_again_after_a_claim(world: World) -> None:
    one, two = world.session(), world.session()
    one.claim({P0: 0})
    two.claim({P0: 0})
    with pytest.raises(FencedError):
        one.load(plan(span(0, 0, 2, epoch=1)))
    assert one.claim({P0: 0}) == {P0: Claim(3, 0)}
    load(one, plan(span(0, 0, 2, epoch=3)))
    assert world.ids() == [0, 1]


@pytest.fixture
def faulty(world: World) -> World:
    if isinstance(world, SqlWorld) and isinstance(world.place, RealPlace):
        pytest.skip("a real account has no fault injection")
    return world


def test_a_commit_whose_reply_is_lost_is_known_after_the_next_claim(faulty: World) -> None:
    session = faulty.session()
    session.claim({P0: 0})
    faulty.lose_the_reply_to_the_next_commit()
    with pytest.raises(TransientError):
        session.load(plan(span(0, 0, 3, epoch=1)))
    assert faulty.ids() == [0, 1, 2]
    assert session.claim({P0: 0}) == {P0: Claim(2, 3)}
    load(session, plan(span(0, 3, 4, epoch=2)))
    assert faulty.ids() == [0, 1, 2, 3]
    assert len(faulty.ledger()) == 2


def test_a_commit_that_never_arrived_is_known_after_the_next_claim(faulty: World) -> None:
    session = faulty.session()
    session.claim({P0: 0})
    faulty.refuse_the_next_commit()
    with pytest.raises(TransientError):
        session.load(plan(span(0, 0, 3, epoch=1)))
    assert faulty.ids() == []
    claims = eventually_claimed(session)
    assert claims[P0].next_offset == 0
    load(session, plan(span(0, 0, 3, epoch=claims[P0].epoch)))
    assert faulty.ids() == [0, 1, 2]
    assert len(faulty.ledger()) == 1


def eventually_claimed(session: Warehouse) -> dict[Partition, Claim]:
    """The dead transaction may hold its rows until the warehouse misses its client."""
    for _ in range(100):
        try:
            return dict(session.claim({P0: 0}))
        except TransientError:
            continue
    pytest.fail("never claimed")
