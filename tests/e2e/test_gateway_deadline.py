"""An answer within three seconds, whatever keeps the gateway busy: providers give up soon after.

What a body's own reading takes comes on top: it would take as long when it is sent again.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest
import uvloop

from services.gateway.app import INLINE_BYTES_MAX
from services.settings import Gateway as GatewaySettings
from tests.support.http import Reply, World, exchange, request, served, source

pytestmark = pytest.mark.enable_socket

DEADLINE = 3.0


def large(number: int, size: int = INLINE_BYTES_MAX) -> bytes:
    return orjson.dumps({"id": str(number), "x": "x" * size})


def silent(here: World) -> None:
    """From now on the log acknowledges nothing."""
    here.sink.gate.clear()


def timed(
    here: World, bodies: list[bytes], during: Callable[[World], Any] = lambda _: None
) -> tuple[list[Reply], list[float]]:
    """All at once, a connection each: the answers, and the seconds until each of them."""

    async def scenario() -> list[tuple[Reply, float]]:
        async with served(here.ports, here.settings) as port:
            await exchange(port, request(b'{"id":"warm"}'))
            during(here)
            began = time.monotonic()

            async def one(body: bytes) -> tuple[Reply, float]:
                (reply,) = await exchange(port, request(body))
                return reply, time.monotonic() - began

            return await asyncio.gather(*map(one, bodies))

    found = uvloop.run(scenario())
    return [reply for reply, _ in found], [seconds for _, seconds in found]


@pytest.mark.parametrize(
    ("size", "count", "pause"), [(INLINE_BYTES_MAX, 12, 0.6), (INLINE_BYTES_MAX - 1_000, 80, 0.05)]
)
def test_large_bodies_that_keep_a_plugin_busy_are_503_in_time(
    size: int, count: int, pause: float
) -> None:
    """A thread reads them, or the loop, turn by turn; those whose turn does not come are sent again."""

    def slow(headers: Any, body: Any) -> str:
        del headers
        time.sleep(pause)
        return str(body["id"])

    here = World([replace(source(), event_id=slow)])
    replies, seconds = timed(here, [large(n, size) for n in range(count)])
    assert max(seconds) < DEADLINE + pause
    refused = [took for reply, took in zip(replies, seconds, strict=True) if reply.status == 503]
    assert max(refused) < DEADLINE
    assert {reply.status for reply in replies} == {200, 503}
    assert all(reply.headers["retry-after"] for reply in replies if reply.status == 503)
    stored = [record.key for record in here.sink.records if record.key != b"warm"]
    answered = [reply.json["ids"][0].encode() for reply in replies if reply.status == 200]
    assert set(answered) <= set(stored)


def test_a_log_that_takes_nothing_is_503_in_time_for_small_and_large() -> None:
    here = World([source()])

    bodies = [large(0), b'{"id":"1"}', b"[%s]" % b",".join(b'{"id":"%d"}' % n for n in range(500))]
    replies, seconds = timed(here, bodies, silent)
    assert [reply.status for reply in replies] == [503] * 3
    assert max(seconds) < DEADLINE


def test_more_callers_than_there_is_room_for_are_503_at_once() -> None:
    settings = GatewaySettings(port=0, in_flight_events_max=10)
    here = World([source()], settings=settings)

    replies, seconds = timed(here, [b'{"id":"%d"}' % n for n in range(200)], silent)
    assert {reply.status for reply in replies} == {503}
    assert max(seconds) < DEADLINE
