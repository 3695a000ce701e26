"""An event loop whose time jumps from one timer to the next: minutes of polling in a blink."""

import asyncio
import selectors
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit

from typing_extensions import override

from producers.exchange import Bounds, Request, Response
from schemas.errors import TransientError
from tests.support.polling import NOW

T = TypeVar("T")
Answer = Callable[[Request], Awaitable[Response]]


class _Jumping(selectors.SelectSelector):
    """Nobody writes to its files; what would be waited for has passed at once."""

    now = 0.0

    @override
    def select(self, timeout: float | None = None) -> list[Any]:
        assert timeout is not None, "everything waits, and for nothing"
        self.now += timeout
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Time is that of its timers, from 0 on; work for threads is done at once, in no time."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    @override
    def time(self) -> float:
        return self._jumping.now

    @override
    def run_in_executor(
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        done = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - an executor passes on whatever it is
            done.set_exception(error)
        return done


class LoopClock:
    """The running loop's time. Fits :class:`schemas.ports.Clock`."""

    def now(self) -> int:
        return NOW + round(self.monotonic() * 1_000_000)

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def sleep(self, seconds: float) -> None:
        raise AssertionError(f"a loop does not block, not even for {seconds} s")


def run_virtually(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)


@dataclass
class MemoryApi:
    """A source in memory: routes by path, and when they were asked. Keeps to the time-out."""

    routes: dict[str, Answer]
    asked: dict[str, list[float]] = field(default_factory=dict)
    in_flight_max: int = 0
    _in_flight: int = 0

    @asynccontextmanager
    async def open(self, bounds: Bounds) -> AsyncIterator["MemoryHttp"]:
        yield MemoryHttp(self, bounds)

    async def answer(self, request: Request) -> Response:
        path = urlsplit(request.url).path
        self.asked.setdefault(path, []).append(round(asyncio.get_running_loop().time(), 3))
        self._in_flight += 1
        self.in_flight_max = max(self.in_flight_max, self._in_flight)
        try:
            return await self.routes[path](request)
        finally:
            self._in_flight -= 1


@dataclass
class MemoryHttp:
    """Fits :class:`services.poller.ports.Http`."""

    api: MemoryApi
    bounds: Bounds

    async def send(self, request: Request) -> Response:
        try:
            async with asyncio.timeout(self.bounds.timeout_seconds):
                return await self.api.answer(request)
        except TimeoutError:
            raise TransientError("no whole answer in time", where=request.place) from None
