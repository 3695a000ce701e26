"""Takes the connections that wait for the gateway."""

import asyncio
import errno
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

import structlog

ACCEPTED_MAX = 128  # in one turn of the event loop
FULL_SECONDS = 1.0  # until the next try where the process or the machine has no more files
_FULL = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Acceptor:
    """Takes all connections that wait, in every turn of the event loop.

    libuv takes one a turn (https://github.com/libuv/libuv/pull/3696), and under load a turn lasts:
    of a hundred senders that connect at once, some would wait for seconds while others are
    answered again and again (docs/adr/0013-connections-and-turns.md). Fits what uvicorn asks of
    an :class:`asyncio.Server`.
    """

    def __init__(
        self, listener: socket.socket, protocol: Callable[[], asyncio.BaseProtocol]
    ) -> None:
        """Listen from now on, in the running event loop; ``listener`` does not block."""
        self._listener = listener
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._beginning: set[asyncio.Task[Any]] = set()
        self._closed = False
        self._watch()

    def _watch(self) -> None:
        if not self._closed:
            self._loop.add_reader(self._listener, self._take)

    def _take(self) -> None:
        for _ in range(ACCEPTED_MAX):
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _FULL:
                    self._rest(error)
                    return
                continue  # the client has gone again
            connection.setblocking(False)  # noqa: FBT003 - the library's own signature
            self._begin(connection)

    def _begin(self, connection: socket.socket) -> None:
        task = self._loop.create_task(
            self._loop.connect_accepted_socket(self._protocol, connection)
        )
        self._beginning.add(task)
        task.add_done_callback(partial(self._begun, connection))

    def _begun(self, connection: socket.socket, task: asyncio.Task[Any]) -> None:
        self._beginning.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        connection.close()
        if not isinstance(error, OSError):  # that is a client that has gone
            self._loop.call_exception_handler(
                {"message": "a connection could not begin", "exception": error}
            )

    def _rest(self, error: OSError) -> None:
        """Those that wait go on waiting, in the kernel."""
        self._loop.remove_reader(self._listener)
        self._loop.call_later(FULL_SECONDS, self._watch)
        structlog.get_logger("gateway").error(
            "no more connections can be taken", error=error.strerror
        )

    def close(self) -> None:
        """Take no more."""
        self._closed = True
        self._loop.remove_reader(self._listener)

    async def wait_closed(self) -> None:
        """Until those that were taken have begun."""
        if self._beginning:
            await asyncio.wait(self._beginning)
