"""The carriers' API of the demo: pages, who may ask, and how often."""

import json
import threading
import urllib.error
import urllib.request
from http import HTTPStatus
from typing import Any

import pytest

from services.demo.carrier_api import (
    PATH,
    Allowance,
    Answer,
    CarrierApi,
    CarrierServer,
    cursor_of,
    row_of,
)
from tests.support.demo_data import flights

TOKEN = "a-token-of-sixteen"
PROOF = f"Bearer {TOKEN}"


def api(burst: int = 100) -> CarrierApi:
    return CarrierApi(flights(), TOKEN, Allowance(burst))


def page(answer: Answer) -> Any:
    assert answer.status is HTTPStatus.OK, answer
    return json.loads(answer.body)


def test_following_the_cursor_brings_every_departure_once() -> None:
    asked, found, cursor = api(), [], ""
    while True:
        query = f"limit=2{f'&cursor={cursor}' if cursor else ''}"
        body = page(asked.answer(f"{PATH}?{query}", PROOF, 0.0))
        found += body["departures"]
        cursor = body["next_cursor"]
        if cursor is None:
            break
    assert [departure["flight"] for departure in found] == [1, 2, 3]


def test_a_departure_has_iso_times_an_offset_and_nulls_where_it_was_cancelled() -> None:
    first, cancelled, _ = page(api().answer(PATH, PROOF, 0.0))["departures"]
    assert first == {
        "flight_date": "2013-07-04", "carrier": "UA", "flight": 1, "origin": "EWR", "dest": "SFO",
        "tailnum": "N14228", "time_hour": "2013-07-04T17:00:00-04:00",
        "sched_dep_time": "17:30:00", "dep_time": "00:00:00", "dep_delay": 390,
        "sched_arr_time": "00:30:00", "arr_time": "00:05:00", "arr_delay": -25, "air_time": 340,
        "distance": 2565,
    }  # fmt: skip
    assert cancelled["dep_time"] is cancelled["arr_delay"] is cancelled["tailnum"] is None


def test_since_leaves_out_what_is_earlier() -> None:
    at = "2013-07-04T17:00:00-04:00"
    later = "2013-07-04T21:00:01Z"
    assert len(page(api().answer(f"{PATH}?since={at}", PROOF, 0.0))["departures"]) == 3
    assert page(api().answer(f"{PATH}?since={later}", PROOF, 0.0))["departures"] == []


@pytest.mark.parametrize(
    "query", ["cursor=x", "limit=0", "limit=many", "since=once", "cursor=_w=="]
)
def test_what_makes_no_sense_is_a_bad_request(query: str) -> None:
    assert api().answer(f"{PATH}?{query}", PROOF, 0.0).status is HTTPStatus.BAD_REQUEST


@pytest.mark.parametrize("proof", ["", "Bearer other", TOKEN, "Bearer \xff"])
def test_a_stranger_gets_nothing_and_uses_nothing_up(proof: str) -> None:
    asked = api(burst=1)
    assert asked.answer(PATH, proof, 0.0).status is HTTPStatus.UNAUTHORIZED
    assert asked.answer(PATH, PROOF, 0.0).status is HTTPStatus.OK


def test_other_paths_are_not_there() -> None:
    assert api().answer("/", PROOF, 0.0).status is HTTPStatus.NOT_FOUND


def test_a_cursor_stands_for_its_row() -> None:
    assert row_of(cursor_of(4_000)) == 4_000


def test_who_asks_too_often_waits_a_second_and_starts_anew() -> None:
    asked = api(burst=2)
    statuses = [
        asked.answer(PATH, PROOF, now).status for now in (0.0, 0.1, 0.2, 0.9, 1.2, 1.3, 1.4)
    ]
    assert statuses == [200, 200, 429, 429, 200, 200, 429]
    assert asked.answer(PATH, PROOF, 1.5).headers == {"Retry-After": "1"}


def test_who_asks_slowly_never_waits() -> None:
    allowance = Allowance(1)
    assert [allowance.wait_seconds(60.0 * turn) for turn in range(5)] == [0.0] * 5


@pytest.mark.enable_socket
def test_it_answers_over_http() -> None:
    server = CarrierServer(api(burst=1), 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.port}{PATH}?limit=1", headers={"Authorization": PROOF}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - loopback
            assert len(json.load(answer)["departures"]) == 1
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=10)  # noqa: S310 - loopback
        with caught.value as refused:
            assert (refused.code, refused.headers["Retry-After"]) == (429, "1")
    finally:
        server.shutdown()
        server.server_close()
