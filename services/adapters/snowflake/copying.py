"""What COPY INTO answers, and the file that it reads."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.events import LoadPlan

ZSTD_LEVEL = 1
ROW_GROUP_ROWS = 250_000

_LOADED = "LOADED"
_FILE, _STATUS, _ROWS_LOADED, _FIRST_ERROR = 0, 1, 3, 6  # positions in a result row
_COLUMNS_OF_A_FILE = 7  # fewer: the one-column answer "Copy executed with 0 files processed."


@dataclass(frozen=True, slots=True)
class Copied:
    """The sum of a COPY's result rows."""

    loaded: int  # rows of the files with status LOADED
    skipped: bool  # there was no file to load, or its load metadata says it was loaded before
    problem: str = ""  # anything else, in words

    @classmethod
    def of(cls, rows: Sequence[Sequence[Any]]) -> "Copied":
        """Read the rows: ``file, status, rows_parsed, rows_loaded, ..., first_error, ...``."""
        files = [row for row in rows if len(row) >= _COLUMNS_OF_A_FILE]
        loaded = sum(int(row[_ROWS_LOADED]) for row in files if row[_STATUS] == _LOADED)
        wrong = [row for row in files if row[_STATUS] not in {_LOADED, "LOAD_SKIPPED"}]
        skipped = not any(row[_STATUS] == _LOADED for row in files) and not wrong
        return cls(loaded, skipped, "; ".join(map(_problem, wrong)))


def _problem(row: Sequence[Any]) -> str:
    return f"{row[_FILE]} {row[_STATUS]}: {row[_FIRST_ERROR]}"


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A file that was PUT."""

    bytes: int
    sha256: str | None  # hex; None: there is no file

    @classmethod
    def of(cls, path: Path) -> "StagedFile":
        """What there is to know of the file at ``path``."""
        with path.open("rb") as content:
            return cls(path.stat().st_size, hashlib.file_digest(content, "sha256").hexdigest())


NO_FILE = StagedFile(0, None)
"""Of a batch without rows."""


def write_parquet(plan: LoadPlan, folder: Path) -> Path:
    """The plan's frame as one file: equal frames give equal bytes (of one Polars version).

    Snowflake tells a changed file from a known one by its checksum.
    """
    path = folder / plan.file
    plan.frame.write_parquet(
        path,
        compression="zstd",
        compression_level=ZSTD_LEVEL,
        row_group_size=ROW_GROUP_ROWS,
        statistics=False,
    )
    return path
