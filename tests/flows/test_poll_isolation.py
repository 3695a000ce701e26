"""One stream of fifty that fails in any way: the others keep their cadence and their state."""

import asyncio
import functools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import orjson
import pytest

from producers.cursors import load_state
from producers.exchange import Request, Response
from schemas.errors import SetupError, TransientError
from services.poller.ports import PollPorts, cursor_key
from services.poller.progress import UNHEALTHY
from services.poller.run import run
from services.settings import Settings
from tests.support.polling import MemoryLog, answered, ports_of, settings_of
from tests.support.virtual import LoopClock, MemoryApi, run_virtually

EVERY, LATENCY, TIMEOUT = 20.0, 0.02, 30.0
MENDED_AT, SECONDS = 200.0, 320.0
NAMES = tuple(f"shop.s{n:02}" for n in range(50))
CURSOR = {"field": "id", "param": "since", "format": "integer"}
ROOMY, FEW = 64, 4  # requests in flight: more than there are streams, and the default


async def hangs(_: Request) -> Response:
    await asyncio.sleep(3_600)
    raise AssertionError("nobody waits for so long")


def always(response: Response) -> Callable[[Request], Any]:
    async def answer(_: Request) -> Response:
        await asyncio.sleep(LATENCY)
        return response

    return answer


async def growing(request: Request) -> Response:
    """A source that has one more record every second; it answers with those after the cursor."""
    await asyncio.sleep(LATENCY)
    newest = int(asyncio.get_running_loop().time())
    since = int(dict(parse_qsl(urlsplit(request.full_url).query)).get("since", 0))
    return answered([{"id": n} for n in range(since + 1, newest + 1)])


WAYS: dict[str, Callable[[Request], Any]] = {
    "500": always(Response(500)),
    "503": always(Response(503, {"retry-after": "45"})),
    "hangs": hangs,
    "401": always(Response(401)),
    "403": always(Response(403)),
    "html": always(Response(200, {}, b"<html>busy</html>")),
}
REFUSALS: dict[str, Exception] = {
    "refused": SetupError("TOPIC_AUTHORIZATION_FAILED"),
    "away": TransientError("the partition has no leader"),
}


@dataclass
class Fleet:
    """Fifty streams of one source, some of which fail until they are mended."""

    failing: dict[str, str] = field(default_factory=dict)  # stream -> way
    api: MemoryApi = field(default_factory=lambda: MemoryApi({f"/{n}": growing for n in NAMES}))
    log: MemoryLog = field(default_factory=MemoryLog)
    ports: PollPorts = field(init=False)
    broken: dict[str, int] = field(default_factory=dict)  # the cursors before the mending

    def __post_init__(self) -> None:
        random.seed(len(self.failing))  # of the waits between tries
        self.ports = ports_of(self.log, *NAMES, http=self.api.open, clock=LoopClock())
        for name, way in self.failing.items():
            self.api.routes[f"/{name}"] = WAYS.get(way, growing)
            if way in REFUSALS:
                self.log.refused[f"sluice-poll-shop-{name}"] = REFUSALS[way]

    def mend(self) -> None:
        self.api.routes.update({f"/{name}": growing for name in self.failing})
        self.log.refused.clear()

    def poll(self, **source: Any) -> "Fleet":
        settings = self.settings(**source)

        async def both() -> None:
            stop = asyncio.Event()
            polling = asyncio.create_task(run(self.ports, settings, stop))
            await asyncio.sleep(MENDED_AT - 1)
            self.broken = self.cursors()
            self.mend()
            await asyncio.sleep(SECONDS - MENDED_AT)
            stop.set()
            await polling

        run_virtually(both())
        return self

    def settings(self, **source: Any) -> Settings:
        streams = [
            {"stream": name, "path": name, "cursor": CURSOR, "every": f"{EVERY:g}s"}
            for name in NAMES
        ]
        poller = {"timeout_seconds": TIMEOUT, "attempts_max": 6, "backoff_seconds_max": 60}
        poller["setup_retry_seconds"] = 60
        return settings_of("https://api.example.com", *streams, poller=poller, **source)

    def cursors(self) -> dict[str, int]:
        stored = self.log.cursors()
        states = {name: load_state(stored.get(cursor_key("shop", name))) for name in NAMES}
        return {name: int(state.cursor or 0) for name, state in states.items()}

    def asked(self, name: str) -> list[float]:
        return self.api.asked[f"/{name}"]

    @property
    def others(self) -> list[str]:
        return [name for name in NAMES if name not in self.failing]


@functools.cache
def undisturbed(concurrency: int) -> Fleet:
    return Fleet().poll(concurrency=concurrency)


def check(fleet: Fleet) -> None:
    """All streams stand where the source stood at their last turn, the mended ones too."""
    cursors = fleet.cursors()
    assert {fleet.broken[name] for name in fleet.failing} <= {0}
    assert min(cursors.values()) >= SECONDS - 1 - EVERY
    for row in fleet.ports.board.rows:
        assert (row.failures, row.state in UNHEALTHY) == (0, False)
        ids = [orjson.loads(record.value)["id"] for record in fleet.log.of(row.stream)]
        assert list(dict.fromkeys(ids)) == list(range(1, cursors[row.stream] + 1))


@pytest.mark.parametrize("way", [*WAYS, *REFUSALS])
def test_one_failing_stream_of_fifty_changes_no_request_of_the_others(way: str) -> None:
    alone, beside = undisturbed(ROOMY), Fleet({NAMES[7]: way}).poll(concurrency=ROOMY)
    for name in beside.others:
        assert beside.asked(name) == alone.asked(name)
        assert len(beside.asked(name)) == SECONDS / EVERY
    check(beside)


@pytest.mark.parametrize("way", [*WAYS, *REFUSALS])
def test_with_few_requests_in_flight_the_others_wait_no_longer_than_for_a_slot(way: str) -> None:
    alone, beside = undisturbed(FEW), Fleet({NAMES[7]: way}).poll(concurrency=FEW)
    for name in beside.others:
        late = [b - a for a, b in zip(alone.asked(name), beside.asked(name), strict=True)]
        assert max(late) < 1.0, name
    assert beside.api.in_flight_max <= FEW
    check(beside)


@pytest.mark.parametrize("way", ["500", "html", "away"])
def test_tries_again_do_not_use_up_a_rate_that_has_a_tenth_to_spare(way: str) -> None:
    rate = f"{round(1.1 * 60 * len(NAMES) / EVERY)}/m"
    beside = Fleet({NAMES[7]: way}).poll(concurrency=ROOMY, rate=rate)
    for name in beside.others:
        late = [
            b - a for a, b in zip(undisturbed(ROOMY).asked(name), beside.asked(name), strict=True)
        ]
        assert max(late) < 1.0, name
    check(beside)


def test_streams_that_hang_leave_half_of_the_requests_in_flight_to_the_others() -> None:
    """Twice as many as may be in flight: once each has been waited for, the others go on."""
    hanging = dict.fromkeys(NAMES[:8], "hangs")
    alone, beside = undisturbed(FEW), Fleet(hanging).poll(concurrency=FEW)
    known = TIMEOUT * len(hanging) / FEW
    for name in beside.others:
        before = [at for at in alone.asked(name) if at > known + EVERY]
        late = [b - a for a, b in zip(before, beside.asked(name)[-len(before) :], strict=True)]
        assert max(map(abs, late)) < 1.0, name
    assert beside.api.in_flight_max <= FEW
    check(beside)
