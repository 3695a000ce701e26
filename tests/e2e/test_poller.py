"""The poller against a real HTTP server: turns, isolation, twins, stops. The log is in memory."""

import asyncio
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from producers.cursors import load_state
from schemas.errors import FencedError, SetupError, TransientError
from schemas.events import CURSORS_TOPIC, Record
from services.poller.run import plans_of
from services.settings import Settings
from tests.support.api import Api, Call, Reply, page, serving
from tests.support.poller_shell import (
    CURSOR,
    ORDERS,
    PAGED,
    PATH,
    TOKENS,
    gaps,
    ids,
    metrics_of,
    poll_once,
    poll_while,
    row_of,
    rows,
    slowed,
    until,
)
from tests.support.polling import KEY, MemoryLog, ports_of, settings_of

pytestmark = pytest.mark.enable_socket


@pytest.fixture
def api() -> Iterator[Api]:
    with serving() as found:
        yield found


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


def test_every_page_and_its_cursor_are_one_transaction(api: Api, log: MemoryLog) -> None:
    api.route(
        PATH,
        lambda call: page(
            {"data": rows(3), "next": None}
            if "cursor" in call.query
            else {"data": [*rows(1, 2), "bad"], "next": "n"}
        ),
    )
    stream = {**ORDERS, "records": "/data", "pager": TOKENS, "cursor": CURSOR}
    ports = ports_of(log, "shop.orders")
    poll_once(ports, settings_of(api.url, stream))
    opening, first, second = log.transactions
    assert {name for name, _ in log.transactions} == {"sluice-poll-shop-shop.orders"}
    assert opening[1] == []
    assert [record.topic for record in first[1]] == [
        "shop.orders",
        "shop.orders",
        "shop.orders.dead",
        CURSORS_TOPIC,
    ]
    assert first[1][0] == Record("shop.orders", b'{"id": 1, "at": 1}', b"1")
    assert [record.topic for record in second[1]] == ["shop.orders", CURSORS_TOPIC]
    half, whole = (load_state(records[-1].value) for _, records in (first, second))
    assert half.run is not None
    assert (half.cursor, half.run.position) == (None, {"token": "n"})
    assert (whole.cursor, whole.run) == (3, None)
    assert first[1][-1].key == KEY
    poll_once(ports_of(log, "shop.orders"), settings_of(api.url, stream))
    assert api.calls[-2].query == {"since": "3"}


def test_progress_and_metrics_say_what_happened(api: Api, log: MemoryLog) -> None:
    api.route(PATH, [Reply(500), page([*rows(1, 2), 7])])
    ports = ports_of(log, "shop.orders")
    poll_once(ports, settings_of(api.url, {**ORDERS, "cursor": CURSOR}))
    row = row_of(ports)
    assert (row.pages, row.records, row.rejected, row.failures) == (1, 2, 1, 0)
    assert (row.cursor, row.error, row.mid_run) == ("2", "", False)
    assert row.last_success is not None
    assert row.state == "waiting"
    assert orjson.loads(orjson.dumps(ports.board.values()))[0]["state"] == "waiting"
    metrics = metrics_of(ports)
    assert metrics.total("poll_requests", source="shop", status="500") == 1
    assert metrics.total("poll_requests", source="shop", status="200") == 1
    assert metrics.total("poll_pages", stream="shop.orders") == 1
    assert metrics.total("poll_records", stream="shop.orders") == 2
    assert metrics.total("poll_records_dead", reason="not_an_object") == 1
    assert metrics.last("poll_run_seconds", stream="shop.orders") is not None


def test_one_failing_stream_leaves_the_cadence_of_the_others_alone(
    api: Api, log: MemoryLog
) -> None:
    names = [f"shop.s{n}" for n in range(10)]
    streams = [{"stream": name, "path": name, "every": "200ms"} for name in names]
    for n, name in enumerate(names):
        api.route(f"/{name}", page(rows(n)))
    api.route("/shop.s0", Reply(500))
    api.route("/shop.s1", Reply(404))
    api.route("/shop.s2", Reply(200, b"<html>"))
    ports = ports_of(log, *names)

    async def during(_: asyncio.Event) -> None:
        await asyncio.sleep(1.5)
        assert row_of(ports, "shop.s1").state == "setup"

    poll_while(ports, settings_of(api.url, *streams, concurrency=8), during)
    for name in names[3:]:
        calls = api.of(f"/{name}")
        assert 5 <= len(calls) <= 9  # 8 on a machine of one's own
        assert max(gaps(calls)) < 0.7  # the failing ones wait longer between tries
        assert row_of(ports, name).failures == 0
    assert row_of(ports, "shop.s0").records == 0
    assert len(api.of("/shop.s1")) == 1  # looks again much later
    assert row_of(ports, "shop.s1").error.startswith("shop/shop.s1: the source answered 404")
    assert row_of(ports, "shop.s2").failures > 0


def test_the_age_of_a_cursor_that_is_a_time(api: Api, log: MemoryLog) -> None:
    api.route(PATH, page([{"id": 1, "at": "2023-11-14T22:13:20Z"}]))
    ports = ports_of(log, "shop.orders")
    poll_once(ports, settings_of(api.url, {**ORDERS, "cursor": {"field": "at"}}))
    age = metrics_of(ports).last("poll_cursor_age_seconds", stream="shop.orders")
    assert age == pytest.approx(ports.clock.now() / 1e6 - 1_700_000_000, abs=20)
    assert row_of(ports).cursor == "2023-11-14T22:13:20Z"


