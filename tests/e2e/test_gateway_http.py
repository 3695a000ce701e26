"""The gateway over real loopback HTTP: what only a server can get wrong."""

import asyncio
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

from schemas.errors import SetupError
from services.gateway.serve import listen
from services.settings import Gateway as GatewaySettings
from tests.support.http import Reply, World, exchange, read_reply, request, served, source

pytestmark = pytest.mark.enable_socket
ROOT = Path(__file__).parents[2]
GOOD = b'{"id":"a"}'


def on(scenario: Callable[[World, int], Awaitable[None]], **changed: Any) -> World:
    """Runs a scenario against a gateway on a port."""
    settings = GatewaySettings(port=0).model_copy(update={"body_seconds_max": 0.3} | changed)
    world = World([source()], settings=settings)

    async def main() -> None:
        async with served(world.ports, settings) as port:
            await scenario(world, port)

    uvloop.run(main())
    assert world.sink.closed
    return world


def statuses(replies: list[Reply]) -> list[int]:
    return [reply.status for reply in replies]


def test_a_delivery_is_acknowledged_over_http() -> None:
    async def scenario(world: World, port: int) -> None:
        (reply,) = await exchange(port, request(GOOD))
        assert reply.status == 200
        assert reply.json["ids"] == ["a"]
        assert "server" not in reply.headers
        assert len(world.sink.records) == 1

    on(scenario)


def test_requests_on_one_connection_are_answered_in_order() -> None:
    async def scenario(world: World, port: int) -> None:
        bodies = [b'{"id":"%d"}' % n for n in range(20)]
        replies = await exchange(port, b"".join(map(request, bodies)), count=20)
        assert [reply.json["ids"] for reply in replies] == [[str(n)] for n in range(20)]
        later = await exchange(port, request(GOOD), 0.4, request(GOOD), count=2)
        assert statuses(later) == [200, 200]
        assert len(world.sink.records) == 22

    on(scenario)


def test_a_body_in_many_pieces_is_put_together() -> None:
    async def scenario(_world: World, port: int) -> None:
        whole = request(GOOD)
        parts = [whole[n : n + 7] for n in range(0, len(whole), 7)]
        spaced = [part for piece in parts for part in (piece, 0.001)]
        assert statuses(await exchange(port, *spaced)) == [200]
        chunked = request(GOOD, {"content-length": "", "transfer-encoding": "chunked"})
        head = chunked[: -len(GOOD)]
        body = b"3\r\n" + GOOD[:3] + b"\r\n7\r\n" + GOOD[3:] + b"\r\n0\r\nx-trailer: 1\r\n\r\n"
        assert statuses(await exchange(port, head, body)) == [200]

    on(scenario)


def test_a_slow_body_is_408() -> None:
    async def scenario(world: World, port: int) -> None:
        whole = request(GOOD)
        (reply,) = await exchange(port, whole[:-3], 0.9, whole[-3:])
        assert reply.status == 408
        assert reply.json["type"] == "urn:sluice:refusal:too_slow"
        piped = await exchange(port, request(GOOD) + whole[:-3], 0.9, whole[-3:], count=2)
        assert statuses(piped) == [200, 408]
        trickle = [part for n in range(len(whole)) for part in (whole[n : n + 1], 0.01)]
        assert statuses(await exchange(port, *trickle)) == [408]
        assert len(world.sink.records) == 1
        assert world.metrics.total("gateway_refusals", reason="too_slow") == 3


def test_a_body_that_comes_while_the_loop_is_busy_is_taken() -> None:
    whole = request(b'{"id":"a","x":"%s"}' % (b"x" * 900_000))

    def send(port: int) -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(whole[:100_000])
            time.sleep(0.2)  # the gateway reads it, and its time begins
            connection.sendall(whole[100_000:])
            return connection.recv(100)

    def busy() -> None:
        time.sleep(0.5)

    async def scenario(world: World, port: int) -> None:
        sending = asyncio.create_task(asyncio.to_thread(send, port))
        await asyncio.sleep(0.1)
        busy()  # the loop: longer than a body may take
        assert (await sending).startswith(b"HTTP/1.1 200")
        assert len(world.sink.records) == 1

    on(scenario)


def test_a_refused_body_that_never_ends_does_not_keep_its_connection() -> None:
    async def scenario(_world: World, port: int) -> None:
        lost = request(GOOD, {"content-length": "1000"}, path="/v1/in/nowhere")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(lost)
        assert (await read_reply(reader)).status == 404
        async with asyncio.timeout(2):
            assert await reader.read() == b""
        writer.close()

    on(scenario)


