"""Connections that come at once are all taken at once, and large bodies do not hold up small ones."""

import asyncio
import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import uvloop

from services.gateway import accepting
from services.gateway.accepting import Acceptor
from services.gateway.serve import listen
from services.settings import Gateway as GatewaySettings
from tests.support.http import World, exchange, request, served, source

pytestmark = pytest.mark.enable_socket

TURNS = 5  # of the loop; libuv itself would take so many connections in them


class Counting(asyncio.Protocol):
    """Notes each connection and whether its small packets are sent at once."""

    def __init__(self, made: list[bool]) -> None:
        self._made = made

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        found: socket.socket = transport.get_extra_info("socket")
        self._made.append(bool(found.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)))


class Full:
    """A listener of a process that has no more files, so often."""

    def __init__(self, listener: socket.socket, times: int, number: int) -> None:
        self._listener = listener
        self.times = times
        self._number = number

    def fileno(self) -> int:
        return self._listener.fileno()

    def accept(self) -> Any:
        if self.times:
            self.times -= 1
            raise OSError(self._number, "no more")
        return self._listener.accept()


@contextmanager
def connected(listener: socket.socket, count: int) -> Iterator[None]:
    """So many clients: the kernel has taken them, and we have not yet."""
    with ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(socket.create_connection(listener.getsockname()))
        yield


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_all_that_wait_are_taken_in_a_few_turns_of_the_loop() -> None:
    async def scenario() -> None:
        made: list[bool] = []
        with listen(GatewaySettings(port=0)) as listener, connected(listener, 100):
            acceptor = Acceptor(listener, lambda: Counting(made))
            await turns(TURNS)
            assert made == [True] * 100
            acceptor.close()
            await acceptor.wait_closed()

    uvloop.run(scenario())


def test_none_is_taken_after_the_close() -> None:
    async def scenario() -> None:
        made: list[bool] = []
        with listen(GatewaySettings(port=0)) as listener:
            acceptor = Acceptor(listener, lambda: Counting(made))
            with connected(listener, 3):
                await turns(TURNS)
            acceptor.close()
            with connected(listener, 3):
                await turns(TURNS)
            assert len(made) == 3

    uvloop.run(scenario())


def test_a_process_without_files_takes_them_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accepting, "FULL_SECONDS", 0.05)

    async def scenario() -> None:
        made: list[bool] = []
        with listen(GatewaySettings(port=0)) as listener, connected(listener, 5):
            full: Any = Full(listener, 2, errno.EMFILE)
            acceptor = Acceptor(full, lambda: Counting(made))
            await turns(TURNS)
            assert made == []
            await asyncio.sleep(0.3)
            assert len(made) == 5
            acceptor.close()

    uvloop.run(scenario())


def test_a_client_that_has_gone_again_is_passed_over() -> None:
    async def scenario() -> None:
        made: list[bool] = []
        with listen(GatewaySettings(port=0)) as listener, connected(listener, 5):
            gone: Any = Full(listener, 2, errno.ECONNABORTED)
            acceptor = Acceptor(gone, lambda: Counting(made))
            await turns(TURNS)
            assert len(made) == 5
            acceptor.close()

    uvloop.run(scenario())


def test_a_connection_that_cannot_begin_is_told_and_the_others_do() -> None:
    async def scenario() -> None:
        made: list[bool] = []
        told: list[object] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: told.append(context["exception"])
        )
        failing = [ValueError("a bug"), ConnectionResetError("gone")]

        def protocol() -> Counting:
            if failing:
                raise failing.pop(0)
            return Counting(made)

        with listen(GatewaySettings(port=0)) as listener, connected(listener, 5):
            acceptor = Acceptor(listener, protocol)
            await turns(TURNS)
            acceptor.close()
        assert len(made) == 3
        assert [type(error) for error in told] == [ValueError]

    uvloop.run(scenario())


def test_a_small_delivery_does_not_wait_for_the_large_ones_before_it() -> None:
    large = b'{"id":"1","x":"%s"}' % (b"x" * 120_000)
    answered: list[str] = []

    async def send(port: int, name: str, body: bytes) -> None:
        (reply,) = await exchange(port, request(body))
        assert reply.status == 200
        answered.append(name)

    async def scenario() -> None:
        here = World([source()])
        async with served(here.ports, here.settings) as port:
            sending = [asyncio.create_task(send(port, "large", large)) for _ in range(80)]
            await asyncio.sleep(0.02)
            begun = len(answered)
            await send(port, "small", b'{"id":"x"}')
            meanwhile = answered.index("small") - begun
            await asyncio.gather(*sending)
        assert begun < 20, begun
        assert meanwhile < 30, meanwhile

    uvloop.run(scenario())
