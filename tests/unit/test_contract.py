"""What a contract refuses, and the names that follow from it."""

import datetime as dt
from typing import Any

import pytest
from pydantic import BaseModel, Field, JsonValue, ValidationError, create_model

from schemas.contract import Contract, raw_contract
from schemas.dead_letters import dead_contract


class Order(BaseModel):
    order_id: str
    at: dt.datetime
    day: dt.date
    lines: list[int]
    free: JsonValue
    blob: bytes


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"stream": "orders"}, "stream"),
        ({"stream": "Shop.orders"}, "stream"),
        ({"stream": "shop." + "x" * 200}, "stream"),
        ({"key": ("nothing",)}, "key: the model has no field 'nothing'; it has"),
        ({"key": ("order_id",), "version": ("nothing",)}, "version: the model has no field"),
        ({"version": ("at",)}, "version: needs a key"),
        ({"key": ("lines",)}, "key: 'lines' is no plain value"),
        ({"key": ("free",)}, "key: 'free' is no plain value"),
        ({"key": ("order_id",), "version": ("blob",)}, "version: 'blob' is no plain value"),
        ({"business_date": "order_id"}, "business_date: 'order_id' is not a date"),
        ({"business_date": "nothing"}, "business_date: 'nothing' is not a date"),
        ({"dedupe_window": dt.timedelta(days=8)}, "dedupe_window: between 0 and 7 days"),
        ({"dedupe_window": dt.timedelta(seconds=-1)}, "dedupe_window: between 0 and 7 days"),
        ({"partitions": 0}, "partitions"),
        ({"unknown": 1}, "unknown"),
    ],
    ids=str,
)
def test_an_inconsistent_contract_is_refused(given: dict[str, Any], what: str) -> None:
    with pytest.raises(ValidationError, match=what):
        Contract(**({"stream": "shop.orders", "model": Order} | given))


def test_two_fields_of_one_column_are_refused() -> None:
    model = create_model("Event", id=(int, ...), ID=(int, ...))
    with pytest.raises(ValidationError, match="the columns of two fields are the same: ID"):
        Contract(stream="shop.orders", model=model)


def test_two_fields_of_one_name_in_json_are_refused() -> None:
    model = create_model("Event", a=(int, ...), b=(int, Field(alias="a")))
    with pytest.raises(ValidationError, match="the names in JSON of two fields are the same: a"):
        Contract(stream="shop.orders", model=model)


def test_a_contract_names_topic_dead_topic_and_table() -> None:
    contract = Contract(stream="shop.eu-west.orders_2", model=Order, business_date="at")
    assert contract.topic == "shop.eu-west.orders_2"
    assert contract.dead_topic == "shop.eu-west.orders_2.dead"
    assert contract.table_name == "SHOP_EU_WEST_ORDERS_2"
    assert Contract(stream="a.b", model=Order, table="T", business_date="day").table_name == "T"


@pytest.mark.parametrize(
    ("table", "name"), [("orders", "ORDERS"), ("Order", "ORDER"), ("my-orders", "my-orders")]
)
def test_a_table_is_called_as_the_warehouse_calls_it(table: str, name: str) -> None:
    """What it folds itself is folded; what has to be quoted keeps its case."""
    assert Contract(stream="a.b", model=Order, table=table).table_name == name


def test_a_stream_without_a_contract_keeps_its_payload() -> None:
    contract = raw_contract("shop.events")
    assert [f.name for f in contract.fields] == ["payload"]
    assert not contract.keep_raw


def test_dead_letters_of_all_streams_share_a_table() -> None:
    contract = dead_contract("shop.orders")
    assert contract.stream == contract.topic == "shop.orders.dead"
    assert contract.table_name == "SLUICE_DEAD_LETTERS"
    assert not contract.keep_raw
