"""``sluice duplicates``: whether duplicates are repeats, or changed data is dropped."""

from dataclasses import asdict, dataclass
from typing import Any

from rich.progress import Progress, SpinnerColumn, TextColumn
from rich.text import Text

from consumers.repeats.conflicts import Example
from consumers.repeats.duplicates import EXAMPLES_MAX, Duplicates, Wanted
from services.bootstrap import Project
from services.cli.answers import notice, print_json, screen, table
from services.cli.since import micros_of
from services.conflicts import chosen, duplicates_of
from services.exit_codes import ExitCode

REMEDY = (
    "if they are states of one thing: an id from the contract's `key` needs a `version` as well, "
    "an id from the source another `event_id`, such as {/id}-{/version}; "
    "if only stamps of the sender differ, they are repeats: ask again with --ignore FIELD"
)
_EXAMPLE = ("id", "copies", "bodies", "first", "last", "fields that differ")
_COUNTS = ("events", "ids", "duplicates", "without_id", "dead", "conflicts")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the options of ``sluice duplicates`` say."""

    streams: list[str]  # none: all
    since: str | None
    ignore: frozenset[str]


def show_duplicates(project: Project, asked: Asked, *, as_json: bool) -> ExitCode:
    """Answer ``sluice duplicates``. Raises SetupError and TransientError."""
    wanted = Wanted(micros_of(asked.since, project.clock), asked.ignore)
    found = _reported(project, asked.streams, wanted, shown=not as_json)
    conflicts = sum(each.conflicts for each in found)
    if as_json:
        print_json(as_data(found))
    else:
        show(found)
    return ExitCode.CHECK_FAILED if conflicts else ExitCode.OK


def _reported(
    project: Project, names: list[str], wanted: Wanted, *, shown: bool
) -> list[Duplicates]:
    columns = (SpinnerColumn(), TextColumn("{task.description} {task.completed:,} messages"))
    with Progress(*columns, console=screen(errors=True), transient=True, disable=not shown) as bars:
        tasks = {c.topic: bars.add_task(c.topic, total=None) for c in chosen(project, names)}
        return duplicates_of(project, names, wanted, lambda topic, n: bars.advance(tasks[topic], n))


def as_data(found: list[Duplicates]) -> dict[str, Any]:
    """The report as JSON takes it."""
    conflicts = sum(each.conflicts for each in found)
    rest = {"remedy": REMEDY} if conflicts else {}
    return {"conflicts": conflicts, "streams": [asdict(each) for each in found], **rest}


def show(found: list[Duplicates]) -> None:
    """The report for a person; its last lines say what it means."""
    console = screen()
    rows = [(each.stream, *(getattr(each, name) for name in _COUNTS)) for each in found]
    console.print(table(("stream", *(name.replace("_", " ") for name in _COUNTS)), rows))
    for each in found:
        if each.conflicts:
            console.print(table(_EXAMPLE, map(_row, each.examples), f"Conflicts of {each.stream}"))
    _conclude(found)


def _row(example: Example) -> tuple[object, ...]:
    first, last = (f"{p.topic}/{p.partition}/{p.offset}" for p in (example.first, example.last))
    return example.id, example.copies, example.bodies, first, last, ", ".join(example.fields)


def _conclude(found: list[Duplicates]) -> None:
    for each in found:
        if each.conflicts > EXAMPLES_MAX:
            notice(f"only the first {EXAMPLES_MAX} conflicts of {each.stream}")
    console, conflicts = screen(), sum(each.conflicts for each in found)
    if not conflicts:
        console.print("no id has copies that differ: duplicates are repeats")
        return
    console.print(
        f"ids with copies that differ: {conflicts:,}; "
        "within the dedupe window the first copy is loaded and the others are dropped",
        soft_wrap=True,
    )
    console.print(Text(f"next   {REMEDY}"), soft_wrap=True)
