"""``sluice audit``."""

from enum import StrEnum
from typing import Annotated

import typer

from services.cli.app import HERE, AsJson, Folder, app


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


Ids = Annotated[
    bool,
    typer.Option(
        "--ids",
        help="Look at the ids of all events too: that each duplicate has a first copy that is "
        "loaded, and that no id is loaded twice within dedupe_window. Takes 32 bytes an event.",
    ),
]
Every = Annotated[
    str | None,
    typer.Option(
        "--every",
        metavar="SPAN",
        help="Stay, as a process with an admin port, and audit again and again: 30s, 1m, 1h. "
        "Everything at first and every audit.full_every_seconds, what is new in between.",
    ),
]
For = Annotated[
    str | None,
    typer.Option(
        "--for",
        metavar="SPAN",
        help="With --every: leave after so long, with 1 if the books do not balance then.",
    ),
]


@app.command()
def audit(  # noqa: PLR0913 - one argument an option
    project: Folder = HERE,
    by: Split = None,
    every: Every = None,
    for_: For = None,
    *,
    ids: Ids = False,
    as_json: AsJson = False,
) -> None:
    """Prove, from log and warehouse, that nothing was lost or doubled.

    Ends with 1 and names every range that does not balance.
    """
    from services.cli.audit import Asked, audited

    audited(project, Asked(by, every, for_, ids, as_json))
