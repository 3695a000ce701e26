"""How commands answer: tables and JSON on standard output, errors and notices beside it."""

import datetime as dt
import decimal
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from schemas.errors import SluiceError
from services.cli.app import JSON_ASKED
from services.exit_codes import ExitCode
from services.redaction import HIDDEN, explained
from services.run import error_kind

HEX_BYTES_MAX = 32  # of one cell
WIDTH_PIPED = 200  # characters a line where no terminal says how many there are
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_CODES = {
    "setup": ExitCode.SETUP,
    "transient": ExitCode.UNREACHABLE,
    "fenced": ExitCode.UNREACHABLE,
}


def screen(*, errors: bool = False) -> Console:
    """Standard output, or standard error. Wide where it is piped, so that no cell is cut."""
    stream = sys.stderr if errors else sys.stdout
    return Console(file=stream, width=None if stream.isatty() else WIDTH_PIPED, highlight=False)


def notice(text: str) -> None:
    """Something to know beside the answer, on standard error."""
    screen(errors=True).print(Text(text, "dim"), soft_wrap=True)


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """Shows on a terminal that something takes its time."""
    console = screen(errors=True)
    if not console.is_terminal:
        yield
        return
    with console.status(text):
        yield


def tell_error(error: SluiceError) -> ExitCode:
    """Say what, where and what to do next on standard error; the exit code that goes with it."""
    kind = error_kind(error).value
    code = _CODES.get(kind, ExitCode.BUG)
    told = {name: HIDDEN.text(text) for name, text in explained(error).items()}
    if JSON_ASKED.get():
        body = {"error": {"kind": kind, **told, "exit_code": int(code)}}
        sys.stderr.write(json.dumps(body, indent=1) + "\n")
        return code
    text = Text.assemble(("error  ", "bold red"), (printable(told.get("what", "")), "red"))
    if "where" in told:
        text.append(f"\nwhere  {printable(told['where'])}")
    if "remedy" in told:
        text.append("\nnext   ", "bold")
        text.append(printable(told["remedy"]))
    screen(errors=True).print(text, soft_wrap=True)
    return code


def print_json(value: object) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json_text(value, indent=True) + "\n")


def json_text(value: object, *, indent: bool = False) -> str:
    """Times in ISO 8601, decimals as text (exact), bytes in hex."""
    # orjson drops a zero of times such as 16:27:24.035
    options = orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_DATETIME
    options |= orjson.OPT_INDENT_2 if indent else 0
    return orjson.dumps(value, default=_jsonable, option=options).decode()


def _jsonable(value: object) -> object:
    match value:
        case decimal.Decimal():
            return str(value)
        case dt.date() | dt.time():  # a datetime is a date
            return value.isoformat()
        case bytes() | bytearray():
            return value.hex()
        case Mapping():
            return dict(value)
        case Iterable():
            return list(value)
        case _:
            return str(value)  # wide integers, intervals


def printable(text: str) -> str:
    """The text without what moves a terminal's cursor or colours it."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


class Count(int):
    """A number of things, which a table shows with thousands separators."""


def cell(value: object) -> Text:
    """A value as a table shows it; data can neither mark up nor steer the terminal."""
    match value:
        case None:
            return Text("null", "dim")
        case Count():
            return Text(f"{value:,}")
        case dt.datetime():
            digits = "microseconds" if value.microsecond % 1_000 else "milliseconds"
            return Text(value.replace(tzinfo=None).isoformat(" ", digits))
        case bytes() | bytearray():
            more = "..." if len(value) > HEX_BYTES_MAX else ""
            return Text(bytes(value[:HEX_BYTES_MAX]).hex() + more)
        case _:
            return Text(printable(str(value)))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> Table:
    """A table whose numeric columns are aligned at the right."""
    kept = [tuple(row) for row in rows]
    made = Table(title=title or None, title_justify="left", title_style="bold")
    for place, name in enumerate(columns):
        numbers = [isinstance(row[place], int | float | decimal.Decimal) for row in kept]
        right = bool(numbers) and all(
            number or row[place] is None for number, row in zip(numbers, kept, strict=True)
        )
        made.add_column(
            Text(printable(name)), justify="right" if right else "left", overflow="fold"
        )
    for row in kept:
        made.add_row(*(cell(value) for value in row))
    return made


def span(seconds: float) -> str:
    """A time in the largest unit that fits: ``45 s``, ``12 min``, ``3 h``, ``2 d``."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
