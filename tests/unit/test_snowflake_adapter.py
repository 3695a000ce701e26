"""Snowflake's adapter without a Snowflake: results, errors, arguments, bytes."""

import re
from pathlib import Path
from typing import Any, Self

import polars as pl
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from snowflake.connector import errors

from schemas.errors import RefusedError, SetupError, TransientError
from services.adapters.snowflake.connection import (
    connection_arguments,
    embedded_arguments,
    private_key_der,
)
from services.adapters.snowflake.copying import Copied, write_parquet
from services.adapters.snowflake.errors import (
    MisfitError,
    lost_connection,
    translated,
    without_values,
)
from services.adapters.snowflake.refused import Told, refusal
from services.adapters.snowflake.session import Session
from services.settings import Snowflake
from tests.support.warehouse import plan, span

LOADED = ("s/f.parquet", "LOADED", 3, 3, 1, 0, None, None, None, None)
SKIPPED = (
    "s/f.parquet",
    "LOAD_SKIPPED",
    0,
    0,
    None,
    1,
    "File was loaded before.",
    None,
    None,
    None,
)
PARTLY = ("s/g.parquet", "PARTIALLY_LOADED", 3, 2, 1, 1, "bad number", 1, 1, "A")
FAILED = ("s/g.parquet", "LOAD_FAILED", 3, 0, 1, 3, "no", 1, 1, "A")
NOTHING = ("Copy executed with 0 files processed.",)


class Broken:
    """A connection whose line breaks while it is rolled back or closed."""

    def __init__(self, *steps: str) -> None:
        self.steps = steps

    def cursor(self) -> "Broken":
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def execute(self, statement: str) -> None:
        self._break("execute " + statement)

    def close(self, *, retry: bool) -> None:
        del retry
        self._break("close")

    def _break(self, step: str) -> None:
        if step in self.steps:
            raise ConnectionResetError(step)


@pytest.mark.parametrize("step", ["execute ROLLBACK", "close"])
def test_a_line_that_breaks_while_a_session_is_dropped_hides_no_other_error(step: str) -> None:
    session = Session(dict)
    session._connection = Broken(step)
    session.drop(roll_back=True)
    assert session._connection is None


@pytest.mark.parametrize(
    ("rows", "copied"),
    [
        pytest.param([LOADED], Copied(3, skipped=False), id="loaded"),
        pytest.param([LOADED, LOADED], Copied(6, skipped=False), id="two-files"),
        pytest.param([SKIPPED], Copied(0, skipped=True), id="skipped"),
        pytest.param([NOTHING], Copied(0, skipped=True), id="no-file"),
        pytest.param([LOADED, SKIPPED], Copied(3, skipped=False), id="one-of-two"),
        pytest.param(
            [PARTLY],
            Copied(0, skipped=False, problem="s/g.parquet PARTIALLY_LOADED: bad number"),
            id="partly",
        ),
        pytest.param(
            [LOADED, FAILED],
            Copied(3, skipped=False, problem="s/g.parquet LOAD_FAILED: no"),
            id="failed",
        ),
    ],
)
def test_what_copy_answers_is_read(rows: list[tuple[Any, ...]], copied: Copied) -> None:
    assert Copied.of(rows) == copied


@pytest.mark.parametrize(
    ("kind", "errno", "sqlstate", "expected"),
    [
        (errors.ProgrammingError, 2003, "42S02", SetupError),
        (errors.ProgrammingError, 3001, "42501", SetupError),
        (errors.ProgrammingError, 1003, "42000", SetupError),
        (errors.ProgrammingError, 606, "57P03", SetupError),
        (errors.ProgrammingError, 100038, "22018", MisfitError),
        (errors.IntegrityError, 100072, "22000", MisfitError),
        (errors.ProgrammingError, 424242, "42000", SetupError),
        (errors.DatabaseError, 390144, "08001", SetupError),
        (errors.DatabaseError, 390100, "08001", SetupError),
        (errors.ProgrammingError, 8, "0A000", SetupError),
        (errors.ProgrammingError, 625, "57014", TransientError),
        (errors.ProgrammingError, 603, "XX000", TransientError),
        (errors.ProgrammingError, 390112, "08001", TransientError),
        (errors.ProgrammingError, 424242, "57014", TransientError),
        (errors.DatabaseError, 250001, "08001", TransientError),
        (errors.OperationalError, -1, None, TransientError),
        (errors.InterfaceError, 250002, "08003", TransientError),
        (errors.InternalError, -1, None, TransientError),
    ],
)
def test_an_error_is_classed_by_what_one_does_about_it(
    kind: type[errors.Error], errno: int, sqlstate: str | None, expected: type[Exception]
) -> None:
    error = kind(msg="what it said", errno=errno, sqlstate=sqlstate)
    classed = translated(error, "COPY of f")
    assert type(classed) is expected
    assert "COPY of f" in str(classed)
    assert "what it said" in str(classed)
    assert issubclass(expected, SetupError) == ("What to do" in str(classed))


