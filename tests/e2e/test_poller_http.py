"""The poller against a real HTTP server that misbehaves: waits, retries, other hosts."""

import asyncio
import time
from collections.abc import Iterator
from email.utils import formatdate
from typing import Any

import pytest

from schemas.errors import SetupError, TransientError
from tests.support.api import Api, Reply, page, serving
from tests.support.poller_shell import (
    ORDERS,
    PATH,
    TOKENS,
    gaps,
    ids,
    metrics_of,
    poll_once,
    poll_while,
    row_of,
    rows,
    until,
)
from tests.support.polling import MemoryLog, ports_of, settings_of

pytestmark = pytest.mark.enable_socket


@pytest.fixture
def api() -> Iterator[Api]:
    with serving() as found:
        yield found


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


@pytest.mark.parametrize("as_date", [False, True], ids=["seconds", "date"])
def test_429_is_asked_again_when_the_source_says(
    api: Api, log: MemoryLog, *, as_date: bool
) -> None:
    def wish() -> str:
        return formatdate(time.time() + 2, usegmt=True) if as_date else "1"

    refused = iter([True, True])
    api.route(
        PATH,
        lambda _: page({}, 429, Retry_After=wish()) if next(refused, False) else page(rows(1)),
    )
    poll_once(ports_of(log, "shop.orders"), settings_of(api.url, ORDERS))
    assert len(api.calls) == 3
    assert all(0.98 <= gap <= 2.8 for gap in gaps(api.calls))
    assert ids(log) == [1]


def test_a_longer_wish_than_ours_ends_the_turn_and_sets_the_next(api: Api, log: MemoryLog) -> None:
    api.route(PATH, page({}, 429, Retry_After="3600"))
    ports = ports_of(log, "shop.orders")

    async def during(_: asyncio.Event) -> None:
        await until(lambda: row_of(ports).failures > 0 if ports.board.rows else False)
        await asyncio.sleep(0.3)

    assert poll_while(ports, settings_of(api.url, ORDERS), during) < 0.5
    assert len(api.calls) == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"RateLimit": '"default";r=0;t=1'},
        {"X_RateLimit_Remaining": "0", "X_RateLimit_Reset": "1"},
    ],
    ids=["draft", "x"],
)
def test_an_allowance_that_is_used_up_is_waited_for(
    api: Api, log: MemoryLog, headers: dict[str, Any]
) -> None:
    api.route(
        PATH,
        [page({"data": rows(1), "next": "n"}, **headers), page({"data": rows(2), "next": None})],
    )
    ports = ports_of(log, "shop.orders")
    poll_once(ports, settings_of(api.url, {**ORDERS, "records": "/data", "pager": TOKENS}))
    assert ids(log) == [1, 2]
    assert 0.98 <= gaps(api.calls)[0] <= 1.5
    assert metrics_of(ports).total("poll_rate_waits", source="shop") == 1


@pytest.mark.parametrize(("scope", "least"), [("source", 0), ("stream", 5)])
def test_who_waits_when_one_stream_is_told_to(
    api: Api, log: MemoryLog, scope: str, least: int
) -> None:
    """By default the whole source, since most allowances are a client's."""
    api.route(PATH, page({}, 429, Retry_After="2"))
    api.route("/more", page([]))
    more = {"stream": "shop.more", "path": "more", "every": "50ms"}
    ports = ports_of(log, "shop.orders", "shop.more")

    async def during(_: asyncio.Event) -> None:
        await until(lambda: len(api.of(PATH)) == 1)
        await asyncio.sleep(0.1)
        before = len(api.of("/more"))
        await asyncio.sleep(0.8)
        more_calls = len(api.of("/more")) - before
        assert more_calls >= least
        assert more_calls <= (0 if scope == "source" else 20)

    settings = settings_of(api.url, ORDERS, more, rate_headers={"scope": scope})
    poll_while(ports, settings, during)


def test_the_rate_holds_over_all_streams_of_a_source(api: Api, log: MemoryLog) -> None:
    names = [f"shop.s{n}" for n in range(6)]
    streams = [{"stream": name, "path": name} for name in names]
    for name in names:
        api.route(f"/{name}", page([]))
    began = time.monotonic()
    poll_once(ports_of(log, *names), settings_of(api.url, *streams, rate="3/s"))
    assert len(api.calls) == 6
    assert time.monotonic() - began >= 0.95  # a burst of 3, then one every third of a second


def test_no_more_requests_are_in_flight_than_allowed(api: Api, log: MemoryLog) -> None:
    names = [f"shop.s{n}" for n in range(6)]
    streams = [{"stream": name, "path": name} for name in names]
    for name in names:
        api.route(f"/{name}", Reply(200, b"[]", delay=0.05))
    poll_once(ports_of(log, *names), settings_of(api.url, *streams, concurrency=2))
    assert api.in_flight_max == 2


