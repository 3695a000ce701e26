"""``sluice init``: a project folder that runs as it is."""

import re
import secrets
from importlib.resources import files
from pathlib import Path

import typer

from schemas.errors import SetupError
from services.cli.answers import print_json
from services.exit_codes import ExitCode

PLACE = "PROJECT_NAME"  # in the templates
SECRET_BYTES = 32
SECRET_FILE = Path("secrets/shop")
TEMPLATES = {
    Path("sluice.toml"): "sluice.toml",
    Path("contracts/orders.py"): "orders.py.txt",
    Path("sources/README.md"): "sources.md",
    Path(".gitignore"): "gitignore",
    Path("README.md"): "readme.md",
}
"""What is written, and the template that it comes from."""


def show_written(folder: Path, *, as_json: bool) -> ExitCode:
    """Answer ``sluice init``. Raises SetupError."""
    written = write_project(folder)
    if as_json:
        print_json({"folder": str(folder), "files": [str(path) for path in written]})
        return ExitCode.OK
    for path in written:
        typer.echo(f"wrote {folder / path}")
    typer.echo(f"next: cd {folder} && sluice up    (README.md has the rest)")
    return ExitCode.OK


def write_project(folder: Path) -> list[Path]:
    """Write the files, and a random secret that only its owner may read; their paths.

    Raises SetupError where the folder holds something or cannot be written.
    """
    try:
        if folder.is_dir() and any(folder.iterdir()):
            raise SetupError(
                "the folder is not empty",
                where=str(folder.resolve()),
                remedy="name a new folder; nothing was written",
            )
        folder.mkdir(parents=True, exist_ok=True)
        for path, name in TEMPLATES.items():
            text = files("services").joinpath("templates", name).read_text()
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text.replace(PLACE, _name(folder)))
        _write_secret(folder / SECRET_FILE)
    except OSError as error:
        raise SetupError(
            f"cannot be written ({error.strerror})",
            where=str(error.filename or folder),
            remedy="name a folder that you may write to",
        ) from error
    return [*TEMPLATES, SECRET_FILE]


def _write_secret(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(mode=0o600, exist_ok=False)
    path.write_text(secrets.token_hex(SECRET_BYTES) + "\n")


def _name(folder: Path) -> str:
    """A project name like the folder's."""
    name = re.sub(r"[^a-z0-9]+", "-", folder.resolve().name.lower()).strip("-")[:40]
    return name if name[:1].isalpha() else f"sluice-{name}".rstrip("-")[:40]
