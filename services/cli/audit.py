"""``sluice audit``: whether the books balance."""

import datetime as dt
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn

from consumers.books.balance import Books, Share, Totals
from schemas.errors import SetupError
from services.auditing import audit_project, audit_project_by_ids
from services.bootstrap import Project
from services.cli.answers import Count, screen, table
from services.cli.commands.audit import By
from services.cli.running import require_project, with_project
from services.cli.since import seconds_of
from services.exit_codes import ExitCode
from services.processes.auditor import run_auditor


@dataclass(frozen=True, slots=True)
class Asked:
    """What the options of ``sluice audit`` say."""

    by: By | None
    every: str | None
    for_: str | None
    ids: bool
    as_json: bool


def audited(folder: Path, asked: Asked) -> None:
    """Answer ``sluice audit``, or stay; ends with its exit code."""

    def require(folder: Path) -> None:
        require_project(folder)
        shown = asked.by is not None or asked.as_json or asked.ids
        require_fitting(asked.every, asked.for_, shown=shown)

    def once(opened: Project) -> ExitCode:
        prove = audit_project_by_ids if asked.ids else audit_project
        found = _audited(opened, prove, shown=not asked.as_json)
        if asked.as_json:
            typer.echo(json.dumps(as_data(found, asked.by), indent=1))
        else:
            show(found, asked.by)
        return ExitCode.OK if found.balanced else ExitCode.CHECK_FAILED

    def stay(opened: Project) -> ExitCode:
        seconds = None if asked.for_ is None else seconds_of(asked.for_, "--for")
        return run_auditor(opened, seconds_of(str(asked.every), "--every"), seconds)

    if asked.every is None:
        with_project(folder, "audit", once, require)
    else:
        with_project(folder, "auditor", stay, require)


def require_fitting(every: str | None, for_: str | None, *, shown: bool) -> None:
    """Raises SetupError for spans that are none, and for options that exclude each other.

    ``shown``: something is asked for that only an audit that ends tells.
    """
    if every is None and for_ is not None:
        raise SetupError(
            "only an auditor that stays can leave", where="--for", remedy="add --every 1m"
        )
    if every is not None and shown:
        raise SetupError(
            "an auditor that stays logs what it finds and shows nothing",
            where="--every",
            remedy="leave out --by, --ids and --json, or --every",
        )
    for text, where in ((every, "--every"), (for_, "--for")):
        if text is not None:
            seconds_of(text, where)


def _audited(project: Project, prove: Callable[..., Books], *, shown: bool) -> Books:
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description} {task.completed:,} messages"))
    with Progress(*columns, console=console, transient=True, disable=not shown) as bars:
        tasks = {topic: bars.add_task(topic, total=None) for topic in project.streams}
        return prove(project, lambda topic, n: bars.advance(tasks[topic], n))


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


def _values(totals: Totals) -> tuple[Count, ...]:
    return tuple(Count(getattr(totals, name)) for name in _SIDES)


def _hour_row(share: Share, totals: Totals) -> tuple[object, ...]:
    if share.hour is not None:
        when = f"{_moment(share.hour):%Y-%m-%d %H:00}"
    else:
        when = "refused before the log" if share.partition is None else "in flight"
    part = "-" if share.partition is None else str(share.partition)
    return (share.source, share.stream, when, part, *_values(totals))
