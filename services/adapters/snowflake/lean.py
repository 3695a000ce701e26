"""Imports the connector without what we do not use of it. This package's first import.

Where pandas is installed, the connector imports it. We read rows and write Parquet with Polars, so
that would only cost every process with a session 2.8 seconds of CPU at its start, and the memory.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

UNUSED = ("pandas", "pyarrow")


@contextmanager
def _hidden(*names: str) -> Iterator[None]:
    """Importing these fails inside, as if they were not installed, unless they are loaded."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type] # None: not to be imported
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


with _hidden(*UNUSED):
    import_module("snowflake.connector")
