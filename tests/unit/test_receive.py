"""A delivery becomes records, dead letters, or a refusal."""

import gzip
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.receive import Limits, Received, handshake, receive
from producers.refusal import Refusal, RefusalReason
from producers.webhook import Answer, Handshake, WebhookSource
from schemas.errors import RejectReason, Stage
from schemas.events import Delivery
from schemas.identity import event_id_of_body
from tests.support.http import NOW, PlainEncoder, delivery, preset, signature, source

ENCODERS = {name: PlainEncoder(name) for name in ("shop.orders", "shop.users", "github.push")}
SHOP = source()
LIMITS = Limits()
LINES = {"content-type": "application/x-ndjson"}


def taken(
    body: bytes,
    headers: Mapping[str, str] | None = None,
    to: WebhookSource = SHOP,
    limits: Limits = LIMITS,
) -> Received:
    outcome = receive(delivery(body, headers), to, ENCODERS, limits)
    assert isinstance(outcome, Received), outcome
    return outcome


def refused(
    body: bytes,
    headers: Mapping[str, str] | None = None,
    to: WebhookSource = SHOP,
    limits: Limits = LIMITS,
) -> Refusal:
    outcome = receive(delivery(body, headers), to, ENCODERS, limits)
    assert isinstance(outcome, Refusal), outcome
    return outcome


def raws(received: Received) -> list[bytes]:
    return [record.value for record in received.records]


def reasons(received: Received) -> list[RejectReason]:
    return [one.reason for one in received.rejections]


def test_one_object_keeps_its_exact_bytes() -> None:
    body = b' {"id" : "a",  "amount": 1.50} \n'
    received = taken(body)
    assert raws(received) == [body.strip()]
    assert received.ids == ("a",)
    assert not received.rejections


def test_an_array_keeps_each_records_bytes_and_order() -> None:
    received = taken('[ {"id":"a"} , {"id": "b", "t":"},{"},{"id":"ç"}]'.encode())
    assert raws(received) == [b'{"id":"a"}', b'{"id": "b", "t":"},{"}', '{"id":"ç"}'.encode()]
    assert received.ids == ("a", "b", "ç")


def test_json_lines_keep_each_lines_bytes() -> None:
    received = taken(b'{"id":"a"}\r\n\n{ "id":"b"}\n', LINES)
    assert raws(received) == [b'{"id":"a"}', b'{ "id":"b"}']


def test_the_form_is_told_by_the_content_type_alone() -> None:
    two = b'{"id":"a"}\n{"id":"b"}'
    assert refused(two).status == 400
    assert taken(two, {"content-type": "application/jsonl; charset=utf-8"}).ids == ("a", "b")
    assert taken(b'[{"id":"a"}]', LINES).rejections[0].reason is RejectReason.NOT_AN_OBJECT
    for kind in ("", "text/plain", "Application/CloudEvents+JSON; charset=utf-8"):
        assert taken(b'{"id":"a"}', {"content-type": kind}).ids == ("a",)
    verdict = refused(b"payload=%7B%7D", {"content-type": "application/x-www-form-urlencoded"})
    assert (verdict.status, verdict.field) == (415, "content-type")


def test_nothing_is_accepted_of_a_body_without_events() -> None:
    assert taken(b"[]") == Received((), (), ())
    assert taken(b"\n\n", LINES) == Received((), (), ())
    assert "empty" in refused(b"").detail
    assert "empty" in refused(b" \n").detail


def test_a_body_that_is_no_json_is_refused_as_a_whole_and_says_where() -> None:
    verdict = refused(b'{"id": "a",,}')
    assert (verdict.status, verdict.reason) == (400, RefusalReason.NOT_JSON)
    assert "column 12" in verdict.detail
    assert refused(b'[{"id":"a"}').status == 400
    assert refused(b"\xff\xfe{}").status == 400


