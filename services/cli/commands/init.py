"""``sluice init``."""

from pathlib import Path
from typing import Annotated

import typer

from services.cli.app import AsJson, app


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Write a project that runs as it is: settings, a contract, a webhook source, a README."""
    from services.cli.init import show_written
    from services.cli.running import answer

    answer("init", lambda: show_written(folder, as_json=as_json))