def test_a_slow_head_is_408_on_a_fresh_and_on_a_used_connection() -> None:
    async def scenario(_world: World, port: int) -> None:
        started = time.monotonic()
        (reply,) = await exchange(port, b"POST /v1/in/shop HT")
        assert reply.status == 408
        assert reply.headers["content-type"] == "application/problem+json"
        used = await exchange(port, request(GOOD), b"POST /", count=2)
        assert statuses(used) == [200, 408]
        assert statuses(await exchange(port)) == [408]
        assert time.monotonic() - started < 3

    on(scenario)


@pytest.mark.parametrize(
    "head",
    [
        b"POST /v1/in/shop HTTP/1.1\r\nx: " + b"y" * 3_000,
        b"POST /v1/in/shop HTTP/1.1\r\n" + b"a: b\r\n" * 600,
        b"POST /" + b"y" * 3_000,
    ],
)
def test_an_endless_head_is_431_before_it_ends(head: bytes) -> None:
    async def scenario(_world: World, port: int) -> None:
        (reply,) = await exchange(port, head)
        assert reply.status == 431
        assert statuses(await exchange(port, request(GOOD), 0.05, head, count=2)) == [200, 431]

    on(scenario, header_bytes_max=2_000, body_seconds_max=5)


def test_a_large_but_complete_head_is_431() -> None:
    async def scenario(_world: World, port: int) -> None:
        (reply,) = await exchange(port, request(GOOD, {"x-big": "y" * 3_000}))
        assert reply.status == 431

    on(scenario, header_bytes_max=2_000)


def test_a_body_of_64_megabytes_is_refused_before_it_is_sent() -> None:
    async def scenario(_world: World, port: int) -> None:
        head = request(b"", {"content-length": "64000000", "expect": "100-continue"})
        started = time.monotonic()
        (reply,) = await exchange(port, head)
        assert reply.status == 413
        assert reply.headers["connection"] == "close"
        assert time.monotonic() - started < 0.5

    on(scenario, body_seconds_max=5)


def test_a_sender_that_does_not_wait_still_sees_why_it_was_refused() -> None:
    async def scenario(world: World, port: int) -> None:
        for headers in (
            {"content-length": "64000000"},
            {"content-length": "", "transfer-encoding": "chunked"},
        ):
            head = request(b"", headers)
            chunk = b"x" * 65_536
            chunks = chunk if "transfer-encoding" not in headers else b"10000\r\n" + chunk + b"\r\n"
            (reply,) = await exchange(port, head, *[chunks] * 40)
            assert reply.status == 413
        assert world.metrics.total("gateway_bytes") == 0

    on(scenario, body_seconds_max=5)


@pytest.mark.parametrize("header", [{"connection": "close"}, {"upgrade": "h2c"}], ids=str)
def test_who_is_refused_before_its_last_body_has_come_still_sees_why(
    header: dict[str, str],
) -> None:
    async def scenario(_world: World, port: int) -> None:
        whole = request(b"x" * 1_000, {"connection": "upgrade"} | header, path="/v1/in/nowhere")
        old = whole.replace(b"HTTP/1.1", b"HTTP/1.0")
        for raw in (whole, old):
            parts = [part for n in range(0, len(raw), 300) for part in (raw[n : n + 300], 0.05)]
            (reply,) = await exchange(port, *parts)
            assert reply.status == 404
            assert reply.headers["connection"] == "close"

    on(scenario, body_seconds_max=5)


def test_chunks_and_trailers_are_bounded_too() -> None:
    async def scenario(world: World, port: int) -> None:
        head = request(b"", {"content-length": "", "transfer-encoding": "chunked"})
        for start in (b"1;", b"0\r\nx: "):
            pieces = [part for _ in range(10) for part in (b"y" * 6_000, 0.01)]
            (reply,) = await exchange(port, head, start, *pieces)
            assert reply.status == 413
        assert not world.sink.records

    on(scenario, body_bytes_max=1_000, header_bytes_max=2_000, body_seconds_max=5)


