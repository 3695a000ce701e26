"""The commands' common ground: the application, the project folder, the ways to answer."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from services import logs
from services.bootstrap import Project, open_project
from services.exit_codes import ExitCode
from services.run import run_command

app = typer.Typer(
    name="sluice",
    help="Streams a company's sources into Snowflake, exactly once, with books that balance.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Folder = Annotated[
    Path,
    typer.Option("--project", "-C", help="The project folder.", envvar="SLUICE_PROJECT"),
]
AsJson = Annotated[bool, typer.Option("--json", help="Answer with JSON, for programs.")]
HERE = Path()


def with_project(folder: Path, role: str, action: Callable[[Project], ExitCode | None]) -> None:
    """Run a command on a project folder and end with its exit code."""

    def run() -> ExitCode | None:
        with open_project(folder) as project:
            logs.configure(role, project.settings.log_level)
            return action(project)

    logs.configure(role, "info")
    raise typer.Exit(run_command(run))


def main() -> None:
    """The entry point."""
    from services.cli.commands import declare  # noqa: PLC0415 - its modules import this one

    declare()
    sys.exit(app())
