"""Decoded rows become verdicts."""

import polars as pl
from pydantic import BaseModel, Field, field_validator

from consumers.reading.align import UNFIT
from consumers.reading.judge import judge
from schemas import avro
from schemas.contract import Contract
from schemas.errors import RejectReason
from schemas.rules import Rules, compile_rules


class Order(BaseModel):
    order_id: str = Field(min_length=1)
    amount: float = Field(ge=0)


class Checked(Order):
    @field_validator("order_id")
    @classmethod
    def _refuse(cls, value: str) -> str:
        if value == "bad":
            raise ValueError("no")
        return value


def rules(model: type[BaseModel] = Order) -> Rules:
    return compile_rules(Contract(stream="shop.orders", model=model))


def frame(ids: list[str | None], amounts: list[float], unfit: list[str | None]) -> pl.DataFrame:
    return pl.DataFrame(
        {"order_id": ids, "amount": amounts, UNFIT: unfit, avro.EXTRA: [None] * len(ids)},
        {"order_id": pl.String, "amount": pl.Float64, UNFIT: pl.String, avro.EXTRA: pl.String},
    )


def test_rows_that_break_a_rule_are_named_in_order_with_their_violations() -> None:
    rows = frame(["a", "", None, "d", "e"], [1, -1, 2, 3, 4], [None, None, None, "amount", None])
    found = judge(rows, rules())
    assert [b.row for b in found] == [1, 2, 3]
    assert [[(v.path, v.reason) for v in b.violations] for b in found] == [
        [("$.order_id", RejectReason.OUT_OF_RANGE), ("$.amount", RejectReason.OUT_OF_RANGE)],
        [("$.order_id", RejectReason.MISSING)],
        [("$.amount", RejectReason.WRONG_TYPE)],
    ]


def test_fine_rows_are_not_looked_at_again() -> None:
    assert judge(frame(["a"], [1], [None]), rules()) == []
    assert judge(frame([], [], []), rules()) == []


def test_a_row_that_does_not_fit_is_told_once() -> None:
    (found,) = judge(frame([None], [-1], ["order_id"]), rules())
    assert [v.reason for v in found.violations] == [RejectReason.WRONG_TYPE]


def test_custom_validators_judge_row_by_row() -> None:
    found = judge(frame(["bad", "good"], [1, 1], [None, None]), rules(Checked))
    assert [(b.row, b.violations[0].reason) for b in found] == [(0, RejectReason.INVALID)]
