"""``sluice dead``."""

from typing import Annotated

import typer

from schemas.errors import RejectReason
from services.cli.app import HERE, AsJson, Folder, app

dead = typer.Typer(help="Look into dead letters: what was rejected, and why.", no_args_is_help=True)
app.add_typer(dead, name="dead")

Stream = Annotated[str | None, typer.Option("--stream", help="Only of this stream.")]
Reason = Annotated[
    RejectReason | None,
    typer.Option(
        "--reason",
        help="Only with this reason; see docs/reference/reject-reasons.md.",
        metavar="CODE",
    ),
]
Since = Annotated[
    str | None,
    typer.Option(
        "--since", help="Only received since: 30m, 12h, 7d, or a time such as 2026-01-31."
    ),
]
Limit = Annotated[int, typer.Option(min=1, help="Most lines, newest first.")]


@dead.command(name="list")
def list_command(  # noqa: PLR0913 - one argument an option
    stream: Stream = None,
    reason: Reason = None,
    since: Since = None,
    limit: Limit = 50,
    project: Folder = HERE,
    *,
    as_json: AsJson = False,
) -> None:
    """List dead letters, the newest first."""
    from services.cli.dead import Asked, show_list
    from services.cli.running import with_project

    asked = Asked(stream, reason, since)
    with_project(project, "dead", lambda opened: show_list(opened, asked, limit, as_json=as_json))


@dead.command(name="count")
def count_command(
    stream: Stream = None,
    reason: Reason = None,
    since: Since = None,
    project: Folder = HERE,
    *,
    as_json: AsJson = False,
) -> None:
    """Count dead letters by fault: equal fingerprints are the same fault at the same place."""
    from services.cli.dead import Asked, show_count
    from services.cli.running import with_project

    asked = Asked(stream, reason, since)
    with_project(project, "dead", lambda opened: show_count(opened, asked, as_json=as_json))


@dead.command(name="show")
def show_command(
    id_: Annotated[str, typer.Argument(metavar="ID", help="As `sluice dead list` shows it.")],
    project: Folder = HERE,
    *,
    as_json: AsJson = False,
) -> None:
    """Show one dead letter: every violation, and the original as it came."""
    from services.cli.dead import show_one
    from services.cli.running import with_project

    with_project(project, "dead", lambda opened: show_one(opened, id_, as_json=as_json))
