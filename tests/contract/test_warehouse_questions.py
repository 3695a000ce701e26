"""What Snowflake's documentation leaves open, as we assume it: the stand-in and an account agree.

The loader does not depend on the first two; the tests say how.
"""

import datetime as dt
from pathlib import Path
from typing import Any

from pydantic import BaseModel, JsonValue

from consumers.loading.batching import Batch, Span
from consumers.loading.load_plan import plan_load
from schemas import table
from schemas.contract import Contract
from schemas.events import LoadPlan, Partition
from schemas.sql import literal
from services.adapters.snowflake import SnowflakeWarehouse
from services.adapters.snowflake.copying import Copied, write_parquet
from tests.support.real_snowflake import AnyPlace
from tests.support.warehouse import TABLE, TOPIC, plan, span
from tests.unit.test_table import HOME, loading

P0 = Partition(TOPIC, 0)
NOW = 1_795_000_000_000_000
WORK = plan(span(0, 0, 3, epoch=1))


def staged(session: SnowflakeWarehouse, work: LoadPlan, folder: Path) -> None:
    """The plan's file where its COPY looks for it."""
    path = literal(write_parquet(work, folder).as_uri())
    session.rows(f"PUT {path} {work.stage_path} AUTO_COMPRESS=FALSE OVERWRITE=TRUE")


def copied(session: SnowflakeWarehouse, work: LoadPlan) -> Copied:
    return Copied.of([tuple(row.values()) for row in session.rows(work.copy_sql)])


def ids(session: SnowflakeWarehouse) -> list[int]:
    return [int(row["id"]) for row in session.rows(f"SELECT ID FROM {TABLE} ORDER BY ID")]


def test_what_copy_remembers_of_a_file_is_rolled_back_with_its_transaction(
    any_place: AnyPlace, tmp_path: Path
) -> None:
    session = any_place.ready()
    staged(session, WORK, tmp_path)
    session.execute("BEGIN")
    assert copied(session, WORK) == Copied(3, skipped=False)
    session.execute("ROLLBACK")
    assert ids(session) == []
    assert copied(session, WORK) == Copied(3, skipped=False)
    assert ids(session) == [0, 1, 2]


def test_a_load_after_a_copy_that_was_rolled_back_is_whole_whatever_copy_remembers(
    any_place: AnyPlace, tmp_path: Path
) -> None:
    session = any_place.ready()
    session.claim({P0: 0})
    staged(session, WORK, tmp_path)
    session.execute("BEGIN")
    copied(session, WORK)
    session.execute("ROLLBACK")
    assert session.load(WORK).error is None
    assert ids(session) == [0, 1, 2]


def test_a_file_that_was_loaded_before_is_skipped_by_its_single_path(
    any_place: AnyPlace, tmp_path: Path
) -> None:
    """A row that says LOAD_SKIPPED, or one column that says that no file was processed."""
    session = any_place.ready()
    staged(session, WORK, tmp_path)
    copied(session, WORK)
    (row,) = session.rows(WORK.copy_sql)
    said = row["status"] if "file" in row else str(*row.values())
    assert said in {"LOAD_SKIPPED", "Copy executed with 0 files processed."}
    assert Copied.of([tuple(row.values())]) == Copied(0, skipped=True)
    assert ids(session) == [0, 1, 2]


class Reading(BaseModel):
    """What a Parquet file has no type for, or several."""

    payload: JsonValue
    placed: dt.datetime
    day: dt.date
    hour: dt.time


READINGS: list[dict[str, Any]] = [
    {
        "payload": {"a": {"b": [1, "x", None]}},
        "placed": "2026-01-31T08:00:00.000001Z",
        "day": "2026-01-31",
        "hour": "23:59:59.999999",
    },
    {
        "payload": "text",
        "placed": "1969-12-31T23:59:59.999999+01:00",
        "day": "1969-12-31",
        "hour": "00:00:00",
    },
]
INSIDE = """
SELECT PAYLOAD:a.b[0]::NUMBER AS NUMBER, PAYLOAD:a.b[1]::VARCHAR AS TEXT,
  PLACED IN ('2026-01-31 08:00:00.000001'::TIMESTAMP_NTZ,
    '1969-12-31 22:59:59.999999'::TIMESTAMP_NTZ) AS PLACED,
  DAY IN ('2026-01-31'::DATE, '1969-12-31'::DATE) AS DAY,
  HOUR IN ('23:59:59.999999'::TIME, '00:00:00'::TIME) AS HOUR,
  _LOADED_AT = '2026-11-18 11:06:40'::TIMESTAMP_NTZ AS LOADED
FROM SHOP_ORDERS ORDER BY _OFFSET
"""


def test_json_and_times_of_our_files_are_what_sql_means_by_them(any_place: AnyPlace) -> None:
    contract = Contract(stream=TOPIC, model=Reading)
    stream, run = loading(contract, READINGS)
    batch = Batch(contract.topic, 0)
    batch.grow(stream.judge([run], {HOME: None}), {HOME: Span(0, len(READINGS), 1)}, 0)
    session = any_place.session()
    session.ensure_ledger()
    session.execute(table.create_table(contract))
    session.claim({HOME: 0})
    assert session.load(plan_load(batch, contract, NOW)).error is None
    same = dict.fromkeys(("placed", "day", "hour", "loaded"), True)
    assert session.rows(INSIDE) == [
        {"number": 1, "text": "x", **same},
        {"number": None, "text": None, **same},
    ]
