"""Signature schemes: one file each."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from producers.plugins import find
from producers.signing import AnyScheme, Scheme


def find_schemes(folder: Path | None = None) -> Mapping[str, AnyScheme]:
    """The schemes that ship and those of a project's ``signatures`` folder, by name.

    Raises SetupError.
    """
    return find(import_module(__name__), "SCHEME", Scheme, folder)
