"""``sluice duplicates``."""

from typing import Annotated

import typer

from services.cli.app import HERE, AsJson, Folder, app

Streams = Annotated[
    list[str] | None,
    typer.Argument(metavar="STREAM", help="Such as shop.orders; default: all."),
]
Since = Annotated[
    str | None,
    typer.Option(
        "--since",
        help="Only what was logged since: 30m, 12h, 7d, or a time such as 2026-01-31; default: "
        "everything that the log still has.",
    ),
]
Ignore = Annotated[
    list[str] | None,
    typer.Option(
        "--ignore",
        metavar="FIELD",
        help="Do not compare this field, or what a JSON pointer finds in the record as it came, "
        "such as /meta/sent_at; repeatable.",
    ),
]


@app.command()
def duplicates(
    streams: Streams = None,
    since: Since = None,
    ignore: Ignore = None,
    project: Folder = HERE,
    *,
    as_json: AsJson = False,
) -> None:
    """Tell whether duplicates are repeats, or ids that stand for several things.

    Ends with 1 if copies of an id differ in a field of the contract or in ``_extra``: within the
    dedupe window the loader keeps the first of them. Messages that it rejects are counted as dead
    and not compared.
    """
    from services.cli.duplicates import Asked, show_duplicates
    from services.cli.running import with_project

    asked = Asked(streams or [], since, frozenset(ignore or ()))
    with_project(
        project, "duplicates", lambda opened: show_duplicates(opened, asked, as_json=as_json)
    )