@pytest.mark.parametrize(
    ("errno", "text"),
    [
        (100038, "Numeric value 'abc' is not recognized"),
        (424242, "Conversion Error: Could not convert string 'abc' to INT64"),
        (100038, "Numeric value 'it's abc\n\n\n\nabc' is not recognized"),
    ],
)
def test_no_value_of_an_event_is_repeated(errno: int, text: str) -> None:
    told = str(translated(errors.ProgrammingError(msg=text, errno=errno), "COPY"))
    assert "abc" not in told
    assert re.sub("'.*'", "'...'", text, flags=re.DOTALL) in told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Numeric value '17' is out of range", "Numeric value '...' is out of range"),
        (
            "User character length limit (3) exceeded by string 'it's 17'",
            "User character length limit (3) exceeded by string '...'",
        ),
        ("NULL result in a non-nullable column", "NULL result in a non-nullable column"),
        (
            'Failed to cast variant value "17" to FIXED',
            "Failed to cast variant value '...' to FIXED",
        ),
        (
            'Failed to cast variant value {"to": 17, "b": [17]} to BOOLEAN',
            "Failed to cast variant value '...' to BOOLEAN",
        ),
        (
            "Could not cast value 1700000.000000 to DECIMAL(5,2)",
            "Could not cast value '...' to DECIMAL(5,2)",
        ),
        (
            "Type DOUBLE with value 17e30 can't be cast because the value is out of range",
            "Type DOUBLE with value '...",
        ),
        ("String '17 that was cut off", "String '...'"),
    ],
)
def test_an_error_of_a_value_is_told_without_it(text: str, told: str) -> None:
    assert without_values(text).startswith(told)
    assert "17" not in without_values(text)


ANSWER = ("s/f", "PARTIALLY_LOADED", 3, 1, 3, 2, "Numeric value '17' is out", 1, None, '"T"["A":1]')


def test_what_a_copy_that_went_on_answers_is_read() -> None:
    assert Told.of([ANSWER]) == Told(1, "A", "Numeric value '...' is out")
    assert Told.of([(*ANSWER[:9], "A")]).column == "A"
    assert Told.of([(*ANSWER[:6], None, None, None, None)]) == Told(1)
    assert Told.of([NOTHING]) == Told(0)


ORIGIN = SetupError("COPY of f: no", where="snowflake", remedy="compare")
WORK = plan(span(0, 10, 13, epoch=1), span(1, 0, 1, epoch=1))


def test_what_is_not_there_was_refused() -> None:
    found = refusal(WORK, Told(2, "ID", "no"), [(1, 0), (0, 11)], ORIGIN)
    assert isinstance(found, RefusedError)
    assert (found.rows, found.column, found.told) == ((0, 2), "ID", "no")
    assert (found.what, found.where, found.remedy) == (ORIGIN.what, ORIGIN.where, ORIGIN.remedy)


def test_where_every_row_fits_by_now_the_load_is_tried_again() -> None:
    there = [(0, 10), (0, 11), (0, 12), (1, 0)]
    assert type(refusal(WORK, Told(4), there, ORIGIN)) is TransientError


@pytest.mark.parametrize(
    ("loaded", "there"),
    [
        pytest.param(3, [(0, 10), (0, 11)], id="fewer-than-told"),
        pytest.param(1, [(0, 10), (0, 11)], id="more-than-told"),
        pytest.param(2, [(0, 10), (0, 10)], id="one-twice"),
        pytest.param(2, [(0, 10), (0, 99)], id="a-stranger"),
    ],
)
def test_rows_that_do_not_add_up_are_no_dead_letters(
    loaded: int, there: list[tuple[int, int]]
) -> None:
    found = refusal(WORK, Told(loaded), there, ORIGIN)
    assert type(found) is SetupError
    assert "cannot be told" in found.what


def test_the_object_that_is_missing_is_named() -> None:
    text = "Object 'DB.S.ORDERS' does not exist or not authorized."
    assert text in str(translated(errors.ProgrammingError(msg=text, errno=2003), "COPY"))


