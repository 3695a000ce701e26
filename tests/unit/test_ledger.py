"""The ledger's SQL: text and values."""

from dataclasses import replace

import pytest
import sqlglot
from sqlglot import exp

from consumers import ledger
from schemas.errors import UnclaimableError
from schemas.events import Claim, OffsetRange, Partition
from tests.support.sql_lint import lint

T0, T1, U0 = Partition("t", 0), Partition("t", 1), Partition("u's", 0)
RANGE = OffsetRange(T0, 10, 20, events=10, loaded=7, duplicates=2, dead=1, epoch=3)
OTHER = OffsetRange(T1, 0, 5, events=5, loaded=5, duplicates=0, dead=0, epoch=4)
FACTS = ledger.BatchFacts("b", "T", "f.parquet", opened_at=1, closed_at=2)


def test_every_statement_has_forms_that_mean_the_same_everywhere() -> None:
    statements = [
        *ledger.TABLES.values(),
        ledger.STAGE_DDL,
        ledger.STAGE_SQL,
        ledger.TABLES_SQL,
        ledger.topic_ids_select([T0, T1, U0]),
        ledger.LOCK_ROWS_SQL,
        ledger.LOCK_INSERT_SQL,
        "BEGIN",
        ledger.claim_update([T0, T1, U0]),
        ledger.claim_select([T0]),
        ledger.LOCK_SQL,
        ledger.claim_insert({T0: 1, U0: 2}),
        "COMMIT",
        "BEGIN",
        ledger.ledger_insert(FACTS, [ledger.RangeFacts(RANGE, 9)]),
        ledger.fence_update([RANGE, OTHER], "b"),
        "COMMIT",
        ledger.batch_rows("t", "b"),
    ]
    assert lint(statements) == []


def test_a_claim_asks_for_all_partitions_at_once_with_topics_quoted() -> None:
    assert ledger.claim_select([U0, T1, T0]) == (
        "SELECT TOPIC, PART, NEXT_OFFSET, EPOCH FROM SLUICE_OFFSETS "
        "WHERE (TOPIC = 't' AND PART IN (0, 1)) OR (TOPIC = 'u''s' AND PART IN (0))"
    )


def test_a_claim_writes_every_column_that_a_fence_writes() -> None:
    written = [
        {column.name for column in assigned(sql)}
        for sql in (ledger.claim_update([T0]), ledger.fence_update([RANGE], "b"))
    ]
    assert written[0] == written[1] == {"NEXT_OFFSET", "EPOCH", "BATCH", "UPDATED_AT"}


def assigned(sql: str) -> list[exp.Expression]:
    update = sqlglot.parse_one(sql, read="snowflake")
    assert isinstance(update, exp.Update)
    return [assignment.this for assignment in update.expressions]


def test_new_partitions_start_with_epoch_one() -> None:
    assert ledger.claim_insert({T1: 7}).endswith("VALUES ('t', 1, 7, 1, NULL, SYSDATE())")


def test_claims_are_read_by_partition() -> None:
    rows = [{"topic": "t", "part": 1, "next_offset": 5, "epoch": 2}]
    assert ledger.read_claims(rows) == {T1: Claim(2, 5)}


def test_two_rows_of_a_partition_stop_it_and_name_no_other() -> None:
    rows = [{"topic": "t", "part": n % 3, "next_offset": n, "epoch": 2} for n in range(5)]
    told = r"more than one row: t/0, t/1[\s\S]*delete"
    with pytest.raises(UnclaimableError, match=told) as caught:
        ledger.read_claims(rows)
    assert caught.value.partitions == {("t", 0), ("t", 1)}


def test_a_fence_compares_offset_and_epoch_of_every_partition() -> None:
    sql = ledger.fence_update([RANGE, OTHER], "b'")
    assert "VALUES ('t', 0, 10, 20, 3), ('t', 1, 0, 5, 4)" in sql
    assert "BATCH = 'b'''" in sql
    assert sql.endswith(
        "WHERE O.TOPIC = V.TOPIC AND O.PART = V.PART "
        "AND O.NEXT_OFFSET = V.FIRST_OFFSET AND O.EPOCH = V.EPOCH"
    )


