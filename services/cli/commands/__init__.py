"""What the commands are called, take and say: a module a command, or a few that belong together.

These modules import next to nothing, since every start reads all of them: help and wrong options
are answered at once. What a command does is in the module of the same name one folder up, and is
imported by the command when it runs.
"""

from importlib import import_module
from pathlib import Path


def declare() -> None:
    """Import the modules of this folder; each declares its commands on the application."""
    for path in sorted(Path(__file__).parent.glob("[a-z]*.py")):
        import_module(f"{__name__}.{path.stem}")
