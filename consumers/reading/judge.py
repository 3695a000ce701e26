"""Decoded rows become verdicts by the contract's rules."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from consumers.reading.align import UNFIT
from schemas.errors import RejectReason
from schemas.events import Violation
from schemas.rules import Rules


@dataclass(frozen=True, slots=True)
class Broken:
    """A row that breaks its contract."""

    row: int
    violations: tuple[Violation, ...]


def judge(frame: pl.DataFrame, rules: Rules) -> list[Broken]:
    """The rows that break a rule, ascending; all others are fine."""
    broken = [Broken(row, (_unfit(frame[UNFIT][row]),)) for row in _unfit_rows(frame)]
    known = {b.row for b in broken}
    broken += [
        Broken(row, violations)
        for row in rules.failing(frame)
        if row not in known and (violations := rules.examine(frame.row(row, named=True)))
    ]
    return sorted(broken, key=lambda b: b.row)


def _unfit_rows(frame: pl.DataFrame) -> Sequence[int]:
    column = frame[UNFIT]
    if column.null_count() == len(column):
        return ()
    return column.is_not_null().arg_true().to_list()


def _unfit(name: str) -> Violation:
    return Violation(f"$.{name}", RejectReason.WRONG_TYPE, "does not fit the contract's type")
