"""The stand-in's behaviours that fakesnow alone does not have: one test each."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from schemas.errors import SetupError, TransientError
from services.adapters.snowflake.connection import connector_major, embedded_arguments
from services.adapters.snowflake.session import Session
from services.settings import Snowflake
from tests.support.warehouse import DATABASE, Place, shared_server

pytestmark = [pytest.mark.embedded, pytest.mark.enable_socket]

FORMAT = "FILE_FORMAT=(TYPE=PARQUET USE_LOGICAL_TYPE=TRUE)"
BY_NAME = f"{FORMAT} MATCH_BY_COLUMN_NAME=CASE_INSENSITIVE"


class Sql:
    """A session that answers with rows."""

    def __init__(self, schema: str, **settings: int) -> None:
        self.server = shared_server()
        given = Snowflake(embedded=True, database=DATABASE, schema=schema, **settings)
        self.session = Session(lambda: embedded_arguments(given, self.server.connection))

    def __call__(self, statement: str) -> list[tuple[object, ...]]:
        return list(self.session.run(statement, "test").rows)

    def touched(self, statement: str) -> int:
        return self.session.run(statement, "test").touched


@pytest.fixture
def place() -> Iterator[Place]:
    place = Place(shared_server())
    yield place
    place.faults()


@pytest.fixture
def sessions(place: Place) -> Iterator[Callable[..., Sql]]:
    made: list[Sql] = []

    def make(**settings: int) -> Sql:
        made.append(Sql(place.schema, **settings))
        return made[-1]

    yield make
    for each in made:
        each.session.drop(roll_back=False)


@pytest.fixture
def sql(sessions: Callable[..., Sql]) -> Sql:
    return sessions()


@pytest.fixture
def staged(sql: Sql, tmp_path: Path) -> Callable[[str, list[int]], str]:
    """Stages a Parquet file with a column ``a``; creates the stage S and the table T."""
    sql("CREATE STAGE IF NOT EXISTS S")
    sql("CREATE TABLE T (A NUMBER(38,0) NOT NULL)")

    def stage(name: str, values: list[int], *, overwrite: bool = True) -> str:
        pl.DataFrame({"a": values}, {"a": pl.Int64}).write_parquet(tmp_path / name)
        put = f"PUT 'file://{tmp_path / name}' @S/d/ AUTO_COMPRESS=FALSE OVERWRITE={overwrite}"
        return str(sql(put)[0][6])

    return stage


def statuses(rows: list[tuple[object, ...]]) -> list[object]:
    return [row[1] for row in rows]


def test_a_null_timestamp_stays_null(sql: Sql) -> None:
    stamps = sql("SELECT NULL::TIMESTAMP_NTZ, '2026-01-02 03:04:05.000006'::TIMESTAMP_NTZ")
    assert stamps[0][0] is None
    assert str(stamps[0][1]) == "2026-01-02 03:04:05.000006"


def test_parse_json_keeps_the_digits_of_numbers(sql: Sql) -> None:
    text = '{"a":0.12345678901234567890123456789,"b":[12345678901234567890.5],"c":"x"}'
    assert sql(f"SELECT PARSE_JSON('{text}')::VARCHAR, PARSE_JSON(NULL)") == [(text, None)]


def test_integers_of_thirty_eight_digits_are_exact_and_small_ones_are_ints(sql: Sql) -> None:
    most = 10**38 - 1
    sql("CREATE TABLE T (A NUMBER(38,0), B INTEGER)")
    sql(f"INSERT INTO T VALUES (7, 7), (NULL, NULL), ({-(2**63)}, 1)")
    assert sql("SELECT A, B, A + B, A * 2, A = B FROM T WHERE A = 7") == [(7, 7, 14, 14, True)]
    assert [type(value) for value in sql("SELECT A, B FROM T WHERE A = 7")[0]] == [int, int]
    assert sql("SELECT MIN(A), MAX(A), COUNT(A) FROM T") == [(-(2**63), 7, 2)]
    sql(f"INSERT INTO T VALUES ({most}, 0), ({-most}, 0)")
    assert sql("SELECT A FROM T WHERE B = 0 ORDER BY A") == [(-most,), (most,)]
    assert sql(f"SELECT B FROM T WHERE A = {most}") == [(0,)]
    with pytest.raises(SetupError):
        sql(f"INSERT INTO T VALUES ({most + 1}, 0)")


def test_parse_json_refuses_what_is_none(sql: Sql) -> None:
    with pytest.raises(SetupError):
        sql("SELECT PARSE_JSON('{bad')")


def test_several_statements_at_once_are_refused_and_none_is_run(sql: Sql) -> None:
    sql("CREATE TABLE kept (a INT)")
    sql("INSERT INTO kept VALUES (1)")
    with pytest.raises(SetupError, match="2 statements at once"):
        sql("SELECT 1; DELETE FROM kept")
    assert sql("SELECT ';', a FROM kept; -- one") == [(";", 1)]


def test_copy_loads_the_files_that_files_names(sql: Sql, staged: Callable[..., str]) -> None:
    for name, value in (("a.parquet", 1), ("b.parquet", 2), ("c.parquet", 3)):
        staged(name, [value])
    rows = sql(f"COPY INTO T FROM @S/d/ FILES=('a.parquet','c.parquet') {BY_NAME}")
    assert statuses(rows) == ["LOADED", "LOADED"]
    assert sql("SELECT A FROM T ORDER BY A") == [(1,), (3,)]


def test_force_false_and_purge_false_are_not_true(sql: Sql, staged: Callable[..., str]) -> None:
    staged("a.parquet", [1])
    copy = f"COPY INTO T FROM @S/d/a.parquet {BY_NAME} FORCE=FALSE PURGE=FALSE"
    assert statuses(sql(copy)) == ["LOADED"]
    assert statuses(sql(copy)) == ["LOAD_SKIPPED"]
    assert statuses(sql(copy.replace("FORCE=FALSE", "FORCE=TRUE"))) == ["LOADED"]
    assert sql("SELECT COUNT(*) FROM T") == [(2,)]


def test_truncate_forgets_what_was_loaded(sql: Sql, staged: Callable[..., str]) -> None:
    staged("a.parquet", [1])
    copy = f"COPY INTO T FROM @S/d/a.parquet {BY_NAME}"
    sql(copy)
    sql("TRUNCATE TABLE T")
    assert statuses(sql(copy)) == ["LOADED"]
    sql("DELETE FROM T")
    assert statuses(sql(copy)) == ["LOAD_SKIPPED"]


def test_create_if_not_exists_remembers_what_was_loaded(
    sql: Sql, staged: Callable[..., str]
) -> None:
    staged("a.parquet", [1])
    copy = f"COPY INTO T FROM @S/d/a.parquet {BY_NAME}"
    sql(copy)
    sql("CREATE TABLE IF NOT EXISTS T (A NUMBER(38,0))")
    assert statuses(sql(copy)) == ["LOAD_SKIPPED"]


def test_a_rolled_back_copy_may_be_loaded_again(sql: Sql, staged: Callable[..., str]) -> None:
    staged("a.parquet", [1])
    copy = f"COPY INTO T FROM @S/d/a.parquet {BY_NAME}"
    sql("BEGIN")
    sql(copy)
    sql("ROLLBACK")
    assert statuses(sql(copy)) == ["LOADED"]
    assert sql("SELECT COUNT(*) FROM T") == [(1,)]


def test_a_copy_of_several_files_is_all_or_nothing(
    sql: Sql, staged: Callable[..., str], tmp_path: Path
) -> None:
    staged("a.parquet", [1])
    pl.DataFrame({"a": [2, None]}, {"a": pl.Int64}).write_parquet(tmp_path / "b.parquet")
    sql(f"PUT 'file://{tmp_path}/b.parquet' @S/d/ AUTO_COMPRESS=FALSE OVERWRITE=TRUE")
    with pytest.raises(SetupError):
        sql(f"COPY INTO T FROM @S/d/ {BY_NAME}")
    assert sql("SELECT COUNT(*) FROM T") == [(0,)]
    assert statuses(sql(f"COPY INTO T FROM @S/d/a.parquet {BY_NAME}")) == ["LOADED"]


def test_copy_of_nothing_answers_one_column(sql: Sql, staged: Callable[..., str]) -> None:
    del staged
    assert sql(f"COPY INTO T FROM @S/none/ {BY_NAME}") == [
        ("Copy executed with 0 files processed.",)
    ]


def test_a_field_may_be_called_like_a_keyword(sql: Sql, tmp_path: Path) -> None:
    sql("CREATE STAGE S")
    sql('CREATE TABLE T ("ORDER" VARCHAR)')
    pl.DataFrame({"order": ["x"]}).write_parquet(tmp_path / "o.parquet")
    sql(f"PUT 'file://{tmp_path}/o.parquet' @S/ AUTO_COMPRESS=FALSE OVERWRITE=TRUE")
    select = 'SELECT $1:"order"::VARCHAR FROM @S/o.parquet'
    sql(f'COPY INTO T ("ORDER") FROM ({select}) {FORMAT}')
    assert sql('SELECT "ORDER" FROM T') == [("x",)]


def test_merge_works_inside_a_transaction(sql: Sql) -> None:
    sql("CREATE TABLE T (A NUMBER(38,0), B VARCHAR)")
    sql("INSERT INTO T (A, B) VALUES (1, 'old')")
    sql("BEGIN")
    sql(
        "MERGE INTO T USING (SELECT 1 AS A, 'new' AS B) S ON T.A = S.A "
        "WHEN MATCHED THEN UPDATE SET B = S.B"
    )
    sql("COMMIT")
    assert sql("SELECT A, B FROM T") == [(1, "new")]


def test_begin_inside_a_transaction_does_nothing(sql: Sql) -> None:
    sql("CREATE TABLE T (A NUMBER(38,0))")
    sql("BEGIN")
    sql("INSERT INTO T (A) VALUES (1)")
    sql("BEGIN")
    sql("ROLLBACK")
    assert sql("SELECT COUNT(*) FROM T") == [(0,)]


def test_commit_after_a_failed_statement_is_an_error(sql: Sql) -> None:
    connection = shared_connection(sql)
    cursor = connection.cursor()
    cursor.execute("CREATE TABLE T (A NUMBER(38,0) NOT NULL)")
    cursor.execute("BEGIN")
    cursor.execute("INSERT INTO T (A) VALUES (1)")
    with pytest.raises(Exception, match="100072"):
        cursor.execute("INSERT INTO T (A) VALUES (NULL)")
    with pytest.raises(Exception, match="000625"):
        cursor.execute("COMMIT")
    assert sql("SELECT COUNT(*) FROM T") == [(0,)]


def shared_connection(sql: Sql) -> Any:
    """The connection below a session, with an error leaving it as it is."""
    sql("SELECT 1")
    return sql.session._connection


def test_remove_deletes_by_prefix(sql: Sql, staged: Callable[..., str]) -> None:
    for name in ("a1.parquet", "a2.parquet", "b.parquet"):
        staged(name, [1])
    assert len(sql("REMOVE @S/d/a")) == 2
    assert [row[0] for row in sql("LIST @S")] == ["s/d/b.parquet"]
    assert sql("REMOVE @S/d/none") == []


@pytest.mark.skipif(connector_major() < 5, reason="connector 4 overwrites all the same")
def test_put_without_overwrite_keeps_the_file_that_is_there(
    sql: Sql, staged: Callable[..., str]
) -> None:
    assert staged("a.parquet", [1], overwrite=False) == "UPLOADED"
    assert staged("a.parquet", [2], overwrite=False) == "SKIPPED"
    sql(f"COPY INTO T FROM @S/d/a.parquet {BY_NAME}")
    assert sql("SELECT A FROM T") == [(1,)]


def test_put_with_overwrite_replaces_it(sql: Sql, staged: Callable[..., str]) -> None:
    assert staged("a.parquet", [1]) == "UPLOADED"
    assert staged("a.parquet", [2]) == "UPLOADED"
    sql(f"COPY INTO T FROM @S/d/a.parquet {BY_NAME}")
    assert sql("SELECT A FROM T") == [(2,)]


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER SESSION SET QUERY_TAG = 'x'",
        "ALTER WAREHOUSE W SUSPEND",
        "GRANT USAGE ON DATABASE D TO ROLE R",
        "USE SECONDARY ROLES ALL",
        "CREATE ROLE IF NOT EXISTS R",
        "ALTER TABLE T SET DATA_RETENTION_TIME_IN_DAYS = 1",
    ],
)
def test_account_statements_do_nothing(sql: Sql, statement: str) -> None:
    assert sql(statement) == [("Statement executed successfully.",)]


def test_a_value_that_does_not_fit_is_an_error_and_no_http_500(sql: Sql) -> None:
    sql("CREATE TABLE T (A NUMBER(38,0))")
    began = time.monotonic()
    with pytest.raises(SetupError, match="100"):
        sql("INSERT INTO T (A) VALUES (123456789012345678901234567890123456789)")
    with pytest.raises(TransientError, match="000603"):
        sql("COPY INTO T FROM @S PATTERN='.*'")  # fakesnow alone answers HTTP 500
    assert time.monotonic() - began < 10


def test_conflicting_updates_fail_at_once(sessions: Callable[..., Sql]) -> None:
    one, two = sessions(), sessions()
    one("CREATE TABLE T (A NUMBER(38,0))")
    one("INSERT INTO T (A) VALUES (1)")
    one("BEGIN")
    two("BEGIN")
    one("UPDATE T SET A = 2")
    with pytest.raises(TransientError, match="40001"):
        two("UPDATE T SET A = 3")
    one("COMMIT")
    assert one("SELECT A FROM T") == [(2,)]


def test_closing_a_session_rolls_back(sessions: Callable[..., Sql]) -> None:
    one, two = sessions(), sessions()
    one("CREATE TABLE T (A NUMBER(38,0))")
    one("INSERT INTO T (A) VALUES (1)")
    one("BEGIN")
    one("UPDATE T SET A = 2")
    one.session.drop(roll_back=False)
    assert two.touched("UPDATE T SET A = A + 10") == 1
    assert two("SELECT A FROM T") == [(11,)]


def test_an_idle_transaction_is_rolled_back(sessions: Callable[..., Sql]) -> None:
    dead, heir = sessions(), sessions()
    dead("CREATE TABLE T (A NUMBER(38,0))")
    dead("INSERT INTO T (A) VALUES (1)")
    dead("BEGIN")
    dead("UPDATE T SET A = 2")  # and nothing more is heard of it
    with pytest.raises(TransientError):
        heir("UPDATE T SET A = 3")
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            heir("UPDATE T SET A = 3")
            break
        except TransientError:
            time.sleep(0.2)
    assert heir("SELECT A FROM T") == [(3,)]


def test_old_results_are_forgotten(sql: Sql) -> None:
    first = sql.session.run("SELECT 1 AS A", "test").query_id
    again = f"SELECT * FROM TABLE(RESULT_SCAN('{first}'))"
    assert sql(again) == [(1,)]
    for _ in range(20):
        sql("SELECT 2")
    with pytest.raises((SetupError, TransientError)):
        sql(again)


def test_a_lost_reply_is_answered_again_without_running_twice(place: Place, sql: Sql) -> None:
    sql("CREATE TABLE T (A NUMBER(38,0))")
    place.faults({"match": "^INSERT", "action": "unavailable_after"})
    sql("INSERT INTO T (A) VALUES (1)")  # the connector asks again, with the same request id
    assert sql("SELECT COUNT(*) FROM T") == [(1,)]


def test_an_unavailable_warehouse_is_asked_again(place: Place, sql: Sql) -> None:
    sql("CREATE TABLE T (A NUMBER(38,0))")
    place.faults({"match": "^INSERT", "action": "unavailable", "times": 2})
    sql("INSERT INTO T (A) VALUES (1)")
    assert sql("SELECT COUNT(*) FROM T") == [(1,)]


@pytest.mark.parametrize("action", ["throttled", "token_expired"])
def test_a_throttled_request_and_an_expired_token_are_no_matter(
    place: Place, sql: Sql, action: str
) -> None:
    """The connector asks again, or for another token, within the open transaction."""
    sql("CREATE TABLE T (A NUMBER(38,0))")
    sql("BEGIN")
    place.faults(*({"match": match, "action": action} for match in ("^INSERT", "^COMMIT")))
    sql("INSERT INTO T (A) VALUES (1)")
    sql("COMMIT")
    assert sql("SELECT COUNT(*) FROM T") == [(1,)]


def test_a_session_that_has_ended_takes_its_transaction_along(place: Place, sql: Sql) -> None:
    sql("CREATE TABLE T (A NUMBER(38,0))")
    sql("BEGIN")
    sql("INSERT INTO T (A) VALUES (1)")
    place.faults({"match": "^COMMIT", "action": "session_gone"})
    with pytest.raises(TransientError):
        sql("COMMIT")
    assert sql("SELECT COUNT(*) FROM T") == [(0,)]


def test_a_warehouse_that_hangs_is_given_up(place: Place, sessions: Callable[..., Sql]) -> None:
    slow = sessions(network_timeout_seconds=1, lock_timeout_seconds=1)
    slow("SELECT 1")
    place.faults({"match": "SELECT 2", "action": "delay", "seconds": 20, "times": 10})
    began = time.monotonic()
    with pytest.raises(TransientError):
        slow("SELECT 2")
    assert time.monotonic() - began < 10
    assert slow("SELECT 3") == [(3,)]