def test_once_finishes_the_others_before_it_reports_the_failed_one(
    api: Api, log: MemoryLog
) -> None:
    api.route("/a", Reply(404))
    api.route("/b", Reply(200, b'[{"id": 1}]', delay=0.2))
    streams = [{"stream": f"shop.{name}", "path": name} for name in "ab"]
    with pytest.raises(SetupError, match="404"):
        poll_once(ports_of(log, "shop.a", "shop.b"), settings_of(api.url, *streams))
    assert ids(log, "shop.b") == [1]


def test_a_second_poller_fences_the_first(api: Api, log: MemoryLog) -> None:
    api.route(PATH, page(rows(1)))
    api.route("/more", page(rows(2)))
    orders = {**ORDERS, "every": "50ms"}
    more = {"stream": "shop.more", "path": "more", "every": "50ms"}
    ports = ports_of(log, "shop.orders", "shop.more")

    async def during(_: asyncio.Event) -> None:
        await until(lambda: len(api.of(PATH)) > 1)
        log.open("sluice-poll-shop-shop.orders")
        await until(lambda: row_of(ports).state == "fenced")
        before = len(api.of(PATH)), len(api.of("/more"))
        await until(lambda: len(api.of("/more")) > before[1] + 3)
        assert len(api.of(PATH)) == before[0]

    poll_while(ports, settings_of(api.url, orders, more), during)
    assert "another poller has taken shop.orders over" in row_of(ports).error
    assert row_of(ports, "shop.more").state == "stopped"


def test_a_stop_finishes_the_page_under_way_and_no_more(api: Api, log: MemoryLog) -> None:
    def answer(call: Call) -> Reply:
        number = int(call.query.get("cursor", 0))
        body = orjson.dumps({"data": rows(number), "next": number + 1})
        return Reply(200, body, delay=0.3)

    api.route(PATH, answer)

    async def during(_: asyncio.Event) -> None:
        await until(lambda: len(api.calls) == 2)
        await asyncio.sleep(0.05)

    took = poll_while(ports_of(log, "shop.orders"), settings_of(api.url, PAGED), during)
    assert took < 0.6
    assert ids(log) == [0, 1]
    assert len(api.calls) == 2
    state = load_state(log.cursors()[KEY])
    assert state.run is not None
    assert state.run.position == {"token": 2}


def test_a_stop_does_not_wait_for_a_wait(api: Api, log: MemoryLog) -> None:
    api.route(PATH, page({}, 429, Retry_After="5"))
    ports = ports_of(log, "shop.orders")
    settings = settings_of(api.url, ORDERS, poller={"backoff_seconds_max": 60})

    async def during(_: asyncio.Event) -> None:
        await until(lambda: len(api.calls) == 1)
        await asyncio.sleep(0.1)

    assert poll_while(ports, settings, during) < 0.3
    assert row_of(ports).state == "stopped"


def test_a_failed_publish_is_repeated_from_the_stored_cursor(api: Api, log: MemoryLog) -> None:
    numbers = iter([1, 2])
    api.route(
        PATH,
        lambda call: page(
            {"data": rows(next(numbers, 2)), "next": None if "cursor" in call.query else "n"}
        ),
    )
    ports = ports_of(log, "shop.orders")
    published: list[Any] = []

    async def during(_: asyncio.Event) -> None:
        await until(lambda: len(log.transactions) == 2)
        log.failing.append(TransientError("the broker is away"))
        await until(lambda: row_of(ports).last_success is not None)
        published.extend(log.transactions)

    api.route(PATH, slowed(api.routes[PATH], 0.1))
    poll_while(ports, settings_of(api.url, PAGED), during)
    assert ids(log)[:2] == [1, 2]
    assert log.generations["sluice-poll-shop-shop.orders"] == 2
    assert [call.query for call in api.calls][:3] == [{}, {"cursor": "n"}, {"cursor": "n"}]


def test_a_cursor_that_cannot_be_read_stops_its_stream(api: Api, log: MemoryLog) -> None:
    log.records.append(Record(CURSORS_TOPIC, b"{}", KEY))
    with pytest.raises(SetupError, match="cannot be read"):
        poll_once(ports_of(log, "shop.orders"), settings_of(api.url, ORDERS))
    assert api.calls == []


def test_a_bug_ends_the_poller_without_publishing(api: Api, log: MemoryLog) -> None:
    api.route(PATH, page(rows(1)))
    ports = ports_of(log, "shop.orders")
    object.__setattr__(ports, "dead_letters", None)
    api.route(PATH, page([1]))
    with pytest.raises(ExceptionGroup):
        poll_once(ports, settings_of(api.url, ORDERS))
    assert log.cursors() == {}


def test_a_stream_without_contract_stops_the_start(log: MemoryLog) -> None:
    settings = settings_of("http://127.0.0.1:1", ORDERS)
    with pytest.raises(SetupError, match=r"no contract for shop\.orders"):
        plans_of(settings, ports_of(log, "shop.other").encoders)
    others = Settings(sources={"hook": {"kind": "github"}})
    assert plans_of(others, {}) == []


def test_fenced_is_not_retried_once(api: Api, log: MemoryLog) -> None:
    log.failing.append(FencedError("fenced"))
    with pytest.raises(FencedError):
        poll_once(ports_of(log, "shop.orders"), settings_of(api.url, ORDERS))
