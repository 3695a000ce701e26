"""The trace of a delivery: through the gateway into the log, through the loader, and in the logs."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import orjson
import polars as pl
import pytest
import structlog

from producers.encode import StreamEncoder
from schemas.contract import DEAD_SUFFIX
from schemas.dead_letters import TABLE as DEAD_LETTERS
from schemas.dead_letters import DeadLetterWriter
from schemas.errors import TransientError
from schemas.events import Partition, Record, RecordHeaders
from services.adapters.memory_sink import MemorySink
from services.gateway.app import Gateway
from services.settings import Gateway as GatewaySettings
from tests.support import world as loading
from tests.support.http import (
    Reply,
    World,
    call,
    exchange,
    post,
    request,
    served,
    signature,
    source,
)
from tests.support.log_lines import Sink as LogSink
from tests.support.log_lines import as_before

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"
STATE = "congo=t61rcWkgMzE"
SENT = {"traceparent": PARENT, "tracestate": STATE}
HEADERS: RecordHeaders = (("traceparent", PARENT.encode()), ("tracestate", STATE.encode()))
DEAD = loading.STREAM + DEAD_SUFFIX
GOOD: dict[str, Any] = {"order_id": "a", "amount": 1, "placed_at": "2026-11-20T10:00:00Z"}
BAD = GOOD | {"order_id": "b", "amount": "a lot"}
NEGATIVE = GOOD | {"order_id": "c", "amount": -1}
SETTINGS = GatewaySettings(port=0)
AWAY = "events are not acknowledged"


def gateway(sink: MemorySink, **table: object) -> Gateway:
    here = World([source(**({"event_id": "{/order_id}"} | table))], sink=sink)
    encoders = {loading.STREAM: StreamEncoder(loading.CONTRACT, 1)}
    ports = replace(here.ports, encoders=encoders, dead_letters=DeadLetterWriter(2).records)
    return Gateway(ports, SETTINGS)


def taken(*events: object, sent: dict[str, str] = SENT, bytes_max: int = 10**6) -> list[Record]:
    """What a delivery of these events has put into the log."""
    sink = MemorySink(record_bytes_max=bytes_max)
    assert post(gateway(sink), orjson.dumps(events), sent).status == 200
    return sink.records


def by_topic(records: Sequence[Record]) -> dict[str, list[RecordHeaders]]:
    found: dict[str, list[RecordHeaders]] = {}
    for record in records:
        found.setdefault(record.topic, []).append(record.headers)
    return found


def test_every_record_of_a_delivery_carries_its_trace_and_so_do_its_dead_letters() -> None:
    assert by_topic(taken(GOOD, BAD, 7)) == {loading.STREAM: [HEADERS], DEAD: [HEADERS] * 2}
    sink = MemorySink()
    of_one_stream = gateway(sink, event_id=None)  # whose events are asked nothing
    assert post(of_one_stream, orjson.dumps([GOOD, BAD]), SENT).status == 200
    assert by_topic(sink.records) == {loading.STREAM: [HEADERS], DEAD: [HEADERS]}


def test_a_delivery_without_a_trace_or_with_an_invalid_one_leaves_no_headers() -> None:
    for sent in ({}, {"tracestate": STATE}, {"traceparent": PARENT.upper(), "tracestate": STATE}):
        assert by_topic(taken(GOOD, BAD, sent=sent)) == {loading.STREAM: [()], DEAD: [()]}


def test_a_trace_counts_for_what_the_log_takes() -> None:
    (record,) = taken(GOOD, sent={})
    assert by_topic(taken(GOOD, sent={}, bytes_max=record.log_bytes)) == {loading.STREAM: [()]}
    (letter,) = taken(GOOD, bytes_max=record.log_bytes)
    assert (letter.topic, letter.headers) == (DEAD, HEADERS)
    assert b"oversized" in letter.value


def test_what_the_loader_rejects_stays_in_the_trace_that_brought_it() -> None:
    world = loading.World(partitions=1)
    loader = world.loader()
    loader.run(1)
    foreign = ("odd", b"\xff")
    for record in taken(GOOD, BAD, NEGATIVE):
        world.broker.publish([record._replace(headers=(foreign, *record.headers))])
    loader.run(4)
    letters = [m.record for m in world.broker.logs[Partition(DEAD, 0)].messages]
    assert [letter.headers for letter in letters] == [(foreign, *HEADERS), HEADERS]
    table = world.account.table(DEAD_LETTERS).sort("stage")
    assert table["stage"].to_list() == ["encode", "judge"]
    kept = [[name, value.decode()] for name, value in HEADERS]
    assert original_headers(table) == [kept, [["odd", {"base64": "/w=="}], *kept]]
    assert world.loaded() == ["a"]
    assert world.audit().balanced


def original_headers(table: pl.DataFrame) -> list[Any]:
    return [orjson.loads(text) for text in table["original_headers"]]


# In the logs


@pytest.fixture
def logged() -> Iterator[LogSink]:
    with as_before():
        yield LogSink()


def test_what_is_logged_of_a_delivery_names_its_trace_and_no_other(logged: LogSink) -> None:
    async def scenario() -> None:
        here = World([source()])
        here.sink.failure = TransientError("away")
        app = here.app()
        for sent in (SENT, {}, {"traceparent": "junk"}):
            app._silent_until.clear()
            await call_of(app, sent)

    asyncio.run(scenario())
    lines = [line for line in logged.lines if line["event"] == AWAY]
    assert [line.get("trace_id") for line in lines] == [TRACE, None, None]


async def call_of(app: Gateway, sent: dict[str, str]) -> None:
    """One delivery in the context that its predecessor has left, as in a pipeline."""
    body = b'{"id":"a"}'
    signed = {"x-signature": signature(body), "content-type": "application/json"}
    assert (await call(app, body, signed | sent)).status == 503


@pytest.mark.enable_socket
def test_what_the_server_logs_of_a_crash_names_the_trace_too(logged: LogSink) -> None:
    here = World([source()])
    here.sink.failure = RuntimeError("a bug")  # type: ignore[assignment] # which it must not raise

    async def scenario() -> list[Reply]:
        async with served(here.ports, SETTINGS) as port:
            first = await exchange(port, request(b'{"id":"a"}', SENT))
            return first + await exchange(port, request(b'{"id":"a"}'))

    assert [reply.status for reply in asyncio.run(scenario())] == [500, 500]
    lines = [line for line in logged.lines if "Exception in ASGI" in line["event"]]
    assert [line.get("trace_id") for line in lines] == [TRACE, None]
    assert structlog.contextvars.get_contextvars() == {}