def test_bad_events_become_dead_letters_and_the_others_go_on() -> None:
    received = taken(b'[{"id":"a"}, 5, {oops}, {"id":"b","amount":"x"}, {"id":"\xff"}, {"id":"c"}]')
    assert raws(received) == [b'{"id":"a"}', b'{"id":"c"}']
    assert reasons(received) == [
        RejectReason.NOT_AN_OBJECT,
        RejectReason.NOT_JSON,
        RejectReason.NOT_JSON,
        RejectReason.WRONG_TYPE,
    ]
    assert [one.value for one in received.rejections] == [
        b"5",
        b"{oops}",
        b'{"id":"\xff"}',
        b'{"id":"b","amount":"x"}',
    ]
    assert {one.stage for one in received.rejections} == {Stage.ENCODE}
    assert {one.seen_at for one in received.rejections} == {NOW}
    assert received.ids == (
        "a",
        event_id_of_body("shop", b"5"),
        event_id_of_body("shop", b"{oops}"),
        "b",
        event_id_of_body("shop", b'{"id":"\xff"}'),
        "c",
    )


@pytest.mark.parametrize("scalar", [b"5", b'"x"', b"null", b"true"])
def test_json_that_is_no_object_is_a_dead_letter(scalar: bytes) -> None:
    assert reasons(taken(scalar)) == [RejectReason.NOT_AN_OBJECT]


def test_a_bad_signature_is_noticed_before_anything_is_read() -> None:
    bad = delivery(b"not json", {"x-signature": "0" * 64, "content-encoding": "gzip"})
    verdict = receive(bad, SHOP, ENCODERS, Limits())
    assert isinstance(verdict, Refusal)
    assert verdict.reason is RefusalReason.BAD_SIGNATURE


def test_the_signature_is_over_the_bytes_on_the_wire() -> None:
    packed = gzip.compress(b'{"id":"a"}')
    assert taken(packed, {"content-encoding": "gzip"}).ids == ("a",)
    of_content = {"content-encoding": "gzip", "x-signature": signature(b'{"id":"a"}')}
    assert refused(packed, of_content).status == 401


def test_compressed_bodies_are_bounded_and_checked() -> None:
    small = Limits(inflated_bytes_max=1000)
    bomb = gzip.compress(b" " * 1_000_000)
    assert refused(bomb, {"content-encoding": "gzip"}, limits=small).status == 413
    damaged = refused(b"plain", {"content-encoding": "gzip"})
    assert (damaged.reason, damaged.field) == (RefusalReason.NOT_GZIP, "content-encoding")
    assert damaged.remedy
    verdict = refused(b"{}", {"content-encoding": "br"})
    assert verdict.status == 415
    assert ("accept-encoding", "gzip") in verdict.headers
    assert taken(b'{"id":"a"}', {"content-encoding": "identity"}).ids == ("a",)


def test_too_many_events_are_refused_together() -> None:
    limits = Limits(events_max=2)
    assert len(taken(b'[{"id":"a"},{"id":"b"}]', limits=limits).ids) == 2
    for body, headers in ((b'[{"id":"a"},{},{}]', {}), (b"{}\n{}\n{}", LINES)):
        verdict = refused(body, headers, limits=limits)
        assert (verdict.status, verdict.reason) == (422, RefusalReason.TOO_MANY_EVENTS)


def test_too_many_values_are_refused_unparsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producers.split.VALUES_MAX", 5)
    assert refused(b"[[],[],[],[]]").reason is RefusalReason.TOO_MANY_VALUES
    quoted = b"[" + b'"",' * 3 + b'""""""""""""""""""""""""""""""""""]'
    assert refused(quoted).reason is RefusalReason.TOO_MANY_VALUES


def test_depth_and_keys_are_limited_per_event() -> None:
    limits = Limits(depth_max=3, keys_max=4)
    fits = b'{"id":"a","b":{"c":[1,{}]}}'.replace(b",{}", b"")
    wide = b'{"id":"w","items":[{},{}],"s":"{[{[{[:::::::"}'
    deep = b'{"id":"d","b":{"c":[{}]}}'
    keys = b'{"id":"k","b":{"1":1,"2":2,"3":3}}'
    received = taken(b"[" + b",".join((fits, wide, deep, keys)) + b"]", limits=limits)
    assert raws(received) == [fits, wide]
    assert reasons(received) == [RejectReason.TOO_DEEP, RejectReason.TOO_MANY_KEYS]
    assert received.ids == ("a", "w", "d", "k")


