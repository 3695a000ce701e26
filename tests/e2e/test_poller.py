"""The poller against a real HTTP server that misbehaves; the log is in memory."""

import asyncio
import io
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from email.utils import formatdate
from itertools import pairwise
from typing import Any

import orjson
import pytest
import structlog

from producers.cursors import load_state
from schemas.errors import FencedError, SetupError, SluiceError, TransientError
from schemas.events import Record
from services import logs
from services.adapters.metrics import MemoryMetrics
from services.poller.ports import CURSORS_TOPIC, PollPorts
from services.poller.progress import Progress
from services.poller.run import plans_of, run
from services.settings import Settings
from tests.support.api import Api, Call, Reply, TokenEndpoint, page, serving
from tests.support.polling import KEY, MemoryLog, ports_of, settings_of

pytestmark = pytest.mark.enable_socket

ORDERS = {"stream": "shop.orders", "path": "orders", "event_id": "/id"}
PATH = "/orders"
CURSOR = {"field": "at", "param": "since", "format": "integer"}
TOKENS = {"kind": "cursor", "token": "/next"}
WAIT = 10.0


@pytest.fixture
def api() -> Iterator[Api]:
    with serving() as found:
        yield found


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


def rows(*numbers: int) -> list[dict[str, int]]:
    return [{"id": n, "at": n} for n in numbers]


def ids(log: MemoryLog, stream: str = "shop.orders") -> list[int]:
    return [orjson.loads(record.value)["id"] for record in log.of(stream)]


def poll_once(ports: PollPorts, settings: Settings, stop: asyncio.Event | None = None) -> None:
    asyncio.run(asyncio.wait_for(run(ports, settings, stop or asyncio.Event(), once=True), WAIT))


def poll_while(
    ports: PollPorts, settings: Settings, during: Callable[[asyncio.Event], Awaitable[None]]
) -> float:
    """Polls while ``during`` runs, then stops; the seconds that stopping took."""

    async def both() -> float:
        stop = asyncio.Event()
        task = asyncio.create_task(run(ports, settings, stop))
        await during(stop)
        began = time.monotonic()
        stop.set()
        await asyncio.wait_for(task, WAIT)
        return time.monotonic() - began

    return asyncio.run(both())


async def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < end, "did not happen"
        await asyncio.sleep(0.01)


def row_of(ports: PollPorts, stream: str = "shop.orders") -> Progress:
    return next(row for row in ports.board.rows if row.stream == stream)


def slowed(answer: Callable[[Call], Reply], seconds: float) -> Callable[[Call], Reply]:
    return lambda call: replace(answer(call), delay=seconds)


def gaps(calls: list[Call]) -> list[float]:
    return [b.at - a.at for a, b in pairwise(calls)]


def metrics_of(ports: PollPorts) -> MemoryMetrics:
    assert isinstance(ports.metrics, MemoryMetrics)
    return ports.metrics


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
    assert ports.board.healthy
    assert orjson.loads(orjson.dumps(ports.board.values()))[0]["state"] == "waiting"
    metrics = metrics_of(ports)
    assert metrics.total("poll_requests", source="shop", status="500") == 1
    assert metrics.total("poll_requests", source="shop", status="200") == 1
    assert metrics.total("poll_pages", stream="shop.orders") == 1
    assert metrics.total("poll_records", stream="shop.orders") == 2
    assert metrics.total("poll_records_dead", reason="not_an_object") == 1
    assert metrics.last("poll_run_seconds", stream="shop.orders") is not None


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
    api: Api, log: MemoryLog, headers: dict[str, str]
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
    assert not ports.board.healthy


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


@pytest.mark.parametrize(
    ("auth", "sent"),
    [
        ({"kind": "bearer", "token": "env:T"}, ("authorization", "Bearer geheim")),
        (
            {"kind": "basic", "user_name": "u", "password": "env:T"},
            ("authorization", "Basic dTpnZWhlaW0="),
        ),
        ({"kind": "api_key", "key": "env:T", "name": "X-Key"}, ("x-key", "geheim")),
        ({"kind": "api_key", "key": "env:T", "name": "key", "place": "query"}, ("key", "geheim")),
    ],
    ids=["bearer", "basic", "header", "query"],
)
def test_fixed_secrets_are_sent(
    api: Api, log: MemoryLog, auth: dict[str, str], sent: tuple[str, str]
) -> None:
    api.route(PATH, page(rows(1)))
    ports = ports_of(log, "shop.orders", secrets={"env:T": "geheim"})
    poll_once(ports, settings_of(api.url, ORDERS, auth=auth))
    (call,) = api.calls
    assert {**call.headers, **call.query}[sent[0]] == sent[1]


