"""The SQL lint itself must be able to say no."""

import pytest

from tests.support.sql_lint import lint

COPY = (
    'COPY INTO T (A) FROM (SELECT $1:"a"::VARCHAR FROM @S/d/f.parquet) '
    "FILE_FORMAT=(TYPE=PARQUET USE_LOGICAL_TYPE=TRUE) ON_ERROR=ABORT_STATEMENT"
)

GOING_ON = COPY.replace("ABORT_STATEMENT", "CONTINUE") + " FORCE=TRUE"


@pytest.mark.parametrize(
    "statements",
    [
        pytest.param(
            ["PUT 'file:///a b/f.parquet' @S/d/ AUTO_COMPRESS=FALSE OVERWRITE=TRUE"], id="put"
        ),
        pytest.param(["BEGIN", COPY, "INSERT INTO L (A) VALUES (1)", "COMMIT"], id="load"),
        pytest.param([f"{COPY} FORCE=TRUE"], id="force"),
        pytest.param(["BEGIN", COPY, "ROLLBACK", "CREATE TABLE T (A VARCHAR)"], id="ddl-after"),
        pytest.param(["BEGIN", GOING_ON, "SELECT A FROM T", "ROLLBACK", "COMMIT"], id="a-look"),
        pytest.param(["REMOVE @S/d/f.parquet", "SHOW STAGES LIKE 'S'"], id="commands"),
    ],
)
def test_good_forms_pass(statements: list[str]) -> None:
    assert lint(statements) == []


@pytest.mark.parametrize(
    ("statements", "problem"),
    [
        pytest.param([f"{COPY} FORCE=FALSE"], "FORCE=FALSE", id="force"),
        pytest.param([f"{COPY} PURGE=TRUE"], "PURGE", id="purge"),
        pytest.param([COPY.replace("@S/d", "@~/d")], "user stage", id="user-stage"),
        pytest.param([COPY.replace("TYPE=PARQUET", "FORMAT_NAME=pq")], "FORMAT_NAME", id="format"),
        pytest.param([COPY.replace("USE_LOGICAL_TYPE=TRUE", "")], "USE_LOGICAL_TYPE", id="logical"),
        pytest.param([COPY.replace("ABORT_STATEMENT", "CONTINUE")], "ON_ERROR", id="on-error"),
        pytest.param([COPY.replace("INTO T", "INTO D.S.T")], "database", id="database"),
        pytest.param([COPY.replace("ABORT_STATEMENT", "SKIP_FILE")], "all or", id="skip-file"),
        pytest.param(["BEGIN", GOING_ON, "SELECT A FROM T", "COMMIT"], "COMMIT", id="a-look-kept"),
        pytest.param(["BEGIN", "CREATE TABLE T (A VARCHAR)"], "DDL", id="ddl-inside"),
        pytest.param(
            ["BEGIN", "MERGE INTO T USING S ON T.A = S.A WHEN MATCHED THEN DELETE"],
            "DDL",
            id="merge",
        ),
        pytest.param(["CREATE TABLE T (A VARCHAR PRIMARY KEY)"], "key", id="primary"),
        pytest.param(["CREATE TABLE T (A VARCHAR, UNIQUE (A))"], "key", id="unique"),
        pytest.param(["START TRANSACTION"], "BEGIN", id="start"),
        pytest.param(["PUT 'file:///f' @S/d/ OVERWRITE=TRUE"], "PUT", id="put-compressed"),
        pytest.param(["PUT 'file:///*' @S/ AUTO_COMPRESS=FALSE OVERWRITE=TRUE"], "PUT", id="glob"),
    ],
)
def test_forms_that_differ_between_the_warehouses_are_found(
    statements: list[str], problem: str
) -> None:
    found = lint(statements)
    assert len(found) == 1, found
    assert problem in found[0]