def test_a_lost_connection_is_not_asked_to_roll_back() -> None:
    assert lost_connection(errors.OperationalError(msg="timeout"))
    assert lost_connection(errors.DatabaseError(msg="x", errno=250001, sqlstate="08001"))
    assert not lost_connection(errors.ProgrammingError(msg="x", errno=2003, sqlstate="02000"))


def settings(**given: Any) -> Snowflake:
    base = {"account": "a", "user": "u", "role": "r", "warehouse": "w"}
    return Snowflake(**(base | given))


@pytest.fixture(scope="module")
def pem() -> bytes:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"phrase"),
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"auth": "oauth", "token": "env:T"}, {"authenticator": "OAUTH", "token": "<env:T>"}),
        (
            {"auth": "pat", "token": "env:T"},
            {"authenticator": "PROGRAMMATIC_ACCESS_TOKEN", "token": "<env:T>"},
        ),
        (
            {"auth": "password", "password": "env:P"},
            {"authenticator": "SNOWFLAKE", "password": "<env:P>"},
        ),
    ],
)
def test_credentials_come_from_the_named_secret(
    given: dict[str, str], expected: dict[str, str]
) -> None:
    arguments = connection_arguments(settings(**given), lambda name: f"<{name}>")
    secret = {"authenticator", "token", "password", "private_key"} & arguments.keys()
    assert {name: arguments[name] for name in secret} == expected


def test_a_key_pair_becomes_der(pem: bytes) -> None:
    texts = {"env:K": pem.decode(), "env:P": "phrase"}
    chosen = settings(private_key="env:K", private_key_passphrase="env:P")
    arguments = connection_arguments(chosen, texts.__getitem__)
    assert arguments["authenticator"] == "SNOWFLAKE_JWT"
    serialization.load_der_private_key(arguments["private_key"], None)


@pytest.mark.parametrize(("text", "passphrase"), [("rubbish", None), (None, None), (None, "wrong")])
def test_an_unreadable_key_is_a_setup_error_that_does_not_show_it(
    pem: bytes, text: str | None, passphrase: str | None
) -> None:
    given = text or pem.decode()
    with pytest.raises(SetupError) as caught:
        private_key_der(given, passphrase)
    assert "snowflake.private_key" in str(caught.value)
    assert given not in str(caught.value)
    assert caught.value.__cause__ is None


def test_every_wait_has_an_end() -> None:
    chosen = settings(auth="pat", token="env:T", network_timeout_seconds=7, lock_timeout_seconds=9)
    arguments = connection_arguments(chosen, lambda _: "t")
    assert arguments["query_timeout"] == 16
    assert arguments["request_timeout"] == arguments["login_timeout"] == 7
    assert arguments["connect_timeout"] == 7
    parameters = arguments["session_parameters"]
    assert parameters["LOCK_TIMEOUT"] == 9
    assert parameters["STATEMENT_TIMEOUT_IN_SECONDS"] == 16
    assert parameters["TIMEZONE"] == "UTC"
    assert parameters["QUERY_TAG"] == "sluice"


def test_options_have_the_last_word() -> None:
    chosen = settings(auth="pat", token="env:T", options={"host": "h", "login_timeout": 3})
    arguments = connection_arguments(chosen, lambda _: "t")
    assert (arguments["host"], arguments["login_timeout"]) == ("h", 3)


def test_the_embedded_warehouse_gets_the_same_session() -> None:
    embedded = embedded_arguments(Snowflake(embedded=True), {"host": "127.0.0.1"})
    real = connection_arguments(settings(auth="pat", token="env:T"), lambda _: "t")
    assert embedded["session_parameters"] == real["session_parameters"]
    assert (embedded["database"], embedded["schema"]) == ("SLUICE", "RAW")


def test_equal_frames_give_equal_bytes(tmp_path: Path) -> None:
    written = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        written.append(write_parquet(plan(span(0, 0, 5000, epoch=1)), folder).read_bytes())
    assert written[0] == written[1]
    other = write_parquet(plan(span(0, 0, 5001, epoch=1)), tmp_path).read_bytes()
    assert other != written[0]


def test_a_timestamp_keeps_its_logical_type(tmp_path: Path) -> None:
    work = plan(span(0, 0, 1, epoch=1))
    path = tmp_path / work.file
    frame = work.frame.with_columns(ts=pl.lit(1).cast(pl.Datetime("us")))
    object.__setattr__(work, "frame", frame)
    assert pl.read_parquet_schema(write_parquet(work, tmp_path))["ts"] == pl.Datetime("us")
    assert path.exists()