def test_a_secret_that_was_rotated_is_fetched_again_after_a_401(api: Api, log: MemoryLog) -> None:
    api.route(
        PATH,
        lambda call: page(rows(1)) if call.headers["x-api-key"] == "new" else page({}, 401),
    )
    given = iter(["old", "new"])
    ports = ports_of(log, "shop.orders")
    object.__setattr__(ports, "secret", lambda _: next(given))
    poll_once(ports, settings_of(api.url, ORDERS, auth={"kind": "api_key", "key": "env:K"}))
    assert ids(log) == [1]
    assert len(api.calls) == 2


OAUTH = {"client_id": "env:I", "client_secret": "env:S"}
SECRETS = {"env:I": "client-id-7", "env:S": "client-s3cret", "env:R": "refresh-0"}


def credentials(api: Api, **more: str) -> dict[str, str]:
    return {"kind": "oauth2_client_credentials", "token_url": f"{api.url}/token", **OAUTH, **more}


def guarded(api: Api, tokens: TokenEndpoint) -> None:
    api.route("/token", tokens)

    def answer(call: Call) -> Reply:
        if not tokens.admits(call):
            return page({}, 401)
        number = int(call.query.get("cursor", 1))
        return page({"data": rows(number), "next": number + 1 if number < 4 else None})

    api.route(PATH, answer)


PAGED = {**ORDERS, "records": "/data", "pager": TOKENS}


def test_one_token_serves_all_streams_until_it_ends(api: Api, log: MemoryLog) -> None:
    tokens = TokenEndpoint()
    guarded(api, tokens)
    more = {**PAGED, "stream": "shop.more"}
    ports = ports_of(log, "shop.orders", "shop.more", secrets=SECRETS)
    poll_once(ports, settings_of(api.url, PAGED, more, auth=credentials(api, scope="read")))
    assert tokens.issued == ["access-0"]
    (call,) = api.of("/token")
    assert call.form == {"grant_type": "client_credentials", "scope": "read"}
    assert ids(log) == ids(log, "shop.more") == [1, 2, 3, 4]


def test_a_token_is_renewed_before_it_ends(api: Api, log: MemoryLog) -> None:
    tokens = TokenEndpoint(life=0.8)
    guarded(api, tokens)
    api.route(PATH, slowed(api.routes[PATH], 0.3))
    poll_once(
        ports_of(log, "shop.orders", secrets=SECRETS),
        settings_of(api.url, PAGED, auth=credentials(api)),
    )
    assert len(tokens.issued) == 2
    assert ids(log) == [1, 2, 3, 4]


def test_a_revoked_token_is_renewed_once(api: Api, log: MemoryLog) -> None:
    tokens = TokenEndpoint()
    guarded(api, tokens)
    answer = api.routes[PATH]

    def revoking(call: Call) -> Reply:
        if call.query.get("cursor") == "3" and len(tokens.issued) == 1:
            tokens.valid.clear()
        return answer(call)

    api.route(PATH, revoking)
    poll_once(
        ports_of(log, "shop.orders", secrets=SECRETS),
        settings_of(api.url, PAGED, auth=credentials(api, client_auth="body")),
    )
    assert len(tokens.issued) == 2
    assert ids(log) == [1, 2, 3, 4]
    assert len(api.of(PATH)) == 5
    assert api.of("/token")[0].form["client_secret"] == "client-s3cret"


def test_a_token_that_is_refused_twice_is_a_setup_error(api: Api, log: MemoryLog) -> None:
    tokens = TokenEndpoint()
    api.route("/token", tokens)
    api.route(PATH, Reply(401))
    with pytest.raises(SetupError, match="answered 401"):
        poll_once(
            ports_of(log, "shop.orders", secrets=SECRETS),
            settings_of(api.url, PAGED, auth=credentials(api)),
        )
    assert len(api.of(PATH)) == len(tokens.issued) == 2


