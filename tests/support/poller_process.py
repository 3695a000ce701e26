"""A poller in a process of its own: ``url bootstrap``; runs once, to be killed at any moment."""

import asyncio
import sys
from functools import partial

from pydantic import BaseModel

from producers.encode import StreamEncoder
from schemas.contract import Contract
from schemas.dead_letters import DeadLetterWriter
from schemas.events import CURSORS_TOPIC
from services.adapters.clock import SystemClock
from services.adapters.http import open_http
from services.adapters.kafka import KafkaTransactions, read_compacted
from services.adapters.metrics import PrometheusMetrics
from services.poller.ports import PollPorts
from services.poller.run import run
from tests.support.polling import MemoryRefreshTokens, settings_of

STREAM = {
    "stream": "shop.orders",
    "path": "orders",
    "records": "/data",
    "pager": {"kind": "next_url"},
    "cursor": {"field": "id", "param": "since", "format": "integer"},
}


class Order(BaseModel):
    id: int
    name: str


CONTRACT = Contract(stream="shop.orders", model=Order, key=("id",))


def ports(bootstrap: str) -> PollPorts:
    """The poller's ports on a broker, without contracts of a project."""
    client = {"bootstrap.servers": bootstrap}
    clock = SystemClock()
    return PollPorts(
        clock=clock,
        metrics=PrometheusMetrics(),
        http=lambda bounds: open_http(bounds, clock),
        transactions=partial(KafkaTransactions, client),
        cursors=lambda: read_compacted(client, CURSORS_TOPIC),
        encoders={CONTRACT.stream: StreamEncoder(CONTRACT, 7)},
        dead_letters=DeadLetterWriter(8).records,
        secret=str,
        refresh_tokens=MemoryRefreshTokens(),
        record_bytes_max=1_000_000,
        dead_letter_bytes_max=1_000_000,
    )


if __name__ == "__main__":
    asyncio.run(
        run(ports(sys.argv[2]), settings_of(sys.argv[1], STREAM), asyncio.Event(), once=True)
    )
