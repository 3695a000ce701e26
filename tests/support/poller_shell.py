"""Runs the poller for a while, and looks at what it did."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import pairwise

import orjson

from services.adapters.metrics import MemoryMetrics
from services.poller.ports import PollPorts
from services.poller.progress import Progress
from services.poller.run import run
from services.settings import Settings
from tests.support.api import Call, Reply
from tests.support.polling import MemoryLog

ORDERS = {"stream": "shop.orders", "path": "orders", "event_id": "/id"}
PATH = "/orders"
CURSOR = {"field": "at", "param": "since", "format": "integer"}
TOKENS = {"kind": "cursor", "token": "/next"}
WAIT = 10.0


def rows(*numbers: int) -> list[dict[str, int]]:
    return [{"id": n, "at": n} for n in numbers]


def ids(log: MemoryLog, stream: str = "shop.orders") -> list[int]:
    return [orjson.loads(record.value)["id"] for record in log.of(stream)]


def poll_once(ports: PollPorts, settings: Settings, stop: asyncio.Event | None = None) -> None:
    asyncio.run(asyncio.wait_for(run(ports, settings, stop or asyncio.Event(), once=True), WAIT))


def poll_while(
    ports: PollPorts, settings: Settings, during: Callable[[asyncio.Event], Awaitable[None]]
) -> float:
    """Polls while ``during`` runs, then stops; the seconds that stopping took."""

    async def both() -> float:
        stop = asyncio.Event()
        task = asyncio.create_task(run(ports, settings, stop))
        await during(stop)
        began = time.monotonic()
        stop.set()
        await asyncio.wait_for(task, WAIT)
        return time.monotonic() - began

    return asyncio.run(both())


async def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < end, "did not happen"
        await asyncio.sleep(0.01)


def row_of(ports: PollPorts, stream: str = "shop.orders") -> Progress:
    return next(row for row in ports.board.rows if row.stream == stream)


def slowed(answer: Callable[[Call], Reply], seconds: float) -> Callable[[Call], Reply]:
    return lambda call: replace(answer(call), delay=seconds)


def gaps(calls: list[Call]) -> list[float]:
    return [b.at - a.at for a, b in pairwise(calls)]


def metrics_of(ports: PollPorts) -> MemoryMetrics:
    assert isinstance(ports.metrics, MemoryMetrics)
    return ports.metrics


PAGED = {**ORDERS, "records": "/data", "pager": TOKENS}
