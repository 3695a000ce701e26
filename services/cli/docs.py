"""``sluice docs``: the reference pages of the repository, written from the code."""

from pathlib import Path

import typer

from schemas.errors import SetupError
from services.cli.answers import notice
from services.cli.reference import render_cli
from services.exit_codes import ExitCode
from services.reference.pages import code_pages
from services.reference.sources import sources_page
from services.reference.tables import tables_page
from services.reference.topics import topics_page

MARK = Path("services/reference/pages.py")  # what makes a folder this repository


def show_changed(folder: Path, *, check: bool) -> ExitCode:
    """Answer ``sluice docs``. Raises SetupError outside the repository."""
    if not (folder / MARK).is_file():
        raise SetupError(
            "this is not the repository of Sluice",
            where=str(folder.resolve()),
            remedy="name its folder: sluice docs DIR",
        )
    old = stale(folder) if check else write(folder)
    for path in old:
        typer.echo(f"{'is old' if check else 'wrote'}: {path}")
    if not old:
        notice("every page is current")
    return ExitCode.CHECK_FAILED if check and old else ExitCode.OK


def pages() -> dict[Path, str]:
    """Every generated file, by its path from the top of the repository."""
    return {
        **code_pages(),
        Path("docs/reference/cli.md"): render_cli(),
        Path("docs/reference/sources.md"): sources_page(),
        Path("docs/reference/topics.md"): topics_page(),
        Path("docs/reference/tables.md"): tables_page(),
    }


def stale(root: Path) -> list[Path]:
    """The generated files below ``root`` that are missing or differ from the code."""
    return [
        path
        for path, text in pages().items()
        if not (root / path).is_file() or (root / path).read_text() != text
    ]


def write(root: Path) -> list[Path]:
    """Bring the generated files up to date; those that changed."""
    changed = stale(root)
    for path in changed:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(pages()[path])
    return changed
