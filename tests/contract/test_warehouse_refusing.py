"""The stand-in's COPY and rows that do not fit: ON_ERROR=CONTINUE, and texts that are too long."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from schemas.errors import SetupError
from services.adapters.snowflake import SnowflakeWarehouse
from tests.support.real_snowflake import EMBEDDED, AnyPlace, opened

FRAME = pl.DataFrame(
    {
        "a": ["x", "too long", "y", None, "z", "w"],
        "b": [1.25, 2.0, 1e6, 4.0, None, -1000.0],
        "c": ["1", "2", "3", "4", "five", "6"],
        "v": ['{"k": 1}', "null", None, "[]", "1", '"x"'],
    }
)
COLUMNS = "A VARCHAR(5) NOT NULL, B NUMBER(5,2), C NUMBER(38,0), V VARIANT, T VARCHAR"
COPY = (
    'COPY INTO T (A, B, C, V, T) FROM (SELECT $1:"a"::VARCHAR, $1:"b"::FLOAT, '
    '$1:"c"::NUMBER(38,0), PARSE_JSON($1:"v"::VARCHAR), \'t\'::VARCHAR FROM @S/d/f.parquet) '
    "FILE_FORMAT=(TYPE=PARQUET USE_LOGICAL_TYPE=TRUE) ON_ERROR="
)
GOING_ON, ALL_OR_NOTHING = f"{COPY}CONTINUE", f"{COPY}ABORT_STATEMENT"
Stage = Callable[[pl.DataFrame], SnowflakeWarehouse]


@pytest.fixture(params=[EMBEDDED])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    """On the stand-in: its own words are compared."""
    with opened(request.param) as place:
        yield staging(place, tmp_path)
        place.statements.clear()  # ON_ERROR=CONTINUE outside a transaction


@pytest.fixture
def any_stage(any_place: AnyPlace, tmp_path: Path) -> Iterator[Stage]:
    yield staging(any_place, tmp_path)
    any_place.statements.clear()


def staging(place: AnyPlace, folder: Path) -> Stage:
    """Gives a session with the table T, and the frame staged as a file."""

    def make(frame: pl.DataFrame, columns: str = COLUMNS) -> SnowflakeWarehouse:
        session = place.session()
        session.execute("CREATE STAGE IF NOT EXISTS S")
        session.execute(f"CREATE TABLE IF NOT EXISTS T ({columns})")
        frame.write_parquet(folder / "f.parquet")
        file = (folder / "f.parquet").as_uri()
        session.rows(f"PUT '{file}' @S/d/ AUTO_COMPRESS=FALSE OVERWRITE=TRUE")
        return session

    return make


def told(session: SnowflakeWarehouse, statement: str = GOING_ON) -> dict[str, Any]:
    (row,) = session.rows(statement)
    return row


def ids(session: SnowflakeWarehouse) -> list[str]:
    return [row["a"] for row in session.rows("SELECT A FROM T ORDER BY A")]


def test_what_fits_is_loaded_and_the_first_error_is_told(stage: Stage) -> None:
    session = stage(FRAME)
    row = told(session)
    assert row == {
        "file": "s/d/f.parquet",
        "status": "PARTIALLY_LOADED",
        "rows_parsed": 6,
        "rows_loaded": 1,
        "error_limit": 6,
        "errors_seen": 5,
        "first_error": "User character length limit (5) exceeded by string 'too long'",
        "first_error_line": 2,
        "first_error_character": None,
        "first_error_column_name": '"T"["A":1]',
    }
    assert session.rows("SELECT A, B, C, V:k AS K, T FROM T") == [
        {"a": "x", "b": pytest.approx(1.25), "c": 1, "k": "1", "t": "t"}
    ]


@pytest.mark.parametrize(
    ("row", "column", "error"),
    [
        (2, '"T"["B":2]', "Numeric value '1000000.0' is out of range"),
        (3, '"T"["A":1]', "NULL result in a non-nullable column"),
        (4, '"T"["C":3]', "Failed to cast variant value five to DECIMAL(38,0)"),
        (5, '"T"["B":2]', "Numeric value '-1000.0' is out of range"),
    ],
)
def test_each_kind_of_misfit_is_told(stage: Stage, row: int, column: str, error: str) -> None:
    answer = told(stage(FRAME[[0, row]]))
    assert (answer["first_error_column_name"], answer["first_error"]) == (column, error)
    assert (answer["first_error_line"], answer["rows_loaded"]) == (2, 1)


def test_a_file_that_fits_is_loaded_and_one_that_does_not_has_failed(any_stage: Stage) -> None:
    session = any_stage(FRAME[[0]])
    answer = told(session)
    assert (answer["status"], answer["errors_seen"], answer["first_error"]) == ("LOADED", 0, None)
    answer = told(any_stage(FRAME[[1]]), f"{GOING_ON} FORCE=TRUE")
    assert (answer["status"], answer["rows_loaded"]) == ("LOAD_FAILED", 0)
    assert ids(session) == ["x"]


def test_a_file_that_was_loaded_in_part_is_skipped_unless_forced(any_stage: Stage) -> None:
    session = any_stage(FRAME)
    told(session)
    assert told(session)["status"] == "LOAD_SKIPPED"
    assert told(session, ALL_OR_NOTHING)["status"] == "LOAD_SKIPPED"
    assert told(session, f"{GOING_ON} FORCE=TRUE")["rows_loaded"] == 1
    assert ids(session) == ["x", "x"]


def test_a_look_that_is_rolled_back_leaves_nothing_not_even_in_copys_memory(
    any_stage: Stage,
) -> None:
    session = any_stage(FRAME[[0, 1]])
    session.execute("BEGIN")
    told(session)
    assert ids(session) == ["x"]
    session.execute("ROLLBACK")
    assert ids(session) == []
    assert told(session)["status"] == "PARTIALLY_LOADED"


def test_a_text_that_is_too_long_stops_a_copy_that_does_not_go_on(stage: Stage) -> None:
    session = stage(FRAME[[0, 1]])
    with pytest.raises(SetupError, match=r"100078.*column A"):
        session.rows(ALL_OR_NOTHING)
    assert ids(session) == []
    session.execute("ALTER TABLE T ALTER COLUMN A SET DATA TYPE VARCHAR(8)")
    assert told(session, ALL_OR_NOTHING)["rows_loaded"] == 2


def test_without_a_projection_it_is_not_supported_and_says_so(stage: Stage) -> None:
    session = stage(FRAME)
    plain = "COPY INTO T FROM @S/d/f.parquet FILE_FORMAT=(TYPE=PARQUET USE_LOGICAL_TYPE=TRUE) "
    with pytest.raises(SetupError, match="FROM \\(SELECT"):
        session.rows(f"{plain} MATCH_BY_COLUMN_NAME=CASE_INSENSITIVE ON_ERROR=CONTINUE")
