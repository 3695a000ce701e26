"""Sample records from a file: JSON, a JSON array, NDJSON, or CSV."""

import csv
import json
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

from schemas.errors import SetupError

FILE_BYTES_MAX = 200_000_000
DELIMITERS = {".csv": ",", ".tsv": "\t"}
_INTEGER = re.compile(r"-?(0|[1-9]\d{0,17})")  # a leading zero belongs to a code, not a number
_NUMBER = re.compile(r"-?(0|[1-9]\d*)\.\d+")
_BOOLEANS = {"true": True, "false": False}


def read_samples(path: Path, limit: int) -> list[dict[str, Any]]:
    """Up to ``limit`` records; numbers with a point are Decimal. Raises SetupError."""
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise _unusable(path, f"is larger than {FILE_BYTES_MAX:,} bytes", "take a part of it")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise _unusable(path, f"cannot be read: {error}", "name a UTF-8 text file") from error
    delimiter = DELIMITERS.get(path.suffix.lower())
    try:
        if delimiter is not None:
            records = _of_csv(text, delimiter, limit)
        else:
            records = list(islice(_of_json(text), limit))
    except (ValueError, csv.Error) as error:
        remedy = "give JSON, a JSON array, NDJSON or, under a name that ends in .csv, CSV"
        raise _unusable(path, f"cannot be read: {error}", remedy) from error
    if not records:
        raise _unusable(path, "holds no records", "give one with samples in it")
    return records


def parse_record(text: str) -> dict[str, Any]:
    """A JSON object with exact numbers. Raises ValueError for anything else."""
    value = _parsed(text)
    if not isinstance(value, dict):
        msg = f"a record is an object, not {type(value).__name__}: {text[:40]}"
        raise ValueError(msg)  # noqa: TRY004 - data, as its callers expect
    return value


def _parsed(text: str) -> Any:  # noqa: ANN401 - any JSON value
    return json.loads(text, parse_float=Decimal, parse_constant=_refuse)


def _refuse(name: str) -> None:
    msg = f"{name} is no JSON"
    raise ValueError(msg)


def _of_json(text: str) -> Iterator[dict[str, Any]]:
    if text.lstrip().startswith("["):
        for item in _parsed(text):
            if not isinstance(item, dict):
                msg = f"the array holds {type(item).__name__}, not objects"
                raise ValueError(msg)  # noqa: TRY004 - see above
            yield item
        return
    try:
        yield parse_record(text)
    except json.JSONDecodeError:
        yield from map(parse_record, filter(str.strip, text.splitlines()))


def _of_csv(text: str, delimiter: str, limit: int) -> list[dict[str, Any]]:
    """Each column gets the narrowest type that all its cells have; empty cells are null."""
    rows = csv.DictReader(text.splitlines(keepends=True), delimiter=delimiter, strict=True)
    found = list(islice(rows, limit))
    if any(None in row or None in row.values() for row in found):
        msg = "a row has more or fewer cells than the header"
        raise ValueError(msg)
    readers = {
        name: _reader([row[name] for row in found if row[name]]) for name in rows.fieldnames or ()
    }
    return [
        {name: readers[name](value) if value else None for name, value in row.items()}
        for row in found
    ]


def _reader(cells: list[str]) -> Callable[[str], Any]:
    if all(_INTEGER.fullmatch(cell) for cell in cells):
        return int
    if all(_INTEGER.fullmatch(cell) or _NUMBER.fullmatch(cell) for cell in cells):
        return Decimal
    if all(cell.lower() in _BOOLEANS for cell in cells):
        return lambda cell: _BOOLEANS[cell.lower()]
    return str


def _unusable(path: Path, what: str, remedy: str) -> SetupError:
    return SetupError(what, where=str(path), remedy=remedy)
