"""Runs what a command does: on a project folder or without one, with the ways to end."""

import logging
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import typer

from schemas.errors import SetupError, TransientError
from services import logs
from services.bootstrap import Project, open_project
from services.cli.answers import tell_error, waiting
from services.exit_codes import ExitCode
from services.run import run_command
from services.settings import FILE

SERVICES = frozenset({"gateway", "poller", "loader", "auditor", "monitor"})
"""Roles that run until they are stopped: their errors are log lines."""


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
    logs.install_hooks()
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
