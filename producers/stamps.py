"""Timestamps that are all written alike, as one program writes them: read a page at a time.

A page becomes a matrix of characters, of which a row is the same place of every text. For a
thousand texts that is less than half of a pattern and a parser over each of them
(``python -m benchmarks encoding``); what is written otherwise is left to those.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

_FORM = "0000-00-00T00:00:00.000000"
_WIDTHS = frozenset({len("0000-00-00T00:00:00Z"), *range(len("0000-00-00T00:00:00.0Z"), 28)})
_PARTS = (4, 2, 2, 2, 2, 2)  # digits of year, month, day, hour, minute, second; then a fraction's
_MICRO_DIGITS = 6
YEAR_MIN, YEAR_MAX = 1000, 2999  # as the pattern of single texts has it


def even_stamps(values: Sequence[Any]) -> pl.Series | None:
    """Texts like ``2026-11-23T04:45:48.796Z``, all of one width, as naive UTC in microseconds.

    None where one of them is anything else, or no time at all.
    """
    if {str} != set(map(type, values)):
        return None
    width, *others = set(map(len, values))
    text = "".join(values)
    if others or width not in _WIDTHS or not text.isascii():
        return None
    form = np.frombuffer(f"{_FORM[: width - 1]}Z".encode(), np.uint8)
    rows = np.ascontiguousarray(np.frombuffer(text.encode(), np.uint8).reshape(-1, width).T)
    mark = form != ord("0")
    digits = rows[~mark] - np.uint8(ord("0"))  # what is below it becomes far more than nine
    if (rows[mark] != form[mark, np.newaxis]).any() or digits.max() > 9:  # noqa: PLR2004 - a digit
        return None
    *whole, fraction = _numbers(digits)
    return _moments(*whole, fraction * 10 ** (_MICRO_DIGITS - len(digits) + sum(_PARTS)))


def _numbers(digits: NDArray[np.uint8]) -> Iterator[NDArray[np.int64]]:
    """Year, month, day, hour, minute, second and fraction of every column."""
    first = 0
    for count in (*_PARTS, len(digits) - sum(_PARTS)):
        number = np.zeros(digits.shape[1], np.int64)
        for digit in digits[first : first + count]:
            number *= 10
            number += digit
        first += count
        yield number


def _moments(*parts: NDArray[np.int64]) -> pl.Series | None:
    """None where one of them is none, such as 31 June."""
    year, month, day, hour, minute, second, micro = parts
    months = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
    days = months.astype("datetime64[D]") + (day - 1)
    rolled = days.astype("datetime64[M]") != months
    if rolled.any() or month.min() < 1 or year.min() < YEAR_MIN:
        return None
    most = ((year, YEAR_MAX), (month, 12), (hour, 23), (minute, 59), (second, 59))
    if any(part.max() > limit for part, limit in most):
        return None
    within = ((hour * 60 + minute) * 60 + second) * 1_000_000 + micro
    stamps = days.astype("datetime64[us]").astype(np.int64) + within
    return pl.Series(stamps).cast(pl.Datetime("us"))
