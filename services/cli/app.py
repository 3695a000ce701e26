"""The application: what all commands share of their options, and the commands themselves."""

import sys
from contextvars import ContextVar
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from services.comments import comments_of
from services.exit_codes import ExitCode

JSON_ASKED: ContextVar[bool] = ContextVar("json_asked", default=False)
"""Whether the command was given ``--json``; set while the command line is read."""

app = typer.Typer(
    name="sluice",
    help="Streams a company's sources into Snowflake, exactly once, with books that balance.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _asked_json(asked: bool) -> bool:  # noqa: FBT001 - typer's form
    JSON_ASKED.set(asked)
    return asked


Folder = Annotated[
    Path,
    typer.Option("--project", "-C", help="The project folder.", envvar="SLUICE_FOLDER"),
]
AsJson = Annotated[
    bool,
    typer.Option(
        "--json", help="Answer with JSON, for programs; errors too.", callback=_asked_json
    ),
]
HERE = Path()


def _show_version(asked: bool) -> None:  # noqa: FBT001 - typer's form
    if asked:
        typer.echo(f"sluice {version('sluice')}")
        raise typer.Exit


@app.callback()
def root(
    *,
    _version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", is_eager=True, callback=_show_version),
    ] = False,
) -> None:
    """Streams a company's sources into Snowflake, exactly once, with books that balance."""


def epilog() -> str:
    """The exit codes, a line each."""
    codes = (f"{code:>3}  {text}" for code, text in comments_of(ExitCode).items())
    return "\n".join(("Exit codes", *codes))


def declared() -> typer.Typer:
    """The application with every command, each with the exit codes at the end of its help."""
    from services.cli.commands import declare  # noqa: PLC0415 - its modules import this one

    declare()
    text = epilog()
    app.info.epilog = text
    groups = [group.typer_instance for group in app.registered_groups]
    for part in (app, *(group for group in groups if group is not None)):
        for command in part.registered_commands:
            command.epilog = text
    return app


def main() -> None:
    """The entry point."""
    sys.exit(declared()())
