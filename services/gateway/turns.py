"""Large bodies are read a few in a turn of the event loop."""

import asyncio
from collections import deque

BYTES_MAX = 256_000  # of one turn, about 10 ms of work


class Turns:
    """Gives those that ask a turn of the event loop, in the order in which they came.

    Between two turns the loop looks at sockets and reports, so that a small delivery does not wait
    for a hundred large ones that came just before it.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[asyncio.Future[None], int]] = deque()

    async def mine(self, size: int) -> None:
        """Return in a turn whose others have no more than ``BYTES_MAX`` with these ``size`` bytes.

        A body that is larger has a turn of its own.
        """
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._next)
        self._waiting.append((turn, size))
        await turn

    def _next(self) -> None:
        given = 0
        while self._waiting:
            turn, size = self._waiting[0]
            if given and given + size > BYTES_MAX:
                asyncio.get_running_loop().call_soon(self._next)
                return
            self._waiting.popleft()
            if not turn.done():  # its delivery has not been given up meanwhile
                turn.set_result(None)
                given += size
