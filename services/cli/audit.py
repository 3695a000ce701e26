"""``sluice audit``: whether the books balance."""

import datetime as dt
import json
from collections.abc import Iterator
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn

from consumers.books import Books, Share, Totals
from services.auditing import audit_project
from services.bootstrap import Project
from services.cli.answers import screen, table
from services.cli.app import HERE, AsJson, Folder, app, with_project
from services.exit_codes import ExitCode


class By(StrEnum):
    """What the sides are split by, beside streams."""

    HOUR = "hour"


Split = Annotated[
    By | None,
    typer.Option(
        "--by",
        help="The sides of every hour (UTC, of the commit) and partition too; what is in flight, "
        "and what was refused before the log, in entries of their own.",
    ),
]


@app.command()
def audit(project: Folder = HERE, by: Split = None, *, as_json: AsJson = False) -> None:
    """Prove, from log and warehouse, that nothing was lost or doubled.

    Ends with 1 and names every range that does not balance.
    """

    def run(opened: Project) -> ExitCode:
        found = _audited(opened, shown=not as_json)
        typer.echo(json.dumps(as_data(found, by), indent=1)) if as_json else show(found, by)
        return ExitCode.OK if found.balanced else ExitCode.CHECK_FAILED

    with_project(project, "audit", run)


def _audited(project: Project, *, shown: bool) -> Books:
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description} {task.completed:,} messages"))
    with Progress(*columns, console=console, transient=True, disable=not shown) as bars:
        tasks = {topic: bars.add_task(topic, total=None) for topic in project.streams}
        return audit_project(project, lambda topic, n: bars.advance(tasks[topic], n))


def as_data(found: Books, by: By | None = None) -> dict[str, object]:
    """The verdict as JSON takes it."""
    hours = [
        {
            "stream": share.stream,
            "source": share.source,
            "hour": None if share.hour is None else f"{_moment(share.hour):%Y-%m-%dT%H:00:00Z}",
            "partition": share.partition,
            **asdict(totals),
        }
        for share, totals in in_order(found)
    ]
    return {
        "balanced": found.balanced,
        **asdict(found.totals),
        "streams": {name: asdict(totals) for name, totals in found.by_stream.items()},
        "findings": [
            {
                "topic": f.partition.topic,
                "partition": f.partition.number,
                "first": f.first,
                "after": f.after,
                "what": f.what,
            }
            for f in found.findings
        ],
        "notes": list(found.notes),
        **({"by_hour": hours} if by is By.HOUR else {}),
    }


def in_order(found: Books) -> Iterator[tuple[Share, Totals]]:
    """By stream, then hour, then partition; in flight and refused come last."""

    def key(item: tuple[Share, Totals]) -> tuple[str, bool, int, bool, int]:
        share = item[0]
        return (
            *(share.stream, share.hour is None, share.hour or 0),
            *(share.partition is None, share.partition or 0),
        )

    yield from sorted(found.shares.items(), key=key)


def _moment(hour: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(hour * 3_600, dt.UTC)


def show(found: Books, by: By | None = None) -> None:
    """The verdict for a person; its last line is the books."""
    sides = [name.replace("_", " ") for name in _SIDES]
    if by is By.HOUR:
        rows = [_hour_row(share, totals) for share, totals in in_order(found)]
        screen().print(table(("source", "stream", "hour (UTC)", "partition", *sides), rows))
    rows = [(name, *_values(totals)) for name, totals in sorted(found.by_stream.items())]
    screen().print(table(("stream", *sides), rows))
    for note in found.notes:
        typer.echo(f"note: {note}")
    for finding in found.findings:
        typer.echo(f"does not balance: {finding}")
    typer.echo(str(found))


_SIDES = ("accepted", "loaded", "duplicate", "dead", "in_flight")


def _values(totals: Totals) -> tuple[int, ...]:
    return tuple(getattr(totals, name) for name in _SIDES)


def _hour_row(share: Share, totals: Totals) -> tuple[object, ...]:
    if share.hour is not None:
        when = f"{_moment(share.hour):%Y-%m-%d %H:00}"
    else:
        when = "refused before the log" if share.partition is None else "in flight"
    part = "-" if share.partition is None else str(share.partition)
    return (share.source, share.stream, when, part, *_values(totals))
