"""Many records at once are encoded as one by one."""

import datetime as dt
import io
from decimal import Decimal
from typing import Annotated, Any

import fastavro
import pytest
from hypothesis import Phase, given, settings
from pydantic import BaseModel, Field, JsonValue

from producers.encode import Encoded, StreamEncoder
from schemas import avro, exact_json
from schemas.contract import Contract
from schemas.errors import RejectReason
from schemas.events import Incoming
from schemas.headers import cloud_event
from tests.support.contracts import (
    DRAWS,
    RECEIVED,
    Random,
    contract_of,
    incoming,
    leaves,
    page_of,
    shape_of,
)

SLOW = settings(max_examples=150, phases=[Phase.generate])  # an example takes long to shrink


def decoded(contract: Contract, value: bytes) -> dict[str, Any]:
    stream = io.BytesIO(value)
    stream.seek(avro.HEADER.size)
    record = fastavro.schemaless_reader(
        stream, fastavro.parse_schema(avro.wire_schema(contract)), None
    )
    assert stream.read() == b""
    return record  # type: ignore[return-value] # a record schema gives a dict


def apart(encoder: StreamEncoder, page: list[Incoming]) -> Encoded:
    """Every record on its own."""
    parts = [encoder.encode([each]) for each in page]
    return Encoded(
        tuple(r for p in parts for r in p.records),
        tuple(r for p in parts for r in p.rejections),
        tuple(i for p in parts for i in p.ids),
    )


@SLOW
@given(DRAWS)
def test_a_page_is_encoded_as_its_records_one_by_one(rng: Random) -> None:
    shape = shape_of(rng)
    contract, page = contract_of(rng, shape), page_of(rng, shape)
    encoder = StreamEncoder(contract, 7, columnar_min=2)
    together, single = encoder.encode(page), apart(encoder, page)
    assert together.ids == single.ids
    assert together.rejections == single.rejections
    assert [(r.topic, r.key, r.headers) for r in together.records] == [
        (r.topic, r.key, r.headers) for r in single.records
    ]
    for one, other in zip(together.records, single.records, strict=True):
        if one.value == other.value:
            continue
        here, there = decoded(contract, one.value), decoded(contract, other.value)
        assert repr(here) == repr(there)  # NaN equals itself here
        assert any(isinstance(leaf, Decimal) and leaf < 0 for leaf in leaves(here))


@SLOW
@given(DRAWS)
def test_few_records_are_encoded_as_one_by_one(rng: Random) -> None:
    shape = shape_of(rng)
    contract, page = contract_of(rng, shape), page_of(rng, shape)
    encoder = StreamEncoder(contract, 7, columnar_min=len(page) + 1)
    assert encoder.encode(page) == apart(encoder, page)


@pytest.mark.parametrize("columnar_min", [1, 1000], ids=["many", "few"])
def test_half_a_character_costs_its_own_record_only(columnar_min: int) -> None:
    contract = Contract(stream="shop.notes", model=Note)
    encoder = StreamEncoder(contract, 7, columnar_min)
    encoded = encoder.encode([incoming({"text": text}) for text in ("a", "b", "c")])
    assert (len(encoded.records), encoded.rejections) == (3, ())
    values = [{"text": "a"}, {"text": "\ud800"}, {"text": "c"}]
    page = [Incoming(value, repr(value).encode(), None, "shop", 0) for value in values]
    encoded = encoder.encode(page)
    assert [decoded(contract, r.value)["text"] for r in encoded.records] == ["a", "c"]
    (rejection,) = encoded.rejections
    assert rejection.value == page[1].raw
    assert rejection.reason is RejectReason.WRONG_TYPE


@pytest.mark.parametrize("columnar_min", [1, 1000], ids=["many", "few"])
@pytest.mark.parametrize("number", ["Infinity", "-inf", "NaN"])
def test_a_number_that_json_cannot_say_is_rejected_inside_a_model(
    columnar_min: int, number: str
) -> None:
    """It would be null in its column. A column of its own holds it."""

    class Place(BaseModel):
        lat: float

    class Trip(BaseModel):
        top: float = 0
        place: Place | None = None
        shares: dict[str, list[float]] = {}

    encoder = StreamEncoder(Contract(stream="shop.trips", model=Trip), 1, columnar_min)
    values = ({"place": {"lat": number}}, {"shares": {"a": [1, number]}}, {"top": number}, {})
    found = encoder.encode([incoming(value) for value in values])
    assert len(found.records) == 2
    told = [(one.violations[0].path, one.reason) for one in found.rejections]
    assert told == [
        ("$.place.lat", RejectReason.OUT_OF_RANGE),
        ("$.shares.a[1]", RejectReason.OUT_OF_RANGE),
    ]


