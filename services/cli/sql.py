"""``sluice sql``: a statement on the project's warehouse."""

import csv
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol

import orjson

from schemas import exact_json
from schemas.errors import SetupError
from services.bootstrap import Project
from services.cli.answers import json_text, notice, screen, table
from services.exit_codes import ExitCode


class Part(Protocol):
    """Some rows, as the warehouse gives them."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Their names."""

    @property
    def json(self) -> frozenset[int]:
        """Places of the columns whose text is JSON."""

    @property
    def rows(self) -> tuple[tuple[Any, ...], ...]:
        """The rows."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """How to answer."""

    as_json: bool
    as_csv: bool
    limit: int  # 0: no limit


@dataclass(slots=True)
class Result:
    """A result that is read while it is shown: ``rows`` ends after the limit."""

    columns: tuple[str, ...]
    json: frozenset[int]  # places of the columns whose text is JSON
    rows: Iterator[tuple[Any, ...]]
    cut: bool = False  # known once the rows have been read


def answered(project: Project, statement: str, wanted: Wanted) -> ExitCode:
    """Run the statement and write its rows as they come. Raises SetupError and TransientError."""
    if not statement.strip():
        raise SetupError("the statement is empty", where="sql", remedy='sluice sql "SELECT 1"')
    warehouse = project.warehouse()
    try:
        result = _result(warehouse.parts(statement.rstrip("; \n\t")), wanted.limit)
        if wanted.as_json:
            _write_json(result)
        elif wanted.as_csv:
            _write_csv(result)
        else:
            _show(result)
    except SetupError as error:
        raise _explained(error) from error
    finally:
        warehouse.close()
    if result.cut:
        notice(f"only the first {wanted.limit} rows; --limit 0 shows all, --csv streams them")
    return ExitCode.OK


def _result(parts: Iterator[Part], limit: int) -> Result:
    first = next(parts)
    result = Result(first.columns, first.json, iter(()))

    def rows() -> Iterator[tuple[Any, ...]]:
        count = 0
        for part in chain((first,), parts):
            for row in part.rows:
                if limit and count == limit:
                    result.cut = True
                    return
                count += 1
                yield row

    result.rows = rows()
    return result


def _write_json(result: Result) -> None:
    """An array with an object a line, so that no size is too large."""
    lead = "["
    for row in result.rows:
        values = (
            _as_json(value) if n in result.json and isinstance(value, str) else value
            for n, value in enumerate(row)
        )
        sys.stdout.write(f"{lead}\n{json_text(dict(zip(result.columns, values, strict=True)))}")
        lead = ","
    sys.stdout.write("\n]\n" if lead == "," else "[]\n")


def _as_json(text: str) -> orjson.Fragment:
    return orjson.Fragment(exact_json.dumps(exact_json.loads(text)))


def _write_csv(result: Result) -> None:
    """RFC 4180; null is empty, bytes are hex, times ISO 8601."""
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(result.columns)
    for row in result.rows:
        out.writerow(_plain(value) for value in row)


def _plain(value: object) -> object:
    match value:
        case bytes() | bytearray():
            return value.hex()
        case bool():
            return "true" if value else "false"
        case None | int() | float() | str():
            return value
        case _:
            return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _show(result: Result) -> None:
    rows = list(result.rows)
    screen().print(table(result.columns, rows))
    if not result.cut:
        notice(f"{len(rows)} row{'' if len(rows) == 1 else 's'}")


def _explained(error: SetupError) -> SetupError:
    """The same; what a person typed is theirs to mend, unless it is a matter of grants."""
    if "grant" in error.what.lower() or "privilege" in error.what.lower():
        return error
    return SetupError(
        error.what,
        where=error.where,
        remedy='mend the statement; `sluice sql "SHOW TABLES"` lists what there is',
    )
