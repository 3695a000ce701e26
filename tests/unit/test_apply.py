"""What apply does to tables, and what it leaves to people."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from pydantic import BaseModel

from consumers import ledger
from schemas.contract import Contract
from schemas.table import columns_of
from services.setup.apply import Changes, apply_tables


class Order(BaseModel):
    order_id: str
    n: int
    note: str | None
    times: int = 1


ORDERS = Contract(stream="shop.orders", model=Order, key=("order_id",))


class Catalogue:
    """A warehouse that has one table, and remembers what it is asked to change."""

    def __init__(self, types: Mapping[str, str], table: str = "SHOP_ORDERS") -> None:
        self.types = types
        self.table = table
        self.executed: list[str] = []

    def ensure_ledger(self) -> None:
        pass

    def rows(self, _sql: str) -> Sequence[Mapping[str, Any]]:
        return [
            {
                "table_name": self.table,
                "column_name": name,
                "data_type": kind,
                "numeric_precision": 38 if kind == "NUMBER" else None,
                "numeric_scale": 0 if kind == "NUMBER" else None,
            }
            for name, kind in self.types.items()
        ]

    def execute(self, sql: str) -> int:
        self.executed.append(sql)
        return 0


def applied(**other: str) -> tuple[Changes, list[str]]:
    """The changes to a table that is as the contract says but for these columns."""
    types = {c.name.upper(): c.type.partition("(")[0] for c in columns_of(ORDERS)}
    found, changes = Catalogue({k: v for k, v in (types | other).items() if v}), Changes()
    apply_tables(found, {"shop.orders": ORDERS}, changes)  # type: ignore[arg-type] # no session
    return changes, found.executed


def test_a_table_that_is_right_is_left_alone() -> None:
    assert applied() == (Changes(), [])


def test_columns_that_an_older_ledger_lacks_are_added_and_told() -> None:
    found, changes = (
        Catalogue({"BATCH": "VARCHAR", "TOPIC_ID": "VARCHAR"}, ledger.LEDGER),
        Changes(),
    )
    apply_tables(found, {}, changes)  # type: ignore[arg-type] # no session
    assert (
        found.executed
        == changes.done
        == ["ALTER TABLE SLUICE_LEDGER ADD COLUMN FILE_SHA256 VARCHAR"]
    )


def test_a_missing_column_is_added() -> None:
    changes, executed = applied(N="")
    assert executed == changes.done
    assert [statement.split(" ADD ")[0] for statement in executed] == ["ALTER TABLE SHOP_ORDERS"]


@pytest.mark.parametrize(
    ("column", "told"), [("N", ["shop.orders: new and required: n"]), ("NOTE", []), ("TIMES", [])]
)
def test_a_new_field_that_events_must_have_is_told(column: str, told: list[str]) -> None:
    """Those that wait in the log do not have it."""
    changes, executed = applied(**{column: ""})
    assert len(executed) == 1
    assert [warning.partition(";")[0] for warning in changes.warnings] == told


def test_a_table_in_lower_case_is_widened_like_any_other() -> None:
    lower = Contract(stream="shop.orders", model=Order, table="orders")
    types = {c.name.upper(): c.type.partition("(")[0] for c in columns_of(lower) if c.name != "n"}
    found, changes = Catalogue(types, "ORDERS"), Changes()
    apply_tables(found, {"shop.orders": lower}, changes)  # type: ignore[arg-type] # no session
    assert found.executed == changes.done == ["ALTER TABLE ORDERS ADD COLUMN N NUMBER(38,0)"]


@pytest.mark.parametrize("kind", ["VARCHAR", "FLOAT", "VARIANT"])
def test_a_column_of_another_type_is_left_to_people(kind: str) -> None:
    changes, executed = applied(N=kind)
    assert (changes.done, executed) == ([], [])
    (told,) = changes.differences
    assert f"SHOP_ORDERS.N is {kind}, the contract says NUMBER(38,0)" in told
    assert "by hand" in told
