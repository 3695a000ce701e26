"""The ledger in the warehouse: its creation, new partitions, and COPY's own memory."""

import hashlib
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import BaseModel

from consumers import ledger
from schemas.contract import Contract
from schemas.errors import FencedError, SetupError, TransientError
from schemas.events import Claim, LoadPlan, Partition
from services.adapters.snowflake import SnowflakeWarehouse
from services.adapters.snowflake.copying import write_parquet
from services.setup.apply import Changes, apply_tables
from services.setup.doctor import Level
from services.setup.doctor_outside import check_ledger
from services.setup.table_columns import columns_there, misfits
from tests.support.real_snowflake import AnyPlace
from tests.support.warehouse import TABLE, TOPIC, plan, span

P0 = Partition(TOPIC, 0)
IDS = f"SELECT ID FROM {TABLE} ORDER BY ID"


@pytest.fixture
def place(any_place: AnyPlace) -> AnyPlace:
    return any_place


def test_the_ledger_is_created_once(place: AnyPlace) -> None:
    session = place.session()
    session.ensure_ledger()
    before = len(place.statements)
    session.ensure_ledger()
    again = place.statements[before:]
    assert [text for text in again if not text.startswith(("SELECT", "SHOW"))] == []
    assert session.rows(ledger.LOCK_ROWS_SQL) == [{"n": 1}]


def test_what_is_missing_is_created(place: AnyPlace) -> None:
    session = place.ready()
    session.claim({P0: 4})
    session.execute(f"DROP TABLE {ledger.LEDGER}")
    session.ensure_ledger()
    assert session.rows("SELECT COUNT(*) AS N FROM SLUICE_LEDGER") == [{"n": 0}]
    assert session.claim({P0: 0}) == {P0: Claim(2, 4)}