@pytest.mark.parametrize(
    "garbage",
    [
        b"\0\xff\x80 nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        b"POST /v1/in/shop HTTP/1.1\r\ncontent-length: -5\r\n\r\n",
        b"POST http://[ HTTP/1.1\r\nhost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_garbage_is_400_and_never_an_answer_to_what_came_before(garbage: bytes) -> None:
    async def scenario(world: World, port: int) -> None:
        (reply,) = await exchange(port, garbage)
        assert reply.status in {400, 404}
        assert reply.headers["content-type"] == "application/problem+json"
        world.sink.gate.clear()
        asyncio.get_running_loop().call_later(0.1, world.sink.gate.set)
        piped = await exchange(port, request(GOOD) + garbage, count=2)
        assert piped[0].status == 200
        assert set(statuses(piped[1:])) <= {400, 404}
        assert statuses(await exchange(port, request(GOOD))) == [200]

    on(scenario, body_seconds_max=5)


def test_a_refused_small_body_leaves_the_connection_usable() -> None:
    async def scenario(_world: World, port: int) -> None:
        lost = request(GOOD, path="/v1/in/nowhere")
        forged = request(GOOD, {"x-signature": "0"})
        replies = await exchange(port, lost, forged, request(GOOD), count=3)
        assert statuses(replies) == [404, 401, 200]

    on(scenario)


def test_head_has_no_body() -> None:
    async def scenario(_world: World, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HEAD /v1/in/shop HTTP/1.1\r\nhost: x\r\n\r\n" + request(GOOD))
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 405")
        assert b"allow: POST" in head
        assert (await read_reply(reader)).status == 200
        writer.close()

    on(scenario)


def test_a_client_that_leaves_while_it_waits_does_no_harm() -> None:
    async def scenario(world: World, port: int) -> None:
        world.sink.gate.clear()
        assert await exchange(port, request(GOOD), 0.05, count=0) == []
        world.sink.gate.set()
        assert statuses(await exchange(port, request(GOOD))) == [200]
        assert len(world.sink.records) == 2

    on(scenario)


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_a_wish_for_another_protocol_is_passed_over_and_the_body_is_read(*, chunked: bool) -> None:
    """Java's client asks for HTTP/2 like this, whenever there is no TLS."""
    wish = {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2-settings": "AAEA"}
    framing = {"content-length": "", "transfer-encoding": "chunked"} if chunked else {}
    whole = request(GOOD, wish | framing)
    if chunked:
        whole = whole[: -len(GOOD)] + b"%x\r\n%s\r\n0\r\n\r\n" % (len(GOOD), GOOD)

    async def scenario(world: World, port: int) -> None:
        parts = [whole[n : n + 9] for n in range(0, len(whole), 9)]
        spaced = [part for piece in parts for part in (piece, 0.001)]
        for pieces in ([whole], spaced, [whole + request(GOOD)], [whole, b"nonsense\r\n\r\n"]):
            (reply,) = await exchange(port, *pieces, count=2)
            assert reply.status == 200
            assert reply.headers["connection"] == "close"
        piped = await exchange(port, request(GOOD) + whole, count=3)
        assert statuses(piped) == [200, 200]
        assert len(world.sink.records) == 6

    on(scenario, body_seconds_max=5)


def test_what_strangers_send_is_no_error_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(world: World, port: int) -> None:
        (reply,) = await exchange(port, b"\0" * 3_000, count=2)  # neither HTTP nor short enough
        assert reply.status == 400
        world.sink.gate.clear()
        assert await exchange(port, request(GOOD) * 4, 0.05, count=0) == []
        await asyncio.sleep(0.05)  # by now it is known that nobody waits any more
        world.sink.gate.set()
        await asyncio.sleep(0.05)
        assert statuses(await exchange(port, request(GOOD))) == [200]

    with caplog.at_level("INFO"):
        on(scenario, header_bytes_max=2_000, body_seconds_max=5)
    assert [record for record in caplog.records if record.levelname != "INFO"] == []


def test_stopping_answers_all_that_wait_and_takes_nobody_new() -> None:
    async def scenario() -> None:
        settings = GatewaySettings(port=0)
        world = World([source()], settings=settings)
        world.sink.gate.clear()
        async with served(world.ports, settings) as port:
            waiting = [asyncio.create_task(exchange(port, request(GOOD))) for _ in range(50)]
            idle = asyncio.create_task(exchange(port, 3.0))
            await asyncio.sleep(0.2)
            assert world.sink.pending == 50
            asyncio.get_running_loop().call_later(0.5, world.sink.gate.set)
        for replies in await asyncio.gather(*waiting):
            assert statuses(replies) == [200]
            assert replies[0].headers["connection"] == "close"
        idle.cancel()
        assert world.sink.closed
        assert len(world.sink.records) == 50
        with pytest.raises(ConnectionRefusedError):
            await exchange(port, request(GOOD))

    uvloop.run(scenario())


def test_sigterm_lets_the_process_answer_and_leave() -> None:
    async def scenario() -> None:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.support.gateway_process", "1.0"),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        port = int(await process.stdout.readline())
        waiting = [asyncio.create_task(exchange(port, request(GOOD))) for _ in range(10)]
        await asyncio.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        for replies in await asyncio.gather(*waiting):
            assert statuses(replies) == [200]
        assert await process.stdout.readline() == b"10 True\n"
        assert await process.wait() == 0

    asyncio.run(scenario())


def test_an_address_in_use_is_a_setup_error() -> None:
    with listen(GatewaySettings(port=0)) as listener:
        taken = GatewaySettings(port=listener.getsockname()[1])
        with pytest.raises(SetupError, match=r"gateway\.port"):
            listen(taken)
