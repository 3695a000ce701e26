"""A poller that stops while a source hangs."""

import asyncio

import pytest

from producers.exchange import Request, Response
from services.poller.run import run
from services.poller.streams import STOP_SECONDS_MAX
from tests.support.polling import MemoryLog, answered, ports_of, settings_of
from tests.support.virtual import LoopClock, MemoryApi, run_virtually

STREAM = {"stream": "shop.orders", "path": "orders", "every": "1s"}


@pytest.mark.parametrize(
    ("answers_after", "stops_after", "records"),
    [(3.0, 2.0, 1), (29.0, STOP_SECONDS_MAX, 0)],
    ids=["slow", "hangs"],
)
def test_a_request_in_flight_is_waited_for_but_not_for_long(
    answers_after: float, stops_after: float, records: int
) -> None:
    async def answer(_: Request) -> Response:
        await asyncio.sleep(answers_after)
        return answered([{"id": 1}])

    log = MemoryLog()
    api = MemoryApi({"/orders": answer})
    ports = ports_of(log, "shop.orders", http=api.open, clock=LoopClock())
    settings = settings_of("https://api.example.com", STREAM, poller={"timeout_seconds": 30})

    async def stopped() -> float:
        stop = asyncio.Event()
        polling = asyncio.create_task(run(ports, settings, stop))
        await asyncio.sleep(1)
        began = asyncio.get_running_loop().time()
        stop.set()
        await polling
        return asyncio.get_running_loop().time() - began

    assert run_virtually(stopped()) == pytest.approx(stops_after, abs=0.01)
    assert len(log.of("shop.orders")) == records
    assert [row.state for row in ports.board.rows] == ["stopped"]
