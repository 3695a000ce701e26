"""``sluice sql``."""

import sys
from typing import Annotated

import typer

from services.cli.app import HERE, AsJson, Folder, app

ROWS_SHOWN = 200


@app.command()
def sql(
    statement: Annotated[str, typer.Argument(help="One SQL statement; - reads it from the input.")],
    project: Folder = HERE,
    *,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Answer with CSV, header first.")] = False,
    limit: Annotated[
        int | None,
        typer.Option(
            min=0,
            show_default=False,
            help=f"Most rows; 0: all. Default: {ROWS_SHOWN} in a table, all as JSON or CSV.",
        ),
    ] = None,
) -> None:
    """Run a statement on the project's warehouse and show its rows."""
    from services.cli.running import with_project
    from services.cli.sql import Wanted, answered

    text = sys.stdin.read() if statement == "-" else statement
    rows_max = limit if limit is not None else 0 if as_json or as_csv else ROWS_SHOWN
    wanted = Wanted(as_json, as_csv, rows_max)
    with_project(project, "sql", lambda opened: answered(opened, text, wanted))
