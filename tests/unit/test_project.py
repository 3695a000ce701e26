"""Which streams may stand beside each other, and which names are Sluice's own."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from consumers import ledger
from schemas.contract import Contract
from schemas.errors import SetupError
from services.project import catalogue, load_contract


class Order(BaseModel):
    order_id: str


def contracts(**tables: str | None) -> dict[str, Contract]:
    """A contract for each stream ``shop.<name>``."""
    made = [Contract(stream=f"shop.{n}", model=Order, table=t) for n, t in tables.items()]
    return {contract.stream: contract for contract in made}


def test_streams_of_different_tables_stand_beside_each_other() -> None:
    found = catalogue(contracts(a="orders", b="my-orders", c="My-Orders", d=None), ["shop.e"])
    assert {name for name in found if not name.endswith(".dead")} == {
        f"shop.{letter}" for letter in "abcde"
    }


@pytest.mark.parametrize(
    ("one", "other"), [("orders", "ORDERS"), ("Orders", "orders"), ("shop_raw", None)]
)
def test_two_streams_on_one_folded_table_are_refused(one: str, other: str | None) -> None:
    given = contracts(a=one) | (contracts(b=other) if other else {})
    with pytest.raises(SetupError) as caught:
        catalogue(given, ["shop.raw"])
    assert one.upper() in caught.value.what
    assert "shop.a" in caught.value.what
    assert ("shop.b" if other else "shop.raw") in caught.value.what
    assert "`table`" in caught.value.remedy


@pytest.mark.parametrize("table", [*ledger.TABLES, "SLUICE_DEAD_LETTERS", "sluice_later"])
def test_a_table_of_our_own_is_refused_with_its_stream(table: str) -> None:
    with pytest.raises(SetupError) as caught:
        catalogue(contracts(a=table), [])
    assert "shop.a" in caught.value.what
    assert table.upper() in caught.value.what
    assert "`table`" in caught.value.remedy


@pytest.mark.parametrize("stream", ["sluice.batches", "sluice.cursors", "sluice.orders"])
def test_a_source_called_as_we_are_is_refused(stream: str) -> None:
    """Its topics and tables would be ours, whoever names the stream."""
    own = Contract(stream=stream, model=Order, table="orders")
    for given, named in (({stream: own}, []), ({}, [stream])):
        with pytest.raises(SetupError) as caught:
            catalogue(given, named)
        assert stream in caught.value.what
        assert "another name" in caught.value.remedy
    assert "sluicegate.orders" in catalogue({}, ["sluicegate.orders"])


def test_a_limit_that_is_no_number_is_told_with_its_file(tmp_path: Path) -> None:
    path = tmp_path / "orders.py"
    path.write_text(
        "from pydantic import BaseModel, Field\n"
        "class Order(BaseModel):\n"
        "    zip: str = Field(max_length='x')\n"
    )
    with pytest.raises(SetupError, match="zip") as caught:
        load_contract(path)
    assert caught.value.where == str(path)