@pytest.mark.parametrize("depth", [1_000, 5_000, 500_000])
def test_absurd_depth_is_a_dead_letter_too(depth: int) -> None:
    body = b'{"id":' + b"[" * depth + b"]" * depth + b"}"
    assert reasons(taken(body)) == [RejectReason.TOO_DEEP]
    received = taken(b'[{"id":"a"},' + body + b"]")
    assert (received.ids[0], reasons(received)) == ("a", [RejectReason.TOO_DEEP])


def test_a_key_that_would_be_in_a_thousand_errors_is_a_dead_letter() -> None:
    """A validator names the whole path of each: with a long key they would fill the memory."""
    wrong = b",".join([b"-1"] * 5_000)
    body = b'{"id":"a","counts":{"' + b"k" * 20_000 + b'":[' + wrong + b"]}}"
    received = taken(b"[" + body + b',{"id":"b","m":[{"' + b"k" * 1_000 + b'":1}]}]')
    assert reasons(received) == [RejectReason.OVERSIZED]
    assert "20000 characters" in received.rejections[0].violations[0].detail
    assert received.rejections[0].value == body
    assert received.ids[1] == "b"
    assert reasons(taken(b'{"id":"c","m":[[{"' + b"k" * 16_400 + b'":1}]]}')) == [
        RejectReason.OVERSIZED
    ]


def test_streams_and_ids_come_from_the_record() -> None:
    shop = source(stream="shop.{/kind}", event_id="{/id}")
    body = b'[{"id":1,"kind":"users"},{"id":2,"kind":"Orders"},{"id":3,"kind":"users"}]'
    received = taken(body, to=shop)
    assert [record.topic for record in received.records] == [
        "shop.users",
        "shop.users",
        "shop.orders",
    ]
    assert received.ids == ("1", "2", "3")


def test_an_unknown_stream_is_a_dead_letter_of_the_source() -> None:
    """Also where that of the source is there, to load what no contract describes."""
    shop = source(stream="shop.{/kind}")
    body = delivery(b'[{"kind":"../../etc"},{"kind":"users"},{}]')
    for encoders in (ENCODERS, ENCODERS | {"shop.unknown": PlainEncoder("shop.unknown")}):
        received = receive(body, shop, encoders, LIMITS)
        assert isinstance(received, Received)
        assert len(received.records) == 1
        assert reasons(received) == [RejectReason.NO_STREAM] * 2
        assert {one.stream for one in received.rejections} == {"shop.unknown"}


def test_a_delivery_id_is_numbered_over_the_deliverys_events() -> None:
    shop = source(event_id="{x-delivery}")
    headers = {"x-delivery": "d7"}
    assert taken(b"{}", headers, shop).ids == ("d7",)
    assert taken(b"[{},{}, 1]", headers, shop).ids == ("d7/0", "d7/1", "d7/2")
    assert taken(b'{"n":1}', {}, shop).ids == (event_id_of_body("shop", b'{"n":1}'),)


def test_without_an_event_id_the_encoder_derives_one() -> None:
    body = b'{"id":"a"}'
    assert taken(body, to=source(event_id=None)).ids == (event_id_of_body("shop", body),)


def test_records_are_found_by_their_pointer() -> None:
    shop = source(records="/data/items")
    body = b'{"data": {"items": [ {"id":"a"} , 7 ], "n": 2}}'
    received = taken(body, to=shop)
    assert raws(received) == [b'{"id":"a"}']
    assert [one.value for one in received.rejections] == [b"7"]
    assert raws(taken(b'{"data":{"items":{"id":"z"}}}', to=shop)) == [b'{"id":"z"}']
    missing = taken(b'{"data":{}}', to=shop)
    assert missing.rejections[0].violations[0].path == "$.data.items"
    assert reasons(missing) == [RejectReason.MISSING]
    assert refused(b'{"data":', to=shop).status == 400


