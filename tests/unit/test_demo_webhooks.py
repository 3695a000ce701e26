"""The demo's deliveries, and what they have to become."""

import json
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from producers.signatures import standard_webhooks
from producers.signing import TimedOptions
from schemas.errors import RejectReason, Stage
from schemas.events import Delivery
from services.adapters.clock import SystemClock
from services.demo.expected import FLIGHTS, PLANES, WEATHER, Carrier, Expected, Letter, expect
from services.demo.faults import PLANES as PLANE_FAULTS
from services.demo.faults import WEATHER as WEATHER_FAULTS
from services.demo.faults import Fault
from services.demo.sending import FORGER
from services.demo.webhooks import LINES, Post, Sent, headers, posts_of
from tests.support.demo_data import dataset

SECRET = "whsec_c2VjcmV0IG9mIHRoZSBkZW1vLCBzZWNyZXQ="
DATA = dataset()
POSTS = posts_of(DATA)


def sent_of(stream: str) -> list[Sent]:
    return [s for post in POSTS if post.stream == stream and not post.forged for s in post.records]


def test_every_record_is_in_exactly_one_delivery() -> None:
    hours = Counter(s.event["time_hour"] for s in sent_of(WEATHER))
    assert hours == Counter(DATA.weather["time_hour"].to_list())
    tails = Counter(s.event["tailnum"] for s in sent_of(PLANES))
    assert tails == Counter(DATA.planes["tailnum"].to_list())


def test_deliveries_have_ids_of_their_own_and_a_seed_decides_them() -> None:
    assert len({post.id for post in POSTS}) == len(POSTS)
    assert posts_of(DATA) == POSTS
    assert posts_of(DATA, seed=1) != POSTS


@pytest.mark.parametrize(("stream", "faults"), [(WEATHER, WEATHER_FAULTS), (PLANES, PLANE_FAULTS)])
def test_every_kind_of_fault_is_sent(stream: str, faults: tuple[Fault, ...]) -> None:
    assert {s.fault for s in sent_of(stream)} == {None, *faults}


def test_only_a_line_may_be_no_json_so_that_no_delivery_is_refused_as_a_whole() -> None:
    for post in POSTS:
        if post.content_type == LINES:
            assert post.body.count("\n") == len(post.records)
            continue
        body = json.loads(post.body)
        events = [body] if post.alone else body
        assert len(events) == len(post.records)
        assert all(isinstance(event, dict) for event in events)


def test_both_sources_repeat_a_delivery_and_one_delivery_is_forged() -> None:
    assert {post.source for post in POSTS if post.times == 2} == {"noaa", "faa"}
    assert [post.times for post in POSTS if post.forged] == [1]


def test_signatures_hold_for_the_official_library_and_for_ours_and_forged_ones_for_neither() -> (
    None
):
    post, now = POSTS[0], SystemClock().now()
    verify = standard_webhooks.prepare(TimedOptions(), [SECRET])

    def delivery(signed: dict[str, str]) -> Delivery:
        body = post.body.encode()
        return Delivery(post.source, signed, body, body, now)

    good, forged = headers(post, SECRET, now), headers(post, FORGER, now)
    Webhook(SECRET).verify(post.body, good, json_parse=False)
    assert verify(delivery(good)) is None
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(post.body, forged, json_parse=False)
    assert verify(delivery(forged)) is not None


def test_flights_become_rows_but_for_a_slip_in_a_registration() -> None:
    expected = expect(DATA, [])
    assert expected.rows == {FLIGHTS: 2}
    assert expected.dead == {Letter(FLIGHTS, Stage.JUDGE, RejectReason.PATTERN): 1}
    assert expected.carriers == {"UA": Carrier(2, 1, 390)}
    assert expected.dates == {FLIGHTS: {"2013-07-04": 2}}
    assert expected.last_hour.isoformat() == "2013-07-04T21:00:00"
    assert expected.accepted == 3


def expected_of(fault: Fault | None, times: int, **event: Any) -> Expected:
    fine = DATA.weather.row(0, named=True) | event
    post = Post("noaa", WEATHER, "msg_1", (Sent(fine, fault),), times=times)
    empty = dataset().part(0.001)
    return expect(empty, [post])


def test_a_repeated_record_is_one_row_and_one_duplicate() -> None:
    expected = expected_of(None, 2)
    assert (expected.rows[WEATHER], expected.duplicates[WEATHER]) == (1, 1)
    assert expected.on_topic[WEATHER] == 2
    assert (expected.precipitation, expected.dates[WEATHER]) == (Decimal("0.01"), {"2013-01-01": 1})


def test_a_repeated_record_that_cannot_be_encoded_is_one_dead_letter_and_one_duplicate() -> None:
    expected = expected_of(WEATHER_FAULTS[0], 2)
    letter = Letter(WEATHER, Stage.ENCODE, RejectReason.NOT_JSON)
    assert (expected.dead[letter], expected.duplicates[WEATHER]) == (1, 1)
    assert (expected.on_topic[WEATHER], expected.on_topic[f"{WEATHER}.dead"]) == (0, 2)


@pytest.mark.parametrize(
    ("fault", "event"), [(WEATHER_FAULTS[-1], {}), (None, {"wind_speed": 1048.36058})]
)
def test_a_repeated_record_that_breaks_a_rule_is_two_dead_letters(
    fault: Fault | None, event: dict[str, Any]
) -> None:
    expected = expected_of(fault, 2, **event)
    assert expected.dead[Letter(WEATHER, Stage.JUDGE, RejectReason.OUT_OF_RANGE)] == 2
    assert (expected.rows[WEATHER], expected.duplicates[WEATHER]) == (0, 0)
    assert (expected.on_topic[WEATHER], expected.on_topic[f"{WEATHER}.dead"]) == (2, 2)


def test_what_is_forged_is_refused_and_counts_for_nothing() -> None:
    expected = expect(DATA, [post for post in POSTS if post.forged])
    assert (expected.refused, expected.accepted) == (1, 3)


def test_nothing_sent_goes_unaccounted() -> None:
    sent = sum(len(post.records) * post.times for post in POSTS if not post.forged)
    assert expect(DATA, POSTS).accepted == sent + DATA.flights.height