def test_a_rotating_refresh_token_is_followed(api: Api, log: MemoryLog) -> None:
    tokens = TokenEndpoint(life=0.2, rotate=True)
    guarded(api, tokens)
    auth = {**credentials(api), "kind": "oauth2_refresh_token", "refresh_token": "env:R"}
    api.route(PATH, slowed(api.routes[PATH], 0.15))
    poll_once(ports_of(log, "shop.orders", secrets=SECRETS), settings_of(api.url, PAGED, auth=auth))
    assert ids(log) == [1, 2, 3, 4]
    used = [call.form["refresh_token"] for call in api.of("/token")]
    assert len(used) >= 3
    assert used == [f"refresh-{n}" for n in range(len(used))]


def test_a_token_endpoint_that_refuses_is_a_setup_error(api: Api, log: MemoryLog) -> None:
    api.route("/token", page({"error": "invalid_client"}, 401))
    with pytest.raises(SetupError, match="invalid_client"):
        poll_once(
            ports_of(log, "shop.orders", secrets=SECRETS),
            settings_of(api.url, PAGED, auth=credentials(api)),
        )
    assert api.of(PATH) == []


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
        assert not ports.board.healthy

    poll_while(ports, settings_of(api.url, *streams, concurrency=8), during)
    for name in names[3:]:
        calls = api.of(f"/{name}")
        assert 7 <= len(calls) <= 9
        assert all(0.15 < gap < 0.3 for gap in gaps(calls))
        assert row_of(ports, name).failures == 0
    assert row_of(ports, "shop.s0").records == 0
    assert len(api.of("/shop.s1")) == 1  # looks again much later
    assert row_of(ports, "shop.s1").error.startswith("shop/shop.s1: the source answered 404")
    assert row_of(ports, "shop.s2").failures > 0


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


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """Everything that is logged in production, at its most talkative."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    sink = io.StringIO()
    logs.configure("poller", "debug", stream=sink, console=False)
    yield sink
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


SECRET = "s3cr3t-Kx7"


@pytest.mark.parametrize(
    "auth",
    [
        {"kind": "bearer", "token": "env:X"},
        {"kind": "basic", "user": "env:X", "password": "env:X"},
        {"kind": "api_key", "key": "env:X"},
        {"kind": "api_key", "key": "env:X", "name": "key", "place": "query"},
        {"kind": "oauth2_client_credentials", "client_id": "env:X", "client_secret": "env:X"},
        {
            "kind": "oauth2_refresh_token",
            "client_id": "env:X",
            "refresh_token": "env:X",
            "client_auth": "body",
        },
    ],
    ids=["bearer", "basic", "header", "query", "client", "refresh"],
)
@pytest.mark.parametrize(
    "bad",
    [
        page({"you_sent": SECRET}, 500),
        page({"you_sent": SECRET}, 400),
        Reply(200, f"<html>{SECRET}".encode()),
        Reply(200, b"[]", cut=1),
        page([], 302, Location=f"http://127.0.0.1:9/?key={SECRET}"),
    ],
    ids=["500", "400", "html", "cut", "redirect"],
)
def test_secrets_are_in_no_log_error_or_progress(
    api: Api, log: MemoryLog, logged: io.StringIO, auth: dict[str, str], bad: Reply
) -> None:
    token = f"access-{SECRET}"
    api.route("/token", page({"access_token": token, "expires_in": 60, "refresh_token": SECRET}))
    api.route(PATH, bad)
    if "oauth2" in auth["kind"]:
        auth = {**auth, "token_url": f"{api.url}/token"}
    ports = ports_of(log, "shop.orders", secrets={"env:X": SECRET})
    poller = {"attempts_max": 2, "backoff_seconds_max": 0.02}
    settings = settings_of(api.url, ORDERS, auth=auth, poller=poller)
    with pytest.raises(SluiceError) as caught:
        poll_once(ports, settings)
    assert "poll failed" in logged.getvalue()
    shown = [logged.getvalue(), str(ports.board.values()), repr(plans_of(settings, ports.encoders))]
    error: BaseException | None = caught.value
    while error is not None:
        shown.append(f"{error!r} {error}")
        error = error.__cause__ or error.__context__
    assert SECRET not in "\n".join(shown)
    assert all(SECRET.encode() not in value for value in log.cursors().values())
