"""Runs the gateway on uvicorn until it is told to stop."""

import asyncio
import math
import socket
from collections.abc import Generator
from contextlib import contextmanager

import uvicorn
from typing_extensions import override

from schemas.errors import SetupError
from services.collector import calm_collector
from services.gateway.accepting import Acceptor
from services.gateway.app import Gateway
from services.gateway.ports import GatewayPorts
from services.gateway.protocol import bounded_protocol
from services.settings import Gateway as GatewaySettings

BACKLOG = 2048
KEEP_ALIVE_SECONDS = 75  # longer than common proxies keep theirs, so that they close first
DRAIN_MARGIN_SECONDS = 1
YOUNG_MAX = 20_000  # requests leave no cycles behind


class _Server(uvicorn.Server):
    """uvicorn's server; signals are the caller's business."""

    @contextmanager
    @override
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's with sockets and without a lifespan, but for who takes connections."""

        def protocol() -> asyncio.Protocol:
            return self.config.http_protocol_class(  # type: ignore[call-arg] # as uvicorn calls it
                config=self.config,
                server_state=self.server_state,
                app_state=self.lifespan.state,
            )

        self.servers = [Acceptor(listener, protocol) for listener in sockets or ()]  # type: ignore[misc] # what it asks of a server
        self.started = True

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, after the connections that are just being taken: it tells all to end."""
        for acceptor in self.servers:
            acceptor.close()
            await acceptor.wait_closed()
        await super().shutdown(sockets)


def listen(settings: GatewaySettings) -> socket.socket:
    """The bound and listening socket. Raises SetupError if the address cannot be had."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise SetupError(
            f"cannot listen on {settings.host}:{settings.port} ({error.strerror or error})",
            where="gateway.port",
            remedy="stop what uses the port, or set another; 0 takes a free one",
        ) from error
    listener.setblocking(False)  # noqa: FBT003 - the library's own signature
    return listener


async def serve(
    ports: GatewayPorts, settings: GatewaySettings, listener: socket.socket, stop: asyncio.Event
) -> None:
    """Serve on ``listener`` until ``stop`` is set. For uvloop (``uvloop.run``).

    Once stopped, in this order: stop accepting; let requests that are under way finish and answer
    all that wait for the broker; close the sink.
    """
    longest = settings.body_seconds_max + settings.ack_seconds_max
    gateway = Gateway(ports, settings)
    config = uvicorn.Config(
        gateway,
        http=bounded_protocol(settings, ports.metrics),
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=math.ceil(longest) + DRAIN_MARGIN_SECONDS,
    )
    server = _Server(config)
    stopping = asyncio.create_task(_stop(server, stop))
    calm_collector(YOUNG_MAX)
    opening = asyncio.create_task(ports.sink.open(settings.ack_seconds_max))
    try:
        await server.serve(sockets=[listener])
    finally:
        stopping.cancel()
        await opening
        gateway.tally.tell()
        await ports.sink.close(settings.ack_seconds_max)


async def _stop(server: uvicorn.Server, stop: asyncio.Event) -> None:
    await stop.wait()
    server.should_exit = True
