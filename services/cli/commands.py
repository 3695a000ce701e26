"""Imports every module that declares commands."""

from services.cli import processes

__all__ = ["processes"]
