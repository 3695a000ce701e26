"""Imports every module that declares commands."""

from importlib import import_module
from pathlib import Path

PLAIN = {"__init__", "__main__", "app", "commands", "playing", "since"}


def declare() -> None:
    """Import the modules of this folder; each declares its commands on the application."""
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if path.stem not in PLAIN:
            import_module(f"services.cli.{path.stem}")
