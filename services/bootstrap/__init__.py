"""Builds what the processes and commands work with: the only package that makes adapters.

The ports of a process are in a module of their own, so that no process imports another's clients.
"""

from services.bootstrap.project import Project, open_project, read_project

__all__ = ["Project", "open_project", "read_project"]
