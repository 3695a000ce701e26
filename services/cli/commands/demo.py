"""``sluice demo``."""

from pathlib import Path
from typing import Annotated

import typer

from services.cli.app import app


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
    from services.cli.demo import played

    played(folder, file, share, keep=keep)
