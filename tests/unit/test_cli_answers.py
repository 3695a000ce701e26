"""How commands answer: tables, JSON, errors; what data can and cannot do to a terminal."""

import datetime as dt
import io
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from schemas.errors import FencedError, SetupError, TransientError
from services.cli.answers import json_text, printable, span, table, tell_error
from services.cli.app import JSON_ASKED, declared
from services.comments import comments_of
from services.exit_codes import ExitCode
from services.redaction import HIDDEN


@pytest.fixture(autouse=True)
def _text_answers() -> Iterator[None]:
    token = JSON_ASKED.set(False)
    yield
    JSON_ASKED.reset(token)


def run(*arguments: str, stdin: str = "") -> tuple[int, str, str]:
    done = CliRunner().invoke(declared(), list(arguments), input=stdin)
    return done.exit_code, done.stdout, done.stderr


def shown(columns: tuple[str, ...], *rows: tuple[object, ...]) -> str:
    out = io.StringIO()
    Console(width=120, file=out).print(table(columns, rows))
    return out.getvalue()


def test_data_can_neither_mark_up_nor_steer_the_terminal() -> None:
    text = shown(("[red]a[/red]",), ("[bold]x[/bold]",), ("\x1b[2J\x1b]0;title\x07",))
    assert "[bold]x[/bold]" in text
    assert "[red]a[/red]" in text
    assert "\x1b" not in text
    assert r"\x1b[2J\x1b]0;title\x07" in text
    assert printable("two\nlines\tkept") == "two\nlines\tkept"


def test_values_are_readable() -> None:
    moment = dt.datetime(2026, 1, 31, 8, 0, 0, 125_999, tzinfo=dt.UTC)
    text = shown(("a", "b", "c"), (None, moment, b"\x00\xff"), (Decimal("1.50"), "x", b"x" * 99))
    assert "null" in text
    assert "2026-01-31 08:00:00.125" in text
    assert "00ff" in text
    assert "78..." in text


def test_json_keeps_decimals_exact_and_bytes_in_hex() -> None:
    value = {"d": Decimal("12.50"), "b": bytearray(b"\x01"), "t": dt.date(2026, 1, 31), "n": None}
    assert json.loads(json_text(value)) == {"d": "12.50", "b": "01", "t": "2026-01-31", "n": None}


@pytest.mark.parametrize("micros", [0, 7, 35_000, 39, 99_999, 100_000, 999_999])
def test_json_and_tables_keep_every_digit_of_a_time(micros: int) -> None:
    time = dt.time(16, 27, 24, micros)
    moment = dt.datetime.combine(dt.date(2026, 1, 31), time)
    found = json.loads(json_text({"time": time, "moment": moment}))
    assert dt.time.fromisoformat(found["time"]) == time
    assert dt.datetime.fromisoformat(found["moment"]) == moment
    digits = "microseconds" if micros % 1_000 else "milliseconds"
    assert moment.isoformat(" ", digits) in shown(("at",), (moment,))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7_200, "2 h"), (172_800, "2 d")],
)
def test_a_span_has_the_largest_unit_that_fits(seconds: float, text: str) -> None:
    assert span(seconds) == text


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SetupError("it is wrong", where="here", remedy="mend it"), ExitCode.SETUP),
        (TransientError("it is wrong", where="here", remedy="mend it"), ExitCode.UNREACHABLE),
        (FencedError("it is wrong", where="here", remedy="mend it"), ExitCode.UNREACHABLE),
    ],
    ids=["setup", "transient", "fenced"],
)
def test_an_error_says_what_where_and_what_to_do_beside_the_answer(
    error: SetupError, code: ExitCode, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tell_error(error) is code
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split(maxsplit=1) for line in err.splitlines()] == [
        ["error", "it is wrong"],
        ["where", "here"],
        ["next", "mend it"],
    ]


def test_no_secret_is_shown_in_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    HIDDEN.hide("correct-horse-battery")
    for as_json in (False, True):
        JSON_ASKED.set(as_json)
        tell_error(SetupError("not correct-horse-battery", where="x", remedy="y"))
    assert "correct-horse" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ("status",),
        ("sql", "select 1"),
        ("dead", "list"),
        ("contract", "ddl", "shop.orders"),
        ("audit",),
        ("apply",),
        ("up",),
    ],
    ids=" ".join,
)
def test_where_there_is_no_project_nothing_is_started_and_the_way_out_is_named(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    code, out, err = run(*arguments, "--project", str(tmp_path))
    assert (code, out) == (ExitCode.SETUP, "")
    assert [line.split()[0] for line in err.splitlines()] == ["error", "where", "next"]
    assert "sluice init" in err
    assert list(tmp_path.iterdir()) == []


def test_with_json_an_error_is_json(tmp_path: Path) -> None:
    code, out, err = run("status", "--json", "--project", str(tmp_path))
    error = json.loads(err)["error"]
    assert (code, out) == (ExitCode.SETUP, "")
    assert (error["kind"], error["exit_code"]) == ("setup", ExitCode.SETUP)
    assert error.keys() == {"kind", "what", "where", "remedy", "exit_code"}


def test_settings_that_cannot_be_read_are_an_error_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "sluice.toml").write_text("[loader]\nlanes = 0\n")
    code, _, err = run("contract", "show", "a.b", "-C", str(tmp_path))
    assert code == ExitCode.SETUP
    assert "loader.lanes" in err
    assert "Traceback" not in err


def test_every_help_ends_with_the_exit_codes() -> None:
    for arguments in ((), ("sql",), ("dead", "list"), ("contract", "infer")):
        code, out, _ = run(*arguments, "--help")
        assert code == 0
        for number in comments_of(ExitCode):
            assert f"{number:>3}  " in out


def test_the_version_is_that_of_the_distribution() -> None:
    assert run("--version") == (0, "sluice 0.1.0\n", "")
