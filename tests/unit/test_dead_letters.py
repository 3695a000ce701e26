"""A rejection as an event: every field comes back."""

from dataclasses import replace

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from consumers.reading.decode import Decoder
from consumers.reading.stream import LoadStream
from schemas import avro
from schemas.dead_letters import DeadLetterWriter, dead_contract, headers_of
from schemas.errors import RejectReason, Stage
from schemas.events import Partition, Rejection, Violation
from schemas.headers import cloud_event
from tests.support.runs import StoredMessage, run_of

ID = 3
FIRST = Violation("$.lines[0].price", RejectReason.OUT_OF_RANGE, "too low", "-1")
SECOND = Violation("$.at", RejectReason.MISSING, "required, but missing")
FULL = Rejection(
    stream="shop.orders",
    stage=Stage.JUDGE,
    violations=(FIRST, SECOND),
    value=b"\x00\x00\x00\x00\x07\xff",
    key=b"\xfe",
    headers=(("ce_id", b"o1"), ("odd", b"\xff"), ("none", None)),
    partition=2,
    offset=41,
    schema_id=7,
    event_id="o1@3",
    source="shop",
    seen_at=1_795_000_000_000_001,
)
EARLY = Rejection(
    stream="shop.orders",
    stage=Stage.ENCODE,
    violations=(SECOND,),
    value=b'{"a":1}',
    event_id="body:1",
    source="shop",
)
CONTRACT = dead_contract("shop.orders")
SCHEMA = avro.wire_schema(CONTRACT)


def read(*rejections: Rejection) -> list[dict[str, object]]:
    values = [record.value for record in DeadLetterWriter(ID).records(rejections)]
    found = Decoder(CONTRACT, {ID: SCHEMA}.get).decode(values)
    assert found.unreadable == []
    return found.frame.to_dicts()


def test_every_field_of_a_rejection_comes_back() -> None:
    (row,) = read(FULL)
    assert orjson.loads(str(row.pop("violations"))) == [
        {"path": v.path, "reason": v.reason.value, "detail": v.told} for v in (FIRST, SECOND)
    ]
    headers = orjson.loads(str(row.pop("original_headers")))
    assert headers == [["ce_id", "o1"], ["odd", {"base64": "/w=="}], ["none", None]]
    received = row.pop("_received_at")
    assert str(received) == "2026-11-18 11:06:40.000001"
    assert row == {
        "stream": "shop.orders",
        "stage": "judge",
        "reason": "out_of_range",
        "path": "$.lines[0].price",
        "detail": "too low; found -1",
        "fingerprint": row["fingerprint"],
        "event_id": "o1@3",
        "source": "shop",
        "origin_partition": 2,
        "origin_offset": 41,
        "schema_id": 7,
        "original_key": b"\xfe",
        "original_value": b"\x00\x00\x00\x00\x07\xff",
        "attempt": 1,
        "_id": "shop.orders/2/41/judge",
        "_source": "shop",
        "_extra": None,
        "__unfit": None,
    }


TEXT = st.text(st.characters(codec="utf-8"))
HEADERS = st.lists(st.tuples(TEXT, st.none() | st.binary() | TEXT.map(str.encode)), max_size=5)


@given(HEADERS)
@example([("odd", b"\xff"), ("odd", b"\\xff"), ("odd", b'{"base64": "/w=="}'), ("odd", b"")])
def test_headers_come_back_to_the_byte_in_their_order(
    headers: list[tuple[str, bytes | None]],
) -> None:
    (row,) = read(replace(FULL, headers=tuple(headers)))
    stored = row["original_headers"]
    assert headers_of(orjson.loads(str(stored)) if stored else None) == tuple(headers)


@given(TEXT.filter(lambda text: "\0" not in text))
def test_a_header_that_is_text_can_be_read_as_it_is(text: str) -> None:
    (row,) = read(replace(FULL, headers=(("trace", text.encode()),)))
    assert orjson.loads(str(row["original_headers"])) == [["trace", text]]