@pytest.mark.parametrize(
    "bad",
    [
        Reply(500),
        Reply(503, headers={"Retry-After": "0"}),
        Reply(200, b"[]", delay=0.6),
        Reply(200, b"[1, 2, 3]", drip=0.1),
        Reply(200, b'[{"id": 1}]', cut=4),
    ],
    ids=["500", "503", "slow", "drip", "cut"],
)
def test_what_time_heals_is_tried_again(api: Api, log: MemoryLog, bad: Reply) -> None:
    api.route(PATH, [bad, page(rows(1))])
    ports = ports_of(log, "shop.orders")
    poll_once(ports, settings_of(api.url, ORDERS, timeout="400ms"))
    assert ids(log) == [1]
    assert log.of("shop.orders.dead") == []
    assert len(api.calls) == 2


def test_after_the_last_try_the_turn_fails_and_says_why(api: Api, log: MemoryLog) -> None:
    api.route(PATH, Reply(503))
    poller = {"attempts_max": 2, "backoff_seconds_max": 0.05}
    ports = ports_of(log, "shop.orders")
    with pytest.raises(TransientError, match="answered 503"):
        poll_once(ports, settings_of(api.url, ORDERS, poller=poller))
    assert len(api.calls) == 4  # two turns of two tries
    assert row_of(ports).failures == 2
    assert metrics_of(ports).total("poll_failures", kind="transient") == 2


def test_no_connection_is_transient(log: MemoryLog) -> None:
    with serving() as gone:
        url = gone.url
    poller = {"attempts_max": 1, "backoff_seconds_max": 0.05}
    with pytest.raises(TransientError, match="no connection"):
        poll_once(ports_of(log, "shop.orders"), settings_of(url, ORDERS, poller=poller))


def test_an_answer_that_is_no_json_is_one_dead_letter(api: Api, log: MemoryLog) -> None:
    api.route(PATH, Reply(200, b"<html>busy</html>"))
    poller = {"attempts_max": 3, "backoff_seconds_max": 0.05}
    with pytest.raises(TransientError, match="not JSON"):
        poll_once(ports_of(log, "shop.orders"), settings_of(api.url, ORDERS, poller=poller))
    assert [record.value for record in log.of("shop.orders.dead")] == [b"<html>busy</html>"]
    assert len(api.calls) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_what_time_does_not_heal_is_not_tried_again(api: Api, log: MemoryLog, status: int) -> None:
    api.route(PATH, Reply(status))
    ports = ports_of(log, "shop.orders")
    with pytest.raises(SetupError, match=f"answered {status}"):
        poll_once(ports, settings_of(api.url, ORDERS))
    assert len(api.calls) == 1
    assert row_of(ports).state == "setup"


def test_too_large_an_answer_is_not_read_to_its_end(api: Api, log: MemoryLog) -> None:
    api.route(PATH, Reply(200, b" " * 300_000))
    with pytest.raises(SetupError, match="larger than 1000 bytes"):
        poll_once(
            ports_of(log, "shop.orders"),
            settings_of(api.url, ORDERS, poller={"page_bytes_max": 1000}),
        )


def test_redirects_stay_on_the_host(api: Api, log: MemoryLog) -> None:
    api.route(PATH, Reply(302, headers={"Location": "/moved?x=1"}))
    api.route("/moved", page(rows(1)))
    auth = {"kind": "bearer", "token": "env:T"}
    ports = ports_of(log, "shop.orders", secrets={"env:T": "geheim"})
    poll_once(ports, settings_of(api.url, ORDERS, auth=auth))
    assert ids(log) == [1]
    assert api.of("/moved")[0].headers["authorization"] == "Bearer geheim"
    api.route(PATH, Reply(302, headers={"Location": PATH}))
    with pytest.raises(SetupError, match="more than 5 redirects"):
        poll_once(ports, settings_of(api.url, ORDERS, auth=auth))


@pytest.mark.parametrize("way", ["redirect", "link", "next_url"])
def test_another_host_is_never_called(api: Api, log: MemoryLog, way: str) -> None:
    with serving() as other:
        other.route("/steal", page(rows(9)))
        url = f"{other.url}/steal"
        api.route(
            PATH,
            Reply(307, headers={"Location": url})
            if way == "redirect"
            else page({"data": rows(1), "next": url}, Link=f'<{url}>; rel="next"'),
        )
        pager = {} if way == "redirect" else {"pager": {"kind": way}}
        with pytest.raises(SetupError, match="another host"):
            poll_once(
                ports_of(log, "shop.orders", secrets={"env:T": "geheim"}),
                settings_of(
                    api.url,
                    {**ORDERS, "records": "/data", **pager},
                    auth={"kind": "bearer", "token": "env:T"},
                ),
            )
        assert other.calls == []
    assert ids(log) == []