def test_a_ledger_row_says_everything_about_its_range() -> None:
    each = ledger.RangeFacts(replace(RANGE, topic_id="id-1"), 99, {"2026-01-02": 7}, None, 3)
    (row,) = values_of(ledger.ledger_insert(FACTS, [each]))
    assert row == {
        "BATCH": "'b'",
        "TOPIC": "'t'",
        "PART": "0",
        "FIRST_OFFSET": "10",
        "NEXT_OFFSET": "20",
        "EVENTS": "10",
        "LOADED": "7",
        "DUPLICATES": "2",
        "DEAD": "1",
        "BYTES": "99",
        "FILE": "'f.parquet'",
        "TARGET_TABLE": "'T'",
        "BUSINESS_DATES": "'{\"2026-01-02\":7}'",
        "EPOCH": "3",
        "OPENED_AT": "CAST('1970-01-01 00:00:00.000001' AS TIMESTAMPNTZ)",
        "CLOSED_AT": "CAST('1970-01-01 00:00:00.000002' AS TIMESTAMPNTZ)",
        "COMMITTED_AT": "SYSDATE()",
        "FIRST_SOURCE_AT": "NULL",
        "LAST_SOURCE_AT": "CAST('1970-01-01 00:00:00.000003' AS TIMESTAMPNTZ)",
        "QUERY_ID": "NULL",
        "TOPIC_ID": "'id-1'",
        "FILE_SHA256": "NULL",
    }


def test_what_the_load_alone_knows_comes_into_every_row() -> None:
    sql = ledger.ledger_insert(FACTS, [ledger.RangeFacts(each, 0) for each in (RANGE, OTHER)])
    rows = values_of(ledger.with_load_facts(sql, "q-1", "5a"))
    assert [(row["QUERY_ID"], row["FILE_SHA256"]) for row in rows] == [("'q-1'", "'5a'")] * 2
    rows = values_of(ledger.with_load_facts(sql, None, None))
    assert [(row["QUERY_ID"], row["FILE_SHA256"]) for row in rows] == [("NULL", "NULL")] * 2


def test_the_last_topic_id_of_each_partition_is_asked_for_and_read() -> None:
    sql = ledger.topic_ids_select([T1, U0])
    assert "(TOPIC = 't' AND PART IN (1)) OR (TOPIC = 'u''s' AND PART IN (0))" in sql
    rows = [
        {"topic": "t", "part": 1, "topic_id": "id-1"},
        {"topic": "u's", "part": 0, "topic_id": None},
    ]
    assert ledger.read_topic_ids(rows) == {T1: "id-1"}


def test_columns_of_older_tables_are_added_and_no_others() -> None:
    made = {name: columns_of(ddl) for name, ddl in ledger.TABLES.items()}
    assert ledger.add_columns(made) == []
    older = {**made, ledger.LEDGER: made[ledger.LEDGER] - {"TOPIC_ID", "FILE_SHA256"}}
    assert ledger.add_columns(older) == [
        "ALTER TABLE SLUICE_LEDGER ADD COLUMN TOPIC_ID VARCHAR",
        "ALTER TABLE SLUICE_LEDGER ADD COLUMN FILE_SHA256 VARCHAR",
    ]
    assert ledger.lacking({**made, ledger.LEDGER: made[ledger.LEDGER] - {"FILE_SHA256"}}) == [
        (ledger.LEDGER, "FILE_SHA256")
    ]
    assert ledger.add_columns({}) == []
    assert lint(ledger.add_columns(older)) == []


def columns_of(ddl: str) -> set[str]:
    create = sqlglot.parse_one(ddl, read="snowflake")
    return {column.name for column in create.find_all(exp.ColumnDef)}


def values_of(insert_sql: str) -> list[dict[str, str]]:
    insert = sqlglot.parse_one(insert_sql, read="snowflake")
    names = [column.name for column in insert.this.expressions]
    return [
        dict(
            zip(
                names,
                [v.sql("snowflake", comments=False) for v in row.expressions],
                strict=True,
            )
        )
        for row in insert.expression.expressions
    ]
