"""Values that a column cannot hold: no such date, too many digits."""

import datetime as dt
import math
from decimal import Decimal
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field

from consumers.reading.align import UNFIT, Alignment
from consumers.reading.decode import Decoded, Decoder
from consumers.reading.records import RecordReader
from schemas import avro
from schemas.contract import Contract
from schemas.errors import RejectReason
from tests.support.strangers import message


def reasons(found: Decoded) -> list[tuple[int, RejectReason]]:
    return [(u.row, u.violation.reason) for u in found.unreadable]


OUT_OF_BOUNDS: list[tuple[str, dict[str, Any], int]] = [
    ("date", {"type": "int", "logicalType": "date"}, 2**31 - 1),
    ("date", {"type": "int", "logicalType": "date"}, -(2**31)),
    ("time", {"type": "long", "logicalType": "time-micros"}, 86_400_000_000),
    ("time", {"type": "int", "logicalType": "time-millis"}, 2**31 - 1),
    ("stamp", {"type": "long", "logicalType": "timestamp-micros"}, 2**62),
    ("stamp", {"type": "long", "logicalType": "timestamp-millis"}, 2**62),
    ("stamp", {"type": "long", "logicalType": "timestamp-millis"}, -(2**62)),
    ("stamp", {"type": "long", "logicalType": "local-timestamp-micros"}, -(2**62)),
]


class Times(BaseModel):
    date: dt.date | None = None
    time: dt.time | None = None
    stamp: dt.datetime | None = None
    inside: list[dt.date] | None = None


@pytest.mark.parametrize(("name", "node", "number"), OUT_OF_BOUNDS, ids=range(len(OUT_OF_BOUNDS)))
def test_an_impossible_date_is_unreadable_and_never_reaches_the_warehouse(
    name: str, node: dict[str, Any], number: int
) -> None:
    contract = Contract(stream="shop.orders", model=Times)
    schema = {"type": "record", "name": "r", "fields": [{"name": name, "type": node}]}
    raw = {"type": "record", "name": "r", "fields": [{"name": name, "type": node["type"]}]}
    values = [message(raw, 8, {name: n}) for n in (0, 1, number, 2, 3, 4)]
    found = Decoder(contract, {8: schema}.get).decode(values)
    assert reasons(found) == [(2, RejectReason.UNDECODABLE)]
    assert found.frame[name].null_count() == 0
    assert len(found.frame.rows()) == 5  # Python can hold them


def test_an_impossible_date_in_a_list_is_found_too() -> None:
    contract = Contract(stream="shop.orders", model=Times)
    node = {"type": "array", "items": {"type": "int", "logicalType": "date"}}
    raw_node = {"type": "array", "items": "int"}
    schema, raw = (
        {"type": "record", "name": "r", "fields": [{"name": "inside", "type": kind}]}
        for kind in (node, raw_node)
    )
    values = [message(raw, 8, {"inside": dates}) for dates in ([1, 2], [], [3, 2**31 - 1])]
    found = Decoder(contract, {8: schema}.get).decode(values)
    assert reasons(found) == [(2, RejectReason.UNDECODABLE)]


def test_a_decimal_of_more_digits_than_its_type_is_unreadable_or_does_not_fit() -> None:
    class Event(BaseModel):
        d: Annotated[Decimal, Field(max_digits=6, decimal_places=2)]

    contract = Contract(stream="shop.orders", model=Event)
    node = {"type": "bytes", "logicalType": "decimal", "precision": 6, "scale": 2}
    schema = {"type": "record", "name": "r", "fields": [{"name": "d", "type": node}]}
    raw = {"type": "record", "name": "r", "fields": [{"name": "d", "type": "bytes"}]}
    values = [
        message(raw, 8, {"d": number.to_bytes(20, "big", signed=True)})
        for number in (65535, -1, 10**6, 999_999, -999_999, 10**30)
    ]
    found = Decoder(contract, {8: schema}.get).decode(values)
    assert found.unreadable == []
    assert found.frame["d"].to_list() == [
        Decimal("655.35"),
        Decimal("-0.01"),
        None,
        Decimal("9999.99"),
        Decimal("-9999.99"),
        None,
    ]
    assert found.frame[UNFIT].to_list() == [None, None, "d", None, None, "d"]


class Place(BaseModel):
    lat: float | None = None


class Trip(BaseModel):
    top: float | None = None
    place: Place | None = None
    stops: list[Place] | None = None
    shares: dict[str, float] | None = None
    points: list[float] | None = None


TRIP = Contract(stream="shop.trips", model=Trip)
ENDLESS = [math.inf, -math.inf, math.nan]


@pytest.mark.parametrize("number", ENDLESS, ids=str)
@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("name", ["place", "stops", "shares", "points"])
def test_a_number_that_json_cannot_say_does_not_become_null(
    name: str, native: bool, number: float
) -> None:
    schema = avro.wire_schema(TRIP)
    made = {
        "place": lambda n: {"lat": n},
        "stops": lambda n: [{"lat": 1.0}, {"lat": n}],
        "shares": lambda n: {"a": n},
        "points": lambda n: [0.5, n],
    }[name]
    values = [message(schema, 8, {name: made(n)}) for n in (1.0, number, 2.0)]
    values += [message(schema, 8, {"top": number}), message(schema, 8, {name: None})]
    alignment = Alignment(TRIP, schema)
    if native:
        unfit = Decoder(TRIP, {8: schema}.get).decode(values).frame[UNFIT].to_list()
    else:
        records = [RecordReader(schema).read(value) for value in values]
        unfit = alignment.of_records(records)[UNFIT].to_list()
    assert unfit == [None, name, None, None, None]
