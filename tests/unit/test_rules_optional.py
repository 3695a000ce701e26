"""Constraints written inside ``| None`` or a list hold as those outside do."""

import datetime as dt
import enum
from decimal import Decimal
from typing import Annotated, Any, Literal

import polars as pl
import pytest
from pydantic import BaseModel, Field

from schemas.columns import dtype_of
from schemas.contract import Contract
from schemas.rules import compile_rules


class Engine(enum.Enum):
    four = "4 Cycle"
    jet = "Turbo-jet"


class Optional(BaseModel):
    number: Annotated[int, Field(ge=1)] | None = None
    ratio: Annotated[float, Field(le=1)] | None = None
    price: Annotated[Decimal, Field(max_digits=6, decimal_places=2, gt=0)] | None = None
    day: Annotated[dt.date, Field(ge=dt.date(2000, 1, 1))] | None = None
    code: Annotated[str, Field(pattern="^N")] | None = None
    outside: Annotated[int | None, Field(ge=1)] = None
    kind: Literal["4 Cycle", "Turbo-jet"] | None = None
    engine: Engine | None = None
    kinds: list[Literal["4 Cycle", "Turbo-jet"]] | None = None


CONTRACT = Contract(stream="a.b", model=Optional)
RULES = compile_rules(CONTRACT)


def failing(**values: Any) -> bool:
    columns = {
        f.name: pl.Series([values.get(f.name)], dtype=dtype_of(f.type)) for f in CONTRACT.fields
    }
    return RULES.failing(pl.DataFrame(columns)) == [0]


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("number", 1, 0),
        ("ratio", 1.0, 1.5),
        ("price", Decimal("0.01"), Decimal("0.00")),
        ("day", dt.date(2000, 1, 1), dt.date(1999, 12, 31)),
        ("code", "N1", "D1"),
        ("outside", 1, 0),
        ("kind", "4 Cycle", "Steam"),
        ("engine", "Turbo-jet", "Steam"),
        ("kinds", ["4 Cycle"], ["4 Cycle", "Steam"]),
    ],
)
def test_a_constraint_of_an_optional_field_holds(name: str, good: Any, bad: Any) -> None:
    assert not RULES.by_row
    assert not failing(**{name: None})
    assert not failing(**{name: good})
    assert failing(**{name: bad})
    row = {f.name: None for f in CONTRACT.fields} | {name: bad}
    assert RULES.examine(row)  # pydantic says the same