@pytest.mark.parametrize("columnar_min", [1, 1000], ids=["many", "few"])
def test_a_time_of_day_with_an_offset_is_rejected_as_it_has_no_date(columnar_min: int) -> None:
    """It was loaded as if the offset were not there."""

    class Shop(BaseModel):
        opens: dt.time
        breaks: list[dt.time] = []

    encoder = StreamEncoder(Contract(stream="shop.shops", model=Shop), 1, columnar_min)
    values = (
        {"opens": "08:00:00+02:00"},
        {"opens": "08:00", "breaks": ["12:00:00", "13:00:00-01:00"]},
        {"opens": "08:00:00Z"},
        {"opens": "08:00:00+00:00", "breaks": ["12:00:00"]},
        {"opens": "08:00:00"},
    )
    found = encoder.encode([incoming(value) for value in values])
    told = [(one.violations[0].path, one.reason) for one in found.rejections]
    wrong = RejectReason.WRONG_TYPE
    assert told == [("$.opens", wrong), ("$.breaks[1]", wrong)]
    contract = encoder.contract
    eight = dt.time(8)
    assert [decoded(contract, r.value)["opens"] for r in found.records] == [eight] * 3


@pytest.mark.parametrize("columnar_min", [1, 1000], ids=["many", "few"])
def test_a_default_of_the_version_names_an_event_like_the_value_itself(columnar_min: int) -> None:
    contract = Contract(stream="shop.states", model=State, key=("id",), version=("rev",))
    encoder = StreamEncoder(contract, 7, columnar_min)
    page = [incoming({"id": "a"}), incoming({"id": "a", "rev": 0}), incoming({"id": "a", "rev": 1})]
    ids = encoder.encode(page).ids
    assert ids == apart(encoder, page).ids
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize("columnar_min", [1, 1000], ids=["many", "few"])
def test_headers_stay_with_their_record_and_with_its_rejection(columnar_min: int) -> None:
    contract = Contract(stream="shop.notes", model=Note, key=("text",))
    page = [
        incoming(value)._replace(headers=(("n", b"%d" % number),), source="till")
        for number, value in enumerate(({"text": "a"}, {"text": {}}, {"text": "c"}))
    ]
    encoded = StreamEncoder(contract, 7, columnar_min).encode(page)
    assert [r.headers for r in encoded.records] == [page[0].headers, page[2].headers]
    assert [r.headers for r in encoded.rejections] == [page[1].headers]

    with_attributes = StreamEncoder(contract, 7, columnar_min, cloud_event).encode(page)
    assert [r.headers for r in with_attributes.records] == [
        (*cloud_event(name, "till", "shop.notes", RECEIVED), *page[place].headers)
        for name, place in (("a", 0), ("c", 2))
    ]
    assert [r._replace(headers=()) for r in with_attributes.records] == [
        r._replace(headers=()) for r in encoded.records
    ]
    assert with_attributes.rejections == encoded.rejections


class State(BaseModel):
    """A versioned thing, whose first version may go unsaid."""

    id: str
    rev: int = 0


class Note(BaseModel):
    """A text."""

    text: str


class Transfer(BaseModel):
    """Numbers that no double holds."""

    number: Annotated[Decimal, Field(max_digits=38, decimal_places=0)]
    rate: Annotated[Decimal, Field(max_digits=38, decimal_places=20)]
    seen: JsonValue


@pytest.mark.parametrize("columnar_min", [1, 1000], ids=["together", "one by one"])
def test_no_digit_of_a_number_is_lost_and_keys_that_differ_stay_apart(columnar_min: int) -> None:
    contract = Contract(stream="bank.transfers", model=Transfer, key=("number",))
    raws = [
        b'{"number":1234567890123456789012345678901%d,"rate":0.12345678901234567891,'
        b'"seen":[0.12345678901234567891],"more":98765432109876543210.5}' % last
        for last in (1, 2)
    ]
    page = [Incoming(exact_json.loads(raw), raw, None, "bank", 0) for raw in raws]
    encoded = StreamEncoder(contract, 7, columnar_min).encode(page)
    assert len(set(encoded.ids)) == len({r.key for r in encoded.records}) == 2
    for record, last in zip(encoded.records, (1, 2), strict=True):
        row = decoded(contract, record.value)
        assert row["number"] == Decimal(f"1234567890123456789012345678901{last}")
        assert row["rate"] == Decimal("0.12345678901234567891")
        assert row["seen"] == "[0.12345678901234567891]"
        assert row[avro.EXTRA] == '{"more":98765432109876543210.5}'
