"""``sluice audit``: whether the books balance."""

import json
from dataclasses import asdict

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn
from rich.table import Table

from consumers.books import Books, Totals
from services.auditing import audit_project
from services.bootstrap import Project
from services.cli.app import HERE, AsJson, Folder, app, with_project
from services.exit_codes import ExitCode


@app.command()
def audit(project: Folder = HERE, *, as_json: AsJson = False) -> None:
    """Prove, from log and warehouse, that nothing was lost or doubled.

    Ends with 1 and names every range that does not balance.
    """

    def run(opened: Project) -> ExitCode:
        found = _audited(opened, shown=not as_json)
        typer.echo(json.dumps(as_data(found), indent=1)) if as_json else show(found)
        return ExitCode.OK if found.balanced else ExitCode.CHECK_FAILED

    with_project(project, "audit", run)


def _audited(project: Project, *, shown: bool) -> Books:
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description} {task.completed:,} messages"))
    with Progress(*columns, console=console, transient=True, disable=not shown) as bars:
        tasks = {topic: bars.add_task(topic, total=None) for topic in project.streams}
        return audit_project(project, lambda topic, n: bars.advance(tasks[topic], n))


def as_data(found: Books) -> dict[str, object]:
    """The verdict as JSON takes it."""
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
    }


def show(found: Books) -> None:
    """The verdict for a person; its last line is the books."""
    table = Table("stream", *(_head(n) for n in _SIDES))
    for name, totals in sorted(found.by_stream.items()):
        table.add_row(name, *_cells(totals))
    Console().print(table)
    for note in found.notes:
        typer.echo(f"note: {note}")
    for finding in found.findings:
        typer.echo(f"does not balance: {finding}")
    typer.echo(str(found))


_SIDES = ("accepted", "loaded", "duplicate", "dead", "in_flight")


def _head(name: str) -> str:
    return name.replace("_", " ")


def _cells(totals: Totals) -> list[str]:
    return [f"{getattr(totals, name):,}" for name in _SIDES]