def test_what_a_plugin_raises_is_a_rejection_with_the_type() -> None:
    def raising(_headers: Mapping[str, str], value: Mapping[str, Any]) -> str:
        return str(value["name"]["first"])

    shop = replace(SHOP, event_id=raising)
    received = taken(b'[{"name":{"first":"x"}},{"name":5},{}]', to=shop)
    assert received.ids[0] == "x"
    assert reasons(received) == [RejectReason.PLUGIN_FAILED] * 2
    details = [one.violations[0].detail for one in received.rejections]
    assert details == ["source shop: TypeError", "source shop: KeyError"]


def test_a_plugin_that_returns_no_text_is_a_rejection() -> None:
    wrong: Any = replace(SHOP, stream=lambda _headers, _value: ["shop.orders"])
    assert reasons(taken(b"{}", to=wrong)) == [RejectReason.PLUGIN_FAILED]


def test_a_handshake_is_answered_once_it_is_verified() -> None:
    github = preset("github")
    body = b'{"zen":"Keep it logically awesome."}'
    headers = {
        "x-github-event": "ping",
        "x-github-delivery": "1",
        "x-hub-signature-256": f"sha256={signature(body)}",
    }
    outcome = receive(delivery(body, headers), github, ENCODERS, Limits())
    assert outcome == Answer(body=b"pong")
    forged = headers | {"x-hub-signature-256": "sha256=0"}
    assert isinstance(receive(delivery(body, forged), github, ENCODERS, Limits()), Refusal)
    push = receive(delivery(body, headers | {"x-github-event": "push"}), github, ENCODERS, Limits())
    assert isinstance(push, Received)
    assert push.ids == ("1",)


def test_a_handshake_sees_the_inflated_payload_and_may_fail() -> None:
    def challenge(one: Delivery, secrets: object) -> Answer | None:
        del secrets
        return Answer(body=orjson.loads(one.payload)["challenge"].encode())

    shop = replace(SHOP, handshake=Handshake(challenge))
    packed = gzip.compress(b'{"challenge":"abc"}')
    outcome = receive(delivery(packed, {"content-encoding": "gzip"}), shop, ENCODERS, Limits())
    assert outcome == Answer(body=b"abc")
    assert taken(b'{"id":"a"}', to=shop).ids == ("a",)
    assert handshake(delivery(b"", method="GET"), shop) is None


def test_the_same_delivery_gives_the_same_ids() -> None:
    body = b'[{"n":1},2,{"n":1}]'
    assert taken(body).ids == taken(body).ids
    assert taken(body).ids[0] == taken(body).ids[2]


HEADERS = st.dictionaries(
    st.sampled_from(["content-type", "content-encoding", "x-delivery", "x-kind"]),
    st.sampled_from(
        ["application/json", "application/x-ndjson", "gzip", "identity", "", "d1", "users", "ü"]
    ),
)
BODIES = (
    st.binary(max_size=200)
    | st.text('[]{}",\\:1 an\n', max_size=80).map(str.encode)
    | st.binary(max_size=100).map(gzip.compress)
    | st.lists(st.dictionaries(st.text(max_size=3), st.integers() | st.text()))
    .map(json.dumps)
    .map(str.encode)
)
SOURCES = [
    SHOP,
    source(stream="shop.{x-kind}", event_id="{x-delivery}"),
    source(stream="shop.{/kind}", event_id="{/id}", records="/a"),
]


@given(BODIES, HEADERS, st.sampled_from(SOURCES))
def test_any_delivery_has_an_outcome_and_every_event_is_accounted_for(
    body: bytes, headers: dict[str, str], to: WebhookSource
) -> None:
    outcome = receive(
        delivery(body, headers), to, ENCODERS, Limits(events_max=5, depth_max=3, keys_max=4)
    )
    if isinstance(outcome, Received):
        assert len(outcome.records) + len(outcome.rejections) == len(outcome.ids) <= 5
        assert all(outcome.ids)
        assert all(one.violations for one in outcome.rejections)
    else:
        assert isinstance(outcome, Refusal)
        assert outcome.status in {400, 413, 415, 422}
