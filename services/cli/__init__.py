"""The command line."""

import os

# a process works on one batch at a time, and more work means more processes: threads of Polars
# only cost, twice the CPU for a page of a hundred records. Has to be said before its import.
os.environ.setdefault("POLARS_MAX_THREADS", "1")  # noqa: TID251 - no setting of ours

from services.cli.app import main

__all__ = ["main"]
