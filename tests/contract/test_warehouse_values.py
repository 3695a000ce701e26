"""Literals and staged values come back from the warehouse as they went in."""

import datetime as dt
import decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.sql import Value, identifier, literal, quoted
from services.adapters.snowflake import SnowflakeWarehouse
from tests.support.real_snowflake import AnyPlace

DRAWS = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0")) | st.sampled_from(
    [
        "it's",
        "a\\b",
        "\\'",
        "''",
        "%s",
        "{x}",
        "a\nb\r\n\t",
        "-- x",
        "/* x */",
        "$$",
        "$A",
        "&x",
        ":x",
        "?",
    ]
)
INTEGER = st.integers(-(2**63) + 1, 2**63 - 1)
TIME = st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2200, 1, 1), timezones=st.just(dt.UTC))  # noqa: DTZ001 - hypothesis wants them naive


@pytest.fixture
def warehouse(any_place: AnyPlace) -> SnowflakeWarehouse:
    return any_place.session()


@DRAWS
@given(TEXT)
def test_a_string_comes_back(warehouse: SnowflakeWarehouse, text: str) -> None:
    assert warehouse.rows(f"SELECT {literal(text)} AS X") == [{"x": text}]


@DRAWS
@given(INTEGER, TIME, st.booleans(), st.dates(dt.date(1900, 1, 1)))
def test_other_values_come_back(
    warehouse: SnowflakeWarehouse,
    number: int,
    time: dt.datetime,
    flag: bool,
    day: dt.date,
) -> None:
    values: dict[str, Value] = {"N": number, "T": time, "F": flag, "D": day, "X": None}
    columns = ", ".join(f"{literal(value)} AS {name}" for name, value in values.items())
    assert warehouse.rows(f"SELECT {columns}") == [
        {"n": number, "t": time.replace(tzinfo=None), "f": flag, "d": day, "x": None}
    ]


@DRAWS
@given(st.dictionaries(TEXT, st.integers(0, 9) | TEXT, max_size=3))
def test_json_text_comes_back(warehouse: SnowflakeWarehouse, value: dict[str, Any]) -> None:
    text = pl.Series([warehouse.rows(f"SELECT {literal(value)} AS X")[0]["x"]])
    assert text[0].startswith("{")


COLUMNS = {
    # name: type, projection of a staged field, a frame's column
    "n": ("NUMBER(38,0)", '$1:"n"::NUMBER(38,0)', pl.Series([2**63 - 1, None, -(2**63) + 1])),
    "wide": (
        "NUMBER(38,0)",
        '$1:"wide"::NUMBER(38,0)',
        pl.Series([decimal.Decimal("9" * 38), None, -decimal.Decimal(2**64)]).cast(
            pl.Decimal(38, 0)
        ),
    ),
    "price": (
        "NUMBER(20,5)",
        '$1:"price"::NUMBER(20,5)',
        pl.Series(
            [decimal.Decimal("123456789012345.67891"), None, decimal.Decimal("-0.00001")]
        ).cast(pl.Decimal(20, 5)),
    ),
    "f": ("FLOAT", '$1:"f"::FLOAT', pl.Series([0.1, None, -1e300])),
    "b": ("BOOLEAN", '$1:"b"::BOOLEAN', pl.Series([True, None, False])),
    "order": ("VARCHAR", '$1:"order"::VARCHAR', pl.Series(["it's \\ é\n", None, ""])),
    "raw": ("BINARY", '$1:"raw"::BINARY', pl.Series([b"\x00\xff", None, b""])),
    "d": ("DATE", '$1:"d"::DATE', pl.Series([dt.date(2026, 1, 2), None, dt.date(1900, 1, 1)])),
    "t": ("TIME", '$1:"t"::TIME', pl.Series([dt.time(1, 2, 3, 4), None, dt.time(23, 59, 59)])),
    "ts": (
        "TIMESTAMP_NTZ",
        '$1:"ts"::TIMESTAMP_NTZ',
        pl.Series([dt.datetime(2026, 1, 2, 3, 4, 5, 6), None, dt.datetime(1900, 1, 1)]),  # noqa: DTZ001 - NTZ
    ),
    "v": (
        "VARIANT",
        'PARSE_JSON($1:"v"::VARCHAR)',
        pl.Series(['{"a":[1,{"b":null}]}', None, '"x"']),
    ),
}


def test_every_column_type_comes_back_from_a_projected_copy(
    warehouse: SnowflakeWarehouse, tmp_path: Path
) -> None:
    frame = pl.DataFrame({name: column for name, (_, _, column) in COLUMNS.items()})
    frame.write_parquet(tmp_path / "types.parquet")
    warehouse.execute("CREATE STAGE S")
    warehouse.execute(f"CREATE TABLE T ({declared()})")
    warehouse.execute(
        f"PUT 'file://{tmp_path}/types.parquet' @S/d/ AUTO_COMPRESS=FALSE OVERWRITE=TRUE"
    )
    projection = ", ".join(field for _, field, _ in COLUMNS.values())
    names = ", ".join(identifier(name) for name in COLUMNS)
    warehouse.execute(
        f"COPY INTO T ({names}) FROM (SELECT {projection} FROM @S/d/types.parquet) "
        "FILE_FORMAT=(TYPE=PARQUET USE_LOGICAL_TYPE=TRUE BINARY_AS_TEXT=FALSE) "
        "ON_ERROR=ABORT_STATEMENT"
    )
    assert warehouse.rows("SELECT * FROM T") == frame.to_dicts()
    assert warehouse.rows("SELECT V:a[0]::NUMBER AS X FROM T WHERE N > 0") == [{"x": 1}]
    assert warehouse.rows("SELECT COUNT(*) AS N FROM T WHERE V IS NULL") == [{"n": 1}]


def declared() -> str:
    return ", ".join(f"{identifier(name)} {kind}" for name, (kind, _, _) in COLUMNS.items())


def test_a_field_is_named_as_in_the_file() -> None:
    assert all(quoted(name) in field for name, (_, field, _) in COLUMNS.items())
