"""The commands' common ground: the application, the project folder, the ways to end."""

import logging
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from schemas.errors import SetupError, TransientError
from services import logs
from services.bootstrap import Project, open_project
from services.cli.answers import JSON_ASKED, tell_error, waiting
from services.docs import comments_of
from services.exit_codes import ExitCode
from services.run import run_command
from services.settings import FILE

SERVICES = frozenset({"gateway", "poller", "loader", "auditor", "monitor"})
"""Roles that run until they are stopped: their errors are log lines."""

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


def require_project(folder: Path) -> None:
    """Raises SetupError where there is no project: nothing is ever started there by mistake."""
    if not (folder / FILE).is_file():
        raise SetupError(
            f"no {FILE} here",
            where=str(folder.resolve()),
            remedy="name the project's folder with --project, or make one: sluice init DIR",
        )


def with_project(
    folder: Path,
    role: str,
    action: Callable[[Project], ExitCode | None],
    require: Callable[[Path], None] = require_project,
) -> None:
    """Run a command on a project folder, its embedded parts running, and end with its exit code.

    ``require`` is called before anything is started. Long-running roles log their errors; all
    others show them to the person who asked.
    """

    def run() -> ExitCode | None:
        require(folder)
        with ExitStack() as stack:
            with waiting("starting the embedded broker and warehouse, or finding them"):
                project = stack.enter_context(open_project(folder))
            if role in SERVICES:
                logs.configure(role, project.settings.log_level)
            return action(project)

    if role not in SERVICES:
        answer(role, run)
    logs.configure(role, "info")
    raise typer.Exit(run_command(run))


def answer(role: str, action: Callable[[], ExitCode | None]) -> None:
    """Run a command that answers and ends; its errors are shown, not logged."""

    def run() -> ExitCode | None:
        try:
            return action()
        except (SetupError, TransientError) as error:
            return tell_error(error)
        except BrokenPipeError:  # the reader has seen enough, such as `head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return ExitCode.OK

    logs.configure(role, "info" if role == "up" else "warning")
    logging.getLogger("snowflake").setLevel(logging.ERROR)  # it warns of clouds we are not in
    raise typer.Exit(run_command(run))


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