def test_a_new_partition_is_inserted_once_however_many_claim_it(place: AnyPlace) -> None:
    place.ready()
    starts = {Partition(TOPIC, number): 0 for number in range(3)}
    epochs: list[int] = []

    def claim() -> None:
        session = place.session()
        for _ in range(50):
            try:
                epochs.append(session.claim(starts)[P0].epoch)
            except TransientError:  # somebody else was first
                continue
            return

    threads = [threading.Thread(target=claim) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(epochs) == [1, 2, 3, 4]
    rows = place.session().rows("SELECT PART, EPOCH FROM SLUICE_OFFSETS ORDER BY PART")
    assert rows == [{"part": number, "epoch": 4} for number in range(3)]
    place.statements.clear()  # those of several threads: not a transaction's order


def test_a_partition_with_two_rows_is_a_setup_error(place: AnyPlace) -> None:
    session = place.ready()
    session.claim({P0: 0})
    session.execute(ledger.claim_insert({P0: 5}))
    with pytest.raises(SetupError, match="more than one row"):
        session.claim({P0: 0})
    rows = session.rows("SELECT EPOCH FROM SLUICE_OFFSETS")
    assert rows == [{"epoch": 1}, {"epoch": 1}]


def test_without_its_lock_row_no_new_partition_is_claimed(place: AnyPlace) -> None:
    session = place.ready()
    session.execute(f"DELETE FROM {ledger.LOCKS}")
    with pytest.raises(SetupError, match="sluice apply"):
        session.claim({P0: 0})
    session.ensure_ledger()
    assert session.claim({P0: 0}) == {P0: Claim(1, 0)}


def copied_behind_the_ledgers_back(place: AnyPlace) -> LoadPlan:
    """COPY knows the file of the answered plan; the offsets do not."""
    session = place.ready()
    session.claim({P0: 0})
    work = plan(span(0, 0, 3, epoch=1))
    session.load(work)
    session.execute("UPDATE SLUICE_OFFSETS SET NEXT_OFFSET = 0")
    session.execute("DELETE FROM SLUICE_LEDGER")
    return work


def test_a_file_that_copy_knows_but_nobody_has_is_forced(place: AnyPlace) -> None:
    work = copied_behind_the_ledgers_back(place)
    session = place.sessions[0]
    session.execute(f"DELETE FROM {TABLE}")
    session.load(work)
    assert session.rows(IDS) == [{"id": number} for number in range(3)]
    assert session.claim({P0: 0}) == {P0: Claim(2, 3)}
    assert place.statements.count(f"{work.copy_sql} FORCE=TRUE") == 1


def test_rows_that_the_offsets_deny_stop_the_load(place: AnyPlace) -> None:
    work = copied_behind_the_ledgers_back(place)
    session = place.sessions[0]
    with pytest.raises(SetupError, match="holds 3 rows of batch"):
        session.load(work)
    assert session.rows(IDS) == [{"id": number} for number in range(3)]
    assert session.claim({P0: 0}) == {P0: Claim(2, 0)}


def test_a_table_that_does_not_fit_is_a_setup_error_and_nothing_stays(place: AnyPlace) -> None:
    session = place.ready()
    session.claim({P0: 0})
    session.execute(f"ALTER TABLE {TABLE} DROP COLUMN ID")
    with pytest.raises(SetupError):
        session.load(plan(span(0, 0, 3, epoch=1)))
    assert session.rows("SELECT COUNT(*) AS N FROM SLUICE_LEDGER") == [{"n": 0}]
    session.execute(f"ALTER TABLE {TABLE} ADD COLUMN ID NUMBER(38,0)")
    session.load(plan(span(0, 0, 3, epoch=1)))
    assert session.rows(IDS) == [{"id": number} for number in range(3)]


@pytest.mark.parametrize("column", ["TOPIC_ID", "FILE_SHA256"])
def test_a_ledger_of_an_older_version_stops_loaders_until_apply_has_run(
    place: AnyPlace, column: str
) -> None:
    session = place.ready()
    session.claim({P0: 0})
    session.execute(f"ALTER TABLE SLUICE_LEDGER DROP COLUMN {column}")
    assert told_by_doctor(session, column) == [
        f"SLUICE_LEDGER.{column} is missing: no loader works"
    ]
    with pytest.raises(SetupError, match="sluice apply"):
        load_once(session)
    standing = session.rows("SELECT NEXT_OFFSET FROM SLUICE_OFFSETS")
    assert standing == [{"next_offset": 0}]
    assert session.rows("SELECT COUNT(*) AS N FROM SLUICE_LEDGER") == [{"n": 0}]
    changes = Changes()
    apply_tables(session, {}, changes)
    assert changes.done == [f"ALTER TABLE SLUICE_LEDGER ADD COLUMN {column} VARCHAR"]
    assert told_by_doctor(session, column) == []
    load_once(session)
    (row,) = session.rows("SELECT TOPIC_ID, FILE_SHA256 FROM SLUICE_LEDGER")
    assert row["topic_id"] == "id-1"
    assert len(row["file_sha256"]) == 64


def load_once(session: SnowflakeWarehouse) -> None:
    """As a loader: claim, then load."""
    epoch = session.claim({P0: 0})[P0].epoch
    session.load(plan(replace(span(0, 0, 3, epoch=epoch), topic_id="id-1")))


def told_by_doctor(session: SnowflakeWarehouse, column: str) -> list[str]:
    """What the pre-flight check says of a ledger column."""
    there = columns_there(session)
    found = [each for name in ledger.TABLES for each in check_ledger(session, name, there[name])]
    assert all("sluice apply" in each.remedy for each in found if column in each.what)
    return [each.what for each in found if each.level is Level.FAILED]


def test_a_batch_without_rows_has_no_file_and_no_checksum(place: AnyPlace) -> None:
    session = place.ready()
    session.claim({P0: 0})
    session.load(plan(span(0, 0, 3, epoch=1, loaded=0)))
    (row,) = session.rows("SELECT FILE, FILE_SHA256, QUERY_ID FROM SLUICE_LEDGER")
    assert row == {"file": None, "file_sha256": None, "query_id": None}


def test_the_file_of_a_load_can_be_discarded(place: AnyPlace) -> None:
    session = place.ready()
    session.claim({P0: 0})
    first, second = plan(span(0, 0, 3, epoch=1)), plan(span(0, 3, 5, epoch=1))
    session.load(first)
    session.load(second)
    for _ in range(2):
        session.discard(first)
        names = [row["name"] for row in session.rows("LIST @SLUICE_STAGE")]
        assert names == [f"sluice_stage/{TOPIC}/{second.file}"]
    session.discard(plan(span(0, 5, 8, epoch=1, loaded=0)))


def test_a_load_whose_file_was_discarded_puts_it_there_again(place: AnyPlace) -> None:
    session = place.ready()
    session.claim({P0: 0})
    work = plan(span(0, 0, 3, epoch=1))
    session.load(work)
    session.discard(work)
    with pytest.raises(FencedError):
        session.load(work)
    assert session.rows(f"SELECT COUNT(*) AS N FROM {TABLE}") == [{"n": 3}]


def test_the_ledger_row_is_what_the_plan_said(place: AnyPlace, tmp_path: Path) -> None:
    session = place.ready()
    session.claim({P0: 0})
    work = plan(span(0, 0, 3, epoch=1, loaded=2))
    receipt = session.load(work)
    (row,) = session.rows("SELECT * FROM SLUICE_LEDGER")
    assert row["query_id"] == receipt.query_id
    content = write_parquet(work, tmp_path).read_bytes()
    assert row["file_sha256"] == hashlib.sha256(content).hexdigest()
    assert row["business_dates"] == '{"2026-01-01":2}'
    assert (row["events"], row["loaded"], row["duplicates"], row["dead"]) == (3, 2, 1, 0)
    assert row["first_source_at"] is None
    assert row["opened_at"] < row["closed_at"] < row["last_source_at"] < row["committed_at"]


class Article(BaseModel):
    """A text that must be there, and one that may be null."""

    name: str
    colour: str | None = None


def test_a_column_that_somebody_made_narrower_or_not_null_is_told(place: AnyPlace) -> None:
    session = place.ready()
    contract = Contract(stream="shop.articles", model=Article)
    apply_tables(session, {contract.stream: contract}, Changes())
    assert list(misfits(contract, columns_there(session)["SHOP_ARTICLES"])) == []
    session.execute("ALTER TABLE SHOP_ARTICLES ALTER COLUMN NAME SET DATA TYPE VARCHAR(2)")
    session.execute("ALTER TABLE SHOP_ARTICLES ALTER COLUMN COLOUR SET NOT NULL")
    assert list(misfits(contract, columns_there(session)["SHOP_ARTICLES"])) == [
        "SHOP_ARTICLES.NAME is VARCHAR(2), the contract says VARCHAR",
        "SHOP_ARTICLES.COLOUR is NOT NULL, the contract allows null",
    ]
