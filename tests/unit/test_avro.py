"""The wire schema, the container around a block, and schemas spelled out."""

import io
import json
from typing import Any, Literal

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, create_model

from schemas import avro
from schemas.contract import Contract
from schemas.errors import ContractError


class Address(BaseModel):
    street: str
    kind: Literal["home", "work"]


class Order(BaseModel):
    order_id: str = Field(description="Its number.")
    ship_to: Address
    bill_to: Address | None = None
    state: Literal["new", "paid"]


CONTRACT = Contract(stream="shop.eu.orders", model=Order, description="Orders.", keep_raw=False)


def test_every_field_is_nullable_and_null_by_default() -> None:
    schema = avro.wire_schema(CONTRACT)
    assert schema["name"] == "eu_orders"
    assert schema["namespace"] == "shop"
    assert schema["doc"] == "Orders."
    assert schema["fields"][0] == {
        "name": "order_id",
        "type": ["null", "string"],
        "default": None,
        "doc": "Its number.",
    }
    assert all(f["type"][0] == "null" and f["default"] is None for f in schema["fields"])
    assert [f["name"] for f in schema["fields"][4:]] == ["_id", "_source", "_received_at", "_extra"]


def test_a_type_is_defined_once_and_named_by_where_it_is_declared() -> None:
    """So that a field before it, or another use of it, does not rename it: evolution goes by names."""
    fields = {f["name"]: f["type"][1] for f in avro.wire_schema(CONTRACT)["fields"]}
    assert fields["bill_to"] == fields["ship_to"]["name"] == "Address"
    kind = fields["ship_to"]["fields"][1]["type"][1]
    assert kind["name"] == "Address_kind"
    assert fields["state"]["name"] == "Order_state"
    more = create_model("Order", first=(Literal["x"], ...), __base__=Order)
    later = avro.wire_schema(Contract(stream="shop.eu.orders", model=more, keep_raw=False))
    assert {f["name"]: f["type"][1] for f in later["fields"]}["state"]["name"] == "Order_state"


def test_the_raw_record_is_there_only_if_kept() -> None:
    kept = Contract(stream="a.b", model=Order)
    assert avro.wire_schema(kept)["fields"][-1]["name"] == "_raw"
    assert list(avro.system_fields(CONTRACT)) == ["_id", "_source", "_received_at", "_extra"]


def test_two_types_of_one_name_are_refused() -> None:
    other = create_model("Address", street=(int, ...))
    model = create_model("Event", a=(Address, ...), b=(other, ...))
    with pytest.raises(ContractError, match="two different types are called Address") as caught:
        avro.wire_schema(Contract(stream="a.b", model=model))
    assert "rename" in caught.value.remedy


def test_a_type_called_as_the_event_is_refused() -> None:
    inner = create_model("orders", n=(int, ...))
    model = create_model("Event", a=(inner, ...))
    with pytest.raises(ContractError, match="two different types are called orders"):
        avro.wire_schema(Contract(stream="shop.orders", model=model))


def test_names_are_of_ascii_letters() -> None:
    inner = create_model("Größe[int]", n=(int, ...))
    model = create_model("Event", a=(inner, ...))
    schema = avro.wire_schema(Contract(stream="shop.orders-2", model=model))
    assert schema["name"] == "orders_2"
    assert schema["fields"][0]["type"][1]["name"] == "Gr__e_int_"


@given(st.integers(0, 2**62))
def test_a_varint_comes_back(number: int) -> None:
    assert avro.read_varint(io.BytesIO(avro.varint(number))) == number


def test_a_container_is_one_that_other_readers_read() -> None:
    schema = avro.wire_schema(CONTRACT)
    value = {f["name"]: None for f in schema["fields"]} | {"order_id": "o1"}
    body = io.BytesIO()
    fastavro.schemaless_writer(body, fastavro.parse_schema(schema), value)
    container = avro.container_block(avro.container_head(schema), 3, body.getvalue() * 3)
    assert list(fastavro.reader(io.BytesIO(container))) == [value] * 3
    assert avro.block_body(container) == (3, body.getvalue() * 3)
    assert avro.block_body(avro.container_head(schema)) == (0, b"")


def test_references_are_replaced_by_what_they_name() -> None:
    inner = {"type": "record", "name": "Inner", "fields": [{"name": "n", "type": "int"}]}
    kind = {"type": "enum", "name": "shop.Kind", "symbols": ["a"]}
    schema: dict[str, Any] = {
        "type": "record",
        "name": "Outer",
        "namespace": "shop",
        "fields": [
            {"name": "one", "type": inner},
            {"name": "two", "type": ["null", "Inner"]},
            {"name": "three", "type": {"type": "array", "items": "shop.Inner"}},
            {"name": "four", "type": {"type": "map", "values": {"type": "Inner"}}},
            {"name": "five", "type": kind},
            {"name": "six", "type": {"type": {"type": "array", "items": "Kind"}}},
            {"name": "seven", "type": "string"},
        ],
    }
    before = json.dumps(schema)
    types = [f["type"] for f in avro.expanded(schema)["fields"]]
    assert types == [
        inner,
        ["null", inner],
        {"type": "array", "items": inner},
        {"type": "map", "values": inner},
        kind,
        {"type": "array", "items": kind},
        "string",
    ]
    assert json.dumps(schema) == before


def test_a_record_inside_itself_stays_a_name() -> None:
    node = {
        "type": "record",
        "name": "Node",
        "fields": [{"name": "next", "type": ["null", "Node"]}],
    }
    assert avro.expanded(node)["fields"][0]["type"] == ["null", "Node"]


def test_our_own_fields_have_one_type() -> None:
    fields = {f["name"]: f["type"][1] for f in avro.wire_schema(CONTRACT)["fields"]}
    assert avro.system_type("_id") == {"type": fields["_id"]}
    assert avro.system_type("_extra") == fields["_extra"]