def test_a_nul_is_not_left_to_the_warehouses_json() -> None:
    (row,) = read(replace(FULL, headers=(("trace", b"a\0b"),)))
    assert "\\u0000" not in str(row["original_headers"])


def test_headers_of_older_letters_can_still_be_read() -> None:
    assert headers_of([["ce_id", "o1"], ["odd", "\\xff"]]) == (("ce_id", b"o1"), ("odd", b"\\xff"))


def test_what_never_reached_the_log_has_no_coordinates() -> None:
    (row,) = read(EARLY)
    assert (row["origin_partition"], row["origin_offset"], row["original_headers"]) == (None,) * 3
    assert row["_id"] == "shop.orders/body:1/encode"


@pytest.mark.parametrize(
    ("rejection", "topic"),
    [(FULL, "shop.orders.dead"), (replace(FULL, stream="shop.orders.dead"), "shop.orders.dead")],
    ids=["a stream's", "a dead letter stream's"],
)
def test_dead_letters_of_dead_letters_stay_where_they_are(rejection: Rejection, topic: str) -> None:
    (record,) = DeadLetterWriter(ID).records([rejection])
    assert record.topic == topic
    assert record.key == f"{rejection.stream}/2/41/judge".encode()


def test_one_bad_event_is_one_dead_letter_a_stage() -> None:
    others = [
        replace(FULL, offset=42),
        replace(FULL, partition=1),
        replace(FULL, stage=Stage.DECODE),
        EARLY,
        replace(EARLY, event_id=None),
        replace(EARLY, event_id=None, value=b"x"),
        replace(EARLY, event_id=None, value=None, source=None),
    ]
    names = [record.key for record in DeadLetterWriter(ID).records([FULL, FULL, *others])]
    assert names[0] == names[1]
    assert len(set(names)) == len(others) + 1
    assert all(name is not None and len(name) <= 200 for name in names)


def test_the_fingerprint_is_the_same_for_the_same_fault_at_the_same_place() -> None:
    rows = read(
        FULL,
        replace(FULL, offset=99, violations=(replace(FIRST, found="-2"),)),
        replace(FULL, violations=(SECOND,)),
        replace(FULL, stream="shop.refunds"),
    )
    one, same, other, elsewhere = (row["fingerprint"] for row in rows)
    assert one == same
    assert len({one, other, elsewhere}) == 3


def test_dead_letters_load_through_the_same_code() -> None:
    values = [record.value for record in DeadLetterWriter(ID).records([FULL, EARLY, FULL])]
    home = Partition(CONTRACT.topic, 0)
    stream = LoadStream(CONTRACT, {ID: SCHEMA}.get)
    judged = stream.judge([run_of(home, values, 0, StoredMessage())], {home: None})
    assert judged.rejections == []
    assert judged.rows["original_value"].to_list()[1] == b'{"a":1}'


@pytest.mark.parametrize("reason", RejectReason, ids=str)
def test_every_reason_can_be_told(reason: RejectReason) -> None:
    (row,) = read(replace(FULL, violations=(replace(FIRST, reason=reason),)))
    assert row["reason"] == reason.value


def test_a_dead_letter_is_of_the_trace_of_what_it_rejects_and_an_event_of_its_own() -> None:
    parent = ("traceparent", b"00-%b-%b-01" % (b"1" * 32, b"2" * 16))
    rejection = replace(FULL, headers=(("ce_id", b"o1"), parent, ("tracestate", b"x" * 999)))
    (plain,) = DeadLetterWriter(ID).records([rejection])
    assert plain.headers == (parent,)
    (record,) = DeadLetterWriter(ID, cloud_event).records([rejection])
    own = cloud_event("shop.orders/2/41/judge", "shop", "shop.orders.dead", FULL.seen_at)
    assert record.headers == (*own, parent)
    assert record.value == plain.value
    (stranger,) = DeadLetterWriter(ID, cloud_event).records([replace(FULL, source=None)])
    assert dict(stranger.headers)["ce_source"] == b"shop.orders.dead"
