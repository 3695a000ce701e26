"""``sluice docs``."""

from pathlib import Path
from typing import Annotated

import typer

from services.cli.app import app

Checkout = Annotated[Path, typer.Argument(metavar="DIR", help="The repository's folder.")]
Check = Annotated[bool, typer.Option("--check", help="Write nothing; end with 1 if one is old.")]


@app.command(name="docs", hidden=True)
def docs_command(folder: Checkout = Path(), *, check: Check = False) -> None:
    """Write the reference pages that are generated from the code."""
    from services.cli.docs import show_changed
    from services.cli.running import answer

    answer("docs", lambda: show_changed(folder, check=check))
