"""Ids by content: what is left out makes no difference, anything else does."""

import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.content import content_id
from producers.receive import Limits, Received, receive
from producers.rest import parse_source
from producers.webhook import WebhookSource, find_plugins, make_source, read_config
from schemas import exact_json
from schemas.errors import RejectReason, SetupError
from schemas.events import Incoming
from schemas.identity import event_id_of_content
from tests.support.http import HMAC_TABLE, PlainEncoder, delivery, preset, source
from tests.support.polling import World, answered, plan_of

LEFT_OUT = ("/sent_at", "/meta/attempt", "/tries/1", "/a~1b")
BY_CONTENT = HMAC_TABLE | {"event_id": None, "event_id_without": list(LEFT_OUT)}
NOTED = {"id": 7, "meta": {"attempt": 1, "shard": "x"}, "tries": ["a", "b", "c"], "sent_at": "now"}


def named(value: Mapping[str, Any], left_out: Sequence[str] = LEFT_OUT, of: str = "shop") -> str:
    found = content_id(of, left_out)(value)
    assert found is not None
    return found


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text("ab/~", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab1", max_size=2), inner),
    max_leaves=6,
)
records = st.dictionaries(
    st.sampled_from(["sent_at", "meta", "tries", "a/b", "a", "1"]),
    json_values | st.dictionaries(st.sampled_from(["attempt", "1", "b"]), json_values),
)


def shuffled(value: Any, draw: Any) -> Any:
    """The same JSON value, its keys in another order on every level."""
    if isinstance(value, dict):
        keys = draw(st.permutations(list(value)))
        return {key: shuffled(value[key], draw) for key in keys}
    if isinstance(value, list):
        return [shuffled(part, draw) for part in value]
    return value


def stamped(value: dict[str, Any], draw: Any) -> dict[str, Any]:
    """As it is sent again: another value where a pointer leads, none, or a first one."""
    again = copy.deepcopy(value)
    for place, name in ((again, "sent_at"), (again, "a/b"), (again.get("meta"), "attempt")):
        if isinstance(place, dict):
            place.pop(name, None)
            if draw(st.booleans()):
                place[name] = draw(json_values)
    tries = again.get("tries")
    if isinstance(tries, dict):
        tries["1"] = draw(json_values)
    elif isinstance(tries, list) and len(tries) > 1:
        tries[1] = draw(json_values)
    return again


def kept(value: dict[str, Any]) -> Any:
    """What counts of a record, as JSON with sorted keys: said once more, in other words."""
    rest: Any = copy.deepcopy(value)
    rest.pop("sent_at", None)
    rest.pop("a/b", None)
    if isinstance(rest.get("meta"), dict):
        rest["meta"].pop("attempt", None)
    if isinstance(rest.get("tries"), dict):
        rest["tries"].pop("1", None)
    elif isinstance(rest.get("tries"), list):
        del rest["tries"][1:2]
    return json.dumps(rest, sort_keys=True)


@given(records, st.data())
def test_records_that_differ_in_what_is_left_out_or_in_order_have_one_id(
    value: dict[str, Any], data: st.DataObject
) -> None:
    again = shuffled(stamped(value, data.draw), data.draw)
    before = copy.deepcopy(again)
    assert named(again) == named(value)
    assert again == before


