"""What the gateway holds at a time is bounded; what is too large for the log has another place."""

import asyncio
from typing import Any

from services.settings import Gateway as GatewaySettings
from tests.support.http import World, call, post, problem, signed, source

SETTINGS = GatewaySettings(port=0)


def world(**changed: Any) -> World:
    return World([source()], settings=SETTINGS.model_copy(update=changed))


def test_what_waits_for_the_broker_is_bounded() -> None:
    here = world(in_flight_events_max=3)
    app = here.app()

    async def scenario() -> None:
        here.sink.gate.clear()
        body = b'[{"id":"a"},{"id":"b"}]'
        first = asyncio.create_task(call(app, body, signed(body)))
        await asyncio.sleep(0.01)
        problem(await call(app, body, signed(body)), 503, "busy")
        one = asyncio.create_task(call(app, b"{}", signed(b"{}")))
        await asyncio.sleep(0.01)
        full = await call(app, b"{}", signed(b"{}"))
        problem(full, 503, "busy")
        assert full.headers["retry-after"]
        here.sink.gate.set()
        assert (await first).status == (await one).status == 200
        # more than the bound at once is taken while nothing else waits
        large = b"[" + b"{}," * 9 + b"{}]"
        assert (await call(app, large, signed(large))).status == 200

    asyncio.run(scenario())


def test_the_bodies_that_have_no_answer_yet_are_bounded_together() -> None:
    body = b'{"id":"a"}'
    halves = [body[:5], 0.2, body[5:]]
    here = world(bodies_bytes_max=2 * len(body))
    app = here.app()

    async def scenario() -> None:
        here.sink.gate.clear()
        first = asyncio.create_task(call(app, body, signed(body)))  # waits for the broker
        await asyncio.sleep(0.01)
        second = asyncio.create_task(call(app, halves, signed(body)))  # is still being sent
        gone = asyncio.create_task(call(app, [body[:5], 0.05], signed(body)))  # and never will be
        await asyncio.sleep(0.01)
        refused = await call(app, body, signed(body))
        problem(refused, 503, "busy")
        assert refused.headers["retry-after"]
        assert (await gone).status == 0
        assert (await call(app, b"{}", signed(b"{}"), path="/v1/in/nobody")).status == 404
        here.sink.gate.set()
        assert (await first).status == (await second).status == 200
        assert (await call(app, [body], signed(body))).status == 200  # all of it was given back
        assert (await call(app, [b"[" + body, b"," + body[:-1]], signed(body))).status == 503
        assert (await call(app, [body], signed(body))).status == 200

    asyncio.run(scenario())


def test_an_event_that_the_log_cannot_take_is_a_dead_letter() -> None:
    here = world()
    here.sink.record_bytes_max = 500
    large = b'{"id":"' + b"b" * 500 + b'"}'
    body = b'[{"id":"a"},' + large + b',{"id":"c","amount":"x"},{"id":"d"}]'
    reply = post(here.app(), body)
    assert reply.json["accepted"] == 4
    assert [one["reason"] for one in reply.json["dead_letters"]] == ["oversized", "wrong_type"]
    assert [one.value for one in here.sink.records[:3]] == [b'{"id":"a"}', b'{"id":"d"}', large]


def test_an_event_that_not_even_a_dead_letter_can_hold_refuses_the_whole_body() -> None:
    here = world()
    here.sink.record_bytes_max = here.sink.dead_letter_bytes_max = 500
    body = b'[{"id":"a"},{"id":"' + b"b" * 500 + b'"}]'
    found = problem(post(here.app(), body), 413, "too_large")
    assert "500 bytes" in found["detail"]
    assert not here.sink.records
