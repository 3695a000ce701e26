"""Imports every module that declares commands."""

from services.cli import processes, up

__all__ = ["processes", "up"]