@given(records, records)
def test_records_have_one_id_exactly_if_the_rest_is_the_same(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    assert (named(one) == named(other)) == (kept(one) == kept(other))


@given(records, st.data())
def test_a_change_of_anything_else_gives_another_id(
    value: dict[str, Any], data: st.DataObject
) -> None:
    changed = copy.deepcopy(value)
    place = changed.setdefault("meta", {})
    if isinstance(place, dict) and data.draw(st.booleans()):
        place["shard"] = "another"
    else:
        changed["amount"] = data.draw(json_values)
    assert named(changed) != named(value)


def test_of_two_pointers_the_one_that_leaves_out_more_counts() -> None:
    one, other = {"meta": {"attempt": 1, "x": 1}}, {"meta": {"attempt": 2, "x": 2}}
    for pointers in (("/meta", "/meta/attempt"), ("/meta/attempt", "/meta")):
        assert named(one, pointers) == named(other, pointers)
    assert named(one, ("/meta/attempt",)) != named(other, ("/meta/attempt",))


def test_a_number_counts_the_elements_of_an_array() -> None:
    def lines(*stamps: int) -> dict[str, Any]:
        return {"lines": [{"sku": "x", "at": stamp} for stamp in stamps]}

    second = ("/lines/1/at",)
    assert named(lines(1, 2), second) == named(lines(1, 3), second)
    assert named(lines(1, 2), second) != named(lines(3, 2), second)
    for nowhere in ("/lines/01/at", "/lines/-/at", "/lines/2/at", "/lines/at"):
        assert named(lines(1, 2), (nowhere,)) == named(lines(1, 2), ())


def test_without_pointers_the_whole_record_counts_but_not_how_it_is_written() -> None:
    assert named(orjson.loads(b'{"b": 1.50, "a":2}'), ()) == named({"a": 2, "b": 1.5}, ())
    first, second = (exact_json.loads(b'{"n": 1234567890123456789012%d}' % n) for n in (1, 2))
    assert named(first, ()) != named(second, ())
    assert named({"sent_at": 1}, ()) != named({"sent_at": 2}, ())
    assert named({"a": 1}, ()) != named({"a": 1.0}, ())


def test_another_source_has_another_id() -> None:
    assert named({"a": 1}) != named({"a": 1}, of="shop2")


def test_an_id_is_the_same_in_every_process_and_version() -> None:
    canonical = b'{"id":7,"meta":{"shard":"x"},"tries":["a","c"]}'
    assert named(NOTED) == event_id_of_content("shop", canonical)
    assert named(NOTED) == "content:1c1af81df0a5eb7728e27984b87d5429"


def test_what_nests_too_deeply_to_be_written_has_no_id() -> None:
    assert content_id("shop", ())(orjson.loads(b'{"a":' + b"[" * 300 + b"]" * 300 + b"}")) is None


# webhooks

BY = source(event_id=None, event_id_without=list(LEFT_OUT))


def taken(body: bytes, to: WebhookSource = BY) -> Received:
    encoders = {"shop.orders": PlainEncoder("shop.orders")}
    outcome = receive(delivery(body), to, encoders, Limits())
    assert isinstance(outcome, Received), outcome
    return outcome


def test_a_retry_with_a_new_stamp_is_the_same_event() -> None:
    first = taken(b'{"id": 1, "meta": {"attempt": 1, "by": "x"}, "sent_at": "10:00"}')
    retry = taken(b'{"sent_at": "10:05", "meta": {"by": "x", "attempt": 2}, "id": 1}')
    changed = taken(b'{"id": 1, "meta": {"attempt": 1, "by": "y"}, "sent_at": "10:00"}')
    assert first.ids == retry.ids != changed.ids
    assert first.ids[0].startswith("content:")


def test_every_record_of_a_delivery_has_the_id_of_its_own_content() -> None:
    ids = taken(b'[{"n": 1, "sent_at": 1}, {"n": 2, "sent_at": 1}, {"sent_at": 2, "n": 1}]').ids
    assert ids[0] == ids[2] != ids[1]


def test_what_is_no_record_is_a_dead_letter_of_its_own() -> None:
    received = taken(b'[1, 2, {oops}, {}, {"sent_at": 3}]')
    assert [one.reason for one in received.rejections] == [
        RejectReason.NOT_AN_OBJECT,
        RejectReason.NOT_AN_OBJECT,
        RejectReason.NOT_JSON,
    ]
    assert len(set(received.ids)) == 4
    assert received.ids[3] == received.ids[4]


def test_the_table_comes_before_the_preset() -> None:
    github = preset("github", event_id_without=["/sent_at"])
    assert github.event_id is not None
    headers = {"x-github-delivery": "d-1"}
    assert github.event_id(headers, {"sent_at": 1}) == github.event_id({}, {"sent_at": 2})
    assert github.id_per_record


# polled records


def incoming(**stream: Any) -> list[Incoming]:
    rows = [{"id": 1, "fetched_at": 1}, {"fetched_at": 2, "id": 1}, {"id": 2, "fetched_at": 1}]
    world = World(lambda _request: answered(rows))
    world.run(plan_of(**stream))
    return [one for page in world.pages for one in page.incoming]


def test_a_polled_record_has_the_id_of_its_content() -> None:
    ids = [one.event_id for one in incoming(event_id_without=["/fetched_at"])]
    assert ids[0] == ids[1] != ids[2]
    assert ids[0] == named({"id": 1}, ())
    assert [one.event_id for one in incoming()] == [None] * 3


def test_a_run_under_way_goes_on_when_ids_are_named_in_another_way() -> None:
    """Ids do not decide which pages there are."""
    pages = {"pager": {"kind": "page"}, "pages_max": 1}
    world = World(lambda _request: answered([{"id": 1}]))
    with pytest.raises(SetupError, match="more than 1 pages"):
        world.run(plan_of(**pages))
    with pytest.raises(SetupError, match="more than 1 pages"):
        world.run(plan_of(**pages, event_id_without=["/at"]))
    assert len(world.pages) == 1


# settings


def of_webhook(**table: Any) -> SetupError:
    plugins = find_plugins()
    merged = {k: v for k, v in (BY_CONTENT | table).items() if v is not None}
    with pytest.raises(SetupError) as caught:
        make_source("shop", read_config("shop", merged, plugins), ("s",), plugins)
    return caught.value


def of_rest(**stream: Any) -> SetupError:
    streams = [{"stream": "shop.users"}, {"stream": "shop.orders", **stream}]
    with pytest.raises(SetupError) as caught:
        parse_source("shop", {"base_url": "https://x.test", "streams": streams})
    return caught.value


def test_an_event_has_one_id() -> None:
    error = of_webhook(event_id="{/id}")
    assert error.where == "sources.shop.event_id_without"
    assert "together with event_id" in error.what
    assert "keep event_id" in error.remedy
    polled = of_rest(event_id="/id", event_id_without=["/at"])
    assert polled.where == "sluice.toml: sources.shop.streams.1.event_id_without"
    assert (polled.what, polled.remedy) == (error.what, error.remedy)
    assert of_rest(event_id="/id", event_id_without=[]).what == error.what


@pytest.mark.parametrize(
    ("pointer", "what"), [("", "the whole record"), ("sent_at", "begins with /")]
)
def test_a_pointer_names_a_field(pointer: str, what: str) -> None:
    for error in (
        of_webhook(event_id_without=["/a", pointer]),
        of_rest(event_id_without=[pointer]),
    ):
        assert "event_id_without." in error.where
        assert what in error.what
