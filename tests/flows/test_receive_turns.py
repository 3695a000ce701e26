"""A body that takes long is stored all the same; one whose turn does not come is told so."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from producers.encode import Encoded
from schemas.events import Incoming
from services.gateway.app import INLINE_BYTES_MAX, Gateway
from services.settings import Gateway as GatewaySettings
from tests.support.http import PlainEncoder, World, call, post, problem, signed, source
from tests.support.log_lines import Sink as LogSink
from tests.support.log_lines import as_before

SECONDS = 0.1
INLINE = b'{"id":"inline","x":"' + b"x" * (INLINE_BYTES_MAX - 1_000) + b'"}'
BESIDE = b'{"id":"beside","x":"' + b"x" * INLINE_BYTES_MAX + b'"}'


class SlowEncoder(PlainEncoder):
    """Takes three times as long as an answer may."""

    def encode(self, incoming: Sequence[Incoming]) -> Encoded:
        time.sleep(3 * SECONDS)
        return super().encode(incoming)


@pytest.fixture
def logged() -> Iterator[LogSink]:
    with as_before():
        yield LogSink()


@pytest.fixture
def here() -> World:
    return World([source()], settings=GatewaySettings(port=0, ack_seconds_max=SECONDS))


def slow(here: World) -> Gateway:
    encoders = {"shop.orders": SlowEncoder("shop.orders")}
    return Gateway(replace(here.ports, encoders=encoders), here.settings)


@pytest.mark.parametrize("body", [INLINE, BESIDE], ids=["in the loop", "in the thread"])
def test_what_takes_longer_than_an_answer_may_is_stored(here: World, body: bytes) -> None:
    """Whoever were told to come back would be told the same for ever."""
    assert post(slow(here), body).status == 200
    assert [record.value for record in here.sink.records] == [body]


def test_the_broker_has_its_time_after_it(here: World) -> None:
    here.sink.gate.clear()
    here.sink.seconds_max = 10
    began = time.monotonic()
    problem(post(slow(here), BESIDE), 503, "unavailable")
    assert 4 * SECONDS <= time.monotonic() - began < 8 * SECONDS


def test_a_body_that_waits_for_another_is_refused_in_time_and_may_come_back(here: World) -> None:
    app = slow(here)

    async def scenario() -> None:
        first = asyncio.create_task(call(app, BESIDE, signed(BESIDE)))
        await asyncio.sleep(0)
        late = await call(app, BESIDE, signed(BESIDE))
        assert not first.done()
        assert problem(late, 503, "unavailable")["detail"] == "its turn did not come in time"
        assert late.headers["retry-after"]
        assert (await first).status == 200
        assert (await call(app, BESIDE, signed(BESIDE))).status == 200

    asyncio.run(scenario())
    assert len(here.sink.records) == 2


def test_the_operator_is_told_of_both(
    here: World, logged: LogSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.gateway.app.SLOW_SECONDS", SECONDS)
    app = slow(here)

    async def scenario() -> None:
        sent = [call(app, BESIDE, signed(BESIDE)) for _ in range(3)]
        assert sorted([reply.status for reply in await asyncio.gather(*sent)]) == [200, 503, 503]

    asyncio.run(scenario())
    assert [(line["event"], line.get("source"), line.get("bytes")) for line in logged.lines] == [
        ("deliveries are refused", "shop", len(BESIDE)),
        ("a delivery takes long to read", "shop", len(BESIDE)),
    ]
